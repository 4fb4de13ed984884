"""Where the features of one dictionary fire in one batch, sparsely, and the places that may be worth keeping."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.corpus.histogram import mixed
from steerwidgets.corpus.places import Columns

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.corpus.texts import Piece
    from steerwidgets.dictionaries.base import Dictionary

_ALIKE: Final = 3
"""Places with the same so many tokens before and at the peak are one example."""
_AT_ONCE: Final = 1 << 22
"""How many activations are held at once, those of 0 included: 16 MB in float32."""


@dataclass(frozen=True)
class Batch:
    """The pieces of a batch, one after the other.

    Attributes:
        ids: int32 [token].
        piece: int32 [token], which piece each is of.
        first: int64 [piece], each one's first token.
        last: int64 [piece], each one's last.
        place: uint64 [token], a hash of piece and position.
        context: uint64 [token], a hash of it and the tokens just before it.
        start: int64 [piece], the position of its first token in the text.
        key: uint64 [piece].
        source: int32 [piece], by its number.
    """

    ids: Any
    piece: Any
    first: Any
    last: Any
    place: Any
    context: Any
    start: Any
    key: Any
    source: Any

    @classmethod
    def of(cls, pieces: Sequence[Piece], sources: Sequence[int]) -> Batch:
        """Pieces, each with the number of its source."""
        import numpy as np

        lengths = np.array([len(piece.ids) for piece in pieces])
        ids = np.concatenate([piece.ids for piece in pieces])
        number = np.repeat(np.arange(len(pieces), dtype=np.int32), lengths)
        last = np.cumsum(lengths) - 1
        first = last - lengths + 1
        position = np.arange(len(ids)) - first[number]
        key = np.array([piece.key for piece in pieces], dtype=np.uint64)
        context = np.zeros(len(ids), dtype=np.uint64)
        for back in reversed(range(_ALIKE)):
            before = np.roll(ids, back).astype(np.int64)
            before[position < back] = -1
            context = mixed(context ^ before.astype(np.uint64))
        place = mixed(key[number] ^ mixed(position))
        start = np.array([piece.start for piece in pieces])
        return cls(ids, number, first, last, place, context, start, key, np.array(sources, dtype=np.int32))


@dataclass(frozen=True)
class Firing:
    """Every activation above 0 of a dictionary in a batch, ordered by feature and within it by token.

    Attributes:
        feature: int32 [activation].
        token: int64 [activation], which token of the batch.
        value: float32 [activation].
        tokens: how many tokens counted.
        lowest: float32 [feature], the smallest activation, 0 or less.
    """

    feature: Any
    token: Any
    value: Any
    tokens: int
    lowest: Any


def fire(dictionary: Dictionary, h: Tensor, tokens: Any, above: float) -> Firing:
    """Encode residuals in chunks, and keep the activations above a number.

    Args:
        dictionary: whose features.
        h: [token, width], of the tokens that count.
        tokens: int64 [token], their numbers in the batch, ascending.
        above: 0, but for kinds whose activations are never 0.
    """
    import numpy as np
    import torch

    found: list[tuple[Any, Any, Any]] = []
    lowest = torch.zeros(dictionary.size)
    for begin, a in _encoded(dictionary, h):
        lowest = torch.minimum(lowest, a.amin(dim=0).cpu())
        at = (a > above).nonzero()
        values = a[at[:, 0], at[:, 1]].float().cpu().numpy()
        token, feature = at.cpu().numpy().T
        if not (finite := np.isfinite(values)).all():
            token, feature, values = token[finite], feature[finite], values[finite]
        found.append((feature.astype(np.int32), tokens[token + begin], values))
    if not found:
        nothing = np.zeros(0)
        found = [(nothing.astype(np.int32), nothing.astype(np.int64), nothing.astype(np.float32))]
    feature, token, value = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(feature, kind="stable")
    return Firing(feature[order], token[order], value[order], len(h), lowest.numpy())


def _encoded(dictionary: Dictionary, h: Tensor) -> Iterator[tuple[int, Tensor]]:
    import torch

    rows = max(1, _AT_ONCE // dictionary.size)
    for begin in range(0, len(h), rows):
        with torch.no_grad():
            yield begin, dictionary.encode(h[begin : begin + rows])


def peaks(firing: Firing, batch: Batch) -> Any:
    """For every feature and piece, the first of its largest activations: int64 [peak], ascending."""
    import numpy as np

    if not len(firing.feature):
        return np.zeros(0, dtype=np.int64)
    piece = batch.piece[firing.token]
    begins = np.ones(len(piece), dtype=bool)
    begins[1:] = (firing.feature[1:] != firing.feature[:-1]) | (piece[1:] != piece[:-1])
    starts = np.flatnonzero(begins)
    largest = np.maximum.reduceat(firing.value, starts)
    group = np.cumsum(begins) - 1
    at = np.flatnonzero(firing.value == largest[group])
    return at[np.append(True, group[at][1:] != group[at][:-1])]


def priorities(firing: Firing, batch: Batch) -> Any:
    """A hash of each activation's text, position and feature: uint64 [activation]."""
    return mixed(batch.place[firing.token] ^ mixed(firing.feature))


def places(
    firing: Firing, batch: Batch, rows: Any, kind: int, priority: Any, context: tuple[int, int], width: int
) -> Columns:
    """Activations with their contexts, as `places.Columns` has them.

    Args:
        firing: all activations of the batch.
        batch: its tokens.
        rows: int64 [n], which activations.
        kind: what they are kept as.
        priority: uint64 [n], their hashes.
        context: how many tokens before and after each.
        width: how many tokens there is room for.
    """
    import numpy as np

    token, feature = firing.token[rows], firing.feature[rows]
    piece = batch.piece[token]
    begin = np.maximum(token - context[0], batch.first[piece])
    length = np.minimum(token + context[1], batch.last[piece]) - begin + 1
    at = begin[:, None] + np.arange(width)
    inside = np.arange(width) < length[:, None]
    tokens = np.where(inside, batch.ids[np.minimum(at, len(batch.ids) - 1)], 0).astype(np.int32)
    return {
        "feature": feature,
        "kind": np.full(len(rows), kind, dtype=np.int8),
        "value": firing.value[rows],
        "priority": priority,
        "context": batch.context[token],
        "text": batch.key[piece],
        "position": (token - batch.first[piece] + batch.start[piece]).astype(np.int32),
        "source": batch.source[piece],
        "peak": (token - begin).astype(np.int16),
        "length": length.astype(np.int16),
        "tokens": tokens,
        "values": _values(firing, rows, begin, length, width),
    }


def _values(firing: Firing, rows: Any, begin: Any, length: Any, width: int) -> Any:
    """Each one's own feature at the tokens around it: its neighbours in the list, as far as they are in the window."""
    import numpy as np

    out = np.zeros((len(rows), width), dtype=np.float32)
    out[np.arange(len(rows)), firing.token[rows] - begin] = firing.value[rows]
    for step in (-1, 1):
        left, at = np.arange(len(rows)), rows
        while len(left):
            at = at + step
            exists = (at >= 0) & (at < len(firing.token))
            left, at = left[exists], at[exists]
            offset = firing.token[at] - begin[left]
            near = (firing.feature[at] == firing.feature[rows[left]]) & (offset >= 0) & (offset < length[left])
            left, at = left[near], at[near]
            out[left, offset[near]] = firing.value[at]
    return out
