"""From the residual stream to logits as the model itself does it: final norm, unembed, logit scale and soft cap."""

from __future__ import annotations

import warnings
import weakref
from itertools import product
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from steerwidgets.architecture import Architecture

_SCALES: Final = ("logits_scaling", "logit_scale", "lm_head_multiplier", "output_multiplier")
"""What configs call a number that logits are multiplied with or, in Granite, divided by."""

_fitted: Final[weakref.WeakKeyDictionary[nn.Module, tuple[float, float | None]]] = weakref.WeakKeyDictionary()
"""Logit scale and soft cap of each model, once they have been checked against its own logits."""


class InexactLensWarning(UserWarning):
    """The model makes its logits in a way that final norm, unembed, logit scale and soft cap do not reproduce."""


class Unembed:
    """The way of a model from the last residual to its logits, its own modules called.

    The norm takes its statistics afresh from every residual that it is given. The soft cap of Gemma 2 and the logit
    scale of Granite, Cohere and others are found out from the model's own logits (`fit`), since configs name the scale
    alike where one model divides and another multiplies.

    Args:
        architecture: the model's parts.

    Attributes:
        scale: what logits are multiplied with before the soft cap.
        soft_cap: `cap · tanh(logits / cap)`, or None.
    """

    def __init__(self, architecture: Architecture) -> None:
        self.norm = architecture.final_norm
        self.module = architecture.unembed
        self._model = architecture.model
        self.scale, self.soft_cap = _fitted.get(architecture.model, (1.0, architecture.soft_cap))
        self._config = architecture.config
        self._name = architecture.name
        self._width = architecture.d_model

    @property
    def is_fitted(self) -> bool:
        """Whether logit scale and soft cap have been checked for this model."""
        return self._model in _fitted

    @property
    def vocabulary(self) -> int:
        """How many logits there are."""
        return int(self._config.vocab_size)

    @property
    def device(self) -> torch.device:
        """Where the unembed computes, offloaded models included."""
        return device_of(self.module)

    def uncapped(self, residual: Tensor) -> Tensor:
        """The logits before the soft cap: float32 [..., vocabulary], of its own."""
        import torch

        with torch.no_grad():
            raw: Tensor = self.module(self.normed(residual))
            # In the model's own dtype, so that bf16 logits round as the model's do.
            return (raw * self.scale if self.scale != 1.0 else raw).float()

    def logits(self, residual: Tensor) -> Tensor:
        """The logits of some residuals, as the model would make them of its last one.

        Args:
            residual: [..., d_model], in the model's dtype.

        Returns:
            float32 [..., vocabulary], a tensor of its own that may be written over.
        """
        import torch

        with torch.no_grad():
            raw: Tensor = self.module(self.normed(residual))
            # In the model's own dtype, so that bf16 logits round as the model's do.
            raw = raw * self.scale if self.scale != 1.0 else raw
            if self.soft_cap is not None:
                raw = (raw / self.soft_cap).tanh_().mul_(self.soft_cap)
            return raw.float()

    def normed(self, residual: Tensor) -> Tensor:
        """Residuals [..., d_model] through the final norm, where the unembed takes them."""
        import torch

        with torch.no_grad():
            out: Tensor = self.norm(residual.to(device_of(self.norm, self.device)))
            return out.to(self.device)

    def linear(self, normed: Tensor) -> Tensor:
        """What parts of the norm's output [..., d_model] add to the logits before a soft cap, the bias left out.

        Returns:
            float32 [..., vocabulary].
        """
        import torch

        dtype = self.dtype
        with torch.no_grad():
            normed = normed.to(self.device, dtype)
            raw: Tensor = self.module(normed).float()
            return raw.sub_(self.bias).mul_(self.scale)

    def reader(self, token_id: int) -> tuple[Tensor, float]:
        """How a token's logit before a soft cap is read from the norm's output: float32 [d_model] and a bias."""
        import torch

        weight = getattr(self.module, "weight", None)
        if weight is not None and weight.dtype.is_floating_point and weight.shape == (self.vocabulary, self._width):
            row = weight[token_id].detach().float().cpu()
        else:
            # A quantised or offloaded unembed is asked, one unit of the norm's output at a time.
            units = torch.eye(self._width)
            row = torch.cat([self.linear(some)[:, token_id].cpu() for some in torch.split(units, 64)]) / self.scale
        return row * self.scale, float(self.bias[token_id]) * self.scale

    @property
    def bias(self) -> Tensor:
        """What the unembed adds by itself: float32 [vocabulary], zeros for most models."""
        import torch

        with torch.no_grad():
            of_zero: Tensor = self.module(torch.zeros(self._width, device=self.device, dtype=self.dtype))
            return of_zero.float()

    @property
    def dtype(self) -> torch.dtype:
        """The numbers that the unembed takes."""
        import torch

        parameter: Any = next(self.module.parameters())
        return parameter.dtype if parameter.dtype.is_floating_point else torch.get_default_dtype()

    def fit(self, residual: Tensor, own: Tensor) -> None:
        """Find the logit scale with which the last residual gives the model's own logits, and warn where none does.

        Args:
            residual: [d_model], after the last block.
            own: float32 [vocabulary], the model's logits at that position.
        """
        own = own.to(self.device)
        if self.is_fitted or not bool(own.isfinite().all()):
            return
        off: dict[tuple[float, float | None], float] = {}
        for scale, soft_cap in product(self._scales(), dict.fromkeys((self.soft_cap, None))):
            self.scale, self.soft_cap = scale, soft_cap
            off[scale, soft_cap] = float((self.logits(residual) - own).norm() / own.norm().clamp(min=1e-20))
        self.scale, self.soft_cap = _fitted[self._model] = min(off, key=lambda each: off[each])
        if not min(off.values()) < _tolerance(residual):
            warnings.warn(
                f"{self._name} makes its logits in a way of its own: its final norm, unembed, logit scale and soft cap "
                f"give logits that are {min(off.values()):.1%} away from the model's, so the lens is not exact.",
                InexactLensWarning,
                stacklevel=2,
            )

    def _scales(self) -> list[float]:
        known = [getattr(self._config, name, None) for name in _SCALES]
        numbers = [float(n) for n in known if isinstance(n, int | float) and n]
        return [1.0, *(n for each in numbers for n in (each, 1 / each) if n != 1.0)]


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


def _tolerance(residual: Tensor) -> float:
    import torch

    return 1e-3 if residual.dtype == torch.float32 else 3e-2
