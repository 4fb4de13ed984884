"""The points of a component in the coordinates of its loadings, and their scatter plots along two or three of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

from steerwidgets.dictionaries.mfa.points import Points, chunks
from steerwidgets.transformer.prompts import Token

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from torch import Tensor

    from steerwidgets.dictionaries.mfa.reading import MixtureReading

    Array = np.ndarray[Any, np.dtype[np.float32]]

_INK: Final = "#75757e"
"""A grey that can be read on white and on near-black alike, since a figure in a notebook is clear behind."""

_POINT: Final = "#3f8cc4"
_CENTROID: Final = "#c2690c"
_FONT_SIZE: Final = 8
_CANDIDATES: Final = 4
"""For each label that is wanted, so many points are tried."""

_VISIBLE: Final = str.maketrans({"\n": "⏎", "\r": "⏎", "\t": "⇥"})


class BelongSettings(TypedDict, total=False):
    """Which points belong to a component.

    Attributes:
        min_responsibility: those with this responsibility or more; by default those that no other explains better.
        most: how many points at most, 100,000 by default.
    """

    min_responsibility: float | None
    most: int


class ScatterSettings(TypedDict, total=False):
    """How a component's points are drawn.

    Attributes:
        pca: True for principal axes; 2 or 3 for the first two or three of them.
        max_labels: how many tokens are written at most, 250 by default.
        ax: the axes to draw in; by default a figure of its own.
    """

    pca: bool | int
    max_labels: int
    ax: Axes | None


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
    """

    component: int
    rows: Tensor
    coordinates: Tensor
    centroid: Tensor
    energy: Tensor
    share: Tensor
    tokens: tuple[Token, ...]

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
        import torch

        rank = self.coordinates.shape[1]
        if not 1 <= n <= rank:
            raise ValueError(f"Component {self.component} has {rank} loadings, so 1 to {rank} axes, but {n} was given.")
        if len(self) < 2:
            raise ValueError(
                f"Component {self.component} has {len(self)} point, and axes of variance need two or more."
            )
        mean = self.coordinates.double().mean(0)
        centred = self.coordinates.double() - mean
        _, singular, axes = torch.linalg.svd(centred, full_matrices=False)
        # An axis has no sign of its own: its largest entry is made positive, so that plots come out the same.
        signs = axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
        axes = (axes * signs)[:n]
        variance = singular.square()
        explained = (variance / variance.sum().clamp_min(1e-30))[:n]
        centroid = (self.centroid.double() - mean) @ axes.T
        found = ((centred @ axes.T), axes, explained, centroid)
        return PrincipalAxes(*(each.float().numpy() for each in found))


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


def component_points(
    mfa: MixtureReading,
    points: Points,
    component: int,
    min_responsibility: float | None = None,
    most: int = 100_000,
) -> ComponentPoints:
    """The points of a component in the coordinates of its loadings; see `MFA.component_points`."""
    import torch

    k = mfa.check_component(component)
    rows, start = [torch.zeros(0, dtype=torch.long)], 0
    for chunk in chunks(mfa, points):
        shares = mfa.responsibilities(chunk)
        mine = shares.argmax(-1) == k if min_responsibility is None else shares[:, k] >= min_responsibility
        rows.append(start + mine.nonzero()[:, 0])
        start += len(chunk)
    found = torch.cat(rows)[:most]
    x = mfa.seen(points.residuals[found])
    coordinates = mfa.coordinates(x, k)
    energy = (coordinates.double() @ mfa.unit_loadings(k).T).square().sum(-1)
    share = energy / x.double().square().sum(-1).clamp_min(1e-6)
    centroid = mfa.coordinates(mfa.centroids[k], k)
    tokens = tuple(points.tokens(found.tolist()))
    return ComponentPoints(k, found, coordinates, centroid, energy.float(), share.float(), tokens)


def scatter(
    points: ComponentPoints,
    dims: Sequence[int] | None = None,
    *,
    pca: bool | int = False,
    max_labels: int = 250,
    ax: Axes | None = None,
) -> Axes:
    """A component's points along some of its loadings, or along their directions of largest variance.

    Labels that would cover another one are left out, and those that stay are spread over the plot; the centroid is
    marked; a principal axis says its share of the variance. The background is clear, and the colours can be read on
    light and dark pages.

    Args:
        points: the points, as `mfa[20].points(points)` gives them.
        dims: two or three loadings, or principal axes where `pca`; the first two by default.
        pca: True for principal axes; 2 or 3 for the first two or three of them.
        max_labels: how many tokens are written at most.
        ax: where to draw; it has to be a 3-D one for three dimensions. By default a figure of its own.

    Returns:
        The axes; their figure is `.figure`.

    Raises:
        ValueError: there are not two or three dimensions, or the component has no such loading, or too few points.
        ModuleNotFoundError: matplotlib is missing; the message says how to install it.
    """
    plt = _pyplot()
    places, centroid, names = _coordinates(points, _chosen(dims, pca), pca=bool(pca))
    solid = len(names) == 3
    drawn: Any = ax
    if drawn is None:
        # A 3-D grid takes its colour when it is made, and at no other time.
        with plt.rc_context({"grid.color": f"{_INK}40", "grid.linewidth": 0.5, "axes.edgecolor": _INK}):
            _, drawn = plt.subplots(
                figsize=(9, 6), facecolor="none", subplot_kw={"projection": "3d"} if solid else None
            )
    elif solid != (getattr(drawn, "name", "") == "3d"):
        raise ValueError(
            f"{len(names)} dimensions were asked for, but the axes given are {'not ' if solid else ''}3-D ones; leave "
            "ax out, or make them with projection='3d' for three."
        )
    _quiet(drawn, names)
    drawn.scatter(*places.T, s=9, alpha=0.55, color=_POINT, linewidths=0)
    drawn.scatter(*(centroid[:, None]), s=70, marker="x", color=_CENTROID, label="centroid μ")
    texts = [_written(token.text) for token in points.tokens]
    written = _write_labels(drawn, places, texts, max_labels)
    drawn.set_title(
        f"Component {points.component}: {len(points):,} points, {written:,} labelled", color=_INK, fontsize=10
    )
    drawn.legend(frameon=False, labelcolor=_INK, fontsize=_FONT_SIZE + 1)
    axes: Axes = drawn
    return axes


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot as plt
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("matplotlib"):
            raise
        raise ModuleNotFoundError('Plots need matplotlib: pip install "steerwidgets[plots]".') from None
    return plt


