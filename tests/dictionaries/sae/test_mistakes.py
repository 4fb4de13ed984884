"""Mistakes with SAEs, one sentence each: wrong arguments, another model's SAE, damaged files, files with code."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from support.both import PROMPT
from support.models import D_MODEL
from support.sae import SIZE, make, residuals, tensors, write

import steerwidgets as sw


def nan_at(name, row):
    value = tensors()[name].clone()
    value[row] = torch.nan
    return {name: value}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"W_enc": torch.randn(3)}, r"W_enc is \[d_model, feature\]"),
        ({"W_dec": torch.randn(D_MODEL, SIZE)}, rf"needs W_dec of shape \[{SIZE}, {D_MODEL}\]"),
        ({"b_enc": torch.randn(3)}, rf"needs b_enc of shape \[{SIZE}\]"),
        ({"b_dec": torch.randn(3)}, rf"needs b_dec of shape \[{D_MODEL}\]"),
        ({"threshold": torch.randn(3), "activation": "jumprelu"}, "needs threshold of shape"),
        (nan_at("W_dec", 7), r"W_dec holds NaN or infinite values \(row 7\)"),
        (nan_at("b_enc", 3), r"b_enc holds NaN or infinite values \(row 3\)"),
        ({"W_enc": tensors()["W_enc"].long()}, "W_enc holds int64, not floating-point"),
        ({"activation": "swish"}, "activation 'swish' is unknown; relu, jumprelu, topk, batchtopk are known"),
        ({"activation": "jumprelu"}, "threshold= belongs to the activation 'jumprelu' and is needed there, but none"),
        ({"threshold": 0.5}, "but the activation is 'relu'"),
        ({"activation": "topk"}, "k= belongs to the activation 'topk' and is needed there, but none"),
        ({"activation": "topk", "k": SIZE + 1}, f"from 1 to {SIZE}, but k={SIZE + 1}"),
        ({"k": 3}, "k= belongs to the activation 'topk'"),
        ({"normalize_activations": "odd"}, "normalisation 'odd' of an SAE's input is unknown"),
        ({"normalize_activations": "expected_average_only_in"}, "pass norm_scaling_factor="),
        ({"norm_scaling_factor": 2.0}, "norm_scaling_factor is for expected_average_only_in"),
        ({"normalize_activations": "expected_average_only_in", "norm_scaling_factor": 0.0}, "positive number"),
        ({"layer": None}, "needs the place where it reads"),
        ({"site": sw.Site(1)}, "not as both"),
    ],
)
def test_wrong_arguments(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        sw.SAE(**({"layer": 1} | tensors() | changes))


def test_another_models_sae(llama):
    other = sw.SAE(**tensors(d=48), layer=1)
    with pytest.raises(ValueError, match="made for another model"):
        llama.compare(PROMPT, other[3].clamp(3), max_new_tokens=1)
    for read in (lambda: llama.read(PROMPT, other, [3]), lambda: llama.read(PROMPT, other)):
        with pytest.raises(ValueError, match=f"reads 48 numbers at each position, but the residual has {D_MODEL}"):
            read()
    with pytest.raises(ValueError, match="has 4 blocks"):
        llama.compare(PROMPT, make(layer=9)[3].clamp(3), max_new_tokens=1)
    with pytest.raises(ValueError, match="can be read but not steered"):
        llama.compare(PROMPT, make(layer=None, site=sw.Site(1, "resid_mid"))[3].clamp(3), max_new_tokens=1)


def test_indices_and_numbers_out_of_range():
    sae = make()
    for index in (SIZE, -SIZE - 1):
        with pytest.raises(IndexError, match=f"has features 0 to {SIZE - 1}, but {index} was asked for"):
            sae[index]
        with pytest.raises(IndexError, match="was asked for"):
            sae.activations(residuals(), [index])
    for value in (float("nan"), float("inf"), "9", None):
        with pytest.raises(ValueError, match="c has to be a finite number"):
            sae[3].clamp(value)


def test_normalised_inputs_decode_with_their_residual():
    for settings in ({"normalize_activations": "layer_norm"}, {"center_input": True}):
        sae = make(**settings)
        with pytest.raises(ValueError, match=r"decode needs the residual too: sae\.decode\(a, h\)"):
            sae.decode(sae.encode(residuals()))
    assert make(normalize_activations="constant_norm_rescale").encode(torch.zeros(2, D_MODEL)).isfinite().all()


@pytest.mark.parametrize(
    ("cfg", "changes", "sentence"),
    [
        (
            {"architecture": "crosscoder"},
            {},
            "architecture 'crosscoder' is unknown; standard, jumprelu, topk, transcoder",
        ),
        ({"architecture": "jumprelu"}, {}, r"sae_weights\.safetensors lacks threshold; it holds W_dec, W_enc"),
        ({}, {"b_dec": None}, "lacks b_dec"),
        ({}, {"W_dec": torch.zeros(2, 2)}, "needs W_dec of shape"),
        ({"activation_fn": "tanh-relu"}, {}, "activation function 'tanh-relu' is unknown"),
        ({"activation_fn": "topk"}, {}, "k= belongs to the activation 'topk'"),
        ({"metadata": {"hook_name": "hook_embed"}}, {}, "reads 'hook_embed', which is none of the streams"),
        ({}, {"scaling_factor": torch.full((SIZE,), 2.0)}, "fine-tuning scale"),
    ],
)
def test_wrong_files(tmp_path, cfg, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        sw.SAE.load(write(tmp_path, cfg, **changes))


def test_damaged_and_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no SAE at"):
        sw.SAE.load(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"holds cfg\.json and sae_weights\.safetensors, but .* has no cfg"):
        sw.SAE.load(tmp_path)
    weights = write(tmp_path) / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        sw.SAE.load(tmp_path)
    (tmp_path / "cfg.json").write_text("[1]")
    with pytest.raises(ValueError, match="not a table of settings"):
        sw.SAE.load(tmp_path)
    (tmp_path / "cfg.json").write_text("{")
    with pytest.raises(ValueError, match="not whole JSON"):
        sw.SAE.load(tmp_path)


class Touch:
    """A pickle that leaves a mark when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_pickles_are_never_loaded(tmp_path):
    mark = tmp_path / "ran"
    torch.save({"W_enc": Touch(mark)}, tmp_path / "sae.pt")
    with pytest.raises(
        ValueError, match="holds more than plain tensors, and loading it could run code, so it was not loaded"
    ):
        sw.SAE.load(tmp_path / "sae.pt")
    (tmp_path / "bare.npz").write_bytes(pickle.dumps(Touch(mark)))
    np.savez(tmp_path / "objects.npz", W_enc=np.array([Touch(mark)], dtype=object))
    for name in ("bare.npz", "objects.npz"):
        with pytest.raises(ValueError, match="loading it could run code, so it was not loaded"):
            sw.SAE.load(tmp_path / name, layer=1)
    assert not mark.exists()


def test_damaged_npz(tmp_path):
    whole, path = io.BytesIO(), tmp_path / "params.npz"
    np.savez(whole, **{name: value.numpy() for name, value in tensors().items()}, threshold=np.ones(SIZE, np.float32))
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    with pytest.raises(ValueError, match=r"not a whole \.npz file"):
        sw.SAE.load(path, layer=1)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("W_enc.npy", b"nothing")
    with pytest.raises(ValueError, match=r"params\.npz"):
        sw.SAE.load(path, layer=1)
    np.savez(path, W_enc=np.ones((2, 2), np.float32))
    with pytest.raises(ValueError, match="lacks b_enc, W_dec, b_dec, threshold; it holds W_enc"):
        sw.SAE.load(path, layer=1)
