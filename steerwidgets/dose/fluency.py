"""When is a text broken: its surprise is none of the unsteered model's own texts, or it repeats itself more."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence

from steerwidgets.dose.statistics import Interval

DEVIATIONS = 2
"""The own range ends so many standard deviations from the mean: of the model's own texts one in twenty is outside."""


def distinct_2(token_ids: Sequence[int]) -> float:
    """The share of distinct pairs among neighbouring tokens (Li et al. 2016); 1 of fewer than two tokens."""
    pairs = list(itertools.pairwise(token_ids))
    return len(set(pairs)) / len(pairs) if pairs else 1.0


def own_range(by_prompt: Iterable[Sequence[float]]) -> Interval:
    """The baseline's own range over seeds: its mean, and two standard deviations to either side.

    The deviation is that of seeds of one prompt, pooled over prompts: how prompts differ is no noise of the model's.
    The smallest and the largest of a few seeds would depend on how many there are, and of eight leave out a quarter of
    the model's own texts.

    Args:
        by_prompt: of each prompt the values over its seeds; NaN is left out, and a prompt with one value.

    Returns:
        Its ends; NaN where no prompt has two values.
    """
    known = [[value for value in values if not math.isnan(value)] for values in by_prompt]
    known = [values for values in known if len(values) > 1]
    if not known:
        return (math.nan, math.nan)
    freedom = sum(len(values) - 1 for values in known)
    pooled = math.sqrt(sum((len(values) - 1) * statistics.variance(values) for values in known) / freedom)
    mean = statistics.fmean(map(statistics.fmean, known))
    return (mean - DEVIATIONS * pooled, mean + DEVIATIONS * pooled)


def is_fluent(surprise: float, distinct: float, own_surprise: Interval, own_distinct: Interval) -> bool | None:
    """Whether surprise is within the own range, and distinct-2 not below it; None where the range is not known.

    A loop surprises less than the model's own texts do; a text that repeats itself less is not broken.
    """
    if math.isnan(own_surprise[0]):
        return None
    return own_surprise[0] <= surprise <= own_surprise[1] and distinct >= own_distinct[0]


def first_broken(outwards: Iterable[tuple[float, bool | None]]) -> float | None:
    """Where texts break: the first strength from which on none is fluent.

    Args:
        outwards: strengths away from where the steer changes nothing, each with whether its text is fluent.
    """
    broken = None
    for strength, fluent in reversed(list(outwards)):
        if fluent is not False:
            break
        broken = strength
    return broken
