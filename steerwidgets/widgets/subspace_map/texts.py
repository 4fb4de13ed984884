"""What a map reads: the user's texts, or the examples that a dictionary came with, and what is told of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.transformer.mistakes import what

if TYPE_CHECKING:
    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.dictionaries.evidence import Evidence

_CHARACTERS: Final = 64
"""Characters of a text that are looked at for each token that is read of it: no tokenizer's tokens are longer."""


def readable(texts: Iterable[Any], max_length: int) -> Iterator[Any]:
    """Texts with something in them; of a very long one no more than can be read goes to the tokenizer."""
    longest = max_length * _CHARACTERS
    for text in texts:
        if not isinstance(text, str):
            yield text
        elif text.strip():
            yield text[:longest]


def checked_texts(texts: Any) -> Any:
    """The texts themselves; an empty list, and what is no list of texts, is refused.

    Raises:
        TypeError: one text, or something else, was given in place of several.
        ValueError: there is none.
    """
    meant = 'give several: texts=["The sea was calm.", …], or leave it out for the examples of the dictionary'
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise TypeError(f"texts of sw.SubspaceMap are several texts, but {what(texts)} was given; {meant}.")
    if isinstance(texts, list | tuple):
        if all(isinstance(text, str) and not text.strip() for text in texts):
            given = what(texts) if not texts else f"{what(texts)} without a word"
            raise ValueError(f"texts of sw.SubspaceMap has nothing to read: {given} was given; {meant}.")
        if all(isinstance(text, int) for text in texts):
            raise TypeError(f"texts of sw.SubspaceMap are several texts, but {what(texts)} was given; {meant}.")
    return texts


def no_examples(kind: str) -> str:
    """The sentence for a dictionary that has nothing to read."""
    return (
        f"This {kind} came without examples, so there is no text to read: give some, "
        'sw.SubspaceMap(lm, dictionary, texts=["The sea was calm.", …]), or build an index of a corpus and attach it '
        "(sw.corpus.build)."
    )


def has_examples(dictionary: Dictionary) -> bool:
    """Whether any feature comes with an example; a few tell."""
    if dictionary.feature_data is None:
        return False
    return any(True for index in range(min(dictionary.size, 64)) for _ in _windows(dictionary.evidence(index)))


def examples(dictionary: Dictionary, first: int) -> Iterator[tuple[int, ...]]:
    """The windows of tokens that a dictionary came with, each once: those of one feature, then of all in turn."""
    seen: set[tuple[int, ...]] = set()
    order = [first, *(index for index in range(dictionary.size) if index != first)]
    for index in order:
        for ids in _windows(dictionary.evidence(index)):
            if ids not in seen:
                seen.add(ids)
                yield ids


def _windows(evidence: Evidence | None) -> Iterator[tuple[int, ...]]:
    if evidence is None:
        return
    bands = [example for band in evidence.quantiles for example in band.examples]
    for example in (*evidence.examples, *bands, *evidence.random):
        if example.token_ids:
            yield tuple(example.token_ids)
