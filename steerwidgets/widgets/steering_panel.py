"""SteeringPanel: pick features, set their strengths, and read baseline and steered text side by side."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import traitlets

from steerwidgets.comparison import Comparison
from steerwidgets.dictionaries.base import Dictionary
from steerwidgets.export import STATIC, python_snippet
from steerwidgets.forward import Known
from steerwidgets.measure import readouts, residuals_under
from steerwidgets.model import LanguageModel
from steerwidgets.positions import Positions
from steerwidgets.recipe import Recipe
from steerwidgets.sampling import Sampling
from steerwidgets.sites import Site
from steerwidgets.steer import Direction, Steer
from steerwidgets.steering import check_fits, other_model_note, warn_of_other_model
from steerwidgets.widgets import describe
from steerwidgets.widgets.base import Widget
from steerwidgets.widgets.feature_shelf import FeatureShelf
from steerwidgets.widgets.op_names import OpNames
from steerwidgets.widgets.panel_inputs import checked_inputs, recipe_of
from steerwidgets.widgets.panel_run import PanelRun
from steerwidgets.widgets.protocol import Cancelled, Handler, Request, described

if TYPE_CHECKING:
    from steerwidgets.prompts import Prompt
    from steerwidgets.reading import Residuals

_INPUTS: Final = ("prompt", "chat", "settings", "steers", "positions", "watched")
_MEASURED: Final = ("prompt", "chat", "steers", "positions")
_SHARED_POSITIONS: Final = frozenset({"all", "prompt", "generated", "indices"})


class SteeringPanel(Widget):
    """A steering panel around a loaded model.

    Args:
        lm: the model.
        features: a dictionary, a direction, or several of them; they may be mixed in one run.
        prompt: the prompt to begin with.
        recipe: the recipe to begin with.
        chat: whether the prompt goes through the chat template; by default where the tokenizer has one.
        watch: the feature whose activation colours the tokens; by default the first one of the recipe.
        settings: `temperature`, `top_p`, `top_k`, `frequency_penalty`, `max_new_tokens`, `seed`.

    Attributes:
        result: the last run as plain data: exactly what is shown.
        comparison: the last run as `lm.compare` gives it, or None.

    Raises:
        TypeError: `features` holds something that is no dictionary and no direction.
        ValueError: a setting is out of range.
    """

    _esm = STATIC / "steering_panel.js"
    _css = STATIC / "steering_panel.css"
    bundle: ClassVar[str] = "steering_panel"
    title: ClassVar[str] = "steering panel"

    prompt = traitlets.Unicode().tag(sync=True)
    chat = traitlets.Bool().tag(sync=True)
    settings = traitlets.Dict().tag(sync=True)
    steers: Any = traitlets.List().tag(sync=True)
    positions = traitlets.Dict().tag(sync=True)
    watched = traitlets.Unicode().tag(sync=True)

    model_info = traitlets.Dict().tag(sync=True)
    catalogue = traitlets.Dict().tag(sync=True)
    steer_features = traitlets.Dict().tag(sync=True)
    ops = traitlets.Dict().tag(sync=True)
    readouts = traitlets.Dict().tag(sync=True)
    prompt_tokens = traitlets.Dict().tag(sync=True)
    result = traitlets.Dict().tag(sync=True)
    status = traitlets.Dict().tag(sync=True)
    recipe_json = traitlets.Unicode().tag(sync=True)
    snippet = traitlets.Unicode().tag(sync=True)
    provenance = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        lm: LanguageModel,
        features: Dictionary | Direction | Sequence[Dictionary | Direction] = (),
        *,
        prompt: str = "Tell me about your weekend.",
        recipe: Recipe | Steer | Iterable[Steer] | None = None,
        chat: bool | None = None,
        watch: Direction | None = None,
        **settings: Any,
    ) -> None:
        self.lm = lm
        self.comparison: Comparison | None = None
        self._features = FeatureShelf(features)
        self._run: PanelRun | None = None
        self._residuals: tuple[Any, Residuals] | None = None
        steers = Recipe.of(recipe)
        for dictionary in self._features.dictionaries:
            warn_of_other_model(lm.architecture, dictionary)
        notes = filter(None, (other_model_note(lm.architecture, each) for each in self._features.dictionaries))
        super().__init__(
            prompt=prompt,
            chat=lm.has_chat_template if chat is None else chat,
            settings=Sampling.of(settings).to_json(),
            positions=Positions().to_json() | {"indices": []},
            model_info=describe.model_json(lm),
            catalogue=self._features.catalogue(),
            ops=self._features.op_names.json(),
            status={"state": "idle", "message": " ".join(notes)},
            provenance=lm.provenance | self._features.provenance(),
        )
        self.recipe = steers
        if watch is not None:
            self._features.remember(watch)
            self.watched = watch.key
        self._refresh()
        self.observe(self._refresh, names=list(_INPUTS))

    # What a user reads and sets

    @property
    def recipe(self) -> Recipe:
        """The recipe as the panel shows it, switched-off steers left out."""
        return self._recipe_of(self.steers)

    @recipe.setter
    def recipe(self, value: Recipe | Steer | Iterable[Steer] | None) -> None:
        recipe = Recipe.of(value)
        for steer in recipe:
            self._features.remember(steer.feature)
        shared = {steer.positions for steer in recipe}
        one = next(iter(shared)) if len(shared) == 1 else Positions()
        is_mixed = len(shared) > 1 or one.where not in _SHARED_POSITIONS
        where = {"where": "mixed", "special": True} if is_mixed else one.to_json()
        shown = [_steer_json(steer, self._features.op_names) for steer in recipe]
        first = recipe.steers[0].feature.key if len(recipe) else ""
        self.publish(steers=shown, positions={"indices": []} | where, watched=self.watched or first)

    def generate(self) -> Comparison:
        """Run the panel from code: blocks, streams into the panel, and gives the comparison.

        Ctrl-C stops it; what was generated by then stays in the panel.

        Raises:
            ValueError: the panel's inputs do not make a run; the message says why.
        """
        request = Request(f"code-{uuid.uuid4().hex}", {}, self._send_message)
        inputs = {name: getattr(self, name) for name in _INPUTS}
        with self._protocol.following(request):
            return self._generate(request, inputs)

    # Requests of the front-end

    def _handlers(self) -> Mapping[str, Handler]:
        return {
            **super()._handlers(),
            "generate": Handler(self._serve_generate, slow=True),
            "search": Handler(lambda request: self._features.search(request.args)),
            "resync": Handler(self._serve_resync),
        }

    def _serve_generate(self, request: Request) -> dict[str, Any]:
        self._generate(request, request.args)
        if request.cancelled.is_set():
            raise Cancelled
        return {}

    def _serve_resync(self, request: Request) -> dict[str, Any]:
        run = self._run
        if run is None or run.request.id != request.args.get("run"):
            raise ValueError("That run is over; its result is in the panel.")
        return run.transcript.whole()

    def _generate(self, request: Request, values: Mapping[str, Any]) -> Comparison:
        try:
            given = {name: values.get(name, getattr(self, name)) for name in _INPUTS}
            inputs = checked_inputs(given, self._features)
            with self._held_model(request):
                self._run = run = PanelRun(self.lm, request, inputs)
                try:
                    return self._finished(run)
                except KeyboardInterrupt:
                    self._keep_partial(run)
                    raise
                finally:
                    self._run = None
        except (Cancelled, KeyboardInterrupt):
            self._publish_status("stopped")
            raise
        except BaseException as error:
            self._publish_status("error", described(error)["message"])
            raise

    def _finished(self, run: PanelRun) -> Comparison:
        self.publish(status={"state": "running", "message": ""})
        comparison = run.generate()
        self.comparison = comparison
        stopped = run.request.cancelled.is_set()
        if not stopped:
            run.request.progress(**run.transcript.progress("scoring"))
            comparison.scores  # noqa: B018 - computed here, in the worker, and kept
        self.publish(result=run.result(comparison, scored=not stopped))
        self.publish(status={"state": "stopped" if stopped else "done", "message": ""})
        return comparison

    def _keep_partial(self, run: PanelRun) -> None:
        if run.transcript.steps:
            self.publish(result=run.partial_result())

    @contextmanager
    def _held_model(self, request: Request) -> Iterator[None]:
        """Hold the model; while another run has it, say so and stay cancellable."""
        lock = self.lm.lock
        if not lock.acquire(blocking=False):
            self._publish_status("waiting", "Waiting for another run on this model.")
            request.progress(state="waiting")
            while not lock.acquire(timeout=0.05):
                if request.cancelled.is_set():
                    raise Cancelled
        try:
            yield
        finally:
            lock.release()

    # From traits to a recipe, and what is told of it

    def _recipe_of(self, steers: Any) -> Recipe:
        return recipe_of(steers, self.positions, self._features)

    def _refresh(self, change: Any = None) -> None:
        """Bring what the kernel tells of the inputs up to date; inputs that make no run get a note."""
        try:
            self._publish_recipe()
            if change is None or change["name"] in _MEASURED:
                self._measure()
        except Exception as error:  # noqa: BLE001 - whatever the front-end wrote, the panel stays alive
            notes = {str(steer.get("id")): _note(str(error)) for steer in self.steers if isinstance(steer, Mapping)}
            self.publish(readouts=notes, recipe_json="", snippet="")
            self._note_error("refresh", error)

    def _publish_recipe(self) -> None:
        self._publish_features()
        recipe = self.recipe
        settings = {"chat": self.chat} | dict(self.settings)
        code = python_snippet(self.lm.source_code, self._features.dictionaries, recipe, self.prompt, settings)
        self.publish(recipe_json=recipe.to_json(indent=2), snippet=code)

    def _publish_features(self) -> None:
        keys = {str(steer["key"]) for steer in self.steers} | ({self.watched} - {""})
        named = {key: self._features.json(self._features.find(key)) for key in keys}
        self.publish(steer_features=named, ops=self._features.op_names.json())

    def _measure(self) -> None:
        """Publish readouts: now where the prompt was read before, else from the worker if nobody may wait."""
        if not self.prompt:
            self.publish(readouts={}, prompt_tokens={"tokens": [], "prompt": "", "chat": self.chat})
            return
        wanted = self._to_read()
        check_fits(self.lm.architecture, wanted.recipe, Known(prompt_length=len(wanted.prompt)))
        if self._residuals is not None and self._residuals[0] == wanted.key:
            self._publish_readouts(wanted.prompt, self._residuals[1])
            return
        # Whoever sets a trait may hold the sync lock, which a run needs to end: nobody waits for the model here.
        if self.in_front_end_update or not self.lm.lock.acquire(blocking=False):
            self._publish_prompt_tokens(wanted.prompt, None)
            self._worker.submit(self._read)
            return
        try:
            self._read()
        finally:
            self.lm.lock.release()

    def _to_read(self) -> _ToRead:
        return _ToRead(self.lm.encode(self.prompt, chat=self.chat), self.recipe, self._features.usual_site())

    def _read(self) -> None:
        """Read the prompt as it stands now; of several jobs in the queue only the first has anything to read."""
        if not self.prompt:
            return
        wanted = self._to_read()
        if self._residuals is None or self._residuals[0] != wanted.key:
            self._residuals = (wanted.key, wanted.read(self.lm))
            self._features.norms |= self._residuals[1].median_norms()
            with self._sync_lock:
                self._publish_features()
        self._publish_readouts(wanted.prompt, self._residuals[1])

    def _publish_readouts(self, encoded: Prompt, residuals: Residuals) -> None:
        with self._sync_lock:
            enabled = [steer for steer in self.steers if steer.get("enabled", True)]
            recipe = self._recipe_of(enabled)
        if not set(recipe.sites) <= set(residuals.values):
            return
        values = readouts(recipe, residuals, encoded)
        found = {
            str(shown.get("id")): describe.readout_json(value, other_model_note(self.lm.architecture, steer.feature))
            for shown, steer, value in zip(enabled, recipe, values, strict=True)
        }
        self.publish(readouts=found)
        self._publish_prompt_tokens(encoded, residuals)

    def _publish_prompt_tokens(self, encoded: Prompt, residuals: Residuals | None) -> None:
        sinks = [i == 0 for i in range(len(encoded))]
        if residuals is not None and residuals.values:
            counted = residuals.counted(next(iter(residuals.values)))[0].tolist()
            sinks = [not each for each in counted]
        tokens = describe.prompt_json(self.lm.tokens(encoded.token_ids), encoded, sinks)
        self.publish(prompt_tokens={"tokens": tokens, "prompt": self.prompt, "chat": self.chat})

    def _publish_status(self, state: str, message: str = "") -> None:
        """Say how a request stands that has no run; another one's run keeps the status line."""
        if self._run is None:
            self.publish(status={"state": state, "message": message})


@dataclass(frozen=True)
class _ToRead:
    """The reading that readouts are measured on."""

    prompt: Prompt
    recipe: Recipe
    usual_site: Site | None

    @property
    def key(self) -> tuple[Any, ...]:
        """What it depends on: the strengths as well, where one steered block feeds another."""
        sites = self.recipe.sites or (self.usual_site,)
        return (self.prompt, sites, self.recipe.fingerprint if len(sites) > 1 else "")

    def read(self, lm: LanguageModel) -> Residuals:
        if len(self.recipe):
            return residuals_under(lm.engine, self.prompt, self.recipe)
        return lm.residuals(self.prompt, [self.usual_site] if self.usual_site else [])


def _steer_json(steer: Steer, names: OpNames) -> dict[str, Any]:
    return {
        "id": uuid.uuid4().hex[:12],
        "key": steer.feature.key,
        "op": names.of(steer.feature, steer.op),
        "params": dict(steer.parameters),
        "enabled": True,
        "positions": steer.positions.to_json(),
    }


def _note(text: str) -> dict[str, Any]:
    return {"ratio": None, "asked": None, "achieved": None, "note": text}
