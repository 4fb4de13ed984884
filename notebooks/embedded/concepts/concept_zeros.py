"""Finds where the colour scale of each shipped concept vector begins: what held-out texts without the concept give.

`python -m embedded.concepts.concept_zeros` reads the held-out texts of `heldout.json` (entries of WordNet, and rows of
the corpus) and those of `demo/concepts`, and writes each concept's zero, the 95th percentile of the tokens of those
without it, into the statistics of the files in `cavs/`, and the 99.5th percentile of all tokens above it; vectors and
fingerprints stay as they are.

A text is one without a steering concept where it is of another concept of `demo/concepts` or neutral, and holds no word
of the concept's list. It is one without a category of WordNet where it is another entry of WordNet or neutral. Rows of
the corpus have no labels; those that hold no word of a steering concept's list count for that concept.

Needs `python -m embedded.concepts.wordnet_cavs` and `python -m embedded.concepts.make_heldout` first.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from embedded import BLOCK, CAV_FOLDER
from embedded.concepts.concept_texts import NEUTRAL, WORDNET, WRITTEN, written
from embedded.concepts.make_heldout import HELD_OUT
from embedded.concepts.steering_cavs import CONCEPTS
from embedded.concepts.wordnet_cavs import REPORT, in_words, write
from embedded.features.measured import NAME, write_report
from steerwidgets.dictionaries.cav.cav import CAV
from steerwidgets.dictionaries.pooling import own_words
from steerwidgets.dictionaries.statistics import FeatureStatistics
from steerwidgets.dictionaries.zeros import ZERO_OF, highs, zeros
from steerwidgets.transformer import prompts
from steerwidgets.transformer.residuals import read_residuals

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import Prompt

CORPUS: Final = "corpus"
"""The source of rows of the corpus, which have no labels."""
_CORPUS: Final = f"{NAME} and held-out texts of the concepts"
_BATCH: Final = 16


@dataclass(frozen=True)
class Held:
    """A held-out text.

    Attributes:
        prompt: its tokens.
        text: the text.
        labels: what it is about, in the words of the dictionaries.
        source: `written`, `wordnet` or `corpus`.
    """

    prompt: Prompt
    text: str
    labels: frozenset[str]
    source: str


def main() -> None:
    """Read, and write every file of `cavs/` again."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    from steerwidgets.model import LanguageModel

    lm = LanguageModel.demo()
    cavs = [CAV.load(path) for path in sorted(CAV_FOLDER.glob("*.safetensors"))]
    texts = list(held_texts(lm))
    words = json.loads((CONCEPTS / "word_lists.json").read_text(encoding="utf-8"))
    for cav, values in zip(cavs, read(lm, texts, cavs), strict=True):
        cav.statistics = with_zeros(cav, texts, values, words)
    write(cavs)
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    del report["file"]
    write_report(REPORT, report, CAV_FOLDER / f"{BLOCK}.safetensors")
    sys.stdout.write(f"zeros of {len(cavs)} blocks from {len(texts)} texts: {ZERO_OF}\n")


def held_texts(lm: LoadedModel) -> Iterator[Held]:
    """The held-out texts at hand."""
    held = json.loads(HELD_OUT.read_text(encoding="utf-8"))
    for text in written():
        if text.held_out:
            yield Held(prompts.encode(lm.tokenizer, text.text, chat=False), text.text, text.labels, WRITTEN)
    for entry in held["texts"]:
        labels = frozenset(map(in_words, entry["labels"]))
        yield Held(prompts.encode(lm.tokenizer, entry["text"], chat=False), entry["text"], labels, WORDNET)
    for row in held["rows"]:
        yield Held(lm.encode(row["ids"]), lm.tokenizer.decode(row["ids"]), frozenset(), CORPUS)


def read(lm: LoadedModel, texts: Sequence[Held], cavs: Sequence[CAV]) -> list[list[Tensor]]:
    """For each dictionary and each text, float32 [token, concept] of the text's own words."""
    import torch

    order = sorted(range(len(texts)), key=lambda i: len(texts[i].prompt))
    sites = [cav.site for cav in cavs]
    found: list[dict[int, Tensor]] = [{} for _ in cavs]
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        batch = [texts[i].prompt for i in rows]
        with lm.lock, torch.no_grad():
            residuals = read_residuals(lm.architecture, [prompt.token_ids for prompt in batch], sites)
        for values, cav in zip(found, cavs, strict=True):
            kept = own_words(residuals, cav.site, batch)
            for i, h, keep in zip(rows, residuals.values[cav.site], kept, strict=True):
                values[i] = cav.encode(h[keep])
    return [[values[i] for i in range(len(texts))] for values in found]


def with_zeros(
    cav: CAV, texts: Sequence[Held], values: Sequence[Tensor], words: Mapping[str, Sequence[str]]
) -> FeatureStatistics:
    """What is known of a dictionary, with the zero of each of its concepts."""
    import torch

    without = torch.tensor([[is_without(text, label, words.get(label)) for label in cav.labels] for text in texts])
    lengths = torch.tensor([len(each) for each in values])
    assert cav.statistics is not None
    tokens = torch.cat(list(values))
    zero = zeros(tokens, without.repeat_interleave(lengths, 0))
    return replace(
        cav.statistics,
        maximum=torch.maximum(cav.statistics.maximum, tokens.amax(0)),
        p995=highs(tokens, zero),
        corpus=_CORPUS,
        zero=zero,
        zero_of=ZERO_OF,
    )


def is_without(text: Held, label: str, words: Sequence[str] | None) -> bool:
    """Whether a text is one without a concept; see the module."""
    if label in text.labels:
        return False
    if words is None:
        return text.source == WORDNET or NEUTRAL in text.labels
    return not {*words} & {*re.findall(r"[a-z]+", text.text.casefold())}


if __name__ == "__main__":
    main()
