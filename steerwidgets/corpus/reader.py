"""Reads batches of texts with a model and its dictionaries; in other processes too."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steerwidgets.corpus.firing import Batch, Firing, fire
from steerwidgets.transformer.residuals import read_residuals

if TYPE_CHECKING:
    from steerwidgets.corpus.texts import Piece
    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.transformer.loaded import LoadedModel


@dataclass
class Reader:
    """Reads pieces with one forward pass for all dictionaries.

    Attributes:
        lm: the model.
        dictionaries: whose features.
    """

    lm: LoadedModel
    dictionaries: Sequence[Dictionary]

    def fire(self, pieces: Sequence[Piece], sources: Sequence[int]) -> tuple[Batch, list[Firing]]:
        """What fires in some pieces, each with the number of its source."""
        import numpy as np
        import torch

        sites = sorted({dictionary.site for dictionary in self.dictionaries})
        with self.lm.lock:
            residuals = read_residuals(self.lm.architecture, [piece.ids.tolist() for piece in pieces], sites)
        own = torch.from_numpy(np.concatenate([piece.own for piece in pieces]))
        kept = {}
        for site in sites:
            # Row by row, and so in the order of the batch's tokens.
            h = residuals.values[site][residuals.real]
            counted = residuals.counted(site)[residuals.real] & own & torch.isfinite(h).all(dim=-1)
            kept[site] = h[counted], counted.nonzero()[:, 0].numpy()
        firings = [fire(each, *kept[each.site], each.active_above) for each in self.dictionaries]
        return Batch.of(pieces, sources), firings


def told_apart(lm: LoadedModel) -> dict[str, Any]:
    """What tells a model from others: its name and sizes, and a hash of the first numbers of all its weights."""
    import torch

    digest = hashlib.blake2b(digest_size=8)
    for name, parameter in lm.model.named_parameters():
        digest.update(f"{name} {tuple(parameter.shape)}".encode())
        if not parameter.is_meta:
            digest.update(parameter.detach().reshape(-1)[:16].to("cpu", torch.float32).numpy().tobytes())
    architecture = lm.architecture
    return {
        "model": architecture.name,
        "layers": architecture.layers,
        "d_model": architecture.d_model,
        "weights": digest.hexdigest(),
    }
