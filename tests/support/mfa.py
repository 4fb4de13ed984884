"""Mixtures of factor analysers from their definition, dense Gaussians in float64; nothing of steerwidgets is used."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.distributions import MultivariateNormal


def make_state(
    components: int, width: int, rank: int, *, seed: int = 0, per_component: bool = False, rotation: str | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """A random state_dict and meta of the reference; rotated by an orthogonal (varimax) or oblique (oblimin) matrix."""
    noise = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=noise)
    state = {
        "mu": 2 * draw(components, width),
        "dir_raw": draw(components, width, rank) / math.sqrt(width),
        "scale_rho": 1 + draw(components, rank),
        "psi_rho": 1 + 0.5 * (draw(components, width) if per_component else draw(width)),
        "pi_logits": draw(components),
    }
    turned = torch.eye(rank).repeat(components, 1, 1)
    if rotation == "varimax":
        turned = torch.linalg.qr(draw(components, rank, rank)).Q
    elif rotation == "oblimin":
        turned = turned + 0.2 * draw(components, rank, rank)
    state |= {"_rot_T": turned, "_rot_inv_Tt": torch.linalg.inv(turned.mT)}
    meta = {
        "K": components,
        "D": width,
        "q": rank,
        "psi_per_component": per_component,
        "eps_floor": 1e-5,
        "dtype": "torch.float32",
        "version": 1,
        "rotation_on": rotation is not None,
        "rotation_kind": rotation,
        "rotation_params": {"gamma": 0.0} if rotation else {},
    }
    return state, meta


class Reference:
    """What the numbers of a state_dict mean, one component at a time."""

    def __init__(self, state: dict[str, torch.Tensor], *, eps: float = 1e-5, rotated: bool = False) -> None:
        self.state = {name: value.double() for name, value in state.items()}
        self.mu, self.eps, self.rotated = self.state["mu"], eps, rotated
        self.pi = torch.exp(self.state["pi_logits"]) / torch.exp(self.state["pi_logits"]).sum()

    def loadings(self, k: int) -> torch.Tensor:
        raw, rho = self.state["dir_raw"][k], self.state["scale_rho"][k]
        return torch.stack(
            [raw[:, j] / raw[:, j].norm() * torch.logaddexp(rho[j], 0 * rho[j]) for j in range(len(rho))], 1
        )

    def turned(self, k: int) -> torch.Tensor:
        return self.loadings(k) @ self.state["_rot_inv_Tt"][k] if self.rotated else self.loadings(k)

    def noise(self, k: int) -> torch.Tensor:
        rho = self.state["psi_rho"]
        rho = rho if rho.ndim == 1 else rho[k]
        return torch.logaddexp(rho, 0 * rho) + self.eps

    def covariance(self, k: int) -> torch.Tensor:
        return self.loadings(k) @ self.loadings(k).T + torch.diag(self.noise(k))

    def log_likelihoods(self, x: torch.Tensor) -> torch.Tensor:
        gaussians = [MultivariateNormal(self.mu[k], self.covariance(k)) for k in range(len(self.mu))]
        return torch.stack([each.log_prob(x.double()) for each in gaussians], -1)

    def log_likelihood(self, x: torch.Tensor) -> torch.Tensor:
        weighed = self.log_likelihoods(x) + torch.log(self.pi)
        largest = weighed.max(-1).values
        return largest + torch.log(torch.exp(weighed - largest[..., None]).sum(-1))

    def responsibilities(self, x: torch.Tensor, tau: float = 1.0) -> torch.Tensor:
        weighed = (self.log_likelihoods(x) + torch.log(self.pi)) / tau
        weighed = torch.exp(weighed - weighed.max(-1, keepdim=True).values)
        return weighed / weighed.sum(-1, keepdim=True)

    def latent(self, x: torch.Tensor, k: int) -> torch.Tensor:
        """The regression of z on x: their joint Gaussian has Cov(z, x) = Wᵀ."""
        latent = (x.double() - self.mu[k]) @ torch.linalg.inv(self.covariance(k)) @ self.loadings(k)
        return latent @ self.state["_rot_T"][k] if self.rotated else latent

    def latent_covariance(self, k: int) -> torch.Tensor:
        w, turn = self.loadings(k), self.state["_rot_T"][k]
        covariance = torch.eye(w.shape[1]).double() - w.T @ torch.linalg.inv(self.covariance(k)) @ w
        return turn.T @ covariance @ turn if self.rotated else covariance

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        shares = self.responsibilities(x)
        parts = [
            shares[..., k, None] * (self.mu[k] + self.latent(x, k) @ self.turned(k).T) for k in range(len(self.mu))
        ]
        return torch.stack(parts).sum(0)

    def two_stage(self, h: torch.Tensor, a: float, z: list[Any] | None, k: int | None) -> torch.Tensor:
        """Steering as the reference writes it: first the centroid, then the loadings; `k=None` by responsibility."""
        h = h.double()
        shares = self.responsibilities(h)
        centroid = self.mu[k] if k is not None else shares @ self.mu
        first = h + a * (centroid - h)
        if z is None:
            return first
        if isinstance(z[0], list):  # one z for each component: Σ r_k (W_k z_k)
            moves = torch.stack([self.turned(j) @ torch.tensor(z[j]).double() for j in range(len(self.mu))])
            return first + shares @ moves
        move = torch.tensor(z).double()
        if k is not None:
            return first + self.turned(k) @ move
        effective: Any = sum(shares[..., j, None, None] * self.turned(j) for j in range(len(self.mu)))
        return first + effective @ move
