"""From the residual stream to logits as the model itself does it: final norm, unembed, logit scale and soft cap."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.transformer.norms import LinearNorm, NotLinearError, device_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from steerwidgets.transformer.architecture import Architecture


_SCALES: Final = ("logits_scaling", "logit_scale", "lm_head_multiplier", "output_multiplier")
"""What configs call a number that logits are multiplied with or, in Granite, divided by."""

_UNITS: Final = 64
"""Of an unembed whose weights can't be read, so many rows of the identity are put through it at once."""

_fitted: Final[weakref.WeakKeyDictionary[nn.Module, tuple[float, float | None, float]]] = weakref.WeakKeyDictionary()
"""Of each model, once checked against its own logits: logit scale, soft cap, and how far the two are off with them."""


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
        self.scale, self.soft_cap, self._off = _fitted.get(architecture.model, (1.0, architecture.soft_cap, 0.0))
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
            return self._scaled(residual).float()

    def logits(self, residual: Tensor) -> Tensor:
        """The logits of some residuals, as the model would make them of its last one.

        Args:
            residual: [..., d_model], in the model's dtype.

        Returns:
            float32 [..., vocabulary], a tensor of its own that may be written over.
        """
        import torch

        with torch.no_grad():
            raw = self._scaled(residual)
            if self.soft_cap is not None:
                raw = (raw / self.soft_cap).tanh_().mul_(self.soft_cap)
            return raw.float()

    def _scaled(self, residual: Tensor) -> Tensor:
        """In the model's own dtype, so that bf16 logits round as the model's do."""
        raw: Tensor = self.module(self.normed(residual))
        return raw * self.scale if self.scale != 1.0 else raw

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
        return without_bias(self.module, normed).mul_(self.scale)

    def reader(self, token_id: int) -> tuple[Tensor, float]:
        """How a token's logit before a soft cap is read from the norm's output: float32 [d_model] and a bias."""
        row = row_of(self.module, token_id, self._width)
        return row * self.scale, float(self.bias[token_id]) * self.scale

    def readers(self, token_ids: Sequence[int]) -> tuple[Tensor, Tensor]:
        """How some tokens' logits are read, for `logits_of`: float32 [token, d_model], and biases [token]."""
        import torch

        bias = self.bias.cpu()
        rows = torch.stack([row_of(self.module, token_id, self._width) for token_id in token_ids])
        return (rows * self.scale).to(self.device), (bias[list(token_ids)] * self.scale).to(self.device)

    def logits_of(self, residual: Tensor, readers: tuple[Tensor, Tensor]) -> Tensor:
        """The logits of some tokens alone, which takes no product with the whole unembed.

        Args:
            residual: [..., d_model], in the model's dtype.
            readers: what `readers` gave.

        Returns:
            float32 [..., token].
        """
        rows, bias = readers
        raw = self.normed(residual).float() @ rows.T + bias
        return raw if self.soft_cap is None else (raw / self.soft_cap).tanh() * self.soft_cap

    @property
    def bias(self) -> Tensor:
        """What the unembed adds by itself: float32 [vocabulary], zeros for most models."""
        return _bias_of(self.module, self._width)

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
        best = min(off, key=lambda each: off[each])
        self.scale, self.soft_cap, self._off = _fitted[self._model] = (*best, off[best])
        if not self._off < _tolerance(residual):
            warnings.warn(
                f"{self._name} makes its logits in a way of its own: its final norm, unembed, logit scale and soft cap "
                f"give logits that are {self._off:.1%} away from the model's, so the lens is not exact.",
                InexactLensWarning,
                stacklevel=2,
            )

    def refuse_inexact(self, residual: Tensor) -> None:
        """Refuse to take logits apart that these modules do not give.

        Raises:
            ValueError: the model makes them in a way of its own.
        """
        if not self._off < _tolerance(residual):
            raise ValueError(
                f"Logits of {self._name} can't be attributed: its final norm, unembed, logit scale and soft cap give "
                f"logits that are {self._off:.1%} away from the model's, which makes them in a way of its own."
            )

    def _scales(self) -> list[float]:
        known = [getattr(self._config, name, None) for name in _SCALES]
        numbers = [float(n) for n in known if isinstance(n, int | float) and n]
        return [1.0, *(n for each in numbers for n in (each, 1 / each) if n != 1.0)]


