"""One latent of an SAE as a feature: how it reads, and what its ops change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from steerwidgets.dictionaries.sae.codec import Codec
from steerwidgets.steer import Direction, Feature, Steer
from steerwidgets.steering import ops
from steerwidgets.steering.ops import Op
from steerwidgets.transformer.sites import Site

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, eq=False, repr=False)
class SAEFeature(Feature):
    """One latent of an SAE: its vector is `W_dec[i]`, its activation is what the SAE encodes.

    Args:
        codec: the SAE's arithmetic.
        read_only: why it can't steer; empty where it can.
        output_site: where a transcoder writes; None for an SAE, which writes where it reads.
    """

    codec: Codec = field(kw_only=True)
    read_only: str = field(default="", kw_only=True)
    output_site: Site | None = field(default=None, kw_only=True)

    @property
    def ops(self) -> Mapping[str, Op]:
        """The ops that it takes: none where it is read-only."""
        return {} if self.read_only else ops.SAE_OPS

    @property
    def full_strength(self) -> float | None:
        """The largest activation known: `clamp` gives it, and `add` of so much moves the activation by about that."""
        return self.max_activation or None

    @property
    def output(self) -> Direction:
        """What it writes per unit of its activation, where it writes it: a direction that steers and reads out.

        For a transcoder that is another place than the one it reads.
        """
        return Direction(self.vector, self.output_site or self.site, f"output of {self.label}")

    @property
    def direction(self) -> Direction:
        """The bare vector, free of any dictionary, where the feature writes."""
        return Direction(self.vector, self.output_site or self.site, self.label)

    def activation(self, h: Tensor) -> Tensor:
        """The SAE's activation of this feature: O(d_model) for ReLU and JumpReLU, the whole row for others.

        Args:
            h: [..., d_model].

        Returns:
            float32 [...].

        Raises:
            ValueError: the residual has another width than the SAE.
        """
        self.codec.check_width(h)
        readers = self.__dict__.setdefault("_readers", {})
        if h.device not in readers:
            readers[h.device] = self.codec.reader(self.index, h.device)
        value: Tensor = readers[h.device](h.float())
        return value

    def change(self, op: str, parameters: Mapping[str, float | None], h: Tensor) -> Tensor:
        """The change of an op.

        Args:
            op: its name.
            parameters: its numbers.
            h: float32 [..., d_model].

        Returns:
            float32, of `h`'s shape or one that broadcasts to it.
        """
        if op in ("add", "add_relative"):
            return super().change(op, parameters, h)
        step, scale = self._step_on(h.device), self.codec.scale(h)
        step = step if scale is None else scale * step
        if op == "scale":
            return ops.rescale(self.activation(h), parameters["m"] or 0.0, step)
        return ops.overwrite(self.activation(h), parameters.get("c") or 0.0, step)

    def asked(self, op: str, parameters: Mapping[str, float | None], h: Tensor) -> Tensor | None:
        """The activation that `clamp`, `scale` or `ablate` gives the feature, float32 [...]; None for the others."""
        if op in ("add", "add_relative"):
            return None
        value = self.activation(h)
        if op == "scale":
            return value * (parameters["m"] or 0.0)
        return value.new_full(value.shape, parameters.get("c") or 0.0)

    def clamp(self, c: float) -> Steer:
        """Give the feature the activation `c`; what the SAE leaves unexplained stays: `h + (c − a(h))·s·W_dec[i]`."""
        return self._steer("clamp", {"c": c})

    def scale(self, m: float) -> Steer:
        """Multiply the feature's activation by `m`: 1 keeps it, 0 removes it."""
        return self._steer("scale", {"m": m})

    def ablate(self) -> Steer:
        """Give the feature the activation 0; what the SAE leaves unexplained stays."""
        return self._steer("ablate", {})

    def add(self, alpha: float) -> Steer:
        """Add `alpha` times the decoder row: `h + α·W_dec[i]`."""
        return self._steer("add", {"alpha": alpha})

    def add_relative(self, alpha: float) -> Steer:
        """Add `alpha` times each position's own norm along the decoder row; attention sinks are left out."""
        return self._steer("add_relative", {"alpha": alpha})

    def _steer(self, op: str, parameters: Mapping[str, float]) -> Steer:
        if self.read_only:
            raise ValueError(f"{self.label!r} can be read but not steered: {self.read_only}.")
        return Steer(self, op, parameters)

    def _step_on(self, device: torch.device) -> Tensor:
        steps: dict[torch.device, Tensor] = self.__dict__.setdefault("_steps", {})
        if device not in steps:
            steps[device] = self.codec.unit_step(self.index).to(device)
        return steps[device]
