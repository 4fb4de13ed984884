"""A direct logit attribution as the front-end reads it: the largest parts, and what all others add together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from steerwidgets.widgets.heatmap.columns import exact

if TYPE_CHECKING:
    from steerwidgets.lens.attribution import Attribution

_PARTS: Final = 10


def wrote_json(found: Attribution, position: int, token: int, minus: int | None, run: str) -> dict[str, Any]:
    """An attribution as it travels.

    Args:
        found: what `lm.attribution` gave.
        position: the column.
        token: the id of the token whose logit it is.
        minus: the id of the token whose logit is taken off it, or None.
        run: `baseline` or `steered`.
    """
    shown = found.top(_PARTS)
    total = sum(row.value for row in found.rows)
    return {
        "position": position,
        "id": token,
        "minus": minus,
        "run": run,
        "parts": [{"name": row.component, "value": exact(row.value)} for row in shown],
        "of": len(found.rows),
        "rest": exact(total - sum(row.value for row in shown)),
        "logit": exact(found.logit),
        "total": exact(total),
    }
