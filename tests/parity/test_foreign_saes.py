"""SAEs in the files of other libraries: against those libraries where they install here, else their formulas."""

import importlib
import json

import numpy as np
import pytest
import sae_lens
import torch
from safetensors.torch import save_file
from support.models import D_MODEL

import steerwidgets as sw

SIZE, K = 64, 8
CLOSE = {"atol": 1e-4, "rtol": 1e-5}


def drawn(*shape, seed=0, scale=0.25):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def residuals():
    return 2 * torch.randn(3, 4, D_MODEL, generator=torch.Generator().manual_seed(1)) + 0.3


W_ENC, W_DEC = drawn(D_MODEL, SIZE, seed=1), drawn(SIZE, D_MODEL, seed=2)
B_ENC, B_DEC = drawn(SIZE, seed=3), drawn(D_MODEL, seed=4)
THRESHOLD = drawn(SIZE, seed=5).abs() + 0.1
LINEAR = {"encoder.weight": W_ENC.T.contiguous(), "encoder.bias": B_ENC}


def topped(pre, k=K):
    """The k largest of a row where they are above 0, by sorting."""
    kept = torch.zeros_like(pre)
    for row, values in zip(kept.reshape(-1, SIZE), pre.reshape(-1, SIZE), strict=True):
        at = values.argsort(descending=True)[:k]
        row[at] = values[at].clamp(min=0)
    return kept


def put(folder, texts=(), tensors=()):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in dict(texts).items():
        (folder / name).write_text(json.dumps(value))
    for name, value in dict(tensors).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        whole = {key: tensor.contiguous() for key, tensor in value.items()}
        (torch.save if name.endswith(".pt") else save_file)(whole, folder / name)
    return folder


def same(ours, encoded, decoded):
    h = residuals()
    torch.testing.assert_close(ours.encode(h), encoded, **CLOSE)
    torch.testing.assert_close(ours.decode(encoded, h), decoded, **CLOSE)


@pytest.mark.parametrize("expanded", [True, False], ids=["num_latents 0", "num_latents"])
@pytest.mark.parametrize("kind", ["sae", "transcoder", "skip"])
def test_sparsify(kind, expanded, tmp_path):
    sparsify = importlib.import_module("sparsify")
    cfg = sparsify.SparseCoderConfig(
        k=K,
        transcode=kind != "sae",
        skip_connection=kind == "skip",
        **({"expansion_factor": SIZE // D_MODEL} if expanded else {"num_latents": SIZE}),
    )
    coder = sparsify.SparseCoder(D_MODEL, cfg)
    for number, (_, parameter) in enumerate(sorted(coder.named_parameters())):
        parameter.data = drawn(*parameter.shape, seed=number)
    (tmp_path / "config.json").write_text(json.dumps({"model": "HuggingFaceTB/SmolLM2-135M", "sae": {"k": K}}))
    coder.save_to_disk(tmp_path / "layers.1.mlp")
    ours, h = sw.SAE.load(tmp_path / "layers.1.mlp"), residuals()
    with torch.no_grad():
        found = coder.encode(h)
        acts = torch.zeros(*h.shape[:-1], SIZE).scatter_(-1, found.top_indices, found.top_acts)
        out = coder(h.reshape(-1, D_MODEL)).sae_out.reshape(h.shape)
    same(ours, acts, out)
    assert ours.site == sw.Site(1, "mlp_out" if kind == "sae" else "mlp_in")
    assert ours.writes_at == sw.Site(1, "mlp_out")
    assert ours.provenance["model"] == "HuggingFaceTB/SmolLM2-135M"
    assert ours.activation == "topk"
    ours.save(tmp_path / "own")
    same(sw.SAE.load(tmp_path / "own"), acts, out)


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("layers.5", sw.Site(5)),
        ("model.layers.5", sw.Site(5)),
        ("h.5", sw.Site(5)),
        ("layers.5.mlp", sw.Site(5, "mlp_out")),
        ("layers.5.self_attn", sw.Site(5, "attn_out")),
        ("layers_5", sw.Site(5)),
        ("embed_tokens", None),
        ("layers.5.mlp.experts.3", None),
    ],
)
def test_a_sparsify_folder_says_its_place(name, site, tmp_path):
    cfg = {"d_in": D_MODEL, "num_latents": SIZE, "k": K}
    folder = put(tmp_path / name, {"cfg.json": cfg}, {"sae.safetensors": LINEAR | {"W_dec": W_DEC, "b_dec": B_DEC}})
    if site is not None:
        assert sw.SAE.load(folder).site == site
        return
    with pytest.raises(ValueError, match="does not say where it reads; pass layer="):
        sw.SAE.load(folder)
    assert sw.SAE.load(folder, layer=2).site == sw.Site(2)


