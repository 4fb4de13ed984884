"""What a lens keeps of the logits of each layer and position: reduced chunk by chunk, where the logits are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

import einops

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.transformer.unembed import Unembed

CHUNK_BYTES: Final = {"cpu": 48 * 2**20, "other": 256 * 2**20}
"""Logits that exist at a time: enough rows for a matmul to be fast, and no more."""
_POSITIONS: Final = 64
"""Positions whose final distribution is held while the layers pass by."""
_GROUP: Final = 64
"""Neighbouring tokens whose largest logit stands for all of them, when the largest of all are looked for."""


@dataclass(frozen=True)
class Cells:
    """What is kept of each cell, all [row, layer, position, …].

    Attributes:
        token_ids: int32 [row, layer, position, k], the likeliest tokens from first to last.
        log_probs: float32 of the same shape, in nats.
        entropy: float32 [row, layer, position], in nats.
        kl: float32 [row, layer, position], KL(final ‖ layer) in nats.
        tracked_log_probs: float32 [row, layer, position, tracked].
        tracked_ranks: int32 of the same shape; 0 is the likeliest.
    """

    token_ids: Tensor
    log_probs: Tensor
    entropy: Tensor
    kl: Tensor
    tracked_log_probs: Tensor
    tracked_ranks: Tensor


@dataclass(frozen=True)
class DifferenceCells:
    """What is kept of the difference of the last row and the first, all [layer, position, …].

    Attributes:
        rise_ids: int32 [layer, position, k], the tokens whose probability grows most.
        rises: float32 of the same shape, the change of probability.
        fall_ids: the tokens whose probability shrinks most.
        falls: the change of probability, negative.
        promoted_ids: the tokens whose logit grows most.
        promoted: the change of logit, less the mean over the vocabulary.
        suppressed_ids: the tokens whose logit shrinks most.
        suppressed: the change of logit likewise.
        d_top: float32 [layer, position], the change of log-probability of the first row's likeliest token.
    """

    rise_ids: Tensor
    rises: Tensor
    fall_ids: Tensor
    falls: Tensor
    promoted_ids: Tensor
    promoted: Tensor
    suppressed_ids: Tensor
    suppressed: Tensor
    d_top: Tensor


@dataclass(frozen=True)
class Reduced:
    """All that is kept of a text.

    Attributes:
        cells: of every row.
        difference: of the last row and the first, if asked for.
        answers: int32 [row, position], the likeliest token of the final distribution.
    """

    cells: Cells
    difference: DifferenceCells | None
    answers: Tensor


def reduce_cells(
    unembed: Unembed,
    residuals: Sequence[Tensor],
    final: Tensor,
    *,
    k: int,
    tracked: Sequence[int],
    compare: bool,
    final_index: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Reduced:
    """Unembed residuals in chunks of at most `CHUNK_BYTES` of logits, and keep what a lens shows.

    Args:
        unembed: from residuals to logits.
        residuals: for each layer [row, position, d_model].
        final: [row, position, d_model], the residual that the model's own logits are made of.
        k: how many tokens of each cell.
        tracked: ids of tokens to follow.
        compare: whether the last row is compared with the first.
        final_index: which of the layers is `final` itself, so that it is unembedded once.
        on_progress: called with the cells done and all of them; what it raises ends the work.
    """
    import torch

    rows, positions = final.shape[:2]
    layers = len(residuals)
    chunk_bytes = CHUNK_BYTES["cpu" if unembed.device.type == "cpu" else "other"]
    at_once = max(1, chunk_bytes // (4 * unembed.vocabulary * rows))
    width = min(_POSITIONS, at_once, positions)
    # The final distribution goes first, since all others are compared with it.
    others = [layer for layer in range(layers) if layer != final_index]
    collected = _Collected(rows, layers, positions)
    scratch: Tensor | None = None
    for where in _slices(positions, width):
        of_final: _Final | None = None
        for some in _runs([final_index if final_index is not None else -1, *others], at_once // width):
            chunk = torch.stack([(final if layer < 0 else residuals[layer])[:, where] for layer in some], dim=1)
            logits = unembed.logits(chunk)
            scratch = torch.empty_like(logits[:, :1]) if scratch is None or of_final is None else scratch
            # Many layers make a fast matmul, one at a time stays in the cache while it is reduced.
            for i, layer in enumerate(some):
                made = _Logits(logits[:, i : i + 1], scratch)
                of_final = of_final or made.as_final()
                if layer < 0:
                    continue
                cells = made.reduced(of_final, k, tracked)
                collected.add(layer, where, cells, made.difference(cells.token_ids, k) if compare else None)
            if on_progress is not None:
                on_progress(collected.done, layers * positions)
        if of_final is not None:
            collected.answers[:, where] = of_final.answers.cpu()
    return collected.whole()


@dataclass(frozen=True)
class _Final:
    """The final distribution: probabilities and entropy [row, 1, position, …], likeliest token [row, position]."""

    probs: Tensor
    entropy: Tensor
    answers: Tensor


class _Logits:
    """One layer's logits [row, 1, position, vocabulary], written over while they are reduced.

    Args:
        x: the logits.
        scratch: room of the same shape, used again for every layer.
    """

    def __init__(self, x: Tensor, scratch: Tensor) -> None:
        import torch

        self.x = x
        maxima = _group_maxima(x)
        shift = maxima.amax(-1, keepdim=True)
        self._maxima = maxima - shift
        x.sub_(shift)
        self._e = torch.exp(x, out=scratch)
        self._total = self._e.sum(-1, keepdim=True)
        self._log_total = self._total.log()
        # -Σ p log p = log Σe^x - Σ e^x x / Σe^x: one pass of exponentials serves for all.
        self._entropy = (self._log_total[..., 0] - _dots(self._e, x) / self._total[..., 0]).clamp_(min=0)

    def as_final(self) -> _Final:
        """The distribution that all layers are compared with."""
        answers = _top_of(self.x, self._maxima, 1)[1][:, 0, :, 0]
        return _Final(self._e / self._total, self._entropy, answers.int())

    def reduced(self, final: _Final, k: int, tracked: Sequence[int]) -> Cells:
        import torch

        x = self.x
        values, ids = _top_of(x, self._maxima, k)
        # Σ p (log p - x + log Σe^x) with the final p: no logarithm of the layer's own probabilities is needed.
        kl = (self._log_total[..., 0] - _dots(final.probs, x) - final.entropy).clamp_(min=0)
        ranks = torch.empty((*x.shape[:-1], len(tracked)), dtype=torch.int32, device=x.device)
        for i, token in enumerate(tracked):
            ranks[..., i] = _larger(x, x[..., token, None])
        of_tracked = x[..., list(tracked)] - self._log_total
        return Cells(ids.int(), values - self._log_total, self._entropy, kl, of_tracked, ranks)

    def difference(self, token_ids: Tensor, k: int) -> DifferenceCells:
        """The last row less the first."""
        x = self.x
        likeliest = token_ids[:1, ..., :1].long()
        of_likeliest = x.gather(-1, likeliest.expand(len(x), -1, -1, -1)) - self._log_total
        probability = self._e[-1] / self._total[-1] - self._e[0] / self._total[0]
        logit = x[-1] - x[0]
        logit -= logit.mean(-1, keepdim=True)
        rises, rise_ids = top(probability, k)
        promoted, promoted_ids = top(logit, k)
        falls, fall_ids = top(probability.neg_(), k)
        suppressed, suppressed_ids = top(logit.neg_(), k)
        return DifferenceCells(
            rise_ids.int(),
            rises,
            fall_ids.int(),
            -falls,
            promoted_ids.int(),
            promoted,
            suppressed_ids.int(),
            -suppressed,
            (of_likeliest[-1] - of_likeliest[0])[..., 0],
        )


class _Collected:
    """The chunks' results in one piece, on the CPU."""

    def __init__(self, rows: int, layers: int, positions: int) -> None:
        import torch

        self.answers = torch.empty((rows, positions), dtype=torch.int32)
        self.done = 0
        self._shape = (rows, layers, positions)
        self._cells: dict[str, Tensor] = {}
        self._difference: dict[str, Tensor] = {}

    def add(self, layer: int, where: slice, cells: Cells, difference: DifferenceCells | None) -> None:
        """Take in one layer's cells at some positions."""
        self.done += where.stop - where.start
        for each in fields(cells):
            part: Tensor = getattr(cells, each.name)
            self._place(self._cells, each.name, part, 3)[:, layer, where] = part[:, 0].cpu()
        for each in fields(difference) if difference is not None else ():
            part = getattr(difference, each.name)
            self._place(self._difference, each.name, part, 2)[layer, where] = part[0].cpu()

    def whole(self) -> Reduced:
        difference = DifferenceCells(**self._difference) if self._difference else None
        return Reduced(Cells(**self._cells), difference, self.answers)

    def _place(self, kept: dict[str, Tensor], name: str, part: Tensor, axes: int) -> Tensor:
        import torch

        if name not in kept:
            kept[name] = torch.empty((*self._shape[-axes:], *part.shape[axes:]), dtype=part.dtype)
        return kept[name]


