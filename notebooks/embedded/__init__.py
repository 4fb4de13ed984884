"""How the dictionaries of the embedded model were made: `make dictionaries` runs these scripts in order.

They read and write `build/dictionaries/`, and what is shipped goes to `SHIPPED`, the package's own folder.
"""

from pathlib import Path
from typing import Final

import steerwidgets.demo

SHIPPED: Final = Path(steerwidgets.demo.__file__).parent
"""Where the shipped files lie."""

SAE_FILE: Final = SHIPPED / "sae.safetensors"
SAE_FEATURES: Final = SHIPPED / "sae_features.safetensors"
CAV_FOLDER: Final = SHIPPED / "cavs"
"""A file for each block."""

CAV_FEATURES: Final = SHIPPED / "cavs_features.safetensors"
REFT_FOLDER: Final = SHIPPED / "reft"
REFT_FEATURES: Final = SHIPPED / "reft_features.safetensors"
MFA_FILE: Final = SHIPPED / "mfa.pt"
MFA_FEATURES: Final = SHIPPED / "mfa_features.safetensors"

BLOCK: Final = 15
"""The block of the concepts whose strengths were chosen, and of the other dictionaries."""
