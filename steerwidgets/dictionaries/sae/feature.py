"""One latent of an SAE as a feature: how it reads, and what its ops change."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from steerwidgets.dictionaries.sae.codec import NORMALISATIONS, Codec, DenseCodec, one_activation, scaled_step
from steerwidgets.files.fields import NEEDED, Fields
from steerwidgets.files.shown import shown
from steerwidgets.steering import ops
from steerwidgets.steering.inline import FORMS, tensor_from_json, tensor_json
from steerwidgets.steering.ops import Op
from steerwidgets.steering.plain import Plain
from steerwidgets.steering.recipe import Direction, Feature, Steer
from steerwidgets.transformer.sites import Site

if TYPE_CHECKING:
    import torch
    from torch import Tensor


_ACTIVATIONS: Final = ("relu", "jumprelu")
"""Activation functions of a latent that look at no other one."""


@dataclass(frozen=True, eq=False, repr=False)
class SAEFeature(Feature):
    """One latent of an SAE: its vector is `W_dec[i]`, its activation is what the SAE encodes.

    Args:
        codec: the SAE's arithmetic.
        why_read_only: what keeps the SAE's features from steering; empty where nothing does.
        output_site: where a transcoder writes; None for an SAE, which writes where it reads.

    Example:
        >>> feature = sae["the sea"]
        >>> feature.index, feature.max_activation
        (3, 8.0)
        >>> feature.clamp(12)
        'the sea'.clamp(12)
    """

    signed: ClassVar[bool] = False
    reads: ClassVar[str] = "activation"
    reads_projection: ClassVar[bool] = False

    codec: Codec = field(kw_only=True)
    why_read_only: str = field(default="", kw_only=True)
    output_site: Site | None = field(default=None, kw_only=True)

    @property
    def read_only(self) -> str:
        """Why it can be read but not steered; empty where it can."""
        return self.why_read_only or super().read_only

    @property
    def _ops(self) -> Mapping[str, Op]:
        return ops.SAE_OPS

    @property
    def _stored(self) -> str:
        return "it is dead: its row of W_dec"

    @property
    def full_strength(self) -> float | None:
        """The largest activation known: `clamp` gives it, and `add` of so much moves the activation by about that."""
        return self.max_activation or None

    @property
    def steered_as(self) -> Direction:
        """What steers of it act on: itself, but what a transcoder writes for a feature of one."""
        if self.output_site is None:
            return self
        said = {each.name: getattr(self, each.name) for each in fields(Feature)}
        return Written(**(said | {"site": self.output_site}), feature=self)

    @property
    def width(self) -> int:
        """How many numbers it reads."""
        return self.codec.d_in

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

        Example:
            >>> h = torch.randn(4, 32)  # the residuals of four tokens
            >>> torch.allclose(sae[3].activation(h), sae.encode(h)[:, 3], atol=1e-5)
            True
        """
        self.codec.check_width(h)
        readers = self.__dict__.setdefault("_readers", {})
        if h.device not in readers:
            readers[h.device] = self.codec.reader(self.index, h.device)
        value: Tensor = readers[h.device](h.float())
        return value

    def step(self, h: Tensor) -> Tensor:
        """How far `h` moves for one unit of activation: `s·W_dec[i]`, with `s` what the SAE's normalisation divided by.

        Args:
            h: float32 [..., d_model].

        Returns:
            float32 [d_model], or [..., d_model] where the SAE normalises.

        Example:
            >>> torch.equal(sae[3].step(torch.randn(4, 32)), sae[3].vector)
            True
        """
        step, scale = self._step_on(h.device), self.codec.scale(h)
        return step if scale is None else scale * step

    @property
    def not_inline(self) -> str:
        """Why a recipe can't hold it without its SAE; empty where it can."""
        if not isinstance(self.codec, DenseCodec):
            return "sae_lens computes this architecture, from the whole SAE"
        if self.codec.transcodes:
            return "a transcoder's feature is read at another place than the one where it steers"
        return "TopK compares a feature with all others of its SAE" if self.codec.activation == "topk" else ""

    def inline(self) -> dict[str, Any]:
        """Encoder column, bias, threshold, decoder row and settings, as a JSON value.

        Returns:
            A JSON value.

        Example:
            >>> sae[3].inline()["form"]
            'latent'
        """
        codec = self.codec
        assert isinstance(codec, DenseCodec)
        at = 0 if isinstance(codec, _OneLatent) else self.index
        floats = {"bias": codec.b_enc[at], "threshold": None if codec.threshold is None else codec.threshold[at]}
        tensors = {"encoder": codec.W_enc[:, at].float(), "decoder": codec.W_dec[at].float()}
        if codec.apply_b_dec_to_input:
            tensors["decoder_bias"] = codec.b_dec
        return {
            "form": "latent",
            "settings": codec.settings(),
            **{name: None if value is None else float(value) for name, value in floats.items()},
            **{name: tensor_json(tensor) for name, tensor in tensors.items()},
        }

    def _plain(self, read: bool) -> Plain:  # noqa: ARG002 - its ops read it as well
        """The latent with what its codec needs of it: one column and row, or all of a TopK SAE.

        Raises:
            ValueError: sae_lens computes its architecture.
        """
        if not isinstance(self.codec, DenseCodec):
            raise ValueError(f"{shown(self.label)} can't be sent to where the model runs: {self.not_inline}.")
        codec, index = self.codec.alone(0 if isinstance(self.codec, _OneLatent) else self.index)
        return Plain(self.vector, partial(one_activation, codec, index), partial(scaled_step, codec, index))

    def clamp(self, c: float) -> Steer:
        """Give the feature the activation `c`; what the SAE leaves unexplained stays: `h + (c − a(h))·s·W_dec[i]`.

        It equals encoding, overwriting the latent, decoding and adding the error term (sae_lens' `_SAEWrapper` with a
        hook on the activations), for the cost of one column.

        Args:
            c: the activation, in the SAE's units.

        Returns:
            The steer.

        Raises:
            ValueError: the feature can be read but not steered.

        Example:
            >>> sae["the sea"].clamp(8.0)
            'the sea'.clamp(8)
        """
        return Steer(self, "clamp", {"c": c})

    def scale(self, m: float) -> Steer:
        """Multiply the feature's activation by `m`: 1 keeps it, 0 removes it.

        A clamp to `m·a(h)`: `h + (m − 1)·a(h)·s·W_dec[i]`.

        Args:
            m: the factor.

        Returns:
            The steer.

        Raises:
            ValueError: the feature can be read but not steered.

        Example:
            >>> sae["the sea"].scale(1).is_identity
            True
        """
        return Steer(self, "scale", {"m": m})

    def ablate(self) -> Steer:
        """Give the feature the activation 0; what the SAE leaves unexplained stays.

        A clamp to 0: `h − a(h)·s·W_dec[i]`.

        Returns:
            The steer.

        Raises:
            ValueError: the feature can be read but not steered.

        Example:
            >>> sae["the sea"].ablate()
            'the sea'.ablate()
        """
        return Steer(self, "ablate", {})

    def add(self, alpha: float) -> Steer:
        """Add `alpha` times the decoder row: `h + α·W_dec[i]`.

        As the steering tutorials of sae_lens do.

        Args:
            alpha: times `W_dec[i]`; where that is of unit norm, in units of the residual.

        Returns:
            The steer.

        Raises:
            ValueError: the feature can be read but not steered.

        Example:
            >>> sae["the sea"].add(20)
            'the sea'.add(20)
        """
        return Steer(self, "add", {"alpha": alpha})

    def add_relative(self, alpha: float) -> Steer:
        """Add `alpha` times each position's own norm along the decoder row: `h + α·‖h‖·v̂`; attention sinks left out.

        Args:
            alpha: a share of ‖h‖.

        Returns:
            The steer.

        Raises:
            ValueError: the feature can be read but not steered.

        Example:
            >>> sae["the sea"].add_relative(0.5)
            'the sea'.add_relative(0.5)
        """
        return Steer(self, "add_relative", {"alpha": alpha})

    def _step_on(self, device: torch.device) -> Tensor:
        steps: dict[torch.device, Tensor] = self.__dict__.setdefault("_steps", {})
        if device not in steps:
            steps[device] = self.codec.unit_step(self.index).to(device)
        return steps[device]


