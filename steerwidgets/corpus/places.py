"""Places where features are active, with their context: which are kept, so that parts of a corpus merge exactly.

Of the strongest places, those with the same tokens at and just before the peak are one, the strongest of them; a text
has one such place for each feature. Samples are those with the smallest hash of text, position and feature within a
cell of values (a bottom-k sketch, Cohen and Kaplan 2007): an even draw without replacement, whatever the order.
Both are the same over a corpus as over what its parts kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from steerwidgets.corpus.histogram import bin_of, nearest_edge

STRONGEST: Final = 0
SAMPLE: Final = 1
PARTNERS: Final = 2
"""What a place is kept as: one of the strongest, one of a cell's samples, or for the features that fire there too."""

PARTNER_PLACES: Final = 32
"""Of each feature of a wide dictionary, at how many places the others are noted."""


@dataclass(frozen=True)
class Keeping:
    """How many places of each feature are kept.

    Attributes:
        examples: the strongest.
        per_cell: of each cell of values.
        bands: into how many equal parts of the maximum the bands cut; the cells' edges stand next to those.
        partners: how many to note the others that fire there.
    """

    examples: int
    per_cell: int
    bands: int
    partners: int

    @property
    def cell_bits(self) -> int:
        """Cells to an octave, as a power of 2: fine enough that no two bands end at one edge."""
        return {0: 0, 1: 0, 2: 0, 3: 1, 4: 2, 5: 2}.get(self.bands, 3)

    def lowest_edge(self, maximum: Any) -> Any:
        """The cell at which the lowest band ends, int32 [n]: what lies below is one cell, one less than that."""
        import numpy as np

        if self.bands < 2:
            return np.full(len(maximum), np.iinfo(np.int32).max)
        return nearest_edge(np.asarray(maximum, np.float32) / np.float32(self.bands), self.cell_bits)

    def cells(self, values: Any, maximum: Any) -> Any:
        """The cell of each value, given its feature's maximum: float32 [n] each, to int32 [n]."""
        import numpy as np

        return np.maximum(bin_of(values, self.cell_bits), self.lowest_edge(maximum) - 1)


Columns = dict[str, Any]
"""Arrays of one length: `feature` int32, `kind` int8, `value` float32, `priority`, `context` and `text` uint64,
`position` int32, `source` int32, `peak` and `length` int16, and int32 and float32 [n, window] `tokens` and `values`."""


def joined(parts: Iterable[Columns]) -> Columns:
    """Several tables in one."""
    import numpy as np

    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def taken(columns: Mapping[str, Any], rows: Any) -> Columns:
    """Some rows."""
    return {name: column[rows] for name, column in columns.items()}


def chosen(columns: Columns, maximum: Any, keeping: Keeping) -> Any:
    """The rows that are kept, ordered by feature, kind, and within it strongest or smallest hash first: int64 [n].

    Args:
        columns: the places.
        maximum: float32 [feature], each feature's largest activation.
        keeping: how many.
    """
    import numpy as np

    kind = columns["kind"]
    strongest, samples, partners = (np.flatnonzero(kind == each) for each in (STRONGEST, SAMPLE, PARTNERS))
    kept = [
        _strongest(columns, strongest, keeping.examples),
        _sampled(columns, samples, maximum, keeping),
        _partners(columns, partners, keeping.partners),
    ]
    rows = np.concatenate(kept)
    return rows[np.argsort(columns["feature"][rows], kind="stable")]


def _strongest(columns: Columns, rows: Any, k: int) -> Any:
    import numpy as np

    feature, value, priority = (columns[name][rows] for name in ("feature", "value", "priority"))
    context = columns["context"][rows]
    order = np.lexsort((priority, -value, context, feature))
    rows = rows[order[_firsts(feature[order], context[order])]]
    feature, value, priority = (columns[name][rows] for name in ("feature", "value", "priority"))
    order = np.lexsort((priority, -value, feature))
    return rows[order[_rank(feature[order]) < k]]


def _sampled(columns: Columns, rows: Any, maximum: Any, keeping: Keeping) -> Any:
    import numpy as np

    feature, priority = (columns[name][rows] for name in ("feature", "priority"))
    cell = keeping.cells(columns["value"][rows], maximum[feature])
    order = np.lexsort((priority, cell, feature))
    # The same place of the same text, read twice.
    order = order[_firsts(feature[order], priority[order])]
    return rows[order[_rank(feature[order], cell[order]) < keeping.per_cell]]


def _partners(columns: Columns, rows: Any, k: int) -> Any:
    import numpy as np

    feature, priority = (columns[name][rows] for name in ("feature", "priority"))
    order = np.lexsort((priority, feature))
    order = order[_firsts(feature[order], priority[order])]
    return rows[order[_rank(feature[order]) < k]]


def _firsts(*sorted_keys: Any) -> Any:
    """Whether each row differs from the one before, bool [n]."""
    import numpy as np

    found = np.zeros(len(sorted_keys[0]), dtype=bool)
    found[:1] = True
    for key in sorted_keys:
        found[1:] |= key[1:] != key[:-1]
    return found


def _rank(*sorted_keys: Any) -> Any:
    """How many rows of the same key stand before each, int64 [n]."""
    import numpy as np

    starts = np.flatnonzero(_firsts(*sorted_keys))
    lengths = np.diff(np.append(starts, len(sorted_keys[0])))
    return np.arange(len(sorted_keys[0])) - np.repeat(starts, lengths)
