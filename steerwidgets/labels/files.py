"""The files that feature labels come in: JSON, JSON lines, CSV, and Neuronpedia's exports."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from steerwidgets.files.json_text import MOST_BYTES, parse_json
from steerwidgets.files.shown import named, shown

Author = Literal["person", "language model", "unknown"]
"""Who wrote a label."""

_INDEX: Final = ("index", "feature", "feature_index", "feature_id", "concept_id", "neuron", "id")
_TEXT: Final = ("label", "description", "concept", "explanation", "text", "name")
_NESTED: Final = "explanations"
_FOLDER_PARTS: Final = (".jsonl", ".jsonl.gz")
_MOST_FEATURES: Final = 2**31
"""No dictionary has so many features, and no index of labels holds a larger number."""


@dataclass(frozen=True, slots=True)
class Label:
    """One label of one feature.

    Attributes:
        index: the feature.
        text: what it says.
        source: where it comes from: a file, a site, a method.
        author: who wrote it.
    """

    index: int
    text: str
    source: str = ""
    author: Author = "unknown"


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with all of its pairs, also those of one name."""


def checked_author(author: str) -> Author:
    """An author as `Label` knows it.

    Raises:
        ValueError: it is none of them.
    """
    for known in get_args(Author):
        if author == known:
            return author  # type: ignore[return-value]
    raise ValueError(
        f"The author of a label is one of {', '.join(map(repr, get_args(Author)))}, but is {shown(author)}."
    )


def labels_of(
    labels: Mapping[Any, Any] | Iterable[Any], *, source: str = "", author: str | None = None, what: str = "labels"
) -> Iterator[Label]:
    """Labels from a value: {label: index}, {index: label}, one text for each feature, `Label`s, or rows with names.

    Args:
        labels: the value.
        source: where labels come from that do not say.
        author: who wrote labels that do not say.
        what: what the value is called in messages.

    Raises:
        ValueError: the value has another shape.
    """
    given = checked_author(author) if author is not None else "unknown"
    if isinstance(labels, Mapping):
        labels = _Pairs(labels.items())
    if isinstance(labels, _Pairs):
        yield from _from_pairs(labels, source, given, what)
        return
    if isinstance(labels, str | bytes) or not isinstance(labels, Iterable):
        raise ValueError(
            f"Labels are {{label: index}}, {{index: label}} or one text for each feature, but {what} is "
            f"{_described(labels)}."
        )
    for number, value in enumerate(labels):
        if value is None or isinstance(value, str):
            if value:
                yield Label(number, value, source, given)
        elif isinstance(value, Label):
            yield Label(checked_index(value.index, what, number), value.text, value.source or source, value.author)
        elif isinstance(value, Mapping | _Pairs):
            yield from from_row(dict(value), f"Entry {number} of {what}", source, author)
        else:
            raise ValueError(f"Entry {number} of {what} is no text and no row with names, but {_described(value)}.")


def read_labels(
    path: Path,
    *,
    size: int | None = None,
    source: str = "",
    author: str | None = None,
    model: str | None = None,
    layer: str | None = None,
) -> Iterator[Label]:
    """The labels of a file, or of a folder of Neuronpedia batches, by its suffix.

    Args:
        path: `.json`, `.jsonl`, `.csv` or `.tsv`, each also with `.gz`; or a folder of `.jsonl` and `.jsonl.gz`.
        size: how many features the dictionary has, where a list with one text for each shall be checked.
        source: where labels come from that do not say; by default the file's name.
        author: who wrote them, where that is known better than by the file.
        model: rows of Neuronpedia are taken where their modelId is this.
        layer: rows of Neuronpedia are taken where their layer is this: `20-gemmascope-res-16k`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is of another kind, damaged, or holds the labels of several dictionaries.
    """
    if author is not None:
        checked_author(author)
    homes: set[tuple[str, str]] = set()
    for part in _parts(path):
        for row, where in _rows(part, size):
            if isinstance(row, Label):
                yield Label(row.index, row.text, source or part.name, checked_author(author or row.author))
                continue
            if "modelId" in row or "layer" in row:
                home = (str(row.get("modelId", "")), str(row.get("layer", "")))
                if (model is not None and home[0] != model) or (layer is not None and home[1] != layer):
                    continue
                homes.add(home)
                if len(homes) > 1:
                    both = " and ".join("/".join(part[:60] for part in each) for each in sorted(homes))
                    raise ValueError(
                        f"{path.name} holds labels of several dictionaries ({both}); choose one with "
                        "sw.Labels.load(…, model=…, layer=…)."
                    )
            yield from from_row(row, where, source or part.name, author)
    if not homes and (model is not None or layer is not None):
        asked = "/".join(each for each in (model, layer) if each is not None)
        raise ValueError(f"{path.name} holds no labels of {asked}; check model= and layer=.")


