"""Which features of a dictionary point the same way as a direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from steerwidgets.transformer.plain_text import table

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.steering.recipe import Direction, Feature

_CHUNK: Final = 4096
"""Features that are looked at at once."""


@dataclass(frozen=True, repr=False)
class Nearest:
    """The features whose directions have the largest cosines with one direction, from the largest down.

    Attributes:
        features: the features.
        cosines: their cosines, −1 to 1.
    """

    features: tuple[Feature, ...]
    cosines: tuple[float, ...]

    def __repr__(self) -> str:
        rows = [
            [feature.index, feature.label, cosine] for feature, cosine in zip(self.features, self.cosines, strict=True)
        ]
        return table(["index", "feature", "cosine"], rows)


def nearest(dictionary: Dictionary, direction: Direction, k: int) -> Nearest:
    """The `k` features that point most nearly as a direction does; see `Dictionary.nearest`."""
    if k < 1:
        raise ValueError(f"nearest gives k features, 1 or more, but k={k!r} was given.")
    top = cosines(dictionary, direction).topk(min(k, dictionary.size))
    return Nearest(tuple(dictionary[int(i)] for i in top.indices), tuple(top.values.tolist()))


def cosines(dictionary: Dictionary, direction: Direction) -> Tensor:
    """The cosine of every feature's direction with one direction, float32 [feature].

    Raises:
        ValueError: the direction lives at another site, or has another width.
    """
    import torch

    vector = direction.vector
    if direction.site != dictionary.site or len(vector) != len(dictionary.vector(0)):
        raise ValueError(
            f"{direction.label!r} is {len(vector)} numbers at {direction.site}, and the {dictionary.kind} dictionary "
            f"has directions of {len(dictionary.vector(0))} at {dictionary.site}; only those of one site are compared."
        )
    return torch.cat([_cosines(dictionary, vector, start) for start in range(0, dictionary.size, _CHUNK)])


def _cosines(dictionary: Dictionary, vector: Tensor, start: int) -> Tensor:
    import torch

    rows = dictionary.directions(start, start + _CHUNK)
    return torch.nn.functional.cosine_similarity(rows, vector.to(rows.device)[None], dim=-1).cpu()
