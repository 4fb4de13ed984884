"""Texts from files and tables: plain text, CSV, JSON, JSON Lines, frames; read without guessing at damage."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from steerwidgets.files.containers import what_else
from steerwidgets.files.json_text import parse_json
from steerwidgets.files.shown import shown

SUFFIXES: Final = (".txt", ".csv", ".tsv", ".json", ".jsonl")
MOST_BYTES: Final = 64 << 20
TEXT: Final = "text"
_TEXTS: Final = ("text", "texts", "sentence", "content", "answer", "response", "prompt")
_LABELS: Final = ("label", "labels", "class", "category", "concept", "target", "y")
_TRUE: Final = ("1", "1.0", "true", "yes")
_SEEN: Final = 5
"""Labels that a sentence names."""


@dataclass(frozen=True)
class Table:
    """Rows with named columns.

    Attributes:
        rows: what stands in each column, as text.
        columns: their names.
        name: what it is called, as the file's name.
    """

    rows: tuple[Mapping[str, str], ...]
    columns: tuple[str, ...]
    name: str = "the table"

    def __len__(self) -> int:
        return len(self.rows)

    def text_column(self, given: str | None = None) -> str:
        """The column of the texts: the one that is named, one that is called so, or the one with the longest cells.

        Raises:
            ValueError: there is no column of that name.
        """
        if given is not None:
            return self._known(given, "text")
        called = [each for name in _TEXTS for each in self.columns if each.strip().lower() == name]
        mean = lambda column: sum(len(row[column]) for row in self.rows)
        return called[0] if called else max(self.columns, key=mean)

    def label_column(self, given: str | None = None, text: str | None = None) -> str | None:
        """The column of the labels: the one that is named, one that is called so, or the only other one; else None.

        Raises:
            ValueError: there is no column of that name.
        """
        if given is not None:
            return self._known(given, "label")
        others = [each for each in self.columns if each != self.text_column(text)]
        called = [each for name in _LABELS for each in others if each.strip().lower() == name]
        return called[0] if called else others[0] if len(others) == 1 else None

    def labels(self, column: str) -> dict[str, int]:
        """The labels of a column, each with how many rows have it, the most frequent first."""
        found: dict[str, int] = {}
        for row in self.rows:
            if row[column]:
                found[row[column]] = found.get(row[column], 0) + 1
        return dict(sorted(found.items(), key=lambda each: -each[1]))

    def texts(self, text: str | None = None) -> list[str]:
        """All texts, whatever their labels."""
        column = self.text_column(text)
        return [row[column] for row in self.rows]

    def split(
        self, text: str | None = None, label: str | None = None, positive: object = None, concept: str = ""
    ) -> tuple[list[str], list[str], str]:
        """Texts with a label and without, and that label.

        Args:
            text: the column of the texts.
            label: the column of the labels.
            positive: the label of the texts that have the concept; by default the one called as the concept is, or of
                two labels the one that says yes or else the last.
            concept: what the concept is called.

        Raises:
            ValueError: there is no such column or label, or one label only.
        """
        column = self.label_column(label, text)
        if column is None:
            raise ValueError(
                f"{self.name} has the columns {_listed(self.columns)}, and none is called label; say which one holds "
                "the labels with label=."
            )
        words, found = self.text_column(text), self.labels(column)
        chosen = self._positive(column, list(found), positive, concept)
        with_it = [row[words] for row in self.rows if row[column] == chosen]
        return with_it, [row[words] for row in self.rows if row[column] and row[column] != chosen], chosen

    def _positive(self, column: str, labels: list[str], positive: object, concept: str) -> str:
        if len(labels) < 2:
            held = f"only {shown(labels[0])}" if labels else "no label"
            raise ValueError(
                f"The column {shown(column)} of {self.name} holds {held}, and a concept needs texts without it too; "
                "give rows of another label."
            )
        if positive is not None:
            if str(positive) not in labels:
                raise ValueError(
                    f"The column {shown(column)} of {self.name} has no label {shown(positive)}; it has "
                    f"{_listed(labels)}."
                )
            return str(positive)
        called = [each for each in labels if each.strip().lower() == concept.strip().lower()]
        if called:
            return called[0]
        if len(labels) > 2:
            raise ValueError(
                f"The column {shown(column)} of {self.name} holds {len(labels)} labels ({_listed(labels)}); say which "
                "is the concept with positive=, and all others are then without it."
            )
        return next((each for each in labels if each.strip().lower() in _TRUE), max(labels))

    def _known(self, given: str, what: str) -> str:
        if given not in self.columns:
            raise ValueError(f"{self.name} has no column {shown(given)} for {what}s; it has {_listed(self.columns)}.")
        return given

    @classmethod
    def of(cls, given: Any, name: str = "The table") -> Table:
        """The table of a frame, of columns by name, or of records.

        Raises:
            ValueError: it has no rows, or columns of different lengths.
            TypeError: it is no table.
        """
        if hasattr(given, "to_dict") and hasattr(given, "columns"):
            given = given.to_dict("list")
        if isinstance(given, Mapping):
            columns = {str(key): list(value) for key, value in given.items()}
            if len({len(each) for each in columns.values()}) > 1:
                raise ValueError(f"The columns of {name.lower()} have different lengths; give one cell for each row.")
            records: Iterable[Any] = [
                dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)
            ]
        else:
            records = list(given)
        return _table(list(records), name)


def is_table(given: Any) -> bool:
    """Whether something is a frame, columns by name, or records."""
    if hasattr(given, "columns") or hasattr(given, "column_names"):
        return True
    if isinstance(given, Mapping):
        return bool(given) and all(_is_column(each) for each in given.values())
    rows = isinstance(given, Sequence) and not isinstance(given, str)
    return rows and bool(given) and isinstance(given[0], Mapping) and not _is_message(given[0])


def _is_column(given: Any) -> bool:
    return isinstance(given, Iterable) and not isinstance(given, str)


def _is_message(given: Mapping[str, Any]) -> bool:
    return set(given) == {"role", "content"}


def read_file(path: str | Path) -> Table:
    """The table of a file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none of the formats, is empty, or is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of texts at {str(path)!r}.")
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(_too_long(path.name))
    return parse(path.read_bytes(), path.name)


