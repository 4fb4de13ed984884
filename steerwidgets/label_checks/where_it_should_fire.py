"""Where a feature should fire: the words that its label and its examples name, and the texts that hold them."""

from __future__ import annotations

import functools
import random
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import threading

    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.dictionaries.evidence import Evidence, Example
    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import PromptLike

_WORD: Final = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_QUOTED: Final = re.compile(r"[‘“'\"]([^‘’“”'\"]+)[’”'\"]")
_SHORTEST: Final = 3
_SMALL_WORDS: Final = frozenset(
    re.findall(
        r"\w+",
        "about after all also and any are before being between both but can chiefly etc especially for from has "
        "have how including into its like mainly mostly not one only other over particularly particular related "
        "some such than that the their them then there these they thing things this those two under used uses "
        "using usually very what when where which who whose with within without word words phrase phrases token "
        "tokens text texts ",
    )
)
"""Words of labels that say how, and not what."""

_HALF: Final = 0.5
"""A token is one of the feature's own where an example peaks at it with at least this share of the largest."""

_LOOKED_AT: Final = 1500
"""The examples of so many other features are looked through at most."""

_BEFORE, _AFTER = 192, 64
"""As many tokens of a long text are read around the word."""


@dataclass(frozen=True)
class Place:
    """A word in a text, first to last token, and the activation that is typical of the feature there."""

    first: int
    last: int
    word: str
    expected: float


@dataclass(frozen=True)
class Candidate:
    """A text with places where the feature should fire."""

    token_ids: tuple[int, ...]
    places: tuple[Place, ...]
    source: str


@dataclass(frozen=True)
class Sought:
    """What to look for.

    Attributes:
        words: whole words, casefolded.
        typical: the median activation where the feature is active.
        typical_at: the same at some of the words, the largest of each word's tokens.
    """

    words: frozenset[str]
    typical: float
    typical_at: Mapping[str, float]
    texts: Texts = field(repr=False)

    def places(self, token_ids: Sequence[int]) -> tuple[Place, ...]:
        """The places of a text."""
        if not any(map(self._may_begin, token_ids)):
            return ()
        return tuple(
            Place(first, last, word, self.typical_at.get(word.casefold(), self.typical))
            for first, last, word in self.texts.words(token_ids)
            if word.casefold() in self.words
        )

    def _may_begin(self, token: int) -> bool:
        """Whether one of the words may begin in this token."""
        if token not in self._begins:
            parts = _WORD.findall(self.texts(token).casefold())
            whole = any(part in self.words for part in parts)
            self._begins[token] = whole or (bool(parts) and parts[-1] in self._beginnings)
        return self._begins[token]

    @functools.cached_property
    def _begins(self) -> dict[int, bool]:
        return {}

    @functools.cached_property
    def _beginnings(self) -> frozenset[str]:
        return frozenset(word[:end] for word in self.words for end in range(1, len(word) + 1))


class Texts:
    """The text of tokens by id, each decoded once; nothing for parts of characters."""

    def __init__(self, lm: LoadedModel) -> None:
        self._lm = lm
        self._known: dict[int, str] = {}

    def __call__(self, token_id: int) -> str:
        """The text of a token."""
        if token_id not in self._known:
            token = self._lm.tokens([token_id])[0]
            self._known[token_id] = "" if token.fragment else token.text
        return self._known[token_id]

    def words(self, token_ids: Sequence[int]) -> Iterator[tuple[int, int, str]]:
        """The words of a text, each with its first and last token."""
        texts = [self(token) for token in token_ids]
        token_of = [token for token, text in enumerate(texts) for _ in text]
        for match in _WORD.finditer("".join(texts)):
            yield token_of[match.start()], token_of[match.end() - 1], match.group()


def sought(lm: LoadedModel, dictionary: Dictionary, index: int, words: Sequence[str] | None) -> Sought:
    """What to look for in texts, from words given or from the feature's label and examples.

    Raises:
        ValueError: nothing is known of the feature's activations, or there is nothing to look for.
    """
    examples = _examples(dictionary.evidence(index))
    # Where activations are never quite 0, their median says nothing.
    known = None if dictionary.active_above else dictionary.typical(index)
    typical = known or _median(example.values[example.peak] for example in examples)
    if not typical or typical <= 0:
        raise ValueError(
            f"Nothing is known of how strongly {dictionary.label(index)!r} fires, so that silence could be told from "
            "it; build a corpus index with sw.corpus.build(lm, dictionary, texts, path) and attach it."
        )
    texts = Texts(lm)
    if words is not None:
        chosen = frozenset(part for word in words for part in _WORD.findall(str(word).casefold()))
    else:
        label = content_words(dictionary.label(index)) if dictionary.labels_of(index) else frozenset()
        chosen = label | _peak_words(examples, texts)
    if not chosen:
        raise ValueError(
            f"There is no word to look for: {dictionary.label(index)!r} has no label with content words and no example "
            "with a word at its peak; give words=[…]."
        )
    return Sought(chosen, typical, _typical_at(chosen, examples, texts), texts)


