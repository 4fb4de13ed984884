"""Which features of a dictionary point the same way as a direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from steerwidgets.transformer.plain_text import table

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.steering.recipe import Direction, Feature
    from steerwidgets.transformer.sites import Site

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


class HasDirections(Protocol):
    """A dictionary, as far as its directions are compared."""

    @property
    def kind(self) -> str:
        """What it is called."""
        ...

    @property
    def site(self) -> Site:
        """Where its directions live."""
        ...

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def vector(self, index: int) -> Tensor:
        """One of them."""
        ...

    def directions(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Some of them."""
        ...


def nearest(dictionary: HasDirections, direction: Direction, k: int) -> tuple[list[int], tuple[float, ...]]:
    """The indices of the `k` features that point most nearly as a direction does, and their cosines.

    Raises:
        ValueError: the direction lives at another site, or `k` is below 1.
    """
    if k < 1:
        raise ValueError(f"nearest gives k features, 1 or more, but k={k!r} was given.")
    top = cosines(dictionary, direction).topk(min(k, dictionary.size))
    return top.indices.tolist(), tuple(top.values.tolist())


def cosines(dictionary: HasDirections, direction: Direction) -> Tensor:
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


def _cosines(dictionary: HasDirections, vector: Tensor, start: int) -> Tensor:
    import torch

    rows = dictionary.directions(start, start + _CHUNK)
    return torch.nn.functional.cosine_similarity(rows, vector.to(rows.device)[None], dim=-1).cpu()
