"""What a heatmap of a model reads: a prompt, or a prompt with the text that was generated from it.

Generated text is read without any steering, whatever made it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from steerwidgets.generation.comparison import Comparison
from steerwidgets.generation.rows import Row
from steerwidgets.transformer.prompts import Prompt

if TYPE_CHECKING:
    from steerwidgets.model import LanguageModel
    from steerwidgets.transformer.prompts import PromptLike


@dataclass(frozen=True)
class HeatSource:
    """A whole text as token ids, and where it comes from.

    Attributes:
        text: all of its tokens.
        prompt_length: how many of them are the prompt's; those after it were generated.
        origin: what it is, as a reader sees it; "" for a text that the user gave.
        provenance: how it was generated.
    """

    text: Prompt
    prompt_length: int
    origin: str
    provenance: dict[str, str]

    @classmethod
    def of(cls, lm: LanguageModel, given: PromptLike | Prompt | Row | Comparison, *, chat: bool) -> HeatSource:
        """A prompt, a generated row, or a comparison, of which the steered row is taken.

        Args:
            lm: whose tokenizer makes tokens of a prompt.
            given: what the user gave.
            chat: whether a string goes through the chat template.

        Raises:
            ValueError: the prompt is empty, or needs a chat template that the tokenizer lacks.
            TypeError: it is none of these.
        """
        if isinstance(given, Comparison):
            settings = ", ".join(f"{name}={value}" for name, value in given.sampling.to_json().items())
            return _of_row(lm, given.steered, {"sampling": settings})
        if isinstance(given, Row):
            return _of_row(lm, given, {})
        prompt = given if isinstance(given, Prompt) else lm.encode(given, chat=chat)
        return cls(prompt, len(prompt), "", {})


def _of_row(lm: LanguageModel, row: Row, provenance: dict[str, str]) -> HeatSource:
    prompt, recipe, ids = row.plan.prompt, row.plan.recipe, row.token_ids
    text = Prompt(
        (*prompt.token_ids, *ids),
        (*prompt.special, *(i in lm.engine.special_ids for i in ids)),
        (*prompt.template, *(False for _ in ids)),
        chat=prompt.chat,
    )
    if not len(recipe):
        origin = "text generated without steering"
        return HeatSource(text, len(prompt), origin, {"text": origin, **provenance})
    # Activations that were just pushed would show the push: the finished text is read by the model as it is.
    origin = "steered text, read without steering"
    return HeatSource(text, len(prompt), origin, {"text": origin, "recipe": recipe.to_json(), **provenance})
