"""CAV.fit against independent reading and scikit-learn's own solvers, and every way in which it can be wrong."""

import builtins
import json
import math
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score
from sklearn.svm import LinearSVC
from support.concepts import corpus
from support.models import D_MODEL

import steerwidgets as sw
from steerwidgets.dictionaries.cav.directions import fit_directions
from steerwidgets.dictionaries.cav.fit import held_out_rows

LAYER = 1


def seed_001(model, texts, layer, max_seq_len, aggregate_from_token):
    """`get_mean_activation` of the notebook: right padding, `output_hidden_states`, einsum over the mask."""
    longest = max(map(len, texts))
    ids = torch.tensor([text + [2] * (longest - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
    ids, mask = ids[:, : max_seq_len + 1], mask[:, : max_seq_len + 1]
    with torch.no_grad():
        hidden = model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[layer + 1]
    activations, mask = hidden[:, aggregate_from_token + 1 :], mask[:, aggregate_from_token + 1 :]
    return torch.einsum("ijk,ij->ik", activations.float(), mask.float()) / mask.sum(dim=1, keepdim=True)


def fitted_by_the_notebook(activations, labels):
    keep = ~activations.isnan().any(dim=1)
    numbers = np.array([sorted(set(labels)).index(label) for label in labels])[keep.numpy()]
    svc = LinearSVC(fit_intercept=False, random_state=0).fit(activations[keep].numpy(), numbers)
    cavs = torch.from_numpy(svc.coef_).float()
    return cavs / cavs.norm(dim=1, keepdim=True), int((~keep).sum())


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_it_is_what_the_notebook_computes(lm):
    """Truncation at 129 and 65 skipped, made small: at 13 and 9 (BOS and 8)."""
    texts, labels = corpus(shortest=5)
    expected, dropped = fitted_by_the_notebook(seed_001(lm.model, texts, LAYER, 12, 8), labels)
    assert dropped > 0
    cavs = sw.CAV.fit(lm, texts, labels, layer=LAYER, max_tokens=13, skip=9, held_out=0)
    assert list(cavs.labels) == ["code", "maths", "sea"]
    assert cavs.report.dropped == dropped
    assert cavs.report.fitted == len(texts) - dropped
    cosines = (cavs.vectors * expected).sum(-1)
    assert float(cosines.min()) > 0.9999
    assert not cavs.report.scores
    assert cavs.site == sw.Site(LAYER)


def test_truncation_at_129_and_65_skipped(llama):
    generator = torch.Generator().manual_seed(1)
    texts = [torch.randint(20, 300, (n,), generator=generator).tolist() for n in (150, 129, 100, 66, 65, 30, 200, 90)]
    labels = [0, 1] * 4
    expected, dropped = fitted_by_the_notebook(seed_001(llama.model, texts, LAYER, 128, 64), labels)
    assert dropped == 2
    cavs = sw.CAV.fit(llama, texts, labels, layer=LAYER, max_tokens=129, skip=65, held_out=0)
    assert (cavs.report.dropped, cavs.report.fitted) == (2, 6)
    assert list(cavs.labels) == ["0", "1"]
    assert float(cavs.vectors[1] @ expected[0]) > 0.9999


def test_two_labels_give_two_directions(llama):
    texts, labels = corpus(kinds=("sea", "code"))
    cavs = sw.CAV.fit(llama, texts, labels, layer=LAYER)
    assert list(cavs.labels) == ["code", "sea"]
    torch.testing.assert_close(cavs.vectors[0], -cavs.vectors[1])
    assert float(cavs.vectors.norm(dim=-1).min()) == pytest.approx(1, abs=1e-6)


def kept_activations(lm, texts, pool):
    """One text at a time, no padding: positions but 0 and sinks, pooled."""
    rows = []
    for text in texts:
        h = lm.residuals(text, [sw.Site(LAYER)]).values[sw.Site(LAYER)][0]
        norms = h.norm(dim=-1)
        own = [t > 0 and float(n) <= 10 * float(norms[1:].median()) and text[t] > 4 for t, n in enumerate(norms)]
        words = h[torch.tensor(own)].double()
        rows.append({"mean": words.mean(0), "max": words.amax(0), "last": words[-1]}[pool])
    return torch.stack(rows)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
@pytest.mark.parametrize("pool", ["mean", "last", "max"])
def test_pools_and_difference_in_means(lm, pool):
    texts, labels = corpus()
    x = kept_activations(lm, texts, pool)
    cavs = sw.CAV.fit(lm, texts, labels, layer=LAYER, method="mean_difference", pool=pool, held_out=0)
    for i, label in enumerate(cavs.labels):
        mine = torch.tensor([each == label for each in labels])
        expected = x[mine].mean(0) - x[~mine].mean(0)
        torch.testing.assert_close(cavs.vectors[i].double(), expected / expected.norm(), atol=1e-4, rtol=1e-3)


def test_pca_finds_the_axis_between_two_clouds():
    generator = torch.Generator().manual_seed(0)
    axis = torch.zeros(8)
    axis[3] = 1.0
    x = 0.1 * torch.randn(90, 8, generator=generator) + 50
    y = torch.tensor([0] * 30 + [1] * 60)
    x[y == 1] += 4 * axis
    rows, _ = fit_directions(x, y, torch.zeros(90, dtype=torch.bool), ["a", "b"], "pca", 0)
    assert float(rows[1] @ axis) > 0.999
    assert float(rows[0] @ axis) < -0.999


@pytest.mark.parametrize("method", ["svm", "logistic", "mean_difference", "pca"])
def test_scores_are_of_texts_that_were_held_out(llama, method):
    texts, labels = corpus(count=40, shortest=20, longest=40)
    cavs = sw.CAV.fit(llama, texts, labels, layer=LAYER, method=method, held_out=0.25, seed=1)
    report = cavs.report
    assert [(s.label, s.positives, s.negatives) for s in report.scores] == [
        (k, 10, 20) for k in ("code", "maths", "sea")
    ]
    assert report.fitted == 90
    assert report.auroc == pytest.approx(sum(s.auroc for s in report.scores) / 3)
    if method != "pca":
        assert report.auroc > 0.8
        assert report.accuracy > 0.7
    assert cavs.provenance["held out"] == f"accuracy {report.accuracy:.3f}, AUROC {report.auroc:.3f}"


def test_scores_against_scikit_learn():
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(80, 6, generator=generator)
    y = (x[:, 0] + torch.randn(80, generator=generator) > 0).long()
    is_test = torch.arange(80) % 2 == 0
    rows, report = fit_directions(x, y, is_test, ["no", "yes"], "svm", 0)
    projected = (x[is_test] @ rows[1]).numpy()
    truth = y[is_test].numpy()
    assert report.scores[1].auroc == pytest.approx(roc_auc_score(truth, projected))
    assert report.scores[1].accuracy == pytest.approx(((projected > 0) == truth).mean())


def test_a_labels_shuffled_control_is_at_chance(llama):
    texts, labels = corpus(count=20)
    shuffled = [labels[i] for i in torch.randperm(len(labels), generator=torch.Generator().manual_seed(4)).tolist()]
    assert abs(sw.CAV.fit(llama, texts, shuffled, layer=LAYER, held_out=0.5).report.auroc - 0.5) < 0.25


def test_every_block_in_one_pass(llama, monkeypatch):
    texts, labels = corpus()
    passes = []
    handle = llama.model.model.embed_tokens.register_forward_hook(lambda *_: passes.append(1))
    try:
        fits = sw.CAV.fit(llama, texts, labels, layers="all", batch_size=12)
        fitted = len(passes)
    finally:
        handle.remove()
    assert fitted == len(texts) / 12 + 1, "every text once, and the held-out ones once more for the zeros"
    assert list(fits) == [0, 1, 2, 3]
    assert all(fits[k].site == sw.Site(k) for k in fits)
    assert fits.best.report.auroc == max(fits.auroc.values())
    alone = sw.CAV.fit(llama, texts, labels, layer=2, batch_size=12)
    assert float((fits[2].vectors * alone.vectors).sum(-1).min()) > 0.9999
    some = sw.CAV.fit(llama, texts, labels, layers=[1, 3], method="mean_difference", held_out=0)
    assert list(some) == [1, 3]
    with pytest.raises(ValueError, match="No text was held out, so no block is known to be the best"):
        _ = some.best


def test_batches_do_not_change_the_result(llama):
    texts, labels = corpus()
    one, many = (
        sw.CAV.fit(llama, texts, labels, layer=LAYER, method="mean_difference", batch_size=n).vectors for n in (1, 7)
    )
    torch.testing.assert_close(one, many, atol=1e-5, rtol=1e-4)


def test_progress_strings_and_saving(llama, tmp_path):
    texts = ["Name a city by the sea", "the ocean and the system", "def main(): return", "print the result"] * 3
    seen = []
    settings = {"batch_size": 5, "on_progress": lambda done, total: seen.append((done, total))}
    cavs = sw.CAV.fit(llama, texts, ["sea", "sea", "code", "code"] * 3, layer=LAYER, **settings)
    assert seen == [(5, 12), (10, 12), (12, 12)]
    cavs.save(tmp_path / "cavs.safetensors")
    again = sw.CAV.load(tmp_path / "cavs.safetensors")
    assert again.fingerprint == cavs.fingerprint
    assert again.provenance == cavs.provenance
    assert llama.compare("Name a city", again["sea"].add(30), temperature=0, max_new_tokens=4).steered.token_ids


def test_steered_as_any_other(llama):
    texts, labels = corpus()
    cavs = sw.CAV.fit(llama, texts, labels, layer=LAYER)
    assert llama.read(texts[0], cavs).values.shape == (len(texts[0]), 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["sea"]}, "one label for each text, but it got 36 texts and 1 labels"),
        ({"labels": ["sea"] * 36}, "at least two, but 1 was given"),
        ({"method": "lda"}, "method is one of svm, logistic, mean_difference, pca, but 'lda'"),
        ({"pool": "median"}, "pool is one of mean, last, max, but 'median'"),
        ({"held_out": 1.5}, "held_out is a share"),
        ({"skip": -1}, "skip counts tokens from 0 up"),
        ({"skip": 9, "max_tokens": 9}, "max_tokens=9 leaves no token after skip=9"),
        ({"skip": 100}, "No text labelled 'code' is left to fit on"),
        ({"layer": 8}, "4 blocks, counted from 0 to 3"),
        ({"layer": None}, "either layer= .one block. or layers="),
        ({"layers": "all"}, "either layer= .one block. or layers="),
        ({"layer": None, "layers": []}, "No block was given"),
    ],
)
def test_what_can_be_wrong(llama, changes, message):
    texts, labels = corpus()
    settings = {"labels": labels, "layer": LAYER} | changes
    with pytest.raises(ValueError, match=message):
        sw.CAV.fit(llama, texts, settings.pop("labels"), **settings)


