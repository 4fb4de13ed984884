"""The ReFT-r1 concepts shipped for the embedded model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from steerwidgets.dictionaries.evidence import FeatureData
from steerwidgets.dictionaries.reft.reft import ReFT
from steerwidgets.dictionaries.statistics import FeatureStatistics

REFT_FEATURES: Final = Path(__file__).parent / "reft_features.safetensors"
REFT_FILE: Final = Path(__file__).parent / "reft.safetensors"


def load_demo_reft() -> ReFT:
    """The shipped concepts, with suggested strengths; how they were made is in `.provenance`."""
    from safetensors import safe_open

    with safe_open(REFT_FILE, "pt") as file:
        said: dict[str, Any] = json.loads(file.metadata()["reft"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    statistics = said.pop("statistics")
    reft = ReFT(tensors.pop("weight"), **said)
    reft.statistics = FeatureStatistics.from_entries(tensors, statistics)
    if REFT_FEATURES.exists():
        reft.feature_data = FeatureData.load(REFT_FEATURES)
    reft.source_code = "sw.ReFT.demo()"
    return reft


def write_demo_reft(reft: ReFT, path: Path = REFT_FILE) -> None:
    """Write the file that `load_demo_reft` reads."""
    from safetensors.torch import save_file

    assert reft.statistics is not None
    known, said = reft.statistics.entries()
    header = {
        "labels": reft.labels,
        "layer": reft.site.layer,
        "stream": reft.site.stream,
        "suggested": [feature.suggested for feature in reft],
        "provenance": dict(reft.provenance),
        "statistics": said,
    }
    save_file({"weight": reft.weight, **known}, path, {"reft": json.dumps(header, ensure_ascii=False)})
    path.chmod(0o644)  # safetensors are written for their owner alone
