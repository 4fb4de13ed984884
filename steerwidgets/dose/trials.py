"""Trials: answers to several prompts under several conditions and seeds, judged and scored, a batch for each prompt."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

from steerwidgets.dose.fluency import distinct_2
from steerwidgets.dose.judges import Judge, Verdict, judged
from steerwidgets.dose.statistics import Count
from steerwidgets.files.shown import shown
from steerwidgets.generation.rows import GeneratedText, Plan, Row, generate_rows
from steerwidgets.steering.divergence import teacher_forced_together
from steerwidgets.steering.recipe import Recipe
from steerwidgets.transformer.mistakes import wrong
from steerwidgets.transformer.prompts import several_prompts

if TYPE_CHECKING:
    from steerwidgets.generation.sampling import Sampling
    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import Prompt, PromptLike


@dataclass(frozen=True)
class Answer:
    """One text.

    Attributes:
        key: which condition made it.
        prompt: the index of its prompt.
        seed: of its noise.
        row: the text itself, with its tokens; from a file without its plan.
        distinct_2: the share of distinct pairs of neighbouring tokens (Li et al. 2016); low where it loops.
        surprise: mean −log p of its tokens alone under the unsteered model after the plain prompt, nats; NaN where it
            has none or was not scored.
        kl: KL(steered ‖ baseline) at each of its tokens, teacher-forced, nats; of an asked row KL(asked ‖ baseline).
        ratio: median ‖change‖/‖h‖.
        verdict: what the judge said; None without a judge.
    """

    key: Hashable
    prompt: int
    seed: int
    row: GeneratedText
    distinct_2: float
    surprise: float = float("nan")
    kl: tuple[float, ...] = ()
    ratio: float = 0.0
    verdict: Verdict | None = None

    @property
    def text(self) -> str:
        """The text."""
        return self.row.text


@dataclass(frozen=True)
class Trial:
    """A row to generate.

    Attributes:
        key: which condition it is of.
        plan: what is generated.
        scored: whether KL and surprise are wanted.
        same_as: the key of a condition that is the same (an identity op is the baseline); then nothing is generated.
    """

    key: Hashable
    plan: Plan
    scored: bool = True
    same_as: Hashable = None


@dataclass(frozen=True)
class Batch:
    """Rows that are generated together: one seed, and the trials of one prompt or several."""

    seed: int
    trials: tuple[tuple[int, Trial], ...]
    """Each with the index of its prompt."""


@dataclass
class Trials:
    """Runs batches and keeps what is done.

    Attributes:
        lm: the model.
        prompts: the prompts, encoded.
        texts: their texts, as the judge gets them.
        sampling: the settings; each batch has its own seed.
        judge: who judges, or None.
        answers: what is done so far.
    """

    lm: LoadedModel
    prompts: Sequence[Prompt]
    texts: Sequence[str]
    sampling: Sampling
    judge: Judge | None
    answers: list[Answer] = field(default_factory=list)

    def run(
        self,
        batches: Iterable[Batch],
        stop: threading.Event,
        on_step: Callable[[int], None] | None = None,
    ) -> Iterator[Batch]:
        """Run the batches one by one; a stop leaves out the one that it interrupts.

        Args:
            batches: what to run.
            stop: set it to end within one token.
            on_step: called with the number of each step.
        """
        for batch in batches:
            if stop.is_set():
                return
            made = self._generate(batch, stop, on_step)
            if stop.is_set():
                return
            self.answers.extend(self._judged(batch.seed, made))
            yield batch

    def _generate(
        self, batch: Batch, stop: threading.Event, on_step: Callable[[int], None] | None
    ) -> list[tuple[int, Trial, Row]]:
        fresh = [(prompt, trial) for prompt, trial in batch.trials if trial.same_as is None]
        rows = generate_rows(
            self.lm,
            [trial.plan for _, trial in fresh],
            replace(self.sampling, seed=batch.seed),
            on_step=None if on_step is None else lambda step: on_step(step.index),
            stop=stop,
        )
        return [(prompt, trial, row) for (prompt, trial), row in zip(fresh, rows, strict=True)] + [
            (prompt, trial, row)
            for prompt, trial in batch.trials
            if trial.same_as is not None
            for (other_prompt, other), row in zip(fresh, rows, strict=True)
            if (other_prompt, other.key) == (prompt, trial.same_as)
        ]

    def _judged(self, seed: int, made: Sequence[tuple[int, Trial, Row]]) -> Iterator[Answer]:
        in_order = sorted(made, key=lambda each: each[0])
        for prompt, group in itertools.groupby(in_order, key=lambda each: each[0]):
            mine = list(group)
            texts = [row.text for _, _, row in mine]
            verdicts: Sequence[Verdict | None] = [None] * len(mine)
            if self.judge is not None:
                verdicts = judged(self.judge, self.texts[prompt], texts)
            scored = [i for i, (_, trial, _) in enumerate(mine) if trial.scored]
            scores = teacher_forced_together(
                self.lm,
                self.prompts[prompt],
                [mine[i][2].token_ids for i in scored],
                [mine[i][1].plan.recipe for i in scored],
                [mine[i][1].plan.prompt for i in scored],
            )
            by_index = dict(zip(scored, scores, strict=True))
            for i, (_, trial, row) in enumerate(mine):
                answer = Answer(trial.key, prompt, seed, row, distinct_2(row.token_ids), verdict=verdicts[i])
                if (found := by_index.get(i)) is not None and found.surprise:
                    mean = sum(found.surprise) / len(found.surprise)
                    answer = replace(answer, surprise=mean, kl=found.kl, ratio=found.ratio)
                yield answer


def checked_prompts(given: Any, call: str) -> list[PromptLike]:
    """Several prompts.

    Raises:
        TypeError: one text was given in place of a list, or something that is no prompt.
        ValueError: there is none.
    """
    if isinstance(given, str) or given is None:
        raise wrong(call, "a list of prompts", given, "one answer is an anecdote: prompts=[first, second, …]")
    if not isinstance(given, Iterable):
        raise wrong(call, "a list of prompts", given, 'give texts: prompts=["Tell me a story.", …]')
    listed = list(given)
    if listed and isinstance(listed[0], Mapping | Integral):
        raise wrong(call, "a list of prompts", listed, "one prompt was given alone: prompts=[prompt, …]")
    return several_prompts(listed)


def checked_seeds(given: Any, sampling: Sampling, call: str) -> tuple[int, ...]:
    """Seeds: so many from 0, or a list of them.

    Raises:
        TypeError: they are something else.
        ValueError: there is none, or one is there twice, or there are several of no noise.
    """
    meant = "give a number of seeds, 1 or more, or a list of whole numbers: seeds=2 or seeds=[3, 7]"
    several = isinstance(given, Iterable) and not isinstance(given, str)
    listed = list(given) if several else [given]
    if any(isinstance(each, bool) or not isinstance(each, Integral) for each in listed):
        raise wrong(call, "seeds", given, meant)
    seeds = tuple(int(each) for each in listed) if several else tuple(range(int(listed[0])))
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"{call} needs seeds, each once, but {shown(given)} was given; {meant}.")
    if len(seeds) > 1 and sampling.temperature == 0:
        raise ValueError(
            f"At temperature=0 all seeds give the same answer, and intervals would count it {len(seeds)} times; give "
            f"{call} one seed, or a temperature above 0."
        )
    return seeds


def text_of(lm: LoadedModel, prompt: PromptLike) -> str:
    """A prompt as a judge gets it: a text as it is, of messages the last one's words, token ids decoded."""
    given: Any = prompt
    if isinstance(given, str):
        return given
    items = list(given) if not isinstance(given, Mapping) else []
    if items and isinstance(items[-1], Mapping):
        return str(items[-1].get("content", ""))
    return str(lm.tokenizer.decode(lm.encode(prompt).token_ids, skip_special_tokens=True))


def unsteered(prompt: Prompt) -> Plan:
    """The baseline's plan."""
    return Plan(prompt, Recipe())


def by_prompt(answers: Iterable[Answer], value: Callable[[Answer], float]) -> dict[int, list[float]]:
    """Values of answers by their prompt."""
    found: dict[int, list[float]] = {}
    for answer in answers:
        found.setdefault(answer.prompt, []).append(value(answer))
    return found


def count_on_topic(answers: Iterable[Answer]) -> Count:
    """How many of the answers that were judged are on topic."""
    verdicts = [answer.verdict for answer in answers if answer.verdict is not None]
    return Count(sum(verdict.on_topic for verdict in verdicts), len(verdicts))
