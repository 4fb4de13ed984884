"""The chart of a dose–response, drawn with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

from steerwidgets.dose.result import Axis, DoseResult, DoseRow
from steerwidgets.files.shown import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STEERED, _SURPRISE, _DISTINCT, _ASKED, _USEFUL = "#0969b5", "#c25700", "#0b8457", "#b83280", "#0b845718"


def plot(result: DoseResult, axis: Axis) -> Figure:
    """On topic, surprise and distinct-2 against the dose, in three panels.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: there is no such axis, or no iso-KL dose.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "The chart is drawn with matplotlib, which is not installed; install it with: pip install "
            '"steerwidgets[plots]"'
        ) from error
    rows = list(result.table)
    x, name = doses(result, rows, axis)
    figure = Figure(figsize=(8, 6), layout="constrained")
    panels = figure.subplots(3, 1, sharex=True, height_ratios=[3, 1.4, 1.4])
    _on_topic(panels[0], result, rows, x)
    _with_range(panels[1], [row.surprise for row in rows], x, result.baseline.surprise, _SURPRISE, "surprise, nats")
    _with_range(panels[2], [row.distinct_2 for row in rows], x, result.baseline.distinct_2, _DISTINCT, "distinct-2")
    _marks(panels, result, rows, x)
    panels[2].set_xlabel(name)
    figure.suptitle(
        f"{result.label}: {len(result.prompts)} prompts × {len(result.seeds)} seeds, judged by {result.judge}",
        fontsize="medium",
    )
    return figure


def doses(result: DoseResult, rows: Sequence[DoseRow], axis: Axis) -> tuple[list[float], str]:
    """Where each strength stands on an axis, and what the axis is called.

    Raises:
        ValueError: there is no such axis, or the iso-KL dose is beyond what was tested.
    """
    if axis not in get_args(Axis):
        raise ValueError(f"The axis of a dose is {', '.join(get_args(Axis))}, but {shown(axis)} was given.")
    strengths = [row.strength for row in rows]
    if axis == "strength":
        return strengths, f"{result.label}, {result.unit}"
    if axis == "ratio":
        return [math.copysign(row.ratio, row.strength - result.origin) for row in rows], "median ‖change‖ / ‖h‖"
    one = result.iso_kl(1.0)
    if one is None:
        raise ValueError(
            "The 95th percentile of the KL stays below 1 nat up to the strongest tested, so no strength is the iso-KL "
            "dose 1; try stronger ones."
        )
    return [(each - result.origin) / (one - result.origin) for each in strengths], f"iso-KL dose, 1 = {one:.3g}"


def _on_topic(panel: Any, result: DoseResult, rows: Sequence[DoseRow], x: Sequence[float]) -> None:
    low, high = zip(*(row.on_topic.interval for row in rows), strict=True)
    panel.fill_between(x, low, high, color=_STEERED, alpha=0.18, linewidth=0)
    panel.plot(x, [row.on_topic.share for row in rows], "o-", color=_STEERED, label="steered")
    if any(row.random.n for row in rows):
        low, high = zip(*(row.random.interval for row in rows), strict=True)
        panel.fill_between(x, low, high, color="grey", alpha=0.15, linewidth=0)
        panel.plot(x, [row.random.share for row in rows], ":", color="grey", label="random directions")
    if result.prompted is not None:
        label = f"asked for in the prompt, {result.prompted}"
        panel.axhline(result.prompted.share, linestyle="--", color=_ASKED, label=label)
    panel.set_ylim(-0.03, 1.03)
    panel.set_ylabel("on topic, share")
    panel.legend(fontsize="small", frameon=False)


def _with_range(
    panel: Any, means: Sequence[Any], x: Sequence[float], own: tuple[float, float], colour: str, name: str
) -> None:
    if not math.isnan(own[0]):
        panel.axhspan(*own, color="grey", alpha=0.15, linewidth=0, label="baseline's own range")
    if not math.isnan(means[0].low):
        panel.fill_between(x, [m.low for m in means], [m.high for m in means], color=colour, alpha=0.18, linewidth=0)
    panel.plot(x, [mean.value for mean in means], "o-", color=colour)
    panel.set_ylabel(name)


def _marks(panels: Sequence[Any], result: DoseResult, rows: Sequence[DoseRow], x: Sequence[float]) -> None:
    at = dict(zip((row.strength for row in rows), x, strict=True))
    for panel in panels:
        if result.useful is not None:
            panel.axvspan(*(at[each] for each in result.useful), color=_USEFUL)
        for broken in (result.breaks, result.breaks_below):
            if broken is not None:
                panel.axvline(at[broken], linestyle="--", color=_SURPRISE)
