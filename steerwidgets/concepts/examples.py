"""Two lists of texts, made clean: what stands twice or in both lists is left out, and told."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.concepts.tables import SUFFIXES, Table, is_table, read_file
from steerwidgets.files.shown import shown
from steerwidgets.generation.contrast import Contrast
from steerwidgets.transformer import prompts
from steerwidgets.transformer.mistakes import wrong
from steerwidgets.transformer.prompts import Answered, Prompt

if TYPE_CHECKING:
    from steerwidgets.transformer.loaded import LoadedModel

WITH, WITHOUT = "with it", "without"
LEAST: Final = 2
"""Texts of either list: one to fit on, one to hold out."""

_CALL: Final = "lm.concept"
_MEANT: Final = 'lm.concept(["I am so grateful.", …], ["The train leaves at noon.", …])'


@dataclass(frozen=True)
class Examples:
    """Texts with a concept and without, as they were given.

    Attributes:
        positives: with it.
        negatives: without.
        told: what a reader has to know of where they come from.
    """

    positives: tuple[Any, ...]
    negatives: tuple[Any, ...]
    told: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        positives: Any,
        negatives: Any = None,
        *,
        text: str | None = None,
        label: str | None = None,
        positive: object = None,
        concept: str = "",
    ) -> Examples:
        """Two lists; or one thing that holds both: a contrast, or a table or file with labels.

        Args:
            positives: texts with the concept, the path of a file of them, or what holds both lists.
            negatives: texts without it, or the path of a file of them.
            text: of a table, the column of the texts.
            label: of a table, the column of the labels.
            positive: of a table, the label of the texts that have the concept.
            concept: what it is called.

        Raises:
            ValueError: a list is missing, or a table has no such column or label.
            TypeError: something is neither.
        """
        if isinstance(positives, Contrast):
            if negatives is not None:
                raise wrong(_CALL, "a contrast alone", negatives, "it holds both lists")
            return cls(positives.a, positives.b, positives.told)
        table = table_of(positives)
        if negatives is None:
            if table is None:
                raise _no_others(positives)
            with_it, without, chosen = table.split(text, label, positive, concept)
            told = [f"With it are the {len(with_it)} rows labelled {shown(chosen)}."]
            if left := len(table.rows) - len(with_it) - len(without):
                told.append(f"{left} row{'s' * (left > 1)} without a label {_stand(left)} in no list.")
            return cls(tuple(with_it), tuple(without), tuple(told))
        first = table.texts(text) if table is not None else _listed(positives)
        other = table_of(negatives)
        return cls(tuple(first), tuple(other.texts(text) if other is not None else _listed(negatives)))


@dataclass(frozen=True)
class Clean:
    """Texts that can be read.

    Attributes:
        texts: encoded and cut.
        positive: which of them have the concept.
        told: what was left out or cut, in sentences.
    """

    texts: tuple[Prompt, ...]
    positive: tuple[bool, ...]
    told: tuple[str, ...]

    def count(self, *, positive: bool) -> int:
        """How many of either side there are."""
        return self.positive.count(positive)


def cleaned(
    lm: LoadedModel, examples: Examples, *, max_tokens: int | None = 256, max_texts: int = 500, seed: int = 0
) -> Clean:
    """The texts without what stands twice, in both lists, or empty; encoded and cut.

    Args:
        lm: the model.
        examples: the texts.
        max_tokens: each is cut after so many; of an answer, so many of its own.
        max_texts: so many of either list are kept, drawn by the seed.
        seed: of the draw.

    Raises:
        ValueError: too few are left, or one can't be read.
    """
    sides = [_unique(side, name) for side, name in ((examples.positives, WITH), (examples.negatives, WITHOUT))]
    both = set(sides[0].kept) & set(sides[1].kept)
    told = [*examples.told, *(sentence for side in sides for sentence in side.told)]
    if both:
        told.append(f"{_texts(len(both))} {_stand(len(both))} in both lists: left out of both.")
    kept = [[text for key, text in side.kept.items() if key not in both] for side in sides]
    for side, name in zip(kept, (WITH, WITHOUT), strict=True):
        if len(side) > max_texts:
            told.append(
                f"{len(side):,} texts {name} were given; {max_texts:,} of them, drawn by seed {seed}, are read, and "
                "max_texts= reads more."
            )
            side[:] = random.Random(seed).sample(side, max_texts)
    encoded = [[_encoded(lm, text, name) for text in side] for side, name in zip(kept, (WITH, WITHOUT), strict=True)]
    # The first token is an attention sink, whatever stands there.
    silent = sum(not any(text.own[1:]) for side in encoded for text in side)
    if silent:
        told.append(f"{_texts(silent)} without a word to read: left out.")
    encoded = [[text for text in side if any(text.own[1:])] for side in encoded]
    short = [[text.cut(max_tokens) for text in side] for side in encoded]
    long = sum(len(text.cut(max_tokens)) < len(text) for side in encoded for text in side)
    if long:
        told.append(f"{_texts(long)} {'is' if long == 1 else 'are'} read up to token {max_tokens} (max_tokens=).")
    for side, name in zip(short, (WITH, WITHOUT), strict=True):
        if len(side) < LEAST:
            raise ValueError(_too_few(name, len(side), bool(both)))
    positive = (*(True for _ in short[0]), *(False for _ in short[1]))
    return Clean((*short[0], *short[1]), positive, tuple(told))


def text_of(lm: LoadedModel, text: Prompt) -> str:
    """A text as a person reads it: of an answer the answer, else its own words."""
    if isinstance(text, Answered):
        return text.answer
    ids = [token for token, own in zip(text.token_ids, text.own, strict=True) if own]
    return str(lm.tokenizer.decode(ids, clean_up_tokenization_spaces=False))


@dataclass(frozen=True)
class _Side:
    kept: Mapping[Hashable, Any]
    told: list[str]


def _unique(texts: Sequence[Any], name: str) -> _Side:
    kept: dict[Hashable, Any] = {}
    empty = twice = 0
    for text in texts:
        key = _key(text)
        if not key:
            empty += 1
        elif key in kept:
            twice += 1
        else:
            kept[key] = text
    told = []
    if empty:
        told.append(f"{empty} empty text{'s' * (empty != 1)} {name}: left out.")
    if twice:
        told.append(f"{_texts(twice)} {name} {_stand(twice)} there twice: read once.")
    return _Side(kept, told)


def _key(text: Any) -> Hashable:
    """What makes two texts the same: their words, whatever the spaces between them; empty for a text of nothing."""
    if isinstance(text, Answered):
        return " ".join(text.answer.split())
    if isinstance(text, Prompt):
        return text.token_ids
    if isinstance(text, str):
        return " ".join(text.split())
    return repr(list(text)) if isinstance(text, Iterable) and list(text) else ""


def _encoded(lm: LoadedModel, text: Any, name: str) -> Prompt:
    if isinstance(text, Prompt):
        return text
    try:
        return prompts.encode(lm.tokenizer, text, chat=False)
    except (ValueError, TypeError) as error:
        raise type(error)(f"A text {name} can't be read: {shown(text)}. {error}") from None


def table_of(given: Any) -> Table | None:
    """The table that something is or names."""
    if isinstance(given, Path) or (isinstance(given, str) and Path(given).suffix.lower() in SUFFIXES):
        return read_file(given)
    return Table.of(given) if is_table(given) else None


def _listed(given: Any) -> list[Any]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise wrong(_CALL, "two lists of texts", given, f"give several of either: {_MEANT}")
    items = list(given)
    if strange := [each for each in items if not isinstance(each, str | Prompt) and not _is_prompt(each)]:
        raise wrong(_CALL, "texts", strange[0], f"give several of either list: {_MEANT}")
    return items


def _is_prompt(given: Any) -> bool:
    return isinstance(given, Sequence) or (isinstance(given, Mapping) and "input_ids" in given)


def _no_others(positives: Any) -> ValueError | TypeError:
    if isinstance(positives, str):
        return wrong(_CALL, "two lists of texts", positives, f"give several of either: {_MEANT}")
    return ValueError(f"A concept needs texts without it as well; give both lists: {_MEANT}.")


def _too_few(name: str, count: int, both: bool) -> str:
    left = f"only {_texts(count)} {name}" if count else f"no text {name}"
    after = " after those in both lists were left out" if both else ""
    return f"There is {left}{after}; give {LEAST} or more (a dozen or more to trust the numbers)."


def _texts(count: int) -> str:
    return f"{count:,} text{'s' * (count != 1)}"


def _stand(count: int) -> str:
    return "stands" if count == 1 else "stand"
