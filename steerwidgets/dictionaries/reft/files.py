"""The files of ReFT-r1 dictionaries: `weight.pt` and `metadata.jsonl`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict

from steerwidgets.files.containers import load_plain

if TYPE_CHECKING:
    from torch import Tensor


ABOUT: Final = "about.json"
"""Our own file beside the format's: block, stream and provenance."""


class Row(TypedDict):
    """What one line of metadata.jsonl says of a concept."""

    label: str
    link: str | None
    genres: tuple[str, ...]
    max_activation: float | None
    suggested: tuple[str, dict[str, float]] | None


def layer_of(folder: str, layer: int | None) -> int:
    """The block, as given or as the folder's name says.

    Raises:
        ValueError: neither says.
    """
    named = re.fullmatch(r"l(\d+)", folder.rstrip("/").rpartition("/")[2])
    if layer is None and named is None:
        raise ValueError(f"{folder!r} does not say which block its concepts belong to, as 'l20' would; pass layer=.")
    return layer if layer is not None else int(named[1]) if named else 0


def read_weight(path: Path) -> Tensor:
    """The matrix of a `weight.pt`, [concept, d_model]; no code in the file is run.

    Raises:
        ValueError: the file is damaged or holds something else.
    """
    tensor = load_plain(path, "a tensor [concept, d_model]")
    if not hasattr(tensor, "shape") or len(tensor.shape) != 2:
        held = f"a tensor of shape {list(tensor.shape)}" if hasattr(tensor, "shape") else type(tensor).__name__
        raise ValueError(f"A ReFT weight is one tensor [concept, d_model], but {path.name} holds {held}.")
    weight: Tensor = tensor
    return weight


def read_metadata(path: Path, concepts: int) -> list[Row]:
    """What metadata.jsonl says, by row of the weight; a concept it does not name stays without a label.

    Raises:
        ValueError: a line is not a concept, or is one that the weight does not have.
    """
    rows = [Row(label="", link=None, genres=(), max_activation=None, suggested=None) for _ in range(concepts)]
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8 text (byte {error.start}); download it again.") from None
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
            index, concept = int(value["concept_id"]), str(value["concept"])
            genres = tuple(value.get("concept_genres_map", {}).get(concept, ()))
            said = value.get("suggested")
            suggested = said and (str(said[0]), {str(name): float(number) for name, number in said[1].items()})
        except (json.JSONDecodeError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"Line {number} of {path.name} is not a concept with concept_id and concept "
                f"({type(error).__name__}); the file may be cut short: download it again."
            ) from None
        if not 0 <= index < concepts:
            raise ValueError(
                f"Line {number} of {path.name} names concept {index}, but the weight has rows 0 to {concepts - 1}; "
                "the two files are not of one dictionary."
            )
        rows[index] = Row(
            label=concept,
            link=value.get("ref"),
            genres=genres,
            max_activation=value.get("max_activation"),
            suggested=suggested or None,
        )
    return rows


def read_about(path: Path) -> dict[str, Any]:
    """What `about.json` says; nothing where there is none.

    Raises:
        ValueError: it is not an object of JSON, or says something that is no block, stream or provenance.
    """
    if not path.is_file():
        return {}
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        about = None
    kinds = {"layer": int, "stream": str, "provenance": dict}
    if not isinstance(about, dict) or any(
        not isinstance(about.get(name, kind()), kind) for name, kind in kinds.items()
    ):
        raise ValueError(
            f"{path.name} should say the layer (a number), the stream and the provenance of a ReFT dictionary; make it "
            "again with ReFT.save, or delete it and pass layer=."
        )
    return about
