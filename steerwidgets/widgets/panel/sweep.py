"""A sweep of one steer: its strengths as rows of one batch, how surprising each text is, and where texts break."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dose.fluency import distinct_2, first_broken, is_fluent, own_range
from steerwidgets.files.fields import Fields, is_finite, is_whole
from steerwidgets.files.shown import shown
from steerwidgets.generation.conditions import plan as planned
from steerwidgets.generation.rows import Plan, Row, Step, generate_rows
from steerwidgets.generation.sampling import Sampling
from steerwidgets.steering.divergence import surprises
from steerwidgets.steering.recipe import Recipe, Steer
from steerwidgets.transformer.plain_text import table
from steerwidgets.widgets.panel.run import Transcript
from steerwidgets.widgets.recipe_editor.describe import finite, slider_reach, tokens_json

if TYPE_CHECKING:
    from steerwidgets.model import LanguageModel
    from steerwidgets.widgets.protocol import Request
    from steerwidgets.widgets.recipe_editor.inputs import Inputs

COUNT: Final = 12
"""Strengths of a sweep, where nobody says how many."""

MOST: Final = 32
TOKENS: Final = 48
"""Texts die late: shorter ones would say too little of where they break."""

SEEDS: Final = 8
"""Baseline texts, each with noise of its own, whose range says what is usual for the prompt."""

_WARM: Final = 0.7
"""The temperature of those where the run itself takes the likeliest token, and all of them would be one."""

_TRIED: Final = 3
"""Steps from which a sweep's time is told beforehand."""


@dataclass(frozen=True)
class SweepRow:
    """One strength of a sweep.

    Attributes:
        strength: the number of the steer that is swept.
        text: the text.
        surprise: the mean of −log p of its tokens under the unsteered model, in nats; NaN without tokens.
        distinct_2: the share of its pairs of neighbouring tokens that are no repetition; 1 where nothing repeats.
        usual: whether neither is worse than the baseline's own range over seeds.
    """

    strength: float
    text: str
    surprise: float
    distinct_2: float
    usual: bool


@dataclass(frozen=True, repr=False)
class Sweep:
    """What a sweep found.

    Attributes:
        rows: the strengths in order, each with its text.
        surprise: the baseline's own range over eight seeds, in nats: mean and two standard deviations either way.
        distinct_2: the same of the share of pairs that are no repetition.
        breaks: for either side of where the steer changes nothing the first strength past which texts are not usual,
            for good; None where the tested range ends before that.
    """

    rows: tuple[SweepRow, ...]
    surprise: tuple[float, float]
    distinct_2: tuple[float, float]
    breaks: tuple[float | None, float | None]

    def __repr__(self) -> str:
        rows = [
            [row.strength, row.surprise, row.distinct_2, "" if row.usual else "breaks", row.text[:60]]
            for row in self.rows
        ]
        return table(["strength", "surprise", "distinct-2", "", "text"], rows)


def breaks(rows: Sequence[SweepRow], neutral: float) -> tuple[float | None, float | None]:
    """Below and above where nothing changes: the first strength from which on no text is usual."""
    below = sorted((row for row in rows if row.strength < neutral), key=lambda row: -row.strength)
    above = sorted((row for row in rows if row.strength > neutral), key=lambda row: row.strength)
    outwards = [[(row.strength, row.usual) for row in side] for side in (below, above)]
    return first_broken(outwards[0]), first_broken(outwards[1])


@dataclass(frozen=True)
class SweepPlan:
    """What is swept.

    Attributes:
        steer: which steer of the recipe, from 0.
        strengths: the strengths.
        tokens: the longest that a text gets.
    """

    steer: int
    strengths: tuple[float, ...]
    tokens: int


