"""The final norm as a linear map: its division by the residual's own scale held still, as direct attribution needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.transformer.unembed import Unembed


class FrozenNorm:
    """The final norm at some residuals, with its scale frozen: `norm(h) = s · g ⊙ h + b` for an RMSNorm.

    For a LayerNorm the mean of `h` is taken off first, which is linear too. So what each part of `h` adds to `norm(h)`
    sums to it exactly (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", direct paths). Gain,
    bias and scale are read from what the module gives, so that Gemma's `1 + w` and every library's epsilon need no
    special case.

    Args:
        unembed: whose norm.
        residual: [..., d_model], the residuals that the norm is linearised at.

    Attributes:
        bias: float32 [d_model], what the norm adds by itself; zeros for an RMSNorm.

    Raises:
        ValueError: the norm is neither, so that freezing its scale does not make it linear.
    """

    def __init__(self, unembed: Unembed, residual: Tensor) -> None:
        import torch

        width = residual.shape[-1]
        signs = torch.ones(width, device=residual.device)
        signs[1::2] = -1
        probes = torch.stack([torch.zeros_like(signs), signs, signs + 2]).to(residual.dtype)
        zero, plain, shifted = unembed.normed(probes).float()
        self._centres = bool((plain - shifted).norm() < 0.01 * (plain - zero).norm())
        self.bias = zero
        self._gain = (plain - zero) * self._centred(signs.to(zero.device))
        out = unembed.normed(residual).float() - zero
        self._scale = torch.ones(*residual.shape[:-1], 1, device=zero.device)
        unscaled = self.through(residual)
        self._scale = (out * unscaled).sum(-1, keepdim=True) / unscaled.square().sum(-1, keepdim=True).clamp(min=1e-30)
        tolerance = 1e-3 if residual.dtype == torch.float32 else 3e-2
        off = (out - self.through(residual)).norm(dim=-1) > tolerance * out.norm(dim=-1)
        if bool(off.any()):
            raise ValueError(
                f"The final norm ({type(unembed.norm).__name__}) is neither an RMSNorm nor a LayerNorm, so freezing "
                "its scale does not make it linear, and logits can't be attributed to parts of the residual."
            )

    def through(self, part: Tensor) -> Tensor:
        """What a part of the residuals [..., d_model] adds to the norm's output: float32 [..., d_model]."""
        out: Tensor = self._gain * self._centred(part.to(self._gain.device).float()) * self._scale
        return out

    def _centred(self, v: Tensor) -> Tensor:
        return v - v.mean(-1, keepdim=True) if self._centres else v
