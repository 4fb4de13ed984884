"""What an MFA steers with: one of its components, or the whole mixture weighted by responsibility."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from steerwidgets import interventions
from steerwidgets.interventions import Op
from steerwidgets.steer import Feature, Steer

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from steerwidgets.dictionaries.mfa import MFA
    from steerwidgets.dictionaries.mfa_points import ComponentPoints, Context, Points

Z = Mapping[int, float] | Sequence[float]
"""A move along the loadings: a number for some of them by index, or one for each."""


@dataclass(frozen=True, eq=False, repr=False)
class MFAFeature(Feature):
    """A component of an MFA.

    Its direction, which has cosines and read-outs and can be added, is `μ_k` minus the mean of the whole mixture: what
    sets the component apart, and not what all residuals share. Its activation is its responsibility, 0 to 1.
    """

    mfa: MFA = field(kw_only=True)

    @property
    def ops(self) -> Mapping[str, Op]:
        """`pull`, and the ops of a direction that every feature takes."""
        return interventions.mfa_ops(self.mfa.rank)

    def activation(self, h: Tensor) -> Tensor:
        """The component's responsibility: float32 [...] of h [..., d_model]."""
        return self.mfa.responsibilities(h)[..., self.index]

    def change(self, op: str, parameters: Mapping[str, float | None], h: Tensor) -> Tensor:
        """The change of an op, as for every direction."""
        if op != "pull":
            return super().change(op, parameters, h)
        mu, loadings = self._centroid_on(h.device)
        a, z = _numbers(parameters)
        return interventions.mfa_pull(self.mfa.seen(h), mu, a, loadings @ loadings.new_tensor(z))

    def pull(self, a: float, z: Z | None = None, **by_name: float) -> Steer:
        """Move towards the centroid, then along the loadings: `h + a·(μ_k − h) + W_k·z`.

        Args:
            a: the share of the way, 0 to 1; it does not scale the second move.
            z: a number for some loadings, as `{0: 20, 8: -10}`, or one for each; in units of the loadings, rotated
                where the MFA's rotation is on. These are neither the coordinates of a plot nor `E[z|x,k]`.
            by_name: the same as recipes write it: `z0=20, z8=-10`.

        Raises:
            ValueError: there is no such loading, `z` has a wrong length, or a number is not finite.
        """
        return _pull(self, self.mfa.rank, a, z, by_name)

    def contexts(self, points: Points, **settings: Any) -> tuple[Context, ...]:
        """The points that it explains best, as `MFA.contexts` finds them."""
        return self.mfa.contexts(points, [self.index], **settings)[self.index]

    def points(self, points: Points, **settings: Any) -> ComponentPoints:
        """The points that belong to it, with their coordinates, as `MFA.component_points` finds them."""
        return self.mfa.component_points(points, self.index, **settings)

    def _centroid_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        placed: dict[torch.device, tuple[Tensor, Tensor]] = self.__dict__.setdefault("_centroids", {})
        if device not in placed:
            placed[device] = self.mfa.centroids[self.index].to(device), self.mfa.loadings(self.index).to(device)
        return placed[device]


@dataclass(frozen=True, eq=False, repr=False)
class MFAMixture(Feature):
    """All components of an MFA at once, each weighted by its responsibility: the reference's `k=None`.

    Its index is None, as `mfa[None]`. Its activation is `ln p(h)`, how well the mixture explains a residual.
    """

    index: int | None = None  # type: ignore[assignment]  # a recipe finds it by this, as it finds features by numbers
    mfa: MFA = field(kw_only=True)

    @property
    def ops(self) -> Mapping[str, Op]:
        """`pull` alone."""
        return {"pull": interventions.mfa_ops(self.mfa.rank)["pull"]}

    def activation(self, h: Tensor) -> Tensor:
        """`ln p(h)`: float32 [...] of h [..., d_model]."""
        return self.mfa.log_likelihood(h)

    def change(self, op: str, parameters: Mapping[str, float | None], h: Tensor) -> Tensor:  # noqa: ARG002 - one op
        """The change of `pull`; responsibilities are read from `h` before any change, as in the reference."""
        a, z = _numbers(parameters)
        centroids = self.mfa.centroids.to(h.device)
        responsibilities = self.mfa.responsibilities(h)
        return interventions.mfa_pull_mixture(
            self.mfa.seen(h), responsibilities, centroids, a, self._moves(z, h.device)
        )

    def pull(self, a: float, z: Z | None = None, **by_name: float) -> Steer:
        """`h + a·(Σ r_k μ_k − h) + Σ r_k W_k·z`, with one `z` for all components; arguments as for a component.

        Raises:
            ValueError: there is no such loading, `z` has a wrong length, or a number is not finite.
        """
        return _pull(self, self.mfa.rank, a, z, by_name)

    def _moves(self, z: Sequence[float], device: torch.device) -> Tensor | None:
        """`W_k·z` of every component; the last ones are kept, since every step of a run asks for the same."""
        if not any(z):
            return None
        kept: dict[tuple[Any, ...], Tensor] = self.__dict__.setdefault("_kept", {})
        if (tuple(z), device) not in kept:
            kept.clear()
            kept[tuple(z), device] = self.mfa.moves(z).to(device)
        return kept[tuple(z), device]


def _pull(feature: Feature, rank: int, a: float, z: Z | None, by_name: Mapping[str, float]) -> Steer:
    return Steer(feature, "pull", {"a": a, **_by_name(z, rank), **by_name})


def _by_name(z: Z | None, rank: int) -> dict[str, float]:
    if z is None:
        return {}
    pairs: Iterable[tuple[Any, Any]]
    if isinstance(z, Mapping):
        pairs = z.items()
    else:
        values = z.tolist() if hasattr(z, "tolist") else z
        if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != rank:
            size = f"{len(values)} were given" if isinstance(values, Sequence) else f"{values!r} was given"
            raise ValueError(
                f"z is one number for each of the {rank} loadings, or {{loading: number}} for some, but {size}."
            )
        pairs = enumerate(values)
    named = {}
    for dimension, value in pairs:
        if isinstance(dimension, bool) or not isinstance(dimension, int) or not 0 <= dimension < rank:
            raise ValueError(
                f"This MFA has loadings 0 to {rank - 1}, but z gives a number for {dimension!r}; choose among those."
            )
        named[f"z{dimension}"] = value
    return named


def _numbers(parameters: Mapping[str, float | None]) -> tuple[float, list[float]]:
    a, *z = (value or 0.0 for value in parameters.values())
    return a, z
