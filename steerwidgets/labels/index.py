"""The index of labels: one SQLite file, or memory, whose FTS5 tables find labels by their words."""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from steerwidgets.files.atomic import atomically
from steerwidgets.labels.files import Author, Label
from steerwidgets.labels.words import How, Query, Question, Vocabulary, tokens_of

Row = tuple[int, int, str, str, Author, str]
"""Key, feature, text, source, author, and the words as the index has them."""

_SCANNED: Final = 20_000
"""So many labels that hold the longer words of a query are looked at for the words of one or two letters."""

COUNTED: Final = 1_000
"""Matches are counted up to this."""

_REMEMBERED: Final = 1_000
_KEPT: Final = 16
"""The answers to the last so many questions are kept: a search and a count of one query ask the same."""

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
_WAYS: Final[tuple[How, ...]] = ("whole words", "beginnings", "pieces")
_COLUMNS: Final = "l.id, l.feature, l.text, l.source, l.author, l.tokens"


class LabelIndex:
    """Labels by feature and by word. Threads may share it.

    Attributes:
        size: how many features there are.
        labels: how many labels.
        mean: the mean number of words of a label.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.RLock()
        self._frequencies: dict[tuple[str, bool], float] = {}
        self._questions: dict[tuple[Query, How], Question | None] = {}
        self._cuts: dict[Question, bool] = {}
        self._kept: dict[tuple[tuple[str, ...], How], tuple[int, list[Row]]] = {}

    @classmethod
    def make(cls, labels: Iterable[Label], size: int | None, file: Path | None) -> LabelIndex:
        """Index labels, in memory or in a file, which is whole or is not there.

        Raises:
            ValueError: a label is of a feature beyond the size.
            FileExistsError: there is a file already.
        """
        if file is None:
            made = cls(_opened(":memory:"))
            made._fill(labels, size)
            made._look()
            return made
        if file.exists():
            raise FileExistsError(f"There is a file at {str(file)!r} already; open it with Labels.open, or remove it.")
        with atomically(file) as unfinished:
            made = cls(_opened(str(unfinished)))
            try:
                made._fill(labels, size)
            finally:
                made.close()
        return cls.open(file)

    @classmethod
    def open(cls, file: Path) -> LabelIndex:
        """Open a file that `make` wrote, for reading.

        Raises:
            ValueError: it is none, damaged, or of another version.
        """
        made = cls(_opened(f"{file.resolve().as_uri()}?mode=ro", uri=True))
        try:
            marks = made.rows("PRAGMA application_id") + made.rows("PRAGMA user_version")
            if marks == [(_APPLICATION,), (_FORMAT,)]:
                made._look()
                return made
        except (sqlite3.DatabaseError, KeyError, TypeError, ValueError):
            made.close()
            raise ValueError(
                f"{file.name} is not a whole file that Labels(…, file=) wrote; make it again with Labels.load."
            ) from None
        made.close()
        raise ValueError(f"{file.name} is not a file of labels of this version of steerwidgets; make it again.")

    def close(self) -> None:
        """Let go of the file or the memory; nothing can be found afterwards."""
        with self._lock:
            self._connection.close()

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a question in SQL gives."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def tiers(self, asked: Query, most: int) -> Iterator[list[Row]]:
        """Labels in which every word of a query is whole, then those in which each begins a word, then the others.

        The shortest first, and of each at least `most` that the tiers before did not have, where there are so many.
        """
        rows, more = self.up_to(asked, COUNTED)
        if not more:
            by_way: dict[How, list[Row]] = {how: [] for how in _WAYS}
            for row in rows:
                by_way[asked.way_of(row[5])].append(row)
            yield from by_way.values()
            return
        before = 0
        for how in self._ways(asked):
            rows = self._find(asked, how, max(most + before, COUNTED + 1))
            yield rows
            before += len(rows)

    def up_to(self, asked: Query, most: int) -> tuple[list[Row], bool]:
        """The shortest labels that match in any way, `most` of them, and whether there are more."""
        ways = self._ways(asked)
        # The last way finds all that the others find, unless it stops looking.
        rows = self._find(asked, ways[-1], most + 1)
        if len(rows) > most or not self._is_cut(asked):
            return rows[:most], len(rows) > most
        several = {row[0]: row for how in ways for row in self._find(asked, how, most + 1)}
        return [several[key] for key in sorted(several)][:most], True

    def features(self, asked: Query) -> set[int]:
        """Every feature with a label that matches in any way."""
        questions = (self._question(asked, how) for how in _WAYS)
        answers = (self._answer("l.feature", each, -1, every=True) for each in questions if each is not None)
        return {row[0] for answer in answers for row in answer}

    def _ways(self, asked: Query) -> list[How]:
        """The ways of looking for a query that find anything new."""
        return [how for how in _WAYS if self._question(asked, how) is not None]

    def _find(self, asked: Query, how: How, limit: int) -> list[Row]:
        with self._lock:
            most, rows = self._kept.get((asked.words, how), (-1, []))
            if most < limit and len(rows) >= most:
                question = self._question(asked, how)
                rows = self._answer(_COLUMNS, question, limit) if question is not None else []
                if len(self._kept) >= _KEPT:
                    self._kept.pop(next(iter(self._kept)))
                self._kept[asked.words, how] = limit, rows
            return rows[:limit]

    def _is_cut(self, asked: Query) -> bool:
        """Whether there are more labels with letters of a query within words than are looked at."""
        question = self._question(asked, "pieces")
        if question is None or not question.is_cut:
            return False
        if question not in self._cuts:
            if len(self._cuts) >= _REMEMBERED:
                self._cuts.clear()
            sql = "SELECT 1 FROM pieces WHERE pieces MATCH ? LIMIT 1 OFFSET ?"
            self._cuts[question] = bool(self.rows(sql, question.match, _SCANNED))
        return self._cuts[question]

    def weight(self, word: str, *, whole: bool) -> float:
        """The inverse frequency of a word, or of all that begin with it."""
        if (word, whole) not in self._frequencies:
            last = word if whole else word + _LAST
            sql = "SELECT coalesce(sum(labels), 0) FROM vocabulary WHERE term BETWEEN ? AND ?"
            (found,) = self.rows(sql, word, last)[0]
            number = min(found, self.labels)
            if len(self._frequencies) >= _REMEMBERED:
                self._frequencies.clear()
            frequency = math.log(1 + (self.labels - number + 0.5) / (number + 0.5))
            self._frequencies[word, whole] = frequency
            return frequency
        return self._frequencies[word, whole]

    def _question(self, asked: Query, how: How) -> Question | None:
        if (asked, how) not in self._questions:
            if len(self._questions) >= _REMEMBERED:
                self._questions.clear()
            self._questions[asked, how] = self._vocabulary.question(asked, how)
        return self._questions[asked, how]

    def _answer(self, columns: str, question: Question, limit: int, *, every: bool = False) -> list[Any]:
        table, conditions = question.table, question.conditions
        held = f"SELECT rowid AS found FROM {table} WHERE {table} MATCH ? LIMIT ?"  # noqa: S608 - nothing of a user's
        where = f"WHERE {' AND '.join(sql for sql, _ in conditions)}" if conditions else ""
        # CROSS JOIN: the index is the outer loop.
        sql = f"SELECT {columns} FROM ({held}) CROSS JOIN labels l ON l.id = found {where} LIMIT ?"  # noqa: S608
        looked_at = limit if not conditions else _SCANNED if question.is_cut and not every else -1
        return self.rows(sql, question.match, looked_at, *(word for _, word in conditions), limit)

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
            # Half a character, as in a file's name that is no text, has no place in a database.
            text, source = (given.encode("utf-8", "replace").decode() for given in (label.text, label.source))
            tokens = " ".join(tokens_of(text))
            kept.append((label.index, text, source, label.author, tokens, len(kept)))
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

    def _look(self) -> None:
        facts = dict(self.rows("SELECT name, value FROM facts"))
        self.size, self.labels, self.mean = int(facts["size"]), int(facts["labels"]), max(1.0, facts["mean"])
        self._vocabulary = Vocabulary(term for (term,) in self.rows("SELECT term FROM vocabulary ORDER BY term"))


def _opened(name: str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(name, uri=uri, check_same_thread=False, isolation_level=None)
