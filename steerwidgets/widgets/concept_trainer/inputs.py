"""What stands in a trainer's boxes, checked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal, get_args

from steerwidgets.concepts.training import METHODS, POOLS, ConceptMethod
from steerwidgets.dictionaries.cav.fit import Pool
from steerwidgets.files.shown import shown

Source = Literal["texts", "prompts", "table"]
SOURCES: Final = get_args(Source)
MOST_TEXTS: Final = 500
"""Texts of either list that a page holds: as many as a training reads."""
MOST_LETTERS: Final = 4000
"""Of one text: far more than the tokens that a training reads."""

QUESTIONS: Final = (
    "How was your day?",
    "What do you think of Mondays?",
    "Tell me about your neighbours.",
    "What should I cook tonight?",
    "How do I start learning to draw?",
    "What happened in the office today?",
    "Describe a walk through the city.",
    "What would you say to an old friend?",
    "How is the weather where you are?",
    "What do you expect from next year?",
    "Tell me about a book that you read.",
    "What makes a good meeting?",
    "How should I spend the weekend?",
    "What do you remember of your school?",
    "Give me some advice for a long journey.",
    "What do you think of trains?",
)
"""Everyday questions, about nothing in particular."""


@dataclass(frozen=True)
class Entry:
    """One text of a list.

    Attributes:
        text: its words.
        key: where it was given as messages or ids, or written by the model: which of the trainer's prompts it is;
            −1 for plain text.
        written: whether the model wrote it, under one of the two prompts.
    """

    text: str
    key: int = -1
    written: bool = False


@dataclass(frozen=True)
class Inputs:
    """What a trainer is asked for.

    Attributes:
        name: what the concept is called.
        source: where the texts come from: `texts`, `prompts` or `table`.
        positives: texts with the concept.
        negatives: texts without it.
        systems: the two system prompts.
        questions: what is answered under both.
        tokens: of an answer.
        columns: of a table, the columns of texts and labels, and the label of the texts with the concept; "" each for
            what goes by itself.
        method: how directions are found.
        pool: what of a text is read.
        blocks: `all`, or blocks and ranges of them, as `0-9, 15`.
    """

    name: str = ""
    source: Source = "texts"
    positives: tuple[Entry, ...] = ()
    negatives: tuple[Entry, ...] = ()
    systems: tuple[str, str] = ("", "")
    questions: tuple[str, ...] = QUESTIONS
    tokens: int = 48
    columns: tuple[str, str, str] = field(default=("", "", ""))
    method: ConceptMethod = "mean_difference"
    pool: Pool = "mean"
    blocks: str = "all"

    @classmethod
    def of(cls, given: Any) -> Inputs:
        """Those that a page sent.

        Raises:
            ValueError: they are none.
        """
        names = {each.name for each in fields(cls)}
        if not isinstance(given, Mapping) or set(given) != names:
            raise ValueError(f"The inputs of a trainer are {', '.join(sorted(names))}, but {shown(given)} came.")
        made = {
            **given,
            "positives": _entries(given["positives"]),
            "negatives": _entries(given["negatives"]),
            "systems": _texts(given["systems"], "system prompts", 2),
            "questions": _texts(given["questions"], "questions"),
            "columns": _texts(given["columns"], "columns", 3),
        }
        for name, known in (("source", SOURCES), ("method", METHODS), ("pool", POOLS)):
            if given[name] not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, but {shown(given[name])} came.")
        for name in ("name", "blocks"):
            if not isinstance(given[name], str):
                raise ValueError(f"The {name} of a concept is a text, but {shown(given[name])} came.")
        tokens = given["tokens"]
        if isinstance(tokens, bool) or not isinstance(tokens, int) or not 1 <= tokens <= 1024:
            raise ValueError(f"An answer has from 1 to 1024 tokens, but {shown(tokens)} came.")
        return cls(**made)

    def layers(self, count: int) -> list[int] | Literal["all"]:
        """The blocks.

        Args:
            count: of the model.

        Raises:
            ValueError: they are none, or beyond the model's.
        """
        if self.blocks.strip().lower() in ("", "all"):
            return "all"
        found: list[int] = []
        for part in self.blocks.split(","):
            ends = re.fullmatch(r"\s*(\d+)\s*(?:[-–]\s*(\d+)\s*)?", part)
            if not ends:
                raise ValueError(
                    f"Blocks are all, or numbers and ranges such as 0-9, 15; {shown(part.strip())} is none."
                )
            first = int(ends[1])
            last = int(ends[2]) if ends[2] else first
            if last < first or last >= count:
                raise ValueError(
                    f"The blocks of this model go from 0 to {count - 1}; {part.strip()} is not among them."
                )
            found.extend(range(first, last + 1))
        return sorted(set(found))

    def to_json(self) -> dict[str, Any]:
        """As they travel."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return found


def _entries(given: Any) -> tuple[Entry, ...]:
    if not isinstance(given, list | tuple):
        raise ValueError(f"A list of texts came as {shown(given)}.")
    return tuple(_entry(each) for each in given)


def _entry(given: Any) -> Entry:
    if isinstance(given, Entry):
        return given
    fits = isinstance(given, Mapping) and set(given) == {"text", "key", "written"} and isinstance(given["text"], str)
    if not fits or isinstance(given["key"], bool) or not isinstance(given["key"], int):
        raise ValueError(f"A text of a list is its words and a number, but {shown(given)} came.")
    return Entry(given["text"], given["key"], bool(given["written"]))


def _texts(given: Any, what: str, count: int | None = None) -> Any:
    fits = isinstance(given, Sequence) and not isinstance(given, str) and all(isinstance(each, str) for each in given)
    if not fits or (count is not None and len(given) != count):
        raise ValueError(f"The {what} are {f'{count} texts' if count else 'texts'}, but {shown(given)} came.")
    return tuple(given)
