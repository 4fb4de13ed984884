"""Hostile SAEs: cfg.json, weights, params.npz."""

from __future__ import annotations

import io
import json
import math
import pickle
import random
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hostile import base, mutations
from hostile.oracle import Case
from safetensors.torch import save as safetensors_bytes
from support import sae

import steerwidgets as sw

CFG = {
    "architecture": "jumprelu",
    "d_in": base.D,
    "d_sae": sae.SIZE,
    "dtype": "float32",
    "device": "cpu",
    "apply_b_dec_to_input": True,
    "normalize_activations": "none",
    "rescale_acts_by_decoder_norm": False,
    "reshape_activations": "none",
    "metadata": {
        "sae_lens_version": "6.54.12",
        "model_name": "tiny",
        "hook_name": "blocks.1.hook_resid_post",
        "hook_head_index": None,
        "model_from_pretrained_kwargs": {"center_writing_weights": False},
        "neuronpedia_id": "tiny/1",
    },
}
TOPK = {
    "architecture": "topk",
    "k": 4,
    "d_in": base.D,
    "d_sae": sae.SIZE,
    "metadata": {"hook_name": "blocks.1.hook_resid_post"},
}
FLAT = {
    "architecture": "standard",
    "activation_fn_str": "topk",
    "activation_fn_kwargs": {"k": 4},
    "hook_name": "blocks.1.hook_resid_post",
    "hook_layer": 1,
    "d_in": base.D,
    "d_sae": sae.SIZE,
}
_CHECKED = (
    *("architecture", "d_in", "d_sae", "k", "apply_b_dec_to_input", "normalize_activations"),
    *("rescale_acts_by_decoder_norm", "metadata", "hook_name", "activation_fn_str", "activation_fn_kwargs"),
    *("model_from_pretrained_kwargs", "center_writing_weights"),
)
_SAE_WORDS = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold", "cfg.json", "sae_l1", "architecture", "layer=")


def _sae_tensors(threshold: bool = True) -> dict[str, torch.Tensor]:
    made = sae.tensors()
    return made | ({"threshold": made["b_enc"].abs() + 0.1} if threshold else {})


def _sae_loader(cfg: dict[str, Any] | None = None) -> base.Loader:
    cfg = cfg or CFG
    files = {
        "sae_l1/cfg.json": json.dumps(cfg).encode(),
        "sae_l1/sae_weights.safetensors": safetensors_bytes(_sae_tensors(cfg is CFG)),
    }
    return base.Loader("SAE cfg.json", files, base.used(lambda folder: sw.SAE.load(folder / "sae_l1")), _SAE_WORDS)


def settings(drawn: random.Random) -> Iterator[Case]:
    path = "sae_l1/cfg.json"
    for cfg, each in ((CFG, 5), (TOPK, 4), (FLAT, 4)):
        loader = _sae_loader(cfg)
        yield loader.case("as it should be", {})
        yield from base.spoilt_json(loader, path, cfg, drawn, each, _CHECKED)
    loader = _sae_loader()
    for what, data in mutations.json_texts(json.dumps(CFG)):
        yield loader.case(f"cfg.json {what}", {path: data}, refused=what != "just {}")
    for key, second in (("architecture", "topk"), ("metadata", {}), ("apply_b_dec_to_input", "false")):
        yield loader.case(
            f"cfg.json says {key} twice", {path: mutations.duplicated(CFG, key, second).encode()}, fields=(key,)
        )
    for hook in (
        "blocks.1.hook_soul",
        "blocks.99999999999999999999.hook_resid_post",
        "blocks.-1.hook_resid_post",
        "hook_embed",
        "blocks.٣.hook_resid_post",
        "blocks.1.hook_resid_post\n",
        "../../etc/passwd",
    ):
        spoilt = CFG | {"metadata": {"hook_name": hook}}
        yield loader.case(
            f"hook_name {hook[:30]!r}", {path: json.dumps(spoilt).encode()}, fields=("reads", "hook name")
        )
    labels = {
        "a list too short": ["a"],
        "of numbers": list(range(sae.SIZE)),
        "nested": [[]] * sae.SIZE,
        "a text": "/etc/passwd",
        "a table of tables": {"0": {"a": 1}},
        "beyond": {"99": "x"},
        "negative": {"-1": "x"},
    }
    for what, value in labels.items():
        yield loader.case(
            f"labels.json {what}", {"sae_l1/labels.json": json.dumps(value).encode()}, fields=("labels",), refused=True
        )
    yield loader.case("labels.json is no JSON", {"sae_l1/labels.json": b"{"}, refused=True)
    yield loader.case("statistics are junk", {"sae_l1/statistics.safetensors": b"junk" * 9}, refused=True)
    yield loader.case("both missing", dict.fromkeys(loader.files), refused=True)


