"""Where features lie among one another: directions along few axes, and which of them point nearly the same way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, get_args

from steerwidgets.files.shown import shown

if TYPE_CHECKING:
    from torch import Tensor

MapMethod = Literal["pca", "umap"]

_CHUNK: Final = 4096
"""Directions that are looked at at once."""

_LINKED: Final = 4096
"""Features of which each one's nearest is found: all cosines of more take longer than a widget should wait."""

_ROUNDS: Final = 50
"""Rounds of k-means at most."""


@dataclass(frozen=True)
class FeatureMap:
    """Features as points along few axes.

    Attributes:
        method: `pca`, principal axes of the directions, or `umap`.
        coordinates: float32 [feature, axis]; for `pca` counted from the mean, in units of the directions.
        axes: float32 [axis, d_model], the principal axes; None for `umap`.
        explained: the share of the variance along each axis; empty for `umap`.
        at_unit_length: whether each direction was divided by its length before, so that cosines alone decide.
        weight: float32 [feature], how much of the corpus a feature has: an MFA's mixing weights, else densities; None
            where they are not known.
    """

    method: MapMethod
    coordinates: Tensor
    axes: Tensor | None
    explained: tuple[float, ...]
    at_unit_length: bool
    weight: Tensor | None

    def __len__(self) -> int:
        return len(self.coordinates)


@dataclass(frozen=True)
class PrincipalAxesOf:
    """Directions of largest variance.

    Attributes:
        mean: float64 [d].
        axes: float64 [axis, d], orthonormal; the largest entry of each is positive, so that plots come out the same.
        explained: float64 [axis], each one's share of the variance.
    """

    mean: Tensor
    axes: Tensor
    explained: Tensor


