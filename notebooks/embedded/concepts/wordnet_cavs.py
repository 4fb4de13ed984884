"""Makes the concept vectors shipped for the embedded model: steering concepts, and WordNet's categories.

`python -m embedded.concepts.wordnet_cavs` takes the steering concepts of `steering_cavs.py` (differences in means at
block 15, with strengths that were chosen and tested) as they are, puts WordNet's categories beside them, and does the
same at every useful block, that is where the mean held-out AUROC is within `USEFUL` of the best block's.

A category's vector is the difference in means between its texts and WordNet's others, unit norm; AUROC and accuracy are
of texts that were held out, against WordNet's other held-out texts. A steering concept's vector is made from all of its
texts, with the neutral texts as the other side, as at block 15; its AUROC is of the same vector made without the
held-out texts, against the other concepts' and the neutral held-out texts.

Categories are called by what they are (`wordnet_names.json`), "acts and actions" for `noun.act`, and so are they in the
report, which keeps WordNet's own names beside.

Needs `python -m embedded.concepts.steering_cavs` and `python -m embedded.concepts.concept_texts` first. Writes
`cavs/` and `cavs_report.json`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from embedded import BLOCK, CAV_FEATURES, CAV_FOLDER, SHIPPED
from embedded.concepts.concept_texts import (
    BLOCKS,
    NEUTRAL,
    TOKENS_AT,
    WRITTEN,
    Reading,
    Text,
    load_reading,
    load_texts,
    wordnet_labels,
)
from embedded.concepts.steering_cavs import STEERING_FILE, STEERING_REPORT
from embedded.features.measured import corpus_rows, read_rows, statistics_of, write_report
from embedded.share import scaled
from steerwidgets.dictionaries.cav.cav import CAV
from steerwidgets.dictionaries.cav.directions import fit_directions
from steerwidgets.dictionaries.reports import ConceptScore
from steerwidgets.transformer.sites import Site

if TYPE_CHECKING:
    from torch import Tensor

REPORT: Final = SHIPPED / "cavs_report.json"
USEFUL: Final = 0.02
NAMES: Final[Mapping[str, str]] = json.loads((Path(__file__).parent / "wordnet_names.json").read_text(encoding="utf-8"))
"""WordNet's files and synsets in words."""

CORPUS_ROWS: Final = scaled(128, 8)


@dataclass(frozen=True)
class _Fit:
    """One label at one block."""

    vector: Tensor
    score: ConceptScore


def main() -> None:
    """Fit, choose the blocks, measure, write."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    texts = load_texts()
    reading = load_reading(texts)
    steering = CAV.load(STEERING_FILE)
    categories = wordnet_labels(texts)
    fits = {block: _fit_block(texts, reading, block, steering, categories) for block in BLOCKS}
    means = {block: _mean_auroc(found) for block, found in fits.items()}
    useful = [block for block in BLOCKS if means[block] >= max(means.values()) - USEFUL]
    shipped = sorted({*useful, BLOCK})
    sys.stdout.write(f"mean held-out AUROC: {means}; useful: {useful}\n")
    cavs = [_dictionary(block, fits[block], steering, texts) for block in shipped]
    _measure(cavs, reading)
    write(cavs)
    CAV_FEATURES.unlink(missing_ok=True)  # it was of the ones before; `make_more_features` gathers it again
    report = {
        "steering": json.loads(STEERING_REPORT.read_text(encoding="utf-8")),
        "blocks": {str(block): {"mean_auroc": means[block], "useful": block in useful} for block in BLOCKS},
        "detection": {in_words(label): _lines(fits, label) for label in fits[BLOCK]},
    }
    write_report(REPORT, report, CAV_FOLDER / f"{BLOCK}.safetensors")
    size = sum(file.stat().st_size for file in CAV_FOLDER.iterdir())
    sys.stdout.write(f"{CAV_FOLDER.name}: {size / 1e6:.2f} MB\n")


def write(cavs: Sequence[CAV], folder: Path = CAV_FOLDER) -> None:
    """Write CAVs of several blocks, a file each; float32 at the chosen block, float16 at the others.

    Files of blocks that are not among them go.
    """
    import torch

    folder.mkdir(exist_ok=True)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    for each in cavs:
        path = folder / f"{each.site.layer}.safetensors"
        each.save(path, dtype=torch.float32 if each.site.layer == BLOCK else torch.float16)
        path.chmod(0o644)  # safetensors are written for their owner alone


def in_words(label: str) -> str:
    """What a label of WordNet means; every other label as it is."""
    return NAMES.get(label, label)


def _fit_block(
    texts: Sequence[Text], reading: Reading, block: int, steering: CAV, categories: Sequence[str]
) -> dict[str, _Fit]:
    import torch

    vectors = reading.means[block]
    is_test = torch.tensor([text.held_out for text in texts])
    is_written = torch.tensor([text.source == WRITTEN for text in texts])
    is_neutral = torch.tensor([NEUTRAL in text.labels for text in texts])
    has: dict[str, Tensor] = {
        label: torch.tensor([label in text.labels for text in texts]) for label in (*steering.labels, *categories)
    }
    found = {}
    for row, label in enumerate(steering.labels):
        both = is_written & (has[label] | is_neutral | is_test)
        score = _fit(vectors, has[label], both, is_test, label).score
        whole = _unit(vectors[has[label]].mean(0) - vectors[is_neutral].mean(0))
        found[label] = _Fit(steering.vectors[row] if block == steering.site.layer else whole, score)
    for label in categories:
        found[label] = _fit(vectors, has[label], ~is_written, is_test, label)
    return found


def _fit(vectors: Tensor, positive: Tensor, among: Tensor, is_test: Tensor, label: str) -> _Fit:
    """The difference in means of a label's texts and the others among those given, scored on the held-out ones."""
    rows, report = fit_directions(
        vectors[among], positive[among].long(), is_test[among], ("the rest", label), "mean_difference", seed=0
    )
    return _Fit(rows[1], report.scores[1])