def _chosen(dims: Sequence[int] | None, pca: bool | int) -> tuple[int, ...]:
    count = pca if not isinstance(pca, bool) else 2
    chosen = tuple(range(count)) if dims is None else tuple(dims)
    if len(chosen) not in (2, 3):
        raise ValueError(f"A scatter plot has two or three dimensions, such as dims=(0, 8), but {chosen} was given.")
    return chosen


def _coordinates(points: ComponentPoints, dims: tuple[int, ...], *, pca: bool) -> tuple[Array, Array, list[str]]:
    """The points [n, dimension], the centroid [dimension], and what the axes are called."""
    if not pca:
        return points.axes(*dims), points.centroid[list(dims)].numpy(), [f"loading {dim}" for dim in dims]
    if min(dims) < 0:
        raise ValueError(f"Principal axes count from 0, but dims={dims} was given.")
    found = points.pca(max(dims) + 1)
    names = [f"principal axis {dim} ({100 * float(found.explained[dim]):.0f} %)" for dim in dims]
    return found.coordinates[:, list(dims)], found.centroid[list(dims)], names


def _quiet(ax: Any, names: Sequence[str]) -> None:
    ax.set_facecolor("none")
    for axis, letter, name in zip((ax.xaxis, ax.yaxis, getattr(ax, "zaxis", None)), "xyz", names, strict=False):
        getattr(ax, f"set_{letter}label")(name, color=_INK)
        if hasattr(axis, "set_pane_color"):
            axis.set_pane_color((0, 0, 0, 0))
    ax.tick_params(colors=_INK, labelsize=_FONT_SIZE)
    ax.grid(visible=True, color=_INK, linewidth=0.5, alpha=0.25)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_INK)


def _written(text: str) -> str:
    """A token on a plot: line breaks, tabs, controls and spaces alone visible; one leading space says nothing."""
    shown = "".join(
        f"<{ord(each):02X}>" if ord(each) < 32 or ord(each) == 127 else each for each in text.translate(_VISIBLE)
    )
    return shown.removeprefix(" ") if shown.strip(" ") else "␣" * len(shown)


def _write_labels(ax: Any, places: Array, texts: Sequence[str], most: int) -> int:
    """Write labels that cover no other one; how many there are."""
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox, IdentityTransform

    if not len(places) or most < 1:
        return 0
    on_screen = _on_screen(ax, places)
    # Not parsed: a token may hold a dollar sign, which would begin a formula.
    style: dict[str, Any] = {"fontsize": _FONT_SIZE, "color": _INK, "parse_math": False}
    measured = Text(**style, transform=IdentityTransform())
    measured.set_figure(ax.figure)
    taken: list[Bbox] = []
    for row in _spread(on_screen, _CANDIDATES * most):
        if len(taken) == most:
            break
        # What a leading space is worth stands before every label, so that it does not cover its own point.
        label = f" {texts[row]}"
        measured.set(text=label, position=on_screen[row])
        box = measured.get_window_extent()
        if box.count_overlaps(taken):
            continue
        taken.append(box)
        ax.text(*places[row], label, **style)
    return len(taken)


def _on_screen(ax: Any, places: Array) -> Any:
    """Where points stand in the figure, in pixels: [n, 2]."""
    if places.shape[1] == 2:
        return ax.transData.transform(places)
    import numpy as np
    from mpl_toolkits.mplot3d import proj3d

    x, y, _ = proj3d.proj_transform(*places.T, ax.get_proj())

    return ax.transData.transform(np.stack([x, y], axis=1))


def _spread(on_screen: Any, most: int) -> Iterator[int]:
    """Rows of points from all over the plot: one of each cell of a grid in turn, coarse grids first."""
    import numpy as np

    low, high = on_screen.min(0), on_screen.max(0)
    scaled = (on_screen - low) / np.maximum(high - low, 1e-9)
    given: set[int] = set()
    for cells in (4, 8, 16, 32, 64):
        square = np.minimum((scaled * cells).astype(int), cells - 1)
        _, rows = np.unique(square[:, 0] * cells + square[:, 1], return_index=True)
        for row in rows.tolist():
            if row not in given:
                given.add(row)
                yield row
            if len(given) >= most:
                return