def test_what_a_norm_follows_is_no_stream(tmp_path):
    """Gemma 2 puts a norm behind its MLP, so what sparsify hooks there is not what joins the residual."""
    (tmp_path / "config.json").write_text('{"model": "google/gemma-2-2b"}')
    cfg = {"d_in": D_MODEL, "num_latents": SIZE, "k": K}
    tensors = {"sae.safetensors": LINEAR | {"W_dec": W_DEC, "b_dec": B_DEC}}
    with pytest.raises(ValueError, match="does not say where"):
        sw.SAE.load(put(tmp_path / "layers.5.mlp", {"cfg.json": cfg}, tensors))
    assert sw.SAE.load(put(tmp_path / "layers.5", {"cfg.json": cfg}, tensors)).site == sw.Site(5)


def learned(name):
    """A state_dict of each class of dictionary_learning, and what it encodes and decodes, by its formula."""
    h = residuals()
    centred, plain = (h - B_DEC) @ W_ENC + B_ENC, h @ W_ENC + B_ENC
    dense = LINEAR | {"decoder.weight": W_DEC.T}
    ours = {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC}
    one, k = {"threshold": torch.tensor(0.4)}, {"k": torch.tensor(K, dtype=torch.int)}
    norms = W_DEC.norm(dim=1)
    acts = {
        "AutoEncoder": centred.relu() * norms,
        "AutoEncoderNew": plain.relu(),
        "AutoEncoderTopK": topped(centred),
        "BatchTopKSAE": centred * (centred > 0.4),
        "MatryoshkaBatchTopKSAE": centred * (centred > 0.4),
        "JumpReluAutoEncoder": plain * (plain > THRESHOLD),
    }[name]
    state = {
        "AutoEncoder": dense | {"bias": B_DEC},
        "AutoEncoderNew": dense | {"decoder.bias": B_DEC},
        "AutoEncoderTopK": dense | {"b_dec": B_DEC, "threshold": torch.tensor(-1.0)} | k,
        "BatchTopKSAE": dense | {"b_dec": B_DEC} | one | k,
        "MatryoshkaBatchTopKSAE": ours | one | k | {"group_sizes": torch.tensor([16, 48])},
        "JumpReluAutoEncoder": ours | {"threshold": THRESHOLD},
    }[name]
    return state, acts, (acts / norms if name == "AutoEncoder" else acts) @ W_DEC + B_DEC


CLASSES = (
    *("AutoEncoder", "AutoEncoderNew", "AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE"),
    "JumpReluAutoEncoder",
)


@pytest.mark.parametrize("name", CLASSES)
def test_dictionary_learning(name, tmp_path):
    state, acts, out = learned(name)
    trainer = {"dict_class": name, "layer": 3, "k": K, "lm_name": "EleutherAI/pythia-70m-deduped"}
    config = {"trainer": trainer | {"submodule_name": "mlp_out_layer_3"}, "buffer": {"ctx_len": 128}}
    folder = put(tmp_path / "trainer_0", {"config.json": config}, {"ae.pt": state})
    for path in (folder, folder / "ae.pt"):
        ours = sw.SAE.load(path)
        same(ours, acts, out)
        assert ours.site == sw.Site(3, "mlp_out")
        assert ours.provenance["model"] == "EleutherAI/pythia-70m-deduped"
    config["trainer"] = trainer
    assert sw.SAE.load(put(folder, {"config.json": config})).site == sw.Site(3)
    (folder / "config.json").unlink()
    if name in ("AutoEncoderTopK", "BatchTopKSAE"):
        with pytest.raises(ValueError, match=r"holds k and threshold, as both TopK and BatchTopK"):
            sw.SAE.load(folder, layer=3)
    elif name in ("MatryoshkaBatchTopKSAE", "JumpReluAutoEncoder"):
        with pytest.raises(ValueError, match="do not say whether b_dec is taken off"):
            sw.SAE.load(folder, layer=3)
    elif name == "AutoEncoderNew":
        same(sw.SAE.load(folder, layer=3), acts, out)


