"""Holds shipped strengths against a dose–response: is the suggested strength of a feature within its useful range?

`python -m embedded.concepts.check_strengths` runs `lm.dose` for some concepts and SAE features of the embedded model,
each judged by the probe of its concept, and prints the tables. A run that is done lies in `build/dictionaries/doses/`
as JSON and is not run again; a killed one loses the feature that it was at.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from embedded.share import scaled
from steerwidgets.dictionaries.cav.cav import CAV
from steerwidgets.dictionaries.sae.sae import SAE
from steerwidgets.dose.judges import Probe
from steerwidgets.model import LanguageModel

if TYPE_CHECKING:
    from steerwidgets.steering.recipe import Feature

WORK: Final = Path("build/dictionaries/doses")
CONCEPTS: Final = ("the sea and sailing", "music", "medicine and health")
SAE_FEATURES: Final = {3448: "outer space", 3630: "cooking and food"}
"""Features about a concept that has a probe."""

SHARES: Final = (-1.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
"""Of the suggested strength; clamps go from 0 up."""

PROMPTS: Final = (
    "Tell me about your weekend.",
    "What is on your mind today?",
    "Write the opening of a novel.",
    "Give me some advice for tomorrow.",
    "Write a diary entry.",
    "What are you looking forward to?",
)
HELD_BACK: Final = ("Tell me what happened yesterday.", "Write a message to an old friend.")


def main() -> None:
    """Run what is missing, and say where the suggested strength lies."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    lm = LanguageModel.demo()
    cavs, sae = CAV.demo(), SAE.demo()
    WORK.mkdir(parents=True, exist_ok=True)
    features: list[tuple[Feature, str]] = [(cavs[concept], concept) for concept in CONCEPTS]
    features += [(sae[index], concept) for index, concept in SAE_FEATURES.items()]
    for feature, concept in features:
        found = _dose(lm, feature, concept)
        sys.stdout.write(f"{_verdict(feature, found)}\n")
        sys.stdout.flush()


def _dose(lm: LanguageModel, feature: Feature, concept: str) -> dict[str, Any]:
    path = WORK / f"{feature.kind}-{feature.index}.json"
    if not path.exists():
        op, suggested = _suggested(feature)
        shares = [share for share in SHARES if share > 0 or op == "add"]
        dose = lm.dose(
            getattr(feature, op),
            [round(share * suggested, 1) for share in shares],
            prompts=PROMPTS,
            hold_back=HELD_BACK,
            judge=Probe.demo(lm, concept),
            seeds=scaled(2),
            asked=f"Talk about {concept}.",
        )
        dose.iso_kl(1.0)
        dose.save(path)
        sys.stdout.write(f"{dose}\niso-KL dose 1: {dose.iso_kl(1.0)}\n")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _suggested(feature: Feature) -> tuple[str, float]:
    assert feature.suggested is not None
    op, numbers = feature.suggested
    return op, next(iter(numbers.values()))


def _verdict(feature: Feature, found: dict[str, Any]) -> str:
    _, suggested = _suggested(feature)
    useful = found["useful"]
    said = "no useful strength" if useful is None else f"useful {useful[0]:g} to {useful[1]:g}"
    agrees = useful is not None and useful[0] <= suggested <= useful[1]
    return f"{found['label']}: suggested {suggested:g}, {said}: {'within' if agrees else 'NOT within'}"


if __name__ == "__main__":
    main()
