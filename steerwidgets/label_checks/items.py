"""The items that check a label: four questions of growing openness, the same for everyone who has the same seed.

Detection, fuzzing and intruder tests after EleutherAI's delphi (Paulo et al. 2024, "Automatically Interpreting Millions
of Features in Large Language Models", arXiv 2410.13928), with hard negatives as in its contrastive samplers; intruder
tests on this model family: arXiv 2507.08473.
"""

from __future__ import annotations

import functools
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from steerwidgets.files.fields import is_finite
from steerwidgets.label_checks.check_texts import DECILES, CheckText, CheckTexts, Found, Kind, Reading
from steerwidgets.steering.recipe import YOUR_LABEL

if TYPE_CHECKING:
    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.transformer.loaded import LoadedModel

Mode = Literal["odd one out", "which fire", "which tokens", "which label"]
"""What is asked."""

MODES: Final[tuple[Mode, ...]] = get_args(Mode)

NEGATIVES: Final[Mapping[Kind, int]] = {"random": 5, "neighbour": 3, "label's words": 2}
"""How many texts of each kind stand beside those where the feature fires."""

STEPS: Final = (0.0, 1 / 3, 2 / 3, 1.0)
"""The four steps of a person's confidence that the feature fires."""

_ALIKE: Final = 4
"""Texts of one decile beside the odd one out."""

_MARKED: Final = 0.3
"""From this share of a text's maximum on a token is marked."""

_JUDGED: Final = 6
"""Texts with marks: half of them marked right."""

_SHOWN: Final = 5
"""Examples that a label is chosen for."""

_LABELS: Final = 5


@dataclass(frozen=True)
class Question:
    """One thing that is asked and can be right or wrong.

    Attributes:
        key: the text's name; the item's own where the whole item is one question.
        kind: why the text is there: `fires` or a kind of silent text; `right tokens` or `wrong tokens`; `choice`.
        decile: of a text where the feature fires.
        truth: 1 or 0, whether it fires or the marks are right; of a choice, the right one.
        value: the feature's largest activation in the text.
    """

    key: str
    kind: str
    truth: int
    decile: int | None = None
    value: float | None = None


@dataclass(frozen=True)
class Item:
    """One screen: some texts, and what is asked of them.

    Attributes:
        mode: what is asked.
        index: the feature.
        label: the label that is checked; "" where it is not shown.
        texts: the texts, in the order in which they are shown.
        choices: the labels to choose from.
        truth: for each question the right answer: which text or label, or for each text 1 or 0.
    """

    mode: Mode
    index: int
    label: str
    texts: tuple[CheckText, ...]
    truth: tuple[int, ...]
    choices: tuple[str, ...] = ()

    @property
    def is_choice(self) -> bool:
        """Whether one text or label is chosen; otherwise each text is judged."""
        return self.mode in ("odd one out", "which label")

    @property
    def chance(self) -> float:
        """How often a guess is right."""
        options = (len(self.choices) or len(self.texts)) if self.is_choice else 2
        return 1 / options

    @property
    def id(self) -> str:
        """A name that the same item has everywhere."""
        said = [self.mode, self.index, self.label, [[t.token_ids, t.marked] for t in self.texts], self.choices]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]

    @property
    def questions(self) -> tuple[Question, ...]:
        """What is asked, each with its truth."""
        if self.is_choice:
            return (Question(self.id, "choice", self.truth[0], self._decile()),)
        marks = self.mode == "which tokens"
        return tuple(
            Question(
                text.key,
                ("right tokens" if truth else "wrong tokens") if marks else text.kind,
                truth,
                text.decile,
                text.value,
            )
            for text, truth in zip(self.texts, self.truth, strict=True)
        )

    def _decile(self) -> int | None:
        """Of the odd one out, the decile of the others; an upper one is easier."""
        found = {text.decile for text in self.texts if text.decile is not None}
        return found.pop() if self.mode == "odd one out" and len(found) == 1 else None

    def checked(self, answer: Any) -> tuple[float | None, ...]:
        """An answer as it is kept: for each question a number, None where it was skipped.

        Args:
            answer: which text or label, counted from 0; or for each text how sure one is that it fires, or that the
                marks are right, 0 to 1, True or False. None skips. Arrays and tensors are taken too.

        Raises:
            ValueError: it is no answer to this item.
        """
        number = len(self.truth)
        answer = _plain(answer)
        if answer is None:
            return (None,) * number
        if self.is_choice:
            several = list(answer) if isinstance(answer, list | tuple) and len(answer) == 1 else [answer]
            last = (len(self.choices) or len(self.texts)) - 1
            whole = _plain(several[0])
            if whole is None:
                return (None,)
            if isinstance(whole, bool) or not is_finite(whole) or whole != int(whole) or not 0 <= whole <= last:
                raise ValueError(
                    f"An answer to {self.mode!r} is which one, a whole number from 0 to {last}, or None, but "
                    f"{answer!r} was given."
                )
            return (float(whole),)
        if not isinstance(answer, list | tuple) or len(answer) != number:
            raise ValueError(
                f"An answer to {self.mode!r} is a list with one number from 0 to 1 for each of its {number} texts, but "
                f"{answer!r} was given."
            )
        return tuple(self._confidence(each) for each in answer)

    def _confidence(self, given: Any) -> float | None:
        given = _plain(given)
        if given is None:
            return None
        number = float(given) if isinstance(given, bool) else given
        if not is_finite(number) or not 0 <= number <= 1:
            raise ValueError(
                f"How sure one is of a text in {self.mode!r} is a number from 0 to 1, True, False or None, but "
                f"{given!r} was given."
            )
        return float(number)


