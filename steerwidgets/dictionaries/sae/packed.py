"""A file of an SAE whose matrices are kept in 8 bits, as the one shipped for the embedded model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dictionaries.statistics import FeatureStatistics

if TYPE_CHECKING:
    from torch import Tensor

_LEVELS: Final = 127


def read_packed(path: Path) -> tuple[dict[str, Any], FeatureStatistics | None]:
    """What `SAE` takes, of a file that `write_packed` wrote, and what is known of the activations.

    The matrices come back in float32, off by half a 127th of each feature's largest weight at most.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"There is no SAE file at {str(path)!r}.")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise ValueError(f"{path.name} is not a whole safetensors file ({error}); make it again.") from None
    if "sae" not in metadata:
        raise ValueError(f"{path.name} is a safetensors file, but not one that SAE.save_packed wrote.")
    said: dict[str, Any] = json.loads(metadata["sae"])
    decoder = tensors["W_dec.int8"].float()
    statistics = said.pop("statistics", None)
    arguments = said | {
        "W_enc": (tensors["W_enc.int8"].float() * tensors["W_enc.scale"][:, None].float()).T.contiguous(),
        "b_enc": tensors["b_enc"],
        "W_dec": decoder / decoder.norm(dim=-1, keepdim=True),
        "b_dec": tensors["b_dec"],
        "activation": "jumprelu",
        "threshold": tensors["threshold"],
    }
    return arguments, FeatureStatistics.from_entries(tensors, statistics) if statistics is not None else None


def write_packed(
    path: Path, weights: Mapping[str, Tensor], said: Mapping[str, Any], statistics: FeatureStatistics | None
) -> None:
    """Write a JumpReLU SAE with unit decoder rows: both matrices in 8 bits, one scale for each feature.

    The decoder needs no scale, since its rows have length 1. Biases and the threshold stay float32.

    Args:
        path: the file.
        weights: as `SAE.tensors` gives them.
        said: `layer`, `stream` and `provenance`.
        statistics: what its features did on a corpus, where it is known.

    Raises:
        ValueError: the SAE has no threshold, or a decoder row is not of length 1.
    """
    import torch
    from safetensors.torch import save_file

    norms = weights["W_dec"].norm(dim=-1)
    if "threshold" not in weights or not torch.allclose(norms, torch.ones_like(norms), atol=1e-2):
        raise ValueError(
            "A packed file holds a JumpReLU SAE with decoder rows of length 1, but this one has "
            f"{'a' if 'threshold' in weights else 'no'} threshold and rows of length {float(norms.min()):.2f} to "
            f"{float(norms.max()):.2f}."
        )
    encoder, scale = _levels(weights["W_enc"].T)
    decoder, _ = _levels(weights["W_dec"])
    tensors = {"W_enc.int8": encoder, "W_enc.scale": scale.half(), "W_dec.int8": decoder}
    tensors |= {name: weights[name].contiguous() for name in ("b_enc", "b_dec", "threshold")}
    header = dict(said)
    if statistics is not None:
        known, header["statistics"] = statistics.entries()
        tensors |= known
    save_file(tensors, path, {"sae": json.dumps(header, ensure_ascii=False)})


def _levels(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows as whole numbers from -127 to 127, and what each row's are multiplied by."""
    import torch

    # A float16 scale is what is kept, so that is what the numbers are made for.
    scale = (rows.abs().amax(-1) / _LEVELS).half().float()
    return (rows / scale[:, None]).round().clamp(-_LEVELS, _LEVELS).to(torch.int8).contiguous(), scale
