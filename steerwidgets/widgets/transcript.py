"""The text of a run while it streams: what was generated so far, and what the front-end has not seen yet."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.generation.comparison import first_difference
from steerwidgets.widgets.recipe_editor.describe import finite, tokens_json

if TYPE_CHECKING:
    from steerwidgets.generation.rows import Step
    from steerwidgets.model import LanguageModel

BATCH_SECONDS: Final = 0.05
"""Deltas are batched: a notebook server drops messages that come too fast."""


class Transcript:
    """Takes in steps, hands out what is new about every 50 ms."""

    def __init__(self, lm: LanguageModel, rows: int, total: int) -> None:
        self._lm = lm
        self._total = total
        self._ids: list[list[int]] = [[] for _ in range(rows)]
        self._watched: list[list[float | None]] = [[] for _ in range(rows)]
        self._sent_ids = [0] * rows
        self._sent_watched = [0] * rows
        self._begun = time.monotonic()
        self._first_token: float | None = None
        self._last_sent = 0.0
        self.steps = 0

    def take(self, step: Step) -> None:
        """Take in one step."""
        if self._first_token is None:
            self._first_token = time.monotonic()
        self.steps = step.index + 1
        for row, values in enumerate(step.watched):
            if len(self._watched[row]) < len(self._ids[row]):
                self._watched[row].append(finite(values[0]))
        for row, token in enumerate(step.token_ids):
            if token is not None:
                self._ids[row].append(token)

    @property
    def is_due(self) -> bool:
        """Whether it is time to send."""
        return time.monotonic() - self._last_sent >= BATCH_SECONDS

    @property
    def divergence(self) -> int | None:
        """The first step at which the rows differ so far; rows of different lengths may still be growing."""
        if len(self._ids) < 2:
            return None
        step = first_difference(self._ids[0], self._ids[1])
        return None if step == min(map(len, self._ids[:2])) else step

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens of one row per second, the reading of the prompt left out."""
        if self._first_token is None or self.steps < 2:
            return None
        elapsed = time.monotonic() - self._first_token
        return (self.steps - 1) / elapsed if elapsed > 0 else None

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._begun

    def new(self) -> dict[str, Any]:
        """What the front-end has not seen yet, as a delta."""
        self._last_sent = time.monotonic()
        rows = [
            {"row": row, "start": sent, "tokens": tokens_json(self._lm.tokens(ids[sent:]))}
            for row, (ids, sent) in enumerate(zip(self._ids, self._sent_ids, strict=True))
            if len(ids) > sent
        ]
        watched = [
            {"row": row, "start": sent, "values": values[sent:]}
            for row, (values, sent) in enumerate(zip(self._watched, self._sent_watched, strict=True))
            if len(values) > sent
        ]
        self._sent_ids = [len(ids) for ids in self._ids]
        self._sent_watched = [len(values) for values in self._watched]
        return {"rows": rows, "watched": watched, "divergence": self.divergence}

    def whole(self) -> dict[str, Any]:
        """Everything so far, for a view that came late or missed something."""
        rows = [
            {"tokens": tokens_json(self._lm.tokens(ids)), "watched": list(values)}
            for ids, values in zip(self._ids, self._watched, strict=True)
        ]
        return {"rows": rows, "divergence": self.divergence}

    def progress(self, state: str) -> dict[str, Any]:
        """How far it is, how fast, and how long it will take."""
        done = min(self.steps, self._total)
        speed = self.tokens_per_second
        left = (self._total - done) / speed if speed else None
        return {"state": state, "done": done, "total": self._total, "tokens_per_second": speed, "seconds_left": left}

    def texts(self) -> list[list[int]]:
        """The ids of every row so far."""
        return [list(ids) for ids in self._ids]

    def watched(self) -> list[list[float | None]]:
        """The watched values of every row so far."""
        return [list(values) for values in self._watched]
