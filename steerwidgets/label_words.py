"""The words of labels and of queries, as the index of labels keeps and asks them."""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from dataclasses import dataclass
from typing import Final, Literal

How = Literal["whole words", "beginnings", "pieces"]
"""What a word of a query may be in a label: a word, the beginning of one, or letters within one."""

SHORT: Final = 3
"""Shorter words are only looked for where a word begins."""

_WORDS_OF_QUERY: Final = 16
_LETTERS_OF_QUERY: Final = 200


@dataclass(frozen=True)
class Query:
    """The words of a query, as expressions that FTS5 reads and conditions that SQL checks."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, query: str) -> Query | None:
        """What a text asks for; None where it has no word."""
        words: dict[str, None] = {}
        for part in query[:_LETTERS_OF_QUERY].encode("utf-8", "replace").decode().split():
            for lone, run in itertools.groupby(tokens_of(part), key=_stands_alone):
                tokens = list(run)
                words |= dict.fromkeys([" ".join(tokens)] if lone else tokens)
        return cls(tuple(itertools.islice(words, _WORDS_OF_QUERY))) if words else None

    @functools.cached_property
    def has_short(self) -> bool:
        """Whether a word is too short for the index of threes."""
        return any(len(word) < SHORT for word in self.words)

    @functools.cached_property
    def pieces(self) -> str:
        """Threes that cover its words, as an expression; "" where all words are shorter."""
        starts = ((word, {*range(0, len(word) - SHORT, SHORT), len(word) - SHORT}) for word in self.words)
        threes = [word[at : at + SHORT] for word, all_at in starts for at in sorted(all_at) if at >= 0]
        return " AND ".join(map(_quoted, dict.fromkeys(threes)))

    def expression(self, how: How) -> tuple[str, list[tuple[str, str]]]:
        """What the index is asked, and what is to be checked of its answers: conditions with their word.

        The index knows the characters of a run, not that they are one; and that a label holds the threes of a word, not
        that it holds the word.
        """
        within, beginning = "instr(l.tokens, ?) > 0", "instr(' ' || l.tokens, ' ' || ?) > 0"
        if how == "pieces":
            return self.pieces, [(within if len(word) >= SHORT else beginning, word) for word in self.words]
        ending = " *" if how == "beginnings" else ""
        each = (token for word in self.words for token in word.split(" "))
        match = " AND ".join(f"{_quoted(token)}{ending}" for token in dict.fromkeys(each))
        return match, [(within, word) for word in self.words if " " in word]


def _quoted(token: str) -> str:
    return '"' + token.replace('"', '""') + '"'


def tokens_of(text: str) -> list[str]:
    """The words of a text, without case and accents."""
    if text.isascii():
        return _ASCII_TOKEN.findall(text.lower())
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    bare = unicodedata.normalize("NFC", _ACCENTS.sub("", folded))
    return "".join(map(_cut, bare)).split()


_ACCENTS: Final = re.compile("[\u0300-\u036f]")
_ASCII_TOKEN: Final = re.compile(r"[a-z0-9]+|[$+<=>^`|~{}\[\]\\#@%&*/]")
_SYMBOLS: Final = frozenset("$+<=>^`|~{}[]\\#@%&*/")


@functools.cache
def _cut(character: str) -> str:
    """What a character is to the index: part of a word, a word by itself, a space, or nothing."""
    if character in _SYMBOLS:
        return f" {character} "
    category = unicodedata.category(character)
    if category == "Cf" or "\ufe00" <= character <= "\ufe0f":
        return ""
    if category == "So" or _stands_alone(character):
        return f" {character} "
    return character if category[0] in "LNM" else " "


def _stands_alone(token: str) -> bool:
    """Whether a token is one character that is a word by itself: a Chinese or Japanese one, an emoji, a symbol."""
    if len(token) != 1 or (token.isascii() and token.isalnum()):
        return False
    point = ord(token)
    return (
        token in _SYMBOLS
        or 0x3040 <= point <= 0x30FF
        or 0x3400 <= point <= 0x9FFF
        or 0xF900 <= point <= 0xFAFF
        or 0x20000 <= point <= 0x3FFFF
        or unicodedata.category(token) == "So"
    )
