"""The texts that labels are checked on: examples of the dictionary's own features, each read by itself."""

from __future__ import annotations

import functools
import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from steerwidgets.dictionaries.nearest import nearest
from steerwidgets.label_checks.where_it_should_fire import Texts, content_words
from steerwidgets.transformer.residuals import read_residuals

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.dictionaries.evidence import Evidence
    from steerwidgets.transformer.loaded import LoadedModel

Kind = Literal["fires", "random", "neighbour", "label's words"]
"""Why a text is in an item: the feature fires there; it is silent in a random one, where its nearest features fire, or
where words of its label stand."""

DECILES: Final = 10
_POOL: Final = 64
"""So many texts are read for all features together; where one is silent, they are its random texts."""

_QUIET: Final = 8
"""A feature that is silent in fewer of the pool's texts fires nearly everywhere."""

_RAISED: Final = (0.1, 0.2, 0.3)
"""Then a text counts as silent below one of these shares of the feature's maximum: the first that leaves enough."""

_BATCH: Final = 16
_SHORTEST: Final = 4
_RUN: Final = 6
"""Tokens in a row that two texts share only where they are pieces of one."""
_NEIGHBOURS: Final = 5
_OF_NEIGHBOURS: Final = 12
_OF_WORDS: Final = 12
_LOOKED_THROUGH: Final = 6000
"""Texts that are looked through for words of labels."""

_COMPARED: Final = 100_000
"""Dictionaries up to this size are searched for neighbours where no evidence names them."""

Ids = tuple[int, ...]


@dataclass(frozen=True)
class CheckText:
    """A text as it stands in an item.

    Attributes:
        token_ids: the text.
        pieces: the exact text of each token; "" for parts of characters.
        values: the feature's activation at each token, read on this text alone; 0 at tokens that do not count.
        kind: why it is there.
        decile: which tenth of the range from silence to the feature's maximum its largest activation lies in, 1 to 10;
            None where the feature is silent.
        marked: positions of tokens that are marked.
    """

    token_ids: Ids
    pieces: tuple[str, ...] = field(repr=False)
    values: tuple[float, ...] = field(repr=False)
    kind: Kind
    decile: int | None = None
    marked: Ids = ()

    @property
    def fires(self) -> bool:
        """Whether the feature fires on it."""
        return self.kind == "fires"

    @property
    def text(self) -> str:
        """The text, as a reader sees it."""
        return "".join(self.pieces)

    @property
    def value(self) -> float:
        """The largest activation."""
        return max(self.values)

    @property
    def key(self) -> str:
        """A name that the same text has everywhere."""
        return hashlib.sha256(repr(self.token_ids).encode()).hexdigest()[:12]

    def with_marks(self, before: str = "«", after: str = "»") -> str:
        """The text with marks around its marked tokens, for readers that see no colours."""
        marked = frozenset(self.marked)
        return "".join(f"{before}{p}{after}" if at in marked else p for at, p in enumerate(self.pieces))


@dataclass(frozen=True)
class Reading:
    """One feature on one text.

    Attributes:
        token_ids: the text.
        values: its activation at each token, 0 where that does not count.
        counts: which tokens count.
    """

    token_ids: Ids
    values: tuple[float, ...]
    counts: tuple[bool, ...]

    @property
    def largest(self) -> float:
        """The largest activation of the tokens that count."""
        return max((value for value, counts in zip(self.values, self.counts, strict=True) if counts), default=0.0)


