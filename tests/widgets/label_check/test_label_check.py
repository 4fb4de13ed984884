"""LabelCheck from Python: what travels and what does not, answers over the wire, a break, verdicts, saved copies."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from support import checked, kinds
from widgets.front_end import FrontEnd

import steerwidgets as sw
from steerwidgets.label_checks.answers import Answers
from steerwidgets.label_checks.items import MODES, ItemMaker
from steerwidgets.labels.own import VERDICTS

SETTINGS = {"features": [3, 4, 5], "seed": 2026}


@pytest.fixture(autouse=True)
def once(monkeypatch, tmp_path):
    monkeypatch.setenv("STEERWIDGETS_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(ItemMaker, "of", checked.of)
    yield
    checked.world()[1].__dict__.pop("user_labels", None)


@pytest.fixture
def lm():
    return checked.world()[0]


@pytest.fixture
def sae():
    return checked.world()[1]


@pytest.fixture
def make(lm, sae):
    made = []

    def make_(dictionary=sae, **settings):
        made.append(sw.LabelCheck(lm, dictionary, **(SETTINGS | settings)))
        return made[-1]

    yield make_
    for check in made:
        check.close()


@pytest.fixture
def check(make):
    return make()


@pytest.fixture
def page(check):
    return FrontEnd(check)


def knows(item):
    return item.truth[0] if item.is_choice else list(item.truth)


def walk(check, answer=knows, until=lambda _check: False):
    while check.screen["kind"] != "end" and not until(check):
        check.go_on() if check.item is None else check.answer(answer(check.item))


def at_reveal(check):
    return check.screen["kind"] == "reveal" and not check.screen["practice"]


def texts_of(value):
    """Every number in a JSON value."""
    if isinstance(value, dict):
        return [each for inner in value.values() for each in texts_of(inner)]
    if isinstance(value, list):
        return [each for inner in value for each in texts_of(inner)]
    return [value]


def test_an_item_travels_without_its_truth(check):
    seen = set()
    while check.screen["kind"] != "end":
        item, screen = check.item, check.screen
        if item is None:
            check.go_on()
            continue
        seen.add(item.mode)
        assert "truth" not in json.dumps(screen)
        assert "index" not in screen
        assert check.feature == ""
        assert [set(text) for text in screen["texts"]] == [{"tokens", "values", "marked"}] * len(item.texts)
        if item.mode == "which label":
            assert screen["choices"] == list(item.choices)
            assert screen["label"] == ""
        else:
            assert [text["values"] for text in screen["texts"]] == [None] * len(item.texts)
        texts = ["".join("" if t["fragment"] else t["text"] for t in text["tokens"]) for text in screen["texts"]]
        assert texts == [text.text for text in item.texts]
        check.answer(None)
    assert seen == set(MODES)


def test_the_truth_is_shown_with_what_was_said(check, sae):
    walk(check, until=at_reveal)
    screen = check.screen
    index = screen["index"]
    assert (screen["label"], screen["feature"]) == (sae.labels[index], check.queue.index(index) + 1)
    assert check.feature == sae[index].key
    assert [result["mode"] for result in screen["results"]] == [
        m for m in MODES if m in [e.mode for e in check.answers]
    ]
    for result in screen["results"]:
        assert result["right"] == result["of"] == len(result["said"])
        assert result["said"] == result["truth"]
        assert all(len(text["values"]) == len(text["tokens"]) for text in result["texts"])


def test_scores_wait_for_the_truth(check):
    walk(check, until=lambda check: len(check.answers.answered) >= 4)
    assert check.side["session"] == []  # of the features that count none is told
    walk(check, until=at_reveal)
    rows = dict(check.side["session"])
    assert rows["labels checked"] == "1"
    assert rows["balanced accuracy"].startswith("1.00")
    assert check.side["label"][0][0] == "detection, yours"


def test_answers_over_the_wire(check, page):
    item, step = check.item, check.screen["step"]
    assert (
        page.call("answer", step=step, answers=[1] if item.is_choice else [0] * len(item.texts), seconds=3.21)["type"]
        == "result"
    )
    assert check.answers.answered[0].seconds == 3.2
    assert check.screen["step"] == step + 1
    second = page.call("answer", step=step, answers=None)
    assert second["error"]["message"].startswith("Another item is shown by now")
    assert len(check.answers) == 1
    page.call("answer", step=check.screen["step"], answers=None)
    assert set(check.answers.answered[1].answers) == {None}
    assert check.screen["kind"] == "reveal"
    assert page.call("next", step=check.screen["step"])["type"] == "result"
    assert check.screen["kind"] == "item"


@pytest.mark.parametrize("answers", ["x", [99], [None, None, 1, 2], {"a": 1}, [float("inf")], 3.5])
def test_a_wrong_answer_is_one_sentence_and_changes_nothing(check, page, answers):
    before = check.screen
    said = page.call("answer", step=before["step"], answers=answers)
    assert said["type"] == "error"
    assert "\n" not in said["error"]["message"]
    assert check.screen == before
    assert len(check.answers) == 0


def test_a_verdict_is_kept_with_the_users_labels_and_the_answers(check, page, sae):
    assert "truth is shown" in page.call("verdict", step=check.screen["step"], verdict="true")["error"]["message"]
    walk(check, until=at_reveal)
    step, index = check.screen["step"], check.screen["index"]
    page.call("verdict", step=step, verdict="too wide")
    page.call("verdict", step=step, note="only chemistry")
    assert sae.user_labels[index].verdict == "too wide"
    assert sae.user_labels[index].note == "only chemistry"
    assert (check.screen["verdict"], check.screen["note"]) == ("too wide", "only chemistry")
    assert check.answers.features[index].verdict == "too wide"
    assert page.call("verdict", step=step, verdict="great")["type"] == "error"
    assert page.call("verdict", step=step, verdict=3)["type"] == "error"
    card = sw.FeatureCard(check._lm, sae, index)
    assert card.verdict["verdict"] == "too wide"
    card.close()


def test_what_was_said_of_a_feature_before_is_not_written_over(make, sae):
    for index in SETTINGS["features"]:
        sae.user_labels.set(index, note="mine", verdict="mixed")
    check = make()
    walk(check, until=at_reveal)
    assert (check.screen["verdict"], check.screen["note"]) == ("mixed", "mine")
    check.judge("true")
    assert sae.user_labels[check.screen["index"]].note == "mine"


def test_a_break_keeps_everything(make):
    one = make()
    walk(one, until=at_reveal)
    one.judge("wrong")
    answers, screen = one.answers, one.screen
    one.close()
    again = make()
    assert again.answers == answers
    assert again.screen == screen
    assert again.facts["resumed"] == len(answers)
    assert make(seed=1).facts["resumed"] == 0
    assert make(reader="Ada").facts["resumed"] == 0


def test_a_damaged_file_is_told_and_left_alone(make, tmp_path):
    one = make()
    walk(one, until=at_reveal)
    [file] = (tmp_path / "data" / "label_checks").iterdir()
    file.write_text(file.read_text()[:100])
    with pytest.raises(ValueError, match=re.escape(file.name)):
        make()
    assert len(file.read_text()) == 100


def test_where_nothing_can_be_kept_the_reader_is_told_and_goes_on(check, page, tmp_path):
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / "label_checks").write_text("in the way")
    said = page.call("answer", step=check.screen["step"], answers=None)
    assert "could not be" in said["error"]["message"]
    assert check.screen["step"] == 1  # the answer stays, in memory
    (tmp_path / "data" / "label_checks").unlink()
    page.call("answer", step=1, answers=None)
    assert len(Answers.load(check.file)) == 2


def test_what_is_chosen_and_not_sent_survives_a_reload(check, page):
    page.update(draft={"step": 0, "answers": [2]})
    assert check.get_state("draft")["draft"] == {"step": 0, "answers": [2]}
    check.answer(None)
    assert check.draft == {}


def test_files_for_whoever_collects_them(check, page, tmp_path):
    walk(check)
    check.save(tmp_path / "a.json")
    check.to_csv(tmp_path / "a.csv")
    assert Answers.load(tmp_path / "a.json").answered == check.answers.answered
    said = page.call("export_csv")["value"]
    assert said["filename"] == "label-check-2026.csv"
    assert len(list(csv.reader(io.StringIO(said["text"])))) == len((tmp_path / "a.csv").read_text().splitlines())
    assert json.loads(page.call("export_json")["value"]["text"]) == json.loads(check.to_json())
    assert check.scores.balanced_accuracy.value == 1.0


def test_others_answers_stand_beside_ones_own(make, tmp_path):
    one, other = make(reader="Ada"), make(reader="Bo")
    walk(one)
    walk(other, lambda item: 0 if item.is_choice else [1.0] * len(item.texts))
    other.save(tmp_path / "bo.json")
    found = one.compare([tmp_path / "bo.json"])
    assert found.readers == ("Ada", "Bo")
    rows = dict(one.side["session"])
    assert rows["agreement with 1 other, α · raw"] == f"{found.alpha:.2f} · {found.raw:.2f}"
    with pytest.raises(ValueError, match="seed 7"):
        one.compare([make(seed=7).answers])


def test_a_saved_copy_shows_what_is_shown(check, tmp_path):
    walk(check, until=at_reveal)
    html = check.to_html(tmp_path / "check.html").read_text()
    assert check.screen["label"] in html
    state = json.loads(re.search(r'id="state">(.*?)</script>', html, re.DOTALL)[1])
    assert state["screen"] == json.loads(json.dumps(check.screen))
    assert not {name for name in state if name.startswith("_")}
    assert str(check.file.parent) not in html  # where a user keeps things is nobody's business


def test_it_says_what_it_is_where_it_cannot_be_seen(check):
    assert re.match(r"Label check: SAE of 40 features .*, 3 features, seed 2026", check.summary())
    walk(check)
    assert "balanced accuracy 1.00" in check.summary()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda lm, sae: sw.LabelCheck(sae, 3), r"sw\.LabelCheck"),
        (lambda lm, sae: sw.LabelCheck(lm, "sae"), r"sw\.LabelCheck"),
        (lambda lm, sae: sw.LabelCheck(lm, kinds.make("CAV")), r"sw\.corpus\.build"),
        (lambda lm, sae: sw.LabelCheck(lm, sae, features=[99]), "features 0 to 39"),
        (lambda lm, sae: sw.LabelCheck(lm, sae, seed="today"), "seed of a label check"),
        (lambda lm, sae: sw.LabelCheck(lm, sae, features="poorly scored"), "was tested"),
        (lambda lm, sae: sw.LabelCheck(lm, sae, mode=["which fire"]), "mode"),
    ],
)
def test_bad_input_is_one_sentence(lm, sae, call, said):
    with pytest.raises((ValueError, TypeError, IndexError), match=said) as told:
        call(lm, sae)
    assert "\n" not in str(told.value)


def test_verdicts_are_those_of_the_protocol():
    assert VERDICTS == ("true", "too wide", "too narrow", "mixed", "wrong", "unclear")
