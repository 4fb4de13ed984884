"""SAE as a dictionary, without sae_lens: formulas, labels, recipes, files, and one sentence for each mistake."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from support.both import PROMPT, forward
from support.models import D_MODEL
from support.sae import SIZE, make, residuals, tensors, write

import steerwidgets as sw

# Formulas, in float64 and loops


@pytest.mark.parametrize(
    ("activation", "settings"),
    [
        ("relu", {}),
        ("relu", {"apply_b_dec_to_input": False}),
        ("jumprelu", {"threshold": 0.6}),
        ("batchtopk", {"threshold": 0.6}),
        ("jumprelu", {"threshold": torch.linspace(0, 2, SIZE)}),
        ("jumprelu", {"threshold": 0.6, "rescale_acts_by_decoder_norm": True}),
        ("topk", {"k": 3}),
        ("topk", {"k": 3, "rescale_acts_by_decoder_norm": True}),
    ],
)
def test_formulas(activation, settings):
    sae, h = make(activation, **settings), residuals()
    w = {name: value.double().numpy() for name, value in tensors().items()}
    norms = np.linalg.norm(w["W_dec"], axis=-1) if settings.get("rescale_acts_by_decoder_norm") else np.ones(SIZE)
    x = h.double().numpy()
    centred = x - w["b_dec"] if settings.get("apply_b_dec_to_input", True) else x
    pre = (centred @ w["W_enc"] + w["b_enc"]) * norms
    expected = np.maximum(pre, 0)
    if "threshold" in settings:
        expected = expected * (pre > np.asarray(settings["threshold"]))
    if "k" in settings:
        expected = expected * (pre >= np.sort(pre, -1)[..., [-settings["k"]]])
    np.testing.assert_allclose(sae.encode(h).numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(sae.decode(sae.encode(h)).numpy(), expected / norms @ w["W_dec"] + w["b_dec"], atol=1e-4)
    np.testing.assert_allclose(sae[7].activation(h).numpy(), expected[..., 7], atol=1e-5)
    np.testing.assert_allclose(sae.activations(h, [7, 0]).numpy(), expected[..., [7, 0]], atol=1e-5)
    step = (5 - expected[..., [7]]) * w["W_dec"][7] / norms[7]
    np.testing.assert_allclose(sae[7].change("clamp", {"c": 5.0}, h).numpy(), step, atol=1e-4)
    values, indices = sae.top(h, 2)
    np.testing.assert_allclose(values.numpy(), -np.sort(-expected, -1)[..., :2], atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(expected, indices.numpy(), -1), values.numpy(), atol=1e-5)


def test_a_folded_norm_is_the_scaled_input():
    """`expected_average_only_in`: what the SAE sees is `f·h`, what it gives back is divided by `f`."""
    f, h, settings = 0.4, residuals(), {"threshold": 0.3, "rescale_acts_by_decoder_norm": True}
    folded = make("jumprelu", normalize_activations="expected_average_only_in", norm_scaling_factor=f, **settings)
    plain = make("jumprelu", **{**settings, "apply_b_dec_to_input": True})
    assert torch.equal(folded.encode(h) > 0, plain.encode(f * h) > 0)
    torch.testing.assert_close(folded.decode(folded.encode(h)), plain.decode(plain.encode(f * h)) / f)
    torch.testing.assert_close(folded[3].activation(h) > 0, plain.encode(f * h)[..., 3] > 0)


def test_edges_of_activation_functions():
    """A pre-activation at its threshold is off; TopK's chosen ones are still passed through ReLU; NaN stays NaN."""
    one = {"W_enc": torch.eye(3), "W_dec": torch.eye(3), "b_enc": torch.zeros(3), "b_dec": torch.zeros(3)}
    h = torch.tensor([0.5, -2.0, 1.0])
    jump = sw.SAE(**one, activation="jumprelu", threshold=torch.tensor([0.5, -5.0, 0.99]), layer=0)
    assert jump.encode(h).tolist() == [0, 0, 1]
    assert [float(jump[i].activation(h)) for i in range(3)] == [0, 0, 1]
    top = sw.SAE(**one, activation="topk", k=2, layer=0)
    assert top.encode(-h.abs()).tolist() == [0, 0, 0]
    assert [float(top[i].activation(h)) for i in range(3)] == [0.5, 0, 1]
    for sae in (jump, top, sw.SAE(**one, layer=0)):
        assert sae.encode(torch.full((3,), torch.nan)).isnan().any(), "a broken model is not hidden"


