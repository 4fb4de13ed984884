"""The SAE shipped for the embedded model: its files, and its figures computed again on held-out rows."""

import importlib
import json
import subprocess
import sys
import time
from hashlib import sha256

import pytest
import torch
from embedded import SAE_FEATURES, SAE_FILE
from safetensors.torch import load_file

import steerwidgets as sw

REPORT = json.loads(SAE_FILE.with_name("sae_report.json").read_text(encoding="utf-8"))
HELDOUT = load_file(SAE_FILE.with_name("sae_heldout.safetensors"))


@pytest.fixture(scope="module")
def sae():
    return sw.SAE.demo()


@pytest.fixture(scope="module")
def read(embedded, sae):
    """Residuals of the held-out rows that are shipped, which tokens count, and the rows."""
    from steerwidgets.lens.reconstruction import read_counted

    rows = HELDOUT["tokens"].long()
    h, keep = read_counted(embedded, sae.site, rows, HELDOUT["mask"])
    return h, keep, rows


def test_loads_in_two_seconds():
    sw.SAE.demo()  # torch is imported
    started = time.perf_counter()
    sw.SAE.demo()
    assert time.perf_counter() - started < 2


def test_the_files_are_those_of_the_report():
    for file in (SAE_FILE, SAE_FEATURES):
        assert sha256(file.read_bytes()).hexdigest() == REPORT["sha256"][file.name], file.name
    assert SAE_FILE.stat().st_size + SAE_FEATURES.stat().st_size <= 9_000_000


def test_what_it_is(sae):
    assert (sae.size, sae.d_model, sae.site, sae.activation) == (4096, 576, sw.Site(15), "jumprelu")
    assert torch.allclose(sae.tensors()["W_dec"].norm(dim=-1), torch.ones(4096), atol=1e-5)
    assert sae.made_for == "SmolLM2-135M-Instruct"
    assert sae.source_code == "sw.SAE.demo()"
    assert {"corpus", "tokens", "seed", "FVU", "L0", "dead", "loss recovered"} <= set(sae.provenance)
    assert "massive activations" in sae.provenance["left out"]


@pytest.mark.embedded
def test_reconstructs_held_out_text_as_reported(sae, read):
    from steerwidgets.lens.reconstruction import reconstruction

    h, _, _ = read
    found, said = reconstruction(sae, [h], h.mean(0)), REPORT["shipped_rows"]
    assert found.tokens == said["tokens"]
    assert found.fvu == pytest.approx(said["fvu"], abs=2e-3)
    assert found.median_fvu == pytest.approx(said["median_fvu"], abs=2e-3)
    assert found.l0 == pytest.approx(said["l0"], abs=0.1)
    assert found.median_fvu <= 0.25


@pytest.mark.embedded
def test_recovers_the_loss_as_reported(embedded, sae, read):
    from steerwidgets.lens.reconstruction import losses

    h, keep, rows = read
    found, said = losses(embedded, sae, rows, keep, h.mean(0)), REPORT["shipped_rows"]
    assert found.recovered == pytest.approx(said["loss_recovered"], abs=2e-3)
    for name, loss in said["loss"].items():
        assert getattr(found, name) == pytest.approx(loss, abs=5e-3), name
    assert found.recovered >= 0.9


@pytest.mark.embedded
def test_figures_agree_with_the_formulas(embedded, sae, read):
    """One row, with the definitions written out: the hook, the reconstruction and the loss are plain tensors."""
    from steerwidgets.lens.reconstruction import losses

    _, keep, rows = read
    weights = sae.tensors()
    row, keep = rows[:1], keep[:1]

    def reconstructed(_module, _args, output):
        h = output if isinstance(output, torch.Tensor) else output[0]
        pre = (h - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]
        y = (pre * (pre > weights["threshold"]) * (pre > 0)) @ weights["W_dec"] + weights["b_dec"]
        changed = torch.where(keep[..., None], y, h)
        return changed if isinstance(output, torch.Tensor) else (changed, *output[1:])

    handle = embedded.model.model.layers[15].register_forward_hook(reconstructed)
    with torch.no_grad():
        logits = embedded.model(row).logits[0, :-1]
    handle.remove()
    each = -torch.log_softmax(logits, -1)[torch.arange(len(logits)), row[0, 1:]]
    found = losses(embedded, sae, row, keep, torch.zeros(576))
    assert found.spliced == pytest.approx(float(each[keep[0, :-1]].mean()), abs=1e-4)


def test_the_report_meets_what_was_asked():
    held = REPORT["held_out"]
    assert held["median_fvu"] <= 0.25
    assert held["loss_recovered"] >= 0.9
    assert held["sources"]["chat"]["loss_recovered"] >= 0.9
    assert REPORT["dead"]["share"] < 0.05
    assert REPORT["dead"]["tokens"] >= 200_000
    assert held["fvu"] - held["before it was packed"]["fvu"] < 0.005, "what 8 bits cost"


