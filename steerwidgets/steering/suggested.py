"""The steer that a feature suggests: what was seen to work, or else its kind's own."""

from __future__ import annotations

from typing import Final

from steerwidgets.steering.recipe import Direction, Feature, Steer

_PULL: Final = 0.6
"""The share of the way to a component's centroid, as in the reference's own examples."""

_SHARE: Final = 0.3
"""Of ‖h‖, where nothing is known of a direction's own units."""


def suggested_steer(feature: Direction) -> Steer:
    """The op and strength that were seen to work, or else the kind's own.

    Without a suggestion: clamp to the largest activation known, add what moves the activation by that much, pull a
    component's share of the way, or add a share of ‖h‖; ablate what nothing is added to, as heads.

    Raises:
        ValueError: the feature can be read but not steered.
    """
    if isinstance(feature, Feature) and feature.suggested is not None:
        op, parameters = feature.suggested
        return Steer(feature, op, parameters)
    top = feature.max_activation if isinstance(feature, Feature) else None
    if "clamp" in feature.ops and top:
        return Steer(feature, "clamp", {feature.ops["clamp"].parameters[0].name: top})
    if "pull" in feature.ops:
        return Steer(feature, "pull", {"a": _PULL})
    if "set" in feature.ops and top:
        return Steer(feature, "set", {"c": top})
    if "add" in feature.ops and feature.full_strength:
        return Steer(feature, "add", {"alpha": feature.full_strength})
    if "add_relative" not in feature.ops and "ablate" in feature.ops:
        return Steer(feature, "ablate")
    return Steer(feature, "add_relative", {"alpha": _SHARE})