def test_a_single_read_touches_one_encoder_column():
    """Every other column is NaN, put there after the checks: what is read does not see them."""
    sae, h = make("jumprelu", threshold=0.1), residuals()
    expected = sae.encode(h)[..., [7, 9]]
    others = [i for i in range(SIZE) if i not in (7, 9)]
    sae._codec.W_enc[:, others] = torch.nan
    torch.testing.assert_close(sae[7].activation(h), expected[..., 0])
    torch.testing.assert_close(sae.activations(h, [7, 9]), expected)
    assert sae[7].change("clamp", {"c": 3.0}, h).isfinite().all()


def test_topk_reads_of_one_residual_share_one_row():
    sae, h = make("topk", k=3), residuals()
    calls = []
    whole = sae._codec._pre_activations
    sae._codec._pre_activations = lambda x: calls.append(1) or whole(x)
    reads = [sae[i].activation(h) for i in range(6)]
    assert len(calls) == 1
    h.mul_(-1)
    assert not torch.equal(torch.stack([sae[i].activation(h) for i in range(6)]), torch.stack(reads))
    assert len(calls) == 2, "changed in place, it is another residual"
    with torch.inference_mode():
        assert sae[0].activation(residuals()).shape == (3, 4)


# The dictionary


def test_interface(llama):
    sae = make(labels={"sea": 3, "ocean": 3, "city": 5}, max_activations={3: 12.5}, max_activation_of="10 texts")
    assert len(sae) == SIZE
    assert sae["sea"].key == sae["ocean"].key == sae[3].key
    assert sae[3].label == "sea"
    assert sae[4].label == "SAE 4"
    assert sae[-1].index == SIZE - 1
    assert (sae[3].max_activation, sae[3].max_activation_of, sae[4].max_activation) == (12.5, "10 texts", None)
    assert [feature.index for feature in sae.search("cit")] == [5]
    assert list(sae[3].ops) == ["clamp", "scale", "ablate", "add", "add_relative"]
    torch.testing.assert_close(sae[3].vector, tensors()["W_dec"][3])
    assert torch.equal(sae[3].direction.vector, sae[3].vector)
    assert len(llama.top_logits(sae[3], k=4).promoted) == 4
    assert "40 features at block 1" in repr(sae)


def test_fingerprints_tell_weights_places_and_settings_apart():
    once = make().fingerprint
    assert make().fingerprint == once
    others = [
        make(seed=1),
        make(layer=2),
        make(apply_b_dec_to_input=False),
        make(normalize_activations="layer_norm"),
        make(center_input=True),
        make("topk", k=3),
        make("topk", k=4),
        make("jumprelu", threshold=0.1),
        make("jumprelu", threshold=0.2),
    ]
    assert len({once, *(each.fingerprint for each in others)}) == len(others) + 1


def test_recipes(llama):
    sae = make()
    recipe = sae[3].clamp(12) + sae[5].add(2) + sae[6].scale(3) + sae[7].ablate() + sae[8].add_relative(0.1)
    again = sw.Recipe.from_json(recipe.to_json(), dictionaries=[sae])
    assert again == recipe
    torch.testing.assert_close(forward(llama, again, PROMPT), forward(llama, recipe, PROMPT))
    for both in (
        lambda: sae[3].clamp(1) + sae[3].ablate(),
        lambda: sae[3].scale(2) + sae[3].clamp(1).at([2]),
        lambda: sae[3].clamp(1) + make()[3].clamp(2),
    ):
        with pytest.raises(ValueError, match="both set"):
            both()
    assert len(sae[3].clamp(1).at([1]) + sae[3].clamp(2).at([2]) + sae[3].add(1)) == 3
    with pytest.raises(ValueError, match="does not take the op 'project'; it takes clamp, scale, ablate, add"):
        sae[3].project(2)


