"""Attention sinks: the positions whose ‖h‖ is out of all proportion, which every norm-based readout leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

SINK_RATIO: Final = 10.0
"""A position whose ‖h‖ is above this many times the median is an attention sink."""


def sink_threshold(norms: Tensor, counted: Tensor) -> Tensor:
    """The norm above which a position counts as an attention sink: ten times the row's median.

    Args:
        norms: float32 [batch, position], ‖h‖.
        counted: bool [batch, position], the positions that the median is taken over.

    Returns:
        float32 [batch, 1]; infinite for a row with nothing to count.
    """
    import torch

    median = torch.where(counted, norms, torch.nan).nanmedian(dim=-1, keepdim=True).values
    threshold: Tensor = torch.where(median.isnan(), torch.inf, SINK_RATIO * median)
    return threshold


def causal_sink_thresholds(early: Tensor) -> Tensor:
    """`sink_threshold` for every position by what stands before it, where nobody knows how long the prompt is.

    The median for position t is taken over positions 1 to t, so that it does not matter how a text is cut into
    forward passes; from the last column on it stays what it is there.

    Args:
        early: float32 [batch, n], ‖h‖ at positions 1 to n; NaN where nothing was read yet.

    Returns:
        float32 [batch, n].
    """
    import torch

    n = early.shape[1]
    before = torch.ones(n, n, dtype=torch.bool, device=early.device).tril()
    medians = torch.where(before, early[:, None, :], torch.nan).nanmedian(dim=-1).values
    thresholds: Tensor = torch.where(medians.isnan(), torch.inf, SINK_RATIO * medians)
    return thresholds


def attention_sinks(norms: Tensor, absolute: Tensor, threshold: Tensor) -> Tensor:
    """Position 0, even where no BOS stands, and every position above the threshold.

    Args:
        norms: float32 [batch, position].
        absolute: int [batch, position], -1 for padding.
        threshold: float32 [batch, 1] or [batch, position].

    Returns:
        bool [batch, position].
    """
    return (absolute == 0) | (norms > threshold)
