"""Direct logit attribution: how much each part of the residual stream adds to a token's logit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

from steerwidgets.lens.logit_lens import fitted, text_indices, token_id
from steerwidgets.lens.streams import Streams, read_text
from steerwidgets.transformer.plain_text import quoted, table
from steerwidgets.transformer.prompts import Prompt, Token, tokens
from steerwidgets.transformer.sites import Site, Stream
from steerwidgets.transformer.unembed import FrozenNorm
from steerwidgets.transformer.written_to_residual import written_change

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.steering.recipe import Feature, Recipe
    from steerwidgets.transformer.layout import Known
    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import Prompt
    from steerwidgets.transformer.unembed import Unembed


Kind = Literal["embed", "attention", "mlp", "block", "feature", "error", "bias", "steer", "rounding"]


@dataclass(frozen=True)
class Contribution:
    """What one part adds to the logit, or to the difference of two.

    Attributes:
        component: its name, such as `embed`, `attn 25`, `MLP 27`.
        kind: what it is.
        layer: its block; None for the embedding, the biases and the rounding.
        value: in logits, before a soft cap.
        feature: the SAE's feature, where it is one.
    """

    component: str
    kind: Kind
    layer: int | None
    value: float
    feature: Feature | None = None


@dataclass(frozen=True, repr=False)
class Attribution:
    """How much each part of the residual stream adds to a token's logit, or to the difference of two.

    The final norm's scale is held still at the text's own last residual, which makes norm and unembed linear, so the
    parts add up (direct paths of Elhage et al. 2021). What a part does through later blocks is counted there.

    Attributes:
        prompt: the text.
        position: where, counted from 0; the logits are those of the token after it.
        token: whose logit.
        minus: the token whose logit is taken off, or None.
        recipe: what steered the run, or None.
        rows: the contributions, in the network's order.
        logit: what the model gives, before a soft cap.
        capped: the model's logit (or difference) after its soft cap; the same where it has none.

    Example:
        >>> found = lm.attribution("The answer", " the", minus=" a")
        >>> [row.component for row in found.rows[:3]]
        ['embed', 'attn 0', 'MLP 0']
    """

    prompt: Prompt
    position: int
    token: Token
    minus: Token | None
    recipe: Recipe | None
    rows: tuple[Contribution, ...]
    logit: float
    capped: float

    @property
    def total(self) -> float:
        """The sum of all rows: `logit`, but for rounding."""
        return sum(row.value for row in self.rows)

    def top(self, k: int = 10) -> tuple[Contribution, ...]:
        """The rows that add or take off most, from the largest down.

        Args:
            k: how many.

        Returns:
            Contributions, each with `.component` and `.value` in logits.

        Example:
            >>> len(lm.attribution("The answer", " the").top(3))
            3
        """
        return tuple(sorted(self.rows, key=lambda row: -abs(row.value))[:k])

    def __repr__(self) -> str:
        minus = f" minus that of {quoted(self.minus)} ({self.minus.id})" if self.minus else ""
        before = " before the soft cap" if self.capped != self.logit else ""
        title = f"Logit of {quoted(self.token)} ({self.token.id}){minus} after position {self.position}{before}"
        rows = [[row.component, row.value] for row in self.top(20)]
        left_out = len(self.rows) - len(rows)
        rows += [[f"… {left_out} more", self.total - sum(float(str(row[1])) for row in rows)]] if left_out else []
        return f"{title}\n{table(['component', 'logit'], [*rows, ['sum', self.total], ['the model', self.logit]])}"


def attribution(
    lm: LoadedModel,
    prompt: Prompt,
    token: int | str,
    minus: int | str | None,
    known: Known,
    *,
    position: int = -1,
    recipe: Recipe | None = None,
    dictionary: AddsUp | None = None,
) -> Attribution:
    """Attribute a logit to the parts of the residual stream.

    Args:
        lm: the model.
        prompt: the text.
        token: whose logit: an id, or a string that the tokenizer makes one token of.
        minus: a token whose logit is taken off, likewise.
        known: what is known of the text.
        position: which position's next token; the last by default.
        recipe: what steers; each change that it makes is a row of its own.
        dictionary: an SAE of the residual stream or of a sublayer's output; its active features, its bias and its error
            take the place of what its site holds.

    Raises:
        ValueError: a token or the position does not exist, the SAE reads another stream, or the final norm is of a
            kind that does not become linear.
    """
    ids = [token_id(lm, each) for each in (token, minus) if each is not None]
    (at,) = text_indices([position], len(prompt))
    recipe = recipe or None
    read = read_parts(lm, prompt, recipe, known, at)
    parts = list(parts_of(read))
    if dictionary is not None:
        parts = list(features_of(dictionary, read, parts))
    unembed = fitted(lm, read.streams)
    unembed.refuse_inexact(read.final)
    named = tokens(lm.tokenizer, ids)
    with lm.lock:
        rows = tuple(_contributions(unembed, parts, read.final, ids))
        logit = _difference(unembed.uncapped(read.final), ids)
        capped = _difference(unembed.logits(read.final), ids) if unembed.soft_cap is not None else logit
    return Attribution(prompt, at, named[0], named[1] if minus is not None else None, recipe, rows, logit, capped)


def _contributions(unembed: Unembed, parts: list[Part], final: Tensor, ids: list[int]) -> Iterator[Contribution]:
    import torch

    frozen = FrozenNorm(unembed, final)
    row, bias = unembed.reader(ids[0])
    if len(ids) > 1:
        other, other_bias = unembed.reader(ids[1])
        row, bias = row - other, bias - other_bias

    def value(vector: Tensor) -> float:
        return float(frozen.through(vector).double().cpu() @ row.double())

    left = final.double().cpu()
    for part in parts:
        left = left - part.vector.double().cpu()
        yield Contribution(part.name, part.kind, part.layer, value(part.vector), part.feature)
    yield Contribution("rounding", "rounding", None, value(left.to(torch.float32)))
    of_norm = float(frozen.bias.double().cpu() @ row.double())
    if of_norm:
        yield Contribution("final norm's bias", "bias", None, of_norm)
    if bias:
        yield Contribution("unembed's bias", "bias", None, bias)


def _difference(logits: Tensor, ids: list[int]) -> float:
    values = [float(logits[i]) for i in ids]
    return values[0] - (values[1] if len(values) > 1 else 0.0)


_OF_ATTENTION: Final[tuple[Stream, ...]] = ("attn_out", "attn_z")
_OF_MLP: Final[tuple[Stream, ...]] = ("mlp_out", "mlp_acts", "mlp_in")
_DECODED: Final = 32
"""Features of an SAE that are decoded at a time."""


@dataclass(frozen=True)
class Part:
    """One summand of the last residual.

    Attributes:
        name: what people call it.
        kind: what it is.
        site: where it joins the residual; None for the embedding.
        vector: float32 [d_model].
        feature: the SAE's feature, where it is one.
    """

    name: str
    kind: Literal["embed", "attention", "mlp", "block", "feature", "error", "bias", "steer"]
    site: Site | None
    vector: Tensor
    feature: Feature | None = None

    @property
    def layer(self) -> int | None:
        """Its block."""
        return None if self.site is None else self.site.layer


@dataclass(frozen=True)
class PartsRead:
    """The streams of one position of a text, and what a recipe wrote to the residual there.

    Attributes:
        streams: what was read.
        changes: for each changed site, float32 [d_model].
        layers: the number of blocks.
    """

    streams: Streams
    changes: dict[Site, Tensor]
    layers: int

    @property
    def final(self) -> Tensor:
        """The residual after the last block: [d_model], in the model's dtype."""
        return self.streams.values[Site(self.layers - 1)][-1, 0]

    def at(self, site: Site) -> Tensor | None:
        """A stream after any change there, float32 [d_model]; None where the model has no such stream."""
        found = self.streams.values.get(site)
        return None if found is None else found[-1, 0].float()

    def changed(self, layer: int, streams: Sequence[Stream]) -> Tensor | float:
        """The sum of what was changed in some streams of a block, as written to the residual."""
        found = [change for site, change in self.changes.items() if site.layer == layer and site.stream in streams]
        return sum(found[1:], found[0]) if found else 0.0


