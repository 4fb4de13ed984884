"""LogitLens: what each block would say next at each token, with steering on top."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, TypedDict, Unpack, get_args

import traitlets

from steerwidgets.lens.fitted import FittedLens, lens_of
from steerwidgets.steering.recipe import Recipe
from steerwidgets.transformer.mistakes import refuse_no_model
from steerwidgets.transformer.plain_text import as_json
from steerwidgets.widgets import lifetime
from steerwidgets.widgets.base import Widget
from steerwidgets.widgets.export import STATIC
from steerwidgets.widgets.lens.asked import (
    FOLLOWED,
    STREAMS,
    Asked,
    GeneratedToken,
    checked_column,
    checked_ids,
    found_tokens,
    teller,
)
from steerwidgets.widgets.lens.wire import empty_traits, lens_traits, plain, plain_vocabulary, wrote_json
from steerwidgets.widgets.protocol import Handler, Request, described, held_for

if TYPE_CHECKING:
    from steerwidgets.generation.comparison import Comparison
    from steerwidgets.lens.attribution import AddsUp, Attribution
    from steerwidgets.lens.layer_lens import LayerLens
    from steerwidgets.model import LanguageModel
    from steerwidgets.steering.recipe import Steer
    from steerwidgets.transformer.prompts import PromptLike
    from steerwidgets.transformer.sites import Stream

Shows = Literal["baseline", "steered", "difference"]
Measure = Literal["probability", "log_probability", "rank", "entropy", "kl"]
"""What colours the cells; js/src/lens/measure.ts says how."""
Trajectory = Literal["probability", "rank"]

_ROWS: Final = 16
"""Blocks that are shown to begin with."""

_ROWS_SAID: Final = 40
"""Of the lens's own table so many lines stand in the summary."""


class ViewSettings(TypedDict, total=False):
    """How a lens is shown to begin with.

    Attributes:
        shows: `baseline`, `steered` or `difference`; `steered` where there is a recipe.
        measure: what colours the cells, one of the words that `LogitLens` explains; `probability` by default.
        stride: a row for every so many blocks, from the deepest down.
        span: the first and the last block that have rows; empty for all.
        pinned: the block and the position of the pinned cell, or empty.
        chosen: the id of the token whose rank is shown, or None.
        within: the chosen token is marked where it first enters the top of this size, 10 by default.
        trajectory: `probability` (the default) or `rank`, the axis of the chart.
    """

    shows: Shows
    measure: Measure
    stride: int
    span: Sequence[int]
    pinned: Sequence[int]
    chosen: int | None
    within: int
    trajectory: Trajectory


class TokenLensSettings(ViewSettings, total=False):
    """The settings of the lens of a generated token.

    Attributes:
        shows: `baseline`, `steered` or `difference`; `steered` where there is a recipe.
        measure: what colours the cells, one of the words that `LogitLens` explains; `probability` by default.
        stride: a row for every so many blocks, from the deepest down.
        span: the first and the last block that have rows; empty for all.
        pinned: the block and the position of the pinned cell, or empty; the one column is position 0.
        chosen: the id of the token whose rank is shown, or None.
        within: the chosen token is marked where it first enters the top of this size, 10 by default.
        trajectory: `probability` (the default) or `rank`, the axis of the chart.
        k: how many of the likeliest tokens are kept of each cell, 10 by default.
        stream: `resid_post` (the default), `resid_pre`, `attn_out` or `mlp_out`.
        track: up to six tokens to follow exactly, by id or by text.
        dictionary: an SAE whose active features take the place of what its site holds, when a logit is attributed.
    """

    k: int
    stream: Stream
    track: Sequence[int | str]
    dictionary: AddsUp | None


