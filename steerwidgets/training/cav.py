"""Concept directions from texts: difference in means."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from steerwidgets.reading import read_residuals

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.engine import Engine
    from steerwidgets.prompts import Prompt
    from steerwidgets.sites import Site

_BATCH = 16


def pooled(engine: Engine, texts: Sequence[Prompt], site: Site, pool: Callable[[Tensor], Tensor]) -> Tensor:
    """One vector for each text: its own words' residuals at a site, pooled.

    Padding, special and template tokens and attention sinks are left out.

    Args:
        engine: the model.
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
        with engine.lock:
            residuals = read_residuals(engine.architecture, [text.token_ids for text in batch], [site])
        counted = residuals.counted(site)
        for text, h, keep in zip(batch, residuals.values[site], counted, strict=True):
            own = torch.tensor([not (a or b) for a, b in zip(text.special, text.template, strict=True)])
            words = h[-len(text) :][keep[-len(text) :] & own]
            if not len(words):
                raise ValueError(f"A text of {len(text)} tokens has no word left to read; give a longer one.")
            rows.append(pool(words))
    return torch.stack(rows)


def mean_difference(engine: Engine, positive: Sequence[Prompt], negative: Sequence[Prompt], site: Site) -> Tensor:
    """Mean over the texts with a concept minus mean over the texts without (DiffMean; Marks and Tegmark 2023).

    Each text is first averaged over its own words, so that long texts count no more than short ones.

    Returns:
        float32 [d_model], not normalised.
    """
    mean: Callable[[Any], Any] = lambda words: words.mean(0)
    return pooled(engine, positive, site, mean).mean(0) - pooled(engine, negative, site, mean).mean(0)


def _batches(texts: Sequence[Prompt]) -> Iterator[Sequence[Prompt]]:
    return (texts[i : i + _BATCH] for i in range(0, len(texts), _BATCH))
