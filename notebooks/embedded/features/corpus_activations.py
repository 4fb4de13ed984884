"""All activations of a dictionary on tokens that were read, with the texts that they are in."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from embedded.sae.activations import Part

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.dictionaries.base import Dictionary

_CHUNK: Final = 2048


@dataclass(frozen=True)
class CorpusActivations:
    """Every activation above 0, ordered by feature and within it by token.

    Attributes:
        token: int32 [activation], which of the tokens read.
        value: float32 [activation].
        starts: int64 [feature + 1], where each feature's begin.
        row: int32 [token], which row of the texts each token is in.
        position: int32 [token], and where in it.
        texts: int [row, position], the token ids.
        sources: the source of each row.
    """

    token: Any
    value: Any
    starts: Any
    row: Any
    position: Any
    texts: Any
    sources: Any

    def of(self, feature: int) -> tuple[Any, Any]:
        """Where a feature is active, and how strongly."""
        at = slice(self.starts[feature], self.starts[feature + 1])
        return self.token[at], self.value[at]


def read_corpus(dictionary: Dictionary, parts: Sequence[Part], tokens: int) -> CorpusActivations:
    """All activations of a dictionary on about so many tokens, evenly from the parts; whole rows."""
    import numpy as np
    import torch

    pieces: list[tuple[Any, Any, Any]] = []
    places, texts, sources, started = [], [], [], time.monotonic()
    share, read, rows_before = tokens / len(parts), 0, 0
    for number, part in enumerate(parts, 1):
        at, shard = part.places(), part.shard()
        rows = np.unique(at[:, 0])
        rows = rows[: max(1, round(len(rows) * min(1.0, share / len(at))))]
        kept = int(np.searchsorted(at[:, 0], rows[-1], side="right"))
        for first, h in _chunks(torch.from_numpy(part.values()[:kept])):
            a = dictionary.encode(h.float())
            token, feature = (column.numpy() for column in (a > 0).nonzero(as_tuple=True))
            pieces.append((token.astype(np.int32) + read + first, feature.astype(np.uint16), a[a > 0].numpy()))
        places.append(np.stack([np.searchsorted(rows, at[:kept, 0]) + rows_before, at[:kept, 1]]).astype(np.int32))
        texts.append(shard.tokens[rows])
        sources.append(shard.sources[rows])
        read, rows_before = read + kept, rows_before + len(rows)
        left = (time.monotonic() - started) / number * (len(parts) - number) / 60
        sys.stdout.write(f"\r{read:,} tokens encoded, about {left:.0f} min left  ")
        sys.stdout.flush()
    sys.stdout.write("\n")
    token, feature, value = (np.concatenate(column) for column in zip(*pieces, strict=True))
    order = np.argsort(feature, kind="stable")
    starts = np.searchsorted(feature[order], np.arange(dictionary.size + 1))
    row, position = np.concatenate(places, axis=1)
    return CorpusActivations(
        token[order], value[order], starts, row, position, np.concatenate(texts), np.concatenate(sources)
    )


def values_in(activations: CorpusActivations, feature: int, row: int, window: slice) -> Any:
    """A feature's activation at each token of a window of a row; float32 [token]."""
    import numpy as np

    at, value = activations.of(feature)
    first, last = np.searchsorted(activations.row, [row, row + 1])
    inside = slice(*np.searchsorted(at, [first, last]))
    whole = np.zeros(activations.texts.shape[1], dtype=np.float32)
    whole[activations.position[at[inside]]] = value[inside]
    return whole[window]


def _chunks(h: Tensor) -> Iterator[tuple[int, Tensor]]:
    for first in range(0, len(h), _CHUNK):
        yield first, h[first : first + _CHUNK]
