"""The logit lens of one generated token: from the run's kept cache, without a second read of the text before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from steerwidgets.lens.layer_lens import LayerLens
from steerwidgets.lens.logit_lens import Kept, LensSource, Request, checked, fitted, text_source
from steerwidgets.lens.streams import StreamReader
from steerwidgets.transformer.prompts import Prompt
from steerwidgets.transformer.sites import Site, Stream

if TYPE_CHECKING:
    from steerwidgets.steering.recipe import Recipe
    from steerwidgets.steering.run_cache import RunCache
    from steerwidgets.transformer.loaded import LoadedModel


def generated_lens(
    lm: LoadedModel,
    prompt: Prompt,
    generated: Sequence[int],
    recipe: Recipe | None,
    step: int,
    *,
    row: int,
    cache: RunCache | None,
    k: int = 10,
    track: Sequence[int | str] = (),
    stream: Stream = "resid_post",
    layers: Sequence[int] | None = None,
    drawn_from: bool = False,
) -> LayerLens:
    """The lens of one generated token.

    Args:
        lm: the model.
        prompt: what the text follows.
        generated: its ids.
        recipe: what steered it.
        step: which of them, from 0, or from the end with negative numbers.
        row: the text's row in its run.
        cache: what the run left behind; without it the whole text is read.
        k: how many of the likeliest tokens are kept.
        track: tokens to follow.
        stream: one of `logit_lens.LENS_STREAMS`.
        layers: which blocks; by default all.
        drawn_from: the position before the token, whose last layer is what it was drawn from.

    Raises:
        ValueError: there is no such step, or a setting is out of range.
    """
    count = len(generated)
    if isinstance(step, bool) or not isinstance(step, int) or not -count <= step < count:
        raise ValueError(f"The row has {count} generated tokens, counted from 0; there is no step {step!r}.")
    step %= count
    at = step - 1 if drawn_from else step
    text = _whole(lm, prompt, generated[: step + 1])
    request = checked(lm, len(text), k, stream, layers, [len(prompt) + at], track)
    if cache is not None and cache.is_kept:
        return _step_source(lm, text, recipe or None, request, cache, row, at).lens(request.tracked)
    return text_source(lm, text, (recipe or None,), lm.known([prompt]), request).lens(request.tracked)


def _step_source(
    lm: LoadedModel, text: Prompt, recipe: Recipe | None, request: Request, cache: RunCache, row: int, step: int
) -> LensSource:
    """One token of a run, read from what the run left behind; step -1 is the prompt's last token."""

    def read() -> Kept:
        lm.architecture.refuse_compiled()
        lm.architecture.check_readable([text.token_ids])
        last = Site(lm.architecture.layers - 1)
        reader = StreamReader(lm, [*request.sites, last], None)
        with lm.lock, cache.steering:
            reader.run(cache.inputs(step))
        streams = reader.streams()
        unembed = fitted(lm, streams)
        mine = {site: value[row : row + 1].clone() for site, value in streams.values.items()}
        return Kept(replace(streams, values=mine), unembed)

    return LensSource(lm, text, (recipe,), request, read)


def _whole(lm: LoadedModel, prompt: Prompt, generated: Sequence[int]) -> Prompt:
    special = tuple(i in lm.special_ids for i in generated)
    template = (False,) * len(generated)
    ids = (*prompt.token_ids, *generated)
    return Prompt(ids, prompt.special + special, prompt.template + template, prompt.chat)