def parse(data: bytes, name: str) -> Table:
    """The table that a file's bytes hold; of plain text and of lists, a column `text`.

    Args:
        data: the bytes.
        name: the file's name, whose end says what it is.

    Raises:
        ValueError: it is none of the formats, is empty, or is damaged.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"Texts come as {', '.join(SUFFIXES)}, but not as {name}.")
    if len(data) > MOST_BYTES:
        raise ValueError(_too_long(name))
    text = _decoded(data, name)
    if suffix == ".txt":
        rows: list[Any] = [line for line in text.splitlines() if line.strip()]
    elif suffix == ".jsonl":
        rows = [parse_json(line, f"Line {at} of {name}") for at, line in _lines(text)]
    elif suffix == ".json":
        value = parse_json(text, name)
        if isinstance(value, dict) and is_table(value):
            return Table.of(value, name)
        if not isinstance(value, list):
            raise ValueError(f"{name} is a list of texts or of rows, but {shown(value)} stands in it.")
        rows = value
    else:
        rows = _csv(text, name, "\t" if suffix == ".tsv" else ",")
    return _table(list(rows), name)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return ((at, line) for at, line in enumerate(text.split("\n"), start=1) if line.strip())


def _decoded(data: bytes, name: str) -> str:
    if what := what_else(data[:200]):
        raise ValueError(f"{name} holds no texts: {what}; give a file with a text in each line or row.")
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        at = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{name} is not UTF-8 text: the byte 0x{data[error.start]:02X} in line {at} is of another encoding; save "
            "it as UTF-8."
        ) from None
    if "\0" in text:
        raise ValueError(f"{name} is no text file: it holds zero bytes; give a file with a text in each line or row.")
    return text


def _csv(text: str, name: str, delimiter: str) -> list[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(
                    f"Line {reader.line_num} of {name} has another number of columns than the first line, which names "
                    "them; mend it, or put texts with commas between quotes."
                )
            rows.append(dict(row))
    except csv.Error as error:
        raise ValueError(
            f"Line {reader.line_num} of {name} is not whole CSV ({error}); mend that line, or save the table again."
        ) from None
    return rows


def _table(records: list[Any], name: str) -> Table:
    rows = []
    for at, each in enumerate(records):
        if isinstance(each, str):
            rows.append({TEXT: each})
        elif isinstance(each, Mapping) and each:
            rows.append({str(key): _cell(value) for key, value in each.items()})
        else:
            raise ValueError(f"Row {at + 1} of {name} is a text or has named columns, but {shown(each)} stands there.")
    if not rows:
        raise ValueError(f"{name} has no rows; give one with a text in each.")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return Table(tuple({key: row.get(key, "") for key in columns} for row in rows), tuple(columns), name)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and value.is_integer():
        # A column of whole numbers with a hole in it is one of floats to pandas.
        value = int(value)
    return str(value)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(map(repr, names[:_SEEN])) + ("…" if len(names) > _SEEN else "")


def _too_long(name: str) -> str:
    return f"{name} is longer than {MOST_BYTES >> 20} MB; give a part of it: a few hundred texts are enough."
