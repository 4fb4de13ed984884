"""The files of concept vectors: our own safetensors, `.pt` files of others, GGUF control vectors."""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dictionaries.names import labels_in
from steerwidgets.dictionaries.reports import CAVReport
from steerwidgets.dictionaries.statistics import FeatureStatistics
from steerwidgets.files.atomic import atomically
from steerwidgets.files.containers import load_plain, read_safetensors, reading
from steerwidgets.files.fields import Fields, is_text
from steerwidgets.files.json_text import parse_json
from steerwidgets.files.shown import named, shown
from steerwidgets.steering.exports.gguf import read_control_vector
from steerwidgets.transformer.plain_text import as_json
from steerwidgets.transformer.sites import STREAMS

if TYPE_CHECKING:
    from torch import Tensor

_TENSOR: Final = "vectors"
_TEXTS: Final = "texts"
_MOST_BYTES: Final = 2**24
"""Of all texts unpacked: a few bytes could unpack to any number of them."""

Texts = tuple[tuple[str, ...], tuple[str, ...]]
"""What a concept was made of: texts with it, and texts without it."""

_HEADER: Final = {"labels", "layer", "stream", "suggested", "max_activations", "max_activation_of", "provenance"}


def write(
    path: Path,
    vectors: Tensor,
    header: Mapping[str, Any],
    statistics: FeatureStatistics | None,
    report: CAVReport | None = None,
    texts: Texts | None = None,
) -> None:
    """Write a file that `read` reads: the vectors in the dtype that they have, and all else as JSON in its header."""
    from safetensors.torch import save_file

    tensors, told = {_TENSOR: vectors.contiguous()}, {"cav": json.dumps(header, ensure_ascii=False)}
    if statistics is not None:
        of_features, told["statistics"] = statistics.entries()
        tensors |= of_features
    if report is not None:
        told["report"] = report.to_json()
    if texts is not None:
        tensors[_TEXTS] = _packed(texts)
    with atomically(path) as fresh:
        save_file(tensors, fresh, told)


def _packed(texts: Texts) -> Tensor:
    """Texts as uint8 [byte]: JSON, packed by zlib to about a third."""
    import torch

    value = as_json({"positives": texts[0], "negatives": texts[1]})
    return torch.frombuffer(bytearray(zlib.compress(value.encode(), 9)), dtype=torch.uint8)


def _unpacked(packed: Tensor, name: str) -> Texts:
    import torch

    again = "make it again with CAV.save"
    whole = b""
    if packed.dtype == torch.uint8 and packed.ndim == 1:
        unpacking = zlib.decompressobj()
        with contextlib.suppress(zlib.error):
            whole = unpacking.decompress(packed.numpy().tobytes(), _MOST_BYTES)
            whole = whole if unpacking.eof else b""
    if not whole:
        raise ValueError(f"The texts in {name} are damaged, or unpack to more than {_MOST_BYTES >> 20} MB; {again}.")
    said = Fields(
        parse_json(whole, f"What unpacks as texts of {name}", todo=again), f"In the texts of {name}", todo=again
    )
    said.only("positives", "negatives")
    positives, negatives = (said.items(side, of="texts", each=is_text) for side in ("positives", "negatives"))
    return tuple(positives), tuple(negatives)


def read(path: Path, layer: int | None) -> tuple[Tensor, dict[str, Any]]:
    """The vectors of a file, and what it says of them; of a GGUF file those of one block.

    Raises:
        ValueError: the file is none of the three forms, or is damaged, or does not hold the block.
    """
    with reading(path, "CAV"), path.open("rb") as file:
        start = file.read(9)
    if start.startswith(b"GGUF") or path.suffix == ".gguf":
        return _read_gguf(path, layer)
    is_safetensors = start[8:] == b"{" or path.suffix == ".safetensors"
    return _read_safetensors(path) if is_safetensors else _read_pt(path)


def _read_safetensors(path: Path) -> tuple[Tensor, dict[str, Any]]:
    tensors, metadata = read_safetensors(path, "concept vectors")
    if "cav" not in metadata or _TENSOR not in tensors:
        raise ValueError(f"{path.name} is a safetensors file, but not one that CAV.save wrote.")
    header = _header(path, metadata["cav"])
    if "statistics" in metadata:
        header["statistics"] = FeatureStatistics.from_entries(tensors, metadata["statistics"])
    if "report" in metadata:
        header["report"] = CAVReport.from_json(metadata["report"])
    if _TEXTS in tensors:
        header["texts"] = _unpacked(tensors[_TEXTS], path.name)
    return tensors[_TENSOR], header


def _header(path: Path, text: str) -> dict[str, Any]:
    what = f"the header of {path.name}"
    said = Fields(parse_json(text, f"The header of {path.name}"), f"In {what}", todo="make it again with CAV.save")
    if "labels" not in said.table:
        raise ValueError(f"The header of {path.name} names no labels; make the file again with CAV.save.")
    said.only(*_HEADER)
    header = {name: said.value(name) for name in ("suggested", "max_activations", "labels") if name in said}
    header["labels"] = labels_in(said, "labels")
    header |= {"max_activation_of": said.text("max_activation_of", None), "provenance": said.texts("provenance")}
    header |= {"layer": said.whole("layer", None, low=0), "stream": said.text("stream", "resid_post", choices=STREAMS)}
    for name in ("suggested", "max_activations"):
        if name in said:
            header[name] = said.items(name, of="one for each concept")
    return header


def _read_gguf(path: Path, layer: int | None) -> tuple[Tensor, dict[str, Any]]:
    found = read_control_vector(path)
    if layer is None and len(found.directions) == 1:
        layer = next(iter(found.directions))
    if layer is None or layer not in found.directions:
        held = ", ".join(map(str, found.directions))
        asked = "pass one of them as layer=" if layer is None else f"layer={layer} is not among them"
        raise ValueError(f"{path.name} holds directions for the blocks {held}; {asked}.")
    provenance = {"format": "GGUF control vector"}
    if found.model_hint:
        provenance["model type"] = found.model_hint
    return found.directions[layer][None], {"labels": [path.stem], "layer": layer, "provenance": provenance}


def _read_pt(path: Path) -> tuple[Tensor, dict[str, Any]]:
    value = load_plain(path, '{"cavs": tensor, "labels": list of str}')
    if not isinstance(value, dict) or not {"cavs", "labels"} <= set(value):
        found = named(value) if isinstance(value, dict) and value else shown(value)
        raise ValueError(f'A CAV file holds {{"cavs", "labels"}}, but {path.name} holds {found}.')
    labels = value["labels"]
    if labels is not None and not isinstance(labels, list | tuple):
        raise ValueError(f"The labels in {path.name} are one text for each vector, but {shown(labels)} was given.")
    # Others write numbers or tensors of text for labels; a number is a name as well as any.
    of_rows = [str(each) if isinstance(each, int) and not isinstance(each, bool) else each for each in labels or ()]
    if isinstance(value["cavs"], str):
        raise ValueError(
            f'"cavs" in {path.name} should be a tensor [cav, d_model], but it is {shown(value["cavs"])}; write the '
            "file again with torch.save."
        )
    return value["cavs"], {"labels": of_rows or None}
