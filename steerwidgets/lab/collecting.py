"""The teacher's table: who answered what, how far they agree, and who is stuck where."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from steerwidgets.files.atomic import write_text
from steerwidgets.files.shown import shown
from steerwidgets.lab.marking import Expected, marked
from steerwidgets.lab.record import Entry, LabRecord
from steerwidgets.label_checks.agreement import Agreement, agreement
from steerwidgets.label_checks.answers import Answers
from steerwidgets.label_checks.statistics import Agreed, Share, agreed
from steerwidgets.transformer.plain_text import table, whole

_MOST_FILES: Final = 2_000
_STUCK_AFTER: Final = 2
_CHECK: Final = '"steerwidgets label check"'
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would compute."""


@dataclass(frozen=True)
class Student:
    """One file of answers.

    Attributes:
        name: the student's name, or else the file's.
        lab: the lab.
        file: the file, as seen from the folder.
        answered: questions answered, of those that the class was asked.
        right: checks that are right, of those that the class was asked.
        tries: tries at checks.
        revealed: questions whose answer was shown.
        stuck: the checks tried twice or more, or given up, and not right.
        next: the first question that is not done, or "".
        saved: when the file was written, in seconds since 1970.
        record: everything in the file.
    """

    name: str
    lab: str
    file: str
    answered: Share
    right: Share
    tries: int
    revealed: int
    stuck: tuple[str, ...]
    next: str
    saved: float
    record: LabRecord


@dataclass(frozen=True)
class Asked:
    """One question over all students of its lab.

    Attributes:
        lab: the lab.
        key: the question's name.
        kind: `ask`, `predict` or `check`.
        question: its text.
        answered: students who answered, of all.
        right: those who are right, of those who answered; of nothing where nothing marks it.
        tries: tries in all.
        revealed: students who were shown the answer.
        agreement: how far the students' choices agree; of a text it is None.
        stuck: students who are stuck at it.
    """

    lab: str
    key: str
    kind: str
    question: str
    answered: Share
    right: Share
    tries: int
    revealed: int
    agreement: float | None
    stuck: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Collected:
    """The answers of a class.

    Attributes:
        students: one for each file, sorted by lab and name.
        questions: one for each question, in the order of the notebook.
        agreement: how far students agree over all questions with choices: `.alpha` (Krippendorff), `.raw`.
        label_checks: how far they agree in a label check that several kept, by the name under which they did.
        left_out: a sentence for each file that could not be read.
    """

    students: tuple[Student, ...]
    questions: tuple[Asked, ...]
    agreement: Agreed
    label_checks: Mapping[str, Agreement]
    left_out: tuple[str, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One for each student: what the table holds, and every answer by the question's name."""
        return [self._row(student) for student in self.students]

    @property
    def table(self) -> Any:
        """The rows as a DataFrame, or where pandas is not installed as they are."""
        try:
            import pandas as pd  # type: ignore[import-untyped,unused-ignore]
        except ImportError:
            return self.rows
        return pd.DataFrame(self.rows)

    def to_csv(self, path: str | Path) -> None:
        """Write one line for each student, whole or not at all; no answer is computed by a spreadsheet.

        Args:
            path: the file.

        Raises:
            OSError: it can't be written.
        """
        text = io.StringIO()
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in self.rows)
        write_text(path, str(whole(text.getvalue())))

    def __repr__(self) -> str:
        return "\n".join(self._said())

    def _said(self) -> Iterator[str]:
        yield f"{len(self.students)} students, {len(self.questions)} questions"
        if self.students:
            headers = ["student", "lab", "answered", "right", "tries", "revealed", "stuck at", "next"]
            yield table(headers, [_shown(each) for each in self.students], most=200)
        if self.questions:
            yield ""
            headers = ["question", "kind", "answered", "right", "tries", "revealed", "agreement", "stuck"]
            yield table(headers, [_question_row(each) for each in self.questions], most=200)
        if self.agreement.alpha is not None:
            yield f"\nagreement over choices: α {self.agreement.alpha:.2f}, raw {self.agreement.raw:.2f}"
        for name, each in self.label_checks.items():
            yield f"\n{name}: {each}"
        if self.left_out:
            yield f"\nleft out: {len(self.left_out)}"
            yield from self.left_out

    def _row(self, student: Student) -> dict[str, Any]:
        entries = student.record.entries
        asked = [each for each in self.questions if each.lab == student.lab]
        answers = {f"answer: {each.key}": entries[each.key].answer if each.key in entries else None for each in asked}
        right = {
            f"right: {each.key}": entries[each.key].right if each.key in entries else None
            for each in asked
            if each.right.of
        }
        return {
            "student": student.name,
            "lab": student.lab,
            "answered": student.answered.right,
            "asked": student.answered.of,
            "right": student.right.right,
            "checks": student.right.of,
            "score": student.right.value,
            "tries": student.tries,
            "revealed": student.revealed,
            "stuck at": ", ".join(student.stuck),
            "next": student.next,
            "saved": time.strftime("%Y-%m-%d %H:%M", time.gmtime(min(student.saved, 2**33))),
            "file": student.file,
            **right,
            **answers,
        }


