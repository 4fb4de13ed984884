"""Features as points: principal axes against scikit-learn, UMAP, closest pairs and clusters against naive code."""

import builtins

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from support import kinds, sae
from support.mfa import make_state

import steerwidgets as sw
from steerwidgets.dictionaries import geometry
from steerwidgets.dictionaries.geometry import closest_pairs, clustered, principal_axes


def up_to_sign(found, expected):
    """Columns that are each the other's, or its negative."""
    signs = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found * signs, expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(300, 12), (9, 40), (20, 20)])
def test_principal_axes_are_scikit_learns(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * torch.linspace(3, 0.5, shape[1]) + 7
    reference = PCA(3).fit(x.double().numpy())
    found = principal_axes(x, 3)
    up_to_sign(found.axes.numpy().T, reference.components_.T)
    np.testing.assert_allclose(found.explained, reference.explained_variance_ratio_, atol=1e-6)
    assert (found.axes.gather(1, found.axes.abs().argmax(1, keepdim=True)) > 0).all()


def test_axes_do_not_depend_on_the_chunks(monkeypatch):
    x = torch.randn(100, 8, generator=torch.Generator().manual_seed(5)) * torch.arange(8, 0, -1)
    whole = principal_axes(x, 2)
    monkeypatch.setattr(geometry, "_CHUNK", 7)
    torch.testing.assert_close(principal_axes(x, 2).axes, whole.axes, atol=1e-5, rtol=1e-4)  # float32 products


@pytest.mark.parametrize("kind", ["SAE", "ReFT", "CAV"])
def test_directions_are_laid_out_at_unit_length(kind, lm):
    dictionary = kinds.make(kind, lm)
    x = np.stack([dictionary.vector(i).double().numpy() for i in range(dictionary.size)])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    found = dictionary.map()
    up_to_sign(found.coordinates.numpy(), PCA(2).fit_transform(x))
    assert found.at_unit_length
    assert found.weight is None


def test_centroids_are_laid_out_as_they_lie_and_weigh_what_they_mix():
    mfa = sw.MFA(*make_state(7, 16, 3), layer=1)
    found = mfa.map()
    up_to_sign(found.coordinates.numpy(), PCA(2).fit_transform(mfa.centroids.double().numpy()))
    assert not found.at_unit_length
    torch.testing.assert_close(found.weight, mfa.mixing)


def test_densities_weigh_what_has_them():
    dictionary = sae.make()
    density = torch.linspace(0, 0.5, sae.SIZE)
    dictionary.statistics = sw.FeatureStatistics(torch.ones(sae.SIZE), density=density)
    torch.testing.assert_close(dictionary.map().weight, density)


def test_umap_keeps_families_together_and_comes_out_the_same():
    draw = torch.Generator().manual_seed(0)
    families = torch.randn(3, 24, generator=draw)
    rows = families.repeat_interleave(12, 0) + 0.05 * torch.randn(36, 24, generator=draw)
    cavs = sw.CAV(rows, layer=1)
    found = cavs.map("umap", seed=3)
    assert found.coordinates.shape == (36, 2)
    assert (found.axes, found.explained) == (None, ())
    distances = torch.cdist(found.coordinates, found.coordinates)
    distances.fill_diagonal_(float("inf"))
    assert ((distances.argmin(1) // 12) == torch.arange(36) // 12).all()
    torch.testing.assert_close(cavs.map("umap", seed=3).coordinates, found.coordinates)


def test_without_umap_it_says_how_to_get_it(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name == "umap":
            raise ModuleNotFoundError("No module named 'umap'", name="umap")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "steerwidgets\[maps\]".*"pca"'):
        sae.make().map("umap")


@pytest.mark.parametrize(
    ("made", "call", "said"),
    [
        (lambda lm: sae.make(), {"method": "tsne"}, "by pca or umap, but 'tsne' was given"),
        (lambda lm: sae.make(), {"n": 0}, "1 to .* axes, but 0 was given"),
        (lambda lm: sw.CAV(torch.randn(1, 32), layer=1), {}, "A map needs two features or more.* has 1"),
        (lambda lm: sw.Neurons(lm, layer=1), {}, "axes of their space.*give an SAE"),
    ],
)
def test_what_makes_no_map_is_said(llama, made, call, said):
    with pytest.raises(ValueError, match=said):
        made(llama).map(**call)


def test_closest_pairs_are_the_largest_cosines(monkeypatch):
    dictionary = sae.make()
    x = np.stack([dictionary.vector(i).numpy() for i in range(dictionary.size)])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    cosines = x @ x.T - 3 * np.eye(len(x))
    expected = {tuple(sorted((i, int(row.argmax())))) for i, row in enumerate(cosines) if row.max() >= 0.2}
    found = closest_pairs(dictionary, 0.2)
    assert {(i, j) for i, j, _ in found} == expected
    assert expected
    for i, j, cosine in found:
        assert cosine == pytest.approx(cosines[i, j], abs=1e-5)
    monkeypatch.setattr(geometry, "_LINKED", 4)
    assert closest_pairs(dictionary, 0.2) == []


def test_clusters_are_those_of_k_means():
    draw = torch.Generator().manual_seed(2)
    centres = 8 * torch.randn(4, 5, generator=draw)
    sizes = (40, 10, 30, 20)
    x = torch.cat([c + torch.randn(n, 5, generator=draw) for c, n in zip(centres, sizes, strict=True)])
    found = clustered(x, 4)
    assert torch.bincount(found).tolist() == sorted(sizes, reverse=True)
    reference = KMeans(4, n_init=10, random_state=0).fit(x.numpy())
    spread = sum(float((x[found == i] - x[found == i].mean(0)).square().sum()) for i in range(4))
    assert spread == pytest.approx(reference.inertia_, rel=1e-4)


def test_clusters_of_few_and_of_equal_points():
    assert clustered(torch.zeros(0, 3), 4).tolist() == []
    assert clustered(torch.ones(1, 3), 4).tolist() == [0]
    assert set(clustered(torch.ones(9, 3), 4).tolist()) <= {0, 1, 2, 3}
