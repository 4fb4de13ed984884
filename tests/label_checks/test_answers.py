"""Answers: asked in order, kept as they are given, gone on with after a break, scored, written, and read again."""

import csv
import json
import random
import re
from collections import Counter

import numpy as np
import pytest
from sklearn import metrics
from support import checked

import steerwidgets as sw
from steerwidgets.label_checks.answers import Answers
from steerwidgets.label_checks.items import MODES, ItemMaker
from steerwidgets.label_checks.scores import Scores
from steerwidgets.label_checks.session import CheckSession, Step
from steerwidgets.label_checks.statistics import precision_at

FEATURES = tuple(range(3, 15))


_world = checked.world


@pytest.fixture(autouse=True)
def once(monkeypatch, tmp_path):
    monkeypatch.setenv("STEERWIDGETS_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(ItemMaker, "of", checked.of)
    yield
    _world()[1].__dict__.pop("user_labels", None)


@pytest.fixture
def sae():
    return _world()[1]


def session(folder=None, **settings):
    return CheckSession(*_world(), folder=folder, **({"features": FEATURES, "seed": 7} | settings))


def knows(item):
    return item.truth[0] if item.is_choice else item.truth


def guesses(seed=0):
    drawn = random.Random(seed)

    def answer(item):
        if item.is_choice:
            return drawn.randrange(len(item.choices) or len(item.texts))
        return [drawn.choice((0.0, 1 / 3, 2 / 3, 1.0, None)) for _ in item.texts]

    return answer


def walk(check, answer, most=10**6):
    """Answer up to so many steps; the steps that were taken."""
    taken = []
    while (step := check.step) is not None and len(taken) < most:
        taken.append(step)
        check.go_on() if step.mode is None else check.answer(answer(check.item))
    return taken


# The way


def test_two_unscored_items_come_first_and_the_modes_in_order():
    steps = session().steps
    assert [step.scored for step in steps[:4]] == [False, False, False, True]  # and what they were
    assert [step.mode for step in steps[:3]] == [*MODES[:2], None]
    assert steps[0].index not in FEATURES
    first = [step.mode for step in steps if step.index == FEATURES[0] and not step.again]
    assert first == [*MODES, None]


def test_a_tenth_of_the_items_comes_again_later_before_it_is_told_what_was_right():
    steps = session().steps
    again = [step for step in steps if step.again]
    assert len(again) == round(len(FEATURES) * len(MODES) / 10)
    for step in again:
        reveal = steps.index(Step(step.index, None))
        first, second = steps.index(Step(step.index, step.mode)), steps.index(step)
        assert first < second < reveal
        between = {each.index for each in steps[first:second]}
        assert len(between) > 1  # another feature stands between
    assert Counter(step.index for step in steps if step.mode is None and step.scored) == Counter(FEATURES)


def test_the_same_seed_gives_the_same_way():
    assert session().steps == session().steps
    assert session(features="random", count=5).queue == session(features="random", count=5).queue
    assert session(features="random", count=5).queue != session(features="random", count=5, seed=8).queue


def test_modes_can_be_left_out():
    check = session(modes=["which label", "which fire"])
    assert check.modes == ("which fire", "which label")
    assert {step.mode for step in walk(check, knows)} == {None, "which fire", "which label"}


def test_random_features_have_labels_and_poorly_scored_ones_the_lowest_scores(sae):
    assert all(sae.labels[index] for index in session(features="random", count=30).queue)
    sae.label_scores = {4: {"detection": 0.9}, 9: {"detection": 0.2}, 2: {"detection": 0.5}}
    try:
        assert session(features="poorly scored", count=2).queue == [9, 2]
    finally:
        del sae.label_scores


def test_features_are_named_by_index_label_or_themselves(sae):
    assert session(features=[3, sae.labels[5], sae[7], 3]).queue == [3, 5, 7]
    assert session(features=3).queue == [3]


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"features": [4000]}, IndexError, "has features 0 to 39, but 4000"),
        ({"features": ["no such label"]}, KeyError, "No feature is labelled 'no such label'"),
        ({"features": []}, ValueError, "There is no feature to check"),
        ({"features": "poorly scored"}, ValueError, "No label of .* was tested"),
        ({"modes": ["guessing"]}, ValueError, "modes are some of 'odd one out'"),
        ({"modes": []}, ValueError, "but none was given"),
        ({"features": "random", "count": 0}, ValueError, "count is how many features"),
    ],
)
def test_a_wrong_setting_is_refused_in_a_sentence(settings, error, said):
    with pytest.raises(error, match=said):
        session(**settings)