def collect(folder: str | Path, *, lab: str | None = None, marks: Mapping[str, Expected] | None = None) -> Collected:
    """Gather the files of a class in one table.

    Every `.json` file in the folder and in those inside it is read; what is no lab's answers, or damaged, is left out
    with a sentence, and never keeps the others from the table. A file says itself what is right, and a student can
    write into it: with `marks` it is marked anew.

    Source: agreement is Krippendorff's nominal α over all questions with choices (2011, "Computing Krippendorff's
    Alpha-Reliability").

    Args:
        folder: where the files are.
        lab: only this lab; by default all.
        marks: what is right, by the question's name: what `lab.check` takes.

    Returns:
        `.table` (a DataFrame, or rows where there is no pandas), `.students`, `.questions`, `.agreement`, `.left_out`,
        `.to_csv(path)`.

    Raises:
        FileNotFoundError: there is no such folder.

    Example:
        >>> for name, answer in (("Ada", "yes"), ("Ben", "no")):
        ...     lab = sw.Lab("sea", student=name, folder=folder)
        ...     _ = lab.check("Does it fire?", "yes", key="fires", choices=["yes", "no"]).answer(answer)
        >>> found = sw.lab.collect(folder)
        >>> [(each.name, str(each.right)) for each in found.students], found.agreement.raw
        ([('Ada', '1 of 1'), ('Ben', '0 of 1')], 0.0)
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no folder {str(folder)!r}; put the students' .lab.json files into one, and name it: "
            'sw.lab.collect("answers/").'
        )
    records, left_out = _read(folder)
    chosen = {file: each for file, each in records.items() if lab is None or each.lab == lab}
    if marks:
        chosen = {file: _marked(each, marks) for file, each in chosen.items()}
    labs = sorted({each.lab for each in chosen.values()})
    students: list[Student] = []
    questions: list[Asked] = []
    units: list[list[Any]] = []
    for name in labs:
        of_lab = {file: each for file, each in chosen.items() if each.lab == name}
        keys = list(dict.fromkeys(key for each in of_lab.values() for key in each.entries))
        mine = sorted(_students(of_lab, keys), key=lambda each: (each.name.casefold(), each.file))
        students += mine
        questions += [_asked(name, key, mine) for key in keys]
        units += [[_choice(each.record.entries.get(key)) for each in mine] for key in keys]
    checks = _label_checks(students, left_out)
    return Collected(tuple(students), tuple(questions), agreed(units), checks, tuple(left_out))


def _read(folder: Path) -> tuple[dict[str, LabRecord], list[str]]:
    paths = sorted(
        path
        for path in folder.rglob("*.json")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    records: dict[str, LabRecord] = {}
    left_out = []
    for path in paths[:_MOST_FILES]:
        file = path.relative_to(folder).as_posix()
        try:
            records[file] = LabRecord.load(path)
        except (ValueError, OSError) as error:
            left_out.append(f"{file}: {error}" if path.name != file else str(error))
    if len(paths) > _MOST_FILES:
        left_out.append(f"{len(paths) - _MOST_FILES} files after the first {_MOST_FILES:,} were not read.")
    return records, left_out


def _label_checks(students: Sequence[Student], left_out: list[str]) -> dict[str, Agreement]:
    """Agreement in the label checks that several students kept; what can't be compared is said in `left_out`."""
    kept: dict[str, list[Answers]] = {}
    for student in students:
        for name, value in student.record.kept.items():
            if isinstance(value, str) and _CHECK in value[:200]:
                try:
                    answers = Answers.from_json(value)
                except ValueError as error:
                    left_out.append(f"{student.file}, {_short(name)}: {error}")
                else:
                    kept.setdefault(name, []).append(replace(answers, reader=student.name))
    found = {}
    for name, several in kept.items():
        if len(several) > 1:
            try:
                found[name] = agreement(several)
            except ValueError as error:
                left_out.append(f"{_short(name)}: {error}")
    return found


