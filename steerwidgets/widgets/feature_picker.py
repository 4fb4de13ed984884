"""FeaturePicker: find features by label, prompt, token or likeness, and make a recipe of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, TypedDict, Unpack

from steerwidgets.model import LanguageModel
from steerwidgets.steering.recipe import Direction, Recipe, Steer
from steerwidgets.transformer.mistakes import refuse_no_model
from steerwidgets.widgets.export import STATIC
from steerwidgets.widgets.recipe_editor.query import FindQuery, Mode, Ranking, Sort
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
    "filters": {"density": None, "labelled": False, "dictionaries": None, "verdicts": None},
}


class SearchFilters(TypedDict, total=False):
    """What leaves features out of a search.

    Attributes:
        density: the lowest and the highest density; None, the default, for all.
        labelled: only features that have a label; by default all.
        dictionaries: fingerprints of those to look in; None, the default, for all.
        verdicts: only features on whose label you gave one of these verdicts, as `["wrong", "mixed"]`; None, the
            default, for all.
    """

    density: Sequence[float | None] | None
    labelled: bool
    dictionaries: Sequence[str] | None
    verdicts: Sequence[str] | None


class SearchSettings(TypedDict, total=False):
    """What a picker looks for, each setting with its default.

    Attributes:
        mode: `label` (the default; words, or a number), `prompt` (what fires on a text), `token` (what promotes or
            suppresses it) or `similar` (what points the same way as a feature).
        query: the words, the text, or the token.
        rank: of a prompt, by each feature's `maximum` (the default), its `mean`, or its largest within a `span`.
        span: the first and the last position of it.
        normalise: whether activations are divided by the feature's 99.5th percentile or maximum; they are by default.
        promotes: of a token, whether features that promote it are looked for (the default), or that suppress it.
        key: the feature that others are compared with.
        sort: `match` (the default, the best first), `density`, `maximum`, `index` or `output_score`.
        descending: the largest first, the default; of no matter to `match`.
        filters: what leaves features out.
    """

    mode: Mode
    query: str
    rank: Ranking
    span: Sequence[int] | None
    normalise: bool
    promotes: bool
    key: str
    sort: Sort
    descending: bool
    filters: SearchFilters


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
            `sort`, `descending`, `filters`, as `SearchSettings` explains them.

    Attributes:
        recipe: its value: the steers that are switched on. It may be set.
        selected: the key of the row last chosen, or ""; link it to a FeatureCard's `feature`.
        search: the search as it stands.

    Raises:
        TypeError: `features` holds something that is no dictionary and no direction, or there is no such setting.
        ValueError: the search asks for something that there is not.

    Example:
        >>> picker = sw.FeaturePicker(lm, [cavs, sae], query="sea")
        >>> picker.recipe = cavs["the sea"].add(36)
        >>> len(picker.recipe)
        1
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
        **search: Unpack[SearchSettings],
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
        """The feature of the row last chosen; None where none is.

        Example:
            >>> sw.FeaturePicker(lm, cavs).feature is None
            True
        """
        return self._features.find(self.selected) if self.selected else None

    def find(self, offset: int = 0, limit: int = 100, **search: Unpack[SearchSettings]) -> list[Direction]:
        """The features that the list shows, or those of another search, in its order: `picker.find(query="sea")`.

        Args:
            offset: how many of the list to leave out first.
            limit: how many at most.
            search: what differs from the search as it stands, as `SearchSettings` explains it.

        Returns:
            Features and directions.

        Raises:
            ValueError: the search asks for something that there is not.

        Example:
            >>> sw.FeaturePicker(lm, [cavs, sae]).find(query="sea")
            [<CAV 'the sea' at block 1 resid_post>, <SAE 'the sea' at block 1 resid_post>]
        """
        found = self._finder.find(dict(self.search) | search | {"offset": offset, "limit": limit})
        return [self._features.find(row["key"]) for row in found["features"]]
