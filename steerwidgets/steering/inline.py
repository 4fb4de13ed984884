"""Single features written out in a recipe: all that their op needs, so that it can be read without the dictionary.

An SAE's latent is its encoder column, bias, threshold and decoder row; a component of an MFA its centroid and loadings.
What depends on the rest of its dictionary (TopK, a whole mixture) can't be written out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dictionaries.mfa.features import MFAFeature
from steerwidgets.dictionaries.neurons import Neuron
from steerwidgets.dictionaries.reft.feature import ReFTFeature
from steerwidgets.dictionaries.sae.codec import NORMALISATIONS, DenseCodec
from steerwidgets.dictionaries.sae.feature import SAEFeature
from steerwidgets.steer import Feature, Steer
from steerwidgets.steering import ops
from steerwidgets.steering.ops import Op
from steerwidgets.steering.recipe import tensor_from_json, tensor_json
from steerwidgets.transformer.sites import Site

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_ACTIVATIONS: Final = ("relu", "jumprelu")
"""Activation functions of a latent that look at no other one."""


def can_be_written(steer: Steer) -> bool:
    """Whether a steer can be written out without its dictionary."""
    return not _obstacle(steer)


def written(steer: Steer) -> dict[str, Any]:
    """What the op of a steer needs of its feature, as a JSON value.

    Raises:
        ValueError: it needs more of the dictionary than one feature.
    """
    if obstacle := _obstacle(steer):
        raise ValueError(
            f"{steer!r} can't be written out in a recipe: {obstacle}. Leave inline out and pass the dictionary to "
            "Recipe.from_json(…, dictionaries=[…])."
        )
    feature = steer.feature
    value: dict[str, Any] = {}
    if isinstance(feature, SAEFeature):
        value = _latent_json(feature)
    elif isinstance(feature, MFAFeature):
        value = _component_json(feature)
    elif isinstance(feature, InlineComponent):
        value = _component_as_json(feature, feature.centroid, feature.loadings, centred=feature.centred)
    elif isinstance(feature, Neuron):
        value = {"form": "neuron", "width": len(feature.vector)}
    else:
        value = {"form": "reft", "vector": tensor_json(feature.vector)}
    return value


def read(value: Mapping[str, Any]) -> Feature:
    """The feature that a recipe's entry writes out.

    Raises:
        ValueError: it is of a form that is not known, or its parts do not fit together.
    """
    parts = value["inline"]
    form = parts["form"]
    if form not in _READERS:
        raise ValueError(f"This recipe is damaged: a feature is written out as {form!r}, which is none of the forms.")
    entry = {
        "site": Site(**value["site"]),
        "label": value["label"],
        "dictionary": value["dictionary"],
        "dictionary_kind": value["kind"],
        "index": value["index"],
    }
    return _READERS[form](parts, entry)


@dataclass(frozen=True, eq=False, repr=False)
class InlineComponent(Feature):
    """A component of an MFA as a recipe writes it out: it steers, but without the others it has no responsibility.

    Args:
        centroid: float32 [d_model].
        loadings: float32 [d_model, rank].
        centred: whether a residual's mean over d_model is taken off first.
    """

    centroid: Tensor = field(kw_only=True)
    loadings: Tensor = field(kw_only=True)
    centred: bool = field(kw_only=True)

    @property
    def ops(self) -> Mapping[str, Op]:
        """Those of a component."""
        return ops.mfa_ops(int(self.loadings.shape[1]))

    def activation(self, h: Tensor) -> Tensor:
        """NaN: its responsibility depends on all components, and the recipe was written without them."""
        return h.new_full(h.shape[:-1], float("nan"), dtype=h.float().dtype)

    def change(self, op: str, parameters: Mapping[str, float | None], h: Tensor) -> Tensor:
        """The change of an op, as that of `MFAFeature`."""
        if op != "pull":
            return super().change(op, parameters, h)
        a, *z = (value or 0.0 for value in parameters.values())
        seen = h.float() - h.float().mean(-1, keepdim=True) if self.centred else h.float()
        move = self.loadings @ self.loadings.new_tensor(z)
        return ops.mfa_pull(seen, self.centroid.to(h.device), a, move.to(h.device))


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


def _obstacle(steer: Steer) -> str:
    """Why a steer can't be written out; empty where it can."""
    feature = steer.feature
    if steer.is_of_direction or isinstance(feature, MFAFeature | InlineComponent | Neuron | ReFTFeature):
        return ""
    if not isinstance(feature, SAEFeature):
        return "it acts by all components of its mixture at once"
    if not isinstance(feature.codec, DenseCodec):
        return "sae_lens computes this architecture, from the whole SAE"
    return "TopK compares a feature with all others of its SAE" if feature.codec.activation == "topk" else ""