def test_nan_activations_are_dropped_and_counted(fresh):
    lm = fresh()
    with torch.no_grad():
        lm.model.model.embed_tokens.weight[60] = torch.nan
    texts, labels = corpus()
    spoilt = sum(60 in text for text in texts)
    assert 0 < spoilt < len(texts)
    report = sw.CAV.fit(lm, texts, labels, layer=LAYER, method="mean_difference", skip=1).report
    assert report.dropped == spoilt


def test_without_scikit_learn(llama, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    texts, labels = corpus()
    with pytest.raises(ImportError, match=r"method='svm' needs scikit-learn: pip install 'steerwidgets\[concepts\]'"):
        sw.CAV.fit(llama, texts, labels, layer=LAYER)
    assert sw.CAV.fit(llama, texts, labels, layer=LAYER, method="mean_difference").size == 3
    assert sw.CAV.fit(llama, texts, labels, layer=LAYER, method="pca").size == 3


def test_names_of_labels_that_are_numbers(llama):
    texts, labels = corpus()
    names = {7: "b", 3: "c", 9: "a"}
    numbers = [{"sea": 7, "code": 3, "maths": 9}[label] for label in labels]
    cavs = sw.CAV.fit(llama, texts, numbers, layer=LAYER, names=names)
    assert list(cavs.labels) == ["c", "b", "a"], "in the order of the numbers"
    assert [score.label for score in cavs.report.scores] == ["c", "b", "a"]
    plain = sw.CAV.fit(llama, texts, numbers, layer=LAYER)
    assert torch.equal(plain.vectors, cavs.vectors)
    for wrong, says in (
        ({7: "b", 3: "c"}, "holds nothing for 9"),
        (["a", "b"], "holds nothing for 3"),
        ({7: "b", 3: "c", 9: "b"}, "gives two labels the same name"),
    ):
        with pytest.raises(ValueError, match=says):
            sw.CAV.fit(llama, texts, numbers, layer=LAYER, names=wrong)
    with pytest.raises(ValueError, match="holds nothing for 'code'"):
        sw.CAV.fit(llama, texts, labels, layer=LAYER, names=["x"])


@pytest.mark.parametrize("method", ["svm", "logistic", "mean_difference", "pca"])
def test_directions_of_their_own_length(llama, method):
    texts, labels = corpus()
    own, unit = (sw.CAV.fit(llama, texts, labels, layer=LAYER, method=method, unit=each) for each in (False, True))
    torch.testing.assert_close(own.vectors / own.vectors.norm(dim=-1, keepdim=True), unit.vectors)
    assert own.report.scores == unit.report.scores


def test_stop(llama):
    texts, labels = corpus()
    stop, told = threading.Event(), []

    def on_progress(done, total):
        told.append((done, total))
        if done >= 16:
            stop.set()

    with pytest.raises(RuntimeError, match="stopped after 16 of 36 texts, before anything was learned"):
        sw.CAV.fit(llama, texts, labels, layer=LAYER, batch_size=8, on_progress=on_progress, stop=stop)
    assert told == [(8, 36), (16, 36)]
    stop.clear()
    fits = sw.CAV.fit(llama, texts, labels, layers="all", batch_size=36, stop=stop)
    assert list(fits) == [0, 1, 2, 3]


def test_stop_between_blocks(llama, monkeypatch):
    """Those that are fitted by then are given; they are as they would be without a stop."""
    from steerwidgets.dictionaries.cav import fit as cav

    stop, fit_one, calls = threading.Event(), cav.fit_directions, []

    def counted(*args, **settings):
        calls.append(1)
        if len(calls) == 2:
            stop.set()
        return fit_one(*args, **settings)

    monkeypatch.setattr(cav, "fit_directions", counted)
    texts, labels = corpus()
    fits = sw.CAV.fit(llama, texts, labels, layers="all", method="mean_difference", stop=stop)
    assert list(fits) == [0, 1]
    calls.clear()
    whole = sw.CAV.fit(llama, texts, labels, layers="all", method="mean_difference")
    assert torch.equal(fits[1].vectors, whole[1].vectors)
    stop.set()
    with pytest.raises(RuntimeError, match="stopped after 0 of 36 texts"):
        sw.CAV.fit(llama, texts, labels, layer=LAYER, stop=stop)


def test_the_report_is_kept_in_the_file(llama, tmp_path):
    texts, labels = corpus()
    cavs = sw.CAV.fit(llama, texts, labels, layer=LAYER)
    assert len(cavs.report.scores) == 3
    cavs.save(tmp_path / "cavs.safetensors")
    assert sw.CAV.load(tmp_path / "cavs.safetensors").report == cavs.report
    cavs.report = None
    cavs.save(tmp_path / "cavs.safetensors")
    assert sw.CAV.load(tmp_path / "cavs.safetensors").report is None


@pytest.mark.parametrize("text", ["not JSON", "[]", '{"scores": [{"label": "sea"}]}', '{"scores": []}'])
def test_a_damaged_report(tmp_path, text):
    header = {"cav": json.dumps({"labels": ["sea"], "layer": 1}), "report": text}
    save_file({"vectors": torch.ones(1, 4)}, tmp_path / "cavs.safetensors", header)
    with pytest.raises(ValueError, match="no report of a CAV fit"):
        sw.CAV.load(tmp_path / "cavs.safetensors")


def test_an_empty_report_has_no_mean():
    from steerwidgets.dictionaries.reports import CAVReport

    assert math.isnan(CAVReport((), 3, 0, converged=True).auroc)


def test_a_residual_of_another_width(llama):
    cavs = sw.CAV(torch.ones(1, D_MODEL // 2), ["x"], layer=1)
    with pytest.raises(ValueError, match="CAV dictionary at block 1 resid_post reads 16 numbers, but the activations"):
        llama.read([40, 41, 42], cavs)


def test_zeros_are_what_tokens_of_held_out_texts_without_the_label_give(llama):
    texts, labels = corpus(count=30)
    cavs = sw.CAV.fit(llama, texts, labels, layer=LAYER, method="mean_difference", held_out=0.4, seed=3)
    concepts = sorted({*labels})
    is_test = held_out_rows(torch.tensor([concepts.index(label) for label in labels]), len(concepts), 0.4, 3).tolist()
    for place, label in enumerate(concepts):
        without, every = [], []
        for text, own, held in zip(texts, labels, is_test, strict=True):
            if not held:
                continue
            residuals = llama.residuals(text, [cavs.site])
            found = residuals.values[cavs.site][0][residuals.counted(cavs.site)[0]] @ cavs.vectors[place]
            every.append(found)
            if own != label:
                without.append(found)
        assert cavs[label].zero_activation == pytest.approx(float(torch.cat(without).quantile(0.95)), abs=1e-4)
        above = torch.cat(every)[torch.cat(every) > cavs[label].zero_activation]
        assert cavs[label].p995_activation == pytest.approx(float(above.quantile(0.995)), abs=1e-4)
        assert cavs[label].zero_of == "95th percentile of tokens of held-out texts without it"
        assert cavs[label].max_activation is None


def test_several_blocks_have_zeros_each_and_a_fit_on_all_has_none(llama):
    texts, labels = corpus(count=20)
    fits = sw.CAV.fit(llama, texts, labels, layers=[0, 1], method="mean_difference")
    alone = sw.CAV.fit(llama, texts, labels, layer=1, method="mean_difference")
    torch.testing.assert_close(fits[1].statistics.zero, alone.statistics.zero, rtol=0, atol=1e-4)
    assert not torch.equal(fits[0].statistics.zero, fits[1].statistics.zero)
    assert sw.CAV.fit(llama, texts, labels, layer=1, method="mean_difference", held_out=0).statistics is None
