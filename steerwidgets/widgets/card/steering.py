"""From a feature card to a recipe: the steer that a feature suggests, and the panel that takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from steerwidgets.steering.recipe import Feature, Steer

if TYPE_CHECKING:
    from steerwidgets.steering.recipe import Recipe

_PULL: Final = 0.6
"""The share of the way to a component's centroid, as in the reference's own examples."""

_SHARE: Final = 0.3
"""Of ‖h‖, where nothing is known of a direction's own units."""


class Holder(Protocol):
    """A widget with a recipe that can be added to: `SteeringPanel`, `FeaturePicker`."""

    @property
    def recipe(self) -> Recipe:
        """What it steers with."""
        ...

    def add(self, steer: Steer) -> None:
        """Put one more steer into the recipe."""
        ...


def suggested_steer(feature: Feature) -> Steer:
    """The op and strength that were seen to work, or else the kind's own.

    Without a suggestion: clamp to the largest activation known, add what moves the activation by that much, pull a
    component's share of the way, or add a share of ‖h‖.

    Raises:
        ValueError: the feature can be read but not steered.
    """
    if feature.suggested is not None:
        op, parameters = feature.suggested
        return Steer(feature, op, parameters)
    top = feature.max_activation
    if "clamp" in feature.ops and top:
        return Steer(feature, "clamp", {feature.ops["clamp"].parameters[0].name: top})
    if "pull" in feature.ops:
        return Steer(feature, "pull", {"a": _PULL})
    if "set" in feature.ops and top:
        return Steer(feature, "set", {"c": top})
    if "add" in feature.ops and feature.full_strength:
        return Steer(feature, "add", {"alpha": feature.full_strength})
    return Steer(feature, "add_relative", {"alpha": _SHARE})


def add_to(panel: Holder, steer: Steer) -> bool:
    """Put a steer into a panel's recipe, unless the feature is in it.

    Returns:
        Whether it was added.
    """
    if any(each.feature.key == steer.feature.key for each in panel.recipe):
        return False
    panel.add(steer)
    return True


def checked_holder(panel: Any) -> Holder | None:
    """The panel itself, or None.

    Raises:
        TypeError: it has no recipe that can be added to.
    """
    if panel is not None and not (callable(getattr(panel, "add", None)) and hasattr(type(panel), "recipe")):
        raise TypeError(
            f"A card steers in a SteeringPanel or a FeaturePicker, but {type(panel).__name__} was given; give one of "
            "them, as in card.steer_in(panel)."
        )
    found: Holder | None = panel
    return found