class PanelSweep:
    """One sweep of a panel: streams its texts, and makes its result."""

    def __init__(self, lm: LanguageModel, request: Request, inputs: Inputs, plan: SweepPlan) -> None:
        self._lm = lm
        self._inputs = inputs
        self._plan = plan
        self.request = request
        self.sampling = replace(inputs.sampling, max_new_tokens=plan.tokens)
        steer = inputs.recipe.steers[plan.steer]
        self._parameter = swept_parameter(steer)
        self._neutral = _neutral(steer, self._parameter)
        self._plans = self._rows()
        names = [f"{strength:g}" for strength in plan.strengths]
        self.transcript = Transcript(lm, names, total=plan.tokens)

    def _rows(self) -> list[Plan]:
        """The strengths, and after them baseline texts of several seeds."""
        steers = self._inputs.recipe.steers
        recipes = []
        for strength in self._plan.strengths:
            changed = list(steers)
            changed[self._plan.steer] = at_strength(steers[self._plan.steer], strength)
            recipes.append(Recipe(tuple(changed)))
        prompt, chat = self._inputs.asks(self._lm), self._inputs.chat
        rows = [planned(self._lm, prompt, recipe, chat=chat) for recipe in recipes]
        baseline = planned(self._lm, prompt, None, chat=chat)
        return [*rows, *(replace(baseline, seed=self.sampling.seed + i) for i in range(SEEDS))]

    def seconds(self) -> float:
        """How long it will take, from a few steps of it."""
        begun = time.monotonic()
        at: list[float] = []
        sampling = replace(self.sampling, max_new_tokens=min(_TRIED, self.sampling.max_new_tokens))
        stop = self.request.cancelled
        generate_rows(self._lm, self._plans, sampling, on_step=lambda _: at.append(time.monotonic()), stop=stop)
        first = at[0] - begun
        step = (at[-1] - at[0]) / (len(at) - 1) if len(at) > 1 else first
        # The reading of the finished texts, two passes over all of them, takes about as long as the prompts took.
        return first + step * (self.sampling.max_new_tokens - 1) + 2 * first

    def run(self) -> list[Row]:
        """Generate every row, and stream the swept ones."""
        self._tell("running")
        swept, usual = self._plans[:-SEEDS], self._plans[-SEEDS:]
        if self.sampling.temperature > 0:
            rows = self._generate(self._plans, self.sampling)
        else:
            rows = self._generate(swept, self.sampling)
            rows += self._generate(usual, replace(self.sampling, temperature=_WARM), quiet=True)
        self._send()
        return rows

    def _generate(self, plans: Sequence[Plan], sampling: Sampling, *, quiet: bool = False) -> list[Row]:
        on_step = None if quiet else self._on_step
        return generate_rows(self._lm, plans, sampling, on_step=on_step, stop=self.request.cancelled)

    def _on_step(self, step: Step) -> None:
        self.transcript.take(replace(step, token_ids=step.token_ids[: len(self._plan.strengths)]))
        if self.transcript.is_due:
            self._send()

    def _send(self) -> None:
        self.request.delta(of="sweep", **self.transcript.new())
        self._tell("running")

    def _tell(self, state: str) -> None:
        self.request.progress(of="sweep", **self.transcript.progress(state))

    def found(self, rows: Sequence[Row]) -> Sweep:
        """What its texts say of its strengths."""
        self._tell("scoring")
        texts = [row.token_ids for row in rows]
        measured = surprises(self._lm, self._plans[0].prompt, texts)
        own = [distinct_2(ids) for ids in texts]
        surprise, distinct = own_range([measured[-SEEDS:]]), own_range([own[-SEEDS:]])
        made = tuple(
            SweepRow(
                strength,
                row.text,
                value,
                repeats,
                bool(row.token_ids) and is_fluent(value, repeats, surprise, distinct) is not False,
            )
            for strength, row, value, repeats in zip(self._plan.strengths, rows, measured, own, strict=False)
        )
        return Sweep(made, surprise, distinct, breaks(made, self._neutral))

    def result(self, sweep: Sweep | None, rows: Sequence[Row]) -> dict[str, Any]:
        """What the panel shows of it; without scores where it was stopped."""
        steer = self._inputs.recipe.steers[self._plan.steer]
        scored = [None] * len(rows) if sweep is None else sweep.rows
        shown_rows = [
            {
                "strength": strength,
                "text": row.text,
                "tokens": tokens_json(row.tokens),
                "ended": row.ended,
                "surprise": score and finite(score.surprise),
                "distinct_2": score and score.distinct_2,
                "usual": None if score is None else score.usual,
            }
            for strength, row, score in zip(self._plan.strengths, rows, scored, strict=False)
        ]
        return {
            "key": steer.feature.key,
            "label": steer.feature.label,
            "op": steer.op,
            "parameter": self._parameter,
            "rows": shown_rows,
            "surprise": None if sweep is None else [finite(value) for value in sweep.surprise],
            "distinct_2": None if sweep is None else list(sweep.distinct_2),
            "breaks": None if sweep is None else list(sweep.breaks),
            "seeds": SEEDS,
            "tokens": self._plan.tokens,
            "prompt": self._inputs.prompt,
            "settings": self.sampling.to_json(),
            "seconds": self.transcript.seconds,
        }


