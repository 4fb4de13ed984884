"""SteeringPanel: pick features, set their strengths, and read baseline and steered text side by side."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Unpack

import traitlets

from steerwidgets.files.shown import shown
from steerwidgets.generation.comparison import Comparison, checked_step
from steerwidgets.generation.sampling import Sampling
from steerwidgets.lens.promoting import token_id_of
from steerwidgets.model import LanguageModel
from steerwidgets.steering.recipe import Direction, Recipe, Steer
from steerwidgets.transformer.mistakes import refuse_no_model, wrong
from steerwidgets.widgets.export import STATIC, python_snippet
from steerwidgets.widgets.lens.logit_lens import LogitLens
from steerwidgets.widgets.panel import presets
from steerwidgets.widgets.panel.history import History
from steerwidgets.widgets.panel.next_token import SHOWN, next_token_json
from steerwidgets.widgets.panel.run import PAIR, Fork, PanelRun
from steerwidgets.widgets.panel.sweep import TOKENS, PanelSweep, Sweep, asked_strengths, checked_plan, usual_strengths
from steerwidgets.widgets.panel.token_lens import PanelLens
from steerwidgets.widgets.protocol import Cancelled, Handler, Request, described, held_for
from steerwidgets.widgets.recipe_editor.describe import tokens_json
from steerwidgets.widgets.recipe_editor.inputs import checked_beside, checked_inputs, checked_turn, conversation
from steerwidgets.widgets.recipe_editor.recipe_widget import FeaturesLike, RecipeWidget

if TYPE_CHECKING:
    from steerwidgets.generation.sampling import SamplingSettings
    from steerwidgets.lens.top_logits import LogitDifference
    from steerwidgets.transformer.prompts import Message, PromptLike, Token
    from steerwidgets.widgets.recipe_editor.inputs import Inputs

_INPUTS: Final = ("prompt", "chat", "settings", "steers", "positions", "watched", "beside", "system", "turns")


ALTERNATIVES: Final = 10
"""Tokens that are offered in the place of one."""

_LONGEST: Final = 400
"""Of a text in plain sight so many characters are shown."""


def _steer_index(inputs: Inputs, steer_id: Any) -> int:
    """Which steer of a run's recipe one on the page is: those that are switched off are not in the recipe.

    Raises:
        ValueError: it is none of them.
    """
    enabled = [steer.get("id") for steer in inputs.shown["steers"] if steer.get("enabled", True)]
    if steer_id not in enabled:
        raise ValueError("That steer is switched off or gone, so there is nothing to sweep; choose one of the recipe.")
    return enabled.index(steer_id)


def _mark(result: Mapping[str, Any]) -> dict[str, Any]:
    """Where a slider shows that texts break, and on which prompt that was seen."""
    return {"breaks": result["breaks"], "prompt": result["prompt"]}


def _text_of(source: Any) -> str:
    """The text of a preset or a recipe, wherever it is."""
    if isinstance(source, Path):
        return presets.text_in(source)
    if not isinstance(source, str):
        raise wrong("panel.load", "a preset's name, a path or JSON", source, 'give one, as in panel.load("calm")')
    if source.lstrip().startswith(("{", "[")):
        return source
    if source.endswith(".json") and source not in presets.names():
        return presets.text_in(Path(source))
    return presets.text_of(source)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _as_conversation(prompt: Any, chat: bool | None) -> tuple[str, str, list[dict[str, Any]], bool | None]:
    """A prompt's system prompt, earlier turns and last text, and whether it goes through the chat template.

    Raises:
        TypeError: it is no text and no messages that end with one of the user's.
    """
    if isinstance(prompt, str):
        return prompt, "", [], chat
    messages = [prompt] if isinstance(prompt, Mapping) else list(prompt) if isinstance(prompt, Iterable) else []
    texts: list[Any] = [each.get("content") if isinstance(each, Mapping) else None for each in messages]
    roles: list[Any] = [each.get("role", "user") if isinstance(each, Mapping) else None for each in messages]
    meant = "give a text, or messages of which the last one is the user's"
    if not messages or not all(isinstance(text, str) for text in texts) or roles[-1] != "user":
        raise wrong("A panel's prompt", "a text or messages", prompt, meant)
    has_system = roles[0] == "system"
    turns = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)][has_system:-1]
    if any(turn["role"] not in ("user", "assistant") for turn in turns):
        raise wrong("A panel's prompt", "messages of system, user and assistant", prompt, meant)
    return texts[-1], texts[0] if has_system else "", turns, True if chat is None else chat


class SteeringPanel(RecipeWidget):
    """A steering panel around a loaded model.

    Args:
        lm: the model.
        features: a dictionary, a direction, or several of them; they may be mixed in one run.
        prompt: the prompt to begin with, a text or messages of which the last one is the user's.
        recipe: the recipe to begin with.
        chat: whether the prompt goes through the chat template; by default where the tokenizer has one.
        watch: the feature whose activation colours the tokens; by default the first one of the recipe.
        asked: what a row beside the two is asked for in words, unsteered, such as "Talk about the sea."
        random: how many rows beside them get random directions, as long as the recipe's changes, in its place.
        settings: `temperature`, `top_p`, `top_k`, `frequency_penalty`, `penalise_prompt`, `max_new_tokens`, `seed`, as
            `SamplingSettings` explains them.

    Attributes:
        result: the last run as plain data: exactly what is shown.
        comparison: the last run as `lm.compare` gives it, or None.
        history: the last 20 runs, and those that are pinned.
        lens: the id of the widget that shows the lens of a generated token, or empty; see `token_lens`.
        tab: which tab stands open below the texts: `logits`, `sweep` or `history`.

    Raises:
        TypeError: `features` holds something that is no dictionary and no direction.
        ValueError: a setting is out of range.

    Example:
        >>> panel = sw.SteeringPanel(lm, [cavs, sae], recipe=cavs["music"].add(40), max_new_tokens=8)
        >>> panel.recipe  # the panel itself is the last expression of a cell
        'music'.add(40)
    """

    _esm = STATIC / "steering_panel.js"
    _css = STATIC / "steering_panel.css"
    bundle: ClassVar[str] = "steering_panel"
    title: ClassVar[str] = "steering panel"

    inputs: ClassVar[tuple[str, ...]] = (*_INPUTS, "selected")
    measured: ClassVar[frozenset[str]] = RecipeWidget.measured | {"system", "turns"}
    lm: LanguageModel

    settings = traitlets.Dict().tag(sync=True)
    watched = traitlets.Unicode().tag(sync=True)
    beside = traitlets.Dict().tag(sync=True)
    system = traitlets.Unicode().tag(sync=True)
    turns: Any = traitlets.List().tag(sync=True)
    presets: Any = traitlets.List().tag(sync=True)
    outdated: Any = traitlets.List().tag(sync=True)
    result = traitlets.Dict().tag(sync=True)
    lens = traitlets.Unicode().tag(sync=True)
    tab = traitlets.Enum(("logits", "sweep", "history"), "logits").tag(sync=True)
    next_token = traitlets.Dict().tag(sync=True)
    swept = traitlets.Dict().tag(sync=True)
    breaks = traitlets.Dict().tag(sync=True)
    runs: Any = traitlets.List().tag(sync=True)
    compared = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        lm: LanguageModel,
        features: FeaturesLike = (),
        *,
        prompt: str | Sequence[Message] = "Tell me about your weekend.",
        recipe: Recipe | Steer | Iterable[Steer] | None = None,
        chat: bool | None = None,
        watch: Direction | None = None,
        asked: str = "",
        random: int = 0,
        **settings: Unpack[SamplingSettings],
    ) -> None:
        refuse_no_model(lm, "sw.SteeringPanel", "dictionaries")
        text, system, turns, chat = _as_conversation(prompt, chat)
        self.comparison: Comparison | None = None
        self._run: PanelRun | None = None
        self._shown_run: PanelRun | None = None
        self._lens = PanelLens(lm)
        self.history = History(self)
        steers = Recipe.of(recipe)
        chat = lm.has_chat_template if chat is None else chat
        beside = {"asked": asked, "random": random}
        checked_beside(beside)
        own: dict[str, Any] = {"settings": Sampling.of(settings).to_json(), "beside": beside}
        own |= {"presets": presets.names()}
        super().__init__(lm, features, prompt=text, system=system, turns=turns, chat=chat, **own)
        if watch is not None:
            self._features.remember(watch)
            self.watched = watch.key
        self._begin(steers)

    def _shown_with(self, recipe: Recipe) -> dict[str, Any]:
        first = recipe.steers[0].feature.key if len(recipe) else ""
        return {"watched": self.watched or first}

    def _said(self) -> list[str]:
        rows = self.result.get("rows", [])
        texts = [f"{row['name'].capitalize()}: {_short(row['text'])}" for row in rows]
        return [*super()._said(), f"Prompt: {_short(self.prompt)}", *(texts or ["Nothing was generated yet."])]

    # What a user reads and sets

    def generate(self) -> Comparison:
        """Run the panel from code: blocks, streams into the panel, and gives the comparison.

        Ctrl-C stops it; what was generated by then stays in the panel.

        Returns:
            Baseline and steered text, as `lm.compare` gives them.

        Raises:
            ValueError: the panel's inputs do not make a run; the message says why.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs, recipe=cavs["music"].add(4), max_new_tokens=4)
            >>> len(panel.generate().steered.token_ids)
            4
        """
        request = Request(f"code-{uuid.uuid4().hex}", {}, self._send_message)
        with self._protocol.following(request):
            return self._generate(request, {})

    def token_lens(self, step: int, row: str = "steered") -> LogitLens:
        """Open the lens of a generated token below the texts.

        Args:
            step: which generated token, from 0.
            row: `baseline` or `steered`.

        Returns:
            The lens, a widget that lives as long as the panel and is used for the next token again.

        Raises:
            ValueError: nothing was generated, or there is no such row or step.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs, recipe=cavs["music"].add(4), max_new_tokens=4)
            >>> _ = panel.generate()
            >>> panel.token_lens(2).layer_lens.layers
            (0, 1, 2, 3)
        """
        shown = self._lens.show({"row": row, "step": step})
        self.publish(lens=shown.model_id)
        return shown

    def save_preset(self, name: str) -> None:
        """Keep how the panel steers and samples under a name, for panels of other notebooks too.

        Recipe, sampling settings, chat, system prompt and the rows beside are kept, the prompt is not. Presets lie in
        the user's data folder (`$STEERWIDGETS_DATA`).

        Args:
            name: what it shall be called; one that has the name is replaced.

        Raises:
            ValueError: the name is empty or too long.
            OSError: it can't be written.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs, recipe=cavs["music"].add(4))
            >>> panel.save_preset("calm music")
            >>> "calm music" in panel.presets
            True
        """
        presets.write(self, name)
        self.publish(presets=presets.names())

    def remove_preset(self, name: str) -> None:
        """Take a preset away.

        Args:
            name: its name.

        Raises:
            KeyError: there is none of that name.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs)
            >>> panel.save_preset("calm music")
            >>> panel.remove_preset("calm music")
            >>> "calm music" in panel.presets
            False
        """
        presets.remove(name)
        self.publish(presets=presets.names())

    def load(self, source: str | Path) -> Recipe:
        """Take over a preset or a recipe: by the preset's name, from a file, or from its text.

        Args:
            source: a preset's name, a path, or JSON as `recipe.to_json()` or `save_preset` wrote it.

        Returns:
            The recipe, which the panel now has.

        Raises:
            ValueError: it is neither, or damaged, of another version, or of features that the panel does not have.
            KeyError: there is no such preset.
            OSError: the file can't be read.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs)
            >>> panel.load(sw.Recipe.of(cavs["music"].add(4)).to_json())
            'music'.add(4)
        """
        return self._take_over(_text_of(source))

    def _take_over(self, text: str) -> Recipe:
        found = presets.read(text, self)
        recipe = found.recipe if isinstance(found, presets.Preset) else found
        if isinstance(found, presets.Preset):
            self.publish_together(settings=found.settings.to_json(), **found.traits)
        self.recipe = recipe
        return recipe

    @property
    def conversation(self) -> list[dict[str, str]]:
        """What is put to the model as messages: system prompt, earlier turns, prompt.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs, prompt="Name a city.")
            >>> panel.system = "Be brief."
            >>> [message["role"] for message in panel.conversation]
            ['system', 'user']
        """
        first = [{"role": "system", "content": self.system}] if self.system.strip() else []
        return [*first, *map(checked_turn, self.turns), {"role": "user", "content": self.prompt}]

    def reply(self, row: str = "steered") -> list[dict[str, str]]:
        """Take an answer that is shown into the conversation, so that the next prompt is a reply to it.

        Args:
            row: whose answer: `baseline`, `steered`, `prompted`, `random 1`.

        Returns:
            The conversation so far.

        Raises:
            ValueError: nothing was generated, there is no such row, or the run used no chat template.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs, prompt="Name a city.", max_new_tokens=4)
            >>> _ = panel.generate()
            >>> [message["role"] for message in panel.reply("baseline")]
            ['user', 'assistant', 'user']
        """
        self._row_of(row)
        if not self.result["chat"]:
            raise ValueError(
                "A conversation needs the chat template, and these texts were made without: switch chat on."
            )
        assert self._shown_run is not None
        [text] = [each["text"] for each in self.result["rows"] if each["name"] == row]
        steered = row not in ("baseline", "prompted")
        recipe = self._shown_run.inputs.recipe
        by = {"row": row, "recipe": recipe.fingerprint if steered and len(recipe) else ""}
        answer = {"role": "assistant", "content": text, **by}
        turns = [*self.result["turns"], {"role": "user", "content": self.result["prompt"]}, answer]
        self.publish_together(turns=turns, prompt="")
        return self.conversation

    def edit(self, turn: int) -> str:
        """Go back to an earlier message of the user: it is the prompt again, and what came after it is gone.

        Args:
            turn: which of `turns`, from 0.

        Returns:
            The message, which the prompt now holds.

        Raises:
            ValueError: there is no such turn, or it is not the user's.

        Example:
            >>> messages = [{"role": "user", "content": "Name a city."}, {"role": "assistant", "content": "Rome."}]
            >>> panel = sw.SteeringPanel(lm, cavs, prompt=[*messages, {"role": "user", "content": "Another one?"}])
            >>> panel.edit(0), panel.turns
            ('Name a city.', [])
        """
        mine = [i for i, each in enumerate(self.turns) if checked_turn(each)["role"] == "user"]
        if isinstance(turn, bool) or turn not in mine:
            there = f"the user's are {', '.join(map(str, mine))}" if mine else "there is none yet"
            raise ValueError(f"Only a message of the user's can be edited, and {shown(turn)} is none: {there}.")
        text = str(self.turns[turn]["content"])
        self.publish_together(prompt=text, turns=self.turns[:turn])
        return text

    def alternatives(self, step: int, row: str = "steered", k: int = ALTERNATIVES) -> tuple[tuple[Token, float], ...]:
        """The likeliest tokens at one step of a text that the panel shows, under what steered it.

        Args:
            step: which generated token, from 0.
            row: the row's name: `baseline`, `steered`, `prompted`, `random 1`.
            k: how many.

        Returns:
            Tokens with their probabilities at temperature 1, the likeliest first.

        Raises:
            ValueError: nothing was generated, or there is no such row or step.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs, recipe=cavs["music"].add(4), max_new_tokens=4)
            >>> _ = panel.generate()
            >>> len(panel.alternatives(2, k=3))
            3
        """
        comparison, name = self._row_of(row)
        return comparison.alternatives(step, name, k)

    def fork(self, step: int, token: int | str, row: str = "steered") -> Comparison:
        """Put another token in the place of a generated one, and go on from there; the panel shows it as it comes.

        Args:
            step: which generated token, from 0.
            token: what stands there instead: an id, or a text that the tokenizer makes one token of.
            row: the row's name: `baseline`, `steered`, `prompted`, `random 1`. The others stay as they are.

        Returns:
            The comparison with the new text.

        Raises:
            ValueError: nothing was generated, or there is no such row, step or token.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs, recipe=cavs["music"].add(4), max_new_tokens=4)
            >>> _ = panel.generate()
            >>> other = panel.alternatives(1, k=2)[1][0]
            >>> panel.fork(1, other.id).steered.token_ids[1] == other.id
            True
        """
        request = Request(f"code-{uuid.uuid4().hex}", {}, self._send_message)
        with self._protocol.following(request):
            return self._fork(request, row, step, token)

    def logit_difference(self, k: int = SHOWN) -> LogitDifference:
        """What the recipe does to the token after the prompt; the tab "Δ logits" shows it too.

        Args:
            k: how many tokens of each kind.

        Returns:
            `.promoted` and `.suppressed`, and `.probabilities` before and after.

        Raises:
            ValueError: the panel's inputs make no run, or the logits are NaN or infinite under the recipe.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs, recipe=cavs["music"].add(4))
            >>> len(panel.logit_difference(k=3).promoted)
            3
        """
        return self._show_next_token(checked_inputs(self._given({}), self._features), k)

    def sweep(self, steer: int = 0, strengths: Iterable[float] | None = None, *, tokens: int = TOKENS) -> Sweep:
        """Sweep the strength of one steer, the others as they are: all rows in one batch with shared noise.

        The tab "Sweep" shows the rows, and the steer's slider where texts break: past there they are more surprising
        to the unsteered model than any of its own over four seeds, or repeat themselves more.

        Args:
            steer: which steer of the recipe, from 0.
            strengths: its strengths; by default twelve from no change to the end of its slider.
            tokens: the longest that a text gets.

        Returns:
            The rows with their scores, and where texts break.

        Raises:
            ValueError: there is no such steer, its op takes no strength or not these, or a number is none.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs, recipe=cavs["music"].add(4))
            >>> [row.strength for row in panel.sweep(strengths=(0, 4, 8), tokens=4).rows]
            [0.0, 4.0, 8.0]
        """
        request = Request(f"code-{uuid.uuid4().hex}", {}, self._send_message)
        with self._protocol.following(request):
            return self._sweep(request, {}, steer, strengths, tokens)

    def release(self) -> None:
        """Give back the run's keys and values: a token's lens reads the whole text again.

        Example:
            >>> panel = sw.SteeringPanel(lm, cavs)
            >>> panel.release()
        """
        super().release()
        if "_lens" in self.__dict__ and self.comparison is not None:
            self.comparison = self._lens.comparison = self.comparison.without_cache()

    def close(self) -> None:
        """Stop what is running, and take the panel and its lens off the page."""
        if "_lens" in self.__dict__:
            self._lens.close()
        super().close()

    # Requests of the front-end

    def _handlers(self) -> Mapping[str, Handler]:
        return {
            **super()._handlers(),
            "generate": Handler(self._serve_generate, slow=True),
            "resync": Handler(self._serve_resync),
            "lens": Handler(self._serve_lens, slow=True),
            "preset": Handler(self._serve_preset, slow=True),
            # What changes the prompt is measured, and so the model may run.
            "reply": Handler(self._serve_reply, slow=True),
            "edit": Handler(self._serve_edit, slow=True),
            "alternatives": Handler(self._serve_alternatives, slow=True),
            "fork": Handler(self._serve_fork, slow=True),
            "logits": Handler(self._serve_logits, slow=True),
            "sweep": Handler(self._serve_sweep, slow=True),
            "sweep_plan": Handler(self._serve_sweep_plan, slow=True),
            # A recipe that comes back is measured, and so the model may run.
            "history": Handler(self._serve_history, slow=lambda args: args.get("do") == "take_back"),
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

    def _serve_lens(self, request: Request) -> dict[str, Any]:
        with held_for(self.lm.lock, request):
            shown = self._lens.show(request.args)
        self.publish(lens=shown.model_id)
        return {}

    def _serve_preset(self, request: Request) -> dict[str, Any]:
        do, name = request.args.get("do"), request.args.get("name")
        if do == "save":
            self.save_preset(presets.checked_name(name))
        elif do == "remove":
            self.remove_preset(presets.checked_name(name))
        elif do == "load":
            self.load(presets.text_of(presets.checked_name(name)))
        elif do == "import" and isinstance(request.args.get("text"), str):
            # What a page sends is text, never a path.
            self._take_over(request.args["text"])
        else:
            raise ValueError(
                f"A preset is saved, loaded or removed by name, or imported as text; {shown(do)} was asked for."
            )
        return {}

    def _serve_reply(self, request: Request) -> dict[str, Any]:
        self.reply(request.args.get("row", "steered"))
        return {}

    def _serve_edit(self, request: Request) -> dict[str, Any]:
        self.edit(request.args.get("turn", -1))
        return {}

    def _serve_alternatives(self, request: Request) -> dict[str, Any]:
        row, step = request.args.get("row"), request.args.get("step")
        comparison, name = self._row_of(row)
        with held_for(self.lm.lock, request):
            found = comparison.alternatives(step, name, ALTERNATIVES)  # type: ignore[arg-type]  # it is checked there
        tokens = tokens_json(token for token, _ in found)
        return {"tokens": [{**token, "p": p} for token, (_, p) in zip(tokens, found, strict=True)]}

    def _serve_fork(self, request: Request) -> dict[str, Any]:
        args = request.args
        self._fork(request, args.get("row"), args.get("step"), args.get("token"))
        if request.cancelled.is_set():
            raise Cancelled
        return {}

    def _fork(self, request: Request, row: Any, step: Any, token: Any) -> Comparison:
        comparison, _ = self._row_of(row)
        before = self._shown_run
        assert before is not None
        index = before.names.index(row)
        text = (comparison.baseline, comparison.steered, *comparison.beside)[index]
        fork = Fork(comparison, index, checked_step(step, text), token_id_of(self.lm, token))
        return self._run_to_the_end(request, lambda: PanelRun(self.lm, request, before.inputs, fork, before.forked))

    def _row_of(self, row: Any) -> tuple[Comparison, Any]:
        """The comparison that is shown, and what it calls a row.

        Raises:
            ValueError: nothing was generated, or there is no such row.
        """
        if self.comparison is None or self._shown_run is None:
            raise ValueError("There is no generated text yet: press Generate, then choose one of its tokens.")
        names = self._shown_run.names
        if row not in names:
            raise ValueError(f"The panel shows the rows {', '.join(names)}, but {shown(row)} was asked for.")
        index = names.index(row)
        return self.comparison, row if index < PAIR else index - PAIR

    def _serve_logits(self, request: Request) -> dict[str, Any]:
        inputs = checked_inputs(self._given(request.args), self._features)
        with held_for(self.lm.lock, request):
            self._show_next_token(inputs)
        return {}

    def _serve_sweep_plan(self, request: Request) -> dict[str, Any]:
        """What a sweep would be, and how long it would take: told before it runs."""
        args = request.args
        inputs = checked_inputs(self._given(args), self._features)
        index = _steer_index(inputs, args.get("steer"))
        steer = inputs.recipe.steers[index]
        norm = self._features.norms.get(steer.feature.site)
        usual = usual_strengths(steer, norm)
        wanted = asked_strengths(args) if args.get("from") is not None else usual
        plan = checked_plan(inputs.recipe, index, wanted, args.get("tokens", TOKENS), norm)
        with held_for(self.lm.lock, request):
            seconds = PanelSweep(self.lm, request, inputs, plan).seconds()
        said = {"from": plan.strengths[0], "to": plan.strengths[-1], "count": len(plan.strengths)}
        return said | {"tokens": plan.tokens, "seconds": seconds}

    def _serve_sweep(self, request: Request) -> dict[str, Any]:
        args = request.args
        inputs = checked_inputs(self._given(args), self._features)
        index = _steer_index(inputs, args.get("steer"))
        self._sweep(request, args, index, asked_strengths(args), args.get("tokens", TOKENS))
        if request.cancelled.is_set():
            raise Cancelled
        return {}

    def _sweep(
        self, request: Request, values: Mapping[str, Any], steer: int, strengths: Iterable[float] | None, tokens: int
    ) -> Sweep:
        inputs = checked_inputs(self._given(values), self._features)
        recipe = inputs.recipe
        known = range(-len(recipe), len(recipe))
        norm = self._features.norms.get(recipe.steers[steer].feature.site) if steer in known else None
        plan = checked_plan(recipe, steer, strengths, tokens, norm)
        with held_for(self.lm.lock, request):
            run = PanelSweep(self.lm, request, inputs, plan)
            rows = run.run()
            found = run.found(rows)
        stopped = request.cancelled.is_set()
        result = run.result(None if stopped else found, rows)
        swept = recipe.steers[plan.steer]
        # Of a random direction in the feature's place the slider says nothing.
        says = not stopped and swept.control is None
        op = self._features.op_names.of(swept.feature, swept.op)
        mark = {f"{swept.feature.key} {op}": _mark(result)} if says else {}
        self.publish_together(swept=result, breaks={**self.breaks, **mark})
        return found

    def _serve_history(self, request: Request) -> dict[str, Any]:
        self.history.serve(request.args)
        return {}

    def _show_next_token(self, inputs: Inputs, k: int = SHOWN) -> LogitDifference:
        difference = self.lm.logit_difference(inputs.asks(self.lm), inputs.recipe, k, chat=inputs.chat)
        if not bool(difference.raw.isfinite().all()):
            raise ValueError(
                f"The next token's logits are NaN or infinite under {inputs.recipe!r:.120}: it is too strong for the "
                "model's dtype."
            )
        self.publish(next_token=next_token_json(difference, inputs.shown))
        return difference

    def _given(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The panel's inputs, those that came with a request before those that the traits hold."""
        return {name: values.get(name, getattr(self, name)) for name in _INPUTS}

    def _generate(self, request: Request, values: Mapping[str, Any]) -> Comparison:
        def make() -> PanelRun:
            return PanelRun(self.lm, request, checked_inputs(self._given(values), self._features))

        return self._run_to_the_end(request, make)

    def _run_to_the_end(self, request: Request, make: Callable[[], PanelRun]) -> Comparison:
        try:
            made = make()
            with held_for(self.lm.lock, request, self._say_waiting):
                self._run = run = made
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
        stopped = run.request.cancelled.is_set()
        if not stopped:
            run.request.progress(**run.transcript.progress("scoring"))
            comparison.scores  # noqa: B018 - computed here, in the worker, and kept
        self._show_run(run, comparison, run.result(comparison, scored=not stopped))
        self.publish(status={"state": "stopped" if stopped else "done", "message": ""})
        return comparison

    def _keep_partial(self, run: PanelRun) -> None:
        if run.transcript.steps:
            self._show_run(run, run.partial_comparison(), run.partial_result())

    def _show_run(self, run: PanelRun, comparison: Comparison, result: dict[str, Any]) -> None:
        """Show a run's texts; the lens that is open is of the texts before, so it closes."""
        self._shown_run = run
        self.comparison = self._lens.comparison = comparison
        self.publish(lens="", result=result)
        self.history.record(result, comparison.recipe)

    def _say_waiting(self) -> None:
        self._publish_status("waiting", "Waiting for another run on this model.")

    # What is told of the inputs

    def _asks(self, lm: LanguageModel) -> PromptLike:
        turns = [checked_turn(turn) for turn in self.turns]
        return conversation(lm, self.prompt, self.system.strip(), turns, chat=self.chat)

    def _publish_recipe(self) -> None:
        super()._publish_recipe()
        now = self.recipe.fingerprint
        self.publish(outdated=[i for i, turn in enumerate(self.turns) if turn.get("recipe", "") not in ("", now)])

    def _code(self, recipe: Recipe) -> str:
        settings = {"chat": self.chat} | dict(self.settings)
        asked, draws = checked_beside(self.beside)
        rows = [f"sw.Asked({asked!r})"] if asked else []
        rows += [f"recipe.random_direction({seed})" for seed in range(1, draws + 1) if len(recipe)]
        dictionaries = self._features.dictionaries
        return python_snippet(self.lm.source_code, dictionaries, recipe, self._asks(self.lm), settings, rows)

    def _shown_keys(self) -> set[str]:
        return super()._shown_keys() | ({self.watched} - {""})

    def _state(self) -> dict[str, Any]:
        # The lens is a widget of its own, which a page with this one alone does not hold.
        return super()._state() | {"lens": ""}

    def _publish_status(self, state: str, message: str = "") -> None:
        """Say how a request stands that has no run; another one's run keeps the status line."""
        if self._run is None:
            self.publish(status={"state": state, "message": message})
