"""SteeringPanel: pick features, set their strengths, and read baseline and steered text side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Unpack

from steerwidgets.files.shown import shown
from steerwidgets.generation.sampling import Sampling, SamplingSettings
from steerwidgets.model import LanguageModel
from steerwidgets.steering.recipe import Direction, Recipe, Steer
from steerwidgets.transformer.mistakes import refuse_no_model, wrong
from steerwidgets.widgets.export import STATIC, python_snippet
from steerwidgets.widgets.panel import presets
from steerwidgets.widgets.panel.running import RunningPanel
from steerwidgets.widgets.protocol import Handler, Request
from steerwidgets.widgets.recipe_editor.inputs import checked_beside, checked_turn, conversation
from steerwidgets.widgets.recipe_editor.recipe_widget import FeaturesLike

if TYPE_CHECKING:
    from steerwidgets.transformer.prompts import Message, PromptLike

_LONGEST: Final = 400
"""Of a text in plain sight so many characters are shown."""


class SteeringPanel(RunningPanel):
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
            `SamplingSettings` explains them; each may be set later, as `panel.seed = 3`.

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

    def __getattr__(self, name: str) -> Any:
        """A sampling setting, by the name that the panel was made with."""
        if name in SamplingSettings.__annotations__:
            return self.settings[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.")

    def __setattr__(self, name: str, value: Any) -> None:
        """`panel.max_new_tokens = 12` is what it says, though the settings are one trait."""
        if name in SamplingSettings.__annotations__:
            self.settings = Sampling.of(dict(self.settings) | {name: value}).to_json()
        else:
            super().__setattr__(name, value)

    def _shown_with(self, recipe: Recipe) -> dict[str, Any]:
        first = recipe.steers[0].feature.key if len(recipe) else ""
        return {"watched": self.watched or first}

    def _said(self) -> list[str]:
        rows = self.result.get("rows", [])
        texts = [f"{row['name'].capitalize()}: {_short(row['text'])}" for row in rows]
        return [*super()._said(), f"Prompt: {_short(self.prompt)}", *(texts or ["Nothing was generated yet."])]

    # What a user reads and sets

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
        self.publish_together(turns=self._with_answer(row), prompt="")
        return self.conversation

    def _with_answer(self, row: str) -> list[dict[str, Any]]:
        """The turns of the texts that are shown, and the answer of a row as the last one."""
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
        return [*self.result["turns"], {"role": "user", "content": self.result["prompt"]}, answer]

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

    # Requests of the front-end

    def _handlers(self) -> Mapping[str, Handler]:
        return {
            **super()._handlers(),
            "preset": Handler(self._serve_preset, slow=True),
            # What changes the prompt or the recipe is measured, and so the model may run.
            "reply": Handler(self._serve_reply, slow=True),
            "edit": Handler(self._serve_edit, slow=True),
            "history": Handler(self._serve_history, slow=lambda args: args.get("do") in ("take_back", "import")),
        }

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
        # The page has emptied the prompt itself, and what it holds by now is the next one.
        self.publish(turns=self._with_answer(request.args.get("row", "steered")))
        return {}

    def _serve_edit(self, request: Request) -> dict[str, Any]:
        self.edit(request.args.get("turn", -1))
        return {}

    def _serve_history(self, request: Request) -> dict[str, Any]:
        return self.history.serve(request.args)

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
