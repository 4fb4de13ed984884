"""Chooses the small held-out set with which the shipped concepts and the mixture are checked again.

`python -m embedded.concepts.make_heldout` writes `heldout.json` into the package: held-out texts of a few concepts
(`CONCEPTS`), as many of others, and a few held-out rows of the corpus as token ids. `make_mfa` gives the negative
log-likelihood of those rows in its report.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from typing import Any, Final

from embedded import SHIPPED
from embedded.concepts.concept_texts import WORDNET, Text, load_texts
from embedded.concepts.reft_examples import load_concepts
from embedded.features.measured import Rows, corpus_rows

HELD_OUT: Final = SHIPPED / "heldout.json"
CONCEPTS: Final = ("outer space", "law", "music", "birds", "religion", "clothing")
EACH: Final = 20
OTHERS: Final = 120
ROWS: Final = 6
SEED: Final = 0


def main() -> None:
    """Choose and write."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    chosen = held_out_set()
    lines = ",\n".join(json.dumps(text, ensure_ascii=False) for text in chosen["texts"])
    rows = ",\n".join(json.dumps(row) for row in chosen["rows"])
    HELD_OUT.write_text(
        f'{{"concepts": {json.dumps(chosen["concepts"])},\n"texts": [\n{lines}\n],\n"rows": [\n{rows}\n]}}\n',
        encoding="utf-8",
    )
    sys.stdout.write(f"{HELD_OUT.name}: {len(chosen['texts'])} texts, {HELD_OUT.stat().st_size / 1e3:.0f} kB\n")


def held_out_set() -> dict[str, Any]:
    """The texts with their labels, and rows of token ids; of rows, only the tokens before the first masked one."""
    draw = random.Random(SEED)
    texts = [text for text in load_texts() if text.held_out and text.source == WORDNET]
    concepts = [concept for concept in load_concepts() if concept.name in CONCEPTS]
    picked: dict[str, Text] = {}
    for concept in concepts:
        mine = [text for text in texts if concept.has(text)]
        picked |= {text.text: text for text in draw.sample(mine, min(EACH, len(mine)))}
    rest = [text for text in texts if text.text not in picked]
    picked |= {text.text: text for text in draw.sample(rest, OTHERS)}
    rows = corpus_rows(ROWS, held_out=True)
    return {
        "concepts": {concept.name: sorted(concept.labels) for concept in concepts},
        "texts": [{"text": text.text, "labels": sorted(text.labels)} for text in picked.values()],
        "rows": [
            {"source": source, "ids": ids, "counted": [int(each) for each in mask]}
            for ids, mask, source in zip(rows.ids, rows.mask, rows.sources, strict=True)
        ],
    }


def small_set() -> Rows:
    """The rows of the file, to be read again."""
    import numpy as np

    rows = json.loads(HELD_OUT.read_text(encoding="utf-8"))["rows"]
    mask = np.array([row["counted"] for row in rows], dtype=bool)
    return Rows([row["ids"] for row in rows], mask, [row["source"] for row in rows])


if __name__ == "__main__":
    main()
