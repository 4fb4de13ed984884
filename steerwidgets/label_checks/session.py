"""One reader's way through the items: which comes next, what was answered, and how it goes on after a break."""

from __future__ import annotations

import hashlib
import json
import random
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

from steerwidgets.files.atomic import made_folder
from steerwidgets.files.shown import named, shown
from steerwidgets.label_checks.answers import Answers, Checked
from steerwidgets.label_checks.items import MODES, FeatureItems, Item, ItemMaker, Mode, checked_seed
from steerwidgets.labels.own import checked_verdict, data_dir
from steerwidgets.steering.recipe import Feature
from steerwidgets.transformer.mistakes import one_or_several, wrong
from steerwidgets.transformer.plain_text import whole

if TYPE_CHECKING:
    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.transformer.loaded import LoadedModel

Queue = Literal["random", "poorly scored"]
"""Which features are checked, where nobody names them."""

FeaturesToCheck = Queue | int | str | Feature | Iterable[int | str | Feature]

_COUNT: Final = 24
_PRACTICE: Final = 2
_SCORE: Final = "detection"


class CheckSettings(TypedDict, total=False):
    """What is checked, and by whom.

    Attributes:
        features: indices, labels or features, in this order; `random` (the default) draws labelled ones, `poorly
            scored` takes those whose labels did worst where they were tested.
        seed: the same seed gives everyone the same items; 0 by default.
        count: how many features are drawn, 24 by default.
        modes: what is asked of each; by default all four.
        labels: labels to check in place of the dictionary's own, by feature.
        reader: who answers.
    """

    features: FeaturesToCheck
    seed: int
    count: int
    modes: Sequence[Mode]
    labels: Mapping[int, str] | None
    reader: str


@dataclass(frozen=True)
class Step:
    """One step of the way.

    Attributes:
        index: the feature.
        mode: what is asked; None for its reveal and the verdict.
        again: it was asked before.
        scored: it counts.
    """

    index: int
    mode: Mode | None
    again: bool = False
    scored: bool = True


