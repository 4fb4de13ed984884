"""The concept vectors shipped for the embedded model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dictionaries.cav.cav import CAV
from steerwidgets.dictionaries.evidence import FeatureData
from steerwidgets.dictionaries.statistics import FeatureStatistics

if TYPE_CHECKING:
    from torch import Tensor

CAV_FILE: Final = Path(__file__).parents[2] / "demo" / "cavs.safetensors"
CAV_FEATURES: Final = Path(__file__).parents[2] / "demo" / "cavs_features.safetensors"
CHOSEN_BLOCK: Final = 15
"""The block of the concepts whose strengths were chosen."""


def load_demo_cavs(layer: int = CHOSEN_BLOCK) -> CAV:
    """The shipped concepts at one block; how they were made is in `.provenance`.

    Raises:
        ValueError: none are shipped for that block.
    """
    from safetensors import safe_open

    with safe_open(CAV_FILE, "pt") as file:
        header = json.loads(file.metadata()["cavs"])
        if str(layer) not in header:
            shipped = ", ".join(header)
            raise ValueError(
                f"The embedded model's concept vectors are shipped for the blocks {shipped}, but {layer!r} was asked "
                "for; choose one of them, or make your own with CAV.fit."
            )
        said: dict[str, Any] = header[str(layer)]
        prefix = f"{layer}."
        tensors = {name.removeprefix(prefix): file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118 - not a mapping
    statistics = said.pop("statistics")
    cavs = CAV(tensors.pop("vectors"), **said)
    cavs.statistics = FeatureStatistics.from_entries(tensors, statistics)
    if layer == CHOSEN_BLOCK and CAV_FEATURES.exists():
        cavs.feature_data = FeatureData.load(CAV_FEATURES)
    cavs.source_code = "sw.CAV.demo()" if layer == CHOSEN_BLOCK else f"sw.CAV.demo(layer={layer})"
    return cavs


def write_demo_cavs(cavs: Sequence[CAV], path: Path = CAV_FILE) -> None:
    """Write CAVs of several blocks into one file; float32 at the chosen block, float16 at the others."""
    import torch
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    header = {}
    for each in cavs:
        layer = each.site.layer
        tensors[f"{layer}.vectors"] = each.vectors if layer == CHOSEN_BLOCK else each.vectors.to(torch.float16)
        assert each.statistics is not None
        known, said = each.statistics.entries()
        tensors |= {f"{layer}.{name}": tensor for name, tensor in known.items()}
        header[str(layer)] = {
            "labels": each.labels,
            "layer": layer,
            "stream": each.site.stream,
            "suggested": [feature.suggested for feature in each],
            "provenance": dict(each.provenance),
            "statistics": said,
        }
    save_file(tensors, path, {"cavs": json.dumps(header, ensure_ascii=False)})
    path.chmod(0o644)  # safetensors are written for their owner alone