def top(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` largest numbers of the last axis, from the largest down, and their indices."""
    return _top_of(x, _group_maxima(x), k)


def _group_maxima(x: Tensor) -> Tensor:
    """The maximum of every `_GROUP` neighbours of the last axis: [..., group]; the last group may be smaller."""
    import torch

    size = x.shape[-1]
    whole = size - size % _GROUP
    groups: Tensor = einops.reduce(x[..., :whole], "... (group neighbour) -> ... group", "max", neighbour=_GROUP)
    return groups if whole == size else torch.cat([groups, x[..., whole:].amax(-1, keepdim=True)], dim=-1)


def _top_of(x: Tensor, groups: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` largest of the last axis and their indices: they lie in the `k` groups with the largest maxima."""
    import torch

    size, k = x.shape[-1], min(k, x.shape[-1])
    if k >= groups.shape[-1]:
        found = x.topk(k)
        return found.values, found.indices
    best = groups.topk(k).indices
    index = (best[..., None] * _GROUP + torch.arange(_GROUP, device=x.device)).flatten(-2)
    candidates = x.gather(-1, index.clamp(max=size - 1)).masked_fill_(index >= size, -torch.inf)
    found = candidates.topk(k)
    return found.values, index.gather(-1, found.indices)


def _dots(a: Tensor, b: Tensor) -> Tensor:
    """Dot products of the last axis of [row, layer, position, vocabulary]; `a` may have one layer for all."""
    import torch

    a = a.expand_as(b)
    if b.device.type != "cpu":
        together: Tensor = torch.linalg.vecdot(a, b)
        return together
    # On a CPU, vecdot writes all products out before it sums them.
    pairs = [torch.dot(u, v) for u, v in zip(_vectors(a), _vectors(b), strict=True)]
    return torch.stack(pairs).view(b.shape[:-1])


def _larger(x: Tensor, than: Tensor) -> Tensor:
    """How many numbers of the last axis are larger than one: int32 [row, layer, position]."""
    import numpy as np
    import torch

    if x.device.type != "cpu":
        return (x > than).sum(-1, dtype=torch.int32)
    # Of a CPU's ways to count, NumPy's on one vector at a time is twenty times faster than a sum of booleans.
    pairs = zip(_vectors(x), than.flatten().tolist(), strict=True)
    counts = [int(np.count_nonzero(vector.numpy() > np.float32(value))) for vector, value in pairs]
    return torch.tensor(counts, dtype=torch.int32).view(x.shape[:-1])


def _vectors(x: Tensor) -> Iterator[Tensor]:
    return (vector for row in x.unbind() for layer in row.unbind() for vector in layer.unbind())


def _slices(total: int, step: int) -> Iterator[slice]:
    for start in range(0, total, step):
        yield slice(start, min(total, start + step))


def _runs(items: Sequence[int], step: int) -> Iterator[list[int]]:
    for each in _slices(len(items), step):
        yield list(items[each])
