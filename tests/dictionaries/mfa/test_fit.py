"""Fits of MFAs: planted clusters come back, the likelihood rises, the same seed gives the same, and Stop is obeyed."""

import builtins
import threading
from itertools import pairwise

import numpy as np
import pytest
import torch
from support.mfa import Reference
from support.models import D_MODEL
from support.naive import streams

import steerwidgets as sw
from steerwidgets.dictionaries.mfa.collect import Progress
from steerwidgets.dictionaries.mfa.fit import fit_points

TEXTS = ["The user asks the assistant about the ocean.", "Name a city by the sea, please.", "def main(): return"] * 8


def planted(n=1500, components=3, width=12, rank=2, scale=1.0, seed=0):
    """Points of a mixture of factor analysers whose centroids lie apart, the parameters, and which is whose."""
    draw = torch.Generator().manual_seed(seed)
    mu = 6 * torch.randn(components, width, generator=draw)
    loadings = 1.5 * torch.randn(components, width, rank, generator=draw)
    which = torch.randint(components, (n,), generator=draw)
    z = torch.randn(n, rank, generator=draw)
    x = mu[which] + torch.einsum("ndq,nq->nd", loadings[which], z) + 0.5 * torch.randn(n, width, generator=draw)
    return scale * x, scale * mu, scale * loadings, which


SETTINGS = {"epochs": 12, "batch": 64, "learning_rate": 0.02}


@pytest.mark.parametrize("scale", [0.01, 1.0, 1000.0])
@pytest.mark.parametrize("noise_per_component", [False, True])
def test_planted_clusters_come_back(scale, noise_per_component):
    x, mu, loadings, which = planted(scale=scale)
    fitted = fit_points(x, 3, 2, noise_per_component=noise_per_component, **SETTINGS)
    mfa = sw.MFA(fitted.checkpoint.state, fitted.checkpoint.meta, layer=0)
    order = torch.cdist(mu, mfa.centroids).argmin(-1)
    assert sorted(order.tolist()) == [0, 1, 2]
    assert torch.equal(mfa.encode(x).argmax(-1), order[which])
    assert float((mfa.centroids[order] - mu).norm(dim=-1).max()) < 0.6 * scale
    for k in range(3):
        # The planes are the same: little of a planted loading lies outside the fitted ones.
        basis = torch.linalg.qr(mfa.loadings(int(order[k]))).Q
        outside = loadings[k] - basis @ (basis.T @ loadings[k])
        assert float(outside.norm() / loadings[k].norm()) < 0.2
    expected = mfa.mixing[order]
    torch.testing.assert_close(expected, torch.bincount(which).float() / len(x), atol=0.1, rtol=0)


def test_the_reported_likelihood_is_that_of_the_points():
    x, *_ = planted(300, scale=20)
    fitted = fit_points(x, 3, 2, held_out=0.3, **SETTINGS)
    reference = Reference(fitted.checkpoint.state)
    judged = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:90]
    nll = -float(reference.log_likelihood(x[judged]).mean())
    assert fitted.nll[fitted.best - 1] == pytest.approx(nll, abs=1e-3)


@pytest.mark.parametrize("initialisation", ["kmeans", "points"])
def test_the_likelihood_rises(initialisation):
    x, *_ = planted()
    fitted = fit_points(x, 4, 2, initialisation=initialisation, **SETTINGS)
    assert len(fitted.nll) == 12
    assert all(after < before + 0.05 for before, after in pairwise(fitted.nll))
    assert fitted.nll[-1] < fitted.nll[0] - 1
    assert fitted.best == int(np.argmin(fitted.nll)) + 1
    assert not fitted.stopped


def test_the_same_seed_gives_the_same():
    x, *_ = planted(400)
    again = [fit_points(x, 3, 2, seed=seed, initialisation="kmeans", epochs=2) for seed in (7, 7, 8)]
    first, second, third = (fitted.checkpoint.state for fitted in again)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert again[0].nll == again[1].nll
    assert not torch.equal(first["dir_raw"], third["dir_raw"])


def test_the_best_epoch_is_kept():
    """With a rate far too large the likelihood gets worse, and what stood before is what one gets."""
    x, *_ = planted(300)
    fitted = fit_points(x, 3, 2, epochs=6, learning_rate=1.0, held_out=0.2)
    reference = Reference(fitted.checkpoint.state)
    judged = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:60]
    assert -float(reference.log_likelihood(x[judged]).mean()) == pytest.approx(min(fitted.nll), rel=1e-3)


