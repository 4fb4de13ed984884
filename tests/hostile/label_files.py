"""Hostile labels and statistics."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from hostile import base, mutations
from hostile.oracle import Case
from safetensors.torch import save as safetensors_bytes
from support import kinds

import steerwidgets as sw


def _but_0(cases: Iterator[Case]) -> Iterator[Case]:
    """An index may be a number as well as its digits, and 0 is one."""
    for case in cases:
        yield replace(case, refused=case.refused and not case.name.endswith("index is 0"))


def labels(drawn: random.Random) -> Iterator[Case]:
    texts = [f"label {i}" for i in range(base.SIZE)]
    neuronpedia = [
        {
            "modelId": "gemma-2-2b",
            "layer": "20-res",
            "index": str(i),
            "description": text,
            "explanationModelName": "gpt-4o-mini",
            "typeName": "oai",
        }
        for i, text in enumerate(texts)
    ]
    lines = lambda rows: "".join(json.dumps(row) + "\n" for row in rows).encode()
    table = "index,label,source,author\n" + "".join(f"{i},{text},me,person\n" for i, text in enumerate(texts))
    values: dict[str, Any] = {
        "by_label.json": {text: i for i, text in enumerate(texts)},
        "by_index.json": {str(i): text for i, text in enumerate(texts)},
        "list.json": texts,
        "rows.json": neuronpedia,
    }
    files: dict[str, bytes] = {name: json.dumps(value).encode() for name, value in values.items()}
    files |= {
        "export.jsonl": lines(neuronpedia),
        "table.csv": table.encode(),
        "table.tsv": table.replace(",", "\t").encode(),
    }
    files["export.jsonl.gz"] = gzip.compress(lines(neuronpedia))

    def loading(name: str) -> Callable[[Path], Any]:
        def load(folder: Path) -> None:
            labels = sw.Labels.load(folder / name, size=base.SIZE)
            assert all(isinstance(each, str) for each in labels), "a label is no text"
            repr((labels, list(labels), [labels.of(i) for i in range(base.SIZE)], list(labels.features("label"))))
            sw.CAV(kinds.ROWS, labels, layer=1)[0].label  # noqa: B018 - reading it is the base.use

        return load

    for name, whole in files.items():
        loader = base.Loader("labels", {name: whole}, loading(name), ("index", "label", "description"))
        yield loader.case("as it should be", {})
        yield from base.damaged(loader, name, drawn, flips=4, lines=not name.endswith(".json"))
        if name.endswith(".json"):
            yield from _but_0(base.spoilt_json(loader, name, values[name], drawn, 5, ("index", "description")))
            for what, data in mutations.json_texts(whole.decode()):
                yield loader.case(f"{name} {what}", {name: data})
            yield loader.case(f"{name} with a key twice", {name: b'{"a": 0, "a": 1, "0": "x"}'})
    nested = [
        {"modelId": "gemma-2-2b", "layer": "20-res", "index": i, "explanations": [{"description": text}]}
        for i, text in enumerate(texts)
    ]
    own, words = random.Random(drawn.random()), ("index", "label", "description", "explanation")
    loader = base.Loader("labels", {"nested.json": json.dumps(nested).encode()}, loading("nested.json"), words)
    yield loader.case("nested.json as it should be", {})
    yield from base.spoilt_json(loader, "nested.json", nested, own, 6, ("explanations", "description"))
    loader = base.Loader(
        "labels",
        {"export.jsonl": files["export.jsonl"]},
        loading("export.jsonl"),
        ("index", "label", "description", "Line"),
    )
    first = lambda row: lines([row, *neuronpedia[1:]])
    yield from _but_0(
        base.spoilt_json(loader, "export.jsonl", neuronpedia[0], drawn, 5, ("index", "description"), first)
    )
    for what, data in mutations.json_texts(files["export.jsonl"].decode()):
        yield loader.case(f"export.jsonl {what}", {"export.jsonl": data})
    for what, text in (
        ("no index", table.replace("index", "soul")),
        ("no label", table.replace("label,", "soul,")),
        ("a cell too many", table + "4,x,y,z,more\n"),
        ("a cell too few", table + "4,x\n"),
        ("an open quote", table + '4,"x\n'),
        ("an index of text", table + "four,x,y,z\n"),
        ("an index of 30 digits", table + f"{10**30},x,y,person\n"),
        ("an index beyond", table + "99,x,y,person\n"),
        ("a negative index", table + "-1,x,y,person\n"),
        ("two columns of one name", table.replace("source", "label")),
        ("a cell of 200,000 letters", table + f"4,{'x' * 200_000},y,person\n"),
        ("zero bytes", table + "4,a\x00b,y,person\n"),
        ("no lines", ""),
        ("only a first line", "index,label\n"),
        ("UTF-16", None),
    ):
        data = table.encode("utf-16") if text is None else text.encode()
        yield base.Loader(
            "labels", {"table.csv": data}, loading("table.csv"), ("index", "label", "Line", "column")
        ).case(f"table.csv: {what}", {})
    yield base.Loader("labels", {"labels.xlsx": b"PK\x03\x04"}, loading("labels.xlsx")).case(
        "a spreadsheet", {}, refused=True
    )
    yield base.Loader("labels", {"folder/readme.md": b"hello"}, loading("folder"), ("folder",)).case(
        "a folder without labels", {}, refused=True
    )
    bomb = gzip.compress(b'{"index": 0, "description": "' + b"x" * 5_000_000 + b'"}\n')
    yield base.Loader("labels", {"bomb.jsonl.gz": bomb}, loading("bomb.jsonl.gz")).case("a gzip bomb", {})


def statistics(drawn: random.Random) -> Iterator[Case]:
    path, header = "statistics.safetensors", {"corpus": "tiny", "tokens": 1_000}
    tensors = {
        f"statistics.{name}": torch.rand(base.SIZE, generator=torch.Generator().manual_seed(1))
        for name in ("maximum", "typical", "p995", "density")
    }
    written = lambda changed: safetensors_bytes(changed, {"statistics": json.dumps(header)})

    def load(folder: Path) -> None:
        made = sw.FeatureStatistics.load(folder / path)
        repr((made, len(made), made.source, made.of("maximum", 0), made.of("density", len(made) - 1)))
        made_for = kinds.make("CAV")
        made_for.statistics = made

    loader = base.Loader(
        "statistics", {path: written(tensors)}, load, ("statistics", "maximum", "density", "typical", "p995")
    )
    yield loader.case("as it should be", {})
    for name, tensor in tensors.items():
        for what, spoilt, refused in mutations.tensors(tensor, drawn):
            must = refused and what != "NaN"
            yield loader.case(f"{name} {what}", {path: written(tensors | {name: spoilt})}, fields=(name,), refused=must)
    yield from base.spoilt_json(
        loader,
        path,
        header,
        drawn,
        8,
        ("corpus", "tokens"),
        lambda changed: safetensors_bytes(tensors, {"statistics": json.dumps(changed)}),
    )
    for what, data in mutations.safetensors_headers(loader.files[path]):
        yield loader.case(what, {path: data})
