"""One concept steered in each of several blocks: where its direction brings answers on topic, beside random ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dose.judges import Judge, Probe, checked_judge, judge_name, own_judges
from steerwidgets.dose.rows import BASELINE, number, percent
from steerwidgets.dose.statistics import Count, Mean, mean_over_prompts
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
    unsteered,
)
from steerwidgets.files.shown import shown
from steerwidgets.generation.rows import Plan
from steerwidgets.generation.sampling import Sampling
from steerwidgets.steering.hooks import check_fits
from steerwidgets.steering.recipe import Direction, Recipe
from steerwidgets.transformer.mistakes import wrong
from steerwidgets.transformer.plain_text import table

if TYPE_CHECKING:
    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import PromptLike

RATIO: Final = 0.3
"""Of ‖h‖: of most directions a strength that shows and leaves the text whole."""

_CALL: Final = "lm.dose_by_block"
_MEANT: Final = "give the directions of one concept in several blocks, as concept.features of lm.concept"


@dataclass(frozen=True)
class BlockRow:
    """One block.

    Attributes:
        layer: the block.
        on_topic: steered answers on topic, of how many; `.interval` is Wilson's.
        random: likewise with a random direction whose change is as long.
        surprise: mean −log p of the steered answers' tokens under the unsteered model, nats.
    """

    layer: int
    on_topic: Count
    random: Count
    surprise: Mean


@dataclass(frozen=True, repr=False)
class BlockTable:
    """One concept steered in several blocks, each with the same share of ‖h‖; all blocks of a prompt in one batch.

    `lm.dose_by_block` makes it; it prints as a table.

    Attributes:
        label: what was steered.
        ratio: how long the change is at every position, as a share of ‖h‖.
        rows: the blocks, in their order.
        baseline: unsteered answers on topic.
        baseline_surprise: of their tokens, mean −log p, nats.
        judge: who judged.
        left_out: blocks that were not tried, since the judge reads them itself.
        prompts: their texts.
        seeds: of the noise.
        answers: every text.
        stopped: whether it was stopped before its end.

    Example:
        >>> found = lm.concept(["the sea", "a ship"], ["the user", "a system"], name="ship")
        >>> table = lm.dose_by_block(found.features, prompts=["Name a city."], max_new_tokens=4)
        >>> [row.layer for row in table.rows]
        [0, 1, 2, 3]
    """

    label: str
    ratio: float
    rows: tuple[BlockRow, ...]
    baseline: Count
    baseline_surprise: Mean
    judge: str
    left_out: tuple[int, ...]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    answers: tuple[Answer, ...]
    stopped: bool

    @property
    def random(self) -> Count:
        """Random directions of all blocks together."""
        return Count(sum(row.random.k for row in self.rows), sum(row.random.n for row in self.rows))

    @property
    def best(self) -> int | None:
        """The block with the most answers on topic, of equal ones that of the least surprise.

        None where no block's interval lies above those of the baseline and of the random directions together: then
        which one is highest tells nothing.
        """
        chance = max(each.interval[1] for each in (self.baseline, self.random) if each.n or each is self.baseline)
        above = [row for row in self.rows if row.on_topic.interval[0] > chance]
        best = max(above, key=lambda row: (row.on_topic.share, -row.surprise.value), default=None)
        return None if best is None else best.layer

    def __repr__(self) -> str:
        best = self.best
        rows = [
            [
                row.layer,
                str(row.on_topic),
                percent(row.on_topic.interval),
                str(row.random),
                number(row.surprise.value),
                "best" if row.layer == best else "",
            ]
            for row in self.rows
        ]
        said = [
            f"{self.label} · add_relative({self.ratio:g}): {len(self.prompts)} prompts × {len(self.seeds)} seeds, "
            f"judged by {self.judge}" + (", stopped" if self.stopped else ""),
            table(["block", "on topic", "95 %", "random", "surprise", ""], rows),
            f"baseline {self.baseline} on topic, surprise {number(self.baseline_surprise.value)}",
            f"random directions of all blocks {self.random}",
        ]
        if self.left_out:
            said.append(f"left out, since the judge reads it: block {', '.join(map(str, self.left_out))}")
        return "\n".join(said)


class BlockRun:
    """Checks what was asked for, runs a batch for each prompt and seed, and gives what is known after each.

    Args:
        lm: the model.
        features: directions, each in a block of its own.
        ratio: how long the change is, as a share of ‖h‖.
        prompts: what to answer.
        judge: who says what is on topic; by default what comes with the package for the label.
        seeds: how many seeds of noise, or which.
        settings: how to sample, without `seed`.

    Raises:
        ValueError: something is out of range.
        TypeError: something is of another kind.
    """

    def __init__(
        self,
        lm: LoadedModel,
        features: Sequence[Direction],
        ratio: float = RATIO,
        *,
        prompts: Sequence[PromptLike],
        judge: Judge | None = None,
        seeds: int | Sequence[int] = 1,
        chat: bool | None = None,
        template: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        chosen: dict[str, Any] = {"max_new_tokens": 48, **(settings or {})}
        if "seed" in chosen:
            raise ValueError(f"{_CALL} takes seeds=, so many of them or a list, and no seed=.")
        several = _checked(features)
        self._label, self._ratio = several[0].label, ratio
        self._judge = _judge(lm, self._label, judge)
        reads = self._judge.site.layer if isinstance(self._judge, Probe) else None
        self._left_out = tuple(each.site.layer for each in several if each.site.layer == reads)
        self._recipes = {
            each.site.layer: Recipe.of(each.add_relative(ratio)) for each in several if each.site.layer != reads
        }
        if not self._recipes:
            raise ValueError(
                f"The judge, a {judge_name(self._judge)}, reads the only block that there is to try; give another one."
            )
        listed = checked_prompts(prompts, _CALL)
        sampling = Sampling.of(chosen)
        self._seeds = checked_seeds(seeds, sampling, _CALL)
        encoded = [lm.encode(each, chat=chat, **dict(template or {})) for each in listed]
        for recipe in self._recipes.values():
            for each in encoded:
                check_fits(lm.architecture, recipe, lm.known([each]))
        self._trials = Trials(lm, encoded, [text_of(lm, each) for each in listed], sampling, self._judge)
        self._batches = [self._batch(seed, index) for seed in self._seeds for index in range(len(listed))]

    @property
    def total(self) -> int:
        """How many answers there will be."""
        return sum(len(batch.trials) for batch in self._batches)

    @property
    def done(self) -> int:
        """How many there are."""
        return len(self._trials.answers)

    def done_at(self, step: int) -> int:
        """How many there are, those counted that a batch is at a step of, each by its share."""
        return self.done + len(self._batches[0].trials) * (step + 1) // (self._trials.sampling.max_new_tokens + 1)

    def run(
        self, stop: threading.Event | None = None, on_step: Callable[[int], None] | None = None
    ) -> Iterator[BlockTable]:
        """Run batch by batch; what is known after each. A stop, or Ctrl-C, keeps what is done.

        Args:
            stop: set it to end within one token.
            on_step: called with the number of each step of a batch.
        """
        try:
            for _ in self._trials.run(self._batches, stop or threading.Event(), on_step):
                yield self.result
        except KeyboardInterrupt:
            if not self._trials.answers:
                raise

    @property
    def result(self) -> BlockTable:
        """What is known so far."""
        answers = self._trials.answers
        baseline = [each for each in answers if each.key == BASELINE]
        return BlockTable(
            self._label,
            self._ratio,
            tuple(self._row(layer) for layer in self._recipes),
            count_on_topic(baseline),
            _surprise(baseline),
            judge_name(self._judge),
            self._left_out,
            tuple(self._trials.texts),
            self._seeds,
            tuple(answers),
            self.done < self.total,
        )

    def _row(self, layer: int) -> BlockRow:
        steered, by_chance = (
            [each for each in self._trials.answers if each.key == (kind, layer)] for kind in ("steered", "random")
        )
        return BlockRow(layer, count_on_topic(steered), count_on_topic(by_chance), _surprise(steered))

    def _batch(self, seed: int, index: int) -> Batch:
        prompt = self._trials.prompts[index]
        turn = self._seeds.index(seed) * len(self._trials.prompts) + index
        trials = [Trial(BASELINE, unsteered(prompt))]
        for layer, recipe in self._recipes.items():
            trials.append(Trial(("steered", layer), Plan(prompt, recipe)))
            by_chance = Plan(prompt, recipe.random_direction(turn))
            trials.append(Trial(("random", layer), by_chance, scored=False))
        return Batch(seed, tuple((index, trial) for trial in trials))


def _checked(features: Any) -> list[Direction]:
    if isinstance(features, str | Direction) or not isinstance(features, Sequence):
        raise wrong(_CALL, "several directions", features, _MEANT)
    several = list(features)
    if strange := [each for each in several if not isinstance(each, Direction)]:
        raise wrong(_CALL, "directions", strange[0], _MEANT)
    layers = [each.site.layer for each in several]
    if not several or len(set(layers)) < len(layers):
        told = f"the blocks {', '.join(map(str, layers))} were" if layers else "nothing was"
        raise ValueError(f"{_CALL} takes directions of different blocks, each once, but {told} given; {_MEANT}.")
    return sorted(several, key=lambda each: each.site.layer)


def _judge(lm: LoadedModel, label: str, judge: Judge | None) -> Judge:
    if judge is not None:
        return checked_judge(judge, _CALL)
    own = own_judges(lm, label)
    if not own:
        raise ValueError(
            f"Nothing says what answers under {shown(label)} should be about, so nothing can judge them; give "
            'judge=sw.Words(["sea", "sail"]), a sw.Probe, or judge(prompt, text) -> 0 to 1.'
        )
    return own[0]


def _surprise(answers: Sequence[Answer]) -> Mean:
    return mean_over_prompts(by_prompt(answers, lambda answer: answer.surprise))
