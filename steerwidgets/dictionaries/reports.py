"""How dictionaries were fitted and how well: what a fit reports, and what their files keep of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from steerwidgets.files.fields import Fields
from steerwidgets.files.json_text import parse_json

_AGAIN: Final = "fit it again, or leave the report out"


@dataclass(frozen=True)
class ConceptScore:
    """How well one direction tells its label's held-out texts from the rest.

    Attributes:
        label: the label.
        accuracy: the share told right; `svm` and `logistic` decide at 0, the others at the midpoint of the means that
            were seen in fitting.
        auroc: the chance that a text with the label projects higher than one without.
        positives: held-out texts with the label.
        negatives: held-out texts without.
    """

    label: str
    accuracy: float
    auroc: float
    positives: int
    negatives: int


@dataclass(frozen=True)
class CAVReport:
    """What a fit was made from and how well it separates.

    Attributes:
        scores: one for each label; empty where nothing was held out.
        fitted: texts that were fitted on.
        dropped: texts without a token to read, or with NaN activations, which were left out.
        converged: whether the solver said that it was done.
    """

    scores: tuple[ConceptScore, ...]
    fitted: int
    dropped: int
    converged: bool

    @property
    def auroc(self) -> float:
        """The mean over labels; NaN where nothing was held out."""
        return _mean([score.auroc for score in self.scores])

    @property
    def accuracy(self) -> float:
        """The mean over labels; NaN where nothing was held out."""
        return _mean([score.accuracy for score in self.scores])

    def to_json(self) -> str:
        """The report as a line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> CAVReport:
        """The inverse of `to_json`.

        Raises:
            ValueError: the text is no such report.
        """
        where = "This is no report of a CAV fit: in it"
        said = Fields(parse_json(text, "This is no report of a CAV fit: it"), where, todo=_AGAIN)
        scores = [Fields(score, where, todo=_AGAIN, within="scores.") for score in said.items("scores", of="tables")]
        return cls(
            tuple(_score(score) for score in scores),
            said.whole("fitted", low=0),
            said.whole("dropped", low=0),
            said.flag("converged"),
        )


@dataclass(frozen=True)
class MFAReport:
    """How the fit of an MFA went.

    Attributes:
        nll: the mean negative log-likelihood of each epoch, in nats for each point; of held-out points where some were
            held out, else over the epoch while it was learned from.
        best: the epoch that was kept, from 1 on.
        stopped: whether it was stopped before its end.
        points: how many points there were.
    """

    nll: tuple[float, ...]
    best: int
    stopped: bool
    points: int

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> MFAReport:
        """What `asdict` made plain.

        Raises:
            ValueError: it is no such report.
        """
        said = Fields(value, "This is no report of an MFA fit: in it", todo=_AGAIN)
        nll = said.items("nll", of="numbers")
        if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in nll):
            raise said.wrong("nll", "a list of numbers")
        return cls(tuple(map(float, nll)), said.whole("best", low=0), said.flag("stopped"), said.whole("points", low=0))


def _score(said: Fields) -> ConceptScore:
    """One score; what nothing was held out for is NaN, which JSON has no word for and Python's writer does."""
    shares = {}
    for name in ("accuracy", "auroc"):
        value = said.value(name)
        shares[name] = math.nan if isinstance(value, float) and math.isnan(value) else said.number(name)
    return ConceptScore(
        said.text("label"), **shares, positives=said.whole("positives", low=0), negatives=said.whole("negatives", low=0)
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
