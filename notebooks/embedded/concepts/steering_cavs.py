"""Makes the concept vectors that steer the embedded model, and checks that they do.

`python -m embedded.concepts.steering_cavs` reads `steerwidgets/demo/concepts/` (texts, word lists and prompts, written
before any run), takes differences in means, chooses each concept's strength on one set of prompts, and reports on
another set that played no part: how many answers are on the concept by the word lists, with and without steering and
with random directions of the same norm, and whether the text loops. It writes into `build/dictionaries/`;
`wordnet_cavs.py` puts WordNet's categories and other blocks beside these and ships them together.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from embedded import SHIPPED
from embedded.share import scaled
from steerwidgets.dictionaries.cav.cav import CAV
from steerwidgets.dictionaries.pooling import mean_difference, pooled
from steerwidgets.generation.rows import Plan, Row, generate_rows
from steerwidgets.generation.sampling import Sampling
from steerwidgets.model import LanguageModel
from steerwidgets.steering.recipe import Direction, Recipe
from steerwidgets.transformer.sites import Site

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.transformer.prompts import Prompt

CONCEPTS: Final = SHIPPED / "concepts"
STEERING_FILE: Final = Path("build/dictionaries/steering_cavs.safetensors")
STEERING_REPORT: Final = Path("build/dictionaries/steering_cavs.json")
STRENGTHS: Final = (20.0, 28.0, 36.0, 44.0, 52.0, 60.0)
_ALL: Final = 16
CHOOSING_SEED: Final = 1
TESTING_SEEDS: Final = (101, 102)
ENOUGH: Final = 0.75
"""The smallest strength is taken at which this share of the choosing answers is on the concept."""
STILL_FLUENT: Final = 0.93
"""…as long as distinct-2 stays above this share of the baseline's."""
SHIPPED_FROM: Final = 0.6
"""A concept is shipped if this share of its steered test answers is on the concept, …"""
CONTROLS_BELOW: Final = 0.1
"""…and less than this share of the unsteered and of the randomly steered ones. The report holds all of them."""
GENTLER: Final = {"medicine and health": 45.0}
"""Suggested in place of the strength that was chosen: a dose–response (`check_strengths`) found texts broken there;
at 60 their surprise is 2.97 nats, the unsteered model's own end at 2.38; at 45 it is 2.29."""
TOKENS: Final = 64


@dataclass(frozen=True)
class Checked:
    """Answers checked against a concept's word list."""

    on_concept: int
    answers: int
    distinct_2: float


def is_on_concept(text: str, words: Iterable[str]) -> bool:
    """Whether at least two distinct words of the list occur, as whole words."""
    return len({*re.findall(r"[a-z]+", text.lower())} & {*words}) >= 2


def distinct_2(token_ids: Sequence[int]) -> float:
    """The share of distinct pairs among neighbouring tokens (Li et al. 2016); low where a text loops."""
    pairs = list(itertools.pairwise(token_ids))
    return len({*pairs}) / len(pairs) if pairs else 1.0


