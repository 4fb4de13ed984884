"""Look inside a language model and steer it, from a notebook cell, in your own kernel.

The names below are loaded when first used: importing steerwidgets imports neither torch nor transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steerwidgets.comparison import Comparison
    from steerwidgets.dictionaries.cav import CAV
    from steerwidgets.dictionaries.evidence import FeatureData
    from steerwidgets.dictionaries.mfa import MFA
    from steerwidgets.dictionaries.neurons import Neurons
    from steerwidgets.dictionaries.reft import ReFT
    from steerwidgets.dictionaries.sae import SAE
    from steerwidgets.dictionaries.statistics import FeatureStatistics
    from steerwidgets.labels import Labels
    from steerwidgets.model import LanguageModel
    from steerwidgets.model_names import OtherModelWarning
    from steerwidgets.positions import Positions
    from steerwidgets.recipe import Recipe
    from steerwidgets.sampling import Sampling
    from steerwidgets.sites import Site
    from steerwidgets.steer import Direction, Feature, Steer
    from steerwidgets.widgets.steering_panel import SteeringPanel
    from steerwidgets.widgets.token_heatmap import TokenHeatmap

_HOMES = {
    "CAV": "dictionaries.cav",
    "MFA": "dictionaries.mfa",
    "SAE": "dictionaries.sae",
    "Comparison": "comparison",
    "Direction": "steer",
    "Feature": "steer",
    "FeatureData": "dictionaries.evidence",
    "FeatureStatistics": "dictionaries.statistics",
    "Labels": "labels",
    "LanguageModel": "model",
    "Neurons": "dictionaries.neurons",
    "OtherModelWarning": "model_names",
    "Positions": "positions",
    "ReFT": "dictionaries.reft",
    "Recipe": "recipe",
    "Sampling": "sampling",
    "Site": "sites",
    "Steer": "steer",
    "SteeringPanel": "widgets.steering_panel",
    "TokenHeatmap": "widgets.token_heatmap",
}

__all__ = [
    "CAV",
    "MFA",
    "SAE",
    "Comparison",
    "Direction",
    "Feature",
    "FeatureData",
    "FeatureStatistics",
    "Labels",
    "LanguageModel",
    "Neurons",
    "OtherModelWarning",
    "Positions",
    "ReFT",
    "Recipe",
    "Sampling",
    "Site",
    "Steer",
    "SteeringPanel",
    "TokenHeatmap",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'steerwidgets' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"steerwidgets.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
