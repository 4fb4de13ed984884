"""Where features fire on the corpus: every activation of a dictionary, sorted by feature.

`python -m embedded.features.sampled_activations` reads a sample of the training rows and all held-out rows, each into
a file of `build/dictionaries/sampled/`, which labelling and scoring look into.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from tqdm import tqdm

from embedded.features.measured import Rows, corpus_rows
from embedded.share import scaled

if TYPE_CHECKING:
    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.model import LanguageModel

WORK: Final = Path("build/dictionaries")
FIRST: Final = 2
"""The first position that counts: one of the first two tokens of a row is an attention sink, most often the first."""

_BATCH: Final = 16

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class SampledActivations:
    """All activations above zero, sorted by feature and then from the strongest down.

    Attributes:
        tokens: int [row, position], what was read.
        source: str [row], where each row is from.
        start: int [feature + 1], where each feature's entries begin.
        row: int [entry].
        position: int [entry].
        value: float32 [entry].
    """

    tokens: Array
    source: Array
    start: Array
    row: Array
    position: Array
    value: Array

    def of(self, feature: int) -> tuple[Array, Array, Array]:
        """A feature's rows, positions and values, from the strongest down."""
        mine = slice(self.start[feature], self.start[feature + 1])
        return self.row[mine], self.position[mine], self.value[mine]

    @property
    def size(self) -> int:
        """How many features there are."""
        return len(self.start) - 1

    def save(self, path: Path) -> None:
        """Write one npz."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls, path: Path) -> SampledActivations:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as held:
            return cls(**{name: held[name] for name in held.files})


def read(lm: LanguageModel, dictionary: Dictionary, corpus: Rows) -> SampledActivations:
    """Read rows of tokens; masked tokens and the first two of each row do not count.

    Args:
        lm: the model.
        dictionary: whose features.
        corpus: what to read.
    """
    tokens = np.asarray(corpus.ids)
    rows, positions, features, values = [], [], [], []
    for first, found in _activations(lm, dictionary, tokens):
        found[~corpus.mask[first : first + len(found)]] = 0
        found[:, :FIRST] = 0
        row, position, feature = np.nonzero(found)
        rows.append((row + first).astype(np.int32))
        positions.append(position.astype(np.int16))
        features.append(feature.astype(np.int32))
        values.append(found[row, position, feature])
    feature, value = np.concatenate(features), np.concatenate(values)
    order = np.lexsort((-value, feature))
    start = np.searchsorted(feature[order], np.arange(dictionary.size + 1))
    return SampledActivations(
        tokens,
        np.asarray(corpus.sources),
        start,
        np.concatenate(rows)[order],
        np.concatenate(positions)[order],
        value[order].astype(np.float32),
    )


def _activations(lm: LanguageModel, dictionary: Dictionary, tokens: Array) -> Iterator[tuple[int, Array]]:
    import torch

    from steerwidgets.transformer.residuals import read_residuals

    for first in tqdm(range(0, len(tokens), _BATCH), unit="batch"):
        batch = tokens[first : first + _BATCH].tolist()
        # Twice as fast on a CPU; the residual itself stays float32.
        with lm.lock, torch.autocast("cpu", torch.bfloat16):
            residuals = read_residuals(lm.architecture, batch, [dictionary.site])
        h = residuals.values[dictionary.site]
        yield first, (dictionary.encode(h) * residuals.counted(dictionary.site)[..., None]).numpy()


def main() -> None:
    """Read both parts of the corpus with the shipped SAE."""
    parser = argparse.ArgumentParser(description="Find where the embedded SAE's features fire on the corpus.")
    parser.add_argument("--rows", type=int, default=scaled(1200, 60), help="training rows to read, of 128 tokens")
    parser.add_argument("--heldout-rows", type=int, default=scaled(960, 60), help="held-out rows to read")
    settings = parser.parse_args()

    from steerwidgets.dictionaries.sae.sae import SAE
    from steerwidgets.model import LanguageModel

    lm, sae = LanguageModel.demo(), SAE.demo()
    for part, count in (("train", settings.rows), ("heldout", settings.heldout_rows)):
        rows = corpus_rows(count, held_out=part == "heldout")
        read(lm, sae, rows).save(WORK / "sampled" / f"{part}.npz")


if __name__ == "__main__":
    main()
