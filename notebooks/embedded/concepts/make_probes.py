"""Makes the probes that judge whether a finished text is on one of the embedded concepts.

`python -m embedded.concepts.make_probes` lets the unsteered model write answers to requests for each concept
("Write a diary entry about music.") and to everyday ones, and fits a logistic regression for each concept on the mean
residual of each answer's own words at block `BLOCK`, the answers to the other concepts and to the everyday requests as
the other side. So the probes come of other texts than the concept vectors (`demo/concepts/texts.json`), of another
block, and of the kind of text that they have to judge. Answers of a concept that hold no word of its list are left out:
the model often apologises in place of an answer.

One half is what one in twenty of the everyday answers is above, each scored by a fit without its request. Requests of
`HELD_OUT` and `EVERYDAY_HELD_OUT` are not trained on; the report gives the AUROC on their answers, and on the texts
that the concept vectors were made from, which no probe has seen. Writes
`concept_probes.safetensors`, the report in its header.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

_STRENGTH: Final = 0.03
"""scikit-learn's C: the smaller, the shorter the weights. Chosen by `_FOLDS` folds of the requests trained on."""

_FOLDS: Final = 4
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
    vectors = {name: _means(lm, [answer.text for answer in each], site) for name, each in answers.items()}
    written = {label: _means(lm, held["concepts"][label]["texts"][:WRITTEN], site) for label in labels}
    neutral = _means(lm, held["neutral"][:NEUTRAL], site)
    weights, biases, report = [], [], {}
    for label in labels:
        weight, bias = _fit(label, labels, vectors, answers)
        weights.append(weight)
        biases.append(bias)
        report[label] = _report(label, labels, vectors, answers, written, neutral, weight, bias)
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


@dataclass(frozen=True)
class Answer:
    """An answer of the unsteered model.

    Attributes:
        text: the answer.
        fold: that of its request.
        names_it: whether it holds a word of its concept's list; of everyday ones always.
    """

    text: str
    fold: int
    names_it: bool


def _answers(lm: LanguageModel, labels: Sequence[str]) -> dict[str, list[Answer]]:
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
    lists: dict[str, list[str]] = json.loads((CONCEPTS / "word_lists.json").read_text(encoding="utf-8"))
    groups: dict[str, list[Answer]] = {}
    for seed in SEEDS:
        for number, (group, request) in enumerate(asked):
            text, label = done[f"{seed} {request}"], group.partition("|")[0]
            words = {*re.findall(r"[a-z]+", text.lower())}
            if len(text.split()) > _FEWEST:
                answer = Answer(text, number % _FOLDS, not label or bool(words & {*lists[label]}))
                groups.setdefault(group, []).append(answer)
    return groups


_PARTS: Final = (("train", ASKED), ("test", HELD_OUT))


def _means(lm: LanguageModel, texts: Sequence[str], site: Site) -> Array:
    """Each text's mean residual over its own words, read raw: float64 [text, d_model]."""
    found: Array = pooled(
        lm, [lm.encode(text, chat=False) for text in texts], site, lambda words: words.mean(0)
    ).numpy()
    return found.astype(np.float64)


def _fit(
    label: str, labels: Sequence[str], vectors: Mapping[str, Array], answers: Mapping[str, Sequence[Answer]]
) -> tuple[Array, float]:
    """The weights of a concept's probe on bare residuals, and its bias, moved so that one half is its threshold."""
    groups = [label, *(other for other in labels if other != label), ""]
    rows = np.concatenate([vectors[f"{group}|train"] for group in groups])
    of = [(group, answer) for group in groups for answer in answers[f"{group}|train"]]
    positive = np.array([group == label for group, _ in of])
    everyday = np.array([group == "" for group, _ in of])
    fold = np.array([answer.fold for _, answer in of])
    kept = ~positive | np.array([answer.names_it for _, answer in of])
    unseen = np.zeros(len(rows))
    for each in range(_FOLDS):
        weight, bias = _logistic(rows[kept & (fold != each)], positive[kept & (fold != each)])
        unseen[fold == each] = rows[fold == each] @ weight + bias
    weight, bias = _logistic(rows[kept], positive[kept])
    return weight, bias - float(np.quantile(unseen[everyday], 1 - _FALSE_ALARMS))


def _logistic(rows: Array, positive: NDArray[np.bool_]) -> tuple[Array, float]:
    """A logistic regression of standardised rows, as weights and bias of the bare ones."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(rows)
    fitted = LogisticRegression(C=_STRENGTH, class_weight="balanced", max_iter=3000)
    fitted.fit(scaler.transform(rows), positive)
    weight: Array = fitted.coef_[0] / scaler.scale_
    return weight, float(fitted.intercept_[0] - weight @ scaler.mean_)


def _report(
    label: str,
    labels: Sequence[str],
    vectors: Mapping[str, Array],
    answers: Mapping[str, Sequence[Answer]],
    written: Mapping[str, Array],
    neutral: Array,
    weight: Array,
    bias: float,
) -> dict[str, Any]:
    """What the probe does on texts that it has not seen."""
    others = [each for each in labels if each != label]
    everyday = vectors["|test"]
    names_it = [answer.names_it for answer in answers[f"{label}|test"]]
    groups = {
        "held_out": (
            vectors[f"{label}|test"][names_it],
            np.concatenate([*(vectors[f"{each}|test"] for each in others), everyday]),
        ),
        "written": (written[label], np.concatenate([*(written[each] for each in others), neutral])),
    }
    found: dict[str, Any] = {}
    for name, (on, off) in groups.items():
        positive, negative = on @ weight + bias, off @ weight + bias
        if len(positive):
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
