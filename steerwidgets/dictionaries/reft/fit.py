"""Trains ReFT-r1 concepts from examples, and measures how well they detect."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict

from steerwidgets.dictionaries.cav.directions import auroc
from steerwidgets.dictionaries.pooling import pooled
from steerwidgets.dictionaries.reft.trainer import Progress, Row, Settings, Trainer
from steerwidgets.transformer import prompts
from steerwidgets.transformer.prompts import Prompt

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.sites import Site

AXBENCH: Final = Settings()

Example = str | tuple[str, str] | Prompt
"""A text, every token of which is learned; a prompt and an answer, which is learned; or either encoded."""


@dataclass(frozen=True)
class ReFTReport:
    """How a concept was trained and how well it detects.

    Attributes:
        history: every step of this run, steps before a resumption left out.
        steps: steps in all.
        finished: False where it was stopped early.
        auroc: of the largest activation in each held-out text; NaN where nothing was held out.
        held_out: held-out examples with the concept and without.
    """

    history: tuple[Progress, ...]
    steps: int
    finished: bool
    auroc: float
    held_out: tuple[int, int]


@dataclass(frozen=True)
class FittedConcept:
    """What a training gives.

    Attributes:
        direction: float32 [d_model].
        largest: its largest activation over the examples that it was trained on.
        examples: how many these were.
        provenance: from what and how.
        report: how the training went and how well the concept detects.
    """

    direction: Tensor
    largest: float
    examples: int
    provenance: dict[str, str]
    report: ReFTReport


class FitOptions(TypedDict, total=False):
    """The options of `fit`, each with its default there.

    Attributes:
        settings: AxBench's settings of the training, or others.
        held_out: the share of both sides that is kept to measure detection, 0.2 by default; 0 trains on all.
        state: a file that keeps the training after every step, from which it goes on where it exists already.
        on_step: called after every step.
        stop: set it to end after the step that runs; what is learned by then is returned.
    """

    settings: Settings
    held_out: float
    state: str | Path | None
    on_step: Callable[[Progress], None] | None
    stop: threading.Event | None


def fit(
    lm: LoadedModel,
    positives: Sequence[Example],
    negatives: Sequence[Example],
    *,
    site: Site,
    settings: Settings = AXBENCH,
    held_out: float = 0.2,
    state: str | Path | None = None,
    on_step: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
) -> FittedConcept:
    """Train one concept.

    Args:
        lm: the model; its weights stay as they are.
        positives: examples with the concept.
        negatives: examples without it, on which the direction learns to stay silent.
        site: where it lives.
        settings: as AxBench's.
        held_out: the share of both sides that is kept to measure detection; 0 trains on all.
        state: a file in which the training is kept after every step; where it exists already, training goes on from
            it. It can be deleted once training is finished.
        on_step: called after every step.
        stop: set it to end after the step that runs; what is learned by then is returned.

    Raises:
        ValueError: an example or setting can't be used, the site can't be steered, or the state is of another training.
    """
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out is a share of the examples from 0 to below 1, but {held_out!r} was given.")
    if not lm.architecture.hookpoint(site).writable:
        raise ValueError(f"{site} can be read but not steered, so no concept can be trained there; take resid_post.")
    lm.architecture.refuse_compiled()
    lm.architecture.refuse_training()
    sides = [
        [example_row(lm, example, settings.max_tokens, positive=side is positives) for example in side]
        for side in (positives, negatives)
    ]
    parts = [_split(side, held_out, settings.seed) for side in sides]
    training = [row for train, _ in parts for row in train]
    if not parts[0][0]:
        raise ValueError("ReFT.fit learns from examples with the concept, but none was given or left to train on.")
    trainer = Trainer(lm, site, training, settings, Path(state) if state is not None else None)
    history = list(trainer.run(on_step, stop))
    tests = [[row.prompt for row in test] for _, test in parts]
    scores = [detection(lm, test, site, trainer.direction) for test in tests]
    report = ReFTReport(tuple(history), trainer.steps, trainer.done, auroc(*scores), (len(tests[0]), len(tests[1])))
    largest = float(detection(lm, [row.prompt for row in parts[0][0]], site, trainer.direction).max())
    return FittedConcept(
        trainer.direction, largest, len(training), _provenance(lm, trainer, report, len(training)), report
    )


def _provenance(lm: LoadedModel, trainer: Trainer, report: ReFTReport, examples: int) -> dict[str, str]:
    return {
        "model": lm.architecture.name,
        "made by": "ReFT.fit",
        "examples": f"{examples} trained on, {report.held_out[0]} + {report.held_out[1]} held out",
        "steps": f"{trainer.step} of {trainer.steps}",
        "held out": f"AUROC {report.auroc:.3f}" if not math.isnan(report.auroc) else "none",
        "dtype": lm.provenance["dtype"],
    }


def detection(lm: LoadedModel, texts: Sequence[Prompt], site: Site, direction: Tensor) -> Tensor:
    """The largest `relu(h·v)` of each text over its own words, as AxBench scores a text: float32 [text]."""
    import torch

    if not texts:
        return torch.zeros(0)
    return pooled(lm, texts, site, lambda words: (words @ direction).max().relu())


def example_row(lm: LoadedModel, example: Example, max_tokens: int, *, positive: bool) -> Row:
    """An example as ids, and which of them the model learns: all of a text, or the answer to a prompt."""
    if isinstance(example, Prompt):
        prompt, learned = example, list(example.own)
    elif isinstance(example, str):
        prompt = prompts.encode(lm.tokenizer, example, chat=False)
        learned = [not special for special in prompt.special]
    else:
        asked, answered = example
        turns = [{"role": "user", "content": asked}]
        start = len(prompts.encode(lm.tokenizer, turns, chat=True))
        prompt = prompts.encode(lm.tokenizer, [*turns, {"role": "assistant", "content": answered}], chat=True)
        learned = [i >= start and not template for i, template in enumerate(prompt.template)]
    kept = prompt.cut(max_tokens)
    if not any(learned[1 : len(kept)]):
        raise ValueError(f"The example {example!r} has no token to learn within max_tokens={max_tokens}; give another.")
    return Row(kept, tuple(learned[: len(kept)]), positive)


def _split(rows: Sequence[Row], held_out: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Trained on, and held out; each in the order given."""
    import torch

    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    count = min(max(round(held_out * len(rows)), 1), max(len(rows) - 1, 0)) if held_out else 0
    tested = set(order[:count])
    return [row for i, row in enumerate(rows) if i not in tested], [rows[i] for i in sorted(tested)]
