"""Which of the embedded SAE's labelled features steer the chat model, at which strength, and where the text breaks.

`python -m embedded.labelling.sae_steering` tries every labelled feature whose labeller expected to see it in text,
and every one that showed in the one answer of `screen_features`. On four prompts each is clamped at several values; the
value with most answers on its topic is kept, among those whose answers stay fluent (distinct-2) and likely (surprise
under the unsteered model within twice the baseline's range). A feature is marked where at least three of those four
answers are on its topic. Then, on other prompts and seeds, marked features are compared with the unsteered model, with
a random direction and a random other feature of the same norm. Probes judge (`topic_probe`). The model runs in
bfloat16. Every feature that was tried is in the report.
"""

from __future__ import annotations

import hashlib
import json
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from tqdm import tqdm

from embedded import SHIPPED
from embedded.concepts.steering_cavs import distinct_2
from embedded.features.sampled_activations import WORK, Array, SampledActivations
from embedded.labelling.label_sheets import screened, showing, written_labels
from embedded.labelling.topic_probe import Probe, Windows, mean_residuals
from embedded.share import scaled
from steerwidgets.steering.divergence import surprises
from steerwidgets.steering.recipe import Recipe

if TYPE_CHECKING:
    from steerwidgets.dictionaries.sae.sae import SAE
    from steerwidgets.model import LanguageModel
    from steerwidgets.steering.recipe import Steer

STRENGTHS: Final = (50.0, 65.0, 80.0, 100.0)
CHOOSING: Final = (
    "Write a short story.",
    "Describe a place you like.",
    "Tell me something interesting.",
    "Describe a typical day.",
)
TESTING: Final = (
    "What is on your mind today?",
    "Give me some advice for tomorrow.",
    "What did you do this morning?",
    "How are you feeling today?",
    "Write a message to an old friend.",
)
TEST_SEEDS: Final = (31, 32)
TOKENS: Final = 32
_ROWS: Final = 48
ANSWERED: Final = WORK / "answers"
REPORT: Final = SHIPPED / "sae_steering.json"


@dataclass(frozen=True)
class Answers:
    """Answers to several prompts, with what is needed to judge them.

    Attributes:
        texts: the texts.
        vectors: float [text, d_model], their mean residuals, read without steering.
        distinct_2: each one's share of distinct pairs of tokens.
        surprise: each one's mean of -log p under the unsteered model, nats.
    """

    texts: list[str]
    vectors: Array
    distinct_2: list[float]
    surprise: list[float]

    def fluent(self, plain: Answers) -> bool:
        """Whether the median answer is as fluent as it has to be, beside the unsteered ones."""
        likely = statistics.median(self.surprise) <= 2 * max(plain.surprise)
        return likely and statistics.median(self.distinct_2) >= 0.75 * statistics.median(plain.distinct_2)


@dataclass(frozen=True)
class _Answer:
    """One answer: its text, its tokens, and the mean of -log p of these under the unsteered model, nats."""

    text: str
    token_ids: list[int]
    surprise: float


def answers(
    lm: LanguageModel, recipes: Sequence[Recipe | Steer | None], prompts: Sequence[str], seeds: Sequence[int]
) -> list[Answers]:
    """The answers of each recipe to all prompts with all seeds; all recipes share the noise of a prompt and seed.

    Every batch is kept in a file, so that a run that was ended goes on where it was.
    """
    collected: list[list[_Answer]] = [[] for _ in recipes]
    asked = [(prompt, seed, first) for prompt in prompts for seed in seeds for first in range(0, len(recipes), _ROWS)]
    for prompt, seed, first in tqdm(asked, unit="batch"):
        for offset, answer in enumerate(_batch(lm, recipes[first : first + _ROWS], prompt, seed)):
            collected[first + offset].append(answer)
    vectors = mean_residuals(lm, [answer.token_ids for found in collected for answer in found])
    return [
        Answers(
            [answer.text for answer in found],
            read,
            [distinct_2(answer.token_ids) for answer in found],
            [answer.surprise for answer in found],
        )
        for found, read in zip(collected, np.split(vectors, len(collected)), strict=True)
    ]


def _batch(lm: LanguageModel, recipes: Sequence[Recipe | Steer | None], prompt: str, seed: int) -> list[_Answer]:
    what = json.dumps([[Recipe.of(each).fingerprint for each in recipes], prompt, seed, TOKENS, str(lm.model.dtype)])
    kept = ANSWERED / f"{hashlib.sha256(what.encode()).hexdigest()[:24]}.json"
    if not kept.exists():
        rows = lm.sweep(prompt, recipes, max_new_tokens=TOKENS, seed=seed)
        surprise = surprises(lm, lm.encode(prompt), [row.token_ids for row in rows])
        found = [[row.text, list(row.token_ids), value] for row, value in zip(rows, surprise, strict=True)]
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".partial")
        partial.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
        partial.replace(kept)
    return [_Answer(*each) for each in json.loads(kept.read_text(encoding="utf-8"))]


