"""Which of the embedded SAE's features show in a text when the model is steered with them: one answer of each.

`python -m embedded.labelling.screen_features` steers with every feature that fires often enough to be judged and
seldom enough to mean something, on a prompt that no later test uses, and writes how sure the feature's probe is of the
answer. Features that fire are often not the ones that steer (Arad et al. 2025, arXiv 2505.20063), so what is worth
labelling for its steering is found by steering.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from tqdm import tqdm

from embedded.features.sampled_activations import WORK, SampledActivations
from embedded.labelling.label_sheets import candidates
from embedded.labelling.sae_steering import Answers, answers
from embedded.labelling.topic_probe import Windows
from embedded.share import scaled

if TYPE_CHECKING:
    from steerwidgets.dictionaries.sae.sae import SAE
    from steerwidgets.model import LanguageModel

PROMPT: Final = "Write a paragraph about anything you like."
STRENGTH: Final = 75.0
SCREENED: Final = WORK / "screened.json"
_CHUNK: Final = 480


def screen(lm: LanguageModel, sae: SAE, windows: Windows, features: list[int]) -> dict[int, dict[str, Any]]:
    """Each feature's probe's word on one answer.

    Returns:
        For each feature `sure`, the probe's probability; `threshold`, what one in twenty unsteered answers exceed;
        whether the answer is `fluent`; and its `text`.
    """
    baseline = answers(lm, [None], [PROMPT], range(2, 22))[0]
    plain = answers(lm, [None], [PROMPT], [1, 22, 23])[0]
    seen: dict[int, dict[str, Any]] = {}
    for first in tqdm(range(0, len(features), _CHUNK), unit="chunk"):
        chunk = features[first : first + _CHUNK]
        for feature, found in zip(
            chunk, answers(lm, [sae[i].clamp(STRENGTH) for i in chunk], [PROMPT], [1]), strict=True
        ):
            seen[feature] = _judged(windows, feature, found, baseline, plain)
        SCREENED.write_text(json.dumps(seen, indent=0, ensure_ascii=False), encoding="utf-8")
    return seen


def _judged(windows: Windows, feature: int, found: Answers, baseline: Answers, plain: Answers) -> dict[str, Any]:
    probe = windows.probe(feature, baseline.vectors)
    sure = float(probe.fitted.predict_proba(np.asarray(found.vectors))[0, 1])
    return {
        "sure": round(sure, 4),
        "threshold": round(probe.threshold, 4),
        "fluent": found.fluent(plain),
        "text": found.texts[0],
    }


def main() -> None:
    """Screen all candidates."""
    import torch

    from steerwidgets.dictionaries.sae.sae import SAE
    from steerwidgets.model import LanguageModel

    lm, sae = LanguageModel.demo(), SAE.demo()
    lm.model.to(torch.bfloat16)
    lm.model.set_attn_implementation("eager")
    train, heldout = (SampledActivations.load(WORK / "sampled" / f"{part}.npz") for part in ("train", "heldout"))
    features = candidates(train, heldout, count=scaled(sae.size, 24))
    seen = screen(lm, sae, Windows(lm, train), features)
    shown = sum(entry["sure"] > entry["threshold"] and entry["fluent"] for entry in seen.values())
    print(f"{shown} of {len(seen)} features show in a fluent answer: {Path(SCREENED)}")


if __name__ == "__main__":
    main()
