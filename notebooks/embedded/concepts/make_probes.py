"""Makes the probes that judge whether a finished text is on one of the embedded concepts.

`python -m embedded.concepts.make_probes` lets the unsteered model write answers to requests for each concept
("Write a diary entry about music.") and to everyday ones, and fits a logistic regression for each concept on the mean
residual of each answer's own words at block `BLOCK`, the answers to the other concepts and to the everyday requests as
the other side. So the probes come of other texts than the concept vectors (`demo/concepts/texts.json`), of another
block, and of the kind of text that they have to judge.

Requests of `HELD_OUT` and `EVERYDAY_HELD_OUT` are not trained on; the report gives the AUROC on their answers, and on
the texts that the concept vectors were made from, which no probe has seen. One half is where at most one in twenty of
the everyday answers that were trained on is above. Writes `concept_probes.safetensors`, the report in its header.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from embedded import SHIPPED
from embedded.share import scaled
from steerwidgets.dictionaries.pooling import pooled
from steerwidgets.generation.rows import Plan, generate_rows
from steerwidgets.generation.sampling import Sampling
from steerwidgets.model import LanguageModel
from steerwidgets.steering.recipe import Recipe
from steerwidgets.transformer.sites import Site

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

FILE: Final = SHIPPED / "concept_probes.safetensors"
CONCEPTS: Final = SHIPPED / "concepts"
WORK: Final = Path("build/dictionaries/probe_answers.json")
BLOCK: Final = 20
TOKENS: Final = scaled(28, 8)
SEEDS: Final = (11, 12)
ASKED: Final = (
    "Tell me about {}.",
    "Write a short paragraph about {}.",
    "Write a diary entry about {}.",
    "Tell me a memory that has to do with {}.",
    "Write the first page of a story about {}.",
    "Give me some advice about {}.",
    "What do you like about {}?",
    "Write to a friend about {}.",
)
HELD_OUT: Final = ("Describe a day that is all about {}.", "Say something surprising about {}.")
EVERYDAY: Final = (
    "Tell me about yourself.",
    "Describe your home.",
    "Write a letter to your neighbour.",
    "Tell me about someone you admire.",
    "How do you make friends?",
    "What makes you happy?",
    "Describe your morning.",
    "Write a short dialogue.",
    "What did you learn this week?",
    "Tell me about a decision you made.",
    "How should I spend the evening?",
    "Describe a street.",
    "What is a good habit?",
    "Write a thank-you note.",
    "Tell me about your family.",
    "What would you change about your life?",
)
EVERYDAY_HELD_OUT: Final = (
    "Describe a person you met.",
    "Write the end of a story.",
    "What are you proud of?",
    "Tell me about a mistake.",
    "Introduce yourself.",
    "What is your plan for the week?",
)
WRITTEN: Final = 16
NEUTRAL: Final = 48
"""Of the texts of the concept vectors, so many are read for the report."""

_ROWS: Final = 32
"""Requests that are answered at once."""

_STRENGTH: Final = 0.003
"""scikit-learn's C: the smaller, the shorter the weights. Chosen once, before any dose was measured."""
_FALSE_ALARMS: Final = 0.05
_FEWEST: Final = 4
"""An answer of fewer words is left out."""


