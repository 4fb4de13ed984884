"""The logit lens by hand: final norm, unembed and soft cap from the weights, whole tensors. Nothing of steerwidgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from support.models import LAYERS, base_of, blocks_of
from support.naive import Change, steered, stream_module


def final_norm(model: Any) -> Any:
    """The norm before the unembed, by the families' own names."""
    base = base_of(model)
    return next(getattr(base, name) for name in ("norm", "ln_f", "final_layer_norm") if hasattr(base, name))


def normed(model: Any, h: torch.Tensor) -> torch.Tensor:
    """The final norm's formula in float64, its statistics taken from `h` itself."""
    norm, h = final_norm(model), h.double()
    weight = norm.weight.detach().double()
    if isinstance(norm, torch.nn.LayerNorm):
        h = h - h.mean(-1, keepdim=True)
        return weight * h / (h.pow(2).mean(-1, keepdim=True) + norm.eps).sqrt() + norm.bias.detach().double()
    gemma = model.config.model_type.startswith("gemma")
    eps = norm.eps if gemma else norm.variance_epsilon
    return (1 + weight if gemma else weight) * h / (h.pow(2).mean(-1, keepdim=True) + eps).sqrt()


def logits(model: Any, h: torch.Tensor) -> torch.Tensor:
    """The logits that the model would make of a last residual, soft cap included: float64."""
    raw = normed(model, h) @ model.get_output_embeddings().weight.detach().double().T
    cap = getattr(model.config, "final_logit_softcapping", None)
    return raw if cap is None else cap * torch.tanh(raw / cap)


def streams(
    model: Any,
    ids: Sequence[int],
    stream: str = "resid_post",
    changes: Sequence[Change] = (),
    prompt_length: int | None = None,
) -> torch.Tensor:
    """One stream of every block after any change there: float32 [layer, position, width]."""
    seen: dict[int, torch.Tensor] = {}
    with torch.no_grad(), steered(model, changes, prompt_length or len(ids)):
        handles = []
        for layer in range(len(blocks_of(model))):
            module, is_input = stream_module(model, layer, stream)

            def before(_module: Any, args: Any, kwargs: Any, layer: int = layer) -> None:
                seen[layer] = (args[0] if args else kwargs["hidden_states"])[0].clone()

            def after(_module: Any, _args: Any, out: Any, layer: int = layer) -> None:
                seen[layer] = (out[0] if isinstance(out, tuple) else out)[0].clone()

            handles.append(
                module.register_forward_pre_hook(before, with_kwargs=True)
                if is_input
                else module.register_forward_hook(after)
            )
        try:
            model(input_ids=torch.tensor([list(ids)]), use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
    return torch.stack([seen[layer] for layer in range(LAYERS)])