@dataclass(frozen=True)
class Found:
    """The texts of one feature, each in an order drawn from the seed.

    Attributes:
        level: the activation at or below which a text counts as silent.
        maximum: the largest activation that the deciles reach to.
        firing: texts where it fires, by decile.
        silent: texts where it is silent, by why they are taken.
        dense: whether it fires nearly everywhere, so that the level was raised.
    """

    level: float
    maximum: float
    firing: Mapping[int, list[Reading]]
    silent: Mapping[Kind, list[Reading]]
    dense: bool

    def decile(self, value: float) -> int:
        """Which tenth of the range from silence to the maximum a value lies in, 1 to 10."""
        share = (value - self.level) / (self.maximum - self.level)
        # The upper end of a tenth belongs to it; rounding would put 0.3 into the fourth.
        return min(max(-int(-share * DECILES // 1), 1), DECILES)


class CheckTexts:
    """Finds and reads the texts of features; what all features share is read once.

    Args:
        lm: the model.
        dictionary: with evidence of its features.
        seed: of all that is drawn.

    Raises:
        ValueError: the dictionary has no evidence.
    """

    def __init__(self, lm: LoadedModel, dictionary: Dictionary, seed: int) -> None:
        if dictionary.feature_data is None:
            raise ValueError(
                f"A label is checked on examples, but nothing was gathered of {dictionary!r}; build a corpus index "
                "with index = sw.corpus.build(lm, dictionary, texts, path) and attach it: index.attach(dictionary)."
            )
        self.lm, self.dictionary, self.seed = lm, dictionary, seed
        self._texts = Texts(lm)

    def of(self, index: int, label: str) -> Found:
        """The texts of a feature.

        Args:
            index: the feature.
            label: its label; "" where it has none.
        """
        drawn = random.Random(f"{self.seed} {index} texts")
        evidence = self.dictionary.evidence(index)
        assert evidence is not None
        own = _texts_of(evidence)
        sought: dict[Kind, list[Ids]] = {
            "neighbour": _some(self._of_neighbours(index, evidence), _OF_NEIGHBOURS, own, drawn),
            "label's words": _some(self._with_words(label), _OF_WORDS, own, drawn),
        }
        pool = self._pool_read(index)
        level, maximum, dense = self._level(index, evidence, pool)
        read = self.read(list(dict.fromkeys([*own, *sought["neighbour"], *sought["label's words"]])), index)
        by_text = {each.token_ids: each for each in read}
        found = Found(level, maximum, defaultdict(list), {"neighbour": [], "label's words": [], "random": []}, dense)
        candidates = [*(by_text[text] for text in own), *(each for each in pool if each.token_ids not in own)]
        drawn.shuffle(candidates)
        seen: set[Ids] = set()
        for each in _apart((each for each in candidates if each.largest > level), seen):
            found.firing[found.decile(each.largest)].append(each)
        for kind, texts in sought.items():
            found.silent[kind].extend(by_text[text] for text in texts if by_text[text].largest <= level)
        quiet = [each for each in pool if each.largest <= level and each.token_ids not in by_text]
        found.silent["random"].extend(_apart(drawn.sample(quiet, len(quiet)), seen))
        return found

    def read(self, rows: Sequence[Ids], index: int) -> list[Reading]:
        """A feature on some texts, each read by itself."""
        read: dict[Ids, Reading] = {}
        ordered = sorted(rows, key=len)  # rows of about one length waste no padding
        for start in range(0, len(ordered), _BATCH):
            batch = ordered[start : start + _BATCH]
            for row, (h, counts) in zip(batch, self._residuals(batch), strict=True):
                read[row] = self._reading(row, h, counts, index)
        return [read[row] for row in rows]

    def text(self, reading: Reading, kind: Kind, *, decile: int | None = None, marked: Ids = ()) -> CheckText:
        """A text as it stands in an item."""
        pieces = tuple(self._texts(token) for token in reading.token_ids)
        values = tuple(round(value, 4) for value in reading.values)
        return CheckText(reading.token_ids, pieces, values, kind, decile, marked)

    def _residuals(self, rows: Sequence[Ids]) -> list[tuple[Tensor, Tensor]]:
        """Of each text its residual, float32 [position, d_model], and which tokens count."""
        import torch

        site = self.dictionary.site
        with self.lm.lock:
            found = read_residuals(self.lm.architecture, rows, [site])
        counted = found.counted(site)
        own = [torch.tensor([token not in self.lm.special_ids for token in row]) for row in rows]
        return [
            (found.values[site][at, -len(row) :], counted[at, -len(row) :] & own[at]) for at, row in enumerate(rows)
        ]

    def _reading(self, row: Ids, h: Tensor, counts: Tensor, index: int) -> Reading:
        import torch

        with torch.no_grad():
            values = self.dictionary.activations(h, [index])[:, 0].float()
        counts = counts & values.isfinite()
        return Reading(row, tuple(values.masked_fill(~counts, 0.0).tolist()), tuple(counts.tolist()))

    @functools.cached_property
    def _pool(self) -> list[tuple[Ids, Tensor, Tensor]]:
        """Examples of features drawn at random, read once: text, residual, which tokens count."""
        drawn = random.Random(f"{self.seed} pool")
        texts: dict[Ids, None] = {}
        for index in self._some_features(drawn):
            evidence = self.dictionary.evidence(index)
            assert evidence is not None
            if own := _texts_of(evidence):
                texts |= dict.fromkeys(drawn.sample(own, min(len(own), 1 + _POOL // self.dictionary.size)))
            if len(texts) >= _POOL:
                break
        rows = sorted(texts, key=len)
        parts = [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]
        return [(row, *read) for part in parts for row, read in zip(part, self._residuals(part), strict=True)]

    def _some_features(self, drawn: random.Random) -> list[int]:
        return drawn.sample(range(self.dictionary.size), min(self.dictionary.size, _LOOKED_THROUGH))

    def _pool_read(self, index: int) -> list[Reading]:
        return [self._reading(row, h, counts, index) for row, h, counts in self._pool]

    def _level(self, index: int, evidence: Evidence, pool: Sequence[Reading]) -> tuple[float, float, bool]:
        """At which activation silence ends, where the deciles end, and whether silence had to be raised."""
        statistics = self.dictionary.statistics
        zero = statistics.of("zero", index) if statistics is not None else None
        level = self.dictionary.active_above if zero is None else zero
        known = [self.dictionary.maximum(index) or 0.0, evidence.histogram_top, *(each.largest for each in pool)]
        maximum = max(known) if known[0] <= level else known[0]

        def quiet(level: float) -> bool:
            return sum(each.largest <= level for each in pool) >= min(_QUIET, len(pool))

        dense = zero is None and not quiet(level)
        if dense:
            levels = [share * maximum for share in _RAISED]
            level = next(filter(quiet, levels), levels[-1])
        return level, max(maximum, level + 1e-6), dense

    def _of_neighbours(self, index: int, evidence: Evidence) -> list[Ids]:
        near = [other for other, _ in evidence.nearest]
        if not near and not self.dictionary.are_axes and 1 < self.dictionary.size <= _COMPARED:
            near = nearest(self.dictionary, self.dictionary[index], _NEIGHBOURS + 1)[0]
        near = near or [other for other, _ in evidence.coactive]
        others = [other for other in near if other != index][:_NEIGHBOURS]
        found = (self.dictionary.evidence(other) for other in others)
        return [text for each in found if each is not None for text in _texts_of(each)]

    def _with_words(self, label: str) -> list[Ids]:
        words = sorted(content_words(label))
        return list(dict.fromkeys(text for word in words for text in self._by_word.get(word, ())))

    @functools.cached_property
    def _by_word(self) -> Mapping[str, list[Ids]]:
        """Texts by the words in them."""
        found: dict[str, list[Ids]] = defaultdict(list)
        seen = 0
        for index in self._some_features(random.Random(f"{self.seed} words")):
            evidence = self.dictionary.evidence(index)
            assert evidence is not None
            for text in _texts_of(evidence):
                seen += 1
                for word in {word.casefold() for _, _, word in self._texts.words(text)}:
                    found[word].append(text)
            if seen >= _LOOKED_THROUGH:
                break
        return found


def _texts_of(evidence: Evidence) -> list[Ids]:
    """The different texts of a feature's examples."""
    every = (*evidence.examples, *(each for band in evidence.quantiles for each in band.examples), *evidence.random)
    return list(dict.fromkeys(each.token_ids for each in every if len(each.token_ids) >= _SHORTEST))


def _some(texts: Iterable[Ids], most: int, without: Sequence[Ids], drawn: random.Random) -> list[Ids]:
    others = [text for text in dict.fromkeys(texts) if text not in without]
    return drawn.sample(others, min(most, len(others)))


def _apart(readings: Iterable[Reading], seen: set[Ids]) -> Iterator[Reading]:
    """Those that share no run of tokens with one before: pieces of one passage give each other away.

    Args:
        readings: of some texts.
        seen: the runs of those before; those of what is given on are put into it.
    """
    for each in readings:
        ids = each.token_ids
        runs = {ids[at : at + _RUN] for at in range(max(1, len(ids) - _RUN + 1))}
        if seen.isdisjoint(runs):
            seen |= runs
            yield each
