"""Where a fit of an MFA begins: clusters of some of the points, and how far the points lie from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Initialisation = Literal["kmeans", "points"]


@dataclass(frozen=True)
class Start:
    """A first guess, in units of the spread within clusters.

    Attributes:
        middle: [d_model], the mean of the points, which is taken off.
        unit: the spread within clusters, by which points are divided.
        centroids: [component, d_model].
        noise: [d_model], the variance within clusters; 1 on average.
    """

    middle: Tensor
    unit: float
    centroids: Tensor
    noise: Tensor


def find_start(
    points: Tensor, components: int, initialisation: Initialisation | Tensor, seed: int, generator: torch.Generator
) -> Start:
    """Clusters of points [n, d_model], by k-means, as random points, or around centroids that are given.

    Raises:
        ModuleNotFoundError: k-means needs scikit-learn.
    """
    middle = points.mean(0)
    centred = points - middle
    if isinstance(initialisation, str):
        centroids = _centroids(centred, components, initialisation, seed, generator)
    else:
        centroids = initialisation.detach().cpu().float() - middle
    spread = _spread(centred, centroids)
    unit = float(spread.mean().sqrt().clamp_min(1e-12))
    return Start(middle, unit, centroids / unit, spread / unit**2)


def _centroids(
    points: Tensor, components: int, initialisation: Initialisation, seed: int, generator: torch.Generator
) -> Tensor:
    import torch

    if initialisation == "points":
        return points[torch.randperm(len(points), generator=generator)[:components]]
    try:
        from sklearn.cluster import MiniBatchKMeans
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'k-means needs scikit-learn: pip install "steerwidgets[concepts]", or pass initialisation="points".'
        ) from None
    batch = min(len(points), max(1024, 4 * components))
    found = MiniBatchKMeans(components, random_state=seed, batch_size=batch, n_init=3).fit(points.numpy())
    return torch.as_tensor(found.cluster_centers_, dtype=torch.float32)


def _spread(points: Tensor, centroids: Tensor) -> Tensor:
    """The variance of each dimension around the nearest centroid; of all points where clusters leave none."""
    import torch

    total = torch.zeros(points.shape[1], dtype=torch.float64)
    for chunk in torch.split(points, 4096):
        nearest = torch.cdist(chunk, centroids).argmin(-1)
        total += (chunk - centroids[nearest]).double().square().sum(0)
    spread = (total / len(points)).float()
    return spread if bool(spread.any()) else points.var(0, correction=0)
