"""Intervals: of a count, and of a mean over answers to several prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steerwidgets.label_checks.statistics import bootstrap, wilson

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
        """Wilson's 95 % interval; 0 to 1 of none."""
        return wilson(self.k, self.n) if self.n else (0.0, 1.0)

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
    sums = [(sum(group), len(group)) for group in groups]
    value = sum(total for total, _ in sums) / sum(count for _, count in sums)
    if len(groups) < 2:
        return Mean(value)
    return Mean(value, *bootstrap(sums, _means, seed=seed))


def percentile_95(values: Sequence[float]) -> float:
    """The 95th percentile, between neighbours linearly; NaN of none."""
    return float(np.percentile(values, 95)) if values else math.nan


def _means(drawn: Any) -> Any:
    """The means over the answers of drawn prompts, of their sums and counts [draw, prompt, 2]."""
    totals = drawn.sum(axis=1)
    return totals[:, 0] / totals[:, 1]


def harmonic(marks: Sequence[float]) -> float:
    """The harmonic mean of marks, 0 if any is 0 (AxBench's overall score)."""
    return len(marks) / sum(1 / mark for mark in marks) if all(marks) else 0.0
