"""The teacher's table: counts against counting by hand, files that students broke, agreement, the spreadsheet."""

from __future__ import annotations

import csv
import json

import pytest
from support import checked

import steerwidgets as sw


def answered(folder, student, fires=None, many=None, why=None, lab="sea"):
    """A student's file; what is None is not answered, a list is a try after another."""
    made = sw.Lab(lab, student=student, folder=folder)
    questions = [
        (made.check("Fires?", "yes", key="fires", choices=["yes", "no"], answer="Yes."), fires),
        (made.check("How many?", 2, key="many"), many),
        (made.ask("Why?", key="why"), why),
    ]
    for question, said in questions:
        for each in said if isinstance(said, list) else [] if said is None else [said]:
            question.answer(each)
    made.save()
    for question, _ in questions:
        question.close()
    return made


@pytest.fixture
def folder(tmp_path):
    answered(tmp_path, "Ada", "yes", 2, "Because.")
    answered(tmp_path, "Ben", ["no", "no"], 3)
    answered(tmp_path, "Cem", "no", [1, "2"])
    return tmp_path


def test_counts(folder):
    found = sw.lab.collect(folder)
    said = [(s.name, str(s.answered), str(s.right), s.tries, s.stuck, s.next) for s in found.students]
    assert said == [
        ("Ada", "3 of 3", "2 of 2", 2, (), ""),
        ("Ben", "2 of 3", "0 of 2", 3, ("fires",), "fires"),
        ("Cem", "2 of 3", "1 of 2", 3, (), "fires"),
    ]
    asked = [(q.key, str(q.answered), str(q.right), q.tries, q.agreement, q.stuck) for q in found.questions]
    assert asked == [
        ("fires", "3 of 3", "1 of 3", 4, pytest.approx(1 / 3), ("Ben",)),
        ("many", "3 of 3", "2 of 3", 4, None, ()),
        ("why", "1 of 3", "0 of 0", 1, None, ()),
    ]
    assert found.agreement.raw == pytest.approx(1 / 3)  # one pair of three says the same
    assert found.left_out == ()
    assert "Ben" in repr(found)
    assert "stuck" in repr(found)


def test_a_question_that_only_some_were_shown_is_asked_of_all(folder):
    late = sw.Lab("sea", student="Dee", folder=folder)
    late.check("One more?", "yes", key="more").answer("yes")
    found = {each.name: each for each in sw.lab.collect(folder).students}
    assert (str(found["Ada"].answered), str(found["Ada"].right), found["Ada"].next) == ("3 of 4", "2 of 3", "more")
    assert str(found["Dee"].right) == "1 of 3"


def deep():
    return '{"format": "steerwidgets lab", "version": 1, "kept": ' + "[" * 90 + "]" * 90 + "}"


JUNK = {
    "empty": ("", "is not whole JSON"),
    "half": ('{"format": "steerwidgets lab", "ver', "is not whole JSON"),
    "no text": (b"\xff\xfe\x00", "is not UTF-8"),
    "a list": ("[1, 2]", "holds no answers of a lab"),
    "another's": ('{"format": "steerwidgets label check", "version": 1}', "holds no answers of a lab"),
    "later": ('{"format": "steerwidgets lab", "version": 99}', "another version"),
    "deep": (deep(), "nested deeper"),
    "no questions": ('{"format": "steerwidgets lab", "version": 1}', "questions should be"),
}
QUESTION = {"key": "q", "kind": "check", "form": "text", "question": "?", "answer": "a"}
WRONG = {
    "key": [None, 3, " ", "k" * 300],
    "kind": ["exam", None],
    "form": ["essay"],
    "answer": [3, ["a"], "a" * 30_000],
    "right": ["yes", 1],
    "tries": [-1, 1.5, 10**9],
    "revealed": ["no"],
    "at": ["now", 1e999],
}


