"""The density of an MFA equals dense Gaussians in float64, and its components and the mixture steer and read."""

import json

import pytest
import torch
from support.mfa import Reference, make_state

import steerwidgets as sw

K, D, Q = 5, 24, 3
CASES = [(False, None), (True, None), (False, "varimax"), (True, "oblimin")]
CLOSE = {"atol": 2e-4, "rtol": 2e-5}


def make(per_component=False, rotation=None, **settings):
    state, meta = make_state(K, D, Q, per_component=per_component, rotation=rotation)
    mfa = sw.MFA(state, meta, **({"layer": 1} | settings))
    return mfa, Reference(state, rotated=rotation is not None)


def points(n=40, seed=1, width=D):
    return 3 * torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def equal(mine, theirs, **close):
    torch.testing.assert_close(mine.double(), theirs, **(CLOSE | close))


@pytest.fixture(params=CASES, ids=str)
def both(request):
    return make(*request.param)


def test_log_likelihoods(both):
    mfa, reference = both
    x = points()
    equal(mfa.log_likelihoods(x), reference.log_likelihoods(x))
    equal(mfa.log_likelihood(x), reference.log_likelihood(x))


def test_far_from_everything_it_is_still_exact(both):
    """A residual of the size of an attention sink: float32 holds seven digits of it."""
    mfa, reference = both
    x = 300 * points(8)
    equal(mfa.log_likelihoods(x), reference.log_likelihoods(x), atol=0, rtol=1e-5)
    equal(mfa.responsibilities(x), reference.responsibilities(x), atol=1e-3)


@pytest.mark.parametrize("tau", [1.0, 0.3, 50.0])
def test_responsibilities(both, tau):
    mfa, reference = both
    x = points()
    equal(mfa.responsibilities(x, tau=tau), reference.responsibilities(x, tau))
    assert torch.equal(mfa.encode(x), mfa.responsibilities(x))
    assert torch.equal(mfa.activations(x, [3, 1]), mfa.encode(x)[:, [3, 1]])
    assert torch.equal(mfa[3].activation(x), mfa.encode(x)[:, 3])


def test_latents_and_covariances(both):
    mfa, reference = both
    x = points()
    for k in range(K):
        equal(mfa.expected_latent(x, k), reference.latent(x, k))
        equal(mfa.latent_covariance(k), reference.latent_covariance(k))
        equal(mfa.covariance(k), reference.covariance(k))
        equal(mfa.loadings(k), reference.turned(k))


def test_reconstruction(both):
    mfa, reference = both
    equal(mfa.reconstruct(points()), reference.reconstruct(points()))


def test_any_shape_of_points(both):
    mfa, _ = both
    x = points(12)
    assert mfa.log_likelihood(x[0]).shape == ()
    assert mfa.reconstruct(x.view(3, 4, D)).shape == (3, 4, D)
    torch.testing.assert_close(mfa.encode(x.view(3, 4, D)).flatten(0, 1), mfa.encode(x))
    torch.testing.assert_close(mfa.expected_latent(x.view(3, 4, D), 2).flatten(0, 1), mfa.expected_latent(x, 2))


def test_many_points_in_chunks_are_the_same(both, monkeypatch):
    mfa, _ = both
    whole = mfa.encode(points())
    monkeypatch.setattr("steerwidgets.dictionaries.mfa.reading._NUMBERS", 7 * K * Q)
    monkeypatch.setattr("steerwidgets.dictionaries.mfa.reading._LOADED", 2)
    torch.testing.assert_close(mfa.encode(points()), whole)
    equal(mfa.reconstruct(points()), both[1].reconstruct(points()))


def test_components_prepared_in_chunks_are_the_same(monkeypatch):
    expected = make(per_component=True)[0].encode(points())
    monkeypatch.setattr("steerwidgets.dictionaries.mfa.reading._PREPARED", 2)
    assert torch.equal(make(per_component=True)[0].encode(points()), expected)


def test_what_does_not_depend_on_the_point_is_computed_once(monkeypatch):
    mfa, _ = make()
    mfa.encode(points())
    monkeypatch.setattr(torch.linalg, "cholesky", None)
    mfa.encode(points())
    mfa.expected_latent(points(), 1)


def test_coordinates_are_least_squares_on_the_unit_loadings_uncentred(both):
    mfa, reference = both
    x = points()
    unit = reference.turned(2) / reference.turned(2).norm(dim=0)
    equal(mfa.coordinates(x, 2), torch.linalg.lstsq(unit, x.double().T).solution.T)
    assert (mfa.coordinates(x, 2) - mfa.expected_latent(x, 2)).abs().max() > 0.1


