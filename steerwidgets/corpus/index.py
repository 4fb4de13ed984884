"""A corpus index on disk: opened at once, read one feature at a time."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.corpus import histogram
from steerwidgets.corpus.gathering import keeping
from steerwidgets.corpus.histogram import lower_edge, nearest_edge
from steerwidgets.corpus.manifest import Entry, Manifest
from steerwidgets.corpus.part_files import SUMMARY, Arrays, DictionaryReader
from steerwidgets.corpus.places import SAMPLE, STRONGEST, Columns
from steerwidgets.dictionaries.evidence import Evidence, Example, Quantile, Valued
from steerwidgets.dictionaries.statistics import FeatureStatistics

if TYPE_CHECKING:
    from steerwidgets.corpus.places import Keeping
    from steerwidgets.dictionaries.base import Dictionary


def bands(maximum: float, keeping: Keeping) -> list[tuple[float, float]]:
    """About equal parts of the range from 0 to a feature's maximum, from the highest down.

    Their ends are those of cells (`Keeping.cell_bits`) next to the equal parts' own, since places are drawn from cells.
    """
    import numpy as np

    if not maximum > 0 or keeping.bands < 1:
        return []
    bits = keeping.cell_bits
    parts = np.arange(1, keeping.bands, dtype=np.float32) * np.float32(maximum) / np.float32(keeping.bands)
    ends = sorted({float(edge) for edge in lower_edge(nearest_edge(parts, bits), bits)} - {0.0})
    ends = [0.0, *(end for end in ends if end < maximum), float(maximum)]
    return list(itertools.pairwise(ends))[::-1]


_OPEN: Final = 8
"""Parquet files that are held open at once."""


def directions_file(folder: Path, number: int) -> Path:
    """Where the tokens and neighbours of a dictionary are."""
    return folder / f"directions-{number}.safetensors"


class CorpusIndex:
    """What dictionaries' features did on a corpus; `build`, `open` and `merge` give one.

    Args:
        path: its folder.

    Attributes:
        path: the same.
        name: what the corpus is called.
        complete: whether the run got through all the texts, or as many tokens as were asked for.
        texts: how many texts were read, empty ones included.
        empty: how many of them had no token of their own.
        tokens: how many tokens of their own the others have; attention sinks among them count nowhere.

    Raises:
        FileNotFoundError: there is no index.
        ValueError: it is damaged, of another version, or not finished.

    Example:
        >>> texts = ["The user asks the assistant.", "Name a city by the sea, please."]
        >>> index = sw.corpus.build(lm, cavs, texts, folder / "index", on_progress=lambda progress: None)
        >>> index.texts, index.complete
        (2, True)
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._manifest = Manifest.load(self.path)
        if not self._manifest.finished:
            raise ValueError(
                f"The corpus index at {str(self.path)!r} is not finished; {self._manifest.read.texts:,} texts were "
                "read. Call sw.corpus.build with the same arguments to go on."
            )
        self.name, self.complete = self._manifest.name, self._manifest.complete
        read = self._manifest.read
        self.texts, self.empty, self.tokens = read.texts, read.empty, read.tokens

    @property
    def dictionaries(self) -> tuple[Entry, ...]:
        """The dictionaries in it: fingerprint, kind, site and size of each."""
        return self._manifest.dictionaries

    def of(self, dictionary: Dictionary) -> FeatureIndex:
        """What is known of a dictionary's features; `[i]` reads one of them.

        Args:
            dictionary: one of those that the index was built with.

        Returns:
            The evidence of its features, `.statistics`, and how many `.tokens` counted.

        Raises:
            KeyError: the dictionary is not in the index.

        Example:
            >>> quiet = lambda progress: None
            >>> index = sw.corpus.build(lm, cavs, ["The user asks."], folder / "index", on_progress=quiet)
            >>> len(index.of(cavs)), index.of(cavs)[2].index
            (3, 2)
        """
        prints = [entry.fingerprint for entry in self.dictionaries]
        if dictionary.fingerprint not in prints:
            held = ", ".join(f"{entry.kind} of {entry.size} at {entry.site}" for entry in self.dictionaries)
            raise KeyError(
                f"{dictionary!r} is not in the corpus index at {str(self.path)!r}, which holds {held}; its weights or "
                "its site are others."
            )
        return FeatureIndex(self.path, self._manifest, prints.index(dictionary.fingerprint))

    def statistics(self, dictionary: Dictionary) -> FeatureStatistics:
        """Maximum, median, 99.5th percentile (both to 1.6 %) and density of every feature.

        Args:
            dictionary: one of those that the index was built with.

        Returns:
            One number for each feature, in units of its activation; densities are shares of tokens.

        Raises:
            KeyError: the dictionary is not in the index.

        Example:
            >>> quiet = lambda progress: None
            >>> index = sw.corpus.build(lm, cavs, ["The user asks."], folder / "index", on_progress=quiet)
            >>> len(index.statistics(cavs))
            3
        """
        return self.of(dictionary).statistics

    def attach(self, dictionary: Dictionary) -> None:
        """Give a dictionary its statistics and feature data: `dictionary.statistics`, `dictionary.evidence(123)`.

        Args:
            dictionary: one of those that the index was built with.

        Raises:
            KeyError: the dictionary is not in the index.

        Example:
            >>> quiet = lambda progress: None
            >>> index = sw.corpus.build(lm, cavs, ["The user asks."], folder / "index", on_progress=quiet)
            >>> index.attach(cavs)
            >>> cavs.evidence(0).index
            0
        """
        data = self.of(dictionary)
        dictionary.statistics, dictionary.feature_data = data.statistics, data

    def __repr__(self) -> str:
        part = "" if self.complete else ", not read to the end"
        return f"<CorpusIndex of {self.name}, {self.tokens:,} tokens{part}: {len(self.dictionaries)} dictionaries>"


