"""Where steering works best: concept directions at several blocks, tried on a few prompts at relative strengths.

`python -m embedded.sae.choose_layer` takes differences in means of six concepts (`demo/concepts`) at each
block, adds them with strengths relative to the residual's norm, so that blocks compare, and counts the answers that
are on the concept by its word list and still read as text (distinct-2, Li et al. 2016). A block's figure is the share
of answers on the concept at its best strength, times how much of the baseline's distinct-2 is left. On a near tie
(`NEAR_TIE`) the block of the shipped concept vectors is taken, so that recipes mix without a change of site.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from embedded.concepts.steering_cavs import CONCEPTS, distinct_2, is_on_concept
from embedded.share import scaled
from steerwidgets.dictionaries.pooling import mean_difference
from steerwidgets.generation.rows import Plan, Row, generate_rows
from steerwidgets.generation.sampling import Sampling
from steerwidgets.model import LanguageModel
from steerwidgets.steering.recipe import Direction, Recipe
from steerwidgets.transformer.sites import Site

BLOCKS: Final = (9, 12, 15, 18, 21)
STRENGTHS: Final = (0.15, 0.25, 0.35)
PREFERRED: Final = 15
NEAR_TIE: Final = 0.05
CONCEPTS_TRIED: Final = scaled(6, 2)
TEXTS: Final = scaled(24, 6)
PROMPTS: Final = scaled(4)
TOKENS: Final = scaled(40, 12)
REPORT: Final = Path("build/dictionaries/layer.json")


def main() -> None:
    """Try every block, choose one, write the figures."""
    lm = LanguageModel.demo()
    texts, words, prompts = (
        json.loads((CONCEPTS / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("texts", "word_lists", "prompts")
    )
    labels = list(texts["concepts"])[:CONCEPTS_TRIED]
    asked = prompts["choosing"][:PROMPTS]
    baseline = _mean_distinct(generate_rows(lm, _plans(lm, asked, [Recipe()]), _sampling()))
    neutral = [lm.encode(text, chat=False) for text in texts["neutral"][: 2 * TEXTS]]
    positives = {
        label: [lm.encode(text, chat=False) for text in texts["concepts"][label]["texts"][:TEXTS]] for label in labels
    }
    tried = {}
    for block in BLOCKS:
        site = Site(block)
        directions = [Direction(mean_difference(lm, positives[label], neutral, site), site, label) for label in labels]
        tried[block] = _tried(lm, directions, asked, words, baseline)
        sys.stdout.write(f"block {block}: {tried[block]}\n")
        sys.stdout.flush()
    chosen = chosen_block({block: found["figure"] for block, found in tried.items()})
    report = {"chosen": chosen, "baseline_distinct_2": round(baseline, 3), "blocks": tried}
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"chosen: {chosen}\n")


def chosen_block(figures: dict[int, float]) -> int:
    """The block with the best figure; the preferred one where it is no more than `NEAR_TIE` worse."""
    best = max(figures, key=lambda block: figures[block])
    return PREFERRED if figures[best] - figures.get(PREFERRED, 0.0) <= NEAR_TIE else best


def _tried(
    lm: LanguageModel, directions: Sequence[Direction], asked: Sequence[str], words: dict[str, Any], baseline: float
) -> dict[str, Any]:
    by_strength: dict[str, Any] = {}
    for strength in STRENGTHS:
        recipes = [Recipe.of(direction.add_relative(strength)) for direction in directions]
        rows = generate_rows(lm, _plans(lm, asked, recipes), _sampling())
        labels = [direction.label for direction in directions for _ in asked]
        on = sum(is_on_concept(row.text, words[label]) for row, label in zip(rows, labels, strict=True))
        fluent = min(_mean_distinct(rows) / baseline, 1.0)
        by_strength[f"{strength:g}"] = {"on": on, "rows": len(rows), "distinct_2": round(fluent * baseline, 3)}
        by_strength[f"{strength:g}"]["figure"] = round(on / len(rows) * fluent, 3)
    return {"figure": max(found["figure"] for found in by_strength.values()), "strengths": by_strength}


def _plans(lm: LanguageModel, asked: Sequence[str], recipes: Sequence[Recipe]) -> list[Plan]:
    return [Plan(lm.encode(prompt), recipe) for recipe in recipes for prompt in asked]


def _sampling() -> Sampling:
    return Sampling(max_new_tokens=TOKENS, seed=1)


def _mean_distinct(rows: Sequence[Row]) -> float:
    return sum(distinct_2(row.token_ids) for row in rows) / len(rows)


if __name__ == "__main__":
    main()