def read_parts(lm: LoadedModel, prompt: Prompt, recipe: Recipe | None, known: Known, position: int) -> PartsRead:
    """Read all that the last residual at one position is made of, in one forward pass."""
    architecture = lm.architecture
    wanted: tuple[Stream, ...] = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
    sites = [Site(layer, stream) for layer in range(architecture.layers) for stream in wanted]
    sites = [site for site in sites if architecture.has(site)]
    streams = read_text(lm, prompt.token_ids, [recipe], known, sites, [position])
    changes = {
        each.site: written_change(architecture, each.before, each.after, each.site)[0] for each in streams.injected
    }
    return PartsRead(streams, changes, architecture.layers)


def parts_of(read: PartsRead) -> Iterator[Part]:
    """The summands of the last residual, in the network's order."""
    embed = _known(read.at(Site(0, "resid_pre")))
    yield Part("embed", "embed", None, embed - read.changed(0, ["resid_pre"]))
    for layer in range(read.layers):
        yield from _changes(read, layer, ["resid_pre"])
        yield from _block(read, layer)
        yield from _changes(read, layer, [*_OF_ATTENTION, *_OF_MLP, "resid_post"])


def _block(read: PartsRead, layer: int) -> Iterator[Part]:
    before, after = _known(read.at(Site(layer, "resid_pre"))), _known(read.at(Site(layer)))
    added = after - read.changed(layer, ["resid_post"]) - before
    attention, mlp = read.at(Site(layer, "attn_out")), read.at(Site(layer, "mlp_out"))
    between = read.at(Site(layer, "resid_mid"))
    if attention is not None and mlp is not None:
        # Something may stand between a sublayer and the residual that no name tells of: then they do not add up.
        scale = attention.norm() + mlp.norm() + before.norm()
        if (added - attention - mlp).norm() > (1e-4 if read.final.dtype == added.dtype else 3e-2) * scale:
            attention = mlp = None
    if (attention is None or mlp is None) and between is not None:
        attention, mlp = between - before, added - (between - before)
    if attention is None or mlp is None:
        inner = read.changed(layer, [*_OF_ATTENTION, *_OF_MLP])
        yield Part(f"block {layer}", "block", Site(layer), added - inner)
        return
    attention, mlp = attention - read.changed(layer, _OF_ATTENTION), mlp - read.changed(layer, _OF_MLP)
    yield Part(f"attn {layer}", "attention", Site(layer, "attn_out"), attention)
    yield Part(f"MLP {layer}", "mlp", Site(layer, "mlp_out"), mlp)


