"""Evidence of a dictionary's features over some texts, gathered naively: plain forward passes, sorting, counting."""

from __future__ import annotations

import math
from typing import Any

import torch

from steerwidgets.dictionaries.evidence import Evidence, Example, Quantile

BINS = 10
TEXTS = (
    "The user asks the assistant about the ocean and the system answers.",
    "You are a helpful assistant. Name a city by the sea, please.",
    "Would a wormhole let you travel through time? Nobody knows the answer.",
    "def main(): return the value of the function and print the result",
    "The sea and the city: nobody asks the user about travel by sea.",
)


def read(lm: Any, dictionary: Any, ids: Any) -> Any:
    """The residual of one text as transformers gives it, and which of its positions count: all but the first."""
    hidden = lm.model(torch.tensor([ids]), output_hidden_states=True).hidden_states[dictionary.site.layer + 1][0]
    counts = torch.tensor([i > 0 and token not in lm.special_ids for i, token in enumerate(ids)])
    return hidden.detach().float(), counts


class Gathered:
    """What `Dictionary.feature_data` takes."""

    corpus = "five sentences"

    def __init__(self, lm: Any, dictionary: Any, texts: Any = TEXTS, *, more: Any = True) -> None:
        self._dictionary = dictionary
        self._more = more
        self.ids = [tuple(lm.tokenizer(text)["input_ids"]) for text in texts]
        self._values = []
        for ids in self.ids:
            h, counts = read(lm, dictionary, ids)
            values = dictionary.encode(h).detach().masked_fill(~counts[:, None], 0.0)
            self._values.append(values)

    def __len__(self) -> Any:
        return self._dictionary.size

    def __getitem__(self, index: Any) -> Any:
        examples = []
        for number, (ids, values) in enumerate(zip(self.ids, self._values, strict=True)):
            column = values[:, index]
            peak = int(column.argmax())
            if column[peak] > 0:
                examples.append(Example(ids, tuple(column.tolist()), peak, f"sentence {number}"))
        examples.sort(key=lambda each: -each.values[each.peak])
        every = torch.cat([values[:, index] for values in self._values])
        top = float(every.max().clamp_min(0))
        counts = torch.histc(every[every > 0], BINS, 0, top).int().tolist() if top else [0] * BINS
        cosines = torch.nn.functional.cosine_similarity(
            torch.stack([self._dictionary.vector(i) for i in range(len(self))]), self._dictionary.vector(index)[None]
        )
        cosines[index] = -math.inf
        near = cosines.topk(3)
        bands = ()
        if self._more and examples:
            half = top / 2
            strong = tuple(each for each in examples if each.values[each.peak] >= half)
            weak = tuple(each for each in examples if each.values[each.peak] < half)
            bands = (Quantile(half, top, strong), *((Quantile(0.0, half, weak),) if weak else ()))
        return Evidence(
            index,
            tuple(examples[:3]),
            tuple(counts),
            top,
            ((65, 0.5), (66, 0.25)),
            ((67, -0.5),),
            tuple(zip(near.indices.tolist(), near.values.tolist(), strict=True)),
            bands,
            tuple(examples[:2]) if self._more else (),
            ((0, 0.75), (2, 0.5)) if self._more else (),
        )