class LogitLens(Widget):
    """The logit lens in a notebook cell: blocks × tokens, and in each cell what that block would say next.

    With a recipe the text is read twice in one batch, baseline and steered, and the grid shows either or what steering
    changed. Hovering, pins, measures, rows and the saved page need no kernel.

    The lens is that of nostalgebraist (2020), as `lm.logit_lens` reads it.

    Args:
        lm: the model.
        text: a string, messages or token ids; "" shows a box to write in.
        recipe: what steers, or None.
        k: how many of the likeliest tokens are kept of each cell.
        stream: `resid_post`, `resid_pre`, `attn_out` or `mlp_out`, the stream of each block that is read.
        chat: whether a string goes through the chat template.
        track: up to six tokens to follow exactly, by id or by text.
        dictionary: an SAE whose active features take the place of what its site holds, when a logit is attributed.
        lens: a tuned lens or a Jacobian lens, or the path of one, to read by in place of the logit lens; the page
            switches between the two and says what each means.
        settings: `shows`, `measure`, `stride`, `span`, `pinned`, `chosen`, `within`, `trajectory`, as `ViewSettings`
            explains them.

    Attributes:
        reading: by which lens it is read: `logit lens`, `tuned lens` or `Jacobian lens`. It may be set.
        recipe: what steers; set it, observe it, link it, or let it `follow` a panel's.
        shows: `baseline`, `steered` or `difference`.
        measure: what colours the cells: `probability`, `log_probability`, `rank`, `entropy` or `kl`.
        stride: a row for every so many blocks, from the deepest down; steered blocks always have one.
        span: the first and the last block that have rows; empty for all.
        pinned: the block and the position of the pinned cell, or empty.
        chosen: the id of the token whose rank is shown, and which is marked where it first enters the top `within`.
        trajectory: `probability` or `rank`, the axis of the chart.
        layer_lens: the reading that is shown, as `lm.logit_lens` gives it; None before the first.
        provenance: where the numbers come from.

    Raises:
        TypeError: there is no such setting.
        ValueError: a setting is out of range, or the recipe or the lens does not fit the model.

    Example:
        >>> lens = sw.LogitLens(lm, "The answer", cavs["music"].add(4), k=3)
        >>> lens.shows, lens.layer_lens.log_probs.shape
        ('steered', torch.Size([4, 2, 3]))
    """

    _esm = STATIC / "logit_lens.js"
    _css = STATIC / "logit_lens.css"
    bundle: ClassVar[str] = "logit_lens"
    title: ClassVar[str] = "logit lens"

    recipe: Any = traitlets.Any(Recipe())
    recipe.allow_none = False  # or None would go past the check, which makes a recipe of it

    text = traitlets.Unicode().tag(sync=True)
    chat = traitlets.Bool().tag(sync=True)
    stream: Any = traitlets.Enum(list(STREAMS), "resid_post").tag(sync=True)
    reading: Any = traitlets.Unicode("logit lens").tag(sync=True)
    shows: Any = traitlets.Enum(list(get_args(Shows)), "baseline").tag(sync=True)
    measure: Any = traitlets.Enum(list(get_args(Measure)), "probability").tag(sync=True)
    stride: Any = traitlets.Int(1, min=1).tag(sync=True)
    span: Any = traitlets.List(traitlets.Int()).tag(sync=True)
    pinned: Any = traitlets.List(traitlets.Int()).tag(sync=True)
    chosen: Any = traitlets.Int(None, allow_none=True).tag(sync=True)
    within: Any = traitlets.Int(10, min=1).tag(sync=True)
    trajectory: Any = traitlets.Enum(list(get_args(Trajectory)), "probability").tag(sync=True)

    tokens = traitlets.Dict().tag(sync=True)
    vocabulary = traitlets.Dict().tag(sync=True)
    baseline = traitlets.Dict().tag(sync=True)
    steered = traitlets.Dict().tag(sync=True)
    difference = traitlets.Dict().tag(sync=True)
    steering = traitlets.Dict().tag(sync=True)
    tracked: Any = traitlets.List(traitlets.Int()).tag(sync=True)
    found = traitlets.Dict().tag(sync=True)
    wrote = traitlets.Dict().tag(sync=True)
    facts = traitlets.Dict().tag(sync=True)
    status = traitlets.Dict().tag(sync=True)
    recipe_json = traitlets.Unicode().tag(sync=True)
    provenance = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        lm: LanguageModel,
        text: PromptLike | GeneratedToken = "",
        recipe: Recipe | Steer | Iterable[Steer] | None = None,
        *,
        k: int = 10,
        stream: Stream = "resid_post",
        chat: bool = False,
        track: Sequence[int | str] = (),
        dictionary: AddsUp | None = None,
        lens: FittedLens | str | Path | None = None,
        **settings: Unpack[ViewSettings],
    ) -> None:
        refuse_no_model(lm, "sw.LogitLens", "text")
        if stream not in STREAMS:
            raise ValueError(f"A lens reads one of the streams {', '.join(STREAMS)}; {stream!r} was given.")
        tracked = (track,) if isinstance(track, int | str) else tuple(track)
        if len(tracked) > FOLLOWED:
            raise ValueError(f"At most {FOLLOWED} tokens are followed at once, but {len(tracked)} were given.")
        self.lm = lm
        self._dictionary = dictionary
        self._reading = threading.RLock()
        self._panels: list[Callable[[], None]] = []
        self._wish = 0
        steers = text.recipe if isinstance(text, GeneratedToken) else Recipe.of(recipe)
        fitted = lens_of(lens)
        self._asked = Asked(text, chat, stream, steers, k, tracked, fitted, fitted.kind if fitted else "logit lens")
        self.layer_lens: LayerLens | None = self._asked.read(lm)
        steered = bool(len(self._asked.recipe))
        rows = math.ceil(lm.architecture.layers / _ROWS)
        super().__init__(
            **{"stride": rows, "shows": "steered" if steered else "baseline"} | settings,
            status={"state": "idle", "message": ""},
            **self._shown(self._asked, self.layer_lens),
        )
        self.observe(self._set_recipe, names=["recipe"])
        self.observe(self._set_stream, names=["stream", "reading"])

    @classmethod
    def of_token(
        cls,
        lm: LanguageModel,
        comparison: Comparison,
        step: int,
        row: Literal["baseline", "steered"] = "steered",
        **settings: Unpack[TokenLensSettings],
    ) -> Self:
        """The lens of one token that a run generated, under what steered it: one column.

        Where the run was asked to keep its cache (`lm.compare(…, keep_cache=True)`), one token goes through the model;
        otherwise the whole text does. The other row's token at this step follows another text, so the two are not
        compared.

        Args:
            lm: the model of the run.
            comparison: the run.
            step: which generated token, from 0, or from the end with negative numbers.
            row: of which text.
            settings: those of a lens, as `TokenLensSettings` explains them; `pinned` counts the one column as position
                0.

        Returns:
            The lens.

        Raises:
            ValueError: the run has no such row or step.

        Example:
            >>> out = lm.compare("Name a city.", cavs["music"].add(4), max_new_tokens=4)
            >>> lens = sw.LogitLens.of_token(lm, out, step=2)
            >>> len(lens.layer_lens.positions)
            1
        """
        return cls(lm, GeneratedToken(comparison, step, row), **settings)

    def _said(self) -> list[str]:
        lens = getattr(self, "layer_lens", None)
        if lens is None:
            return [f"{self.lm.name}, no text yet"] if hasattr(self, "lm") else []
        return [f"{self.lm.name}, {self.stream}, of {self.text[:80]!r}", *repr(lens).splitlines()[:_ROWS_SAID]]

    # What a user reads and sets

    @property
    def prompt(self) -> PromptLike | GeneratedToken:
        """What is read: a string, messages, token ids, or a token of a run. Set it to read something else."""
        return self._asked.prompt

    @prompt.setter
    def prompt(self, prompt: PromptLike | GeneratedToken) -> None:
        self._read_anew(prompt=prompt)

    def track(self, tokens: Sequence[int | str] | int | str) -> None:
        """Follow up to six tokens exactly, through every block and column, in place of those followed so far.

        Args:
            tokens: ids, or texts that the tokenizer makes one token of.

        Raises:
            ValueError: there are too many, an id is outside the vocabulary, or a text is not one token.

        Example:
            >>> lens = sw.LogitLens(lm, "The answer")
            >>> lens.track([" the", " a"])
            >>> len(lens.tracked)
            2
        """
        several = (tokens,) if isinstance(tokens, int | str) else tuple(tokens)
        if len(several) > FOLLOWED:
            raise ValueError(f"At most {FOLLOWED} tokens are followed at once, but {len(several)} were given.")
        self._follow_tokens(several)

    def follow(self, panel: Any) -> Callable[[], None]:
        """Steer by a panel's recipe, now and whenever it changes; the text is read again in the background.

        Args:
            panel: a SteeringPanel, a FeaturePicker, another lens: any widget with a `recipe`.

        Returns:
            What ends it.

        Raises:
            TypeError: the widget has no recipe.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs, recipe=cavs["music"].add(4))
            >>> lens = sw.LogitLens(lm, "The answer")
            >>> end = lens.follow(panel)
            >>> lens.recipe == panel.recipe
            True
            >>> end()
        """
        names = [name for name in ("steers", "positions", "recipe") if panel.has_trait(name)]
        if not hasattr(panel, "recipe") or not names:
            raise TypeError(f"A lens follows a widget that has a recipe, but {type(panel).__name__} has none.")

        # Neither keeps the other: a panel outlives many lenses whose cell is run again, and a lens many panels.
        wish, followed, panels = lifetime.weakly(self._wish_recipe), weakref.ref(panel), self._panels

        def changed(_change: object) -> None:
            wish(followed)

        def end() -> None:
            if end in panels:
                panels.remove(end)
                known = followed()
                if known is not None:
                    known.unobserve(changed, names=names)

        panel.observe(changed, names=names)
        self._panels.append(end)
        self.recipe = panel.recipe
        return end

    def _wish_recipe(self, followed: weakref.ref[Any]) -> None:
        self._wish += 1
        wish = self._wish
        self._worker.submit(lambda: self._take_over(followed(), wish))

    def attribution(self, token: int | str, minus: int | str | None = None, *, position: int = -1) -> Attribution:
        """What wrote a token's logit, or the difference of two, in the run that is shown.

        Args:
            token: whose logit, by id or by text.
            minus: a token whose logit is taken off, likewise.
            position: which position's next token; the last by default.

        Returns:
            `.rows`, contributions in logits, which add up to `.logit`.

        Raises:
            ValueError: nothing is read yet, or a token or the position does not exist.

        Example:
            >>> found = sw.LogitLens(lm, "The answer").attribution(" the", minus=" a")
            >>> abs(found.total - found.logit) < 1e-3
            True
        """
        settings: dict[str, Any] = {"is_steered": self.shows != "baseline", "dictionary": self._dictionary}
        return self._asked.attribution(self.lm, token, minus, position=position, **settings)

    def to_json(self) -> str:
        """The lens as it stands, as plain JSON: arrays as nested lists, tokens by id, provenance.

        Returns:
            JSON text.

        Example:
            >>> import json
            >>> json.loads(sw.LogitLens(lm, "The answer").to_json())["text"]
            'The answer'
        """
        with self._sync_lock:
            state = self._state()
        shown = {name: plain(value) for name, value in state.items()}
        shown["vocabulary"] = plain_vocabulary(state["vocabulary"])
        return as_json(shown)

    def close(self) -> None:
        """Stop what is running, follow no panel any longer, and take the widget off the page."""
        for end in list(self.__dict__.get("_panels", ())):
            end()
        super().close()

    # Requests of the front-end

    def _handlers(self) -> Mapping[str, Handler]:
        return {
            "read": Handler(self._serve_read, slow=True),
            "stream": Handler(self._serve_stream, slow=True),
            "reading": Handler(self._serve_reading, slow=True),
            "track": Handler(self._serve_track, slow=True),
            "wrote": Handler(self._serve_wrote, slow=True),
            "find": Handler(self._serve_find),
        }

    def _serve_read(self, request: Request) -> dict[str, Any]:
        text = request.args.get("text")
        if not isinstance(text, str) or not text:
            raise ValueError("There is nothing to read: write a text first.")
        self._read_anew(request, prompt=text, chat=bool(request.args.get("chat")))
        return {}

    def _serve_stream(self, request: Request) -> dict[str, Any]:
        stream = request.args.get("stream")
        if stream not in STREAMS:
            raise ValueError(f"A lens reads one of the streams {', '.join(STREAMS)}; {stream!r} came.")
        self._read_anew(request, stream=stream)
        return {}

    def _serve_reading(self, request: Request) -> dict[str, Any]:
        reading = request.args.get("reading")
        if reading not in self._asked.readings:
            raise ValueError(f"This lens can be read by: {', '.join(self._asked.readings)}; {reading!r} came.")
        self._read_anew(request, reading=reading)
        return {}

    def _serve_track(self, request: Request) -> dict[str, Any]:
        self._follow_tokens(tuple(checked_ids(request.args)), request)
        return {}

    def _serve_find(self, request: Request) -> dict[str, Any]:
        query = request.args.get("query")
        tokens = found_tokens(self.lm, query)
        value = [{"id": token.id, "text": token.text, "fragment": token.fragment} for token in tokens]
        self.publish(found={"query": query, "tokens": value})
        return {}

    def _serve_wrote(self, request: Request) -> dict[str, Any]:
        asked, lens = self._asked, self.layer_lens
        if lens is None:
            raise ValueError("Nothing is read yet: write a text first.")
        position, token, minus = checked_column(request.args, len(lens.positions))
        run = "steered" if request.args.get("run") == "steered" and len(asked.recipe) else "baseline"
        settings: dict[str, Any] = {"is_steered": run == "steered", "dictionary": self._dictionary}
        with held_for(self.lm.lock, request):
            found = asked.attribution(self.lm, token, minus, position=position, **settings)
        if asked is self._asked:
            self.publish(wrote=wrote_json(found, position, token, minus, run))
        return {}

    # From what is asked to traits

    def _read_anew(self, request: Request | None = None, **changes: Any) -> None:
        """Read with something changed, one reading at a time; what was shown stays until it is there."""
        with self._reading:
            asked = self._asked.but(**changes)
            lens = self._run(asked, request)
            self._publish(asked, lens)

    def _follow_tokens(self, tokens: tuple[int | str, ...], request: Request | None = None) -> None:
        with self._reading:
            asked = replace(self._asked, tracked=tokens)
            lens = self.layer_lens
            if lens is not None:
                lens = self._tracked(lens, asked, request)
            self._publish(asked, lens)

    def _tracked(self, lens: LayerLens, asked: Asked, request: Request | None) -> LayerLens:
        if request is None:
            return lens.track(asked.tracked)
        with held_for(self.lm.lock, request):
            return lens.track(asked.tracked, on_progress=teller(request))

    def _run(self, asked: Asked, request: Request | None) -> LayerLens | None:
        if request is None:
            return asked.read(self.lm)
        with held_for(self.lm.lock, request):
            return asked.read(self.lm, teller(request))

    def _publish(self, asked: Asked, lens: LayerLens | None) -> None:
        with self._sync_lock, self.hold_sync():
            is_other = self._asked.prompt != asked.prompt or self._asked.chat != asked.chat
            self._asked, self.layer_lens = asked, lens
            moved: dict[str, Any] = {"pinned": [], "wrote": {}} if is_other else {}
            if self._asked.recipe != self.recipe:
                moved["wrote"] = {}
            first = not self.steered and bool(len(asked.recipe))
            self.publish(**moved, **self._shown(asked, lens), status={"state": "idle", "message": ""})
            if first and self.shows == "baseline":
                self.publish(shows="steered")

    def _shown(self, asked: Asked, lens: LayerLens | None) -> dict[str, Any]:
        recipe = asked.recipe if len(asked.recipe) else None
        following = asked.token.following if asked.token else None
        traits = empty_traits() if lens is None else lens_traits(lens, recipe, self.lm.tokens, following)
        return {
            **traits,
            "recipe": asked.recipe,
            "recipe_json": asked.recipe.to_json() if recipe else "",
            "text": asked.prompt if isinstance(asked.prompt, str) else "",
            "chat": asked.chat,
            "stream": asked.stream,
            "reading": asked.reading,
            "facts": asked.facts(self.lm, lens),
            "provenance": self.lm.provenance | asked.provenance,
        }

    # What is set from outside

    @traitlets.validate("recipe")
    def _check_recipe(self, proposal: Mapping[str, Any]) -> Recipe:
        return Recipe.of(proposal["value"])

    def _set_recipe(self, _change: object) -> None:
        if self.recipe == self._asked.recipe:
            return
        before = self._asked.recipe
        try:
            self._read_anew(recipe=self.recipe)
        except BaseException:
            self.recipe = before
            raise

    def _set_stream(self, change: Mapping[str, Any]) -> None:
        name, value = str(change["name"]), change["new"]
        before = getattr(self._asked, name)
        if value == before:
            return
        if self.in_front_end_update:
            self._worker.submit(lambda: self._read_anew(**{name: value}))
            return
        try:
            self._read_anew(**{name: value})
        except BaseException:
            self.set_trait(name, before)
            raise

    def _take_over(self, panel: Any, wish: int) -> None:
        """Steer as a panel does now; of many changes only the last is read."""
        if wish != self._wish or panel is None:
            return
        try:
            recipe = panel.recipe
            if recipe != self._asked.recipe:
                self.publish(status={"state": "running", "message": "Reading with the panel's recipe…"})
                self._read_anew(recipe=recipe)
        except Exception as error:  # noqa: BLE001 - whatever a panel holds, the lens stays alive
            self._note_error("follow", error)
            self.publish(
                status={"state": "error", "message": f"The panel's recipe is not shown: {described(error)['message']}"}
            )