def test_progress_and_stop():
    x, *_ = planted(640)
    stop, told = threading.Event(), []

    def on_progress(progress):
        told.append(progress)
        if progress.epoch == 2 and progress.done == 13:
            stop.set()

    fitted = fit_points(x, 3, 2, epochs=5, batch=64, on_progress=on_progress, stop=stop)
    assert fitted.stopped
    assert len(fitted.nll) == 2
    assert told[:2] == [Progress("clusters", 0, 1), Progress("clusters", 1, 1)]
    training = told[2:]
    assert [each.done for each in training] == list(range(1, 14))
    assert {each.total for each in training} == {50}
    assert training[9].nll == pytest.approx(fitted.nll[0])


def test_stopped_before_it_began():
    stop = threading.Event()
    stop.set()
    with pytest.raises(RuntimeError, match="stopped before anything was learned"):
        fit_points(planted(50)[0], 2, 1, stop=stop)


def test_without_scikit_learn(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    x, *_ = planted(50)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "steerwidgets\[concepts\]", or pass initialisation='):
        fit_points(x, 2, 1)
    assert fit_points(x, 2, 1, initialisation="points", epochs=1).nll


def test_as_many_components_as_points():
    x, *_ = planted(4)
    fitted = fit_points(x, 4, 1, initialisation="points", epochs=1)
    assert np.isfinite(fitted.nll).all()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"components": 51}, "51 components need as many points or more, but there are 50"),
        ({"components": 0}, "components is above 0, but 0"),
        ({"rank": 0}, "between 1 and 12, .* but 0"),
        ({"rank": 13}, "between 1 and 12, .* but 13"),
        ({"initialisation": "random"}, "kmeans or points, or a tensor of centroids, but 'random'"),
        ({"initialisation": torch.zeros(3, 11)}, r"finite numbers \[3, 12\], .* of shape \[3, 11\]"),
        ({"initialisation": torch.full((3, 12), torch.nan)}, r"finite numbers \[3, 12\]"),
        ({"pool": 2}, "3 clusters among as many points or more, but pool=2"),
        ({"held_out": 1.0}, "from 0 to below 1, but 1.0"),
        ({"epochs": 0}, "epochs is above 0"),
        ({"batch": 0}, "batch is above 0"),
        ({"learning_rate": float("nan")}, "learning_rate is above 0, but nan"),
        ({"points": torch.zeros(3)}, r"shape \[3\] was given"),
        ({"points": torch.full((9, 12), torch.nan)}, "hold NaN"),
    ],
)
def test_mistakes(settings, says):
    given = {"points": planted(50)[0], "components": 3, "rank": 2, "epochs": 1} | settings
    with pytest.raises(ValueError, match=says):
        fit_points(given.pop("points"), given.pop("components"), given.pop("rank"), **given)


def test_a_lost_likelihood_is_said():
    with pytest.raises(RuntimeError, match="lower learning_rate"):
        fit_points(planted(200)[0], 3, 2, batch=20, epochs=3, learning_rate=1e30)


def test_centroids_that_are_given():
    """`MFA(centroids=…)` of the reference: whoever has clusters already begins with them."""
    x, mu, *_ = planted()
    at_once = fit_points(x, 3, 2, initialisation=mu, epochs=1, batch=64, learning_rate=1e-4)
    torch.testing.assert_close(at_once.checkpoint.mu(), mu, atol=0.05, rtol=0)
    assert at_once.nll[0] < fit_points(x, 3, 2, initialisation="points", epochs=1, batch=64, learning_rate=1e-4).nll[0]


def test_clusters_of_a_pool():
    """k-means sees as many points as the pool holds, the fit all of them."""
    x, *_ = planted(600)
    fits = [fit_points(x, 3, 2, pool=pool, epochs=1) for pool in (600, 50_000, 60)]
    assert torch.equal(fits[0].checkpoint.mu(), fits[1].checkpoint.mu())
    assert not torch.equal(fits[0].checkpoint.mu(), fits[2].checkpoint.mu())


# ---------------------------------------------------------------- from a model


