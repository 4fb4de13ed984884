"""The features that a widget can steer with: dictionaries, single directions, and those of a recipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from steerwidgets.dictionaries.base import Dictionary
from steerwidgets.steering.ops import OPS
from steerwidgets.steering.recipe import Direction, Feature, Recipe, Steer
from steerwidgets.transformer.abilities import Abilities
from steerwidgets.transformer.mistakes import is_text, what
from steerwidgets.transformer.sites import Site
from steerwidgets.widgets.recipe_editor import describe


def _meant(item: Any) -> str:
    if type(item).__module__.partition(".")[0] == "sae_lens":
        return "take it over first: sw.SAE.from_sae_lens(sae)"
    if isinstance(item, Steer | Recipe):
        return "give its dictionary, and the steer as recipe=: sw.SteeringPanel(lm, dictionary, recipe=steer)"
    if is_text(item):
        return "give its dictionary, and a text as prompt=: sw.SteeringPanel(lm, dictionary, prompt=text)"
    return "make one of it, as in sw.CAV(vectors, labels, layer=15)"


class FeatureShelf:
    """Finds features by key, and says of them what a page shows.

    Attributes:
        norms: the median ‖h‖ of sites that were read, for how far their features' sliders go.

    Raises:
        TypeError: an item is no dictionary and no direction.
    """

    def __init__(self, features: Dictionary | Direction | Sequence[Dictionary | Direction]) -> None:
        one = isinstance(features, Dictionary | Direction | str) or not isinstance(features, Iterable)
        items = [features] if one or hasattr(features, "cfg") else list(features)
        for item in items:
            if not isinstance(item, Dictionary | Direction):
                raise TypeError(
                    f"A panel steers with dictionaries and directions, but {what(item)} was given; {_meant(item)}."
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

    def __contains__(self, key: str) -> bool:
        """Whether there is a feature of that key."""
        try:
            self.find(key)
        except ValueError:
            return False
        return True

    def json(self, feature: Direction) -> dict[str, Any]:
        """A feature as the front-end reads it."""
        return self.op_names.feature_json(feature, self.norms.get(feature.site))

    def provenance(self) -> dict[str, str]:
        """What the dictionaries say of themselves."""
        return {f"dictionary {i + 1}": f"{d!r} {dict(d.provenance)}" for i, d in enumerate(self.dictionaries)}

    def usual_site(self) -> Site | None:
        """A site to look at where the recipe is empty; None where there is no feature at all."""
        homes = [d.site for d in self.dictionaries if len(d)] + [f.site for f in self.free()]
        return homes[0] if homes else None

    def free(self) -> list[Direction]:
        """Directions that no dictionary lists."""
        return [f for f in self._singles.values() if not isinstance(f, Feature)]


class OpNames:
    """Gives every op that the features of a widget take a name of its own: `ablate`, `SAE.ablate`."""

    def __init__(self) -> None:
        self._ops = dict(OPS)
        self._names = {op: name for name, op in OPS.items()}

    def of(self, feature: Direction, op: str) -> str:
        """The name of a feature's op."""
        spec = feature.ops[op]
        if spec not in self._names:
            name = f"{feature.kind}.{op}"
            while name in self._ops:
                name += "′"
            self._ops[name], self._names[spec] = spec, name
        return self._names[spec]

    def op(self, name: str) -> str:
        """What the feature itself calls an op of this name; a name that nobody has is left as it is."""
        return self._ops[name].name if name in self._ops else name

    def feature_json(self, feature: Direction, median_norm: float | None = None) -> dict[str, Any]:
        """One row of the feature list, its ops by these names."""
        value = describe.feature_json(feature, median_norm)
        names = {op: self.of(feature, op) for op in feature.ops}
        suggested = value["suggested"]
        if suggested is not None:
            suggested = suggested | {"op": names[suggested["op"]]}
        return value | {"ops": list(names.values()), "suggested": suggested}

    def json(self, abilities: Abilities) -> dict[str, Any]:
        """Every op that has a name so far, and why the model can't carry it out where that is so."""
        carried = abilities.carries
        able = {name for name, op in self._ops.items() if not carried or (op is OPS.get(name) and name in carried)}
        return {name: describe.op_json(op, "" if name in able else abilities.ops) for name, op in self._ops.items()}
