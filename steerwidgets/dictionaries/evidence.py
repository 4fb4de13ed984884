"""What can be seen of a dictionary's features: top examples, histogram, tokens, neighbours; small, in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dictionaries.plain_files import read_safetensors

if TYPE_CHECKING:
    from torch import Tensor

FILE: Final = "features.safetensors"
"""What the file is called in the folder of a dictionary."""

_WINDOW: Final = ("tokens", "values")
_EXAMPLES: Final = ("lengths", "peaks", "tops", "sources")
_LISTS: Final = ("promoted", "suppressed", "nearest")
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
        peak: which of them has the largest activation.
        source: what the text is from.
    """

    token_ids: tuple[int, ...]
    values: tuple[float, ...]
    peak: int
    source: str


@dataclass(frozen=True)
class Evidence:
    """What can be seen of one feature.

    Attributes:
        index: the feature.
        examples: places where it is most active, no two alike, from the strongest down.
        counts: how many tokens have an activation in each of equal bins from 0 to `histogram_top`, 0 itself left out.
        histogram_top: the largest activation.
        promoted: the tokens that its direction promotes most, with `W_U (g ⊙ v)`.
        suppressed: those that it suppresses most.
        nearest: the features whose directions have the largest cosine with its own, with that cosine.
    """

    index: int
    examples: tuple[Example, ...]
    counts: tuple[int, ...]
    histogram_top: float
    promoted: Valued
    suppressed: Valued
    nearest: Valued


@dataclass(frozen=True, eq=False)
class FeatureData:
    """Evidence of all features of a dictionary, as arrays.

    Activations of an example are kept in 255 steps of its largest one, counts in eighths of their binary logarithm.

    Args:
        arrays: `tokens` int and `values` uint8 [feature, example, position]; `lengths`, `peaks` and `sources` uint8
            and `tops` float [feature, example]; `counts` uint8 [feature, bin]; `histogram_top` float [feature]; and of
            `promoted`, `suppressed` and `nearest` the `….ids` int and `….values` float [feature, rank].
        sources: the names that `sources` counts through.
        corpus: what was read.

    Raises:
        ValueError: an array is missing, or not for as many features as the others.
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
        sizes = {name: len(self.arrays[name]) for name in needed}
        if len(set(sizes.values())) > 1:
            found = ", ".join(f"{size} of {name}" for name, size in sizes.items())
            raise ValueError(f"Feature data has one row for each feature, but there are {found}.")

    def __len__(self) -> int:
        return len(self.arrays["counts"])

    def __getitem__(self, index: int) -> Evidence:
        """What can be seen of a feature.

        Raises:
            IndexError: there is no such feature.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"This is data of the features 0 to {len(self) - 1}, but {index} was asked for.")
        examples = (self._example(index, rank) for rank in range(self.arrays["lengths"].shape[1]))
        counts = (2 ** (self.arrays["counts"][index].double() / _LOG_STEPS) - 1).round()
        return Evidence(
            index,
            tuple(example for example in examples if example is not None),
            tuple(int(count) for count in counts),
            float(self.arrays["histogram_top"][index]),
            self._list("promoted", index),
            self._list("suppressed", index),
            self._list("nearest", index),
        )

    def _example(self, index: int, rank: int) -> Example | None:
        length, peak, top, source = (self.arrays[name][index, rank].item() for name in _EXAMPLES)
        if not length:
            return None
        tokens, values = (self.arrays[name][index, rank].tolist()[: int(length)] for name in _WINDOW)
        shares = tuple(round(value / _LEVELS * top, 3) for value in values)
        return Example(tuple(tokens), shares, int(peak), self.sources[int(source)])

    def _list(self, name: str, index: int) -> Valued:
        ids, values = (self.arrays[f"{name}.{part}"][index].tolist() for part in ("ids", "values"))
        return tuple(zip(ids, values, strict=True))

    def save(self, path: str | Path) -> None:
        """Write a safetensors file."""
        from safetensors.torch import save_file

        said = json.dumps({"sources": list(self.sources), "corpus": self.corpus}, ensure_ascii=False)
        save_file({name: array.contiguous() for name, array in self.arrays.items()}, Path(path), {"features": said})

    @classmethod
    def load(cls, path: str | Path) -> FeatureData:
        """Read a file that `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged, or something else.
        """
        arrays, header = read_safetensors(Path(path), "feature data")
        said: dict[str, Any] = json.loads(header.get("features", "{}"))
        return cls(arrays, said.get("sources", []), said.get("corpus", ""))


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
