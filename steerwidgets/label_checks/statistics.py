"""The statistics of label checks: shares with intervals, areas under the curve, agreement between readers."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final

_Z: Final = 1.959963984540054
"""The 97.5th percentile of the normal distribution: intervals are of 95 %."""

RESAMPLED: Final = 2000
"""How often a bootstrap draws."""


@dataclass(frozen=True)
class Share:
    """So many of so many.

    Attributes:
        right: how many.
        of: of how many.
    """

    right: int = 0
    of: int = 0

    @property
    def value(self) -> float | None:
        """The share, 0 to 1; None of nothing."""
        return self.right / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Its 95 % interval (Wilson 1927); None of nothing."""
        return wilson(self.right, self.of) if self.of else None

    def __add__(self, other: Share) -> Share:
        return Share(self.right + other.right, self.of + other.of)

    def __str__(self) -> str:
        return f"{self.right} of {self.of}"


@dataclass(frozen=True)
class Estimate:
    """A mean over features with its 95 % interval; of one feature both ends are the mean, and it is not shown.

    Attributes:
        value: the mean.
        low: the interval's lower end.
        high: its upper end.
        features: over how many features.
    """

    value: float
    low: float
    high: float
    features: int

    def __str__(self) -> str:
        # One feature has no spread: its ends would look like certainty.
        return f"{self.value:.2f}" + (f" ({self.low:.2f}–{self.high:.2f})" if self.features > 1 else "")


def wilson(right: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927, without continuity correction).

    Args:
        right: how many.
        of: of how many, 1 or more.
    """
    share, spread = right / of, _Z**2 / of
    middle = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(share * (1 - share) / of + spread / (4 * of))
    # At 0 and at 1 the formula gives just that, but for rounding.
    return (0.0 if right == 0 else middle - half), (1.0 if right == of else middle + half)


def auroc(positives: Sequence[float], negatives: Sequence[float]) -> float | None:
    """How often a positive is above a negative, ties counted half; None where there is none of either."""
    if not positives or not negatives:
        return None
    pairs = itertools.product(positives, negatives)
    above = sum(1.0 if high > low else 0.5 if high == low else 0.0 for high, low in pairs)
    return above / (len(positives) * len(negatives))


def precision_at(density: float, recall: float, false_alarms: float) -> float | None:
    """`π·TPR / (π·TPR + (1 − π)·FPR)`: of what a reader takes for firing, how much fires; None where that is nothing.

    Args:
        density: π, how often the feature fires.
        recall: TPR.
        false_alarms: FPR.
    """
    found, wrong = density * recall, (1 - density) * false_alarms
    return found / (found + wrong) if found + wrong else None


def bootstrap(
    values: Sequence[Any], statistic: Callable[[Any], Any] | None = None, *, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of a statistic over features: percentiles of 2,000 draws of as many, with replacement.

    Args:
        values: a number, or several, for each feature.
        statistic: of float64 [draw, feature, …], gives float64 [draw]; by default the mean over features.
        seed: of the draws.

    Returns:
        The lower and the upper end.
    """
    import numpy as np

    array = np.asarray(values, dtype=np.float64)
    drawn = array[np.random.default_rng(seed).integers(0, len(array), (RESAMPLED, len(array)))]
    found = drawn.mean(axis=1) if statistic is None else statistic(drawn)
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return float(low), float(high)


def estimate(values: Sequence[float | None]) -> Estimate | None:
    """The mean of what is known of each feature, with a bootstrap over features; None where nothing is."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    low, high = bootstrap(known)
    return Estimate(sum(known) / len(known), low, high, len(known))


Units = Sequence[Sequence[Hashable | None]]
"""For each unit what each reader said of it, None where a reader did not."""


@dataclass(frozen=True)
class Agreed:
    """How far readers agree.

    Attributes:
        alpha: Krippendorff's α of nominal answers, `1 − Dₒ/Dₑ`; None where everybody always says the same.
        raw: `1 − Dₒ`: how often two answers to one question are the same.
        kappa: Cohen's κ, where there are two readers.
        units: how many questions two readers or more answered.
    """

    alpha: float | None
    raw: float | None
    kappa: float | None
    units: int


def agreed(units: Units) -> Agreed:
    """α, raw agreement and κ of some questions (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability").

    Questions with fewer than two answers say nothing of agreement and are left out.
    """
    answers = [[each for each in unit if each is not None] for unit in units]
    pairable = [unit for unit in answers if len(unit) > 1]
    total = sum(map(len, pairable))
    if not total:
        return Agreed(None, None, None, 0)
    same = sum(sum(n * (n - 1) for n in Counter(unit).values()) / (len(unit) - 1) for unit in pairable)
    raw = same / total
    counts = Counter(itertools.chain.from_iterable(pairable))
    expected = 1 - sum(n * (n - 1) for n in counts.values()) / (total * (total - 1))
    alpha = 1 - (1 - raw) / expected if expected else None
    pairs = [unit for unit in units if len(unit) == 2 and None not in unit]
    two = bool(units) and all(len(unit) == 2 for unit in units)
    return Agreed(alpha, raw, cohen_kappa(pairs) if two else None, len(pairable))


def cohen_kappa(pairs: Sequence[Sequence[Hashable | None]]) -> float | None:
    """`(pₒ − pₑ) / (1 − pₑ)` of two readers' answers (Cohen 1960); None where both always say the same one thing."""
    if not pairs:
        return None
    n = len(pairs)
    observed = sum(one == other for one, other in pairs) / n
    first, second = (Counter(pair[at] for pair in pairs) for at in (0, 1))
    expected = sum(first[each] * second[each] for each in first) / n**2
    return (observed - expected) / (1 - expected) if expected < 1 else None
