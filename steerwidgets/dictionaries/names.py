"""What the features of one dictionary are called, however its labels are given."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from steerwidgets.files.fields import Fields
from steerwidgets.labels.files import Label, labels_of, read_labels
from steerwidgets.labels.labels import COUNTED, Count, Labels

LabelsLike = Sequence[str | None] | Mapping[str, int] | Mapping[int, str] | str | Path | Labels
"""One text for each feature, {label: index}, {index: label}, the path of a file or folder of labels, or a `Labels`.

Files are what `Labels.load` reads: JSON, JSON lines such as ReFT-r1's metadata.jsonl, CSV, Neuronpedia's exports.
"""

_SCANNED: Final = 2_000
"""Labels of so many features are searched by reading them all; more, by an index."""


def labels_in(said: Fields, name: str) -> list[str | None] | dict[Any, Any] | None:
    """The labels that stand in a file: a list or a table, never the path of another file.

    Raises:
        ValueError: they are something else.
    """
    value = said.value(name)
    if value is not None and (not isinstance(value, list | tuple | dict) or value == {}):
        raise said.wrong(name, "one text for each feature, {label: index} or {index: label}")
    return value if isinstance(value, dict | None) else list(value)


class FeatureNames:
    """The imported labels of a dictionary's features.

    Args:
        labels: in any form that `LabelsLike` names, or None.
        size: how many features there are.
        kind: what the dictionary is called.
        unlabelled: what a feature without a label is called, by its index.

    Attributes:
        first: the first label of each feature, "" for a feature without one; empty where there are none at all.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is damaged, there is not one label for each feature, or an index is none of the features.
    """

    def __init__(self, labels: LabelsLike | None, size: int, kind: str, unlabelled: Callable[[int], str]) -> None:
        self._size, self._kind, self._unlabelled = size, kind, unlabelled
        self._given = labels if isinstance(labels, Labels) else None
        self._all: dict[int, list[Label]] = {}
        self.first: tuple[str, ...] = ()
        if self._given is not None:
            self._refuse_beyond(len(self._given) - 1, "The last label")
            self.first = _padded(tuple(self._given), size)
        elif _is_one_for_each(labels):
            self.first = self._one_for_each(labels)
        elif labels is not None:
            self._take(labels)

    def of(self, index: int) -> list[Label]:
        """All labels of a feature, with source and author, in the order in which they came."""
        if self._given is not None:
            return self._given.of(index) if index < len(self._given) else []
        if self._all:
            return self._all.get(index, [])
        return [Label(index, self.first[index])] if self.first and self.first[index] else []

    def find(self, label: str) -> list[int]:
        """The features that have exactly this label, among others maybe."""
        return self._by_text.get(label, [])

    def matches(self, query: str) -> Iterator[int]:
        """The features with a label, or without one a number, that hold every word of the query.

        In the order of the dictionary; of more than 2,000 features, as `Labels.features` finds them, the best first.
        Their index is made once, by the first query. Of so many without any labels, numbers that begin as the query's.
        """
        words = query.casefold().split()
        if not words or self._size <= _SCANNED:
            return (index for index in range(self._size) if self.holds(index, words))
        if not self.first:
            return (index for index in self._numbers(words) if self.holds(index, words))
        rest = self._without_kind(words)
        return self._index.features(rest) if rest else iter(range(self._size))

    def count(self, query: str) -> Count:
        """How many features match, up to 1,000; beyond that, "more than 1,000"."""
        words = query.casefold().split()
        if words and self.first and self._size > _SCANNED and (rest := self._without_kind(words)):
            return self._index.count(rest, features=True)
        if not words:
            return Count(self._size)
        number = sum(1 for _ in itertools.islice(self.matches(query), COUNTED + 1))
        return Count(min(number, COUNTED), more=number > COUNTED)

    def holds(self, index: int, words: Sequence[str]) -> bool:
        """Whether a feature's labels, or its number, hold every one of some words."""
        return not words or holds(self._text(index), words)

    def _without_kind(self, words: Sequence[str]) -> str:
        return " ".join(word for word in words if word != self._kind.casefold())

    def _numbers(self, words: Sequence[str]) -> Iterator[int]:
        """Every feature where no word is a number; else those whose number begins so; none where there are others."""
        digits = [found[0] for word in words if (found := re.search(r"\d+$", word))]
        if any(word not in self._text(0) and not re.search(r"\d+$", word) for word in words):
            return
        start = int(digits[0]) if digits else 0
        if not digits or start == 0:
            yield from range(self._size if not digits else min(1, self._size))
            return
        scale = 1
        while start * scale < self._size:
            yield from range(start * scale, min((start + 1) * scale, self._size))
            scale *= 10

    def _text(self, index: int) -> str:
        said = " ".join(label.text for label in self.of(index))
        return f"{said or self._unlabelled(index)} {self._kind}".casefold()

    @functools.cached_property
    def _by_text(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        features = range(self._size) if self.first else ()
        for index in features:
            texts = {label.text for label in self._all[index]} if index in self._all else {self.first[index]}
            for text in texts - {""}:
                found.setdefault(text, []).append(index)
        return found

    @functools.cached_property
    def _index(self) -> Labels:
        if self._given is not None:
            return self._given
        labelled = itertools.chain.from_iterable(self.of(index) for index in range(self._size))
        kind = f"{self._kind} "
        bare = (index for index in range(self._size) if not self.first[index])
        numbers = (Label(index, self._unlabelled(index).removeprefix(kind)) for index in bare)
        return Labels(itertools.chain(labelled, numbers), size=self._size)

    def _one_for_each(self, labels: Any) -> tuple[str, ...]:
        if len(labels) not in (0, self._size):
            raise ValueError(
                f"{len(labels)} labels were given for the {self._size} features of this {self._kind} dictionary; a "
                'list has one for each ("" for none), or give {label: index} or {index: label}.'
            )
        return tuple(label or "" for label in labels) if any(labels) else ()

    def _take(self, labels: Any) -> None:
        is_path = isinstance(labels, str | Path)
        for label in read_labels(Path(labels), size=self._size) if is_path else labels_of(labels):
            self._refuse_beyond(label.index, f"The label {label.text[:60]!r}")
            self._all.setdefault(label.index, []).append(label)
        if self._all:
            self.first = tuple(self._all[i][0].text if i in self._all else "" for i in range(self._size))

    def _refuse_beyond(self, index: int, which: str) -> None:
        if index >= self._size:
            raise ValueError(
                f"{which} belongs to feature {index}, but this {self._kind} dictionary has features 0 to "
                f"{self._size - 1}: the labels are of another dictionary."
            )


def holds(text: str, words: Sequence[str]) -> bool:
    """Whether a text without case holds every one of some words, whole or in part."""
    return all(word in text for word in words)


def _is_one_for_each(labels: Any) -> bool:
    return isinstance(labels, list | tuple) and all(label is None or isinstance(label, str) for label in labels)


def _padded(labels: tuple[str, ...], size: int) -> tuple[str, ...]:
    return labels + ("",) * (size - len(labels)) if any(labels) else ()
