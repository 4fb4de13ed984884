"""What a reader answered: kept whole in one JSON file with its provenance, and written as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from steerwidgets.files.atomic import write_text
from steerwidgets.files.fields import NEEDED, Fields, is_finite
from steerwidgets.files.json_text import parse_json, read_json
from steerwidgets.files.shown import shown
from steerwidgets.label_checks.answered import Answered
from steerwidgets.label_checks.items import MODES, Item, Mode, Question
from steerwidgets.label_checks.scores import FeatureAnswers, Scores
from steerwidgets.labels.own import VERDICTS
from steerwidgets.transformer.plain_text import whole

_FORMAT: Final = "steerwidgets label check"
_VERSION: Final = 1
_TODO: Final = "take another copy of the file, or move it away to begin anew"
_COLUMNS: Final = (
    *("dictionary", "seed", "reader", "feature", "label", "mode", "item", "again", "scored", "question", "text"),
    *("kind", "decile", "value", "truth", "answer", "right", "seconds", "at", "verdict", "note"),
)


@dataclass(frozen=True)
class Checked:
    """A feature whose label is checked.

    Attributes:
        label: the label.
        density: how often the feature fires over its corpus; None where that is not known.
        notes: what was left out of its items, and why.
        verdict: what the reader made of it, or "".
        note: what else the reader said of it, or "".
    """

    label: str
    density: float | None = None
    notes: tuple[str, ...] = ()
    verdict: str = ""
    note: str = ""


@dataclass(frozen=True, repr=False)
class Answers:
    """Everything one reader answered.

    Attributes:
        dictionary: the dictionary's fingerprint.
        seed: the seed of the items.
        queue: the features, in the order in which they are asked.
        modes: what is asked of each.
        reader: who answers: a name, or "".
        provenance: dictionary, model, corpus, seed and versions, name by name.
        answered: the items, in the order in which they were answered.
        features: what is known of the features that were asked.
        position: how many steps of the queue are done.
    """

    dictionary: str
    seed: int
    queue: tuple[int, ...]
    modes: tuple[Mode, ...] = MODES
    reader: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)
    answered: tuple[Answered, ...] = ()
    features: Mapping[int, Checked] = field(default_factory=dict)
    position: int = 0

    def __len__(self) -> int:
        return len(self.answered)

    def __repr__(self) -> str:
        who = self.reader or "a reader without a name"
        return f"{len(self)} answers of {who} to the items of seed {self.seed}\n{self.scores}"

    def __iter__(self) -> Iterator[Answered]:
        return iter(self.answered)

    @cached_property
    def scores(self) -> Scores:
        """How the answers compare with where the features fire."""
        first: dict[tuple[int, Mode], Answered] = {}
        again: list[tuple[Answered, Answered]] = []
        for each in self.answered:
            if not each.scored:
                continue
            before = first.setdefault((each.index, each.mode), each)
            if each.again and before is not each:
                again.append((before, each))
        features = [
            FeatureAnswers(
                index,
                self.features[index].label,
                self.features[index].density,
                {mode: each for (of, mode), each in first.items() if of == index},
            )
            for index in dict.fromkeys(index for index, _ in first)
        ]
        return Scores.of(features, again)

    def with_answer(self, item: Item, answer: Any, checked: Checked, **how: Any) -> Answers:
        """The same and one more answer; see `Item.checked`.

        Raises:
            ValueError: it is no answer to the item.
        """
        made = Answered(item.id, item.mode, item.index, item.questions, item.checked(answer), **how)
        known = self.features.get(item.index)
        kept = replace(checked, verdict=known.verdict, note=known.note) if known is not None else checked
        return replace(self, answered=(*self.answered, made), features={**self.features, item.index: kept})

    def with_verdict(self, index: int, checked: Checked) -> Answers:
        """The same with another verdict on a feature."""
        return replace(self, features={**self.features, index: checked})

    def to_json(self) -> str:
        """The answers as JSON text, with their provenance; the same answers give the same text."""
        value = {
            "format": _FORMAT,
            "version": _VERSION,
            "dictionary": self.dictionary,
            "seed": self.seed,
            "queue": list(self.queue),
            "modes": list(self.modes),
            "reader": self.reader,
            "position": self.position,
            "provenance": dict(self.provenance),
            "features": {str(index): asdict(each) for index, each in self.features.items()},
            "answers": [asdict(each) for each in self.answered],
        }
        return json.dumps(whole(value), ensure_ascii=False, indent=1) + "\n"

    def save(self, path: str | Path) -> None:
        """Write them as JSON, whole or not at all.

        Raises:
            OSError: the file can't be written.
        """
        write_text(path, self.to_json())

    def to_csv(self, path: str | Path) -> None:
        """Write one line for each question, whole or not at all; a skipped one has no answer.

        Raises:
            OSError: the file can't be written.
        """
        write_text(path, self.csv())

    def csv(self) -> str:
        """The same as text."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(_COLUMNS)
        writer.writerows(self._rows())
        return str(whole(text.getvalue()))

    def _rows(self) -> Iterator[list[Any]]:
        for each in self.answered:
            known = self.features[each.index]
            item = [self.dictionary, self.seed, self.reader, each.index, known.label, each.mode, each.item]
            for at, (question, answer) in enumerate(zip(each.questions, each.answers, strict=True)):
                right = each.right(at)
                yield [
                    *item,
                    int(each.again),
                    int(each.scored),
                    at + 1,
                    "" if each.is_choice else question.key,
                    question.kind,
                    question.decile,
                    question.value,
                    question.truth,
                    answer,
                    None if right is None else int(right),
                    each.seconds,
                    each.at,
                    known.verdict,
                    known.note,
                ]

    @classmethod
    def load(cls, path: str | Path) -> Answers:
        """Read a file that `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged, or something else.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"There is no file of answers at {str(path)!r}.")
        return cls._read(read_json(path, todo=_TODO), path.name)

    @classmethod
    def from_json(cls, text: str) -> Answers:
        """What `to_json` gave.

        Raises:
            ValueError: it is damaged, or something else.
        """
        return cls._read(parse_json(text, "the text of answers", todo=_TODO), "the text of answers")

    @classmethod
    def _read(cls, value: Any, name: str) -> Answers:
        if not isinstance(value, dict) or value.get("format") != _FORMAT:
            raise ValueError(f"{name} holds no answers of a label check; give one that LabelCheck or `save` wrote.")
        said = Fields(value, f"In {name}", todo=_TODO)
        if said.value("version") != _VERSION:
            raise ValueError(
                f"{name} was written by another version of steerwidgets ({shown(said.value('version'))}); read it with "
                "that one."
            )
        features = {
            _index(key, said, "features"): _checked(Fields(each, f"In features of {name}", todo=_TODO))
            for key, each in said.inner("features", NEEDED).table.items()
        }
        answered = tuple(
            _answered(Fields(each, f"In answer {number + 1} of {name}", todo=_TODO), features)
            for number, each in enumerate(said.items("answers"))
        )
        modes = said.items("modes", of="modes")
        if not modes or not all(mode in MODES for mode in modes):
            raise said.wrong("modes", f"a list of {', '.join(map(repr, MODES))}")
        queue = said.items("queue", of="features")
        return cls(
            dictionary=said.text("dictionary"),
            seed=said.whole("seed"),
            queue=tuple(_index(index, said, "queue") for index in queue),
            modes=tuple(modes),
            reader=said.text("reader", ""),
            provenance=said.texts("provenance"),
            answered=answered,
            features=features,
            position=said.whole("position", low=0),
        )


def _index(value: Any, said: Fields, name: str) -> int:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise said.wrong(name, "indices of features, 0 or more")
    return value


def _checked(said: Fields) -> Checked:
    return Checked(
        label=said.text("label", ""),
        density=said.number("density", None, low=0, high=1),
        notes=tuple(map(str, said.items("notes", []))),
        verdict=said.text("verdict", "", choices=("", *VERDICTS)),
        note=said.text("note", ""),
    )


def _answered(said: Fields, features: Mapping[int, Checked]) -> Answered:
    questions = tuple(
        _question(Fields(each, said.where, todo=_TODO, within="questions.")) for each in said.items("questions")
    )
    answers = said.items("answers", of="numbers")
    index = said.whole("index", low=0)
    if index not in features:
        raise said.wrong("index", "one of the features that the file names")
    made = Answered(
        item=said.text("item"),
        mode=said.text("mode", choices=MODES),  # type: ignore[arg-type]
        index=index,
        questions=questions,
        answers=tuple(answers),
        again=said.flag("again", default=False),
        scored=said.flag("scored", default=True),
        seconds=said.number("seconds", None, low=0),
        at=said.number("at", 0.0),
    )
    most = float("inf") if made.is_choice else 1
    fit = all(each is None or (is_finite(each) and 0 <= each <= most) for each in answers)
    if not questions or len(answers) != len(questions) or not fit:
        raise said.wrong("answers", "one number for each of the questions, or null")
    return made


def _question(said: Fields) -> Question:
    return Question(
        key=said.text("key"),
        kind=said.text("kind"),
        truth=said.whole("truth", low=0),
        decile=said.whole("decile", None, low=1, high=10),
        value=said.number("value", None),
    )
