"""Checks of a few answers: what a concept does at four strengths, and in which block; judged by what it never saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dose.by_block import BlockRun
from steerwidgets.dose.judges import Judge, Probe, own_judges
from steerwidgets.dose.run import DoseRun
from steerwidgets.files.shown import shown

if TYPE_CHECKING:
    from steerwidgets.concepts.concept import Concept
    from steerwidgets.concepts.training import ConceptTraining
    from steerwidgets.model import LanguageModel
    from steerwidgets.steering.recipe import Direction

PROMPTS: Final = ("Tell me about your weekend.", "What is on your mind today?", "Write a diary entry.")
"""Everyday prompts, about nothing in particular."""

_SHARES: Final = (0.1, 0.2, 0.3, 0.45)
"""Of ‖h‖, the strengths that are tried."""
_TOKENS: Final = 48
_SEEDS: Final = 2
"""Of the check of all blocks: six answers of each."""
_LEAST_JUDGED: Final = 4
"""Held-out texts of either list that a judge can be made from."""


def dose_run(lm: LanguageModel, feature: Direction, training: ConceptTraining | None) -> DoseRun:
    """The run of a check.

    Args:
        lm: the model.
        feature: the concept.
        training: what it came of, whose held-out texts make the judge; None where it was loaded.

    Raises:
        ValueError: nothing can judge.
    """
    norms = [lm.residuals(lm.encode(each), [feature.site]).median_norms() for each in PROMPTS]
    norm = sum(each[feature.site] for each in norms) / len(norms) / feature.norm
    strengths = [float(f"{share * norm:.2g}") for share in _SHARES]
    settings: dict[str, Any] = {"hold_back": 0, "random": 4, "baseline_seeds": 4}
    layers, at = lm.architecture.layers, feature.site.layer
    apart = max(layers // 6, 1)
    judge = _judge(lm, feature.label, training, at + apart if at + apart < layers else at - apart)
    return DoseRun(lm, feature.add, strengths, PROMPTS, judge=judge, settings={"max_new_tokens": _TOKENS}, **settings)


def block_run(lm: LanguageModel, concept: Concept, training: ConceptTraining | None) -> BlockRun:
    """The run over all blocks of a concept, with one judge for all: a probe at two thirds of the model.

    Args:
        lm: the model.
        concept: what was trained.
        training: what it came of.

    Raises:
        ValueError: nothing can judge.
    """
    judge = _judge(lm, concept.name, training, lm.architecture.layers * 2 // 3)
    settings = {"max_new_tokens": _TOKENS}
    return BlockRun(lm, concept.features, prompts=PROMPTS, judge=judge, seeds=_SEEDS, settings=settings)


def _judge(lm: LanguageModel, label: str, training: ConceptTraining | None, layer: int) -> Judge:
    """A probe of a block from the held-out texts, which no direction has seen; or the name's words."""
    if training is not None and lm.architecture.layers > 1:
        sides = [training.held_out(positive=side) for side in (True, False)]
        if min(map(len, sides)) >= _LEAST_JUDGED:
            return Probe.fit(lm, *sides, layer=layer, label=label)
    judges = own_judges(lm, label)
    if not judges:
        raise ValueError(
            f"Nothing can judge whether an answer is about {shown(label)}: {_LEAST_JUDGED} held-out texts of "
            "either list would make a probe, or give the concept a name of words."
        )
    return judges[0]