def main() -> None:
    """Make, choose, check, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layer", type=int, default=15)
    parser.add_argument("--concepts", type=int, default=scaled(_ALL, 3), help="only the first few, for a trial")
    parser.add_argument("--no-test", action="store_true", help="stop after the strengths are chosen; write nothing")
    arguments = parser.parse_args()
    lm = LanguageModel.demo()
    material = _Material.read(arguments.concepts)
    site = Site(arguments.layer)
    directions = _directions(lm, material, site)
    chosen = _choose_strengths(lm, material, directions)
    if arguments.no_test:
        return
    report = _test(lm, material, directions, chosen)
    _write(lm, material, directions, chosen, report)


@dataclass(frozen=True)
class _Material:
    texts: dict[str, list[str]]
    neutral: list[str]
    words: dict[str, list[str]]
    choosing: list[str]
    testing: list[str]

    @classmethod
    def read(cls, limit: int | None) -> _Material:
        texts, words, prompts = (
            json.loads((CONCEPTS / f"{name}.json").read_text(encoding="utf-8"))
            for name in ("texts", "word_lists", "prompts")
        )
        kept = list(texts["concepts"])[:limit]
        return cls(
            {label: texts["concepts"][label]["texts"] for label in kept},
            texts["neutral"],
            {label: words[label] for label in kept},
            prompts["choosing"],
            prompts["testing"],
        )


def _directions(lm: LanguageModel, material: _Material, site: Site) -> dict[str, Direction]:
    """Unit difference in means for each concept; the texts are read raw."""
    neutral = _encoded(lm, material.neutral)
    found = {}
    for label, texts in material.texts.items():
        vector = mean_difference(lm, _encoded(lm, texts), neutral, site)
        found[label] = Direction(vector / vector.norm(), site, label)
        _say(f"{label}: ‖difference in means‖ = {float(vector.norm()):.1f}")
    return found


def _encoded(lm: LanguageModel, texts: Iterable[str]) -> list[Prompt]:
    return [lm.encode(text, chat=False) for text in texts]


def _answers(lm: LanguageModel, prompts: Sequence[str], recipes: Sequence[Recipe], seed: int) -> list[list[Row]]:
    """One list of answers for each recipe, all in one batch."""
    plans = [Plan(lm.encode(prompt), recipe) for recipe in recipes for prompt in prompts]
    rows = generate_rows(lm, plans, Sampling(max_new_tokens=TOKENS, seed=seed))
    return [rows[i : i + len(prompts)] for i in range(0, len(rows), len(prompts))]


def _check(rows: Sequence[Row], words: Iterable[str]) -> Checked:
    listed = [*words]
    fluency = sum(distinct_2(row.token_ids) for row in rows) / len(rows)
    return Checked(sum(is_on_concept(row.text, listed) for row in rows), len(rows), fluency)


def _choose_strengths(lm: LanguageModel, material: _Material, directions: dict[str, Direction]) -> dict[str, float]:
    chosen = {}
    for label, direction in directions.items():
        recipes = [Recipe(), *(Recipe.of(direction.add(strength)) for strength in STRENGTHS)]
        answers = _answers(lm, material.choosing, recipes, CHOOSING_SEED)
        baseline, *checked = (_check(rows, material.words[label]) for rows in answers)
        tried = dict(zip(STRENGTHS, checked, strict=True))
        chosen[label] = _best(tried, baseline)
        trail = ", ".join(f"{s:g}: {c.on_concept}/{c.answers} ({c.distinct_2:.2f})" for s, c in tried.items())
        _say(f"{label}: {chosen[label]:g} of {trail}; baseline {baseline.on_concept} ({baseline.distinct_2:.2f})")
    return chosen


def _best(tried: dict[float, Checked], baseline: Checked) -> float:
    fluent = {s: c for s, c in tried.items() if c.distinct_2 >= STILL_FLUENT * baseline.distinct_2} or tried
    enough = [s for s, c in fluent.items() if c.on_concept >= ENOUGH * c.answers]
    return min(enough) if enough else max(fluent, key=lambda s: (fluent[s].on_concept, -s))


def _test(
    lm: LanguageModel, material: _Material, directions: dict[str, Direction], chosen: dict[str, float]
) -> list[dict[str, Any]]:
    baseline = [row for seed in TESTING_SEEDS for row in _answers(lm, material.testing, [Recipe()], seed)[0]]
    report = []
    for number, (label, direction) in enumerate(directions.items()):
        strength = chosen[label]
        control = Direction(_random_unit(len(direction.vector), number), direction.site, "random")
        recipes = [Recipe.of(steering.add(strength)) for steering in (direction, control)]
        pairs = [_answers(lm, material.testing, recipes, seed) for seed in TESTING_SEEDS]
        steered, random = ([row for pair in pairs for row in pair[i]] for i in (0, 1))
        found = {"label": label, "strength": strength, "answers": len(baseline)}
        for kind, rows in (("steered", steered), ("baseline", baseline), ("random", random)):
            checked = _check(rows, material.words[label])
            found |= {f"{kind}_on": checked.on_concept, f"{kind}_distinct_2": round(checked.distinct_2, 3)}
        report.append(found | {"examples": [row.text for row in steered[:2]]})
        _say(_line(found))
    return report


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def is_shipped(found: dict[str, Any]) -> bool:
    """Whether a concept steers well enough to be shipped, by its line of the report."""
    share = {kind: found[f"{kind}_on"] / found["answers"] for kind in ("steered", "baseline", "random")}
    return bool(share["steered"] >= SHIPPED_FROM and max(share["baseline"], share["random"]) < CONTROLS_BELOW)


def _line(found: dict[str, Any]) -> str:
    n = found["answers"]
    on = " · ".join(f"{kind} {found[f'{kind}_on']}/{n}" for kind in ("steered", "baseline", "random"))
    loops = f"{found['steered_distinct_2']:.2f} against {found['baseline_distinct_2']:.2f}"
    return f"{found['label']} at {found['strength']:g}: {on} · distinct-2 {loops}"


def _random_unit(width: int, seed: int) -> Tensor:
    import torch

    vector = torch.randn(width, generator=torch.Generator().manual_seed(seed))
    unit: Tensor = vector / vector.norm()
    return unit


def _write(
    lm: LanguageModel,
    material: _Material,
    directions: dict[str, Direction],
    chosen: dict[str, float],
    report: list[dict[str, Any]],
) -> None:
    import torch

    directions = {found["label"]: directions[found["label"]] for found in report if is_shipped(found)}
    site = next(iter(directions.values())).site
    vectors = torch.stack([direction.vector for direction in directions.values()])
    maxima, tokens = _maxima(lm, material, vectors, site)
    texts = sum(map(len, material.texts.values())) + len(material.neutral)
    cavs = CAV(
        vectors,
        list(directions),
        layer=site.layer,
        suggested=[("add", {"alpha": GENTLER.get(label, chosen[label])}) for label in directions],
        max_activations=maxima,
        max_activation_of=f"the {texts} texts that the concepts were made from, {tokens:,} tokens",
        provenance={
            "model": lm.name,
            "made by": "embedded.concepts.steering_cavs",
            "method": "difference in means over each text's words, unit norm; neutral texts as the other side",
            "texts": f"{texts} texts written for the project by a language model, in steerwidgets/demo/concepts",
            "strengths": f"chosen on {len(material.choosing)} prompts, checked on {len(material.testing)} others",
        },
    )
    STEERING_FILE.parent.mkdir(parents=True, exist_ok=True)
    cavs.save(STEERING_FILE)
    STEERING_REPORT.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _maxima(lm: LanguageModel, material: _Material, vectors: Tensor, site: Site) -> tuple[list[float], int]:
    """The largest `h·v` of each concept over all texts, and how many tokens were read."""
    count = 0

    def largest(words: Tensor) -> Tensor:
        nonlocal count
        count += len(words)
        values: Tensor = (words @ vectors.T).max(0).values
        return values

    texts = [text for group in (*material.texts.values(), material.neutral) for text in group]
    rows = pooled(lm, _encoded(lm, texts), site, largest)
    return [round(float(value), 2) for value in rows.max(0).values], count


if __name__ == "__main__":
    main()
