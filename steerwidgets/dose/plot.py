"""The chart of a dose–response, drawn with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from steerwidgets.dose.rows import BaselineRange, DoseRow
from steerwidgets.dose.statistics import Count, Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STEERED, _SURPRISE, _DISTINCT, _ASKED, _USEFUL = "#0969b5", "#c25700", "#0b8457", "#b83280", "#0b845718"


def chart(
    title: str,
    rows: Sequence[DoseRow],
    at: Sequence[float],
    axis: str,
    *,
    baseline: BaselineRange,
    prompted: Count | None,
    useful: Interval | None,
    breaks: Sequence[float | None],
) -> Figure:
    """On topic, surprise and distinct-2 against the dose, in three panels.

    Args:
        title: what was run.
        rows: the strengths.
        at: where each stands on the axis.
        axis: what the axis is called.
        baseline: the baseline's own ranges.
        prompted: on topic where the prompt asks for it.
        useful: the useful range.
        breaks: the strengths from which text breaks.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "The chart is drawn with matplotlib, which is not installed; install it with: pip install "
            '"steerwidgets[plots]"'
        ) from error
    figure = Figure(figsize=(8, 6), layout="constrained")
    panels = figure.subplots(3, 1, sharex=True, height_ratios=[3, 1.4, 1.4])
    _on_topic(panels[0], rows, at, prompted)
    _with_range(panels[1], [row.surprise for row in rows], at, baseline.surprise, _SURPRISE, "surprise, nats")
    _with_range(panels[2], [row.distinct_2 for row in rows], at, baseline.distinct_2, _DISTINCT, "distinct-2")
    places = dict(zip((row.strength for row in rows), at, strict=True))
    for panel in panels:
        if useful is not None:
            panel.axvspan(*(places[each] for each in useful), color=_USEFUL)
        for broken in breaks:
            if broken is not None:
                panel.axvline(places[broken], linestyle="--", color=_SURPRISE)
    panels[2].set_xlabel(axis)
    figure.suptitle(title, fontsize="medium")
    return figure


def _on_topic(panel: Any, rows: Sequence[DoseRow], x: Sequence[float], prompted: Count | None) -> None:
    low, high = zip(*(row.on_topic.interval for row in rows), strict=True)
    panel.fill_between(x, low, high, color=_STEERED, alpha=0.18, linewidth=0)
    panel.plot(x, [row.on_topic.share for row in rows], "o-", color=_STEERED, label="steered")
    if any(row.random.n for row in rows):
        low, high = zip(*(row.random.interval for row in rows), strict=True)
        panel.fill_between(x, low, high, color="grey", alpha=0.15, linewidth=0)
        panel.plot(x, [row.random.share for row in rows], ":", color="grey", label="random directions")
    if prompted is not None:
        label = f"asked for in the prompt, {prompted}"
        panel.axhline(prompted.share, linestyle="--", color=_ASKED, label=label)
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
