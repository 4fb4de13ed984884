"""Weights beside residuals: they follow them to each device once, or stay where they were told to live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_CHUNK: Final = 2048
"""Columns that are converted to float32 at once, where weights are kept in 16 bits."""


class Rows:
    """A matrix of directions, [row, width], that residuals are multiplied with in float32.

    Args:
        matrix: float32, float16 or bfloat16.

    Attributes:
        matrix: the same, where it lives.
    """

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self._stays = False
        self._on: dict[torch.device, Tensor] = {}

    def move(self, device: torch.device | None, dtype: torch.dtype | None) -> None:
        """Keep it in a dtype, and on a device: what is multiplied with it comes there and goes back."""
        self._stays |= device is not None
        self.matrix = self.matrix.to(device=device, dtype=dtype)
        self._on = {}

    def products(self, h: Tensor, rows: Sequence[int] | None = None) -> Tensor:
        """`h·row` of all rows or of some: float32 [..., row], on the residuals' device.

        Args:
            h: [..., width].
            rows: which; None for all.
        """
        matrix = self._beside(h)
        x = h.float().to(matrix.device)
        return product(x, (matrix if rows is None else matrix[list(rows)]).T).to(h.device)

    def _beside(self, h: Tensor) -> Tensor:
        if self._stays or h.device == self.matrix.device:
            return self.matrix
        if h.device not in self._on:
            self._on[h.device] = self.matrix.to(h.device)
        return self._on[h.device]


def product(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight` in float32; a weight of 16 bits is never converted as a whole."""
    import torch

    if weight.dtype == torch.float32:
        return x @ weight
    if weight.shape[1] >= weight.shape[0]:
        return torch.cat([x @ columns.float() for columns in torch.split(weight, _CHUNK, dim=1)], dim=-1)
    parts = zip(torch.split(x, _CHUNK, dim=-1), torch.split(weight, _CHUNK), strict=True)
    total = x.new_zeros((*x.shape[:-1], weight.shape[1]))
    for part, rows in parts:
        total = total + part @ rows.float()
    return total
