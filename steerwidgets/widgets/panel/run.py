"""One run of a steering panel: its checked inputs, its stream, its result."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from steerwidgets.generation.comparison import Comparison, first_difference
from steerwidgets.steering.recipe import Feature
from steerwidgets.widgets.heatmap.columns import zero_of_scale
from steerwidgets.widgets.recipe_editor import describe
from steerwidgets.widgets.recipe_editor.describe import finite, tokens_json

if TYPE_CHECKING:
    from steerwidgets.generation.rows import Step
    from steerwidgets.model import LanguageModel
    from steerwidgets.steering.recipe import Direction
    from steerwidgets.widgets.protocol import Request
    from steerwidgets.widgets.recipe_editor.inputs import Inputs


PAIR: Final = 2
"""Baseline and steered come first; what stands beside them comes after."""


class Fork(NamedTuple):
    """Where a text goes on from another token.

    Attributes:
        of: the run that it is about.
        row: which row, counted from the baseline.
        step: which of its tokens, from 0.
        token: the id that stands there instead.
    """

    of: Comparison
    row: int
    step: int
    token: int


class PanelRun:
    """One run of the panel: streams its steps, and makes its result.

    Args:
        lm: the model.
        request: for which.
        inputs: what it depends on.
        fork: where it goes on from a run before, whose inputs these are; None for a run of its own.
        forked: for each row the token from which it was gone on, in runs before.
    """

    def __init__(
        self,
        lm: LanguageModel,
        request: Request,
        inputs: Inputs,
        fork: Fork | None = None,
        forked: Sequence[int | None] = (),
    ) -> None:
        self._lm = lm
        self.inputs = inputs
        self.request = request
        self._fork = fork
        self._beside = inputs.beside
        self.names = ("baseline", "steered", *self._beside)
        left = inputs.sampling.max_new_tokens - (0 if fork is None else fork.step + 1)
        self.transcript = Transcript(lm, self.names, total=left)
        self.forked = [*forked, *[None] * (len(self.names) - len(forked))]
        if fork is not None:
            self.forked[fork.row] = fork.step
            self._begin_as(fork)

    def _begin_as(self, fork: Fork) -> None:
        """The texts as they stand, one of them as far as the token from which it goes on."""
        for row, text in enumerate((fork.of.baseline, fork.of.steered, *fork.of.beside)):
            ids, watched = list(text.token_ids), [None if each is None else finite(each[0]) for each in text.watched]
            if row == fork.row:
                ids, watched = [*ids[: fork.step], fork.token], watched[: fork.step]
            self.transcript.begin(row, ids, watched, sent=fork.step if row == fork.row else len(ids))

    def generate(self) -> Comparison:
        """Run it in this thread, and stream it."""
        inputs = self.inputs
        self.request.progress(**self.transcript.progress("running"))
        if self._fork is not None:
            comparison = self._go_on(self._fork)
            self._send()
            return comparison
        comparison = self._lm.compare(
            inputs.asks(self._lm),
            inputs.recipe,
            chat=inputs.chat,
            watch=[inputs.watched] if inputs.watched is not None else [],
            on_step=self._on_step,
            stop=self.request.cancelled,
            keep_cache=True,
            beside=list(self._beside.values()),
            **inputs.sampling.to_json(),
        )
        self._send()
        return comparison

    def let_go(self) -> None:
        """Forget the run that it went on from, and so its keys and values."""
        self._fork = None

    def _go_on(self, fork: Fork) -> Comparison:
        name: Any = self.names[fork.row] if fork.row < PAIR else fork.row - PAIR
        watch = [self.inputs.watched] if self.inputs.watched is not None else []
        stop = self.request.cancelled
        return fork.of.fork(fork.step, fork.token, name, watch=watch, on_step=self._on_step, stop=stop)

    def _on_step(self, step: Step) -> None:
        self.transcript.take(step, 0 if self._fork is None else self._fork.row)
        if self.transcript.is_due:
            self._send()

    def _send(self) -> None:
        self.request.delta(**self.transcript.new())
        self.request.progress(**self.transcript.progress("running"))

    def result(self, comparison: Comparison, *, scored: bool) -> dict[str, Any]:
        """What the panel shows of a run that ended."""
        texts = (comparison.baseline, comparison.steered, *comparison.beside)
        rows = [describe.row_json(name, text) for name, text in zip(self.names, texts, strict=True)]
        scores = comparison.scores if scored else None
        far = [(), scores.kl, *comparison.kl_beside] if scores else [()] * len(rows)
        rows = [{**row, "kl": finite(fmean(kl)) if kl else None} for row, kl in zip(rows, far, strict=True)]
        return self._result(rows, comparison.divergence) | {
            "kl": _whole(scores.kl) if scores else None,
            "kl_floor": describe.finite(scores.kl_floor) if scores else None,
            "surprise": _whole(scores.surprise) if scores else None,
        }

    def partial_comparison(self) -> Comparison:
        """What a run that was interrupted left: its texts, without keys and values."""
        from steerwidgets.generation.conditions import plans
        from steerwidgets.generation.rows import Row

        inputs, lm = self.inputs, self._lm
        conditions = [None, inputs.recipe, *self._beside.values()]
        planned = plans(lm, inputs.asks(lm), conditions, chat=inputs.chat)
        rows = [
            Row(
                tuple(ids),
                lm.tokenizer.decode(ids, clean_up_tokenization_spaces=False),
                tuple(lm.tokens(ids)),
                "stopped",
                (),
                plan,
            )
            for ids, plan in zip(self.transcript.texts(), planned, strict=True)
        ]
        return Comparison(lm, planned[1].prompt, inputs.recipe, inputs.sampling, rows)

    def partial_result(self) -> dict[str, Any]:
        """What the panel shows of a run that was interrupted."""
        decode = self._lm.tokenizer.decode
        rows = [
            {
                "name": name,
                "tokens": describe.tokens_json(self._lm.tokens(ids)),
                "text": decode(ids, clean_up_tokenization_spaces=False),
                "ended": "stopped",
                "watched": [*values, *([None] * (len(ids) - len(values)))],
                "kl": None,
            }
            for name, ids, values in zip(self.names, self.transcript.texts(), self.transcript.watched(), strict=True)
        ]
        return self._result(rows, self.transcript.divergence) | {"kl": None, "kl_floor": None, "surprise": None}

    def _result(self, rows: list[dict[str, Any]], divergence: int | None) -> dict[str, Any]:
        inputs = self.inputs
        rows = [{**row, "forked": step} for row, step in zip(rows, self.forked, strict=True)]
        return {
            "rows": rows,
            "divergence": divergence,
            "watched": _domain(inputs.watched, rows),
            "settings": dict(inputs.shown["settings"]),
            "prompt": inputs.prompt,
            "chat": inputs.chat,
            "system": inputs.system,
            "turns": list(inputs.shown.get("turns", [])),
            "recipe": inputs.recipe.to_json(),
            "steers": list(inputs.shown["steers"]),
            "positions": dict(inputs.shown["positions"]),
            "beside": {"asked": inputs.asked, "random": inputs.random},
            "tokens_per_second": self.transcript.tokens_per_second,
            "seconds": self.transcript.seconds,
        }


def _domain(feature: Direction | None, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The scale that colours the tokens, and what its end is; the front-end chooses alike while they stream.

    The feature's 99.5th percentile over its corpus where known, else its maximum there, else the largest value here.
    """
    if feature is None:
        return None
    own = {"key": feature.key, "label": feature.label} | zero_of_scale(feature)
    zero = own["zero"]
    if isinstance(feature, Feature):
        corpus = feature.max_activation_of or "its corpus"
        for end, name in ((feature.p995_activation, "99.5th percentile"), (feature.max_activation, "maximum")):
            if end and end > (zero or 0):
                return own | {"domain": end, "domain_source": f"{name} over {corpus}"}
    values = [value for row in rows for value in row["watched"] if value is not None]
    largest = max((abs(value) for value in values) if zero is None else values, default=1.0)
    return own | {"domain": largest or 1.0, "domain_source": "largest in these texts"}


