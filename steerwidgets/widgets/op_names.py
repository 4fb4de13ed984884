"""Names for ops on the wire: an SAE and a direction may both have an `ablate`, and mean something else by it."""

from __future__ import annotations

from typing import Any

from steerwidgets.steer import Direction
from steerwidgets.steering.ops import OPS
from steerwidgets.widgets.recipe_editor import describe


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

    def json(self) -> dict[str, Any]:
        """Every op that has a name so far."""
        return describe.ops_json(self._ops)
