"""What a feature card reads: a text of the user's own, and texts where the feature stays silent."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steerwidgets.widgets.arrays import exact, pack
from steerwidgets.widgets.card.lines import Line, lines_json
from steerwidgets.widgets.tokens import SINK, SPECIAL, TEMPLATE

if TYPE_CHECKING:
    from steerwidgets.dictionaries.activations import Activations
    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.label_checks.silent_texts import Silence
    from steerwidgets.model import LanguageModel
    from steerwidgets.transformer.prompts import PromptLike


@dataclass(frozen=True)
class OwnText:
    """A text that was read at a dictionary's site; any feature of it can be read without the model.

    Attributes:
        text: as it stands in the box.
        activations: its residuals.
        flags: why a token does not count, a byte for each.
        seconds: how long the reading took.
    """

    text: str
    activations: Activations
    flags: tuple[int, ...]
    seconds: float

    @classmethod
    def of(cls, lm: LanguageModel, dictionary: Dictionary, text: PromptLike, shown: str) -> OwnText:
        """Read a text raw: one forward pass, up to the dictionary's block."""
        began = time.monotonic()
        activations = lm.read(text, dictionary, [0])
        encoded = lm.encode(text, chat=False)
        flags = [
            SPECIAL * special | TEMPLATE * template | SINK * (not (special or template or counts))
            for special, template, counts in zip(
                encoded.special, encoded.template, activations.mask.tolist(), strict=True
            )
        ]
        return cls(shown, activations, tuple(flags), round(time.monotonic() - began, 3))

    def json(self, lm: LanguageModel, dictionary: Dictionary, index: int) -> dict[str, Any]:
        """A feature on it, as the front-end reads it."""
        import torch

        with torch.no_grad():
            values = self.activations.of([index]).values[:, 0].float()
            latents = self._latents(dictionary, index)
        # A model that overflows gives NaN, which is the largest of nothing.
        counts = self.activations.mask & values.isfinite()
        counted = values.masked_fill(~counts, -torch.inf)
        peak = int(counted.argmax()) if bool(counts.any()) else None
        line = Line(self.activations.token_ids, values.tolist(), peak or 0, "your text", self.flags)
        return {
            "key": dictionary[index].key,
            "typed": self.text,
            "text": lines_json(lm, [line]),
            "strongest": None if peak is None else {"position": peak, "value": exact(float(values[peak]))},
            "latents": latents,
            "seconds": self.seconds,
        }

    def _latents(self, dictionary: Dictionary, index: int) -> dict[str, Any] | None:
        """`E[z|h,k]` of a mixture's component at every token, [position, loading]."""
        found = dictionary[index].expected_latent(self.activations.residual)
        return None if found is None else pack(found.float().cpu().numpy())


def silence_json(lm: LanguageModel, dictionary: Dictionary, found: Silence) -> dict[str, Any]:
    """What a search for silent texts found, as the front-end reads it."""
    lines = [
        Line(
            each.token_ids,
            each.values,
            each.position,
            each.source,
            more={
                "word": each.word,
                "expected": each.expected,
                "value": each.value,
                "instead": [vars(one) for one in each.instead],
            },
        )
        for each in found.texts
    ]
    return {
        "key": dictionary[found.index].key,
        "text": lines_json(lm, lines),
        "words": list(found.words),
        "share": found.share,
        "silent": found.silent,
        "read": found.read,
        "stopped": found.stopped,
    }
