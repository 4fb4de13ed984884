"""The text of a heatmap: exact tokens, what each of them is, and which of them count."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from steerwidgets.transformer.prompts import Token
from steerwidgets.widgets.arrays import pack

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


_WORD: Final = re.compile(r"(?:ax*'x*(?=a)|0x*[',]x*(?=0)|[a0_]x*)+| +|hx*|.x*", re.DOTALL)
"""Words over kinds of characters: the rules of Unicode's Annex 29 (WB4 to WB13), without its dictionaries."""

_SENTENCE_END: Final = re.compile(
    r"""[.…]*[!?…]+["'”’)\]]*\s+|\.+["'”’)\]]*\s+(?![a-zß-öø-ÿ])|[。！？]+[」』”’）]*|\n+"""
)
"""What ends a sentence: a full stop before a small letter is an abbreviation's (Annex 29, SB8)."""


def segment_starts(tokens: Sequence[Token]) -> dict[Literal["words", "sentences"], NDArray[np.bool_]]:
    """At which tokens words and sentences begin, bool [position] each; punctuation stands apart from words.

    A token belongs to the piece in which its first visible character stands. Bytes of a character that is not whole
    are part of the word around them.
    """
    texts = ["x" if token.fragment else token.text for token in tokens]
    ends = np.cumsum([len(text) for text in texts])
    visible = np.array([len(text) - len(text.lstrip()) for text in texts])
    lengths = np.diff(ends, prepend=0)
    places = ends - lengths + np.where(visible < lengths, visible, 0)
    text = "".join(texts)
    kinds = "".join(map(_kind, text))
    return {
        "words": _begins(places, [match.end() for match in _WORD.finditer(kinds)]),
        "sentences": _begins(places, [match.end() for match in _SENTENCE_END.finditer(text)]),
    }


def pooled(
    values: NDArray[np.float32], counted: NDArray[np.bool_], starts: NDArray[np.intp], pooling: str
) -> NDArray[np.float32]:
    """One value for each segment: of its tokens that count the one furthest from zero, or the mean.

    Args:
        values: float32 [position, feature]; NaN where nothing is known.
        counted: bool [position], which tokens count.
        starts: [segment], where each begins.
        pooling: `max` or `mean`.

    Returns:
        float32 [segment, feature], NaN where no token counts.
    """
    known = counted[:, None] & ~np.isnan(values)
    filled = np.where(known, values, 0).astype(np.float64)
    amounts = np.add.reduceat(known.astype(np.int64), starts, axis=0)
    if pooling == "mean":
        found = np.add.reduceat(filled, starts, axis=0) / np.maximum(amounts, 1)
    else:
        highest, lowest = (each.reduceat(filled, starts, axis=0) for each in (np.maximum, np.minimum))
        found = np.where(highest >= -lowest, highest, lowest)
    return np.where(amounts > 0, found, np.nan).astype(np.float32)


def _begins(places: NDArray[np.intp], ends: Sequence[int]) -> NDArray[np.bool_]:
    pieces = np.searchsorted(np.array(ends, dtype=np.intp), places, side="right")
    found: NDArray[np.bool_] = np.diff(pieces, prepend=-1) != 0
    return found


@functools.cache
def _kind(character: str) -> str:
    """What a character is to the pattern of words."""
    category = unicodedata.category(character)
    if character.isspace():
        return " "
    if category[0] == "M" or character == "\u200d":
        return "x"
    if character in "'’.":
        return "'"
    if category[0] == "N":
        return "0"
    if category == "Pc":
        return "_"
    if category[0] == "L":
        return "h" if _stands_alone(character) else "a"
    return "," if character in ",;" else "."


def _stands_alone(character: str) -> bool:
    """Han and hiragana: a word may be one character, and no space tells."""
    return unicodedata.name(character, "").startswith(("CJK", "HIRAGANA"))
