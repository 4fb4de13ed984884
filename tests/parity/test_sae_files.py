"""SAEs of sae_lens in files and as objects: what it saves we load, what we save it loads, and what it computes."""

import json

import numpy as np
import pytest
import sae_lens
import torch
from safetensors.torch import load_file
from support.both import PROMPT
from support.models import D_MODEL

import steerwidgets as sw

SIZE = 64
CLOSE = {"atol": 1e-4, "rtol": 1e-5}
NATIVE = {
    "standard": ("standard", {}),
    "jumprelu": ("jumprelu", {"apply_b_dec_to_input": False}),
    "topk": ("topk", {"k": 5, "rescale_acts_by_decoder_norm": True}),
    "layer_norm": ("standard", {"normalize_activations": "layer_norm"}),
    "constant_norm_rescale": ("topk", {"k": 5, "normalize_activations": "constant_norm_rescale"}),
}
TRAINED = {
    "batchtopk": (sae_lens.BatchTopKTrainingSAE, sae_lens.BatchTopKTrainingSAEConfig, {"k": 5}),
    "matryoshka": (
        sae_lens.MatryoshkaBatchTopKTrainingSAE,
        sae_lens.MatryoshkaBatchTopKTrainingSAEConfig,
        {"k": 5, "matryoshka_widths": [16, SIZE]},
    ),
    "topk": (sae_lens.TopKTrainingSAE, sae_lens.TopKTrainingSAEConfig, {"k": 5}),
}


def fill(made, seed=0):
    drawn = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(made.named_parameters()):
        noise = torch.randn(parameter.shape, generator=drawn) / 4
        parameter.data = noise.abs() if name == "threshold" else noise
    return made.requires_grad_(False)


def make(architecture, hook="blocks.2.hook_resid_post", metadata=None, **settings):
    cls, config = sae_lens.registry.get_sae_class(architecture)
    cfg = config(d_in=D_MODEL, d_sae=SIZE, **settings)
    cfg.metadata.hook_name, cfg.metadata.model_name = hook, "tiny-model"
    for name, value in (metadata or {}).items():
        setattr(cfg.metadata, name, value)
    return fill(cls(cfg))


def residuals():
    return 2 * torch.randn(3, 4, D_MODEL, generator=torch.Generator().manual_seed(1)) + 0.3


def same(ours, reference):
    h = residuals()
    acts = reference.encode(h)
    torch.testing.assert_close(ours.encode(h), acts, **CLOSE)
    torch.testing.assert_close(ours.decode(ours.encode(h), h), reference.decode(acts), **CLOSE)


@pytest.mark.parametrize("name", NATIVE)
def test_what_sae_lens_saves_we_load(name, tmp_path):
    architecture, settings = NATIVE[name]
    reference = make(architecture, **settings)
    reference.save_model(tmp_path)
    ours = sw.SAE.load(tmp_path)
    same(ours, reference)
    assert ours.site == sw.Site(2)
    assert ours.provenance["model"] == "tiny-model"
    assert ours.fingerprint == sw.SAE.from_sae_lens(reference).fingerprint


@pytest.mark.parametrize("name", NATIVE)
def test_what_we_save_sae_lens_loads(name, tmp_path):
    architecture, settings = NATIVE[name]
    reference = make(architecture, **settings)
    sw.SAE.from_sae_lens(reference, labels={"sea": 3}).save(tmp_path)
    theirs = sae_lens.SAE.load_from_disk(tmp_path)
    h = residuals()
    assert type(theirs) is type(reference)
    assert theirs.cfg.metadata.hook_name == "blocks.2.hook_resid_post"
    assert theirs.cfg.metadata.model_name == "tiny-model"
    torch.testing.assert_close(theirs(h), reference(h))
    back = sw.SAE.load(tmp_path)
    assert back["sea"].index == 3
    same(back, reference)


