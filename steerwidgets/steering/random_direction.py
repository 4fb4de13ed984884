"""The control of a steer: the same change, as long at every position, along a direction drawn at random."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

from steerwidgets.files.shown import shown

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RandomDirection:
    """A random direction that takes the place of a steer's own.

    What a steer does with it tells what a change of that size does whatever its direction: a placebo, as the random
    vectors of equal norm are that steering vectors are compared with (Turner et al. 2023, "Activation Addition").

    Args:
        seed: which direction; features of other vectors get others from the same seed.

    Raises:
        TypeError: the seed is no whole number.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        seed: Any = self.seed
        if isinstance(seed, bool) or not isinstance(seed, Integral):
            raise TypeError(f"The seed of a random direction is a whole number, but {shown(seed)} was given.")
        object.__setattr__(self, "seed", int(seed))

    def unit(self, vector: Tensor) -> Tensor:
        """The direction for a feature: the same for the same seed and vector in every session.

        Args:
            vector: float32 [width], the feature's stored direction; only its numbers matter, not where it lives.

        Returns:
            float32 [width], of unit norm, drawn evenly from all directions.
        """
        import torch

        digest = hashlib.sha256(f"{self.seed} ".encode() + vector.detach().float().cpu().numpy().tobytes()).digest()
        drawn = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
        direction: Tensor = torch.randn(len(vector), generator=drawn)
        unit: Tensor = direction / direction.norm()
        return unit

    def instead_of(self, change: Tensor, vector: Tensor, unit: Tensor) -> Tensor:
        """`sign(δ·v) · ‖δ‖ · û` at each position: as long as the change, forward where it went forward along `v`.

        Args:
            change: float32 [..., width], what the steer does, `δ`.
            vector: float32 [width], its own direction `v`.
            unit: float32 [width], the random direction `û` (`unit`).

        Returns:
            float32 [..., width].
        """
        return instead_of(change, vector, unit)

    def to_json(self) -> dict[str, int]:
        """As a recipe keeps it."""
        return {"seed": self.seed}

    @classmethod
    def from_json(cls, value: Any) -> RandomDirection | None:
        """The inverse of `to_json`; None stands for no control.

        Raises:
            ValueError: it is something else.
        """
        if value is None:
            return None
        seed = value.get("seed") if isinstance(value, Mapping) else None
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise ValueError(
                f'A steer\'s control is {{"seed": a whole number}}, or null, but {shown(value)} was given.'
            )
        return cls(seed)


def instead_of(change: Tensor, vector: Tensor, unit: Tensor) -> Tensor:
    """The formula of `RandomDirection.instead_of`."""
    import torch

    forward = torch.where(change @ vector < 0, -1.0, 1.0)
    replaced: Tensor = (forward * change.norm(dim=-1))[..., None] * unit
    return replaced