def test_what_sae_lens_makes_of_dictionary_learning(tmp_path, monkeypatch):
    """Its own loader, with the files where it would have downloaded them."""
    from sae_lens.loading import pretrained_sae_loaders as loaders

    state, _, _ = learned("BatchTopKSAE")
    trainer = {"dict_class": "BatchTopKSAE", "layer": 3, "k": K, "lm_name": "x/y", "activation_dim": D_MODEL}
    config = {"trainer": trainer | {"dict_size": SIZE}, "buffer": {"ctx_len": 128}}
    folder = put(tmp_path / "run", {"config.json": config}, {"ae.pt": state})
    monkeypatch.setattr(loaders, "hf_hub_download", _local(tmp_path))
    same(sw.SAE.load(folder), *_by_sae_lens(loaders.dictionary_learning_sae_huggingface_loader_1("x", "run")[:2]))


def _local(root):
    return lambda repo_id, filename, subfolder="", **_: str(root / subfolder / filename)


def _by_sae_lens(loaded, factor=None):
    cfg, state = loaded
    cls, config = sae_lens.registry.get_sae_class(cfg["architecture"])
    known = {name: value for name, value in cfg.items() if name in config.__dataclass_fields__}
    made = cls(config(**(known | {"dtype": "float32", "device": "cpu", "metadata": sae_lens.saes.sae.SAEMetadata()})))
    made.load_state_dict({name: value.float() for name, value in state.items()})
    if factor is not None:
        made.fold_activation_norm_scaling_factor(factor)
    made.requires_grad_(False)
    acts = made.encode(residuals())
    return acts, made(residuals()) if "transcoder" in cfg["architecture"] else made.decode(acts)


@pytest.mark.parametrize("kind", ["resid_post", "attn_out", "transcoder", "transcoder_affine"])
@pytest.mark.parametrize("configured", [True, False], ids=["config.json", "the path alone"])
def test_gemma_scope_2(kind, configured, tmp_path, monkeypatch):
    from sae_lens.loading import pretrained_sae_loaders as loaders

    transcodes, affine = "transcoder" in kind, "affine" in kind
    repo = tmp_path / "models--google--gemma-scope-2-1b-pt" / "snapshots" / "0"
    name = f"{kind.removesuffix('_affine')}/layer_1_width_16k_l0_small" + ("_affine" if affine else "")
    tensors = {"w_enc": W_ENC, "b_enc": B_ENC, "w_dec": W_DEC, "b_dec": B_DEC, "threshold": THRESHOLD}
    tensors |= {"affine_skip_connection": drawn(D_MODEL, D_MODEL, seed=9)} if affine else {}
    hooks = {
        "resid_post": ("model.layers.1.output", None),
        "attn_out": ("model.layers.1.self_attn.o_proj.input", None),
    }.get(kind, ("model.layers.1.pre_feedforward_layernorm.output", "model.layers.1.post_feedforward_layernorm.output"))
    config = {"architecture": "jump_relu", "model_name": "gemma-v3-1b-pt", "hf_hook_point_in": hooks[0]}
    config |= {"hf_hook_point_out": hooks[1], "affine_connection": affine} if transcodes else {}
    folder = put(repo / name, {"config.json": config} if configured else {}, {"params.safetensors": tensors})

    def fetched(repo_id, filename, subfolder="", **_):
        path = repo / subfolder / filename
        if not path.exists():
            raise loaders.EntryNotFoundError("none")
        return str(path)

    monkeypatch.setattr(loaders, "hf_hub_download", fetched)
    shapes = {key: list(tensor.shape) for key, tensor in tensors.items()}
    monkeypatch.setattr(loaders, "get_safetensors_tensor_shapes", lambda *_: shapes)
    if not configured:
        monkeypatch.setattr(loaders, "EntryNotFoundError", FileNotFoundError)
    reference = _by_sae_lens(loaders.gemma_3_sae_huggingface_loader("google/gemma-scope-2-1b-pt", name)[:2])
    for path in (folder, folder / "params.safetensors"):
        ours = sw.SAE.load(path)
        same(ours, *reference)
        stream = {"resid_post": "resid_post", "attn_out": "attn_z"}.get(kind, "mlp_in")
        assert ours.site == sw.Site(1, stream)
        assert ours.writes_at == (sw.Site(1, "mlp_out") if transcodes else ours.site)
        assert ours.provenance["model"] == "google/gemma-3-1b-pt"


