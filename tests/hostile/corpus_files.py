"""Hostile folders of a corpus index."""

from __future__ import annotations

import functools
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from hostile import base, mutations
from hostile.oracle import Case

import steerwidgets as sw


@functools.cache
def _index() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        texts = [
            "The user asks the assistant about the ocean.",
            "Name a city by the sea, please.",
            "Would a wormhole let you travel?",
        ] * 3
        sw.corpus.build(
            base.lm(), [base.dictionary("SAE")], texts, Path(folder) / "index", on_progress=lambda _progress: None
        )
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }


def index(drawn: random.Random) -> Iterator[Case]:
    files = _index()

    def load(folder: Path) -> None:
        index = sw.corpus.open(folder / "index")
        made = base.dictionary("SAE")
        try:
            found = index.of(made)
        except KeyError as error:  # the index says that it is of other dictionaries, and that is told in a sentence
            raise ValueError(error.args[0]) from None
        repr((index, index.dictionaries, index.texts, index.tokens, found, found.corpus, found.lowest, len(found)))
        repr((found.statistics, found[0], found[7], found[len(found) - 1]))

    loader = base.Loader("corpus index", files, load, ("corpus index", "index.json"))
    yield loader.case("as it should be", {})
    manifest = json.loads(files["index/index.json"])
    checked = (
        "name",
        "settings",
        "dictionaries",
        "read",
        "parts",
        "finished",
        "complete",
        "version",
        "format",
        *manifest["settings"],
    )
    checked += ("fingerprint", "kind", "site", "size", "above", "texts", "empty", "tokens")
    yield from base.spoilt_json(loader, "index/index.json", manifest, drawn, 4, checked)
    for what, data in mutations.json_texts(files["index/index.json"].decode()):
        yield loader.case(f"index.json {what}", {"index/index.json": data}, refused=True)
    for change in (
        {"parts": ["../../elsewhere"]},
        {"parts": ["/etc"]},
        {"parts": [".."]},
        {"parts": []},
        {"parts": ["gone"]},
        {"parts": ["a\x00b"]},
        {"version": 99},
        {"dictionaries": []},
        {"surprise": 1},
    ):
        [name] = change
        yield loader.case(
            f"index.json: {json.dumps(change)}",
            {"index/index.json": json.dumps(manifest | change).encode()},
            fields=(name,),
            refused=True,
        )
    for path in files:
        if path.endswith((".safetensors", ".parquet")):
            yield from base.damaged(loader, path, drawn, flips=4, reach=len(files[path]))
        if path.endswith("counts.safetensors"):
            yield from _spoilt_counts(loader, path)
            for what, data in list(mutations.safetensors_headers(files[path]))[::2]:
                yield loader.case(what, {path: data})


def _spoilt_counts(loader: base.Loader, path: str) -> Iterator[Case]:
    from safetensors.numpy import load, save

    arrays = load(loader.files[path])
    for name, array in sorted(arrays.items()):  # safetensors gives them in any order
        for what, spoilt in (
            ("missing", None),
            ("of no rows", array[:0]),
            ("a row short", array[:-1]),
            ("with a dimension more", array[None]),
            ("of -1", np.full_like(array, -1)),
            ("of texts", np.frombuffer(b"hello", dtype="u1")),
            ("huge", np.full_like(array, 10**9)),
        ):
            changed = {key: each for key, each in arrays.items() if key != name} | (
                {} if spoilt is None else {name: np.ascontiguousarray(spoilt)}
            )
            yield loader.case(f"{name} {what}", {path: save(changed)}, fields=(name,))
