"""Words and sentences of a token sequence, and the value that each of them has."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from steerwidgets.transformer.prompts import Token

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
