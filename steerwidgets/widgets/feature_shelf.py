"""The features that a widget can steer with: dictionaries, single directions, and those of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from steerwidgets.dictionaries.base import Dictionary
from steerwidgets.labels import Count
from steerwidgets.sites import Site
from steerwidgets.steer import Direction, Feature
from steerwidgets.widgets.op_names import OpNames

_LISTED_WHOLE: Final = 500
"""Dictionaries together up to this size travel whole, and are searched without the kernel."""

_FIRST_PAGE: Final = 100
"""Of larger ones so many are shown before anybody searches."""

_MOST: Final = 1000
"""No search gives more rows than this."""


class FeatureShelf:
    """Finds features by key and by label.

    Attributes:
        norms: the median ‖h‖ of sites that were read, for how far their features' sliders go.

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
        self.op_names = OpNames()
        self.norms: dict[Site, float] = {}
        self.dictionaries = [item for item in items if isinstance(item, Dictionary)]
        self._singles: dict[str, Direction] = {}
        for item in items:
            if isinstance(item, Direction):
                self.remember(item)

    def remember(self, feature: Direction) -> None:
        """Keep a feature that may belong to none of the dictionaries."""
        self._singles[feature.key] = feature

    def find(self, key: str) -> Direction:
        """The feature of a key.

        Raises:
            ValueError: there is none.
        """
        if key in self._singles:
            return self._singles[key]
        fingerprint, _, index = key.rpartition("/")
        for dictionary in self.dictionaries:
            if dictionary.fingerprint == fingerprint and index.isdecimal() and int(index) < len(dictionary):
                return dictionary[int(index)]
        raise ValueError(f"This panel has no feature {key!r}; it belongs to a dictionary that was not given to it.")

    def json(self, feature: Direction) -> dict[str, Any]:
        """A feature as the front-end reads it."""
        return self.op_names.feature_json(feature, self.norms.get(feature.site))

    def catalogue(self) -> dict[str, Any]:
        """The list that the panel shows before anybody searches."""
        total = sum(map(len, self.dictionaries)) + len(self._free())
        is_whole = total <= _LISTED_WHOLE
        return self._found("", total if is_whole else _FIRST_PAGE) | {"complete": is_whole}

    def search(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Features by label, and how many there are in all; `more` where they are more than that."""
        query = args.get("query", "")
        if not isinstance(query, str):
            raise ValueError(f"A search looks for a string, but {type(query).__name__} came.")
        return self._found(query, _limit(args.get("limit", 50)))

    def provenance(self) -> dict[str, str]:
        """What the dictionaries say of themselves."""
        return {f"dictionary {i + 1}": f"{d!r} {dict(d.provenance)}" for i, d in enumerate(self.dictionaries)}

    def usual_site(self) -> Site | None:
        """A site to look at where the recipe is empty; None where there is no feature at all."""
        homes = [d.site for d in self.dictionaries if len(d)] + [f.site for f in self._free()]
        return homes[0] if homes else None

    def _found(self, query: str, limit: int) -> dict[str, Any]:
        words = query.casefold().split()
        free = [f for f in self._free() if all(word in f"{f.label} {f.kind}".casefold() for word in words)]
        found: list[Direction] = free[:limit]
        counts = [Count(len(free))]
        for dictionary in self.dictionaries:
            # Of many matches only the first are looked at: a million are neither listed nor counted.
            found += dictionary.search(query, limit=limit - len(found))
            counts.append(dictionary.count(query))
        total, more = sum(count.number for count in counts), any(count.more for count in counts)
        return {"features": [self.json(f) for f in found], "total": total} | ({"more": True} if more else {})

    def _free(self) -> list[Direction]:
        """Directions that no dictionary lists."""
        return [f for f in self._singles.values() if not isinstance(f, Feature)]


def _limit(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"A search gives as many rows as limit says, 0 or more, but {value!r} was given.")
    return min(value, _MOST)
