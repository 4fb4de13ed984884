"""A tiny SAE for the tests: its tensors, itself, and a folder in sae_lens' format."""

import json
from typing import Any

import torch
from safetensors.torch import save_file

import steerwidgets as sw
from support.models import D_MODEL

SIZE = 40


def tensors(seed: Any = 0, d: Any = D_MODEL, size: Any = SIZE) -> Any:
    drawn = torch.Generator().manual_seed(seed)
    shapes = {"W_enc": (d, size), "b_enc": (size,), "W_dec": (size, d), "b_dec": (d,)}
    return {name: torch.randn(shape, generator=drawn) / 4 for name, shape in shapes.items()}


def make(activation: Any = "relu", seed: Any = 0, layer: Any = 1, **settings: Any) -> Any:
    return sw.SAE(**tensors(seed), activation=activation, layer=layer, **settings)


def write(folder: Any, cfg: Any = None, **changes: Any) -> Any:
    """A folder in sae_lens' format; a tensor given as None is left out."""
    kept = {name: value for name, value in (tensors() | changes).items() if value is not None}
    save_file(kept, folder / "sae_weights.safetensors")
    default = {"architecture": "standard", "metadata": {"hook_name": "blocks.1.hook_resid_post"}}
    (folder / "cfg.json").write_text(json.dumps(default | (cfg or {})))
    return folder


def residuals() -> Any:
    return 2 * torch.randn(3, 4, D_MODEL, generator=torch.Generator().manual_seed(1))
