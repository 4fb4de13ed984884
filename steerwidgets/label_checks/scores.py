"""How answers compare with where features fire: of each feature, and of all with intervals over features."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.label_checks.statistics import Estimate, Share, auroc, bootstrap, estimate, precision_at
from steerwidgets.transformer.plain_text import table

if TYPE_CHECKING:
    from steerwidgets.label_checks.answered import Answered
    from steerwidgets.label_checks.items import Mode, Question

_STRONG: Final = 6
"""From this decile on an example is a strong one."""

_HARD: Final = ("neighbour", "label's words")


@dataclass(frozen=True)
class FeatureAnswers:
    """What was answered of one feature, each item once.

    Attributes:
        index: the feature.
        label: its label.
        density: how often it fires over its corpus, π; None where that is not known.
        items: the first answer in each mode.
    """

    index: int
    label: str
    density: float | None
    items: Mapping[Mode, Answered]

    def judged(self, mode: Mode) -> list[tuple[Question, float, bool]]:
        """Every question of a mode that was answered: what was asked, the answer, and whether it is right."""
        item = self.items.get(mode)
        if item is None:
            return []
        return [
            (question, answer, bool(item.right(at)))
            for at, (question, answer) in enumerate(zip(item.questions, item.answers, strict=True))
            if answer is not None
        ]

    def right(self, mode: Mode, *kinds: str, deciles: Iterable[int] | None = None) -> Share:
        """How many answers are right, of some kinds of texts or of all."""
        wanted = None if deciles is None else frozenset(deciles)
        judged = [
            right
            for question, _, right in self.judged(mode)
            if (not kinds or question.kind in kinds) and (wanted is None or question.decile in wanted)
        ]
        return Share(sum(judged), len(judged))

    @cached_property
    def detection(self) -> Share:
        """How many texts of `which fire` are judged rightly, with Wilson's interval."""
        return self.right("which fire")

    def rates(self, mode: Mode = "which fire") -> tuple[float, float] | None:
        """TPR and FPR: how many of the texts that fire, and of those that do not, are taken for firing."""
        judged = self.judged(mode)
        positive = [right for question, _, right in judged if question.truth]
        negative = [right for question, _, right in judged if not question.truth]
        if not positive or not negative:
            return None
        return sum(positive) / len(positive), 1 - sum(negative) / len(negative)

    def balanced_accuracy(self, mode: Mode = "which fire") -> float | None:
        """`(TPR + TNR) / 2`; None where texts of either sort were not answered."""
        rates = self.rates(mode)
        return None if rates is None else (rates[0] + 1 - rates[1]) / 2

    def auroc(self, mode: Mode = "which fire") -> float | None:
        """The area under the ROC curve of the confidences, ties counted half; None likewise."""
        judged = self.judged(mode)
        return auroc([a for q, a, _ in judged if q.truth], [a for q, a, _ in judged if not q.truth])

    @property
    def precision(self) -> float | None:
        """Of what the reader takes for firing, how much would fire at the feature's true density."""
        rates = self.rates()
        return None if rates is None or self.density is None else precision_at(self.density, *rates)


