"""The density of a mixture of factor analysers; what does not depend on the point is computed once.

A component is a Gaussian `N(μ_k, W_k W_kᵀ + Ψ_k)` with a few loadings `W_k` [d_model, rank] and a diagonal `Ψ_k`. With
`M = I + WᵀΨ⁻¹W = LLᵀ` (Woodbury) and `B = Ψ⁻¹W L⁻ᵀ`, the Mahalanobis distance is `(x−μ)ᵀΨ⁻¹(x−μ) − ‖Bᵀ(x−μ)‖²`, the
log-determinant is `ln|Ψ| + 2 Σ ln diag L`, and the latent's posterior mean is `E[z|x,k] = L⁻ᵀ Bᵀ(x−μ)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_PREPARED: Final = 64
"""Components that are prepared at once, in float64."""

_NUMBERS: Final = 2**24
"""Numbers that an intermediate result may hold: 64 MB in float32."""


@dataclass(frozen=True)
class Terms:
    """All of the density that does not depend on the point; K components of rank q.

    Attributes:
        shift: [d_model], taken off a point first, so that little is lost to rounding.
        precision: [K or 1, d_model], Ψ⁻¹.
        weighted: [K, d_model], Ψ⁻¹(μ − shift).
        projection: [d_model, K, q], B.
        projected: [K, q], Bᵀ(μ − shift).
        constant: [K], all that is added to the Mahalanobis distance.
        cholesky: [K, q, q], L.
    """

    shift: Tensor
    precision: Tensor
    weighted: Tensor
    projection: Tensor
    projected: Tensor
    constant: Tensor
    cholesky: Tensor

    def to(self, device: torch.device) -> Terms:
        """The same terms on another device."""
        return Terms(**{each.name: getattr(self, each.name).to(device) for each in fields(self)})

    def of(self, component: int) -> Terms:
        """The terms of one component alone."""
        one = slice(component, component + 1)
        precision = self.precision if len(self.precision) == 1 else self.precision[one]
        projection = self.projection[:, one]
        rest = (each[one] for each in (self.projected, self.constant, self.cholesky))
        return Terms(self.shift, precision, self.weighted[one], projection, *rest)


def prepare(mu: Tensor, loadings: Tensor, noise: Tensor, shift: Tensor) -> Terms:
    """The terms of some components; differentiable.

    Args:
        mu: [K, d_model].
        loadings: [K, d_model, q].
        noise: [K or 1, d_model], the diagonal of Ψ.
        shift: [d_model].
    """
    import torch

    scaled = loadings / noise[..., None]
    rank = loadings.shape[-1]
    inner = torch.einsum("kdi,kdj->kij", loadings, scaled) + torch.eye(rank, dtype=mu.dtype, device=mu.device)
    cholesky = torch.linalg.cholesky(inner)
    projection = torch.linalg.solve_triangular(cholesky.mT, scaled, upper=True, left=False)
    from_shift = mu - shift
    weighted = from_shift / noise
    log_determinant = noise.log().sum(-1) + 2 * cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    constant = mu.shape[-1] * math.log(2 * math.pi) + log_determinant + (weighted * from_shift).sum(-1)
    projected = torch.einsum("kdq,kd->kq", projection, from_shift)
    return Terms(shift, 1 / noise, weighted, projection.permute(1, 0, 2), projected, constant, cholesky)


def prepare_once(mu: Tensor, loadings: Callable[[slice], Tensor], noise: Tensor, shift: Tensor) -> Terms:
    """The terms of every component, computed in float64 a few at a time and kept in float32.

    Args:
        mu: [K, d_model].
        loadings: gives those of a slice of components, [n, d_model, q].
        noise: [K or 1, d_model].
        shift: [d_model].
    """
    import torch

    mu, noise, shift = mu.double(), noise.double(), shift.double()
    chunks = [slice(start, start + _PREPARED) for start in range(0, len(mu), _PREPARED)]
    of_chunk: Callable[[slice], Tensor] = lambda chunk: noise if len(noise) == 1 else noise[chunk]
    parts = []
    for chunk in chunks:
        exact = prepare(mu[chunk], loadings(chunk).double(), of_chunk(chunk), shift)
        parts.append({each.name: getattr(exact, each.name).float() for each in fields(exact)})
    joined = {
        name: torch.cat([part[name] for part in parts], dim=1 if name == "projection" else 0)
        for name in ("weighted", "projection", "projected", "constant", "cholesky")
    }
    return Terms(shift=shift.float(), precision=(1 / noise).float(), **joined)


def projections(x: Tensor, terms: Terms) -> Tensor:
    """`Bᵀ(x − μ_k)` for every component: [n, K, q] of x [n, d_model]."""
    flat: Tensor = (x - terms.shift) @ terms.projection.flatten(1)
    return flat.view(-1, *terms.projected.shape) - terms.projected


def log_densities(x: Tensor, terms: Terms) -> Tensor:
    """`ln p(x|k)` for every component; differentiable.

    Args:
        x: [n, d_model].
        terms: of K components.

    Returns:
        [n, K].
    """
    y = x - terms.shift
    distance = y.square() @ terms.precision.T - 2 * (y @ terms.weighted.T)
    captured = projections(x, terms).square().sum(-1)
    return -0.5 * (terms.constant + distance - captured)


def latents(x: Tensor, terms: Terms) -> Tensor:
    """`E[z|x,k]` for every component, in the loadings' own coordinates: [n, K, q] of x [n, d_model]."""
    import torch

    u = projections(x, terms).transpose(0, 1)
    solved: Tensor = torch.linalg.solve_triangular(terms.cholesky, u, upper=False, left=False)
    return solved.transpose(0, 1)


def row_chunks(x: Tensor, terms: Terms) -> Iterator[Tensor]:
    """The rows of x, as many at a time as keep an intermediate result small."""
    import torch

    return iter(torch.split(x, max(1, _NUMBERS // max(1, terms.projected.numel()))))
