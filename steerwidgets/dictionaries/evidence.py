"""What can be seen of a dictionary's features: top examples, histogram, tokens, neighbours; small, in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from steerwidgets.calls import tells_calls
from steerwidgets.files.atomic import atomically
from steerwidgets.files.containers import read_safetensors
from steerwidgets.files.fields import Fields, naming
from steerwidgets.files.json_text import parse_json
from steerwidgets.files.shown import shown
from steerwidgets.files.tensors import finite

if TYPE_CHECKING:
    from torch import Tensor

FILE: Final = "features.safetensors"
"""What the file is called in the folder of a dictionary."""

_WINDOW: Final = ("tokens", "values")
_EXAMPLES: Final = ("lengths", "peaks", "tops", "sources")
_LISTS: Final = ("promoted", "suppressed", "nearest")
_RANDOM: Final = "random."
_QUANTILES: Final = "quantiles."
_BOUNDS: Final = "quantiles.bounds"
_COACTIVE: Final = "coactive"
_LEVELS: Final = 255
_LOG_STEPS: Final = 8
"""Counts are kept as eighths of their logarithm to base 2: off by 4.5 % at most."""

Valued = tuple[tuple[int, float], ...]
"""Token ids or features, each with its value."""


@dataclass(frozen=True)
class Example:
    """A place in a text where a feature is active.

    Attributes:
        token_ids: the tokens around it.
        values: the feature's activation at each; 0 at tokens that do not count (special, template, attention sinks).
        peak: which of them the example is about; among the strongest examples, that with the largest activation.
        source: what the text is from.
    """

    token_ids: tuple[int, ...]
    values: tuple[float, ...]
    peak: int
    source: str


@dataclass(frozen=True)
class Quantile:
    """Places where a feature's activation lies in one band, drawn evenly from all such places.

    Attributes:
        low: the band's lower end; the activation at the peak is at least that.
        high: its upper end.
        examples: some of the places, in no order that means anything.
    """

    low: float
    high: float
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Evidence:
    """What can be seen of one feature.

    Attributes:
        index: the feature.
        examples: places where it is most active, no two alike, from the strongest down.
        counts: how many tokens have an activation in each of equal bins from 0 to `histogram_top`, 0 itself left out.
        histogram_top: the upper end of the last bin: the largest activation, or slightly above it.
        promoted: the tokens that its direction promotes most, with `W_U (g ⊙ v)`.
        suppressed: those that it suppresses most.
        nearest: the features whose directions have the largest cosine with its own, with that cosine.
        quantiles: examples by the strength of the activation, from the highest band down.
        random: places drawn evenly from all where it is active.
        coactive: the features that are most often active at the same tokens, each with `n11 / √(n1·n2)`: how many
            tokens have both, by how many have either one.
    """

    index: int
    examples: tuple[Example, ...]
    counts: tuple[int, ...]
    histogram_top: float
    promoted: Valued
    suppressed: Valued
    nearest: Valued
    quantiles: tuple[Quantile, ...] = ()
    random: tuple[Example, ...] = ()
    coactive: Valued = ()


class FeatureEvidence(Protocol):
    """What gives evidence of a dictionary's features: `FeatureData`, or the part of a corpus index that is about it."""

    @property
    def corpus(self) -> str:
        """What was read."""
        ...

    def __len__(self) -> int:
        """How many features there are."""
        ...

    def __getitem__(self, index: int, /) -> Evidence:
        """What can be seen of a feature."""
        ...


