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

LEAST: Final = 0.001
"""Tokens that never have so much probability are left out: most of the largest differences are of tokens that nobody
would ever see, which any change of the residual moves."""

_ROWS: Final = 16
"""Rows of one batch, the unsteered one among them."""


@dataclass(frozen=True, repr=False)
class Effect:
    """The tokens that steering with a feature makes likelier, and less likely, as a mean over some prompts.

    Attributes:
        promoted: the largest mean differences, steered minus unsteered logits, each centred over the vocabulary; of
            the tokens that have a probability of `least` or more after one of the prompts, steered or not.
        suppressed: the smallest, of the same tokens.
        steer: what was steered with.
        is_suggested: whether that strength was seen to work; otherwise it is a default of the feature's kind.
        prompts: how many prompts the mean is over.
        difference: float32 [vocabulary], all of them.
        least: the probability below which a token is left out.
    """

    promoted: TokenValues
    suppressed: TokenValues
    steer: Steer
    is_suggested: bool
    prompts: int
    difference: Tensor
    least: float = LEAST

    @property
    def said(self) -> str:
        """How it was measured, in words."""
        steer, suggested = self.steer, self.is_suggested
        return effect_said(steer.op, steer.parameters, self.prompts, suggested=suggested, least=self.least)

    def __repr__(self) -> str:
        columns = {"promoted": self.promoted, "suppressed": self.suppressed}
        return f"{beside(columns, 'Δ logit')}\n{self.said}"


def effect_said(op: str, numbers: Mapping[str, float | None], prompts: int, *, suggested: bool, least: float) -> str:
    """How an effect was measured, in words."""
    of = f" of tokens that have {least * 100:g} % or more after one of them" if least else ""
    given = ", ".join(f"{value:g}" for value in numbers.values() if value)
    whose = "the suggested strength" if suggested else "a default, not a strength that was seen to work"
    return f"through the model: mean Δ logits after {prompts} prompts{of}, steered by {op}({given}), {whose}"


def effect(
    lm: LoadedModel,
    feature: Direction,
    given: Sequence[PromptLike],
    k: int,
    steer: Steer | None,
    *,
    chat: bool,
    least: float = LEAST,
) -> Effect:
    """See `LanguageModel.effect`."""
    if k < 1:
        raise ValueError(f"effect gives k tokens of either kind, 1 or more, but k={k!r} was given.")
    chosen = suggested_steer(feature) if steer is None else steer
    found = differences(lm, [chosen], given, chat=chat)
    up, down = (
        named(lm, indices[0][kept], values[0][kept])
        for indices, values in (found.most(k, least), found.most(k, least, suppressed=True))
        for kept in [values[0].isfinite()]
    )
    suggested = isinstance(feature, Feature) and feature.suggested is not None and steer is None
    return Effect(up, down, chosen, suggested, len(given), found.mean[0], least)


@dataclass(frozen=True)
class Differences:
    """What several steers do to the next token.

    Attributes:
        mean: float32 [steer, vocabulary], the mean over prompts of the centred differences of the logits.
        likeliest: float32 [steer, vocabulary], the largest probability of each token after any prompt, steered or not.
    """

    mean: Tensor
    likeliest: Tensor

    def most(self, k: int, least: float, *, suppressed: bool = False) -> tuple[Tensor, Tensor]:
        """The tokens with the largest or smallest difference among those that are likely enough somewhere.

        Args:
            k: how many.
            least: the probability that a token has to have after one of the prompts, steered or not.
            suppressed: whether the smallest are asked for.

        Returns:
            Token ids and their differences [steer, k]; where fewer are likely enough, infinite in the places left.
        """
        sign = -1.0 if suppressed else 1.0
        ranked = (sign * self.mean).masked_fill(self.likeliest < least, -float("inf"))
        found = ranked.topk(min(k, ranked.shape[-1]))
        return found.indices, sign * found.values


def differences(
    lm: LoadedModel, steers: Sequence[Steer], given: Sequence[PromptLike], *, chat: bool = False
) -> Differences:
    """What each of some steers does to the next token after some prompts.

    Args:
        lm: the model.
        steers: several, each in a row of one batch.
        given: the prompts.
        chat: whether a string goes through the chat template.
    """
    import torch

    encoded = [lm.encode(prompt, chat=chat) for prompt in given]
    means, likeliest = [], []
    for start in range(0, len(steers), _ROWS - 1):
        recipes = [None, *(Recipe.of(steer) for steer in steers[start : start + _ROWS - 1])]
        total, most = torch.zeros(()), torch.zeros(())
        for prompt in encoded:
            logits = next_token_logits(lm, prompt, recipes)
            raw = logits[1:] - logits[0]
            total = total + raw - raw.mean(-1, keepdim=True)
            probabilities = logits.softmax(-1)
            most = torch.maximum(most, torch.maximum(probabilities[1:], probabilities[0]))
        means.append(total / len(encoded))
        likeliest.append(most)
    return Differences(torch.cat(means), torch.cat(likeliest))
