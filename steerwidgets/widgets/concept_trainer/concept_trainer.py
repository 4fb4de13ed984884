"""ConceptTrainer: two lists of texts, a direction in every block, and what tells whether it is worth anything."""

from __future__ import annotations

import base64
import binascii
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypedDict, Unpack

import traitlets

from steerwidgets.concepts.examples import Examples, cleaned, table_of
from steerwidgets.concepts.tables import parse
from steerwidgets.concepts.training import ConceptMethod, ConceptTraining
from steerwidgets.dictionaries.base import checked_dictionaries
from steerwidgets.dictionaries.cav.cav import CAV
from steerwidgets.dictionaries.cav.fit import Pool
from steerwidgets.files.shown import shown
from steerwidgets.generation.contrast import Contrast
from steerwidgets.steering.recipe import Direction, Recipe
from steerwidgets.steering.suggested import suggested_steer
from steerwidgets.transformer.mistakes import refuse_no_model, refuse_unknown
from steerwidgets.widgets.concept_trainer import wire
from steerwidgets.widgets.concept_trainer.dose_check import block_run, dose_run
from steerwidgets.widgets.concept_trainer.inputs import MOST_TEXTS, QUESTIONS, Inputs
from steerwidgets.widgets.concept_trainer.texts import Texts as TrainerTexts
from steerwidgets.widgets.export import STATIC
from steerwidgets.widgets.protocol import Cancelled, Handler, Request, described, held_for
from steerwidgets.widgets.recipe_editor.holder import Holder
from steerwidgets.widgets.recipe_editor.sender import Sender
from steerwidgets.widgets.status import say_waiting, telling_how_it_ends

if TYPE_CHECKING:
    from steerwidgets.concepts.concept import Concept
    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.dictionaries.cav.files import Texts
    from steerwidgets.dictionaries.reft.reft import ReFT
    from steerwidgets.dose.by_block import BlockTable
    from steerwidgets.dose.result import DoseResult
    from steerwidgets.model import LanguageModel

CONCEPT_FILES: Final = (".safetensors", ".pt", ".gguf")


class ConceptTrainerSettings(TypedDict, total=False):
    """How a trainer begins.

    Attributes:
        systems: two system prompts; answers under the first are those with the concept.
        questions: what is answered under both; by default 16 everyday questions.
        tokens: of an answer, 48 by default.
        text: of a table, the column of the texts.
        label: of a table, the column of the labels.
        positive: of a table, the label of the texts that have the concept.
        method: `mean_difference` (the default), `logistic`, `svm` or `reft_r1`.
        pool: `mean` (the default), `last` or `max`.
        layers: the blocks, "all" by default.
    """

    systems: tuple[str, str]
    questions: Sequence[str]
    tokens: int
    text: str
    label: str
    positive: object
    method: ConceptMethod
    pool: Pool
    layers: str | Sequence[int]


