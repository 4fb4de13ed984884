"""The files of concept vectors: our own safetensors, `.pt` files of others, GGUF control vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dictionaries.cav.gguf import read_control_vector
from steerwidgets.dictionaries.reports import CAVReport
from steerwidgets.dictionaries.statistics import FeatureStatistics
from steerwidgets.dictionaries.tensor_files import load_plain

if TYPE_CHECKING:
    from torch import Tensor

_TENSOR: Final = "vectors"
_HEADER: Final = {"labels", "layer", "stream", "suggested", "max_activations", "max_activation_of", "provenance"}


def write(
    path: Path,
    vectors: Tensor,
    header: Mapping[str, Any],
    statistics: FeatureStatistics | None,
    report: CAVReport | None = None,
) -> None:
    """Write a file that `read` reads: the vectors in the dtype that they have, and all else as JSON in its header."""
    from safetensors.torch import save_file

    tensors, texts = {_TENSOR: vectors.contiguous()}, {"cav": json.dumps(header, ensure_ascii=False)}
    if statistics is not None:
        of_features, texts["statistics"] = statistics.entries()
        tensors |= of_features
    if report is not None:
        texts["report"] = report.to_json()
    save_file(tensors, path, texts)


def read(path: Path, layer: int | None) -> tuple[Tensor, dict[str, Any]]:
    """The vectors of a file, and what it says of them; of a GGUF file those of one block.

    Raises:
        ValueError: the file is none of the three forms, or is damaged, or does not hold the block.
    """
    with path.open("rb") as file:
        start = file.read(9)
    if start.startswith(b"GGUF") or path.suffix == ".gguf":
        return _read_gguf(path, layer)
    is_safetensors = start[8:] == b"{" or path.suffix == ".safetensors"
    return _read_safetensors(path) if is_safetensors else _read_pt(path)


def _read_safetensors(path: Path) -> tuple[Tensor, dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if "cav" not in metadata or _TENSOR not in file.keys():  # noqa: SIM118 - not a mapping
                raise ValueError(f"{path.name} is a safetensors file, but not one that CAV.save wrote.")
            header = _header(path, metadata["cav"])
            if "statistics" in metadata:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
                header["statistics"] = FeatureStatistics.from_entries(tensors, metadata["statistics"])
            if "report" in metadata:
                header["report"] = CAVReport.from_json(metadata["report"])
            return file.get_tensor(_TENSOR), header
    except SafetensorError as error:
        raise ValueError(f"{path.name} is not a whole safetensors file ({error}); download or make it again.") from None


def _header(path: Path, text: str) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"The header of {path.name} is not JSON ({error}); make the file again.") from None
    if not isinstance(header, dict) or "labels" not in header:
        raise ValueError(f"The header of {path.name} names no labels; make the file again with CAV.save.")
    unknown = sorted(set(header) - _HEADER)
    if unknown:
        raise ValueError(f"The header of {path.name} holds {', '.join(unknown)}, which this version does not know.")
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
        found = ", ".join(map(str, value)) if isinstance(value, dict) else type(value).__name__
        raise ValueError(f'A CAV file holds {{"cavs", "labels"}}, but {path.name} holds {found}.')
    return value["cavs"], {"labels": [str(label) for label in value["labels"]]}