def test_centring_survives_both_ways(tmp_path):
    kwargs = {"model_from_pretrained_kwargs": {"center_writing_weights": True}}
    ours = sw.SAE.from_sae_lens(make("standard", metadata=kwargs))
    ours.save(tmp_path)
    assert sw.SAE.load(tmp_path).center_input
    assert sw.SAE.load(tmp_path).fingerprint == ours.fingerprint
    assert sae_lens.SAE.load_from_disk(tmp_path).cfg.metadata.model_from_pretrained_kwargs == next(
        iter(kwargs.values())
    )
    on_neurons = sw.SAE.from_sae_lens(make("standard", "blocks.0.mlp.hook_post", kwargs))
    assert not on_neurons.center_input, "neurons are not written to the residual, so nothing centres them"


@pytest.mark.parametrize("rescaled", [True, False])
@pytest.mark.parametrize("name", TRAINED)
def test_trained_saes_as_they_are_saved(name, rescaled, tmp_path):
    cls, config, settings = TRAINED[name]
    cfg = config(d_in=D_MODEL, d_sae=SIZE, rescale_acts_by_decoder_norm=rescaled, **settings)
    cfg.metadata.hook_name = "blocks.1.hook_mlp_out"
    training = fill(cls(cfg))
    if hasattr(training, "topk_threshold"):
        training.topk_threshold.fill_(0.8)
    before = {key: value.clone() for key, value in training.state_dict().items()}
    training.save_inference_model(tmp_path)
    reference = sae_lens.SAE.load_from_disk(tmp_path)
    for ours in (sw.SAE.load(tmp_path), sw.SAE.from_sae_lens(training)):
        assert ours.activation == ("topk" if name == "topk" else "jumprelu")
        assert ours.site == sw.Site(1, "mlp_out")
        same(ours, reference)
    assert all(torch.equal(value, before[key]) for key, value in training.state_dict().items())


def test_gemma_scope_files(tmp_path):
    """params.npz where Hugging Face's cache keeps it: the place is read from the path, and nowhere else."""
    reference = make("jumprelu", apply_b_dec_to_input=False)
    arrays = {name: value.numpy() for name, value in reference.state_dict().items()}
    release = tmp_path / "models--google--gemma-scope-2b-pt-att" / "snapshots" / "0" / "layer_3" / "width_16k" / "l0_20"
    release.mkdir(parents=True)
    np.savez(release / "params.npz", **arrays)
    for path in (release, release / "params.npz"):
        ours = sw.SAE.load(path)
        assert ours.site == sw.Site(3, "attn_z")
        assert ours.provenance["model"] == "google/gemma-2-2b"
        same(ours, reference)
    elsewhere = tmp_path / "params.npz"
    np.savez(elsewhere, **arrays)
    with pytest.raises(ValueError, match="does not say where it reads; pass layer="):
        sw.SAE.load(elsewhere)
    assert sw.SAE.load(elsewhere, layer=2, stream="mlp_out").site == sw.Site(2, "mlp_out")
    assert sw.SAE.load(elsewhere, layer=2).source_code.endswith("layer=2, stream='resid_post')")


def test_the_format_before_sae_lens_6(tmp_path):
    reference = make("standard")
    reference.save_model(tmp_path)
    old = {
        "hook_point": "blocks.2.hook_resid_pre",
        "hook_point_layer": 2,
        "d_in": D_MODEL,
        "d_sae": SIZE,
        "dtype": "float32",
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 6},
        "normalize_activations": False,
        "model_name": "gpt2-small",
    }
    (tmp_path / "cfg.json").write_text(json.dumps(old))
    ours = sw.SAE.load(tmp_path)
    assert ours.site == sw.Site(2, "resid_pre")
    assert ours.activation == "topk"
    assert ours.provenance["model"] == "gpt2-small"
    same(ours, sae_lens.SAE.load_from_disk(tmp_path))


@pytest.mark.parametrize(
    ("hook", "hf", "site"),
    [
        ("blocks.4.hook_resid_post", None, sw.Site(4)),
        ("blocks.4.hook_mlp_in", "model.layers.4", sw.Site(4)),
        (None, "model.layers.4.output", sw.Site(4)),
        (None, "model.language_model.layers.4.self_attn.o_proj.input", sw.Site(4, "attn_z")),
        (None, "model.layers.4.post_feedforward_layernorm.output", sw.Site(4, "mlp_out")),
        (None, "transformer.h.4", sw.Site(4)),
    ],
)
def test_hook_names(hook, hf, site):
    assert sw.SAE.from_sae_lens(make("standard", hook, {"hf_hook_name": hf})).site == site


