"""Residuals of many texts, one row for each token of their own words, read in batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

from steerwidgets.dictionaries.mfa.points import Points
from steerwidgets.transformer import prompts
from steerwidgets.transformer.mistakes import checked_whole, what
from steerwidgets.transformer.prompts import Prompt
from steerwidgets.transformer.residuals import read_residuals

if TYPE_CHECKING:
    import threading

    from torch import Tensor

    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.sites import Site

_BATCH: Final = 16


@dataclass(frozen=True)
class Progress:
    """How far a fit is.

    Attributes:
        stage: `reading` counts tokens, `clusters` and `training` count batches.
        done: how many are done.
        total: how many there will be; at most, while reading.
        epoch: the epoch, from 1 on.
        nll: the mean negative log-likelihood of this epoch so far, in nats for each point.
    """

    stage: Literal["reading", "clusters", "training"]
    done: int
    total: int
    epoch: int = 0
    nll: float | None = None


OnProgress = Callable[[Progress], None]


class CollectSettings(TypedDict, total=False):
    """The settings of `collect`, each with its default.

    Attributes:
        bos: True puts a BOS before every text, as TransformerLens does for GPT-2; by default what the tokenizer does.
        keep_sinks: whether attention sinks stay in; by default they are left out.
        max_tokens: how many points at most, 250,000 by default.
        max_length: a longer text is cut after this many tokens, 512 by default.
        cache: a file that holds the residuals instead of memory; it is written anew.
        on_progress: called with a `Progress` after every batch, in this thread.
        stop: set it to end with what was read so far.
    """

    bos: bool | None
    keep_sinks: bool
    max_tokens: int
    max_length: int
    cache: str | Path | None
    on_progress: OnProgress | None
    stop: threading.Event | None


def collect(
    lm: LoadedModel,
    texts: Iterable[Any],
    site: Site,
    *,
    bos: bool | None = None,
    keep_sinks: bool = False,
    max_tokens: int = 250_000,
    max_length: int = 512,
    cache: str | Path | None = None,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
) -> Points:
    """The residuals of texts at a site; padding, special and template tokens are left out, and attention sinks.

    Args:
        lm: the model.
        texts: strings (read raw), messages, token ids or prompts; an iterator is read no further than needed.
        site: where to read.
        bos: True puts a BOS before every text, as TransformerLens does for GPT-2; by default what the tokenizer does.
        keep_sinks: whether attention sinks stay in: position 0 where no BOS stands there, and positions whose norm is
            above ten times the median. The reference leaves out BOS and padding alone.
        max_tokens: how many points at most.
        max_length: a longer text is cut after this many tokens.
        cache: a file that holds the residuals instead of memory; it is written anew, and is in use as long as they are.
        on_progress: called after every batch, in this thread.
        stop: set it to end with what was read so far.

    Raises:
        ValueError: no text has a token of its own words, the tokenizer has no BOS, or a number is not above 0.
        TypeError: one text was given in place of several.
    """
    import torch

    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise TypeError(f"texts are several texts, but {what(texts)} was given; put one in a list.")
    for name, value in (("max_tokens", max_tokens), ("max_length", max_length)):
        checked_whole(name, value, 1)
    rows: Tensor | None = None
    read: list[tuple[int, ...]] = []
    where: list[tuple[int, int]] = []
    not_finite = 0
    encoded = (_encoded(lm, text, bos=bos, max_length=max_length) for text in texts)
    for batch in _batches(encoded):
        if len(where) >= max_tokens or (stop is not None and stop.is_set()):
            break
        with lm.lock:
            residuals = read_residuals(lm.architecture, [text.token_ids for text in batch], [site])
        values = residuals.values[site]
        counted = residuals.real if keep_sinks else residuals.counted(site)
        if rows is None:
            rows = _room(max_tokens, values.shape[-1], cache)
        for text, h, keep in zip(batch, values, counted, strict=True):
            own = torch.tensor([not (a or b) for a, b in zip(text.special, text.template, strict=True)])
            finite = torch.isfinite(h[-len(text) :]).all(-1)
            not_finite += int((own & ~finite).sum())
            positions = (keep[-len(text) :] & own & finite).nonzero()[: max_tokens - len(where), 0]
            rows[len(where) : len(where) + len(positions)] = h[-len(text) :][positions]
            where.extend((len(read), int(position)) for position in positions)
            read.append(text.token_ids)
        if on_progress is not None:
            on_progress(Progress("reading", len(where), max_tokens))
    if rows is None or not where:
        raise ValueError(f"None of the {len(read)} texts read has a token of its own words; give other or longer ones.")
    text, position = torch.tensor(where).T
    about: dict[str, Any] = {"bos": bool(bos), "not_finite": not_finite, "sinks": keep_sinks}
    return Points(rows[: len(where)], site, text, position, tuple(read), lm.tokenizer, **about)


def _room(points: int, width: int, cache: str | Path | None) -> Tensor:
    import torch

    if cache is None:
        return torch.empty(points, width)
    return torch.from_file(str(cache), shared=True, size=points * width, dtype=torch.float32).view(points, width)


def _encoded(lm: LoadedModel, text: Any, *, bos: bool | None, max_length: int) -> Prompt:
    prompt = text if isinstance(text, Prompt) else prompts.encode(lm.tokenizer, text, chat=False)
    if bos:
        prompt = _with_bos(lm, prompt)
    parts = (prompt.token_ids, prompt.special, prompt.template)
    ids, special, template = (part[:max_length] for part in parts)
    return Prompt(ids, special, template, prompt.chat)  # type: ignore[arg-type]  # slices of ids and of flags


def _with_bos(lm: LoadedModel, prompt: Prompt) -> Prompt:
    first = lm.tokenizer.bos_token_id
    if first is None:
        raise ValueError("bos=True puts a BOS before every text, but the tokenizer has none; leave it out.")
    if prompt.token_ids[0] == first:
        return prompt
    return Prompt((first, *prompt.token_ids), (True, *prompt.special), (False, *prompt.template), prompt.chat)


def _batches(texts: Iterable[Prompt]) -> Iterator[Sequence[Prompt]]:
    iterator = iter(texts)
    while batch := list(itertools.islice(iterator, _BATCH)):
        yield batch
