"""SubspaceMap: features as points, a component's tokens along its loadings, and a target that is dragged to steer."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypedDict, Unpack

import traitlets

from steerwidgets.dictionaries.base import checked_dictionary
from steerwidgets.files.shown import shown
from steerwidgets.generation.sampling import Sampling
from steerwidgets.lens.misfit import is_checked, known_misfit, misfit
from steerwidgets.steering.hooks import check_feature
from steerwidgets.steering.recipe import Recipe
from steerwidgets.steering.suggested import suggested_steer
from steerwidgets.transformer.mistakes import refuse_no_model, refuse_unknown
from steerwidgets.widgets.export import STATIC
from steerwidgets.widgets.panel.next_token import LEAST, SHOWN, next_token_json
from steerwidgets.widgets.protocol import Cancelled, Handler, Request, held_for
from steerwidgets.widgets.recipe_editor.describe import finite
from steerwidgets.widgets.recipe_editor.holder import Holder
from steerwidgets.widgets.recipe_editor.sender import Sender
from steerwidgets.widgets.status import say_waiting, telling_how_it_ends
from steerwidgets.widgets.subspace_map.content import (
    DRAWN,
    component_json,
    features_json,
    near_json,
    texts_json,
)
from steerwidgets.widgets.subspace_map.texts import (
    checked_texts,
    examples,
    has_examples,
    no_examples,
    readable,
)

if TYPE_CHECKING:
    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.dictionaries.geometry import FeatureMap, MapMethod
    from steerwidgets.generation.comparison import Comparison
    from steerwidgets.lens.top_logits import LogitDifference
    from steerwidgets.model import LanguageModel
    from steerwidgets.steering.recipe import Feature
    from steerwidgets.widgets.subspace_map.content import TextPoints

PROMPT: Final = "I think that"
"""The prompt of the MFA's own tutorial."""

_FOUND: Final = 50
_TICK: Final = 0.1
"""Seconds between two looks at a text that is being written."""

_LOOK: Final = 0.5
"""Seconds between two looks at whether features are laid out."""

_COLOURS: Final = ("cluster", "token", "density")
_VIEWS: Final = ("loadings", "pca")


class MapSettings(TypedDict, total=False):
    """What a map reads and writes, each setting with its default.

    Attributes:
        method: how features are laid out: `pca` (the default), or `umap`, which needs umap-learn.
        clusters: into how many clusters a component's tokens are coloured, 1 to 6; 4 by default.
        max_tokens: how many tokens are read at most, 20,000 by default.
        max_length: a longer text is cut after this many tokens, 512 by default.
        max_new_tokens: how long the steered pair is, 24 by default.
        temperature: of the pair, 0.7 by default; 0 takes the likeliest token.
        seed: of the pair and of `umap`; 0 by default.
        chat: whether the prompt goes through the chat template; by default it is read as it stands.
    """

    method: MapMethod
    clusters: int
    max_tokens: int
    max_length: int
    max_new_tokens: int
    temperature: float
    seed: int
    chat: bool


_DEFAULTS: Final = MapSettings(
    method="pca",
    clusters=4,
    max_tokens=20_000,
    max_length=512,
    max_new_tokens=24,
    temperature=0.7,
    seed=0,
    chat=False,
)