def test_a_place_that_is_no_stream_has_to_be_given():
    reference = make("standard", "blocks.4.hook_mlp_in", {"hf_hook_name": "model.layers.4.pre_feedforward_layernorm"})
    with pytest.raises(ValueError, match=r"reads 'blocks\.4\.hook_mlp_in', which is none of the streams"):
        sw.SAE.from_sae_lens(reference)
    assert sw.SAE.from_sae_lens(reference, site=sw.Site(4, "resid_mid")).site == sw.Site(4, "resid_mid")
    with pytest.raises(ValueError, match="not as both"):
        sw.SAE.from_sae_lens(reference, site=sw.Site(4), layer=3)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("hook", ["ln2.hook_normalized", "mlp.hook_in"])
@pytest.mark.parametrize("architecture", ["transcoder", "jumprelu_transcoder"])
def test_transcoders_are_read_where_the_mlp_reads(architecture, hook, lm):
    """As sae_lens' loaders of Gemma 2 (before the norm's gain) and of Qwen 3 and Llama (after it) name their inputs."""
    names = {"hook_name_out": "blocks.1.hook_mlp_out"}
    reference = make(architecture, f"blocks.1.{hook}", names, apply_b_dec_to_input=False, d_out=D_MODEL)
    ours = sw.SAE.from_sae_lens(reference)
    block = lm.architecture.blocks[1]
    norm = next(
        getattr(block, name)
        for name in ("pre_feedforward_layernorm", "post_attention_layernorm", "ln_2")
        if hasattr(block, name)
    )
    seen = []
    handles = [norm.register_forward_hook(lambda _m, args, out: seen.append((args[0][0], out[0])))]
    with torch.no_grad():
        lm.model(input_ids=torch.tensor([PROMPT]))
    handles[0].remove()
    x, h = seen[0]
    if hook == "ln2.hook_normalized":
        x = x - x.mean(-1, keepdim=True) if isinstance(norm, torch.nn.LayerNorm) else x
        h = x / (x.pow(2).mean(-1, keepdim=True) + getattr(norm, "variance_epsilon", getattr(norm, "eps", 0))).sqrt()
    expected = reference.encode(h)
    assert (expected > 0).any()
    torch.testing.assert_close(lm.read(list(PROMPT), ours).values, expected, **CLOSE)
    found = lm.search(list(PROMPT), ours, k=3)
    counted = lm.read(list(PROMPT), ours).mask
    best = expected[counted].max(0).values.topk(3)
    assert [feature.index for feature in found.features] == best.indices.tolist()
    output = ours[3].output
    assert ours[3].add(1).feature.site == output.site
    assert output.site == ours[3].direction.site == sw.Site(1, "mlp_out")
    torch.testing.assert_close(output.vector, reference.W_dec[3].detach())
    assert lm.top_logits(ours[3], 4).promoted == lm.top_logits(output, 4).promoted
    token, value = lm.top_logits(output, 1).promoted[0]
    promoting = lm.promoting(ours, token.id, k=ours.size)
    at = [feature.index for feature in promoting.features].index(3)
    assert promoting.values[at] == pytest.approx(value, abs=1e-5)
    with torch.no_grad(), lm.steer(output.add(2.0)):
        steered = lm.model(input_ids=torch.tensor([PROMPT])).logits
    with torch.no_grad(), lm.steer(sw.Direction(reference.W_dec[3].detach(), sw.Site(1, "mlp_out")).add(2.0)):
        torch.testing.assert_close(lm.model(input_ids=torch.tensor([PROMPT])).logits, steered)


def test_hugging_face_names_of_what_the_mlp_takes():
    for hf in ("model.layers.4.mlp.input", "model.layers.4.pre_feedforward_layernorm.output"):
        settings = {"apply_b_dec_to_input": False, "d_out": D_MODEL}
        reference = make("transcoder", "blocks.4.hook_mlp_in", {"hf_hook_name": hf}, **settings)
        assert sw.SAE.from_sae_lens(reference).site == sw.Site(4, "mlp_in")


