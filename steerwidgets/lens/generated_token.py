"""The logit lens of one generated token: from the run's kept cache, without a second read of the text before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from steerwidgets.lens.layer_lens import LayerLens
from steerwidgets.lens.logit_lens import Kept, Request, TextSource, checked, fitted, make_lens, token_ids
from steerwidgets.lens.streams import StreamReader
from steerwidgets.transformer import prompts
from steerwidgets.transformer.prompts import Prompt, Token
from steerwidgets.transformer.sites import Site, Stream

if TYPE_CHECKING:
    from steerwidgets.lens.logit_lens import Progress
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
        return StepSource(lm, text, (recipe or None,), request, cache, row, at).lens(request.tracked)
    return TextSource(lm, text, (recipe or None,), lm.known([prompt]), request).lens(request.tracked)


@dataclass(frozen=True, eq=False)
class StepSource:
    """One token of a run that a lens is read of, from what the run left behind.

    Attributes:
        lm: the model.
        prompt: the text up to the token.
        recipes: what steered its row.
        request: what is read.
        cache: what the run left behind.
        row: the text's row in the run.
        step: the token; -1 is the prompt's last.
        kept: its residuals, once they were read.
    """

    lm: LoadedModel
    prompt: Prompt
    recipes: tuple[Recipe | None, ...]
    request: Request
    cache: RunCache
    row: int
    step: int
    kept: Kept | None = None

    def lens(self, tracked: tuple[int, ...], on_progress: Progress | None = None) -> LayerLens:
        """The lens, with these tokens followed."""
        kept = self.kept or self._read()
        return make_lens(replace(self, kept=kept), kept, tracked, on_progress)

    def track(
        self,
        lens: LayerLens,  # noqa: ARG002 - a lens of one row
        token_ids_: Sequence[int | str],
        on_progress: Progress | None = None,
    ) -> LayerLens:
        """The same lens with other tokens followed."""
        return self.lens(token_ids(self.lm, token_ids_), on_progress)

    def tokens(self, ids: Sequence[int]) -> list[Token]:
        """Tokens as a person reads them."""
        return prompts.tokens(self.lm.tokenizer, ids)

    def _read(self) -> Kept:
        self.lm.architecture.refuse_compiled()
        last = Site(self.lm.architecture.layers - 1)
        reader = StreamReader(self.lm, [*self.request.sites, last], None)
        with self.lm.lock, self.cache.steering:
            reader.run(self.cache.inputs(self.step))
        streams = reader.streams()
        unembed = fitted(self.lm, streams)
        mine = {site: value[self.row : self.row + 1].clone() for site, value in streams.values.items()}
        return Kept(replace(streams, values=mine), unembed)


def _whole(lm: LoadedModel, prompt: Prompt, generated: Sequence[int]) -> Prompt:
    special = tuple(i in lm.special_ids for i in generated)
    template = (False,) * len(generated)
    ids = (*prompt.token_ids, *generated)
    return Prompt(ids, prompt.special + special, prompt.template + template, prompt.chat)
