"""How dictionaries were fitted and how well: what a fit reports, and what their files keep of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


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
        try:
            value = json.loads(text)
            return cls(**value | {"scores": tuple(ConceptScore(**score) for score in value["scores"])})
        except (json.JSONDecodeError, TypeError, KeyError):
            raise ValueError(
                "This is no report of a CAV fit: its scores, or one of their parts, are missing."
            ) from None


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
        try:
            return cls(
                tuple(map(float, value["nll"])), int(value["best"]), bool(value["stopped"]), int(value["points"])
            )
        except (TypeError, KeyError, ValueError):
            raise ValueError("This is no report of an MFA fit: nll, best, stopped and points are needed.") from None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
