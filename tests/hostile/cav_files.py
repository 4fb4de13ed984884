"""Hostile concept vectors: safetensors, .pt, GGUF."""

from __future__ import annotations

import json
import math
import random
import struct
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hostile import base, mutations
from hostile.oracle import Case
from safetensors.torch import save as safetensors_bytes
from support import kinds

import steerwidgets as sw


def safetensors(drawn: random.Random) -> Iterator[Case]:
    from safetensors import safe_open

    files = base.saved("CAV")
    [path] = files
    load = lambda folder: sw.CAV.load(folder / path)
    loader = base.Loader(
        "CAV .safetensors", files, base.used(load, widgets=True), ("header", "labels", "layer", "vector")
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / path).write_bytes(files[path])
        with safe_open(Path(folder) / path, "pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in sorted(opened.keys())}
            texts = opened.metadata()
    yield loader.case("as it should be", {})
    header = json.loads(texts["cav"]) | {"provenance": {"model": "tiny", "method": "mean difference"}}
    written = lambda changed: safetensors_bytes(
        tensors, texts | {"cav": changed if isinstance(changed, str) else json.dumps(changed)}
    )
    checked = ("labels", "layer", "stream", "suggested", "alpha", "provenance", "model", "method")
    yield from base.spoilt_json(loader, path, header, drawn, 6, checked, written)
    for change in (
        {"suggested": [5, "xy", {"a": 1}, None, None]},
        {"suggested": [["evil", {"alpha": 1}], None, None, None, None]},
        {"suggested": [["add", {"alpha": "x"}], None, None, None, None]},
        {"suggested": [["add", {"beta": 1}], None, None, None, None]},
        {"suggested": [["add", {"alpha": math.nan}], None, None, None, None]},
        {"suggested": [["add", {"alpha": 10**400}], None, None, None, None]},
        {"provenance": {"model": 5}},
        {"provenance": {"model": ["x"]}},
        {"provenance": [1]},
        {"max_activations": ["x", None, None, None, None]},
        {"max_activations": [True, None, None, None, None]},
        {"max_activations": [math.inf, None, None, None, None]},
        {"max_activations": [10**400, None, None, None, None]},
        {"max_activation_of": 5},
        {"max_activation_of": ["x"]},
        {"labels": ["a", "b", 3, "d", "e"]},
        {"labels": ["a", "b"]},
        {"labels": {"a": 0, "b": 99}},
        {"labels": {"a": [0]}},
        {"layer": -1},
        {"layer": 1.0},
        {"layer": 10**30},
        {"stream": "soul"},
        {"surprise": 1},
    ):
        [name] = change
        yield loader.case(
            f"header: {json.dumps(change)[:70]}", {path: written(header | change)}, fields=(name,), refused=True
        )
    secret = loader.case(
        "header: labels are the path of another file",
        {path: written(header | {"labels": "SECRET"})},
        fields=("labels",),
        refused=True,
    )
    yield _with_secret(secret, path, lambda where: written(header | {"labels": where}))
    for what, text in mutations.json_texts(json.dumps(header)):
        readable = text.decode("latin-1")
        yield loader.case(f"header {what}", {path: written(readable)}, refused=True)
    for name in ("statistics", "report"):
        for what, text in list(mutations.json_texts("{}"))[-9:]:
            changed = texts | {name: text.decode("latin-1")}
            yield loader.case(f"{name} {what}", {path: safetensors_bytes(tensors, changed)}, fields=(name,))
        spoilt = texts | {name: json.dumps({"corpus": 5, "tokens": "x", "auroc": []})}
        yield loader.case(
            f"{name} of other kinds", {path: safetensors_bytes(tensors, spoilt)}, fields=(name,), refused=True
        )
    as_file = lambda changed: safetensors_bytes({key: each.contiguous() for key, each in changed.items()}, texts)
    for what, spoilt, refused in mutations.tensors(tensors["vectors"], drawn):
        must = refused and what != "a column short"
        yield loader.case(
            f"vectors {what}", {path: as_file(tensors | {"vectors": spoilt})}, fields=("vector",), refused=must
        )
    zero = tensors["vectors"].clone()
    zero[2] = 0
    yield loader.case("a vector is 0", {path: as_file(tensors | {"vectors": zero})}, fields=("label 2",))
    yield loader.case("no vectors", {path: as_file({"other": torch.ones(2)})}, refused=True)
    for name in (each for each in tensors if each != "vectors"):
        for what, spoilt, refused in mutations.tensors(tensors[name], drawn):
            must = refused and what != "NaN"
            yield loader.case(
                f"{name} {what}",
                {path: as_file(tensors | {name: spoilt})},
                fields=(name, "statistics", "maximum"),
                refused=must,
            )
    yield loader.case("no header", {path: safetensors_bytes(tensors)}, refused=True)
    yield from base.damaged(loader, path, drawn, flips=12)
    for what, data in mutations.safetensors_headers(files[path]):
        yield loader.case(what, {path: data})


def _with_secret(case: Case, path: str, written: Callable[[str], bytes]) -> Case:
    """A case whose file names another file of the same disk."""

    def write(folder: Path) -> Callable[[], Any]:
        work = case.load(folder)
        (folder / "secret.json").write_text(json.dumps([base.SECRET] * base.SIZE))
        (folder / path).write_bytes(written(str(folder / "secret.json")))
        return work

    return Case(case.loader, case.name, write, case.words, case.refused)


def pickled(drawn: random.Random) -> Iterator[Case]:
    path = "cavs.pt"
    good = {"cavs": kinds.ROWS.clone(), "labels": [f"label {i}" for i in range(base.SIZE)]}
    loader = base.Loader(
        "CAV .pt",
        {path: base.pt(good)},
        base.used(lambda folder: sw.CAV.load(folder / path, layer=1)),
        ("cavs", "labels", "vector"),
    )
    yield loader.case("as it should be", {})
    for what, spoilt, refused in mutations.tensors(good["cavs"], drawn):
        yield loader.case(
            f"cavs {what}", {path: base.pt(good | {"cavs": spoilt})}, refused=refused and what != "a column short"
        )
    for name in good:
        for what, junk in mutations.JUNK:
            yield loader.case(
                f"{name} is {what}",
                {path: base.pt(good | {name: junk})},
                refused=name == "cavs" or junk not in (None, []),
            )
        yield loader.case(
            f"{name} is left out",
            {path: base.pt({key: value for key, value in good.items() if key != name})},
            refused=True,
        )
    for what, labels in (
        ("too short", ["a"]),
        ("numbers", list(range(base.SIZE))),
        ("a tensor", torch.arange(base.SIZE)),
        ("tensors", [torch.ones(2)] * base.SIZE),
    ):
        yield loader.case(f"labels {what}", {path: base.pt(good | {"labels": labels})}, refused=what != "numbers")
    for what, spoilt in (
        ("sparse", good["cavs"].to_sparse()),
        ("quantised", _quantised(good["cavs"])),
        ("a list of lists", good["cavs"].tolist()),
        ("meta", good["cavs"].to("meta")),
        ("with gradients", good["cavs"].clone().requires_grad_()),
        ("a view of a larger one", torch.randn(50, base.D)[::10]),
        ("float8", good["cavs"].to(torch.float8_e4m3fn)),
    ):
        yield loader.case(f"cavs {what}", {path: base.pt(good | {"cavs": spoilt})})
    yield from base.damaged(loader, path, drawn, flips=12, reach=900)
    yield from base.pickles(loader, path, lambda odd: good | {"cavs": odd})


def _quantised(tensor: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it goes away, and files of it do not
        return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


def control_vectors(drawn: random.Random) -> Iterator[Case]:
    path, whole = "happy.gguf", base.control_vector()

    def load(folder: Path) -> None:
        for made in sw.CAV.load_layers(folder / path).values():
            base.use(made)
        base.use(sw.CAV.load(folder / path, layer=1))

    loader = base.Loader("GGUF", {path: whole}, load, ("direction",))
    yield loader.case("as it should be", {})
    for what, at, text in (
        ("magic", 0, b"GGML"),
        ("version 0", 4, struct.pack("<I", 0)),
        ("version 99", 4, struct.pack("<I", 99)),
        ("version of other endian", 4, struct.pack(">I", 3)),
        ("2^60 tensors", 8, struct.pack("<Q", 2**60)),
        ("1,000,000 tensors", 8, struct.pack("<Q", 10**6)),
        ("no tensors", 8, struct.pack("<Q", 0)),
        ("a tensor too many", 8, struct.pack("<Q", 3)),
        ("2^60 fields", 16, struct.pack("<Q", 2**60)),
        ("no fields", 16, struct.pack("<Q", 0)),
        ("a field too many", 16, struct.pack("<Q", 9)),
        ("a key of 2^60 bytes", 24, struct.pack("<Q", 2**60)),
    ):
        refused = what != "a tensor too many"
        yield loader.case(what, {path: whole[:at] + text + whole[at + len(text) :]}, refused=refused)
    one = np.ones(base.D, "f4")
    for what, directions in (
        ("no directions", {}),
        ("directions by other names", {"blk.1": one}),
        ("direction.x", {"direction.x": one}),
        ("direction.-1", {"direction.-1": one}),
        ("direction.1.5", {"direction.1.5": one}),
        ("direction.", {"direction.": one}),
        ("direction.٣", {"direction.٣": one, "direction.1": one}),
        ("direction.²", {"direction.²": one, "direction.1": one}),
        ("direction.10^30", {f"direction.{10**30}": one, "direction.1": one}),
        ("direction.01 beside direction.1", {"direction.01": one, "direction.1": 2 * one}),
        ("of two dimensions", {"direction.1": np.ones((2, base.D), "f4")}),
        ("of no numbers", {"direction.1": np.ones(0, "f4")}),
        ("of NaN", {"direction.1": one * math.nan}),
        ("infinite", {"direction.1": one * math.inf}),
        ("zero", {"direction.1": one * 0}),
        ("of int8", {"direction.1": one.astype("i1")}),
        ("of int64", {"direction.1": one.astype("i8")}),
        ("of float64", {"direction.1": one.astype("f8")}),
        ("of float16", {"direction.1": one.astype("f2")}),
        ("of two widths", {"direction.1": one, "direction.2": np.ones(7, "f4")}),
    ):
        refused = not what.startswith(("of float", "direction.10^30", "direction.٣", "of two widths", "zero"))
        yield loader.case(what, {path: base.control_vector(directions)}, refused=refused)
    yield loader.case(
        "a model", {path: base.control_vector(architecture="llama")}, fields=("control vector",), refused=True
    )
    yield loader.case("a hint that is a number", {path: base.control_vector(hint=5)})
    yield loader.case("no hint", {path: base.control_vector(hint=None)})
    yield from base.damaged(loader, path, drawn, flips=60, reach=320)
