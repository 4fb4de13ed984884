"""What one student did in one lab: a JSON file beside the notebook, written whole, read with distrust."""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from steerwidgets.files.atomic import write_text
from steerwidgets.files.fields import Fields, is_finite
from steerwidgets.files.json_text import read_json
from steerwidgets.files.shown import shown
from steerwidgets.transformer.plain_text import whole

Kind = Literal["ask", "predict", "check"]
Form = Literal["text", "choice", "number"]

KINDS: Final = ("ask", "predict", "check")
FORMS: Final = ("text", "choice", "number")
SUFFIX: Final = ".lab.json"
LONGEST: Final = 20_000
"""Characters of an answer."""

_FORMAT: Final = "steerwidgets lab"
_VERSION: Final = 1
_MOST_BYTES: Final = 16 * 2**20
_MOST_QUESTIONS: Final = 1_000
_TODO: Final = "take another copy of the file, or move it away to begin anew"


@dataclass(frozen=True)
class Entry:
    """One question and what a student said to it.

    Attributes:
        key: its name, the same for everyone.
        kind: `ask`, `predict` or `check`.
        form: how it is answered: `text`, `choice` or `number`.
        question: its text.
        answer: what was said; None while nothing was.
        draft: what is typed and not yet given as an answer.
        right: whether it is right; None where nothing marks it.
        tries: how often it was answered.
        late: whether a prediction was made once it had turned out; then nothing marks it.
        revealed: whether the teacher's answer was shown.
        at: when it was answered last, in seconds since 1970.
    """

    key: str
    kind: Kind = "ask"
    form: Form = "text"
    question: str = ""
    answer: str | float | None = None
    draft: str = ""
    right: bool | None = None
    tries: int = 0
    late: bool = False
    revealed: bool = False
    at: float = 0.0

    @property
    def is_done(self) -> bool:
        """Whether nothing more is wanted of the student."""
        return self.answer is not None and (self.kind != "check" or self.right is True)


