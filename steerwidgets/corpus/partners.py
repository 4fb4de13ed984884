"""Features that are active at the same tokens, in dictionaries too wide for a table of all pairs.

At 32 places of each feature, drawn evenly from all where it is active, the strongest others are noted. With `p(j|i)`
the share of i's places that have j, `n11 / √(n1·n2) = √(p(j|i)·p(i|j))`, so neither count is needed; the standard
error of each share is `√(p(1−p)/32)`, at most 0.09, and a pair that neither side's places hold is not found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steerwidgets.corpus.places import PARTNERS, Columns

if TYPE_CHECKING:
    from steerwidgets.corpus.firing import Firing


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
