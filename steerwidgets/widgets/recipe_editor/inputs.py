"""What the front-end wrote, checked: every mistake is one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.files.fields import Fields
from steerwidgets.generation.conditions import Asked
from steerwidgets.generation.sampling import Sampling
from steerwidgets.steering.condition import condition_from_json
from steerwidgets.steering.fade import Fade
from steerwidgets.steering.positions import Positions
from steerwidgets.steering.random_direction import RandomDirection
from steerwidgets.steering.recipe import Direction, Recipe, Steer
from steerwidgets.transformer import prompts

if TYPE_CHECKING:
    from steerwidgets.generation.conditions import Condition
    from steerwidgets.model import LanguageModel
    from steerwidgets.steering.condition import Condition as TokenCondition
    from steerwidgets.transformer.prompts import PromptLike
    from steerwidgets.widgets.recipe_editor.shelf import FeatureShelf


MOST_RANDOM: Final = 8
"""Rows of random directions beside a pair."""


@dataclass(frozen=True)
class Inputs:
    """What a run depends on.

    Attributes:
        watched: the feature whose activation colours the tokens.
        asked: what a row beside the two is asked for in words; empty for none.
        random: how many rows beside them have random directions in the recipe's place.
        system: the system prompt; empty for the chat template's own.
        turns: the messages before the prompt.
        shown: the panel's own traits as they were, for a result that says what was asked.
    """

    prompt: str
    chat: bool
    sampling: Sampling
    recipe: Recipe
    watched: Direction | None
    shown: Mapping[str, Any]
    asked: str = ""
    random: int = 0
    system: str = ""
    turns: tuple[Mapping[str, str], ...] = ()

    def asks(self, lm: LanguageModel) -> PromptLike:
        """What is put to the model: the prompt, or a conversation that ends with it.

        Raises:
            ValueError: it is longer than any text that the model was made for.
        """
        asked = conversation(lm, self.prompt, self.system, self.turns, chat=self.chat)
        longest = lm.architecture.longest_text
        # Whoever runs it encodes it; a token is a byte at least, so that few have to be counted before.
        if longest is not None and self._bytes > longest // 2:
            lm.architecture.refuse_endless(lm.encode(asked, chat=self.chat).token_ids)
        return asked

    @property
    def _bytes(self) -> int:
        texts = [self.prompt, self.system, *(turn["content"] for turn in self.turns)]
        return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)

    @property
    def beside(self) -> dict[str, Condition]:
        """The rows beside baseline and steered, by name."""
        rows: dict[str, Condition] = {"prompted": Asked(self.asked)} if self.asked else {}
        draws = range(1, self.random + 1) if len(self.recipe) else ()
        return rows | {f"random {seed}": self.recipe.random_direction(seed) for seed in draws}


def checked_inputs(values: Mapping[str, Any], features: FeatureShelf) -> Inputs:
    """The inputs of a run.

    Raises:
        ValueError: one of them is not what it should be.
    """
    prompt = _expect("prompt", values["prompt"], str, "a text")
    if not prompt.strip():
        raise ValueError("The prompt is empty; write something to put to the model.")
    chat = _expect("chat", values["chat"], bool, "true or false")
    settings = _expect("settings", values["settings"], Mapping, "an object of sampling settings")
    recipe = recipe_of(values["steers"], values["positions"], features)
    key = _expect("watched", values["watched"], str, "the key of a feature, or empty")
    watched = features.find(key) if key else next((steer.feature for steer in recipe), None)
    asked, draws = checked_beside(values.get("beside", {}))
    system = _expect("system", values.get("system", ""), str, "a text")
    turns = tuple(checked_turn(turn) for turn in _list("turns", values.get("turns", [])))
    return Inputs(prompt, chat, Sampling.of(settings), recipe, watched, values, asked, draws, system.strip(), turns)


def conversation(
    lm: LanguageModel, prompt: str, system: str, turns: Sequence[Mapping[str, str]], *, chat: bool
) -> PromptLike:
    """A prompt with what stands before it; where no chat template is used, the prompt alone."""
    if not chat or not (system or turns):
        return prompt
    messages = [*({"role": turn["role"], "content": turn["content"]} for turn in turns), _of_user(prompt)]
    return prompts.with_instruction(lm.tokenizer, messages, system, chat=True) if system else messages


def checked_turn(turn: Any) -> dict[str, str]:
    """A message before the prompt.

    Raises:
        ValueError: it is none of the user's or the model's.
    """
    said = Fields(turn, "In the turns", todo="correct it", within="turns.")
    return {"role": said.text("role", choices=("user", "assistant")), "content": said.text("content")}


def _of_user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def checked_beside(value: Any) -> tuple[str, int]:
    """What a row beside a pair is asked for, and how many rows have random directions.

    Raises:
        ValueError: they are no text and no such number.
    """
    said = Fields(value, "In the rows beside", todo="set it again", within="beside.")
    return said.text("asked", "").strip(), said.whole("random", 0, low=0, high=MOST_RANDOM)


def recipe_of(steers: Any, positions: Any, features: FeatureShelf) -> Recipe:
    """The recipe of the steers that are switched on.

    Raises:
        ValueError: a steer or the positions are not what they should be, or the steers contradict each other.
    """
    entries = [_expect("a steer", steer, Mapping, "an object") for steer in _list("steers", steers)]
    shared = _expect("positions", positions, Mapping, "an object")
    return Recipe(tuple(_steer(entry, shared, features) for entry in entries if entry.get("enabled", True)))


def _steer(entry: Mapping[str, Any], shared: Mapping[str, Any], features: FeatureShelf) -> Steer:
    key = _expect("a steer's key", entry.get("key"), str, "the key of a feature")
    op = _expect("a steer's op", entry.get("op"), str, "the name of an op")
    numbers = _expect("a steer's params", entry.get("params", {}), Mapping, "an object of numbers")
    own = entry.get("positions", {}) if shared.get("where") == "mixed" else shared
    control, fading = RandomDirection.from_json(entry.get("control")), Fade.from_json(entry.get("fade"))
    condition, feature = _condition(entry.get("when"), features), features.find(key)
    return Steer(feature, features.op_names.op(op), numbers, _positions(own), control, condition, fading)


def _condition(value: Any, features: FeatureShelf) -> TokenCondition | None:
    """A condition whose features are keys; None where there is none."""
    if value is None:
        return None
    said = Fields(value, "In the condition of a steer", within="when.")
    return condition_from_json(said, lambda compared: features.find(compared.text("feature")))


def _positions(value: Any) -> Positions:
    where = _expect("positions", value, Mapping, "an object")
    _list("positions.indices", where.get("indices", ()))
    _expect("positions.where", where.get("where", "all"), str, "a word such as all")
    return Positions.from_json(where)


def _list(name: str, value: Any) -> Sequence[Any]:
    items: Sequence[Any] = _expect(name, value, (list, tuple), "a list")
    return items


def _expect(name: str, value: Any, kind: Any, expected: str) -> Any:
    if not isinstance(value, kind):
        given = "nothing" if value is None else f"{type(value).__name__} {value!r}"
        raise ValueError(f"{name[0].upper()}{name[1:]} has to be {expected}, but {given[:80]} came.")
    return value