def _plain(given: Any) -> Any:
    """An answer of numpy's or torch's as Python has it; any other as it is."""
    return given.tolist() if hasattr(given, "tolist") else given


@dataclass(frozen=True)
class FeatureItems:
    """The items of one feature.

    Attributes:
        index: the feature.
        label: the label that is checked; "" where it has none.
        items: what could be made, in the order of the modes.
        notes: what was left out or done otherwise, and why.
    """

    index: int
    label: str
    items: tuple[Item, ...]
    notes: tuple[str, ...] = field(default=())

    def of(self, mode: Mode) -> Item | None:
        """The item of a mode, where there is one."""
        return next((item for item in self.items if item.mode == mode), None)


class ItemMaker:
    """Makes the items of a dictionary's features.

    Args:
        lm: the model; it reads each text.
        dictionary: with evidence of its features.
        seed: the same seed gives everyone the same items.
        labels: labels to check in place of the dictionary's own, by feature.

    Raises:
        ValueError: the dictionary has no evidence, or the seed is no whole number.
    """

    def __init__(
        self, lm: LoadedModel, dictionary: Dictionary, seed: int, labels: Mapping[int, str] | None = None
    ) -> None:
        self.seed = checked_seed(seed)
        self.dictionary = dictionary
        self._labels = dict(labels or {})
        self._texts = CheckTexts(lm, dictionary, self.seed)

    def label(self, index: int) -> str:
        """The label that is checked: the imported one, so that everyone has the same; else the user's own, or ""."""
        if index in self._labels:
            return self._labels[index]
        labels = self.dictionary.labels_of(index)
        imported = [label.text for label in labels if label.source != YOUR_LABEL]
        return next(iter([*imported, *(label.text for label in labels)]), "")

    @functools.cached_property
    def labelled(self) -> list[int]:
        """The features that have a label to check."""
        imported = [index for index, label in enumerate(self.dictionary.labels) if label]
        return sorted({*self._labels} or {*imported} or {*self.dictionary.own_labels()})

    def of(self, index: int) -> FeatureItems:
        """The items of a feature, in the order of the modes; those that the evidence does not give are left out."""
        label = self.label(index)
        found = self._texts.of(index, label)
        making = _Making(self, index, label, found)
        items = tuple(item for item in making.items() if item is not None)
        return FeatureItems(index, label, items, tuple(making.notes))

    def other_labels(self, label: str, drawn: random.Random) -> list[str]:
        """Four labels of other features, drawn at random; fewer where there are no more."""
        others = [each for each in self._every_label if each.casefold() != label.casefold()]
        return drawn.sample(others, min(_LABELS - 1, len(others)))

    def text(self, reading: Reading, kind: Kind, *, decile: int | None = None, marked: Sequence[int] = ()) -> CheckText:
        """A text as it stands in an item."""
        return self._texts.text(reading, kind, decile=decile, marked=tuple(marked))

    @functools.cached_property
    def _every_label(self) -> list[str]:
        """The different labels that there are, imported ones where there are any."""
        every = self._labels.values() or self.dictionary.labels or self.dictionary.own_labels().values()
        return list({label.casefold(): label for label in every if label}.values())


