"""What a dose–response says: a row for each strength beside its controls, the useful range, where text breaks."""

from __future__ import annotations

import functools
import importlib
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from steerwidgets.dose.fluency import first_broken, is_fluent, own_range
from steerwidgets.dose.statistics import Count, Interval, Mean, mean_over_prompts
from steerwidgets.dose.trials import Answer, by_prompt
from steerwidgets.files.atomic import write_text
from steerwidgets.transformer.plain_text import as_json, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


@dataclass(frozen=True)
class AxBench:
    """AxBench's rule: the strength with the best score on half of the prompts, and its score on the other half.

    Attributes:
        strength: the one chosen.
        chosen_on: its mean score on the half that it was chosen on, 0 to 2.
        score: its mean score on the other half, with an interval over prompts.
    """

    strength: float
    chosen_on: float
    score: Mean


@dataclass(frozen=True, repr=False)
class DoseResult:
    """A dose–response: answers at several strengths, judged beside their controls.

    `lm.dose` makes it. Nothing is claimed beyond the strengths that were tested.

    Attributes:
        label: what was steered, with which op.
        unit: what a strength of the op is.
        strengths: those that were tested.
        origin: the strength at which the op changes nothing (0, or 1 for a factor).
        prompts: the prompts that were judged.
        held_back: the prompts that were not, for the iso-KL dose.
        seeds: of the noise.
        judge: who judged.
        asked: the instruction of the prompted row; empty where there is none.
        answers: every text with its scores, those of the controls too.
        stopped: whether it was stopped before its end.
        settings: how the answers were sampled.
        provenance: model, dtype, versions.

    Example:
        >>> dose = lm.dose(cavs["music"].add, strengths=[0, 4], prompts=["Name a city.", "Tell me a story."],
        ...                judge=sw.Words(["music", "song"]), max_new_tokens=4)
        >>> [row.strength for row in dose.table]
        [0.0, 4.0]
    """

    label: str
    unit: str
    strengths: tuple[float, ...]
    origin: float
    prompts: tuple[str, ...]
    held_back: tuple[str, ...]
    seeds: tuple[int, ...]
    judge: str
    asked: str
    answers: tuple[Answer, ...]
    stopped: bool
    settings: dict[str, Any]
    provenance: dict[str, str]
    _bisect: Callable[[DoseResult, float], float | None] = field(compare=False)

    def of(self, kind: str, strength: float | None = None) -> list[Answer]:
        """The answers of a condition.

        Args:
            kind: `baseline`, `asked`, `steered` or `random`.
            strength: which, for the last two.

        Returns:
            The answers, in the order in which they came.

        Example:
            >>> dose = lm.dose(cavs["music"].add, strengths=[4], prompts=["Name a city."], max_new_tokens=4)
            >>> len(dose.of("steered", 4))
            1
        """
        key = (kind,) if strength is None else (kind, float(strength))
        return [answer for answer in self.answers if answer.key == key]

    @functools.cached_property
    def baseline(self) -> BaselineRange:
        """The unsteered answers: on topic, and their own range of surprise and distinct-2 over seeds.

        The range is the mean and two standard deviations over the seeds of a prompt, pooled over prompts.
        """
        answers = self.of("baseline")
        surprise, distinct = by_prompt(answers, _surprise), by_prompt(answers, _distinct)
        return BaselineRange(
            _count(answers),
            own_range(surprise.values()),
            own_range(distinct.values()),
            mean_over_prompts(surprise).value,
            mean_over_prompts(distinct).value,
        )

    @functools.cached_property
    def prompted(self) -> Count | None:
        """On topic where the prompt asks for it, unsteered; None where nothing was asked."""
        answers = self.of("asked")
        return _count(answers) if answers else None

    @functools.cached_property
    def table(self) -> DoseTable:
        """One row for each strength of which there are answers, from the lowest up."""
        return DoseTable(self._row(strength) for strength in self.strengths if self.of("steered", strength))

    def _row(self, strength: float) -> DoseRow:
        answers = self.of("steered", strength)
        baseline = self.baseline
        on_topic, by_chance = _count(answers), _count(self.of("random", strength))
        surprise = mean_over_prompts(by_prompt(answers, _surprise))
        distinct = mean_over_prompts(by_prompt(answers, _distinct))
        tokens = [kl for answer in answers for kl in answer.kl]
        fluent = is_fluent(surprise.value, distinct.value, baseline.surprise, baseline.distinct_2)
        above = max(baseline.on_topic.interval[1], by_chance.interval[1] if by_chance.n else 0.0)
        marked = [answer for answer in answers if answer.verdict is not None and answer.verdict.marks is not None]
        return DoseRow(
            strength,
            on_topic,
            by_chance,
            surprise,
            distinct,
            mean_over_prompts({i: [kl for a in answers if a.prompt == i for kl in a.kl] for i in _prompts(answers)}),
            percentile_95(tokens),
            statistics.median(answer.ratio for answer in answers),
            mean_over_prompts(by_prompt(marked, _overall)) if marked else None,
            fluent,
            bool(fluent) and on_topic.interval[0] > above,
        )

    @property
    def useful(self) -> Interval | None:
        """The lowest and the highest strength of the longest run of useful ones; None where none is.

        A strength is useful where the interval of its answers on topic lies above those of the baseline and of random
        directions, and surprise and distinct-2 are within the baseline's own range.

        Example:
            >>> lm.dose(cavs["music"].add, strengths=[4], prompts=["Name a city."], max_new_tokens=4).useful is None
            True
        """
        runs: list[list[float]] = [[]]
        for row in self.table:
            if row.useful:
                runs[-1].append(row.strength)
            elif runs[-1]:
                runs.append([])
        best = max(runs, key=lambda run: (len(run), -min(map(self._from_origin, run), default=math.inf)))
        return (best[0], best[-1]) if best else None

    @property
    def breaks(self) -> float | None:
        """The lowest strength from which on no stronger one is fluent; None where the strongest tested still is.

        Fluent is a mean surprise within the baseline's own range, and a mean distinct-2 not below it.
        """
        return self._first_broken([row for row in self.table if row.strength > self.origin])

    @property
    def breaks_below(self) -> float | None:
        """Likewise towards negative strengths: the highest strength from which on down no one is fluent."""
        return self._first_broken([row for row in reversed(self.table) if row.strength < self.origin])

    def _first_broken(self, outwards: Sequence[DoseRow]) -> float | None:
        return first_broken((row.strength, row.fluent) for row in outwards)

    def _from_origin(self, strength: float) -> float:
        return abs(strength - self.origin)

    def iso_kl(self, nats: float = 1.0) -> float | None:
        """The strength at which the 95th percentile of the per-token KL is so many nats: 1 is the dose of 1.

        By bisection between the strength that changes nothing and the strongest one tested, on the prompts that were
        held back (and so are not judged); after wassname's iso-KL calibration. Computed once for each value.

        Args:
            nats: the KL(steered ‖ baseline) to reach.

        Returns:
            The strength; None where the strongest one tested stays below.

        Raises:
            ValueError: no prompt was held back, or `nats` is not above 0.

        Example:
            >>> dose = lm.dose(cavs["music"].add, strengths=[0, 9], prompts=["Name a city.", "Tell me a story."],
            ...                hold_back=1, max_new_tokens=4)
            >>> 0 < dose.iso_kl(0.1) <= 9
            True
        """
        if isinstance(nats, bool) or not isinstance(nats, int | float) or not 0 < nats < math.inf:
            raise ValueError(f"The KL of an iso-KL dose is a number of nats above 0, but {nats!r} was given.")
        known: dict[float, float | None] = self.__dict__.setdefault("_doses", {})
        if nats not in known:
            known[float(nats)] = self._bisect(self, float(nats))
        return known[float(nats)]

    @functools.cached_property
    def axbench(self) -> AxBench:
        """AxBench's rule, where the judge gives concept, instruct and fluency: chosen on half, reported on the rest.

        Every other prompt is of the half that the strength is chosen on.

        Raises:
            ValueError: the judge gives no marks, or there is one prompt alone.
        """
        if not any(row.overall is not None for row in self.table):
            raise ValueError(
                f"AxBench's rule needs the marks concept, instruct and fluency of every answer, but {self.judge} gives "
                "a number; give a judge that returns them."
            )
        if len(self.prompts) < 2:
            raise ValueError(
                "AxBench's rule chooses on one half of the prompts and reports on the other, but there is one prompt; "
                "give two or more."
            )
        halves = [
            {
                row.strength: mean_over_prompts(
                    by_prompt((a for a in self.of("steered", row.strength) if a.prompt % 2 == half), _overall)
                )
                for row in self.table
            }
            for half in (0, 1)
        ]
        best = max(halves[0], key=lambda strength: (halves[0][strength].value, -self._from_origin(strength)))
        return AxBench(best, halves[0][best].value, halves[1][best])

    def plot(self, axis: Axis = "strength") -> Figure:
        """The chart: on topic, surprise and distinct-2 against the dose, with their controls.

        Args:
            axis: `strength`, `ratio` for ‖change‖/‖h‖, or `iso_kl`.

        Returns:
            A matplotlib figure.

        Raises:
            ModuleNotFoundError: matplotlib is not installed; the message says how to.
            ValueError: there is no such axis, or no iso-KL dose.

        Example:
            >>> dose = lm.dose(cavs["music"].add, strengths=[0, 4], prompts=["Name a city."], max_new_tokens=4)
            >>> len(dose.plot().axes)
            3
        """
        # By name, as the package's own names are loaded: the chart is drawn of results.
        drawn: Figure = importlib.import_module("steerwidgets.dose.plot").plot(self, axis)
        return drawn

    def to_json(self) -> str:
        """Everything as text: rows, ranges, every answer, settings, provenance.

        Returns:
            JSON text.

        Example:
            >>> dose = lm.dose(cavs["music"].add, strengths=[4], prompts=["Name a city."], max_new_tokens=4)
            >>> '"steerwidgets.dose/1"' in dose.to_json()
            True
        """
        return as_json(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values.

        Returns:
            A dict that JSON can hold.

        Example:
            >>> dose = lm.dose(cavs["music"].add, strengths=[4], prompts=["Name a city."], max_new_tokens=4)
            >>> dose.as_dict()["strengths"]
            [4.0]
        """
        doses = self.__dict__.get("_doses", {})
        return {
            "format": "steerwidgets.dose/1",
            "label": self.label,
            "unit": self.unit,
            "strengths": list(self.strengths),
            "origin": self.origin,
            "prompts": list(self.prompts),
            "held_back": list(self.held_back),
            "seeds": list(self.seeds),
            "judge": self.judge,
            "asked": self.asked,
            "stopped": self.stopped,
            "settings": dict(self.settings),
            "provenance": dict(self.provenance),
            "rows": [_row_json(row) for row in self.table],
            "baseline": _with_interval(asdict(self.baseline), self.baseline.on_topic),
            "prompted": None if self.prompted is None else _count_json(self.prompted),
            "useful": self.useful and list(self.useful),
            "breaks": self.breaks,
            "breaks_below": self.breaks_below,
            "iso_kl": {f"{nats:g}": strength for nats, strength in doses.items()},
            "answers": [_answer_json(answer) for answer in self.answers],
        }

    def save(self, path: str | Path) -> None:
        """Write everything as JSON.

        Args:
            path: the file.

        Raises:
            OSError: it can't be written.

        Example:
            >>> dose = lm.dose(cavs["music"].add, strengths=[4], prompts=["Name a city."], max_new_tokens=4)
            >>> dose.save(folder / "dose.json")
        """
        write_text(Path(path), self.to_json() + "\n")

    def __repr__(self) -> str:
        useful = "none" if self.useful is None else "{:g} to {:g}".format(*self.useful)
        breaks = "not up to the strongest tested" if self.breaks is None else f"from {self.breaks:g}"
        baseline = self.baseline
        own = f"surprise {_span(baseline.surprise)}, distinct-2 {_span(baseline.distinct_2)}"
        said = [
            f"{self.label}: {len(self.prompts)} prompts × {len(self.seeds)} seeds, judged by {self.judge}"
            + (", stopped" if self.stopped else ""),
            repr(self.table),
            f"baseline {baseline.on_topic} on topic, {own}",
            *([f"asked for in the prompt: {self.prompted}"] if self.prompted is not None else []),
            f"useful: {useful} · text breaks: {breaks}",
        ]
        return "\n".join(said)


def percentile_95(values: Sequence[float]) -> float:
    """The 95th percentile, between neighbours linearly; NaN of none."""
    return float(np.percentile(values, 95)) if values else math.nan


def percent(interval: Interval) -> str:
    """An interval of a share in whole percent."""
    return f"{interval[0] * 100:.0f}–{interval[1] * 100:.0f} %"


def number(value: float) -> str:
    """A number to two decimals; empty where there is none."""
    return "" if math.isnan(value) else f"{value:.2f}"


def _span(interval: Interval) -> str:
    return f"{interval[0]:.2f}–{interval[1]:.2f}"


def _count(answers: Sequence[Answer]) -> Count:
    judged = [answer.verdict for answer in answers if answer.verdict is not None]
    return Count(sum(verdict.on_topic for verdict in judged), len(judged))


def _prompts(answers: Sequence[Answer]) -> list[int]:
    return sorted({answer.prompt for answer in answers})


def _surprise(answer: Answer) -> float:
    return answer.surprise


def _distinct(answer: Answer) -> float:
    return answer.distinct_2


def _overall(answer: Answer) -> float:
    overall = None if answer.verdict is None else answer.verdict.overall
    return math.nan if overall is None else overall


def _count_json(count: Count) -> dict[str, Any]:
    return {"k": count.k, "n": count.n, "interval": list(count.interval)}


def _with_interval(value: dict[str, Any], count: Count) -> dict[str, Any]:
    return value | {"on_topic": _count_json(count)}


def _row_json(row: DoseRow) -> dict[str, Any]:
    return asdict(row) | {"on_topic": _count_json(row.on_topic), "random": _count_json(row.random)}


def _answer_json(answer: Answer) -> dict[str, Any]:
    kind, *strength = answer.key if isinstance(answer.key, tuple) else (answer.key,)
    verdict = answer.verdict
    return {
        "kind": kind,
        "strength": strength[0] if strength else None,
        "prompt": answer.prompt,
        "seed": answer.seed,
        "text": answer.text,
        "tokens": len(answer.row.token_ids),
        "ended": answer.row.ended,
        "score": None if verdict is None else verdict.score,
        "on_topic": None if verdict is None else verdict.on_topic,
        "marks": None if verdict is None or verdict.marks is None else list(verdict.marks),
        "surprise": answer.surprise,
        "distinct_2": answer.distinct_2,
        "kl": sum(answer.kl) / len(answer.kl) if answer.kl else None,
        "ratio": answer.ratio,
    }