class HasPlaces(Protocol):
    """A dictionary, as far as its features are laid out."""

    @property
    def kind(self) -> str:
        """What it is called."""
        ...

    @property
    def size(self) -> int:
        """How many features there are."""
        ...

    @property
    def are_axes(self) -> bool:
        """Whether its directions are the axes of their space."""
        ...

    @property
    def are_regions(self) -> bool:
        """Whether its features are places, not directions."""
        ...

    @property
    def feature_weights(self) -> Tensor | None:
        """How much of the corpus each has."""
        ...

    def directions(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Some of them."""
        ...


def principal_axes(x: Tensor, n: int) -> PrincipalAxesOf:
    """The first `n` directions of largest variance of points [point, d], exactly.

    By the smaller of the two: the covariance where there are more points than numbers in each, else all singular
    vectors.
    """
    import torch

    mean = x.mean(0, dtype=torch.float64)
    if len(x) > x.shape[1]:
        covariance = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
        for chunk in torch.split(x, _CHUNK):
            # Products in float32, of what is centred already, take half the time for wide dictionaries.
            centred = (chunk.double() - mean).float()
            covariance += centred.T @ centred
        values, vectors = torch.linalg.eigh(covariance)
        variance, axes = values.flip(0).clamp_min(0), vectors.T.flip(0)
    else:
        _, singular, axes = torch.linalg.svd(x.double() - mean, full_matrices=False)
        variance = singular.square()
    signs = axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    explained = variance / variance.sum().clamp_min(1e-30)
    return PrincipalAxesOf(mean, (axes * signs)[:n], explained[:n])


def feature_map(dictionary: HasPlaces, method: MapMethod = "pca", n: int = 2, seed: int = 0) -> FeatureMap:
    """The features of a dictionary as points; see `Dictionary.map`.

    Raises:
        ValueError: there is no such method or number of axes, or directions of this kind say nothing.
        ModuleNotFoundError: umap-learn is missing; the message says how to install it.
    """
    import torch

    if method not in get_args(MapMethod):
        raise ValueError(f"Features are laid out by {' or '.join(get_args(MapMethod))}, but {shown(method)} was given.")
    if dictionary.are_axes:
        raise ValueError(
            f"The directions of {dictionary.kind} dictionaries are the axes of their space, all equally far from one "
            "another, so a map of them says nothing; give an SAE, CAVs, ReFT-r1 or an MFA."
        )
    x = torch.cat([dictionary.directions(i, i + _CHUNK).float().cpu() for i in range(0, dictionary.size, _CHUNK)])
    most = min(len(x), x.shape[1]) if len(x) > 1 else 0
    if not 1 <= n <= most:
        raise ValueError(
            f"This {dictionary.kind} dictionary of {len(x)} features can be laid out along 1 to {most} axes, but "
            f"{shown(n)} was given."
            if most
            else f"A map needs two features or more, but this {dictionary.kind} dictionary has {len(x)}."
        )
    unit = not dictionary.are_regions
    if unit:
        x = torch.nn.functional.normalize(x, dim=1)
    if method == "umap":
        return FeatureMap(method, _umap(x, n, seed), None, (), unit, dictionary.feature_weights)
    found = principal_axes(x, n)
    coordinates = torch.cat([(chunk.double() - found.mean) @ found.axes.T for chunk in torch.split(x, _CHUNK)])
    explained = tuple(found.explained.tolist())
    return FeatureMap(method, coordinates.float(), found.axes.float(), explained, unit, dictionary.feature_weights)


def _umap(x: Tensor, n: int, seed: int) -> Tensor:
    import torch

    try:
        from umap import UMAP
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "umap":
            raise
        raise ModuleNotFoundError(
            'UMAP needs umap-learn: pip install "steerwidgets[maps]", or lay the features out by "pca".'
        ) from None
    # It wants more points than neighbours, and for few points no spectral start.
    few = len(x) <= n + 2
    neighbours = min(15, len(x) - 1)
    made: Any = UMAP(
        n_components=n,
        metric="cosine",
        n_neighbors=max(2, neighbours),
        init="random" if few else "spectral",
        random_state=seed,
        n_jobs=1,
    )
    return torch.as_tensor(made.fit_transform(x.numpy()), dtype=torch.float32)


def closest_pairs(dictionary: HasPlaces, least: float) -> list[tuple[int, int, float]]:
    """Of every feature the other one with the largest cosine, where it is `least` or more: pairs i < j, each once.

    Returns:
        `(i, j, cosine)`; empty where there are too many features to compare them all.
    """
    import torch

    if not 1 < dictionary.size <= _LINKED:
        return []
    x = torch.nn.functional.normalize(dictionary.directions().float().cpu(), dim=1)
    found: dict[tuple[int, int], float] = {}
    for start in range(0, len(x), 512):
        cosines = x[start : start + 512] @ x.T
        cosines[torch.arange(len(cosines)), start + torch.arange(len(cosines))] = -2.0
        values, others = cosines.max(1)
        for i, (value, other) in enumerate(zip(values.tolist(), others.tolist(), strict=True), start):
            if value >= least:
                found[min(i, other), max(i, other)] = value
    return [(i, j, cosine) for (i, j), cosine in sorted(found.items())]


def clustered(x: Tensor, k: int, seed: int = 0) -> Tensor:
    """Which of `k` clusters each point is in, by Lloyd's k-means from a k-means++ start; the largest cluster is 0.

    Args:
        x: [point, d].
        k: how many clusters; fewer where there are fewer points.
        seed: of the start.

    Returns:
        int64 [point].
    """
    import torch

    if not len(x):
        return torch.zeros(0, dtype=torch.long)
    x = x.float()
    draw = torch.Generator().manual_seed(seed)
    best: tuple[float, Tensor] | None = None
    for _ in range(4):
        centres = _spread_start(x, min(k, len(x)), draw)
        which = torch.cdist(x, centres).argmin(1)
        for _ in range(_ROUNDS):
            counts = torch.bincount(which, minlength=len(centres)).clamp_min(1)
            centres = torch.zeros_like(centres).index_add_(0, which, x) / counts[:, None]
            again = torch.cdist(x, centres).argmin(1)
            if bool((again == which).all()):
                break
            which = again
        spread = float((x - centres[which]).square().sum())
        if best is None or spread < best[0]:
            best = spread, which
    assert best is not None
    sizes = torch.bincount(best[1], minlength=min(k, len(x)))
    rank = torch.empty_like(sizes)
    rank[sizes.argsort(descending=True, stable=True)] = torch.arange(len(sizes))
    return rank[best[1]]


def _spread_start(x: Tensor, k: int, draw: Any) -> Tensor:
    """k-means++: each further centre is drawn with the square of its distance to those before."""
    import torch

    centres = x[torch.randint(len(x), (1,), generator=draw)]
    while len(centres) < k:
        far = torch.cdist(x, centres).amin(1).square()
        far = far if bool(far.any()) else torch.ones_like(far)
        centres = torch.cat([centres, x[torch.multinomial(far, 1, generator=draw)]])
    return centres