class FeatureIndex:
    """What is known of one dictionary's features. Files are opened when they are first needed.

    Activations at or below 0 count nowhere but in `lowest`: histogram, quantiles and density of signed activations
    (CAVs, neurons) are of their positive side. A mixture's component counts as active where its responsibility is above
    0.001, since it is never 0.
    """

    def __init__(self, folder: Path, manifest: Manifest, number: int) -> None:
        self._entry = manifest.dictionaries[number]
        self._settings = manifest.settings
        self._name = manifest.name
        size = self._entry.size
        self._reader = DictionaryReader(folder / manifest.parts[0] / str(number), size)
        self._summary = Arrays(self._reader.folder / SUMMARY)
        numbers = (*FeatureStatistics.ARRAYS, "lowest")
        self._summary.expect(dict.fromkeys(numbers, (size,)), real=numbers)
        directions = directions_file(folder, number)
        self._directions = Arrays(directions) if directions.is_file() else None
        for arrays in filter(None, (self._summary, self._directions)):
            lists = {name for name in arrays.names if name.endswith((".ids", ".values"))}
            arrays.expect(dict.fromkeys(lists, (size, None)), real=[name for name in lists if name.endswith(".values")])
        self._files: dict[Path, Any] = {}
        self._lock = threading.Lock()

    @property
    def corpus(self) -> str:
        """What was read: its name, and how many tokens counted at this dictionary's site."""
        return f"{self._name}, {self.tokens:,} tokens"

    @property
    def tokens(self) -> int:
        """How many tokens counted: no padding, special or template tokens, and no attention sinks at its site."""
        return self._reader.tokens

    @property
    def lowest(self) -> Any:
        """The smallest activation of each feature, 0 or less: float32 [feature]."""
        return self._summary.all("lowest")

    @property
    def statistics(self) -> FeatureStatistics:
        """Maximum, median, 99.5th percentile (both to 1.6 %) and density of every feature."""
        import torch

        from steerwidgets.dictionaries.statistics import FeatureStatistics

        arrays: dict[str, Any] = {name: torch.from_numpy(self._summary.all(name)) for name in FeatureStatistics.ARRAYS}
        return FeatureStatistics(**arrays, corpus=self._name, tokens=self.tokens)

    def __len__(self) -> int:
        return self._entry.size

    def __getitem__(self, index: int) -> Evidence:
        """What is known of one feature; nothing else is read, but what shares a row group with it.

        Raises:
            IndexError: there is no such feature.
            ValueError: a file is damaged.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"This is data of the features 0 to {len(self) - 1}, but {index} was asked for.")
        with self._lock:
            if len(self._files) > _OPEN:
                self._files.clear()
            places, sources = self._reader.places_of(index, self._files)
            counts, top, maximum = self._histogram(index)
            promoted, suppressed, nearest = (
                self._list(self._directions, name, index) for name in ("promoted", "suppressed", "nearest")
            )
            coactive = self._list(self._summary, "coactive", index)
        strongest, quantiles, random = self._examples(places, sources, maximum)
        return Evidence(
            index,
            strongest,
            tuple(counts),
            top,
            promoted,
            suppressed,
            nearest,
            quantiles=quantiles,
            random=random,
            coactive=tuple((feature, value) for feature, value in coactive if value > 0),
        )

    def _histogram(self, index: int) -> tuple[list[int], float, float]:
        bins, of_bins, below, maximum = self._reader.histogram(index)
        bars, top = histogram.equal_bins(bins, of_bins, below, maximum, self._settings.bins)
        return bars, top, maximum

    def _examples(
        self, places: Columns, sources: list[str], maximum: float
    ) -> tuple[tuple[Example, ...], tuple[Quantile, ...], tuple[Example, ...]]:
        import numpy as np

        kind, value, priority = (places[name] for name in ("kind", "value", "priority"))
        strongest, sample = np.flatnonzero(kind == STRONGEST), np.flatnonzero(kind == SAMPLE)
        strongest = strongest[np.lexsort((priority[strongest], -value[strongest]))]
        sample = sample[np.argsort(priority[sample], kind="stable")]
        settings = self._settings
        found = []
        for low, high in bands(maximum, keeping(settings, len(self))):
            inside = sample[(value[sample] >= low) & ((value[sample] < high) | (high >= maximum))]
            found.append(Quantile(low, high, _read(places, sources, inside[: settings.per_quantile])))
        return (
            _read(places, sources, strongest),
            tuple(found),
            _read(places, sources, sample[: settings.random]),
        )

    @staticmethod
    def _list(arrays: Arrays | None, name: str, index: int) -> Valued:
        if arrays is None or f"{name}.ids" not in arrays.names:
            return ()
        ids, values = (arrays.some(f"{name}.{part}", index, index + 1)[0].tolist() for part in ("ids", "values"))
        return tuple(zip(ids, values, strict=True))

    def __repr__(self) -> str:
        return f"<FeatureIndex of {len(self)} features ({self._entry.kind} at {self._entry.site}) over {self.corpus}>"


def _read(places: Columns, sources: list[str], rows: Any) -> tuple[Example, ...]:
    found = []
    for row in rows.tolist():
        length = int(places["length"][row])
        tokens, values = (tuple(places[name][row][:length].tolist()) for name in ("tokens", "values"))
        found.append(Example(tokens, values, int(places["peak"][row]), sources[int(places["source"][row])]))
    return tuple(found)
