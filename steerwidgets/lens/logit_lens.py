"""The logit lens: what the model would say next if each layer were its last, steered and unsteered."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict, get_args

from steerwidgets.lens.cells import DifferenceCells, Reduced, reduce_cells
from steerwidgets.lens.fitted import FittedLens, lens_of
from steerwidgets.lens.layer_lens import DirectPath, LayerLens, LensDifference, TokenChanges, direct_paths
from steerwidgets.lens.streams import Streams, read_text
from steerwidgets.steering.recipe import Recipe
from steerwidgets.transformer import prompts
from steerwidgets.transformer.mistakes import indices
from steerwidgets.transformer.prompts import Prompt, Token
from steerwidgets.transformer.sites import Site, Stream
from steerwidgets.transformer.unembed import Unembed

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.transformer.layout import Known
    from steerwidgets.transformer.loaded import LoadedModel

KEPT_BYTES: Final = 256 * 2**20
"""Residuals up to this size are kept with a lens, so that other tokens can be tracked without running the model."""
LENS_STREAMS: Final[tuple[Stream, ...]] = ("resid_post", "resid_pre", "attn_out", "mlp_out")
"""The streams that a lens reads."""

Progress = Callable[[int, int], None]


class BlockSettings(TypedDict, total=False):
    """Which streams a lens reads.

    Attributes:
        stream: `resid_post` (the default), `resid_pre`, `attn_out` or `mlp_out`.
        layers: which blocks, counted from 0; by default all.
    """

    stream: Stream
    layers: Sequence[int] | None


class LensSettings(BlockSettings, total=False):
    """The settings of a logit lens, each with its default.

    Attributes:
        stream: `resid_post` (the default), `resid_pre`, `attn_out` or `mlp_out`.
        layers: which blocks, counted from 0; by default all.
        k: how many of the likeliest tokens are kept of each cell, 10 by default.
        positions: which positions, negative ones from the end; by default all.
        track: tokens to follow through the blocks: ids, or strings that the tokenizer makes one token of.
        on_progress: called with the cells done and all of them; what it raises ends the work.
        lens: a tuned lens or a Jacobian lens, or the path of one; by default the logit lens.
    """

    k: int
    positions: Sequence[int] | None
    track: Sequence[int | str]
    on_progress: Progress | None
    lens: FittedLens | str | Path | None


@dataclass(frozen=True)
class Request:
    """What a lens is asked to read.

    Attributes:
        k: tokens of each cell.
        stream: which stream.
        layers: the blocks, ascending.
        positions: the positions, counted from 0.
        tracked: ids of tokens to follow.
        fitted: the lens by which it is read; None for the logit lens.
    """

    k: int
    stream: Stream
    layers: tuple[int, ...]
    positions: tuple[int, ...]
    tracked: tuple[int, ...]
    fitted: FittedLens | None = None

    @property
    def sites(self) -> list[Site]:
        """What has to be read of the model."""
        return [Site(layer, self.stream) for layer in self.layers]


def logit_lens(
    lm: LoadedModel,
    prompt: Prompt,
    recipe: Recipe | None,
    known: Known,
    *,
    k: int = 10,
    stream: Stream = "resid_post",
    layers: Sequence[int] | None = None,
    positions: Sequence[int] | None = None,
    track: Sequence[int | str] = (),
    on_progress: Progress | None = None,
    lens: FittedLens | str | Path | None = None,
) -> LayerLens:
    """The logit lens of a text; with a recipe, steered and baseline read as two rows of one batch.

    Args:
        lm: the model.
        prompt: the text.
        recipe: what steers, or None.
        known: what is known of the text: one prompt length, special ids, template positions of one row.
        k: how many of the likeliest tokens are kept of each cell.
        stream: one of `LENS_STREAMS`.
        layers: which blocks; by default all.
        positions: which positions, negative ones from the end; by default all.
        track: ids of tokens to follow, or strings that the tokenizer makes one token of.
        on_progress: called with the cells done and all of them; what it raises ends the work.
        lens: a fitted lens or the path of one; None for the logit lens.

    Raises:
        ValueError: a setting is out of range, or the recipe or the lens does not fit the model.
        CompiledModelError: the model is compiled.
    """
    request = checked(lm, len(prompt), k, stream, layers, positions, track)
    if (fitted_lens := lens_of(lens)) is not None:
        fitted_lens.check(lm.architecture, request.sites)
        request = replace(request, fitted=fitted_lens)
    _refuse_too_long(lm, prompt)
    rows = (None, recipe) if recipe else (None,)
    source = text_source(lm, prompt, rows, known, request)
    return source.lens(request.tracked, on_progress)


def checked(
    lm: LoadedModel,
    length: int,
    k: int,
    stream: str,
    layers: Sequence[int] | None,
    positions: Sequence[int] | None,
    track: Sequence[int | str],
) -> Request:
    """A request whose numbers make sense.

    Raises:
        ValueError: one does not; the message says what may be asked for.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"k counts the likeliest tokens of each cell, 1 or more; {k!r} was given.")
    if stream not in LENS_STREAMS:
        raise ValueError(f"A lens reads one of the streams {', '.join(LENS_STREAMS)}; {stream!r} was given.")
    count = lm.architecture.layers
    return Request(
        k,
        next(each for each in get_args(Stream) if each == stream),
        indices(layers, count, "layers", f"{lm.architecture.name} has {count} blocks"),
        text_indices(positions, length),
        token_ids(lm, track),
    )


