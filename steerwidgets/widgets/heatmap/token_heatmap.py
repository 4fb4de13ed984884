"""TokenHeatmap: text as exact tokens, coloured by activations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypedDict, Unpack, cast

import numpy as np
import traitlets

from steerwidgets.dictionaries.base import Dictionary, checked_dictionary
from steerwidgets.transformer.mistakes import is_text, refuse_no_model
from steerwidgets.transformer.plain_text import as_json
from steerwidgets.transformer.prompts import Token
from steerwidgets.widgets.arrays import exact, pack, unpack
from steerwidgets.widgets.base import Widget
from steerwidgets.widgets.export import STATIC
from steerwidgets.widgets.heatmap.arrays import ArrayReading
from steerwidgets.widgets.heatmap.columns import SCALES, end_of_scale
from steerwidgets.widgets.heatmap.reading import KEPT, FeatureLike, ModelReading, TextLike, as_several
from steerwidgets.widgets.protocol import Handler, Request
from steerwidgets.widgets.tokens import pooled

if TYPE_CHECKING:
    from steerwidgets.dictionaries.activations import Activations, Fires
    from steerwidgets.model import LanguageModel
    from steerwidgets.steering.recipe import Direction

_SAID: Final = 400
"""Of the text so many characters stand in the summary."""

_FOUND: Final = 20
"""How many features a search of a span gives."""


class HeatmapSettings(TypedDict, total=False):
    """How a heatmap begins.

    Attributes:
        domain: where the colour scale ends: `auto` (the default), `p99.5`, `maximum`, `text`, or a number.
        curve: `linear` (the default) or `log`: log10(1 + 9·v/end).
        granularity: `tokens` (the default), `words`, `sentences` or `lines`.
        pooling: `max` (the default) or `mean` of a word's, sentence's or line's tokens that count.
        mixing: `blend` (the default) or `stripes`.
        solo: the key of the one feature that colours the text, or "".
        selected: the positions of the tokens that are pinned.
        hovered: the position of the token under the pointer, or None.
    """

    domain: str | float
    curve: Literal["linear", "log"]
    granularity: Literal["tokens", "words", "sentences", "lines"]
    pooling: Literal["max", "mean"]
    mixing: Literal["blend", "stripes"]
    solo: str
    selected: Sequence[int]
    hovered: int | None


class TokenHeatmap(Widget):
    """Text as real, selectable tokens, coloured by the activation of one feature or of several.

    What can be hovered, pinned, switched or soloed needs no kernel. `TokenHeatmap.from_arrays` needs no model.

    Args:
        lm: the model.
        dictionary: whose features are shown; its site is where the text is read.
        prompt: a string, messages, or token ids; or what the model wrote: a comparison (its prompt and steered text),
            or a row (`out.baseline`, one of a sweep). Generated text is read without steering, whatever made it, since
            a reading of activations that were just pushed would show the push.
        features: up to six, by index, label, or as features and directions of the same site. None to begin with is
            fine: select tokens, and ask which features fire there.
        chat: whether a string goes through the chat template.
        top: how many features to keep for each token's own list, 0 to 5.
        settings: `domain`, `curve`, `granularity`, `pooling`, `mixing`, `solo`, `selected`, `hovered`, as
            `HeatmapSettings` explains them.

    Attributes:
        selected: the positions of the tokens that are pinned; set it, observe it, link it.
        hovered: the position of the token under the pointer or the focus, or None; likewise.
        domain: where the colour scale ends: `p99.5` or `maximum` of each feature over the corpus of
            `dictionary.statistics`, `text` (its largest value in this text), a number, or `auto`, the first of these
            that is known. The screen says which.
        curve: `linear`, or `log`: log10(1 + 9·v/end).
        granularity: `tokens`, `words`, `sentences` or `lines`.
        pooling: `max` or `mean` of a word's, sentence's or line's tokens that count.
        mixing: `blend` adds the features' colours in OKLab, `stripes` gives each its own bar.
        solo: the key of the one feature that colours the text, or "".
        provenance: where the numbers come from.

    Raises:
        IndexError: the dictionary has no feature of such an index.
        KeyError: it has no feature of such a label.
        TypeError: there is no such setting.
        ValueError: the prompt is empty, there are too many features, or one lives at another site.

    Example:
        >>> heatmap = sw.TokenHeatmap(lm, sae, "The user asks the assistant.", ["the sea", "music"])
        >>> [feature.label for feature in heatmap.features]
        ['the sea', 'music']
    """

    _esm = STATIC / "token_heatmap.js"
    _css = STATIC / "token_heatmap.css"
    bundle: ClassVar[str] = "token_heatmap"
    title: ClassVar[str] = "token heatmap"

    domain: Any = traitlets.Any("auto").tag(sync=True)
    domain.allow_none = False  # the argument of that name is not heard by Any
    curve: Any = traitlets.Enum(["linear", "log"], "linear").tag(sync=True)
    granularity: Any = traitlets.Enum(["tokens", "words", "sentences", "lines"], "tokens").tag(sync=True)
    pooling: Any = traitlets.Enum(["max", "mean"], "max").tag(sync=True)
    mixing: Any = traitlets.Enum(["blend", "stripes"], "blend").tag(sync=True)
    solo = traitlets.Unicode().tag(sync=True)
    selected: Any = traitlets.List(traitlets.Int()).tag(sync=True)
    hovered: Any = traitlets.Int(None, allow_none=True).tag(sync=True)

    text = traitlets.Dict().tag(sync=True)
    reading = traitlets.Dict().tag(sync=True)
    strongest = traitlets.Dict().tag(sync=True)
    found = traitlets.Dict().tag(sync=True)
    facts = traitlets.Dict().tag(sync=True)
    provenance = traitlets.Dict().tag(sync=True)

    _source: ModelReading | ArrayReading

    def __init__(
        self,
        lm: LanguageModel,
        dictionary: Dictionary,
        prompt: TextLike = "",
        features: FeatureLike | Iterable[FeatureLike] = (),
        *,
        chat: bool = False,
        top: int = KEPT,
        **settings: Unpack[HeatmapSettings],
    ) -> None:
        refuse_no_model(lm, "sw.TokenHeatmap", "dictionary, text")
        first, second = cast("tuple[Any, Any]", (dictionary, prompt))
        if is_text(first) and isinstance(second, Dictionary):
            dictionary, prompt = second, first
        checked_dictionary(dictionary, "sw.TokenHeatmap", "lm, ", ", text, features=[feature]")
        if isinstance(top, bool) or top not in range(KEPT + 1):
            raise ValueError(f"top is how many features to keep for each token, 0 to {KEPT}, but {top!r} was given.")
        self._prompt: TextLike = prompt
        self._settings: dict[str, Any] = {"chat": chat, "top": top}
        self._lm = lm
        self._dictionary = dictionary
        self._open(ModelReading(lm, dictionary, prompt, features, **self._settings), settings)

    @classmethod
    def from_arrays(
        cls,
        tokens: Iterable[str | Token],
        values: Any,
        labels: str | Sequence[str] | None = None,
        *,
        mask: Any = None,
        **settings: Unpack[HeatmapSettings],
    ) -> TokenHeatmap:
        """A heatmap of arrays, without a model.

        Args:
            tokens: the exact text of each token, spaces included; or `Token`s, which have ids.
            values: [position] or [position, feature], up to six features; NaN where nothing is known.
            labels: what the features are called.
            mask: bool [position], which tokens count; the others are outlined and never coloured.
            settings: as for `TokenHeatmap`.

        Returns:
            The heatmap.

        Raises:
            TypeError: a token is no text, or there is no such setting.
            ValueError: shapes do not fit, or a value is infinite.

        Example:
            >>> sw.TokenHeatmap.from_arrays(["The", " sea"], [[0.0, 1.0], [2.0, 0.5]], ["sea", "the"]).features
            ('sea', 'the')
        """
        made = cls.__new__(cls)
        made._open(  # noqa: SLF001 - its own
            ArrayReading(tokens, values, labels, mask), settings
        )
        return made

    def _open(self, source: ModelReading | ArrayReading, settings: Mapping[str, Any]) -> None:
        self._source = source
        super().__init__(**self._shown(), **settings)

    def _said(self) -> list[str]:
        source = getattr(self, "_source", None)
        if source is None:
            return []
        text = "".join(token.text for token in source.text.tokens if not token.fragment)
        named = ", ".join(column["label"] for column in source.columns) or "no feature yet"
        lines = [f"{len(source.text):,} tokens by {named}", f"Text: {text[:_SAID]}{'…' if len(text) > _SAID else ''}"]
        for column, values in zip(source.columns, source.values.T, strict=True):
            counted = [
                (value, token.text)
                for value, token, counts in zip(values.tolist(), source.text.tokens, source.text.counted, strict=True)
                if counts and value > (column["zero"] or 0.0)
            ]
            top = ", ".join(f"{token!r} {value:.3g}" for value, token in sorted(counted, reverse=True)[:5])
            lines.append(f"{column['label']}: {top or 'silent'}")
        return lines

    # What a user reads and sets

    @property
    def features(self) -> tuple[Direction, ...] | tuple[str, ...]:
        """What is shown, in order; of a heatmap of arrays, the labels. Set it to read others without a model run."""
        return self._source.features

    @features.setter
    def features(self, features: FeatureLike | Iterable[FeatureLike]) -> None:
        chosen = as_several(features)
        self._show(lambda _shown: chosen)

    @property
    def prompt(self) -> TextLike | None:
        """What was read; None for arrays. Set it to read another text: the model runs once."""
        return getattr(self, "_prompt", None)

    @prompt.setter
    def prompt(self, prompt: TextLike) -> None:
        shown = self._model_reading().features
        source = ModelReading(self._lm, self._dictionary, prompt, shown, **self._settings)
        with self._sync_lock, self.hold_sync():
            self._source, self._prompt = source, prompt
            self.publish(selected=[], hovered=None, found={}, **self._shown())

    @property
    def activations(self) -> Activations | None:
        """The text with its residuals: `heatmap.activations.of([123])` reads more of it; None for arrays."""
        return self._source.activations

    def fires(self, positions: Iterable[int] | None = None, k: int = _FOUND) -> Fires:
        """The features that fire at some tokens, the strongest first; the model does not run.

        Args:
            positions: where to look; by default at the selected tokens.
            k: how many at most.

        Returns:
            `.features`, `.values` in the dictionary's units, and `.positions` of the largest ones.

        Raises:
            ValueError: no position is given or selected, none of them counts, or there is no model.

        Example:
            >>> heatmap = sw.TokenHeatmap(lm, sae, "The user asks the assistant.")
            >>> len(heatmap.fires([1, 2], k=3).features)
            3
        """
        chosen = list(self.selected if positions is None else positions)
        self._refuse_outside(chosen, "positions")
        if not chosen:
            raise ValueError("No token is selected; give positions, or select some of the text.")
        return self._model_reading().fires(chosen, k)

    def to_json(self) -> str:
        """The heatmap as it stands, as plain JSON: tokens with values, features with scales, provenance.

        Where words, sentences or lines are shown, `segments` has the first and last position of each and its values.

        Returns:
            JSON text.

        Example:
            >>> import json
            >>> heatmap = sw.TokenHeatmap.from_arrays(["The", " sea"], [0.0, 2.0])
            >>> len(json.loads(heatmap.to_json())["tokens"])
            2
        """
        with self._sync_lock:
            return as_json(self._plain())

    # Requests of the front-end

    def _handlers(self) -> Mapping[str, Handler]:
        return {
            "fires": Handler(self._serve_fires, slow=True),
            "show": Handler(self._serve_show, slow=True),
            "remove": Handler(self._serve_remove, slow=True),
        }

    def _serve_fires(self, request: Request) -> dict[str, Any]:
        positions = request.args.get("positions")
        if not isinstance(positions, list) or not all(isinstance(position, int) for position in positions):
            raise ValueError("A search looks at positions, a list of whole numbers.")
        source = self._source
        found = self.fires(positions)
        features = [
            {"index": f.index, "key": f.key, "label": f.label, "value": exact(value), "position": position}
            for f, value, position in zip(found.features, found.values, found.positions, strict=True)
        ]
        if source.text is self._source.text:
            self.publish(found={"positions": positions, "features": features})
        return {}

    def _serve_show(self, request: Request) -> dict[str, Any]:
        index = request.args.get("index")
        if isinstance(index, bool) or not isinstance(index, int):
            raise ValueError(f"A feature is added by its index, a whole number, but {index!r} came.")
        self._show(lambda shown: [*shown, index])
        return {}

    def _serve_remove(self, request: Request) -> dict[str, Any]:
        key = request.args.get("key")
        self._show(lambda shown: [feature for feature in shown if feature.key != key])
        return {}

    # From readings to traits

    def _shown(self) -> dict[str, Any]:
        source = self._source
        return {
            "text": source.text.wire(),
            "reading": self._reading(),
            "strongest": source.strongest or {},
            "facts": source.facts,
            "provenance": source.provenance,
        }

    def _reading(self) -> dict[str, Any]:
        return {"features": self._source.columns, "values": pack(self._source.values)}

    def _show(self, choose: Callable[[Sequence[Direction]], Sequence[FeatureLike]]) -> None:
        """Show other features; should the text be set meanwhile, those of the new one."""
        while True:
            before = self._model_reading()
            source = before.with_features(choose(before.features))
            with self._sync_lock, self.hold_sync():
                if self._source is not before:
                    continue
                self._source = source
                keys = [column["key"] for column in source.columns]
                self.publish(reading=self._reading(), solo=self.solo if self.solo in keys else "")
                return

    def _model_reading(self) -> ModelReading:
        if isinstance(self._source, ModelReading):
            return self._source
        raise ValueError(
            "This heatmap was made from arrays, so it has no model and no dictionary to read more with; make another "
            "one with TokenHeatmap.from_arrays(…) or TokenHeatmap(lm, dictionary, prompt)."
        )

    def _plain(self) -> dict[str, Any]:
        source = self._source
        ends = [end_of_scale(column, self.domain) for column in source.columns]
        return {
            "tokens": [
                {**token, "values": [_number(value) for value in row], **kept}
                for token, row, kept in zip(source.text.rows(), source.values, self._kept(), strict=True)
            ],
            **({"segments": self._segments()} if self.granularity != "tokens" else {}),
            "features": [
                {**column, "scale_end": end, "scale_end_is": said}
                for column, (end, said) in zip(source.columns, ends, strict=True)
            ],
            **{
                name: getattr(self, name)
                for name in ("domain", "curve", "granularity", "pooling", "mixing", "solo", "selected", "found")
            },
            **{name: getattr(self, name) for name in ("facts", "provenance")},
        }

    def _segments(self) -> list[dict[str, Any]]:
        """The words, sentences or lines that are shown, each with its values."""
        text = self._source.text
        starts = text.starts(self.granularity)
        values = pooled(self._source.values, text.counted, starts, self.pooling)
        lasts = [*(starts[1:] - 1).tolist(), len(text) - 1]
        return [
            {"first": first, "last": last, "values": [_number(value) for value in row]}
            for first, last, row in zip(starts.tolist(), lasts, values, strict=True)
        ]

    def _kept(self) -> list[dict[str, Any]]:
        """The strongest features of each token, where they are kept."""
        kept = self._source.strongest
        if not kept:
            return [{} for _ in self._source.text.tokens]
        labels = kept["labels"]
        return [
            {
                "strongest": [
                    {"index": int(index), "label": labels[str(index)], "value": _number(value)}
                    for index, value in zip(indices, values, strict=True)
                    if value
                ]
            }
            for indices, values in zip(unpack(kept["indices"]), unpack(kept["values"]), strict=True)
        ]

    # Checks of what is set

    @traitlets.validate("domain")
    def _check_domain(self, proposal: Mapping[str, Any]) -> str | float:
        value = proposal["value"]
        if isinstance(value, str) and value in SCALES:
            return value
        number = _as_number(value)
        if number is not None and math.isfinite(number) and number > 0:
            return number
        raise traitlets.TraitError(
            f"domain is where the colour scale ends: {', '.join(SCALES)}, or a number above 0; {value!r} was given."
        )

    @traitlets.validate("selected")
    def _check_selected(self, proposal: Mapping[str, Any]) -> list[int]:
        positions = sorted(set(proposal["value"]))
        self._refuse_outside(positions, "selected")
        return positions

    @traitlets.validate("hovered")
    def _check_hovered(self, proposal: Mapping[str, Any]) -> int | None:
        position: int | None = proposal["value"]
        self._refuse_outside([] if position is None else [position], "hovered")
        return position

    def _refuse_outside(self, positions: Iterable[int], name: str) -> None:
        last = len(self._source.text) - 1
        outside = [position for position in positions if not 0 <= position <= last]
        if outside:
            raise traitlets.TraitError(
                f"{name} holds positions of tokens, 0 to {last} in this text, but {outside[0]} was given."
            )


def _as_number(value: Any) -> float | None:
    if isinstance(value, bool | str):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _number(value: np.float32) -> float | None:
    return exact(value) if np.isfinite(value) else None