@dataclass(frozen=True, eq=False, repr=False)
class Written(Feature):
    """What a transcoder's feature writes, where it writes it, with the activation that is read where it reads.

    Steers of a transcoder's feature are of this: `clamp(c)` is `h + (c − a)·W_dec[i]` at the transcoder's output, with
    `a` its activation at the same token in the stream that it reads, before any change there.

    Args:
        feature: the feature, as it reads.
        reading: what it reads at the tokens at hand, float32 [batch, position]; None outside of a forward pass.
    """

    signed: ClassVar[bool] = False
    reads: ClassVar[str] = "activation"
    reads_projection: ClassVar[bool] = False

    feature: SAEFeature = field(kw_only=True)
    reading: Tensor | None = field(default=None, kw_only=True)

    @property
    def read_as(self) -> Direction:
        """What tells its activation: the feature, at its own site."""
        return self.feature

    def given(self, readings: Mapping[str, Tensor]) -> Direction:
        """Itself with what its feature reads in the forward pass that runs now."""
        if self.key not in readings:
            return self
        known = copy.copy(self)
        known.__dict__["reading"] = readings[self.key]
        return known

    def activation(self, h: Tensor) -> Tensor:
        """What its feature reads at the tokens at hand.

        Raises:
            ValueError: no forward pass is running, so nobody read it.
        """
        if self.reading is None:
            raise ValueError(
                f"{shown(self.label)} is read at {self.feature.site} and not at {self.site}, where it is written; read "
                "it there, as in lm.read(prompt, transcoder)."
            )
        return self.reading.to(h.device)

    def step(self, h: Tensor) -> Tensor:
        """How far the stream moves for one unit of activation: `W_dec[i]`, float32 [d_out]."""
        return self.vector_on(h.device)

    @property
    def _ops(self) -> Mapping[str, Op]:
        return ops.SAE_OPS

    def _plain(self, read: bool) -> Plain:  # noqa: ARG002 - it is read elsewhere
        """Its direction, and the key of its reading."""
        return Plain(self.vector, reading=self.feature.key)

    @property
    def not_inline(self) -> str:
        """Why a recipe can't hold it without its transcoder."""
        return self.feature.not_inline

    @property
    def full_strength(self) -> float | None:
        """As its feature's."""
        return self.max_activation or None


