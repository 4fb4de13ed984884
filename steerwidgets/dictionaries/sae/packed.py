"""A file of an SAE whose matrices are kept in 8 bits, as the one shipped for the embedded model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dictionaries.statistics import FeatureStatistics
from steerwidgets.files.atomic import atomically
from steerwidgets.files.containers import read_safetensors
from steerwidgets.files.fields import Fields
from steerwidgets.files.json_text import parse_json
from steerwidgets.files.shown import named, shown

if TYPE_CHECKING:
    from torch import Tensor

_LEVELS: Final = 127
_NEEDED: Final = ("W_enc.int8", "W_enc.scale", "W_dec.int8", "b_enc", "b_dec", "threshold")


def read_packed(path: Path) -> tuple[dict[str, Any], FeatureStatistics | None]:
    """What `SAE` takes, of a file that `write_packed` wrote, and what is known of the activations.

    The matrices come back in float32, off by half a 127th of each feature's largest weight at most.
    """
    tensors, metadata = read_safetensors(path, "an SAE")
    if "sae" not in metadata:
        raise ValueError(f"{path.name} is a safetensors file, but not one that SAE.save_packed wrote.")
    what = f"the header of {path.name}"
    said = Fields(parse_json(metadata["sae"], what), f"In {what}", todo="make it again with SAE.save_packed")
    said.only("layer", "stream", "provenance", "statistics")
    _check(path, tensors)
    decoder = tensors["W_dec.int8"].float()
    statistics = said.text("statistics", None)
    arguments = {
        "layer": said.whole("layer", low=0),
        "stream": said.text("stream", "resid_post"),
        "provenance": said.texts("provenance"),
        "W_enc": (tensors["W_enc.int8"].float() * tensors["W_enc.scale"][:, None].float()).T.contiguous(),
        "b_enc": tensors["b_enc"],
        "W_dec": decoder / decoder.norm(dim=-1, keepdim=True),
        "b_dec": tensors["b_dec"],
        "activation": "jumprelu",
        "threshold": tensors["threshold"],
    }
    return arguments, FeatureStatistics.from_entries(tensors, statistics) if statistics is not None else None


def _check(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse matrices that are not those of an SAE in 8 bits; the others are checked where an SAE is made of them."""
    missing = [name for name in _NEEDED if name not in tensors]
    if missing:
        raise ValueError(f"{path.name} lacks {', '.join(missing)}; it holds {named(tensors)}; make it again.")
    encoder, decoder, scale = (tensors[name] for name in ("W_enc.int8", "W_dec.int8", "W_enc.scale"))
    in_8_bits = str(encoder.dtype) == str(decoder.dtype) == "torch.int8"
    fits = encoder.ndim == 2 and encoder.shape == decoder.shape and scale.shape == encoder.shape[:1]
    if not (in_8_bits and fits and scale.is_floating_point()):
        raise ValueError(
            f"W_enc.int8, W_dec.int8 and W_enc.scale of {path.name} are two matrices of int8 of one shape and a "
            "scale for "
            f"each row, but {shown(encoder)}, {shown(decoder)} and {shown(scale)} were given; make it again."
        )


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
    with atomically(path) as fresh:
        save_file(tensors, fresh, {"sae": json.dumps(header, ensure_ascii=False)})


def _levels(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows as whole numbers from -127 to 127, and what each row's are multiplied by."""
    import torch

    # A float16 scale is what is kept, so that is what the numbers are made for.
    scale = (rows.abs().amax(-1) / _LEVELS).half().float()
    return (rows / scale[:, None]).round().clamp(-_LEVELS, _LEVELS).to(torch.int8).contiguous(), scale
