"""From a feature card to a recipe: the panel that takes a steer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from steerwidgets.steering.recipe import Recipe, Steer


class Holder(Protocol):
    """A widget with a recipe that can be added to: `SteeringPanel`, `FeaturePicker`."""

    @property
    def recipe(self) -> Recipe:
        """What it steers with."""
        ...

    def add(self, steer: Steer) -> None:
        """Put one more steer into the recipe."""
        ...


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
