"""What a mixture of factor analysers says of residuals: likelihoods, responsibilities, latents, coordinates."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

import einops

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from steerwidgets.dictionaries.mfa.file import Checkpoint
    from steerwidgets.transformer.sites import Site


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
    inner = einops.einsum(loadings, scaled, "component d i, component d j -> component i j") + torch.eye(
        rank, dtype=mu.dtype, device=mu.device
    )
    cholesky = torch.linalg.cholesky(inner)
    projection = torch.linalg.solve_triangular(cholesky.mT, scaled, upper=True, left=False)
    from_shift = mu - shift
    weighted = from_shift / noise
    log_determinant = noise.log().sum(-1) + 2 * cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    constant = mu.shape[-1] * math.log(2 * math.pi) + log_determinant + (weighted * from_shift).sum(-1)
    projected = einops.einsum(projection, from_shift, "component d rank, component d -> component rank")
    projection = einops.rearrange(projection, "component d rank -> d component rank")
    return Terms(shift, 1 / noise, weighted, projection, projected, constant, cholesky)


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
    of_shift: Tensor = einops.einsum(
        x - terms.shift, terms.projection, "point d, d component rank -> point component rank"
    )
    return of_shift - terms.projected


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

    u = einops.rearrange(projections(x, terms), "point component rank -> component point rank")
    solved = torch.linalg.solve_triangular(terms.cholesky, u, upper=False, left=False)
    found: Tensor = einops.rearrange(solved, "component point rank -> point component rank")
    return found


def row_chunks(x: Tensor, terms: Terms) -> Iterator[Tensor]:
    """The rows of x, as many at a time as keep an intermediate result small."""
    import torch

    return iter(torch.split(x, max(1, _NUMBERS // max(1, terms.projected.numel()))))


_LOADED: Final = 64
"""Components whose loadings are looked at at once."""


class MixtureReading:
    """The reading side of an MFA.

    Attributes:
        checkpoint: its tensors.
        site: the place that it describes.
        centred: whether a residual's mean over d_model is taken off first.
        centroids: `μ`, float32 [component, d_model].
    """

    checkpoint: Checkpoint
    site: Site
    centred: bool
    centroids: Tensor
    _home: torch.device | None
    _placed: dict[torch.device, Terms]
    _others_on: dict[torch.device, tuple[Tensor, Tensor]]

    @property
    def size(self) -> int:
        """How many components there are."""
        return self.checkpoint.components

    @property
    def d_model(self) -> int:
        """The width of the site."""
        return self.checkpoint.d_model

    @property
    def rank(self) -> int:
        """How many loadings each component has."""
        return self.checkpoint.rank

    @property
    def mixing(self) -> Tensor:
        """`π`, float32 [component]."""
        return self.checkpoint.log_mixing().exp().float()

    @functools.cached_property
    def mean(self) -> Tensor:
        """The mean of the whole mixture, `Σ π_k μ_k`, float32 [d_model]."""
        return self.mixing @ self.centroids

    def loadings(self, component: int) -> Tensor:
        """`W_k`, rotated where a rotation is on, float32 [d_model, rank].

        `normalise(dir_raw_k)·softplus(scale_rho_k)` as in the reference's `modeling/mfa.py`.

        Args:
            component: which.

        Returns:
            float32 [d_model, rank], in units of the residual.

        Raises:
            IndexError: there is no such component.

        Example:
            >>> mfa.loadings(0).shape
            torch.Size([32, 2])
        """
        k = self.check_component(component)
        return self.checkpoint.loadings(slice(k, k + 1), rotated=True)[0].float()

    def covariance(self, component: int) -> Tensor:
        """`W_k W_kᵀ + Ψ_k`, float32 [d_model, d_model].

        Args:
            component: which.

        Returns:
            float32 [d_model, d_model].

        Raises:
            IndexError: there is no such component.

        Example:
            >>> mfa.covariance(0).shape
            torch.Size([32, 32])
        """
        k = self.check_component(component)
        loadings = self.checkpoint.loadings(slice(k, k + 1), rotated=False)[0]
        noise = self.checkpoint.noise()
        return (loadings @ loadings.T + noise[k if len(noise) > 1 else 0].diag()).float()

    @property
    def density(self) -> tuple[Terms, Tensor]:
        """All of it that does not depend on the point, and `ln π`, float32 [component]."""
        return self._terms, self._log_mixing

    def seen(self, h: Tensor) -> Tensor:
        """A residual as the mixture sees it: float32, without its mean where `centred`.

        Args:
            h: [..., d_model].

        Returns:
            float32 [..., d_model].

        Example:
            >>> h = torch.randn(4, 32)
            >>> torch.equal(mfa.seen(h), h)  # this one is not `centred`
            True
        """
        h = h.float()
        return h - h.mean(-1, keepdim=True) if self.centred else h

    def log_likelihoods(self, h: Tensor) -> Tensor:
        """`ln p(h|k)` of every component, by Woodbury's identity as in the reference's `modeling/mfa.py`.

        Args:
            h: [..., d_model].

        Returns:
            float32 [..., component], in nats.

        Raises:
            ValueError: the residual has another width than the mixture.

        Example:
            >>> mfa.log_likelihoods(torch.randn(4, 32)).shape
            torch.Size([4, 5])
        """
        return self._by_rows(h, log_densities)

    def log_likelihood(self, h: Tensor) -> Tensor:
        """`ln p(h) = logsumexp_k(ln p(h|k) + ln π_k)`, how well the whole mixture explains a residual.

        Args:
            h: [..., d_model].

        Returns:
            float32 [...], in nats.

        Raises:
            ValueError: the residual has another width than the mixture.

        Example:
            >>> mfa.log_likelihood(torch.randn(4, 32)).shape
            torch.Size([4])
        """
        return (self.log_likelihoods(h) + self._log_mixing_on(h.device)).logsumexp(-1)

    def responsibilities(self, h: Tensor, *, tau: float = 1.0) -> Tensor:
        """`softmax((ln p(h|k) + ln π_k) / tau)`, how far each component explains a residual (arXiv 2602.02464).

        Args:
            h: [..., d_model].
            tau: the temperature, above 0.

        Returns:
            float32 [..., component], 0 to 1, which add up to 1.

        Raises:
            ValueError: `tau` is not above 0, or the residual has another width than the mixture.

        Example:
            >>> shares = mfa.responsibilities(torch.randn(4, 32))
            >>> torch.allclose(shares.sum(-1), torch.ones(4))
            True
        """
        if not tau > 0:
            raise ValueError(f"The temperature tau of responsibilities is above 0, but {tau!r} was given.")
        return ((self.log_likelihoods(h) + self._log_mixing_on(h.device)) / tau).softmax(-1)

    def expected_latent(self, h: Tensor, component: int) -> Tensor:
        """`E[z|h,k] = M_k⁻¹ W_kᵀ Ψ⁻¹ (h − μ_k)` with `M_k = I + W_kᵀ Ψ⁻¹ W_k`, what the model infers.

        In rotated coordinates where a rotation is on.

        Args:
            h: [..., d_model].
            component: which.

        Returns:
            float32 [..., rank], in units of the loadings.

        Raises:
            IndexError: there is no such component.
            ValueError: the residual has another width than the mixture.

        Example:
            >>> mfa.expected_latent(torch.randn(4, 32), component=0).shape
            torch.Size([4, 2])
        """
        k = self.check_component(component)
        terms = self._terms_on(self.beside(h).device).of(k)
        latent = self._by_rows(h, lambda x, _: latents(x, terms)[:, 0])
        rotation = self.checkpoint.score_rotation(k)
        return latent if rotation is None else latent @ rotation.to(h.device, latent.dtype)

    def latent_covariance(self, component: int) -> Tensor:
        """`Cov[z|h,k] = M_k⁻¹`, the same for every h.

        Args:
            component: which.

        Returns:
            float32 [rank, rank].

        Raises:
            IndexError: there is no such component.

        Example:
            >>> mfa.latent_covariance(0).shape
            torch.Size([2, 2])
        """
        import torch

        k = self.check_component(component)
        covariance = torch.cholesky_inverse(self._terms.cholesky[k].double())
        rotation = self.checkpoint.score_rotation(k)
        return (covariance if rotation is None else rotation.T @ covariance @ rotation).float()

    def reconstruct(self, h: Tensor) -> Tensor:
        """`Σ r_k (μ_k + W_k E[z|h,k])`, as the reference's `reconstruct`.

        Args:
            h: [..., d_model].

        Returns:
            float32 [..., d_model].

        Raises:
            ValueError: the residual has another width than the mixture.

        Example:
            >>> mfa.reconstruct(torch.randn(4, 32)).shape
            torch.Size([4, 32])
        """
        return self._by_rows(h, self._reconstructed)

    def coordinates(self, h: Tensor, component: int) -> Tensor:
        """Least squares on the component's unit loadings, uncentred.

        What the reference plots; neither `expected_latent` nor the `z` of `pull`.

        Args:
            h: [..., d_model].
            component: which.

        Returns:
            float32 [..., rank], in units of the residual.

        Raises:
            IndexError: there is no such component.
            ValueError: the residual has another width than the mixture.

        Example:
            >>> mfa.coordinates(torch.randn(4, 32), component=0).shape
            torch.Size([4, 2])
        """
        unit = self.unit_loadings(component).to(h.device)
        solver = (unit.T @ unit).pinverse() @ unit.T
        return self._by_rows(h, lambda x, _: (x.double() @ solver.T).float())

    def moves(self, z: Sequence[float]) -> Tensor:
        """`W_k·z` of every component, the second stage of the reference's `intervention/mfa_steering.py`.

        Args:
            z: one number for each loading.

        Returns:
            float32 [component, d_model], in units of the residual.

        Example:
            >>> mfa.moves([20.0, -10.0]).shape
            torch.Size([5, 32])
        """
        import torch

        chunks = (slice(start, start + _LOADED) for start in range(0, self.size, _LOADED))
        loadings = (self.checkpoint.loadings(chunk, rotated=True) for chunk in chunks)
        return torch.cat([(each @ each.new_tensor(z)).float() for each in loadings])

    def unit_loadings(self, component: int) -> Tensor:
        """The loadings of a component at unit length, float64 [d_model, rank].

        Args:
            component: which.

        Returns:
            float64 [d_model, rank].

        Raises:
            IndexError: there is no such component.

        Example:
            >>> torch.allclose(mfa.unit_loadings(0).norm(dim=0), torch.ones(2).double())
            True
        """
        loadings = self.loadings(component).double()
        unit: Tensor = loadings / loadings.norm(dim=0).clamp_min(1e-8)
        return unit

    def check_component(self, k: int) -> int:
        """The index itself.

        Args:
            k: the index.

        Returns:
            `k`.

        Raises:
            IndexError: there is no such component.

        Example:
            >>> mfa.check_component(4)
            4
        """
        if isinstance(k, bool) or not isinstance(k, int) or not 0 <= k < self.size:
            raise IndexError(f"This MFA has components 0 to {self.size - 1}, but {k!r} was asked for.")
        return k

    @functools.cached_property
    def _terms(self) -> Terms:
        loadings: Callable[[slice], Tensor] = lambda which: self.checkpoint.loadings(which, rotated=False)
        noise = self.checkpoint.noise()
        return prepare_once(self.checkpoint.state["mu"], loadings, noise, self.mean)

    def beside(self, h: Tensor) -> Tensor:
        """Residuals where they are computed with: where the mixture was told to live, or else where they are.

        Args:
            h: [..., d_model].

        Returns:
            The same, on that device.

        Example:
            >>> mfa.beside(torch.randn(4, 32)).device
            device(type='cpu')
        """
        return h if self._home is None else h.to(self._home)

    def centroids_on(self, device: torch.device) -> Tensor:
        """The centroids on a device; they are moved there once.

        Args:
            device: as torch has it.

        Returns:
            float32 [component, d_model].

        Example:
            >>> mfa.centroids_on(torch.device("cpu")).shape
            torch.Size([5, 32])
        """
        return self._on(device)[0]

    def _log_mixing_on(self, device: torch.device) -> Tensor:
        return self._on(device)[1]

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._others_on:
            self._others_on[device] = self.centroids.to(device), self._log_mixing.to(device)
        return self._others_on[device]

    def _terms_on(self, device: torch.device) -> Terms:
        if device not in self._placed:
            self._placed[device] = self._terms.to(device)
        return self._placed[device]

    @functools.cached_property
    def _log_mixing(self) -> Tensor:
        return self.checkpoint.log_mixing().float()

    def _by_rows(self, h: Tensor, of: Callable[[Tensor, Terms], Tensor]) -> Tensor:
        """What a function of points [n, d_model] gives, for points of any shape, a few at a time."""
        import torch

        if h.shape[-1:] != (self.d_model,):
            raise ValueError(
                f"This MFA describes {self.d_model} numbers at {self.site}, but got shape {list(h.shape)}."
            )
        x = self.beside(h)
        terms = self._terms_on(x.device)
        flat = self.seen(x).reshape(-1, self.d_model)
        out = torch.cat([of(chunk, terms) for chunk in row_chunks(flat, terms)])
        return out.reshape(*h.shape[:-1], *out.shape[1:]).to(h.device)

    def _reconstructed(self, x: Tensor, terms: Terms) -> Tensor:
        densities = log_densities(x, terms) + self._log_mixing_on(x.device)
        shares = densities.softmax(-1)
        weighted = latents(x, terms) * shares[..., None]
        out = shares @ self.centroids_on(x.device)
        for start in range(0, self.size, _LOADED):
            chunk = slice(start, start + _LOADED)
            loadings = self.checkpoint.loadings(chunk, rotated=False).float().to(x.device)
            out = out + einops.einsum(weighted[:, chunk], loadings, "point component rank, component d rank -> point d")
        return out