def test_sae_lens_reads_the_export_and_computes_the_same(sae, tmp_path):
    sae_lens = importlib.import_module("sae_lens")
    sae.export(tmp_path / "sae")
    assert {file.name for file in (tmp_path / "sae").iterdir()} == {"cfg.json", "sae_weights.safetensors"}
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "sae")
    h = 40 * torch.randn(16, 576, generator=torch.Generator().manual_seed(0)) + sae.tensors()["b_dec"]
    with torch.no_grad():
        encoded = theirs.encode(h)
        assert (encoded > 0).any()
        assert torch.allclose(encoded, sae.encode(h), atol=1e-3, rtol=1e-5)
        assert torch.allclose(theirs.decode(encoded), sae.decode(encoded, h), atol=1e-3, rtol=1e-5)


def test_packing_is_off_by_half_a_step_at_most(tmp_path):
    generator = torch.Generator().manual_seed(0)
    W_dec = torch.nn.functional.normalize(torch.randn(32, 16, generator=generator), dim=-1)
    sae = sw.SAE(3 * W_dec.T, torch.randn(32), W_dec, torch.randn(16), "jumprelu", threshold=torch.rand(32), layer=2)
    sae.save_packed(tmp_path / "sae.safetensors")
    before, after = sae.tensors(), sw.SAE.load_packed(tmp_path / "sae.safetensors").tensors()
    step = before["W_enc"].abs().amax(0) / 127
    assert ((after["W_enc"] - before["W_enc"]).abs() <= 0.51 * step).all()
    assert torch.allclose(after["W_dec"], before["W_dec"], atol=0.01)
    assert all(torch.equal(after[name], before[name]) for name in ("b_enc", "b_dec", "threshold"))


def test_only_unit_rows_are_packed(tmp_path):
    sae = sw.SAE(torch.ones(4, 3), torch.zeros(3), torch.ones(3, 4), torch.zeros(4), "relu", layer=0)
    with pytest.raises(ValueError, match=r"rows of length 2\.00 to 2\.00"):
        sae.save_packed(tmp_path / "sae.safetensors")


def test_loading_imports_no_sae_lens():
    code = "import steerwidgets as sw, sys; sw.SAE.demo(); sys.exit('sae_lens' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_evidence_of_every_feature(sae):
    assert len(sae.feature_data) == sae.size
    active = (sae.statistics.density > 0).nonzero()[:, 0].tolist()
    assert len(active) > 0.95 * sae.size
    for index in active[::100]:
        evidence = sae.evidence(index)
        strongest = evidence.examples[0]
        assert max(strongest.values) == pytest.approx(sae.statistics.of("maximum", index), rel=2e-3)
        assert strongest.values[strongest.peak] == max(strongest.values)
        assert strongest.source in {"chat", "wordnet", "fortunes", "bible", "handbook", "python"}
        assert index not in [feature for feature, _ in evidence.nearest]


@pytest.mark.embedded
def test_examples_activate_as_they_say(embedded, sae):
    """Read anew: contexts are cut, so attention sees less than it did, but the feature is active where it was."""
    agree = []
    for index in range(7, sae.size, 256):
        for example in sae.evidence(index).examples[:2]:
            ids = [embedded.tokenizer.eos_token_id, *example.token_ids]
            at = embedded.read(ids, sae, features=[index]).values[1 + example.peak, 0]
            agree.append(float(at) > 0.25 * example.values[example.peak])
    assert sum(agree) > 0.8 * len(agree), f"{sum(agree)} of {len(agree)}"


@pytest.mark.embedded
def test_promoted_tokens_are_those_of_the_logit_lens(embedded, sae):
    for index in (0, 1000, 4095):
        top = embedded.top_logits(sae[index], k=8)
        evidence = sae.evidence(index)
        assert [token for token, _ in evidence.promoted] == [token.id for token, _ in top.promoted]
        assert [token for token, _ in evidence.suppressed] == [token.id for token, _ in top.suppressed]
        assert [value for _, value in evidence.promoted] == pytest.approx([v for _, v in top.promoted], rel=2e-3)


def test_nearest_features_by_cosine(sae):
    W_dec = sae.tensors()["W_dec"]
    cosines = W_dec[5] @ W_dec.T
    cosines[5] = -1
    values, indices = cosines.topk(6)
    assert [feature for feature, _ in sae.evidence(5).nearest] == indices.tolist()
    assert [cosine for _, cosine in sae.evidence(5).nearest] == pytest.approx(values.tolist(), abs=1e-3)


def test_samples_and_features_that_go_together(sae):
    active = (sae.statistics.density > 1e-4).nonzero()[:, 0].tolist()
    for index in active[::100]:
        evidence = sae.evidence(index)
        highest, _, lowest = evidence.quantiles
        assert highest.high == pytest.approx(sae.statistics.of("maximum", index), rel=2e-3)
        assert lowest.low == 0
        assert any(band.examples for band in evidence.quantiles)
        for band in evidence.quantiles:
            for example in band.examples:
                at = example.values[example.peak]
                # Kept in half precision, and in 255 steps of the window's largest.
                assert band.low - 0.01 * highest.high <= at <= band.high + 0.01 * highest.high
        assert len(evidence.random) == 2
        assert index not in [feature for feature, _ in evidence.coactive]
        values = [value for _, value in evidence.coactive]
        assert values == sorted(values, reverse=True)
        assert all(0 < value <= 1 for value in values)