def _unit(vector: Tensor) -> Tensor:
    unit: Tensor = vector / vector.norm()
    return unit


def _mean_auroc(fits: dict[str, _Fit]) -> float:
    return round(statistics.mean(fit.score.auroc for fit in fits.values()), 4)


def _dictionary(block: int, fits: dict[str, _Fit], steering: CAV, texts: Sequence[Text]) -> CAV:
    import torch

    chosen = block == steering.site.layer
    suggested = [feature.suggested for feature in steering] if chosen else [None] * len(steering)
    return CAV(
        torch.stack([fit.vector for fit in fits.values()]),
        [*map(in_words, fits)],
        layer=block,
        suggested=[*suggested, *[None] * (len(fits) - len(steering))],
        provenance={
            **steering.provenance,
            "made by": "embedded.concepts.steering_cavs and embedded.concepts.wordnet_cavs",
            "categories": f"difference in means of {sum(t.source != WRITTEN for t in texts)} texts of WordNet 3.0 "
            "(© Princeton University), each label against the others, unit norm",
            "strengths": steering.provenance["strengths"] if chosen else "none at this block",
            "stored as": "float32" if chosen else "float16",
        },
    )


def _measure(cavs: Sequence[CAV], reading: Reading) -> None:
    """What every concept does on the corpus, in place; at `TOKENS_AT`, maxima also over the concepts' own texts."""
    import torch

    from steerwidgets.model import LanguageModel

    lm = LanguageModel.demo()
    sites: list[Site] = [cav.site for cav in cavs]
    values, _ = read_rows(lm, corpus_rows(CORPUS_ROWS, held_out=False), sites, fast=True)
    words = torch.cat([h[own] for h, own in zip(reading.residuals, reading.own, strict=True)])
    for cav in cavs:
        found = statistics_of(cav, values[cav.site])
        if cav.site == Site(TOKENS_AT):
            largest = torch.maximum(found.maximum, cav.encode(words).amax(0))
            corpus = f"{found.corpus}; maxima also over the concepts' own texts"
            found = replace(found, maximum=largest, corpus=corpus)
        cav.statistics = found


def _lines(fits: dict[int, dict[str, _Fit]], label: str) -> dict[str, Any]:
    by_block = {
        str(block): [round(found[label].score.auroc, 3), round(found[label].score.accuracy, 3)]
        for block, found in fits.items()
    }
    score = fits[BLOCK][label].score
    named = {"wordnet": label} if label in NAMES else {}
    return {**named, "held_out": [score.positives, score.negatives], "auroc_and_accuracy": by_block}


if __name__ == "__main__":
    main()
