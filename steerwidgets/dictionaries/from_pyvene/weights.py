"""What the tensors of a pyvene intervention mean as a dictionary: detectors, directions, or an autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dictionaries.from_pyvene.interventions import Intervention

if TYPE_CHECKING:
    from torch import Tensor

_PROJECTION: Final = "proj.weight"
_CONSTANT: Final = "source_representation"
_ROTATION: Final = "rotate_layer."
_ROTATED: Final = "rotate_layer.parametrizations.weight.original"
_JUMPRELU: Final = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
_AUTOENCODER: Final = "autoencoder."
_SIGN: Final = {"AdditionIntervention": 1.0, "SubtractionIntervention": -1.0}
_SHOWN: Final = 6


def projection(intervention: Intervention) -> Tensor:
    """The rows of `proj.weight`, [concept, d_model]: as PyTorch's `Linear` keeps its weight, [out, in].

    Raises:
        ValueError: it holds no such matrix.
    """
    if _PROJECTION not in intervention.state:
        raise ValueError(_why_not(intervention))
    return _matrix(intervention, intervention.state[_PROJECTION])


def directions(intervention: Intervention) -> tuple[Tensor, float | None]:
    """Directions [concept, d_model], and how many times the intervention adds its own, where it adds one.

    A projection's rows, the axis of a rotation of rank 1, or the constant that is added or taken away.

    Raises:
        ValueError: it holds none of these.
    """
    state = intervention.state
    if _PROJECTION in state:
        return projection(intervention), None
    if _ROTATED in state and state[_ROTATED].shape[-1] == 1 and not _has_learned_source(state):
        return _rotation(state).T, None
    if _CONSTANT in state and "VanillaIntervention" not in intervention.classes:
        times = next((_SIGN[name] for name in intervention.classes if name in _SIGN), None)
        return _constant(intervention)[None], times
    raise ValueError(_why_not(intervention))


def autoencoder(intervention: Intervention) -> dict[str, Any]:
    """The arguments of `SAE` for pyvene's `JumpReLUAutoencoderIntervention` or `AutoencoderIntervention`.

    The first encodes `x`, the second `x − b_dec` (pyvene, `interventions.py` and `layers.py`).

    Raises:
        ValueError: it is neither.
    """
    state = intervention.state
    if all(name in state for name in _JUMPRELU):
        return {name: state[name] for name in _JUMPRELU} | {"activation": "jumprelu", "apply_b_dec_to_input": False}
    names = {part: f"{_AUTOENCODER}{part}" for part in ("encoder.0.weight", "encoder.0.bias")}
    names |= {part: f"{_AUTOENCODER}{part}" for part in ("decoder.0.weight", "decoder.0.bias")}
    if any(name not in state for name in names.values()):
        raise ValueError(_why_not(intervention))
    w_enc, b_enc, w_dec, b_dec = (state[name] for name in names.values())
    weights = {"W_enc": w_enc.T, "b_enc": b_enc, "W_dec": w_dec.T, "b_dec": b_dec}
    return weights | {"activation": "relu", "apply_b_dec_to_input": True}


def _matrix(intervention: Intervention, tensor: Tensor) -> Tensor:
    if tensor.ndim != 2:
        raise ValueError(
            f"The {_PROJECTION} of {intervention.origin} should be [concept, d_model], but its shape is "
            f"{list(tensor.shape)}."
        )
    return tensor


def _rotation(state: Mapping[str, Tensor]) -> Tensor:
    """The matrix [d_model, rank] with orthonormal columns that PyTorch keeps as a parametrisation."""
    import torch
    from torch.nn.utils.parametrizations import orthogonal

    own = {name.removeprefix(_ROTATION): tensor for name, tensor in state.items() if name.startswith(_ROTATION)}
    layer = torch.nn.Module()
    layer.weight = torch.nn.Parameter(torch.eye(*state[_ROTATED].shape))
    orthogonal(layer, use_trivialization="parametrizations.weight.0.base" in own)
    layer.load_state_dict({name: tensor.float() for name, tensor in own.items()})
    return layer.weight.detach()


def _constant(intervention: Intervention) -> Tensor:
    """The vector that is added; beyond `interchange_dim` pyvene leaves the stream alone."""
    constant = intervention.state[_CONSTANT]
    if constant.ndim == 0 or constant.numel() != constant.shape[-1]:
        raise ValueError(
            f"The {_CONSTANT} of {intervention.origin} has shape {list(constant.shape)}: another vector for each "
            "position or row, so it is not one direction; take the row that is meant, as in sw.CAV(rows, labels, "
            "layer=…)."
        )
    vector = constant.detach().reshape(-1).clone()
    reach = intervention.state.get("interchange_dim")
    if reach is not None and reach.ndim == 0:
        vector[int(reach) :] = 0
    return vector


def _has_learned_source(state: Mapping[str, Tensor]) -> bool:
    # pyreft's own state_dict of a LoReFT intervention calls the learned source's tensors `weight` and `bias`.
    return any(name.startswith("learned_source") for name in state) or "rotate_layer" in state


def _why_not(intervention: Intervention) -> str:
    """Why an intervention is not the dictionary that was asked for, and what to do."""
    state, named = intervention.state, intervention.named
    if not state:
        why = "pyvene saves those of trainable interventions and of constant sources only" if intervention.path else ""
        return (
            f"There are no weights of {intervention.origin}{why and f': {why}'}; give the file of "
            "torch.save(intervention.state_dict(), …) of an intervention that has some."
        )
    if _has_learned_source(state):
        return (
            f"{named} writes what a learned source makes of the residual (LoReFT: h + Rᵀ(Wh + b − Rh)), so it is no "
            "dictionary of directions; run it with pyvene itself."
        )
    if _ROTATED in state:
        rank = state[_ROTATED].shape[-1]
        return f"{named} " + (
            "holds the one axis of a rotation, which is read as h·v: take CAV.from_pyvene."
            if rank == 1
            else f"swaps a subspace of {rank} axes as a whole, so no axis is a concept by itself; where you know "
            "better, take them as sw.CAV(intervention.rotate_layer.weight.T, labels, layer=…)."
        )
    if _JUMPRELU[0] in state or any(name.startswith(_AUTOENCODER) for name in state):
        return f"{named} is a sparse autoencoder: take SAE.from_pyvene."
    if _PROJECTION in state:
        return f"{named} holds a projection: take ReFT.from_pyvene (relu(h·w)) or CAV.from_pyvene (h·v)."
    if _CONSTANT in state and "VanillaIntervention" in intervention.classes:
        return f"{named} puts a constant in the place of the stream, so it holds no direction."
    if _CONSTANT in state:
        return f"{named} holds a constant vector: take CAV.from_pyvene."
    held = [f"{name} {list(tensor.shape)}" for name, tensor in state.items()]
    more = f" and {len(held) - _SHOWN} more" if len(held) > _SHOWN else ""
    return (
        f"{named} holds {', '.join(held[:_SHOWN])}{more}, but no {_PROJECTION} [concept, d_model], no rotation of rank "
        f"1, no {_CONSTANT} and no autoencoder; give its matrix to a constructor, as in sw.CAV(rows, labels, layer=…)."
    )