def token_ids(lm: LoadedModel, given: Sequence[int | str]) -> tuple[int, ...]:
    """Ids of tokens that a user names by id or by text.

    Raises:
        ValueError: an id is outside the vocabulary, or a string is not one token.
    """
    if isinstance(given, str):
        given = (given,)
    return tuple(dict.fromkeys(token_id(lm, each) for each in given))


def token_id(lm: LoadedModel, given: int | str) -> int:
    """The id of a token that a user names by id or by text.

    Raises:
        ValueError: the id is outside the vocabulary, or the string is not one token.
    """
    if isinstance(given, str):
        found = [int(i) for i in lm.tokenizer(given, add_special_tokens=False)["input_ids"]]
        if len(found) != 1:
            pieces = [f"{token.text!r} ({token.id})" for token in lm.tokens(found)]
            said = f": {', '.join(pieces[:6])}{'…' * (len(pieces) > 6)}" if pieces else ""
            raise ValueError(
                f"{given!r} is {len(found)} tokens to this tokenizer{said}; one is followed at a time, so give one of "
                "them, as text or by its id."
            )
        return found[0]
    size = int(lm.architecture.config.vocab_size)
    try:
        number = int(given)
    except (TypeError, ValueError):
        raise ValueError(f"A token is named by its id or its text; {given!r} was given.") from None
    if isinstance(given, bool) or number != given or not 0 <= number < size:
        raise ValueError(f"The token id {given!r} is outside the vocabulary, which goes from 0 to {size - 1}.")
    return number


@dataclass(frozen=True, eq=False)
class LensSource:
    """What lenses are made from: reads once, and again only where its residuals were too large to keep.

    Attributes:
        lm: the model.
        prompt: the text.
        recipes: what steers each row: None, and the recipe where there is one.
        request: what is read.
        read: reads it.
        kept: residuals of an earlier reading.
    """

    lm: LoadedModel
    prompt: Prompt
    recipes: tuple[Recipe | None, ...]
    request: Request
    read: Callable[[], Kept]
    kept: Kept | None = None

    def lens(self, tracked: tuple[int, ...], on_progress: Progress | None = None) -> LayerLens:
        """The lens, with these tokens followed."""
        kept = self.kept or self.read()
        source = replace(self, kept=kept) if kept.size <= KEPT_BYTES else self
        return make_lens(source, kept, tracked, on_progress)

    def track(self, row: int, given: Sequence[int | str], on_progress: Progress | None = None) -> LayerLens:
        """The lens of a row with other tokens followed; a pair's baseline was read with the steered row."""
        made = self.lens(token_ids(self.lm, given), on_progress)
        return made.baseline if row == 0 and made.baseline is not None else made


def text_source(
    lm: LoadedModel, prompt: Prompt, recipes: tuple[Recipe | None, ...], known: Known, request: Request
) -> LensSource:
    """A text, read in one pass with a row for each recipe."""

    def read() -> Kept:
        last = Site(lm.architecture.layers - 1)
        columns = None if len(request.positions) == len(prompt) else request.positions
        of_rows = replace(known, template=known.template * len(recipes), roles=known.roles * len(recipes))
        streams = read_text(lm, prompt.token_ids, recipes, of_rows, [*request.sites, last], columns)
        return Kept(streams, fitted(lm, streams))

    return LensSource(lm, prompt, recipes, request, read)


