"""The features of one dictionary as arrays, so that a million of them are filtered and sorted without being made."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from steerwidgets.labels.labels import Count

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.dictionaries.evidence import FeatureEvidence
    from steerwidgets.dictionaries.statistics import FeatureStatistics
    from steerwidgets.steering.recipe import Direction


@dataclass(frozen=True, eq=False)
class Hits:
    """Features of several dictionaries, the best first.

    Attributes:
        source: int16 [hit], which of the dictionaries.
        index: int64 [hit], the feature in it.
        value: float32 [hit], what the search ranked by; None for a search of labels.
        position: int64 [hit], where in a text that is; None where there is none.
    """

    source: NDArray[np.int16]
    index: NDArray[np.int64]
    value: NDArray[np.float32] | None = None
    position: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, parts: Sequence[tuple[int, NDArray[np.int64]]]) -> Hits:
        """Hits without values: the indices of each dictionary, one dictionary after the other."""
        sources = [np.full(len(indices), which, np.int16) for which, indices in parts]
        return cls(_joined(sources, np.int16), _joined([indices for _, indices in parts], np.int64))

    @classmethod
    def ranked(
        cls, parts: Sequence[tuple[int, NDArray[np.float32], NDArray[np.int64] | None]], *, smallest: bool = False
    ) -> Hits:
        """Hits from a value of every feature of some dictionaries, the best of all first; NaN is no hit.

        Args:
            parts: which dictionary, float32 [feature], and int64 [feature] positions or None.
            smallest: whether the smallest value is the best.
        """
        values = _joined([values for _, values, _ in parts], np.float32)
        known = np.flatnonzero(~np.isnan(values))
        order = known[np.argsort(values[known] if smallest else -values[known], kind="stable")]
        where = [positions for _, _, positions in parts if positions is not None]
        return cls(
            _joined([np.full(len(v), which, np.int16) for which, v, _ in parts], np.int16)[order],
            _joined([np.arange(len(v)) for _, v, _ in parts], np.int64)[order],
            values[order],
            _joined(where, np.int64)[order] if len(where) == len(parts) and parts else None,
        )

    def __len__(self) -> int:
        return len(self.index)

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Hits:
        """Some of them."""
        value = None if self.value is None else self.value[chosen]
        position = None if self.position is None else self.position[chosen]
        return replace(self, source=self.source[chosen], index=self.index[chosen], value=value, position=position)

    def gathered(self, arrays: Sequence[NDArray[np.float32] | None]) -> NDArray[np.float32]:
        """A number of every hit, float32 [hit], from one array for each dictionary; NaN where there is none."""
        found = np.full(len(self), np.nan, np.float32)
        for which, array in enumerate(arrays):
            if array is not None:
                own = self.source == which
                found[own] = array[self.index[own]]
        return found

    def sorted_by(self, numbers: NDArray[np.float32], *, descending: bool) -> Hits:
        """By a number of every hit, the unknown ones last; equals stay as they are."""
        keys = -numbers if descending else numbers
        return self.take(np.argsort(np.where(np.isnan(keys), np.inf, keys), kind="stable"))


def all_of(sources: Sequence[Source], chosen: Sequence[int], output_scores: Mapping[str, float]) -> Hits:
    """Every feature of some dictionaries, what is worth looking at first.

    The labelled ones of all dictionaries, those that did best in a test before the others; then the unlabelled.

    Args:
        sources: the dictionaries.
        chosen: which of them.
        output_scores: those that were measured, by key.
    """
    ordered = [(which, *sources[which].ordered(output_scores)) for which in chosen]
    labelled = [(which, order[:number]) for which, order, number in ordered]
    return Hits.of([*labelled, *((which, order[number:]) for which, order, number in ordered)])


def _joined(arrays: Sequence[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([*arrays, np.empty(0, dtype)]).astype(dtype, copy=False)


TESTED: Final = "detection"
"""The score that orders labels: of the names in `Dictionary.label_scores` the one every test has."""

_MadeOf = tuple[tuple[str, ...], Mapping[int, Mapping[str, float]], tuple[int, ...]]
"""Labels, their scores, and which features the user labelled."""

_BARS: Final = 12
_TALLEST: Final = 64


class DictionarySource:
    """A dictionary as a search sees it.

    Attributes:
        dictionary: the dictionary.
        fingerprint: its name on the wire.
    """

    def __init__(self, dictionary: Dictionary) -> None:
        self.dictionary = dictionary
        self.fingerprint = dictionary.fingerprint
        self._labelled: tuple[tuple[str, ...], NDArray[np.bool_]] | None = None
        self._ordered: tuple[_MadeOf, NDArray[np.int64], int] | None = None
        self._bars: dict[int, list[int] | None] = {}
        self._bars_of: FeatureEvidence | None = None

    def __len__(self) -> int:
        return self.dictionary.size

    def __getitem__(self, index: int) -> Direction:
        return self.dictionary.feature(index)

    def index_of(self, key: str) -> int | None:
        """The feature of a key; None where it is of another dictionary."""
        fingerprint, _, index = key.rpartition("/")
        return int(index) if fingerprint == self.fingerprint and index.isdecimal() else None

    def matches(self, query: str) -> Iterator[int]:
        """The features whose labels hold the words of a query, the best first."""
        return self.dictionary.matches(query)

    def count(self, query: str) -> Count:
        """How many there are."""
        return self.dictionary.count(query)

    @property
    def state(self) -> tuple[object, ...]:
        """What its arrays are made from: as long as these are the same objects, so are the arrays."""
        made_of = self.dictionary.statistics, self.dictionary.labels, self.dictionary.label_scores
        return *made_of, self.own_labels, tuple(self.verdicts.items())

    @property
    def own_labels(self) -> tuple[int, ...]:
        """The features that the user labelled."""
        return tuple(self.dictionary.own_labels())

    @property
    def verdicts(self) -> Mapping[int, str]:
        """The user's verdicts, by feature."""
        return self.dictionary.own_verdicts()

    def judged(self, verdicts: Collection[str]) -> NDArray[np.bool_]:
        """Which features have one of some verdicts."""
        found = np.zeros(len(self), np.bool_)
        found[[index for index, verdict in self.verdicts.items() if verdict in verdicts]] = True
        return found

    def known(self, name: str) -> NDArray[np.float32] | None:
        """A number of every feature over the corpus, NaN where it is not known; None where none is."""
        statistics: FeatureStatistics | None = self.dictionary.statistics
        found = None if statistics is None else getattr(statistics, name)
        return None if found is None else found.numpy()

    def labelled(self) -> NDArray[np.bool_]:
        """Which features have a label."""
        texts = self.dictionary.labels
        if self._labelled is None or self._labelled[0] is not texts:
            flags = np.fromiter(map(bool, texts), np.bool_, len(texts)) if texts else np.zeros(len(self), np.bool_)
            self._labelled = texts, flags
        own = self.own_labels
        if not own:
            return self._labelled[1]
        found = self._labelled[1].copy()
        found[list(own)] = True
        return found

    def ordered(self, output_scores: Mapping[str, float]) -> tuple[NDArray[np.int64], int]:
        """Every feature, what is worth looking at first, and how many of them have a label.

        Of the labelled the user's own come first, then the others by how well the label did in a test, or, where it was
        not tested, by output score. The order is made once for the labels that there are: a list shall not change under
        the eyes of whoever measures scores of its rows.
        """
        made_of = self.dictionary.labels, self.dictionary.label_scores, self.own_labels
        kept = self._ordered
        if kept is None or not (kept[0][0] is made_of[0] and kept[0][1] is made_of[1] and kept[0][2] == made_of[2]):
            flags = self.labelled()
            found = np.flatnonzero(flags)
            measured = {index: s for key, s in output_scores.items() if (index := self.index_of(key)) is not None}
            tested = measured | {index: said[TESTED] for index, said in made_of[1].items() if TESTED in said}
            rank = np.zeros(len(self), np.float32)
            rank[list(tested)] = list(tested.values())
            rank[list(made_of[2])] = np.inf
            order = np.concatenate([found[np.argsort(-rank[found], kind="stable")], np.flatnonzero(~flags)])
            kept = self._ordered = made_of, order, len(found)
        return kept[1], kept[2]

    def bars(self, index: int) -> list[int] | None:
        """A feature's histogram in twelve bars of log counts, 0 to 64; None where nothing is known."""
        data = self.dictionary.feature_data
        if data is not self._bars_of:
            self._bars, self._bars_of = {}, data
        if index not in self._bars:
            self._bars[index] = None if data is None else bars(_counts(data, index))
        return self._bars[index]

    def facts(self) -> dict[str, Any]:
        """What a list of dictionaries says of it."""
        dictionary = self.dictionary
        return {
            "fingerprint": self.fingerprint,
            "kind": dictionary.kind,
            "layer": dictionary.site.layer,
            "stream": dictionary.site.stream,
            "name": _name(dictionary),
            "size": dictionary.size,
            "labelled": int(self.labelled().sum()),
            "has_density": self.known("density") is not None,
            "has_histogram": dictionary.feature_data is not None,
        }


