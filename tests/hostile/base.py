"""What the hostile files of every loader share: valid files, how they are spoilt, and how what they give is used."""

from __future__ import annotations

import functools
import io
import json
import math
import pickle
import random
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from hostile import mutations
from hostile.oracle import Case
from support import kinds, models, sae, toks

import steerwidgets as sw

D, SIZE = models.D_MODEL, kinds.SIZE
IDS = (5, 6, 7, 8)
SECRET = "s3cret"


@dataclass(frozen=True)
class Loader:
    """What reads files of a kind.

    Attributes:
        name: what the tables call it.
        files: a valid set, by path below a folder.
        load: loads and uses what is in a folder.
        words: fields that a message may name, besides files and whatever was spoilt.
    """

    name: str
    files: Mapping[str, bytes]
    load: Callable[[Path], Any]
    words: tuple[str, ...] = ()

    def case(
        self, what: str, changes: Mapping[str, bytes | None], *, fields: tuple[str, ...] = (), refused: bool = False
    ) -> Case:
        """The valid set with some files changed, or taken away."""
        named = {part for path in {**self.files, **changes} for part in (path, Path(path).name, Path(path).stem)}

        def write(folder: Path) -> Callable[[], Any]:
            for path, data in {**self.files, **changes}.items():
                if data is not None:
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                    (folder / path).write_bytes(data)
            return lambda: self.load(folder)

        return Case(self.name, what, write, (*sorted(named), *fields, *self.words), refused)


@functools.cache
def lm() -> sw.LanguageModel:
    """The tiny Llama."""
    return sw.LanguageModel(models.make("llama"), toks.byte_level())


@functools.cache
def dictionary(kind: str) -> Any:
    """A valid dictionary of each kind, to save and to write recipes with."""
    settings: dict[str, Any] = {} if kind == "Neuron" else {"labels": _names(sae.SIZE if kind == "SAE" else SIZE)}
    if kind in {"CAV", "ReFT"}:
        settings["suggested"] = [("add", {"alpha": 4.0}), None, ("add", {"alpha": 2.0}), None, None]
        settings["max_activations"] = [3.0, None, 1.0, 2.0, 5.0]
    return kinds.make(kind, lm(), **settings)


def _names(size: int) -> list[str]:
    return [f"label {i}" for i in range(size)]


def saved(kind: str) -> dict[str, bytes]:
    """The files of a valid dictionary, by path."""
    with tempfile.TemporaryDirectory() as folder:
        kinds.save(dictionary(kind), Path(folder))
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }


def pt(value: Any) -> bytes:
    """What `torch.save` writes."""
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def npz(arrays: Mapping[str, Any], **how: Any) -> bytes:
    """What `numpy.savez` writes."""
    file = io.BytesIO()
    np.savez(file, **arrays, **how)
    return file.getvalue()


def control_vector(
    directions: Mapping[str, Any] | None = None, architecture: str = "controlvector", *, hint: Any = "llama"
) -> bytes:
    """What repeng writes."""
    directions = (
        {"direction.1": np.ones(D, "f4"), "direction.2": np.arange(D, dtype="f4") + 1}
        if directions is None
        else directions
    )
    with tempfile.TemporaryDirectory() as folder:
        writer = gguf.GGUFWriter(Path(folder) / "v.gguf", architecture)
        if hint is not None:
            (writer.add_string if isinstance(hint, str) else writer.add_uint32)("controlvector.model_hint", hint)
        writer.add_uint32("controlvector.layer_count", len(directions))
        for name, direction in directions.items():
            writer.add_tensor(name, direction)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return (Path(folder) / "v.gguf").read_bytes()


def use(made: Any, *, widgets: bool = False) -> None:
    """What a person does with a dictionary first: look at it, read with it, steer, show it."""
    assert made.size == len(list(made)), "the size is not that of the features"
    repr(made)
    values = made.encode(torch.ones(2, made.d_model))
    assert bool(values.isfinite().all()), "it reads values that are not finite"
    for index in (0, made.size - 1):
        feature = made[index]
        repr((feature, feature.key, feature.label, feature.suggested if hasattr(feature, "suggested") else None))
        assert bool(feature.vector.isfinite().all()), "a direction is not finite"
        made.maximum(index)
        for op in feature.ops:
            getattr(feature, op)
    assert SECRET not in " ".join(map(str, made.labels or ())), "the labels are another file's"
    list(made.search("label"))
    if widgets:
        json.dumps(sw.SteeringPanel(lm(), made).get_state(), default=str)
        json.dumps(sw.FeatureCard(lm(), made, 0).get_state(), default=str)


