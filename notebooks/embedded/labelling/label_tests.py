"""The held-out texts that test a label: where the feature fires, hard negatives, random ones."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from embedded.features.sampled_activations import Array, SampledActivations

if TYPE_CHECKING:
    from steerwidgets.dictionaries.sae.sae import SAE
    from steerwidgets.model import LanguageModel

BEFORE: Final = 18
AFTER: Final = 6
_FIRING: Final = (2, 3)
_HARD: Final = 2
_TEXTS: Final = 13
_STOP_WORDS: Final = frozenset(
    ("about", "after", "also", "from", "like", "that", "their", "this", "with", "word", "words")
)


@dataclass(frozen=True)
class Snippet:
    """Some tokens of a row.

    Attributes:
        row: which row.
        first: the first token.
        last: the one after the last.
        kind: why it is in a sheet: `fires`, `same token`, `near feature`, `label's words`, `random`.
    """

    row: int
    first: int
    last: int
    kind: str


def around(row: int, position: int, length: int, kind: str) -> Snippet:
    """The snippet around a token; the row's first token is left out, being an attention sink."""
    return Snippet(int(row), max(1, int(position) - BEFORE), min(length, int(position) + AFTER + 1), kind)


def spread(rows: Array, strongest: int, weaker: int) -> list[int]:
    """Entries of different rows: the strongest ones, and some evenly over the rest."""
    entries: list[int] = np.sort(np.unique(rows, return_index=True)[1]).tolist()
    rest = entries[strongest:]
    steps = np.linspace(0, max(len(rest) - 1, 0), min(weaker, len(rest))).astype(int).tolist()
    return entries[:strongest] + [rest[step] for step in steps]


class HeldOutTexts:
    """Draws the held-out texts that test a label."""

    def __init__(self, lm: LanguageModel, sae: SAE, heldout: SampledActivations) -> None:
        import torch

        self.lm, self.heldout = lm, heldout
        vectors = torch.nn.functional.normalize(torch.stack([sae.vector(i) for i in range(sae.size)]), dim=1)
        self.nearest: list[list[int]] = (vectors @ vectors.T).fill_diagonal_(-1).topk(8).indices.tolist()
        self.length = heldout.tokens.shape[1]

    def of(self, feature: int, label: str, seed: int) -> list[Snippet]:
        """Snippets in random order: where it fires, hard negatives, random ones."""
        draw = random.Random(f"{seed} {feature}")
        rows, positions, _ = self.heldout.of(feature)
        fires = {(int(r), int(p)) for r, p in zip(rows, positions, strict=True)}
        picked = [around(rows[i], positions[i], self.length, "fires") for i in spread(rows, *_FIRING)]
        for found in (self._same_tokens(rows, positions), self._near(feature), self._of_words(label)):
            picked += self._quiet(found, fires, picked, draw)[:_HARD]
        picked += self._quiet(self._anywhere(draw), fires, picked, draw)[: _TEXTS - len(picked)]
        draw.shuffle(picked)
        return picked

    def _quiet(
        self, found: list[Snippet], fires: set[tuple[int, int]], picked: list[Snippet], draw: random.Random
    ) -> list[Snippet]:
        """Those in which the feature does not fire anywhere, of rows that are not in the sheet yet, in random order."""
        rows = {snippet.row for snippet in picked}
        kept = {}
        for snippet in draw.sample(found, len(found)):
            span = range(snippet.first, snippet.last)
            if snippet.row not in rows and not any((snippet.row, position) in fires for position in span):
                kept[snippet.row] = snippet
        return list(kept.values())

    def _same_tokens(self, rows: Array, positions: Array) -> list[Snippet]:
        peaks = set(self.heldout.tokens[rows[:5], positions[:5]].tolist())
        where = np.argwhere(np.isin(self.heldout.tokens, list(peaks)))
        return [around(row, position, self.length, "same token") for row, position in where[:400]]

    def _near(self, feature: int) -> list[Snippet]:
        found = []
        for near in self.nearest[feature]:
            rows, positions, _ = self.heldout.of(near)
            found += [around(r, p, self.length, "near feature") for r, p in zip(rows[:20], positions[:20], strict=True)]
        return found

    def _of_words(self, label: str) -> list[Snippet]:
        words = [word for word in re.findall(r"[a-z]{4,}", label.lower()) if word not in _STOP_WORDS]
        ids = {id_ for word in words for id_ in self._ids(word)}
        where = np.argwhere(np.isin(self.heldout.tokens, list(ids)))
        return [around(row, position, self.length, "label's words") for row, position in where[:400]]

    def _ids(self, word: str) -> list[int]:
        spelled = [self.lm.tokenizer(form, add_special_tokens=False).input_ids for form in (f" {word}", word)]
        return [ids[0] for ids in spelled if len(ids) == 1]

    def _anywhere(self, draw: random.Random) -> list[Snippet]:
        rows = [draw.randrange(len(self.heldout.tokens)) for _ in range(60)]
        return [around(row, draw.randrange(BEFORE, self.length), self.length, "random") for row in rows]

    def text(self, snippet: Snippet) -> str:
        """The snippet as the labeller sees it."""
        ids = self.heldout.tokens[snippet.row, snippet.first : snippet.last].tolist()
        return "".join(token.text for token in self.lm.tokens(ids)).replace("\n", "⏎")
