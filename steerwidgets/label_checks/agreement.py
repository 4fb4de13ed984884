"""How far readers of the same items agree: Krippendorff's α, raw agreement, Cohen's κ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from steerwidgets.label_checks.answers import Answers
from steerwidgets.label_checks.items import MODES
from steerwidgets.label_checks.statistics import Agreed, agreed
from steerwidgets.transformer.mistakes import one_or_several, wrong
from steerwidgets.transformer.plain_text import table

_MAIN: Final = "which fire"
_VERDICT: Final = "verdict"


@dataclass(frozen=True, repr=False)
class Agreement:
    """How far readers agree, for each mode and for their verdicts.

    Attributes:
        readers: who answered: their names, or else their files'.
        by_mode: agreement in each mode that two readers answered, and in `verdict`.
    """

    readers: tuple[str, ...]
    by_mode: Mapping[str, Agreed]

    @property
    def main(self) -> Agreed:
        """Agreement in `which fire`; in the first mode that there is, where nobody was asked that."""
        return self.by_mode.get(_MAIN) or next(iter(self.by_mode.values()), Agreed(None, None, None, 0))

    @property
    def alpha(self) -> float | None:
        """Krippendorff's nominal α, `1 − Dₒ/Dₑ`, of `main`."""
        return self.main.alpha

    @property
    def raw(self) -> float | None:
        """How often two answers of `main` are the same, `1 − Dₒ`."""
        return self.main.raw

    @property
    def kappa(self) -> float | None:
        """Cohen's κ of `main`; None unless there are just two readers."""
        return self.main.kappa

    def __repr__(self) -> str:
        rows = [[mode, each.alpha, each.raw, each.kappa, each.units] for mode, each in self.by_mode.items()]
        shown = [["–" if cell is None else cell for cell in row] for row in rows]
        return f"{', '.join(self.readers)}\n{table(['', 'α', 'raw', 'κ', 'questions'], shown)}"


def agreement(files: Sequence[str | Path | Answers]) -> Agreement:
    """How far several readers of the same items agree.

    A question is a text that all of them judged, or an item of which they chose one; those that fewer than two
    answered are left out. Of an item that came twice the first answer counts; the two unscored ones do not.

    Source: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"; Cohen 1960.

    Args:
        files: what `LabelCheck` kept or `Answers.save` wrote, one for each reader; or such answers themselves.

    Returns:
        `.alpha`, `.raw` and, of two readers, `.kappa` in `which fire`, and all of them `.by_mode`.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: there are fewer than two, one is damaged, or they answer other items: those of another dictionary
            or another seed.

    Example:
        >>> texts = ["The user asks the assistant about the ocean.", "Name a city by the sea, please."]
        >>> index = sw.corpus.build(lm, sae, texts, folder / "index", on_progress=lambda progress: None)
        >>> index.attach(sae)
        >>> sure = lambda item: 0 if item.is_choice else [1.0] * len(item.texts)
        >>> one = sw.labels.score(sae, sure, lm=lm, features=[3, 5])
        >>> one.save(folder / "a.json")
        >>> sw.labels.agreement([folder / "a.json", one]).raw
        1.0
    """
    given = one_or_several(files, lambda each: isinstance(each, str | Path | Answers) or not isinstance(each, Iterable))
    if strange := [each for each in given if not isinstance(each, str | Path | Answers)]:
        meant = 'sw.labels.agreement(["a.json", "b.json"])'
        raise wrong("sw.labels.agreement", "the files of several readers, or their answers", strange[0], meant)
    several = [each if isinstance(each, Answers) else Answers.load(each) for each in given]
    if len(several) < 2:
        raise ValueError(
            f"Agreement is of two readers or more, but {len(several)} was given: "
            'sw.labels.agreement(["a.json", "b.json"]).'
        )
    names = [_name(each, answers, at) for at, (each, answers) in enumerate(zip(given, several, strict=True))]
    for at, (name, other) in enumerate(zip(names[1:], several[1:], strict=True), start=2):
        _refuse_other(names[0], several[0], name, other, at)
    found: dict[str, Agreed] = {mode: agreed(_units(several, mode)) for mode in MODES}
    found[_VERDICT] = agreed(_verdicts(several))
    return Agreement(tuple(names), {mode: each for mode, each in found.items() if each.units})


def _name(given: str | Path | Answers, answers: Answers, at: int) -> str:
    if answers.reader:
        return answers.reader
    return f"reader {at + 1}" if isinstance(given, Answers) else Path(given).stem


def _refuse_other(first_name: str, first: Answers, name: str, other: Answers, at: int) -> None:
    """Refuse answers that are about other items."""
    if name == first_name:
        first_name, name = f"{name} (file 1)", f"{name} (file {at})"
    for what, mine, theirs in (
        ("dictionary", first.dictionary, other.dictionary),
        ("seed", first.seed, other.seed),
        ("the corpus", first.provenance.get("corpus"), other.provenance.get("corpus")),
    ):
        if mine != theirs:
            raise ValueError(
                f"{name} answers items of {what} {theirs}, but {first_name} those of {mine}; readers agree or not "
                "where they answer the same items."
            )


def _units(several: Sequence[Answers], mode: str) -> list[list[int | None]]:
    """For each question of a mode what each reader said."""
    by_reader: list[dict[tuple[int, str, str], int | None]] = []
    for answers in several:
        said: dict[tuple[int, str, str], int | None] = {}
        for each in answers:
            if each.mode != mode or not each.scored or each.again:
                continue
            # A text is asked in the item it stands in: marks differ, and so may labels.
            keys = [(each.index, "" if mode == _MAIN else each.item, question.key) for question in each.questions]
            said |= {key: each.said(at) for at, key in enumerate(keys)}
        by_reader.append(said)
    asked = dict.fromkeys(key for said in by_reader for key in said)
    return [[said.get(key) for said in by_reader] for key in asked]


def _verdicts(several: Sequence[Answers]) -> list[list[str | None]]:
    indices = dict.fromkeys(index for answers in several for index in answers.features)
    return [
        [each.verdict or None if (each := answers.features.get(index)) is not None else None for answers in several]
        for index in indices
    ]
