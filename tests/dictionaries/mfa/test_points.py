"""What the points of a component are: contexts, hard assignment, coordinates and axes for plots."""

import random

import numpy as np
import pytest
import torch
from support.mfa import Reference, make_state

import steerwidgets as sw
from steerwidgets.dictionaries.mfa.points import Points

K, D, Q = 4, 16, 3
TEXT = tuple(range(40, 60))


@pytest.fixture
def mfa():
    return sw.MFA(*make_state(K, D, Q, rotation="varimax"), layer=1)


@pytest.fixture
def reference():
    return Reference(make_state(K, D, Q, rotation="varimax")[0], rotated=True)


@pytest.fixture
def points(tokenizer, reference):
    """Eighty points of four texts, drawn around the centroids."""
    draw = torch.Generator().manual_seed(3)
    which = torch.randint(K, (80,), generator=draw)
    residuals = reference.mu[which].float() + torch.randn(80, D, generator=draw)
    text, position = torch.arange(80) // 20, torch.arange(80) % 20
    return Points(residuals, sw.Site(1), text, position, (TEXT,) * 4, tokenizer("chatml"))


def ranked(scores, k, pool):
    return sorted(range(len(scores)), key=lambda i: -float(scores[i, k]))[:pool]


@pytest.mark.parametrize("by", ["likelihood", "responsibility"])
def test_contexts_are_sampled_as_the_tutorial_does(mfa, reference, points, by):
    """`random.seed(0)`, then for one component after the other `random.sample(the highest, k=10)`."""
    scores = getattr(reference, "log_likelihoods" if by == "likelihood" else "responsibilities")(points.residuals)
    # Responsibilities close to 1 are equal in float32; what is compared is which scores are drawn.
    draw = random.Random(0)
    found = mfa.contexts(points, by=by, sample=5, pool=20)
    assert list(found) == list(range(K))
    for k, contexts in found.items():
        expected = draw.sample(ranked(scores, k, 20), k=5)
        np.testing.assert_allclose([c.score for c in contexts], scores[expected, k], rtol=1e-4, atol=1e-6)
        if by == "likelihood":
            assert [c.row for c in contexts] == expected


def test_contexts_of_one_component(mfa, points, tokenizer):
    contexts = mfa[2].contexts(points, sample=100, pool=12, window=3)
    assert len({c.row for c in contexts}) == 12, "no repeats, and no more than there are"
    first = contexts[0]
    assert (first.text, first.position) == divmod(first.row, 20)
    ids = TEXT[max(0, first.position - 3) : first.position + 1]
    assert str(first) == tokenizer("chatml").decode(ids)
    assert first.token.id == TEXT[first.position]


def test_contexts_do_not_depend_on_the_chunks(mfa, points, monkeypatch):
    whole = mfa.contexts(points, [1, 3])
    monkeypatch.setattr("steerwidgets.dictionaries.mfa.points._NUMBERS", 7 * K * Q)
    again = mfa.contexts(points, [1, 3])
    for k in (1, 3):
        assert [str(c) for c in again[k]] == [str(c) for c in whole[k]]
        np.testing.assert_allclose([c.score for c in again[k]], [c.score for c in whole[k]], rtol=1e-5)
    assert len(mfa[1].points(points)) == (mfa.encode(points.residuals).argmax(-1) == 1).sum()


def test_points_of_a_component(mfa, reference, points):
    mine = mfa[2].points(points)
    shares = reference.responsibilities(points.residuals)
    expected = (shares.argmax(-1) == 2).nonzero()[:, 0]
    assert 5 < len(mine) < 60
    assert torch.equal(mine.rows, expected)
    x = points.residuals[expected].double()
    unit = reference.turned(2) / reference.turned(2).norm(dim=0)
    coordinates = torch.linalg.lstsq(unit, x.T).solution.T
    torch.testing.assert_close(mine.coordinates.double(), coordinates, atol=1e-4, rtol=1e-5)
    energy = (coordinates @ unit.T).square().sum(-1)
    torch.testing.assert_close(mine.energy.double(), energy, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(mine.share.double(), energy / x.square().sum(-1), atol=1e-5, rtol=1e-4)
    centroid = torch.linalg.lstsq(unit, reference.mu[2][:, None]).solution[:, 0]
    torch.testing.assert_close(mine.centroid.double(), centroid, atol=1e-4, rtol=1e-5)
    assert [token.id for token in mine.tokens] == [TEXT[int(points.position[i])] for i in expected]


def test_points_above_a_responsibility(mfa, reference, points):
    mine = mfa[2].points(points, min_responsibility=0.01)
    shares = reference.responsibilities(points.residuals)[:, 2]
    assert torch.equal(mine.rows, (shares >= 0.01).nonzero()[:, 0])
    assert len(mfa[2].points(points, most=3)) == 3


def test_axes_for_plots(mfa, points):
    mine = mfa[2].points(points)
    assert np.array_equal(mine.axes(0, 2), mine.coordinates.numpy()[:, [0, 2]])
    assert mine.axes(0, 1, 2).shape == (len(mine), 3)
    with pytest.raises(ValueError, match="loadings 0 to 2, but 3"):
        mine.axes(0, 3)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_principal_axes(mfa, points, n):
    mine = mfa[2].points(points)
    found = mine.pca(n)
    coordinates = mine.coordinates.numpy().astype(float)
    values, vectors = np.linalg.eigh(np.cov(coordinates.T))
    largest = vectors[:, ::-1][:, :n].T
    np.testing.assert_allclose(np.abs(np.sum(found.axes * largest, axis=1)), 1, atol=1e-5)
    np.testing.assert_allclose(found.explained, values[::-1][:n] / values.sum(), rtol=1e-4)
    np.testing.assert_allclose(found.coordinates, (coordinates - coordinates.mean(0)) @ found.axes.T, atol=1e-4)
    np.testing.assert_allclose(found.centroid, (mine.centroid.numpy() - coordinates.mean(0)) @ found.axes.T, atol=1e-4)
    assert all(axis[np.abs(axis).argmax()] > 0 for axis in found.axes)


def test_mistakes(mfa, points):
    with pytest.raises(ValueError, match="1 to 3 axes, but 4"):
        mfa[2].points(points).pca(4)
    with pytest.raises(ValueError, match="has 1 point, and axes of variance need two"):
        mfa[2].points(points, most=1).pca()
    with pytest.raises(ValueError, match="likelihood or responsibility, but 'posterior'"):
        mfa.contexts(points, by="posterior")
    with pytest.raises(IndexError, match="components 0 to 3, but 4"):
        mfa.contexts(points, [4])
    with pytest.raises(IndexError, match="components 0 to 3, but 9"):
        mfa.component_points(points, 9)
    other = sw.MFA(*make_state(2, D + 1, 1), layer=0)
    with pytest.raises(ValueError, match="17 numbers at block 0 resid_post, but the points have 16 at block 1"):
        other.contexts(points)


def test_a_component_without_points(mfa, points):
    nothing = mfa.component_points(points, 0, min_responsibility=1.1)
    assert len(nothing) == 0
    assert nothing.axes(0, 1).shape == (0, 2)
