"""The searches that need more than labels: what fires on a text, what promotes a token, what points the same way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from steerwidgets.dictionaries.activations import Rank, scales, summarised, unit_of, within
from steerwidgets.dictionaries.base import Dictionary
from steerwidgets.dictionaries.nearest import cosines
from steerwidgets.lens.promoting import promotion, promotions, reading_of, token_id_of
from steerwidgets.transformer.model_state import model_state
from steerwidgets.transformer.plain_text import quoted
from steerwidgets.transformer.residuals import Residuals, counted_tokens
from steerwidgets.widgets.recipe_editor import describe
from steerwidgets.widgets.recipe_editor.source import Hits

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from steerwidgets.model import LanguageModel
    from steerwidgets.steering.recipe import Direction
    from steerwidgets.transformer.model_state import ModelState
    from steerwidgets.transformer.prompts import Prompt
    from steerwidgets.transformer.sites import Site
    from steerwidgets.widgets.recipe_editor.query import FindQuery
    from steerwidgets.widgets.recipe_editor.source import LooseSource, Source

_NO_MODEL: Final = (
    "This picker has no model, so it finds features by label, by number and by likeness; to search by {mode}, give it "
    "one: sw.FeaturePicker(lm, dictionaries)."
)

Values = tuple["NDArray[np.float32]", "NDArray[np.int64] | None"]


@dataclass(frozen=True, eq=False)
class Matches:
    """What a search found, and what is said beside it.

    Attributes:
        hits: the features.
        note: what their values mean, and what was left out.
        tokens: the tokens of the text, where a text was read.
    """

    hits: Hits
    note: str = ""
    tokens: tuple[dict[str, Any], ...] | None = None


class ModelSearches:
    """Answers searches that run a model, or go through all directions.

    Args:
        lm: the model; None where there is none.
    """

    def __init__(self, lm: LanguageModel | None) -> None:
        self._lm = lm
        self._read: tuple[Prompt, ModelState, frozenset[Site], Residuals] | None = None
        self._guard = threading.Lock()

    def fires(self, query: FindQuery, sources: Sequence[Source], chosen: Sequence[int]) -> Matches:
        """The features that fire on a text: those with a value above 0.

        Raises:
            ValueError: there is no model, or the span has no token that counts.
        """
        lm = self._model("prompt")
        if not query.query.strip():
            return Matches(Hits.of([]), "Write a text: the features that fire on it are listed.")
        encoded = lm.encode(query.query, chat=False)
        lm.architecture.refuse_endless(encoded.token_ids)
        residuals = self._residuals(encoded, sources, chosen)
        rank: Rank = "mean" if query.rank == "mean" else "maximum"
        span = range(query.span[0], query.span[1] + 1) if query.rank == "span" and query.span else None
        known = [which for which in chosen if _has_statistics(sources[which])]
        # Where nothing is known of any of them there is nothing to be compared with, and raw values are fair.
        normalise = query.normalise and bool(known)
        left_out: list[str] = []
        parts = []
        for which in chosen:
            found = self._fires_in(sources[which], residuals, encoded, rank, span, normalise=normalise)
            if found is None:
                left_out.append(_named(sources[which]))
                continue
            values, where = found
            parts.append((which, np.where(values > 0, values, np.nan).astype(np.float32), where))
        what = ("mean " if rank == "mean" else "largest ") + unit_of("maximum", normalise=normalise)
        over = "in the span" if span is not None else "in the text"
        why = "; left out, since nothing is known of their activations: " + ", ".join(left_out) if left_out else ""
        why += "; not divided, since nothing is known of these features" if query.normalise and not known else ""
        return Matches(Hits.ranked(parts), f"{what} {over}{why}", self._tokens(lm, encoded, residuals))

    def promotes(self, query: FindQuery, sources: Sequence[Source], chosen: Sequence[int]) -> Matches:
        """The features that promote or suppress a token.

        Raises:
            ValueError: there is no model, or the text is no single token.
        """
        lm = self._model("token")
        if not query.query:
            return Matches(Hits.of([]), "Write a token, spaces included: the features that promote it are listed.")
        token_id = token_id_of(lm, _token(lm.tokenizer, query.query))
        reading = reading_of(lm, token_id)
        [token] = lm.tokens([token_id])

        def of_dictionary(dictionary: Dictionary) -> Tensor:
            return promotions(lm, dictionary, reading)

        def of_direction(direction: Direction) -> float:
            return promotion(lm, direction, reading)

        parts, left_out = _scored(sources, chosen, of_dictionary, of_direction)
        signed = [(i, np.where(v > 0 if query.promotes else v < 0, v, np.float32(np.nan)), None) for i, v in parts]
        verb = "adds to" if query.promotes else "takes from"
        note = f"what one unit of the direction {verb} the logit of {quoted(token)} (id {token_id}), before the norm"
        why = f"; left out: {', '.join(left_out)}" if left_out else ""
        return Matches(Hits.ranked(signed, smallest=not query.promotes), note + why)

    def similar(
        self, query: FindQuery, sources: Sequence[Source], chosen: Sequence[int], feature: Direction
    ) -> Matches:
        """The features whose directions have the largest cosines with one, itself left out."""

        def of_direction(direction: Direction) -> float:
            return feature.cosine(direction)

        def of_dictionary(dictionary: Dictionary) -> Tensor:
            return cosines(dictionary, feature)

        parts, left_out = _scored(sources, chosen, of_dictionary, of_direction)
        for which, values in parts:
            if (itself := sources[which].index_of(query.key)) is not None:
                values[itself] = np.nan
        why = f"; at other sites: {', '.join(left_out)}" if left_out else ""
        ranked: list[tuple[int, NDArray[np.float32], None]] = [(which, values, None) for which, values in parts]
        return Matches(Hits.ranked(ranked), f"cosine with {feature.label!r}{why}")

    def _model(self, mode: str) -> LanguageModel:
        if self._lm is None:
            raise ValueError(_NO_MODEL.format(mode=mode))
        return self._lm

    def _residuals(self, encoded: Prompt, sources: Sequence[Source], chosen: Sequence[int]) -> Residuals:
        """The streams of a text; the last text's are kept, so that another ranking needs no model run."""
        sites = frozenset(site for which in chosen for site in _sites(sources[which]))
        lm = self._model("prompt")
        state = model_state(lm.model)
        with self._guard:
            kept = self._read
        if kept is not None and kept[:2] == (encoded, state) and sites <= kept[2]:
            return kept[3]
        residuals = lm.residuals(encoded, sorted(sites))
        with self._guard:
            self._read = encoded, state, sites, residuals
        return residuals

    def _fires_in(
        self,
        source: Source,
        residuals: Residuals,
        encoded: Prompt,
        rank: Rank,
        span: Sequence[int] | None,
        *,
        normalise: bool,
    ) -> Values | None:
        """Every feature's value and where it is; None where activations can't be compared with others'."""

        def mask(site: Site) -> Tensor:
            counted = counted_tokens(residuals, site, encoded)
            return counted if span is None else within(counted, span)

        if source.dictionary is None:
            return None if normalise else _loose_fires(source, residuals, mask, rank)
        dictionary = source.dictionary
        if normalise and not _has_statistics(source):
            return None
        site = dictionary.site
        values, where = summarised(dictionary, residuals.values[site][0], mask(site), rank)
        return (values / scales(dictionary) if normalise else values).numpy(), where.numpy()

    def _tokens(self, lm: LanguageModel, encoded: Prompt, residuals: Residuals) -> tuple[dict[str, Any], ...]:
        sites = list(residuals.values)
        counted = residuals.counted(sites[0])[0].tolist() if sites else [True] * len(encoded)
        return tuple(describe.prompt_json(lm.tokens(encoded.token_ids), encoded, [not each for each in counted]))