def test_scale_1_is_the_baseline_token_for_token(llama):
    out = llama.compare(PROMPT, make()[3].scale(1), temperature=0, max_new_tokens=4)
    assert out.steered.token_ids == out.baseline.token_ids
    assert torch.equal(forward(llama, make()[3].scale(1), PROMPT), forward(llama, None, PROMPT))


def test_kinds_mix_in_one_recipe(llama):
    sae, v = make(), torch.randn(D_MODEL, generator=torch.Generator().manual_seed(4))
    cav = sw.CAV(v[None], ["c"], layer=1)
    mixed = forward(llama, sae[3].clamp(8) + cav["c"].ablate(), PROMPT)
    h = llama.residuals(llama.encode(PROMPT), [sae.site]).values[sae.site]
    changed = h + sae[3].change("clamp", {"c": 8.0}, h) - (h @ v)[..., None] * v / (v @ v)
    handle = llama.architecture.blocks[1].register_forward_hook(lambda *_: changed)
    with torch.no_grad():
        expected = llama.model(input_ids=torch.tensor([PROMPT])).logits[0]
    handle.remove()
    torch.testing.assert_close(mixed, expected, atol=3e-4, rtol=1e-4)


def test_watching_and_positions(llama):
    sae = make()
    out = llama.compare(
        PROMPT, sae[3].clamp(9).at("generated"), watch=[sae[3]], temperature=0, max_new_tokens=4, chat=False
    )
    assert len(out.steered.watched) == len(out.steered.token_ids)
    here = forward(llama, sae[3].clamp(9).at([4]), PROMPT)
    plain = forward(llama, None, PROMPT)
    assert torch.equal(here[:4], plain[:4])
    assert not torch.equal(here[4], plain[4])


def test_in_a_panel(llama):
    sae = make(labels={"sea": 3})
    panel = sw.SteeringPanel(llama, [sae], prompt="hello", recipe=sae["sea"].clamp(9))
    assert panel.recipe == sw.Recipe.of(sae["sea"].clamp(9))


# Files and labels


def test_loading_needs_no_sae_lens(tmp_path):
    write(tmp_path)
    code = (
        "import sys; sys.modules['sae_lens'] = None; import steerwidgets as sw; "
        f"print(len(sw.SAE.load({str(tmp_path)!r}))); "
        "assert not any(name.startswith('transformer_lens') for name in sys.modules)\n"
        "try: sw.SAE.from_pretrained('a', 'b')\n"
        "except ImportError as error: print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert out[0] == str(SIZE)
    assert "not installed: pip install 'steerwidgets[sae]'" in out[1]


def test_places_can_be_overridden(tmp_path):
    write(tmp_path)
    assert sw.SAE.load(tmp_path).site == sw.Site(1)
    assert sw.SAE.load(tmp_path, layer=3).site == sw.Site(3)
    assert sw.SAE.load(tmp_path / "cfg.json", site=sw.Site(2, "mlp_out")).site == sw.Site(2, "mlp_out")
    assert sw.SAE.load(tmp_path, stream="mlp_out").site == sw.Site(1, "mlp_out")
    write(tmp_path, {"metadata": {"hook_name": "blocks.1.hook_mlp_out"}})
    assert sw.SAE.load(tmp_path, layer=3).site == sw.Site(3, "mlp_out")
    again = sw.SAE.load(tmp_path, layer=3, labels={"sea": 2}, center_input=True)
    made = eval(again.source_code, {"sw": sw})
    assert made.fingerprint == again.fingerprint
    assert made["sea"].index == 2
    write(tmp_path, {"metadata": {}})
    with pytest.raises(ValueError, match="does not say where it reads"):
        sw.SAE.load(tmp_path)