def used(load: Callable[[Path], Any], *, widgets: bool = False) -> Callable[[Path], None]:
    return lambda folder: use(load(folder), widgets=widgets)


def spoilt_json(
    loader: Loader, path: str, value: Any, drawn: random.Random, each: int, checked: tuple[str, ...], dumps: Any = None
) -> Iterator[Case]:
    """Junk at every place of a JSON file."""
    dumps = dumps or (lambda value: json.dumps(value).encode())
    for what, where, spoilt, is_other_kind in mutations.json_values(value, drawn, each):
        names = tuple(str(key) for key in where if isinstance(key, str))
        old, new = mutations.at(value, where), None
        left_out = what.endswith("is left out")
        if not left_out:
            new = mutations.at(spoilt, where)
        is_checked = bool(names) and names[-1] in checked and not left_out
        odd = isinstance(new, float) and not math.isfinite(new) and mutations.kind(old) == "number"
        # Labels come as a list or as a table: one of either form is no other kind.
        is_checked = is_checked and not (names[-1] == "labels" and new == {"a": 1})
        refused = is_checked and ((is_other_kind and new is not None and old is not None) or odd)
        yield loader.case(f"{Path(path).name}: {what}", {path: dumps(spoilt)}, fields=names[-1:], refused=refused)


def spoilt_tensors(
    loader: Loader,
    path: str,
    tensors: dict[str, torch.Tensor],
    dumps: Callable[[dict[str, Any]], bytes],
    drawn: random.Random,
    of_any_shape: tuple[str, ...] = (),
) -> Iterator[Case]:
    for name, tensor in tensors.items():
        for what, spoilt, refused in mutations.tensors(tensor, drawn):
            must = refused and not (name in of_any_shape and what in {"one number", "flat"})
            yield loader.case(f"{name} {what}", {path: dumps(tensors | {name: spoilt})}, fields=(name,), refused=must)
        left = {other: each for other, each in tensors.items() if other != name}
        yield loader.case(
            f"{name} is missing", {path: dumps(left)}, fields=(name,), refused=not name.startswith("_rot")
        )
    yield loader.case("no tensors", {path: dumps({})}, refused=True)
    extra = tensors | {"surprise": torch.ones(3)}
    yield loader.case("a tensor too many", {path: dumps(extra)}, fields=("surprise",))


def damaged(
    loader: Loader, path: str, drawn: random.Random, *, flips: int = 0, reach: int = 400, lines: bool = False
) -> Iterator[Case]:
    """A file cut or overwritten; one made of lines may be whole where it was cut, and one that is not read is not."""
    whole = loader.files[path]
    for what, data in mutations.file_bytes(whole, drawn):
        may_be_whole = lines and ("cut" in what or what in {"empty", "one byte", "nine bytes"})
        refused = not may_be_whole and not path.endswith("pairs.safetensors")
        yield loader.case(f"{Path(path).name} {what}", {path: data}, refused=refused)
    for what, data in mutations.flipped(whole, drawn, flips, reach):
        yield loader.case(f"{Path(path).name} {what}", {path: data})
    yield loader.case(f"{Path(path).name} is missing", {path: None})


def pickles(loader: Loader, path: str, inside: Callable[[Any], Any]) -> Iterator[Case]:
    """Pickles with code, whole and inside of what else is right."""
    yield loader.case("a bare pickle with code", {path: pickle.dumps(mutations.Code())}, refused=True)
    yield loader.case("code by torch.save", {path: pt(mutations.Code())}, refused=True)
    yield loader.case("code inside", {path: pt(inside(mutations.Code()))}, refused=True)
    yield loader.case("a class inside", {path: pt(inside(random.Random(0)))}, refused=True)
    yield loader.case("a module", {path: pt(torch.nn.Linear(2, 2))}, refused=True)
    old = io.BytesIO()
    torch.save(inside(torch.ones(3)), old, _use_new_zipfile_serialization=False)
    yield loader.case("the old format", {path: old.getvalue()})
    yield loader.case("the old format cut", {path: old.getvalue()[: len(old.getvalue()) // 2]}, refused=True)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../../evil/data.pkl", pickle.dumps({}))
    yield loader.case("a zip whose names lead out of it", {path: archive.getvalue()}, refused=True)
    for what, value in (
        ("a number", 5),
        ("None", None),
        ("a list", [1, 2]),
        ("a text", "x"),
        ("an empty table", {}),
        ("a tensor", torch.ones(3)),
    ):
        yield loader.case(f"just {what}", {path: pt(value)}, refused=True)