def _scored(
    sources: Sequence[Source],
    chosen: Sequence[int],
    of_dictionary: Callable[[Dictionary], Tensor],
    of_direction: Callable[[Direction], float],
) -> tuple[list[tuple[int, NDArray[np.float32]]], list[str]]:
    """A score of every feature, and what has none since it lives where there is none."""
    parts: list[tuple[int, NDArray[np.float32]]] = []
    left_out = []
    for which in chosen:
        source = sources[which]
        if source.dictionary is None:
            parts.append((which, np.array([_or_nan(of_direction, each) for each in source], np.float32)))
            continue
        try:
            parts.append((which, of_dictionary(source.dictionary).float().cpu().numpy().copy()))
        except ValueError:
            left_out.append(_named(source))
    return parts, left_out


def _or_nan(score: Callable[[Direction], float], direction: Direction) -> float:
    try:
        return score(direction)
    except ValueError:
        return float("nan")


def _loose_fires(source: LooseSource, residuals: Residuals, mask: Callable[[Site], Tensor], rank: Rank) -> Values:
    values, where = [], []
    for direction in source:
        read = direction.activation(residuals.values[direction.site][0])
        counted = mask(direction.site).nonzero()[:, 0]
        best = int(counted[int(read[counted].argmax())]) if len(counted) else 0
        values.append(
            float("nan") if not len(counted) else float(read[counted].mean() if rank == "mean" else read[best])
        )
        where.append(best)
    return np.array(values, np.float32), np.array(where, np.int64)


def _has_statistics(source: Source) -> bool:
    return source.dictionary is not None and source.dictionary.statistics is not None


def _sites(source: Source) -> list[Site]:
    return [source.dictionary.site] if source.dictionary is not None else [direction.site for direction in source]


def _named(source: Source) -> str:
    return "single directions" if source.dictionary is None else repr(source.dictionary).strip("<>")


def _token(tokenizer: Any, query: str) -> str | int:
    """A token as it is typed: its text, or `#` and its id where that is no token itself."""
    if not (query.startswith("#") and query[1:].isdecimal()):
        return query
    is_text = len(tokenizer(query, add_special_tokens=False)["input_ids"]) == 1
    return query if is_text else int(query[1:])
