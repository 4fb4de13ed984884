"""How far a slider goes whose strength is in the feature's own units."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from steerwidgets.steer import Feature

if TYPE_CHECKING:
    from steerwidgets.steer import Direction

_TIMES_SUGGESTED: Final = 3.0
_TIMES_MAXIMUM: Final = 4.0
_TIMES_RESIDUAL: Final = 3.0
"""A change of three times the residual's own length leaves little of the residual: nobody wants more."""

_ROUND: Final = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)


def slider_reach(feature: Direction, median_norm: float | None = None) -> float | None:
    """The strength at which a slider shall end; None where nothing is known. Larger values can always be typed.

    Three times what was seen to work; else four times the strength that gives the feature its largest activation; else
    the strength whose change is three times as long as the residual.

    Args:
        feature: the feature.
        median_norm: the median ‖h‖ at its site, where it was read.
    """
    if isinstance(feature, Feature) and feature.suggested is not None:
        op, numbers = feature.suggested
        own = [numbers[p.name] for p in feature.ops[op].parameters if p.raw and numbers.get(p.name)]
        if own:
            return _TIMES_SUGGESTED * abs(own[0])
    if feature.full_strength is not None:
        return _round(_TIMES_MAXIMUM * feature.full_strength)
    return _round(_TIMES_RESIDUAL * median_norm / feature.norm) if median_norm else None


def _round(number: float) -> float:
    """The nearest round number: a slider shall not change its end with every prompt."""
    power = 10.0 ** math.floor(math.log10(number))
    return min((step * power for step in _ROUND), key=lambda each: abs(each - number))
