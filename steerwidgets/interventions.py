"""The formulas of steering: one pure function per op, tensors in, change out.

`h` is the activation before any change, float32 [..., d_model]; `v` is a stored direction [d_model] and `v̂ = v/‖v‖`.
Each function returns `h' - h`. Ops that fix a projection return the value that `h'·v̂` shall have, since several of them
at one site are solved together (`solve_projections`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

SINK_RATIO: Final = 10.0
"""A position whose ‖h‖ is above this many times the median is an attention sink."""


@dataclass(frozen=True)
class Parameter:
    """A number that an op takes; `low`, `high` and `step` are for a slider, not limits."""

    name: str
    symbol: str
    unit: str
    default: float | None
    low: float
    high: float
    step: float
    optional: bool = False


@dataclass(frozen=True)
class Op:
    """What an op is called, what it takes, and what it does, in the words that a panel shows.

    Attributes:
        sets_value: whether it gives the feature a value, so that two on one feature would contradict each other.
        fixes_projection: whether that value is `h'·v̂`, so that it is solved together with others at its site.
        skips_sinks: whether attention sinks are left out.
        identity: the numbers with which it changes nothing whatever `h` is.
    """

    name: str
    formula: str
    summary: str
    parameters: tuple[Parameter, ...] = ()
    sets_value: bool = False
    fixes_projection: bool = False
    skips_sinks: bool = False
    identity: tuple[tuple[str, float | None], ...] | None = None


_RAW = ("activation units", -100.0, 100.0, 0.5)

OPS: Final[dict[str, Op]] = {
    op.name: op
    for op in (
        Op(
            "add",
            "h + α·v",
            "add the stored direction",
            (Parameter("alpha", "α", _RAW[0], 0.0, *_RAW[1:]),),
            identity=(("alpha", 0.0),),
        ),
        Op(
            "add_relative",
            "h + α·‖h‖·v̂",
            "add a share of each position's own norm, attention sinks left out",
            (Parameter("alpha", "α", "share of ‖h‖", 0.0, -1.0, 1.0, 0.01),),
            skips_sinks=True,
            identity=(("alpha", 0.0),),
        ),
        Op("ablate", "h − (h·v̂)·v̂", "remove what lies along the direction", sets_value=True, fixes_projection=True),
        Op(
            "project",
            "h + (c − 1)·(h·v̂)·v̂",
            "multiply what lies along the direction",
            (Parameter("c", "c", "× projection (1 keeps it, 0 removes it)", 1.0, -2.0, 4.0, 0.05),),
            sets_value=True,
            fixes_projection=True,
            identity=(("c", 1.0),),
        ),
        Op(
            "clip",
            "h + (clamp(h·v̂, lo, hi) − h·v̂)·v̂",
            "keep the projection between two bounds",
            (
                Parameter("lo", "lo", "projection, open if empty", None, *_RAW[1:], optional=True),
                Parameter("hi", "hi", "projection, open if empty", None, *_RAW[1:], optional=True),
            ),
            sets_value=True,
            fixes_projection=True,
            identity=(("lo", None), ("hi", None)),
        ),
    )
}


def add(v: Tensor, alpha: float) -> Tensor:
    """`α·v`: ReFT-r1 addition, CAV, SAE decoder rows (AxBench `AdditionIntervention`).

    Returns:
        float32 [d_model], the same change at every position.
    """
    return alpha * v


def add_relative(h: Tensor, v: Tensor, alpha: float) -> Tensor:
    """`α·‖h‖·v̂` at each position, the unit that carries over between models and layers (Neuronpedia's lens steer).

    Returns:
        float32 [..., d_model]. Attention sinks are left to the caller's mask.
    """
    share: Tensor = alpha * h.norm(dim=-1, keepdim=True) * (v / v.norm())
    return share


def ablated(projection: Tensor) -> Tensor:
    """The projection after ablation: 0."""
    return projection.new_zeros(()).expand_as(projection)


def projected(projection: Tensor, c: float | None) -> Tensor:
    """The projection multiplied by `c` (Neuronpedia's orthogonal decomposition)."""
    return projection if c is None else c * projection


def clipped(projection: Tensor, lo: float | None, hi: float | None) -> Tensor:
    """The projection kept between `lo` and `hi`; None leaves that side open."""
    return projection.clamp(-math.inf if lo is None else lo, math.inf if hi is None else hi)


def projection_solver(unit_directions: Tensor) -> Tensor:
    """The matrix S with which `(target − h·v̂)ᵀ S V̂` is the smallest change that reaches every target at once.

    Single ablations overshoot when summed unless the directions are orthogonal; the joint least-squares solution in
    their span does not. Targets that contradict each other (parallel directions) are met in the least-squares sense.

    Args:
        unit_directions: float32 [k, d_model], rows of unit norm.

    Returns:
        float32 [k, k], the pseudo-inverse of the Gram matrix `V̂ V̂ᵀ`.
    """
    import torch

    gram = (unit_directions @ unit_directions.T).double()
    solver: Tensor = torch.linalg.pinv(gram, hermitian=True, rtol=1e-6).to(unit_directions.dtype)
    return solver


def solve_projections(residue: Tensor, unit_directions: Tensor, active: Tensor | None = None) -> Tensor:
    """The smallest change in the span of the directions that moves every projection by its residue.

    Args:
        residue: float32 [..., k], target − h·v̂ for each steer.
        unit_directions: float32 [k, d_model].
        active: bool [..., k], which steers act at which position; None where all of them act everywhere.

    Returns:
        float32 [..., d_model].
    """
    import torch

    if active is None:
        return residue @ projection_solver(unit_directions) @ unit_directions
    gram = unit_directions @ unit_directions.T
    both = active[..., :, None] & active[..., None, :]
    alone = torch.eye(gram.shape[0], dtype=torch.bool, device=gram.device) & ~both
    masked = torch.where(both, gram, 0.0) + alone.to(gram.dtype)
    solver = torch.linalg.pinv(masked.double(), hermitian=True, rtol=1e-6).to(gram.dtype)
    residue = torch.where(active, residue, 0.0)
    change: Tensor = (residue[..., None, :] @ solver)[..., 0, :] @ unit_directions
    return change


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
