"""The text of a heatmap: exact tokens, what each of them is, and which of them count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from steerwidgets.transformer.prompts import Token
from steerwidgets.widgets.packed import pack
from steerwidgets.widgets.segments import segment_starts

FRAGMENT: Final = 1
SPECIAL: Final = 2
TEMPLATE: Final = 4
SINK: Final = 8
LEFT_OUT: Final = 16
GENERATED: Final = 32
WORD: Final = 64
SENTENCE: Final = 128
"""Bits of a token's flags; the front-end has the same.

LEFT_OUT: not counted, for a reason of the user's own. WORD and SENTENCE: one begins here.
"""

_NOT_COUNTED: Final = np.uint8(SPECIAL | TEMPLATE | SINK | LEFT_OUT)


@dataclass(frozen=True)
class HeatText:
    """Tokens with what they are.

    Attributes:
        tokens: exact tokens, in order.
        flags: uint8 [position], what each is.
        has_ids: whether the tokens' ids mean anything.
    """

    tokens: tuple[Token, ...]
    flags: NDArray[np.uint8]
    has_ids: bool = True

    @classmethod
    def of(
        cls,
        tokens: Sequence[Token],
        *,
        special: Sequence[bool],
        template: Sequence[bool],
        sink: Sequence[bool],
        generated: Sequence[bool],
    ) -> HeatText:
        """A text that a model has read; each of the sequences has one entry for each token."""
        columns = {
            FRAGMENT: [token.fragment for token in tokens],
            SPECIAL: special,
            TEMPLATE: template,
            SINK: sink,
            GENERATED: generated,
        }
        flags = np.zeros(len(tokens), dtype=np.uint8)
        for bit, column in columns.items():
            flags |= np.asarray(column, dtype=np.uint8) * np.uint8(bit)
        return cls(tuple(tokens), flags)

    def __post_init__(self) -> None:
        begins = segment_starts(self.tokens)
        marks = np.where(begins["words"], WORD, 0) | np.where(begins["sentences"], SENTENCE, 0)
        object.__setattr__(self, "flags", self.flags | marks.astype(np.uint8))

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Bool [position]: no attention sinks, no special or template tokens."""
        found: NDArray[np.bool_] = (self.flags & _NOT_COUNTED) == 0
        return found

    def starts(self, granularity: str) -> NDArray[np.intp]:
        """Where words, sentences or lines begin; special and template tokens stand alone at every granularity."""
        begins = self._begins(granularity)
        frame = (self.flags & np.uint8(SPECIAL | TEMPLATE)) > 0
        begins[0] = True
        begins |= frame
        begins[1:] |= frame[:-1]
        return np.flatnonzero(begins)

    def _begins(self, granularity: str) -> NDArray[np.bool_]:
        if granularity == "tokens":
            return np.ones(len(self), dtype=bool)
        if granularity == "lines":
            ends = [not token.fragment and "\n" in token.text for token in self.tokens]
            return np.array([True, *ends[:-1]])
        found: NDArray[np.bool_] = (self.flags & np.uint8(WORD if granularity == "words" else SENTENCE)) > 0
        return found

    def __len__(self) -> int:
        return len(self.tokens)

    def wire(self) -> dict[str, Any]:
        """As it travels: a column for each property."""
        ids = np.array([token.id for token in self.tokens], dtype=np.int32)
        return {
            "texts": [token.text for token in self.tokens],
            "ids": pack(ids) if self.has_ids else None,
            "flags": pack(self.flags),
        }

    def rows(self) -> list[dict[str, Any]]:
        """One plain object for each token."""
        return [
            {
                "position": position,
                "id": token.id if self.has_ids else None,
                "text": token.text,
                "fragment": token.fragment,
                "special": bool(flags & SPECIAL),
                "template": bool(flags & TEMPLATE),
                "sink": bool(flags & SINK),
                "generated": bool(flags & GENERATED),
                "counted": not flags & int(_NOT_COUNTED),
            }
            for position, (token, flags) in enumerate(zip(self.tokens, self.flags.tolist(), strict=True))
        ]
