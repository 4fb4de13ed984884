"""Intervals: of a count, and of a mean over answers to several prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

_Z: Final = 1.959963984540054
"""The 97.5th percentile of the normal distribution: all intervals are of 95 %."""

_RESAMPLED: Final = 2000

Interval = tuple[float, float]


@dataclass(frozen=True)
class Count:
    """So many of so many.

    Attributes:
        k: how many.
        n: of how many.
    """

    k: int
    n: int

    @property
    def share(self) -> float:
        """The share of those, 0 to 1; NaN of none."""
        return self.k / self.n if self.n else math.nan

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval."""
        return wilson(self.k, self.n)

    def __str__(self) -> str:
        return f"{self.k} of {self.n}"


@dataclass(frozen=True)
class Mean:
    """A mean with its interval.

    Attributes:
        value: the mean; NaN of none.
        low: the interval's lower end; NaN where one prompt alone tells nothing of others.
        high: its upper end, likewise.
    """

    value: float
    low: float = math.nan
    high: float = math.nan


def wilson(k: int, n: int) -> Interval:
    """The 95 % interval of a share (Wilson 1927), without continuity correction; 0 to 1 of none.

    Args:
        k: how many.
        n: of how many.
    """
    if not n:
        return 0.0, 1.0
    share, spread = k / n, _Z**2 / n
    middle = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    # At 0 and at n the formula gives just these, but for rounding.
    return (0.0 if k == 0 else middle - half), (1.0 if k == n else middle + half)


def mean_over_prompts(values: Mapping[int, Sequence[float]], seed: int = 0) -> Mean:
    """The mean of all answers, with the percentile interval of a bootstrap over prompts.

    Prompts are drawn with replacement, each with all of its answers: answers to one prompt are no independent samples.

    Args:
        values: the answers' values by prompt; NaN is left out.
        seed: of the draws.
    """
    known = [[each for each in group if not math.isnan(each)] for group in values.values()]
    groups = [group for group in known if group]
    if not groups:
        return Mean(math.nan)
    sums, counts = np.array([sum(group) for group in groups]), np.array([len(group) for group in groups])
    value = float(sums.sum() / counts.sum())
    if len(groups) < 2:
        return Mean(value)
    drawn = np.random.default_rng(seed).integers(0, len(groups), (_RESAMPLED, len(groups)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Mean(value, float(low), float(high))


def harmonic(marks: Sequence[float]) -> float:
    """The harmonic mean of marks, 0 if any is 0 (AxBench's overall score)."""
    return len(marks) / sum(1 / mark for mark in marks) if all(marks) else 0.0
