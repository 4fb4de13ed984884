"""One vector for each text: its own words' residuals, pooled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.transformer.prompts import Prompt
from steerwidgets.transformer.residuals import Residuals, read_residuals

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.sites import Site

BATCH: Final = 16
"""Texts that are read at once."""


def pooled(lm: LoadedModel, texts: Sequence[Prompt], site: Site, pool: Callable[[Tensor], Tensor]) -> Tensor:
    """One vector for each text: its own words' residuals at a site, pooled.

    Padding, special and template tokens and attention sinks are left out.

    Args:
        lm: the model.
        texts: the texts as token ids.
        site: where to read.
        pool: takes float32 [token, d_model] to [d_model].

    Returns:
        float32 [text, d_model].

    Raises:
        ValueError: a text has no token of its own words left.
    """
    import torch

    rows: list[Tensor] = []
    for batch in _batches(texts):
        with lm.lock:
            residuals = read_residuals(lm.architecture, [text.token_ids for text in batch], [site])
        for text, h, keep in zip(batch, residuals.values[site], own_words(residuals, site, batch), strict=True):
            words = h[keep]
            if not len(words):
                raise ValueError(f"A text of {len(text)} tokens has no word left to read; give a longer one.")
            rows.append(pool(words))
    return torch.stack(rows)


def mean_difference(lm: LoadedModel, positive: Sequence[Prompt], negative: Sequence[Prompt], site: Site) -> Tensor:
    """Mean over the texts with a concept minus mean over the texts without (DiffMean; Marks and Tegmark 2023).

    Each text is first averaged over its own words, so that long texts count no more than short ones.

    Returns:
        float32 [d_model], not normalised.
    """
    mean: Callable[[Any], Any] = lambda words: words.mean(0)
    return pooled(lm, positive, site, mean).mean(0) - pooled(lm, negative, site, mean).mean(0)


def _batches(texts: Sequence[Prompt]) -> Iterator[Sequence[Prompt]]:
    return (texts[i : i + BATCH] for i in range(0, len(texts), BATCH))


def own_words(residuals: Residuals, site: Site, texts: Sequence[Prompt]) -> Tensor:
    """Bool [text, position]: no padding, no special or template tokens, no attention sinks."""
    import torch

    counted = residuals.counted(site)
    own = torch.zeros_like(counted)
    for row, text in enumerate(texts):
        own[row, -len(text) :] = torch.tensor(text.own)
    return counted & own
