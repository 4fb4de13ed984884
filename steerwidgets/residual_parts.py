"""The parts that the last residual is the sum of: embedding, attention, MLPs, injected changes, an SAE's features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from steerwidgets.lens.streams import Streams, read_text
from steerwidgets.transformer.sites import Site, Stream
from steerwidgets.transformer.written_to_residual import written_change

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.dictionaries.sae.sae import SAE
    from steerwidgets.engine import Engine
    from steerwidgets.steer import Feature
    from steerwidgets.steering.recipe import Recipe
    from steerwidgets.transformer.layout import Known
    from steerwidgets.transformer.prompts import Prompt

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


def read_parts(engine: Engine, prompt: Prompt, recipe: Recipe | None, known: Known, position: int) -> PartsRead:
    """Read all that the last residual at one position is made of, in one forward pass."""
    architecture = engine.architecture
    wanted: tuple[Stream, ...] = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
    sites = [Site(layer, stream) for layer in range(architecture.layers) for stream in wanted]
    sites = [site for site in sites if architecture.has(site)]
    streams = read_text(engine, prompt.token_ids, [recipe], known, sites, [position])
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


def features_of(sae: SAE, read: PartsRead, parts: Sequence[Part]) -> Iterator[Part]:
    """The same summands, but what an SAE's site holds is told as active features, bias and error.

    At a residual all that came before is replaced, at a sublayer's output that sublayer.

    Raises:
        ValueError: the SAE reads a stream that is no summand of the residual, or the model has no such stream.
    """
    import torch

    site = sae.site
    found = read.at(site)
    if site.stream not in ("resid_pre", "resid_post", "attn_out", "mlp_out") or found is None:
        raise ValueError(
            f"Logits can be attributed to features of an SAE of resid_pre, resid_post, attn_out or mlp_out; this one "
            f"reads {site}."
        )
    change = read.changes.get(site)
    h = (found if change is None else found - change)[None]
    activations = sae.encode(h)
    active = activations[0].nonzero()[:, 0]
    nothing = torch.zeros_like(activations)
    bias = sae.decode(nothing, h)[0]
    yield Part(f"SAE {site}: bias", "bias", site, bias)
    for some in torch.split(active, _DECODED):
        rows = activations.new_zeros((len(some), activations.shape[-1]))
        rows[range(len(some)), some] = activations[0, some]
        written = sae.decode(rows, h.expand(len(some), -1)) - bias
        for index, vector in zip(some.tolist(), written, strict=True):
            feature = sae[index]
            yield Part(f"SAE {index}: {feature.label}", "feature", site, vector, feature)
    yield Part(f"SAE {site}: error", "error", site, sae.error(h)[0])
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