class SubspaceMap(Sender):
    """A dictionary's features on a map; of an MFA's component its tokens, and a target whose place steers.

    Components lie where their centroids do, sized by weight; the tokens of one lie along two of its loadings, or of
    their principal axes, in the units of `pull`. The target is the `z` of `pull(a, z)`: what it does to the next token
    follows while it moves, and the steered text when it rests. Features of other kinds lie by their directions, with
    those linked that point nearly the same way or are active together.

    Args:
        lm: the model.
        dictionary: an MFA, or any other dictionary whose features are directions.
        component: the feature to begin with, by index, label, or itself; by default the one with the largest weight.
        texts: what a component's tokens are read from: strings (read raw), messages or token ids, or points that were
            read already (`mfa.points`). By default the examples that the dictionary came with.
        prompt: what is steered.
        panel: a `SteeringPanel` that "Send to panel" gives the recipe to.
        settings: `method`, `clusters`, `max_tokens`, `max_length`, `max_new_tokens`, `temperature`, `seed`, `chat`, as
            `MapSettings` explains them.

    Attributes:
        component: the index of the feature that is looked at.
        target: `{a, z}`, where the target stands: the share of the way to the centroid, and a number for each loading.
        axes: `loadings` or `pca`.
        dims: the two axes, across and up.
        colour: tokens are coloured by `cluster`, `token` or `density`.
        selected: the tokens that were lassoed, as rows of `map.points`.
        prompt: what is steered; to be read and set.
        comparison: the last steered pair as `lm.compare` gives it, or None.
        steer_requested: what "Send to panel" asked for last: `{recipe, count}`.

    Raises:
        IndexError: the dictionary has no feature of that index.
        KeyError: it has none, or several, of that label.
        ValueError: the dictionary does not fit the model, its directions make no map, there is no text, or a setting is
            out of range.
        TypeError: something is of another kind.
        ModuleNotFoundError: `method="umap"` needs umap-learn.

    Example:
        >>> widget = sw.SubspaceMap(lm, mfa, component=2, texts=["The user asks the assistant."])
        >>> widget.move(a=0.5, z={0: 3.0})  # the map itself is the last expression of a cell
        >>> widget.recipe
        'MFA 2'.pull(a=0.5, z0=3)
    """

    _esm = STATIC / "subspace_map.js"
    _css = STATIC / "subspace_map.css"
    bundle: ClassVar[str] = "subspace_map"
    title: ClassVar[str] = "subspace map"
    _called: ClassVar[str] = "map"

    features = traitlets.Dict().tag(sync=True)
    component: Any = traitlets.Int(0).tag(sync=True)
    near = traitlets.Dict().tag(sync=True)
    texts = traitlets.Dict().tag(sync=True)
    tokens = traitlets.Dict().tag(sync=True)
    target = traitlets.Dict().tag(sync=True)
    axes: Any = traitlets.Enum(_VIEWS, "loadings").tag(sync=True)
    dims: Any = traitlets.List(traitlets.Int(), [0, 1]).tag(sync=True)
    colour: Any = traitlets.Enum(_COLOURS, "cluster").tag(sync=True)
    selected: Any = traitlets.List(traitlets.Int()).tag(sync=True)
    prompt = traitlets.Unicode(PROMPT).tag(sync=True)
    next_token = traitlets.Dict().tag(sync=True)
    pair = traitlets.Dict().tag(sync=True)
    status = traitlets.Dict({"state": "idle", "message": ""}).tag(sync=True)
    provenance = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        lm: LanguageModel,
        dictionary: Dictionary,
        component: int | str | Feature | None = None,
        *,
        texts: Iterable[Any] | TextPoints | None = None,
        prompt: str = PROMPT,
        panel: Holder | None = None,
        **settings: Unpack[MapSettings],
    ) -> None:
        refuse_no_model(lm, "sw.SubspaceMap", "dictionary")
        self.lm = lm
        self._dictionary: Any = checked_dictionary(dictionary, "sw.SubspaceMap", "lm, ")
        self._settings = _checked(settings)
        self._panel = self._checked_panel(panel)
        self.comparison: Comparison | None = None
        self._points: Any = None
        self._mine: Any = None
        self._where: Any = None
        self._texts: Any = texts if texts is None or _is_points(texts) else checked_texts(texts)
        check_feature(lm.architecture, self._dictionary[0])
        self._map: FeatureMap = self._dictionary.map(self._settings["method"], seed=self._settings["seed"])
        index = self._index_of(component)
        super().__init__(
            prompt=prompt,
            provenance=lm.provenance,
            features=features_json(self._dictionary, self._map),
            status=self._idle(),
            **self._chosen(index),
        )
        if texts is not None and _is_points(texts):
            self._take(texts)
        self.observe(lambda change: self._follow_component(change["new"]), names="component")

    # What a user reads and sets

    @property
    def feature(self) -> Feature:
        """The feature that is looked at."""
        found: Feature = self._dictionary[self.component]
        return found

    @property
    def recipe(self) -> Recipe:
        """What the target stands for: the component's `pull(a, z)`; of other kinds, the feature's suggested steer."""
        return self._recipe(self.component, self.target)

    @property
    def points(self) -> Any:
        """The tokens of the component as `mfa[k].points(points)` gives them: `.z`, `.tokens`; None before any is read.

        Returns:
            `ComponentPoints`, or None.

        Example:
            >>> widget = sw.SubspaceMap(lm, mfa, 2, texts=["The user asks the assistant."])
            >>> widget.read().z.shape[1] == mfa.rank
            True
        """
        return self._mine

    def read(self) -> Any:
        """Read the texts from code: blocks; Ctrl-C and Stop keep what was read.

        Returns:
            The tokens of the component, as `mfa[k].points(points)` gives them.

        Raises:
            ValueError: there is nothing to read, or features of this kind have no tokens of their own.

        Example:
            >>> widget = sw.SubspaceMap(lm, mfa, 2, texts=["The user asks the assistant.", "Name a city."])
            >>> widget.read().component
            2
        """
        with self._protocol.from_code() as request:
            self._read(request)
        return self._mine

    def look(self, component: int | str | Feature) -> None:
        """Look at another feature, as a click does; the target goes back to its centroid.

        Args:
            component: by index, label, or itself.

        Raises:
            IndexError: there is no such index.
            KeyError: no feature, or more than one, has that label.

        Example:
            >>> widget = sw.SubspaceMap(lm, mfa, 2)
            >>> widget.look(3)
            >>> widget.feature
            <MFA 'MFA 3' at block 1 resid_post>
        """
        self._look(self._index_of(component))

    def move(self, a: float | None = None, z: Mapping[int, float] | Sequence[float] | None = None) -> None:
        """Put the target somewhere, as dragging does.

        Args:
            a: the share of the way to the centroid; as it is where left out.
            z: a number for some loadings, as `{0: 20, 8: -10}`, or one for each; as they are where left out.

        Raises:
            ValueError: there is no such loading, or a number is not finite.

        Example:
            >>> widget = sw.SubspaceMap(lm, mfa, 2)
            >>> widget.move(z=[1.0, -2.0])
            >>> widget.target["z"]
            [1.0, -2.0]
        """
        rank = self._rank
        moved = list(self.target.get("z", [0.0] * rank))
        if isinstance(z, Mapping):
            if strange := [each for each in z if each not in range(rank)]:
                raise ValueError(f"The component has loadings 0 to {rank - 1}, but z names {shown(strange[0])}.")
            moved = [float(z.get(i, 0.0)) for i in range(rank)]
        elif z is not None:
            moved = [float(each) for each in z]
        target = {"a": float(self.target.get("a", 0.0) if a is None else a), "z": moved}
        self._recipe(self.component, target)
        self.publish(target=target)

    def contexts(self, rows: Iterable[int] | None = None, window: int = 16) -> list[str]:
        """Tokens of the component with what stands before them, as the lasso lists them.

        Args:
            rows: which of `map.points`; by default those that were lassoed.
            window: how many tokens before.

        Returns:
            Texts that end with the token.

        Raises:
            ValueError: nothing was read yet, or there is no such row.

        Example:
            >>> widget = sw.SubspaceMap(lm, mfa, 2, texts=["The user asks the assistant."])
            >>> mine = widget.read()
            >>> len(widget.contexts(range(len(mine)))) == len(mine)
            True
        """
        if self._mine is None:
            raise ValueError("Nothing was read yet: press Read, or call map.read().")
        chosen = list(self.selected if rows is None else rows)
        for row in chosen:
            if not 0 <= row < len(self._mine):
                raise ValueError(
                    f"The component has tokens 0 to {len(self._mine) - 1} here, but {row} was asked for."
                    if len(self._mine)
                    else "The component has no token in what was read."
                )
        return [str(self._points.context(int(self._mine.rows[row]), 0.0, window)) for row in chosen]

    def logit_difference(self, k: int = SHOWN) -> LogitDifference:
        """What the target does to the token after the prompt, shown beside the map as well.

        Args:
            k: how many tokens of each kind.

        Returns:
            `.promoted` and `.suppressed`, as `lm.logit_difference` gives them.

        Raises:
            ValueError: the prompt is empty, or the logits are NaN or infinite under the recipe.

        Example:
            >>> widget = sw.SubspaceMap(lm, mfa, 2, prompt="Name a city")
            >>> widget.move(a=0.5)
            >>> len(widget.logit_difference(k=3).promoted)
            3
        """
        found = self._show_logits(self._asked({}), k)
        several = ("promoted", "suppressed", "changed", "before", "after")
        return replace(found, **{name: getattr(found, name)[:k] for name in several})

    def compare(self) -> Comparison:
        """Write the steered pair from code, shown beside the map as well.

        Returns:
            Baseline and steered text, as `lm.compare` gives them.

        Raises:
            ValueError: the prompt is empty, or the recipe does not fit the model.

        Example:
            >>> widget = sw.SubspaceMap(lm, mfa, 2, prompt="Name a city", max_new_tokens=4)
            >>> widget.move(a=0.5)
            >>> len(widget.compare().steered.token_ids)
            4
        """
        with self._protocol.from_code() as request:
            return self._compare(request, self._asked({}))

    def steer(self) -> Recipe:
        """What "Send to panel" does: the recipe goes to the panel, where there is one.

        Returns:
            The recipe.

        Raises:
            ValueError: the feature can be read but not steered.

        Example:
            >>> panel = sw.SteeringPanel(lm, mfa)
            >>> widget = sw.SubspaceMap(lm, mfa, 2)
            >>> widget.steer_in(panel)
            >>> widget.steer()
            'MFA 2'.pull(a=0.6)
            >>> panel.recipe
            'MFA 2'.pull(a=0.6)
        """
        return self._put(self._asked({}))

    def release(self) -> None:
        """Forget the residuals that were read; another component needs the texts read again.

        Example:
            >>> sw.SubspaceMap(lm, mfa, 2).release()
        """
        if "_points" in self.__dict__:
            self._points = self._where = self._mine = None

    def _note_shown(self) -> None:
        super()._note_shown()
        # Not before somebody looks: meanwhile code has the model to itself.
        if is_checked(self._dictionary) and known_misfit(self.lm, self._dictionary) is None:
            self._worker.submit(self._check_fit)

    def _check_fit(self) -> None:
        """Say whether the dictionary fits; of one that cannot be read here, other sentences tell."""
        with contextlib.suppress(ValueError):
            self.publish(facts={**self.facts, "misfit": misfit(self.lm, self._dictionary)})

    def _said(self) -> list[str]:
        facts = self.facts
        if not facts:
            return []
        said = [f"{facts['kind']} {self.component}, {facts['label']!r}, of {facts['size']:,}"]
        said += filter(None, [facts.get("misfit", "")])
        if self._rank:
            read = self.tokens.get("count")
            said.append("nothing was read yet" if read is None else f"{read:,} tokens of it")
            said.append(f"target: {self.recipe!r}")
        else:
            said += [f"near {row['label']!r}: cosine {row['cosine']:.2f}" for row in self.near.get("rows", [])[:5]]
        return said

    # Requests of the front-end

    def _handlers(self) -> Mapping[str, Handler]:
        return {
            "read": Handler(self._serve_read, slow=True),
            "look": Handler(self._serve_look, slow=True),
            "layout": Handler(self._serve_layout, slow=True),
            "find": Handler(self._serve_find, slow=True),
            "logits": Handler(self._serve_logits, slow=True),
            "pair": Handler(self._serve_pair, slow=True),
            "send": Handler(self._serve_send),
        }

    def _serve_read(self, request: Request) -> dict[str, Any]:
        self._read(request)
        if request.cancelled.is_set():
            raise Cancelled
        return {}

    def _serve_look(self, request: Request) -> dict[str, Any]:
        index = request.args.get("feature")
        if isinstance(index, bool) or not isinstance(index, int):
            raise ValueError(f"A feature is looked at by its index, but {shown(index)} came.")
        self._look(self._index_of(index))
        return {}

    def _serve_layout(self, request: Request) -> dict[str, Any]:
        self._map = self._laid_out(request, request.args.get("method", "pca"))
        self.publish_together(features=features_json(self._dictionary, self._map), **self._near(self.component))
        return {}

    def _laid_out(self, request: Request, method: Any) -> FeatureMap:
        """The features laid out; UMAP says nothing of how far it is, so how long it runs is told, and it can be left.

        Raises:
            Cancelled: it was left; what it would have given is dropped.
        """
        made: list[FeatureMap | BaseException] = []

        def lay_out() -> None:
            try:
                made.append(self._dictionary.map(method, seed=self._settings["seed"]))
            except BaseException as error:  # noqa: BLE001 - it is raised again where the page hears of it
                made.append(error)

        working = threading.Thread(target=lay_out, name="steerwidgets-layout", daemon=True)
        began = time.monotonic()
        working.start()
        working.join(_TICK)
        while working.is_alive():
            request.progress(phase="layout", seconds=round(time.monotonic() - began))
            if request.cancelled.wait(_LOOK):
                raise Cancelled
        if isinstance(made[0], BaseException):
            raise made[0]
        return made[0]

    def _serve_find(self, request: Request) -> dict[str, Any]:
        query = request.args.get("query")
        if not isinstance(query, str):
            raise ValueError(f"Features are searched for with a text, but {shown(query)} came.")
        found = self._dictionary.search(query, limit=_FOUND)
        return {"found": [{"index": feature.index, "label": feature.label} for feature in found]}

    def _serve_logits(self, request: Request) -> dict[str, Any]:
        asked = self._asked(request.args)
        with held_for(self.lm.lock, request):
            if request.cancelled.is_set():
                raise Cancelled
            self._show_logits(asked, SHOWN)
        return {}

    def _serve_pair(self, request: Request) -> dict[str, Any]:
        self._compare(request, self._asked(request.args))
        if request.cancelled.is_set():
            raise Cancelled
        return {}

    def _serve_send(self, request: Request) -> dict[str, Any]:
        recipe = self._put(self._asked(request.args))
        return {"said": f"{recipe!r} {self._sent_where()}"}

    # The feature that is looked at

    @property
    def _rank(self) -> int:
        return int(self._dictionary.rank) if self._dictionary.are_regions else 0

    def _index_of(self, component: Any) -> int:
        if component is None:
            weight = self._map.weight
            return 0 if weight is None else int(weight.nan_to_num(0.0).argmax())
        if hasattr(component, "index") and hasattr(component, "dictionary"):
            if component.dictionary != self._dictionary.fingerprint or not isinstance(component.index, int):
                raise ValueError(
                    f"{shown(component.label)} is no single feature of this {self._dictionary.kind} dictionary; give "
                    "one of it, by index, label, or itself."
                )
            component = component.index
        return int(self._dictionary[component].index)

    @traitlets.validate("component")
    def _check_component(self, proposal: Any) -> int:
        return self._index_of(proposal["value"])

    @traitlets.validate("dims")
    def _check_dims(self, proposal: Any) -> list[int]:
        dims, rank = list(proposal["value"]), self._rank
        # Features of other kinds have a plane of their own, and no loadings.
        if len(dims) != 2 or dims[0] == dims[1] or (rank and not all(0 <= each < max(rank, 2) for each in dims)):
            raise ValueError(
                f"dims of sw.SubspaceMap are two different loadings of 0 to {max(rank, 2) - 1}, but "
                f"{shown(proposal['value'])} was given: dims=[0, 1]."
            )
        return dims

    def _follow_component(self, index: int) -> None:
        if index != self._index:
            self._look(index)

    def _look(self, index: int) -> None:
        chosen = self._chosen(index)
        self._mine = None
        if self._points is not None:
            chosen |= self._component(index)
        self.publish_together(**chosen)

    def _chosen(self, index: int) -> dict[str, Any]:
        """The traits that follow from which feature is looked at."""
        self._index = index
        feature = self._dictionary[index]
        rank = self._rank
        facts = {
            "model": self.lm.name,
            "kind": self._dictionary.kind,
            "layer": feature.site.layer,
            "stream": feature.site.stream,
            "size": self._dictionary.size,
            "rank": rank,
            "label": feature.label,
            "weighs": "weight" if rank else "density",
            "problem": self._problem(),
            "misfit": known_misfit(self.lm, self._dictionary) or "",
            "chat": self._settings["chat"],
            "panel": self._panel is not None,
        }
        a = suggested_steer(feature).parameters.get("a", 0.0) if rank else 0.0
        cleared: dict[str, Any] = {"tokens": {}, "selected": [], "next_token": {}, "pair": {}}
        dims = [dim if dim < max(rank, 2) else i for i, dim in enumerate(self.dims)]
        target = {"a": float(a or 0.0), "z": [0.0] * rank}
        return {"component": index, "facts": facts, "target": target, "dims": dims, **cleared, **self._near(index)}

    def _near(self, index: int) -> dict[str, Any]:
        return {} if self._rank else {"near": near_json(self._dictionary, index, self._map)}

    def _problem(self) -> str:
        """Why no tokens can be read; else empty."""
        if not self._rank or self._texts is not None or has_examples(self._dictionary):
            return ""
        return no_examples(self._dictionary.kind)

    # Reading

    def _idle(self) -> dict[str, Any]:
        return {"state": "idle", "message": ""}

    def _read(self, request: Request) -> None:
        with telling_how_it_ends(self), held_for(self.lm.lock, request, lambda: say_waiting(self)):
            self._follow(request)

    def _follow(self, request: Request) -> None:
        if not self._rank:
            raise ValueError(
                f"Features of a {self._dictionary.kind} dictionary are directions: they lie on the map by themselves, "
                "and have no tokens of their own to be read."
            )
        if problem := self._problem():
            raise ValueError(problem)
        most, longest = self._settings["max_tokens"], self._settings["max_length"]
        began = time.monotonic()

        def tell(progress: Any) -> None:
            spent = time.monotonic() - began
            left = spent / progress.done * (most - progress.done) if progress.done else None
            request.progress(done=progress.done, total=most, seconds_left=None if left is None else round(left, 1))

        self.publish(status={"state": "running", "message": ""})
        request.progress(done=0, total=most, seconds_left=None)
        given = examples(self._dictionary, self.component) if self._texts is None else self._texts
        settings: Any = {"max_tokens": most, "max_length": longest, "on_progress": tell, "stop": request.cancelled}
        try:
            points = self._dictionary.points(self.lm, readable(given, longest), **settings)
        except ValueError:
            if request.cancelled.is_set():
                raise Cancelled from None
            raise
        self._take(points, seconds=round(time.monotonic() - began, 1), stopped=request.cancelled.is_set())

    def _take(self, points: Any, *, seconds: float | None = None, stopped: bool = False) -> None:
        """Show residuals that were read.

        Raises:
            ValueError: they are as wide as no residual that the dictionary describes.
        """
        self._where = self._dictionary.belonging(points)
        self._points = points
        most, longest = self._settings["max_tokens"], self._settings["max_length"]
        status = {
            "state": "stopped" if stopped else "done",
            "message": "",
            "read": len(points),
            "texts": len(points.texts),
            "cut": sum(len(ids) >= longest for ids in points.texts),
            "max_length": longest,
            "full": len(points) >= most and not stopped,
            "examples": self._texts is None,
            "seconds": seconds,
        }
        self.publish_together(
            texts=texts_json(self.lm, points), selected=[], status=status, **self._component(self.component)
        )

    def _component(self, index: int) -> dict[str, Any]:
        self._mine = self._dictionary.component_points(self._points, index, most=DRAWN, where=self._where)
        return {"tokens": component_json(self._points, self._mine, index, self._settings["clusters"])}

    # Steering

    def _asked(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """What the page asks for, or what stands in the traits: `{component, target, prompt}`.

        Raises:
            ValueError: it is none of these.
        """
        found = {
            "component": args.get("component", self.component),
            "target": args.get("target", self.target),
            "prompt": args.get("prompt", self.prompt),
        }
        if isinstance(found["component"], bool) or not isinstance(found["component"], int):
            raise ValueError(f"A component is asked for by its index, but {shown(found['component'])} came.")
        if not isinstance(found["prompt"], str) or not found["prompt"].strip():
            raise ValueError("Write a prompt: what follows it is then steered.")
        return found

    def _recipe(self, component: int, target: Any) -> Recipe:
        feature = self._dictionary[component]
        if not self._rank:
            return Recipe.of(suggested_steer(feature))
        given = target if isinstance(target, Mapping) else {}
        a: Any = given.get("a")
        z: Any = given.get("z")
        if not _is_number(a) or not isinstance(z, list | tuple) or not all(map(_is_number, z)):
            raise ValueError(f"A target is {{a, z}} with a number for each loading, but {shown(target)} came.")
        if len(z) != self._rank:
            raise ValueError(f"The component has {self._rank} loadings, but {len(z)} numbers were given.")
        return Recipe.of(feature.pull(float(a), z={i: float(each) for i, each in enumerate(z) if each}))

    def _show_logits(self, asked: Mapping[str, Any], k: int) -> LogitDifference:
        recipe = self._recipe(asked["component"], asked["target"])
        chat = self._settings["chat"]
        found = self.lm.logit_difference(asked["prompt"], recipe, max(k, SHOWN), chat=chat, least=LEAST)
        [measured] = self.lm.measure(asked["prompt"], recipe, chat=chat)
        ratio = measured.ratio
        self.publish(next_token={**next_token_json(found, asked), "ratio": finite(ratio)})
        return found

    def _compare(self, request: Request, asked: Mapping[str, Any]) -> Comparison:
        recipe = self._recipe(asked["component"], asked["target"])
        ids: tuple[list[int], list[int]] = ([], [])
        told = time.monotonic()

        def on_step(step: Any) -> None:
            nonlocal told
            for row, token in zip(ids, step.token_ids, strict=True):
                if token is not None:
                    row.append(token)
            if time.monotonic() - told >= _TICK:
                told = time.monotonic()
                texts = [self.lm.tokenizer.decode(row, skip_special_tokens=True) for row in ids]
                self.publish(pair={"asked": dict(asked), "baseline": texts[0], "steered": texts[1], "done": False})

        sampling: Any = {name: self._settings[name] for name in ("max_new_tokens", "temperature", "seed")}
        with held_for(self.lm.lock, request):
            out = self.lm.compare(
                asked["prompt"],
                recipe,
                chat=self._settings["chat"],
                on_step=on_step,
                stop=request.cancelled,
                **sampling,
            )
        self.comparison = out
        self.publish(
            pair={
                "asked": dict(asked),
                "baseline": out.baseline.text,
                "steered": out.steered.text,
                "done": not request.cancelled.is_set(),
            }
        )
        return out

    def _put(self, asked: Mapping[str, Any]) -> Recipe:
        recipe = self._recipe(asked["component"], asked["target"])
        return self._send_to_panel(recipe)


def _is_points(texts: Any) -> bool:
    """Whether it is what `mfa.points` gives."""
    return hasattr(texts, "residuals") and hasattr(texts, "texts")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _checked(settings: MapSettings) -> MapSettings:
    """The settings with their defaults.

    Raises:
        TypeError: there is no such setting.
        ValueError: one is out of range.
    """
    refuse_unknown("sw.SubspaceMap", settings, _DEFAULTS)
    found: MapSettings = {**_DEFAULTS, **settings}
    if found["clusters"] not in range(1, 7):
        raise ValueError(f"Tokens are coloured in 1 to 6 clusters, but {shown(found['clusters'])} was given.")
    for name in ("max_tokens", "max_length", "max_new_tokens"):
        value: Any = found[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} of sw.SubspaceMap is a whole number above 0, but {shown(value)} was given.")
    # Refuses a temperature or a seed that is none before anything is drawn.
    Sampling(max_new_tokens=found["max_new_tokens"], temperature=found["temperature"], seed=found["seed"])
    return found