def weights(drawn: random.Random) -> Iterator[Case]:
    plain = _sae_loader()
    loader = base.Loader("SAE weights", plain.files, plain.load, plain.words)
    path = "sae_l1/sae_weights.safetensors"
    yield from base.spoilt_tensors(loader, path, _sae_tensors(), safetensors_bytes, drawn, of_any_shape=("threshold",))
    yield from base.damaged(loader, path, drawn, flips=12)
    for what, data in mutations.safetensors_headers(loader.files[path]):
        yield loader.case(what, {path: data})
    zero = _sae_tensors()
    zero["W_dec"][3] = 0
    yield loader.case("a row of W_dec is 0", {path: safetensors_bytes(zero)})
    zero = _sae_tensors()
    zero["W_enc"][:, 3] = 0
    yield loader.case("a column of W_enc is 0", {path: safetensors_bytes(zero)})
    for name in ("scaling_factor", "finetuning_scaling_factor"):
        for what, value in (
            ("of NaN", torch.full((sae.SIZE,), math.nan)),
            ("of another shape", torch.ones(3)),
            ("of bools", torch.ones(sae.SIZE) > 0),
        ):
            yield loader.case(
                f"{name} {what}", {path: safetensors_bytes(_sae_tensors() | {name: value})}, fields=("scale",)
            )
    yield loader.case("a pickle by that name", {path: base.pt(_sae_tensors())}, refused=True)
    pickled = base.Loader(
        "SAE weights",
        {"sae_l1/sae.pt": pickle.dumps(mutations.Code())},
        base.used(lambda folder: sw.SAE.load(folder / "sae_l1" / "sae.pt")),
    )
    yield pickled.case("a .pt with code", {}, refused=True)


