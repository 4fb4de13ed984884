"""Whether a model's activations fit float16, which ends at 65,504: looked at once, before anybody reads a NaN."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from steerwidgets.transformer.hookpoints import Handle, read_stream, remove_all
from steerwidgets.transformer.model_names import warn_once
from steerwidgets.transformer.sites import Site

if TYPE_CHECKING:
    from torch import Tensor, nn

    from steerwidgets.transformer.architecture import Architecture

_NEAR: Final = 0.5
"""A text whose largest number is above this share of what float16 holds has neighbours that overflow."""
_looked_at: Final[weakref.WeakSet[nn.Module]] = weakref.WeakSet()


def warn_of_overflow(architecture: Architecture, short_text: Callable[[], Sequence[int]]) -> None:
    """Warn where a float16 model's residuals overflow on a short text, or come near it, as those of Gemma 3 do.

    Args:
        architecture: the model's parts.
        short_text: gives its token ids, BOS included, since sinks are where activations are largest.
    """
    import torch

    if architecture.model in _looked_at or not _is_half(architecture.model):
        return
    if architecture.is_compiled or architecture.model.training or architecture.input_device.type == "meta":
        return
    _looked_at.add(architecture.model)
    ids = short_text()
    if max(ids) >= architecture.embedded:
        return
    largest = _largest(architecture, ids)
    end = torch.finfo(torch.float16).max
    layer = next((layer for layer, value in enumerate(largest) if not value <= end * _NEAR), None)
    if layer is None:
        return
    instead = "load it with dtype=torch.bfloat16, or in float32 where the device knows no bfloat16"
    if largest[layer] <= end:
        note = (
            f"{architecture.name} gives up to {largest[layer]:,.0f} after block {layer}, and float16 ends at "
            f"{end:,.0f}: other texts and steers can overflow to NaN; {instead}."
        )
    else:
        note = (
            f"{architecture.name} overflows float16, which ends at {end:,.0f}: block {layer} gives infinite numbers or "
            f"NaN on a short text, and all that follows from them means nothing; {instead}."
        )
    warn_once(architecture.model, "float16", note, RuntimeWarning)


def _is_half(model: nn.Module) -> bool:
    import torch

    return any(each.dtype == torch.float16 for each in model.parameters())


def _largest(architecture: Architecture, ids: Sequence[int]) -> list[float]:
    """The largest absolute number after each block on a text; infinity where one is none."""
    import torch

    found = [0.0] * architecture.layers
    handles: list[Handle] = []
    rows = torch.tensor([list(ids)], device=architecture.input_device)
    try:
        for layer in range(architecture.layers):
            handle = read_stream(architecture.hookpoint(Site(layer)), _into(found, layer))
            handles += [handle]
        with torch.no_grad():
            architecture.run(input_ids=rows, attention_mask=torch.ones_like(rows), use_cache=False)
    finally:
        remove_all(handles)
    return found


def _into(found: list[float], layer: int) -> Callable[[Tensor], None]:
    def keep(stream: Tensor) -> None:
        found[layer] = float(stream.float().abs().nan_to_num(float("inf"), posinf=float("inf")).max())

    return keep
