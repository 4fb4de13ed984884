"""Corpora for the tests, and a reference that holds every activation in memory and looks at each with plain loops."""

from __future__ import annotations

import dataclasses
import random
from collections import defaultdict
from typing import Any

import torch

from support import naive
from support.toks import SENTENCES

WORDS = " ".join(SENTENCES).split()


def texts(count: Any, seed: Any = 0, longest: Any = 30) -> Any:
    drawn = random.Random(seed)
    return [" ".join(drawn.choices(WORDS, k=drawn.randint(2, longest))) for _ in range(count)]


class Reference:
    """Every activation of a dictionary on texts, one text at a time, unpadded."""

    def __init__(self, lm: Any, dictionary: Any, prompts: Any) -> None:
        self.values, self.ids, self.counted = [], [], []
        site = (dictionary.site.layer, dictionary.site.stream)
        for prompt in prompts:
            ids = list(lm.encode(prompt, chat=False).token_ids)
            encoded = lm.encode(prompt, chat=False)
            h = naive.streams(lm.model, ids, [site])[site]
            norms = h.norm(dim=-1)
            # The median of all but the first, the lower one of two, as torch has it.
            median = norms[1:].median() if len(ids) > 1 else torch.tensor(float("inf"))
            counted = torch.ones(len(ids), dtype=torch.bool)
            counted[0] = False
            counted &= norms <= 10 * median
            for position, (special, template) in enumerate(zip(encoded.special, encoded.template, strict=True)):
                counted[position] &= not (special or template)
            self.values.append(dictionary.encode(h).double().float())
            self.ids.append(ids)
            self.counted.append(counted)

    @property
    def tokens(self) -> Any:
        return int(sum(int(each.sum()) for each in self.counted))

    def firing(self, feature: Any, above: Any = 0.0) -> Any:
        """(value, text, position) wherever a feature is active and the token counts."""
        return [
            (float(values[position, feature]), text, position)
            for text, (values, counted) in enumerate(zip(self.values, self.counted, strict=True))
            for position in range(len(values))
            if counted[position] and values[position, feature] > above
        ]

    def strongest(self, feature: Any, k: Any, above: Any = 0.0) -> Any:
        """The largest values that no two texts and no two endings of three tokens share."""
        best: dict[Any, Any] = {}
        of_text = defaultdict(list)
        for value, text, position in self.firing(feature, above):
            of_text[text].append((value, -position))
        for text, found in of_text.items():
            value, at = max(found)
            ending = tuple(self.ids[text][max(0, -at - 2) : -at + 1])
            ending = (None,) * (3 - len(ending)) + ending
            best[ending] = max(best.get(ending, 0.0), value)
        return sorted(best.values(), reverse=True)[:k]

    def together(self, one: Any, other: Any, above: Any = 0.0) -> Any:
        """How many counted tokens have both features."""
        return sum(
            int(((values[:, one] > above) & (values[:, other] > above) & counted).sum())
            for values, counted in zip(self.values, self.counted, strict=True)
        )


def assert_same(one: Any, other: Any, dictionaries: Any) -> None:
    """Two indexes say the same of every feature, to the last bit."""
    for dictionary in dictionaries:
        mine, theirs = one.of(dictionary), other.of(dictionary)
        assert mine.tokens == theirs.tokens
        for name in ("maximum", "typical", "p995", "density"):
            arrays = (getattr(each.statistics, name) for each in (mine, theirs))
            assert torch.equal(*(array.nan_to_num(-1) for array in arrays)), name
        for feature in range(dictionary.size):
            assert dataclasses.replace(mine[feature], nearest=()) == dataclasses.replace(theirs[feature], nearest=())
        assert mine.lowest.tolist() == theirs.lowest.tolist()
    assert (one.texts, one.empty, one.tokens) == (other.texts, other.empty, other.tokens)
