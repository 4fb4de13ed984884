"""A heatmap's content from a model: a text that was read once, and any features of it without another run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from steerwidgets.dictionaries.activations import Activations, Fires, strongest
from steerwidgets.generation.comparison import Comparison
from steerwidgets.generation.rows import Row
from steerwidgets.steering.recipe import Direction, Feature
from steerwidgets.transformer.prompts import Prompt, PromptLike
from steerwidgets.widgets.arrays import pack
from steerwidgets.widgets.heatmap.columns import MOST, feature_column
from steerwidgets.widgets.tokens import HeatText

if TYPE_CHECKING:
    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.model import LanguageModel


@dataclass(frozen=True)
class HeatSource:
    """A whole text as token ids, and where it comes from.

    Attributes:
        text: all of its tokens.
        prompt_length: how many of them are the prompt's; those after it were generated.
        origin: what it is, as a reader sees it; "" for a text that the user gave.
        provenance: how it was generated.
    """

    text: Prompt
    prompt_length: int
    origin: str
    provenance: dict[str, str]

    @classmethod
    def of(cls, lm: LanguageModel, given: PromptLike | Prompt | Row | Comparison, *, chat: bool) -> HeatSource:
        """A prompt, a generated row, or a comparison, of which the steered row is taken.

        Args:
            lm: whose tokenizer makes tokens of a prompt.
            given: what the user gave.
            chat: whether a string goes through the chat template.

        Raises:
            ValueError: the prompt is empty, or needs a chat template that the tokenizer lacks.
            TypeError: it is none of these.
        """
        if isinstance(given, Comparison):
            settings = ", ".join(f"{name}={value}" for name, value in given.sampling.to_json().items())
            return _of_row(lm, given.steered, {"sampling": settings})
        if isinstance(given, Row):
            return _of_row(lm, given, {})
        prompt = given if isinstance(given, Prompt) else lm.encode(given, chat=chat)
        return cls(prompt, len(prompt), "", {})


def _of_row(lm: LanguageModel, row: Row, provenance: dict[str, str]) -> HeatSource:
    prompt, recipe, ids = row.plan.prompt, row.plan.recipe, row.token_ids
    text = Prompt(
        (*prompt.token_ids, *ids),
        (*prompt.special, *(i in lm.special_ids for i in ids)),
        (*prompt.template, *(False for _ in ids)),
        chat=prompt.chat,
    )
    if not len(recipe):
        origin = "text generated without steering"
        return HeatSource(text, len(prompt), origin, {"text": origin, **provenance})
    # Activations that were just pushed would show the push: the finished text is read by the model as it is.
    origin = "steered text, read without steering"
    return HeatSource(text, len(prompt), origin, {"text": origin, "recipe": recipe.to_json(), **provenance})


KEPT: Final = 5
"""The most features that are kept for each token, to be shown without the kernel."""

_CHUNK: Final = 128
"""Positions that are encoded at once, as `activations` does."""

FeatureLike = int | str | Direction

TextLike = PromptLike | Prompt | Row | Comparison
"""What can be read: a prompt, or a text that was generated."""


class ModelReading:
    """A text as a model read it at a dictionary's site.

    Args:
        lm: the model.
        dictionary: whose features are found by index and label.
        prompt: a string, messages, token ids, a generated row, or a comparison.
        features: what to show.
        chat: whether a string goes through the chat template.
        top: how many features to keep for each token.

    Attributes:
        activations: the text's residuals, tokens and mask.
        text: its tokens as they are shown.
        features: what is shown.
        values: float32 [position, feature], their activations.
        columns: the same features as the front-end reads them.
        strongest: the strongest features of each token, as they travel.
    """

    def __init__(
        self,
        lm: LanguageModel,
        dictionary: Dictionary,
        prompt: TextLike,
        features: FeatureLike | Iterable[FeatureLike],
        *,
        chat: bool,
        top: int,
    ) -> None:
        self._lm = lm
        self.dictionary = dictionary
        chosen = found_features(dictionary, features)
        self._source = HeatSource.of(lm, prompt, chat=chat)
        self.activations: Activations = _read(lm, self._source.text, dictionary)
        self.text = _text(self._source, self.activations)
        self.strongest: dict[str, Any] | None = self._strongest(top) if top else None
        self.show(chosen)

    def show(self, features: Sequence[Direction]) -> None:
        """Read some features of the same text; the model does not run."""
        self.features: tuple[Direction, ...] = tuple(features)
        self.values = self._read(self.features)
        counted = self.values[self.text.counted]
        self.columns = [feature_column(f, self.dictionary, counted[:, i]) for i, f in enumerate(self.features)]

    def with_features(self, features: FeatureLike | Iterable[FeatureLike]) -> ModelReading:
        """The same reading with other features.

        Raises:
            IndexError: the dictionary has no such index.
            KeyError: it has no such label.
            ValueError: there are too many, or one lives at another site.
        """
        other = object.__new__(ModelReading)
        other.__dict__.update(self.__dict__)
        other.show(found_features(self.dictionary, features))
        return other

    def fires(self, positions: Sequence[int], k: int) -> Fires:
        """The features that fire at some tokens, the strongest first.

        Raises:
            ValueError: none of the tokens counts.
        """
        import torch

        chosen = torch.zeros_like(self.activations.mask)
        chosen[list(positions)] = True
        mask = chosen & self.activations.mask
        if not bool(mask.any()):
            raise ValueError(
                "None of these tokens counts: they are special tokens, the template's or attention sinks. "
                "Select some of the text's own."
            )
        with torch.no_grad():
            found = strongest(self.dictionary, self.activations.residual, mask, self.activations.tokens, k)
        kept = [i for i, value in enumerate(found.values) if value > 0]
        columns: dict[str, Any] = {
            name: tuple(getattr(found, name)[i] for i in kept) for name in ("features", "values", "positions", "tokens")
        }
        return replace(found, **columns)

    @property
    def facts(self) -> dict[str, Any]:
        """What the header says."""
        site = self.dictionary.site
        return {
            "model": self._lm.name,
            "dictionary": self.dictionary.kind,
            "site": str(site),
            "origin": self._source.origin,
            "searchable": True,
        }

    @property
    def provenance(self) -> dict[str, str]:
        """Where the numbers come from."""
        statistics = self.dictionary.statistics
        return {
            **self._lm.provenance,
            "dictionary": f"{self.dictionary!r} {dict(self.dictionary.provenance)}",
            "fingerprint": self.dictionary.fingerprint,
            "site": str(self.dictionary.site),
            "statistics": str(statistics.source if statistics is not None else None),
            **self._source.provenance,
        }

    def _read(self, features: Sequence[Direction]) -> NDArray[np.float32]:
        import torch

        values = np.zeros((len(self.text), len(features)), dtype=np.float32)
        own = [i for i, f in enumerate(features) if _belongs(f, self.dictionary)]
        with torch.no_grad():
            if own:
                indices = [feature.index for i in own if isinstance(feature := features[i], Feature)]
                values[:, own] = self.activations.of(indices).values.float().cpu().numpy()
            for i in set(range(len(features))) - set(own):
                values[:, i] = features[i].activation(self.activations.residual).float().cpu().numpy()
        return values

    def _strongest(self, top: int) -> dict[str, Any]:
        """The `top` strongest features of each token with their labels, [position, k] from the strongest down."""
        import torch

        with torch.no_grad():
            parts = [self.dictionary.top(chunk, top) for chunk in torch.split(self.activations.residual, _CHUNK)]
        values = torch.cat([each for each, _ in parts]).float().cpu().numpy()
        indices = torch.cat([each for _, each in parts]).cpu().numpy()
        small = self.dictionary.size <= 1 << 16
        labels = {str(i): self.dictionary.label(i) for i in np.unique(indices[values != 0]).tolist()}
        return {
            "values": pack(values.astype(np.float32)),
            "indices": pack(indices.astype(np.uint16 if small else np.uint32)),
            "labels": labels,
        }


def found_features(dictionary: Dictionary, features: FeatureLike | Iterable[FeatureLike]) -> list[Direction]:
    """Features by index, label or themselves, each once.

    Raises:
        IndexError: the dictionary has no such index.
        KeyError: it has no such label.
        ValueError: there are too many, or one lives at another site.
    """
    found = [each if isinstance(each, Direction) else dictionary[each] for each in as_several(features)]
    for feature in found:
        if feature.site != dictionary.site:
            raise ValueError(
                f"{feature.label!r} lives at {feature.site}, but this text is read at {dictionary.site}; "
                "make another heatmap for it."
            )
    distinct = list({feature.key: feature for feature in found}.values())
    if len(distinct) > MOST:
        raise ValueError(
            f"A heatmap shows at most {MOST} features at once, one for each colour, but {len(distinct)} were given."
        )
    return distinct


def as_several(features: FeatureLike | Iterable[FeatureLike]) -> list[FeatureLike]:
    """One feature, or several, as a list."""
    if isinstance(features, Iterable) and not isinstance(features, str):
        return list(features)
    return [features]


def _read(lm: LanguageModel, text: Prompt, dictionary: Dictionary) -> Activations:
    """A text's residuals at the dictionary's site; template tokens do not count either."""
    import torch

    # The residual is what counts: one column is read and left.
    read = lm.read(text.token_ids, dictionary, [0])
    return replace(read, mask=read.mask & ~torch.tensor(text.template))


def _text(source: HeatSource, read: Activations) -> HeatText:
    special, template = source.text.special, source.text.template
    own = [not (a or b) for a, b in zip(special, template, strict=True)]
    return HeatText.of(
        read.tokens,
        special=special,
        template=template,
        sink=[mine and not counts for mine, counts in zip(own, read.mask.tolist(), strict=True)],
        generated=[position >= source.prompt_length for position in range(len(own))],
    )


def _belongs(feature: Direction, dictionary: Dictionary) -> bool:
    return isinstance(feature, Feature) and feature.dictionary == dictionary.fingerprint
