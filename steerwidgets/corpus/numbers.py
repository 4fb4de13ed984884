"""Positive float32 numbers by their leading bits, and hashes that need no state.

The bits of positive floats are in the order of the floats, so `bits >> n` cuts them into bins: equal ones within each
octave, each half as wide as those of the octave above. Bins with fewer bits are unions of bins with more; so are equal
bins from 0 that are as wide as those of the octave of the maximum. Counts of such bins, unlike those of bins that are
cut when the maximum is known, add up exactly whatever the order (HdrHistogram, Gil Tene, keeps values so).
"""

from __future__ import annotations

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
