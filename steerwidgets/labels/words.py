"""The words of labels and of queries, as the index of labels keeps and asks them."""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

How = Literal["whole words", "beginnings", "pieces"]
"""What a word of a query may be in a label: a word, the beginning of one, or letters within one."""

SHORT: Final = 3
"""Shorter words are only looked for where a word begins."""

_SPELLED: Final = 32
"""So many words of the labels are written out in a question to the index; of more, it finds them itself."""

_WORDS_OF_QUERY: Final = 16
_LETTERS_OF_QUERY: Final = 200


@dataclass(frozen=True)
class Query:
    """The words of a query. Characters that are words by themselves and stand together are one, with spaces."""

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
    def tokens(self) -> tuple[str, ...]:
        """Its words as the index has them."""
        return tuple(dict.fromkeys(token for word in self.words for token in word.split(" ")))

    @functools.cached_property
    def has_short(self) -> bool:
        """Whether a word is too short for the index of threes."""
        return any(len(word) < SHORT for word in self.words)

    def way_of(self, tokens: str) -> How:
        """The best way in which a label that matches does, by its words as the index has them."""
        padded = f" {tokens} "
        if all(f" {token} " in padded for token in self.tokens):
            return "whole words"
        return "beginnings" if all(f" {token}" in padded for token in self.tokens) else "pieces"

    @functools.cached_property
    def threes(self) -> str:
        """Threes that cover its words, as an expression; "" where all words are shorter."""
        starts = ((word, {*range(0, len(word) - SHORT, SHORT), len(word) - SHORT}) for word in self.words)
        found = [word[at : at + SHORT] for word, all_at in starts for at in sorted(all_at) if at >= 0]
        return " AND ".join(map(_quoted, dict.fromkeys(found)))


@dataclass(frozen=True)
class Question:
    """What the index is asked.

    Attributes:
        table: the index of whole `words`, or of `pieces` of three letters.
        match: an expression that FTS5 reads.
        conditions: what SQL checks of every answer, each with its word.
        is_cut: whether so many answers may fail the conditions that only some are looked at.
    """

    table: Literal["words", "pieces"]
    match: str
    conditions: tuple[tuple[str, str], ...] = ()
    is_cut: bool = False


_WITHIN: Final = "instr(l.tokens, ?) > 0"
_BEGINNING: Final = "instr(' ' || l.tokens, ' ' || ?) > 0"


class Vocabulary:
    """The different words of all labels: which of them a word of a query may be.

    Where a word of a query can be written out as the few words that it may be, the index answers from lists that it
    has, and never has to merge new ones; and it need not be asked what it has answered already.
    """

    def __init__(self, terms: Iterable[str]) -> None:
        self._text = "\n".join(["", *terms, ""])

    def beginning(self, word: str) -> tuple[str, ...] | None:
        """The words that begin so; None where they are too many to write out."""
        return self._spelled(f"\n{word}", 1)

    def holding(self, word: str) -> tuple[str, ...] | None:
        """The words that hold these letters, likewise; those that begin so, where they are too few to be looked for."""
        return self.beginning(word) if len(word) < SHORT or " " in word else self._spelled(word, 0)

    def question(self, asked: Query, how: How) -> Question | None:
        """What the index is to be asked; None where it would find nothing that it is not asked otherwise."""
        together = tuple((_WITHIN, word) for word in asked.words if " " in word)
        if how == "whole words":
            return Question("words", " AND ".join(map(_quoted, asked.tokens)), together)
        beginnings = {token: self.beginning(token) for token in asked.tokens}
        if how == "beginnings":
            if () in beginnings.values() or all(terms == (token,) for token, terms in beginnings.items()):
                return None
            return Question("words", " AND ".join(itertools.starmap(_group, beginnings.items())), together)
        words = {token: self.holding(token) if token in asked.words else terms for token, terms in beginnings.items()}
        if () in words.values() or all(len(t) < SHORT or words[t] == beginnings[t] is not None for t in words):
            return None
        long = [token for token, terms in words.items() if terms is None and len(token) >= SHORT]
        if not long:
            return Question("words", " AND ".join(itertools.starmap(_group, words.items())), together)
        checked = tuple((_WITHIN if len(word) >= SHORT else _BEGINNING, word) for word in asked.words)
        return Question("pieces", asked.threes, checked, is_cut=asked.has_short)

    def _spelled(self, letters: str, skip: int) -> tuple[str, ...] | None:
        found: list[str] = []
        at = self._text.find(letters)
        while at >= 0:
            if len(found) == _SPELLED:
                return None
            start, end = self._text.rfind("\n", 0, at + skip) + 1, self._text.find("\n", at + skip)
            found.append(self._text[start:end])
            at = self._text.find(letters, end)
        return tuple(found)


def _group(token: str, terms: tuple[str, ...] | None) -> str:
    return f"{_quoted(token)} *" if terms is None else f"({' OR '.join(map(_quoted, terms))})"


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