class _Making:
    """The items of one feature while they are made: each text goes where it gives nothing away."""

    def __init__(self, maker: ItemMaker, index: int, label: str, found: Found) -> None:
        self._maker, self._index, self._label, self._found = maker, index, label, found
        self._drawn = random.Random(f"{maker.seed} {index} items")
        self.notes: list[str] = []
        if found.dense:
            self.notes.append(
                f"it fires nearly everywhere, so a text counts as silent up to {found.level:.3g}, "
                f"{found.level / found.maximum:.2g} of its maximum"
            )
        left = {decile: list(readings) for decile, readings in sorted(found.firing.items())}
        # One of each decile for "which fire", then four alike for "odd one out", which comes before it and must not
        # show its texts; then more for "which fire".
        self._firing = [readings.pop(0) for readings in left.values()]
        self._alike = self._four(left)
        rest = [reading for readings in left.values() for reading in readings if reading not in self._alike]
        self._more = self._drawn.sample(rest, min(DECILES - len(self._firing), len(rest)))

    def items(self) -> list[Item | None]:
        """An item of each mode, None where it can't be made."""
        if not self._firing:
            self.notes.append("it fires on none of its examples when they are read alone, so nothing can be asked")
            return []
        makers = (self._odd_one_out, self._which_fire, self._which_tokens, self._which_label)
        if not self._label:
            self.notes.append("it has no label, so only the odd one out is asked")
        return [make() for make in makers[: None if self._label else 1]]

    def _four(self, left: Mapping[int, list[Reading]]) -> list[Reading]:
        fit = [decile for decile, readings in left.items() if len(readings) >= _ALIKE]
        return left[self._drawn.choice(fit)][:_ALIKE] if fit else []

    def _odd_one_out(self) -> Item | None:
        quiet = self._found.silent["random"]
        # The last ones: "which fire" takes the first.
        odd = quiet[-1] if len(quiet) > NEGATIVES["random"] else None
        if not self._alike or odd is None:
            lacking = "silent text to spare" if self._alike else "decile with four examples to spare"
            self.notes.append(f"odd one out is left out: there is no {lacking}")
            return None
        texts = [*(self._fires(reading) for reading in self._alike), self._maker.text(odd, "random")]
        order = self._drawn.sample(range(len(texts)), len(texts))
        shown = tuple(texts[at] for at in order)
        return Item("odd one out", self._index, "", shown, (order.index(len(texts) - 1),))

    def _which_fire(self) -> Item | None:
        firing = [*self._firing, *self._more]
        missing = [decile for decile in range(1, DECILES + 1) if decile not in self._found.firing]
        if missing:
            instead = f"; of others there are {len(self._more)} more" if self._more else ""
            self.notes.append(f"there is no example of {_deciles(missing)}{instead}")
        silent = self._silent()
        if not silent:
            self.notes.append("which fire is left out: there is no silent text")
            return None
        texts = [*(self._fires(reading) for reading in firing), *silent]
        self._drawn.shuffle(texts)
        return Item("which fire", self._index, self._label, tuple(texts), tuple(int(text.fires) for text in texts))

    def _silent(self) -> list[CheckText]:
        """Ten texts where it is silent, random ones in the place of those that there are not."""
        spare = self._found.silent["random"]
        # The last one is the odd one out.
        spare = spare[: max(len(spare) - 1, NEGATIVES["random"])]
        chosen: dict[Reading, Kind] = {}
        for kind, number in NEGATIVES.items():
            fit = [each for each in (spare if kind == "random" else self._found.silent[kind]) if each not in chosen]
            chosen |= dict.fromkeys(fit[:number], kind)
            if len(fit) < number:
                self.notes.append(f"of {number} silent texts {_WHERE[kind]} there are {len(fit)}")
        lacking = sum(NEGATIVES.values()) - len(chosen)
        chosen |= dict.fromkeys([each for each in spare if each not in chosen][:lacking], "random")
        return [self._maker.text(reading, kind) for reading, kind in chosen.items()]

    def _which_tokens(self) -> Item | None:
        texts: list[CheckText] = []
        readings = self._drawn.sample([*self._firing, *self._more], len(self._firing) + len(self._more))
        # Texts that can be marked wrong first: there may be few, and the right ones can be any.
        readings.sort(key=lambda each: not self._wrong(each))
        chosen = readings[:_JUDGED]
        wrong = sum(bool(self._wrong(each)) for each in chosen[: len(chosen) // 2])
        if not wrong or len(chosen) < 2:
            self.notes.append("which tokens is left out: there are not two examples to mark, one right and one wrong")
            return None
        for at, reading in enumerate(chosen):
            marked = self._wrong(reading) if at < wrong else _right(reading)
            texts.append(self._fires(reading, marked))
        order = self._drawn.sample(range(len(texts)), len(texts))
        shown = tuple(texts[at] for at in order)
        return Item("which tokens", self._index, self._label, shown, tuple(int(at >= wrong) for at in order))

    def _wrong(self, reading: Reading) -> list[int]:
        """As many silent tokens as are active; none where there are not so many."""
        needed = len(_right(reading))
        quiet = [
            at
            for at, (value, counts) in enumerate(zip(reading.values, reading.counts, strict=True))
            if counts and value <= self._found.level
        ]
        if not 0 < needed <= len(quiet):
            return []
        return sorted(random.Random(f"{self._maker.seed} {reading.token_ids}").sample(quiet, needed))

    def _which_label(self) -> Item | None:
        others = self._maker.other_labels(self._label, self._drawn)
        if len(others) < _LABELS - 1:
            self.notes.append(f"which label is left out: there are {len(others)} other labels, and four are needed")
            return None
        strongest = sorted([*self._firing, *self._more], key=lambda each: -each.largest)[:_SHOWN]
        choices = [self._label, *others]
        order = self._drawn.sample(range(_LABELS), _LABELS)
        shown = tuple(choices[at] for at in order)
        texts = tuple(self._fires(reading, _right(reading)) for reading in strongest)
        return Item("which label", self._index, "", texts, (order.index(0),), shown)

    def _fires(self, reading: Reading, marked: Sequence[int] = ()) -> CheckText:
        return self._maker.text(reading, "fires", decile=self._found.decile(reading.largest), marked=marked)


_WHERE: Final[Mapping[Kind, str]] = {
    "random": "drawn at random",
    "neighbour": "where its nearest features fire",
    "label's words": "with a word of its label",
}


def _right(reading: Reading) -> list[int]:
    return [at for at, value in enumerate(reading.values) if value >= _MARKED * reading.largest and value > 0]


def _deciles(several: Sequence[int]) -> str:
    said = ", ".join(map(str, several))
    return f"decile {said}" if len(several) == 1 else f"deciles {said}"


def checked_seed(seed: Any) -> int:
    """A seed.

    Raises:
        ValueError: it is no whole number.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ValueError(f"The seed of a label check is a whole number that all share, but {seed!r} was given.")
    return seed