@dataclass(frozen=True)
class LabRecord:
    """Everything one student did in one lab.

    Attributes:
        lab: the lab's name.
        student: the student's name, or "".
        seed: the class's seed.
        began: when it was begun, in seconds since 1970.
        saved: when it was written last.
        provenance: versions, name by name.
        entries: the questions in the order in which they were first shown, by key.
        kept: recipes, verdicts and outputs by name, as JSON.
    """

    lab: str
    student: str = ""
    seed: int = 0
    began: float = 0.0
    saved: float = 0.0
    provenance: Mapping[str, str] = field(default_factory=dict)
    entries: Mapping[str, Entry] = field(default_factory=dict)
    kept: Mapping[str, Any] = field(default_factory=dict)

    def with_entry(self, entry: Entry) -> LabRecord:
        """The same with a question as it is now."""
        return replace(self, entries={**self.entries, entry.key: entry})

    def with_kept(self, name: str, value: Any) -> LabRecord:
        """The same with something kept."""
        return replace(self, kept={**self.kept, name: value})

    def with_later(self, other: LabRecord, kept: Collection[str] = ()) -> LabRecord:
        """The same with what another notebook of this student wrote since: of each question what was said last.

        Args:
            other: what stands in the file.
            kept: names of what is kept here and stays as it is.
        """
        entries = dict(self.entries)
        for key, theirs in other.entries.items():
            entries[key] = _later(entries[key], theirs) if key in entries else theirs
        own = {name: self.kept[name] for name in kept if name in self.kept}
        return replace(self, entries=entries, kept={**self.kept, **other.kept, **own})

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all.

        Raises:
            OSError: the file can't be written.
        """
        value = {
            "format": _FORMAT,
            "version": _VERSION,
            **{name: getattr(self, name) for name in ("lab", "student", "seed", "began", "saved")},
            "provenance": dict(self.provenance),
            "questions": [asdict(each) for each in self.entries.values()],
            "kept": dict(self.kept),
        }
        write_text(path, json.dumps(whole(value), ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> LabRecord:
        """Read a file that `save` wrote, or that a student changed.

        Raises:
            OSError: it can't be read.
            ValueError: it is damaged, too large, or something else.
        """
        if path.is_file() and (size := path.stat().st_size) > _MOST_BYTES:
            raise ValueError(
                f"{path.name} is {size / 2**20:,.0f} MB long, and a lab's answers take at most {_MOST_BYTES >> 20} MB; "
                f"{_TODO}."
            )
        value = read_json(path, todo=_TODO)
        if not isinstance(value, dict) or value.get("format") != _FORMAT:
            raise ValueError(f"{path.name} holds no answers of a lab; give a file that sw.Lab wrote.")
        said = Fields(value, f"In {path.name}", todo=_TODO)
        if said.value("version") != _VERSION:
            raise ValueError(
                f"{path.name} was written by another version of steerwidgets ({shown(said.value('version'))}); read it "
                "with that one."
            )
        questions = said.items("questions", of="questions")
        if len(questions) > _MOST_QUESTIONS:
            raise said.wrong("questions", f"a list of at most {_MOST_QUESTIONS} questions")
        entries = [
            _entry(Fields(each, f"In question {at + 1} of {path.name}", todo=_TODO))
            for at, each in enumerate(questions)
        ]
        return cls(
            lab=_short(said, "lab"),
            student=_short(said, "student"),
            seed=said.whole("seed", 0, low=-(2**63), high=2**63),
            began=said.number("began", 0.0),
            saved=said.number("saved", 0.0),
            provenance=said.texts("provenance"),
            entries={each.key: each for each in entries},
            kept=said.inner("kept").table,
        )


def file_of(folder: Path, lab: str, student: str) -> Path:
    """Where a student's answers are kept: names that no file can have get one that it can.

    Two hyphens stand between lab and student, which neither name has in it: "sea", "red ada" and "sea red", "ada" are
    two files. What an earlier version kept under one hyphen stays where it is, if it is this student's.
    """
    names = [_slug(lab) or "lab", *filter(None, [_slug(student)])]
    path, before = (folder / (between.join(names) + SUFFIX) for between in ("--", "-"))
    if before != path and before.is_file() and not path.exists():
        record = LabRecord.load(before)
        if (_slug(record.lab), _slug(record.student)) == (_slug(lab), _slug(student)):
            return before
    return path


def _slug(name: str) -> str:
    """Letters, digits and single hyphens; where that loses something, a digest tells names apart."""
    folded = unicodedata.normalize("NFC", name).casefold().strip()
    slug = "-".join("".join(c if c.isalnum() else " " for c in folded).split())[:60].strip("-")
    if "-".join(folded.split()) == slug:
        return slug
    return f"{slug}-{hashlib.sha256(folded.encode('utf-8', 'replace')).hexdigest()[:6]}".strip("-")


def _later(mine: Entry, theirs: Entry) -> Entry:
    """Of two states of one question that which came later."""
    if theirs.at != mine.at:
        return max(mine, theirs, key=lambda each: each.at if each.tries else -math.inf)
    if theirs.answer != mine.answer:  # an answer to the question as it was once
        return mine
    right = theirs.right if mine.right is None else mine.right
    return replace(mine, right=right, revealed=mine.revealed or theirs.revealed)


def _short(said: Fields, name: str, most: int = 200) -> str:
    text = said.text(name, "")
    if len(text) > most:
        raise said.wrong(name, f"a text of at most {most} characters")
    return text


def _entry(said: Fields) -> Entry:
    form = said.text("form", choices=FORMS)
    answer = said.value("answer")
    fits = is_finite(answer) if form == "number" else isinstance(answer, str) and len(answer) <= LONGEST
    if answer is not None and not fits:
        raise said.wrong("answer", "a number" if form == "number" else f"a text of at most {LONGEST:,} characters")
    kind = said.text("kind", choices=KINDS)
    right = said.flag("right", None)
    if not said.text("key").strip():
        raise said.wrong("key", "the question's name")
    return Entry(
        key=_short(said, "key"),
        kind=kind,  # type: ignore[arg-type]
        form=form,  # type: ignore[arg-type]
        question=_short(said, "question", LONGEST),
        answer=answer,
        draft=_short(said, "draft", LONGEST),
        right=None if answer is None or kind == "ask" else right,
        tries=said.whole("tries", 0, low=0, high=10**6),
        late=said.flag("late", default=False),
        revealed=said.flag("revealed", default=False),
        at=said.number("at", 0.0),
    )
