"""What widgets share that have a recipe on screen: its steers, the features to choose from, their strengths."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import traitlets

from steerwidgets.dictionaries.base import Dictionary
from steerwidgets.lens.misfit import misfit
from steerwidgets.model import LanguageModel
from steerwidgets.steering.hooks import check_fits, other_model_note, warn_of_other_model
from steerwidgets.steering.positions import Positions
from steerwidgets.steering.recipe import Direction, Recipe, Steer
from steerwidgets.steering.strength import readouts, residuals_under
from steerwidgets.transformer.abilities import Abilities
from steerwidgets.transformer.sites import Site
from steerwidgets.widgets.base import Widget
from steerwidgets.widgets.export import recipe_snippet
from steerwidgets.widgets.protocol import Handler
from steerwidgets.widgets.recipe_editor import describe
from steerwidgets.widgets.recipe_editor.finder import FeatureFinder
from steerwidgets.widgets.recipe_editor.inputs import recipe_of
from steerwidgets.widgets.recipe_editor.shelf import FeatureShelf, OpNames

if TYPE_CHECKING:
    from steerwidgets.transformer.prompts import Prompt, PromptLike
    from steerwidgets.transformer.residuals import Residuals

_SHARED_POSITIONS: Final = frozenset({"all", "prompt", "generated", "indices"})

FeaturesLike = Dictionary | Direction | Sequence[Dictionary | Direction]


class RecipeWidget(Widget):
    """A widget in which features are found, put into a recipe, and given strengths.

    Attributes:
        recipe: the steers that are switched on; it may be set.
        search: what is looked for, as the request "find" takes it.
        selected: the key of the row last chosen, or ""; it may be linked to a FeatureCard's `feature`.
        inputs: the traits that what is shown depends on.
        measured: those of them that readouts depend on.
    """

    inputs: ClassVar[tuple[str, ...]] = ("prompt", "chat", "steers", "positions", "selected")
    measured: ClassVar[frozenset[str]] = frozenset({"prompt", "chat", "steers", "positions"})

    prompt = traitlets.Unicode().tag(sync=True)
    chat = traitlets.Bool().tag(sync=True)
    steers: Any = traitlets.List().tag(sync=True)
    positions = traitlets.Dict().tag(sync=True)

    search = traitlets.Dict().tag(sync=True)
    selected = traitlets.Unicode().tag(sync=True)

    model_info = traitlets.Dict().tag(sync=True)
    catalogue = traitlets.Dict().tag(sync=True)
    dictionaries: Any = traitlets.List().tag(sync=True)
    steer_features = traitlets.Dict().tag(sync=True)
    ops = traitlets.Dict().tag(sync=True)
    readouts = traitlets.Dict().tag(sync=True)
    prompt_tokens = traitlets.Dict().tag(sync=True)
    status = traitlets.Dict().tag(sync=True)
    recipe_json = traitlets.Unicode().tag(sync=True)
    snippet = traitlets.Unicode().tag(sync=True)
    provenance = traitlets.Dict().tag(sync=True)

    def __init__(self, lm: LanguageModel | None, features: FeaturesLike, **traits: Any) -> None:
        self.lm = lm
        self._features = FeatureShelf(features)
        self._finder = FeatureFinder(self._features, lm)
        self._residuals: tuple[Any, Residuals] | None = None
        super().__init__(
            positions=Positions().to_json() | {"indices": []},
            model_info={} if lm is None else describe.model_json(lm),
            catalogue=self._finder.catalogue(),
            dictionaries=self._finder.dictionaries(),
            ops=self._ops_json(),
            status={"state": "idle", "message": self._other_model_notes()},
            provenance=({} if lm is None else lm.provenance) | self._features.provenance(),
            **traits,
        )

    def _ops_json(self) -> dict[str, Any]:
        return self._features.op_names.json(Abilities() if self.lm is None else self.lm.abilities)

    def _begin(self, recipe: Recipe) -> None:
        """Show a recipe, and from now on whatever is set."""
        self.recipe = recipe
        self._refresh()
        self.observe(self._refresh, names=list(self.inputs))

    def _note_shown(self) -> None:
        super()._note_shown()
        # Not before somebody looks: meanwhile code has the model to itself.
        if self._finder.unchecked():
            self._worker.submit(self._check_fit)

    def _check_fit(self) -> None:
        """Say which dictionaries do not fit; of one that cannot be read here, other sentences tell."""
        assert self.lm is not None
        for dictionary in self._finder.unchecked():
            with contextlib.suppress(ValueError):
                misfit(self.lm, dictionary)
        self.publish(dictionaries=self._finder.dictionaries())

    def _other_model_notes(self) -> str:
        if self.lm is None:
            return ""
        for dictionary in self._features.dictionaries:
            warn_of_other_model(self.lm.architecture, dictionary)
        notes = (other_model_note(self.lm.architecture, each) for each in self._features.dictionaries)
        return " ".join(filter(None, notes))

    # What a user reads and sets

    @property
    def recipe(self) -> Recipe:
        """The recipe as it is shown, switched-off steers left out."""
        return self._recipe_of(self.steers)

    @recipe.setter
    def recipe(self, value: Recipe | Steer | Iterable[Steer] | None) -> None:
        recipe = Recipe.of(value)
        for feature in (feature for steer in recipe for feature in steer.features):
            self._features.remember(feature)
        shared = {steer.positions for steer in recipe}
        one = next(iter(shared)) if len(shared) == 1 else Positions()
        is_mixed = len(shared) > 1 or one.where not in _SHARED_POSITIONS
        where = {"where": "mixed", "special": True} if is_mixed else one.to_json()
        shown = [_steer_json(steer, self._features.op_names) for steer in recipe]
        self.publish(steers=shown, positions={"indices": []} | where, **self._shown_with(recipe))

    def add(self, steer: Steer) -> None:
        """Put one more steer into the recipe; what is there stays as it is, switched off or not.

        Args:
            steer: what is put in.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs)
            >>> panel.add(cavs["music"].add(40))
            >>> panel.recipe
            'music'.add(40)
        """
        for feature in steer.features:
            self._features.remember(feature)
        self.publish(steers=[*self.steers, _steer_json(steer, self._features.op_names)])

    def read_recipe(self, text: str) -> Recipe:
        """A recipe of features that the widget knows, from text as `recipe.to_json()` writes it.

        Args:
            text: the text.

        Returns:
            The recipe; the widget shows it once it is set: `panel.recipe = panel.read_recipe(text)`.

        Raises:
            ValueError: the text is no recipe, or a dictionary that it names was not given to the widget.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs)
            >>> panel.read_recipe(sw.Recipe.of(cavs["music"].add(40)).to_json())
            'music'.add(40)
        """
        return Recipe.from_json(text, self._features.dictionaries)

    def _shown_with(self, recipe: Recipe) -> dict[str, Any]:  # noqa: ARG002
        """Traits that change with a recipe that is set."""
        return {}

    def release(self) -> None:
        """Give back the prompt's residuals; they are read again where they are needed.

        Example:
            >>> picker = sw.FeaturePicker(lm, cavs)
            >>> picker.release()
        """
        super().release()
        self._residuals = None

    def _handlers(self) -> Mapping[str, Handler]:
        return self._finder.handlers()

    def _said(self) -> list[str]:
        of = ", ".join(
            f"{each['labelled']:,} of {each['size']:,} labelled in {each['name']}" for each in self.dictionaries
        )
        name = self.model_info.get("name", "no model")
        try:
            recipe = f"recipe: {self.recipe!r}" if self.steers else "no recipe yet"
        except ValueError as error:
            recipe = f"recipe: {error}"
        return [f"{name}, {recipe}", of]

    # From traits to a recipe, and what is told of it

    def _recipe_of(self, steers: Any) -> Recipe:
        return recipe_of(steers, self.positions, self._features)

    def _refresh(self, change: Any = None) -> None:
        """Bring what the kernel tells of the inputs up to date; inputs that make no run get a note."""
        try:
            self._publish_recipe()
            if change is None or change["name"] in self.measured:
                self._measure()
        except Exception as error:  # noqa: BLE001 - whatever the front-end wrote, the widget stays alive
            notes = {str(steer.get("id")): _note(str(error)) for steer in self.steers if isinstance(steer, Mapping)}
            self._publish_failed(notes)
            self._note_error("refresh", error)

    def _publish_failed(self, notes: dict[str, Any]) -> None:
        self.publish(readouts=notes, recipe_json="", snippet="")

    def _publish_recipe(self) -> None:
        self._publish_features()
        recipe = self.recipe
        self.publish(recipe_json=recipe.to_json(indent=2), snippet=self._code(recipe))

    def _code(self, recipe: Recipe) -> str:
        """Python that makes the recipe, or the run, again."""
        source = None if self.lm is None else self.lm.source_code
        return recipe_snippet(source, self._features.dictionaries, recipe)

    def _shown_keys(self) -> set[str]:
        """The features that have to be known without a search."""
        read = {key for steer in self.steers for key in _keys_read(steer.get("when")) if key in self._features}
        steered = {str(steer["key"]) for steer in self.steers}
        return steered | read | {key for key in (self.selected,) if key in self._features}

    def _publish_features(self) -> None:
        named = {key: self._features.json(self._features.find(key)) for key in self._shown_keys()}
        self.publish(steer_features=named, ops=self._ops_json())

    def _measure(self) -> None:
        """Publish readouts: now where the prompt was read before, else from the worker if nobody may wait."""
        if not self.prompt or self.lm is None:
            self.publish(readouts={}, prompt_tokens={"tokens": [], "prompt": self.prompt, "chat": self.chat})
            return
        wanted = self._to_read(self.lm)
        check_fits(self.lm.architecture, wanted.recipe, self.lm.known([wanted.prompt]))
        if self._residuals is not None and self._residuals[0] == wanted.key:
            self._publish_readouts(self.lm, wanted.prompt, self._residuals[1])
            return
        # Whoever sets a trait may hold the sync lock, which a run needs to end: nobody waits for the model here.
        if self.in_front_end_update or not self.lm.lock.acquire(blocking=False):
            self._publish_prompt_tokens(self.lm, wanted.prompt, None)
            self._worker.submit(self._read)
            return
        try:
            self._read()
        finally:
            self.lm.lock.release()

    def _to_read(self, lm: LanguageModel) -> _ToRead:
        prompt = lm.encode(self._asks(lm), chat=self.chat)
        lm.architecture.refuse_endless(prompt.token_ids)
        return _ToRead(prompt, self.recipe, self._features.usual_site())

    def _asks(self, lm: LanguageModel) -> PromptLike:  # noqa: ARG002 - of those that stand in a conversation
        """What is put to the model."""
        return self.prompt

    def _read(self) -> None:
        """Read the prompt as it stands now; of several jobs in the queue only the first has anything to read."""
        if not self.prompt or self.lm is None:
            return
        wanted = self._to_read(self.lm)
        if self._residuals is None or self._residuals[0] != wanted.key:
            self._residuals = (wanted.key, wanted.read(self.lm))
            self._features.norms |= self._residuals[1].median_norms()
            with self._sync_lock:
                self._publish_features()
        self._publish_readouts(self.lm, wanted.prompt, self._residuals[1])

    def _publish_readouts(self, lm: LanguageModel, encoded: Prompt, residuals: Residuals) -> None:
        with self._sync_lock:
            enabled = [steer for steer in self.steers if steer.get("enabled", True)]
            recipe = self._recipe_of(enabled)
        if not set(recipe.sites_read) <= set(residuals.values):
            return
        values = readouts(recipe, residuals, encoded)
        found = {
            str(shown.get("id")): describe.readout_json(value, other_model_note(lm.architecture, steer.feature))
            for shown, steer, value in zip(enabled, recipe, values, strict=True)
        }
        self.publish(readouts=found)
        self._publish_prompt_tokens(lm, encoded, residuals)

    def _publish_prompt_tokens(self, lm: LanguageModel, encoded: Prompt, residuals: Residuals | None) -> None:
        sinks = [i == 0 for i in range(len(encoded))]
        if residuals is not None and residuals.values:
            counted = residuals.counted(next(iter(residuals.values)))[0].tolist()
            sinks = [not each for each in counted]
        tokens = describe.prompt_json(lm.tokens(encoded.token_ids), encoded, sinks)
        self.publish(prompt_tokens={"tokens": tokens, "prompt": self.prompt, "chat": self.chat})


@dataclass(frozen=True)
class _ToRead:
    """The reading that readouts are measured on."""

    prompt: Prompt
    recipe: Recipe
    usual_site: Site | None

    @property
    def key(self) -> tuple[Any, ...]:
        """What it depends on: the strengths as well, where one steered block feeds another."""
        sites = self.recipe.sites_read or (self.usual_site,)
        return (self.prompt, sites, self.recipe.fingerprint if len(sites) > 1 else "")

    def read(self, lm: LanguageModel) -> Residuals:
        if len(self.recipe):
            return residuals_under(lm, self.prompt, self.recipe)
        return lm.residuals(self.prompt, [self.usual_site] if self.usual_site else [])


def _steer_json(steer: Steer, names: OpNames) -> dict[str, Any]:
    return {
        "id": uuid.uuid4().hex[:12],
        "key": steer.feature.key,
        "op": names.of(steer.feature, steer.op),
        "params": dict(steer.parameters),
        "enabled": True,
        "positions": steer.positions.to_json(),
        "control": None if steer.control is None else steer.control.to_json(),
        "when": None if steer.condition is None else steer.condition.to_json(lambda feature: feature.key),
        "fade": None if steer.fading is None else steer.fading.to_json(),
    }


def _keys_read(when: Any) -> set[str]:
    """The keys of the features that a condition reads, whatever the front-end wrote."""
    if isinstance(when, list | tuple):
        return {key for part in when for key in _keys_read(part)}
    if not isinstance(when, Mapping):
        return set()
    own = {when["feature"]} if isinstance(when.get("feature"), str) else set()
    return own | _keys_read(when.get("all")) | _keys_read(when.get("any"))


def _note(text: str) -> dict[str, Any]:
    return {"ratio": None, "asked": None, "achieved": None, "note": text}
