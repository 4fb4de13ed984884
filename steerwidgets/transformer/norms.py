"""What norms do to a stream: their linear part, and what they are without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_EPS: Final = ("variance_epsilon", "eps")
_FAR: Final = 32.0
"""How long a probe is at each position: a norm's epsilon is nothing beside it, and its square fits float16."""
_TOLERANCE: Final = {"float32": 1e-3, "other": 3e-2}


class NotLinearError(ValueError):
    """A norm is neither an RMSNorm nor a LayerNorm, so nothing goes through it in parts."""


@dataclass(frozen=True)
class LinearNorm:
    """A norm as `norm(h) = scale(h) · gain ⊙ h + bias`, with the mean of `h` taken off first where it centres.

    All but `scale(h)` is linear, so parts of a residual go through it one by one.

    Attributes:
        gain: float32 [width].
        bias: float32 [width], what the norm adds by itself; zeros for an RMSNorm.
        centres: whether it takes the mean off first, as a LayerNorm does.
    """

    gain: Tensor
    bias: Tensor
    centres: bool

    @classmethod
    def of(cls, norm: nn.Module, width: int) -> LinearNorm:
        """What a norm makes of probes says what it is; its class and its parameters are never asked.

        So Gemma's `1 + w`, Nemotron's, a Cohere LayerNorm and norms without weights need no special case.

        Args:
            norm: an RMSNorm or LayerNorm of any library.
            width: what it takes.

        Raises:
            NotLinearError: it is neither.
        """
        import torch

        signs = torch.ones(width)
        signs[1::2] = -1
        other = torch.randn(width, generator=torch.Generator().manual_seed(0))
        probes = torch.stack([0 * signs, signs, 2 * signs, signs + 2, other]) * _FAR
        zero, plain, longer, shifted, of_other = _asked(norm, probes)
        size = (plain - zero).norm()
        made = cls(torch.ones(width), zero, bool((plain - shifted).norm() < 0.01 * size))
        made = cls((plain - zero) / made.through(signs), zero, made.centres)
        off = torch.stack([(longer - plain).norm(), (made.through(other) - of_other + zero).norm()])
        if not bool((off <= _tolerance(norm) * size).all()):
            raise NotLinearError(
                f"The norm {type(norm).__name__} is neither an RMSNorm nor a LayerNorm, so freezing its scale "
                "does not make it linear, and nothing can be read through it in parts."
            )
        return made

    def through(self, vectors: Tensor) -> Tensor:
        """Vectors [..., width] through the norm as it is at that vector, without its bias: float32 [..., width]."""
        return self.gained(vectors) / self.centred(vectors.float()).square().mean(-1, keepdim=True).sqrt()

    def gained(self, vectors: Tensor) -> Tensor:
        """Vectors [..., width] through gain and centring alone: float32 [..., width], on the gain's device."""
        return self.gain * self.centred(vectors.to(self.gain.device).float())

    def centred(self, vectors: Tensor) -> Tensor:
        """The vectors [..., width], without their mean where the norm takes it off."""
        return vectors - vectors.mean(-1, keepdim=True) if self.centres else vectors


def gained(norm: nn.Module, vectors: Tensor) -> Tensor:
    """Vectors [..., width] through a norm's linear part: its gain, and its centring where it has one.

    Returns:
        float32 [..., width].

    Raises:
        NotLinearError: the norm is neither an RMSNorm nor a LayerNorm.
    """
    return LinearNorm.of(norm, vectors.shape[-1]).gained(vectors.cpu())


def normaliser(norm: nn.Module | None) -> Callable[[Tensor], Tensor] | None:
    """A norm without its gain and bias, in float32: what TransformerLens calls `hook_normalized`.

    `x / √(mean(x²) + eps)` for an RMSNorm; for a LayerNorm the mean is taken off first. None for a norm of another
    kind. The model's weights are left as they are: whether the gain is folded elsewhere makes no difference here.
    """
    from torch import nn

    eps = next((getattr(norm, name) for name in _EPS if hasattr(norm, name)), None)
    takes_mean_off = isinstance(norm, nn.LayerNorm)
    if eps is None or not (takes_mean_off or "rmsnorm" in type(norm).__name__.lower()):
        return None

    def normalised(x: Tensor) -> Tensor:
        x = x.float()
        x = x - x.mean(dim=-1, keepdim=True) if takes_mean_off else x
        scaled: Tensor = x / (x.pow(2).mean(dim=-1, keepdim=True) + eps).sqrt()
        return scaled

    return normalised


def device_of(module: nn.Module, otherwise: torch.device | None = None) -> torch.device:
    """Where a module computes: of an offloaded one, where its weights are brought to."""
    import torch

    offloaded = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
    if offloaded is not None:
        return torch.device(offloaded)
    parameter: Any = next(module.parameters(), None)
    if parameter is not None:
        return torch.device(parameter.device)
    return otherwise if otherwise is not None else torch.device("cpu")


def _asked(norm: nn.Module, probes: Tensor) -> Tensor:
    """What a norm makes of some vectors, float32 on the CPU; one without weights computes anywhere."""
    import torch

    parameter: Any = next(norm.parameters(), None)
    dtype = torch.float32 if parameter is None else parameter.dtype
    with torch.no_grad():
        out: Tensor = norm(probes.to(device_of(norm), dtype))
    return out.float().cpu()


def _tolerance(norm: nn.Module) -> float:
    import torch

    parameter: Any = next(norm.parameters(), None)
    return _TOLERANCE["float32" if parameter is None or parameter.dtype == torch.float32 else "other"]
