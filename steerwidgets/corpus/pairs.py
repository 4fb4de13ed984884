"""Which features are active at the same tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.corpus.places import PARTNERS, Columns

if TYPE_CHECKING:
    from steerwidgets.corpus.firing import Firing


MOST_EXACT: Final = 4096
"""The widest dictionary whose pairs are all counted: 67 MB. Of wider ones some places are looked at."""
_AT_ONCE: Final = 1 << 18
"""Pairs that are listed at once."""
_LISTED: Final = 20.0
_WRITTEN: Final = 10.0
_MULTIPLIED: Final = 0.05
"""Nanoseconds to list a pair, to write an entry of the table, and to multiply one for a token; about."""


@dataclass
class Pairs:
    """How many tokens have both of two features.

    Attributes:
        counts: int32 [feature, feature], above the diagonal.
    """

    counts: Any

    @classmethod
    def empty(cls, size: int) -> Pairs:
        """Of no tokens yet."""
        import numpy as np

        return cls(np.zeros((size, size), dtype=np.int32))

    def add(self, firing: Firing) -> None:
        """Count the pairs of every token of a batch."""
        import numpy as np

        if not len(firing.token):
            return
        order = np.argsort(firing.token, kind="stable")
        feature, token = firing.feature[order], firing.token[order]
        starts = np.flatnonzero(np.append(True, token[1:] != token[:-1]))
        lengths = np.diff(np.append(starts, len(token)))
        size = len(self.counts)
        listing = _LISTED * float((lengths.astype(np.int64) * (lengths - 1) // 2).sum())
        multiplying = size * size * (_WRITTEN + _MULTIPLIED * len(starts))
        if listing <= multiplying:
            self._add_listed(order, feature, np.repeat(starts + lengths, lengths))
        else:
            self._add_multiplied(feature, starts, lengths)

    def _add_listed(self, order: Any, feature: Any, ends: Any) -> None:
        """List every pair, those of one feature together: its row of the table then stays in the processor's cache.

        Args:
            order: int64 [activation], what puts them in the order of tokens.
            feature: int32 [activation], in that order.
            ends: int64 [activation], in that order, where the features of the same token end.
        """
        import numpy as np

        size, flat, one = len(self.counts), self.counts.reshape(-1), np.int32(1)
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        begins, lengths = place + 1, ends[place] - place - 1
        summed = np.cumsum(lengths)
        first = 0
        while first < len(place):
            until = summed[first] - lengths[first] + _AT_ONCE
            last = max(first + 1, int(np.searchsorted(summed, until, side="right")))
            part = slice(first, last)
            others = feature[_ranges(begins[part], lengths[part])]
            rows = np.repeat(feature[place[part]].astype(np.int64) * size, lengths[part])
            np.add.at(flat, rows + others, one)
            first = last

    def _add_multiplied(self, feature: Any, starts: Any, lengths: Any) -> None:
        import numpy as np
        import torch

        size = len(self.counts)
        fires = np.zeros((len(starts), size), dtype=np.float32)
        fires[np.repeat(np.arange(len(starts)), lengths), feature[_ranges(starts, lengths)]] = 1
        # Whole numbers below 2^24 are exact in float32.
        matrix = torch.from_numpy(fires)
        self.counts += torch.triu(matrix.T @ matrix, 1).numpy().astype(np.int32)

    def sparse(self) -> tuple[Any, Any]:
        """The pairs with a count: int64 [pair] `i·size + j` with i < j, ascending, and int64 [pair] counts."""
        import numpy as np

        flat = self.counts.reshape(-1)
        at = np.flatnonzero(flat)
        return at, flat[at].astype(np.int64)


def summed(parts: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    """Counts of pairs added up: keys and counts of each part, as `Pairs.sparse` gives them."""
    import numpy as np

    keys = np.concatenate([key for key, _ in parts])
    counts = np.concatenate([count for _, count in parts])
    found, at = np.unique(keys, return_inverse=True)
    out = np.zeros(len(found), dtype=np.int64)
    np.add.at(out, at, counts)
    return found, out


def strongest(keys: Any, strength: Any, size: int, k: int) -> tuple[Any, Any]:
    """Of every feature the `k` others that it goes with most.

    Args:
        keys: int64 [pair] `i·size + j`, one way or both.
        strength: float [pair].
        size: how many features.
        k: how many.

    Returns:
        int32 and float32 [feature, k]; where there are fewer, feature 0 with strength 0.
    """
    import numpy as np

    one, other = keys // size, keys % size
    one, other, strength = np.append(one, other), np.append(other, one), np.append(strength, strength)
    order = np.lexsort((other, -strength, one))
    one, other, strength = one[order], other[order], strength[order]
    starts = np.searchsorted(one, np.arange(size))
    rank = np.arange(len(one)) - starts[one]
    kept = rank < k
    ids, values = np.zeros((size, k), dtype=np.int32), np.zeros((size, k), dtype=np.float32)
    ids[one[kept], rank[kept]], values[one[kept], rank[kept]] = other[kept], strength[kept]
    return ids, values


def _ranges(starts: Any, lengths: Any) -> Any:
    import numpy as np

    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths) + np.repeat(starts, lengths)


def noted(firing: Firing, found: Columns, rows: Any) -> Columns:
    """Places as `firing.places` gives them, with the strongest other features there in place of the tokens around."""
    import numpy as np

    width = found["tokens"].shape[1]
    order = np.lexsort((firing.feature, -firing.value, firing.token))
    token = firing.token[order]
    begin = np.searchsorted(token, firing.token[rows])
    end = np.searchsorted(token, firing.token[rows], side="right")
    # One more than there is room for, since the feature itself is among them.
    at = begin[:, None] + np.arange(width + 1)
    inside = at < end[:, None]
    at = order[np.minimum(at, len(order) - 1)]
    inside &= firing.feature[at] != firing.feature[rows][:, None]
    # Those that count, moved to the left in their order.
    left = np.argsort(~inside, axis=1, kind="stable")[:, :width]
    there = np.take_along_axis(inside, left, 1)
    at = np.take_along_axis(at, left, 1)
    tokens, values = np.where(there, firing.feature[at], 0), np.where(there, firing.value[at], 0)
    return found | {
        "kind": np.full(len(rows), PARTNERS, dtype=np.int8),
        "tokens": tokens.astype(np.int32),
        "values": values.astype(np.float32),
        "length": there.sum(axis=1).astype(np.int16),
        "peak": np.zeros(len(rows), dtype=np.int16),
    }


def shares(columns: Columns, size: int) -> tuple[Any, Any]:
    """Of the places of some features, the share that has another one: int64 [pair] `i·size + j`, float64 [pair]."""
    import numpy as np

    rows = np.flatnonzero(columns["kind"] == PARTNERS)
    feature = columns["feature"][rows].astype(np.int64)
    there = np.arange(columns["tokens"].shape[1]) < columns["length"][rows][:, None]
    keys = (feature[:, None] * size + columns["tokens"][rows])[there]
    found, counts = np.unique(keys, return_counts=True)
    places = np.bincount(feature, minlength=1)
    return found, counts / places[found // size]


def cosines(keys: Any, share: Any, size: int) -> tuple[Any, Any]:
    """`√(p(j|i)·p(i|j))` of the pairs seen from both sides, i < j.

    Args:
        keys: int64 [pair] `i·size + j`, ascending.
        share: float64 [pair], `p(j|i)`.
        size: how many features.
    """
    import numpy as np

    one, other = keys // size, keys % size
    turned = other * size + one
    at = np.minimum(np.searchsorted(keys, turned), max(len(keys) - 1, 0))
    both = (keys[at] == turned) & (one < other) if len(keys) else np.zeros(0, dtype=bool)
    return keys[both], np.sqrt(share[both] * share[at[both]]).astype(np.float32)
