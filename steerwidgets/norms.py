"""What norms do to a stream: their gain, and what they are without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor, nn

_EPS: Final = ("variance_epsilon", "eps")


def gain(norm: nn.Module, width: int) -> Tensor:
    """The gain of an RMSNorm [width], read from its own output, so that Gemma's `1 + w` needs no special case."""
    import torch

    parameter: Any = next(norm.parameters())
    with torch.no_grad():
        found: Tensor = norm(torch.ones(width, device=parameter.device, dtype=parameter.dtype)).float().cpu()
    return found


def normaliser(norm: nn.Module | None) -> Callable[[Tensor], Tensor] | None:
    """A norm without its gain and bias, in float32: what TransformerLens calls `hook_normalized`.

    `x / √(mean(x²) + eps)` for an RMSNorm; for a LayerNorm the mean is taken off first. None for a norm of another
    kind. The model's weights are left as they are: whether the gain is folded elsewhere makes no difference here.
    """
    from torch import nn

    eps = next((getattr(norm, name) for name in _EPS if hasattr(norm, name)), None)
    name = type(norm).__name__.lower()
    if eps is None or not (isinstance(norm, nn.LayerNorm) or "rmsnorm" in name):
        return None
    centres = isinstance(norm, nn.LayerNorm)

    def normalised(x: Tensor) -> Tensor:
        x = x.float()
        x = x - x.mean(dim=-1, keepdim=True) if centres else x
        scaled: Tensor = x / (x.pow(2).mean(dim=-1, keepdim=True) + eps).sqrt()
        return scaled

    return normalised
