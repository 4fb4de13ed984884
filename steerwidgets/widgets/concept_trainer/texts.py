"""The texts of a trainer: those that a page holds as text, and what it can't: prompts, answers, a table."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from steerwidgets.concepts.examples import WITH, WITHOUT, Examples
from steerwidgets.concepts.tables import Table
from steerwidgets.files.shown import shown
from steerwidgets.transformer.prompts import Answered, Prompt
from steerwidgets.widgets.concept_trainer.inputs import MOST_LETTERS, MOST_TEXTS, Entry, Inputs

if TYPE_CHECKING:
    from steerwidgets.generation.contrast import Contrast
    from steerwidgets.model import LanguageModel


class Texts:
    """What the entries of a page stand for.

    Args:
        lm: the model.

    Attributes:
        table: the table whose rows are the texts, where there is one.
    """

    def __init__(self, lm: LanguageModel) -> None:
        self.table: Table | None = None
        self._lm = lm
        self._prompts: list[Any] = []
        self._told: tuple[str, ...] = ()
        self._of_lists: tuple[str, ...] = ()

    def given(self, inputs: Inputs, examples: Examples) -> Inputs:
        """The inputs with lists that code gave; of long ones so many as a page holds, drawn by a seed."""
        told, sides = [], []
        for side, name in ((examples.positives, WITH), (examples.negatives, WITHOUT)):
            drawn = random.Random(0).sample(side, MOST_TEXTS) if len(side) > MOST_TEXTS else side
            if len(drawn) < len(side):
                told.append(f"{len(side):,} texts {name} were given; {MOST_TEXTS} of them, drawn by seed 0, are here.")
            sides.append(self.entries(drawn))
        self._of_lists = tuple(told)
        return replace(inputs, positives=sides[0], negatives=sides[1])

    def examples(self, inputs: Inputs) -> Examples:
        """Both lists, of what was chosen: the lists, the model's answers, or the table.

        Raises:
            ValueError: the table has no such columns or labels.
        """
        if inputs.source == "table":
            if self.table is None:
                return Examples((), ())
            text, label, positive = (each or None for each in inputs.columns)
            with_it, without, chosen = self.table.split(text, label, positive, inputs.name)
            said = f"With it are the {len(with_it):,} rows labelled {shown(chosen)}."
            return Examples(tuple(with_it), tuple(without), (said,))
        written = inputs.source == "prompts"
        sides = [
            tuple(self._given(each) for each in side if self._is_written(each) is written)
            for side in (inputs.positives, inputs.negatives)
        ]
        return Examples(sides[0], sides[1], self._told if written else self._of_lists)

    def words(self, inputs: Inputs) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Both lists as plain texts, as a file keeps them."""
        examples = self.examples(inputs)
        return (
            tuple(text if isinstance(text, str) else self._words(text) for text in examples.positives),
            tuple(text if isinstance(text, str) else self._words(text) for text in examples.negatives),
        )

    def entries(self, texts: Sequence[Any]) -> tuple[Entry, ...]:
        """Texts as a page holds them; those that are no plain text are kept here."""
        made = []
        for text in texts:
            if isinstance(text, str):
                made.append(Entry(text[:MOST_LETTERS]))
                continue
            self._prompts.append(text)
            made.append(Entry(self._words(text), len(self._prompts) - 1, isinstance(text, Answered)))
        return tuple(made)

    def with_contrast(self, inputs: Inputs, pair: Contrast) -> Inputs:
        """The inputs with the model's answers in the place of those that it wrote before."""
        self._told = pair.told
        typed = [
            tuple(each for each in side if not self._is_written(each)) for side in (inputs.positives, inputs.negatives)
        ]
        return replace(
            inputs,
            source="prompts",
            systems=pair.systems,
            questions=pair.questions,
            positives=(*typed[0], *self.entries(pair.a)),
            negatives=(*typed[1], *self.entries(pair.b)),
        )

    def take(self, inputs: Inputs, table: Table, side: str) -> tuple[Inputs, str]:
        """The inputs with a file's texts in one list, or with the file as their table; and what became of it."""
        if side == "table":
            self.table = table
            return replace(inputs, source="table", columns=("", "", "")), f"{len(table):,} rows of {table.name}."
        texts = table.texts()
        kept = tuple(Entry(text[:MOST_LETTERS]) for text in texts if text.strip())[:MOST_TEXTS]
        said = f"{len(kept):,} texts of {table.name} were added."
        if len(texts) > len(kept):
            said = f"{len(kept):,} of {len(texts):,} texts of {table.name} were added: the first that are not empty."
        if side == "positives":
            return replace(inputs, source="texts", positives=(*inputs.positives, *kept)), said
        return replace(inputs, source="texts", negatives=(*inputs.negatives, *kept)), said

    def table_json(self, inputs: Inputs) -> dict[str, Any]:
        """The table's columns and labels, as a page offers them."""
        table = self.table
        if table is None:
            return {}
        text, label, positive = (each or None for each in inputs.columns)
        try:
            words, column = table.text_column(text), table.label_column(label, text)
        except ValueError:
            words, column = table.text_column(), table.label_column()
        labels = [] if column is None else list(table.labels(column).items())[:MOST_TEXTS]
        return {
            "name": table.name,
            "rows": len(table),
            "columns": list(table.columns),
            "text": words,
            "label": column or "",
            "labels": [[name, count] for name, count in labels],
            "positive": positive or "",
        }

    def _given(self, entry: Entry) -> Any:
        """What an entry stands for: the prompt of its number, or its text."""
        return self._prompts[entry.key] if 0 <= entry.key < len(self._prompts) else entry.text

    def _is_written(self, entry: Entry) -> bool:
        """Whether the model wrote it: those texts are of the two prompts, and the others of the lists."""
        return isinstance(self._given(entry), Answered)

    def _words(self, text: Any) -> str:
        if isinstance(text, Answered):
            return text.answer
        encoded = text if isinstance(text, Prompt) else self._lm.encode(text, chat=False)
        return str(self._lm.tokenizer.decode(list(encoded.token_ids), skip_special_tokens=True))