def test_a_feature_of_another_dictionary_is_refused():
    with pytest.raises(ValueError, match="is a feature of another dictionary"):
        session(features=[sw.CAV(checked.torch.randn(2, 32), ["a", "b"], layer=1)[0]])


# Answers


def test_nothing_is_asked_at_a_reveal_and_nothing_is_left_at_the_end():
    check = session(features=[3, 4])
    while check.item is not None:
        check.answer(None)
    with pytest.raises(ValueError, match="Nothing is asked"):
        check.answer(1)
    check.go_on()
    with pytest.raises(ValueError, match="an item to answer"):
        check.go_on()
    walk(check, knows)
    assert check.is_done
    assert check.step is check.item is None


def test_an_answer_that_is_none_changes_nothing():
    check = session()
    before = check.answers
    with pytest.raises(ValueError, match="whole number from 0 to 4"):
        check.answer(9)
    assert check.answers is before


def test_practice_and_repeated_items_do_not_count():
    check = session()
    walk(check, knows)
    scores = check.answers.scores
    assert {each.index for each in scores.features} == set(FEATURES)
    assert scores.which_label.of == len(FEATURES)
    assert scores.same.value == 1.0
    assert scores.same.of >= len([step for step in check.steps if step.again])


# A break


def test_a_break_keeps_everything_and_goes_on_where_it_was(tmp_path):
    one = session(tmp_path)
    first = walk(one, guesses(), most=9)
    one.judge(first[-1].index, "too wide", "only chemistry")
    again = session(tmp_path)
    assert again.file == one.file
    assert again.answers == one.answers
    assert again.step == one.step
    rest = walk(again, knows)
    assert [*first, *rest] == walk(session(), knows)


def test_another_queue_seed_or_reader_is_another_file(tmp_path):
    files = {
        session(tmp_path, **settings).file
        for settings in (
            {},
            {"seed": 8},
            {"features": [3]},
            {"reader": "Ada"},
            {"reader": "Ad/a"},
            {"modes": MODES[:2]},
        )
    }
    assert len(files) == 6
    assert all(file.parent == tmp_path for file in files)


def test_looking_makes_no_file(tmp_path):
    check = session(tmp_path / "new")
    assert check.item is not None
    assert not (tmp_path / "new").exists()


def test_where_nothing_can_be_written_answers_stay_and_come_with_the_next(tmp_path):
    check = session(tmp_path / "folder")
    (tmp_path / "folder").write_text("a file in the way")
    with pytest.raises(OSError, match="could not be"):
        check.answer(None)
    assert len(check.answers) == 1
    (tmp_path / "folder").unlink()
    check.answer(None)
    assert len(Answers.load(check.file)) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _text: "",
        lambda text: text.replace('"format"', '"from"'),
        lambda text: text.replace('"version": 1', '"version": 99'),
        lambda text: text.replace('"queue": [', '"queue": ["x",', 1),
        lambda text: text.replace('"answers": [\n    ', '"answers": [\n    77, ', 1),
        lambda text: text.replace('"mode": "', '"mode": "un', 1),
        lambda text: re.sub(r'"truth": \d+', '"truth": null', text, count=1),
    ],
)
def test_a_damaged_file_is_told_in_one_sentence_and_left_alone(tmp_path, damage):
    check = session(tmp_path)
    walk(check, knows, most=3)
    check.file.write_text(damage(check.file.read_text()))
    before = check.file.read_bytes()
    with pytest.raises(ValueError, match=re.escape(check.file.name)) as told:
        session(tmp_path)
    assert "\n" not in str(told.value)
    assert check.file.read_bytes() == before


def test_answers_of_another_dictionary_or_seed_are_refused(tmp_path):
    check = session(tmp_path)
    walk(check, knows, most=3)
    said = json.loads(check.file.read_text())
    for name, value in (("dictionary", "sae:0"), ("seed", 1), ("queue", [1])):
        check.file.write_text(json.dumps(said | {name: value}))
        with pytest.raises(ValueError, match=f"answers of another {name}"):
            session(tmp_path)


def test_no_file_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file of answers"):
        Answers.load(tmp_path / "a.json")


# Files


def test_json_is_read_as_it_was_written(tmp_path):
    check = session(tmp_path, reader="Ada Lovelace \ud83d")
    walk(check, guesses(), most=12)
    check.answers.save(tmp_path / "a.json")
    read = Answers.load(tmp_path / "a.json")
    assert read.answered == check.answers.answered
    assert read.reader == "Ada Lovelace �"
    assert read.to_json() == check.answers.to_json()
    assert read.scores == Answers.from_json(check.answers.to_json()).scores