@dataclass(frozen=True)
class Kept:
    """Residuals of a run, and the unembed that fits the model's own logits."""

    streams: Streams
    unembed: Unembed

    @property
    def size(self) -> int:
        """Their bytes."""
        return sum(each.numel() * each.element_size() for each in self.streams.values.values())


def fitted(lm: LoadedModel, streams: Streams) -> Unembed:
    """The model's unembed, checked against its own logits the first time that a pass gives them."""
    unembed = Unembed(lm.architecture)
    if streams.logits is not None:
        unembed.fit(streams.ends[0], streams.logits[0])
    elif (end := lm.architecture.findings.end) is not None:
        unembed.fit(*end)
    return unembed


def make_lens(source: LensSource, kept: Kept, tracked: tuple[int, ...], on_progress: Progress | None) -> LayerLens:
    """A lens from residuals: of one row, or of a baseline and a steered one."""
    request, lm = source.request, source.lm
    compare = len(source.recipes) > 1
    streams, unembed = kept.streams, kept.unembed
    last = Site(lm.architecture.layers - 1)
    final = streams.values[last]
    with lm.lock:
        reduced = reduce_cells(
            unembed,
            [_carried(request, streams.values[site], site, lm.architecture.layers) for site in request.sites],
            final,
            k=request.k,
            tracked=tracked,
            compare=compare,
            final_index=request.sites.index(last) if last in request.sites else None,
            on_progress=on_progress,
        )
        injected = streams.injected if compare else ()
        direct = direct_paths(lm.architecture, unembed, injected, final[-1], request.k, tracked)
    tokens = tuple(prompts.tokens(lm.tokenizer, source.prompt.token_ids))
    rows = [_row(source, tokens, reduced, row, tracked) for row in range(len(source.recipes))]
    if reduced.difference is None:
        return rows[0]
    return replace(rows[-1], baseline=rows[0], difference=_difference(rows, reduced.difference, direct))


def _carried(request: Request, h: Tensor, site: Site, layers: int) -> Tensor:
    """A residual as it is unembedded: itself for the logit lens."""
    return h if request.fitted is None else request.fitted.transport(h, site, layers)


def _row(
    source: LensSource, tokens: tuple[Token, ...], reduced: Reduced, row: int, tracked: tuple[int, ...]
) -> LayerLens:
    cells = reduced.cells
    request = source.request
    return LayerLens(
        prompt=source.prompt,
        tokens=tokens,
        layers=request.layers,
        stream=request.stream,
        positions=request.positions,
        recipe=source.recipes[row],
        token_ids=cells.token_ids[row],
        log_probs=cells.log_probs[row],
        entropy=cells.entropy[row],
        kl=cells.kl[row],
        tracked=tracked,
        tracked_log_probs=cells.tracked_log_probs[row],
        tracked_ranks=cells.tracked_ranks[row],
        answers=reduced.answers[row],
        reading="logit lens" if request.fitted is None else request.fitted.kind,
        _lm=source.lm,
        _track=functools.partial(source.track, row),
    )


def _difference(rows: Sequence[LayerLens], cells: DifferenceCells, direct: tuple[DirectPath, ...]) -> LensDifference:
    plain, steered = rows
    return LensDifference(
        rises=TokenChanges(cells.rise_ids, cells.rises),
        falls=TokenChanges(cells.fall_ids, cells.falls),
        promoted=TokenChanges(cells.promoted_ids, cells.promoted),
        suppressed=TokenChanges(cells.suppressed_ids, cells.suppressed),
        d_top=cells.d_top,
        entropy=steered.entropy - plain.entropy,
        kl=steered.kl - plain.kl,
        tracked_log_probs=steered.tracked_log_probs - plain.tracked_log_probs,
        tracked_ranks=steered.tracked_ranks - plain.tracked_ranks,
        steered_sites=steered.recipe.sites if steered.recipe is not None else (),
        direct=direct,
    )


def text_indices(positions: Sequence[int] | None, length: int) -> tuple[int, ...]:
    """Ascending positions of a text of some length."""
    return indices(positions, length, "positions", f"the text has {length} tokens")


def _refuse_too_long(lm: LoadedModel, prompt: Prompt) -> None:
    limit = lm.architecture.context_limit
    if limit is not None and len(prompt) > limit:
        raise ValueError(
            f"The text has {len(prompt)} tokens, and {lm.architecture.name} has learned {limit} positions; shorten it."
        )
