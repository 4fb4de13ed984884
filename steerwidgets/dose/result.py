"""What a dose–response says: a row for each strength beside its controls, the useful range, where text breaks."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from steerwidgets.dose import file
from steerwidgets.dose.fluency import first_broken, is_fluent, own_range
from steerwidgets.dose.judges import Judge, checked_judge, judge_name, judged
from steerwidgets.dose.rows import Axis, BaselineRange, DoseRow, DoseTable
from steerwidgets.dose.statistics import Count, Interval, Mean, mean_over_prompts, percentile_95
from steerwidgets.dose.trials import Answer, by_prompt, count_on_topic
from steerwidgets.files.atomic import write_text
from steerwidgets.files.json_text import json_bytes
from steerwidgets.files.shown import shown
from steerwidgets.transformer.mistakes import wrong
from steerwidgets.transformer.plain_text import as_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    _bisect: Callable[[DoseResult, float], float | None] | None = field(compare=False)

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
            count_on_topic(answers),
            own_range(surprise.values()),
            own_range(distinct.values()),
            mean_over_prompts(surprise).value,
            mean_over_prompts(distinct).value,
        )

    @functools.cached_property
    def prompted(self) -> Count | None:
        """On topic where the prompt asks for it, unsteered; None where nothing was asked."""
        answers = self.of("asked")
        return count_on_topic(answers) if answers else None

    @functools.cached_property
    def table(self) -> DoseTable:
        """One row for each strength of which there are answers, from the lowest up."""
        return DoseTable(self._row(strength) for strength in self.strengths if self.of("steered", strength))

    def _row(self, strength: float) -> DoseRow:
        answers = self.of("steered", strength)
        baseline = self.baseline
        on_topic, by_chance = count_on_topic(answers), count_on_topic(self.of("random", strength))
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
            ValueError: no prompt was held back, `nats` is not above 0, or the result is of a file, which knows no more
                doses than had been found when it was written.

        Example:
            >>> dose = lm.dose(cavs["music"].add, strengths=[0, 9], prompts=["Name a city.", "Tell me a story."],
            ...                hold_back=1, max_new_tokens=4)
            >>> 0 < dose.iso_kl(0.1) <= 9
            True
        """
        if isinstance(nats, bool) or not isinstance(nats, int | float) or not 0 < nats < math.inf:
            raise ValueError(f"The KL of an iso-KL dose is a number of nats above 0, but {nats!r} was given.")
        known = self.iso_kl_doses
        if nats not in known:
            if self._bisect is None:
                there = f"it has those of {', '.join(f'{each:g}' for each in known)}" if known else "it has none"
                raise ValueError(
                    f"A result from a file has no model to find the iso-KL dose of {nats:g} nats with, and {there}; "
                    "run lm.dose again."
                )
            known[float(nats)] = self._bisect(self, float(nats))
        return known[float(nats)]

    @property
    def iso_kl_doses(self) -> dict[float, float | None]:
        """The iso-KL doses that were found so far, by their KL in nats."""
        found: dict[float, float | None] = self.__dict__.setdefault("_doses", {})
        return found

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
        from steerwidgets.dose.plot import chart

        at, name = self._doses_on(axis)
        return chart(
            self._title,
            self.table,
            at,
            name,
            baseline=self.baseline,
            prompted=self.prompted,
            useful=self.useful,
            breaks=(self.breaks, self.breaks_below),
        )

    @property
    def _title(self) -> str:
        return f"{self.label}: {len(self.prompts)} prompts × {len(self.seeds)} seeds, judged by {self.judge}"

    def _doses_on(self, axis: Axis) -> tuple[list[float], str]:
        """Where each strength stands on an axis, and what the axis is called."""
        if axis not in get_args(Axis):
            raise ValueError(f"The axis of a dose is {', '.join(get_args(Axis))}, but {shown(axis)} was given.")
        strengths = [row.strength for row in self.table]
        if axis == "strength":
            return strengths, f"{self.label}, {self.unit}"
        if axis == "ratio":
            at = [math.copysign(row.ratio, row.strength - self.origin) for row in self.table]
            return at, "median ‖change‖ / ‖h‖"
        one = self.iso_kl(1.0)
        if one is None:
            raise ValueError(
                "The 95th percentile of the KL stays below 1 nat up to the strongest tested, so no strength is the "
                "iso-KL dose 1; try stronger ones."
            )
        return [(each - self.origin) / (one - self.origin) for each in strengths], f"iso-KL dose, 1 = {one:.3g}"

    def judged_by(self, judge: Judge) -> DoseResult:
        """The same answers, judged by another judge.

        Args:
            judge: `judge(prompt, text)` → 0 to 1, `sw.Words`, or `sw.Probe`.

        Returns:
            A result whose counts are the new judge's.

        Raises:
            TypeError: it is no judge.
            ValueError: it says something else than a judge does.

        Example:
            >>> dose = lm.dose(cavs["music"].add, strengths=[4], prompts=["Name a city."], max_new_tokens=4)
            >>> dose.judged_by(lambda prompt, text: 1.0).table[0].on_topic
            Count(k=1, n=1)
        """
        checked = checked_judge(judge, "dose.judged_by")
        answers = list(self.answers)
        for prompt in _prompts(answers):
            at = [i for i, answer in enumerate(answers) if answer.prompt == prompt]
            verdicts = judged(checked, self.prompts[prompt], [answers[i].text for i in at])
            for i, verdict in zip(at, verdicts, strict=True):
                answers[i] = replace(answers[i], verdict=verdict)
        made = replace(self, judge=judge_name(checked), answers=tuple(answers))
        made.__dict__["_doses"] = self.iso_kl_doses
        return made

    def to_json(self) -> str:
        """Everything as text: rows, ranges, every answer, settings, provenance.

        Returns:
            JSON text.

        Example:
            >>> dose = lm.dose(cavs["music"].add, strengths=[4], prompts=["Name a city."], max_new_tokens=4)
            >>> sw.DoseResult.from_json(dose.to_json()).table == dose.table
            True
        """
        return as_json(self.as_dict())

    @classmethod
    def from_json(cls, text: str) -> DoseResult:
        """A result from what `to_json` gave: table, chart and answers are the same.

        Args:
            text: JSON.

        Returns:
            The result. It measures nothing more: of iso-KL doses it has those that were known when it was written.

        Raises:
            ValueError: it is no dose–response, or damaged, or of another version.

        Example:
            >>> dose = lm.dose(cavs["music"].add, strengths=[4], prompts=["Name a city."], max_new_tokens=4)
            >>> sw.DoseResult.from_json(dose.to_json()).label
            'music · add'
        """
        given: Any = text
        if not isinstance(given, str):
            told = "give what dose.to_json() gave, or sw.DoseResult.load a file"
            raise wrong("sw.DoseResult.from_json", "JSON text", given, told)
        return cls._read(text, "this dose–response")

    @classmethod
    def load(cls, path: str | Path) -> DoseResult:
        """A result from a file that `save` wrote.

        Args:
            path: the file.

        Returns:
            The result, as `from_json` gives it; `sw.DoseResponse(lm, op).show(result)` shows it.

        Raises:
            ValueError: it is no dose–response, or damaged, or of another version.
            OSError: it can't be read.

        Example:
            >>> dose = lm.dose(cavs["music"].add, strengths=[4], prompts=["Name a city."], max_new_tokens=4)
            >>> dose.save(folder / "dose.json")
            >>> sw.DoseResult.load(folder / "dose.json").table == dose.table
            True
        """
        return cls._read(json_bytes(Path(path)), Path(path).name)

    @classmethod
    def _read(cls, text: str | bytes, what: str) -> DoseResult:
        attributes, doses = file.read(text, what)
        made = cls(**attributes, _bisect=None)
        made.__dict__["_doses"] = doses
        return made

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values.

        Returns:
            A dict that JSON can hold.

        Example:
            >>> dose = lm.dose(cavs["music"].add, strengths=[4], prompts=["Name a city."], max_new_tokens=4)
            >>> dose.as_dict()["strengths"]
            [4.0]
        """
        return {
            "format": file.FORMAT,
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
            "rows": [file.row_json(row) for row in self.table],
            "baseline": file.baseline_json(self.baseline),
            "prompted": None if self.prompted is None else file.count_json(self.prompted),
            "useful": self.useful and list(self.useful),
            "breaks": self.breaks,
            "breaks_below": self.breaks_below,
            "iso_kl": {str(nats): strength for nats, strength in self.iso_kl_doses.items()},
            "answers": [file.answer_json(answer) for answer in self.answers],
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
        if not self.answers:
            return f"{self._title}, stopped before its first answer: nothing is known of any strength."
        useful = "none" if self.useful is None else "{:g} to {:g}".format(*self.useful)
        breaks = "not up to the strongest tested" if self.breaks is None else f"from {self.breaks:g}"
        baseline = self.baseline
        own = f"surprise {_span(baseline.surprise)}, distinct-2 {_span(baseline.distinct_2)}"
        said = [
            self._title + (", stopped" if self.stopped else ""),
            repr(self.table),
            f"baseline {baseline.on_topic} on topic, {own}",
            *([f"asked for in the prompt: {self.prompted}"] if self.prompted is not None else []),
            f"useful: {useful} · text breaks: {breaks}",
        ]
        return "\n".join(said)


def _span(interval: Interval) -> str:
    return f"{interval[0]:.2f}–{interval[1]:.2f}"


def _prompts(answers: Sequence[Answer]) -> list[int]:
    return sorted({answer.prompt for answer in answers})


def _surprise(answer: Answer) -> float:
    return answer.surprise


def _distinct(answer: Answer) -> float:
    return answer.distinct_2


def _overall(answer: Answer) -> float:
    overall = None if answer.verdict is None else answer.verdict.overall
    return math.nan if overall is None else overall