def _whole(values: Sequence[float]) -> list[float] | None:
    """Scores as JSON can hold them; None where steering overflowed and they mean nothing."""
    return list(values) if all(map(math.isfinite, values)) else None


BATCH_SECONDS: Final = 0.05
"""Deltas are batched: a notebook server drops messages that come too fast."""


class Transcript:
    """Takes in steps, hands out what is new about every 50 ms."""

    def __init__(self, lm: LanguageModel, names: Sequence[str], total: int) -> None:
        rows = len(names)
        self._lm = lm
        self._names = list(names)
        self._total = total
        self._ids: list[list[int]] = [[] for _ in range(rows)]
        self._watched: list[list[float | None]] = [[] for _ in range(rows)]
        self._sent_ids = [0] * rows
        self._sent_watched = [0] * rows
        self._begun = time.monotonic()
        self._first_token: float | None = None
        self._last_sent = 0.0
        self.steps = 0

    def begin(self, row: int, ids: list[int], watched: list[float | None], sent: int) -> None:
        """What a row's text begins with, and how much of it the page has."""
        self._ids[row], self._watched[row], self._sent_ids[row] = ids, watched, sent
        self._sent_watched[row] = min(sent, len(watched))

    def take(self, step: Step, first: int = 0) -> None:
        """Take in one step of some rows, from `first` on."""
        if self._first_token is None:
            self._first_token = time.monotonic()
        self.steps = step.index + 1
        for row, values in enumerate(step.watched, first):
            if len(self._watched[row]) < len(self._ids[row]):
                self._watched[row].append(finite(values[0]))
        for row, token in enumerate(step.token_ids, first):
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
        said = {"state": state, "done": done, "total": self._total, "rows": self._names}
        return said | {"tokens_per_second": speed, "seconds_left": left}

    def texts(self) -> list[list[int]]:
        """The ids of every row so far."""
        return [list(ids) for ids in self._ids]

    def watched(self) -> list[list[float | None]]:
        """The watched values of every row so far."""
        return [list(values) for values in self._watched]
