"""Intervals against scipy and statsmodels; a bootstrap over prompts against scipy's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from steerwidgets.dose.result import percentile_95
from steerwidgets.dose.statistics import Count, harmonic, mean_over_prompts


@pytest.mark.parametrize("n", [1, 2, 7, 12, 100, 1240])
def test_wilson(n):
    for k in {0, 1, n // 3, n // 2, n - 1, n}:
        expected = stats.binomtest(k, n).proportion_ci(confidence_level=0.95, method="wilson")
        assert Count(k, n).interval == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_nothing_was_counted():
    assert Count(0, 0).interval == (0.0, 1.0)
    assert math.isnan(Count(0, 0).share)


@pytest.mark.parametrize(("prompts", "seed"), [(4, 0), (6, 1), (12, 2)])
def test_a_bootstrap_over_prompts_where_each_has_as_many_answers(prompts, seed):
    """Then the mean of answers is the mean of the prompts' means, which scipy resamples."""
    drawn = np.random.default_rng(seed).normal(size=(prompts, 3)) + np.arange(prompts)[:, None]
    found = mean_over_prompts(dict(enumerate(drawn.tolist())))
    assert found.value == pytest.approx(float(drawn.mean()))
    expected = stats.bootstrap(
        (drawn.mean(axis=1),), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(9)
    ).confidence_interval
    spread = expected.high - expected.low
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.06 * spread)


def test_a_bootstrap_over_prompts_with_unequal_answers_keeps_them_together():
    """In plain loops: prompts are drawn, each with all of its answers."""
    values = {0: [1.0], 3: [5.0, 7.0, 6.0], 4: [2.0, 2.5], 9: [9.0, math.nan]}
    groups = [[1.0], [5.0, 7.0, 6.0], [2.0, 2.5], [9.0]]
    draw = np.random.default_rng(5)
    means = []
    for _ in range(20_000):
        taken = [each for i in draw.integers(0, 4, 4) for each in groups[i]]
        means.append(sum(taken) / len(taken))
    found = mean_over_prompts(values)
    assert found.value == pytest.approx(sum(map(sum, groups)) / 7)
    low, high = np.percentile(means, [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.06 * (high - low))
    assert mean_over_prompts(values) == found


def test_one_prompt_tells_nothing_of_others():
    found = mean_over_prompts({0: [1.0, 2.0]})
    assert found.value == 1.5
    assert math.isnan(found.low)
    assert math.isnan(mean_over_prompts({0: [math.nan]}).value)


def test_the_95th_percentile_is_scipys():
    values = np.random.default_rng(0).exponential(size=37).tolist()
    expected = stats.mstats.mquantiles(values, [0.95], alphap=1, betap=1)[0]
    assert percentile_95(values) == pytest.approx(float(expected))
    assert math.isnan(percentile_95([]))


def test_axbench_score_is_a_harmonic_mean_and_nothing_where_a_mark_is():
    for marks in ((2.0, 1.0, 2.0), (1.0, 1.0, 1.0), (2.0, 2.0, 1.0)):
        assert harmonic(marks) == pytest.approx(stats.hmean(marks))
    assert harmonic((2.0, 0.0, 2.0)) == 0
