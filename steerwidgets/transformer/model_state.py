"""What a model computes with at the moment: adapters are switched and weights are trained after it was loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

ModelState = tuple[object, ...]
"""Equal for as long as the model gives the same for the same text."""

_ADAPTERS = ("_active_adapter", "_disable_adapters", "merged_adapters")
"""What a module of PEFT says of its adapters."""


def prefix_state(model: nn.Module) -> ModelState:
    """Which of PEFT's prompt or prefix tunings puts tokens before a text: one by name, or none."""
    name = getattr(model, "active_adapter", None)
    configs = getattr(model, "peft_config", None)
    config = configs.get(name) if isinstance(configs, Mapping) and isinstance(name, str) else None
    # To switch it off, PEFT puts the forward of the model inside in the place of its own.
    is_off = getattr(model.forward, "__self__", model) is not model
    return () if config is None or is_off or not config.is_prompt_learning else (name,)


def model_state(model: nn.Module) -> ModelState:
    """Adapters that are on, off or merged, and how often weights were written to.

    A write through `.data` alone is not seen, which is how PEFT merges; that, its modules say.
    """
    adapters = tuple(
        str([vars(module).get(name) for name in _ADAPTERS])
        for module in model.modules()
        if _ADAPTERS[0] in vars(module)
    )
    # Offloaded weights are on `meta` between forward passes, and inference tensors count no writes.
    counted = (each for each in model.parameters() if not each.is_meta and not each.is_inference())
    return *prefix_state(model), adapters, sum(each._version for each in counted)  # noqa: SLF001 - torch's own count


def refuse_changed(name: str, before: ModelState, model: nn.Module) -> None:
    """Refuse to go on with a run of a model that computes something else by now.

    Args:
        name: the model's.
        before: its state in the run.
        model: the model.

    Raises:
        ValueError: its adapters or weights are others.
    """
    if model_state(model) != before:
        raise ValueError(
            f"{name} is no longer the model that wrote this text: its adapters or weights have changed since. Set them "
            "as they were, or run lm.compare again."
        )
