"""Counts of every feature's activations, in bins that need no maximum beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

BITS_PER_OCTAVE: Final = 6
"""64 bins to an octave: a value is known to 1.6 % at most."""
_MANTISSA: Final = 23
_GOLDEN: Final = 0x9E3779B97F4A7C15


def bin_of(values: Any, bits: int = BITS_PER_OCTAVE) -> Any:
    """The bin of positive values, `2**bits` to an octave: float32 [n] to int32 [n]."""
    import numpy as np

    return np.ascontiguousarray(values, dtype=np.float32).view(np.int32) >> (_MANTISSA - bits)


def lower_edge(bins: Any, bits: int = BITS_PER_OCTAVE) -> Any:
    """The smallest value in each bin: int [n] to float32 [n]."""
    import numpy as np

    return (np.asarray(bins, dtype=np.int32) << (_MANTISSA - bits)).view(np.float32)


def nearest_edge(values: Any, bits: int) -> Any:
    """The bin whose lower edge is nearest to each positive value, the lower one of two: float32 [n] to int32 [n]."""
    import numpy as np

    values = np.ascontiguousarray(values, dtype=np.float32)
    inside = bin_of(values, bits)
    low, high = lower_edge(inside, bits), lower_edge(inside + 1, bits)
    return inside + ((high - values) < (values - low))


def mixed(numbers: Any) -> Any:
    """A hash of 64-bit numbers, uint64 [n] (SplitMix64: Steele, Lea and Flood 2014)."""
    import numpy as np

    z = np.asarray(numbers).astype(np.uint64) + np.uint64(_GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


OCTAVES: Final = 8
"""Values below the maximum's octave and the seven under it, so below 1/256 of the maximum, are counted together."""
PER_OCTAVE: Final = 2**BITS_PER_OCTAVE
SLOTS: Final = OCTAVES * PER_OCTAVE


@dataclass
class Histogram:
    """Counts of the activations above 0 of some features.

    The bins of the eight octaves under each feature's maximum are kept one by one, in a ring; as its maximum grows into
    a new octave, the lowest octave is added to `below`. What is left is the same in whatever order values came, and
    so is the sum of two.

    Attributes:
        counts: int32 or int64 [feature, slot], how many values each bin has; bin `b` is in slot `b % SLOTS`.
        below: int64 [feature], how many lie below those octaves.
        octave: int32 [feature], the octave of the maximum; -1 for a feature without a value.
        maximum: float32 [feature], 0 for a feature without a value.
    """

    counts: Any
    below: Any
    octave: Any
    maximum: Any

    @classmethod
    def empty(cls, size: int, dtype: Any = "int32") -> Histogram:
        """Of no values yet."""
        import numpy as np

        none = np.full(size, -1, dtype=np.int32)
        return cls(np.zeros((size, SLOTS), dtype), np.zeros(size, np.int64), none, np.zeros(size, dtype=np.float32))

    @property
    def active(self) -> Any:
        """How many values there are, int64 [feature]."""
        import numpy as np

        return self.counts.sum(axis=1, dtype=np.int64) + self.below

    def add(self, features: Any, values: Any) -> None:
        """Count values above 0.

        Args:
            features: int [n].
            values: float32 [n].
        """
        import numpy as np

        np.maximum.at(self.maximum, features, values)
        bins = bin_of(values)
        self.add_bins(features, bins, np.ones(len(bins), dtype=np.int32))

    def add_bins(self, features: Any, bins: Any, counts: Any) -> None:
        """Add counts of bins: int [n] each."""
        import numpy as np

        octaves = bins >> BITS_PER_OCTAVE
        grown = self.octave.copy()
        np.maximum.at(grown, features, octaves)
        self._grow(grown)
        inside = octaves > self.octave[features] - OCTAVES
        at = features[inside].astype(np.int64) * SLOTS + bins[inside] % SLOTS
        np.add.at(self.counts.reshape(-1), at, counts[inside].astype(self.counts.dtype))
        np.add.at(self.below, features[~inside], counts[~inside].astype(np.int64))

    def _grow(self, octave: Any) -> None:
        import numpy as np

        changed = np.flatnonzero(octave > self.octave)
        had = changed[self.octave[changed] >= 0]
        for back in range(OCTAVES):
            old = self.octave[had] - back
            gone = had[old <= octave[had] - OCTAVES]
            slots = (self.octave[gone] - back)[:, None] % OCTAVES * PER_OCTAVE + np.arange(PER_OCTAVE)
            self.below[gone] += self.counts[gone[:, None], slots].sum(axis=1, dtype=np.int64)
            self.counts[gone[:, None], slots] = 0
        self.octave = octave

    def sparse(self, first: int, last: int) -> tuple[Any, Any, Any]:
        """The bins with a count of features `first` to `last`: int64 [feature] how many, int32 bins, int32 counts."""
        import numpy as np

        feature, slot = np.nonzero(self.counts[first:last])
        counts = self.counts[first:last][feature, slot]
        # The one bin in that slot which lies within the octaves that are kept.
        lowest = (self.octave[first:last][feature].astype(np.int64) - OCTAVES + 1) * PER_OCTAVE
        bins = (lowest + (slot - lowest) % SLOTS).astype(np.int32)
        order = np.lexsort((bins, feature))
        return np.bincount(feature, minlength=last - first), bins[order], counts[order]


def equal_bins(bins: Any, counts: Any, below: int, maximum: float, most: int) -> tuple[list[int], float]:
    """Exact counts of equal bins from 0, made of one feature's bins.

    Args:
        bins: int32 [n], from the lowest up.
        counts: int [n].
        below: how many values lie below the octaves that are kept.
        maximum: the largest value.
        most: at most how many bins.

    Returns:
        The counts, and the upper end of the last bin: the maximum, or above it by less than one bin.
    """
    import numpy as np

    if not maximum > 0:
        return [], 0.0
    top = int(bin_of(np.array([maximum]))[0])
    width = float(lower_edge(np.array([top + 1]))[0] - lower_edge(np.array([top]))[0])
    used = top % PER_OCTAVE + PER_OCTAVE + 1
    grouped = -(-used // most)
    fine = np.floor(lower_edge(bins).astype(np.float64) / width).astype(np.int64) // grouped
    out = np.zeros(-(-used // grouped), dtype=np.int64)
    np.add.at(out, fine, counts)
    out[0] += below
    return out.tolist(), len(out) * grouped * width


def quantile(bins: Any, counts: Any, below: int, share: float) -> float:
    """The value below which a share of one feature's values lies, to 1.6 %: within a bin they count as spread evenly.

    NaN where there is no value; where it lies among those counted together, their upper end.
    """
    import numpy as np

    total = int(below + counts.sum())
    if not total:
        return float("nan")
    wanted, summed = share * total, below + np.cumsum(counts)
    if wanted <= below or not len(bins):
        return float(lower_edge(bins[:1])[0]) if len(bins) else float("nan")
    at = min(int(np.searchsorted(summed, wanted)), len(bins) - 1)
    low, high = (float(lower_edge(np.array([bins[at] + more]))[0]) for more in (0, 1))
    return low + (high - low) * float(np.clip((wanted - (summed[at] - counts[at])) / counts[at], 0, 1))
