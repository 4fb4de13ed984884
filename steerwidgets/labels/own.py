"""A person's own labels, notes and ratings of features, kept apart from imported labels."""

from __future__ import annotations

import contextlib
import json
import math
import operator
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from steerwidgets.calls import tells_calls
from steerwidgets.files.atomic import write_text
from steerwidgets.files.home import own_folder
from steerwidgets.files.json_text import read_json

Merge = Literal["newer", "mine", "theirs"]
"""Which entry stays where both sides have one of a feature."""

Verdict = Literal["true", "too wide", "too narrow", "mixed", "wrong", "unclear"]
"""What a person makes of a feature's label."""

VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)

_FORMAT: Final = "steerwidgets user labels"
_VERSION: Final = 1
_FILE: Final = "user_labels.sqlite"
_WAIT_SECONDS: Final = 10.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entries (
    dictionary TEXT NOT NULL, feature INTEGER NOT NULL, label TEXT NOT NULL, note TEXT NOT NULL, rating INTEGER,
    changed REAL NOT NULL, verdict TEXT NOT NULL DEFAULT '', PRIMARY KEY (dictionary, feature)) WITHOUT ROWID
"""
_VERDICT: Final = "ALTER TABLE entries ADD COLUMN verdict TEXT NOT NULL DEFAULT ''"
"""What a file of before 0.2 lacks."""

_MERGE: Final = """
INSERT INTO entries (dictionary, feature, label, note, rating, changed, verdict) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET label = excluded.label, note = excluded.note, rating = excluded.rating,
changed = excluded.changed, verdict = excluded.verdict
"""


def data_dir() -> Path:
    """The data folder: $STEERWIDGETS_DATA, $XDG_DATA_HOME/steerwidgets, or the platform's own.

    Raises:
        OSError: there is none, for nobody names one and the user has no home folder.
    """
    linux = os.path.join(".local", "share")  # noqa: PTH118 - a part of a path
    return own_folder("STEERWIDGETS_DATA", "XDG_DATA_HOME", mac="Application Support", windows="Data", linux=linux)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a person says of a feature.

    Attributes:
        index: the feature.
        label: a name for it, or "".
        note: anything else, or "".
        rating: 1 to 5, or None.
        changed: when it was last changed, in seconds since 1970.
        verdict: what they make of its label, one of `VERDICTS`, or "".
    """

    index: int
    label: str = ""
    note: str = ""
    rating: int | None = None
    changed: float = 0.0
    verdict: str = ""