class LooseSource:
    """Directions that no dictionary lists, as a search sees them: few, labelled, and with nothing known of them."""

    fingerprint: Final = ""
    dictionary: Final = None

    def __init__(self, directions: Sequence[Direction]) -> None:
        self._directions = tuple(directions)

    def __len__(self) -> int:
        return len(self._directions)

    def __getitem__(self, index: int) -> Direction:
        return self._directions[index]

    def __iter__(self) -> Iterator[Direction]:
        return iter(self._directions)

    def index_of(self, key: str) -> int | None:
        """The direction of a key; None where it is not among them."""
        return next((index for index, each in enumerate(self._directions) if each.key == key), None)

    def matches(self, query: str) -> Iterator[int]:
        """Those whose label or kind holds every word of a query."""
        words = query.casefold().split()
        texts = (f"{each.label} {each.kind}".casefold() for each in self._directions)
        return (index for index, text in enumerate(texts) if all(word in text for word in words))

    def count(self, query: str) -> Count:
        """How many there are."""
        return Count(sum(1 for _ in self.matches(query)))

    @property
    def state(self) -> tuple[object, ...]:
        """The directions."""
        return self._directions

    @property
    def verdicts(self) -> Mapping[int, str]:
        """None: a verdict is about a dictionary's feature."""
        return {}

    def judged(self, verdicts: Collection[str]) -> NDArray[np.bool_]:  # noqa: ARG002
        """None of them."""
        return np.zeros(len(self), np.bool_)

    def known(self, name: str) -> None:  # noqa: ARG002
        """Nothing."""
        return

    def ordered(self, output_scores: Mapping[str, float]) -> tuple[NDArray[np.int64], int]:  # noqa: ARG002
        """All of them, labelled as they are."""
        return np.arange(len(self)), len(self)

    def labelled(self) -> NDArray[np.bool_]:
        """All of them: a direction has the label that its maker gave it."""
        return np.ones(len(self), np.bool_)

    def bars(self, index: int) -> None:  # noqa: ARG002
        """None."""
        return


Source = DictionarySource | LooseSource


def bars(counts: Sequence[int] | NDArray[Any]) -> list[int] | None:
    """Counts of equal bins as twelve bars of log(1 + count), the tallest 64; None where it never fires."""
    counted = np.asarray(counts, np.float64)
    if not counted.any():
        return None
    edges = np.linspace(0, len(counted), min(_BARS, len(counted)) + 1).round().astype(int)
    merged = np.log1p(np.add.reduceat(counted, edges[:-1]))
    heights: list[int] = np.ceil(merged / merged.max() * _TALLEST).astype(int).tolist()
    return heights


def _counts(data: FeatureEvidence, index: int) -> Any:
    """A feature's counts without its examples, where these are kept apart."""
    alone = getattr(data, "counts", None)
    return alone(index) if callable(alone) else data[index].counts


def _name(dictionary: Dictionary) -> str:
    """What it is called in a list: the release that it is from, or its kind and site, the usual stream left out."""
    said = dictionary.provenance
    release = " ".join(filter(None, (said.get("release"), said.get("sae_id"))))
    site = dictionary.site
    stream = "" if site.stream == "resid_post" else f" {site.stream}"
    return release or f"{dictionary.kind} {site.layer}{stream}"
