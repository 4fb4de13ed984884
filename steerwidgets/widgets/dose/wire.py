"""A dose–response as the page reads it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dose.rows import ASKED, BASELINE
from steerwidgets.dose.statistics import Count, Mean
from steerwidgets.widgets.recipe_editor.describe import finite

if TYPE_CHECKING:
    from steerwidgets.dose.result import DoseResult
    from steerwidgets.dose.rows import DoseRow
    from steerwidgets.dose.trials import Answer

_DIGITS: Final = 3


def result_json(result: DoseResult) -> dict[str, Any]:
    """Rows, ranges, and every text; of the steered ones each token's KL to the baseline."""
    if not result.answers:
        return {}
    baseline = result.baseline
    return {
        "label": result.label,
        "unit": result.unit,
        "origin": result.origin,
        "prompts": list(result.prompts),
        "seeds": list(result.seeds),
        "judge": result.judge,
        "asked": result.asked,
        "stopped": result.stopped,
        "rows": [_row(row) for row in result.table],
        "baseline": {
            "on_topic": _count(baseline.on_topic),
            "surprise": _ends(baseline.surprise),
            "distinct_2": _ends(baseline.distinct_2),
            "mean_surprise": _rounded(baseline.mean_surprise),
            "mean_distinct_2": _rounded(baseline.mean_distinct_2),
        },
        "prompted": None if result.prompted is None else _count(result.prompted),
        "useful": None if result.useful is None else list(result.useful),
        "breaks": result.breaks,
        "breaks_below": result.breaks_below,
        "axbench": _axbench(result),
        "answers": [_answer(answer) for answer in result.answers if _is_shown(result, answer)],
    }


def _is_shown(result: DoseResult, answer: Answer) -> bool:
    """Of the baseline's further seeds the numbers are told, and not the texts."""
    return answer.key != BASELINE or answer.seed in result.seeds


def _axbench(result: DoseResult) -> dict[str, Any] | None:
    """The strength that one half of the prompts chooses, and its score on the other; None without marks or halves."""
    if len({answer.prompt for answer in result.answers}) < 2 or all(row.overall is None for row in result.table):
        return None
    found = result.axbench
    return {"strength": found.strength, "score": _mean(found.score)}


def _row(row: DoseRow) -> dict[str, Any]:
    return {
        "strength": row.strength,
        "on_topic": _count(row.on_topic),
        "random": _count(row.random),
        "surprise": _mean(row.surprise),
        "distinct_2": _mean(row.distinct_2),
        "kl": _mean(row.kl),
        "kl_p95": _rounded(row.kl_p95),
        "ratio": _rounded(row.ratio),
        "overall": None if row.overall is None else _mean(row.overall),
        "fluent": row.fluent,
        "useful": row.useful,
    }


def _answer(answer: Answer) -> dict[str, Any]:
    kind, *strength = answer.key if isinstance(answer.key, tuple) else (answer.key,)
    told = {
        "kind": kind,
        "strength": strength[0] if strength else None,
        "prompt": answer.prompt,
        "seed": answer.seed,
        "on_topic": None if answer.verdict is None else answer.verdict.on_topic,
        "text": answer.text,
    }
    if answer.key == ASKED or kind == "random":
        return told
    return told | {
        "surprise": _rounded(answer.surprise),
        "tokens": [token.text for token in answer.row.tokens],
        "fragments": [i for i, token in enumerate(answer.row.tokens) if token.fragment],
        "kl": [_rounded(each) for each in answer.kl],
    }


def _count(count: Count) -> dict[str, Any]:
    return {"k": count.k, "n": count.n, "interval": [_rounded(end) for end in count.interval]}


def _mean(mean: Mean) -> dict[str, Any]:
    return {"value": _rounded(mean.value), "low": _rounded(mean.low), "high": _rounded(mean.high)}


def _ends(interval: tuple[float, float]) -> list[float | None] | None:
    return None if math.isnan(interval[0]) else [_rounded(end) for end in interval]


def _rounded(value: float) -> float | None:
    return finite(round(value, _DIGITS)) if math.isfinite(value) else None
