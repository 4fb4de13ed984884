"""What is known of features' activations over a corpus: maximum, typical value, high quantile, density."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from steerwidgets.calls import tells_calls
from steerwidgets.dictionaries.given_strengths import maxima as checked_maxima
from steerwidgets.files.atomic import atomically
from steerwidgets.files.containers import read_safetensors
from steerwidgets.files.fields import Fields, naming
from steerwidgets.files.json_text import parse_json
from steerwidgets.files.shown import named, shown
from steerwidgets.files.tensors import dense, finite
from steerwidgets.transformer.plain_text import closed

if TYPE_CHECKING:
    from torch import Tensor

FILE: Final = "statistics.safetensors"
"""What the file is called in the folder of a dictionary."""

_PREFIX: Final = "statistics."


@tells_calls("sw.FeatureStatistics", "statistics")
@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """What a dictionary's features did on a corpus: one number for each feature, NaN where nothing is known.

    A feature is active at a token where its activation is above 0 (Bricken et al. 2023 call the share of such tokens
    its density). Attention sinks, special and template tokens are left out.

    An activation that goes below 0, such as a projection, has no zero of its own: 0 means nothing, and so does a value
    above it. `zero` says where a feature's colour begins instead.

    Args:
        maximum: float32 [feature], the largest activation.
        typical: float32 [feature], the median of its activations where it is active.
        p995: float32 [feature], their 99.5th percentile, where it is active.
        density: float32 [feature], the share of tokens where it is active, 0 to 1.
        corpus: what was read.
        tokens: how many tokens that was.
        zero: float32 [feature], the activation that says nothing, such as what texts without the feature give; NaN
            where it is not known, or is 0.
        zero_of: what that is, as "95th percentile of tokens of held-out texts without it".

    Raises:
        ValueError: arrays have different lengths, hold infinite values, or a density is no share.

    Example:
        >>> known = sw.FeatureStatistics(torch.tensor([8.0, 2.0]), density=torch.tensor([0.01, 0.2]), tokens=1000)
        >>> known
        <FeatureStatistics of 2 features: maximum, density over 1,000 tokens>
        >>> known.of("density", 1)
        0.2
    """

    maximum: Tensor
    typical: Tensor | None = None
    p995: Tensor | None = None
    density: Tensor | None = None
    corpus: str = ""
    tokens: int | None = None
    zero: Tensor | None = None
    zero_of: str = ""

    ARRAYS: ClassVar[tuple[str, ...]] = ("maximum", "typical", "p995", "density")
    """What a corpus shows."""

    def __post_init__(self) -> None:
        import torch

        for name in _EVERY:
            if (given := getattr(self, name)) is None:
                continue
            what = f"{name} of feature statistics"
            array = dense(given, what).to("cpu", torch.float32, copy=True)
            if array.ndim != 1 or bool(array.isinf().any()):
                raise ValueError(
                    f"{what} is one number for each feature, NaN where nothing is known, but {_what(array)} was given."
                )
            object.__setattr__(self, name, finite(array, what, but_nan=True))
        lengths = {name: len(array) for name, array in self._arrays().items()}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{length} of {name}" for name, length in lengths.items())
            raise ValueError(f"Feature statistics have one number for each feature, but there are {found}.")
        if self.density is not None and bool(((self.density < 0) | (self.density > 1)).any()):
            raise ValueError("A density is a share of tokens, from 0 to 1, but one lies outside.")

    @classmethod
    def of_maxima(
        cls, maxima: Sequence[float | None] | Mapping[int, float] | None, size: int, corpus: str | None
    ) -> FeatureStatistics | None:
        """Statistics of which only maxima are known, for all features or some; None where none is.

        Args:
            maxima: one for each feature (None where not known), or {index: maximum}.
            size: how many features there are.
            corpus: what was read.

        Returns:
            The statistics, or None.

        Raises:
            ValueError: there is not one for each feature, or an index is none.

        Example:
            >>> sw.FeatureStatistics.of_maxima({1: 8.0}, size=3, corpus="ten texts").of("maximum", 1)
            8.0
        """
        import torch

        known = checked_maxima(maxima, size)
        array = torch.full((size,), torch.nan)
        for index, value in known.items():
            array[index] = value
        if corpus is not None and not isinstance(corpus, str):
            raise ValueError(f"max_activation_of is the corpus of the maxima in words, but {shown(corpus)} was given.")
        return cls(array, corpus=corpus or "") if known else None

    def __len__(self) -> int:
        return len(self.maximum)

    @property
    def source(self) -> str | None:
        """The corpus and its size as a reader sees it; None where neither is known."""
        size = f"{self.tokens:,} tokens" if self.tokens is not None else ""
        return ", ".join(filter(None, (closed(self.corpus), size))) or None

    def of(self, name: str, index: int) -> float | None:
        """One number of one feature, as `of("density", 123)`; None where it is not known.

        Args:
            name: `maximum`, `typical`, `p995` or `density`.
            index: the feature's.

        Returns:
            An activation in the dictionary's units, or a share of tokens; or None.

        Example:
            >>> sw.FeatureStatistics(torch.tensor([8.0])).of("maximum", 0)
            8.0
        """
        array = getattr(self, name)
        # The shortest number that float32 can't tell from it: 42.3, not 42.29999923706055.
        value = float(str(array.numpy()[index])) if array is not None else float("nan")
        return None if value != value else value  # noqa: PLR0124 - NaN

    def entries(self) -> tuple[dict[str, Tensor], str]:
        """Tensors and a line of JSON, for a safetensors file and its header.

        Returns:
            The tensors by name, and the line.

        Example:
            >>> tensors, header = sw.FeatureStatistics(torch.tensor([8.0])).entries()
            >>> list(tensors)
            ['statistics.maximum']
        """
        tensors = {_PREFIX + name: array for name, array in self._arrays().items()}
        said = {"corpus": self.corpus, "tokens": self.tokens} | ({"zero_of": self.zero_of} if self.zero_of else {})
        return tensors, json.dumps(said, ensure_ascii=False)

    @classmethod
    def from_entries(cls, tensors: Mapping[str, Tensor], header: str) -> FeatureStatistics:
        """What `entries` gave; other tensors are left alone.

        Args:
            tensors: by name.
            header: the line of JSON.

        Returns:
            The statistics.

        Raises:
            ValueError: there is no maximum, or the header is not one of statistics.

        Example:
            >>> len(sw.FeatureStatistics.from_entries(*sw.FeatureStatistics(torch.tensor([8.0])).entries()))
            1
        """
        arrays = {name: tensors[_PREFIX + name] for name in _EVERY if _PREFIX + name in tensors}
        if "maximum" not in arrays:
            raise ValueError(
                f"Feature statistics are a maximum for each feature, a corpus and its tokens, but {named(tensors)} is "
                "there and no statistics.maximum; make them again."
            )
        what = "the header of feature statistics"
        said = Fields(parse_json(header, what), f"In {what}", todo="make them again")
        tokens = said.whole("tokens", None, low=0)
        return cls(**arrays, corpus=said.text("corpus", ""), tokens=tokens, zero_of=said.text("zero_of", ""))

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all.

        Args:
            path: the file.

        Raises:
            OSError: it can't be written.

        Example:
            >>> sw.FeatureStatistics(torch.tensor([8.0])).save(folder / "statistics.safetensors")
            >>> (folder / "statistics.safetensors").exists()
            True
        """
        from safetensors.torch import save_file

        tensors, header = self.entries()
        with atomically(path) as fresh:
            save_file(tensors, fresh, {"statistics": header})

    @classmethod
    def load(cls, path: str | Path) -> FeatureStatistics:
        """Read a file that `save` wrote.

        Args:
            path: the file.

        Returns:
            The statistics.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged, or something else.

        Example:
            >>> sw.FeatureStatistics(torch.tensor([8.0])).save(folder / "statistics.safetensors")
            >>> len(sw.FeatureStatistics.load(folder / "statistics.safetensors"))
            1
        """
        tensors, header = read_safetensors(Path(path), "feature statistics")
        with naming(Path(path)):
            return cls.from_entries(tensors, header.get("statistics", "{}"))

    def _arrays(self) -> dict[str, Any]:
        return {name: array for name in _EVERY if (array := getattr(self, name)) is not None}

    def __repr__(self) -> str:
        return f"<FeatureStatistics of {len(self)} features: {', '.join(self._arrays())} over {self.source or '?'}>"


_EVERY: Final = (*FeatureStatistics.ARRAYS, "zero")


def _what(array: Tensor) -> str:
    return "an infinite value" if array.ndim == 1 else f"one of shape {list(array.shape)}"
