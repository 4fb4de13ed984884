"""What a direction promotes through the unembed, and what a recipe does to the next token's logits."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from steerwidgets.steering.divergence import next_token_logits
from steerwidgets.steering.recipe import Direction
from steerwidgets.transformer import prompts
from steerwidgets.transformer.norms import gained
from steerwidgets.transformer.plain_text import quoted, table
from steerwidgets.transformer.prompts import Token
from steerwidgets.transformer.unembed import without_bias
from steerwidgets.transformer.written_to_residual import OF_RESIDUAL, written

if TYPE_CHECKING:
    from torch import Tensor, nn

    from steerwidgets.steering.recipe import Recipe
    from steerwidgets.transformer.architecture import Architecture
    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import Prompt

TokenValues = tuple[tuple[Token, float], ...]


@dataclass(frozen=True, repr=False)
class TopLogits:
    """The tokens that a direction promotes and suppresses most along the direct path, each with its value.

    The direct path goes from the direction straight to the unembed, as if no block came between: see `lm.effect` for
    what steering with it does through the model.

    Attributes:
        promoted: the largest values.
        suppressed: the smallest.
        of_random: the largest value as a multiple of what one in twenty random directions of the same length reaches;
            below 1 the tokens may be there by chance.
    """

    promoted: TokenValues
    suppressed: TokenValues
    of_random: float | None = None

    @property
    def note(self) -> str:
        """A sentence where the direct path is weak; else empty."""
        return weak_note(self.of_random)

    def __repr__(self) -> str:
        columns = {"promoted": self.promoted, "suppressed": self.suppressed}
        return "\n".join(filter(None, (beside(columns, "direct path"), self.note)))


_RANDOM: Final = 256
_AT_ONCE: Final = 32
_SHARE: Final = 0.95
_reached: Final[weakref.WeakKeyDictionary[nn.Module, float]] = weakref.WeakKeyDictionary()
"""Of each model's unembed, the 95th percentile of the largest scores of random directions of length 1."""


def weak_note(of_random: float | None) -> str:
    """A sentence where the direct path is weak; else empty."""
    if of_random is None or of_random >= 1:
        return ""
    return (
        f"The direct path is weak: its largest score is {of_random:.2g} times what one in twenty random directions of "
        "this length reaches, so these tokens may be chance; lm.effect(feature) tells what it promotes through the "
        "model."
    )


def of_random(lm: LoadedModel, direction: Direction, largest: float) -> float | None:
    """The largest score of a direction as a multiple of what one in twenty random ones of the same length reaches."""
    import torch

    architecture = lm.architecture
    if architecture.unembed not in _reached:
        drawn = torch.randn(_RANDOM, architecture.d_model, generator=torch.Generator().manual_seed(0))
        unit = gained(architecture.final_norm, drawn / drawn.norm(dim=-1, keepdim=True))
        largest_of = [without_bias(architecture.unembed, some).amax(-1) for some in torch.split(unit, _AT_ONCE)]
        _reached[architecture.unembed] = float(torch.cat(largest_of).quantile(_SHARE))
    length = float(_as_written(architecture, direction).vector.norm())
    reached = _reached[architecture.unembed] * length
    return largest / reached if reached > 0 else None


@dataclass(frozen=True, repr=False)
class LogitDifference:
    """Steered minus unsteered logits of the token after a prompt.

    Attributes:
        raw: float32 [vocabulary].
        centred: the same minus its mean, since a softmax ignores what all logits share.
        promoted: the largest differences.
        suppressed: the smallest.
        changed: the largest by absolute value.
        before: the likeliest tokens without steering, each with its probability.
        after: the likeliest tokens with steering. A token can gain much and still be rare; these are not.
        probabilities: float32 [2, vocabulary], of every token before and after.
    """

    raw: Tensor
    centred: Tensor
    promoted: TokenValues
    suppressed: TokenValues
    changed: TokenValues
    before: TokenValues
    after: TokenValues
    probabilities: Tensor

    def __repr__(self) -> str:
        logits = {"promoted": self.promoted, "suppressed": self.suppressed, "changed": self.changed}
        likely = beside({"likely before": self.before, "likely after": self.after}, "probability")
        return f"{beside(logits)}\n\n{likely}"


