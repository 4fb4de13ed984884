"""The points that belong to a component, and where they lie along its loadings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from steerwidgets.dictionaries.geometry import principal_axes
from steerwidgets.dictionaries.mfa.plot import scatter
from steerwidgets.dictionaries.mfa.points import Points, chunks
from steerwidgets.transformer.mistakes import wrong
from steerwidgets.transformer.prompts import Token

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from torch import Tensor

    from steerwidgets.dictionaries.mfa.plot import ScatterSettings
    from steerwidgets.dictionaries.mfa.reading import MixtureReading

    Array = np.ndarray[Any, np.dtype[np.float32]]


class BelongSettings(TypedDict, total=False):
    """Which points belong to a component.

    Attributes:
        min_responsibility: those with this responsibility or more; by default those that no other explains better.
        most: how many points at most, 100,000 by default.
        where: what `MFA.belonging` found of the same points, so that they need not be looked at again.
    """

    min_responsibility: float | None
    most: int
    where: Belonging | None


@dataclass(frozen=True)
class ComponentPoints:
    """The points that belong to a component, in the coordinates of its loadings.

    Attributes:
        component: which.
        rows: int [n], which points.
        coordinates: float32 [n, rank], least squares on the unit loadings, uncentred.
        centroid: float32 [rank], the centroid's.
        energy: float32 [n], the squared length of the part of the point that the loadings span.
        share: float32 [n], that of the whole squared length.
        tokens: the points' tokens.
        responsibility: float32 [n], the component's for each point.
        lengths: float32 [rank], the lengths of the loadings `W_k`.
    """

    component: int
    rows: Tensor
    coordinates: Tensor
    centroid: Tensor
    energy: Tensor
    share: Tensor
    tokens: tuple[Token, ...]
    responsibility: Tensor
    lengths: Tensor

    @property
    def z(self) -> Tensor:
        """Where the points lie in the units of `pull`: the part of `x − μ_k` that the loadings span is `W_k·z`.

        So `pull(1, z)` of a point's own `z` moves every residual to that part of it. Least squares, and so not shrunk
        by the noise as `E[z|x,k]` is; float32 [n, rank].
        """
        z: Tensor = (self.coordinates - self.centroid) / self.lengths
        return z

    def plane(self, *dims: int, pca: bool = False) -> Plane:
        """Two of the loadings, or two principal axes, as a map draws them: the centroid is where both are 0.

        Args:
            dims: two loadings, or two principal axes where `pca`; the first two by default.
            pca: the axes of `.pca()` in the place of loadings.

        Returns:
            `.places(z)` of a move along the loadings, and `.moved(z, place)`, the move that stands at another place.

        Raises:
            ValueError: there is no such loading or axis, or too few points.
        """
        import torch

        dims = dims or (0, 1)
        rank = len(self.lengths)
        if len(dims) != 2 or len(set(dims)) != 2 or not all(0 <= dim < rank for dim in dims):
            raise ValueError(
                f"A map of component {self.component} has two different {'axes' if pca else 'loadings'} of 0 to "
                f"{rank - 1}, but {dims} was given."
            )
        if not pca:
            onto = torch.eye(rank)[list(dims)]
            return Plane(onto, onto.T, dims, ())
        found = self.pca(max(dims) + 1)
        axes = torch.as_tensor(found.axes)[list(dims)]
        explained = tuple(float(found.explained[dim]) for dim in dims)
        return Plane(axes * self.lengths, (axes / self.lengths).T, dims, explained)

    def __len__(self) -> int:
        return len(self.rows)

    def plot(self, dims: Sequence[int] | None = None, **settings: Unpack[ScatterSettings]) -> Axes:
        """A scatter plot in two or three dimensions, or of principal axes, with tokens; see `scatter`.

        `plot((0, 8))`, `plot((0, 1, 2))`, `plot(pca=True)`, `plot(pca=3)`; `max_labels` and `ax` as there.

        Raises:
            ValueError: there is no such dimension, or there are too few points.
            ModuleNotFoundError: matplotlib is missing.
        """
        return scatter(self, dims, **settings)

    def axes(self, *loadings: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Some of the coordinates, for a plot: `axes(0, 8)` gives [n, 2], `axes(0, 1, 2)` gives [n, 3].

        Raises:
            ValueError: there is no such loading.
        """
        rank = self.coordinates.shape[1]
        for loading in loadings:
            if not 0 <= loading < rank:
                raise ValueError(
                    f"Component {self.component} has loadings 0 to {rank - 1}, but {loading} was asked for."
                )
        chosen: np.ndarray[Any, np.dtype[np.float32]] = self.coordinates[:, list(loadings)].numpy()
        return chosen

    def pca(self, n: int = 2) -> PrincipalAxes:
        """The coordinates along their own directions of largest variance, for a plot in two or three dimensions.

        The loadings need not be orthogonal, and variance is spread over them; this shows most of it.

        Raises:
            ValueError: there are fewer than two points, or not that many axes.
        """
        rank = self.coordinates.shape[1]
        if not 1 <= n <= rank:
            raise ValueError(f"Component {self.component} has {rank} loadings, so 1 to {rank} axes, but {n} was given.")
        if len(self) < 2:
            raise ValueError(
                f"Component {self.component} has {len(self)} point, and axes of variance need two or more."
            )
        found = principal_axes(self.coordinates, n)
        coordinates = (self.coordinates.double() - found.mean) @ found.axes.T
        centroid = (self.centroid.double() - found.mean) @ found.axes.T
        parts = (coordinates, found.axes, found.explained, centroid)
        return PrincipalAxes(*(each.float().numpy() for each in parts))


