"""The rows of a dose–response: what is known of each strength, and of the baseline beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from steerwidgets.dose.statistics import Count, Interval, Mean
from steerwidgets.transformer.plain_text import table

Axis = Literal["strength", "ratio", "iso_kl"]
"""Raw, a share of ‖h‖, or multiples of the strength at which the 95th percentile of the KL is 1 nat."""


BASELINE: Final = ("baseline",)
ASKED: Final = ("asked",)


def steered_key(strength: float) -> tuple[str, float]:
    """The condition of a strength."""
    return ("steered", strength)


def random_key(strength: float) -> tuple[str, float]:
    """The condition of random directions at a strength."""
    return ("random", strength)


@dataclass(frozen=True)
class DoseRow:
    """One strength.

    Attributes:
        strength: what the op was given.
        on_topic: answers on topic, of how many; `.interval` is Wilson's.
        random: likewise with random directions whose change is as long.
        surprise: mean −log p of the answers' tokens under the unsteered model, nats.
        distinct_2: the share of distinct pairs of neighbouring tokens.
        kl: KL(steered ‖ baseline), the mean over tokens, nats.
        kl_p95: its 95th percentile over all tokens of all answers, nats.
        ratio: the median over answers of ‖change‖/‖h‖.
        overall: AxBench's score, 0 to 2, where the judge gives its marks.
        fluent: whether surprise and distinct-2 are within the baseline's own range; None where that is not known, since
            no prompt has two answers of the baseline.
        useful: whether it is fluent, and on topic above baseline and random directions.
    """

    strength: float
    on_topic: Count
    random: Count
    surprise: Mean
    distinct_2: Mean
    kl: Mean
    kl_p95: float
    ratio: float
    overall: Mean | None
    fluent: bool | None
    useful: bool


class DoseTable(tuple[DoseRow, ...]):
    """The rows of a dose–response; prints as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        headers = ["strength", "on topic", "95 %", "random", "surprise", "distinct-2", "KL", "KL p95", "‖Δ‖/‖h‖", ""]
        rows = [
            [
                f"{row.strength:g}",
                str(row.on_topic),
                percent(row.on_topic.interval),
                str(row.random) if row.random.n else "",
                number(row.surprise.value),
                number(row.distinct_2.value),
                number(row.kl.value),
                number(row.kl_p95),
                number(row.ratio),
                "useful" if row.useful else "not fluent" if row.fluent is False else "",
            ]
            for row in self
        ]
        return table(headers, rows)


@dataclass(frozen=True)
class BaselineRange:
    """What the unsteered model's own answers do.

    Attributes:
        on_topic: its answers on topic.
        surprise: over seeds, the lowest and the highest mean surprise of a prompt's answers, averaged over prompts; NaN
            where no prompt has two.
        distinct_2: likewise.
        mean_surprise: the mean over all of them, nats.
        mean_distinct_2: likewise.
    """

    on_topic: Count
    surprise: Interval
    distinct_2: Interval
    mean_surprise: float
    mean_distinct_2: float


def percent(interval: Interval) -> str:
    """An interval of a share in whole percent."""
    return f"{interval[0] * 100:.0f}–{interval[1] * 100:.0f} %"


def number(value: float) -> str:
    """A number to two decimals; empty where there is none."""
    return "" if math.isnan(value) else f"{value:.2f}"
