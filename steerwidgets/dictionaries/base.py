"""What every dictionary offers: features by index and label, search, directions, provenance."""

from __future__ import annotations

import functools
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.sites import Site
    from steerwidgets.steer import Feature


class Dictionary(ABC):
    """A set of features at one site.

    Attributes:
        kind: what it is called on screen: `CAV`, `SAE`, `ReFT`, …
        site: where its features live.
        labels: one for each feature; empty where a feature has none.
        provenance: where it comes from, name by name.
        source_code: the Python expression that makes it again, for snippets; None where there is none.
    """

    kind: ClassVar[str]
    site: Site
    labels: tuple[str, ...]
    provenance: Mapping[str, str]
    source_code: str | None = None

    @abstractmethod
    def vector(self, index: int) -> Tensor:
        """The stored direction of a feature, float32 [d_model]."""

    @abstractmethod
    def feature(self, index: int) -> Feature:
        """The feature at an index that is known to exist."""

    @property
    @abstractmethod
    def d_model(self) -> int:
        """The width of the site."""

    @functools.cached_property
    def fingerprint(self) -> str:
        """A short hash of kind, site and weights: what a recipe keeps, and what finds the dictionary again."""
        digest = hashlib.sha256(f"{self.kind} {self.site}".encode())
        for index in range(len(self)):
            digest.update(self.vector(index).numpy().tobytes())
        return f"{self.kind.lower()}:{digest.hexdigest()[:16]}"

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, name: int | str) -> Feature:
        """A feature by index or label.

        Raises:
            IndexError: there is no such index.
            KeyError: no feature, or more than one, has that label.
        """
        if isinstance(name, str):
            return self.feature(self._index_of(name))
        if isinstance(name, bool) or not isinstance(name, int):
            raise TypeError(f"A feature is found by its index or its label, but {name!r} was given.")
        if not -len(self) <= name < len(self):
            raise IndexError(
                f"This {self.kind} dictionary has features 0 to {len(self) - 1}, but {name} was asked for."
            )
        return self.feature(name % len(self))

    def __iter__(self) -> Iterator[Feature]:
        return (self.feature(index) for index in range(len(self)))

    def search(self, query: str, *, limit: int = 50) -> list[Feature]:
        """Features whose label holds every word of the query, whole or in part, in the order of the dictionary."""
        words = query.casefold().split()
        found = (i for i, label in enumerate(self.labels) if all(w in f"{label} {self.kind}".casefold() for w in words))
        return [self.feature(index) for index, _ in zip(found, range(limit), strict=False)]

    def _index_of(self, label: str) -> int:
        matches = [i for i, known in enumerate(self.labels) if known == label]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise KeyError(f"{len(matches)} features are labelled {label!r}: {matches[:10]}; choose one by its index.")
        raise KeyError(f"No feature is labelled {label!r}{_hint(label, self.labels)}.")

    def __repr__(self) -> str:
        return f"<{self.kind} of {len(self)} features at {self.site}>"


def _hint(label: str, labels: Sequence[str]) -> str:
    import difflib

    close = difflib.get_close_matches(label, [known for known in labels if known], n=3, cutoff=0.4)
    if close:
        return "; close to it are " + ", ".join(map(repr, close))
    return "; labels are " + ", ".join(map(repr, labels[:5])) + (", …" if len(labels) > 5 else "")