def _latent_json(feature: SAEFeature) -> dict[str, Any]:
    codec = feature.codec
    assert isinstance(codec, DenseCodec)
    at = 0 if isinstance(codec, _OneLatent) else feature.index
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


def _latent(parts: Mapping[str, Any], entry: Mapping[str, Any]) -> SAEFeature:
    import torch

    encoder, decoder = (tensor_from_json(parts[name]) for name in ("encoder", "decoder"))
    given = parts.get("decoder_bias")
    b_dec = torch.zeros_like(decoder) if given is None else tensor_from_json(given)
    if encoder.ndim != 1 or not encoder.shape == decoder.shape == b_dec.shape:
        shapes = ", ".join(str(list(each.shape)) for each in (encoder, decoder, b_dec))
        raise ValueError(f"This recipe is damaged: the parts of {entry['label']!r} have shapes {shapes}.")
    settings, threshold = parts["settings"], parts["threshold"]
    if settings["activation"] not in _ACTIVATIONS or settings["normalize_activations"] not in NORMALISATIONS:
        raise ValueError(f"This recipe is damaged: {entry['label']!r} has settings that no SAE has: {settings}.")
    codec = _OneLatent(
        encoder[:, None],
        torch.tensor([parts["bias"]]),
        decoder[None],
        b_dec,
        activation=settings["activation"],
        threshold=None if threshold is None else torch.tensor([threshold]),
        k=0,
        apply_b_dec_to_input=settings["apply_b_dec_to_input"],
        normalisation=settings["normalize_activations"],
        rescale_by_decoder_norm=settings["rescale_acts_by_decoder_norm"],
        center_input=settings["center_input"],
    )
    return SAEFeature(decoder, **entry, codec=codec)


def _component_json(feature: MFAFeature) -> dict[str, Any]:
    mfa, k = feature.mfa, feature.index
    return _component_as_json(feature, mfa.centroids[k], mfa.loadings(k), centred=mfa.centred)


def _component_as_json(feature: Feature, centroid: Tensor, loadings: Tensor, *, centred: bool) -> dict[str, Any]:
    tensors = {"vector": feature.vector, "centroid": centroid, "loadings": loadings}
    return {"form": "component", "centred": centred} | {name: tensor_json(each) for name, each in tensors.items()}


def _component(parts: Mapping[str, Any], entry: Mapping[str, Any]) -> InlineComponent:
    vector, centroid, loadings = (tensor_from_json(parts[name]) for name in ("vector", "centroid", "loadings"))
    if loadings.ndim != 2 or not vector.shape == centroid.shape == loadings.shape[:1]:
        shapes = ", ".join(str(list(each.shape)) for each in (vector, centroid, loadings))
        raise ValueError(f"This recipe is damaged: the parts of {entry['label']!r} have shapes {shapes}.")
    return InlineComponent(vector, **entry, centroid=centroid, loadings=loadings, centred=bool(parts["centred"]))


def _neuron(parts: Mapping[str, Any], entry: Mapping[str, Any]) -> Neuron:
    import torch

    axis = torch.zeros(int(parts["width"]))
    if not 0 <= entry["index"] < len(axis):
        raise ValueError(f"This recipe is damaged: there is no neuron {entry['index']} among {len(axis)}.")
    axis[entry["index"]] = 1.0
    return Neuron(axis, **entry)


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Feature]]] = {
    "latent": _latent,
    "component": _component,
    "neuron": _neuron,
    "reft": lambda parts, entry: ReFTFeature(tensor_from_json(parts["vector"]), **entry),
}
