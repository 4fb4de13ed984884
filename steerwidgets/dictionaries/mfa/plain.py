"""A mixture as what travels to a model that runs elsewhere: tensors, and the functions of `reading.py`."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from steerwidgets.dictionaries.mfa.reading import log_densities
from steerwidgets.steering.ops import mfa_move, mfa_pull, mfa_pull_mixture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from steerwidgets.dictionaries.mfa.reading import MixtureReading


class PlainMixture:
    """What a whole mixture says of residuals (`steering/plain.py` says why it is written so).

    Args:
        terms: of its density.
        log_mixing: `ln π`, float32 [component].
        centroids: float32 [component, d_model].
        centred: whether a residual's mean over d_model is taken off first.
    """

    def __init__(self, terms: Any, log_mixing: Tensor, centroids: Tensor, *, centred: bool) -> None:
        self.terms, self.log_mixing, self.centroids, self.centred = terms, log_mixing, centroids, centred

    def weighted(self, h: Tensor) -> Tensor:
        """`ln p(h|k) + ln π_k`, float32 [..., component]."""
        terms = SimpleNamespace(**{name: value.to(h.device) for name, value in vars(self.terms).items()})
        rows = seen(h, centred=self.centred).reshape(-1, h.shape[-1])
        found = log_densities(rows, terms)  # type: ignore[arg-type]  # the same names, without their class
        return found.reshape(*h.shape[:-1], -1) + self.log_mixing.to(h.device)

    def responsibility(self, component: int, h: Tensor) -> Tensor:
        """That of one component, float32 [...]."""
        return self.weighted(h).softmax(-1)[..., component]

    def log_likelihood(self, h: Tensor) -> Tensor:
        """`ln p(h)`, float32 [...]."""
        return self.weighted(h).logsumexp(-1)

    def pulled(self, loadings: Tensor, chosen: Sequence[int], h: Tensor, a: float, z: Sequence[float]) -> Tensor:
        """The change of `pull`: loadings [component, d_model, rank] of those chosen, with a z of each or one for all.

        Returns:
            float32 [..., d_model].
        """
        shares, x = self.weighted(h).softmax(-1), seen(h, centred=self.centred)
        change = mfa_pull_mixture(x, shares, self.centroids.to(h.device), a, None)
        if not any(z):
            return change
        moves = loadings.new_tensor(z).reshape(-1, loadings.shape[-1]).expand(len(loadings), -1)
        moved = (loadings @ moves[..., None])[..., 0].to(h.device)
        return change + shares[..., list(chosen)] @ moved


def seen(h: Tensor, *, centred: bool) -> Tensor:
    """A residual as a mixture sees it: float32 [..., d_model]."""
    h = h.float()
    return h - h.mean(-1, keepdim=True) if centred else h


def component_pulled(mu: Tensor, loadings: Tensor, centred: int, h: Tensor, a: float, z: Sequence[float]) -> Tensor:
    """The change of a component's `pull`, float32 [..., d_model]."""
    return mfa_pull(seen(h, centred=bool(centred)), mu.to(h.device), a, mfa_move(loadings.to(h.device), z))


def plain_mixture(mfa: MixtureReading) -> PlainMixture:
    """A mixture without its classes."""
    terms, log_mixing = mfa.density
    values = SimpleNamespace(**{each.name: getattr(terms, each.name) for each in fields(terms)})
    return PlainMixture(values, log_mixing, mfa.centroids, centred=mfa.centred)
