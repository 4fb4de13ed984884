"""A dose–response as it runs: what is generated in which batch, and what is known after each."""

from __future__ import annotations

import inspect
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Final

from steerwidgets.dose.judges import Judge, checked_judge, judge_name, own_judges
from steerwidgets.dose.result import DoseResult
from steerwidgets.dose.rows import ASKED, BASELINE, random_key, steered_key
from steerwidgets.dose.statistics import percentile_95
from steerwidgets.dose.trials import Batch, Trial, Trials, checked_prompts, checked_seeds, text_of, unsteered
from steerwidgets.files.shown import shown
from steerwidgets.generation.conditions import Asked, plan
from steerwidgets.generation.rows import Plan, generate_rows
from steerwidgets.generation.sampling import Sampling, SamplingSettings
from steerwidgets.steering.divergence import teacher_forced_together
from steerwidgets.steering.hooks import check_fits
from steerwidgets.steering.recipe import Direction, Feature, Recipe, Steer
from steerwidgets.transformer.mistakes import wrong

if TYPE_CHECKING:
    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import PromptLike

Op = Callable[[float], "Steer | Recipe"]
"""Makes a steer of a strength: `feature.add`, or any function that gives a recipe."""

TOKENS: Final = 48
"""By default so many tokens are generated: texts die late."""

BASELINE_SEEDS: Final = 8
"""The baseline's own range is over so many seeds, those of the answers among them."""

RANDOM: Final = 10
_HALVINGS: Final = 7
_CLOSE: Final = 0.05
"""The bisection ends where the KL is so near what is asked for, as a share of it."""

_STEPS: Final = 11
_TIMES: Final = 2.0
"""Default strengths go to so many times what was seen to work."""

_MEANT: Final = "give an op without its number: lm.dose(feature.add, strengths=[0, 20, 40], prompts=[…])"


class DoseSettings(SamplingSettings, total=False):
    """How `lm.dose` samples and judges.

    Attributes:
        seeds: how many seeds of noise, or which; 1 by default.
        random: how many random directions take turns as controls, 10 by default; 0 leaves them out.
        asked: the instruction of the prompted row; by default "Talk about …" with the feature's label; False for none.
        hold_back: prompts for the iso-KL dose, which are not judged: how many of `prompts`, the last ones (a quarter
            of three or more by default), or others.
        baseline_seeds: over how many seeds the baseline's own range goes, 8 by default; 1 at temperature 0, where all
            are alike.
        chat: whether prompts that are strings go through the chat template; by default where the tokenizer has one.
        temperature: divides the logits; 0 takes the most likely token. 0.7 by default.
        top_p: keeps the smallest set of tokens that holds this much probability; 1, the default, keeps all.
        top_k: keeps this many tokens, 50 by default; 0 keeps all.
        frequency_penalty: taken from `logits / temperature` for each time that a token occurred; 0 by default.
        penalise_prompt: whether the prompt's tokens count for the penalty; by default they do not.
        max_new_tokens: where a row ends at the latest, 48 by default: texts die late.
        seed: not taken; see `seeds`.
    """

    seeds: int | Sequence[int]
    random: int
    asked: str | Asked | bool
    hold_back: int | Sequence[PromptLike] | None
    baseline_seeds: int
    chat: bool | None


@dataclass(frozen=True)
class _Asked:
    """What an op is, in words and numbers."""

    label: str
    unit: str
    origin: float
    feature: Direction | None


