"""Prompts × conditions: the same prompts under several conditions, counted with intervals."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dose.judges import Judge, checked_judge, judge_name
from steerwidgets.dose.rows import number, percent
from steerwidgets.dose.statistics import Count, Mean, mean_over_prompts, percentile_95
from steerwidgets.dose.trials import (
    Answer,
    Batch,
    Trial,
    Trials,
    by_prompt,
    checked_prompts,
    checked_seeds,
    count_on_topic,
    text_of,
)
from steerwidgets.generation.conditions import Condition, plan
from steerwidgets.generation.sampling import Sampling
from steerwidgets.steering.hooks import check_fits
from steerwidgets.transformer.mistakes import wrong
from steerwidgets.transformer.plain_text import table

if TYPE_CHECKING:
    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import PromptLike

_CALL = "lm.table"
_LEGEND: Final = (
    "surprise: nats a token, to the model without steering; distinct-2: the share of token pairs that are no repeats;\n"
    "KL p95: how far next tokens are from the baseline's, in nats; one in twenty is further"
)


@dataclass(frozen=True)
class ConditionRow:
    """One condition over all prompts and seeds.

    Attributes:
        name: what it was called.
        on_topic: answers on topic, of how many; `.interval` is Wilson's. None without a judge.
        surprise: mean −log p of the answers' tokens under the unsteered model after the plain prompt, nats.
        distinct_2: the share of distinct pairs of neighbouring tokens.
        kl_p95: the 95th percentile over all tokens of KL(this condition ‖ unsteered after the plain prompt), nats.
        by_prompt: likewise on topic for each prompt.
    """

    name: str
    on_topic: Count | None
    surprise: Mean
    distinct_2: Mean
    kl_p95: float
    by_prompt: tuple[Count, ...]


@dataclass(frozen=True, repr=False)
class ConditionTable:
    """Prompts × conditions, all conditions of a prompt in one batch with the same noise.

    `lm.table` makes it; it prints as a table.

    Attributes:
        prompts: their texts.
        seeds: of the noise.
        judge: who judged; empty without a judge.
        rows: one for each condition, with intervals over prompts.
        answers: every text with its scores.
        stopped: whether it was stopped before its end.

    Example:
        >>> conditions = {"baseline": None, "sea": cavs["the sea"].add(4), "asked": sw.Asked("Talk about the sea.")}
        >>> found = lm.table(["Name a city.", "Tell me a story."], conditions, max_new_tokens=4)
        >>> [row.name for row in found.rows], len(found.of("sea"))
        (['baseline', 'sea', 'asked'], 2)
    """

    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    judge: str
    rows: tuple[ConditionRow, ...]
    answers: tuple[Answer, ...]
    stopped: bool

    def of(self, condition: str, prompt: int | None = None) -> list[Answer]:
        """The answers of a condition.

        Args:
            condition: its name.
            prompt: the index of a prompt; by default all of them.

        Returns:
            The answers.

        Example:
            >>> found = lm.table(["Name a city."], {"baseline": None}, max_new_tokens=4)
            >>> len(found.of("baseline")[0].row.token_ids)
            4
        """
        return [a for a in self.answers if a.key == condition and prompt in (None, a.prompt)]

    def __repr__(self) -> str:
        judged = bool(self.judge)
        headers = ["condition", *(["on topic", "95 %"] if judged else []), "surprise", "distinct-2", "KL p95"]
        cells = [
            [
                row.name,
                *([str(row.on_topic), percent(row.on_topic.interval)] if judged and row.on_topic else []),
                _with_interval(row.surprise),
                _with_interval(row.distinct_2),
                number(row.kl_p95),
            ]
            for row in self.rows
        ]
        said = f"{len(self.prompts)} prompts × {len(self.seeds)} seeds" + (
            f", judged by {self.judge}" if judged else ""
        )
        lines = [said + (", stopped" if self.stopped else ""), table(headers, cells)]
        if judged:
            of_prompts = [
                [text, *(f"{row.by_prompt[i].k}/{row.by_prompt[i].n}" for row in self.rows)]
                for i, text in enumerate(self.prompts)
            ]
            lines.append(table(["prompt", *(row.name for row in self.rows)], of_prompts))
        return "\n".join([*lines, _LEGEND])


def condition_table(
    lm: LoadedModel,
    prompts: Sequence[PromptLike],
    conditions: Mapping[str, Condition],
    *,
    judge: Judge | None = None,
    seeds: int | Sequence[int] = 1,
    chat: bool | None = None,
    template: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> ConditionTable:
    """Answer every prompt under every condition.

    Raises:
        ValueError: there is no prompt or condition, or a setting is out of range.
        TypeError: something is of another kind.
    """
    given: Any = conditions
    if not isinstance(given, Mapping):
        told = 'name each: {"baseline": None, "sea": feature.add(40)}'
        raise wrong(_CALL, "conditions by name", given, told)
    if not given:
        raise ValueError('lm.table needs at least one condition, such as {"baseline": None, "sea": feature.add(40)}.')
    chosen: dict[str, Any] = {"max_new_tokens": 48, **(settings or {})}
    if "seed" in chosen:
        raise ValueError("lm.table takes seeds=, so many of them or a list, and no seed=.")
    listed = checked_prompts(prompts, _CALL)
    sampling = Sampling.of(chosen)
    all_seeds = checked_seeds(seeds, sampling, _CALL)
    judging = None if judge is None else checked_judge(judge, _CALL)
    named = {str(name): condition for name, condition in given.items()}
    encoded = [lm.encode(each, chat=chat, **dict(template or {})) for each in listed]
    plans = [
        tuple((i, Trial(name, plan(lm, each, wanted, chat=chat, template=template))) for name, wanted in named.items())
        for i, each in enumerate(listed)
    ]
    for _, trial in itertools.chain(*plans):
        check_fits(lm.architecture, trial.plan.recipe, lm.known([trial.plan.prompt]))
    trials = Trials(lm, encoded, [text_of(lm, each) for each in listed], sampling, judging)
    batches = [Batch(seed, rows) for seed in all_seeds for rows in plans]
    total = sum(len(batch.trials) for batch in batches)
    stop = stop or threading.Event()
    stopped = False
    try:
        for _ in trials.run(batches, stop):
            if on_progress is not None:
                on_progress(len(trials.answers), total)
    except KeyboardInterrupt:
        if not trials.answers:
            raise
        stopped = True
    answers = tuple(trials.answers)
    rows = tuple(_row(name, answers, len(listed), judged=judging is not None) for name in named)
    name = "" if judging is None else judge_name(judging)
    return ConditionTable(tuple(trials.texts), all_seeds, name, rows, answers, stopped or len(answers) < total)


def _row(name: str, answers: Sequence[Answer], prompts: int, *, judged: bool) -> ConditionRow:
    mine = [answer for answer in answers if answer.key == name]
    of_prompts = [[answer for answer in mine if answer.prompt == i] for i in range(prompts)]
    return ConditionRow(
        name,
        count_on_topic(mine) if judged else None,
        mean_over_prompts(by_prompt(mine, lambda answer: answer.surprise)),
        mean_over_prompts(by_prompt(mine, lambda answer: answer.distinct_2)),
        percentile_95([kl for answer in mine for kl in answer.kl]),
        tuple(map(count_on_topic, of_prompts)) if judged else (),
    )


def _with_interval(mean: Mean) -> str:
    said = number(mean.value)
    return said if math.isnan(mean.low) else f"{said} ({mean.low:.2f}–{mean.high:.2f})"