def main() -> None:
    """Write, read, fit, report."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    from safetensors.numpy import save_file

    lm = LanguageModel.demo()
    held = json.loads((CONCEPTS / "texts.json").read_text(encoding="utf-8"))
    labels = list(held["concepts"])[: scaled(len(held["concepts"]), 2)]
    answers = _answers(lm, labels)
    site = Site(BLOCK)
    vectors = {name: _means(lm, texts, site) for name, texts in answers.items()}
    written = {label: _means(lm, held["concepts"][label]["texts"][:WRITTEN], site) for label in labels}
    neutral = _means(lm, held["neutral"][:NEUTRAL], site)
    weights, biases, report = [], [], {}
    for label in labels:
        weight, bias = _fit(label, labels, vectors)
        weights.append(weight)
        biases.append(bias)
        report[label] = _report(label, labels, vectors, written, neutral, weight, bias)
        sys.stdout.write(f"{label}: {report[label]}\n")
    header = {
        "labels": labels,
        "layer": BLOCK,
        "stream": site.stream,
        "made_of": f"{sum(map(len, answers.values()))} answers of the unsteered model to requests for each concept and "
        "to everyday ones; none of the concept vectors' texts",
        "model": lm.name,
        "report": report,
    }
    tensors = {"weight": np.stack(weights).astype(np.float32), "bias": np.array(biases, dtype=np.float32)}
    save_file(tensors, FILE, metadata={"probes": json.dumps(header, ensure_ascii=False)})
    FILE.chmod(0o644)
    sys.stdout.write(f"{FILE.name}: {FILE.stat().st_size / 1e3:.0f} kB\n")


def _answers(lm: LanguageModel, labels: Sequence[str]) -> dict[str, list[str]]:
    """The answers by group: a concept or everyday, trained on or held out. What was written is not written again."""
    asked = [(f"{label}|{part}", each.format(label)) for label in labels for part, every in _PARTS for each in every]
    asked += [("|train", each) for each in EVERYDAY] + [("|test", each) for each in EVERYDAY_HELD_OUT]
    done: dict[str, str] = json.loads(WORK.read_text(encoding="utf-8")) if WORK.exists() else {}
    WORK.parent.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS:
        missing = [request for _, request in asked if f"{seed} {request}" not in done]
        for first in range(0, len(missing), _ROWS):
            some = missing[first : first + _ROWS]
            plans = [Plan(lm.encode(request), Recipe()) for request in some]
            rows = generate_rows(lm, plans, Sampling(max_new_tokens=TOKENS, seed=seed))
            done |= {f"{seed} {request}": row.text for request, row in zip(some, rows, strict=True)}
            WORK.write_text(json.dumps(done, ensure_ascii=False, indent=1), encoding="utf-8")
            sys.stdout.write(f"{len(done)} answers\n")
            sys.stdout.flush()
    groups: dict[str, list[str]] = {}
    for seed in SEEDS:
        for group, request in asked:
            text = done[f"{seed} {request}"]
            if len(text.split()) > _FEWEST:
                groups.setdefault(group, []).append(text)
    return groups


_PARTS: Final = (("train", ASKED), ("test", HELD_OUT))


def _means(lm: LanguageModel, texts: Sequence[str], site: Site) -> Array:
    """Each text's mean residual over its own words, read raw: float64 [text, d_model]."""
    found: Array = pooled(
        lm, [lm.encode(text, chat=False) for text in texts], site, lambda words: words.mean(0)
    ).numpy()
    return found.astype(np.float64)


def _fit(label: str, labels: Sequence[str], vectors: dict[str, Array]) -> tuple[Array, float]:
    """The weights of a concept's probe on bare residuals, and its bias, moved so that one half is its threshold."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    positive, everyday = vectors[f"{label}|train"], vectors["|train"]
    negative = np.concatenate([*(vectors[f"{other}|train"] for other in labels if other != label), everyday])
    scaler = StandardScaler().fit(np.concatenate([positive, negative]))
    fitted = LogisticRegression(C=_STRENGTH, class_weight="balanced", max_iter=2000)
    fitted.fit(scaler.transform(np.concatenate([positive, negative])), [1] * len(positive) + [0] * len(negative))
    weight = fitted.coef_[0] / scaler.scale_
    bias = float(fitted.intercept_[0] - weight @ scaler.mean_)
    above = float(np.quantile(everyday @ weight + bias, 1 - _FALSE_ALARMS))
    return weight, bias - max(0.0, above)


def _report(
    label: str,
    labels: Sequence[str],
    vectors: dict[str, Array],
    written: dict[str, Array],
    neutral: Array,
    weight: Array,
    bias: float,
) -> dict[str, Any]:
    """What the probe does on texts that it has not seen."""
    others = [each for each in labels if each != label]
    everyday = vectors["|test"]
    groups = {
        "held_out": (
            vectors[f"{label}|test"],
            np.concatenate([*(vectors[f"{each}|test"] for each in others), everyday]),
        ),
        "written": (written[label], np.concatenate([*(written[each] for each in others), neutral])),
    }
    found: dict[str, Any] = {}
    for name, (on, off) in groups.items():
        positive, negative = on @ weight + bias, off @ weight + bias
        found[f"auroc_{name}"] = round(_auroc(positive, negative), 4)
        found[f"on_{name}"] = [int((positive > 0).sum()), len(positive)]
        found[f"off_{name}"] = [int((negative > 0).sum()), len(negative)]
    found["everyday_held_out"] = [int((everyday @ weight + bias > 0).sum()), len(everyday)]
    found["neutral_written"] = [int((neutral @ weight + bias > 0).sum()), len(neutral)]
    return found


def _auroc(positive: Array, negative: Array) -> float:
    """How often a positive is above a negative, ties counted half."""
    difference = positive[:, None] - negative[None, :]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


if __name__ == "__main__":
    main()
