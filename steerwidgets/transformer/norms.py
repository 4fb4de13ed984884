"""What norms do to a stream: their gain, and what they are without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor, nn

_EPS: Final = ("variance_epsilon", "eps")


def gain(norm: nn.Module, width: int) -> Tensor:
    """The gain of a norm, float32 [width].

    Of an RMSNorm it is read from its own output, so that Gemma's `1 + w` needs no special case.
    """
    import torch

    if centres(norm):
        weight: Any = norm.weight
        return torch.ones(width) if weight is None else weight.detach().float().cpu()
    parameter: Any = next(norm.parameters())
    with torch.no_grad():
        found: Tensor = norm(torch.ones(width, device=parameter.device, dtype=parameter.dtype)).float().cpu()
    return found


def gained(norm: nn.Module, vectors: Tensor) -> Tensor:
    """Vectors [..., width] through a norm's linear part: its gain, and its centring where it is a LayerNorm.

    Returns:
        float32 [..., width].
    """
    vectors = vectors.float().cpu()
    centred = vectors - vectors.mean(dim=-1, keepdim=True) if centres(norm) else vectors
    out: Tensor = gain(norm, vectors.shape[-1]) * centred
    return out


def centres(norm: nn.Module | None) -> bool:
    """Whether a norm takes the mean off first, as a LayerNorm does."""
    from torch import nn

    return isinstance(norm, nn.LayerNorm)


def normaliser(norm: nn.Module | None) -> Callable[[Tensor], Tensor] | None:
    """A norm without its gain and bias, in float32: what TransformerLens calls `hook_normalized`.

    `x / √(mean(x²) + eps)` for an RMSNorm; for a LayerNorm the mean is taken off first. None for a norm of another
    kind. The model's weights are left as they are: whether the gain is folded elsewhere makes no difference here.
    """
    eps = next((getattr(norm, name) for name in _EPS if hasattr(norm, name)), None)
    name = type(norm).__name__.lower()
    if eps is None or not (centres(norm) or "rmsnorm" in name):
        return None
    takes_mean_off = centres(norm)

    def normalised(x: Tensor) -> Tensor:
        x = x.float()
        x = x - x.mean(dim=-1, keepdim=True) if takes_mean_off else x
        scaled: Tensor = x / (x.pow(2).mean(dim=-1, keepdim=True) + eps).sqrt()
        return scaled

    return normalised
