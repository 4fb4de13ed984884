"""Activation patching: which block and token of one text carry what another text answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, get_args

from steerwidgets.steering.divergence import next_token_logits
from steerwidgets.steering.recipe import Direction, Recipe, Steer
from steerwidgets.transformer.hookpoints import Hooks, on_stream
from steerwidgets.transformer.layout import in_this_thread
from steerwidgets.transformer.plain_text import quoted, table
from steerwidgets.transformer.prompts import Prompt, Token
from steerwidgets.transformer.sites import Site

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.transformer.loaded import LoadedModel

Metric = Literal["logit difference", "kl"]
PatchedStream = Literal["resid_post", "resid_pre", "attn_out", "mlp_out", "attn_z"]
Blocks = int | tuple[int, int]
"""A block, or the first and the last of several that are patched together."""

METRICS: Final[tuple[Metric, ...]] = get_args(Metric)
STREAMS: Final[tuple[PatchedStream, ...]] = get_args(PatchedStream)
_ROUNDING: Final = 1e-5
"""Of a residual, what two ways to compute it may differ by."""


class PatchSettings(TypedDict, total=False):
    """The settings of patching, each with its default.

    Attributes:
        tokens: the answers whose logits are compared, the source's and the target's, as texts or ids; by default,
            and where one is None, what the model itself says after each text.
        metric: `logit difference` (the default), or `kl`: KL(after the source ‖ after the patched text), in nats.
        stream: `resid_post` (the default), `resid_pre`, `attn_out`, `mlp_out`; or `attn_z`, head by head.
        layers: which blocks, counted from 0; by default all.
        positions: which tokens of the text that is patched, negative ones from the end; by default all aligned ones.
        align: pairs of positions, the source's and the target's, that belong together; see `aligned`.
        noise: patch the target's residuals into the source instead: which of them break its answer.
        on_progress: called with the blocks done and all of them; what it raises ends the work.
        stop: set it to end early; what was not measured by then is NaN.
    """

    tokens: tuple[str | int | None, str | int | None] | None
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
        lm: the model.
        measure: the metric of logits [..., vocabulary].
        ranges: by how much patches of several blocks change each residual, as far as they were measured: two runs
            agree to rounding alone, and the same patch shall be the same recipe.
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
    lm: LoadedModel
    measure: Callable[[Tensor], Tensor]
    ranges: dict[tuple[tuple[int, ...], int], dict[Site, dict[int, Tensor]]] = field(default_factory=dict)

    @property
    def of_heads(self) -> bool:
        """Whether columns are attention heads rather than positions."""
        return self.stream == "attn_z"

    def recipe(self, layer: Blocks, column: int) -> Recipe:
        """A cell's patch as a recipe, for `lm.compare(grid.text.token_ids, …)`, `lm.logit_difference`, a panel.

        It adds the difference of the two texts' residuals, so what the site holds is the other text's. Of several
        blocks each adds what is still missing after those below it, so that all of them hold the other text's.

        Args:
            layer: the block, or the first and the last block of a range.
            column: the position in the text, or the head for `attn_z`.

        Returns:
            The recipe; a steer for each block, and for a head for each position.

        Raises:
            ValueError: there is no such cell, or both texts hold the same there.

        Example:
            >>> grid = lm.patch([5, 9, 4], [5, 7, 4], metric="kl")
            >>> len(grid.recipe(1, 2)), len(grid.recipe((1, 3), 2))
            (1, 3)
        """
        blocks = self._blocks(layer)
        if len(blocks) == 1 and blocks[0] in self.layers:
            changes = {Site(blocks[0], self.stream): self._changes(blocks[0], column)}
        elif (known := self.ranges.get((blocks, column))) is not None:
            changes = known
        else:
            _, changes = self._set(blocks, column)
        return self._recipe(changes, blocks, column)

    def cell(self, layer: Blocks, column: int, *, k: int = 5, random: int = 5) -> PatchedCell:
        """One patch looked at closely: what the model says next, and what random changes of the same size do.

        Of a range, the residual is set at every one of its blocks, in one run.

        Args:
            layer: the block, or the first and the last block of a range.
            column: the position in the text, or the head for `attn_z`.
            k: how many of the likeliest next tokens are given.
            random: how many random changes of the same size are tried in the patch's place, as a control.

        Returns:
            `.share`, `.value`, `.next`, `.random`, `.recipe`.

        Raises:
            ValueError: there is no such cell, or both texts hold the same there.

        Example:
            >>> grid = lm.patch([5, 9], [5, 7], metric="kl")
            >>> cell = grid.cell((0, 3), 1)  # the model never sees the other word
            >>> cell.layers, len(cell.next), len(cell.random)
            ((0, 3), 5, 5)
        """
        blocks = self._blocks(layer)
        logits, changes = self._set(blocks, column)
        recipe = self._recipe(changes, blocks, column)
        controls = [Recipe(tuple(steer.random_direction(seed) for steer in recipe)) for seed in range(random)]
        others = next_token_logits(self.lm, self.text, controls) if controls else logits[:0]
        value = float(self.measure(logits[0]))
        probabilities = logits[0].softmax(-1).topk(min(k, logits.shape[-1]))
        likeliest = zip(self.lm.tokens(probabilities.indices.tolist()), probabilities.values.tolist(), strict=True)
        return PatchedCell(
            layers=(blocks[0], blocks[-1]),
            column=column,
            share=self._share(value),
            value=value,
            next=tuple(likeliest),
            random=tuple(self._share(each) for each in self.measure(others).tolist()),
            recipe=recipe,
        )

    def _share(self, value: float) -> float:
        return (value - self.before) / (self.after - self.before)

    def _blocks(self, given: Blocks) -> tuple[int, ...]:
        ends: Any = tuple(given) if isinstance(given, Sequence) and not isinstance(given, range) else (given, given)
        count = self.lm.architecture.layers
        if len(ends) != 2 or not all(isinstance(end, Integral) for end in ends) or not 0 <= ends[0] <= ends[1] < count:
            raise ValueError(
                f"A block is a number from 0 to {count - 1}, and a range of them (first, last) with first ≤ last; "
                f"{given!r} was given."
            )
        return tuple(range(ends[0], ends[1] + 1))

    def _changes(self, layer: int, column: int) -> dict[int, Tensor]:
        """How far a patch of one block moves each position."""
        moved = (self.replacing - self.replaced)[_place(layer, self.layers, "block")]
        if not self.of_heads:
            at = _place(column, self.positions, "position")
            return {self.positions[at]: moved[at]}
        moved = of_head(moved, self._head(column), self.share.shape[1])
        return dict(zip(self.positions, moved, strict=True))

    def _recipe(self, changes: Mapping[Site, Mapping[int, Tensor]], blocks: Sequence[int], column: int) -> Recipe:
        labels = {position: f"patch of {quoted(self.tokens[position])}" for position in self.positions}
        found = tuple(steer for site, moved in changes.items() for steer in steers(site, moved, labels))
        if not found:
            where = f"block {blocks[0]}" if len(blocks) == 1 else f"blocks {blocks[0]} to {blocks[-1]}"
            raise ValueError(
                f"Both texts hold the same at {where}, {'head' if self.of_heads else 'position'} {column}, so nothing "
                "is patched there; choose a cell at or after the first token in which they differ."
            )
        return Recipe(found)

    def _head(self, column: int) -> int:
        return _place(column, range(self.share.shape[1]), "head")

    def _set(self, blocks: Sequence[int], column: int) -> tuple[Tensor, dict[Site, dict[int, Tensor]]]:
        """Run the text with the other's residuals set at several blocks.

        Returns:
            The logits of the next token [1, vocabulary], and by how much each residual was changed.
        """
        import torch

        lm, sites = self.lm, [Site(block, self.stream) for block in blocks]
        columns = range(len(self.positions)) if self.of_heads else [_place(column, self.positions, "position")]
        changes: dict[Site, dict[int, Tensor]] = {site: {} for site in sites}

        def put(site: Site, new: Tensor) -> Callable[[Tensor], Tensor]:
            def edit(stream: Tensor) -> Tensor:
                out = stream.clone()
                for i in columns:
                    at, held = self.positions[i], out[0, self.positions[i]]
                    moved = new[self.partners[i]].to(held.device) - held.float()
                    if self.of_heads:
                        moved = of_head(moved, self._head(column), self.share.shape[1])
                    # What differs by rounding alone is no steer: above the first of several blocks it may be all.
                    is_rounding = bool(moved.norm() <= _ROUNDING * held.float().norm())
                    changes[site][at] = torch.zeros_like(moved).cpu() if is_rounding else moved.cpu()
                    out[0, at] = (held.float() + moved).to(held.dtype)
                return out

            return edit

        thread = threading.get_ident()
        with lm.lock:
            found = lm.residuals(self.other, sites).values
            with Hooks() as hooks, hooks:
                for site in sites:
                    edit = in_this_thread(thread, put(site, found[site][0]))
                    hooks.append(on_stream(lm.architecture.hookpoint(site), edit))
                logits = next_token_logits(lm, self.text, [None])
        return logits, self.ranges.setdefault((tuple(blocks), column), changes)

    def largest(self, k: int = 10) -> list[tuple[int, int, float]]:
        """The cells whose share is largest.

        Args:
            k: how many.

        Returns:
            Block, position (or head), share; the largest first.

        Example:
            >>> grid = lm.patch([5, 9], [5, 7], metric="kl")
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
        at = ", ".join(f"{each} {quoted(self.tokens[each])}" for each in self.positions)
        places = "every position" if len(self.positions) == len(self.tokens) else f"position {at}"
        what = f"each head at {places}," if self.of_heads else "each token's"
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


