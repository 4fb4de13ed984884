"""The statistics of label checks, each against an independent implementation."""

import random

import krippendorff
import numpy as np
import pytest
import scipy.stats
from sklearn import metrics

from steerwidgets.label_checks.statistics import (
    RESAMPLED,
    Share,
    agreed,
    auroc,
    bootstrap,
    cohen_kappa,
    estimate,
    precision_at,
    wilson,
)


@pytest.mark.parametrize("of", [1, 2, 5, 20, 333])
def test_wilson_is_that_of_scipy(of):
    for right in {0, 1, of // 3, of - 1, of}:
        expected = scipy.stats.binomtest(right, of).proportion_ci(0.95, method="wilson")
        assert wilson(right, of) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_share_of_nothing_has_no_value_and_no_interval():
    assert (Share().value, Share().interval, str(Share(2, 5) + Share(1, 1))) == (None, None, "3 of 6")


@pytest.mark.parametrize("seed", range(20))
def test_auroc_with_ties_is_that_of_scikit_learn(seed):
    drawn = random.Random(seed)
    truth = [1] * drawn.randint(1, 12) + [0] * drawn.randint(1, 12)
    said = [drawn.randint(0, 3) / 3 for _ in truth]
    found = auroc(
        [s for s, t in zip(said, truth, strict=True) if t], [s for s, t in zip(said, truth, strict=True) if not t]
    )
    assert found == pytest.approx(metrics.roc_auc_score(truth, said), abs=1e-12)


def test_auroc_of_one_class_is_none():
    assert auroc([], [0.5]) is None
    assert auroc([0.5], []) is None


@pytest.mark.parametrize("density", [0.0001, 0.01, 0.3, 1.0])
def test_precision_is_that_of_a_corpus_with_the_feature_at_its_density(density):
    # A confusion matrix of a corpus in which the feature has that density, through scikit-learn's weights.
    recall, alarms = 0.8, 0.1
    truth, said = [1, 1, 0, 0], [1, 0, 1, 0]
    weights = [density * recall, density * (1 - recall), (1 - density) * alarms, (1 - density) * (1 - alarms)]
    expected = metrics.precision_score(truth, said, sample_weight=weights)
    assert precision_at(density, recall, alarms) == pytest.approx(expected, abs=1e-12)
    assert precision_at(density, 0.0, 0.0) is None


def test_the_bootstrap_is_the_percentile_one_of_scipy():
    values = np.random.default_rng(3).beta(4, 2, 30)
    expected = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20 * RESAMPLED, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    low, high = bootstrap(values)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.01)
    assert bootstrap(values) == (low, high)  # the same numbers give the same interval


def test_an_estimate_leaves_out_what_is_unknown():
    found = estimate([0.5, None, 1.0])
    assert (found.value, found.features) == (0.75, 2)
    assert found.low <= found.value <= found.high
    assert estimate([None]) is None


def answers(seed, readers, units, categories, missing):
    drawn = random.Random(seed)
    truth = [drawn.randrange(categories) for _ in range(units)]
    return [
        [
            None if drawn.random() < missing else each if drawn.random() < 0.7 else drawn.randrange(categories)
            for _ in range(readers)
        ]
        for each in truth
    ]


@pytest.mark.parametrize("readers", [2, 3, 6])
@pytest.mark.parametrize("missing", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("categories", [2, 5])
def test_alpha_with_missing_answers_is_that_of_krippendorff(readers, missing, categories):
    for seed in range(5):
        units = answers(seed, readers, 150, categories, missing)
        table = np.array([[np.nan if each is None else each for each in unit] for unit in units], dtype=float).T
        found = agreed(units)
        expected = krippendorff.alpha(table, level_of_measurement="nominal")
        assert found.alpha == pytest.approx(expected, abs=1e-9)


def test_alpha_of_names_is_that_of_numbers():
    units = answers(1, 3, 30, 3, 0.2)
    named = [[None if each is None else "abc"[each] for each in unit] for unit in units]
    assert agreed(named) == agreed(units)


def test_raw_agreement_of_two_is_how_often_they_say_the_same():
    units = answers(2, 2, 50, 3, 0.0)
    assert agreed(units).raw == pytest.approx(np.mean([one == other for one, other in units]))


@pytest.mark.parametrize("seed", range(10))
def test_kappa_is_that_of_scikit_learn(seed):
    units = answers(seed, 2, 40, 3, 0.2)
    both = [unit for unit in units if None not in unit]
    expected = metrics.cohen_kappa_score(*zip(*both, strict=True))
    assert cohen_kappa(both) == pytest.approx(expected, abs=1e-12)
    assert agreed(units).kappa == pytest.approx(expected, abs=1e-12)


def test_readers_that_always_say_the_same_have_raw_agreement_alone():
    found = agreed([[1, 1]] * 5)
    assert (found.alpha, found.raw, found.kappa, found.units) == (None, 1.0, None, 5)
    assert agreed([[1, None], [None, None]]).units == 0
    assert agreed([]).alpha is None
    assert agreed([[0, 0, 1]]).kappa is None  # of three there is none
