"""Hostile folders of ReFT-r1."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator

from hostile import base, mutations
from hostile.oracle import Case

import steerwidgets as sw


def folder(drawn: random.Random) -> Iterator[Case]:
    files = base.saved("ReFT")
    weight, metadata = "l1/weight.pt", "l1/metadata.jsonl"
    loader = base.Loader(
        "ReFT folder",
        files,
        base.used(lambda folder: sw.ReFT.load(folder / "l1"), widgets=True),
        ("concept", "row", "weight"),
    )
    yield loader.case("as it should be", {})
    good = base.dictionary("ReFT").weight
    for what, spoilt, refused in mutations.tensors(good, drawn):
        fits = what in {"without a row", "with a row more", "a column short"}
        yield loader.case(f"weight {what}", {weight: base.pt(spoilt)}, refused=refused and not fits)
    zero = good.clone()
    zero[2] = 0
    yield loader.case("a row is 0", {weight: base.pt(zero)})
    yield from base.damaged(loader, weight, drawn, flips=12, reach=900)
    yield from base.pickles(loader, weight, lambda odd: {"weight": odd})
    rows = [json.loads(line) for line in files[metadata].decode().splitlines()]
    checked = ("concept_id", "concept", "max_activation", "suggested", "alpha", "ref", "concept_genres_map", "label 0")
    lines = lambda row: "".join(json.dumps(each) + "\n" for each in [row, *rows[1:]]).encode()
    yield from base.spoilt_json(loader, metadata, rows[0], drawn, 7, checked, lines)
    for what, data in mutations.json_texts(files[metadata].decode()):
        yield loader.case(f"metadata.jsonl {what}", {metadata: data}, refused=what not in {"empty", "twice"})
    for change in (
        {"concept_id": 99},
        {"concept_id": -1},
        {"concept_id": "0"},
        {"concept_id": 0.5},
        {"concept_id": True},
        {"suggested": ["evil", {"a": 1}]},
        {"suggested": ["add", {"alpha": math.nan}]},
        {"suggested": ["add", {"alpha": "4"}]},
        {"suggested": "xy"},
        {"max_activation": "3"},
        {"ref": 5},
        {"ref": "javascript:alert(1)"},
    ):
        yield loader.case(
            f"metadata.jsonl: {json.dumps(change)}",
            {metadata: lines(rows[0] | change)},
            fields=tuple(change),
            refused=change not in ({"concept_id": "0"}, {"ref": "javascript:alert(1)"}),
        )
    yield loader.case("metadata.jsonl is a folder", {metadata: None, metadata + "/x": b""})
    yield loader.case(
        "two weights", {weight: None, "l1/a_weight.pt": files[weight], "l1/b_weight.pt": files[weight]}, refused=True
    )
