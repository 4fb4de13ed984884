"""What every dictionary offers: features by index and label, search, directions, provenance."""

from __future__ import annotations

import functools
import hashlib
import itertools
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.labels import Labels
    from steerwidgets.sites import Site
    from steerwidgets.steer import Feature

_SCANNED: Final = 2_000
"""Labels of so many features are searched by reading them all; more, by an index."""


class Dictionary(ABC):
    """A set of features at one site. A new kind says where its features live, how they read, and how they steer.

    Attributes:
        kind: what it is called on screen: `CAV`, `SAE`, `ReFT`, …
        site: where its features are read and steered.
        labels: one for each feature, "" for a feature without one; or empty, where there are none at all.
        provenance: where it comes from, name by name.
        source_code: the Python expression that makes it again, for snippets; None where there is none.
    """

    kind: ClassVar[str]
    site: Site
    labels: Sequence[str] = ()
    provenance: Mapping[str, str] = MappingProxyType({})
    source_code: str | None = None

    @property
    @abstractmethod
    def size(self) -> int:
        """How many features there are."""

    @property
    @abstractmethod
    def d_model(self) -> int:
        """The width of the site."""

    @abstractmethod
    def vector(self, index: int) -> Tensor:
        """The stored direction of a feature, float32 [d_model]."""

    @abstractmethod
    def feature(self, index: int) -> Feature:
        """The feature at an index that is known to exist."""

    @abstractmethod
    def encode(self, h: Tensor) -> Tensor:
        """Every feature's activation in a residual.

        Args:
            h: [..., d_model].

        Returns:
            float32 [..., size].
        """

    @abstractmethod
    def weights(self) -> Iterable[Tensor]:
        """The tensors that make it what it is, for its fingerprint."""

    def activations(self, h: Tensor, features: Sequence[int]) -> Tensor:
        """Some features' activations; a kind that can read one feature for the cost of one column does.

        Args:
            h: [..., d_model].
            features: indices.

        Returns:
            float32 [..., feature].
        """
        import torch

        return torch.stack([self[index].activation(h) for index in features], dim=-1)

    def top(self, h: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The `k` strongest features of a residual.

        Returns:
            float32 [..., k] activations from the strongest down, and int [..., k] their indices.
        """
        values, indices = self.encode(h).topk(min(k, self.size), dim=-1)
        return values, indices

    def label(self, index: int) -> str:
        """A feature's label; where it has none, its kind and index."""
        return (self.labels[index] if self.labels else "") or f"{self.kind} {index}"

    @functools.cached_property
    def fingerprint(self) -> str:
        """A short hash of kind, site and weights: what a recipe keeps, and what finds the dictionary again."""
        digest = hashlib.sha256(f"{self.kind} {self.site}".encode())
        for tensor in self.weights():
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().data)
        return f"{self.kind.lower()}:{digest.hexdigest()[:16]}"

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, name: int | str) -> Feature:
        """A feature by index or label.

        Raises:
            IndexError: there is no such index.
            KeyError: no feature, or more than one, has that label.
        """
        if isinstance(name, str):
            return self.feature(self._index_of(name))
        try:
            index = operator.index(name)
        except TypeError:
            raise TypeError(f"A feature is found by its index or its label, but {name!r} was given.") from None
        if not -len(self) <= index < len(self):
            last = len(self) - 1
            raise IndexError(f"This {self.kind} dictionary has features 0 to {last}, but {index} was asked for.")
        return self.feature(index % len(self))

    def __iter__(self) -> Iterator[Feature]:
        return (self.feature(index) for index in range(len(self)))

    def matches(self, query: str) -> Iterator[int]:
        """The indices of features whose label or kind holds every word of the query, whole or in part.

        In the order of the dictionary; of more than 2,000 labelled features, as `Labels.features` finds them, the best
        first. Their index is made once, by the first query.
        """
        words = query.casefold().split()
        if words and self.labels and self.size > _SCANNED:
            if rest := [word for word in words if word != self.kind.casefold()]:
                return self._label_index.features(" ".join(rest))
            return iter(range(self.size))
        texts = (f"{self.label(index)} {self.kind}".casefold() for index in range(self.size))
        return (index for index, text in enumerate(texts) if all(word in text for word in words))

    def search(self, query: str, *, limit: int = 50) -> list[Feature]:
        """The first features that `matches` finds."""
        return [self.feature(index) for index in itertools.islice(self.matches(query), limit)]

    @functools.cached_property
    def _label_index(self) -> Labels:
        from steerwidgets.labels import Labels

        # A feature without a label is found by its number.
        kind = f"{self.kind} "
        return Labels([self.labels[index] or self.label(index).removeprefix(kind) for index in range(self.size)])

    def _index_of(self, label: str) -> int:
        matches = [i for i, known in enumerate(self.labels) if known == label]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise KeyError(f"{len(matches)} features are labelled {label!r}: {matches[:10]}; choose one by its index.")
        if not any(self.labels):
            raise KeyError(f"This {self.kind} dictionary has no labels, so {label!r} is not found; use an index.")
        raise KeyError(f"No feature is labelled {label!r}{_hint(label, self.labels)}.")

    def __repr__(self) -> str:
        return f"<{self.kind} of {len(self)} features at {self.site}>"


def refuse_other_width(dictionary: Dictionary, h: Tensor) -> None:
    """Refuse a residual that a dictionary was not made for.

    Raises:
        ValueError: its width is another.
    """
    if h.shape[-1] != dictionary.d_model:
        raise ValueError(
            f"The {dictionary.kind} dictionary at {dictionary.site} reads {dictionary.d_model} numbers, but the "
            f"activations have {h.shape[-1]}; it was made for another model or site."
        )


def _hint(label: str, labels: Sequence[str]) -> str:
    import difflib

    close = difflib.get_close_matches(label, [known for known in labels if known], n=3, cutoff=0.4)
    if close:
        return "; close to it are " + ", ".join(map(repr, close))
    return "; labels are " + ", ".join(map(repr, labels[:5])) + (", …" if len(labels) > 5 else "")
