"""Places drawn evenly from where a feature is active, by strength and from all; features that go together.

What `make_features` adds to the strongest places. Windows are shorter than those, so that the shipped file stays small.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

from embedded.features.corpus_activations import CorpusActivations, values_in
from steerwidgets.dictionaries.evidence import value_levels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


BANDS: Final = 3
OF_EACH: Final = 2
AROUND: Final = 8
"""Tokens on either side."""
COACTIVE: Final = 5
_TOKENS_AT_ONCE: Final = 4096


def samples(activations: CorpusActivations, size: int, names: Sequence[str]) -> dict[str, Tensor]:
    """The arrays `quantiles.…` and `random.…` of `FeatureData`.

    Bands are equal parts of the range from 0 to a feature's maximum; no two places of a band are in one row of texts.
    """
    import numpy as np
    import torch

    drawn = np.random.default_rng(0)
    bounds = np.zeros((size, BANDS, 2), dtype=np.float32)
    quantiles, random = _Windows((size, BANDS, OF_EACH)), _Windows((size, OF_EACH))
    for feature in range(size):
        at, value = activations.of(feature)
        if not len(at):
            continue
        order = drawn.permutation(len(at))
        edges = np.linspace(float(value.max()), 0, BANDS + 1, dtype=np.float32)
        for band, (high, low) in enumerate(itertools.pairwise(edges)):
            bounds[feature, band] = low, high
            # The lower end of the band belongs to the one below it.
            inside = order[(value[order] > low) & (value[order] <= high)]
            for rank, token in enumerate(_apart(activations, at[inside])):
                quantiles.put((feature, band, rank), activations, feature, token, names)
        for rank, token in enumerate(_apart(activations, at[order])):
            random.put((feature, rank), activations, feature, token, names)
    bounded = {"quantiles.bounds": torch.from_numpy(bounds).half()}
    return quantiles.arrays("quantiles.") | random.arrays("random.") | bounded


def coactive(activations: CorpusActivations, size: int) -> dict[str, Tensor]:
    """The arrays `coactive.…` of `FeatureData`: n11 / √(n1·n2) over all tokens read."""
    import numpy as np
    import torch

    from steerwidgets.corpus import pairs
    from steerwidgets.corpus.firing import Firing

    feature = np.repeat(np.arange(size, dtype=np.int32), np.diff(activations.starts))
    by_token = np.argsort(activations.token, kind="stable")
    table = pairs.Pairs.empty(size)
    edges = np.searchsorted(
        activations.token[by_token], np.arange(0, len(activations.row) + _TOKENS_AT_ONCE, _TOKENS_AT_ONCE)
    )
    for first, last in itertools.pairwise(edges):
        # Back into the order of features, which the table is written in.
        part = np.sort(by_token[first:last])
        nothing = np.zeros(size, dtype=np.float32)
        table.add(Firing(feature[part], activations.token[part].astype(np.int64), activations.value[part], 0, nothing))
    keys, both = table.sparse()
    active = np.diff(activations.starts).astype(np.float64)
    strength = both / np.sqrt(active[keys // size] * active[keys % size])
    ids, values = pairs.strongest(keys, strength, size, COACTIVE)
    return {
        "coactive.ids": torch.from_numpy(ids).to(torch.uint16),
        "coactive.values": torch.from_numpy(values).half(),
    }


def _apart(activations: CorpusActivations, tokens: Any) -> list[int]:
    """The first tokens of which no two are in one row."""
    found: dict[int, int] = {}
    for token in tokens:
        found.setdefault(int(activations.row[token]), int(token))
        if len(found) == OF_EACH:
            break
    return list(found.values())


class _Windows:
    """Arrays of windows, filled one by one."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        import numpy as np

        self.tokens = np.zeros((*shape, 2 * AROUND + 1), dtype=np.int64)
        self.values = np.zeros((*shape, 2 * AROUND + 1), dtype=np.float32)
        self.small = {name: np.zeros(shape, dtype=np.uint8) for name in ("lengths", "peaks", "sources")}

    def put(
        self, place: tuple[int, ...], activations: CorpusActivations, feature: int, token: int, names: Sequence[str]
    ) -> None:
        row, position = int(activations.row[token]), int(activations.position[token])
        window = slice(max(0, position - AROUND), min(activations.texts.shape[1], position + AROUND + 1))
        ids = activations.texts[row][window]
        self.tokens[place][: len(ids)] = ids
        self.values[place][: len(ids)] = values_in(activations, feature, row, window)
        self.small["lengths"][place] = len(ids)
        self.small["peaks"][place] = position - window.start
        self.small["sources"][place] = names.index(activations.sources[row])

    def arrays(self, group: str) -> dict[str, Tensor]:
        import torch

        values = torch.from_numpy(self.values)
        tops = values.amax(-1)
        found = {
            "tokens": torch.from_numpy(self.tokens).to(torch.uint16),
            "values": value_levels(values, tops),
            "tops": tops.half(),
            **{name: torch.from_numpy(array) for name, array in self.small.items()},
        }
        return {group + name: array for name, array in found.items()}
