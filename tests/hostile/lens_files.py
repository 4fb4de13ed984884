"""Hostile files of fitted lenses: tuned-lens' folder, jlens' `.pt`, and both as safetensors."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from hostile import base, mutations
from hostile.oracle import Case
from safetensors.torch import save as safetensors_bytes
from support.models import LAYERS

import steerwidgets as sw

_WORDS = ("weight", "bias", "matrix", "J", "config.json", "params.pt", "lens.pt", "lens", "d_model", "translators")
_CONFIG = {
    "base_model_name_or_path": "tiny",
    "d_model": base.D,
    "num_hidden_layers": LAYERS,
    "bias": True,
    "lens_type": "linear_tuned_lens",
    "unembed_hash": "x",
}


def _use(path: Path) -> None:
    lens = sw.FittedLens.load(path)
    repr((lens, lens.meaning, lens.provenance))
    assert bool(base.lm().logit_lens(list(base.IDS), lens=lens, k=2).log_probs.isfinite().all())


def lenses(drawn: random.Random) -> Iterator[Case]:
    square = torch.eye(base.D) * 0.1
    translators = {f"{b}.weight": square.clone() for b in range(LAYERS)}
    translators |= {f"{b}.bias": torch.ones(base.D) for b in range(LAYERS)}
    jacobians = {b: square + torch.eye(base.D) for b in range(LAYERS - 1)}
    tuned = base.Loader(
        "lens files",
        {"tuned/config.json": json.dumps(_CONFIG).encode(), "tuned/params.pt": base.pt(translators)},
        lambda folder: _use(folder / "tuned"),
        _WORDS,
    )
    yield tuned.case("a tuned lens as it should be", {})
    yield from base.spoilt_json(
        tuned, "tuned/config.json", _CONFIG, drawn, 6, ("d_model", "num_hidden_layers", "lens_type")
    )
    for what, data in mutations.json_texts(json.dumps(_CONFIG)):
        yield tuned.case(f"config.json {what}", {"tuned/config.json": data})
    some = {name: translators[name] for name in ("0.weight", "1.bias")}
    dumps = lambda tensors: base.pt(translators | tensors)
    for case in base.spoilt_tensors(tuned, "tuned/params.pt", some, dumps, drawn):
        if "is missing" not in case.name and case.name != "no tensors":
            yield case
    yield tuned.case(
        "a weight is missing", {"tuned/params.pt": base.pt(dict(list(translators.items())[1:]))}, refused=True
    )
    yield from base.damaged(tuned, "tuned/params.pt", drawn, flips=6)
    yield from base.pickles(tuned, "tuned/params.pt", lambda inside: translators | {"0.weight": inside})
    held: dict[str, Any] = {"J": jacobians, "n_prompts": 3, "source_layers": list(jacobians), "d_model": base.D}
    by_j = base.Loader("lens files", {"lens.pt": base.pt(held)}, lambda folder: _use(folder / "lens.pt"), _WORDS)
    yield by_j.case("a Jacobian lens as it should be", {})
    dumped = lambda tensors: base.pt(
        held | {"J": jacobians | {int(n) if n.isdecimal() else n: t for n, t in tensors.items()}}
    )
    for case in base.spoilt_tensors(by_j, "lens.pt", {"1": jacobians[1]}, dumped, drawn):
        if case.name not in ("no tensors", "1 is missing", "a tensor too many"):
            yield case
    for what, spoilt, refused in (
        ("J is empty", held | {"J": {}}, True),
        ("J is a list", held | {"J": [square]}, True),
        ("J has a block -1", held | {"J": {-1: square}}, True),
        ("J has a text for a block", held | {"J": {"x": square}}, True),
        ("J has a block 10^9", held | {"J": {10**9: square}}, True),
        ("d_model is another", held | {"d_model": 7}, True),
        ("d_model is a text", held | {"d_model": "32"}, True),
        ("n_prompts is a list", held | {"n_prompts": [1]}, True),
        ("a fit's checkpoint", {"running_sum": square, "n": 3}, True),
    ):
        yield by_j.case(what, {"lens.pt": base.pt(spoilt)}, refused=refused)
    yield from base.damaged(by_j, "lens.pt", drawn, flips=6)
    yield from base.pickles(by_j, "lens.pt", lambda inside: held | {"J": {0: inside}})
    path = "lens.safetensors"
    whole = {f"J.{b}": tensor for b, tensor in jacobians.items()}
    safe = base.Loader("lens files", {path: safetensors_bytes(whole)}, lambda folder: _use(folder / path), _WORDS)
    yield safe.case("safetensors as it should be", {})
    yield from base.damaged(safe, path, drawn, flips=8)
    for what, data in mutations.safetensors_headers(safe.files[path]):
        yield safe.case(what, {path: data})
