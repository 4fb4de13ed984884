"""What the tab "Δ logits" shows: the tokens that a recipe raises and lowers right after the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.widgets.recipe_editor.describe import tokens_json

if TYPE_CHECKING:
    from steerwidgets.lens.top_logits import LogitDifference
    from steerwidgets.transformer.prompts import Token

SHOWN: Final = 8
"""Tokens of either kind on the page."""


LEAST: Final = 1e-3
"""Tokens that are rarer before and after are left out: most that change most are never said."""


def next_token_json(difference: LogitDifference, asked: Mapping[str, Any]) -> dict[str, Any]:
    """A difference as the page reads it.

    Args:
        difference: what the recipe does.
        asked: the panel's traits as they were, so that the page can tell when they have moved on.
    """
    return {
        "promoted": _rows(difference, [each for each in difference.promoted if each[1] > 0]),
        "suppressed": _rows(difference, [each for each in difference.suppressed if each[1] < 0]),
        "changes": bool(difference.raw.any()),
        "asked": dict(asked),
    }


def _rows(difference: LogitDifference, values: Sequence[tuple[Token, float]]) -> list[dict[str, Any]]:
    before, after = difference.probabilities
    values = values[:SHOWN]
    tokens = tokens_json(token for token, _ in values)
    return [
        {**token, "delta": delta, "before": float(before[token["id"]]), "after": float(after[token["id"]])}
        for token, (_, delta) in zip(tokens, values, strict=True)
    ]
