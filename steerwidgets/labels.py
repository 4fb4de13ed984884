"""Labels of features, and search in a million of them: SQLite FTS5."""

from __future__ import annotations

import functools
import itertools
import math
import operator
import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from steerwidgets.label_files import Author, Label, labels_of, read_labels
from steerwidgets.label_words import How, Query, tokens_of

__all__ = ["Author", "Count", "Label", "Labels", "Match"]

COUNTED: Final = 5_000
"""`Labels.count` counts up to this."""

_RANKED: Final = 500
"""So many candidates are ranked; more only where more are asked for."""

_SCANNED: Final = 20_000
"""So many labels that hold the longer words of a query are looked at for the words of one or two letters."""

_K1, _B = 1.2, 0.75  # Robertson and Zaragoza 2009, and the constants of FTS5's bm25()
_REMEMBERED: Final = 1_000
_HASH_BYTES: Final = 128 * 2**20
_FORMAT: Final = 1
_APPLICATION: Final = 0x5354574C  # "STWL"
_LAST: Final = "\U0010ffff"

# Tokens are cut in Python (`tokens_of`), so that index, query and rank agree; FTS5 only splits them at spaces.
_SCHEMA: Final = """
CREATE TABLE labels (id INTEGER PRIMARY KEY, feature INTEGER NOT NULL, text TEXT NOT NULL, source TEXT NOT NULL,
                     author TEXT NOT NULL, tokens TEXT NOT NULL, position INTEGER NOT NULL);
CREATE TABLE vocabulary (term TEXT PRIMARY KEY, labels INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE facts (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5(tokens, content='', detail=none, columnsize=0, prefix='1 2 3 4',
    tokenize="unicode61 remove_diacritics 0 categories 'L* M* N* P* S* C*'");
CREATE VIRTUAL TABLE pieces USING fts5(tokens, content='', detail=none, columnsize=0, tokenize='trigram');
CREATE VIRTUAL TABLE terms USING fts5vocab(words, row);
"""
_COLUMNS: Final = "l.id, l.feature, l.text, l.source, l.author, l.tokens"


@dataclass(frozen=True, slots=True)
class Match(Label):
    """A label that a search found.

    Attributes:
        rank: its bm25 score, the higher the better, among matches of its kind: whole words, beginnings, letters within.
    """

    rank: float = 0.0


@dataclass(frozen=True, slots=True)
class Count:
    """How many labels match.

    Attributes:
        number: how many were counted.
        more: there are more than that, and nobody counted them.
    """

    number: int
    more: bool = False

    def __int__(self) -> int:
        return self.number

    def __str__(self) -> str:
        return f"more than {self.number:,}" if self.more else f"{self.number:,}"