@dataclass(frozen=True, repr=False)
class Scores:
    """How a reader did.

    A mean over features has a bootstrap interval over features (2,000 draws), a count Wilson's.

    Attributes:
        features: each feature's own answers and scores.
        balanced_accuracy: of `which fire`, mean over features.
        auroc: of its confidences, mean over features.
        recall: by decile of activation, how many texts that fire were found.
        false_alarms: by kind of silent text, how many were taken for firing.
        precision: at the true density π of each feature, over all features: `Σ π·TPR / Σ (π·TPR + (1 − π)·FPR)`.
        odd_one_out: how many were found; chance 1 in 5.
        which_tokens: balanced accuracy of accepting marks, mean over features.
        which_label: how many were found; chance 1 in 5. Who was asked other modes first has seen the label by then.
        same: how many questions were answered alike when they came again.
    """

    features: tuple[FeatureAnswers, ...]
    balanced_accuracy: Estimate | None
    auroc: Estimate | None
    recall: Mapping[int, Share]
    false_alarms: Mapping[str, Share]
    precision: Estimate | None
    odd_one_out: Share
    which_tokens: Estimate | None
    which_label: Share
    same: Share

    @classmethod
    def of(cls, features: Sequence[FeatureAnswers], again: Sequence[tuple[Answered, Answered]]) -> Scores:
        """The scores of some features' answers, and of items that were answered twice."""
        recall: dict[int, Share] = defaultdict(Share)
        alarms: dict[str, Share] = defaultdict(Share)
        for question, _, right in (each for feature in features for each in feature.judged("which fire")):
            if not question.truth:
                alarms[question.kind] += Share(int(not right), 1)
            elif question.decile is not None:
                recall[question.decile] += Share(int(right), 1)
        return cls(
            features=tuple(features),
            balanced_accuracy=estimate([each.balanced_accuracy() for each in features]),
            auroc=estimate([each.auroc() for each in features]),
            recall=dict(sorted(recall.items())),
            false_alarms=dict(alarms),
            precision=_precision(features),
            odd_one_out=sum((each.right("odd one out") for each in features), Share()),
            which_tokens=estimate([each.balanced_accuracy("which tokens") for each in features]),
            which_label=sum((each.right("which label") for each in features), Share()),
            same=sum((_same(*pair) for pair in again), Share()),
        )

    @property
    def strong(self) -> Share:
        """Recall in the upper five deciles."""
        return sum((share for decile, share in self.recall.items() if decile >= _STRONG), Share())

    @property
    def weak(self) -> Share:
        """Recall in the lower five deciles."""
        return sum((share for decile, share in self.recall.items() if decile < _STRONG), Share())

    @property
    def hard(self) -> Share:
        """False alarms where the nearest features fire, or where the label's words stand."""
        return sum((share for kind, share in self.false_alarms.items() if kind in _HARD), Share())

    def named(self) -> list[tuple[str, Any]]:
        """What is known, line by line: an estimate, a share, or a number, each with its name."""
        alarms = [(f"false alarms, {_TEXTS[kind]}", share) for kind, share in self.false_alarms.items()]
        judged = sum(len(each.judged("which fire")) for each in self.features)
        few = f", of {judged} texts" if judged < _FEW_TEXTS else ""
        every: list[tuple[str, Any]] = [
            ("labels checked", len(self.features)),
            ("balanced accuracy", self.balanced_accuracy),
            (f"AUROC of confidence{few}", self.auroc),
            ("recall, strong examples", self.strong),
            ("recall, weak examples", self.weak),
            *alarms,
            ("precision at the true density", self.precision),
            ("odd one out (chance 1/5)", self.odd_one_out),
            ("which tokens, balanced accuracy", self.which_tokens),
            (f"which label ({'asked after it was shown' if self._was_shown else 'chance 1/5'})", self.which_label),
            ("same answer when asked again", self.same),
        ]
        return [(name, value) for name, value in every if value is not None and value != Share()]

    def rows(self) -> list[tuple[str, str]]:
        """The same in words."""
        return [(name, _said(value)) for name, value in self.named()]

    def worst_first(self) -> list[FeatureAnswers]:
        """The features that `which fire` was answered for, those whose label did worst first."""
        judged = [(each.balanced_accuracy(), each) for each in self.features]
        known = [(accuracy, each) for accuracy, each in judged if accuracy is not None]
        return [each for _, each in sorted(known, key=lambda pair: (pair[0], pair[1].index))]

    @property
    def _was_shown(self) -> bool:
        """Whether somebody who was asked which label had seen it before."""
        modes = [set(each.items) for each in self.features]
        return any("which label" in each and each & {"which fire", "which tokens"} for each in modes)

    def __repr__(self) -> str:
        total = table(["", ""], [list(row) for row in self.rows()])
        rows = [
            [
                each.index,
                _said(each.detection),
                _short(each.balanced_accuracy()),
                _short(each.auroc()),
                _short(each.precision),
                each.label[:60],
            ]
            for each in self.worst_first()
        ]
        heads = ["feature", "right", "balanced", "AUROC", "precision", "label"]
        return f"{total}\n\n{table(heads, rows)}" if rows else total


_FEW_TEXTS: Final = 20
"""As many as one feature has; of fewer a reader is told how many there were."""
_TEXTS: Final[Mapping[str, str]] = {
    "random": "random texts",
    "neighbour": "nearest features' texts",
    "label's words": "texts with the label's words",
}


def _precision(features: Sequence[FeatureAnswers]) -> Estimate | None:
    """Precision over all features together: one that has no false alarm among ten texts is not perfect."""
    rates = [(each.density, each.rates()) for each in features]
    parts = [
        (density * of[0], (1 - density) * of[1]) for density, of in rates if density is not None and of is not None
    ]
    found, wrong = (sum(part[at] for part in parts) for at in (0, 1))
    if not found + wrong:
        return None

    def share(drawn: Any) -> Any:
        import numpy as np

        total = drawn.sum(axis=1)
        with np.errstate(invalid="ignore"):
            return total[:, 0] / total.sum(axis=1)

    low, high = bootstrap(parts, share)
    return Estimate(found / (found + wrong), low, high, len(parts))


def _same(one: Answered, other: Answered) -> Share:
    """How many questions of an item were answered alike; the two may show its texts in another order."""
    before = {question.key: one.said(at) for at, question in enumerate(one.questions)}
    said = [(before.get(question.key), other.said(at)) for at, question in enumerate(other.questions)]
    both = [(a, b) for a, b in said if a is not None and b is not None]
    return Share(sum(a == b for a, b in both), len(both))


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _said(value: Any) -> str:
    if isinstance(value, Share) and value.interval is not None:
        low, high = value.interval
        return f"{value.value:.2f} ({low:.2f}–{high:.2f}), {value}"
    return str(value)