@dataclass(frozen=True)
class Plane:
    """Two axes through a component's centroid, on which moves along its loadings have a place.

    Attributes:
        onto: float32 [2, rank], takes a `z` to its place.
        back: float32 [rank, 2], takes a step on the plane to the `z` that makes it; `onto @ back` is the identity.
        dims: the loadings, or the principal axes.
        explained: the share of the variance along each principal axis; empty for loadings.
    """

    onto: Tensor
    back: Tensor
    dims: tuple[int, ...]
    explained: tuple[float, ...]

    def places(self, z: Tensor) -> Tensor:
        """Where moves [..., rank] stand: float32 [..., 2]."""
        return z @ self.onto.T

    def moved(self, z: Tensor, place: Tensor) -> Tensor:
        """The `z` that stands at a place [2], as near to another `z` [rank] as can be: float32 [rank]."""
        return z + self.back @ (place - self.places(z))


@dataclass(frozen=True)
class PrincipalAxes:
    """Points along their directions of largest variance.

    Attributes:
        coordinates: float32 [n, axis].
        axes: float32 [axis, rank], in coordinates of the loadings.
        explained: float32 [axis], the share of the variance.
        centroid: float32 [axis], the component's centroid.
    """

    coordinates: np.ndarray[Any, np.dtype[np.float32]]
    axes: np.ndarray[Any, np.dtype[np.float32]]
    explained: np.ndarray[Any, np.dtype[np.float32]]
    centroid: np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Belonging:
    """Which component explains each point best.

    Attributes:
        component: int [n].
        responsibility: float32 [n], that component's.
    """

    component: Tensor
    responsibility: Tensor


def belonging(mfa: MixtureReading, points: Points) -> Belonging:
    """Which component explains each point best, and how far; all components at once, a few points at a time."""
    import torch

    found = [mfa.responsibilities(chunk).max(-1) for chunk in chunks(mfa, points)]
    return Belonging(torch.cat([each.indices for each in found]), torch.cat([each.values for each in found]))


def component_points(
    mfa: MixtureReading,
    points: Points,
    component: int,
    min_responsibility: float | None = None,
    most: int = 100_000,
    where: Belonging | None = None,
) -> ComponentPoints:
    """The points of a component in the coordinates of its loadings; see `MFA.component_points`."""
    import torch

    if not hasattr(points, "residuals"):
        takes, meant = "residuals with their texts", "mfa[20].points(mfa.points(lm, texts))"
        raise wrong("A component", takes, points, f"read the texts first: {meant}")
    k = mfa.check_component(component)
    if where is not None and min_responsibility is None:
        rows = (where.component == k).nonzero()[:most, 0]
        return points_at(mfa, points, k, rows, where.responsibility[rows])
    own, mine = [], []
    for chunk in chunks(mfa, points):
        shares = mfa.responsibilities(chunk)
        own.append(shares[:, k])
        mine.append(shares.argmax(-1) == k if min_responsibility is None else shares[:, k] >= min_responsibility)
    rows = torch.cat(mine).nonzero()[:most, 0]
    return points_at(mfa, points, k, rows, torch.cat(own)[rows])


def points_at(mfa: MixtureReading, points: Points, k: int, rows: Tensor, responsibility: Tensor) -> ComponentPoints:
    """Some points [n] in the coordinates of a component's loadings."""
    x = mfa.seen(points.residuals[rows])
    coordinates = mfa.coordinates(x, k)
    unit = mfa.unit_loadings(k)
    energy = (coordinates.double() @ unit.T).square().sum(-1)
    share = energy / x.double().square().sum(-1).clamp_min(1e-6)
    centroid = mfa.coordinates(mfa.centroids[k], k)
    tokens = tuple(points.tokens(rows.tolist()))
    lengths = mfa.loadings(k).norm(dim=0).clamp_min(1e-8)
    return ComponentPoints(
        k, rows, coordinates, centroid, energy.float(), share.float(), tokens, responsibility, lengths
    )
