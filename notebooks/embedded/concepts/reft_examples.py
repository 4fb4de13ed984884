"""Which texts a ReFT-r1 concept is learned from, where it starts, and how well a direction detects."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from embedded.concepts.concept_texts import MAX_TOKENS, NEUTRAL, TOKENS_AT, Reading, Text, read
from embedded.share import scaled
from steerwidgets.dictionaries.cav.directions import auroc
from steerwidgets.dictionaries.reft.fit import Example, example_row

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.dictionaries.reft.trainer import Row
    from steerwidgets.transformer.loaded import LoadedModel

CONCEPTS_FILE: Final = Path(__file__).parent / "reft_concepts.json"
PER_SIDE: Final = scaled(20, 4)
"""Positives that a concept is trained on, and as many negatives."""
REQUESTS: Final = ("Write a sentence.", "Tell me something.", "Say something interesting.", "Write a few words.")
"""What a quarter of the texts answer, in the chat format."""
IN_CHAT: Final = 4
CHAT_TOKENS: Final = MAX_TOKENS + 48


@dataclass(frozen=True)
class Concept:
    """A concept by the labels of its texts.

    Attributes:
        name: what it is called.
        labels: a text with one of them has the concept.
        related: a text with one of these may have it too, and is no negative.
        neighbours: labels of hard negatives.
    """

    name: str
    labels: frozenset[str]
    related: frozenset[str]
    neighbours: frozenset[str]

    def has(self, text: Text) -> bool:
        """Whether a text has the concept."""
        return bool(text.labels & self.labels)

    def lacks(self, text: Text) -> bool:
        """Whether a text is surely without it."""
        return not text.labels & (self.labels | self.related)


def load_concepts(path: Path = CONCEPTS_FILE) -> list[Concept]:
    """The concepts that are trained."""
    held: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return [
        Concept(each["name"], *(frozenset(each.get(name, ())) for name in ("labels", "related", "neighbours")))
        for each in held
    ]


@dataclass(frozen=True)
class Material:
    """All labelled texts and what was read of them."""

    texts: Sequence[Text]
    reading: Reading

    def rows(self, concept: Concept, *, has: bool, held_out: bool) -> list[int]:
        """The texts with a concept or without, of one side of the split."""
        test = concept.has if has else concept.lacks
        return [i for i, text in enumerate(self.texts) if text.held_out == held_out and test(text)]

    def by_source(self, rows: Sequence[int]) -> dict[str, list[int]]:
        """Rows apart by source: a gloss and a story differ in more than the concept."""
        found: dict[str, list[int]] = {}
        for i in rows:
            found.setdefault(self.texts[i].source.partition(" ")[0], []).append(i)
        return found


def difference_in_means(material: Material, concept: Concept) -> Tensor:
    """Mean over the training texts with a concept minus mean over those without, source by source, unit norm."""
    import torch

    means = material.reading.means[TOKENS_AT]
    positive = material.by_source(material.rows(concept, has=True, held_out=False))
    negative = material.by_source(material.rows(concept, has=False, held_out=False))
    parts = [len(rows) * (means[rows].mean(0) - means[negative[source]].mean(0)) for source, rows in positive.items()]
    total = torch.stack(parts).sum(0)
    unit: Tensor = total / total.norm()
    return unit


@dataclass(frozen=True)
class Detection:
    """AUROC of the largest `relu(h·v)` over a text's own words, on held-out texts.

    Attributes:
        auroc: the mean over sources, weighted by their positives.
        by_source: each source by itself.
        positives: held-out texts with the concept.
        negatives: those without, of the same sources.
    """

    auroc: float
    by_source: dict[str, float]
    positives: int
    negatives: int


def detect(material: Material, concept: Concept, direction: Tensor) -> Detection:
    """How well a direction tells held-out texts with a concept from all others of the same source."""
    positive = material.by_source(material.rows(concept, has=True, held_out=True))
    negative = material.by_source(material.rows(concept, has=False, held_out=True))
    sides = {source: (rows, negative[source]) for source, rows in positive.items()}
    by_source = {
        source: round(auroc(*(largest(material.reading, rows, direction) for rows in pair)), 4)
        for source, pair in sides.items()
    }
    total = sum(map(len, positive.values()))
    value = sum(len(positive[source]) / total * each for source, each in by_source.items())
    return Detection(round(value, 4), by_source, total, sum(len(pair[1]) for pair in sides.values()))


def largest(reading: Reading, rows: Sequence[int], direction: Tensor) -> Tensor:
    """The largest `relu(h·v)` of some texts over their own words, float32 [text]."""
    import torch

    return torch.stack([(reading.residuals[i][reading.own[i]] @ direction).max().relu() for i in rows])


def training_rows(
    lm: LoadedModel, material: Material, concept: Concept, seed: int
) -> tuple[list[Row], dict[tuple[int, ...], Tensor]]:
    """The rows of a concept's training, a quarter of them in the chat format, and their residuals by token ids.

    Half of the negatives are neighbours of the concept.
    """
    draw = random.Random(f"{seed} {concept.name}")
    positive = _spread(material, material.rows(concept, has=True, held_out=False), PER_SIDE, draw)
    without = material.rows(concept, has=False, held_out=False)
    near = [i for i in without if material.texts[i].labels & (concept.neighbours | {NEUTRAL})]
    hard = _spread(material, near, PER_SIDE // 2, draw)
    rest = _spread(material, [i for i in without if i not in {*near}], PER_SIDE - len(hard), draw)
    rows: list[Row] = []
    residuals: dict[tuple[int, ...], Tensor] = {}
    for number, (i, is_positive) in enumerate(_together(positive, [*hard, *rest])):
        text = material.texts[i].text
        in_chat = number % IN_CHAT == 0
        example: Example = (REQUESTS[number % len(REQUESTS)], text) if in_chat else text
        row = example_row(lm, example, CHAT_TOKENS if in_chat else MAX_TOKENS, positive=is_positive)
        rows.append(row)
        if not in_chat:
            residuals[row.prompt.token_ids] = material.reading.residuals[i]
    chats = [row.prompt for row in rows if row.prompt.token_ids not in residuals]
    found = read(lm, chats, blocks=(TOKENS_AT,))
    return rows, residuals | dict(zip(found.ids, found.residuals, strict=True))


def _spread(material: Material, rows: Sequence[int], count: int, draw: random.Random) -> list[int]:
    """So many of some texts, as evenly over their sources as they allow."""
    lists = [draw.sample(mine, len(mine)) for _, mine in sorted(material.by_source(rows).items())]
    chosen: list[int] = []
    while len(chosen) < count and any(lists):
        chosen += [mine.pop() for mine in lists if mine]
    return chosen[:count]


def _together(positive: Sequence[int], negative: Sequence[int]) -> Iterator[tuple[int, bool]]:
    for i, j in zip(positive, negative, strict=False):
        yield i, True
        yield j, False


def lexicon(material: Material, concept: Concept, most: int = 80) -> list[str]:
    """Words that the training texts with a concept hold far more often than those without.

    A word counts once for each text; it stands in three texts or more, and its share among the texts with the concept
    is at least six times that among the others. The most telling come first, by share times log ratio.
    """
    import math

    with_it, without = (
        _texts_by_word([material.texts[i].text for i in material.rows(concept, has=has, held_out=False)])
        for has in (True, False)
    )
    sides = [len(material.rows(concept, has=has, held_out=False)) for has in (True, False)]
    telling: Mapping[str, float] = {
        word: count * ratio
        for word, count in with_it.items()
        if count >= 3
        and (ratio := math.log((count / sides[0]) / ((without.get(word, 0) + 0.5) / (sides[1] + 1)))) >= math.log(6)
    }
    return sorted(telling, key=lambda word: (-telling[word], word))[:most]


def _texts_by_word(texts: Sequence[str]) -> dict[str, int]:
    import re

    counts: dict[str, int] = {}
    for text in texts:
        for word in {*re.findall(r"[a-z]{3,}", text.lower())}:
            counts[word] = counts.get(word, 0) + 1
    return counts