class DoseRun:
    """Checks what was asked for, plans its batches, runs them, and gives the result so far after each.

    Args:
        lm: the model.
        op: makes a steer of a strength.
        strengths: what to try; by default from nothing to twice what was seen to work.
        prompts: what to answer.
        judge: who says what is on topic; by default what comes with the package for the feature's label.
        seeds: as `DoseSettings` explains it, and all that follow.
        settings: how to sample, without `seed`.

    Attributes:
        prompts: those that are judged, as they were given.
        held_back: those that are not.
        sampling: how it samples; each batch has its own seed.
        judge: who judges.
        asked: the instruction of the prompted row, or None.
        random: how many random directions take turns.
        baseline_seeds: over how many seeds the baseline's own range goes.
        batches: what is generated together.

    Raises:
        ValueError: something is out of range.
        TypeError: something is of another kind.
    """

    SETTINGS: ClassVar = ("seeds", "random", "asked", "hold_back", "baseline_seeds", "chat")
    """Those that are not of sampling."""

    def __init__(
        self,
        lm: LoadedModel,
        op: Op,
        strengths: Iterable[float] | None,
        prompts: Sequence[PromptLike],
        *,
        judge: Judge | None = None,
        seeds: int | Sequence[int] = 1,
        random: int = RANDOM,
        asked: str | Asked | bool = True,
        hold_back: int | Sequence[PromptLike] | None = None,
        baseline_seeds: int = BASELINE_SEEDS,
        chat: bool | None = None,
        template: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._lm = lm
        given: dict[str, Any] = {"max_new_tokens": TOKENS, **(settings or {})}
        if "seed" in given:
            raise ValueError("lm.dose takes seeds=, so many of them or a list, and no seed=.")
        self.sampling = Sampling.of(given)
        self._recipes = _recipes(op, strengths)
        self._op = op
        self._about = _about(op, self._recipes)
        self.prompts, self.held_back = _split(checked_prompts(prompts, "lm.dose"), hold_back)
        self._chat, self._template = chat, dict(template or {})
        encoded = [self._encoded(each) for each in self.prompts]
        self._calibration = [self._encoded(each) for each in self.held_back]
        # All prompts, before any is answered: not all of them have a message of the same roles.
        for known in [lm.known([each]) for each in (*encoded, *self._calibration)]:
            for recipe in self._recipes.values():
                check_fits(lm.architecture, recipe, known)
        self._seeds = checked_seeds(seeds, self.sampling, "lm.dose")
        self.random = _whole(random, "random", 0)
        self.baseline_seeds = _whole(baseline_seeds, "baseline_seeds", 1) if self.sampling.temperature else 1
        self.judge = self._chosen(judge)
        self.asked = self._instruction(asked, self.prompts)
        self._asked_plans = [
            None if self.asked is None else plan(lm, each, self.asked, chat=chat, template=self._template)
            for each in self.prompts
        ]
        self._trials = Trials(lm, encoded, [text_of(lm, each) for each in self.prompts], self.sampling, self.judge)
        self._stopped = False
        self.batches = list(self._planned())

    @property
    def total(self) -> int:
        """How many answers there will be."""
        return sum(len(batch.trials) for batch in self.batches)

    @property
    def done(self) -> int:
        """How many there are."""
        return len(self._trials.answers)

    @property
    def result(self) -> DoseResult:
        """What is known so far."""
        trials, about = self._trials, self._about
        return DoseResult(
            about.label,
            about.unit,
            tuple(self._recipes),
            about.origin,
            tuple(trials.texts),
            tuple(text_of(self._lm, each) for each in self.held_back),
            self._seeds,
            judge_name(self.judge),
            self.asked.instruction if self.asked is not None else "",
            tuple(trials.answers),
            self._stopped,
            {name: value for name, value in self.sampling.to_json().items() if name != "seed"},
            self._lm.provenance,
            lambda _result, nats: self.strength_at(nats),
        )

    @property
    def features(self) -> tuple[Direction, ...]:
        """What is steered."""
        strongest = list(self._recipes.values())[-1]
        return tuple(steer.feature for steer in strongest)

    def made(self, strength: float) -> Recipe:
        """What a strength does, be it tried or not.

        Raises:
            ValueError: the op can't take it.
        """
        return self._recipes[strength] if strength in self._recipes else _recipe(self._op, strength)

    def run(
        self, stop: threading.Event | None = None, on_step: Callable[[int], None] | None = None
    ) -> Iterator[DoseResult]:
        """Run batch by batch; what is known after each. A stop, or Ctrl-C, keeps what is done.

        Args:
            stop: set it to end within one token.
            on_step: called with the number of each step of a batch.
        """
        stop = stop or threading.Event()
        try:
            for _ in self._trials.run(self.batches, stop, on_step):
                yield self.result
        except KeyboardInterrupt:
            if not self._trials.answers:
                raise
            self._stopped = True
        self._stopped = self._stopped or self.done < self.total

    def strength_at(self, nats: float, stop: threading.Event | None = None) -> float | None:
        """The strength at which the 95th percentile of the per-token KL is so many nats; see `DoseResult.iso_kl`.

        Raises:
            ValueError: no prompt was held back.
        """
        if not self._calibration:
            raise ValueError(
                f"An iso-KL dose is found on prompts that are not judged, but all {len(self._trials.prompts)} were; "
                "give hold_back=1 or more of two prompts at least, or prompts of their own: hold_back=[…]."
            )
        origin = self._about.origin
        far = max(self._recipes, key=lambda strength: (strength - origin, abs(strength - origin)))
        if far <= origin:
            far = min(self._recipes)
        stop = stop or threading.Event()
        if self._kl_at(far, stop) < nats:
            return None
        low, high = origin, far
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            found = self._kl_at(middle, stop)
            if stop.is_set() or abs(found - nats) <= _CLOSE * nats:
                return None if stop.is_set() else middle
            low, high = (low, middle) if found > nats else (middle, high)
        return (low + high) / 2

    def _kl_at(self, strength: float, stop: threading.Event) -> float:
        """The 95th percentile of the KL over the tokens of an answer to each prompt that was held back, nats."""
        recipe = self.made(strength)
        sampling = replace(self.sampling, seed=self._seeds[0])
        rows = generate_rows(self._lm, [Plan(each, recipe) for each in self._calibration], sampling, stop=stop)
        return percentile_95(
            [
                kl
                for each, row in zip(self._calibration, rows, strict=True)
                for score in teacher_forced_together(self._lm, each, [row.token_ids], [recipe])
                for kl in score.kl
            ]
        )

    def _encoded(self, prompt: PromptLike) -> Any:
        return self._lm.encode(prompt, chat=self._chat, **self._template)

    def _chosen(self, judge: Judge | None) -> Judge:
        if judge is not None:
            return checked_judge(judge, "lm.dose")
        label = self._about.feature.label if self._about.feature is not None else ""
        own = own_judges(self._lm, label)
        if not own:
            raise ValueError(
                f"Nothing says what answers under {self._about.label} should be about, so nothing can judge them; give "
                'judge=sw.Words(["sea", "sail"]), a sw.Probe, or judge(prompt, text) -> 0 to 1.'
            )
        return own[0]

    def _instruction(self, asked: Any, prompts: Sequence[PromptLike]) -> Asked | None:
        if isinstance(asked, Asked):
            return asked
        if isinstance(asked, str):
            return Asked(asked)
        if not isinstance(asked, bool):
            told = 'give asked="Talk about the sea.", or asked=False for no such row'
            raise wrong("lm.dose", "an instruction", asked, told)
        feature = self._about.feature
        if not asked or feature is None or any(_is_ids(each) for each in prompts):
            return None
        return Asked(f"Talk about {feature.label}.")

    def _planned(self) -> Iterator[Batch]:
        """The baseline's further seeds, so that its own range is known first; then a batch for each seed and prompt."""
        more = max(0, self.baseline_seeds - len(self._seeds))
        first = max(self._seeds) + 1
        yield from (self._baselines(seed) for seed in range(first, first + more))
        yield from (self._of_prompt(seed, i) for seed in self._seeds for i in range(len(self._trials.prompts)))

    def _baselines(self, seed: int) -> Batch:
        prompts = enumerate(self._trials.prompts)
        return Batch(seed, tuple((i, Trial(BASELINE, unsteered(prompt))) for i, prompt in prompts))

    def _of_prompt(self, seed: int, index: int) -> Batch:
        prompt, asked = self._trials.prompts[index], self._asked_plans[index]
        turn = self._seeds.index(seed) * len(self._trials.prompts) + index
        trials = [Trial(BASELINE, unsteered(prompt))]
        for number, (strength, recipe) in enumerate(self._recipes.items()):
            same = BASELINE if all(steer.is_identity for steer in recipe) else None
            trials.append(Trial(steered_key(strength), Plan(prompt, recipe), same_as=same))
            if self.random:
                by_chance = recipe.random_direction((turn + number) % self.random)
                trials.append(Trial(random_key(strength), Plan(prompt, by_chance), scored=False, same_as=same))
        if asked is not None:
            trials.append(Trial(ASKED, asked))
        return Batch(seed, tuple((index, trial) for trial in trials))


def _split(
    prompts: list[PromptLike], hold_back: int | Sequence[PromptLike] | None
) -> tuple[list[PromptLike], list[PromptLike]]:
    """The prompts that are judged, and those that are not."""
    if hold_back is None:
        hold_back = max(1, len(prompts) // 4) if len(prompts) > 2 else 0
    given: Any = hold_back
    if isinstance(given, bool) or not isinstance(given, Integral):
        return prompts, checked_prompts(given, "hold_back= of lm.dose")
    count = int(given)
    if not 0 <= count < len(prompts):
        raise ValueError(
            f"hold_back={count} of {len(prompts)} prompt{'s' * (len(prompts) > 1)} leaves none to judge; give more "
            "prompts, or other ones for the iso-KL dose: hold_back=[…]."
        )
    at = len(prompts) - count
    return prompts[:at], prompts[at:]


def _recipes(op: Any, strengths: Any) -> dict[float, Recipe]:
    """What each strength does, from the lowest up.

    Raises:
        TypeError: the op is none, or takes no strength.
        ValueError: there is no strength, or one is no number, or the op can't take it.
    """
    if isinstance(op, Steer | Recipe):
        raise wrong("lm.dose", "an op that makes a steer of a strength", op, _MEANT)
    if isinstance(op, Direction):
        raise wrong("lm.dose", "an op of a feature", op, _MEANT)
    if not callable(op):
        raise wrong("lm.dose", "an op", op, _MEANT)
    listed = default_strengths(op) if strengths is None else _listed(strengths)
    return {strength: _recipe(op, strength) for strength in sorted(set(listed))}


def _listed(strengths: Any) -> list[float]:
    meant = "give several numbers: strengths=[0, 20, 40, 60]"
    if isinstance(strengths, str) or not isinstance(strengths, Iterable):
        raise wrong("lm.dose", "a list of strengths", strengths, meant)
    listed = [each.item() if getattr(each, "ndim", None) == 0 else each for each in strengths]
    for each in listed:
        if isinstance(each, bool) or not isinstance(each, int | float) or not math.isfinite(each):
            raise ValueError(f"A strength is a finite number, but {shown(each)} is among them; {meant}.")
    if not listed:
        raise ValueError(f"lm.dose needs at least one strength; {meant}.")
    return [float(each) for each in listed]


def _recipe(op: Op, strength: float) -> Recipe:
    try:
        inspect.signature(op).bind(strength)
    except TypeError:
        name = getattr(op, "__name__", "this op")
        raise TypeError(f"lm.dose tries several strengths, but {name} takes no single number; {_MEANT}.") from None
    except ValueError:
        pass  # a builtin that does not say what it takes
    made: Any = op(strength)
    if not isinstance(made, Steer | Recipe):
        raise wrong("lm.dose", "an op that gives a steer or recipe", made, _MEANT)
    return Recipe.of(made)


def _about(op: Op, recipes: Mapping[float, Recipe]) -> _Asked:
    """What is known of an op by what it makes."""
    strongest = list(recipes.values())[-1]
    if len(strongest) != 1:
        return _Asked(getattr(op, "__name__", "recipe").replace("<lambda>", "recipe"), "strength", 0.0, None)
    [steer] = strongest
    feature, spec = steer.feature, steer.spec
    first = spec.parameters[0]
    identity = dict(spec.identity or ()).get(first.name, 0.0)
    return _Asked(f"{feature.label} · {steer.op}", first.unit, float(identity or 0.0), feature)


def default_strengths(op: Op) -> list[float]:
    """From nothing to twice what was seen to work, or to the end of the op's slider, in ten steps.

    Raises:
        ValueError: nothing is known of the op.
    """
    # An op is a method of a feature, or a partial of feature and name.
    given: tuple[Any, ...] = getattr(op, "args", ())
    made: tuple[Any, Any] = (getattr(op, "__self__", None), getattr(op, "__name__", ""))
    feature, name = made if len(given) < 2 else (given[0], str(given[1]))
    if not isinstance(feature, Direction) or name not in feature.ops or not feature.ops[name].parameters:
        raise ValueError(f"Nothing is known of the strengths of this op; {_MEANT}.")
    first = feature.ops[name].parameters[0]
    origin = float(dict(feature.ops[name].identity or ()).get(first.name, 0.0) or 0.0)
    end = first.high
    if isinstance(feature, Feature):
        known = feature.suggested
        if known is not None and known[0] == name and known[1].get(first.name):
            end = _TIMES * known[1][first.name]
        elif first.raw and feature.full_strength and name == "add":
            end = _TIMES * feature.full_strength
        elif first.raw and feature.max_activation:
            end = _TIMES * feature.max_activation
    return [float(f"{origin + (end - origin) * i / (_STEPS - 1):.3g}") for i in range(_STEPS)]


def _whole(value: Any, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} of lm.dose is a whole number, {least} or more, but {shown(value)} was given.")
    return int(value)


def _is_ids(prompt: Any) -> bool:
    if isinstance(prompt, str):
        return False
    return isinstance(prompt, Mapping) or not isinstance(next(iter(prompt), None), Mapping)
