"""Labels of features, and search in a million of them: SQLite FTS5."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from steerwidgets.calls import tells_calls
from steerwidgets.files.shown import shown
from steerwidgets.labels.files import Author, Label, labels_of, read_labels
from steerwidgets.labels.index import COUNTED, LabelIndex, Row
from steerwidgets.labels.words import Query

__all__ = ["COUNTED", "Author", "Count", "Label", "Labels", "Match"]

_RANKED: Final = 500
"""So many candidates are ranked; more only where more are asked for."""

_K1, _B = 1.2, 0.75  # Robertson and Zaragoza 2009, and the constants of FTS5's bm25()


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


@tells_calls("sw.Labels", "labels")
class Labels:
    """What features are called, by index; several labels of one feature, from several sources, are all kept.

    `labels[123]` is the first label of a feature ("" where it has none), `labels.of(123)` gives all of them with
    source and author, `labels.search("sea wav")` finds them. Threads may share one object.

    A search is ranked by bm25 (Robertson and Zaragoza 2009).

    Args:
        labels: {label: index}, {index: label}, one text for each feature, or `Label`s.
        size: how many features the dictionary has; by default as many as the highest index asks for.
        source: where labels come from that do not say.
        author: who wrote labels that do not say: "person" or "language model".
        file: a file to keep labels and index in, for `Labels.open`; by default both stay in memory.

    Raises:
        ValueError: the labels have another shape, or do not fit the size.
        FileExistsError: there is a file already.

    Example:
        >>> labels = sw.Labels({"the sea and sailing": 3, "music": 5}, size=10)
        >>> labels[3], labels[0]
        ('the sea and sailing', '')
        >>> [match.index for match in labels.search("sail")]
        [3]
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
        if isinstance(labels, str | Path):
            raise ValueError(
                f"sw.Labels takes the labels themselves, but {shown(str(labels))} was given; read them from a file: "
                f"sw.Labels.load({str(labels)[:80]!r})."
            )
        if size is not None and size < 0:
            raise ValueError(f"The size of a dictionary is 0 or more, but {size} was given.")
        if size is not None and isinstance(labels, list | tuple) and all(isinstance(x, str | None) for x in labels):
            _refuse_other_length(len(labels), size)
            labels = itertools.chain(labels)
        elif size is None and isinstance(labels, list | tuple) and all(isinstance(x, str | None) for x in labels):
            size = len(labels)
        file = None if file is None else Path(file)
        self._index = LabelIndex.make(labels_of(labels, source=source, author=author), size, file)

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

        Returns:
            The labels.

        Raises:
            FileNotFoundError: there is no such file.
            FileExistsError: there is a `file` already.
            ValueError: a file is damaged, has unknown columns, or its labels are not those of this dictionary.

        Example:
            >>> _ = (folder / "labels.json").write_text('{"the sea": 3, "music": 5}')
            >>> sw.Labels.load(folder / "labels.json", size=10)[5]
            'music'
        """
        if isinstance(path, Mapping):
            raise ValueError(
                "sw.Labels.load takes the path of a file, but a table of labels was given; it needs no file: "
                "sw.Labels(labels)."
            )
        paths = [path] if isinstance(path, str | Path) else list(path)
        read = functools.partial(read_labels, size=size, source=source, author=author, model=model, layer=layer)
        return cls(itertools.chain.from_iterable(read(Path(each)) for each in paths), size=size, file=file)

    @classmethod
    def open(cls, file: str | Path) -> Labels:
        """Open labels that were kept in a file, for reading; several kernels may.

        Args:
            file: what `Labels(…, file=…)` or `Labels.load(…, file=…)` made.

        Returns:
            The labels.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not a file of labels, damaged, or of another version.

        Example:
            >>> sw.Labels({"music": 5}, size=10, file=folder / "kept.labels").close()
            >>> sw.Labels.open(folder / "kept.labels")[5]
            'music'
        """
        file = Path(file)
        if not file.is_file():
            raise FileNotFoundError(f"There is no file of labels at {str(file)!r}.")
        made = cls.__new__(cls)
        made._index = LabelIndex.open(file)  # noqa: SLF001
        return made

    def close(self) -> None:
        """Let go of the file or the memory; nothing can be found afterwards.

        Example:
            >>> sw.Labels({"music": 5}).close()
        """
        self._index.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """As all of its labels, which another process puts into an index of its own."""
        rows = self._index.rows("SELECT feature, text, source, author FROM labels ORDER BY feature, position")
        return _again, ([tuple(row) for row in rows], len(self))

    def __len__(self) -> int:
        return self._index.size

    def __getitem__(self, index: int) -> str:
        """The first label of a feature, "" where it has none.

        Raises:
            IndexError: there is no such feature.
        """
        sql = "SELECT text FROM labels WHERE feature = ? ORDER BY position LIMIT 1"
        found = self._index.rows(sql, self._checked(index))
        return str(found[0][0]) if found else ""

    def __iter__(self) -> Iterator[str]:
        """The first label of every feature, in order."""
        rows = self._index.rows("SELECT feature, text FROM labels ORDER BY feature, position DESC")
        texts = dict(rows)  # the last of a feature stays: its first label
        return (str(texts.get(index, "")) for index in range(len(self)))

    def of(self, index: int) -> list[Label]:
        """All labels of a feature, in the order in which they came.

        Args:
            index: the feature's.

        Returns:
            Labels with `.text`, `.source` and `.author`; none where it has none.

        Raises:
            IndexError: there is no such feature.

        Example:
            >>> [label.text for label in sw.Labels({"music": 5, "songs": 5}).of(5)]
            ['music', 'songs']
        """
        sql = "SELECT feature, text, source, author FROM labels WHERE feature = ? ORDER BY position"
        return [Label(*row) for row in self._index.rows(sql, self._checked(index))]

    def search(self, query: str, *, limit: int = 50) -> list[Match]:
        """Labels that hold every word of the query, the best first.

        First those in which each is a whole word; where these are fewer than `limit`, those in which each begins a
        word; and where these are too few, those that hold each anywhere in a word (one or two letters only where a word
        begins). Case, accents and punctuation do not matter, ß is ss, and nothing in a query is an operator. Only its
        first 16 words and 200 characters count. Chinese and Japanese characters, emoji and symbols are words by
        themselves; those that stand together are found together. An empty query finds nothing.

        Each of the three is ranked by bm25. Where more than 500 labels match, only the 500 shortest are ranked: bm25
        prefers short labels, so only a longer one that names a word often could have been among the best. Where a
        query has a word of one or two letters and another one stands within more than 32 different words, only the
        20,000 shortest labels with the others are looked at.

        Args:
            query: words, whole or in part.
            limit: how many at most.

        Returns:
            Matches with `.index`, `.text` and `.rank`.

        Example:
            >>> [match.text for match in sw.Labels(["the sea", "music", "sea salt"]).search("salt sea")]
            ['sea salt']
        """
        if limit <= 0 or not (asked := Query.of(query)):
            return []
        bound = max(_RANKED, limit)
        matches: list[Match] = []
        seen: set[int] = set()
        for rows in self._index.tiers(asked, bound):
            new = [row for row in rows if row[0] not in seen][:bound]
            matches += self._ranked(asked, new)
            if len(matches) >= limit:
                break
            seen |= {row[0] for row in rows}
        return matches[:limit]

    def count(self, query: str, *, features: bool = False) -> Count:
        """How many labels `search` could find, up to 1,000; beyond that, "more than 1,000".

        Args:
            query: the query.
            features: whether features are counted instead, of which one may have several labels.

        Returns:
            The number, `.number`, and whether there are `.more`.

        Example:
            >>> int(sw.Labels(["the sea", "music", "sea salt"]).count("sea"))
            2
        """
        if not (asked := Query.of(query)):
            return Count(0)
        rows, more = self._index.up_to(asked, COUNTED)
        number = len({row[1] for row in rows} if features else rows)
        return Count(number, more=more)

    def features(self, query: str) -> Iterator[int]:
        """Every feature with a label that matches: those of `search` first, then the others by their index.

        Args:
            query: words, whole or in part.

        Returns:
            Indices, each of them once.

        Example:
            >>> sorted(sw.Labels(["the sea", "music", "sea salt"]).features("sea"))
            [0, 2]
        """
        if not (asked := Query.of(query)):
            return
        first = list(dict.fromkeys(match.index for match in self.search(query, limit=2 * _RANKED)))
        yield from first
        yield from sorted(self._index.features(asked).difference(first))

    def __repr__(self) -> str:
        return f"<Labels: {self._index.labels:,} for {len(self):,} features>"

    def _checked(self, index: int) -> int:
        try:
            found = operator.index(index)
        except TypeError:
            raise TypeError(f"A label is found by the feature's index, but {index!r} was given.") from None
        if not -len(self) <= found < len(self):
            raise IndexError(f"These labels are of features 0 to {len(self) - 1}, but {index} was asked for.")
        return found % len(self)

    def _ranked(self, asked: Query, rows: list[Row]) -> list[Match]:
        if not rows:
            return []
        weights = [
            (word, self._index.weight(word, whole=False), self._index.weight(word, whole=True)) for word in asked.words
        ]
        scored = []
        for key, feature, text, source, author, tokens in rows:
            padded = f" {tokens} "
            norm = _K1 * (1 - _B + _B * (tokens.count(" ") + 1) / self._index.mean)
            score = 0.0
            for word, beginning, whole in weights:
                times = padded.count(f" {word}") or padded.count(word)
                score += beginning * times * (_K1 + 1) / (times + norm)
                if times := padded.count(f" {word} "):
                    score += whole * times * (_K1 + 1) / (times + norm)
            scored.append((-score, key, Match(feature, text, source, author, score)))
        scored.sort(key=lambda each: each[:2])
        return [match for _, _, match in scored]


def _again(rows: list[tuple[Any, ...]], size: int) -> Labels:
    return Labels([Label(*row) for row in rows], size=size)


def _refuse_other_length(found: int, size: int) -> None:
    if found != size:
        raise ValueError(f"There is one label for each of the {size} features of a dictionary, but {found} were given.")