@tells_calls("UserLabels", "dictionary.user_labels")
class UserLabels:
    """A person's labels, notes and ratings of one dictionary's features, in the user's data folder.

    What is set is on disk when the call returns, whole or not at all; several kernels may write at once, and each
    field keeps what was written last.

    Args:
        fingerprint: the dictionary's `fingerprint`.
        size: how many features it has, where indices shall be checked.
        folder: where to keep them; by default `data_dir()`.

    Raises:
        OSError: the folder cannot be written.
        ValueError: the file in it is damaged.
    """

    def __init__(self, fingerprint: str, *, size: int | None = None, folder: str | Path | None = None) -> None:
        self.fingerprint, self.size = fingerprint, size
        folder = data_dir() if folder is None else Path(folder)
        self._file = folder / _FILE
        self._lock = threading.RLock()
        self._read_at: object = None
        self._kept: tuple[Mapping[int, str], Mapping[int, str]] = {}, {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # SQLite's own files are for their owner alone to write; this one is as the user's umask has it.
            with contextlib.suppress(PermissionError):
                self._file.touch(exist_ok=True)
            self._connection = sqlite3.connect(
                self._file, timeout=_WAIT_SECONDS, check_same_thread=False, isolation_level=None
            )
        except (OSError, sqlite3.OperationalError):
            raise OSError(
                f"Labels cannot be kept in {str(folder)!r}, for nothing can be written there; name another folder in "
                "$STEERWIDGETS_DATA."
            ) from None
        with self._sentences():
            # Beside a write-ahead log nobody reads who may not write; another kernel may have one open.
            with contextlib.suppress(sqlite3.OperationalError):
                self._run("PRAGMA journal_mode = DELETE")
            self._run("PRAGMA synchronous = FULL")
            self._run(_SCHEMA)
            self._add_verdicts()

    def __reduce__(self) -> tuple[Any, ...]:
        """As where they are kept, since another process reads the same file."""
        return _again, (self.fingerprint, self.size, self._file.parent)

    def _add_verdicts(self) -> None:
        """Give a file of an earlier version the column that it lacks; another kernel may be at it as well."""
        with contextlib.suppress(sqlite3.OperationalError):
            if not any(name == "verdict" for _, name, *_ in self._run("PRAGMA table_info(entries)")):
                self._run(_VERDICT)

    @classmethod
    def are_kept(cls, folder: str | Path | None = None) -> bool:
        """Whether there is a file of user labels already; looking for one makes none, and finds none without a home."""
        with contextlib.suppress(OSError):
            return ((data_dir() if folder is None else Path(folder)) / _FILE).is_file()
        return False

    @property
    def labels(self) -> Mapping[int, str]:
        """The label of every feature that has one; read again only where something was written since.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is damaged.
        """
        return self._said[0]

    @property
    def verdicts(self) -> Mapping[int, str]:
        """The verdict on every feature that has one.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is damaged.
        """
        return self._said[1]

    @property
    def _said(self) -> tuple[Mapping[int, str], Mapping[int, str]]:
        """Labels and verdicts; read again only where something was written since."""
        with self._sentences(), self._lock:
            # data_version tells what other connections wrote, total_changes what this one did.
            version = (self._run("PRAGMA data_version"), self._connection.total_changes)
            if self._read_at != version:
                every = list(self)
                labels = {each.index: each.label for each in every if each.label}
                self._read_at, self._kept = version, (labels, {e.index: e.verdict for e in every if e.verdict})
            return self._kept

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def __getitem__(self, index: int) -> Entry:
        """What was said of a feature; an empty entry where nothing was.

        Raises:
            IndexError: there is no such feature.
        """
        index = self._index(index)
        found = self._entries("AND feature = ?", index)
        return found[0] if found else Entry(index)

    def __iter__(self) -> Iterator[Entry]:
        """Every entry, by index."""
        return iter(self._entries("ORDER BY feature"))

    def __len__(self) -> int:
        with self._sentences():
            return int(self._run("SELECT count(*) FROM entries WHERE dictionary = ?", self.fingerprint)[0][0])

    def set(
        self,
        index: int,
        *,
        label: str | None = None,
        note: str | None = None,
        rating: int | Literal["none"] | None = None,
        verdict: str | None = None,
    ) -> Entry:
        """Change what is given and keep the rest; "" takes a label, note or verdict away, "none" a rating.

        Raises:
            IndexError: there is no such feature.
            ValueError: the rating is not 1 to 5, or there is no such verdict.
        """
        index = self._index(index)
        for name, value in (("label", label), ("note", note)):
            if value is not None and not isinstance(value, str):
                raise ValueError(f"A {name} is text, but {value!r} was given.")
        stars = None if rating in (None, "none") else _rating(rating)
        judged = None if verdict is None else checked_verdict(verdict)
        with self._sentences():
            self._run(
                "INSERT INTO entries (dictionary, feature, label, note, rating, changed, verdict) VALUES (:dictionary,"
                " :feature, coalesce(:label, ''), coalesce(:note, ''), :rating, :changed, coalesce(:verdict, ''))"
                " ON CONFLICT DO UPDATE SET label = coalesce(:label, label), note = coalesce(:note, note),"
                " rating = CASE WHEN :rate THEN :rating ELSE rating END, verdict = coalesce(:verdict, verdict),"
                " changed = max(:changed, changed + 0.001)",  # newer, whatever the clock says
                {
                    "dictionary": self.fingerprint,
                    "feature": index,
                    "label": _text(label),
                    "note": _text(note),
                    "rating": stars,
                    "rate": rating is not None,
                    "verdict": judged,
                    "changed": time.time(),
                },
            )
            self._run("DELETE FROM entries WHERE label = '' AND note = '' AND rating IS NULL AND verdict = ''")
        return self[index]

    def remove(self, index: int) -> None:
        """Forget what was said of a feature.

        Raises:
            IndexError: there is no such feature.
        """
        with self._sentences():
            self._run("DELETE FROM entries WHERE dictionary = ? AND feature = ?", self.fingerprint, self._index(index))

    def export_json(self, path: str | Path) -> None:
        """Write every entry as JSON, at once."""
        path = Path(path)
        entries = [asdict(entry) for entry in self]
        value = {"format": _FORMAT, "version": _VERSION, "dictionary": self.fingerprint, "entries": entries}
        write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")

    def import_json(self, path: str | Path, *, merge: Merge = "newer") -> int:
        """Take in entries that `export_json` wrote, all or, where one is wrong, none.

        Args:
            path: the file.
            merge: which entry stays where both have one of a feature: the newer (at a tie, the one here), "mine"
                (the one here) or "theirs" (the file's). An entry is taken whole, never field by field.

        Returns:
            How many entries were added or replaced.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not such a file, of another dictionary, or an entry is wrong.
        """
        if merge not in get_args(Merge):
            raise ValueError(f"merge is one of {', '.join(map(repr, get_args(Merge)))}, but {merge!r} was given.")
        entries = self._read(Path(path))
        sql = _MERGE + {"newer": " WHERE excluded.changed > changed", "mine": " WHERE 0", "theirs": ""}[merge]
        with self._sentences(), self._lock:
            before = self._run("SELECT total_changes()")[0][0]
            self._run("BEGIN IMMEDIATE")
            try:
                for each in entries:
                    entry = (each.index, each.label, each.note, each.rating, each.changed, each.verdict)
                    self._run(sql, self.fingerprint, *entry)
            except BaseException:
                self._run("ROLLBACK")
                raise
            self._run("COMMIT")
            return int(self._run("SELECT total_changes()")[0][0] - before)

    def _read(self, path: Path) -> list[Entry]:
        if not path.is_file():
            raise FileNotFoundError(f"There is no file of user labels at {str(path)!r}.")
        value = read_json(path)
        if not isinstance(value, dict) or value.get("format") != _FORMAT or not isinstance(value.get("entries"), list):
            raise ValueError(f"{path.name} is not a file that UserLabels.export_json wrote.")
        if value.get("version") != _VERSION:
            raise ValueError(f"{path.name} was written by another version of steerwidgets ({value.get('version')!r}).")
        if value.get("dictionary") != self.fingerprint:
            raise ValueError(
                f"{path.name} holds labels of the dictionary {value.get('dictionary')!r}, but these are of "
                f"{self.fingerprint!r}."
            )
        return [self._checked(entry, f"Entry {number} of {path.name}") for number, entry in enumerate(value["entries"])]

    def _checked(self, entry: Any, where: str) -> Entry:
        try:
            made = Entry(**entry)
        except TypeError:
            raise ValueError(f"{where} is not made of index, label, note, rating, changed and verdict.") from None
        numbers = isinstance(made.index, int) and isinstance(made.changed, int | float) and math.isfinite(made.changed)
        if not numbers or not isinstance(made.label, str) or not isinstance(made.note, str):
            raise ValueError(f"{where} has an index or a time that is no number, or a label or note that is no text.")
        try:
            rating = None if made.rating is None else _rating(made.rating)
            return replace(
                made,
                index=self._index(made.index),
                label=_text(made.label),
                note=_text(made.note),
                rating=rating,
                verdict=checked_verdict(made.verdict),
            )
        except (IndexError, ValueError) as error:
            raise ValueError(f"{where} is wrong: {error}") from None

    def _entries(self, which: str, *values: Any) -> list[Entry]:
        sql = f"SELECT feature, label, note, rating, changed, verdict FROM entries WHERE dictionary = ? {which}"  # noqa: S608
        with self._sentences():
            return [Entry(*row) for row in self._run(sql, self.fingerprint, *values)]

    def _run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            given = values[0] if values and isinstance(values[0], dict) else values
            return self._connection.execute(sql, given).fetchall()

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise OSError(f"Labels could not be kept in {str(self._file)!r}: {_why(error)}.") from None
        except sqlite3.DatabaseError:
            raise ValueError(
                f"{str(self._file)!r} is not a whole file of user labels; move it away to begin a new one."
            ) from None

    def _index(self, index: int) -> int:
        try:
            found = operator.index(index)
        except TypeError:
            raise TypeError(f"A feature is found by its index, but {index!r} was given.") from None
        if self.size is not None and not -self.size <= found < self.size:
            raise IndexError(f"The dictionary has features 0 to {self.size - 1}, but {index} was asked for.")
        if self.size is None and found < 0:
            raise IndexError(f"Features are counted from 0, but {index} was asked for.")
        return found if self.size is None else found % self.size

    def __repr__(self) -> str:
        return f"<UserLabels: {len(self)} of {self.fingerprint}>"


def _why(error: sqlite3.OperationalError) -> str:
    """Why SQLite could not write, and what to do."""
    said = str(error)
    for word, why in (
        ("full", "the disk is full; make room there"),
        ("locked", "another program holds the file; try again when it is done"),
        ("readonly", "the file can only be read; name another folder in $STEERWIDGETS_DATA"),
    ):
        if word in said:
            return why
    return "nothing can be written there; name another folder in $STEERWIDGETS_DATA"


def _again(fingerprint: str, size: int | None, folder: Path) -> UserLabels:
    return UserLabels(fingerprint, size=size, folder=folder)


def _rating(rating: Any) -> int:
    if isinstance(rating, bool) or not isinstance(rating, int) or not 1 <= rating <= 5:
        raise ValueError(f"A rating is a whole number from 1 to 5, but {rating!r} was given.")
    return rating


def checked_verdict(verdict: Any) -> str:
    """A verdict, or "" for none.

    Raises:
        ValueError: there is no such verdict.
    """
    if verdict not in ("", *VERDICTS):
        raise ValueError(f'A verdict is one of {", ".join(map(repr, VERDICTS))}, or "", but {verdict!r} was given.')
    return str(verdict)


def _text(text: Any) -> Any:
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else text