class ConceptTrainer(Sender):
    """A concept from texts in a notebook cell: a direction in every block, its scores held out, and their control.

    Texts are typed, pasted, read from files, taken from a table with labels, or written by the model under two system
    prompts. All that is shown is what `lm.concept`, `lm.contrast`, `lm.top_logits` and `lm.dose` give.

    Args:
        lm: the model.
        positives: texts with the concept; or what holds both lists: `lm.contrast(…)`, a frame or table with labels, the
            path of a file.
        negatives: texts without it.
        name: what the concept is called.
        dictionaries: whose features it is compared with, and that arithmetic takes.
        panel: a `SteeringPanel` that "Steer with this" gives the concept to.
        settings: `systems`, `questions`, `tokens`, `text`, `label`, `positive`, `method`, `pool`, `layers`, as
            `ConceptTrainerSettings` explains them.

    Attributes:
        concept: what was trained last, as `lm.concept` gives it; None before, and where it was loaded.
        cav: the concept in the block that is looked at, a dictionary of one feature; None before anything is trained.
        dose: the last dose check, as `lm.dose` gives it, or None.
        blocks: the last check of all blocks, as `lm.dose_by_block` gives it, or None.
        inputs: what stands in the boxes.
        selected: the block that is looked at.
        steer_requested: what "Steer with this" asked for last: `{layer, recipe, count}`.

    Raises:
        ValueError: a table or file can't be read, or a setting is out of range.
        TypeError: something is of another kind.

    Example:
        >>> with_it, without = ["the sea", "a city by the sea"], ["the user", "the system asks"]
        >>> trainer = sw.ConceptTrainer(lm, with_it, without, name="the sea")
        >>> trainer.train().name  # the trainer itself is the last expression of a cell
        'the sea'
        >>> trainer.cav.labels
        ('the sea',)
    """

    _esm = STATIC / "concept_trainer.js"
    _css = STATIC / "concept_trainer.css"
    bundle: ClassVar[str] = "concept_trainer"
    title: ClassVar[str] = "concept from texts"
    _called: ClassVar[str] = "trainer"

    inputs = traitlets.Dict().tag(sync=True)
    plan = traitlets.Dict().tag(sync=True)
    table = traitlets.Dict().tag(sync=True)
    result = traitlets.Dict().tag(sync=True)
    selected: Any = traitlets.Int(None, allow_none=True).tag(sync=True)
    total = traitlets.Dict().tag(sync=True)
    checked = traitlets.Dict().tag(sync=True)
    steered = traitlets.Dict().tag(sync=True)
    status = traitlets.Dict({"state": "idle", "message": ""}).tag(sync=True)
    provenance = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        lm: LanguageModel,
        positives: Any = (),
        negatives: Any = None,
        *,
        name: str = "",
        dictionaries: Dictionary | Sequence[Dictionary] = (),
        panel: Holder | None = None,
        **settings: Unpack[ConceptTrainerSettings],
    ) -> None:
        refuse_no_model(lm, "sw.ConceptTrainer", "with_it, without")
        refuse_unknown("sw.ConceptTrainer", settings, ConceptTrainerSettings.__annotations__)
        self.lm = lm
        self.dictionaries = checked_dictionaries(dictionaries, "sw.ConceptTrainer", "lm, dictionaries=")
        self.concept: Concept | None = None
        self.dose: DoseResult | None = None
        self.blocks: BlockTable | None = None
        self._trained_on: Texts | None = None
        self._loaded: CAV | None = None
        self._training: ConceptTraining | None = None
        self._sum: Direction | None = None
        self._panel = self._checked_panel(panel)
        self._texts = TrainerTexts(lm)
        inputs = self._first_inputs(positives, negatives, name, settings)
        super().__init__(
            provenance=lm.provenance,
            facts=self._facts(),
            table=self._texts.table_json(inputs),
            **self._prepared(inputs),
        )

    def _first_inputs(self, positives: Any, negatives: Any, name: str, settings: ConceptTrainerSettings) -> Inputs:
        layers = settings.get("layers", "all")
        blocks = layers if isinstance(layers, str) else ", ".join(map(str, layers))
        given = {
            "name": name,
            "source": "prompts" if "systems" in settings else "texts",
            "positives": [],
            "negatives": [],
            "systems": settings.get("systems", ("", "")),
            "questions": list(settings.get("questions", QUESTIONS)),
            "tokens": settings.get("tokens", 48),
            "columns": ["", "", ""],
            "method": settings.get("method", "mean_difference"),
            "pool": settings.get("pool", "mean"),
            "blocks": blocks,
        }
        inputs = Inputs.of(given)
        if isinstance(positives, Contrast):
            return self._texts.with_contrast(inputs, positives)
        found = table_of(positives)
        if negatives is None and found is not None:
            self._texts.table = found
            columns = [settings.get("text", ""), settings.get("label", ""), settings.get("positive", "")]
            return Inputs.of({**inputs.to_json(), "source": "table", "columns": [str(each) for each in columns]})
        if not len(positives) and negatives is None:
            return inputs
        return self._texts.given(inputs, Examples.of(positives, () if negatives is None else negatives))

    # What a user reads and sets

    @property
    def cav(self) -> CAV | ReFT | None:
        """The concept in the block that is looked at: a dictionary of one feature; None before anything is trained."""
        if self.concept is None:
            return self._loaded
        chosen: int = self.selected
        return self.concept.at(chosen).dictionary

    def train(self) -> Concept:
        """Train with what stands in the boxes, from code: blocks, shows how far it is; Ctrl-C stops it.

        Returns:
            The concept, as `lm.concept` gives it.

        Raises:
            ValueError: what stands in the boxes makes no training; the message says why.
            RuntimeError: it was stopped before any block was fitted.

        Example:
            >>> trainer = sw.ConceptTrainer(lm, ["the sea", "a ship"], ["the user", "a system"])
            >>> len(trainer.train().layers)
            4
        """
        with self._from_code() as request:
            self._train(request, Inputs.of(self.inputs))
        assert self.concept is not None
        return self.concept

    def write(self) -> None:
        """Let the model write both lists: answers to the questions under the two system prompts.

        Raises:
            ValueError: a system prompt is missing, or there is no question.

        Example:
            >>> systems = ("You are cheerful.", "You are gloomy.")
            >>> trainer = sw.ConceptTrainer(lm, systems=systems, questions=["How are you?", "What is new?"], tokens=8)
            >>> trainer.write()
            >>> trainer.train().pooling
            'mean over response tokens'
        """
        with self._from_code() as request:
            self._write(request, Inputs.of(self.inputs))

    def check_dose(self) -> DoseResult:
        """What the concept does at four strengths, judged by a probe of another block made from the held-out texts.

        Where too few texts are held out, the words of the concept's name judge.

        Returns:
            The dose–response, as `lm.dose` gives it.

        Raises:
            ValueError: nothing is trained, or nothing can judge.

        Example:
            >>> trainer = sw.ConceptTrainer(lm, ["the sea", "a ship"], ["the user", "a system"], name="the sea")
            >>> _ = trainer.train()
            >>> len(trainer.check_dose().strengths)
            4
        """
        with self._from_code() as request:
            self._check_dose(request)
        assert self.dose is not None
        return self.dose

    def check_blocks(self) -> BlockTable:
        """At which block the concept steers best: each adds the same share of ‖h‖, and one judge counts the answers.

        A probe of one block, made from the held-out texts, judges, and that block is left out; where too few texts are
        held out, the words of the concept's name judge. Ctrl-C keeps what is done.

        Returns:
            What `lm.dose_by_block` gives, over three everyday prompts and two seeds.

        Raises:
            ValueError: nothing is trained, or nothing can judge.

        Example:
            >>> trainer = sw.ConceptTrainer(lm, ["the sea", "a ship"], ["the user", "a system"], name="the sea")
            >>> _ = trainer.train()
            >>> [row.on_topic.n for row in trainer.check_blocks().rows]
            [6, 6, 6, 6]
        """
        with self._from_code() as request:
            self._check_blocks(request)
        assert self.blocks is not None
        return self.blocks

    def combine(self, plus: Sequence[Direction] = (), minus: Sequence[Direction] = ()) -> Direction:
        """Arithmetic: the concept plus some features, minus others, with what it promotes.

        Args:
            plus: features or directions of the same site.
            minus: likewise.

        Returns:
            The direction, which steers like any other.

        Raises:
            ValueError: nothing is trained, a feature lives at another site, or nothing is left.

        Example:
            >>> texts = (["the sea", "a ship"], ["the user", "a system"])
            >>> trainer = sw.ConceptTrainer(lm, *texts, name="ships", layers=[1])
            >>> _ = trainer.train()
            >>> trainer.combine(plus=[cavs["music"]], minus=[cavs["food"]]).label
            'ships + music − food'
        """
        made = self._own().direction
        for sign, several in ((1, plus), (-1, minus)):
            for feature in several:
                made = made + feature.direction if sign > 0 else made - feature.direction
        terms = [{"sign": 1, "label": each.label} for each in plus]
        self._show_sum(made, [*terms, *({"sign": -1, "label": each.label} for each in minus)])
        return made

    def steer(self, *, total: bool = False) -> Recipe:
        """What "Steer with this" does: the concept goes to the panel, where there is one.

        Its strength is where a dose check found it useful, or else its kind's own.

        Args:
            total: whether the sum of `combine` goes there instead.

        Returns:
            The recipe.

        Raises:
            ValueError: nothing is trained, or there is no sum.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs)
            >>> trainer = sw.ConceptTrainer(lm, ["the sea", "a ship"], ["the user", "a system"], name="the sea")
            >>> _ = trainer.train()
            >>> trainer.steer_in(panel)
            >>> trainer.steer()
            'the sea'.add_relative(0.3)
            >>> [steer.feature.label for steer in panel.recipe]
            ['the sea']
        """
        feature: Direction = self._own()
        if total:
            if self._sum is None:
                raise ValueError("There is no sum yet: add a feature to the concept, or take one away.")
            feature = self._sum
        useful = self.checked.get("useful") if not total and self.checked.get("layer") == self.selected else None
        recipe = Recipe.of(feature.add(useful[0]) if useful else suggested_steer(feature))
        return self._send_to_panel(recipe, layer=feature.site.layer)

    def save(self, path: str | Path, *, texts: bool = True) -> None:
        """Write the concept of the block that is looked at into a file that `sw.CAV.load` reads.

        Args:
            path: the file, as `grateful.safetensors`.
            texts: whether both lists of texts go with it, packed, so that `load` brings them back; answers that the
                model wrote are plain texts there.

        Raises:
            ValueError: nothing is trained yet.

        Example:
            >>> trainer = sw.ConceptTrainer(lm, ["the sea", "a ship"], ["the user", "a system"], name="the sea")
            >>> _ = trainer.train()
            >>> trainer.save(folder / "sea.safetensors")
            >>> sw.CAV.load(folder / "sea.safetensors").labels
            ('the sea',)
        """
        self._as_cav(texts=texts).save(path)

    def load(self, path: str | Path, *, layer: int | None = None) -> CAV:
        """Show a concept of a file, and its texts where they are in it; else the lists stay as they are.

        Args:
            path: a file that `sw.CAV.load` reads, with one concept.
            layer: the block, where the file does not say it.

        Returns:
            The concept.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it holds no concept or several, or does not fit the model.

        Example:
            >>> trainer = sw.ConceptTrainer(lm, ["the sea", "a ship"], ["the user", "a system"], name="the sea")
            >>> _ = trainer.train()
            >>> trainer.save(folder / "sea.safetensors")
            >>> trainer.load(folder / "sea.safetensors").labels
            ('the sea',)
        """
        return self._show_loaded(CAV.load(path, layer=layer), Path(path).name)

    def _said(self) -> list[str]:
        if self.concept is not None:
            return repr(self.concept).split("\n")
        counts = self.plan.get("counts", [0, 0])
        return [f"{counts[0]} texts with it and {counts[1]} without; nothing is trained yet."]

    # Requests of the front-end

    def _handlers(self) -> Mapping[str, Handler]:
        return {
            "plan": Handler(self._serve_plan, slow=True),
            "train": Handler(self._serve_train, slow=True),
            "write": Handler(self._serve_write, slow=True),
            "dose": Handler(self._serve_dose, slow=True),
            "blocks": Handler(self._serve_blocks, slow=True),
            "file": Handler(self._serve_file, slow=True),
            "sum": Handler(self._serve_sum, slow=True),
            "send": Handler(self._serve_send, slow=True),
            "save": Handler(self._serve_save, slow=True),
        }

    def _serve_plan(self, request: Request) -> dict[str, Any]:
        inputs = Inputs.of(request.args.get("inputs"))
        self.publish_together(table=self._texts.table_json(inputs), **self._prepared(inputs))
        return {}

    def _serve_train(self, request: Request) -> dict[str, Any]:
        self._train(request, Inputs.of(request.args.get("inputs")))
        return self._ended(request)

    def _serve_write(self, request: Request) -> dict[str, Any]:
        self._write(request, Inputs.of(request.args.get("inputs")))
        return self._ended(request)

    def _serve_dose(self, request: Request) -> dict[str, Any]:
        self._check_dose(request)
        return self._ended(request)

    def _serve_blocks(self, request: Request) -> dict[str, Any]:
        self._check_blocks(request)
        return self._ended(request)

    def _serve_file(self, request: Request) -> dict[str, Any]:
        name, data, side = (request.args.get(each) for each in ("filename", "data", "side"))
        if not isinstance(name, str) or not isinstance(data, str) or side not in ("positives", "negatives", "table"):
            raise ValueError("A file comes with its name, its bytes and the list that it is for.")
        try:
            content = base64.b64decode(data, validate=True)
        except binascii.Error:
            raise ValueError(f"{shown(name)} did not arrive whole; choose it again.") from None
        if Path(name).suffix.lower() in CONCEPT_FILES:
            return {"said": self._load_bytes(content, Path(name).name)}
        inputs, said = self._texts.take(Inputs.of(request.args.get("inputs")), parse(content, name), side)
        self.publish_together(table=self._texts.table_json(inputs), **self._prepared(inputs))
        return {"said": said}

    def _serve_sum(self, request: Request) -> dict[str, Any]:
        terms = wire.asked_terms(request.args.get("terms"))
        features = [(each["sign"], wire.Other.of(each["id"], self.dictionaries)) for each in terms]
        found = [(sign, self.dictionaries[other.dictionary][other.index]) for sign, other in features]
        if not found:
            self._sum = None
            self.publish(total={})
            return {}
        with held_for(self.lm.lock, request):
            made = self._own().direction
            for sign, feature in found:
                made = made + feature.direction if sign > 0 else made - feature.direction
            named = [{**term, "label": feature.label} for term, (_, feature) in zip(terms, found, strict=True)]
            self._show_sum(made, named)
        return {}

    def _serve_send(self, request: Request) -> dict[str, Any]:
        recipe = self.steer(total=bool(request.args.get("total")))
        return {"said": f"{recipe!r} {self._sent_where()}"}

    def _serve_save(self, request: Request) -> dict[str, Any]:  # noqa: ARG002 - as every handler has it
        cav = self._as_cav(texts=True)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "concept.safetensors"
            cav.save(path)
            data = path.read_bytes()
        letters = [c if c.isalnum() else "-" for c in cav.labels[0]] if cav.labels else []
        return {"data": base64.b64encode(data).decode(), "filename": f"{''.join(letters) or 'concept'}.safetensors"}

    @staticmethod
    def _ended(request: Request) -> dict[str, Any]:
        if request.cancelled.is_set():
            raise Cancelled
        return {}

    # From inputs to a training

    def _prepared(self, inputs: Inputs) -> dict[str, Any]:
        """What stands in the boxes, and what a training of it would be."""
        plan: dict[str, Any] = {"problem": "", "told": [], "counts": [0, 0]}
        try:
            inputs.layers(self.lm.architecture.layers)
            examples = self._texts.examples(inputs)
            if not examples.positives and not examples.negatives:
                plan["problem"] = self._next_step(inputs)
            else:
                clean = cleaned(self.lm, examples, max_texts=MOST_TEXTS)
                plan["told"] = list(clean.told)
                plan["counts"] = [clean.count(positive=side) for side in (True, False)]
        except (ValueError, TypeError) as error:
            plan["problem"] = described(error)["message"]
        return {"inputs": inputs.to_json(), "plan": plan}

    def _next_step(self, inputs: Inputs) -> str:
        if inputs.source == "prompts":
            return "Write two system prompts, and let the model answer the questions under both."
        if inputs.source == "table":
            return "Choose a file with texts and labels: .csv, .tsv, .json or .jsonl."
        return "Give texts with the concept and texts without it: type or paste them, or choose files."

    def _facts(self) -> dict[str, Any]:
        return {
            "model": self.lm.name,
            "blocks": self.lm.architecture.layers,
            "template": self.lm.has_chat_template,
            "panel": self._panel is not None,
            "dictionaries": len(self.dictionaries),
        }

    # Runs

    @contextmanager
    def _from_code(self) -> Iterator[Request]:
        """A run that code starts; one that was stopped has no result to give."""
        try:
            with self._protocol.from_code() as request:
                yield request
        except Cancelled:
            raise RuntimeError("It was stopped before anything was done.") from None

    def _train(self, request: Request, inputs: Inputs) -> None:
        began = time.monotonic()
        with self._running(request):
            self.publish_together(**self._prepared(inputs))
            if self.plan["problem"]:
                raise ValueError(self.plan["problem"])
            training = ConceptTraining(
                self.lm,
                self._texts.examples(inputs),
                inputs.name,
                method=inputs.method,
                pool=inputs.pool,
                layers=inputs.layers(self.lm.architecture.layers),
                max_texts=MOST_TEXTS,
            )
            tell = _progress(request)
            concept = training.run(tell, request.cancelled)
            self._forget()
            self.concept, self._training, self._trained_on = concept, training, self._texts.words(inputs)
            seconds = round(time.monotonic() - began, 1)
            result = {**wire.concept_json(self.lm, concept, self.dictionaries), "seconds": seconds}
            self.publish_together(result=result, selected=concept.best.layer, total={}, checked={}, steered={})

    def _write(self, request: Request, inputs: Inputs) -> None:
        tell = _progress(request)
        with self._running(request):
            pair = self.lm.contrast(
                *inputs.systems,
                inputs.questions,
                max_new_tokens=inputs.tokens,
                on_progress=lambda done, total: tell(done, total, "writing"),
                stop=request.cancelled,
            )
            if not pair.texts:
                if request.cancelled.is_set():
                    raise Cancelled
                raise ValueError("Every answer that the model wrote was empty; ask other questions.")
            self.publish_together(**self._prepared(self._texts.with_contrast(inputs, pair)))

    def _check_dose(self, request: Request) -> None:
        with self._running(request):
            feature = self._own()
            run = dose_run(self.lm, feature, self._training)
            tell = _progress(request)
            tell(0, run.total, "answering")
            for result in run.run(request.cancelled):
                self.dose = result
                self.publish(checked=wire.dose_json(result, feature.site.layer))
                tell(run.done, run.total, "answering")
            # Only now it knows whether it was stopped.
            self.dose = run.result

    def _check_blocks(self, request: Request) -> None:
        with self._running(request):
            if self.concept is None:
                raise ValueError("There are no blocks to try: press Train, or call trainer.train().")
            run = block_run(self.lm, self.concept, self._training)
            self.blocks = None
            tell = _progress(request)
            tell(0, run.total, "steering")
            for found in run.run(request.cancelled, lambda step: tell(run.done_at(step), run.total, "steering")):
                self.blocks = found
                self.publish(steered=wire.blocks_json(found))
                tell(run.done, run.total, "steering")
            if self.blocks is None:
                raise Cancelled

    @contextmanager
    def _running(self, request: Request) -> Iterator[None]:
        """Hold the model, and say in the status how it went."""
        began = time.monotonic()
        with telling_how_it_ends(self), held_for(self.lm.lock, request, lambda: say_waiting(self)):
            self.publish(status={"state": "running", "message": ""})
            try:
                yield
            except RuntimeError:
                if request.cancelled.is_set():
                    raise Cancelled from None
                raise
        state = "stopped" if request.cancelled.is_set() else "done"
        self.publish(status={"state": state, "message": "", "seconds": round(time.monotonic() - began, 1)})

    # What is shown

    def _own(self) -> Direction:
        cav = self.cav
        if cav is None:
            raise ValueError("Nothing is trained yet: press Train, or call trainer.train().")
        return cav[0]

    def _show_sum(self, made: Direction, terms: Sequence[Mapping[str, Any]]) -> None:
        self._sum = made
        self.publish(
            total={
                "terms": list(terms),
                "label": made.label,
                "cosine": round(made.cosine(self._own()), 4),
                "layer": made.site.layer,
                **wire.promoted_json(self.lm, made),
            }
        )

    def _as_cav(self, *, texts: bool) -> CAV:
        """The concept that is looked at as a CAV of its own, which a file can hold."""
        cav = self.cav
        if cav is None:
            raise ValueError("Nothing is trained yet: press Train, or call trainer.train().")
        site = cav.site
        made = CAV(cav[0].vector[None], cav.labels, layer=site.layer, stream=site.stream, provenance=cav.provenance)
        made.report = getattr(cav, "report", None)
        made.texts = (cav.texts if isinstance(cav, CAV) and cav.texts else self._trained_on) if texts else None
        return made

    def _forget(self) -> None:
        """What was made of the concept before goes with it."""
        self.concept, self._training, self._loaded, self._trained_on = None, None, None, None
        self._sum, self.dose, self.blocks = None, None, None

    def _load_bytes(self, data: bytes, name: str) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            cav = CAV.load(path)
        self._show_loaded(cav, name)
        return f"{name} was loaded."

    def _show_loaded(self, cav: CAV, name: str) -> CAV:
        if cav.size != 1:
            raise ValueError(
                f"{name} holds {cav.size} concepts; a trainer shows one, and dictionaries= takes them all."
            )
        width, layers = self.lm.architecture.d_model, self.lm.architecture.layers
        if cav.d_model != width or cav.site.layer >= layers:
            raise ValueError(
                f"{name} holds a direction of {cav.d_model} numbers at block {cav.site.layer}, but {self.lm.name} has "
                f"{layers} blocks of {width}; it was made for another model."
            )
        self._forget()
        self._loaded = cav
        shown_of_it = {"result": wire.of_dictionary(self.lm, cav, self.dictionaries), "selected": cav.site.layer}
        if cav.texts is not None:
            name = cav.labels[0] if cav.labels else ""
            inputs = replace(Inputs.of(self.inputs), name=name, source="texts")
            shown_of_it |= self._prepared(self._texts.given(inputs, Examples(*cav.texts)))
        self.publish_together(**shown_of_it, total={}, checked={}, steered={})
        return cav

    @traitlets.observe("selected")
    def _select(self, change: Any) -> None:
        """A block that was not fitted is none; what was made of another one is no longer shown."""
        layers = [each["layer"] for each in self.result.get("layers", [])]
        if not layers:
            return
        if change["new"] not in layers:
            self.publish(selected=change["old"] if change["old"] in layers else self.result["best"])
            return
        self._sum = None
        self.publish(total={})


def _progress(request: Request) -> Callable[[int, int, str], None]:
    """Tells a page how far a run is, and how long what it does now will take."""
    phases: dict[str, tuple[float, int]] = {}

    def tell(done: int, total: int, what: str) -> None:
        began, before = phases.setdefault(what, (time.monotonic(), done))
        rest = (time.monotonic() - began) / (done - before) * (total - done) if done > before else None
        request.progress(done=done, total=total, phase=what, seconds_left=None if rest is None else round(rest, 1))

    return tell