def from_row(row: Mapping[str, Any], where: str, source: str, author: str | None) -> Iterator[Label]:
    """The labels of a row with names: one, or none where its text is empty.

    A feature as Neuronpedia exports it has a table of its explanations instead of a text, each of them a label.

    Args:
        row: the row.
        where: how messages call it.
        source: where it comes from, if it does not say.
        author: who wrote it; by default as the row says.

    Raises:
        ValueError: there is no column for the index or the text, or the index is no whole number.
    """
    explanations = row.get(_NESTED)
    if explanations is not None and not any(name in row for name in _TEXT):
        if not isinstance(explanations, list | tuple) or not all(
            isinstance(each, Mapping | _Pairs) for each in explanations
        ):
            raise ValueError(
                f"{where} has {_NESTED} {shown(explanations)}; that is a list of tables, each with a description."
            )
        outer = {name: value for name, value in row.items() if name != _NESTED}
        for number, each in enumerate(explanations):
            yield from from_row(dict(each) | outer, f"Explanation {number} in {_lowered(where)}", source, author)
        return
    index_name, text_name = _refuse_missing(row, where)
    text = row[text_name]
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{where} has {text_name} {shown(text)}, which is no text; give a text, or null for no label.")
    index = checked_index(row[index_name], where)
    if not (text or "").strip():
        return
    said, writer = _origin(row)
    stated = row.get("author")
    known_author = stated if stated in get_args(Author) else writer
    yield Label(index, str(text), said or source, checked_author(author or str(known_author)))


def _lowered(where: str) -> str:
    return where[:1].lower() + where[1:]


def _refuse_missing(columns: Collection[str], where: str) -> tuple[str, str]:
    """The columns of the index and of the text."""
    index_name = next((name for name in _INDEX if name in columns), None)
    text_name = next((name for name in _TEXT if name in columns), None)
    if index_name is None or text_name is None:
        missing, known = ("an index", _INDEX) if index_name is None else ("a label", _TEXT)
        raise ValueError(f"{where} has no column for {missing} ({', '.join(known)}); its columns are {named(columns)}.")
    return index_name, text_name


