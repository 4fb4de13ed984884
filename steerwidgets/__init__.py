"""Look inside a language model and steer it, from a notebook cell, in your own kernel.

The names below are loaded when first used: importing steerwidgets imports neither torch nor transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steerwidgets import corpus
    from steerwidgets.attribution import Attribution
    from steerwidgets.comparison import Comparison
    from steerwidgets.dictionaries.cav import CAV
    from steerwidgets.dictionaries.evidence import FeatureData
    from steerwidgets.dictionaries.mfa import MFA
    from steerwidgets.dictionaries.neurons import Neurons
    from steerwidgets.dictionaries.reft import ReFT
    from steerwidgets.dictionaries.sae import SAE
    from steerwidgets.dictionaries.statistics import FeatureStatistics
    from steerwidgets.labels import Labels
    from steerwidgets.layer_lens import LayerLens
    from steerwidgets.model import LanguageModel
    from steerwidgets.model_names import OtherModelWarning
    from steerwidgets.positions import Positions
    from steerwidgets.recipe import Recipe
    from steerwidgets.sampling import Sampling
    from steerwidgets.sites import Site
    from steerwidgets.steer import Direction, Feature, Steer
    from steerwidgets.widgets.feature_card import FeatureCard
    from steerwidgets.widgets.feature_picker import FeaturePicker
    from steerwidgets.widgets.logit_lens import LogitLens
    from steerwidgets.widgets.steering_panel import SteeringPanel
    from steerwidgets.widgets.token_heatmap import TokenHeatmap

_HOMES = {
    "Attribution": "attribution",
    "CAV": "dictionaries.cav",
    "MFA": "dictionaries.mfa",
    "SAE": "dictionaries.sae",
    "Comparison": "comparison",
    "Direction": "steer",
    "Feature": "steer",
    "FeatureCard": "widgets.feature_card",
    "FeatureData": "dictionaries.evidence",
    "FeaturePicker": "widgets.feature_picker",
    "FeatureStatistics": "dictionaries.statistics",
    "Labels": "labels",
    "LanguageModel": "model",
    "LayerLens": "layer_lens",
    "LogitLens": "widgets.logit_lens",
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

_MODULES = ("corpus",)
"""Modules that are names of the package themselves: `sw.corpus.build`."""

__all__ = [
    "CAV",
    "MFA",
    "SAE",
    "Attribution",
    "Comparison",
    "Direction",
    "Feature",
    "FeatureCard",
    "FeatureData",
    "FeaturePicker",
    "FeatureStatistics",
    "Labels",
    "LanguageModel",
    "LayerLens",
    "LogitLens",
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
    "corpus",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"steerwidgets.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'steerwidgets' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"steerwidgets.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
