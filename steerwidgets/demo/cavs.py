"""The concept vectors shipped for the embedded model."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from steerwidgets.dictionaries.cav import CAV

CAV_FILE: Final = Path(__file__).parent / "cavs.safetensors"


def load_demo_cavs() -> CAV:
    """The concepts of `make_cavs.py`, with suggested strengths; how they were made is in `.provenance`."""
    cavs = CAV.load(CAV_FILE)
    cavs.source_code = "sw.CAV.demo()"
    return cavs
