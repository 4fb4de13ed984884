"""A component's points in the units of `pull`: where its target stands is where a pulled residual ends."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from support.mfa import Reference, make_state

import steerwidgets as sw
from steerwidgets.dictionaries.mfa.component import belonging
from steerwidgets.dictionaries.mfa.points import Points

K, D, Q = 4, 16, 3


@pytest.fixture(params=[None, "varimax", "oblimin"])
def rotation(request):
    return request.param


@pytest.fixture
def mfa(rotation):
    return sw.MFA(*make_state(K, D, Q, rotation=rotation), layer=1)


@pytest.fixture
def reference(rotation):
    return Reference(make_state(K, D, Q, rotation=rotation)[0], rotated=rotation is not None)


@pytest.fixture
def points(tokenizer, reference):
    draw = torch.Generator().manual_seed(3)
    residuals = reference.mu[torch.randint(K, (80,), generator=draw)].float() + torch.randn(80, D, generator=draw)
    text, position = torch.arange(80) // 20, torch.arange(80) % 20
    return Points(residuals, sw.Site(1), text, position, (tuple(range(40, 60)),) * 4, tokenizer("chatml"))


def loadings(reference, k):
    return reference.turned(k) if reference.rotated else reference.loadings(k)


def test_z_is_the_least_squares_of_the_loadings_around_the_centroid(mfa, reference, points):
    mine = mfa[2].points(points)
    W, x = loadings(reference, 2).numpy(), points.residuals[mine.rows].double().numpy()
    expected = np.linalg.lstsq(W, (x - reference.mu[2].numpy()).T, rcond=None)[0].T
    np.testing.assert_allclose(mine.z, expected, atol=1e-3)


def test_a_residual_pulled_to_a_points_z_ends_where_the_point_stands(mfa, reference, points):
    """`h + (μ − h) + W·z`, the naive two stages, projected onto the loadings again."""
    mine = mfa[1].points(points)
    z = mine.z[0]
    W, mu = loadings(reference, 1), reference.mu[1]
    h = torch.randn(D, dtype=torch.float64)
    ended = h + mfa[1].pulled(h, 1.0, z.tolist()).double()
    torch.testing.assert_close(ended, mu + W @ z.double(), atol=1e-3, rtol=1e-4)
    own = np.linalg.lstsq(W.numpy(), (points.residuals[mine.rows[0]].double() - mu).numpy(), rcond=None)[0]
    again = np.linalg.lstsq(W.numpy(), (ended - mu).numpy(), rcond=None)[0]
    np.testing.assert_allclose(again, own, atol=1e-3)


def test_responsibilities_and_belonging(mfa, reference, points):
    shares = reference.responsibilities(points.residuals)
    where = belonging(mfa, points)
    assert where.component.tolist() == shares.argmax(-1).tolist()
    np.testing.assert_allclose(where.responsibility, shares.max(-1).values, atol=1e-3)
    mine = mfa[2].points(points)
    np.testing.assert_allclose(mine.responsibility, shares[mine.rows, 2], atol=1e-3)


def test_the_plane_of_two_loadings_takes_and_gives_them(mfa, points):
    mine = mfa[0].points(points, min_responsibility=0.0)
    plane = mine.plane(2, 0)
    torch.testing.assert_close(plane.places(mine.z), mine.z[:, [2, 0]])
    moved = plane.moved(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([9.0, 8.0]))
    assert moved.tolist() == [8.0, 2.0, 9.0]
    assert mine.plane().dims == (0, 1)


def test_the_principal_plane_is_scikit_learns_counted_from_the_centroid(mfa, points):
    mine = mfa[0].points(points, min_responsibility=0.0)
    plane = mine.plane(0, 1, pca=True)
    fitted = PCA(2).fit(mine.coordinates.double().numpy())
    centroid = fitted.transform(mine.centroid[None].double().numpy())
    expected = fitted.transform(mine.coordinates.double().numpy()) - centroid
    found = plane.places(mine.z).numpy()
    np.testing.assert_allclose(found * np.sign((found * expected).sum(0)), expected, atol=1e-3)
    np.testing.assert_allclose(plane.explained, fitted.explained_variance_ratio_, atol=1e-5)
    z, place = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([4.0, -5.0])
    moved = plane.moved(z, place)
    torch.testing.assert_close(plane.places(moved), place, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(plane.moved(moved, plane.places(z)), z, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dims", [(0,), (0, 0), (0, 3), (-1, 0), (0, 1, 2)])
def test_a_plane_has_two_different_axes(mfa, points, dims):
    with pytest.raises(ValueError, match="two different loadings of 0 to 2"):
        mfa[0].points(points, min_responsibility=0.0).plane(*dims)
