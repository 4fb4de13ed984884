"""PatchGrid: which block and token of one text carry what another text answers."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypedDict, Unpack

import numpy as np
import traitlets

from steerwidgets.lens.patch_run import PatchRun, checked_pairs
from steerwidgets.lens.patching import Blocks, Metric, PatchedStream
from steerwidgets.transformer.mistakes import refuse_no_model, refuse_unknown
from steerwidgets.widgets.arrays import exact, pack
from steerwidgets.widgets.export import STATIC
from steerwidgets.widgets.patch_grid.inputs import SPACE, Inputs
from steerwidgets.widgets.protocol import Cancelled, Handler, Request, described, held_for
from steerwidgets.widgets.recipe_editor.holder import Holder
from steerwidgets.widgets.recipe_editor.sender import Sender
from steerwidgets.widgets.status import say_waiting, telling_how_it_ends

if TYPE_CHECKING:
    from steerwidgets.lens.patching import PatchedCell, Patching
    from steerwidgets.model import LanguageModel
    from steerwidgets.steering.recipe import Recipe
    from steerwidgets.transformer.prompts import Prompt, PromptLike, Token

_ROWS: Final = 16
"""Blocks that are shown to begin with."""
_KEPT: Final = 4
"""Grids that are kept, so that going back to a stream shows what was measured."""
_SAID: Final = 8
"""Likeliest tokens that are offered as answers, of each text."""
_WRITTEN: Final = 24
"""Tokens of the whole text when patched."""


class PatchGridSettings(TypedDict, total=False):
    """How a patch grid begins.

    Attributes:
        tokens: the answers whose logits are compared, the source's and the target's, as texts or ids; by default, and
            where one is None, what the model itself says after each text.
        metric: `logit difference` (the default), or `kl`: KL(after the source ‖ after the patched text), in nats.
        stream: `resid_post` (the default), `resid_pre`, `attn_out`, `mlp_out`; or `attn_z`, head by head.
        noise: patch the target's residuals into the source instead.
        align: pairs of positions, the source's and the target's, that belong together.
        stride: a row for every so many blocks, from the deepest down; by default so many that there are at most 16.
    """

    tokens: tuple[str | int | None, str | int | None] | None
    metric: Metric
    stream: PatchedStream
    noise: bool
    align: Sequence[tuple[int, int]] | None
    stride: int


class PatchGrid(Sender):
    """Activation patching in a notebook cell: blocks × tokens, and in each cell how much of the answer it carries.

    Each cell is a run of the target in which one residual is the source's. Its share is (metric patched − metric of
    the target) ÷ (metric of the source − metric of the target), as `lm.patch` measures it.

    Args:
        lm: the model.
        source: the text whose residuals are taken: a string, messages, or token ids; "" shows a box to write in.
        target: the text that they are put into, likewise.
        chat: whether strings go through the chat template.
        panel: a `SteeringPanel` that "Send to panel" gives a cell's recipe to.
        settings: `tokens`, `metric`, `stream`, `noise`, `align`, `stride`, as `PatchGridSettings` explains them.

    Attributes:
        patching: what is measured so far, as `lm.patch` gives it; None before anything is.
        inputs: what stands in the boxes.
        pinned: the first and the last block and the column of the cell that is looked at, or empty.
        steer_requested: what "Send to panel" asked for last: `{layers, column, recipe, count}`.
        provenance: where the numbers come from.

    Raises:
        TypeError: there is no such setting.
        ValueError: a setting is out of range. What is amiss with the texts stands in the widget, beside their boxes.

    Example:
        >>> grid = sw.PatchGrid(lm, [5, 9], [5, 7], metric="kl")
        >>> grid.run().share.shape  # the grid itself is the last expression of a cell
        torch.Size([4, 2])
    """

    _esm = STATIC / "patch_grid.js"
    _css = STATIC / "patch_grid.css"
    bundle: ClassVar[str] = "patch_grid"
    title: ClassVar[str] = "activation patching"
    _called: ClassVar[str] = "grid"

    inputs = traitlets.Dict().tag(sync=True)
    plan = traitlets.Dict().tag(sync=True)
    result = traitlets.Dict().tag(sync=True)
    pinned: Any = traitlets.List(traitlets.Int()).tag(sync=True)
    cell = traitlets.Dict().tag(sync=True)
    written = traitlets.Dict().tag(sync=True)
    status = traitlets.Dict({"state": "idle", "message": ""}).tag(sync=True)
    provenance = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        lm: LanguageModel,
        source: PromptLike = "",
        target: PromptLike = "",
        *,
        chat: bool = False,
        panel: Holder | None = None,
        **settings: Unpack[PatchGridSettings],
    ) -> None:
        refuse_no_model(lm, "sw.PatchGrid", "source, target")
        refuse_unknown("sw.PatchGrid", settings, PatchGridSettings.__annotations__)
        self.lm = lm
        self._chat = chat
        self._panel = self._checked_panel(panel)
        self._given = (source, target)
        self._run: PatchRun | None = None
        self._kept: dict[Inputs, PatchRun] = {}
        inputs = self._first_inputs(settings)
        super().__init__(provenance=lm.provenance, **self._prepared(inputs))

    def _first_inputs(self, settings: PatchGridSettings) -> Inputs:
        tokens, align = settings.get("tokens"), settings.get("align")
        texts = [each if isinstance(each, str) else "" for each in self._given]
        layers = self.lm.architecture.layers
        given = {
            "source": texts[0],
            "target": texts[1],
            "answers": ["", ""] if tokens is None else ["" if each is None else each for each in tokens],
            "metric": settings.get("metric", "logit difference"),
            "stream": settings.get("stream", "resid_post"),
            "noise": bool(settings.get("noise", False)),
            "pairs": None if align is None else [list(pair) for pair in align],
            "stride": settings.get("stride", math.ceil(layers / _ROWS)),
        }
        return Inputs.of(given)

    # What a user reads and sets

    @property
    def patching(self) -> Patching | None:
        """What is measured so far, as `lm.patch` gives it; None before anything is."""
        return self._run.result if self._run is not None and self._run.done else None

    def run(self) -> Patching:
        """Measure the grid from code: blocks, shows rows as they come; Ctrl-C keeps what is done.

        Returns:
            The grid, as `lm.patch` gives it.

        Raises:
            ValueError: what stands in the boxes makes no grid; the message says why.

        Example:
            >>> grid = sw.PatchGrid(lm, [5, 9], [5, 7], metric="kl")
            >>> grid.run().layers
            (0, 1, 2, 3)
        """
        with self._protocol.from_code() as request:
            return self._measure(request, Inputs.of(self.inputs)).result

    def look(self, layer: Blocks, column: int) -> PatchedCell:
        """Look at one cell, or at a range of blocks that is patched together, as a click does.

        Args:
            layer: the block, or the first and the last block of a range.
            column: the position in the patched text, or the head.

        Returns:
            `.share`, `.value`, `.next`, `.random`, `.recipe`.

        Raises:
            ValueError: nothing is measured yet, there is no such cell, or both texts hold the same there.

        Example:
            >>> grid = sw.PatchGrid(lm, [5, 9], [5, 7], metric="kl")
            >>> _ = grid.run()
            >>> grid.look((0, 3), 1).layers
            (0, 3)
        """
        patching = self._measured()
        found = patching.cell(layer, column)
        self.publish_together(
            pinned=[*found.layers, column], cell=_cell_json(found, patching), **self._without_text(found)
        )
        return found

    def steer(self, layer: Blocks, column: int) -> Recipe:
        """What "Send to panel" does with a cell: its recipe goes to the panel, where there is one.

        Args:
            layer: the block, or the first and the last block of a range.
            column: the position in the patched text, or the head.

        Returns:
            The recipe.

        Raises:
            ValueError: nothing is measured yet, there is no such cell, or both texts hold the same there.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs)
            >>> grid = sw.PatchGrid(lm, [5, 9], [5, 7], metric="kl")
            >>> _ = grid.run()
            >>> grid.steer_in(panel)
            >>> _ = grid.steer(1, 1)
            >>> len(panel.recipe)
            1
            >>> len(grid.steer(1, 1)), grid.steer_requested["layers"]
            (1, [1, 1])
        """
        recipe = self._measured().recipe(layer, column)
        layers = [layer, layer] if isinstance(layer, int) else list(layer)
        return self._send_to_panel(recipe, layers=layers, column=column)

    def release(self) -> None:
        """Forget the grids of other inputs.

        Example:
            >>> sw.PatchGrid(lm, [5, 9], [5, 7], metric="kl").release()
        """
        self._kept = {inputs: run for inputs, run in self._kept.items() if run is self._run}

    def _said(self) -> list[str]:
        if getattr(self, "_run", None) is None:
            return ["no two texts yet"]
        patching = self.patching
        return ["nothing was run yet"] if patching is None else repr(patching).split("\n")

    # Requests of the front-end

    def _handlers(self) -> Mapping[str, Handler]:
        return {
            "plan": Handler(self._serve_plan, slow=True),
            "run": Handler(self._serve_run, slow=True),
            "cell": Handler(self._serve_cell, slow=True),
            "write": Handler(self._serve_write, slow=True),
            "send": Handler(self._serve_send, slow=True),
        }

    def _serve_plan(self, request: Request) -> dict[str, Any]:
        inputs = Inputs.of(request.args.get("inputs"))
        with held_for(self.lm.lock, request):
            self._prepare(inputs)
        return {}

    def _serve_run(self, request: Request) -> dict[str, Any]:
        self._measure(request, Inputs.of(request.args.get("inputs")))
        if request.cancelled.is_set():
            raise Cancelled
        return {}

    def _serve_cell(self, request: Request) -> dict[str, Any]:
        first, last, column = _asked_cell(request.args)
        patching = self._measured()
        place = {"first": first, "last": last, "column": column}
        try:
            with held_for(self.lm.lock, request):
                found = patching.cell((first, last), column)
        except ValueError as error:
            # Such as where both texts hold the same: it stands where the cell's numbers would.
            self.publish(cell={**place, "note": described(error)["message"]})
            return {}
        self.publish_together(cell=_cell_json(found, patching), **self._without_text(found))
        return {}

    def _serve_write(self, request: Request) -> dict[str, Any]:
        first, last, column = _asked_cell(request.args)
        patching = self._measured()
        with held_for(self.lm.lock, request):
            recipe = patching.recipe((first, last), column)
            out = self.lm.compare(
                list(patching.text.token_ids),
                recipe,
                temperature=0,
                max_new_tokens=_WRITTEN,
                stop=request.cancelled,
            )
        if request.cancelled.is_set():
            raise Cancelled
        self.publish(
            written={
                "first": first,
                "last": last,
                "column": column,
                "before": "".join(token.text for token in patching.tokens[-3:] if not token.fragment),
                "patched": out.steered.text,
                "alone": out.baseline.text,
            }
        )
        return {}

    def _serve_send(self, request: Request) -> dict[str, Any]:
        first, last, column = _asked_cell(request.args)
        recipe = self.steer((first, last), column)
        steers = f"{len(recipe)} steer{'' if len(recipe) == 1 else 's'}"
        if self._panel is None:
            return {"said": f"{steers} in grid.steer_requested; grid.steer_in(panel) lets the next one go to a panel."}
        return {
            "said": f"{steers} in the panel's recipe now. They act on tokens counted from the start of this text, so "
            "run them there on the same text, with the chat template off."
        }

    # From inputs to a grid

    def _prompt(self, side: int, text: str) -> Prompt:
        """The text of a box; where nothing is written in it, what was given as messages or ids."""
        given = self._given[side]
        return self.lm.encode(given if not text and not isinstance(given, str) else text, chat=self._chat)

    def _prepare(self, inputs: Inputs) -> None:
        """Show what a run would be; what was measured with the same inputs is shown again."""
        traits = self._prepared(inputs)
        if traits["plan"].get("partners") != self.plan.get("partners") or inputs.stream != self.inputs.get("stream"):
            traits["pinned"] = []
        self.publish_together(**traits, cell={}, written={})

    def _prepared(self, inputs: Inputs) -> dict[str, Any]:
        plan: dict[str, Any] = {"problem": "", "layers": [], "seconds": None, "cells": 0}
        self._run = None
        try:
            self._plan(inputs, plan)
        except (ValueError, TypeError, AttributeError, RuntimeError) as error:
            self._run = None
            plan["problem"] = described(error)["message"]
        return {
            "inputs": inputs.to_json(),
            "plan": plan,
            "result": {} if self._run is None else _result_json(self._run),
            "facts": self._facts(),
            "status": {"state": "idle", "message": ""},
        }

    def _plan(self, inputs: Inputs, plan: dict[str, Any]) -> None:
        texts = (inputs.source, inputs.target)
        missing = [
            name
            for name, text, given in zip(("source", "target"), texts, self._given, strict=True)
            if not text and isinstance(given, str)
        ]
        if missing:
            raise ValueError(f"Write a {' and a '.join(missing)} text.")
        source, target = (self._prompt(side, text) for side, text in enumerate(texts))
        plan["source"], plan["target"] = (_tokens_json(self.lm.tokens(each.token_ids)) for each in (source, target))
        pairs = checked_pairs(inputs.pairs, source, target)
        plan["partners"] = _partners(pairs, len(target))
        layers = list(range(self.lm.architecture.layers))[:: -inputs.stride][::-1]
        run = self._kept.get(inputs)
        if run is None:
            tokens = (self._answer(inputs.answers[0]), self._answer(inputs.answers[1]))
            run = PatchRun(self.lm, source, target, inputs.settings(tokens, layers))
            plan["candidates"] = _candidates(run)
            run.probe()
            self._keep(inputs, run)
        self._run = run
        plan |= {
            "candidates": _candidates(run),
            "layers": layers,
            "cells": run.cells,
            "heads": run.cells // len(layers) if inputs.stream == "attn_z" else 0,
            "columns": [pair[0] for pair in run.pairs],
            "seconds": _rounded(run.seconds_left),
            "whole": run.is_whole,
            "answers": [_token_json(token) for token in run.answers or ()],
            "before": exact(run.before),
            "after": exact(run.after),
        }

    def _keep(self, inputs: Inputs, run: PatchRun) -> None:
        self._kept[inputs] = run
        while len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]

    def _answer(self, given: str | int) -> str | int | None:
        """An answer as `lm.patch` takes it: a text that is one token, also with the space that stands before words."""
        if isinstance(given, int):
            return given
        text = given.replace(SPACE, " ")
        if not text:
            return None
        lengths = {
            form: len(self.lm.tokenizer(form, add_special_tokens=False)["input_ids"]) for form in (text, f" {text}")
        }
        return next((form for form, length in lengths.items() if length == 1), text)

    def _facts(self) -> dict[str, Any]:
        return {
            "model": self.lm.name,
            "blocks": self.lm.architecture.layers,
            "given": ["" if isinstance(each, str) else _kind_of(each) for each in self._given],
            "panel": self._panel is not None,
        }

    def _measured(self) -> Patching:
        patching = self.patching
        if patching is None:
            raise ValueError("Nothing is measured yet: press Run, or call grid.run().")
        return patching

    # A run

    def _measure(self, request: Request, inputs: Inputs) -> PatchRun:
        with telling_how_it_ends(self), held_for(self.lm.lock, request, lambda: say_waiting(self)):
            run = self._run_of(inputs)
            self._follow(request, run)
        return run

    def _run_of(self, inputs: Inputs) -> PatchRun:
        """The run of these inputs, as far as it has come.

        Raises:
            ValueError: they make none.
        """
        if self._run is None or self._kept.get(inputs) is not self._run:
            self._prepare(inputs)
        if self._run is None:
            raise ValueError(self.plan["problem"])
        return self._run

    def _follow(self, request: Request, run: PatchRun) -> None:
        total, began = len(run.layers), time.monotonic()

        def tell() -> None:
            request.progress(done=run.done, total=total, seconds_left=_rounded(run.seconds_left))

        self.publish(status={"state": "running", "message": ""})
        tell()
        for _ in run.run(request.cancelled):
            tell()
            self.publish(result=_result_json(run))
        state = "done" if run.done == total else "stopped"
        self.publish(status={"state": state, "message": "", "seconds": _rounded(time.monotonic() - began)})

    def _without_text(self, found: PatchedCell) -> dict[str, Any]:
        """The text of another cell is no longer shown."""
        place = [*found.layers, found.column]
        shown = [self.written.get(name) for name in ("first", "last", "column")]
        return {} if shown == place else {"written": {}}


def _asked_cell(args: Mapping[str, Any]) -> tuple[int, int, int]:
    found = [args.get(name) for name in ("first", "last", "column")]
    if not all(isinstance(each, int) and not isinstance(each, bool) for each in found):
        raise ValueError(f"A cell is asked for by its first and last block and its column, but {found} came.")
    first, last, column = (int(each or 0) for each in found)
    return first, last, column


def _result_json(run: PatchRun) -> dict[str, Any]:
    if not run.done:
        return {}
    share = np.ascontiguousarray(run.share.numpy(), dtype=np.float32)
    return {"share": pack(share), "done": run.done, "total": len(run.layers)}


def _cell_json(found: PatchedCell, patching: Patching) -> dict[str, Any]:
    first, last = found.layers
    return {
        "first": first,
        "last": last,
        "column": found.column,
        "share": exact(found.share),
        "value": exact(found.value),
        "next": [{**_token_json(token), "probability": exact(p)} for token, p in found.next],
        "random": [exact(each) for each in found.random],
        "alone": exact(patching.before),
        "other": exact(patching.after),
    }


def _candidates(run: PatchRun) -> list[list[dict[str, Any]]]:
    return [[{**_token_json(token), "probability": exact(p)} for token, p in each] for each in run.likeliest(_SAID)]


def _partners(pairs: Sequence[tuple[int, int]], length: int) -> list[int]:
    """For each token of the target the position of the source's that it is paired with, or −1."""
    found = [-1] * length
    for source, target in pairs:
        found[target] = source
    return found


def _tokens_json(tokens: Sequence[Token]) -> list[dict[str, Any]]:
    return [_token_json(token) for token in tokens]


def _token_json(token: Token) -> dict[str, Any]:
    return {"id": token.id, "text": token.text, "fragment": token.fragment}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else float(f"{seconds:.2g}")


def _kind_of(prompt: Any) -> str:
    """What was given, where it was no text: `12 token ids`."""
    items = list(prompt)
    kind = "message" if items and isinstance(items[0], Mapping) else "token id"
    return f"{len(items)} {kind}{'' if len(items) == 1 else 's'}"
