"""LabQuestion: one question of a lab; what a student says to it is on the disk before the page hears of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

import traitlets

from steerwidgets.files.shown import shown
from steerwidgets.lab.marking import Answer, Expected, as_number, marked
from steerwidgets.lab.record import LONGEST, Entry, Form, Kind
from steerwidgets.widgets.base import Widget
from steerwidgets.widgets.export import STATIC
from steerwidgets.widgets.protocol import Handler, Request

if TYPE_CHECKING:
    from steerwidgets.widgets.lab.book import Book

_GIVEN_UP: Final = 2
"""Wrong tries after which the answer of a check can be seen."""


@dataclass(frozen=True)
class Question:
    """What is asked, and what only the kernel knows of it.

    Attributes:
        key: its name, the same for everyone.
        kind: `ask`, `predict` or `check`.
        text: the question.
        form: how it is answered.
        choices: what can be chosen.
        expected: what is right; None where nothing marks it.
        tolerance: by how much a number may be off.
        hint: what is said to a wrong answer.
        told: the teacher's answer, shown when asked for; "" where there is none.
    """

    key: str
    kind: Kind
    text: str
    form: Form = "text"
    choices: tuple[str, ...] = ()
    expected: Expected | None = None
    tolerance: float = 0.0
    hint: str = ""
    told: str = ""

    def checked(self, answer: Any) -> Answer:
        """An answer of the right form.

        Raises:
            ValueError: it is none.
        """
        if self.form == "number":
            number = as_number(answer) if isinstance(answer, str) else answer
            if isinstance(number, bool) or not isinstance(number, int | float) or number != number:  # noqa: PLR0124
                raise ValueError(f"{shown(answer)} is no number; write one, such as 0.5 or 12.")
            return float(number)
        if self.form == "choice":
            if answer not in self.choices:
                raise ValueError(f"{shown(answer)} is none of the choices: {', '.join(map(repr, self.choices))}.")
            return str(answer)
        if not isinstance(answer, str) or not answer.strip():
            raise ValueError("Nothing is written yet; write an answer first.")
        if len(answer) > LONGEST:
            raise ValueError(f"An answer has at most {LONGEST:,} characters, and this has {len(answer):,}; shorten it.")
        return answer.strip()


class LabQuestion(Widget):
    """One question of a lab: `lab.ask`, `lab.predict` and `lab.check` make it.

    Attributes:
        asked: the question.
        given: what was said to it, and what came of it.
        draft: what is typed and not yet given as an answer.
        key: the question's name.
        right: whether the answer is right; None while nothing says so.
    """

    _esm = STATIC / "lab_question.js"
    _css = STATIC / "lab_question.css"
    bundle: ClassVar[str] = "lab_question"
    title: ClassVar[str] = "lab question"

    asked = traitlets.Dict().tag(sync=True)
    given = traitlets.Dict().tag(sync=True)
    draft = traitlets.Unicode().tag(sync=True)

    def __init__(self, book: Book, question: Question, facts: Mapping[str, str]) -> None:
        self._book = book
        self._question = question
        self._outcome: Answer | None = None
        asked = {
            **{name: getattr(question, name) for name in ("key", "kind", "form")},
            "question": question.text,
            "choices": list(question.choices),
            "tells": bool(question.told),
            **facts,
        }
        entry = book.entry(question.key)
        super().__init__(asked=asked, given=self._shown(entry), draft=entry.draft)
        self.observe(self._keep_draft, "draft")

    # What a user reads and does

    @property
    def key(self) -> str:
        """The question's name in the file of answers."""
        return self._question.key

    @property
    def value(self) -> Answer | None:
        """The answer; None while there is none."""
        return self._book.entry(self.key).answer

    @property
    def right(self) -> bool | None:
        """Whether the answer is right; None while nothing says so."""
        return self._book.entry(self.key).right

    def answer(self, answer: Answer) -> bool | None:
        """Give an answer, which is kept, and marked where something marks it.

        Args:
            answer: a text, one of the choices, or a number.

        Returns:
            Whether it is right; None where nothing marks it, or a prediction comes after its outcome.

        Raises:
            OSError: it can't be written; it is kept in memory, and written with the next one.
            ValueError: it is none, or the answer was shown already.
        """
        question, entry = self._question, self._book.entry(self.key)
        if self._is_locked(entry):
            why = "a prediction stands" if question.kind == "predict" else "the answer was shown"
            raise ValueError(f"Your answer is kept as it is, since {why}.")
        said = question.checked(answer)
        late = question.kind == "predict" and self._outcome is not None
        right, hint, failed = (None, "", None) if late else self._marked(said)
        at, tries = round(time.time(), 1), entry.tries + 1
        now = replace(entry, answer=said, right=right, tries=tries, late=late, draft="", at=at)
        try:
            self._book.put(now)
        finally:
            self.publish_together(given=self._shown(now, hint), draft="")
        if failed is not None:
            raise failed
        return right

    def reveal(self) -> str:
        """Show the teacher's answer; the student's own is kept as it is from then on.

        Returns:
            The teacher's answer.

        Raises:
            OSError: that can't be written.
            ValueError: there is none, or the question is not answered yet.
        """
        entry = self._book.entry(self.key)
        if not self._can_reveal(entry):
            way = "answer first" if entry.answer is None else "try once more first"
            raise ValueError(f"The answer is shown after yours: {way}." if self._question.told else "There is none.")
        now = replace(entry, revealed=True)
        try:
            self._book.put(now)
        finally:
            self.publish(given=self._shown(now))
        return self._question.told

    def turned_out(self, outcome: Answer) -> bool | None:
        """Set what came of a prediction beside it.

        Where nothing is predicted yet, it is told once something is, which then does not count.

        Args:
            outcome: what was seen: a text, one of the choices, or a number.

        Returns:
            Whether it was predicted; None while nothing is.

        Raises:
            OSError: it can't be written.
            ValueError: it is no answer to the question.
        """
        self._outcome = self._question.checked(outcome)
        entry = self._book.entry(self.key)
        if entry.answer is not None and not entry.late:
            right, _ = marked(self._outcome, entry.answer, tolerance=self._question.tolerance)
            entry = replace(entry, right=right)
            self._book.put(entry)
        self.publish(given=self._shown(entry))
        return entry.right

    # Requests of the front-end

    def _handlers(self) -> Mapping[str, Handler]:
        return {
            "answer": Handler(self._serve_answer, slow=True),
            "reveal": Handler(self._serve_reveal, slow=True),
        }

    def _serve_answer(self, request: Request) -> dict[str, Any]:
        return {"right": self.answer(request.args.get("answer"))}  # type: ignore[arg-type]

    def _serve_reveal(self, _request: Request) -> dict[str, Any]:
        self.reveal()
        return {}

    def _keep_draft(self, change: Mapping[str, Any]) -> None:
        if not self.in_front_end_update:
            return
        entry = replace(self._book.entry(self.key), draft=str(change["new"])[:LONGEST])
        self._book.note(entry)
        self._book.save_soon()

    # From the lab to traits

    def _marked(self, said: Answer) -> tuple[bool | None, str, ValueError | None]:
        question = self._question
        if question.expected is None:
            return None, "", None
        try:
            right, hint = marked(question.expected, said, tolerance=question.tolerance)
        except Exception as error:  # noqa: BLE001 - whatever a teacher's function raises
            self._note_error("marking", error)
            why = f"The check of this question failed ({type(error).__name__}: {error}); your answer is kept."
            return None, "", ValueError(why)
        return right, "" if right else hint or question.hint, None

    def _is_locked(self, entry: Entry) -> bool:
        done = entry.kind == "predict" and entry.answer is not None
        return done or entry.revealed or (entry.kind == "check" and entry.right is True)

    def _can_reveal(self, entry: Entry) -> bool:
        if not self._question.told or entry.answer is None:
            return False
        return entry.kind != "check" or entry.right is not False or entry.tries >= _GIVEN_UP or entry.revealed

    def _shown(self, entry: Entry, hint: str = "") -> dict[str, Any]:
        if not hint and entry.right is False and entry.kind == "check":
            hint = self._question.hint
        return {
            "answer": _text(entry.answer),
            # Of a prediction that stands from before, nothing is said until the cell that tells has run again.
            "right": None if entry.kind == "predict" and self._outcome is None else entry.right,
            "late": entry.late,
            "tries": entry.tries,
            "hint": hint,
            "told": self._question.told if entry.revealed else "",
            "tellable": self._can_reveal(entry) and not entry.revealed,
            "locked": self._is_locked(entry),
            "outcome": _text(self._outcome) if entry.answer is not None else "",  # told after the prediction
        }

    def _said(self) -> Sequence[str]:
        if "_question" not in self.__dict__:
            return []
        given = self.given
        lines = [self._question.text]
        if given["answer"]:
            mark = {True: " (right)", False: " (not right)", None: ""}[given["right"]]
            lines.append(f"Answer: {given['answer']}{mark}")
        if given["outcome"]:
            lines.append(f"What came of it: {given['outcome']}")
        return [*lines, *filter(None, [given["told"]])]


def _text(answer: Answer | None) -> str:
    if answer is None:
        return ""
    return answer if isinstance(answer, str) else f"{answer:g}"
