"""What is gathered of one dictionary between two writings: counts, and places that are pruned as they come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.corpus import pairs
from steerwidgets.corpus.firing import Batch, Firing, peaks, places, priorities
from steerwidgets.corpus.histogram import Histogram
from steerwidgets.corpus.pairs import MOST_EXACT, Pairs
from steerwidgets.corpus.places import (
    PARTNER_PLACES,
    PARTNERS,
    SAMPLE,
    STRONGEST,
    Columns,
    Keeping,
    chosen,
    joined,
    taken,
)

if TYPE_CHECKING:
    from steerwidgets.corpus.settings import Settings
    from steerwidgets.dictionaries.base import Dictionary

_PENDING: Final = 1 << 16
"""Places that are gathered before they are sorted, at least."""


def keeping(settings: Settings, size: int) -> Keeping:
    """How many places of each feature of a dictionary of that size are kept."""
    wide = size > MOST_EXACT
    return Keeping(settings.examples, settings.per_cell, settings.quantiles, PARTNER_PLACES if wide else 0)


def width(settings: Settings, size: int) -> int:
    """How many tokens, or other features, a place has room for."""
    return max(settings.window, PARTNER_PLACES) if size > MOST_EXACT else settings.window


@dataclass
class _Thresholds:
    """What can't be kept any more, since better ones are: it saves work, and changes no result."""

    strongest: Any
    cells: Any
    partners: Any
    lowest: Any

    @classmethod
    def none(cls, size: int, kept: Keeping) -> _Thresholds:
        import numpy as np

        room = 1 << (4 * 2**kept.cell_bits).bit_length()
        most = np.iinfo(np.uint64).max
        return cls(
            np.full(size, -np.inf, dtype=np.float32),
            np.full((size, room), most),
            np.full(size, most),
            np.full(size, -1, dtype=np.int32),
        )


@dataclass
class Gathering:
    """Counts and places of one dictionary.

    Attributes:
        dictionary: whose features.
        settings: what is kept.
        sources: the names that places' `source` counts through.
        tokens: how many tokens counted.
        lowest: float32 [feature], each feature's smallest activation, 0 or less.
    """

    dictionary: Dictionary
    settings: Settings
    sources: list[str]
    tokens: int = 0
    _kept: Columns | None = None
    _pending: list[Columns] = field(default_factory=list)
    _waiting: int = 0

    def __post_init__(self) -> None:
        size = self.dictionary.size
        self.keeping = keeping(self.settings, size)
        self._width = width(self.settings, size)
        self._thresholds = _Thresholds.none(size, self.keeping)
        self._empty()

    def _empty(self) -> None:
        import numpy as np

        size = self.dictionary.size
        self.histogram, self.tokens = Histogram.empty(size), 0
        self.pairs = Pairs.empty(size) if size <= MOST_EXACT else None
        self.lowest = np.zeros(size, dtype=np.float32)
        self._kept, self._pending, self._waiting = None, [], 0

    @property
    def rows(self) -> int:
        """How many places are held."""
        return self._waiting + (len(self._kept["feature"]) if self._kept is not None else 0)

    def add(self, batch: Batch, firing: Firing) -> None:
        """Count what its features did in a batch."""
        import numpy as np

        self.tokens += firing.tokens
        self.lowest = np.minimum(self.lowest, firing.lowest)
        self.histogram.add(firing.feature, firing.value)
        if self.pairs is not None:
            self.pairs.add(firing)
        if not len(firing.feature):
            return
        self._keep(firing, batch)
        if self._waiting > max(_PENDING, self.rows - self._waiting):
            self._prune()

    def _keep(self, firing: Firing, batch: Batch) -> None:
        best = peaks(firing, batch)
        best = best[firing.value[best] >= self._thresholds.strongest[firing.feature[best]]]
        priority = priorities(firing, batch)
        sampled = self._sampled(firing, priority)
        for kind, rows in ((STRONGEST, best), (SAMPLE, sampled)):
            if len(rows):
                self._append(places(firing, batch, rows, kind, priority[rows], self.settings.context, self._width))
        if self.keeping.partners:
            import numpy as np

            rows = np.flatnonzero(priority <= self._thresholds.partners[firing.feature])
            if len(rows):
                found = places(firing, batch, rows, PARTNERS, priority[rows], self.settings.context, self._width)
                self._append(pairs.noted(firing, found, rows))

    def _append(self, found: Columns) -> None:
        self._pending.append(found)
        self._waiting += len(found["feature"])

    def _sampled(self, firing: Firing, priority: Any) -> Any:
        import numpy as np

        if not self.keeping.per_cell:
            return np.zeros(0, dtype=np.int64)
        lowest = self.keeping.lowest_edge(self.histogram.maximum)
        moved = lowest != self._thresholds.lowest
        self._thresholds.cells[moved] = np.iinfo(np.uint64).max
        self._thresholds.lowest = lowest
        cells = self.keeping.cells(firing.value, self.histogram.maximum[firing.feature])
        room = self._thresholds.cells.shape[1]
        return np.flatnonzero(priority <= self._thresholds.cells[firing.feature, cells % room])

    def _prune(self) -> None:
        columns = joined([*([self._kept] if self._kept is not None else []), *self._pending])
        self._kept = taken(columns, chosen(columns, self.histogram.maximum, self.keeping))
        self._pending, self._waiting = [], 0
        self._raise_thresholds(self._kept)

    def _raise_thresholds(self, kept: Columns) -> None:
        import numpy as np

        feature, kind, value, priority = (kept[name] for name in ("feature", "kind", "value", "priority"))
        now = self._thresholds
        best = kind == STRONGEST
        full = np.flatnonzero(np.bincount(feature[best], minlength=self.dictionary.size) >= self.keeping.examples)
        least = np.full(self.dictionary.size, np.inf, dtype=np.float32)
        np.minimum.at(least, feature[best], value[best])
        now.strongest[full] = np.maximum(now.strongest[full], least[full])
        sample = kind == SAMPLE
        cells = self.keeping.cells(value[sample], self.histogram.maximum[feature[sample]])
        room = now.cells.shape[1]
        self._lower(now.cells.reshape(-1), feature[sample].astype(np.int64) * room + cells % room, priority[sample])
        partner = kind == PARTNERS
        self._lower(now.partners, feature[partner].astype(np.int64), priority[partner], self.keeping.partners)

    def _lower(self, thresholds: Any, group: Any, priority: Any, full: int | None = None) -> None:
        """Where a group holds all it may, nothing with a larger hash than its largest gets in."""
        import numpy as np

        most = self.keeping.per_cell if full is None else full
        if not len(group):
            return
        held, at, count = np.unique(group, return_inverse=True, return_counts=True)
        largest = np.zeros(len(held), dtype=np.uint64)
        np.maximum.at(largest, at, priority)
        whole = count >= most
        thresholds[held[whole]] = np.minimum(thresholds[held[whole]], largest[whole])

    def places(self) -> Columns | None:
        """The places kept, ordered by feature; None where there is none."""
        if self._pending:
            self._prune()
        return self._kept

    def clear(self) -> None:
        """Begin anew after a writing; what can't be kept any more is remembered."""
        self._empty()