class Labels:
    """What features are called, by index; several labels of one feature, from several sources, are all kept.

    `labels[123]` is the first label of a feature ("" where it has none), `labels.of(123)` gives all of them with
    source and author, `labels.search("sea wav")` finds them. Threads may share one object.

    Args:
        labels: {label: index}, {index: label}, one text for each feature, or `Label`s.
        size: how many features the dictionary has; by default as many as the highest index asks for.
        source: where labels come from that do not say.
        author: who wrote labels that do not say: "person" or "language model".
        file: a file to keep labels and index in, for `Labels.open`; by default both stay in memory.

    Raises:
        ValueError: the labels have another shape, or do not fit the size.
        FileExistsError: there is a file already.
    """

    def __init__(
        self,
        labels: Mapping[Any, Any] | Iterable[Any],
        *,
        size: int | None = None,
        source: str = "",
        author: Author | None = None,
        file: str | Path | None = None,
    ) -> None:
        if size is not None and size < 0:
            raise ValueError(f"The size of a dictionary is 0 or more, but {size} was given.")
        if size is not None and isinstance(labels, list | tuple) and all(isinstance(x, str | None) for x in labels):
            _refuse_other_length(len(labels), size)
            labels = itertools.chain(labels)
        elif size is None and isinstance(labels, list | tuple) and all(isinstance(x, str | None) for x in labels):
            size = len(labels)
        self._set_up(labels_of(labels, source=source, author=author), size, file)

    @classmethod
    def load(
        cls,
        path: str | Path | Iterable[str | Path],
        *,
        size: int | None = None,
        source: str = "",
        author: Author | None = None,
        model: str | None = None,
        layer: str | None = None,
        file: str | Path | None = None,
    ) -> Labels:
        """Read labels from files.

        JSON: {label: index}, {index: label}, a list of labels, or rows. JSON lines: `metadata.jsonl` of ReFT-r1
        (concept_id, concept), Neuronpedia's explanation exports (index, description, explanationModelName, …). CSV and
        TSV with a first line that names columns: an index (index, feature, …), a label (label, description, …), and,
        where there are any, source and author. Each may be gzipped.

        Args:
            path: a file, a folder of Neuronpedia's batches, or several of either.
            size: how many features the dictionary has; an index beyond it is refused.
            source: where the labels come from; by default as each row says, or else the file's name.
            author: who wrote them; by default as each row says.
            model: of Neuronpedia's rows, those of this modelId.
            layer: of Neuronpedia's rows, those of this layer: `20-gemmascope-res-16k`.
            file: a file to keep labels and index in, for `Labels.open`.

        Raises:
            FileNotFoundError: there is no such file.
            FileExistsError: there is a `file` already.
            ValueError: a file is damaged, has unknown columns, or its labels are not those of this dictionary.
        """
        paths = [path] if isinstance(path, str | Path) else list(path)
        read = functools.partial(read_labels, source=source, author=author, model=model, layer=layer)
        return cls(itertools.chain.from_iterable(read(Path(each)) for each in paths), size=size, file=file)

    @classmethod
    def open(cls, file: str | Path) -> Labels:
        """Open labels that were kept in a file, for reading; several kernels may.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not a file of labels, damaged, or of another version.
        """
        file = Path(file)
        if not file.is_file():
            raise FileNotFoundError(f"There is no file of labels at {str(file)!r}.")
        made = cls(())
        made.close()
        try:
            made._attach(file)
        except (sqlite3.DatabaseError, KeyError) as error:
            made.close()
            raise ValueError(f"{file.name} is not a whole file that Labels(…, file=) wrote ({error}).") from None
        return made

    def close(self) -> None:
        """Let go of the file or the memory; nothing can be found afterwards."""
        with self._lock:
            self._connection.close()

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> str:
        """The first label of a feature, "" where it has none.

        Raises:
            IndexError: there is no such feature.
        """
        sql = "SELECT text FROM labels WHERE feature = ? ORDER BY position LIMIT 1"
        found = self._rows(sql, self._index(index))
        return str(found[0][0]) if found else ""

    def __iter__(self) -> Iterator[str]:
        """The first label of every feature, in order."""
        rows = self._rows("SELECT feature, text FROM labels ORDER BY feature, position DESC")
        texts = dict(rows)  # the last of a feature stays: its first label
        return (str(texts.get(index, "")) for index in range(self._size))

    def of(self, index: int) -> list[Label]:
        """All labels of a feature, in the order in which they came.

        Raises:
            IndexError: there is no such feature.
        """
        sql = "SELECT feature, text, source, author FROM labels WHERE feature = ? ORDER BY position"
        return [Label(*row) for row in self._rows(sql, self._index(index))]

    def search(self, query: str, *, limit: int = 50) -> list[Match]:
        """Labels that hold every word of the query, the best first.

        First those in which each is a whole word; where these are fewer than `limit`, those in which each begins a
        word; and where these are too few, those that hold each anywhere in a word (one or two letters only where a word
        begins). Case, accents and punctuation do not matter, ß is ss, and nothing in a query is an operator. Only its
        first 16 words and 200 characters count. Chinese and Japanese characters, emoji and symbols are words by
        themselves; those that stand together are found together. An empty query finds nothing.

        Each of the three is ranked by bm25. Where more than 500 labels match, only the 500 shortest are ranked: bm25
        prefers short labels, so only a longer one that names a word often could have been among the best. Where a
        query has a word of one or two letters and the others stand within words, only the 20,000 shortest labels with
        the others are looked at.
        """
        if limit <= 0 or not (asked := Query.of(query)):
            return []
        bound = max(_RANKED, limit)
        matches: list[Match] = []
        seen: set[int] = set()
        ways: tuple[How, ...] = ("whole words", "beginnings", "pieces")
        for how in ways[: 3 if asked.pieces else 2]:
            if len(matches) < limit:
                rows = self._find(_COLUMNS, asked, how, bound + len(seen))
                matches += self._ranked(asked, [row for row in rows if row[0] not in seen])
                seen |= {row[0] for row in rows}
        return matches[:limit]

    def count(self, query: str) -> Count:
        """How many labels `search` could find, up to 5,000; beyond that, "more than 5,000"."""
        if not (asked := Query.of(query)):
            return Count(0)
        held = self._ids(asked, "beginnings")
        unseen = False
        if len(held) <= COUNTED and asked.pieces:
            held = held | self._ids(asked, "pieces")
            if asked.has_short:
                sql = "SELECT 1 FROM pieces WHERE pieces MATCH ? LIMIT 1 OFFSET ?"
                unseen = bool(self._rows(sql, asked.pieces, _SCANNED))
        return Count(min(len(held), COUNTED), more=unseen or len(held) > COUNTED)

    def features(self, query: str) -> Iterator[int]:
        """Every feature with a label that matches: those of `search` first, then the others by their index."""
        if not (asked := Query.of(query)):
            return
        first = list(dict.fromkeys(match.index for match in self.search(query, limit=2 * _RANKED)))
        yield from first
        rest = {row[0] for row in self._find("l.feature", asked, "beginnings", every=True)}
        if asked.pieces:
            rest |= {row[0] for row in self._find("l.feature", asked, "pieces", every=True)}
        yield from sorted(rest.difference(first))

    def __repr__(self) -> str:
        return f"<Labels: {self._labels:,} for {self._size:,} features>"

    def _set_up(self, labels: Iterable[Label], size: int | None, file: str | Path | None) -> None:
        if file is None:
            self._connect(_opened(":memory:"))
            self._fill(labels, size)
            return
        file = Path(file)
        if file.exists():
            raise FileExistsError(f"There is a file at {str(file)!r} already; open it with Labels.open, or remove it.")
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".labels-") as folder:
            unfinished = Path(folder) / file.name
            self._connect(_opened(str(unfinished)))
            try:
                self._fill(labels, size)
            finally:
                self.close()
            os.replace(unfinished, file)  # noqa: PTH105 - the same file system, at once
        self._attach(file)

    def _attach(self, file: Path) -> None:
        self._connect(_opened(f"{file.resolve().as_uri()}?mode=ro", uri=True))
        marks = self._rows("PRAGMA application_id") + self._rows("PRAGMA user_version")
        if marks != [(_APPLICATION,), (_FORMAT,)]:
            self.close()
            raise ValueError(f"{file.name} is not a file of labels of this version of steerwidgets; make it again.")
        self._remember_facts()

    def _connect(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.RLock()
        self._size = self._labels = 0
        self._mean = 1.0
        self._frequencies: dict[tuple[str, bool], float] = {}
        self._known: dict[tuple[tuple[str, ...], How], frozenset[int]] = {}

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def _fill(self, labels: Iterable[Label], size: int | None) -> None:
        run = self._connection.execute
        run("PRAGMA journal_mode = OFF")
        run("PRAGMA synchronous = OFF")
        run(f"PRAGMA application_id = {_APPLICATION}")
        run(f"PRAGMA user_version = {_FORMAT}")
        self._connection.executescript(_SCHEMA)
        for table in ("words", "pieces"):
            run(f"INSERT INTO {table}({table}, rank) VALUES ('hashsize', ?)", (_HASH_BYTES,))  # noqa: S608
        kept: list[tuple[int, str, str, str, str, int]] = []
        for label in labels:
            if size is not None and label.index >= size:
                raise ValueError(
                    f"A label, {label.text[:60]!r}, is of feature {label.index}, but the dictionary has features 0 to "
                    f"{size - 1}: the labels are of another dictionary, or its size is not its number of features."
                )
            text = label.text.encode("utf-8", "replace").decode()
            tokens = " ".join(tokens_of(text))
            kept.append((label.index, text, label.source, label.author, tokens, len(kept)))
        # Short labels first: bm25 prefers them, and a search reads from the first row on.
        kept.sort(key=lambda row: row[4].count(" "))
        run("BEGIN")
        self._connection.executemany(
            "INSERT INTO labels(feature, text, source, author, tokens, position) VALUES (?, ?, ?, ?, ?, ?)", kept
        )
        for table in ("words", "pieces"):
            run(f"INSERT INTO {table}(rowid, tokens) SELECT id, tokens FROM labels ORDER BY id")  # noqa: S608
            run(f"INSERT INTO {table}({table}) VALUES ('optimize')")  # noqa: S608
        run("INSERT INTO vocabulary SELECT term, doc FROM terms")
        run("CREATE INDEX by_feature ON labels(feature, position)")
        lengths = sum(row[4].count(" ") + 1 for row in kept)
        highest = max((row[0] for row in kept), default=-1)
        facts = {
            "size": highest + 1 if size is None else size,
            "labels": len(kept),
            "mean": lengths / max(1, len(kept)),
        }
        self._connection.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
        run("COMMIT")
        self._remember_facts()

    def _remember_facts(self) -> None:
        facts = dict(self._rows("SELECT name, value FROM facts"))
        self._size, self._labels, self._mean = int(facts["size"]), int(facts["labels"]), max(1.0, facts["mean"])

    def _index(self, index: int) -> int:
        try:
            found = operator.index(index)
        except TypeError:
            raise TypeError(f"A label is found by the feature's index, but {index!r} was given.") from None
        if not -self._size <= found < self._size:
            raise IndexError(f"These labels are of features 0 to {self._size - 1}, but {index} was asked for.")
        return found % self._size

    def _ids(self, asked: Query, how: How) -> frozenset[int]:
        """The rows of matching labels, one more than are counted at most."""
        known = self._known.get((asked.words, how))
        if known is None:
            known = frozenset(row[0] for row in self._find("found", asked, how, COUNTED + 1))
        return known

    def _find(
        self, columns: str, asked: Query, how: How, limit: int = -1, *, every: bool = False
    ) -> list[tuple[Any, ...]]:
        """Rows of matching labels, the shortest first; those found whole are remembered for a count of them."""
        match, conditions = asked.expression(how)
        table = "pieces" if how == "pieces" else "words"
        held = f"SELECT rowid AS found FROM {table} WHERE {table} MATCH ? LIMIT ?"  # noqa: S608 - nothing of a user's
        where = f"WHERE {' AND '.join(sql for sql, _ in conditions)}" if conditions else ""
        # CROSS JOIN: the index is the outer loop.
        joined = "CROSS JOIN labels l ON l.id = found" if conditions or columns != "found" else ""
        sql = f"SELECT {columns} FROM ({held}) {joined} {where} LIMIT ?"  # noqa: S608
        scanned = _SCANNED if how == "pieces" and asked.has_short and not every else -1
        rows = self._rows(sql, match, scanned, *(word for _, word in conditions), limit)
        if columns == _COLUMNS and len(rows) < limit:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[asked.words, how] = frozenset(row[0] for row in rows)
        return rows

    def _ranked(self, asked: Query, rows: list[tuple[Any, ...]]) -> list[Match]:
        if not rows:
            return []
        weights = [(word, self._weight(word, whole=False), self._weight(word, whole=True)) for word in asked.words]
        scored = []
        for key, feature, text, source, author, tokens in rows:
            padded = f" {tokens} "
            norm = _K1 * (1 - _B + _B * (tokens.count(" ") + 1) / self._mean)
            score = 0.0
            for word, beginning, whole in weights:
                times = padded.count(f" {word}") or padded.count(word)
                score += beginning * times * (_K1 + 1) / (times + norm)
                if times := padded.count(f" {word} "):
                    score += whole * times * (_K1 + 1) / (times + norm)
            scored.append((-score, key, Match(feature, text, source, author, score)))
        scored.sort(key=lambda each: each[:2])
        return [match for _, _, match in scored]

    def _weight(self, word: str, *, whole: bool) -> float:
        """The inverse frequency of a word, or of all that begin with it."""
        if (word, whole) not in self._frequencies:
            last = word if whole else word + _LAST
            sql = "SELECT coalesce(sum(labels), 0) FROM vocabulary WHERE term BETWEEN ? AND ?"
            (found,) = self._rows(sql, word, last)[0]
            number = min(found, self._labels)
            if len(self._frequencies) >= _REMEMBERED:
                self._frequencies.clear()
            frequency = math.log(1 + (self._labels - number + 0.5) / (number + 0.5))
            self._frequencies[word, whole] = frequency
            return frequency
        return self._frequencies[word, whole]


def _refuse_other_length(found: int, size: int) -> None:
    if found != size:
        raise ValueError(f"There is one label for each of the {size} features of a dictionary, but {found} were given.")


def _opened(name: str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(name, uri=uri, check_same_thread=False, isolation_level=None)
