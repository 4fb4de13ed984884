"""Times several sides side by side, and what is said of a ratio."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESULTS = "STEERWIDGETS_BENCH"
"""The environment variable that names the file to which figures are added, a line of JSON each: `bench.py` sets it."""


def timed(sides: dict[str, Callable[[], object]], repeat: int) -> dict[str, list[float]]:
    """Seconds of each side, round by round: every side once in every round."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side()
    for _ in range(repeat):
        for name, side in sides.items():
            begun = time.perf_counter()
            side()
            taken[name].append(time.perf_counter() - begun)
    return taken


def ratios(above: list[float], below: list[float]) -> list[float]:
    """The ratio of every round."""
    return [a / b for a, b in zip(above, below, strict=True)]


@dataclass(frozen=True)
class Figure:
    """One row of the table.

    Attributes:
        name: what was measured.
        values: a ratio of each round, or one number.
        reach: what is asked of the median, such as `<= 1.2`; empty where nothing is.
        unit: of the values; empty for ratios.
        points: of a growth, the cost at each size.
    """

    name: str
    values: list[float]
    reach: str = ""
    unit: str = ""
    points: Mapping[int, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def told(self) -> str:
        """The median, and where there are several the smallest and the largest."""
        unit = f" {self.unit}" if self.unit else ""
        if len(self.values) == 1:
            return f"{self.median:.4g}{unit}"
        return f"{self.median:.3f}{unit} ({min(self.values):.2f} to {max(self.values):.2f})"

    @property
    def reached(self) -> bool | None:
        """Whether the median is what is asked; None where nothing is."""
        if not self.reach:
            return None
        sign, number = self.reach.split()[:2]
        return self.median <= float(number) if sign == "<=" else self.median >= float(number)

    @property
    def verdict(self) -> str:
        return {None: "", True: "reached", False: "NOT REACHED"}[self.reached]

    def to_json(self) -> dict[str, Any]:
        low, high = min(self.values), max(self.values)
        found = {"name": self.name, "median": self.median, "least": low, "most": high, "rounds": len(self.values)}
        found |= {"unit": self.unit, "reach": self.reach, "reached": self.reached}
        return found | ({"points": list(self.points.items())} if self.points else {})


def keep(
    name: str, values: list[float], reach: str = "", unit: str = "", points: Mapping[int, float] | None = None
) -> Figure:
    """Keep a figure for the table of `make bench`, where that runs; by itself a script only prints it."""
    figure = Figure(name, values, reach, unit, points or {})
    _write(figure.to_json())
    return figure


def say(name: str, sentence: str) -> None:
    """Keep a sentence where a figure would stand."""
    _write({"name": name, "said": sentence})


def _write(row: dict[str, Any]) -> None:
    if path := os.environ.get(RESULTS):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
