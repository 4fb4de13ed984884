"""Conditions of one prompt: what steers a row, or what it is asked instead; each becomes the plan of a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steerwidgets.calls import tells_calls
from steerwidgets.generation.rows import Plan
from steerwidgets.steering.recipe import Recipe, Steer
from steerwidgets.transformer import prompts
from steerwidgets.transformer.mistakes import wrong

if TYPE_CHECKING:
    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import PromptLike


@tells_calls("sw.Asked", "asked")
@dataclass(frozen=True)
class Asked:
    """The row that steering has to beat: unsteered, with an instruction in its system prompt.

    The instruction follows what stands in the system prompt already and takes the place of one that the chat template
    would put there by itself. Where the template takes none, it stands before the first message's words; a text that
    goes through no template begins with it.

    Args:
        instruction: what is asked for, in words.

    Raises:
        TypeError: it is no text.
        ValueError: it is empty.

    Example:
        >>> rows = lm.sweep("Name a city.", [None, sw.Asked("Talk about the sea.")], max_new_tokens=3)
        >>> "Talk about the sea." in lm.tokenizer.decode(rows[1].plan.prompt.token_ids)
        True
    """

    instruction: str

    def __post_init__(self) -> None:
        given: Any = self.instruction
        if not isinstance(given, str):
            raise wrong("sw.Asked", "an instruction", given, 'say it in words: sw.Asked("Talk about the sea.")')
        if not given.strip():
            raise ValueError('The instruction of sw.Asked is empty; say it in words: sw.Asked("Talk about the sea.").')


Condition = Recipe | Steer | Iterable[Steer] | Asked | None
"""What makes one row different from another: steering, an instruction, or nothing (the baseline)."""


def plans(
    lm: LoadedModel,
    prompt: PromptLike,
    conditions: Iterable[Condition] | Condition,
    *,
    chat: bool | None = None,
    template: Mapping[str, Any] | None = None,
) -> list[Plan]:
    """The rows that conditions make of a prompt, one for each; a single condition makes one."""
    given: Any = conditions
    several = [given] if isinstance(given, Recipe | Steer | Asked) or not isinstance(given, Iterable) else list(given)
    return [plan(lm, prompt, each, chat=chat, template=template) for each in several]


def plan(
    lm: LoadedModel,
    prompt: PromptLike,
    condition: Condition,
    *,
    chat: bool | None = None,
    template: Mapping[str, Any] | None = None,
) -> Plan:
    """The row that a condition makes of a prompt.

    Args:
        lm: the model.
        prompt: a string, messages, or token ids.
        condition: what steers it, or what is asked.
        chat: whether a string goes through the chat template; by default where the tokenizer has one.
        template: settings of the chat template's own.

    Raises:
        ValueError: the prompt is empty, or an instruction can't be put into it.
        TypeError: it is no prompt, or no condition.
    """
    settings = dict(template or {})
    if not isinstance(condition, Asked):
        return Plan(lm.encode(prompt, chat=chat, **settings), Recipe.of(condition))
    templated = lm.has_chat_template if chat is None else chat
    asked = prompts.with_instruction(lm.tokenizer, prompt, condition.instruction, chat=templated, template=settings)
    return Plan(lm.encode(asked, chat=templated, **settings), Recipe())
