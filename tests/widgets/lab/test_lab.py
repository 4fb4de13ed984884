"""Lab and its questions: what is kept and when, what a page may ask, what is restored, what is refused."""

from __future__ import annotations

import json
import threading

import pytest
from widgets.front_end import FrontEnd

import steerwidgets as sw


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.delenv("JUPYTERHUB_USER", raising=False)
    return sw.Lab("sea", student="Ada", folder=tmp_path)


@pytest.fixture
def again(tmp_path):
    """The same student after the kernel has died."""
    return lambda: sw.Lab("sea", student="Ada", folder=tmp_path)


def on_disk(lab):
    table = json.loads(lab.file.read_text(encoding="utf-8"))
    return {each["key"]: each for each in table["questions"]} | {"kept": table["kept"]}


def test_nothing_is_written_before_something_is_said(lab, tmp_path):
    lab.ask("Why?")
    assert list(tmp_path.iterdir()) == []


def test_an_answer_is_on_the_disk_when_the_page_hears_of_it(lab):
    question = lab.ask("Why?", answer="Because.", key="why")
    page = FrontEnd(question)
    assert page.call("answer", answer="  I think so. ")["type"] == "result"
    assert on_disk(lab)["why"]["answer"] == "I think so."
    assert question.given["answer"] == "I think so."
    assert question.value == "I think so."


def test_the_teachers_answer_travels_only_after_the_students_own(lab):
    question = lab.ask("Why?", answer="Because of the tide.", key="why")
    page = FrontEnd(question)
    assert "tide" not in json.dumps(question.get_state(), default=str)
    assert page.call("reveal")["type"] == "error"
    page.call("answer", answer="No idea.")
    assert "tide" not in json.dumps(page.states)
    page.call("reveal")
    assert question.given["told"] == "Because of the tide."
    assert on_disk(lab)["why"]["revealed"] is True
    refused = page.call("answer", answer="Because of the tide.")
    assert refused["type"] == "error"
    assert "kept as it is" in json.dumps(refused)
    assert lab.answers == {"why": "No idea."}


def test_after_a_restart_the_same_cells_show_what_was_said(lab, again):
    lab.ask("Why?", answer="Because.", key="why").answer("So.")
    lab.check("How many?", 2, key="many", hint="Count.").answer("3")
    FrontEnd(lab.ask("And then?", key="then")).update(draft="half a sen")
    lab.save()
    later = again()
    assert later.answers == {"why": "So.", "many": 3.0, "then": None}
    assert later.ask("Why?", answer="Because.", key="why").given["answer"] == "So."
    check = later.check("How many?", 2, key="many", hint="Count.")
    assert (check.given["right"], check.given["hint"], check.given["tries"]) == (False, "Count.", 1)
    assert later.ask("And then?", key="then").draft == "half a sen"


def test_what_is_typed_is_kept_without_being_an_answer(lab):
    question = lab.ask("Why?", key="why")
    page = FrontEnd(question)
    page.update(draft="I th")
    page.wait(lambda: lab.file.is_file() and on_disk(lab)["why"]["draft"] == "I th", "the draft on the disk")
    assert lab.answers == {"why": None}
    page.call("answer", answer="I think")
    assert question.draft == ""
    assert on_disk(lab)["why"]["draft"] == ""


def test_a_check_says_right_wrong_and_the_hint(lab):
    check = lab.check("Which word?", ["sea", "ocean"], hint="Think of ships.", answer="The sea.", key="word")
    page = FrontEnd(check)
    page.call("answer", answer="mountain")
    assert (check.right, check.given["hint"], check.given["tellable"]) == (False, "Think of ships.", False)
    assert page.call("reveal")["type"] == "error"
    page.call("answer", answer="river")
    assert check.given["tellable"]  # twice wrong: it may be seen
    page.call("answer", answer="Ocean")
    assert (check.right, check.given["hint"], check.given["locked"]) == (True, "", True)
    assert on_disk(lab)["word"]["tries"] == 3


def test_a_function_of_the_teachers_that_fails_loses_no_answer(lab):
    check = lab.check("How many?", lambda answer: 1 / answer > 0, number=True, key="many")
    page = FrontEnd(check)
    said = page.call("answer", answer="0")
    assert said["type"] == "error"
    assert "ZeroDivisionError" in json.dumps(said)
    assert (lab.answers, check.right) == ({"many": 0.0}, None)
    page.call("answer", answer="4")
    assert check.right is True