@tells_calls("sw.FeatureData", "feature_data")
@dataclass(frozen=True, eq=False)
class FeatureData:
    """Evidence of all features of a dictionary, as arrays.

    Activations of an example are kept in 255 steps of its largest one, counts in eighths of their binary logarithm.

    Args:
        arrays: `tokens` int and `values` uint8 [feature, example, position]; `lengths`, `peaks` and `sources` uint8
            and `tops` float [feature, example]; `counts` uint8 [feature, bin]; `histogram_top` float [feature]; and of
            `promoted`, `suppressed` and `nearest` the `….ids` int and `….values` float [feature, rank].
            These may be left out: `random.…`, like the examples' arrays; `quantiles.…`, the same with an axis for the
            band [feature, band, example, …], and `quantiles.bounds` float [feature, band, 2]; and `coactive.ids` and
            `coactive.values`, where an activity of 0 stands for nothing.
        sources: the names that `sources` counts through.
        corpus: what was read.

    Raises:
        ValueError: an array is missing, or not for as many features as the others.

    Example:
        >>> data = sw.CAV.demo().feature_data
        >>> evidence = data[0]
        >>> len(data), evidence.index, len(evidence.examples) > 0
        (..., 0, True)
    """

    arrays: Mapping[str, Tensor]
    sources: Sequence[str]
    corpus: str = ""

    def __post_init__(self) -> None:
        needed = [*_WINDOW, *_EXAMPLES, "counts", "histogram_top"]
        needed += [f"{name}.{part}" for name in _LISTS for part in ("ids", "values")]
        if missing := [name for name in needed if name not in self.arrays]:
            raise ValueError(
                f"Feature data lacks {', '.join(missing)}; it holds {', '.join(self.arrays) or 'nothing'}."
            )
        for group in self._groups()[1:]:
            also = [group + name for name in (*_WINDOW, *_EXAMPLES)] + [_BOUNDS] * (group == _QUANTILES)
            if missing := [name for name in also if name not in self.arrays]:
                raise ValueError(f"Feature data has some arrays of {group[:-1]}, but lacks {', '.join(missing)}.")
            needed += also
        needed += [f"{_COACTIVE}.{part}" for part in ("ids", "values") if f"{_COACTIVE}.ids" in self.arrays]
        sizes = {
            name: len(self.arrays[name]) if self.arrays[name].ndim else 0 for name in needed if name in self.arrays
        }
        if len(set(sizes.values())) > 1:
            found = ", ".join(f"{size} of {name}" for name, size in sizes.items())
            raise ValueError(f"Feature data has one row for each feature, but there are {found}.")
        for name in needed:
            if name in self.arrays:
                _refuse_strange(name, self.arrays[name])

    def __len__(self) -> int:
        return len(self.arrays["counts"])

    def __getitem__(self, index: int) -> Evidence:
        """What can be seen of a feature.

        Raises:
            IndexError: there is no such feature.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"This is data of the features 0 to {len(self) - 1}, but {index} was asked for.")
        return Evidence(
            index,
            self._examples("", (index,)),
            self.counts(index),
            float(self.arrays["histogram_top"][index]),
            self._list("promoted", index),
            self._list("suppressed", index),
            self._list("nearest", index),
            self._quantiles(index) if _QUANTILES in self._groups() else (),
            self._examples(_RANDOM, (index,)) if _RANDOM in self._groups() else (),
            tuple(each for each in self._list(_COACTIVE, index) if each[1] > 0) if self._has(_COACTIVE) else (),
        )

    def counts(self, index: int) -> tuple[int, ...]:
        """A feature's histogram alone, as `Evidence.counts` has it: quick, for lists of many features.

        Args:
            index: the feature's.

        Returns:
            How many tokens have an activation in each bin, exact to 4.5 %.

        Example:
            >>> data = sw.CAV.demo().feature_data
            >>> data.counts(0) == data[0].counts
            True
        """
        logs = self.arrays["counts"][index].numpy().astype(float)
        return tuple((2 ** (logs / _LOG_STEPS) - 1).round().astype(int).tolist())

    def _groups(self) -> list[str]:
        """What the names of the arrays of windows begin with: nothing for the strongest examples."""
        return ["", *(group for group in (_RANDOM, _QUANTILES) if any(name.startswith(group) for name in self.arrays))]

    def _has(self, name: str) -> bool:
        return f"{name}.ids" in self.arrays and f"{name}.values" in self.arrays

    def _quantiles(self, index: int) -> tuple[Quantile, ...]:
        bounds = self.arrays[_BOUNDS][index].tolist()
        bands = (
            Quantile(low, high, self._examples(_QUANTILES, (index, band))) for band, (low, high) in enumerate(bounds)
        )
        return tuple(band for band in bands if band.high > 0)

    def _examples(self, group: str, at: tuple[int, ...]) -> tuple[Example, ...]:
        ranks = range(self.arrays[f"{group}lengths"].shape[len(at)])
        examples = (self._example(group, (*at, rank)) for rank in ranks)
        return tuple(example for example in examples if example is not None)

    def _example(self, group: str, at: tuple[int, ...]) -> Example | None:
        length, peak, top, source = (self.arrays[group + name][at].item() for name in _EXAMPLES)
        if not length:
            return None
        tokens, values = (self.arrays[group + name][at].tolist()[: int(length)] for name in _WINDOW)
        shares = tuple(round(value / _LEVELS * top, 3) for value in values)
        return Example(tuple(tokens), shares, int(peak), self._source(int(source)))

    def _source(self, number: int) -> str:
        """What an example is from; nothing where the file does not name it."""
        return self.sources[number] if 0 <= number < len(self.sources) else ""

    def _list(self, name: str, index: int) -> Valued:
        ids, values = (self.arrays[f"{name}.{part}"][index].tolist() for part in ("ids", "values"))
        return tuple(zip(ids, values, strict=True))

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all.

        Args:
            path: the file.

        Raises:
            OSError: it can't be written.

        Example:
            >>> sw.CAV.demo().feature_data.save(folder / "features.safetensors")
            >>> (folder / "features.safetensors").exists()
            True
        """
        from safetensors.torch import save_file

        said = json.dumps({"sources": list(self.sources), "corpus": self.corpus}, ensure_ascii=False)
        with atomically(path) as fresh:
            save_file({name: array.contiguous() for name, array in self.arrays.items()}, fresh, {"features": said})

    @classmethod
    def load(cls, path: str | Path) -> FeatureData:
        """Read a file that `save` wrote.

        Args:
            path: the file.

        Returns:
            The data.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged, or something else.

        Example:
            >>> data = sw.CAV.demo().feature_data
            >>> data.save(folder / "features.safetensors")
            >>> len(sw.FeatureData.load(folder / "features.safetensors")) == len(data)
            True
        """
        arrays, header = read_safetensors(Path(path), "feature data")
        what = f"the header of {Path(path).name}"
        said = Fields(parse_json(header.get("features", "{}"), what), f"In {what}")
        sources = said.items("sources", [], of="texts")
        if not all(isinstance(source, str) for source in sources):
            raise said.wrong("sources", "a list of texts")
        with naming(Path(path)):
            return cls(arrays, sources, said.text("corpus", ""))