def without_bias(module: nn.Module, vectors: Tensor) -> Tensor:
    """Vectors [..., d_model] through an unembed's weights alone: float32 [..., vocabulary], of its own."""
    import torch

    with torch.no_grad():
        out: Tensor = module(vectors.to(device_of(module), _dtype_of(module))).float()
        return out.sub_(_bias_of(module, vectors.shape[-1]))


def row_of(module: nn.Module, token_id: int, d_model: int) -> Tensor:
    """A token's row of an unembed, float32 [d_model]."""
    import torch

    weight: Any = getattr(module, "weight", None)
    is_plain = isinstance(weight, torch.Tensor) and weight.is_floating_point() and not weight.is_meta
    if is_plain and weight.ndim == 2 and weight.shape[1] == d_model:
        row: Tensor = weight[token_id].detach().float().cpu()
        return row
    # A quantised or offloaded one is asked rather than indexed, some units at a time.
    units = torch.split(torch.eye(d_model), _UNITS)
    return torch.cat([without_bias(module, some)[:, token_id].cpu() for some in units])


def _bias_of(module: nn.Module, d_model: int) -> Tensor:
    import torch

    with torch.no_grad():
        of_zero: Tensor = module(torch.zeros(d_model, device=device_of(module), dtype=_dtype_of(module)))
        return of_zero.float()


def _dtype_of(module: nn.Module) -> torch.dtype:
    """The numbers that an unembed takes."""
    import torch

    parameter: Any = next(module.parameters())
    return parameter.dtype if parameter.dtype.is_floating_point else torch.get_default_dtype()


def _tolerance(residual: Tensor) -> float:
    import torch

    return 1e-3 if residual.dtype == torch.float32 else 3e-2


class FrozenNorm:
    """The final norm at some residuals, with its scale frozen: `norm(h) = s · g ⊙ h + b` for an RMSNorm.

    For a LayerNorm the mean of `h` is taken off first, which is linear too. So what each part of `h` adds to `norm(h)`
    sums to it exactly (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", direct paths). The
    scale is read from what the module gives, so that every library's epsilon needs no special case.

    Args:
        unembed: whose norm.
        residual: [..., d_model], the residuals that the norm is linearised at.

    Attributes:
        bias: float32 [d_model], what the norm adds by itself; zeros for an RMSNorm.

    Raises:
        NotLinearError: the norm is neither, so that freezing its scale does not make it linear.
    """

    def __init__(self, unembed: Unembed, residual: Tensor) -> None:
        found = LinearNorm.of(unembed.norm, residual.shape[-1])
        given = unembed.normed(residual).float()
        self.bias = found.bias.to(given.device)
        self._linear = replace(found, gain=found.gain.to(given.device))
        out, unscaled = given - self.bias, self._linear.gained(residual)
        self._scale = (out * unscaled).sum(-1, keepdim=True) / unscaled.square().sum(-1, keepdim=True).clamp(min=1e-30)
        off = (out - self.through(residual)).norm(dim=-1) > _tolerance(residual) * out.norm(dim=-1)
        if bool(off.any()):
            raise NotLinearError(
                f"The final norm ({type(unembed.norm).__name__}) is not linear at this residual with its scale frozen, "
                "so logits can't be attributed to parts of it."
            )

    def through(self, part: Tensor) -> Tensor:
        """What a part of the residuals [..., d_model] adds to the norm's output: float32 [..., d_model]."""
        return self._linear.gained(part) * self._scale