def top_logits(lm: LoadedModel, direction: Direction, k: int) -> TopLogits:
    """What a direction adds to the logits if it reaches the end of the residual stream as it is.

    `W_U (g ⊙ v)` with the final norm's gain `g`, and `v` centred first where the norm is a LayerNorm. The norm's
    division by the residual's own scale is left out, since no residual is given; so values rank tokens, and are not
    logits.

    A neuron stands for what it writes to the residual stream, and so do the heads' outputs and a transcoder's feature
    (`steerwidgets.transformer.written_to_residual`).

    Args:
        lm: the model.
        direction: a direction; its stored vector counts, so an MFA's component is `μ_k` minus the mixture's mean.
        k: how many tokens of either kind.

    Raises:
        ValueError: the direction has another width than its stream, or writes nothing to the residual stream, or is all
            zeros.
    """
    [scores] = token_scores(lm, [direction])
    top, bottom = scores.topk(k), (-scores).topk(k)
    beyond = of_random(lm, direction, float(top.values[0])) if k else None
    return TopLogits(named(lm, top.indices, top.values), named(lm, bottom.indices, -bottom.values), beyond)


def token_scores(lm: LoadedModel, directions: Sequence[Direction]) -> Tensor:
    """What some directions add to every token's logit, all through the unembed at once; see `top_logits`.

    Returns:
        float32 [direction, vocabulary].

    Raises:
        ValueError: one has another width than its stream, or writes nothing to the residual stream, or is all zeros.
    """
    import torch

    architecture = lm.architecture
    rows = []
    for direction in (_as_written(architecture, each) for each in directions):
        if len(direction.vector) != architecture.d_model:
            raise ValueError(
                f"{direction.label!r} has {len(direction.vector)} numbers at {direction.site}, and only a direction of "
                f"the residual stream ({architecture.d_model}) can be read through the unembed."
            )
        if not bool(direction.vector.any()):
            raise ValueError(f"{direction.label!r} is all zeros and points nowhere, so it promotes nothing.")
        rows.append(direction.vector)
    through = gained(architecture.final_norm, torch.stack(rows))
    return without_bias(architecture.unembed, through).cpu()


def _as_written(architecture: Architecture, direction: Direction) -> Direction:
    """A direction as the residual stream gets it, of the widths that the model has; see `top_logits`.

    Raises:
        ValueError: it has another width than its stream, or writes nothing to the residual stream.
    """
    direction = direction.output
    if direction.site.stream in OF_RESIDUAL:
        return direction
    width = architecture.width(direction.site)
    if len(direction.vector) != width:
        raise ValueError(
            f"{direction.label!r} has {len(direction.vector)} numbers, but {direction.site} of {architecture.name} has "
            f"{width}; it was made for another model."
        )
    if not bool(direction.vector.any()):
        raise ValueError(no_direction(repr(direction.label)))
    found = written(architecture, direction.vector, direction.site)
    if found is None:
        raise ValueError(
            f"{direction.label!r} lives at {direction.site}, which the MLP reads and nothing writes to the residual "
            "stream, so it can't be read through the unembed."
        )
    return Direction(*found, direction.label)


def no_direction(whose: str) -> str:
    """The sentence for what writes in no one direction, as attention heads."""
    return (
        f"{whose} has no direction of its own that it writes, so it can't be read through the unembed; "
        "lm.effect(feature) tells what changing it does through the model."
    )


def logit_difference(lm: LoadedModel, prompt: Prompt, recipe: Recipe, k: int, least: float = 0.0) -> LogitDifference:
    """What a recipe does to the logits of the token after a prompt: both rows in one batch.

    Args:
        lm: the model.
        prompt: the prompt.
        recipe: what steers.
        k: how many tokens of each kind.
        least: only tokens that have this probability before or after.
    """
    import torch

    plain, steered = next_token_logits(lm, prompt, [None, recipe])
    raw = steered - plain
    centred = raw - raw.mean()
    probabilities = torch.stack((plain, steered)).softmax(-1)
    rare = probabilities.amax(0) < least
    count = min(k, int((~rare).sum()))
    up, down, any_way = (each.masked_fill(rare, -math.inf).topk(count) for each in (centred, -centred, centred.abs()))
    return LogitDifference(
        raw,
        centred,
        named(lm, up.indices, up.values),
        named(lm, down.indices, -down.values),
        named(lm, any_way.indices, centred[any_way.indices]),
        _likely(lm, probabilities[0], k),
        _likely(lm, probabilities[1], k),
        probabilities,
    )


def _likely(lm: LoadedModel, probabilities: Tensor, k: int) -> TokenValues:
    top = probabilities.topk(k)
    return named(lm, top.indices, top.values)


def named(lm: LoadedModel, indices: Tensor, values: Tensor) -> TokenValues:
    """Tokens with their values."""
    named = prompts.tokens(lm.tokenizer, indices.tolist())
    return tuple(zip(named, values.tolist(), strict=True))


def beside(columns: dict[str, TokenValues], unit: str = "logit") -> str:
    """Lists of tokens as one table."""
    headers = [header for name in columns for header in (name, unit)]
    rows = [
        [cell for token, value in row for cell in (quoted(token), value)] for row in zip(*columns.values(), strict=True)
    ]
    return table(headers, rows)