def content_words(label: str) -> frozenset[str]:
    """The words of a label that say what it is about; only those in quotation marks, where there are some."""
    quoted = [word for part in _QUOTED.findall(label) for word in _WORD.findall(part.casefold())]
    words = quoted or _WORD.findall(label.casefold())
    return frozenset(word for word in words if len(word) >= _SHORTEST and word not in _SMALL_WORDS)


def corpus_candidates(
    dictionary: Dictionary, index: int, wanted: Sought, at_most: int, stop: threading.Event | None
) -> list[Candidate]:
    """Examples of other features that hold a place: of its neighbours first, then of others drawn at random.

    Raises:
        ValueError: the dictionary has no examples.
    """
    evidence = dictionary.evidence(index)
    if evidence is None:
        raise ValueError(
            "There are no corpus examples to look in; give texts, or build a corpus index with "
            "sw.corpus.build(lm, dictionary, texts, path) and attach it."
        )
    near = [other for other, _ in (*evidence.nearest, *evidence.coactive)]
    others = list(range(dictionary.size))
    random.Random(index).shuffle(others)  # the same sample every time
    seen = {example.token_ids for example in _examples(evidence)}
    found: list[Candidate] = []
    for other in list(dict.fromkeys([*near, *others]))[:_LOOKED_AT]:
        if len(found) >= at_most or (stop is not None and stop.is_set()):
            break
        if other == index or (theirs := dictionary.evidence(other)) is None:
            continue
        for example in theirs.examples:
            if example.token_ids not in seen and (places := wanted.places(example.token_ids)):
                seen.add(example.token_ids)
                found.append(Candidate(example.token_ids, places, example.source))
    return found[:at_most]


def given_candidates(
    lm: LoadedModel, wanted: Sought, texts: Iterable[PromptLike], at_most: int, stop: threading.Event | None
) -> list[Candidate]:
    """Texts that hold a place; an iterator is read no further than needed."""
    found: list[Candidate] = []
    for number, text in enumerate(texts):
        if len(found) >= at_most or (stop is not None and stop.is_set()):
            break
        ids = lm.encode(text, chat=False).token_ids
        if not (places := wanted.places(ids)):
            continue
        start = max(0, places[0].first - _BEFORE)
        end = min(len(ids), places[0].last + 1 + _AFTER)
        inside = [place for place in places if place.last < end]
        moved = tuple(Place(p.first - start, p.last - start, p.word, p.expected) for p in inside)
        found.append(Candidate(tuple(ids[start:end]), moved, f"text {number + 1}"))
    return found


def _examples(evidence: Evidence | None) -> tuple[Example, ...]:
    if evidence is None:
        return ()
    return (*evidence.examples, *(each for band in evidence.quantiles for each in band.examples), *evidence.random)


def _peak_words(examples: Sequence[Example], texts: Texts) -> frozenset[str]:
    """The words at which the feature's own examples peak, the weak ones left out."""
    top = max((example.values[example.peak] for example in examples), default=0.0)
    strong = [example for example in examples if example.values[example.peak] >= _HALF * top]
    named = (word for each in strong for first, last, word in texts.words(each.token_ids) if first <= each.peak <= last)
    return frozenset(word.casefold() for word in named if len(word) >= _SHORTEST and word.isalpha())


def _typical_at(words: frozenset[str], examples: Sequence[Example], texts: Texts) -> dict[str, float]:
    values: dict[str, list[float]] = defaultdict(list)
    for example in examples:
        for first, last, word in texts.words(example.token_ids):
            value = max(example.values[first : last + 1])
            if value > 0 and word.casefold() in words:
                values[word.casefold()].append(value)
    return {word: statistics.median(several) for word, several in values.items()}


def _median(values: Iterable[float]) -> float | None:
    several = list(values)
    return statistics.median(several) if several else None
