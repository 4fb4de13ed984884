"""A recipe in a model's own biases: a saved model that steers by itself, without a hook."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.files.atomic import folder_atomically
from steerwidgets.steering.exports.constant import constant_changes
from steerwidgets.transformer.architecture import Architecture
from steerwidgets.transformer.hookpoints import read_stream
from steerwidgets.transformer.loaded import LoadedModel
from steerwidgets.transformer.model_lock import model_lock
from steerwidgets.transformer.sites import Site, Stream

if TYPE_CHECKING:
    from torch import Tensor, nn

    from steerwidgets.steering.recipe import Recipe

_MATRIX: Final[dict[Stream, Stream]] = {
    "resid_post": "mlp_acts",
    "mlp_out": "mlp_acts",
    "mlp_acts": "mlp_acts",
    "attn_out": "attn_z",
    "attn_z": "attn_z",
}
"""The stream that goes into the matrix whose bias moves a stream."""

_SWITCHES: Final = ("mlp_bias", "attention_bias", "use_bias", "bias")
"""What configs call it where a family has biases or has none."""


def bake(recipe: Recipe, model: LoadedModel | nn.Module, folder: str | Path) -> None:
    """Write the model; see `Recipe.bake`."""
    import torch
    from torch import nn

    if not isinstance(model, LoadedModel | nn.Module):
        raise TypeError(
            "recipe.bake takes a LanguageModel or the Hugging Face model itself, but a "
            f"{type(model).__name__} was given."
        )
    changes = constant_changes(recipe, "A bias")
    architecture = model.architecture if isinstance(model, LoadedModel) else Architecture(model)
    architecture.refuse_compiled()
    with model_lock(architecture.model), torch.no_grad():
        biases = _biases(architecture, changes)
        config, state = _with_biases(architecture, biases)
        module: Any = architecture.model
        with folder_atomically(folder) as fresh:
            module.save_pretrained(fresh, state_dict=state)
            # Written by the model, it would be the one of the model without biases.
            config.save_pretrained(fresh)
            tokenizer: Any = model.tokenizer if isinstance(model, LoadedModel) else None
            if hasattr(tokenizer, "save_pretrained"):
                tokenizer.save_pretrained(fresh)


def _biases(architecture: Architecture, changes: Mapping[Site, Tensor]) -> dict[str, Tensor]:
    """What is added to the bias of each matrix, by the matrix's name, float32 [out]."""
    import torch

    found: dict[str, Tensor] = {}
    for site, change in changes.items():
        if len(change) != architecture.width(site):
            raise ValueError(
                f"The recipe adds {len(change)} numbers at {site} of {architecture.name}, which has "
                f"{architecture.width(site)}; it was made for another model."
            )
        place = _MATRIX.get(site.stream)
        if place is None or not architecture.has(Site(site.layer, place)):
            raise ValueError(
                f"The recipe adds at {site}, which no bias of {architecture.name} moves alone; add at resid_post, "
                "mlp_out or attn_out instead."
            )
        matrix: Any = architecture.hookpoint(Site(site.layer, place)).module
        name = next(name for name, module in architecture.model.named_modules() if module is matrix)
        weight = getattr(matrix, "weight", None)
        if weight is None or weight.ndim != 2 or not weight.is_floating_point():
            raise ValueError(
                f"The matrix {name} of {architecture.name} is kept as a {type(matrix).__name__}, which takes no other "
                "bias; load the model without quantisation."
            )
        if site.stream == place:  # what the matrix makes of the change
            turned = weight.float() if hasattr(matrix, "in_features") else weight.float().T
            added = turned @ change.to(weight.device)
        else:
            added = change.to(weight.device) / architecture.hookpoint(site).factor
        _refuse_other_effect(architecture, site, matrix, name, added, change)
        found[name] = found.get(name, torch.zeros_like(added)) + added
    return found


def _refuse_other_effect(
    architecture: Architecture, site: Site, matrix: Any, name: str, added: Tensor, change: Tensor
) -> None:
    """Refuse a matrix whose output is not what joins the stream: with a norm behind it, or a factor of its own."""
    import torch

    if site.stream in ("mlp_acts", "attn_z"):
        return
    seen: list[Tensor] = []

    def run() -> None:
        # Only what is read counts, so a read of few tokens will do.
        reading = read_stream(architecture.hookpoint(site), lambda stream: seen.append(stream[0].float()))
        try:
            ids = torch.arange(4, 8, device=architecture.input_device)[None]
            architecture.run(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
        finally:
            reading.remove()

    run()
    handle = matrix.register_forward_hook(lambda _module, _args, output: output + added.to(output.dtype))
    try:
        run()
    finally:
        handle.remove()
    moved = seen[1] - seen[0]
    off = float((moved - change.to(moved.device)).norm(dim=-1).max())
    size = float(change.norm()) + 1e-3 * float(seen[0].norm(dim=-1).max())
    if off > 0.02 * size:
        raise ValueError(
            f"A bias of {name} does not move {site} of {architecture.name} by what it says: a norm or a factor stands "
            "between the two, as in Gemma 2 and 3. Keep recipe.to_torch(lm), or steer with lm.steer(recipe)."
        )


def _with_biases(architecture: Architecture, biases: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
    """A config with which the family has these biases, and the weights, the biases changed; others are 0."""
    import torch

    model: Any = architecture.model
    state = dict(model.state_dict())
    config = copy.deepcopy(model.config)
    if missing := [name for name in biases if f"{name}.bias" not in state]:
        config, shapes = _config_with(model, config, missing)
        dtypes = {name: state[f"{name}.weight"].dtype for name in missing}
        for name, shape in shapes.items():
            dtype = next(iter(dtypes.values()))
            state[name] = torch.zeros(shape, dtype=dtype)
    for name, added in biases.items():
        old = state[f"{name}.bias"]
        state[f"{name}.bias"] = (old.float() + added.to(old.device)).to(old.dtype)
    return config, state


def _config_with(model: Any, config: Any, missing: list[str]) -> tuple[Any, dict[str, Any]]:
    """The config with the fewest switches turned on that gives some matrices a bias, and the shapes of what is new."""
    import itertools

    import torch

    has = set(model.state_dict())
    off = [name for name in _SWITCHES if getattr(config, name, None) is False]
    for count in range(1, len(off) + 1):
        for chosen in itertools.combinations(off, count):
            tried = copy.deepcopy(config)
            for name in chosen:
                setattr(tried, name, True)
            with torch.device("meta"):
                built = type(model)(tried).state_dict()
            new = {name: tensor.shape for name, tensor in built.items() if name not in has}
            if all(f"{name}.bias" in new for name in missing) and all(name.endswith(".bias") for name in new):
                return tried, new
    raise ValueError(
        f"{missing[0]} of a {type(model).__name__} has no bias, and its config has no switch that gives it one "
        f"({', '.join(_SWITCHES[:2])}), so transformers could not load what was written. Keep recipe.to_torch(lm), or "
        "steer with lm.steer(recipe)."
    )
