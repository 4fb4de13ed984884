"""How far steering moves the model: KL and surprise of a finished text, teacher-forced."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from steerwidgets.steering.hooks import Steering

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.steering.recipe import Recipe
    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import Prompt


@dataclass(frozen=True)
class Scores:
    """Scores of one generated text, in nats, one for each of its tokens.

    Attributes:
        kl: KL(steered ‖ unsteered) of the distribution that each token was drawn from.
        surprise: -log p of each token under the unsteered model.
        kl_floor: the largest KL between two identical unsteered rows: what arithmetic alone makes.
    """

    kl: tuple[float, ...]
    surprise: tuple[float, ...]
    kl_floor: float


def teacher_forced(lm: LoadedModel, prompt: Prompt, generated: Sequence[int], recipe: Recipe) -> Scores:
    """Read a text once more with and without steering, its own tokens as the prefix of every step.

    Once two texts part, their steps have different prefixes; reading the same tokens both ways keeps them comparable.
    The rows are unsteered, steered, and unsteered again (the floor). Temperature and top-k play no part.

    Args:
        lm: the model.
        prompt: the prompt of the text.
        generated: the ids that followed it.
        recipe: what steered it.
    """
    import torch

    if not generated:
        return Scores((), (), 0.0)
    lm.refuse_steering()
    ids = torch.tensor([[*prompt.token_ids, *generated]]).expand(3, -1)
    known = lm.known([prompt] * 3)
    with lm.lock, torch.no_grad(), Steering(lm.architecture, [None, recipe, None], known):
        logits = _last_logits(lm, ids, len(generated))
    plain, steered, again = (row.log_softmax(-1) for row in logits)
    surprise = -plain.gather(-1, torch.tensor(list(generated), device=plain.device)[:, None])[:, 0]
    return Scores(tuple(_kl(steered, plain).tolist()), tuple(surprise.tolist()), float(_kl(again, plain).max()))


def surprises(lm: LoadedModel, prompt: Prompt, texts: Sequence[Sequence[int]]) -> list[float]:
    """The mean of -log p of the tokens of several texts after one prompt, under the unsteered model.

    Args:
        lm: the model.
        prompt: what they followed.
        texts: their generated ids.

    Returns:
        Nats, one for each text; NaN for a text without tokens.
    """
    import torch

    longest = max(map(len, texts), default=0)
    ids = torch.tensor([[*prompt.token_ids, *text, *[0] * (longest - len(text))] for text in texts])
    with lm.lock, torch.no_grad():
        logs = _last_logits(lm, ids, longest).log_softmax(-1) if longest else None
    means = []
    for row, text in enumerate(texts):
        own = [] if logs is None else logs[row, range(len(text)), list(text)].tolist()
        means.append(-sum(own) / len(own) if own else float("nan"))
    return means


def next_token_logits(lm: LoadedModel, prompt: Prompt, recipes: Sequence[Recipe | None]) -> Tensor:
    """The logits of the token after a prompt, one row for each recipe, all in one batch.

    Returns:
        float32 [recipe, vocabulary], on the CPU.
    """
    import torch

    lm.refuse_steering()
    ids = torch.tensor([list(prompt.token_ids)]).expand(len(recipes), -1)
    known = lm.known([prompt] * len(recipes))
    with lm.lock, torch.no_grad(), Steering(lm.architecture, list(recipes), known):
        return _run(lm, ids, keep=1)[:, -1].float().cpu()


def _last_logits(lm: LoadedModel, ids: Tensor, count: int) -> Tensor:
    """The logits that the last `count` tokens were drawn from, float32 [row, count, vocabulary]."""
    return _run(lm, ids, keep=count + 1)[:, -(count + 1) : -1].float()


def _run(lm: LoadedModel, ids: Tensor, *, keep: int) -> Tensor:
    """The model's own logits of the last `keep` positions (of all, where it can't be asked for some)."""
    import torch

    lm.architecture.check_readable(ids.tolist())
    device = lm.architecture.input_device
    takes_slice = "logits_to_keep" in inspect.signature(lm.model.forward).parameters
    wanted = {"logits_to_keep": keep} if takes_slice else {}
    mask = torch.ones_like(ids).to(device)
    logits: Tensor = lm.model(input_ids=ids.to(device), attention_mask=mask, use_cache=False, **wanted).logits
    return logits


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p ‖ q) of log-probabilities [position, vocabulary]; rounding below 0 is cut off."""
    return (p.exp() * (p - q)).sum(-1).clamp(min=0)