def test_provenance_says_where_answers_come_from(sae):
    found = session().answers.provenance
    assert found["fingerprint"] == sae.fingerprint == session().answers.dictionary
    assert found["seed"] == "7"
    assert found["corpus"] == sae.feature_data.corpus
    assert {"steerwidgets", "torch", "transformers", "model"} <= set(found)


def test_csv_has_one_line_for_each_question(tmp_path):
    check = session()
    walk(check, guesses(), most=14)
    check.judge(FEATURES[0], "mixed", 'commas, "quotes"\nand lines')
    check.answers.to_csv(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(each.questions) for each in check.answers)
    fire = [row for row in rows if row["mode"] == "which fire" and row["answer"]]
    assert fire
    for row in fire:
        assert row["right"] == str(int((float(row["answer"]) > 0.5) == (row["truth"] == "1")))
        assert (row["decile"] != "") == (row["kind"] == "fires")
    assert {row["note"] for row in rows if row["feature"] == str(FEATURES[0])} == {'commas, "quotes"\nand lines'}


# Scores


def judged(answers, index):
    [item] = [e for e in answers if e.index == index and e.mode == "which fire" and e.scored and not e.again]
    return [(q, a) for q, a in zip(item.questions, item.answers, strict=True) if a is not None]


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_scikit_learn(seed, sae):
    check = session()
    walk(check, guesses(seed))
    scores = check.answers.scores
    accuracies, areas, every = [], [], []
    for each in scores.features:
        said = judged(check.answers, each.index)
        every += said
        truth, sure = [q.truth for q, _ in said], [a for _, a in said]
        binary = [a > 0.5 for a in sure]
        accuracies.append(metrics.balanced_accuracy_score(truth, binary))
        areas.append(metrics.roc_auc_score(truth, sure))
        assert each.balanced_accuracy() == pytest.approx(accuracies[-1])
        assert each.auroc() == pytest.approx(areas[-1])
        (tn, fp), (fn, tp) = metrics.confusion_matrix(truth, binary)
        assert (each.detection.right, each.detection.of) == (tp + tn, len(said))
        density = sae.statistics.of("density", each.index)
        assert each.precision == pytest.approx(precision_at(density, tp / (tp + fn), fp / (fp + tn)))
    assert scores.balanced_accuracy.value == pytest.approx(np.mean(accuracies))
    assert scores.auroc.value == pytest.approx(np.mean(areas))
    assert scores.balanced_accuracy.low < scores.balanced_accuracy.value < scores.balanced_accuracy.high
    for decile, share in scores.recall.items():
        own = [a > 0.5 for q, a in every if q.decile == decile]
        assert (share.right, share.of) == (sum(own), len(own))
    for kind, share in scores.false_alarms.items():
        own = [a > 0.5 for q, a in every if q.kind == kind]
        assert (share.right, share.of) == (sum(own), len(own))
    assert scores.strong.of + scores.weak.of == sum(share.of for share in scores.recall.values())


def test_scores_print_the_worst_labels_first():
    check = session()
    walk(check, guesses(3))
    scores = check.answers.scores
    worst = [each.balanced_accuracy() for each in scores.worst_first()]
    assert worst == sorted(worst)
    assert len(worst) == len(FEATURES)
    printed = repr(scores).splitlines()
    assert any(line.startswith("balanced accuracy") for line in printed)
    assert printed[-len(FEATURES)].split()[0] == str(scores.worst_first()[0].index)
    assert scores.worst_first()[0].label in printed[-len(FEATURES)]


def test_scores_of_nothing_are_empty():
    assert session().answers.scores == Scores.of([], [])
    assert session().answers.scores.rows() == [("labels checked", "0")]


def test_everything_skipped_is_no_score():
    check = session()
    walk(check, lambda _item: None)
    scores = check.answers.scores
    assert scores.balanced_accuracy is scores.auroc is scores.precision is None
    assert scores.same.of == scores.odd_one_out.of == 0


# Verdicts


def test_a_verdict_is_kept_beside_the_users_labels(sae):
    check = session()
    walk(check, knows, most=2)
    check.judge(3, "too wide", "only chemistry")
    check.judge(3, note="")
    assert sae.user_labels[3].verdict == "too wide"
    assert sae.user_labels[3].note == ""
    assert check.answers.features[3].verdict == "too wide"
    assert sae.user_labels.verdicts == {3: "too wide"}
    with pytest.raises(ValueError, match="A verdict is one of 'true', 'too wide'"):
        check.judge(3, "perfect")
    check.judge(3, "")
    assert sae.user_labels.verdicts == {}
