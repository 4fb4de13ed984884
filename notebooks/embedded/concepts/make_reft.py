"""Makes the ReFT-r1 concepts shipped for the embedded model.

`python -m embedded.concepts.make_reft` trains one direction for each concept of `reft_concepts.json` with
AxBench's loss (Wu et al. 2025; `training/reft_trainer.py`), from labelled texts with the concept and without, half of
the latter neighbours of the concept, a quarter of all as an answer in the chat format. Training begins at the
difference in means (a random start is tried on a few concepts, and its AUROC reported beside), takes `SETTINGS.epochs`
passes and runs the blocks above the site only. Then it measures detection on held-out texts and chooses a strength for
`add`.

Every concept that is done lies in `build/dictionaries/reft/` and is not made again. Needs `python -m
embedded.concepts.concept_texts` first. Writes `reft/` and `reft_report.json`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from embedded import REFT_FEATURES, REFT_FOLDER, SHIPPED
from embedded.concepts import reft_strength
from embedded.concepts.concept_texts import TOKENS_AT, load_reading, load_texts
from embedded.concepts.reft_above import TrainerAbove
from embedded.concepts.reft_examples import (
    Concept,
    Material,
    detect,
    difference_in_means,
    largest,
    lexicon,
    load_concepts,
    training_rows,
)
from embedded.concepts.steering_cavs import is_on_concept
from embedded.features.measured import corpus_points, statistics_of, write_report
from embedded.share import scaled
from steerwidgets.dictionaries.reft.reft import ReFT
from steerwidgets.dictionaries.reft.trainer import Settings
from steerwidgets.transformer.sites import Site

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.model import LanguageModel

REPORT: Final = SHIPPED / "reft_report.json"
WORK: Final = Path("build/dictionaries/reft")
SITE: Final = Site(TOKENS_AT)
SETTINGS: Final = Settings(epochs=1, learning_rate=0.004, batch_size=8, max_tokens=96)
RANDOM: Final = Settings(epochs=1, batch_size=8, max_tokens=96, start="random")
"""The random start, with AxBench's learning rate."""
TRIED_AT_RANDOM: Final = scaled(3)
CORPUS_POINTS: Final = scaled(100_000, 4_000)


