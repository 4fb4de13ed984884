"""What steering with a feature does to the next token's logits: through the model, not along the direct path alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from steerwidgets.lens.top_logits import TokenValues, beside, named
from steerwidgets.steering.divergence import next_token_logits
from steerwidgets.steering.recipe import Direction, Feature, Recipe, Steer
from steerwidgets.steering.suggested import suggested_steer

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import PromptLike

NEUTRAL: Final = (
    "From my experience,",
    "Yesterday I saw a",
    "I would like to tell you about the",
    "The most important thing is",
    "She looked at the",
    "It is all about",
)
"""Beginnings that leave open what comes next, and ask for different sorts of words."""

_ROWS: Final = 16
"""Rows of one batch, the unsteered one among them."""


@dataclass(frozen=True, repr=False)
class Effect:
    """The tokens that steering with a feature makes likelier, and less likely, as a mean over some prompts.

    Attributes:
        promoted: the largest mean differences, steered minus unsteered logits, each centred over the vocabulary.
        suppressed: the smallest.
        steer: what was steered with.
        is_suggested: whether that strength was seen to work; otherwise it is a default of the feature's kind.
        prompts: how many prompts the mean is over.
        difference: float32 [vocabulary], all of them.
    """

    promoted: TokenValues
    suppressed: TokenValues
    steer: Steer
    is_suggested: bool
    prompts: int
    difference: Tensor

    @property
    def said(self) -> str:
        """How it was measured, in words."""
        return effect_said(self.steer.op, self.steer.parameters, self.prompts, suggested=self.is_suggested)

    def __repr__(self) -> str:
        columns = {"promoted": self.promoted, "suppressed": self.suppressed}
        return f"{beside(columns, 'Δ logit')}\n{self.said}"


def effect_said(op: str, numbers: Mapping[str, float | None], prompts: int, *, suggested: bool) -> str:
    """How an effect was measured, in words."""
    given = ", ".join(f"{value:g}" for value in numbers.values() if value)
    whose = "the suggested strength" if suggested else "a default, not a strength that was seen to work"
    return f"through the model: mean Δ logits after {prompts} prompts, steered by {op}({given}), {whose}"


def effect(
    lm: LoadedModel, feature: Direction, given: Sequence[PromptLike], k: int, steer: Steer | None, *, chat: bool
) -> Effect:
    """See `LanguageModel.effect`."""
    if k < 1:
        raise ValueError(f"effect gives k tokens of either kind, 1 or more, but k={k!r} was given.")
    chosen = suggested_steer(feature) if steer is None else steer
    [difference] = differences(lm, [chosen], given, chat=chat)
    up, down = difference.topk(k), (-difference).topk(k)
    suggested = isinstance(feature, Feature) and feature.suggested is not None and steer is None
    return Effect(
        named(lm, up.indices, up.values),
        named(lm, down.indices, -down.values),
        chosen,
        suggested,
        len(given),
        difference,
    )


def differences(lm: LoadedModel, steers: Sequence[Steer], given: Sequence[PromptLike], *, chat: bool = False) -> Tensor:
    """The mean centred differences of the logits after some prompts that each steer makes.

    Args:
        lm: the model.
        steers: several, each in a row of one batch.
        given: the prompts.
        chat: whether a string goes through the chat template.

    Returns:
        float32 [steer, vocabulary].
    """
    import torch

    encoded = [lm.encode(prompt, chat=chat) for prompt in given]
    parts = []
    for start in range(0, len(steers), _ROWS - 1):
        recipes = [None, *(Recipe.of(steer) for steer in steers[start : start + _ROWS - 1])]
        total = torch.zeros(())
        for prompt in encoded:
            logits = next_token_logits(lm, prompt, recipes)
            raw = logits[1:] - logits[0]
            total = total + raw - raw.mean(-1, keepdim=True)
        parts.append(total / len(encoded))
    return torch.cat(parts)