def _changes(read: PartsRead, layer: int, streams: Sequence[Stream]) -> Iterator[Part]:
    for site, change in read.changes.items():
        if site.layer == layer and site.stream in streams:
            yield Part(f"steered {site}", "steer", site, change)


class AddsUp(Protocol):
    """A dictionary whose features, a bias and an error add up to the residual: an SAE."""

    @property
    def kind(self) -> str:
        """What it is called."""
        ...

    @property
    def site(self) -> Site:
        """Where it reads."""
        ...

    def encode(self, h: Tensor) -> Tensor:
        """Activations [..., feature] of h [..., d_model]."""
        ...

    def decode(self, activations: Tensor, h: Tensor) -> Tensor:
        """What they stand for, [..., d_model]."""
        ...

    def error(self, h: Tensor) -> Tensor:
        """What it leaves unexplained of h."""
        ...

    def __getitem__(self, index: int) -> Feature: ...


def features_of(dictionary: AddsUp, read: PartsRead, parts: Sequence[Part]) -> Iterator[Part]:
    """The same summands, but what an SAE's site holds is told as active features, bias and error.

    At a residual all that came before is replaced, at a sublayer's output that sublayer.

    Raises:
        ValueError: the SAE reads a stream that is no summand of the residual, or the model has no such stream.
    """
    import torch

    if not getattr(dictionary, "adds_up", False):
        raise ValueError(
            f"Logits are attributed to features whose activations times directions add up to the residual, as an SAE's "
            f"do; {dictionary!r} was given."
        )
    site = dictionary.site
    found = read.at(site)
    if site.stream not in ("resid_pre", "resid_post", "attn_out", "mlp_out") or found is None:
        raise ValueError(
            f"Logits can be attributed to features of an SAE of resid_pre, resid_post, attn_out or mlp_out; this one "
            f"reads {site}."
        )
    change = read.changes.get(site)
    h = (found if change is None else found - change)[None]
    activations = dictionary.encode(h)
    active = activations[0].nonzero()[:, 0]
    nothing = torch.zeros_like(activations)
    bias = dictionary.decode(nothing, h)[0]
    yield Part(f"{dictionary.kind} {site}: bias", "bias", site, bias)
    for some in torch.split(active, _DECODED):
        rows = activations.new_zeros((len(some), activations.shape[-1]))
        rows[range(len(some)), some] = activations[0, some]
        written = dictionary.decode(rows, h.expand(len(some), -1)) - bias
        for index, vector in zip(some.tolist(), written, strict=True):
            feature = dictionary[index]
            yield Part(f"{dictionary.kind} {index}: {feature.label}", "feature", site, vector, feature)
    yield Part(f"{dictionary.kind} {site}: error", "error", site, dictionary.error(h)[0])
    yield from (part for part in parts if not _held(part, site))


def _held(part: Part, site: Site) -> bool:
    """Whether a site holds a part already."""
    if part.kind == "steer" and part.site == site:
        return False
    if site.stream in ("attn_out", "mlp_out"):
        is_inside = part.site is not None and part.site.layer == site.layer
        inner = _OF_ATTENTION if site.stream == "attn_out" else _OF_MLP
        return is_inside and part.site is not None and part.site.stream in inner
    if part.site is None or part.site.layer < site.layer:
        return True
    return part.site.layer == site.layer and (site.stream == "resid_post" or part.site.stream == "resid_pre")


def _known(stream: Tensor | None) -> Tensor:
    if stream is None:
        raise RuntimeError("A residual stream was not read, though every block has one.")
    return stream