@pytest.mark.parametrize("name", JUNK)
def test_a_broken_file_is_told_and_loses_nobody(folder, name):
    data, sentence = JUNK[name]
    (folder / "eve.lab.json").write_bytes(data if isinstance(data, bytes) else data.encode())
    found = sw.lab.collect(folder)
    assert [each.name for each in found.students] == ["Ada", "Ben", "Cem"]
    [said] = found.left_out
    assert said.startswith("eve.lab.json ") or "In eve.lab.json" in said
    assert sentence in said
    assert "\n" not in said


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, all_ in WRONG.items() for value in all_])
def test_a_field_of_the_wrong_kind_is_told(folder, field, value):
    table = {"format": "steerwidgets lab", "version": 1, "lab": "sea", "questions": [QUESTION | {field: value}]}
    (folder / "eve.json").write_text(json.dumps(table))
    found = sw.lab.collect(folder)
    assert len(found.students) == 3
    [said] = found.left_out
    assert "eve.json" in said
    assert field in said


def test_a_file_that_is_too_long_is_not_read(folder):
    (folder / "eve.json").write_text('{"format": "' + "x" * (17 << 20) + '"}')
    [said] = sw.lab.collect(folder).left_out
    assert said.startswith("eve.json is 17 MB long")


def test_two_files_of_one_student_are_two_rows_and_notebook_copies_are_none(folder):
    (folder / "again").mkdir()
    (folder / ".ipynb_checkpoints").mkdir()
    text = (folder / "sea--ada.lab.json").read_text()
    (folder / "again" / "sea--ada (1).lab.json").write_text(text)
    (folder / ".ipynb_checkpoints" / "sea--ada-checkpoint.json").write_text(text)
    rows = sw.lab.collect(folder).rows
    assert [(row["student"], row["file"]) for row in rows[:2]] == [
        ("Ada", "again/sea--ada (1).lab.json"),
        ("Ada", "sea--ada.lab.json"),
    ]
    assert len(rows) == 4


def test_the_teacher_can_mark_anew(folder):
    path = folder / "sea--ben.lab.json"
    value = json.loads(path.read_text())
    for each in value["questions"]:
        each["right"] = True  # what a student can write
    path.write_text(json.dumps(value))
    assert str(sw.lab.collect(folder).students[1].right) == "2 of 2"
    found = sw.lab.collect(folder, marks={"fires": "yes", "many": lambda answer: answer == 2})
    assert str(found.students[1].right) == "0 of 2"
    assert str(sw.lab.collect(folder, marks={"why": "Because"}).students[0].right) == "3 of 3"
    with pytest.raises(ValueError, match=r"marks\['many'\] could not mark the answer"):
        sw.lab.collect(folder, marks={"many": lambda answer: answer / 0})


def test_one_lab_of_several(folder):
    answered(folder, "Ada", "no", lab="sky")
    assert [each.lab for each in sw.lab.collect(folder).students] == ["sea", "sea", "sea", "sky"]
    assert [each.name for each in sw.lab.collect(folder, lab="sky").students] == ["Ada"]


def test_no_answer_is_computed_by_a_spreadsheet(folder, tmp_path):
    answered(folder, "=cmd|' /C calc'!A0", why="=1+1")
    sw.lab.collect(folder).to_csv(tmp_path / "table.csv")
    rows = list(csv.reader((tmp_path / "table.csv").open(encoding="utf-8")))
    assert len(rows) == 5
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "@"))]


def test_without_a_folder():
    with pytest.raises(FileNotFoundError, match=r"sw\.lab\.collect\(\"answers/\"\)"):
        sw.lab.collect("nowhere")


def test_an_empty_folder(tmp_path):
    found = sw.lab.collect(tmp_path)
    assert (found.students, found.rows, found.agreement.alpha) == ((), [], None)
    assert repr(found) == "0 students, 0 questions"


def test_label_checks_that_several_kept(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("STEERWIDGETS_DATA", str(tmp_path / "data"))
    lm, sae = checked.world()[:2]
    sure = {"Ada": 1.0, "Ben": 0.0}
    for name, how in sure.items():
        answers = sw.labels.score(
            sae, lambda item, how=how: 0 if item.is_choice else [how] * len(item.texts), lm=lm, features=[3]
        )
        sw.Lab("sea", student=name, folder=folder).keep("labels", answers)
    found = sw.lab.collect(folder)
    assert found.label_checks["labels"].readers == ("Ada", "Ben")
    assert found.label_checks["labels"].raw == 0.0
    broken = folder / "sea--ada.lab.json"
    broken.write_text(broken.read_text().replace('\\"seed\\": ', '\\"seed\\": 1'))
    found = sw.lab.collect(folder)
    assert found.label_checks == {}
    assert len(found.students) == 3
    assert "labels" in found.left_out[0]
