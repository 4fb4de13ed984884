"""The arithmetic of a sparse autoencoder: how a residual becomes activations, and activations a residual."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dictionaries.placed import product

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ACTIVATIONS: Final = ("relu", "jumprelu", "topk")
NORMALISATIONS: Final = ("none", "constant_norm_rescale", "layer_norm")

_CHUNK: Final = 2048
"""Rows that are converted to float32 at once, where the weights are kept in 16 bits."""
_LAYER_NORM_EPS: Final = 1e-5
_TINY: Final = 1e-30


class Normalised:
    """A residual as an SAE sees it, and the way back; plain, so that it travels by its source (`steering/plain.py`).

    Args:
        x: float32 [..., d_model], what the SAE sees.
        scale: float32 [..., 1], what its output is multiplied by; None for 1.
        offset: float32 [..., 1], what its output gets back; None for 0.
    """

    def __init__(self, x: Tensor, scale: Tensor | None, offset: Tensor | None) -> None:
        self.x, self.scale, self.offset = x, scale, offset

    def undo(self, y: Tensor) -> Tensor:
        """A reconstruction as the residual stream has it."""
        y = y if self.scale is None else y * self.scale
        return y if self.offset is None else y + self.offset


def normalised(h: Tensor, kind: str, *, center: bool = False) -> Normalised:
    """What sae_lens does to an input before it is encoded (`saes/sae.py`, `_setup_activation_normalization`).

    Args:
        h: float32 [..., d_model].
        kind: one of `NORMALISATIONS`.
        center: whether the mean over d_model is taken out first, as TransformerLens does to models whose writing
            weights are centred.
    """
    mean = h.mean(dim=-1, keepdim=True) if center or kind == "layer_norm" else None
    x = h if mean is None else h - mean
    if kind == "layer_norm":
        deviation = x.std(dim=-1, keepdim=True)
        return Normalised(x / (deviation + _LAYER_NORM_EPS), deviation, mean)
    if kind == "constant_norm_rescale":
        # A vector of zeros stays one; sae_lens makes NaN of it.
        scale = x.norm(dim=-1, keepdim=True).clamp_min(_TINY) / x.shape[-1] ** 0.5
        return Normalised(x / scale, scale, mean)
    return Normalised(x, None, mean)


class Codec(ABC):
    """Encoder and decoder of one SAE.

    Attributes:
        d_in: the width that it reads.
        d_out: the width that it writes; another one than `d_in` for some transcoders.
        size: how many features it has.
    """

    d_in: int
    d_out: int
    size: int

    @abstractmethod
    def encode(self, h: Tensor) -> Tensor:
        """Every activation, float32 [..., size], of a residual float32 [..., d_in]."""

    @abstractmethod
    def some(self, h: Tensor, indices: Sequence[int]) -> Tensor:
        """Some activations, float32 [..., feature], of a residual float32 [..., d_in]."""

    @abstractmethod
    def reader(self, index: int, device: torch.device) -> Callable[[Tensor], Tensor]:
        """A function from a residual, float32 [..., d_in] on a device, to one activation, float32 [...]."""

    @abstractmethod
    def decode(self, activations: Tensor, h: Tensor | None) -> Tensor:
        """The reconstruction, float32 [..., d_out]; `h` is the residual that the activations come from."""

    @abstractmethod
    def decoder_row(self, index: int) -> Tensor:
        """`W_dec[index]` as it is stored, float32 [d_out]."""

    def decoder_rows(self, start: int, stop: int) -> Tensor:
        """Rows of `W_dec` from `start` to before `stop`, float32 [row, d_out]."""
        import torch

        return torch.stack([self.decoder_row(index) for index in range(start, stop)])

    @abstractmethod
    def unit_step(self, index: int) -> Tensor:
        """How far the SAE's output moves for one unit of activation, float32 [d_out]."""

    @abstractmethod
    def scale(self, h: Tensor) -> Tensor | None:
        """How far the residual moves when the SAE's output moves by one, float32 [..., 1]; None for 1."""

    @abstractmethod
    def weights(self) -> Iterable[Tensor]:
        """Its tensors, in pieces that are small enough to convert."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """How the tensors are used, as plain values."""

    def check_width(self, h: Tensor) -> None:
        """Check that a residual [..., d_in] has the width that the SAE reads.

        Raises:
            ValueError: it has another one.
        """
        if h.shape[-1] != self.d_in:
            raise ValueError(
                f"This SAE reads {self.d_in} numbers at each position, but the residual has {h.shape[-1]}; it was made "
                "for another model or another stream."
            )


class DenseCodec(Codec):
    """An SAE with one linear encoder, an activation function and a linear decoder.

    Activation functions: ReLU (Bricken et al. 2023), JumpReLU (Rajamanoharan et al. 2024, Gemma Scope) and TopK (Gao
    et al. 2024), computed as in sae_lens' `standard_sae.py`, `jumprelu_sae.py` and `topk_sae.py`. All arithmetic is
    float32, whatever the weights are kept in; it runs where the weights are.

    A transcoder (Dunefsky et al. 2024) is the same but for its output, which is predicted and stands at another place:
    `W_decᵀ a + b_dec`, and `W_skip x` of its input beside it where it has a skip connection (Paulo et al. 2025).

    Args:
        W_enc: [d_in, size].
        b_enc: [size].
        W_dec: [size, d_out]; d_out is d_in, but for a transcoder.
        b_dec: [d_out].
        activation: one of `ACTIVATIONS`.
        threshold: [size], for JumpReLU.
        k: how many features are active, for TopK.
        apply_b_dec_to_input: whether `b_dec` is taken off the input.
        normalisation: one of `NORMALISATIONS`.
        rescale_by_decoder_norm: whether pre-activations are multiplied by `‖W_dec[i]‖`, and divided when decoded.
        center_input: whether the input's mean over d_model is taken out first.
        transcodes: whether what it gives stands at another place than what it reads.
        W_skip: [d_out, d_in], of a transcoder with a skip connection.
    """

    def __init__(
        self,
        W_enc: Tensor,
        b_enc: Tensor,
        W_dec: Tensor,
        b_dec: Tensor,
        *,
        activation: str,
        threshold: Tensor | None,
        k: int,
        apply_b_dec_to_input: bool,
        normalisation: str,
        rescale_by_decoder_norm: bool,
        center_input: bool,
        transcodes: bool = False,
        W_skip: Tensor | None = None,
    ) -> None:
        self.W_enc, self.W_dec = W_enc, W_dec
        self.b_enc, self.b_dec = b_enc.float(), b_dec.float()
        self.activation, self.k = activation, k
        self.threshold = None if threshold is None else threshold.float()
        # JumpReLU is relu(pre)·[pre > θ], which is pre above max(θ, 0) and 0 below.
        self._floor = None if self.threshold is None else self.threshold.clamp_min(0)
        self.apply_b_dec_to_input = apply_b_dec_to_input
        self.normalisation, self.center_input = normalisation, center_input
        self.rescale_by_decoder_norm = rescale_by_decoder_norm
        self.decoder_norms = self._decoder_norms() if rescale_by_decoder_norm else None
        self.transcodes, self.W_skip = transcodes, W_skip
        self.d_in, self.size = int(W_enc.shape[0]), int(W_enc.shape[1])
        self.d_out = int(W_dec.shape[1])
        self._last_top: tuple[weakref.ref[Tensor], int, tuple[Tensor, Tensor]] | None = None
        self._b_dec_on: dict[torch.device, Tensor] = {}

    def encode(self, h: Tensor) -> Tensor:
        """Every activation, float32 [..., size]."""
        import torch

        if self.activation == "topk":
            values, indices = self._top(h)
            dense = torch.zeros((*h.shape[:-1], self.size), device=values.device)
            return dense.scatter_(-1, indices, values).to(h.device)
        return _activate_(self._pre_activations(h), self._floor).to(h.device)

    def some(self, h: Tensor, indices: Sequence[int]) -> Tensor:
        """Some activations, float32 [..., feature]: one encoder column for each, or the whole row for TopK."""
        import torch

        if self.activation == "topk":
            return torch.stack([self._from_top(h, index) for index in indices], dim=-1)
        at = torch.tensor(list(indices), dtype=torch.long, device=self.W_enc.device)
        x = self._input(h).to(self.W_enc.device)
        pre = x @ self.W_enc.index_select(1, at).float() + self.b_enc[at]
        pre = pre if self.decoder_norms is None else pre * self.decoder_norms[at]
        return _activate_(pre, None if self._floor is None else self._floor[at]).to(h.device)

    def reader(self, index: int, device: torch.device) -> Callable[[Tensor], Tensor]:
        """Reads one activation at the cost of one encoder column, O(d); TopK has to compute the whole row."""
        if self.activation == "topk":
            return lambda h: self._from_top(h, index)
        column, bias = self.W_enc[:, index].float().to(device), self.b_enc[index].to(device)
        norm = None if self.decoder_norms is None else self.decoder_norms[index].to(device)
        floor = None if self._floor is None else self._floor[index].to(device)

        def read(h: Tensor) -> Tensor:
            pre = self._input(h) @ column + bias
            return _activate_(pre if norm is None else pre * norm, floor)

        return read

    def decode(self, activations: Tensor, h: Tensor | None) -> Tensor:
        """The reconstruction, or what a transcoder predicts, float32 [..., d_out].

        Raises:
            ValueError: the SAE normalises its input or has a skip connection, so that `h` is needed, and it is not
                given.
        """
        if h is None and self.W_skip is not None:
            raise ValueError(
                "This transcoder has a skip connection, so decode needs what it reads too: sae.decode(a, h)."
            )
        if h is None and not self.transcodes and (self.center_input or self.normalisation != "none"):
            what = "centres" if self.normalisation == "none" else f"normalises ({self.normalisation})"
            raise ValueError(f"This SAE {what} its input, so decode needs the residual too: sae.decode(a, h).")
        a = activations.float().to(self.W_dec.device)
        a = a if self.decoder_norms is None else a / self.decoder_norms
        y = (product(a, self.W_dec) + self.b_dec).to(activations.device)
        if self.W_skip is not None and h is not None:
            return y + (h.float().to(self.W_skip.device) @ self.W_skip.float().T).to(y.device)
        return y if h is None or self.transcodes else self._normalised(h).undo(y)

    def decoder_row(self, index: int) -> Tensor:
        """`W_dec[index]`, float32 [d_out]."""
        return self.W_dec[index].float()

    def decoder_rows(self, start: int, stop: int) -> Tensor:
        """Rows of `W_dec`, float32 [row, d_out]."""
        return self.W_dec[start:stop].float()

    def unit_step(self, index: int) -> Tensor:
        """`W_dec[index]`; of unit length where activations are rescaled by the decoder's norm."""
        row = self.decoder_row(index)
        return row if self.decoder_norms is None else row / self.decoder_norms[index]

    def scale(self, h: Tensor) -> Tensor | None:
        """The input's own scale: its standard deviation for layer_norm, `‖x‖/√d` for constant_norm_rescale."""
        return None if self.transcodes or self.normalisation == "none" else self._normalised(h).scale

    def weights(self) -> Iterable[Tensor]:
        """Weights, biases and thresholds."""
        import torch

        yield from torch.split(self.W_enc, 256)
        yield from torch.split(self.W_dec, _CHUNK)
        yield from (self.b_enc, self.b_dec)
        if self.threshold is not None:
            yield self.threshold
        if self.W_skip is not None:
            yield self.W_skip

    def settings(self) -> dict[str, Any]:
        """The settings under sae_lens' names, `activation` and `center_input` aside."""
        found = {
            "activation": self.activation,
            "apply_b_dec_to_input": self.apply_b_dec_to_input,
            "normalize_activations": self.normalisation,
            "rescale_acts_by_decoder_norm": self.rescale_by_decoder_norm,
            "center_input": self.center_input,
        }
        found |= {"transcodes": True} if self.transcodes else {}
        return found | ({"k": self.k} if self.activation == "topk" else {})

    def tensors(self) -> dict[str, Tensor]:
        """Weights, biases and thresholds under sae_lens' names, in the weights' dtype."""
        found = {"W_enc": self.W_enc, "b_enc": self.b_enc, "W_dec": self.W_dec, "b_dec": self.b_dec}
        found |= {} if self.threshold is None else {"threshold": self.threshold}
        found |= {} if self.W_skip is None else {"W_skip": self.W_skip}
        return {name: tensor.to(self.W_enc.dtype) for name, tensor in found.items()}

    def alone(self, index: int) -> tuple[DenseCodec, int]:
        """What one feature needs, and its index there: one column and row; TopK looks at all of them."""
        topk = self.activation == "topk"
        at = slice(None) if topk else slice(index, index + 1)
        made = DenseCodec(
            self.W_enc[:, at].clone(),
            self.b_enc[at].clone(),
            self.W_dec[at].clone(),
            self.b_dec,
            activation=self.activation,
            threshold=None if self.threshold is None else self.threshold[at].clone(),
            k=self.k,
            apply_b_dec_to_input=self.apply_b_dec_to_input,
            normalisation=self.normalisation,
            rescale_by_decoder_norm=self.rescale_by_decoder_norm,
            center_input=self.center_input,
            transcodes=self.transcodes,
        )
        return made, index if topk else 0

    def move(self, device: torch.device | None, dtype: torch.dtype | None = None) -> None:
        """Move all tensors to a device, and keep the matrices in a dtype; None for what stays."""
        for name in ("W_enc", "W_dec", "W_skip", "b_enc", "b_dec", "threshold", "_floor", "decoder_norms"):
            tensor: Tensor | None = getattr(self, name)
            if tensor is not None:
                setattr(self, name, tensor.to(device=device, dtype=dtype if name.startswith("W") else None))
        if dtype is not None and self.rescale_by_decoder_norm:
            self.decoder_norms = self._decoder_norms()
        self._last_top = None
        self._b_dec_on = {}

    def _normalised(self, h: Tensor) -> Normalised:
        return normalised(h.float(), self.normalisation, center=self.center_input)

    def _input(self, h: Tensor) -> Tensor:
        x = self._normalised(h).x
        if not self.apply_b_dec_to_input:
            return x
        if x.device not in self._b_dec_on:
            self._b_dec_on[x.device] = self.b_dec.to(x.device)
        return x - self._b_dec_on[x.device]

    def _pre_activations(self, h: Tensor) -> Tensor:
        pre = product(self._input(h).to(self.W_enc.device), self.W_enc).add_(self.b_enc)
        return pre if self.decoder_norms is None else pre * self.decoder_norms

    def _top(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """The k largest of a row and where they are, where the weights are; kept for the next feature of that `h`."""
        last, version = self._last_top, -1 if h.is_inference() else h._version  # noqa: SLF001
        if last is not None and last[0]() is h and last[1] == version >= 0:
            return last[2]
        values, indices = self._pre_activations(h).topk(self.k, dim=-1, sorted=False)
        found = (values.relu(), indices)
        self._last_top = (weakref.ref(h), version, found)
        return found

    def _from_top(self, h: Tensor, index: int) -> Tensor:
        values, indices = self._top(h)
        return (values * (indices == index)).sum(dim=-1).to(h.device)

    def _decoder_norms(self) -> Tensor:
        import torch

        return torch.cat([rows.float().norm(dim=-1) for rows in torch.split(self.W_dec, _CHUNK)]).clamp_min(_TINY)


def _activate_(pre: Tensor, floor: Tensor | None) -> Tensor:
    """ReLU, or JumpReLU above a floor, in place; NaN stays NaN."""
    return pre.relu_() if floor is None else pre.masked_fill_(pre <= floor, 0.0)


def one_activation(codec: Codec, index: int, h: Tensor) -> Tensor:
    """One activation, float32 [...], of a residual float32 [..., d_in]."""
    return codec.some(h, [index])[..., 0]


def scaled_step(codec: Codec, index: int, h: Tensor) -> Tensor:
    """How far a residual moves for one unit of activation: float32 that broadcasts to it."""
    step, scale = codec.unit_step(index).to(h.device), codec.scale(h)
    return step if scale is None else scale * step
