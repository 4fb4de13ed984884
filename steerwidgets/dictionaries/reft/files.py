"""The files of ReFT-r1 dictionaries: `weight.pt` and `metadata.jsonl`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict

from steerwidgets.dictionaries.given_strengths import Suggestion, suggestion
from steerwidgets.files.containers import load_plain, reading
from steerwidgets.files.fields import Fields
from steerwidgets.files.json_text import as_text, parse_json, read_json
from steerwidgets.files.shown import shown
from steerwidgets.files.tensors import dense, shaped
from steerwidgets.labels.files import checked_index
from steerwidgets.steering.ops import REFT_OPS
from steerwidgets.transformer.sites import STREAMS

if TYPE_CHECKING:
    from torch import Tensor


ABOUT: Final = "about.json"
"""Our own file beside the format's: block, stream and provenance."""

_TODO: Final = "the file may be cut short: download it again"


class Row(TypedDict):
    """What one line of metadata.jsonl says of a concept."""

    label: str
    link: str | None
    genres: tuple[str, ...]
    max_activation: float | None
    suggested: Suggestion | None


def layer_of(folder: str, layer: int | None) -> int:
    """The block, as given or as the folder's name says.

    Raises:
        ValueError: neither says.
    """
    named = re.fullmatch(r"l([0-9]{1,6})", folder.rstrip("/").rpartition("/")[2])
    if layer is None and named is None:
        raise ValueError(f"{folder!r} does not say which block its concepts belong to, as 'l20' would; pass layer=.")
    return layer if layer is not None else int(named[1]) if named else 0


def read_weight(path: Path) -> Tensor:
    """The matrix of a `weight.pt`, [concept, d_model]; no code in the file is run.

    Raises:
        ValueError: the file is damaged or holds something else.
    """
    value = load_plain(path, "a tensor [concept, d_model]")
    if not hasattr(value, "shape"):
        raise ValueError(f"A ReFT weight is one tensor [concept, d_model], but {path.name} holds {shown(value)}.")
    name = f"The ReFT weight in {path.name}"
    return shaped(dense(value, name), name, ("concept", "d_model"))


def read_metadata(path: Path, concepts: int) -> list[Row]:
    """What metadata.jsonl says, by row of the weight; a concept it does not name stays without a label.

    Raises:
        ValueError: a line is not a concept, or is one that the weight does not have.
    """
    rows = [Row(label="", link=None, genres=(), max_activation=None, suggested=None) for _ in range(concepts)]
    with reading(path, "JSON lines"):
        data = path.read_bytes()
    for number, line in enumerate(as_text(data, path.name).splitlines(), start=1):
        if line.strip():
            index, row = _row(line, f"Line {number} of {path.name}", concepts)
            rows[index] = row
    return rows


def _row(line: str, where: str, concepts: int) -> tuple[int, Row]:
    value = parse_json(line, where, todo="the file may be cut short: download it again")
    said = Fields(value, f"{where} is not a concept with concept_id and concept: in it", todo=_TODO)
    # Files written by hand have the number as text.
    index = checked_index(said.value("concept_id"), f"{where}, concept_id")
    if index >= concepts:
        raise ValueError(
            f"{where} names concept {index}, but the weight has rows 0 to {concepts - 1}; the two files are not of one "
            "dictionary."
        )
    concept = said.text("concept")
    genres = said.inner("concept_genres_map").items(concept, [], of="genres")
    if not all(isinstance(genre, str) for genre in genres):
        raise said.wrong("concept_genres_map", "a list of texts for each concept")
    known = said.value("suggested")
    return index, Row(
        label=concept,
        link=said.text("ref", None),
        genres=tuple(genres),
        max_activation=said.number("max_activation", None),
        suggested=None if known is None else suggestion(known, REFT_OPS, f"{where}: suggested"),
    )


def read_about(path: Path) -> dict[str, Any]:
    """What `about.json` says; nothing where there is none.

    Raises:
        ValueError: it is not an object of JSON, or says something that is no block, stream or provenance.
    """
    if not path.is_file():
        return {}
    todo = "make it again with ReFT.save, or delete it and pass layer="
    said = Fields(read_json(path, todo=todo), f"In {path.name}", todo=todo)
    return {
        "layer": said.whole("layer", None, low=0),
        "stream": said.text("stream", "resid_post", choices=STREAMS),
        "provenance": said.texts("provenance"),
    }
