"""A dose check of a few answers: what a concept does at four strengths, judged by what it was not made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dose.judges import Probe, own_judges
from steerwidgets.dose.run import DoseRun
from steerwidgets.files.shown import shown

if TYPE_CHECKING:
    from steerwidgets.concepts.training import ConceptTraining
    from steerwidgets.model import LanguageModel
    from steerwidgets.steering.recipe import Direction

PROMPTS: Final = ("Tell me about your weekend.", "What is on your mind today?", "Write a diary entry.")
"""Everyday prompts, about nothing in particular."""

_SHARES: Final = (0.1, 0.2, 0.3, 0.45)
"""Of ‖h‖, the strengths that are tried."""
_TOKENS: Final = 48
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
    judge = _judge(lm, feature, training)
    return DoseRun(lm, feature.add, strengths, PROMPTS, judge=judge, settings={"max_new_tokens": _TOKENS}, **settings)


def _judge(lm: LanguageModel, feature: Direction, training: ConceptTraining | None) -> Any:
    """A probe of another block from the held-out texts, which the direction has not seen; or the name's words."""
    layers, at = lm.architecture.layers, feature.site.layer
    if training is not None and layers > 1:
        sides = [training.held_out(positive=side) for side in (True, False)]
        if min(map(len, sides)) >= _LEAST_JUDGED:
            apart = max(layers // 6, 1)
            return Probe.fit(lm, *sides, layer=at + apart if at + apart < layers else at - apart, label=feature.label)
    judges = own_judges(lm, feature.label)
    if not judges:
        raise ValueError(
            f"Nothing can judge whether an answer is about {shown(feature.label)}: {_LEAST_JUDGED} held-out texts of "
            "either list would make a probe, or give the concept a name of words."
        )
    return judges[0]
