"""Lab: one student's way through a notebook, kept in one file beside it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from steerwidgets.calls import tells_calls
from steerwidgets.files.fields import is_finite, is_whole
from steerwidgets.files.json_text import refuse_deep
from steerwidgets.files.shown import shown
from steerwidgets.lab.marking import Answer, Expected
from steerwidgets.lab.record import LONGEST, Entry, Form, Kind, LabRecord, file_of
from steerwidgets.transformer.mistakes import listed
from steerwidgets.transformer.plain_text import as_json
from steerwidgets.widgets.lab.book import Book
from steerwidgets.widgets.lab.question import LabQuestion, Question

SEED: Final = 2026
_MOST_KEPT: Final = 2 * 2**20
_WATCHED: Final = ("recipe", "result", "answers")
_CHANGING: Final = ("steers", "result", "screen", "side")
"""The traits whose change tells of those."""

_LONGEST_KEY: Final = 40
_NAMED: Final = 4
"""As many as a sentence lists."""


@tells_calls("sw.Lab", "lab")
class Lab:
    """One student's way through a lab: questions that render as small widgets, and one file that keeps the answers.

    The file stands beside the notebook and is sent nowhere. Every answer is in it before the page says so; after a
    kernel has died, the same cells show what was answered before. The teacher gathers the files with
    `sw.lab.collect(folder)`.

    Args:
        name: the lab's name, the same for the whole class.
        student: who answers; by default the user of a JupyterHub, or nobody.
        folder: where the file is kept; by default beside the notebook.
        seed: the class's seed, so that everybody sees the same random numbers; by default 2026.

    Attributes:
        name: the lab's name.
        student: who answers.
        seed: the class's seed.
        file: where the answers are kept.
        kept: recipes, verdicts and outputs that were kept, by name.

    Raises:
        OSError: the file of earlier answers can't be read.
        ValueError: it is damaged, or a name or the seed is none.

    Example:
        >>> lab = sw.Lab("polysemanticity", student="Ada", folder=folder)
        >>> question = lab.ask("Which of these fire?", key="fires")
        >>> question.answer("The first two.")
        >>> sw.Lab("polysemanticity", student="Ada", folder=folder).answers
        {'fires': 'The first two.'}
    """

    def __init__(
        self, name: str, student: str | None = None, *, folder: str | Path = ".", seed: int | None = None
    ) -> None:
        self.name = _checked_name(name, "the name of the lab")
        if student is None:
            student = os.environ.get("JUPYTERHUB_USER", "")
        self.student = _checked_name(student, "a student's name") if student.strip() else ""
        if seed is not None and not (is_whole(seed) and abs(seed) < 2**63):
            raise ValueError(f"sw.Lab takes a whole number as seed, but {shown(seed)} was given: seed={SEED}.")
        self._watching: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()
        file = file_of(Path(folder).absolute(), self.name, self.student)
        if file.is_file():
            record = replace(LabRecord.load(file), lab=self.name, student=self.student)
        else:
            record = LabRecord(self.name, self.student, SEED, began=round(time.time(), 1))
        self.seed = record.seed if seed is None else seed
        self._book = Book(file, replace(record, seed=self.seed, provenance=_provenance()))

    def __repr__(self) -> str:
        entries = self._book.record.entries.values()
        left = [each.key for each in entries if each.answer is None]
        checks = [each for each in entries if each.kind == "check"]
        right = f", {sum(each.right is True for each in checks)} of {len(checks)} checks right" if checks else ""
        who = self.student or "nobody named: sw.Lab(…, student='your name')"
        todo = f", not yet: {listed(left[:_NAMED])}{' and others' * (len(left) > _NAMED)}" if left else ""
        done = f"{len(entries) - len(left)} of {len(entries)} answered{todo}{right}"
        return f"Lab {self.name} · {who} · class seed {self.seed} · {done} · kept in {self.file.name}"

    @property
    def file(self) -> Path:
        """Where the answers are kept."""
        return self._book.file

    # Questions

    def ask(
        self,
        question: str,
        *,
        answer: str = "",
        choices: Sequence[str] = (),
        number: bool = False,
        key: str | None = None,
    ) -> LabQuestion:
        """A question that nothing marks.

        Args:
            question: what is asked.
            answer: the teacher's answer, folded away until the student has answered; from then on the student's stands.
            choices: what can be chosen; by default a text is written.
            number: whether a number is asked for.
            key: its name in the file; by default made of the question.

        Returns:
            A widget.

        Raises:
            ValueError: there is no question, or fewer than two choices.

        Example:
            >>> lab = sw.Lab("sea", student="Ada", folder=folder)
            >>> lab.ask("What did you see?", answer="The sea.", key="seen").answer("A harbour.")
            >>> lab.answers
            {'seen': 'A harbour.'}
        """
        return self._made("ask", question, key, choices, number=number, told=answer)

    def predict(
        self,
        question: str,
        *,
        answer: str = "",
        choices: Sequence[str] = (),
        number: bool = False,
        tolerance: float = 0.0,
        key: str | None = None,
    ) -> LabQuestion:
        """A prediction: made before the cell that tells, and final.

        `prediction.turned_out(value)` sets what came of it beside it.

        Args:
            question: what is predicted.
            answer: the teacher's answer, folded away until the student has answered.
            choices: what can be chosen; by default a text is written.
            number: whether a number is asked for.
            tolerance: by how much a number may be off.
            key: its name in the file; by default made of the question.

        Returns:
            A widget.

        Raises:
            ValueError: there is no question, or fewer than two choices.

        Example:
            >>> lab = sw.Lab("sea", student="Ada", folder=folder)
            >>> prediction = lab.predict("Which will win?", choices=["the sea", "a random direction"])
            >>> prediction.answer("a random direction")
            >>> prediction.turned_out("the sea")
            False
        """
        return self._made("predict", question, key, choices, number=number, told=answer, tolerance=tolerance)

    def check(
        self,
        question: str,
        expected: Expected,
        *,
        hint: str = "",
        answer: str = "",
        choices: Sequence[str] = (),
        number: bool | None = None,
        tolerance: float = 0.0,
        key: str | None = None,
    ) -> LabQuestion:
        """A question that the notebook marks: it says right or wrong, and to a wrong answer the hint.

        Args:
            question: what is asked.
            expected: what is right: a text, a number, several of them, what `sw.lab.seal` gave, or a function of the
                answer that gives true, false, or a hint.
            hint: what is said to a wrong answer.
            answer: the teacher's answer, folded away until the student's is right, or was wrong twice.
            choices: what can be chosen; by default a text is written.
            number: whether a number is asked for; by default it is where one is expected.
            tolerance: by how much a number may be off.
            key: its name in the file; by default made of the question.

        Returns:
            A widget.

        Raises:
            ValueError: there is no question, fewer than two choices, or what is expected is none of them.

        Example:
            >>> lab = sw.Lab("sea", student="Ada", folder=folder)
            >>> check = lab.check("How many directions fit in two dimensions at right angles?", 2, hint="Draw them.")
            >>> check.answer(5), check.answer("2")
            (False, True)
        """
        if expected is None:
            raise ValueError("lab.check takes what is right, but None was given; lab.ask takes any answer.")
        if number is None:
            number = is_finite(expected)
        made = self._question("check", question, key, choices, number=number, told=answer, tolerance=tolerance)
        if isinstance(expected, str) and made.choices and expected not in made.choices and "sealed:" not in expected:
            raise ValueError(f"{shown(expected)} is expected but is none of the choices: {', '.join(made.choices)}.")
        return self._widget(replace(made, expected=expected, hint=hint))

    # What else is kept

    @property
    def answers(self) -> dict[str, Answer | None]:
        """What was answered so far, by question; None where nothing was."""
        return {key: each.answer for key, each in self._book.record.entries.items()}

    @property
    def kept(self) -> Mapping[str, Any]:
        """What `keep` and `watch` kept, by name, as JSON."""
        return dict(self._book.record.kept)

    def keep(self, name: str, value: Any) -> None:
        """Keep a recipe, an output or whatever JSON can say, under a name; the same name again replaces it.

        Args:
            name: what it is called.
            value: a recipe, a comparison, a label check's answers or scores, a text, numbers, a list or a dict.

        Raises:
            OSError: it can't be written.
            TypeError: it can't be written as JSON.
            ValueError: it is larger than two megabytes.

        Example:
            >>> lab = sw.Lab("sea", student="Ada", folder=folder)
            >>> lab.keep("my recipe", sw.Recipe([cavs["the sea"].add(4)]))
            >>> sw.Recipe.from_json(lab.kept["my recipe"], dictionaries=[cavs])
            'the sea'.add(4)
        """
        self._book.note_kept(_checked_name(name, "the name of what is kept"), _as_plain(value, name))
        self.save()

    def watch(self, widget: Any, name: str = "") -> None:
        """Keep a widget's recipe, finished texts, answers and verdicts whenever they change.

        Args:
            widget: a panel, a label check, or another widget with such.
            name: what it is called; by default the widget's own name.

        Raises:
            TypeError: it is no widget, or has nothing of the kind.

        Example:
            >>> lab = sw.Lab("sea", student="Ada", folder=folder)
            >>> panel = sw.SteeringPanel(lm, cavs)
            >>> lab.watch(panel, "story")
            >>> panel.recipe = cavs["the sea"].add(4)
            >>> "story: recipe" in lab.kept
            True
        """
        if not hasattr(widget, "observe") or not any(hasattr(widget, each) for each in _WATCHED):
            raise TypeError(
                f"lab.watch takes a widget with a recipe or answers, but {shown(widget)} was given; lab.keep(name, "
                "value) keeps anything else."
            )
        title = name or str(getattr(widget, "title", type(widget).__name__))
        book, watched = self._book, weakref.ref(widget)

        def keep(_change: Any = None) -> None:
            for each in _WATCHED:
                value = getattr(watched(), each, None)
                if value is not None and value != {}:
                    with contextlib.suppress(TypeError, ValueError):
                        book.note_kept(f"{title}: {each}", _as_plain(value, each))
            book.save_soon()

        names = [each for each in _CHANGING if widget.has_trait(each)]
        if before := self._watching.get(widget):
            widget.unobserve(before, names)
        self._watching[widget] = keep
        widget.observe(keep, names)

    def save(self) -> Path:
        """Write everything to the file; answers are written by themselves.

        Returns:
            The file.

        Raises:
            OSError: it can't be written.

        Example:
            >>> sw.Lab("Sea and sky", student="Ada Lovelace", folder=folder).save().name
            'sea-and-sky--ada-lovelace.lab.json'
        """
        self._book.save()
        return self.file

    def _made(self, kind: Kind, text: str, key: str | None, choices: Sequence[str], **more: Any) -> LabQuestion:
        return self._widget(self._question(kind, text, key, choices, **more))

    def _question(
        self, kind: Kind, text: str, key: str | None, choices: Sequence[str], *, number: bool, **more: Any
    ) -> Question:
        call = f"lab.{kind}"
        if not isinstance(text, str) or not text.strip() or len(text) > LONGEST:
            raise ValueError(f'{call} takes a question as a text, but {shown(text)} was given: {call}("Which fire?").')
        if isinstance(choices, str) or not all(isinstance(each, str) and each for each in choices):
            raise ValueError(f"{call} takes choices as a list of texts, but {shown(choices)} was given.")
        if choices and (len(set(choices)) != len(choices) or len(choices) < 2):
            raise ValueError(f"{call} takes two choices or more, each once, but {shown(list(choices))} was given.")
        if choices and number:
            raise ValueError(f"{call} takes either choices or a number; leave one of them out.")
        form: Form = "choice" if choices else "number" if number else "text"
        name = _key_of(text) if key is None else _checked_name(key, "the question's key")
        return Question(name, kind, text.strip(), form, tuple(choices), **more)

    def _widget(self, question: Question) -> LabQuestion:
        known = self._book.entry(question.key)
        asked = replace(known, kind=question.kind, form=question.form, question=question.text)
        if not _still_fits(known, question):
            asked = replace(asked, answer=None, right=None, revealed=False)
        self._book.note(asked)
        facts = {"lab": self.name, "student": self.student, "file": self.file.name}
        return LabQuestion(self._book, question, facts)


def _still_fits(known: Entry, question: Question) -> bool:
    """Whether an earlier answer is one to the question as it is now."""
    if known.answer is None:
        return True
    if question.form == "number":
        return not isinstance(known.answer, str)
    return isinstance(known.answer, str) and (question.form == "text" or known.answer in question.choices)


def _checked_name(value: object, what: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 200:
        raise ValueError(f"{what} is a text of at most 200 characters, but {shown(value)} was given.")
    return value.strip()


def _key_of(question: str) -> str:
    """A question's name: its words, and where those are too many a digest that tells it from others."""
    words = "-".join("".join(c if c.isalnum() else " " for c in question.casefold()).split())
    if 0 < len(words) <= _LONGEST_KEY:
        return words
    return (
        f"{words[: _LONGEST_KEY - 7].strip('-')}-{hashlib.sha256(question.encode('utf-8', 'replace')).hexdigest()[:6]}"
    )


def _as_plain(value: Any, name: str) -> Any:
    """A value as JSON."""
    if hasattr(value, "to_json"):
        value = value.to_json()
    elif hasattr(value, "baseline") and hasattr(value, "steered"):
        value = {"baseline": value.baseline.text, "steered": value.steered.text}
    elif isinstance(value, Mapping) and "prompt" in value and "rows" in value:  # what a panel shows
        value = {"prompt": value["prompt"], **{row["name"]: row["text"] for row in value["rows"]}}
    try:
        text = as_json(value)
    except TypeError:
        raise TypeError(
            f"{name!r} can't be kept: JSON has no word for a {type(value).__name__}; keep its text or its numbers."
        ) from None
    if len(text) > _MOST_KEPT:
        raise ValueError(f"{name!r} takes {len(text) / 2**20:.1f} MB as JSON, and at most 2 MB are kept; keep less.")
    plain = json.loads(text)
    refuse_deep([plain], name)
    return plain


def _provenance() -> dict[str, str]:
    with contextlib.suppress(PackageNotFoundError):
        return {"steerwidgets": version("steerwidgets")}
    return {}
