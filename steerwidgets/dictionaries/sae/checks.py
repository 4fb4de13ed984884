"""What has to be true of an SAE's weights before anything is computed with them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dictionaries.sae.codec import ACTIVATIONS, NORMALISATIONS
from steerwidgets.files.fields import is_finite
from steerwidgets.files.shown import shown
from steerwidgets.files.tensors import dense, finite

if TYPE_CHECKING:
    from torch import Tensor

_NEARLY_ONE: Final = 1e-3


def checked_tensors(
    given: Mapping[str, Any], activation: str, k: int | None, *, transcodes: bool = False
) -> dict[str, Tensor]:
    """The weights as tensors of one device, shapes and numbers checked; matrices of 16 bits stay as they are.

    Args:
        given: `W_enc`, `b_enc`, `W_dec`, `b_dec`, `threshold` (a tensor, a number, or None) and `W_skip`, or None.
        activation: one of `ACTIVATIONS`.
        k: how many features are active, for TopK.
        transcodes: whether it is a transcoder, which may write another width than it reads.

    Raises:
        ValueError: a shape does not fit, a weight is not finite, or `activation`, `threshold` and `k` contradict.
    """
    if activation not in ACTIVATIONS:
        known = ", ".join((*ACTIVATIONS, "batchtopk"))
        raise ValueError(f"The SAE activation {shown(activation)} is unknown; {known} are known.")
    tensors = {name: _tensor(name, value) for name, value in given.items() if value is not None}
    W_enc = tensors["W_enc"]
    if W_enc.ndim != 2 or 0 in W_enc.shape:
        raise ValueError(f"W_enc is [d_model, feature], but one of shape {list(W_enc.shape)} was given.")
    d_model, size = W_enc.shape
    if "threshold" in tensors and tensors["threshold"].ndim == 0:
        tensors["threshold"] = tensors["threshold"].expand(size)
    W_dec = tensors["W_dec"]
    d_out = W_dec.shape[1] if transcodes and W_dec.ndim == 2 and W_dec.shape[1] else d_model
    shapes = {
        "b_enc": [size],
        "W_dec": [size, d_out],
        "b_dec": [d_out],
        "threshold": [size],
        "W_skip": [d_out, d_model],
    }
    for name, tensor in tensors.items():
        expected = shapes.get(name)
        if expected is not None and list(tensor.shape) != expected:
            raise ValueError(
                f"W_enc of shape [{d_model}, {size}] needs {name} of shape {expected}, but {list(tensor.shape)} was "
                "given."
            )
        finite(tensor, name)
    _check_activation(activation, tensors.get("threshold"), k, size)
    return {name: _placed(name, tensor, W_enc) for name, tensor in tensors.items()}


def fold_norm(tensors: dict[str, Tensor], kind: str, factor: float | None, rescaled: bool) -> str:
    """The normalisation that is left after `expected_average_only_in` was folded into the weights, in place.

    Args:
        tensors: as `checked_tensors` gives them; replaced, never written to.
        kind: the normalisation of the SAE's input.
        factor: what inputs were multiplied by in training, for `expected_average_only_in`.
        rescaled: whether activations are in units of the decoder's norm.

    Raises:
        ValueError: the normalisation is unknown, or the factor is missing, not positive or of no use.
    """
    if kind != "expected_average_only_in":
        if kind not in NORMALISATIONS:
            known = ", ".join((*NORMALISATIONS, "expected_average_only_in"))
            raise ValueError(f"The normalisation {shown(kind)} of an SAE's input is unknown; {known} are known.")
        if factor is not None:
            raise ValueError(f"norm_scaling_factor is for expected_average_only_in; this SAE's input has {kind!r}.")
        return kind
    if factor is None:
        raise ValueError(
            "This SAE was trained on residuals scaled to an average norm, and the factor is not in its files; "
            "pass norm_scaling_factor= (1 where it is folded into the weights already)."
        )
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"norm_scaling_factor is a positive number, but {factor!r} was given.")
    if factor != 1:
        tensors["W_enc"] = tensors["W_enc"] * factor
        tensors["W_dec"] = tensors["W_dec"] / factor
        tensors["b_dec"] = tensors["b_dec"] / factor
        if rescaled and "threshold" in tensors:
            # It is compared with pre-activations times the decoder's norm, which was just divided.
            tensors["threshold"] = tensors["threshold"] / factor
    return "none"


def fold_decoder(tensors: dict[str, Tensor], activation: str, *, rescaled: bool) -> None:
    """Make every row of the decoder as long as 1 and activations larger by as much, in place.

    As `fold_W_dec_norm` of sae_lens, with which Neuronpedia's activations were computed. What the SAE gives stays.

    Args:
        tensors: as `checked_tensors` gives them; replaced, never written to.
        activation: one of `ACTIVATIONS`.
        rescaled: whether activations are in units of the decoder's norm already.

    Raises:
        ValueError: TopK would choose other features.
    """
    norms = tensors["W_dec"].float().norm(dim=-1)
    if activation == "topk" and not rescaled and not bool(((norms - 1).abs() < _NEARLY_ONE).all()):
        raise ValueError(
            "fold_decoder_norm=True would make TopK choose other features, since the rows of W_dec are "
            f"{float(norms.min()):.3g} to {float(norms.max()):.3g} long; leave it out for this SAE."
        )
    norms = norms.where(norms > 0, 1.0)
    W_enc, W_dec = tensors["W_enc"], tensors["W_dec"]
    tensors["W_dec"] = (W_dec.float() / norms[:, None]).to(W_dec.dtype)
    tensors["W_enc"] = (W_enc.float() * norms).to(W_enc.dtype)
    tensors["b_enc"] = tensors["b_enc"] * norms
    # Where activations are rescaled, it is compared with them as they are after that.
    if "threshold" in tensors and not rescaled:
        tensors["threshold"] = tensors["threshold"] * norms


def _check_activation(activation: str, threshold: Tensor | None, k: int | None, size: int) -> None:
    if (threshold is not None) != (activation == "jumprelu"):
        found = "none was given" if threshold is None else f"the activation is {activation!r}"
        raise ValueError(f"threshold= belongs to the activation 'jumprelu' and is needed there, but {found}.")
    if (k is not None) != (activation == "topk"):
        found = "none was given" if k is None else f"the activation is {activation!r}"
        raise ValueError(f"k= belongs to the activation 'topk' and is needed there, but {found}.")
    if k is not None and (isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= size):
        raise ValueError(
            f"k is how many of the {size} features are active, from 1 to {size}, but k={shown(k)} was given."
        )


def _tensor(name: str, value: Any) -> Tensor:
    """A weight as a tensor; a threshold may be one number for all features."""
    import torch

    if name == "threshold" and is_finite(value):
        return torch.tensor(float(value))
    return dense(value, name)


def _placed(name: str, tensor: Tensor, beside: Tensor) -> Tensor:
    """On one device; a matrix in float32, or in 16 bits where it is; biases and thresholds in float32."""
    import torch

    keeps = name.startswith("W") and tensor.dtype in (torch.float32, torch.float16, torch.bfloat16)
    return tensor.to(beside.device, tensor.dtype if keeps else torch.float32)
