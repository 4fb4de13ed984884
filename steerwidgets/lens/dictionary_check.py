"""Does a dictionary fit this model at this site: what it explains of the residuals there, and at every other site."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from steerwidgets.lens.reconstruction import Losses, counted, losses, reconstructed
from steerwidgets.transformer.plain_text import table
from steerwidgets.transformer.sites import Site, Stream

if TYPE_CHECKING:
    import threading

    from torch import Tensor

    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import Prompt

MOST_TOKENS: Final = 2048
"""Tokens that are read at the dictionary's own site."""
_LONGEST: Final = 128
_SEARCHED: Final = 256
"""Tokens that are read at each of the other sites."""
_STREAMS: Final[tuple[Stream, ...]] = ("resid_post", "resid_mid", "attn_out", "mlp_out")
_CLEARLY: Final = 0.8
"""Another site fits better where it leaves less than this share of what the own one leaves."""
_NOTHING: Final = 0.9
"""A dictionary that leaves more than this share of the variance explains next to nothing."""
_FEW: Final = 8
_LITTLE: Final = 200


@dataclass(frozen=True)
class Fit:
    """Where a dictionary fits.

    Attributes:
        site: where it says that it lives.
        fvu: for each site that was read, the fraction of variance unexplained there, `Σ‖h − ĥ‖² / Σ‖h − mean‖²`.
    """

    site: Site
    fvu: dict[Site, float]

    @property
    def best(self) -> Site:
        """The site where least is left unexplained."""
        return min(self.fvu, key=lambda site: self.fvu[site])

    @property
    def fits(self) -> bool:
        """Whether it explains its own site, and no other one clearly better."""
        own = self.fvu[self.site]
        return own < _NOTHING and self.fvu[self.best] >= _CLEARLY * own

    @property
    def said(self) -> str:
        """The verdict, in a sentence."""
        own, best = self.fvu[self.site], self.best
        if self.fits:
            return f"It fits: {own:.0%} of the variance at {self.site} is left unexplained (FVU {own:.2f})."
        if self.fvu[best] >= _NOTHING:
            return (
                f"It fits nowhere in this model: the best of {len(self.fvu)} sites is {best} with an FVU of "
                f"{self.fvu[best]:.2f}; was it made for another model, or for inputs that are scaled?"
            )
        return (
            f"It seems to have been trained at {best}: FVU {self.fvu[best]:.2f} there, {own:.2f} at {self.site}; load "
            f'it with layer={best.layer}, stream="{best.stream}".'
        )


@dataclass(frozen=True, repr=False)
class DictionaryCheck(Fit):
    """How well a dictionary fits a model.

    Attributes:
        site: where it says that it lives.
        fvu: for each site that was read, the fraction of variance unexplained there, `Σ‖h − ĥ‖² / Σ‖h − mean‖²`.
        dictionary: as it prints.
        l0: features active at a token of its own site, on average.
        dead: the share of features that were active at no token.
        losses: next-token losses, in nats: as the model is, with the reconstruction in place, and with the mean.
        tokens: how many were read at its own site.
    """

    dictionary: str
    l0: float
    dead: float
    losses: Losses
    tokens: int

    @property
    def said(self) -> str:
        """The verdict, in a sentence, and whether it rests on little."""
        few = f" Only {self.tokens} tokens were read: give more texts before you trust it."
        return super().said + few * (self.tokens < _LITTLE)

    def __repr__(self) -> str:
        rows: list[tuple[str, object]] = [
            ("FVU", self.fvu[self.site]),
            ("L0", self.l0),
            ("features silent on these texts", f"{self.dead:.0%}"),
            ("loss recovered", f"{self.losses.recovered:.1%}"),
            (
                "loss, nats",
                f"{self.losses.clean:.2f}; {self.losses.spliced:.2f} with it, {self.losses.ablated:.2f} mean",
            ),
            ("tokens read", self.tokens),
        ]
        return f"{self.dictionary}\n{self.said}\n{table(['', f'at {self.site}'], rows)}"


