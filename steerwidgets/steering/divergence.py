"""How far steering moves the model: KL and surprise of a finished text, teacher-forced."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from steerwidgets.steering.hooks import SiteChange, Steering, Watch
from steerwidgets.transformer import sinks

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.steering.recipe import Recipe
    from steerwidgets.transformer.layout import Layout
    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import Prompt
    from steerwidgets.transformer.sites import Site

_LOGITS: Final = 2**26
"""So many logits are held at once of each pass: 256 MB of float32."""


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


@dataclass(frozen=True)
class TextScores:
    """Scores of one of several texts after one prompt, in nats, one for each of its tokens.

    Attributes:
        surprise: −log p of each token under the unsteered model.
        kl: KL(row ‖ baseline) of the distribution that each token was drawn from, in nats: of the steered model, or of
            the model after another prompt; zeros where a row is the baseline's.
        ratio: median ‖change‖/‖h‖ over the tokens of prompt and text that are changed, attention sinks left out, at
            the site where it is largest; 0 where nothing is.
    """

    surprise: tuple[float, ...]
    kl: tuple[float, ...]
    ratio: float = 0.0


def teacher_forced_together(
    lm: LoadedModel,
    prompt: Prompt,
    texts: Sequence[Sequence[int]],
    recipes: Sequence[Recipe],
    prompts: Sequence[Prompt] | None = None,
) -> list[TextScores]:
    """Read several texts after one prompt again, all in one batch, with and without what steered each.

    Args:
        lm: the model.
        prompt: what the baseline follows.
        texts: their generated ids.
        recipes: what steered each.
        prompts: what each followed, where some were asked something else; by default the same prompt.

    Returns:
        One for each text; empty scores for a text without tokens.
    """
    lm.refuse_steering()
    longest = max(map(len, texts), default=0)
    if not longest:
        return [TextScores((), ()) for _ in texts]
    rows = max(1, _LOGITS // (longest * lm.architecture.config.get_text_config().vocab_size))
    read = [_Text(*each) for each in zip(texts, recipes, prompts or [prompt] * len(texts), strict=True)]
    batches = (read[first : first + rows] for first in range(0, len(read), rows))
    return list(itertools.chain.from_iterable(_read_again(lm, prompt, batch) for batch in batches))


@dataclass(frozen=True)
class _Text:
    ids: Sequence[int]
    recipe: Recipe
    prompt: Prompt


def _read_again(lm: LoadedModel, prompt: Prompt, texts: Sequence[_Text]) -> list[TextScores]:
    import torch

    steered = [row for row, text in enumerate(texts) if text.ids and len(text.recipe) and text.prompt == prompt]
    ratios = _Ratios([texts[row].recipe for row in steered])
    changed: dict[int, Tensor] = {}
    with lm.lock, torch.no_grad():
        plain = _after(lm, prompt, [text.ids for text in texts]).log_softmax(-1)
        if steered:
            known = lm.known([prompt] * len(steered))
            with Steering(lm.architecture, ratios.recipes, known, ratios.watches()):
                changed = dict(zip(steered, _after(lm, prompt, [texts[row].ids for row in steered]), strict=True))
        for row, text in enumerate(texts):
            if text.ids and text.prompt != prompt:
                with Steering(lm.architecture, [text.recipe], lm.known([text.prompt])):
                    changed[row] = _after(lm, text.prompt, [text.ids])[0]
    found = []
    for row, text in enumerate(texts):
        length = len(text.ids)
        own, ids = plain[row, :length], torch.tensor(list(text.ids), dtype=torch.long, device=plain.device)
        surprise = -own.gather(-1, ids[:, None])[:, 0]
        kl = _kl(changed[row][:length].log_softmax(-1), own) if row in changed else torch.zeros(length)
        ratio = ratios.of(steered.index(row)) if row in steered else 0.0
        found.append(TextScores(tuple(surprise.tolist()), tuple(kl.tolist()), ratio))
    return found


def _after(lm: LoadedModel, prompt: Prompt, texts: Sequence[Sequence[int]]) -> Tensor:
    """The logits that each token of some texts was drawn from, float32 [text, token, vocabulary]."""
    import torch

    longest = max(map(len, texts))
    ids = [[*prompt.token_ids, *text, *[0] * (longest - len(text))] for text in texts]
    mask = [[1] * (len(prompt) + len(text)) + [0] * (longest - len(text)) for text in texts]
    return _last_logits(lm, torch.tensor(ids), longest, torch.tensor(mask))


@dataclass
class _Ratios:
    """‖change‖/‖h‖ of every row of a pass, read at each site as the pass goes through it."""

    recipes: Sequence[Recipe]
    _found: dict[int, list[float]] = field(default_factory=dict)

    def watches(self) -> dict[Site, Watch]:
        sites = {site for recipe in self.recipes for site in recipe.sites}
        return {site: self._watch(site) for site in sites}

    def of(self, row: int) -> float:
        return max(self._found.get(row, ()), default=0.0)

    def _watch(self, site: Site) -> Watch:
        changes = {
            row: SiteChange([steer for steer in recipe if steer.feature.site == site])
            for row, recipe in enumerate(self.recipes)
            if site in recipe.sites
        }

        def watch(stream: Tensor, layout: Layout) -> None:
            norms = stream.float().norm(dim=-1)
            threshold = sinks.sink_threshold(norms, layout.absolute > 0)
            counted = (layout.absolute >= 0) & ~sinks.attention_sinks(norms, layout.absolute, threshold)
            for row, change in changes.items():
                one = slice(row, row + 1)
                length = change(stream[one], layout.rows(one)).norm(dim=-1)
                ratio = (length / norms[one])[counted[one] & (length > 0)]
                if len(ratio):
                    self._found.setdefault(row, []).append(float(ratio.median()))

        return watch


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


def _last_logits(lm: LoadedModel, ids: Tensor, count: int, mask: Tensor | None = None) -> Tensor:
    """The logits that the last `count` tokens were drawn from, float32 [row, count, vocabulary]."""
    return _run(lm, ids, keep=count + 1, mask=mask)[:, -(count + 1) : -1].float()


def _run(lm: LoadedModel, ids: Tensor, *, keep: int, mask: Tensor | None = None) -> Tensor:
    """The model's own logits of the last `keep` positions (of all, where it can't be asked for some)."""
    import torch

    lm.architecture.check_readable(ids.tolist())
    device = lm.architecture.input_device
    takes_slice = "logits_to_keep" in inspect.signature(lm.model.forward).parameters
    wanted = {"logits_to_keep": keep} if takes_slice else {}
    mask = (torch.ones_like(ids) if mask is None else mask).to(device)
    logits: Tensor = lm.model(input_ids=ids.to(device), attention_mask=mask, use_cache=False, **wanted).logits
    return logits


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p ‖ q) of log-probabilities [position, vocabulary]; rounding below 0 is cut off."""
    return (p.exp() * (p - q)).sum(-1).clamp(min=0)