def test_gemma_scope_transcoders_are_none_of_its_saes(tmp_path):
    arrays = {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC, "threshold": THRESHOLD}
    folder = tmp_path / "models--google--gemma-scope-2b-pt-transcoders/snapshots/x/layer_1/width_16k/average_l0_10"
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", **{name: value.numpy() for name, value in arrays.items()})
    ours, pre = sw.SAE.load(folder / "params.npz"), residuals() @ W_ENC + B_ENC
    acts = pre * (pre > THRESHOLD)
    same(ours, acts, acts @ W_DEC + B_DEC)
    assert (ours.site, ours.writes_at) == (sw.Site(1, "mlp_normalized"), sw.Site(1, "mlp_out"))
    assert repr(ours) == "<SAE (transcoder) of 64 features from block 1 mlp_normalized to block 1 mlp_out>"
    moved = sw.SAE.load(folder / "params.npz", layer=2)
    assert (moved.site, moved.writes_at) == (sw.Site(2, "mlp_normalized"), sw.Site(2, "mlp_out"))
    with pytest.raises(ValueError, match="no error term"):
        ours.error(residuals())


@pytest.mark.parametrize("transcodes", [False, True])
def test_llama_scope(transcodes, tmp_path, monkeypatch):
    """sae_lens' own loader, which Neuronpedia's values come from; it knows no transcoders, whose output has a norm."""
    from sae_lens.loading import pretrained_sae_loaders as loaders

    norms = {"in": 6.3125, "out": 3.390625 if transcodes else 6.3125}
    hooks = (
        ("blocks.8.ln2.hook_normalized", "blocks.8.hook_mlp_out") if transcodes else ("blocks.8.hook_resid_post",) * 2
    )
    said = {"d_model": D_MODEL, "d_sae": SIZE, "jump_relu_threshold": 0.2, "act_fn": "jumprelu", "top_k": 50}
    said |= {"hook_point_in": hooks[0], "hook_point_out": hooks[1], "dataset_average_activation_norm": norms}
    tensors = LINEAR | {"decoder.weight": W_DEC.T, "decoder.bias": B_DEC}
    folder = put(tmp_path / "L8", {"hyperparams.json": said}, {"checkpoints/final.safetensors": tensors})
    monkeypatch.setattr(loaders, "hf_hub_download", _local(tmp_path))
    cfg, state, _ = loaders.llama_scope_sae_huggingface_loader("fnlp/x", "L8", cfg_overrides={"dtype": "float32"})
    acts, out = _by_sae_lens((cfg | {"normalize_activations": "none"}, state), D_MODEL**0.5 / norms["in"])
    ours = sw.SAE.load(folder)
    torch.testing.assert_close(ours.encode(residuals()), acts, **CLOSE)
    torch.testing.assert_close(ours.decode(acts), out * (norms["out"] / norms["in"]), **CLOSE)
    assert ours.site == sw.Site.from_hook_name(hooks[0])
    assert ours.writes_at == sw.Site.from_hook_name(hooks[1])


def test_qwen_scope(tmp_path):
    folder = tmp_path / "models--Qwen--SAE-Res-Qwen3-1.7B-Base-W32K-L0_50" / "snapshots" / "0"
    folder.mkdir(parents=True)
    state = {"W_enc": W_ENC.T.contiguous(), "W_dec": W_DEC.T.contiguous(), "b_enc": B_ENC, "b_dec": B_DEC}
    torch.save(state, folder / "layer7.sae.pt")
    ours, acts = sw.SAE.load(folder / "layer7.sae.pt"), topped(residuals() @ W_ENC + B_ENC, 50)
    same(ours, acts, acts @ W_DEC + B_DEC)
    assert (ours.site, ours.provenance["model"]) == (sw.Site(7), "Qwen/Qwen3-1.7B-Base")