class CheckSession:
    """Asks items in order and keeps every answer on the disk as it is given.

    Args:
        lm: the model.
        dictionary: whose labels are checked.
        folder: where answers are kept, one file for each queue, seed and reader; None keeps them in memory.
        practice: whether two unscored items come first.
        settings: see `CheckSettings`.

    Attributes:
        dictionary: the same.
        queue: the features.
        modes: what is asked of each.
        steps: the whole way.
        answers: what was answered so far.
        file: where it is kept, or None.

    Raises:
        IndexError: there is no such feature.
        KeyError: no feature, or more than one, has that label.
        OSError: answers can't be kept there.
        ValueError: nothing can be asked, a setting is wrong, or the file of answers is damaged.
    """

    def __init__(
        self,
        lm: LoadedModel,
        dictionary: Dictionary,
        *,
        folder: Path | None = None,
        practice: bool = True,
        features: FeaturesToCheck = "random",
        seed: int = 0,
        count: int = _COUNT,
        modes: Sequence[Mode] = MODES,
        labels: Mapping[int, str] | None = None,
        reader: str = "",
    ) -> None:
        self.dictionary = dictionary
        self.modes = _checked_modes(modes)
        _check_labels(labels)
        self._maker = ItemMaker(lm, dictionary, checked_seed(seed), labels)
        self.queue = _queue(self._maker, features, count)
        self.steps = self._planned(practice=practice)
        self._made: dict[int, FeatureItems] = {}
        statistics = dictionary.statistics
        self._density = {
            index: statistics.of("density", index) if statistics is not None else None
            for index in {step.index for step in self.steps}
        }
        self.answers = Answers(
            dictionary.fingerprint,
            self._maker.seed,
            tuple(self.queue),
            self.modes,
            str(whole(reader)),
            self._provenance(lm, labels),
        )
        self.file = None if folder is None else folder / f"{self._name(labels)}.json"
        if self.file is not None and self.file.is_file():
            self._resume(Answers.load(self.file))

    @property
    def is_done(self) -> bool:
        """Whether every step was taken."""
        return self.answers.position >= len(self.steps)

    @property
    def step(self) -> Step | None:
        """The step that comes next; None at the end. Items that can't be made are passed over."""
        while not self.is_done:
            step = self.steps[self.answers.position]
            items = self.items(step.index)
            if (step.mode is None and items.items) or (step.mode is not None and items.of(step.mode) is not None):
                return step
            self._move(self.answers)
        return None

    @property
    def item(self) -> Item | None:
        """The item that is asked next; None at a reveal and at the end."""
        step = self.step
        return None if step is None or step.mode is None else self.items(step.index).of(step.mode)

    def items(self, index: int) -> FeatureItems:
        """The items of a feature, made once."""
        if index not in self._made:
            self._made[index] = self._maker.of(index)
        return self._made[index]

    def is_made(self, index: int) -> bool:
        """Whether a feature's items are there at once."""
        return index in self._made

    def answer(self, answer: Any, *, seconds: float | None = None) -> None:
        """Answer the item that is asked, None to skip it, and go on.

        Raises:
            OSError: it can't be written; it is kept in memory, and written with the next one.
            ValueError: it is no answer to this item, or none is asked.
        """
        step, item = self.step, self.item
        if step is None or item is None:
            raise ValueError("Nothing is asked at the moment, so there is nothing to answer; go on first.")
        how = {"again": step.again, "scored": step.scored, "seconds": seconds, "at": round(time.time(), 3)}
        self._move(self.answers.with_answer(item, answer, self._checked(step.index), **how))

    def go_on(self) -> None:
        """Leave a reveal.

        Raises:
            OSError: that can't be kept.
            ValueError: an item is asked.
        """
        step = self.step
        if step is None or step.mode is not None:
            raise ValueError("There is an item to answer before it goes on; answer it, or skip it.")
        self._move(self.answers)

    def judge(self, index: int, verdict: str | None = None, note: str | None = None) -> Checked:
        """Keep a verdict on a feature, beside the user's own labels as well; what is not given stays, "" takes it away.

        Raises:
            OSError: it can't be kept.
            ValueError: there is no such verdict.
        """
        before = self._checked(index)
        self.dictionary.user_labels.set(index, verdict=verdict, note=note)
        after = Checked(
            before.label,
            before.density,
            before.notes,
            before.verdict if verdict is None else checked_verdict(verdict),
            before.note if note is None else note,
        )
        self._keep(self.answers.with_verdict(index, after))
        return after

    def _checked(self, index: int) -> Checked:
        known = self.answers.features.get(index)
        if known is not None:
            return known
        items = self.items(index)
        return Checked(items.label, self._density.get(index), items.notes)

    def _move(self, answers: Answers) -> None:
        self._keep(replace(answers, position=answers.position + 1))

    def _keep(self, answers: Answers) -> None:
        """In memory first: what can't be written now is written with the next answer."""
        self.answers = answers
        if self.file is not None:
            made_folder(self.file.parent)
            answers.save(self.file)

    def _resume(self, kept: Answers) -> None:
        new = self.answers
        for what, mine, theirs in (
            ("dictionary", new.dictionary, kept.dictionary),
            ("seed", new.seed, kept.seed),
            ("queue", list(new.queue), list(kept.queue)),
            ("modes", list(new.modes), list(kept.modes)),
        ):
            if mine != theirs:
                raise ValueError(
                    f"{self.file} holds answers of another {what}, {shown(theirs)} and not {shown(mine)}; move it away "
                    "to begin anew."
                )
        self.answers = kept

    def _planned(self, *, practice: bool) -> tuple[Step, ...]:
        drawn = random.Random(f"{self._maker.seed} plan")
        steps: list[Step] = []
        if practice:
            steps += self._practice(drawn)
        items = len(self.queue) * len(self.modes)
        # One that comes again does so after the next feature, and its own reveal waits for it.
        number = min(round(items / 10), len(self.queue) - 1)
        repeated = {index: drawn.choice(self.modes) for index in drawn.sample(self.queue[:-1], max(number, 0))}
        waiting: list[Step] = []
        for index in self.queue:
            steps += [Step(index, mode) for mode in self.modes]
            if index in repeated:
                held, waiting = waiting, [Step(index, repeated[index], again=True), Step(index, None)]
            else:
                held, waiting = [Step(index, None), *waiting], []
            steps += held
        return (*steps, *waiting)

    def _practice(self, drawn: random.Random) -> list[Step]:
        """Two items of features that are not in the queue, and what they were."""
        others = _askable(self._maker, drawn, without=frozenset(self.queue))
        modes = self.modes[:_PRACTICE]
        features = [index for _, index in zip(range(_PRACTICE // len(modes)), others, strict=False)]
        return [Step(index, mode, scored=False) for index in features for mode in (*modes, None)]

    def _provenance(self, lm: LoadedModel, labels: Mapping[int, str] | None) -> dict[str, str]:
        dictionary, data = self.dictionary, self.dictionary.feature_data
        return {
            **lm.provenance,
            "dictionary": f"{dictionary!r} {dict(dictionary.provenance)}",
            "fingerprint": dictionary.fingerprint,
            "site": str(dictionary.site),
            "corpus": data.corpus if data is not None else "",
            "labels": "given" if labels else "the dictionary's own",
            "seed": str(self._maker.seed),
        }

    def _name(self, labels: Mapping[int, str] | None) -> str:
        """A file's name: the same queue, seed and reader find it again."""
        given = sorted((labels or {}).items())
        answers = self.answers
        corpus = answers.provenance["corpus"]
        said = json.dumps([answers.dictionary, corpus, answers.queue, answers.modes, answers.seed, given])
        reader = re.sub(r"[^\w-]+", "_", answers.reader)[:40]
        who = f"-{reader}-{hashlib.sha256(answers.reader.encode()).hexdigest()[:6]}" if reader else ""
        kind = self.dictionary.kind.lower()
        return f"{kind}-{answers.seed}-{hashlib.sha256(said.encode()).hexdigest()[:12]}{who}"


def answers_folder() -> Path:
    """Where answers are kept: beside the user's own labels.

    Raises:
        OSError: there is no folder of the user's own.
    """
    return data_dir() / "label_checks"


def _check_labels(labels: Any) -> None:
    """Refuse what is no label by feature.

    Raises:
        TypeError: it is something else.
    """
    if labels is None:
        return
    meant = "labels={3: 'the sea'}"
    if not isinstance(labels, Mapping):
        raise wrong("A label check", "labels by feature, each a text", labels, meant)
    for index, label in labels.items():
        if isinstance(index, bool) or not isinstance(index, int) or not isinstance(label, str):
            given = index if isinstance(label, str) else label
            raise wrong("A label check", "labels by feature, each a text", given, meant)


def _checked_modes(modes: Any) -> tuple[Mode, ...]:
    several = one_or_several(modes, lambda each: isinstance(each, str))
    unknown = [mode for mode in several if mode not in MODES]
    if unknown or not several:
        raise ValueError(
            f"modes are some of {', '.join(map(repr, MODES))}, but {named(unknown) if unknown else 'none'} was given."
        )
    return tuple(mode for mode in MODES if mode in several)


def _queue(maker: ItemMaker, features: FeaturesToCheck, count: int) -> list[int]:
    dictionary = maker.dictionary
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"count is how many features are checked, 1 or more, but {count!r} was given.")
    if features == "poorly scored":
        scored = sorted((score[_SCORE], index) for index, score in dictionary.label_scores.items() if _SCORE in score)
        if not scored:
            raise ValueError(
                f"No label of {dictionary!r} was tested, so none is known to do poorly; choose features, or 'random'."
            )
        return [index for _, index in scored[:count]]
    if features == "random":
        drawn = _askable(maker, random.Random(f"{maker.seed} queue"))
        found = [index for _, index in zip(range(count), drawn, strict=False)]
        if not found:
            raise ValueError(
                f"No feature of {dictionary!r} has an example to check a label on; build an index of a larger corpus."
            )
        return found
    several = one_or_several(features, lambda each: isinstance(each, int | str | Feature))
    foreign = [each for each in several if isinstance(each, Feature) and each.dictionary != dictionary.fingerprint]
    if foreign:
        raise ValueError(
            f"{foreign[0]!r} is a feature of another dictionary than {dictionary!r}; choose features of this one."
        )
    chosen = [dictionary[each.index if isinstance(each, Feature) else each].index for each in several]
    if not chosen:
        raise ValueError("There is no feature to check; choose some, or 'random', or 'poorly scored'.")
    return list(dict.fromkeys(chosen))


def _askable(maker: ItemMaker, drawn: random.Random, without: frozenset[int] = frozenset()) -> Iterable[int]:
    """Features with examples, in random order: labelled ones, unless there are none."""
    dictionary = maker.dictionary
    candidates = maker.labelled or range(dictionary.size)
    for index in drawn.sample(candidates, len(candidates)):
        evidence = dictionary.evidence(index) if index not in without else None
        if evidence is not None and evidence.examples:
            yield index