@pytest.mark.parametrize("k", [2, None])
@pytest.mark.parametrize(("a", "z"), [(0.6, None), (0.0, [20.0, 0.0, -10.0]), (0.4, [1.0, 2.0, 3.0]), (1.0, None)])
def test_pull_is_the_references_two_stages(both, k, a, z):
    mfa, reference = both
    h = points(6)
    steer = (mfa.mixture if k is None else mfa[k]).pull(a, z)
    change = steer.feature.change(steer.op, steer.parameters, h)
    equal(h + change, reference.two_stage(h, a, z, k))


def test_a_pull_of_one_lands_on_the_centroid():
    mfa, _ = make()
    steer = mfa[4].pull(1)
    h = points(3)
    torch.testing.assert_close(h + steer.feature.change("pull", steer.parameters, h), mfa.centroids[4].expand(3, -1))


def test_z_can_be_written_in_four_ways():
    mfa, _ = make()
    pulls = [
        mfa[2].pull(0.6, z={0: 20, 2: -10}),
        mfa[2].pull(0.6, z=[20, 0, -10]),
        mfa[2].pull(0.6, z=torch.tensor([20.0, 0.0, -10.0])),
        mfa[2].pull(0.6, z0=20, z2=-10),
    ]
    assert len(set(pulls)) == 1
    assert dict(pulls[0].parameters) == {"a": 0.6, "z0": 20.0, "z1": 0.0, "z2": -10.0}
    assert [parameter.symbol for parameter in pulls[0].spec.parameters] == ["a", "z₀", "z₁", "z₂"]


def test_the_mixture_reads_how_well_it_explains_a_residual():
    mfa, reference = make()
    x = points()
    equal(mfa.mixture.activation(x), reference.log_likelihood(x))
    assert mfa[None] is mfa.mixture
    equal(mfa.activations(x, [None, 2])[:, 0], reference.log_likelihood(x))


def test_identity():
    mfa, _ = make()
    assert mfa[1].pull(0).is_identity
    assert mfa.mixture.pull(0).is_identity
    assert mfa[1].pull(0, z={1: 0}).is_identity
    assert not mfa[1].pull(0, z={1: 2}).is_identity
    assert not mfa[1].pull(0.1).is_identity
    for feature in (mfa[1], mfa.mixture):
        assert not feature.change("pull", feature.pull(0).parameters, points(3)).any()


def test_recipes_survive_json():
    mfa, _ = make()
    recipe = mfa[2].pull(0.6, z={0: 20}) + mfa.mixture.pull(0.2).at("prompt") + mfa[0].add(3)
    text = recipe.to_json()
    again = sw.Recipe.from_json(text, dictionaries=[mfa])
    assert again == recipe
    assert hash(again) == hash(recipe)
    assert again.fingerprint == recipe.fingerprint
    assert again.to_json() == text
    first, second, _ = json.loads(text)["steers"]
    assert first["parameters"] == {"a": 0.6, "z0": 20.0, "z1": 0.0, "z2": 0.0}
    assert second["feature"]["index"] is None
    assert again.steers[1].feature is mfa.mixture
    assert recipe.fingerprint != (mfa[2].pull(0.6, z={1: 20}) + recipe.steers[1] + recipe.steers[2]).fingerprint


def test_the_direction_is_what_sets_a_component_apart():
    mfa, reference = make()
    mean = reference.pi @ reference.mu
    equal(mfa[3].vector, reference.mu[3] - mean)
    equal(mfa.mixture.vector, mean)
    assert list(mfa[3].ops) == ["pull", "add", "add_relative", "ablate"]
    assert list(mfa.mixture.ops) == ["pull"]
    torch.testing.assert_close(mfa[3].change("add", {"alpha": 2.0}, points(1)), 2 * mfa[3].vector)
    assert mfa[3].cosine(mfa[3].direction) == pytest.approx(1)


def test_a_mixture_of_one_points_at_its_centroid():
    state, meta = make_state(1, D, Q)
    mfa = sw.MFA(state, meta, layer=0)
    torch.testing.assert_close(mfa[0].vector, state["mu"][0])
    at_the_origin = sw.MFA(state | {"mu": torch.zeros(1, D)}, meta, layer=0)
    torch.testing.assert_close(at_the_origin[0].vector, at_the_origin.loadings(0)[:, 0])
    assert at_the_origin.mixture.norm > 0


