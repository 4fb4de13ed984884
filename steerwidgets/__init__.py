"""Look inside a language model and steer it, from a notebook cell, in your own kernel.

The names below are loaded when first used: importing steerwidgets imports neither torch nor transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from steerwidgets import threads as _threads

if TYPE_CHECKING:
    from steerwidgets import corpus, lab, labels
    from steerwidgets.dictionaries.cav.cav import CAV
    from steerwidgets.dictionaries.evidence import FeatureData
    from steerwidgets.dictionaries.heads import Heads
    from steerwidgets.dictionaries.mfa.mfa import MFA
    from steerwidgets.dictionaries.neurons import Neurons
    from steerwidgets.dictionaries.reft.reft import ReFT
    from steerwidgets.dictionaries.sae.sae import SAE
    from steerwidgets.dictionaries.statistics import FeatureStatistics
    from steerwidgets.dose.by_block import BlockTable
    from steerwidgets.dose.judges import Probe, Words
    from steerwidgets.dose.result import DoseResult
    from steerwidgets.dose.table import ConditionTable
    from steerwidgets.engines.engine import EngineError
    from steerwidgets.engines.engine_model import EngineModel
    from steerwidgets.engines.remote_model import RemoteModel
    from steerwidgets.generation.comparison import Comparison
    from steerwidgets.generation.conditions import Asked
    from steerwidgets.generation.sampling import Sampling
    from steerwidgets.labels.labels import Labels
    from steerwidgets.lens.attribution import Attribution
    from steerwidgets.lens.fitted import FittedLens
    from steerwidgets.lens.layer_lens import LayerLens
    from steerwidgets.model import LanguageModel
    from steerwidgets.steering.condition import Condition
    from steerwidgets.steering.positions import Positions, after, first, last_prompt, role
    from steerwidgets.steering.recipe import Direction, Feature, Recipe, Steer
    from steerwidgets.transformer.model_names import OtherModelWarning
    from steerwidgets.transformer.sites import Site
    from steerwidgets.widgets.card.feature_card import FeatureCard
    from steerwidgets.widgets.concept_trainer.concept_trainer import ConceptTrainer
    from steerwidgets.widgets.dose.dose_response import DoseResponse
    from steerwidgets.widgets.feature_picker import FeaturePicker
    from steerwidgets.widgets.heatmap.token_heatmap import TokenHeatmap
    from steerwidgets.widgets.lab.lab import Lab
    from steerwidgets.widgets.label_check.label_check import LabelCheck
    from steerwidgets.widgets.lens.logit_lens import LogitLens
    from steerwidgets.widgets.panel.steering_panel import SteeringPanel
    from steerwidgets.widgets.patch_grid.patch_grid import PatchGrid
    from steerwidgets.widgets.subspace_map.subspace_map import SubspaceMap

_threads.wait_quietly()

_HOMES = {
    "Asked": "generation.conditions",
    "Attribution": "lens.attribution",
    "BlockTable": "dose.by_block",
    "CAV": "dictionaries.cav.cav",
    "MFA": "dictionaries.mfa.mfa",
    "SAE": "dictionaries.sae.sae",
    "Comparison": "generation.comparison",
    "ConceptTrainer": "widgets.concept_trainer.concept_trainer",
    "Condition": "steering.condition",
    "ConditionTable": "dose.table",
    "DoseResponse": "widgets.dose.dose_response",
    "DoseResult": "dose.result",
    "Probe": "dose.judges",
    "Words": "dose.judges",
    "Direction": "steering.recipe",
    "EngineError": "engines.engine",
    "EngineModel": "engines.engine_model",
    "Feature": "steering.recipe",
    "FeatureCard": "widgets.card.feature_card",
    "FeatureData": "dictionaries.evidence",
    "FeaturePicker": "widgets.feature_picker",
    "FeatureStatistics": "dictionaries.statistics",
    "FittedLens": "lens.fitted",
    "Heads": "dictionaries.heads",
    "Lab": "widgets.lab.lab",
    "LabelCheck": "widgets.label_check.label_check",
    "Labels": "labels.labels",
    "LanguageModel": "model",
    "LayerLens": "lens.layer_lens",
    "LogitLens": "widgets.lens.logit_lens",
    "Neurons": "dictionaries.neurons",
    "OtherModelWarning": "transformer.model_names",
    "PatchGrid": "widgets.patch_grid.patch_grid",
    "Positions": "steering.positions",
    "ReFT": "dictionaries.reft.reft",
    "Recipe": "steering.recipe",
    "RemoteModel": "engines.remote_model",
    "Sampling": "generation.sampling",
    "Site": "transformer.sites",
    "Steer": "steering.recipe",
    "SteeringPanel": "widgets.panel.steering_panel",
    "SubspaceMap": "widgets.subspace_map.subspace_map",
    "TokenHeatmap": "widgets.heatmap.token_heatmap",
    "after": "steering.positions",
    "first": "steering.positions",
    "last_prompt": "steering.positions",
    "role": "steering.positions",
}

_WITH_THEM = {"Recipe": tuple(home for home in _HOMES.values() if home.startswith("dictionaries."))}
"""What else a name loads: a recipe reads the features that any kind wrote out."""

_MODULES = ("corpus", "lab", "labels")
"""Modules that are names of the package themselves: `sw.corpus.build`."""

__all__ = [
    "CAV",
    "MFA",
    "SAE",
    "Asked",
    "Attribution",
    "BlockTable",
    "Comparison",
    "ConceptTrainer",
    "Condition",
    "ConditionTable",
    "Direction",
    "DoseResponse",
    "DoseResult",
    "EngineError",
    "EngineModel",
    "Feature",
    "FeatureCard",
    "FeatureData",
    "FeaturePicker",
    "FeatureStatistics",
    "FittedLens",
    "Heads",
    "Lab",
    "LabelCheck",
    "Labels",
    "LanguageModel",
    "LayerLens",
    "LogitLens",
    "Neurons",
    "OtherModelWarning",
    "PatchGrid",
    "Positions",
    "Probe",
    "ReFT",
    "Recipe",
    "RemoteModel",
    "Sampling",
    "Site",
    "Steer",
    "SteeringPanel",
    "SubspaceMap",
    "TokenHeatmap",
    "Words",
    "after",
    "corpus",
    "first",
    "lab",
    "labels",
    "last_prompt",
    "role",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"steerwidgets.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'steerwidgets' has no attribute {name!r}")
    for also in _WITH_THEM.get(name, ()):
        importlib.import_module(f"steerwidgets.{also}")
    value = getattr(importlib.import_module(f"steerwidgets.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