_AXES: Final = dict.fromkeys(_WINDOW, 3) | dict.fromkeys((*_EXAMPLES, "counts", "ids"), 2) | {"histogram_top": 1}
"""How many axes an array has, by the last part of its name; one more in `quantiles.…`."""

_REAL: Final = frozenset({"tops", "histogram_top", "bounds"})


def _refuse_strange(name: str, array: Tensor) -> None:
    """Refuse an array of another number of axes, or of another kind of numbers, than its name says."""
    group, _, part = name.rpartition(".")
    in_list = group in (*_LISTS, _COACTIVE)
    axes = 2 if in_list else 3 if part == "bounds" else _AXES[part] + (f"{group}." == _QUANTILES)
    is_real = part in _REAL or (in_list and part == "values")
    if (
        array.ndim != axes
        or array.is_complex()
        or array.is_floating_point() != is_real
        or str(array.dtype) == "torch.bool"
    ):
        raise ValueError(
            f"{name} of feature data has {axes} axes of {'real' if is_real else 'whole'} numbers, but "
            f"{shown(array)} was "
            "given; make it again."
        )
    if is_real:
        finite(array, f"{name} of feature data", but_nan=True)


def log_counts(counts: Tensor) -> Tensor:
    """Counts as `FeatureData` keeps them: uint8, eighths of log2(1 + count)."""
    import torch

    return ((counts.double() + 1).log2() * _LOG_STEPS).round().clamp(max=_LEVELS).to(torch.uint8)


def value_levels(values: Tensor, top: Tensor) -> Tensor:
    """An example's activations as `FeatureData` keeps them: uint8, in 255 steps of the largest.

    Args:
        values: float [..., position].
        top: float [...].
    """
    import torch

    return (values / top[..., None].clamp_min(1e-30) * _LEVELS).round().clamp(0, _LEVELS).to(torch.uint8)