def test_centred_takes_the_mean_off_first():
    mfa, reference = make(centred=True)
    x = points() + 7
    without = x - x.mean(-1, keepdim=True)
    equal(mfa.responsibilities(x), reference.responsibilities(without))
    equal(mfa.reconstruct(x), reference.reconstruct(without))
    steer = mfa[1].pull(0.5, z=[1, 2, 3])
    change = mfa[1].change("pull", steer.parameters, x)
    equal(without + change, reference.two_stage(without, 0.5, [1.0, 2.0, 3.0], 1))
    assert mfa.fingerprint != make()[0].fingerprint


def test_at_another_layer():
    mfa, _ = make(labels=list("abcde"))
    other = mfa.at(3, "mlp_out")
    assert other.site == sw.Site(3, "mlp_out")
    assert mfa.site == sw.Site(1)
    assert other.fingerprint != mfa.fingerprint
    assert other["b"].site == other.site == other.mixture.site
    assert mfa["b"].site == mfa.mixture.site == mfa.site
    torch.testing.assert_close(other.encode(points()), mfa.encode(points()))


def test_fingerprints_tell_apart_what_acts_differently():
    state, meta = make_state(K, D, Q, rotation="varimax")
    seen = {
        sw.MFA(state, meta | changes, layer=1).fingerprint
        for changes in ({}, {"rotation_on": False}, {"eps_floor": 1e-3})
    }
    assert len(seen) == 3
    assert sw.MFA(state, meta, layer=1).fingerprint in seen


def test_half_precision_files_are_read_in_float32():
    state, meta = make_state(K, D, Q)
    half = {name: value.bfloat16() for name, value in state.items()}
    mfa, reference = sw.MFA(half, meta, layer=1), Reference(half)
    equal(mfa.log_likelihoods(points()), reference.log_likelihoods(points()))
    equal(mfa.encode(points().bfloat16()), reference.responsibilities(points().bfloat16()))


def test_labels_and_search():
    mfa, _ = make(labels=["research", "rivers", "", "dates", "names"])
    assert mfa["rivers"].index == 1
    assert mfa[2].label == "MFA 2"
    assert [feature.index for feature in mfa.search("re")] == [0]
    assert len(list(mfa)) == K


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"dir_raw": torch.zeros(K, D)}, "loadings dir_raw .* have shape"),
        ({"mu": torch.zeros(K, D + 1)}, "'mu' .* has shape"),
        ({"scale_rho": torch.zeros(K)}, "'scale_rho' .* has shape"),
        ({"psi_rho": torch.zeros(D + 1)}, r"'psi_rho' .* \[24\] or \[5, 24\], but this one has \[25\]"),
        ({"pi_logits": torch.zeros(K + 1)}, "'pi_logits'"),
        ({"_rot_T": torch.zeros(K, Q)}, "'_rot_T'"),
        ({"mu": torch.full((K, D), torch.nan)}, "'mu' .* NaN"),
        ({"rank_mask": torch.zeros(K, Q)}, "'rank_mask'"),
    ],
)
def test_wrong_tensors(broken, says):
    state, meta = make_state(K, D, Q)
    with pytest.raises(ValueError, match=says):
        sw.MFA(state | broken, meta, layer=1)


