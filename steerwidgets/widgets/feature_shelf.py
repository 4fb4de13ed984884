"""The features that a widget can steer with: dictionaries, single directions, and those of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from steerwidgets.dictionaries.base import Dictionary
from steerwidgets.sites import Site
from steerwidgets.steer import Direction, Feature
from steerwidgets.widgets import describe

_LISTED_WHOLE: Final = 500
"""Dictionaries together up to this size travel whole, and are searched without the kernel."""

_MOST: Final = 1000
"""No search gives more rows than this."""


class FeatureShelf:
    """Finds features by key and by label.

    Raises:
        TypeError: an item is no dictionary and no direction.
    """

    def __init__(self, features: Dictionary | Direction | Sequence[Dictionary | Direction]) -> None:
        items = [features] if isinstance(features, Dictionary | Direction) else list(features)
        for item in items:
            if not isinstance(item, Dictionary | Direction):
                raise TypeError(
                    f"A panel steers with dictionaries and directions, but {type(item).__name__} was given; "
                    "make one of it, as in sw.CAV(vectors, labels, layer=15)."
                )
        self.dictionaries = [item for item in items if isinstance(item, Dictionary)]
        self._singles: dict[str, Direction] = {}
        for item in items:
            if isinstance(item, Direction):
                self.remember(item)

    def remember(self, feature: Direction) -> None:
        """Keep a feature that may belong to none of the dictionaries."""
        self._singles[feature.key] = feature

    def find(self, key: str) -> Direction:
        """The feature of a key."""
        if key in self._singles:
            return self._singles[key]
        fingerprint, _, index = key.rpartition("/")
        for dictionary in self.dictionaries:
            if dictionary.fingerprint == fingerprint and index.isdigit():
                return dictionary[int(index)]
        raise KeyError(f"This panel has no feature {key!r}; it belongs to a dictionary that was not given to it.")

    def catalogue(self) -> dict[str, Any]:
        """The list that the panel shows before anybody searches."""
        total = sum(map(len, self.dictionaries)) + len(self._singles)
        return {
            "features": [describe.feature_json(f) for f in self._matching("", _LISTED_WHOLE)],
            "total": total,
            "complete": total <= _LISTED_WHOLE,
        }

    def search(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Features by label."""
        found = self._matching(str(args.get("query", "")), _limit(args.get("limit", 50)))
        return {"features": [describe.feature_json(f) for f in found], "total": len(found)}

    def provenance(self) -> dict[str, str]:
        """What the dictionaries say of themselves."""
        return {f"dictionary {i + 1}": f"{d!r} {dict(d.provenance)}" for i, d in enumerate(self.dictionaries)}

    def usual_site(self) -> Site | None:
        """A site to look at where the recipe is empty; None where there is no feature at all."""
        first: list[Direction] = self._matching("", 1)
        return first[0].site if first else None

    def _matching(self, query: str, limit: int) -> list[Direction]:
        words = query.casefold().split()
        singles = [
            f
            for f in self._singles.values()
            if not isinstance(f, Feature) and all(w in f"{f.label} {f.kind}".casefold() for w in words)
        ]
        found: list[Direction] = singles[:limit]
        for dictionary in self.dictionaries:
            found += dictionary.search(query, limit=limit - len(found))
        return found


def _limit(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"A search gives as many rows as limit says, 0 or more, but {value!r} was given.")
    return min(value, _MOST)