def test_collected_points_are_the_models_residuals(llama):
    long = "Would a wormhole let you travel through time?"
    points = llama.points(["Name a city", long, [0, 45, 100, 3, 41]], layer=2)
    for i, text in enumerate(points.texts):
        mine = points.text == i
        positions = points.position[mine]
        h = streams(llama.model, text, [(2, "resid_post")])[2, "resid_post"]
        torch.testing.assert_close(points.residuals[mine], h[positions], atol=1e-4, rtol=1e-4)
        assert 0 not in positions, "position 0 is an attention sink"
        assert not {text[int(p)] for p in positions} & llama.special_ids
    assert {int(p) for p in points.position[points.text == 2]} == {1, 2, 4}, "3 is a turn mark"
    assert [token.text for token in points.tokens(range(len(points)))][:2] != []


def test_a_bos_before_every_text(llama):
    plain = llama.points(["Name a city"], layer=2)
    with_bos = llama.points(["Name a city", "<|bos|>Name a city"], layer=2, bos=True)
    assert with_bos.texts[0] == (0, *plain.texts[0]) == with_bos.texts[1]
    assert with_bos.bos
    assert not plain.bos
    assert len(with_bos) == 2 * (len(plain) + 1), "the first word is read now, since the sink is the BOS"
    assert not torch.equal(with_bos.residuals[1 : len(plain) + 1], plain.residuals)


def test_attention_sinks_may_stay_in(llama):
    texts = ["Name a city", "The user asks"]
    without, with_them = (llama.points(texts, layer=2, keep_sinks=keep) for keep in (False, True))
    assert (without.sinks, with_them.sinks) == (False, True)
    assert len(with_them) == len(without) + 2
    assert torch.equal(with_them.residuals[with_them.position > 0], without.residuals)
    for i, text in enumerate(with_them.texts):
        h = streams(llama.model, text, [(2, "resid_post")])[2, "resid_post"]
        torch.testing.assert_close(with_them.residuals[with_them.text == i], h, atol=1e-4, rtol=1e-4)
    bos = llama.points(texts, layer=2, keep_sinks=True, bos=True)
    assert 0 not in bos.position, "the BOS itself is special"
    fitted = sw.MFA.fit(llama, texts, layer=2, components=2, rank=1, epochs=1, keep_sinks=True)
    assert fitted.provenance["points"].startswith(f"{len(with_them)} tokens")
    assert "sinks" not in fitted.provenance["dropped"]


def test_the_report_is_kept_in_the_file(llama, tmp_path):
    mfa = sw.MFA.fit(llama, TEXTS, layer=1, components=2, rank=1, epochs=3, batch=16)
    report = mfa.report
    assert report.points == len(mfa.points(llama, TEXTS))
    assert ", ".join(f"{each:.3f}" for each in report.nll) == mfa.provenance["nll"]
    assert report.best == 1 + report.nll.index(min(report.nll))
    assert not report.stopped
    mfa.save(tmp_path / "mfa.pt")
    assert sw.MFA.load(tmp_path / "mfa.pt").report == report
    value = torch.load(tmp_path / "mfa.pt", weights_only=True)
    del value["meta"]["extra"]["report"]["nll"]
    torch.save(value, tmp_path / "mfa.pt")
    with pytest.raises(ValueError, match="no report of an MFA fit: in it, nll should be given"):
        sw.MFA.load(tmp_path / "mfa.pt")


def test_reading_ends_where_it_is_enough(llama):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield TEXTS[0]

    points = llama.points(endless(), layer=0, max_tokens=20, max_length=6)
    assert len(points) == 20
    assert len(taken) <= 32
    assert {len(text) for text in points.texts} == {6}
    few = llama.points(TEXTS, layer=0, max_tokens=3)
    assert len(few) == 3


def test_a_file_instead_of_memory(llama, tmp_path):
    inside = llama.points(TEXTS[:3], layer=1)
    outside = llama.points(TEXTS[:3], layer=1, cache=tmp_path / "residuals.bin", max_tokens=500)
    assert torch.equal(inside.residuals, outside.residuals)
    on_disk = np.fromfile(tmp_path / "residuals.bin", dtype="<f4").reshape(500, D_MODEL)
    assert np.array_equal(on_disk[: len(inside)], inside.residuals.numpy())