@dataclass(frozen=True, repr=False, eq=False)
class PatchedCell:
    """One patch, looked at closely.

    Attributes:
        layers: the first and the last block that are patched.
        column: the position in the text, or the head for `attn_z`.
        share: how much of the difference it brings over.
        value: the metric of the patched run.
        next: the likeliest next tokens when patched, each with its probability.
        random: shares of random changes of the same size at the same places: what patching anything would do.
        recipe: the patch.
    """

    layers: tuple[int, int]
    column: int
    share: float
    value: float
    next: tuple[tuple[Token, float], ...]
    random: tuple[float, ...]
    recipe: Recipe

    def __repr__(self) -> str:
        said = ", ".join(f"{quoted(token)} {probability:.3g}" for token, probability in self.next)
        return f"share {self.share:.3g}, value {self.value:.3g}; next {said}"


def of_head(vectors: Tensor, head: int, heads: int) -> Tensor:
    """What of heads' outputs [..., heads × d_head] is one head's, zeros elsewhere."""
    import torch

    width = vectors.shape[-1] // heads
    own = torch.zeros_like(vectors)
    own[..., head * width : (head + 1) * width] = vectors[..., head * width : (head + 1) * width]
    return own


def steers(site: Site, changes: Mapping[int, Tensor], labels: Mapping[int, str]) -> Iterator[Steer]:
    """A steer for every position whose residual changes."""
    for position, change in changes.items():
        if bool(change.any()):
            yield Direction(change, site, labels.get(position, "patch")).add(1.0).at([position])


def _place(given: int, known: Sequence[int], name: str) -> int:
    if given not in known:
        is_range = len(known) > 2 and known[-1] - known[0] == len(known) - 1
        has = f"{known[0]} to {known[-1]}" if is_range else ", ".join(map(str, known))
        raise ValueError(f"This grid has no {name} {given!r}; it has {has}.")
    return list(known).index(given)