def check(
    lm: LoadedModel,
    dictionary: Dictionary,
    prompts: Sequence[Prompt],
    on_progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> DictionaryCheck:
    """See `LanguageModel.check`."""
    lm.refuse_steering()
    texts = [prompt.token_ids[:_LONGEST] for prompt in prompts]
    sites = candidates(lm, dictionary)
    own, seen = _Variance(), {site: _Variance() for site in sites}
    kept: list[tuple[Sequence[int], Tensor, Tensor]] = []
    for done, text in enumerate(texts):
        if own.tokens >= MOST_TOKENS or (kept and stop is not None and stop.is_set()):
            break
        searches = seen[sites[0]].tokens < _SEARCHED
        h, keep = _read(lm, text, sites if searches else [dictionary.site])
        if not bool(keep.any()):
            continue
        own.add(dictionary, h[dictionary.site], count=True)
        kept.append((text, keep, h[dictionary.site]))
        for site in sites if searches else ():
            seen[site].add(dictionary, h[site])
        if on_progress is not None:
            on_progress(done + 1, 2 * len(texts))
    if own.tokens < _FEW:
        raise ValueError(
            f"{own.tokens} tokens are left to check with, when first tokens and massive activations are left out; give "
            "a few sentences, as lm.check(sae, [text, text])."
        )
    return DictionaryCheck(
        dictionary=repr(dictionary),
        site=dictionary.site,
        fvu={site: each.fvu for site, each in seen.items()} | {dictionary.site: own.fvu},
        l0=own.active.sum().item() / own.tokens,
        dead=float((own.active == 0).float().mean()),
        losses=_losses(lm, dictionary, kept, own.mean, on_progress, len(texts)),
        tokens=own.tokens,
    )


def fit(lm: LoadedModel, dictionary: Dictionary, texts: Sequence[Sequence[int]], within: int | None = None) -> Fit:
    """Where a dictionary fits, read on few tokens and without losses.

    Args:
        lm: the model.
        dictionary: one that reconstructs.
        texts: of each its token ids.
        within: blocks up or down to which other sites are looked at; by default all.

    Raises:
        ValueError: it has another width than its site.
    """
    own = dictionary.site
    sites = [s for s in candidates(lm, dictionary) if within is None or abs(s.layer - own.layer) <= within]
    seen = {site: _Variance() for site in sites}
    for text in texts:
        h, _ = _read(lm, text, sites)
        for site in sites:
            seen[site].add(dictionary, h[site])
    return Fit(own, {site: each.fvu for site, each in seen.items()})


def candidates(lm: LoadedModel, dictionary: Dictionary) -> list[Site]:
    """The sites of a model that are as wide as a dictionary: its own first.

    Raises:
        ValueError: its own is not.
    """
    parts, own = lm.architecture, dictionary.site
    if parts.width(own) != dictionary.d_model:
        raise ValueError(
            f"{dictionary!r} takes {dictionary.d_model} numbers, but {own} of {parts.name} has {parts.width(own)}; it "
            "was made for another model."
        )
    every = [Site(0, "resid_pre"), *(Site(layer, stream) for layer in range(parts.layers) for stream in _STREAMS)]
    return [own, *(s for s in every if s != own and parts.has(s) and parts.width(s) == dictionary.d_model)]


def _read(lm: LoadedModel, text: Sequence[int], sites: Sequence[Site]) -> tuple[dict[Site, Tensor], Tensor]:
    """The residuals of a text's tokens that count at the first of the sites, and which those are, [1, position]."""
    import torch

    with lm.lock:
        values = lm.residuals(list(text), sites).values
    norms = values[sites[0]].norm(dim=-1)
    keep = counted(norms, torch.ones_like(norms, dtype=torch.bool))
    return {site: values[site][keep] for site in sites}, keep


def _losses(
    lm: LoadedModel,
    dictionary: Dictionary,
    kept: Sequence[tuple[Sequence[int], Tensor, Tensor]],
    mean: Tensor,
    on_progress: Callable[[int, int], None] | None,
    texts: int,
) -> Losses:
    import torch

    found = []
    for done, (text, keep, _) in enumerate(kept):
        if bool(keep[:, :-1].any()):
            found.append(losses(lm, dictionary, torch.tensor([list(text)]), keep, mean))
        if on_progress is not None:
            on_progress(texts + (done + 1) * texts // len(kept), 2 * texts)
    total = sum(each.tokens for each in found)
    weighed = {
        name: sum(getattr(each, name) * each.tokens for each in found) / total
        for name in ("clean", "spliced", "ablated")
    }
    return Losses(**weighed, tokens=total)


@dataclass
class _Variance:
    """Sums over the tokens of a site."""

    tokens: int = 0
    unexplained: float = 0.0
    squares: float = 0.0
    sum: Tensor | None = None
    _active: Tensor | None = field(default=None)

    def add(self, dictionary: Dictionary, h: Tensor, *, count: bool = False) -> None:
        """Take in residuals [token, d_model]; `count` says whether active features are counted too."""
        self.tokens += len(h)
        self.unexplained += float((h - reconstructed(dictionary, h)).square().sum())
        self.squares += float(h.square().sum())
        self.sum = h.sum(0) if self.sum is None else self.sum + h.sum(0)
        if count:
            active = (dictionary.encode(h) > dictionary.active_above).sum(0)
            self._active = active if self._active is None else self._active + active

    @property
    def mean(self) -> Tensor:
        """float32 [d_model]."""
        assert self.sum is not None
        return self.sum / self.tokens

    @property
    def active(self) -> Tensor:
        """At how many tokens each feature was active, [feature]."""
        assert self._active is not None
        return self._active

    @property
    def fvu(self) -> float:
        """`Σ‖h − ĥ‖² / Σ‖h − mean‖²`."""
        variance = self.squares - self.tokens * float(self.mean.square().sum())
        return self.unexplained / variance if variance > 0 else float("inf")
