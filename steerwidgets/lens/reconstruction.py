"""How well a dictionary gives residuals again: variance unexplained, sparsity, how much of the loss it recovers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from steerwidgets.transformer.hookpoints import on_stream
from steerwidgets.transformer.layout import in_this_thread
from steerwidgets.transformer.residuals import read_residuals

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.sites import Site

MASSIVE: Final = 5.0
"""A token's activation is massive (Sun et al. 2024) above so many times the median norm.

In the embedded model ordinary tokens end at twice the median and massive ones begin at six times, most of them lying
above a hundred times. At the usual ten times one token in 60,000 stays that is on its way there, and dominates an error
that is squared."""
_BATCH: Final = 8
"""Rows that are read at once: their logits are 8 × 128 × 49,152 numbers for the embedded model."""
_CHUNK: Final = 1024


@runtime_checkable
class Reconstructs(Protocol):
    """A dictionary that gives residuals again: an SAE, an MFA."""

    def reconstruct(self, h: Tensor) -> Tensor:
        """What it makes of h, both [..., d_model]."""
        ...


@dataclass(frozen=True)
class Reconstruction:
    """How a dictionary reconstructs residuals.

    Attributes:
        fvu: fraction of variance unexplained over all tokens, `Σ‖h − ĥ‖² / Σ‖h − mean‖²`.
        median_fvu: the median over tokens of `‖h − ĥ‖² / ‖h − mean‖²`.
        l0: features active at a token, on average.
        density: float32 [feature], the share of tokens where each is active.
        tokens: how many tokens were read.
    """

    fvu: float
    median_fvu: float
    l0: float
    density: Tensor
    tokens: int

    @property
    def dead(self) -> float:
        """The share of features that were active at no token."""
        return float((self.density == 0).float().mean())


@dataclass(frozen=True)
class Losses:
    """Mean next-token losses, in nats, of the model as it is and with its residual replaced.

    Attributes:
        clean: nothing replaced.
        spliced: replaced by the dictionary's reconstruction.
        ablated: replaced by the mean of the residuals.
        tokens: how many predictions are averaged.
    """

    clean: float
    spliced: float
    ablated: float
    tokens: int

    @property
    def recovered(self) -> float:
        """The share of the loss that mean ablation costs and the dictionary does not; 1 is perfect."""
        return (self.ablated - self.spliced) / (self.ablated - self.clean)


def counted(norms: Tensor, mask: Tensor) -> Tensor:
    """Which tokens count: those of the mask, without first positions and massive activations.

    Args:
        norms: float [row, position], the residuals' norms.
        mask: bool [row, position].
    """
    keep = mask.clone()
    keep[:, 0] = False
    return keep & (norms <= MASSIVE * norms[keep].median())


def reconstruction(dictionary: Dictionary, residuals: Iterable[Tensor], mean: Tensor) -> Reconstruction:
    """How a dictionary reconstructs residuals, in one pass.

    Args:
        dictionary: an SAE, or whatever else `Reconstructs`.
        residuals: float [token, d_model], in pieces; of tokens that count.
        mean: float32 [d_model], what variance is taken about.
    """
    import torch

    unexplained, variance, fired = [], [], torch.zeros(dictionary.size)
    for piece in residuals:
        for part in torch.split(piece, _CHUNK):
            h = part.float()
            unexplained.append((h - reconstructed(dictionary, h)).square().sum(-1))
            variance.append((h - mean).square().sum(-1))
            fired += (dictionary.encode(h) > dictionary.active_above).sum(0)
    over, total = torch.cat(unexplained), torch.cat(variance)
    tokens = len(over)
    density = fired / tokens
    return Reconstruction(
        float(over.sum() / total.sum()), float((over / total).median()), float(density.sum()), density, tokens
    )


def read_counted(lm: LoadedModel, site: Site, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The residuals of the tokens that count, and which those are.

    Args:
        lm: the model.
        site: where to read.
        tokens: int [row, position], rows of one length.
        mask: bool [row, position], tokens that may count.

    Returns:
        float32 [token, d_model], and bool [row, position].
    """
    import torch

    read = []
    for rows in torch.split(tokens, _BATCH):
        with lm.lock:
            read.append(read_residuals(lm.architecture, rows.tolist(), [site]).values[site])
    h = torch.cat(read)
    keep = counted(h.norm(dim=-1), mask)
    return h[keep], keep


def reconstructed(dictionary: Dictionary, h: Tensor) -> Tensor:
    """What a dictionary makes of h, both [..., d_model].

    Raises:
        ValueError: it is of a kind that reconstructs nothing.
    """
    if not isinstance(dictionary, Reconstructs):
        raise ValueError(
            f"{dictionary!r} holds directions and does not give residuals again, so no variance is explained; give an "
            "SAE or an MFA."
        )
    return dictionary.reconstruct(h)


def losses(lm: LoadedModel, dictionary: Dictionary, tokens: Tensor, keep: Tensor, mean: Tensor) -> Losses:
    """Next-token losses with the dictionary spliced in at its site, with mean ablation, and of the model as it is.

    The residual is replaced at the tokens that count and stays at the others (template tokens, first positions, massive
    activations), in both runs alike. Averaged are the predictions made at tokens that count.

    Args:
        lm: the model.
        dictionary: an SAE, or whatever else `Reconstructs`.
        tokens: int [row, position], rows of one length.
        keep: bool [row, position], tokens that count, as `read_counted` gives them.
        mean: float32 [d_model], what the residual is replaced by in mean ablation.
    """
    import torch

    replacements: dict[str, Callable[[Tensor], Tensor] | None] = {
        "clean": None,
        "spliced": lambda h: reconstructed(dictionary, h),
        "ablated": lambda h: mean.to(h.device).expand_as(h),
    }
    sums = dict.fromkeys(replacements, 0.0)
    for rows, counts in zip(torch.split(tokens, _BATCH), torch.split(keep, _BATCH), strict=True):
        for name, replace in replacements.items():
            sums[name] += _summed_loss(lm, dictionary.site, rows, counts, replace)
    predictions = int(keep[:, :-1].sum())
    return Losses(**{name: total / predictions for name, total in sums.items()}, tokens=predictions)


def _summed_loss(
    lm: LoadedModel, site: Site, tokens: Tensor, keep: Tensor, replace: Callable[[Tensor], Tensor] | None
) -> float:
    import torch

    def edit(stream: Tensor) -> Tensor | None:
        if replace is None:
            return None
        at = keep.to(stream.device)
        changed = stream.clone()
        changed[at] = replace(stream[at].float()).to(stream.dtype)
        return changed

    ids = tokens.to(lm.architecture.input_device)
    with lm.lock, torch.no_grad():
        hook = on_stream(lm.architecture.hookpoint(site), in_this_thread(threading.get_ident(), edit))
        try:
            logits = lm.model(input_ids=ids, use_cache=False).logits
        finally:
            hook.remove()
        predicts = keep[:, :-1].to(logits.device)
        return float(
            torch.nn.functional.cross_entropy(logits[:, :-1][predicts].float(), ids[:, 1:][predicts], reduction="sum")
        )
