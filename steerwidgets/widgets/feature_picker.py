"""FeaturePicker: find features by label, prompt, token or likeness, and make a recipe of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

from steerwidgets.model import LanguageModel
from steerwidgets.steering.recipe import Direction, Recipe, Steer
from steerwidgets.transformer.mistakes import refuse_no_model
from steerwidgets.widgets.export import STATIC
from steerwidgets.widgets.recipe_editor.query import FindQuery
from steerwidgets.widgets.recipe_editor.recipe_widget import FeaturesLike, RecipeWidget

_SEARCH: Final[Mapping[str, Any]] = {
    "mode": "label",
    "query": "",
    "rank": "maximum",
    "span": None,
    "normalise": True,
    "promotes": True,
    "key": "",
    "sort": "match",
    "descending": True,
    "filters": {"density": None, "labelled": False, "dictionaries": None},
}


class FeaturePicker(RecipeWidget):
    """A list of features to search, filter and sort, and the recipe that is made from it.

    A picker without a model finds features by label, number and likeness, and measures no strength.

    Args:
        lm: the model, or None.
        features: a dictionary, a direction, or several of them.
        recipe: the recipe to begin with.
        prompt: a text on which strength is measured: ‖change‖/‖h‖ of every steer; none by default.
        chat: whether that text goes through the chat template.
        search: what is looked for to begin with: `mode`, `query`, `rank`, `span`, `normalise`, `promotes`, `key`,
            `sort`, `descending`, `filters`, as `find` takes them.

    Attributes:
        recipe: its value: the steers that are switched on. It may be set.
        selected: the key of the row last chosen, or ""; link it to a FeatureCard's `feature`.
        search: the search as it stands.

    Raises:
        TypeError: `features` holds something that is no dictionary and no direction, or there is no such setting.
        ValueError: the search asks for something that there is not.
    """

    _esm = STATIC / "feature_picker.js"
    _css = STATIC / "feature_picker.css"
    bundle: ClassVar[str] = "feature_picker"
    title: ClassVar[str] = "feature picker"

    def __init__(
        self,
        lm: LanguageModel | None,
        features: FeaturesLike = (),
        *,
        recipe: Recipe | Steer | Iterable[Steer] | None = None,
        prompt: str = "",
        chat: bool = False,
        **search: Any,
    ) -> None:
        if lm is not None:
            refuse_no_model(lm, "sw.FeaturePicker", "dictionaries")
        for name in search:
            if name not in _SEARCH:
                raise TypeError(f"FeaturePicker has no setting {name!r}; a search has {', '.join(_SEARCH)}.")
        steers = Recipe.of(recipe)
        wanted = dict(_SEARCH) | search
        FindQuery.parse(wanted)
        super().__init__(lm, features, prompt=prompt, chat=chat, search=wanted)
        self._begin(steers)

    @property
    def feature(self) -> Direction | None:
        """The feature of the row last chosen; None where none is."""
        return self._features.find(self.selected) if self.selected else None

    def find(self, offset: int = 0, limit: int = 100, **search: Any) -> list[Direction]:
        """The features that the list shows, or those of another search, in its order: `picker.find(query="sea")`.

        Raises:
            ValueError: the search asks for something that there is not.
        """
        found = self._finder.find(dict(self.search) | search | {"offset": offset, "limit": limit})
        return [self._features.find(row["key"]) for row in found["features"]]