def params_npz(drawn: random.Random) -> Iterator[Case]:
    good = {name: tensor.numpy() for name, tensor in _sae_tensors().items()}
    path = "layer_1/params.npz"
    loader = base.Loader(
        "SAE params.npz",
        {path: base.npz(good)},
        base.used(lambda folder: sw.SAE.load(folder / path, layer=1)),
        _SAE_WORDS,
    )
    yield loader.case("as it should be", {})
    as_npz = lambda tensors: base.npz({name: tensor.numpy() for name, tensor in tensors.items()})
    yield from base.spoilt_tensors(loader, path, _sae_tensors(), as_npz, drawn, of_any_shape=("threshold",))
    yield from base.damaged(loader, path, drawn, flips=20, reach=2_000)
    for what, array in (
        ("texts", np.array(["x"] * sae.SIZE)),
        ("bytes", np.array([b"x"] * sae.SIZE)),
        ("objects", np.array([mutations.Code()] * sae.SIZE, dtype=object)),
        ("records", np.zeros(sae.SIZE, dtype=[("a", "f4")])),
        ("dates", np.zeros(sae.SIZE, dtype="M8[s]")),
        ("float128", np.zeros(sae.SIZE, dtype=np.longdouble)),
        ("uint16", np.zeros(sae.SIZE, dtype=np.uint16)),
        ("big-endian", good["b_enc"].astype(">f4")),
    ):
        yield loader.case(
            f"b_enc of {what}",
            {path: base.npz(good | {"b_enc": array})},
            fields=("b_enc",),
            refused=what != "big-endian",
        )
    for what, header in (
        ("2^40 numbers", "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }"),
        ("-1 numbers", "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }"),
        ("a shape that is a text", "{'descr': '<f4', 'fortran_order': False, 'shape': 'x', }"),
        ("a type that is unknown", "{'descr': '<q9', 'fortran_order': False, 'shape': (40,), }"),
        ("no keys", "{}"),
        ("code", "__import__('os').system('touch $HOSTILE_MARK')"),
        ("nesting", "(" * 300 + ")" * 300),
    ):
        body = header.encode() + b"\n"
        array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(body)) + body + b"\x00" * 160
        yield loader.case(
            f"an array whose header says {what}",
            {path: _zip_with(loader.files[path], "b_enc.npy", array)},
            fields=("b_enc",),
            refused=True,
        )
    yield loader.case(
        "an array that is text",
        {path: _zip_with(loader.files[path], "b_enc.npy", b"hello")},
        fields=("b_enc",),
        refused=True,
    )
    yield loader.case("names that lead out of it", {path: _zip_with(loader.files[path], "../../W_enc.npy", b"")})
    yield loader.case("compressed", {path: _npz_compressed(good)})
    file = io.BytesIO()
    np.save(file, good["b_enc"])
    yield loader.case("one array", {path: file.getvalue()}, refused=True)
    yield loader.case("a pickle", {path: pickle.dumps(mutations.Code())}, refused=True)


