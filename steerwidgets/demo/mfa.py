"""The mixture of factor analysers shipped for the embedded model."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from steerwidgets.dictionaries.evidence import FeatureData
from steerwidgets.dictionaries.mfa.mfa import MFA

MFA_FEATURES: Final = Path(__file__).parent / "mfa_features.safetensors"
MFA_FILE: Final = Path(__file__).parent / "mfa.pt"
"""In the reference's format; the loadings' directions are float16 there."""


def load_demo_mfa() -> MFA:
    """The shipped components, with labels; how they were made is in `.provenance`."""
    mfa = MFA.load(MFA_FILE)
    if MFA_FEATURES.exists():
        mfa.feature_data = FeatureData.load(MFA_FEATURES)
    mfa.source_code = "sw.MFA.demo()"
    return mfa