def test_temporal_saes_read_whole_texts(llama):
    reference = make("temporal", n_heads=4, bottleneck_factor=4, normalize_activations="none")
    ours, h = sw.SAE.from_sae_lens(reference), residuals()
    torch.testing.assert_close(ours.encode(h), reference.encode(h), **CLOSE)
    torch.testing.assert_close(ours.encode(h[0]), reference.encode(h)[0], **CLOSE)
    read = llama.read(PROMPT, ours, [3])
    torch.testing.assert_close(read.values, reference.encode(read.residual[None])[0][:, [3]], **CLOSE)
    with pytest.raises(ValueError, match="not steered: it belongs to a temporal SAE"):
        ours[3].clamp(3)


def test_from_pretrained(monkeypatch, tmp_path):
    """Everything but the download, which is sae_lens' own."""
    asked = []

    def download(release, sae_id, **settings):
        asked.append((release, sae_id, settings))
        return make("jumprelu")

    monkeypatch.setattr(sae_lens.SAE, "from_pretrained", download)
    (tmp_path / "labels.json").write_text('{"baseball": 7}')
    release, sae_id = "gemma-scope-2b-pt-res-canonical", "layer_21/width_16k/canonical"
    ours = sw.SAE.from_pretrained(release, sae_id, labels=tmp_path / "labels.json", dtype="bfloat16")
    assert asked == [(release, sae_id, {"device": "cpu", "dtype": "bfloat16"})]
    assert ours["baseball"].index == 7
    assert ours.provenance["release"] == release
    assert ours.provenance["repository"] == "google/gemma-scope-2b-pt-res"
    assert ours.provenance["folder"].startswith("layer_21/width_16k/average_l0_"), "what a canonical id points to"
    assert ours.source_code.startswith(f"sw.SAE.from_pretrained({release!r}, {sae_id!r}, labels=")


def test_unknown_releases_are_sae_lens_own_sentences():
    with pytest.raises(ValueError, match="not found in pretrained SAEs directory"):
        sw.SAE.from_pretrained("no-such-release", "x")
    with pytest.raises(ValueError, match="not found in release"):
        sw.SAE.from_pretrained("gemma-scope-2b-pt-res", "layer_99/none")


def test_objects_that_are_refused():
    with pytest.raises(TypeError, match="takes an SAE of sae_lens, but a Linear of torch was given"):
        sw.SAE.from_sae_lens(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="pass norm_scaling_factor="):
        sw.SAE.from_sae_lens(make("standard", normalize_activations="expected_average_only_in"))
    with pytest.raises(ValueError, match="fold it into the weights first"):
        sw.SAE.from_sae_lens(make("gated", normalize_activations="expected_average_only_in"))
    with pytest.raises(ValueError, match="'covariance_whitening' of an SAE's input is unknown"):
        sw.SAE.from_sae_lens(make("standard", normalize_activations="covariance_whitening"))
    gated = sw.SAE.from_sae_lens(make("gated"))
    for use in (lambda: gated.save("never"), lambda: gated.to("cpu")):
        with pytest.raises(ValueError, match="sae_lens computes 'gated' itself"):
            use()


def test_folders_of_other_architectures_name_the_way(tmp_path):
    make("gated").save_model(tmp_path)
    with pytest.raises(ValueError, match=r"'gated' is computed by sae_lens itself: .*from_sae_lens"):
        sw.SAE.load(tmp_path)


def test_bf16_files_stay_bf16(tmp_path):
    reference = make("standard").to(torch.bfloat16)
    reference.save_model(tmp_path)
    ours = sw.SAE.load(tmp_path)
    assert ours.vector(3).dtype == torch.float32
    ours.save(tmp_path / "again")
    assert load_file(tmp_path / "again" / "sae_weights.safetensors")["W_enc"].dtype == torch.bfloat16
    same(ours, reference.to(torch.float32))
    half = sw.SAE.load(tmp_path, dtype=torch.float16)
    torch.testing.assert_close(half.encode(residuals()), ours.encode(residuals()), atol=1e-2, rtol=1e-2)
