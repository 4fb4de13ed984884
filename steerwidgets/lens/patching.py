"""Activation patching: which block and token of one text carry what another text answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, get_args

from steerwidgets.files.shown import shown
from steerwidgets.lens.logit_lens import indices, token_id
from steerwidgets.steering.divergence import next_token_logits
from steerwidgets.steering.recipe import Direction, Recipe, Steer
from steerwidgets.transformer.plain_text import quoted, table
from steerwidgets.transformer.prompts import Prompt, Token
from steerwidgets.transformer.sites import Site
from steerwidgets.transformer.unembed import Unembed

if TYPE_CHECKING:
    import threading

    from torch import Tensor

    from steerwidgets.transformer.continuation import Continuation
    from steerwidgets.transformer.loaded import LoadedModel

Metric = Literal["logit difference", "kl"]
PatchedStream = Literal["resid_post", "resid_pre", "attn_out", "mlp_out", "attn_z"]

_METRICS: Final[tuple[Metric, ...]] = get_args(Metric)
_STREAMS: Final[tuple[PatchedStream, ...]] = get_args(PatchedStream)
_ROWS: Final = 32
"""Rows of one batch where a model does not go on from the middle of its blocks."""
_NEAR: Final = 1e-3
"""How far logits that are made in two ways may differ, as a share of their norm."""


class PatchSettings(TypedDict, total=False):
    """The settings of patching, each with its default.

    Attributes:
        tokens: the answers whose logits are compared, the source's and the target's, as texts or ids; by default what
            the model itself says after each text.
        metric: `logit difference` (the default), or `kl`: KL(after the source ‖ after the patched text), in nats.
        stream: `resid_post` (the default), `resid_pre`, `attn_out`, `mlp_out`; or `attn_z`, head by head.
        layers: which blocks, counted from 0; by default all.
        positions: which tokens of the text that is patched, negative ones from the end; by default all aligned ones.
        align: pairs of positions, the source's and the target's, that belong together; see `aligned`.
        noise: patch the target's residuals into the source instead: which of them break its answer.
        on_progress: called with the blocks done and all of them; what it raises ends the work.
        stop: set it to end early; what was not measured by then is NaN.
    """

    tokens: tuple[str | int, str | int] | None
    metric: Metric
    stream: PatchedStream
    layers: Sequence[int] | None
    positions: Sequence[int] | None
    align: Sequence[tuple[int, int]] | None
    noise: bool
    on_progress: Callable[[int, int], None] | None
    stop: threading.Event | None


@dataclass(frozen=True, repr=False, eq=False)
class Patching:
    """How much of one text's answer each patched residual brings over to another.

    Attributes:
        share: float32 [layer, position], or [layer, head] for `attn_z`: (metric patched − metric of the text) ÷
            (metric of the other − metric of the text). 0 changes nothing, 1 brings all over, and others are possible.
        values: the metric of each patched run, of the same shape.
        text: the text that is patched: the target, or the source where `noise` was asked for.
        other: the text that residuals come from.
        tokens: those of `text`.
        layers: the blocks of the rows.
        positions: the positions of `text` in the columns; for `attn_z` those at which a head is patched, all at once.
        partners: for each position, that of `other` that its residual comes from.
        answers: the source's and the target's answer, whose logits are compared; None for `kl`.
        metric: what is measured.
        stream: what is patched.
        before: the metric of `text` as it is.
        after: the metric of `other`.
        replaced: the residuals of `text`, float32 [layer, position, width].
        replacing: the residuals of `other` that take their place.
    """

    share: Tensor
    values: Tensor
    text: Prompt
    other: Prompt
    tokens: tuple[Token, ...]
    layers: tuple[int, ...]
    positions: tuple[int, ...]
    partners: tuple[int, ...]
    answers: tuple[Token, Token] | None
    metric: Metric
    stream: PatchedStream
    noise: bool
    before: float
    after: float
    replaced: Tensor
    replacing: Tensor

    @property
    def of_heads(self) -> bool:
        """Whether columns are attention heads rather than positions."""
        return self.stream == "attn_z"

    def recipe(self, layer: int, column: int) -> Recipe:
        """A cell's patch as a recipe, for `lm.compare(grid.text.token_ids, …)`, `lm.logit_difference`, a panel.

        It adds the difference of the two texts' residuals, so what the site holds is the other text's.

        Args:
            layer: the block.
            column: the position in the text, or the head for `attn_z`.

        Returns:
            The recipe; for a head it has a steer for each position.

        Raises:
            ValueError: there is no such cell, or both texts hold the same there.

        Example:
            >>> grid = lm.patch("The user asks", "The model asks", metric="kl")
            >>> len(grid.recipe(1, 1))
            1
        """
        row = _place(layer, self.layers, "block")
        site = Site(layer, self.stream)
        if not self.of_heads:
            at = [_place(column, self.positions, "position")]
            changes = (self.replacing - self.replaced)[row]
        else:
            at = list(range(len(self.positions)))
            head = _place(column, range(self.share.shape[1]), "head")
            changes = _of_head(self.replacing - self.replaced, head, self.share.shape[1])[row]
        labels = {position: f"patch of {quoted(self.tokens[position])}" for position in self.positions}
        patches = {self.positions[i]: changes[i] for i in at}
        steers = tuple(_steers(site, patches, labels))
        if not steers:
            raise ValueError(
                f"Both texts hold the same at block {layer}, {'head' if self.of_heads else 'position'} {column}, so "
                "nothing is patched there; choose a cell at or after the first token in which they differ."
            )
        return Recipe(steers)

    def largest(self, k: int = 10) -> list[tuple[int, int, float]]:
        """The cells whose share is largest.

        Args:
            k: how many.

        Returns:
            Block, position (or head), share; the largest first.

        Example:
            >>> grid = lm.patch("The user asks", "The model asks", metric="kl")
            >>> len(grid.largest(3))
            3
        """
        columns = range(self.share.shape[1]) if self.of_heads else self.positions
        cells = [
            (layer, column, float(self.share[i, j]))
            for i, layer in enumerate(self.layers)
            for j, column in enumerate(columns)
        ]
        return sorted((cell for cell in cells if cell[2] == cell[2]), key=lambda cell: -cell[2])[:k]

    @property
    def said(self) -> str:
        """What was measured, in words."""
        answers = "" if self.answers is None else f" of {quoted(self.answers[0])} and {quoted(self.answers[1])}"
        which = "source into target" if not self.noise else "target into source"
        what = "each head at every position" if self.of_heads else "each token's"
        return (
            f"{what} {self.stream}, {which}: share of the {self.metric}{answers} ({self.before:.3g} → {self.after:.3g})"
        )

    def __repr__(self) -> str:
        name = "head" if self.of_heads else "token"
        cells = [
            (layer, column if self.of_heads else f"{column} {quoted(self.tokens[column])}", share)
            for layer, column, share in self.largest(8)
        ]
        return f"{self.said}\n{table(['block', name, 'share'], cells)}"


def patch(lm: LoadedModel, source: Prompt, target: Prompt, settings: PatchSettings) -> Patching:
    """See `LanguageModel.patch`."""
    lm.refuse_steering()
    with lm.lock:
        return _Work(lm, source, target, _Asked(lm, settings)).done()


def aligned(source: Sequence[int], target: Sequence[int]) -> list[tuple[int, int]]:
    """Which tokens of two texts belong together: by position where they are as long, else from both ends.

    Of different lengths, what both begin with and both end with is paired, and what lies between is paired from its
    end: the last token of a name is where a model gathers what it knows of it (Meng et al. 2022).

    Args:
        source: ids.
        target: ids.

    Returns:
        Pairs of positions, ascending.
    """
    if len(source) == len(target):
        return [(i, i) for i in range(len(target))]
    start = _shared(source, target)
    rest = min(len(source), len(target)) - start
    pairs = [(i, i) for i in range(start)]
    return pairs + [(len(source) - i, len(target) - i) for i in range(rest, 0, -1)]


class _Asked:
    """Settings that make sense."""

    def __init__(self, lm: LoadedModel, settings: PatchSettings) -> None:
        if unknown := set(settings) - set(PatchSettings.__annotations__):
            raise TypeError(
                f"lm.patch knows no setting {', '.join(sorted(unknown))}; it takes "
                f"{', '.join(PatchSettings.__annotations__)}."
            )
        self.metric: Metric = settings.get("metric", "logit difference")
        self.stream: PatchedStream = settings.get("stream", "resid_post")
        if self.metric not in _METRICS:
            raise ValueError(f"metric= is one of {', '.join(_METRICS)}; {shown(self.metric)} was given.")
        if self.stream not in _STREAMS:
            raise ValueError(f"Patching takes the streams {', '.join(_STREAMS)}; {shown(self.stream)} was given.")
        parts = lm.architecture
        self.layers = indices(settings.get("layers"), parts.layers, "layers", f"{parts.name} has {parts.layers} blocks")
        for layer in self.layers:
            parts.hookpoint(Site(layer, self.stream))
        self.noise = bool(settings.get("noise", False))
        self.tokens = settings.get("tokens")
        self.align, self.positions = settings.get("align"), settings.get("positions")
        self.on_progress, self.stop = settings.get("on_progress"), settings.get("stop")


class _Work:
    """One grid of patches."""

    def __init__(self, lm: LoadedModel, source: Prompt, target: Prompt, asked: _Asked) -> None:
        self._lm, self._asked = lm, asked
        pairs = _checked_pairs(asked.align, source, target)
        self._text, self._other = (source, target) if asked.noise else (target, source)
        pairs = [(s, t) if asked.noise else (t, s) for s, t in pairs]
        wanted = None
        if asked.positions is not None:
            length = len(self._text)
            wanted = set(indices(asked.positions, length, "positions", f"the patched text has {length} tokens"))
        self._pairs = sorted(pair for pair in pairs if wanted is None or pair[0] in wanted)
        if not self._pairs:
            raise ValueError(
                "No position is left to patch: those that were asked for are aligned with none of the other."
            )
        # What stands before the first token that differs is the same in both, block by block.
        self._first = _shared(self._text.token_ids, self._other.token_ids)
        self._own = next_token_logits(lm, self._text, [None])[0]
        self._others = next_token_logits(lm, self._other, [None])[0]
        self._reference = (self._own if asked.noise else self._others).log_softmax(-1)
        self._answers = self._checked_answers()
        self._before, self._after = float(self._measure(self._own)), float(self._measure(self._others))
        if abs(self._after - self._before) < 1e-6:
            raise ValueError(
                f"Both texts have the same {asked.metric} ({self._before:.3g}), so no share of a difference can be "
                "given; choose other answers as tokens=, or texts that the model answers differently."
            )

    def done(self) -> Patching:
        import torch

        lm, asked = self._lm, self._asked
        sites = [Site(layer, asked.stream) for layer in asked.layers]
        positions, partners = ([pair[i] for pair in self._pairs] for i in (0, 1))
        own, others = (lm.residuals(prompt, sites).values for prompt in (self._text, self._other))
        replaced = torch.stack([own[site][0, positions] for site in sites])
        replacing = torch.stack([others[site][0, partners] for site in sites])
        columns = self._heads() if asked.stream == "attn_z" else len(positions)
        values = torch.full((len(sites), columns), torch.nan)
        goes_on = self._continuation()
        for i, site in enumerate(sites):
            if asked.stop is not None and asked.stop.is_set():
                break
            runs = self._runs(replacing[i], replaced[i], columns)
            ends = self._plain(site, runs) if goes_on is None else _branched(goes_on, site, runs)
            values[i] = self._of_runs(ends if goes_on is None else self._unembed.logits(ends), runs, columns)
            if asked.on_progress is not None:
                asked.on_progress(i + 1, len(sites))
        return Patching(
            share=(values - self._before) / (self._after - self._before),
            values=values,
            text=self._text,
            other=self._other,
            tokens=tuple(lm.tokens(self._text.token_ids)),
            layers=asked.layers,
            positions=tuple(positions),
            partners=tuple(partners),
            answers=self._answers,
            metric=asked.metric,
            stream=asked.stream,
            noise=asked.noise,
            before=self._before,
            after=self._after,
            replaced=replaced,
            replacing=replacing,
        )

    def _runs(self, new: Tensor, old: Tensor, columns: int) -> list[_Run]:
        """What every run of a block puts where; runs that would change nothing are left out."""
        late = [(i, own) for i, (own, other) in enumerate(self._pairs) if own >= self._first or own != other]
        if self._asked.stream != "attn_z":
            return [_Run(i, {position: new[i]}) for i, position in late]
        if not late:
            return []
        return [
            _Run(head, {p: old[i] + _of_head(new[i] - old[i], head, columns) for i, p in late})
            for head in range(columns)
        ]

    def _of_runs(self, logits: Tensor, runs: Sequence[_Run], columns: int) -> Tensor:
        import torch

        values = torch.full((columns,), self._before)
        if runs:
            values[[run.column for run in runs]] = self._measure(logits.float().cpu())
        return values

    def _continuation(self) -> Continuation | None:
        """The text, where the model goes on from the middle of its blocks as it went; else None."""
        from steerwidgets.transformer.continuation import Continuation

        parts = self._lm.architecture
        if parts.virtual_tokens or hasattr(parts.base, "_hf_hook"):
            return None
        try:
            found = Continuation(parts, self._text.token_ids)
        except (AttributeError, TypeError, KeyError):
            # A model with states of its own in place of keys and values.
            return None
        self._unembed = Unembed(parts)
        end = found.into[-1][-1]
        self._unembed.fit(end, self._own)
        made = self._unembed.logits(end).cpu()
        is_own = bool((made - self._own).norm() <= _NEAR * self._own.norm().clamp(min=1e-20) * _slack(end))
        return found if is_own and found.is_exact() else None

    def _plain(self, site: Site, runs: Sequence[_Run]) -> Tensor:
        """The logits after every run [run, vocabulary], each a whole row of a batch."""
        import torch

        own = self._lm.residuals(self._text, [site]).values[site][0]
        changes = [{p: new - own[p] for p, new in run.patches.items()} for run in runs]
        recipes = [Recipe(tuple(_steers(site, each, {}))) for each in changes]
        parts = [
            next_token_logits(self._lm, self._text, recipes[start : start + _ROWS])
            for start in range(0, len(recipes), _ROWS)
        ]
        return torch.cat(parts) if parts else torch.empty(0, 1)

    def _heads(self) -> int:
        config = self._lm.architecture.config
        return int(getattr(config, "num_attention_heads", None) or config.n_head)

    def _measure(self, logits: Tensor) -> Tensor:
        """The metric of logits [..., vocabulary]."""
        if self._answers is not None:
            source, target = (answer.id for answer in self._answers)
            return logits[..., source] - logits[..., target]
        log_p = self._reference
        return (log_p.exp() * (log_p - logits.log_softmax(-1))).sum(-1)

    def _checked_answers(self) -> tuple[Token, Token] | None:
        asked = self._asked
        if asked.metric == "kl":
            return None
        source, target = (self._own, self._others) if asked.noise else (self._others, self._own)
        if asked.tokens is None:
            ids = [int(source.argmax()), int(target.argmax())]
        else:
            given: Any = asked.tokens
            if isinstance(given, str | int) or len(given) != 2:
                raise ValueError(
                    f"tokens= are two answers, the source's and the target's, as (' Rome', ' Paris'); {shown(given)} "
                    "was given."
                )
            ids = [token_id(self._lm, each) for each in given]
        if ids[0] == ids[1]:
            [token] = self._lm.tokens([ids[0]])
            raise ValueError(
                f"Both answers are {quoted(token)}, so there is no difference to bring over; give two answers as "
                "tokens=(of the source, of the target), or metric='kl'."
            )
        first, second = self._lm.tokens(ids)
        return first, second


@dataclass(frozen=True)
class _Run:
    """One patched run: the column of the grid that it fills, and what it puts at which positions."""

    column: int
    patches: dict[int, Tensor]


def _branched(text: Continuation, site: Site, runs: Sequence[_Run]) -> Tensor:
    """The residual at the end of every run [run, d_model], all of a block in one pass."""
    from steerwidgets.transformer.continuation import Branches

    branches = Branches(len(text.into[0]), tuple(min(run.patches) for run in runs))
    if not runs:
        return text.into[-1][:0]

    def patched(packed: Tensor) -> Tensor:
        out = packed.clone()
        for i, run in enumerate(runs):
            for position, new in run.patches.items():
                out[0, branches.index(i, position)] = new.to(out)
        return out

    if site.stream in ("resid_post", "resid_pre"):
        return text.ends(site.layer + (site.stream == "resid_post"), branches, patched)
    return text.ends(site.layer, branches, lambda packed: packed, {site: patched})


def _checked_pairs(given: Any, source: Prompt, target: Prompt) -> list[tuple[int, int]]:
    if given is None:
        return aligned(source.token_ids, target.token_ids)
    pairs = [tuple(pair) if isinstance(pair, Iterable) else (pair,) for pair in given]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise ValueError(
            "align= is a list of pairs of positions, the source's and the target's, as [(3, 4), (-1, -1)]; "
            f"{shown(given)} was given."
        )
    lengths = len(source), len(target)
    found = []
    for pair in pairs:
        both = []
        for position, length, name in zip(pair, lengths, ("source", "target"), strict=True):
            [at] = indices([position], length, "align", f"the {name} has {length} tokens")
            both.append(at)
        found.append((both[0], both[1]))
    for side, name in ((0, "source"), (1, "target")):
        if len({pair[side] for pair in found}) < len(found):
            raise ValueError(f"align= names a position of the {name} twice; each takes part in one pair at most.")
    return found


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two texts begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _of_head(vectors: Tensor, head: int, heads: int) -> Tensor:
    """What of heads' outputs [..., heads × d_head] is one head's, zeros elsewhere."""
    import torch

    width = vectors.shape[-1] // heads
    own = torch.zeros_like(vectors)
    own[..., head * width : (head + 1) * width] = vectors[..., head * width : (head + 1) * width]
    return own


def _steers(site: Site, changes: Mapping[int, Tensor], labels: Mapping[int, str]) -> Iterator[Steer]:
    """A steer for every position whose residual changes."""
    for position, change in changes.items():
        if bool(change.any()):
            yield Direction(change, site, labels.get(position, "patch")).add(1.0).at([position])


def _slack(residual: Tensor) -> float:
    import torch

    return 1.0 if residual.dtype == torch.float32 else 30.0


def _place(given: int, known: Sequence[int], name: str) -> int:
    if given not in known:
        raise ValueError(f"This grid has no {name} {given!r}; it has {', '.join(map(str, known))}.")
    return list(known).index(given)
