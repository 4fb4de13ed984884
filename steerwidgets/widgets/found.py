"""What a search found, as arrays: filtered, sorted, and cut into pages before any feature is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from steerwidgets.widgets.recipe_editor.source import Source


@dataclass(frozen=True, eq=False)
class Hits:
    """Features of several dictionaries, the best first.

    Attributes:
        source: int16 [hit], which of the dictionaries.
        index: int64 [hit], the feature in it.
        value: float32 [hit], what the search ranked by; None for a search of labels.
        position: int64 [hit], where in a text that is; None where there is none.
    """

    source: NDArray[np.int16]
    index: NDArray[np.int64]
    value: NDArray[np.float32] | None = None
    position: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, parts: Sequence[tuple[int, NDArray[np.int64]]]) -> Hits:
        """Hits without values: the indices of each dictionary, one dictionary after the other."""
        sources = [np.full(len(indices), which, np.int16) for which, indices in parts]
        return cls(_joined(sources, np.int16), _joined([indices for _, indices in parts], np.int64))

    @classmethod
    def ranked(
        cls, parts: Sequence[tuple[int, NDArray[np.float32], NDArray[np.int64] | None]], *, smallest: bool = False
    ) -> Hits:
        """Hits from a value of every feature of some dictionaries, the best of all first; NaN is no hit.

        Args:
            parts: which dictionary, float32 [feature], and int64 [feature] positions or None.
            smallest: whether the smallest value is the best.
        """
        values = _joined([values for _, values, _ in parts], np.float32)
        known = np.flatnonzero(~np.isnan(values))
        order = known[np.argsort(values[known] if smallest else -values[known], kind="stable")]
        where = [positions for _, _, positions in parts if positions is not None]
        return cls(
            _joined([np.full(len(v), which, np.int16) for which, v, _ in parts], np.int16)[order],
            _joined([np.arange(len(v)) for _, v, _ in parts], np.int64)[order],
            values[order],
            _joined(where, np.int64)[order] if len(where) == len(parts) and parts else None,
        )

    def __len__(self) -> int:
        return len(self.index)

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Hits:
        """Some of them."""
        value = None if self.value is None else self.value[chosen]
        position = None if self.position is None else self.position[chosen]
        return replace(self, source=self.source[chosen], index=self.index[chosen], value=value, position=position)

    def gathered(self, arrays: Sequence[NDArray[np.float32] | None]) -> NDArray[np.float32]:
        """A number of every hit, float32 [hit], from one array for each dictionary; NaN where there is none."""
        found = np.full(len(self), np.nan, np.float32)
        for which, array in enumerate(arrays):
            if array is not None:
                own = self.source == which
                found[own] = array[self.index[own]]
        return found

    def sorted_by(self, numbers: NDArray[np.float32], *, descending: bool) -> Hits:
        """By a number of every hit, the unknown ones last; equals stay as they are."""
        keys = -numbers if descending else numbers
        return self.take(np.argsort(np.where(np.isnan(keys), np.inf, keys), kind="stable"))


def all_of(sources: Sequence[Source], chosen: Sequence[int]) -> Hits:
    """Every feature of some dictionaries, in order."""
    return Hits.of([(which, np.arange(len(sources[which]))) for which in chosen])


def _joined(arrays: Sequence[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([*arrays, np.empty(0, dtype)]).astype(dtype, copy=False)
