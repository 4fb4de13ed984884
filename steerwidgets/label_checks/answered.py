"""One item with what a reader said to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steerwidgets.label_checks.items import Mode, Question


@dataclass(frozen=True)
class Answered:
    """One item with what a reader said to it.

    Attributes:
        item: the item's name, which is the same for everyone.
        mode: what was asked.
        index: the feature.
        questions: what was asked, with the truth.
        answers: for each question a number, None where it was skipped: which one of a choice; else how sure the reader
            is, 0 to 1.
        again: whether the item was asked for the second time.
        scored: whether it counts; the first two do not.
        seconds: how long the reader took.
        at: when it was answered, in seconds since 1970.
    """

    item: str
    mode: Mode
    index: int
    questions: tuple[Question, ...]
    answers: tuple[float | None, ...]
    again: bool = False
    scored: bool = True
    seconds: float | None = None
    at: float = 0.0

    @property
    def is_choice(self) -> bool:
        """Whether one of several was chosen."""
        return self.mode in ("odd one out", "which label")

    def said(self, question: int) -> int | None:
        """An answer as a name: which one, or yes (1) and no (0); None where it was skipped."""
        answer = self.answers[question]
        if answer is None or self.is_choice:
            return None if answer is None else int(answer)
        return int(answer > 0.5)

    def right(self, question: int) -> bool | None:
        """Whether an answer is right; None where it was skipped."""
        said = self.said(question)
        return None if said is None else said == self.questions[question].truth