class _OneLatent(DenseCodec):
    """The codec of an SAE of which one latent is left, whatever its index was."""

    def some(self, h: Tensor, indices: Sequence[int]) -> Tensor:
        return super().some(h, [0] * len(indices))

    def reader(self, index: int, device: torch.device) -> Callable[[Tensor], Tensor]:  # noqa: ARG002 - there is one
        return super().reader(0, device)

    def unit_step(self, index: int) -> Tensor:  # noqa: ARG002 - there is one
        return super().unit_step(0)

    def decoder_row(self, index: int) -> Tensor:  # noqa: ARG002 - there is one
        return super().decoder_row(0)

    def decoder_rows(self, start: int, stop: int) -> Tensor:  # noqa: ARG002 - there is one
        return super().decoder_rows(0, 1)


def _latent(parts: Fields, entry: Mapping[str, Any]) -> SAEFeature:
    import torch

    encoder, decoder = (tensor_from_json(parts, name) for name in ("encoder", "decoder"))
    b_dec = tensor_from_json(parts, "decoder_bias") if "decoder_bias" in parts.table else torch.zeros_like(decoder)
    if not encoder.shape == decoder.shape == b_dec.shape:
        shapes = ", ".join(str(list(each.shape)) for each in (encoder, decoder, b_dec))
        raise ValueError(f"This recipe is damaged: the parts of {shown(entry['label'])} have shapes {shapes}.")
    settings = parts.inner("settings", NEEDED)
    activation = settings.text("activation", choices=_ACTIVATIONS)
    threshold = parts.number("threshold") if activation == "jumprelu" else parts.number("threshold", None)
    codec = _OneLatent(
        encoder[:, None],
        torch.tensor([parts.number("bias")]),
        decoder[None],
        b_dec,
        activation=activation,
        threshold=None if threshold is None else torch.tensor([threshold]),
        k=0,
        apply_b_dec_to_input=settings.flag("apply_b_dec_to_input"),
        normalisation=settings.text("normalize_activations", choices=NORMALISATIONS),
        rescale_by_decoder_norm=settings.flag("rescale_acts_by_decoder_norm"),
        center_input=settings.flag("center_input"),
    )
    return SAEFeature(decoder, **entry, codec=codec)


FORMS["latent"] = _latent