def main() -> None:
    """Train what is missing, then put all together."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    from steerwidgets.model import LanguageModel

    lm = LanguageModel.demo()
    texts = load_texts()
    material = Material(texts, load_reading(texts))
    concepts = load_concepts()
    WORK.mkdir(parents=True, exist_ok=True)
    plain: reft_strength.Baseline | None = None
    for number, concept in enumerate(concepts):
        if _file(concept).exists():
            continue
        plain = plain or reft_strength.baseline(lm)
        began = time.monotonic()
        line = _make(lm, material, concept, plain, at_random=number < TRIED_AT_RANDOM)
        line["seconds"] = round(time.monotonic() - began)
        _file(concept).write_text(json.dumps(line, indent=1), encoding="utf-8")
        said = {name: line[name] for name in ("auroc", "auroc_start", "auroc_random_start", "strength", "seconds")}
        sys.stdout.write(f"{time.strftime('%H:%M:%S')} {concept.name}: {said}\n")
        sys.stdout.flush()
    _write(lm, concepts)


def _make(
    lm: LanguageModel, material: Material, concept: Concept, plain: reft_strength.Baseline, *, at_random: bool
) -> dict[str, Any]:
    rows, residuals = training_rows(lm, material, concept, SETTINGS.seed)
    first = difference_in_means(material, concept)
    state = _file(concept).with_suffix(".training")
    trainer = TrainerAbove(lm, SITE, rows, SETTINGS, residuals, state=state, first=first)
    for _ in trainer.run():
        pass
    direction = trainer.direction
    by_chance = None
    if at_random:
        other = TrainerAbove(lm, SITE, rows, RANDOM, residuals)
        for _ in other.run():
            pass
        by_chance = detect(material, concept, other.direction).auroc
    found = detect(material, concept, direction)
    positives = [*material.rows(concept, has=True, held_out=False), *material.rows(concept, has=True, held_out=True)]
    top = float(largest(material.reading, positives, direction).max())
    feature = ReFT(direction[None], layer=SITE.layer, labels=[concept.name])[0]
    words = lexicon(material, concept)
    strength, tried, answers = reft_strength.choose_strength(lm, feature, top, words, plain)
    state.unlink(missing_ok=True)
    return {
        "name": concept.name,
        "labels": sorted(concept.labels),
        "direction": direction.tolist(),
        "rows": len(rows),
        "steps": trainer.steps,
        "cosine_with_start": round(float(direction @ first), 4),
        "auroc": found.auroc,
        "auroc_by_source": found.by_source,
        "auroc_start": detect(material, concept, first).auroc,
        "auroc_random_start": by_chance,
        "held_out": [found.positives, found.negatives],
        "max_activation": round(top, 2),
        "strength": strength,
        "tried": [each.line() for each in tried],
        "baseline": {
            "on_topic": sum(is_on_concept(row.text, words) for row in plain.rows),
            "answers": len(plain.rows),
            "distinct_2": round(plain.distinct_2, 3),
            "surprise": round(plain.surprise, 3),
        },
        "lexicon": words[:24],
        "answers": answers[:2],
    }


def _write(lm: LanguageModel, concepts: Sequence[Concept]) -> None:
    import torch

    lines = [json.loads(_file(concept).read_text(encoding="utf-8")) for concept in concepts]
    weight = torch.tensor([line.pop("direction") for line in lines])
    figures = {name: [line[name] for line in lines] for name in ("auroc", "auroc_start")}
    at_random = [line["auroc_random_start"] for line in lines if line["auroc_random_start"] is not None]
    median = {name: round(statistics.median(values), 4) for name, values in figures.items()}
    reft = ReFT(
        weight,
        layer=SITE.layer,
        labels=[line["name"] for line in lines],
        suggested=[None if line["strength"] is None else ("add", {"alpha": line["strength"]}) for line in lines],
        provenance={
            "model": lm.name,
            "made by": "embedded.concepts.make_reft",
            "method": "ReFT-r1 (AxBench's loss), begun at the difference in means, "
            f"{SETTINGS.epochs} epoch, learning rate {SETTINGS.learning_rate:g}; blocks above in bfloat16 products",
            "texts": "WordNet 3.0 (© Princeton University) by lexicographer file and synset, and texts written for the "
            "project by a language model",
            "held out": f"median AUROC {median['auroc']:.3f} (difference in means alone: {median['auroc_start']:.3f})",
            "strengths": f"the largest of {len(reft_strength.FACTORS)} that leaves {len(reft_strength.PROMPTS)} "
            "answers fluent and likely",
        },
    )
    reft.statistics = _statistics(lm, reft, [line["max_activation"] for line in lines])
    reft.save(REFT_FOLDER)
    REFT_FEATURES.unlink(missing_ok=True)  # it was of the ones before; `make_more_features` gathers it again
    report = {
        "settings": dataclasses.asdict(SETTINGS),
        "median": median | {"auroc_random_start": statistics.median(at_random) if at_random else None},
        "prompts": reft_strength.PROMPTS,
        "concepts": lines,
    }
    write_report(REPORT, report, REFT_FOLDER / "weight.pt")
    sys.stdout.write(f"{median}\n{REFT_FOLDER.name}: {(REFT_FOLDER / 'weight.pt').stat().st_size / 1e6:.2f} MB\n")


def _statistics(lm: LanguageModel, reft: ReFT, on_texts: Sequence[float]) -> Any:
    """What the concepts do on the corpus; the maxima also over their own texts, which the corpus may not hold."""
    import torch

    points, _ = corpus_points(lm.tokenizer, SITE, CORPUS_POINTS)
    found = statistics_of(reft, points.residuals)
    maximum: Tensor = torch.maximum(found.maximum, torch.tensor(on_texts))
    corpus = f"{found.corpus}; maxima also over the concepts' own texts"
    return dataclasses.replace(found, maximum=maximum, corpus=corpus)


def _file(concept: Concept) -> Path:
    return WORK / f"{concept.name.replace(' ', '-').replace('/', '-')}.json"


if __name__ == "__main__":
    main()
