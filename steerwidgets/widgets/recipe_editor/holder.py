"""From a card or a chart to a recipe: the panel that takes a steer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from steerwidgets.steering.recipe import Recipe

if TYPE_CHECKING:
    from steerwidgets.steering.recipe import Steer


class Holder(Protocol):
    """A widget with a recipe that can be added to: `SteeringPanel`, `FeaturePicker`."""

    @property
    def recipe(self) -> Recipe:
        """What it steers with."""
        ...

    @recipe.setter
    def recipe(self, value: Recipe, /) -> None: ...

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


def put_into(panel: Holder, recipe: Recipe) -> None:
    """Put steers into a panel's recipe, in the place of those of the same features that are there."""
    features = {steer.feature.key for steer in recipe}
    others = Recipe(tuple(steer for steer in panel.recipe if steer.feature.key not in features))
    panel.recipe = others + recipe


def checked_holder(panel: Any, call: str) -> Holder | None:
    """The panel itself, or None.

    Args:
        panel: what was given.
        call: what to call to give another one, as `card.steer_in`.

    Raises:
        TypeError: it has no recipe that can be added to.
    """
    if panel is not None and not (callable(getattr(panel, "add", None)) and hasattr(type(panel), "recipe")):
        raise TypeError(
            f"Steers go to a SteeringPanel or a FeaturePicker, but {type(panel).__name__} was given; give one of them, "
            f"as in {call}(panel)."
        )
    found: Holder | None = panel
    return found
