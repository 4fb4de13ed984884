"""A widget whose finds go to a panel: cards, charts and grids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import traitlets

from steerwidgets.widgets.base import Widget
from steerwidgets.widgets.recipe_editor.holder import Holder, checked_holder, put_into

if TYPE_CHECKING:
    from steerwidgets.steering.recipe import Recipe


class Sender(Widget):
    """A widget that gives steers to a panel, or says that one was asked for.

    Attributes:
        steer_requested: what was asked for last, and as `count` how often.
    """

    _called: ClassVar[str]
    """What examples call it."""

    facts = traitlets.Dict().tag(sync=True)
    steer_requested = traitlets.Dict().tag(sync=True)

    _panel: Holder | None

    def steer_in(self, panel: Holder | None) -> None:
        """Let the button that steers give what it stands for to a panel; None takes the panel away again.

        Args:
            panel: a `SteeringPanel`, a `FeaturePicker`, or whatever else has a recipe; or None.

        Raises:
            TypeError: it has no recipe.

        Example:
            >>> card, panel = sw.FeatureCard(lm, sae, "music"), sw.SteeringPanel(lm, sae)
            >>> card.steer_in(panel)
            >>> _ = card.steer()
            >>> panel.recipe
            'music'.clamp(8)
        """
        self._panel = self._checked_panel(panel)
        self.publish(facts={**self.facts, "panel": panel is not None})

    def _checked_panel(self, panel: Any) -> Holder | None:
        return checked_holder(panel, f"{self._called}.steer_in")

    def _send_to_panel(self, recipe: Recipe, **asked: Any) -> Recipe:
        """Give a recipe to the panel, where there is one, and say that it was asked for."""
        if self._panel is not None:
            put_into(self._panel, recipe)
        self._tell_requested({**asked, "recipe": recipe.to_json()})
        return recipe

    def _tell_requested(self, asked: Mapping[str, Any]) -> None:
        self.publish(steer_requested={**asked, "count": self.steer_requested.get("count", 0) + 1})

    def _sent_where(self) -> str:
        """Where a steer is that was sent, as the end of a sentence."""
        if self._panel is not None:
            return "is in the panel's recipe now."
        name = self._called
        return f"is in {name}.steer_requested; {name}.steer_in(panel) lets the next one go to a panel."
