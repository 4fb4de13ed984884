"""The sparse autoencoder shipped for the embedded model: its file, whose matrices are kept in 8 bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dictionaries.evidence import FeatureData
from steerwidgets.dictionaries.sae.sae import SAE
from steerwidgets.dictionaries.statistics import FeatureStatistics
from steerwidgets.labels.labels import Labels

if TYPE_CHECKING:
    from torch import Tensor

SAE_FILE: Final = Path(__file__).parents[2] / "demo" / "sae.safetensors"
LABELS_FILE: Final = Path(__file__).parents[2] / "demo" / "sae_labels.json"
FEATURES_FILE: Final = Path(__file__).parents[2] / "demo" / "sae_features.safetensors"
_LEVELS: Final = 127
_SCORES: Final = {"detection": "auroc", "detection, hard": "auroc_hard", "texts": "texts"}
"""What `label_scores` calls the figures of the file: areas under the ROC curve over held-out texts."""


def load_demo_sae() -> SAE:
    """The shipped SAE, with labels and suggested strengths; how it was made is in `.provenance`.

    Its matrices come back in float32, off by half a 127th of each feature's largest weight at most; the figures in
    `.provenance` are of these weights.
    """
    sae = read_packed(SAE_FILE)
    sae.feature_data = FeatureData.load(FEATURES_FILE)
    said = {int(index): entry for index, entry in json.loads(LABELS_FILE.read_text(encoding="utf-8")).items()}
    understood = {index: entry["label"] for index, entry in said.items() if entry["understood"]}
    sae.labels = Labels(understood, size=sae.size, source="steerwidgets", author="language model")
    sae.label_scores = {
        index: {name: float(entry[key]) for name, key in _SCORES.items() if entry.get(key) is not None}
        for index, entry in said.items()
        if index in understood
    }
    sae.suggested = {
        index: ("clamp", {"c": entry["steers"]["strength"]}) for index, entry in said.items() if entry.get("steers")
    }
    return sae


def read_packed(path: Path) -> SAE:
    """Read a file that `write_packed` wrote."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        said: dict[str, Any] = json.loads(file.metadata()["sae"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    decoder = tensors["W_dec.int8"].float()
    statistics = said.pop("statistics", None)
    sae = SAE(
        (tensors["W_enc.int8"].float() * tensors["W_enc.scale"][:, None].float()).T.contiguous(),
        tensors["b_enc"],
        decoder / decoder.norm(dim=-1, keepdim=True),
        tensors["b_dec"],
        "jumprelu",
        threshold=tensors["threshold"],
        **said,
    )
    if statistics is not None:
        sae.statistics = FeatureStatistics.from_entries(tensors, statistics)
    sae.source_code = "sw.SAE.demo()"
    return sae


def write_packed(sae: SAE, path: Path = SAE_FILE) -> None:
    """Write a JumpReLU SAE with unit decoder rows: both matrices in 8 bits, one scale for each feature.

    The decoder needs no scale, since its rows have length 1. Biases and the threshold stay float32.

    Raises:
        ValueError: the SAE is of another architecture, or a decoder row is not of length 1.
    """
    import torch
    from safetensors.torch import save_file

    weights = sae.tensors()
    norms = weights["W_dec"].norm(dim=-1)
    if "threshold" not in weights or not torch.allclose(norms, torch.ones_like(norms), atol=1e-2):
        raise ValueError(
            f"A packed file holds a JumpReLU SAE with decoder rows of length 1, but this is {sae.activation!r} with "
            f"rows of length {float(norms.min()):.2f} to {float(norms.max()):.2f}."
        )
    encoder, scale = _levels(weights["W_enc"].T)
    decoder, _ = _levels(weights["W_dec"])
    tensors = {"W_enc.int8": encoder, "W_enc.scale": scale.half(), "W_dec.int8": decoder}
    tensors |= {name: weights[name].contiguous() for name in ("b_enc", "b_dec", "threshold")}
    said: dict[str, Any] = {"layer": sae.site.layer, "stream": sae.site.stream, "provenance": dict(sae.provenance)}
    if sae.statistics is not None:
        known, said["statistics"] = sae.statistics.entries()
        tensors |= known
    save_file(tensors, path, {"sae": json.dumps(said, ensure_ascii=False)})


def _levels(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows as whole numbers from -127 to 127, and what each row's are multiplied by."""
    import torch

    # A float16 scale is what is kept, so that is what the numbers are made for.
    scale = (rows.abs().amax(-1) / _LEVELS).half().float()
    return (rows / scale[:, None]).round().clamp(-_LEVELS, _LEVELS).to(torch.int8).contiguous(), scale