def test_fit_of_a_model(llama):
    told = []
    settings = {"layer": 1, "components": 3, "rank": 2, "epochs": 3, "batch": 16, "learning_rate": 0.01}
    mfa = sw.MFA.fit(llama, TEXTS, seed=1, on_progress=told.append, **settings)
    assert (mfa.size, mfa.rank, mfa.d_model, mfa.site) == (3, 2, D_MODEL, sw.Site(1))
    assert [each.stage for each in told[:2]] == ["reading", "reading"]
    points = mfa.points(llama, TEXTS)
    assert mfa.provenance["points"] == f"{len(points)} tokens of {len(TEXTS)} texts"
    assert mfa.provenance["residual"] == "as the model has it"
    assert mfa.provenance["bos"] == "where the tokenizer puts one"
    history = [float(each) for each in mfa.provenance["nll"].split(", ")]
    assert history[-1] < history[0]
    again = sw.MFA.fit(llama, points, seed=1, **settings)
    assert again.fingerprint == mfa.fingerprint, "points that were collected before give the same"
    acts = llama.read(TEXTS[0], mfa)
    torch.testing.assert_close(acts.values.sum(-1), torch.ones(len(acts.tokens)))
    fires = llama.search(TEXTS[0], mfa, k=2)
    assert all(0 <= value <= 1 for value in fires.values)
    assert len(llama.top_logits(mfa[0]).promoted) == 10
    assert llama.logit_difference(TEXTS[0], mfa[0].pull(0.6, z={0: 2})).raw.abs().max() > 0.01
    assert llama.measure(TEXTS[0], mfa[0].pull(0.6))[0].ratio > 0


@pytest.mark.parametrize("family", ["gpt2"])
def test_as_transformer_lens_has_it(lm):
    mfa = sw.MFA.fit(lm, TEXTS, layer=1, components=2, rank=2, epochs=1, bos=True, centred=True)
    assert mfa.centred
    assert mfa.provenance["residual"] == "without its mean, as TransformerLens has it"
    assert mfa.provenance["bos"] == "before every text"
    assert float(mfa.centroids.mean(-1).abs().max()) < 0.02, "Adam moves it a little at most"
    h = mfa.points(lm, TEXTS[:2], bos=True).residuals
    torch.testing.assert_close(mfa.encode(h), mfa.encode(h + 5), atol=1e-4, rtol=1e-3)


def test_mistakes_with_a_model(llama):
    with pytest.raises(ValueError, match=r"models with LayerNorm, .* has LlamaRMSNorm"):
        sw.MFA.fit(llama, TEXTS, layer=1, components=2, rank=2, centred=True)
    with pytest.raises(TypeError, match="texts are several texts, but the text 'Name a city' was given"):
        sw.MFA.fit(llama, "Name a city", layer=1, components=2, rank=2)
    with pytest.raises(ValueError, match="None of the 1 texts read has a token of its own words"):
        sw.MFA.fit(llama, [[0, 1, 2]], layer=1, components=2, rank=2)
    with pytest.raises(ValueError, match="None of the 0 texts"):
        llama.points([], layer=1)
    with pytest.raises(ValueError, match="max_tokens= is a whole number from 1, but the number 0"):
        llama.points(TEXTS, layer=1, max_tokens=0)
    with pytest.raises(ValueError, match="block 9"):
        sw.MFA.fit(llama, TEXTS, layer=9, components=2, rank=2)
    points = llama.points(TEXTS, layer=1)
    with pytest.raises(ValueError, match="read at block 1 resid_post, but an MFA at block 2"):
        sw.MFA.fit(llama, points, layer=2, components=2, rank=2)


def test_a_tokenizer_without_bos(llama, tokenizer):
    import copy

    without = copy.deepcopy(tokenizer("plain"))
    without.bos_token = None
    lm = sw.LanguageModel(llama.model, without)
    with pytest.raises(ValueError, match="the tokenizer has none"):
        lm.points(TEXTS, layer=1, bos=True)


def test_rows_that_are_not_finite_are_dropped_and_counted(fresh):
    lm = fresh()
    ids = lm.encode("Name a city", chat=False).token_ids
    with torch.no_grad():
        lm.model.get_input_embeddings().weight[ids[-1]] = torch.nan
    points = lm.points([ids, ids[:-1]], layer=0)
    assert torch.isfinite(points.residuals).all()
    assert 1 <= points.not_finite <= len(ids)
    assert (points.text == 1).sum() == len(ids) - 2, "all but the sink"
    mfa = sw.MFA.fit(lm, [ids, ids[:-1]], layer=0, components=1, rank=1, epochs=1, initialisation="points")
    assert f"{points.not_finite} rows with NaN" in mfa.provenance["dropped"]


def test_stop_while_reading(llama):
    stop = threading.Event()
    with pytest.raises(RuntimeError, match="stopped before anything was learned"):
        sw.MFA.fit(llama, TEXTS, layer=1, components=2, rank=1, on_progress=lambda _: stop.set(), stop=stop)
