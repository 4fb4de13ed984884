"""Plots of a component's points: what is drawn where, labels that leave each other room, three dimensions, PCA."""

import builtins
import itertools
import os
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from support.mfa import make_state

import steerwidgets as sw
from steerwidgets.dictionaries.mfa import plot as mfa_plot
from steerwidgets.dictionaries.mfa.points import Points

K, D, Q = 3, 16, 9


@pytest.fixture(autouse=True)
def closed(monkeypatch):
    """Figures without a screen, closed again."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    yield
    plt.close("all")


@pytest.fixture
def mfa():
    return sw.MFA(*make_state(K, D, Q), layer=1)


@pytest.fixture
def points(mfa, tokenizer):
    draw = torch.Generator().manual_seed(2)
    count = 300
    x = mfa.centroids[1] + torch.randn(count, Q, generator=draw) @ mfa.loadings(1).T
    x = x + 0.3 * torch.randn(count, D, generator=draw)
    ids = tuple(torch.randint(40, 320, (count,), generator=draw).tolist())
    where = torch.zeros(count, dtype=torch.long), torch.arange(count)
    return Points(x, sw.Site(1), *where, (ids,), tokenizer("chatml"))


@pytest.fixture
def mine(mfa, points):
    return mfa[1].points(points)


def boxes(ax):
    ax.figure.canvas.draw()
    return [text.get_window_extent() for text in ax.texts]


def test_the_tutorials_plot(mfa, points, mine):
    """`plot_subspace_scatter(coords, dims=(0, 8), max_labels=250)`."""
    ax = mfa[1].plot(points, dims=(0, 8), max_labels=250)
    drawn, centroid = ax.collections
    np.testing.assert_allclose(drawn.get_offsets(), mine.coordinates[:, [0, 8]], rtol=1e-5)
    np.testing.assert_allclose(centroid.get_offsets()[0], mine.centroid[[0, 8]], rtol=1e-5)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("loading 0", "loading 8")
    assert ax.get_title() == f"Component 1: {len(mine):,} points, {len(ax.texts)} labelled"
    assert 50 < len(ax.texts) <= 250


def test_labels_stand_at_their_points_and_none_covers_another(mine):
    ax = mine.plot((2, 5))
    rows = {(float(x), float(y)): row for row, (x, y) in enumerate(mine.axes(2, 5))}
    for text in ax.texts:
        row = rows[text.get_position()]
        assert text.get_text() == " " + mfa_plot._written(mine.tokens[row].text)
    tight = [box.shrunk(0.9, 0.9) for box in boxes(ax)]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(tight, 2))


def test_labels_are_spread_over_the_plot(mine):
    ax = mine.plot((0, 1), max_labels=12)
    assert len(ax.texts) == 12
    labelled = np.array([text.get_position() for text in ax.texts])
    every = mine.axes(0, 1)
    assert (labelled.std(0) > 0.9 * every.std(0)).all()
    assert not mine.plot((0, 1), max_labels=0).texts


def test_three_dimensions(mine):
    ax = mine.plot(dims=(0, 1, 8))
    assert ax.name == "3d"
    drawn = np.stack(ax.collections[0]._offsets3d, axis=1)
    np.testing.assert_allclose(drawn, mine.axes(0, 1, 8), rtol=1e-5)
    assert ax.get_zlabel() == "loading 8"
    tight = [box.shrunk(0.9, 0.9) for box in boxes(ax)]
    assert len(tight) > 20
    assert not any(a.overlaps(b) for a, b in itertools.combinations(tight, 2))


@pytest.mark.parametrize(("pca", "dims", "shown"), [(True, None, (0, 1)), (3, None, (0, 1, 2)), (True, (0, 2), (0, 2))])
def test_after_pca(mine, pca, dims, shown):
    ax = mine.plot(dims, pca=pca)
    found = mine.pca(max(shown) + 1)
    if len(shown) == 2:
        np.testing.assert_allclose(ax.collections[0].get_offsets(), found.coordinates[:, list(shown)], rtol=1e-5)
    else:
        np.testing.assert_allclose(np.stack(ax.collections[0]._offsets3d, 1), found.coordinates, rtol=1e-5)
    share = f"{100 * float(found.explained[shown[1]]):.0f} %"
    assert ax.get_ylabel() == f"principal axis {shown[1]} ({share})"


def test_on_axes_of_the_users(mine):
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2)
    assert mine.plot((0, 1), ax=left) is left
    assert not right.collections
    with pytest.raises(ValueError, match=r"3 dimensions were .* axes given are not 3-D ones; leave ax out"):
        mine.plot((0, 1, 2), ax=right)
    solid = figure.add_subplot(projection="3d")
    assert mine.plot((0, 1, 2), ax=solid) is solid
    with pytest.raises(ValueError, match="2 dimensions were asked for, but the axes given are 3-D ones"):
        mine.plot((0, 1), ax=solid)


def luminance(colour):
    channels = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in mpl.colors.to_rgb(colour)]
    return float(np.dot(channels, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("page", ["#ffffff", "#131316"])
def test_it_can_be_read_on_light_and_dark_pages(mine, page):
    ax = mine.plot(max_labels=5)
    assert mpl.colors.to_rgba(ax.figure.get_facecolor())[3] == 0
    assert mpl.colors.to_rgba(ax.get_facecolor())[3] == 0
    for colour, least in ((ax.texts[0].get_color(), 4.0), (mfa_plot._POINT, 3.0), (mfa_plot._CENTROID, 3.0)):
        light, dark = sorted((luminance(colour), luminance(page)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) > least


@pytest.mark.parametrize(
    ("token", "written"), [(" sea", "sea"), ("\n\t", "⏎⇥"), ("  ", "␣␣"), ("$x", "$x"), ("\x1b", "<1B>"), ("", "")]
)
def test_tokens_as_they_are_written(token, written):
    assert mfa_plot._written(token) == written


def test_dollar_signs_begin_no_formula(mine, monkeypatch):
    monkeypatch.setattr(mfa_plot, "_written", lambda text: "$\\frac{$")
    ax = mine.plot(max_labels=5)
    ax.figure.canvas.draw()
    assert ax.texts[0].get_text() == " $\\frac{$"


def test_a_component_without_points(mfa, points):
    nothing = mfa.component_points(points, 0, min_responsibility=1.1)
    ax = nothing.plot((0, 1))
    ax.figure.canvas.draw()
    assert ax.get_title() == "Component 0: 0 points, 0 labelled"


@pytest.mark.parametrize("dims", [(0,), (0, 1, 2, 3)])
def test_dimensions_that_no_scatter_plot_has(mine, dims):
    with pytest.raises(ValueError, match=r"two or three dimensions, such as dims=\(0, 8\), but \(0,"):
        mine.plot(dims)


def test_loadings_that_are_not_there(mine):
    with pytest.raises(ValueError, match="loadings 0 to 8, but 9 was asked for"):
        mine.plot((0, 9))
    with pytest.raises(ValueError, match="Principal axes count from 0"):
        mine.plot((0, -1), pca=True)
    with pytest.raises(ValueError, match="1 to 9 axes, but 12"):
        mine.plot((0, 11), pca=True)


def test_without_matplotlib(mine, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r'^Plots need matplotlib: pip install "steerwidgets\[plots\]"\.$'):
        mine.plot()


SHOWN = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell("import torch, steerwidgets as sw; from support import toks; from support.mfa import make_state")
shell.run_cell("from steerwidgets.dictionaries.mfa.points import Points; where = torch.arange(9)")
shell.run_cell("points = Points(torch.randn(9, 8), sw.Site(1), 0 * where, where, ([40] * 9,), toks.byte_level())")
shell.run_cell("sw.MFA(*make_state(1, 8, 3), layer=1)[0].plot(points).figure")
print(__import__("matplotlib").is_interactive(), shell.user_ns["_"])
"""


def test_a_notebook_still_shows_figures_by_itself_after_a_plot():
    """Its backend is loaded with the first figure, and says so in a setting that is not to be put back."""
    environment = os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    root = Path(__file__).parents[2]
    environment["PYTHONPATH"] = os.pathsep.join([str(root), environment.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-c", SHOWN], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.strip().splitlines()[-1:] == ["True Figure(900x600)"], done.stdout + done.stderr
