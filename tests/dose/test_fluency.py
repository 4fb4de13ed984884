import math
import statistics

import numpy as np
import pytest

from steerwidgets.dose.fluency import distinct_2, first_broken, is_fluent, own_range


def test_repetition_counts_pairs():
    assert distinct_2([1, 2, 1, 2, 1]) == 0.5
    assert distinct_2([1, 2, 3]) == 1.0
    assert distinct_2([1]) == 1.0


def test_how_prompts_differ_is_no_noise():
    rng = np.random.default_rng(0)
    drawn = [list(rng.normal(mean, 0.3, size)) for mean, size in ((1.0, 400), (5.0, 200), (9.0, 300))]
    low, high = own_range(drawn)
    assert (low + high) / 2 == pytest.approx(statistics.fmean(map(statistics.fmean, drawn)))
    assert (high - low) / 4 == pytest.approx(0.3, rel=0.1)


def test_what_is_not_known_is_left_out():
    assert own_range([[1.0, 2.0, math.nan], [7.0], []]) == pytest.approx(own_range([[1.0, 2.0]]))
    assert all(map(math.isnan, own_range([[1.0], [2.0]])))
    assert is_fluent(1.0, 1.0, own_range([[1.0]]), (0.9, 1.0)) is None


@pytest.mark.parametrize(
    ("surprise", "distinct", "expected"),
    [
        (2.0, 0.9, True),
        (2.0, 1.0, True),
        (0.1, 0.9, False),
        (3.1, 0.9, False),
        (2.0, 0.7, False),
        (math.nan, 0.9, False),
    ],
)
def test_what_is_broken(surprise, distinct, expected):
    assert is_fluent(surprise, distinct, (1.0, 3.0), (0.8, 0.95)) is expected


@pytest.mark.parametrize(
    ("fluent", "expected"),
    [("fff", 1), ("tff", 2), ("ftf", 3), ("tft", None), ("", None)],
)
def test_texts_break_for_good(fluent, expected):
    assert first_broken((i + 1, each == "t") for i, each in enumerate(fluent)) == expected