def _marked(record: LabRecord, marks: Mapping[str, Expected]) -> LabRecord:
    """The same record, marked by the teacher."""
    for key, expected in marks.items():
        entry = record.entries.get(key)
        if entry is None or entry.answer is None:
            continue
        try:
            right, _ = marked(expected, entry.answer)
        except Exception as error:
            raise ValueError(
                f"marks[{key!r}] could not mark the answer {shown(entry.answer)} of {record.student or 'a student'}: "
                f"{type(error).__name__}: {error}"
            ) from error
        record = record.with_entry(replace(entry, right=right))
    return record


def _students(records: Mapping[str, LabRecord], keys: Sequence[str]) -> Iterator[Student]:
    checks = [
        key for key in keys if any(key in each.entries and _is_marked(each.entries[key]) for each in records.values())
    ]
    for file, record in records.items():
        entries = record.entries
        yield Student(
            name=record.student or Path(file).name.removesuffix(".json").removesuffix(".lab"),
            lab=record.lab,
            file=file,
            answered=Share(sum(each.answer is not None for each in entries.values()), len(keys)),
            right=Share(sum(key in entries and entries[key].right is True for key in checks), len(checks)),
            tries=sum(entries[key].tries for key in checks if key in entries),
            revealed=sum(each.revealed for each in entries.values()),
            stuck=tuple(key for key in keys if key in entries and _is_stuck(entries[key])),
            next=next((key for key in keys if key not in entries or not entries[key].is_done), ""),
            saved=record.saved,
            record=record,
        )


def _asked(lab: str, key: str, students: Sequence[Student]) -> Asked:
    of_student = [(each.name, each.record.entries[key]) for each in students if key in each.record.entries]
    entries = [entry for _, entry in of_student]
    marked_ones = [each for each in entries if each.right is not None]
    choices = agreed([[_choice(each) for each in entries]])
    return Asked(
        lab=lab,
        key=key,
        kind=entries[0].kind,
        question=entries[0].question,
        answered=Share(sum(each.answer is not None for each in entries), len(students)),
        right=Share(sum(each.right is True for each in marked_ones), len(marked_ones)),
        tries=sum(each.tries for each in entries),
        revealed=sum(each.revealed for each in entries),
        agreement=choices.raw,
        stuck=tuple(name for name, each in of_student if _is_stuck(each)),
    )


def _is_marked(entry: Entry) -> bool:
    return entry.kind == "check" or (entry.kind == "ask" and entry.right is not None)


def _is_stuck(entry: Entry) -> bool:
    tried = entry.tries >= _STUCK_AFTER or entry.revealed
    return entry.kind == "check" and entry.right is not True and tried


def _choice(entry: Entry | None) -> str | float | None:
    return entry.answer if entry is not None and entry.form == "choice" else None


def _shown(each: Student) -> list[str | int]:
    right = str(each.right) if each.right.of else "–"
    return [
        *(_short(each.name), _short(each.lab), str(each.answered), right),
        *(each.tries, each.revealed, _short(", ".join(each.stuck)), _short(each.next)),
    ]


def _question_row(each: Asked) -> list[str | int]:
    agreement = "–" if each.agreement is None else f"{each.agreement:.2f}"
    return [
        *(_short(each.key), each.kind, str(each.answered), str(each.right) if each.right.of else "–"),
        *(each.tries, each.revealed, agreement, _short(", ".join(each.stuck))),
    ]


def _short(text: str, most: int = 40) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