def swept_parameter(steer: Steer) -> str:
    """The number of a steer that a sweep changes: the one that its slider moves.

    Raises:
        ValueError: it has none.
    """
    for parameter in steer.spec.parameters:
        if not parameter.optional:
            return parameter.name
    raise ValueError(f"{steer!r:.120} has no strength to sweep; choose an op with one, such as add.")


def at_strength(steer: Steer, strength: float) -> Steer:
    """The same steer at another strength.

    Raises:
        ValueError: its op has none, or does not take this one.
    """
    return replace(steer, parameters={**steer.parameters, swept_parameter(steer): strength})


def _neutral(steer: Steer, parameter: str) -> float:
    """Where the steer changes nothing; 0 where there is no such strength."""
    return dict(steer.spec.identity or ()).get(parameter) or 0.0


def usual_strengths(steer: Steer, median_norm: float | None, count: int = COUNT) -> tuple[float, ...]:
    """Evenly from where a steer changes nothing to the end of its slider, on the side where it stands."""
    name = swept_parameter(steer)
    [parameter] = [each for each in steer.spec.parameters if each.name == name]
    neutral = _neutral(steer, name)
    value = steer.parameters.get(name) or 0.0
    reach = (slider_reach(steer.feature, median_norm) if parameter.raw else None) or parameter.high
    end = parameter.low if value < neutral and not parameter.raw else math.copysign(reach, value or 1.0)
    return tuple(round(neutral + (end - neutral) * i / (count - 1), 6) for i in range(count))


def checked_plan(
    recipe: Recipe, steer: Any, strengths: Iterable[float] | None, tokens: Any, median_norm: float | None
) -> SweepPlan:
    """What is swept, checked.

    Raises:
        ValueError: there is no such steer, its op has no strength, or a number is none.
    """
    if not len(recipe):
        raise ValueError("There is no steer to sweep: add a feature to the recipe first.")
    if not is_whole(steer) or not -len(recipe) <= steer < len(recipe):
        raise ValueError(f"The recipe has {len(recipe)} steers, from 0 to {len(recipe) - 1}; {shown(steer)} was given.")
    steer %= len(recipe)
    given = usual_strengths(recipe.steers[steer], median_norm) if strengths is None else tuple(strengths)
    if not 1 <= len(given) <= MOST or not all(is_finite(each) for each in given):
        raise ValueError(f"A sweep takes 1 to {MOST} strengths, finite numbers, but {shown(list(given))} was given.")
    if not is_whole(tokens) or tokens < 1:
        raise ValueError(f"The texts of a sweep have 1 token or more, but tokens={shown(tokens)} was given.")
    for each in given:
        replace(
            recipe.steers[steer],
            parameters={**recipe.steers[steer].parameters, swept_parameter(recipe.steers[steer]): each},
        )
    return SweepPlan(steer, tuple(float(each) for each in given), tokens)


def asked_strengths(args: Mapping[str, Any]) -> list[float]:
    """The strengths that a page asks for: evenly `from` one number `to` another, `count` of them.

    Raises:
        ValueError: they are no such numbers.
    """
    said = Fields(args, "In the sweep", todo="correct it", within="sweep.")
    low, high = said.number("from"), said.number("to")
    count = said.whole("count", low=2, high=MOST)
    return [round(low + (high - low) * i / (count - 1), 6) for i in range(count)]