def _npz_compressed(arrays: Mapping[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def _zip_with(whole: bytes, name: str, data: bytes) -> bytes:
    """A zip with one entry put in, or in place of another."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(made, "w") as new:
        for entry in old.namelist():
            if entry != name:
                new.writestr(entry, old.read(entry))
        new.writestr(name, data)
    return made.getvalue()


_SPARSIFY = {"d_in": base.D, "num_latents": sae.SIZE, "k": 4, "transcode": False, "skip_connection": False}
_LEARNED = {"trainer": {"dict_class": "BatchTopKSAE", "layer": 1, "k": 4, "lm_name": "tiny", "submodule_name": None}}
_SCOPE_2 = {
    "architecture": "jump_relu",
    "model_name": "gemma-v3-1b-pt",
    "hf_hook_point_in": "model.layers.1.pre_feedforward_layernorm.output",
    "hf_hook_point_out": "model.layers.1.post_feedforward_layernorm.output",
    "affine_connection": True,
}
_LLAMA_SCOPE = {
    "d_model": base.D,
    "d_sae": sae.SIZE,
    "act_fn": "jumprelu",
    "jump_relu_threshold": 0.2,
    "hook_point_in": "blocks.1.hook_resid_post",
    "hook_point_out": "blocks.1.hook_resid_post",
    "dataset_average_activation_norm": {"in": 6.5, "out": 6.5},
}
_FOREIGN_CHECKED = (
    *("d_in", "num_latents", "k", "transcode", "skip_connection", "trainer", "dict_class", "layer", "lm_name"),
    *("architecture", "model_name", "hf_hook_point_in", "affine_connection", "d_model", "d_sae", "act_fn"),
    *("jump_relu_threshold", "hook_point_in", "dataset_average_activation_norm", "in", "out"),
)
_FOREIGN_WORDS = (
    *(*_SAE_WORDS, "encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias", "expansion_factor", "skip"),
    *("hook", "place", "transcoder", "final.safetensors", "k is", "site"),
)


def other_libraries(drawn: random.Random) -> Iterator[Case]:
    """Folders of sparsify, dictionary_learning, Gemma Scope 2 and Llama Scope, and a cross-layer transcoder."""
    made = _sae_tensors()
    linear = {"encoder.weight": made["W_enc"].T.contiguous(), "encoder.bias": made["b_enc"]}
    square = torch.eye(base.D)
    formats: dict[str, tuple[str, Any, str, dict[str, torch.Tensor], Any]] = {
        "sparsify": (
            "layers.1/cfg.json",
            _SPARSIFY,
            "layers.1/sae.safetensors",
            linear | {"W_dec": made["W_dec"], "b_dec": made["b_dec"]},
            safetensors_bytes,
        ),
        "dictionary_learning": (
            "run/config.json",
            _LEARNED,
            "run/ae.pt",
            linear | {"decoder.weight": made["W_dec"].T.contiguous(), "b_dec": made["b_dec"]},
            lambda tensors: base.pt({"threshold": torch.tensor(0.4)} | tensors),
        ),
        "Gemma Scope 2": (
            "layer_1_width_16k/config.json",
            _SCOPE_2,
            "layer_1_width_16k/params.safetensors",
            {name.replace("W_", "w_"): tensor for name, tensor in made.items()} | {"affine_skip_connection": square},
            safetensors_bytes,
        ),
        "Llama Scope": (
            "L1R/hyperparams.json",
            _LLAMA_SCOPE,
            "L1R/checkpoints/final.safetensors",
            linear | {"decoder.weight": made["W_dec"].T.contiguous(), "decoder.bias": made["b_dec"]},
            safetensors_bytes,
        ),
    }
    for name, (cfg_path, cfg, path, tensors, dumps) in formats.items():
        folder = cfg_path.partition("/")[0]
        loader = base.Loader(
            "SAEs of others",
            {cfg_path: json.dumps(cfg).encode(), path: dumps(tensors)},
            base.used(lambda root, folder=folder: sw.SAE.load(root / folder)),
            _FOREIGN_WORDS,
        )
        yield loader.case(f"{name} as it should be", {})
        yield from base.spoilt_json(loader, cfg_path, cfg, drawn, 4, _FOREIGN_CHECKED)
        for what, data in mutations.json_texts(json.dumps(cfg)):
            yield loader.case(f"{name}: {Path(cfg_path).name} {what}", {cfg_path: data})
        of_any_shape = ("threshold", "encoder.weight", "decoder.weight")
        yield from base.spoilt_tensors(loader, path, tensors, dumps, drawn, of_any_shape=of_any_shape)
        yield from base.damaged(loader, path, drawn, flips=6)
    shared = {name.replace("W_", "w_"): tensor for name, tensor in made.items()}
    shared["w_dec"] = made["W_dec"][:, None].expand(-1, 3, -1).contiguous()
    path = "clt/params_layer_1.safetensors"
    crossed = base.Loader(
        "SAEs of others",
        {path: safetensors_bytes(shared)},
        base.used(lambda root: sw.SAE.load(root / path, output_layer=1)),
        (*_FOREIGN_WORDS, "w_dec", "output_layer"),
    )
    yield crossed.case("a cross-layer transcoder as it should be", {})
    decoders = {"w_dec": shared.pop("w_dec")}
    crossed_bytes = lambda tensors: safetensors_bytes(decoders | tensors)
    yield from base.spoilt_tensors(crossed, path, shared, crossed_bytes, drawn, of_any_shape=("threshold",))
    for what, spoilt in (
        ("flat", decoders["w_dec"].flatten()),
        ("of two axes", made["W_dec"]),
        ("empty", torch.zeros(0, 0, 0)),
    ):
        yield crossed.case(f"w_dec {what}", {path: safetensors_bytes(shared | {"w_dec": spoilt})}, refused=True)
    plain = base.Loader(
        "SAEs of others",
        {"plain.pt": base.pt(made | {"b_dec": torch.zeros(base.D)})},
        base.used(lambda root: sw.SAE.load(root / "plain.pt", layer=1)),
        _FOREIGN_WORDS,
    )
    yield plain.case("plain tensors as it should be", {})
    yield from base.pickles(plain, "plain.pt", lambda inside: made | {"W_enc": inside})
    yield from base.spoilt_tensors(plain, "plain.pt", made, base.pt, drawn, of_any_shape=("threshold",))
