"""Scripted readers: one that knows, one that guesses, one that goes by the label; and how far readers agree."""

import itertools
import json
import random
import re
import threading
from dataclasses import replace
from pathlib import Path

import krippendorff
import numpy as np
import pytest
import torch
from sklearn import metrics
from support import checked, kinds

import steerwidgets as sw
from steerwidgets.label_checks.answers import Answers
from steerwidgets.label_checks.items import ItemMaker

SETTINGS = {"features": list(range(12)), "seed": 11}


_world = checked.world


@pytest.fixture(autouse=True)
def once(monkeypatch, tmp_path):
    monkeypatch.setenv("STEERWIDGETS_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(ItemMaker, "of", checked.of)


@pytest.fixture
def score():
    lm, sae = _world()
    return lambda answer, **settings: sw.labels.score(sae, answer, lm=lm, **(SETTINGS | settings))


def knows(item):
    return item.truth[0] if item.is_choice else item.truth


def reads(lm, sae):
    """Reads every text itself: the largest activation of a feature, as a share of its maximum."""

    def answer(item):
        if item.is_choice:
            return knows(item)
        values = [lm.read(text.token_ids, sae, [item.index]) for text in item.texts]
        return [float(each.values[each.mask].max() > 0) for each in values]

    return answer


def guesses(seed):
    drawn = random.Random(seed)
    return lambda item: drawn.randrange(5) if item.is_choice else [drawn.random() for _ in item.texts]


def test_who_reads_the_activations_is_always_right(score):
    scores = score(reads(*_world()), modes=["which fire"]).scores
    assert scores.balanced_accuracy.value == scores.auroc.value == 1.0
    assert {share.right for share in scores.false_alarms.values()} == {0}
    known = score(knows).scores
    assert known.odd_one_out.value == known.which_label.value == known.which_tokens.value == 1.0
    assert known.precision.value == known.same.value == 1.0


def test_who_guesses_is_right_half_of_the_time_and_once_in_five(score):
    areas = [score(guesses(seed)).scores for seed in range(12)]
    assert np.mean([each.auroc.value for each in areas]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([each.balanced_accuracy.value for each in areas]) == pytest.approx(0.5, abs=0.03)
    label = [each.which_label for each in areas]
    assert sum(each.right for each in label) / sum(each.of for each in label) == pytest.approx(0.2, abs=0.08)
    assert sum(each.auroc.low <= 0.5 <= each.auroc.high for each in areas) >= 9


def test_progress_is_told_and_a_stop_is_heard(score):
    told, stop = [], threading.Event()

    def tell(done, of):
        told.append((done, of))
        if done >= 5:
            stop.set()

    found = score(knows, on_progress=tell, stop=stop)
    assert told[-1][0] < told[-1][1]
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert 0 < len(found) < 12


def test_a_reader_that_breaks_off_loses_nothing_and_goes_on(score, tmp_path):
    def breaks(item):
        if next(count) >= 7:
            raise RuntimeError("the service is gone")
        asked.append(item.id)
        return knows(item)

    count, asked = itertools.count(), []
    with pytest.raises(RuntimeError, match="the service is gone"):
        score(breaks, folder=tmp_path)
    [file] = tmp_path.iterdir()
    assert len(Answers.load(file)) == 7
    count = itertools.count(-1000)
    assert score(breaks, folder=tmp_path).answered == Answers.load(file).answered
    assert len(asked) == len(Answers.load(file))


def test_an_answer_that_is_none_is_told(score):
    with pytest.raises(ValueError, match="An answer to 'odd one out' is which one"):
        score(lambda _item: "the third", modes=["odd one out"])
    with pytest.raises(TypeError, match="answer is a callable"):
        score("yes")


def test_what_a_machine_computes_is_an_answer(score):
    by_arrays = score(lambda item: np.int64(item.truth[0]) if item.is_choice else torch.tensor(item.truth).float())
    assert [each.answers for each in by_arrays] == [each.answers for each in score(knows)]


def test_settings_that_are_none_are_told():
    lm, sae = _world()
    with pytest.raises(TypeError, match=r"sw\.labels\.score knows no setting foo; it takes features, seed"):
        sw.labels.score(sae, knows, lm=lm, foo=1)
    for labels in (["the sea"], {1: None}):
        with pytest.raises(
            TypeError, match=r"labels by feature, each a text, but .* was given; labels=\{3: 'the sea'\}"
        ):
            sw.labels.score(sae, knows, lm=lm, labels=labels)


def test_a_dictionary_of_another_model_needs_its_model():
    with pytest.raises(ValueError, match=r"sw\.labels\.score\(dictionary, answer, lm=lm\)"):
        sw.labels.score(_world()[1], knows)


def test_a_dictionary_without_evidence_is_told():
    with pytest.raises(ValueError, match=r"sw\.corpus\.build"):
        sw.labels.score(kinds.make("CAV"), knows, lm=_world()[0])
    with pytest.raises(TypeError, match=r"sw\.labels\.score"):
        sw.labels.score("sae", knows)


# Agreement


def table(several, mode):
    """What each reader said of each question, [reader, question], NaN where they did not."""
    said = [
        {
            (e.item, question.key): e.said(at)
            for e in each
            if e.mode == mode and not e.again
            for at, question in enumerate(e.questions)
        }
        for each in several
    ]
    keys = sorted({key for each in said for key in each})
    found = [[each.get(key) for key in keys] for each in said]
    return np.array([[np.nan if value is None else value for value in row] for row in found], dtype=float)


def noisy(seed, wrong, skips=0.0):
    drawn = random.Random(seed)

    def answer(item):
        if item.is_choice:
            return None if drawn.random() < skips else knows(item) if drawn.random() > wrong else drawn.randrange(5)
        flipped = [truth if drawn.random() > wrong else 1 - truth for truth in item.truth]
        return [None if drawn.random() < skips else each for each in flipped]

    return answer


@pytest.mark.parametrize("readers", [2, 3, 4])
def test_agreement_is_that_of_krippendorff_and_scikit_learn(score, tmp_path, readers):
    several = [score(noisy(seed, 0.2, skips=0.25), reader=f"r{seed}") for seed in range(readers)]
    files = [tmp_path / f"{number}.json" for number in range(readers)]
    for each, file in zip(several, files, strict=True):
        each.save(file)
    found = sw.labels.agreement(files)
    assert found.readers == tuple(f"r{seed}" for seed in range(readers))
    for mode, each in found.by_mode.items():
        said = table(several, mode)
        assert each.alpha == pytest.approx(krippendorff.alpha(said, level_of_measurement="nominal"), abs=1e-9)
        if readers == 2:
            both = said[:, ~np.isnan(said).any(axis=0)]
            assert each.raw == pytest.approx((both[0] == both[1]).mean())
            assert each.kappa == pytest.approx(metrics.cohen_kappa_score(*both), abs=1e-9)
        else:
            assert each.kappa is None
    assert (found.alpha, found.raw) == (found.by_mode["which fire"].alpha, found.by_mode["which fire"].raw)
    assert re.search(r"which fire +0\.\d+", repr(found))


def test_verdicts_agree_as_well(score):
    several = [score(knows, modes=["which fire"]) for _ in range(2)]
    for index, verdicts in enumerate([("true", "true"), ("true", "mixed"), ("wrong", "wrong")]):
        several = [
            each.with_verdict(index, replace(each.features[index], verdict=verdict))
            for each, verdict in zip(several, verdicts, strict=True)
        ]
    found = sw.labels.agreement(several).by_mode["verdict"]
    assert (found.units, found.raw) == (3, pytest.approx(2 / 3))


def test_answers_of_other_items_are_refused(score):
    one, other = score(knows), score(knows, seed=12)
    with pytest.raises(ValueError, match="reader 2 answers items of seed 12, but reader 1 those of 11"):
        sw.labels.agreement([one, other])
    with pytest.raises(ValueError, match="of dictionary cav:0"):
        sw.labels.agreement([one, replace(one, dictionary="cav:0")])
    with pytest.raises(ValueError, match="of the corpus of old, but"):
        sw.labels.agreement([one, replace(one, provenance={"corpus": "of old"})])


def test_one_reader_agrees_with_nobody(score, tmp_path):
    with pytest.raises(ValueError, match="two readers or more, but 1 was given"):
        sw.labels.agreement([score(knows)])
    for nothing in (None, [1, 2]):
        with pytest.raises(TypeError, match=r"sw\.labels\.agreement takes the files of several readers"):
            sw.labels.agreement(nothing)
    with pytest.raises(FileNotFoundError, match="no file of answers"):
        sw.labels.agreement([tmp_path / "a.json", tmp_path / "b.json"])
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(ValueError, match="holds no answers of a label check"):
        sw.labels.agreement([tmp_path / "c.json"] * 2)


# The embedded SAE

ANSWERED = json.loads((Path(__file__).parents[1] / "fixtures" / "answered_by_label.json").read_text())


def by_label(item):
    """Who goes by the label alone: a language model's steps of confidence, written down before it saw activations."""
    steps = ANSWERED["steps"][str(item.index)]
    known = [steps.get(text.key) for text in item.texts]
    return [None if step is None else step / 3 for step in known]


@pytest.mark.embedded
def test_the_embedded_labels_score_about_as_shipped(embedded, monkeypatch):
    sae = sw.SAE.demo()
    made = {}
    monkeypatch.setattr(ItemMaker, "of", lambda self, i: made.get(i) or made.setdefault(i, checked.OF(self, i)))
    chosen = list(map(int, ANSWERED["steps"]))
    settings = {"lm": embedded, "features": chosen, "seed": ANSWERED["seed"], "modes": ["which fire"]}
    found = sw.labels.score(sae, by_label, **settings).scores
    answered = sum(each.detection.of for each in found.features)
    assert answered >= 0.9 * sum(len(text) for text in ANSWERED["steps"].values())
    shipped = np.mean([sae.label_scores[index]["detection"] for index in chosen])
    assert found.auroc.value == pytest.approx(shipped, abs=0.15)
    assert found.strong.value > found.weak.value  # as labels are: true of what is strong
    assert sw.labels.score(sae, reads(embedded, sae), **settings).scores.auroc.value == 1.0
    guessed = sw.labels.score(sae, guesses(0), **settings).scores.auroc
    assert guessed.low < 0.5 < guessed.high