def test_plain_tensors(tmp_path):
    state = {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": torch.zeros(D_MODEL)}
    torch.save(state, tmp_path / "relu.pt")
    acts = (residuals() @ W_ENC + B_ENC).relu()
    same(sw.SAE.load(tmp_path / "relu.pt", layer=1), acts, acts @ W_DEC)
    torch.save(state | {"b_dec": B_DEC}, tmp_path / "off.pt")
    with pytest.raises(ValueError, match="do not say whether b_dec is taken off the input"):
        sw.SAE.load(tmp_path / "off.pt", layer=1)
    torch.save(torch.nn.Linear(2, 2), tmp_path / "code.pt")
    with pytest.raises(ValueError, match="holds more than plain tensors, and loading it could run code"):
        sw.SAE.load(tmp_path / "code.pt", layer=1)


@pytest.mark.parametrize("form", ["Gemma Scope 2", "circuit-tracer"])
def test_cross_layer_transcoders_write_at_the_block_that_is_asked(form, tmp_path):
    layer, blocks = 2, 5
    decoders = drawn(SIZE, blocks if form == "Gemma Scope 2" else blocks - layer, D_MODEL, seed=7)
    skip = drawn(D_MODEL, D_MODEL, seed=8)
    if form == "Gemma Scope 2":
        folder = tmp_path / "gemma-scope-2-1b-pt" / "clt" / "width_262k_l0_medium_affine"
        tensors = {"w_enc": W_ENC, "b_enc": B_ENC, "w_dec": decoders, "b_dec": B_DEC, "threshold": THRESHOLD}
        path = put(folder, {}, {"params_layer_2.safetensors": tensors | {"affine_skip_connection": skip}})
        path, first, site = path / "params_layer_2.safetensors", 0, sw.Site(2, "mlp_in")
        pre = residuals() @ W_ENC + B_ENC
        acts, out = pre * (pre > THRESHOLD), residuals() @ skip
    else:
        encoder = {"W_enc_2": W_ENC.T, "b_enc_2": B_ENC, "b_dec_2": B_DEC}
        put(tmp_path, {}, {"W_enc_2.safetensors": encoder, "W_dec_2.safetensors": {"W_dec_2": decoders}})
        (tmp_path / "config.yaml").write_text(
            'model_name: "google/gemma-2-2b"\nfeature_input_hook: hook_resid_mid\nfeature_output_hook: "hook_mlp_out"\n'
        )
        path, first, site = tmp_path / "W_enc_2.safetensors", layer, sw.Site(2, "resid_mid")
        acts, out = (residuals() @ W_ENC + B_ENC).relu(), 0
    own = sw.SAE.load(path)
    same(own, acts, acts @ decoders[:, layer - first] + B_DEC + out)
    assert (own.site, own.writes_at) == (site, sw.Site(2, "mlp_out"))
    later = sw.SAE.load(path, output_layer=4)
    same(later, acts, acts @ decoders[:, 4 - first])
    assert later.writes_at == sw.Site(4, "mlp_out")
    assert later.fingerprint != own.fingerprint
    assert "output_layer=4" in later.source_code
    for wrong in (1, 5):
        with pytest.raises(ValueError, match=r"decoders for the blocks 2 to 4, but output_layer="):
            sw.SAE.load(path, output_layer=wrong)


def test_only_cross_layer_transcoders_take_an_output_layer(tmp_path):
    cfg = {"d_in": D_MODEL, "num_latents": SIZE, "k": K}
    folder = put(
        tmp_path / "layers.1", {"cfg.json": cfg}, {"sae.safetensors": LINEAR | {"W_dec": W_DEC, "b_dec": B_DEC}}
    )
    with pytest.raises(ValueError, match="output_layer= chooses among the decoders of a cross-layer"):
        sw.SAE.load(folder, output_layer=2)


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("standard", {}),
        ("jumprelu", {"apply_b_dec_to_input": False}),
        ("topk", {"k": K, "rescale_acts_by_decoder_norm": True}),
        ("jumprelu_transcoder", {"apply_b_dec_to_input": False, "d_out": D_MODEL}),
    ],
)
def test_decoder_norms_are_folded_as_sae_lens_does(architecture, settings, tmp_path):
    """`fold_W_dec_norm`: activations as Neuronpedia shows them, what is reconstructed as before."""
    cls, config = sae_lens.registry.get_sae_class(architecture)
    cfg = config(d_in=D_MODEL, d_sae=SIZE, **settings)
    cfg.metadata.hook_name = "blocks.1.hook_resid_post"
    made = cls(cfg).requires_grad_(False)
    for number, (name, parameter) in enumerate(sorted(made.named_parameters())):
        parameter.data = drawn(*parameter.shape, seed=number)
        if name == "threshold":
            parameter.data = parameter.data.abs()
    before = made(residuals())
    made.save_model(tmp_path)
    ours = sw.SAE.load(tmp_path, fold_decoder_norm=True)
    shared = sw.SAE.from_sae_lens(made, fold_decoder_norm=True)
    plain = sw.SAE.load(tmp_path)
    made.fold_W_dec_norm()
    if architecture == "topk":
        made.cfg.rescale_acts_by_decoder_norm = False
    acts = made.encode(residuals())
    for each in (ours, shared):
        same(each, acts, before)
        torch.testing.assert_close(each.directions().norm(dim=1), torch.ones(SIZE))
        for index in (3, 9):
            torch.testing.assert_close(each[index].activation(residuals()), acts[..., index], **CLOSE)
    assert plain.fingerprint != ours.fingerprint
    assert "fold_decoder_norm=True" in ours.source_code


def test_folding_that_would_choose_other_features_is_refused():
    with pytest.raises(ValueError, match="would make TopK choose other features"):
        sw.SAE(W_ENC, B_ENC, W_DEC, B_DEC, "topk", k=K, layer=1, fold_decoder_norm=True)
