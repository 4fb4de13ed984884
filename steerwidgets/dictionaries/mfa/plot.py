"""Scatter plots of a component's points along two or three of its loadings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypedDict

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from torch import Tensor

    from steerwidgets.transformer.prompts import Token

    Array = np.ndarray[Any, np.dtype[np.float32]]

_INK: Final = "#75757e"
"""A grey that can be read on white and on near-black alike, since a figure in a notebook is clear behind."""

_POINT: Final = "#3f8cc4"
_CENTROID: Final = "#c2690c"
_FONT_SIZE: Final = 8
_CANDIDATES: Final = 4
"""For each label that is wanted, so many points are tried."""

_VISIBLE: Final = str.maketrans({"\n": "⏎", "\r": "⏎", "\t": "⇥"})


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


class Scattered(Protocol):
    """A component's points, as far as they are drawn."""

    @property
    def component(self) -> int:
        """Which it is."""
        ...

    @property
    def centroid(self) -> Tensor:
        """The centroid's coordinates."""
        ...

    @property
    def tokens(self) -> tuple[Token, ...]:
        """Their tokens."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...

    def axes(self, *loadings: int) -> Array:
        """Some of their coordinates."""
        ...

    def pca(self, n: int = 2) -> Principal:
        """Their principal axes."""
        ...


class Principal(Protocol):
    """Points along their principal axes, as far as they are drawn."""

    @property
    def coordinates(self) -> Array:
        """Where they are."""
        ...

    @property
    def explained(self) -> Array:
        """Each axis' share of the variance."""
        ...

    @property
    def centroid(self) -> Array:
        """Where the centroid is."""
        ...


def scatter(
    points: Scattered,
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
    # The first figure loads the backend, and a notebook's has figures shown by themselves from then on: `rc_context`
    # would put that back at its end.
    plt.draw_if_interactive()  # type: ignore[no-untyped-call]
    return plt


def _chosen(dims: Sequence[int] | None, pca: bool | int) -> tuple[int, ...]:
    count = pca if not isinstance(pca, bool) else 2
    chosen = tuple(range(count)) if dims is None else tuple(dims)
    if len(chosen) not in (2, 3):
        raise ValueError(f"A scatter plot has two or three dimensions, such as dims=(0, 8), but {chosen} was given.")
    return chosen


def _coordinates(points: Scattered, dims: tuple[int, ...], *, pca: bool) -> tuple[Array, Array, list[str]]:
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