def checked_index(value: Any, where: str, number: int | None = None) -> int:
    """A feature's index from a number, or from its digits.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,15}\s*", value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # spreadsheets write 3.0
    if hasattr(value, "__index__") and not isinstance(value, bool) and 0 <= value.__index__() < _MOST_FEATURES:
        return int(value.__index__())
    at = where if number is None else f"Entry {number} of {where}"
    raise ValueError(f"{at} has the index {shown(value)}, but an index is a whole number from 0 on.")


def _origin(row: Mapping[str, Any]) -> tuple[str, Author]:
    """The source and the author that a row names."""
    if "explanationModelName" in row or "modelId" in row:
        home = "/".join(str(row[name]) for name in ("modelId", "layer") if row.get(name))
        how = [str(row[name]) for name in ("typeName", "explanationModelName") if row.get(name)]
        source = ", ".join([f"Neuronpedia {home}".rstrip(), *how])
        return source, "language model" if row.get("explanationModelName") else "unknown"
    if "concept_id" in row and "neuronpedia.org" in str(row.get("ref", "")):
        return "", "language model"
    stated = row.get("source")
    return (stated if isinstance(stated, str) else ""), "unknown"


def _from_pairs(pairs: _Pairs, source: str, author: Author, what: str) -> Iterator[Label]:
    if all(hasattr(value, "__index__") and not isinstance(value, bool) for _, value in pairs):
        for text, index in pairs:
            if not isinstance(text, str):
                raise ValueError(
                    f"{what} maps {shown(text)} to {shown(index)}; labels are {{label: index}} or {{index: label}}."
                )
            if text.strip():
                yield Label(checked_index(index, f"{shown(text)} in {what}"), text, source, author)
        return
    for index, text in pairs:
        digits = isinstance(index, str) and index.strip().isdecimal()
        if not (digits or hasattr(index, "__index__")) or not (text is None or isinstance(text, str)):
            raise ValueError(
                f"Labels are {{label: index}} or {{index: label}}, but {what} maps {_described(index)} to "
                f"{_described(text)}."
            )
        if text:
            yield Label(checked_index(index, what), text, source, author)


def _parts(path: Path) -> Sequence[Path]:
    if path.is_dir():
        parts = [each for each in path.iterdir() if each.name.endswith(_FOLDER_PARTS)]
        if not parts:
            raise FileNotFoundError(f"The folder {path.name!r} holds no .jsonl and no .jsonl.gz file of labels.")
        return sorted(parts, key=lambda each: [int(n) if n.isdecimal() else n for n in re.split(r"(\d+)", each.name)])
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of labels at {str(path)!r}.")
    return [path]


def _rows(path: Path, size: int | None) -> Iterator[tuple[Mapping[str, Any] | Label, str]]:
    name = path.name.removesuffix(".gz")
    suffix = name[name.rfind(".") :].lower()
    if suffix == ".jsonl":
        yield from _json_lines(path)
    elif suffix in {".csv", ".tsv"}:
        yield from _table(path, "\t" if suffix == ".tsv" else ",")
    elif suffix == ".json":
        value = parse_json(_text_of(path), path.name, of_pairs=_Pairs)
        if isinstance(value, _Pairs) and any(name == _NESTED for name, _ in value):
            value = [value]  # one feature's page
        if isinstance(value, list) and not isinstance(value, _Pairs):
            if size is not None and len(value) not in (0, size) and all(isinstance(row, str | None) for row in value):
                raise ValueError(
                    f"{path.name} is a list of {len(value)} labels, but the dictionary has {size} features; it has one "
                    "for each."
                )
            for number, row in enumerate(value):
                if isinstance(row, _Pairs):
                    yield dict(row), f"Entry {number} of {path.name}"
                else:
                    yield from ((label, "") for label in _one(row, number, path.name))
        else:
            yield from ((label, "") for label in labels_of(value, what=path.name))
    else:
        raise ValueError(f"Labels come as .json, .jsonl, .csv or .tsv, each also with .gz, but not as {path.name}.")


def _one(value: Any, number: int, name: str) -> Iterator[Label]:
    for label in labels_of([value], what=f"{name}, entry {number}"):
        yield Label(number, label.text)


def _json_lines(path: Path) -> Iterator[tuple[Mapping[str, Any], str]]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        where = f"Line {number} of {path.name}"
        row = parse_json(line, where, todo="download it again")
        if not isinstance(row, dict):
            raise ValueError(f"{where} is no row with names, but {_described(row)}.")
        yield row, where


def _table(path: Path, delimiter: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    reader = csv.DictReader(_lines(path), delimiter=delimiter, strict=True)
    try:
        columns = [name.strip().lower() for name in reader.fieldnames or ()]
        if columns:
            _refuse_missing(columns, f"The first line of {path.name}")
        for row in reader:
            where = f"Line {reader.line_num} of {path.name}"
            if None in row or None in row.values():
                raise ValueError(f"{where} has another number of columns than the first line.")
            yield {name.strip().lower(): value for name, value in row.items()}, where
    except csv.Error:
        raise ValueError(
            f"Line {reader.line_num} of {path.name} is not whole CSV: a quote is open or out of place, or a cell "
            "has more "
            f"than {csv.field_size_limit():,} letters; mend that line, or save the table again."
        ) from None


def _text_of(path: Path) -> str:
    parts, size = [], 0
    for line in _lines(path):
        size += len(line)
        if size > MOST_BYTES:
            raise ValueError(f"{path.name} is longer than {MOST_BYTES >> 20} MB, too long for labels; cut it in parts.")
        parts.append(line)
    return "".join(parts)


def _lines(path: Path) -> Iterator[str]:
    try:
        if path.name.endswith(".gz"):
            with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
                yield from file
        else:
            with path.open(encoding="utf-8-sig", newline="") as file:
                yield from file
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise ValueError(f"{path.name} is not a whole gzip file; download it again.") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not UTF-8 text; save it as UTF-8, or download it again.") from None


def _described(value: Any) -> str:
    if value is None:
        return shown(value)
    kind = "dict" if isinstance(value, _Pairs) else type(value).__name__
    return f"{kind} {shown(dict(value) if isinstance(value, _Pairs) else value)}"
