"""GGUF control vectors, the file format of repeng and llama.cpp: one direction for each of several blocks.

`direction.{k}` is added to the output of block k, counted from 0: repeng reads it off `hidden_states[k + 1]` and puts
it on `layers[k]`; llama.cpp adds it to `l_out` of block k, at every position, and refuses a file with `direction.0`.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.files.atomic import atomically
from steerwidgets.files.containers import reading
from steerwidgets.files.shown import shown
from steerwidgets.steering.exports.constant import constant_changes
from steerwidgets.steering.recipe import Recipe, Steer

if TYPE_CHECKING:
    from torch import Tensor

_ARCHITECTURE: Final = "controlvector"
_PREFIX: Final = "direction."


@dataclass(frozen=True)
class ControlVector:
    """What a file holds.

    Attributes:
        directions: for each block, counted from 0, float32 [d_model].
        model_hint: the type of the model that it was made for, as `llama`; empty where the file does not say.
    """

    directions: Mapping[int, Tensor]
    model_hint: str


def read_control_vector(path: str | Path) -> ControlVector:
    """Read a GGUF control vector.

    Raises:
        ValueError: the file is damaged, or another sort of GGUF file.
    """
    from gguf import GGUFReader

    path = Path(path)
    with reading(path, "GGUF"), _quiet():
        reader = GGUFReader(path)
    architecture = _text(reader, "general.architecture")
    if architecture != _ARCHITECTURE:
        raise ValueError(
            f"{path.name} is a GGUF file of the architecture {architecture or 'unknown'!r}, not a control vector."
        )
    found = [_direction(path, tensor) for tensor in reader.tensors if tensor.name.startswith(_PREFIX)]
    directions = dict(sorted(found, key=lambda each: each[0]))
    if len(directions) < len(found):
        raise ValueError(f"{path.name} holds two directions for one block, so which one counts is not clear; keep one.")
    if not directions:
        raise ValueError(f"{path.name} is a control vector without any direction.")
    return ControlVector(directions, _text(reader, f"{_ARCHITECTURE}.model_hint"))


def write_control_vector(path: str | Path, directions: Mapping[int, Tensor], model_hint: str = "") -> None:
    """Write a GGUF control vector, in float32 as llama.cpp demands.

    Args:
        path: the file.
        directions: for each block, counted from 0, [d_model].
        model_hint: the model's type as its config says, `llama` or `gemma2`.
    """
    from gguf import GGUFWriter

    if 0 in directions:
        warnings.warn(
            "llama.cpp refuses a control vector that acts on block 0 (repeng reads it); leave that block out for it.",
            stacklevel=3,
        )
    with atomically(path) as fresh:
        _write(GGUFWriter(fresh, _ARCHITECTURE), directions, model_hint)


def _write(writer: Any, directions: Mapping[int, Tensor], model_hint: str) -> None:
    writer.add_string(f"{_ARCHITECTURE}.model_hint", model_hint)
    writer.add_uint32(f"{_ARCHITECTURE}.layer_count", len(directions))
    for block, direction in sorted(directions.items()):
        writer.add_tensor(f"{_PREFIX}{block}", direction.detach().float().cpu().contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def export_control_vector(
    path: str | Path, recipe: Recipe | Steer | Iterable[Steer], *, model_hint: str = ""
) -> ControlVector:
    """Write a recipe of `add` steers as a GGUF control vector: `α·v` of each, summed where they share a block.

    At strength 1 repeng and llama.cpp then do what the recipe does.

    Args:
        path: the file.
        recipe: adds of directions of any kind, all at `resid_post` and at all positions; random ones too.
        model_hint: the model's type as its config says.

    Returns:
        What was written.

    Raises:
        ValueError: a steer is something else, which the format has no place for.
    """
    changes = constant_changes(Recipe.of(recipe), "A GGUF control vector")
    if elsewhere := [site for site in changes if site.stream != "resid_post"]:
        raise ValueError(
            f"A GGUF control vector adds to resid_post, and the recipe adds at {elsewhere[0]}; leave that out, or "
            "steer resid_post."
        )
    directions = {site.layer: vector for site, vector in changes.items()}
    write_control_vector(path, directions, model_hint)
    return ControlVector(directions, model_hint)


def _text(reader: Any, name: str) -> str:
    found = reader.get_field(name)
    if found is None or not found.types or found.types[0].name != "STRING":
        return ""
    return bytes(found.parts[-1]).decode("utf-8", errors="replace")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """NumPy warns of what overflows in a damaged header; that it is damaged is told anyway."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _direction(path: Path, tensor: Any) -> tuple[int, Tensor]:
    import numpy as np
    import torch
    from gguf.quants import dequantize

    block = tensor.name.removeprefix(_PREFIX)
    if not re.fullmatch(r"[0-9]{1,5}", block) or len(tensor.shape) != 1 or not tensor.shape[0]:
        raise ValueError(
            f"{path.name} holds {shown(tensor.name)} of shape {tensor.shape.tolist()}; a control vector has one vector "
            "for each block, as direction.12."
        )
    name = f"{tensor.name} of {path.name}"
    kind = tensor.tensor_type.name
    if kind.startswith("I") and kind[1:].isdecimal():
        raise ValueError(f"{name} holds whole numbers ({kind}), not floating-point numbers; save it as float32.")
    with reading(path, "GGUF"):
        numbers = np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
    return int(block), torch.from_numpy(numbers)
