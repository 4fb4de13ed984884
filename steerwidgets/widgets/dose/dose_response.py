"""DoseResponse: an op at several strengths, judged over prompts and seeds, beside its controls."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Unpack

import traitlets

from steerwidgets.dose.judges import Judge, checked_judge, judge_name, own_judges
from steerwidgets.dose.result import DoseResult
from steerwidgets.dose.run import DoseRun
from steerwidgets.files.shown import shown
from steerwidgets.generation.sampling import SamplingSettings
from steerwidgets.steering.hooks import warn_of_other_model
from steerwidgets.transformer.mistakes import refuse_no_model, wrong
from steerwidgets.transformer.model_names import is_other_model
from steerwidgets.widgets.dose.wire import result_json
from steerwidgets.widgets.export import STATIC
from steerwidgets.widgets.protocol import Cancelled, Handler, Request, held_for
from steerwidgets.widgets.recipe_editor.holder import Holder
from steerwidgets.widgets.recipe_editor.sender import Sender
from steerwidgets.widgets.status import say_waiting, telling_how_it_ends

if TYPE_CHECKING:
    from steerwidgets.dose.run import DoseSettings, Op
    from steerwidgets.model import LanguageModel
    from steerwidgets.steering.recipe import Recipe
    from steerwidgets.transformer.prompts import PromptLike

PROMPTS: Final = (
    "Tell me about your weekend.",
    "What is on your mind today?",
    "Write the opening of a novel.",
    "Give me some advice for tomorrow.",
    "Write a diary entry.",
    "What are you looking forward to?",
)
"""Everyday prompts, about nothing in particular."""

HELD_BACK: Final = ("Tell me what happened yesterday.", "Write a message to an old friend.")
"""Others, on which the iso-KL dose is found."""

_INPUTS: Final = ("strengths", "prompts", "seeds", "tokens", "asked")


class DoseResponse(Sender):
    """What an op does at several strengths: on topic or not, fluent or not, beside what chance and asking do.

    Args:
        lm: the model.
        op: makes a steer of a strength: `feature.add`, `feature.clamp`, or a function that gives a recipe.
        strengths: what to try; by default from nothing to twice what was seen to work.
        prompts: what to answer; by default six everyday prompts.
        judge: who says what is on topic, or several to choose from; by default what comes with the package for the
            feature's label.
        panel: a `SteeringPanel` that "Send to panel" gives a strength to.
        settings: `seeds` (2 by default here), `random`, `asked`, `hold_back`, `baseline_seeds`, `chat` and those of
            sampling, as `DoseSettings` explains them.

    Attributes:
        result: what is shown, as plain data.
        dose: the last run as `lm.dose` gives it, or None.
        axis: the axis of the dose, `strength`, `ratio` or `iso_kl`.
        selected: the strength that is looked at, or None.
        steer_requested: what "Send to panel" asked for last: `{strength, recipe, count}`.

    Raises:
        ValueError: a strength, a prompt or a setting is out of range, or nothing says how to judge.
        TypeError: something is of another kind.

    Example:
        >>> chart = sw.DoseResponse(lm, cavs["music"].add, [0, 4], prompts=["Name a city."], max_new_tokens=4)
        >>> chart.run().strengths  # the chart itself is the last expression of a cell
        (0.0, 4.0)
    """

    _esm = STATIC / "dose_response.js"
    _css = STATIC / "dose_response.css"
    bundle: ClassVar[str] = "dose_response"
    title: ClassVar[str] = "dose and response"
    _called: ClassVar[str] = "chart"

    inputs = traitlets.Dict().tag(sync=True)
    result = traitlets.Dict().tag(sync=True)
    status = traitlets.Dict({"state": "idle", "message": ""}).tag(sync=True)
    axis: Any = traitlets.Enum(["strength", "ratio", "iso_kl"], "strength").tag(sync=True)
    iso_kl: Any = traitlets.Float(None, allow_none=True).tag(sync=True)
    selected: Any = traitlets.Float(None, allow_none=True).tag(sync=True)
    compared: Any = traitlets.Float(None, allow_none=True).tag(sync=True)
    prompt = traitlets.Int(0).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    provenance = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        lm: LanguageModel,
        op: Op,
        strengths: Iterable[float] | None = None,
        *,
        prompts: Sequence[PromptLike] | None = None,
        judge: Judge | Sequence[Judge] | None = None,
        panel: Holder | None = None,
        **settings: Unpack[DoseSettings],
    ) -> None:
        refuse_no_model(lm, "sw.DoseResponse", "feature.add")
        self.lm = lm
        self.dose: DoseResult | None = None
        self._op = op
        self._panel = self._checked_panel(panel)
        own: dict[str, Any] = {
            "seeds": 2 if settings.get("temperature") != 0 else 1,
            **({"hold_back": HELD_BACK} if prompts is None else {}),
            **settings,
        }
        several = _several(judge)
        asked = PROMPTS if prompts is None else prompts
        self._run = self._made(strengths, asked, own, several[0] if several else None)
        # Whatever is asked instead from now on, these are not judged.
        self._settings = own | {"hold_back": self._run.held_back or 0}
        self._judges = several or self._known_judges()
        for feature in self._run.features:
            warn_of_other_model(lm.architecture, feature)
        super().__init__(provenance=lm.provenance, **self._said_of(self._run))

    # What a user reads and sets

    def run(self) -> DoseResult:
        """Run it from code: blocks, shows what comes as it comes, and gives the result; Ctrl-C keeps what is done.

        Returns:
            The result, as `lm.dose` gives it.

        Raises:
            ValueError: what stands on the page makes no run; the message says why.

        Example:
            >>> chart = sw.DoseResponse(lm, cavs["music"].add, [4], prompts=["Name a city."], max_new_tokens=4)
            >>> len(chart.run().table)
            1
        """
        with self._protocol.from_code() as request:
            self._generate(request, self.inputs)
        assert self.dose is not None
        return self.dose

    def show(self, dose: DoseResult) -> None:
        """Show a result of the same op, as `sw.DoseResult.load` or `lm.dose` gives it; "Run again" runs what it ran.

        Args:
            dose: the result.

        Raises:
            TypeError: it is no result.
            ValueError: it is of another op or model, or holds no answer.

        Example:
            >>> dose = lm.dose(cavs["music"].add, [0, 4], prompts=["Name a city."], max_new_tokens=4)
            >>> dose.save(folder / "dose.json")
            >>> chart = sw.DoseResponse(lm, cavs["music"].add)
            >>> chart.show(sw.DoseResult.load(folder / "dose.json"))
            >>> [row["strength"] for row in chart.result["rows"]]
            [0.0, 4.0]
        """
        self._refuse_other(dose)
        judges = {judge_name(each): each for each in self._judges}
        settings: dict[str, Any] = {
            **self._settings,
            **{name: value for name, value in dose.settings.items() if name in SamplingSettings.__annotations__},
            "seeds": dose.seeds,
            "asked": dose.asked or False,
            "hold_back": list(dose.held_back) or 0,
            "baseline_seeds": len({answer.seed for answer in dose.of("baseline")}) or 1,
        }
        if not any(row.random.n for row in dose.table):
            settings["random"] = 0
        prompts = self._run.prompts if list(dose.prompts) == self.facts["prompts"] else list(dose.prompts)
        run = self._made(dose.strengths, prompts, settings, judges.get(dose.judge, self._run.judge))
        with self.lm.lock:
            self._run, self._settings = run, settings
            said = self._said_of(run)
            said["facts"]["judge"] = list(judges).index(dose.judge) if dose.judge in judges else None
            found = dose.iso_kl_doses.get(1.0)
            self.publish_together(iso_kl=found, status={"state": "done", "message": ""}, **said)
            self._show(dose)

    def _refuse_other(self, dose: Any) -> None:
        if not isinstance(dose, DoseResult):
            told = 'give what lm.dose gave, or sw.DoseResult.load("dose.json")'
            raise wrong(f"{self._called}.show", "a result", dose, told)
        if not dose.answers:
            raise ValueError("This result holds no answer: its run was stopped before the first; run lm.dose again.")
        if dose.label != self.facts["label"]:
            raise ValueError(
                f"This result is of {shown(dose.label)}, but the chart is of {shown(self.facts['label'])}; show it in "
                "a sw.DoseResponse of its own op."
            )
        if is_other_model(dose.provenance.get("model"), self.lm.name):
            raise ValueError(
                f"This result is of {dose.provenance['model']}, but the chart's model is {self.lm.name}; load that one."
            )

    def steer(self, strength: float) -> Recipe:
        """What "Send to panel" does with a strength: its steer goes to the panel, where there is one.

        Args:
            strength: which.

        Returns:
            The recipe.

        Raises:
            ValueError: the op does not take it.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs)
            >>> chart = sw.DoseResponse(lm, cavs["music"].add, [4], prompts=["Name a city."])
            >>> chart.steer_in(panel)
            >>> chart.steer(4)
            'music'.add(4)
            >>> panel.recipe
            'music'.add(4)
        """
        recipe = self._run.made(float(strength))
        return self._send_to_panel(recipe, strength=float(strength))

    def _said(self) -> list[str]:
        if self.dose is None or not self.dose.answers:
            return [f"{self.facts.get('label', '')}: nothing was run yet."]
        return repr(self.dose).split("\n")

    # Requests of the front-end

    def _handlers(self) -> Mapping[str, Handler]:
        return {
            "run": Handler(self._serve_run, slow=True),
            "judge": Handler(self._serve_judge, slow=True),
            "iso_kl": Handler(self._serve_iso_kl, slow=True),
            "send": Handler(self._serve_send),
        }

    def _serve_run(self, request: Request) -> dict[str, Any]:
        self._generate(request, request.args.get("inputs", self.inputs))
        if request.cancelled.is_set():
            raise Cancelled
        return {}

    def _serve_judge(self, request: Request) -> dict[str, Any]:
        number = request.args.get("judge")
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(self._judges):
            raise ValueError(f"There are {len(self._judges)} judges, from 0, but {shown(number)} was asked for.")
        judge = self._judges[number]
        with held_for(self.lm.lock, request):
            self._run.judge = judge
            if self.dose is not None and self.dose.answers:
                self._show(self.dose.judged_by(judge))
        self.publish(facts={**self.facts, "judge": number})
        return {}

    def _serve_iso_kl(self, request: Request) -> dict[str, Any]:
        with held_for(self.lm.lock, request):
            found = self._run.strength_at(1.0, request.cancelled)
        if request.cancelled.is_set():
            raise Cancelled
        if found is None:
            raise ValueError(
                "The 95th percentile of the KL stays below 1 nat up to the strongest strength here, so none is the "
                "iso-KL dose 1; try stronger ones."
            )
        self.publish_together(iso_kl=found, axis="iso_kl")
        return {}

    def _serve_send(self, request: Request) -> dict[str, Any]:
        strength = request.args.get("strength")
        if isinstance(strength, bool) or not isinstance(strength, int | float):
            raise ValueError(f"A strength is a number, but {shown(strength)} came.")
        recipe = self.steer(strength)
        return {"said": f"{recipe!r} {self._sent_where()}"}

    def _generate(self, request: Request, inputs: Any) -> None:
        with telling_how_it_ends(self):
            run = self._of_inputs(inputs)
            with held_for(self.lm.lock, request, lambda: say_waiting(self)):
                self._run = run
                self.dose = None
                self.publish_together(
                    result={}, iso_kl=None, status={"state": "running", "message": ""}, **self._said_of(run)
                )
                self._follow(request, run)

    def _follow(self, request: Request, run: DoseRun) -> None:
        began = time.monotonic()

        def on_step(step: int) -> None:
            request.progress(**self._progress(run, began, step))

        request.progress(**self._progress(run, began, 0))
        for result in run.run(request.cancelled, on_step):
            self._show(result)
        self._show(run.result)
        seconds = round(time.monotonic() - began, 1)
        state = "stopped" if run.result.stopped else "done"
        self.publish(status={"state": state, "message": "", "answers": run.done, "seconds": seconds})

    def _progress(self, run: DoseRun, began: float, step: int) -> dict[str, Any]:
        spent, done = time.monotonic() - began, run.done
        left = spent / done * (run.total - done) if done else None
        return {
            "done": done,
            "total": run.total,
            "step": step,
            "steps": run.sampling.max_new_tokens,
            "seconds_left": None if left is None else round(left, 1),
        }

    def _show(self, result: DoseResult) -> None:
        self.dose = result
        made = result_json(result)
        strengths = [row["strength"] for row in made.get("rows", [])]
        selected = self.selected
        if strengths and selected not in strengths:
            useful = made["useful"]
            selected = strengths[len(strengths) // 2] if useful is None else useful[0]
        self.publish_together(result=made, selected=selected)

    # From what stands on the page to a run

    def _made(self, strengths: Any, prompts: Any, settings: Mapping[str, Any], judge: Judge | None) -> DoseRun:
        given = {name: value for name, value in settings.items() if name not in DoseRun.SETTINGS}
        own = {name: value for name, value in settings.items() if name in DoseRun.SETTINGS}
        return DoseRun(self.lm, self._op, strengths, prompts, judge=judge, settings=given, **own)

    def _of_inputs(self, inputs: Any) -> DoseRun:
        """The run of what stands on the page; prompts that are no texts stay as they were given.

        Raises:
            ValueError: it makes none.
        """
        if not isinstance(inputs, Mapping) or set(inputs) != set(_INPUTS):
            raise ValueError(f"The inputs of a dose are {', '.join(_INPUTS)}, but {shown(inputs)} came.")
        if not isinstance(inputs["asked"], str):
            raise ValueError(f"The instruction of the prompted row is a text, but {shown(inputs['asked'])} came.")
        prompts = inputs["prompts"]
        if not isinstance(prompts, list | tuple) or not all(isinstance(each, str) for each in prompts):
            raise ValueError(f"The prompts are a list of texts, but {shown(prompts)} came.")
        kept = self._run.prompts if list(prompts) == self.facts["prompts"] else list(prompts)
        settings = self._settings | {"seeds": inputs["seeds"], "max_new_tokens": inputs["tokens"]}
        settings["asked"] = inputs["asked"] if inputs["asked"].strip() else False
        return self._made(inputs["strengths"], kept, settings, self._run.judge)

    def _said_of(self, run: DoseRun) -> dict[str, Any]:
        """What the header says, and what stands in the boxes."""
        result = run.result
        feature = next(iter(run.features), None)
        asked = {
            "strengths": list(result.strengths),
            "prompts": list(result.prompts),
            "seeds": len(result.seeds) if result.seeds == tuple(range(len(result.seeds))) else list(result.seeds),
            "tokens": run.sampling.max_new_tokens,
            "asked": result.asked,
        }
        facts = {
            "label": result.label,
            "kind": "" if feature is None else feature.kind,
            "layer": None if feature is None else feature.site.layer,
            "unit": result.unit,
            "prompts": list(result.prompts),
            "held_back": list(result.held_back),
            "random": run.random,
            "baseline_seeds": run.baseline_seeds,
            "total": run.total,
            "judges": [judge_name(each) for each in self._judges],
            "judge": self._judges.index(run.judge) if run.judge in self._judges else 0,
            "panel": self._panel is not None,
        }
        return {"inputs": asked, "facts": facts}

    def _known_judges(self) -> list[Judge]:
        label = next((feature.label for feature in self._run.features), "")
        return [self._run.judge, *own_judges(self.lm, label)[1:]]


def _several(judge: Any) -> list[Judge]:
    """The judges to choose from; none where those of the package do.

    Raises:
        TypeError: one of them is none.
    """
    if judge is None:
        return []
    several = list(judge) if isinstance(judge, list | tuple) and not all(isinstance(j, str) for j in judge) else [judge]
    return [checked_judge(each, "sw.DoseResponse") for each in several]
