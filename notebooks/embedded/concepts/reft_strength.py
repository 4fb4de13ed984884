"""How strongly a concept is added: the largest strength that leaves the model's answers whole."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from embedded.concepts.steering_cavs import distinct_2, is_on_concept
from embedded.share import scaled
from steerwidgets.generation.rows import Plan, Row, generate_rows
from steerwidgets.generation.sampling import Sampling
from steerwidgets.steering.divergence import teacher_forced
from steerwidgets.steering.recipe import Recipe

if TYPE_CHECKING:
    from steerwidgets.model import LanguageModel
    from steerwidgets.steering.recipe import Feature

FACTORS: Final = (0.3, 0.45, 0.65)
"""Of the largest activation."""
PROMPTS: Final = (
    "Tell me about your weekend.",
    "Write the opening of a novel.",
    "Tell me something interesting.",
    "Describe a typical day.",
)
TOKENS: Final = scaled(40, 8)
SEED: Final = 1
STILL_FLUENT: Final = 0.9
"""Distinct-2 stays above this share of the unsteered answers'…"""
STILL_LIKELY: Final = 2.0
"""…and the mean surprise of an answer below this many times theirs, under the unsteered model."""


@dataclass(frozen=True)
class Tried:
    """Answers at one strength.

    Attributes:
        strength: what was added, times the unit direction.
        on_topic: answers that hold two words of the concept's lexicon.
        answers: how many there were.
        distinct_2: the mean share of distinct pairs of tokens (Li et al. 2016).
        surprise: the mean of −log p of their tokens under the unsteered model, nats; None where it was not asked.
    """

    strength: float
    on_topic: int
    answers: int
    distinct_2: float
    surprise: float | None = None

    def line(self) -> dict[str, Any]:
        """For a report."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Baseline:
    """The unsteered answers."""

    rows: tuple[Row, ...]
    distinct_2: float
    surprise: float


def baseline(lm: LanguageModel) -> Baseline:
    """The model's own answers to `PROMPTS`."""
    rows = _answers(lm, [Recipe()])[0]
    return Baseline(tuple(rows), _distinct(rows), _surprise(lm, rows, Recipe()))


def choose_strength(
    lm: LanguageModel, feature: Feature, largest: float, words: Sequence[str], plain: Baseline
) -> tuple[float | None, list[Tried], list[str]]:
    """The largest strength of `FACTORS` at which answers are still fluent and likely; None where none is.

    All strengths and prompts are rows of one batch with the same noise. Surprise is asked from the strongest down, and
    no further than needed.

    Returns:
        The strength, all that was tried, and the answers at that strength.
    """
    strengths = [float(f"{factor * largest:.2g}") for factor in FACTORS]
    recipes = [Recipe.of(feature.add(strength)) for strength in strengths]
    answers = _answers(lm, recipes)
    tried = [
        Tried(strength, sum(is_on_concept(row.text, words) for row in rows), len(rows), round(_distinct(rows), 3))
        for strength, rows in zip(strengths, answers, strict=True)
    ]
    for i in reversed(range(len(tried))):
        if tried[i].distinct_2 < STILL_FLUENT * plain.distinct_2:
            continue
        surprise = round(_surprise(lm, answers[i], recipes[i]), 3)
        tried[i] = Tried(**{**asdict(tried[i]), "surprise": surprise})
        if surprise <= STILL_LIKELY * plain.surprise:
            return strengths[i], tried, [row.text for row in answers[i]]
    return None, tried, []


def _answers(lm: LanguageModel, recipes: Sequence[Recipe]) -> list[list[Row]]:
    plans = [Plan(lm.encode(prompt), recipe) for recipe in recipes for prompt in PROMPTS]
    rows = generate_rows(lm, plans, Sampling(max_new_tokens=TOKENS, seed=SEED))
    return [rows[i : i + len(PROMPTS)] for i in range(0, len(rows), len(PROMPTS))]


def _distinct(rows: Sequence[Row]) -> float:
    return statistics.mean(distinct_2(row.token_ids) for row in rows)


def _surprise(lm: LanguageModel, rows: Sequence[Row], recipe: Recipe) -> float:
    """The mean over answers of their mean surprise under the unsteered model, nats."""
    found = [
        teacher_forced(lm, lm.encode(prompt), row.token_ids, recipe).surprise
        for prompt, row in zip(PROMPTS, rows, strict=True)
    ]
    return statistics.mean(statistics.mean(each) for each in found if each)