def test_missing_tensors():
    state, meta = make_state(K, D, Q, rotation="varimax")
    with pytest.raises(ValueError, match="'mu' is missing"):
        sw.MFA({name: value for name, value in state.items() if name != "mu"}, meta, layer=1)
    with pytest.raises(ValueError, match="rotation is missing"):
        sw.MFA({name: value for name, value in state.items() if name != "_rot_T"}, meta, layer=1)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda mfa: mfa[K], IndexError, "features 0 to 4, but 5"),
        (lambda mfa: mfa.loadings(K), IndexError, "components 0 to 4, but 5"),
        (lambda mfa: mfa.expected_latent(points(), -1), IndexError, "components 0 to 4, but -1"),
        (lambda mfa: mfa.covariance("a"), IndexError, "components 0 to 4, but 'a'"),
        (lambda mfa: mfa["ocean"], KeyError, "no labels"),
        (lambda mfa: mfa[0].pull(0.5, z={3: 1}), ValueError, "loadings 0 to 2, but z gives a number for 3"),
        (lambda mfa: mfa[0].pull(0.5, z={"0": 1}), ValueError, "for '0'"),
        (lambda mfa: mfa.mixture.pull(0.5, z={-1: 1}), ValueError, "for -1"),
        (lambda mfa: mfa[0].pull(0.5, z=[1, 2]), ValueError, "3 loadings, .* but 2 were given"),
        (lambda mfa: mfa[0].pull(0.5, z=torch.zeros(3, 3)), ValueError, "z0 has to be a finite number"),
        (lambda mfa: mfa[0].pull(0.5, z=3), ValueError, "3 was given"),
        (lambda mfa: mfa[0].pull(0.5, z={0: float("nan")}), ValueError, "z0 has to be a finite number"),
        (lambda mfa: mfa[0].pull(None), ValueError, "a has to be a finite number"),
        (lambda mfa: mfa[0].pull(0.5, z9=1), ValueError, "'z9' was given"),
        (lambda mfa: mfa[0].project(2), ValueError, "does not take the op 'project'; it takes pull, add"),
        (lambda mfa: mfa.mixture.add(2), ValueError, "does not take the op 'add'; it takes pull"),
        (lambda mfa: mfa.encode(points(width=D + 1)), ValueError, r"24 numbers at .*, but got shape \[40, 25\]"),
        (lambda mfa: mfa.responsibilities(points(), tau=0), ValueError, "above 0, but 0"),
        (lambda mfa: mfa.at(-1), ValueError, "layer=-1"),
    ],
)
def test_mistakes_are_one_sentence(call, error, says):
    with pytest.raises(error, match=says) as caught:
        call(make()[0])
    assert "\n" not in str(caught.value)


def test_labels_have_to_fit():
    with pytest.raises(ValueError, match="2 labels were given for the 5 features of this MFA dictionary"):
        make(labels=["a", "b"])


# A mixture whose components have loadings of their own


def test_a_mixture_with_a_z_for_each_component(both):
    mfa, reference = both
    h = points(12)
    full = [[0.0] * Q for _ in range(K)]
    full[1][0], full[4][2] = 5.0, -3.0
    expected = reference.two_stage(h, 0.4, full, None)
    assert (expected - reference.two_stage(h, 0.4, None, None)).abs().max() > 0.1
    ways = (
        mfa.mixture.pull(0.4, z={4: {2: -3}, 1: [5, 0, 0]}),
        mfa.mixture.pull(0.4, z=torch.tensor(full)),
        mfa.mixture.pull(0.4, z=full),
        mfa[4, 1].pull(0.4, z1_0=5, z4_2=-3),
    )
    for steer in ways:
        equal(h + steer.feature.change(steer.op, steer.parameters, h), expected, atol=1e-3)
        assert steer == ways[0]
    assert ways[0].feature.label == "mixture, z of 1, 4"
    assert ways[0] != mfa.mixture.pull(0.4)
    assert not ways[0].is_setter
    assert mfa[()].key == mfa.mixture.key


def test_it_comes_back_from_json():
    mfa, _ = make(rotation="varimax")
    recipe = mfa.mixture.pull(0.4, z={3: {1: 2.0}, 0: {2: -1.0}}) + mfa.mixture.pull(0.1, z={2: 4})
    again = sw.Recipe.from_json(recipe.to_json(), dictionaries=[mfa])
    assert again == recipe
    assert again.fingerprint == recipe.fingerprint
    assert {tuple(steer.feature.components) for steer in again} == {(0, 3), ()}
    assert dict(again.steers[0].parameters) == dict(recipe.steers[0].parameters)


@pytest.mark.parametrize(
    ("z", "error", "says"),
    [
        ({5: {0: 1}}, IndexError, "components 0 to 4, but 5"),
        ({1: {3: 1}}, ValueError, "loadings 0 to 2, but z gives a number for 3"),
        ({1: {0: 1}, 2: 3.0}, ValueError, "but some of each were given"),
        ({1: [1, 2]}, ValueError, "one number for each of the 3 loadings, .* but 2 were given"),
        (
            [[1, 2, 3]] * 4,
            ValueError,
            "one row of numbers for each of the 5 components, but 4 rows were given; rows for",
        ),
        ({1: {0: float("nan")}}, ValueError, "z1_0 has to be a finite number"),
    ],
)
def test_moves_that_no_mixture_makes(z, error, says):
    mfa, _ = make()
    with pytest.raises(error, match=says):
        mfa.mixture.pull(0.5, z=z)