def test_a_function_may_hint(lab):
    check = lab.check("Guess", lambda n: True if n == 7 else "higher" if n < 7 else "lower", number=True)
    assert check.answer(3) is False
    assert check.given["hint"] == "higher"


def test_a_prediction_stands_and_is_held_against_what_came(lab, again):
    prediction = lab.predict("Which?", choices=["the sea", "a random one"], key="which")
    page = FrontEnd(prediction)
    page.call("answer", answer="a random one")
    assert page.call("answer", answer="the sea")["type"] == "error"
    assert prediction.turned_out("the sea") is False
    assert (prediction.given["outcome"], prediction.given["right"]) == ("the sea", False)
    assert on_disk(lab)["which"]["right"] is False
    later = again().predict("Which?", choices=["the sea", "a random one"], key="which")
    assert later.given["answer"] == "a random one"


def test_a_prediction_after_its_outcome_counts_for_nothing(lab, again):
    settings = {"number": True, "tolerance": 0.1, "key": "far"}
    prediction = lab.predict("How far?", **settings)
    assert prediction.turned_out(0.5) is None
    assert "0.5" not in json.dumps(prediction.get_state(), default=str), "who runs all cells is told nothing"
    assert prediction.answer("0,55") is None
    assert (prediction.given["outcome"], prediction.given["late"]) == ("0.5", True)
    later = again().predict("How far?", **settings)
    assert later.turned_out(0.5) is None
    assert on_disk(lab)["far"]["right"] is None


def test_a_prediction_from_before_is_not_marked_until_it_turns_out_again(lab, again):
    settings = {"choices": ["the sea", "a random one"], "key": "which"}
    prediction = lab.predict("Which?", **settings)
    prediction.answer("a random one")
    prediction.turned_out("the sea")
    later = again().predict("Which?", **settings)
    assert (later.given["right"], later.given["outcome"]) == (None, "")
    assert later.turned_out("the sea") is False
    assert (later.given["right"], later.given["outcome"]) == (False, "the sea")


def test_the_last_cell_names_what_is_open(lab):
    for key in ("one", "two"):
        lab.ask(f"Why {key}?", key=key)
    lab.ask("Why three?", key="three").answer("since")
    assert "1 of 3 answered, not yet: one, two · kept" in repr(lab)
    for key in "abc":
        lab.ask(f"And {key}?", key=key)
    assert "1 of 6 answered, not yet: one, two, a, b and others · kept" in repr(lab)


@pytest.mark.parametrize(
    ("settings", "answer", "sentence"),
    [
        ({"number": True}, "many", "is no number"),
        ({"number": True}, "nan", "is no number"),
        ({"number": True}, True, "is no number"),
        ({"number": True}, None, "is no number"),
        ({"choices": ["a", "b"]}, "c", "none of the choices: 'a', 'b'"),
        ({"choices": ["a", "b"]}, ["a"], "none of the choices"),
        ({}, "  ", "Nothing is written yet"),
        ({}, {"a": 1}, "Nothing is written yet"),
        ({}, "x" * 20_001, "at most 20,000 characters"),
    ],
)
def test_what_is_no_answer_is_told_and_not_kept(lab, settings, answer, sentence):
    question = lab.ask("Why?", key="why", **settings)
    said = FrontEnd(question).call("answer", answer=answer)
    assert said["type"] == "error"
    assert sentence in json.dumps(said)
    assert lab.answers == {"why": None}


def test_an_answer_that_fits_no_longer_is_asked_again(lab, again):
    lab.ask("Which?", choices=["a", "b"], key="which").answer("a")
    assert again().ask("Which?", choices=["b", "c"], key="which").given["answer"] == ""


