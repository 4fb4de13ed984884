"""Look inside a language model and steer it, from a notebook cell, in your own kernel.

The names below are loaded when first used: importing steerwidgets imports neither torch nor transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steerwidgets.dictionaries.cav import CAV
    from steerwidgets.model import Comparison, LanguageModel
    from steerwidgets.positions import Positions
    from steerwidgets.recipe import Recipe
    from steerwidgets.sampling import Sampling
    from steerwidgets.sites import Site
    from steerwidgets.steer import Direction, Feature, Steer
    from steerwidgets.widgets.steering_panel import SteeringPanel

_HOMES = {
    "CAV": "dictionaries.cav",
    "Comparison": "model",
    "Direction": "steer",
    "Feature": "steer",
    "LanguageModel": "model",
    "Positions": "positions",
    "Recipe": "recipe",
    "Sampling": "sampling",
    "Site": "sites",
    "Steer": "steer",
    "SteeringPanel": "widgets.steering_panel",
}

__all__ = [
    "CAV",
    "Comparison",
    "Direction",
    "Feature",
    "LanguageModel",
    "Positions",
    "Recipe",
    "Sampling",
    "Site",
    "Steer",
    "SteeringPanel",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'steerwidgets' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"steerwidgets.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
