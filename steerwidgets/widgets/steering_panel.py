"""SteeringPanel: pick features, set their strengths, and read baseline and steered text side by side."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import traitlets

from steerwidgets.dictionaries.base import Dictionary
from steerwidgets.export import python_snippet
from steerwidgets.measure import readouts
from steerwidgets.model import Comparison, LanguageModel
from steerwidgets.positions import Positions
from steerwidgets.recipe import Recipe
from steerwidgets.sampling import Sampling
from steerwidgets.steer import Direction, Feature, Steer
from steerwidgets.widgets import describe
from steerwidgets.widgets.base import STATIC, Widget
from steerwidgets.widgets.protocol import Cancelled, Handler, Request
from steerwidgets.widgets.transcript import Transcript

if TYPE_CHECKING:
    from steerwidgets.generation import Step
    from steerwidgets.prompts import Prompt
    from steerwidgets.reading import Residuals

_LISTED_WHOLE: Final = 500
"""Dictionaries together up to this size travel whole, and are searched without the kernel."""

_INPUTS: Final = ("prompt", "chat", "settings", "steers", "positions", "watched")
_SHARED_POSITIONS: Final = frozenset({"all", "prompt", "generated", "indices"})


@dataclass(frozen=True)
class _Inputs:
    """What a run depends on, checked."""

    prompt: str
    chat: bool
    sampling: Sampling
    recipe: Recipe
    watched: Direction | None
    shown: Mapping[str, Any]


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
        self._features = _FeatureShelf(features)
        self._run: _PanelRun | None = None
        self._residuals: tuple[Any, Residuals] | None = None
        steers = Recipe.of(recipe)
        super().__init__(
            prompt=prompt,
            chat=lm.has_chat_template if chat is None else chat,
            settings=_panel_settings(Sampling.of(settings)),
            positions=Positions().to_json() | {"indices": []},
            model_info=describe.model_json(lm),
            catalogue=self._features.catalogue(),
            ops=describe.ops_json(),
            status={"state": "idle", "message": ""},
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
        return self._recipe_of(self.steers, self.positions)

    @recipe.setter
    def recipe(self, value: Recipe | Steer | Iterable[Steer] | None) -> None:
        recipe = Recipe.of(value)
        for steer in recipe:
            self._features.remember(steer.feature)
        shared = {steer.positions for steer in recipe}
        one = next(iter(shared)) if len(shared) == 1 else Positions()
        is_mixed = len(shared) > 1 or one.where not in _SHARED_POSITIONS
        where = {"where": "mixed", "special": True} if is_mixed else one.to_json()
        shown = [_steer_json(steer) for steer in recipe]
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
        try:
            comparison = self._generate(request, inputs)
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            request.finish("cancelled") if stopped else request.finish(
                "error", error={"message": str(error), "kind": type(error).__name__}
            )
            raise
        request.finish("result", value={})
        return comparison

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
            inputs = self._checked(values)
            with self._held_model(request):
                run = self._run = _PanelRun(self.lm, request, inputs)
                self._publish_status("running")
                comparison = self._finished(run)
        except Cancelled:
            self._publish_status("stopped")
            raise
        except KeyboardInterrupt:
            self._keep_partial()
            raise
        except BaseException as error:
            self._publish_status("error", str(error))
            raise
        finally:
            self._run = None
        return comparison

    def _finished(self, run: _PanelRun) -> Comparison:
        comparison = run.generate()
        self.comparison = comparison
        stopped = run.request.cancelled.is_set()
        if not stopped:
            run.request.progress(**run.transcript.progress("scoring"))
            comparison.scores  # noqa: B018 - computed here, in the worker, and kept
        self.publish(result=run.result(comparison, scored=not stopped))
        self._publish_status("stopped" if stopped else "done")
        return comparison

    def _keep_partial(self) -> None:
        run = self._run
        if run is not None and run.transcript.steps:
            self.publish(result=run.partial_result())
        self._publish_status("stopped")

    @contextmanager
    def _held_model(self, request: Request) -> Iterator[None]:
        """Hold the model; while another run has it, say so and stay cancellable."""
        lock = self.lm.lock
        if not lock.acquire(blocking=False):
            self._publish_status("waiting", "Waiting for another run on this model.")
            request.progress(state="waiting", done=0, total=0, tokens_per_second=None, seconds_left=None)
            while not lock.acquire(timeout=0.05):
                if request.cancelled.is_set():
                    raise Cancelled
        try:
            yield
        finally:
            lock.release()

    # From traits to a recipe, and what is told of it

    def _checked(self, values: Mapping[str, Any]) -> _Inputs:
        given = {name: values.get(name, getattr(self, name)) for name in _INPUTS}
        if not isinstance(given["prompt"], str) or not given["prompt"].strip():
            raise ValueError("The prompt is empty; write something to put to the model.")
        sampling = Sampling.of(given["settings"])
        recipe = self._recipe_of(given["steers"], given["positions"])
        watched = self._features.find(given["watched"]) if given["watched"] else None
        if watched is None and len(recipe):
            watched = recipe.steers[0].feature
        return _Inputs(given["prompt"], bool(given["chat"]), sampling, recipe, watched, given)

    def _recipe_of(self, steers: Sequence[Mapping[str, Any]], positions: Mapping[str, Any]) -> Recipe:
        return Recipe(tuple(self._steer_of(steer, positions) for steer in steers if steer.get("enabled", True)))

    def _steer_of(self, value: Mapping[str, Any], positions: Mapping[str, Any]) -> Steer:
        own = value.get("positions", {}) if positions.get("where") == "mixed" else positions
        feature = self._features.find(str(value.get("key")))
        return Steer(feature, str(value.get("op")), value.get("params", {}), Positions.from_json(own))

    def _refresh(self, change: Any = None) -> None:
        """Bring what the kernel tells of the inputs up to date."""
        keys = {str(steer.get("key")) for steer in self.steers} | ({self.watched} - {""})
        self.publish(steer_features={key: describe.feature_json(self._features.find(key)) for key in keys})
        try:
            self._publish_recipe()
        except (ValueError, KeyError, TypeError) as error:
            notes = {str(steer.get("id")): _note(str(error)) for steer in self.steers}
            self.publish(readouts=notes, recipe_json="", snippet="")
            return
        if change is None or change["name"] in ("prompt", "chat", "steers", "positions"):
            self._measure()

    def _publish_recipe(self) -> None:
        recipe = self.recipe
        settings = {"chat": self.chat} | dict(self.settings)
        code = python_snippet(self.lm.source_code, self._features.dictionaries, recipe, self.prompt, settings)
        self.publish(recipe_json=recipe.to_json(indent=2), snippet=code)

    def _measure(self) -> None:
        """Publish readouts now where the prompt was read before, else from the worker."""
        if not self.prompt:
            self.publish(readouts={}, prompt_tokens={"tokens": [], "prompt": "", "chat": self.chat})
            return
        encoded = self.lm.encode(self.prompt, chat=self.chat)
        wanted = (encoded.token_ids, self.recipe.sites)
        if self._residuals is not None and self._residuals[0] == wanted:
            self._publish_readouts(encoded, self._residuals[1])
        elif self.in_front_end_update:
            self._publish_prompt_tokens(encoded, None)
            self._worker.submit(lambda: self._read_and_publish(encoded, wanted))
        else:
            self._read_and_publish(encoded, wanted)

    def _read_and_publish(self, encoded: Prompt, wanted: tuple[Any, Any]) -> None:
        current = self.lm.encode(self.prompt, chat=self.chat) if self.prompt else None
        if current is None or (current.token_ids, self.recipe.sites) != wanted:
            return
        sites = wanted[1] or (self._features.usual_site(),)
        residuals = self.lm.residuals(encoded, [site for site in sites if site is not None])
        self._residuals = (wanted, residuals)
        self._publish_readouts(encoded, residuals)

    def _publish_readouts(self, encoded: Prompt, residuals: Residuals) -> None:
        enabled = [steer for steer in self.steers if steer.get("enabled", True)]
        values = readouts(self.recipe, residuals, encoded)
        found = {str(s.get("id")): describe.readout_json(v) for s, v in zip(enabled, values, strict=True)}
        self.publish(readouts=found)
        self._publish_prompt_tokens(encoded, residuals)

    def _publish_prompt_tokens(self, encoded: Prompt, residuals: Residuals | None) -> None:
        sinks = [i == 0 for i in range(len(encoded))]
        if residuals is not None and residuals.values:
            counted = residuals.counted(next(iter(residuals.values)))[0].tolist()
            sinks = [not c for c in counted]
        tokens = describe.prompt_json(self.lm.tokens(encoded.token_ids), encoded, sinks)
        self.publish(prompt_tokens={"tokens": tokens, "prompt": self.prompt, "chat": self.chat})

    def _publish_status(self, state: str, message: str = "") -> None:
        self.publish(status={"state": state, "message": message})


class _PanelRun:
    """One run of the panel: streams its steps, and makes its result."""

    def __init__(self, lm: LanguageModel, request: Request, inputs: _Inputs) -> None:
        self._lm = lm
        self._inputs = inputs
        self.request = request
        self.transcript = Transcript(lm, rows=2, total=inputs.sampling.max_new_tokens)

    def generate(self) -> Comparison:
        inputs = self._inputs
        self.request.progress(**self.transcript.progress("running"))
        comparison = self._lm.compare(
            inputs.prompt,
            inputs.recipe,
            chat=inputs.chat,
            watch=[inputs.watched] if inputs.watched is not None else [],
            on_step=self._on_step,
            stop=self.request.cancelled,
            **inputs.sampling.to_json(),
        )
        self._send()
        return comparison

    def _on_step(self, step: Step) -> None:
        self.transcript.take(step)
        if self.transcript.is_due:
            self._send()

    def _send(self) -> None:
        self.request.delta(**self.transcript.new())
        self.request.progress(**self.transcript.progress("running"))

    def result(self, comparison: Comparison, *, scored: bool) -> dict[str, Any]:
        """What the panel shows of a run that ended."""
        rows = [
            describe.row_json("baseline", comparison.baseline),
            describe.row_json("steered", comparison.steered),
        ]
        scores = comparison.scores if scored else None
        return self._result(rows, comparison.divergence) | {
            "kl": list(scores.kl) if scores else None,
            "kl_floor": scores.kl_floor if scores else None,
            "surprise": list(scores.surprise) if scores else None,
        }

    def partial_result(self) -> dict[str, Any]:
        """What the panel shows of a run that was interrupted."""
        decode = self._lm.tokenizer.decode
        rows = [
            {
                "name": name,
                "tokens": describe.tokens_json(self._lm.tokens(ids)),
                "text": decode(ids, clean_up_tokenization_spaces=False),
                "ended": "stopped",
                "watched": [*values, *([None] * (len(ids) - len(values)))],
            }
            for name, ids, values in zip(
                ("baseline", "steered"), self.transcript.texts(), self.transcript.watched(), strict=True
            )
        ]
        return self._result(rows, self.transcript.divergence) | {"kl": None, "kl_floor": None, "surprise": None}

    def _result(self, rows: list[dict[str, Any]], divergence: int | None) -> dict[str, Any]:
        inputs = self._inputs
        return {
            "rows": rows,
            "divergence": divergence,
            "watched": _domain(inputs.watched, rows),
            "settings": _panel_settings(inputs.sampling),
            "prompt": inputs.prompt,
            "chat": inputs.chat,
            "recipe": inputs.recipe.to_json(),
            "steers": list(inputs.shown["steers"]),
            "positions": dict(inputs.shown["positions"]),
            "tokens_per_second": self.transcript.tokens_per_second,
            "seconds": self.transcript.seconds,
        }


class _FeatureShelf:
    """The features that a panel can steer with: dictionaries, single directions, and those of a recipe."""

    def __init__(self, features: Dictionary | Direction | Sequence[Dictionary | Direction]) -> None:
        items = [features] if isinstance(features, Dictionary | Direction) else list(features)
        for item in items:
            if not isinstance(item, Dictionary | Direction):
                raise TypeError(
                    f"A panel steers with dictionaries and directions, but {type(item).__name__} was given; "
                    "make one of it, as in sw.CAV(vectors, labels, layer=15)."
                )
        self.dictionaries = [item for item in items if isinstance(item, Dictionary)]
        self._singles: dict[str, Direction] = {}
        for item in items:
            if isinstance(item, Direction):
                self.remember(item)

    def remember(self, feature: Direction) -> None:
        """Keep a feature that may belong to none of the dictionaries."""
        self._singles[feature.key] = feature

    def find(self, key: str) -> Direction:
        """The feature of a key."""
        if key in self._singles:
            return self._singles[key]
        fingerprint, _, index = key.rpartition("/")
        for dictionary in self.dictionaries:
            if dictionary.fingerprint == fingerprint and index.isdigit():
                return dictionary[int(index)]
        raise KeyError(f"This panel has no feature {key!r}; it belongs to a dictionary that was not given to it.")

    def catalogue(self) -> dict[str, Any]:
        """The list that the panel shows before anybody searches."""
        total = sum(map(len, self.dictionaries)) + len(self._singles)
        return {
            "features": [describe.feature_json(f) for f in self._matching("", _LISTED_WHOLE)],
            "total": total,
            "complete": total <= _LISTED_WHOLE,
        }

    def search(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Features by label."""
        found = self._matching(str(args.get("query", "")), int(args.get("limit", 50)))
        return {"features": [describe.feature_json(f) for f in found], "total": len(found)}

    def provenance(self) -> dict[str, str]:
        """What the dictionaries say of themselves."""
        return {f"dictionary {i + 1}": f"{d!r} {dict(d.provenance)}" for i, d in enumerate(self.dictionaries)}

    def usual_site(self) -> Any:
        """A site to look at where the recipe is empty; None where there is no feature at all."""
        first: list[Direction] = self._matching("", 1)
        return first[0].site if first else None

    def _matching(self, query: str, limit: int) -> list[Direction]:
        words = query.casefold().split()
        singles = [
            f
            for f in self._singles.values()
            if not isinstance(f, Feature) and all(w in f"{f.label} {f.kind}".casefold() for w in words)
        ]
        found: list[Direction] = singles[:limit]
        for dictionary in self.dictionaries:
            found += dictionary.search(query, limit=limit - len(found))
        return found


def _steer_json(steer: Steer) -> dict[str, Any]:
    return {
        "id": uuid.uuid4().hex[:12],
        "key": steer.feature.key,
        "op": steer.op,
        "params": dict(steer.parameters),
        "enabled": True,
        "positions": steer.positions.to_json(),
    }


def _panel_settings(sampling: Sampling) -> dict[str, Any]:
    return sampling.to_json()


def _note(text: str) -> dict[str, Any]:
    return {"ratio": None, "asked": None, "achieved": None, "note": text}


def _domain(feature: Direction | None, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The scale that colours the tokens: the feature's maximum over its corpus where known, else this text's."""
    if feature is None:
        return None
    known = feature.max_activation if isinstance(feature, Feature) else None
    values = [abs(value) for row in rows for value in row["watched"] if value is not None]
    if known:
        source = getattr(feature, "max_activation_of", None) or "its dictionary"
        return {"key": feature.key, "label": feature.label, "domain": known, "domain_source": f"maximum over {source}"}
    return {
        "key": feature.key,
        "label": feature.label,
        "domain": max(values, default=1.0) or 1.0,
        "domain_source": "largest in these texts",
    }