def test_questions_have_names_of_their_own(lab):
    long = "Which of all the features that you have seen in this notebook fires on the second text"
    keys = [lab.ask(each).key for each in ("Why?", long + "?", long + ", and why?", "☕")]
    assert keys[0] == "why"
    assert len(set(keys)) == 4
    assert max(map(len, keys)) <= 40
    assert lab.ask("Why?").key == "why"


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda lab: lab.ask(""), "lab.ask takes a question as a text"),
        (lambda lab: lab.ask("?", choices="ab"), "a list of texts"),
        (lambda lab: lab.ask("?", choices=["a"]), "two choices or more"),
        (lambda lab: lab.ask("?", choices=["a", "a"]), "two choices or more"),
        (lambda lab: lab.ask("?", choices=["a", "b"], number=True), "leave one of them out"),
        (lambda lab: lab.check("?", None), "lab.ask takes any answer"),
        (lambda lab: lab.check("?", "c", choices=["a", "b"]), "none of the choices"),
        (lambda lab: lab.ask("?", key=" "), "the question's key is a text"),
        (lambda lab: sw.Lab(""), "the name of the lab is a text"),
        (lambda lab: sw.Lab("x", seed=1.5), "a whole number as seed"),
        (lambda lab: lab.keep("x" * 300, 1), "the name of what is kept"),
    ],
)
def test_first_mistakes(lab, ask, sentence):
    with pytest.raises(ValueError, match=sentence):
        ask(lab)


def test_names_make_files_that_no_two_share(tmp_path):
    names = ["Ada", "ada lovelace", "a/b", "a-b", "../../etc", "张伟", "x" * 150, "x" * 151, ""]
    files = [sw.Lab("sea", student=name, folder=tmp_path).save() for name in names]
    assert len(set(files)) == len(names)
    assert {file.parent for file in files} == {tmp_path}
    assert sw.Lab("sea", student="ADA", folder=tmp_path).file == files[0]
    assert files[-1].name == "sea.lab.json"


def test_what_belongs_to_the_lab_and_what_to_the_student_is_told_apart(tmp_path):
    one = sw.Lab("red sea", student="Ada", folder=tmp_path)
    one.ask("Why?", key="why").answer("So.")
    other = sw.Lab("red", student="Sea Ada", folder=tmp_path)
    assert (other.file == one.file, other.answers) == (False, {})
    other.save()
    assert sw.Lab("red sea", student="ada", folder=tmp_path).answers == {"why": "So."}


def test_a_file_named_by_an_earlier_version_goes_on_if_it_is_the_students_own(lab, again, tmp_path):
    lab.ask("Why?", key="why").answer("So.")
    before = lab.file.rename(tmp_path / "sea-ada.lab.json")
    later = again()
    assert (later.file, later.answers) == (before, {"why": "So."})
    later.save()
    assert [path.name for path in tmp_path.iterdir()] == ["sea-ada.lab.json"]
    text = before.read_text(encoding="utf-8")
    before.write_text(text.replace('"lab": "sea"', '"lab": "sea of"'), encoding="utf-8")
    assert (again().file.name, again().answers) == ("sea--ada.lab.json", {})


def test_two_notebooks_of_one_student_keep_what_both_say(lab, again):
    first, second = lab.ask("Why?", answer="Because.", key="why"), lab.check("How many?", 2, key="many")
    other = again()
    theirs, many = other.ask("Why?", answer="Because.", key="why"), other.check("How many?", 2, key="many")
    first.answer("So.")
    many.answer(3)
    assert many.answer(2) is True
    other.keep("text", "theirs")
    lab.keep("mine", [1])
    assert {key: each.get("answer") for key, each in on_disk(lab).items() if key != "kept"} == {"why": "So.", "many": 2}
    assert on_disk(lab)["kept"] == {"text": "theirs", "mine": [1]}
    theirs.reveal()
    lab.save()
    assert (on_disk(lab)["why"]["revealed"], second.right) == (True, True)
    with pytest.raises(ValueError, match="kept as it is"):
        first.answer("Because.")
    lab.keep("text", "now mine")
    other.keep("other", 1)
    assert on_disk(lab)["kept"] == {"text": "now mine", "mine": [1], "other": 1}


def test_an_answer_given_later_stands_whoever_saves_last(lab, again, monkeypatch):
    first, theirs = lab.ask("Why?", key="why"), again().ask("Why?", key="why")
    now = iter([100.0, 200.0, 300.0])
    monkeypatch.setattr("steerwidgets.widgets.lab.question.time.time", lambda: next(now, 400.0))
    first.answer("Early.")
    theirs.answer("Late.")
    lab.save()
    assert on_disk(lab)["why"]["answer"] == "Late."