def choose(
    lm: LanguageModel, sae: SAE, windows: Windows, features: Sequence[int]
) -> tuple[dict[int, dict[str, Any]], dict[int, Probe]]:
    """For each feature, what was seen at each strength, the strength chosen, and where text breaks; and its probe."""
    recipes = [sae[feature].clamp(strength) for feature in features for strength in STRENGTHS]
    plain, *steered = answers(lm, [None, *recipes], CHOOSING, [1])
    baseline = answers(lm, [None], CHOOSING, range(2, 12))[0]
    tried: dict[int, dict[str, Any]] = {}
    probes = {feature: windows.probe(feature, baseline.vectors) for feature in features}
    for number, feature in enumerate(features):
        found = steered[number * len(STRENGTHS) : (number + 1) * len(STRENGTHS)]
        shares = [float(probes[feature].judges(each.vectors).mean()) for each in found]
        fluent = [each.fluent(plain) for each in found]
        allowed = [share if ok else -1.0 for share, ok in zip(shares, fluent, strict=True)]
        best = int(np.argmax(allowed))
        tried[feature] = {
            "strength": STRENGTHS[best],
            "on_topic_choosing": shares[best] if fluent[best] else 0.0,
            "breaks": next((c for c, ok in zip(STRENGTHS, fluent, strict=True) if not ok), None),
            "marked": fluent[best] and shares[best] >= 0.75,
        }
    return tried, probes


def against_controls(
    lm: LanguageModel, sae: SAE, chosen: dict[int, float], probes: dict[int, Probe], seed: int = 0
) -> dict[int, dict[str, Any]]:
    """Marked features on other prompts and seeds, beside no steering, a random direction and a random feature."""
    import torch

    from steerwidgets.steering.recipe import Direction

    generator, draw = torch.Generator().manual_seed(seed), random.Random(seed)
    arms: dict[str, list[Any]] = {"steered": [], "random direction": [], "random feature": []}
    for feature, strength in chosen.items():
        noise = torch.randn(sae.d_model, generator=generator)
        arms["steered"].append(sae[feature].clamp(strength))
        arms["random direction"].append(Direction(noise / noise.norm(), sae.site, "random").add(strength))
        arms["random feature"].append(sae[draw.choice([i for i in range(sae.size) if i != feature])].clamp(strength))
    plain, *rest = answers(lm, [None, *(steer for arm in arms.values() for steer in arm)], TESTING, TEST_SEEDS)
    results: dict[int, dict[str, Any]] = {}
    for number, feature in enumerate(chosen):
        own = {name: rest[position * len(chosen) + number] for position, name in enumerate(arms)} | {"baseline": plain}
        judged = {name: int(probes[feature].judges(each.vectors).sum()) for name, each in own.items()}
        likely = [value <= 2 * max(plain.surprise) for value in own["steered"].surprise]
        results[feature] = judged | {
            "answers": len(plain.texts),
            "likely": sum(likely),
            "example": own["steered"].texts[0],
        }
    return results


def wilson(k: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    centre, spread = k + z * z / 2, z * (k * (n - k) / n + z * z / 4) ** 0.5
    return (centre - spread) / (n + z * z), (centre + spread) / (n + z * z)


def summary(results: dict[int, dict[str, Any]]) -> dict[str, str]:
    """Answers on topic over all marked features, with intervals."""
    n = sum(result["answers"] for result in results.values())
    lines: dict[str, str] = {}
    if not n:
        return lines
    for arm in ("steered", "baseline", "random direction", "random feature"):
        k = sum(result[arm] for result in results.values())
        low, high = wilson(k, n)
        lines[arm] = f"{k} of {n} ({k / n:.0%}, {low:.0%} to {high:.0%})"
    return lines


def main() -> None:
    """Try all, test the marked ones, write the report."""
    import torch

    from steerwidgets.dictionaries.sae.sae import SAE
    from steerwidgets.model import LanguageModel

    lm, sae = LanguageModel.demo(), SAE.demo()
    # Twice as fast on a CPU; steering itself is computed in float32 whatever the model's dtype.
    lm.model.to(torch.bfloat16)
    lm.model.set_attn_implementation("eager")
    features = sorted(_tried(sae))
    windows = Windows(lm, SampledActivations.load(WORK / "sampled" / "train.npz"))
    tried, probes = choose(lm, sae, windows, features)
    marked = {feature: entry["strength"] for feature, entry in tried.items() if entry["marked"]}
    print(f"{len(marked)} of {len(tried)} features steer in the choosing prompts")
    tested = against_controls(lm, sae, marked, probes)
    report = {"tried": tried, "tested": tested, "summary": summary(tested)}
    REPORT.write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
    print(json.dumps(report["summary"], indent=1))


def _tried(sae: SAE) -> set[int]:
    """Labelled features that their labeller expected to see in steered text, or that showed in the screening."""
    showed = set(showing(screened(), sae.size))
    tried = {
        int(index)
        for entries in written_labels(sae).values()
        for index, entry in entries.items()
        if entry["understood"] and (entry.get("visible") or int(index) in showed)
    }
    return set(sorted(tried)[: scaled(len(tried), 3)])


if __name__ == "__main__":
    main()
