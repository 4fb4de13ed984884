"""What the training of a concept gives: a direction in every block, with its control beside it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from steerwidgets.files.shown import shown
from steerwidgets.label_checks.statistics import wilson
from steerwidgets.transformer.plain_text import table

if TYPE_CHECKING:
    from steerwidgets.dictionaries.cav.cav import CAV
    from steerwidgets.dictionaries.reft.reft import ReFT
    from steerwidgets.steering.recipe import Direction


@dataclass(frozen=True)
class Scores:
    """How well a direction tells texts apart.

    Attributes:
        accuracy: the share told right.
        auroc: the chance that a text with the concept projects higher than one without, ties counting half.
    """

    accuracy: float
    auroc: float

    def __sub__(self, other: Scores) -> Scores:
        return Scores(self.accuracy - other.accuracy, self.auroc - other.auroc)


def mean_of(scores: Sequence[Scores]) -> Scores:
    """The mean of several."""
    return Scores(sum(each.accuracy for each in scores) / len(scores), sum(each.auroc for each in scores) / len(scores))


@dataclass(frozen=True)
class HeldOut:
    """A text that nothing was fitted on.

    Attributes:
        text: its words.
        positive: whether it has the concept.
    """

    text: str
    positive: bool


@dataclass(frozen=True)
class ConceptLayer:
    """The concept in one block.

    Attributes:
        dictionary: its direction, a dictionary of one feature.
        held_out: how well it tells held-out texts apart.
        shuffled: the same, mean over fits to shuffled labels; None where none was made.
        right: held-out texts told right.
        tested: held-out texts.
        threshold: above which projection a text counts as one with the concept.
        projections: of the held-out texts, in the order of `Concept.tests`, in units of the residual.
        converged: whether the solver said that it was done.
    """

    dictionary: CAV | ReFT
    held_out: Scores
    shuffled: Scores | None
    right: int
    tested: int
    threshold: float
    projections: tuple[float, ...]
    converged: bool = True

    @property
    def layer(self) -> int:
        """The block."""
        return self.dictionary.site.layer

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy (Wilson 1927); 0 to 1 where nothing was held out."""
        return wilson(self.right, self.tested) if self.tested else (0.0, 1.0)

    @property
    def selectivity(self) -> Scores | None:
        """Held out minus the same with shuffled labels (Hewitt and Liang 2019, of the accuracy)."""
        return None if self.shuffled is None else self.held_out - self.shuffled


@dataclass(frozen=True, repr=False)
class Concept:
    """One concept from two lists of texts, in every block that was asked for.

    Attributes:
        name: what it is called.
        method: how its directions were found.
        pooling: what of a text was read, in words.
        layers: what each block gives, in their order.
        tests: the held-out texts.
        fitted: texts with it and without that it was fitted on.
        shuffles: fits to shuffled labels in each block.
        told: what was left out or cut, in sentences.
        provenance: from what and how.
        stopped: whether it was stopped before the last block.
    """

    name: str
    method: str
    pooling: str
    layers: tuple[ConceptLayer, ...]
    tests: tuple[HeldOut, ...]
    fitted: tuple[int, int]
    shuffles: int
    told: tuple[str, ...]
    provenance: dict[str, str]
    stopped: bool = False

    def at(self, layer: int) -> ConceptLayer:
        """What a block gives.

        Args:
            layer: the block, counted from 0.

        Raises:
            ValueError: nothing was fitted there.
        """
        for each in self.layers:
            if each.layer == layer:
                return each
        fitted = ", ".join(str(each.layer) for each in self.layers)
        raise ValueError(f"{shown(self.name)} was fitted at the blocks {fitted}, but {layer!r} was asked for.")

    @property
    def best(self) -> ConceptLayer:
        """The block with the highest held-out AUROC; of equal ones that of the highest accuracy and largest d′.

        It was chosen by these same held-out texts, so its scores flatter it a little; where none was held out it is the
        middle one.
        """
        known = [each for each in self.layers if not math.isnan(each.held_out.auroc)]
        if not known:
            return self.layers[len(self.layers) // 2]
        return max(known, key=lambda each: (each.held_out.auroc, each.held_out.accuracy, self._apart(each)))

    def _apart(self, layer: ConceptLayer) -> float:
        """d′ of the held-out projections: the difference of both means over their pooled standard deviation."""
        both = list(zip(layer.projections, self.tests, strict=True))
        sides = [[value for value, text in both if text.positive is side] for side in (True, False)]
        if min(map(len, sides)) < 2:
            return 0.0
        spread = math.sqrt(sum(map(statistics.variance, sides)) / 2)
        return (statistics.fmean(sides[0]) - statistics.fmean(sides[1])) / (spread or math.inf)

    @property
    def cav(self) -> CAV | ReFT:
        """The concept in its best block, a dictionary of one feature; of ReFT-r1 a `ReFT`, else a `CAV`."""
        return self.best.dictionary

    @property
    def features(self) -> tuple[Direction, ...]:
        """Its direction in every block, as `lm.dose_by_block` takes them."""
        return tuple(each.dictionary[0] for each in self.layers)

    def confused(self, layer: int | None = None) -> tuple[HeldOut, ...]:
        """The held-out texts that a block takes for the other side, the most confused first.

        Args:
            layer: the block; the best one by default.
        """
        at = self.best if layer is None else self.at(layer)
        off = [
            (abs(value - at.threshold), text)
            for value, text in zip(at.projections, self.tests, strict=True)
            if is_confused(value, at.threshold, positive=text.positive)
        ]
        return tuple(text for _, text in sorted(off, key=lambda each: -each[0]))

    def __repr__(self) -> str:
        rows = []
        for each in self.layers:
            control = each.shuffled
            rows.append(
                [
                    each.layer,
                    f"{each.held_out.auroc:.2f}",
                    f"{each.right} of {each.tested}",
                    "–" if control is None else f"{control.auroc:.2f}",
                    "–" if control is None else f"{each.held_out.accuracy - control.accuracy:+.2f}",
                ]
            )
        best = self.best
        score = f"AUROC {best.held_out.auroc:.2f} held out" if self.tests else "nothing held out"
        first = (
            f"{self.name}: {self.fitted[0]} texts with it and {self.fitted[1]} without, {self.method}, {self.pooling}; "
            f"block {best.layer} tells them apart best ({score})"
        )
        return "\n".join([first, table(["block", "AUROC", "right", "shuffled", "selectivity"], rows), *self.told])


def is_confused(value: float, threshold: float, *, positive: bool) -> bool:
    """Whether a projection says the other side; one that is no number says neither."""
    return not math.isnan(value) and (value > threshold) is not positive