def test_a_file_that_somebody_damaged_meanwhile_is_whole_again_with_the_next_answer(lab):
    lab.ask("Why?", key="why").answer("So.")
    lab.file.write_text("{")
    lab.ask("And?", key="and").answer("Then.")
    assert [on_disk(lab)[key]["answer"] for key in ("why", "and")] == ["So.", "Then."]


def test_a_hub_names_its_user(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_USER", "ada")
    assert sw.Lab("sea", folder=tmp_path).student == "ada"
    monkeypatch.delenv("JUPYTERHUB_USER")
    assert "student='your name'" in repr(sw.Lab("sea", folder=tmp_path))


def test_everyone_has_the_classs_seed(tmp_path):
    assert sw.Lab("sea", folder=tmp_path).seed == 2026
    sw.Lab("sea", folder=tmp_path, seed=7).save()
    assert sw.Lab("sea", folder=tmp_path).seed == 7


def test_a_damaged_file_is_told_and_left_alone(lab, again):
    lab.ask("Why?").answer("So.")
    lab.file.write_text("{")
    with pytest.raises(ValueError, match=r"sea--ada\.lab\.json is not whole JSON.*move it away"):
        again()
    assert lab.file.read_text() == "{"


def test_a_file_in_the_folders_place_is_told_and_the_answer_kept(tmp_path):
    (tmp_path / "taken").write_text("")
    lab = sw.Lab("sea", student="Ada", folder=tmp_path / "taken")
    question = lab.ask("Why?", key="why")
    said = FrontEnd(question).call("answer", answer="So.")
    assert said["type"] == "error"
    assert "name another folder" in json.dumps(said)
    assert question.given["answer"] == "So."
    (tmp_path / "taken").unlink()
    lab.save()
    assert on_disk(lab)["why"]["answer"] == "So."


def test_recipes_texts_and_numbers_are_kept(lab, again, lm, cavs):
    recipe = cavs[0].add(4) + cavs[1].ablate()
    lab.keep("mine", recipe)
    lab.keep("run", lm.compare("Hello", recipe, max_new_tokens=3))
    lab.keep("losses", [0.5, float("nan")])
    kept = again().kept
    assert sw.Recipe.from_json(kept["mine"], dictionaries=[cavs]) == recipe
    assert set(kept["run"]) == {"baseline", "steered"}
    assert kept["losses"] == [0.5, None]
    with pytest.raises(TypeError, match="JSON has no word for a object"):
        lab.keep("bad", object())
    with pytest.raises(ValueError, match="at most 2 MB are kept"):
        lab.keep("large", "x" * (3 << 20))


def test_a_watched_panel_keeps_its_recipe_and_texts(lab, again, panel, cavs):
    lab.watch(panel, "story")
    lab.watch(panel, "story")  # a cell that is run twice
    panel.recipe = cavs[1].add(3)
    panel.generate()
    page = FrontEnd(panel)
    page.wait(lambda: lab.file.is_file() and "story: result" in on_disk(lab)["kept"], "the panel's result on the disk")
    kept = again().kept
    assert sw.Recipe.from_json(kept["story: recipe"], dictionaries=[cavs]) == panel.recipe
    assert set(kept["story: result"]) >= {"prompt", "baseline", "steered"}


def test_what_has_nothing_to_keep_is_refused(lab):
    with pytest.raises(TypeError, match=r"lab\.watch takes a widget"):
        lab.watch("panel")


def test_many_answers_at_once_lose_none(lab):
    questions = [lab.ask(f"Question {i}?", key=f"q{i}") for i in range(12)]
    threads = [threading.Thread(target=each.answer, args=(f"answer {i}",)) for i, each in enumerate(questions)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert {key: entry["answer"] for key, entry in on_disk(lab).items() if key != "kept"} == {
        f"q{i}": f"answer {i}" for i in range(12)
    }


def test_a_frozen_copy_holds_what_was_said(lab, tmp_path):
    question = lab.check("Which word?", "sea", answer="The sea <b>itself</b>.", key="word")
    question.answer("sea")
    question.reveal()
    page = question.to_html(tmp_path / "question.html").read_text()
    assert "Which word?" in page
    assert "<b>itself</b>" not in page
    assert question.summary() == "Lab question: Which word?\nAnswer: sea (right)\nThe sea <b>itself</b>."
