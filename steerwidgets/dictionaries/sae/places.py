"""Where an SAE reads, and a transcoder writes: by a hook's name, by a module's, or as the caller says."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any, Final

from steerwidgets.files.shown import shown
from steerwidgets.transformer.sites import Site, Stream

_HF_STREAMS: Final[dict[str, Stream]] = {
    "": "resid_post",
    "output": "resid_post",
    "input": "resid_pre",
    "self_attn.o_proj.input": "attn_z",
    "mlp.output": "mlp_out",
    "mlp.input": "mlp_in",
    "pre_feedforward_layernorm.output": "mlp_in",
    "mlp.down_proj.input": "mlp_acts",
    "post_feedforward_layernorm.output": "mlp_out",
}
_HF_SUBLAYERS: Final[dict[str, Stream]] = {
    "mlp": "mlp_out",
    "self_attn": "attn_out",
    "self_attn.o_proj": "attn_out",
    "attn": "attn_out",
    "attention": "attn_out",
}
"""What a sublayer's module gives, which joins the residual as it is, but for the models below."""
_NORM_BEHIND: Final = re.compile(r"gemma[-_]?v?[23]|olmo[-_]?[23]|glm[-_]?4", re.IGNORECASE)
"""Models with a norm behind each sublayer."""
_WRITES_TO_RESIDUAL: Final = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")


def is_centred(cfg: Mapping[str, Any], site: Site) -> bool:
    """Whether a cfg says that the SAE was made for a model whose writing weights are centred (TransformerLens)."""
    kwargs = metadata_of(cfg).get("model_from_pretrained_kwargs") or {}
    return bool(kwargs.get("center_writing_weights")) and site.stream in _WRITES_TO_RESIDUAL


def metadata_of(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """What a cfg says of model and hook, wherever its format keeps it."""
    hook = {"hook_name": cfg["hook_point"]} if "hook_point" in cfg else {}
    return hook | dict(cfg) | dict(cfg.get("metadata") or {})


def site_of(cfg: Mapping[str, Any]) -> Site:
    """Where a cfg says that the SAE reads, by TransformerLens' hook name or, failing that, by Hugging Face's module.

    Raises:
        ValueError: it does not say, or names a place that is no stream of a block.
    """
    return _site_named(metadata_of(cfg), "")


def output_site_of(cfg: Mapping[str, Any], place: Site) -> Site:
    """Where a transcoder writes that reads at a place: as its cfg says, by default at its block's `mlp_out`."""
    said = None
    with contextlib.suppress(ValueError):
        said = _site_named(metadata_of(cfg), "_out")
    if said is None:
        return Site(place.layer, "mlp_out")
    with contextlib.suppress(ValueError):
        # A block that the caller corrected is another one for both.
        return Site(said.layer + place.layer - site_of(cfg).layer, said.stream)
    return said


def _site_named(metadata: Mapping[str, Any], which: str) -> Site:
    hook_name, hf_name = metadata.get(f"hook_name{which}"), metadata.get(f"hf_hook_name{which}")
    # Trained on a model of transformers itself, sae_lens writes its module's name where the hook's stands.
    for name in filter(None, (hook_name, hf_name)):
        with contextlib.suppress(ValueError):
            return Site.from_hook_name(name)
        with contextlib.suppress(ValueError):
            return site_from_hf_name(name, model=metadata.get("model_name") or "")
    if not hook_name and not hf_name:
        raise ValueError("This SAE does not say where it reads; pass layer= (and stream=) or site=.")
    raise ValueError(
        f"This SAE reads {shown(hook_name or hf_name)}, which is none of the streams that steerwidgets knows; if "
        "one of them carries the same activations, pass it as site=, or correct hook_name."
    )


def given_site(site: Site | None, layer: int | None, stream: Stream | None) -> Site:
    """The place that a caller gives.

    Raises:
        ValueError: it is given twice or not at all.
    """
    if site is not None:
        if layer is not None or stream is not None:
            raise ValueError("A place is given as site=, or as layer= and stream=, not as both.")
        return site
    if layer is None:
        raise ValueError("An SAE needs the place where it reads: pass layer= (and stream=), or site=.")
    return Site(layer, stream or "resid_post")


def place_of(cfg: Mapping[str, Any], site: Site | None, layer: int | None, stream: Stream | None) -> Site:
    """The place that a caller gives; what is not given is what the cfg says.

    Raises:
        ValueError: neither says.
    """
    if site is not None:
        return given_site(site, layer, stream)
    try:
        said = site_of(cfg)
    except ValueError:
        if layer is None:
            raise
        return given_site(None, layer, stream)
    return Site(said.layer if layer is None else layer, stream or said.stream)


def stream_of_module(module: str, model: str) -> Stream | None:
    """The stream that a block's module gives, or gets where `.input` stands behind it; None where it is none of ours.

    Args:
        module: its name in the block, `mlp`; empty for the block itself.
        model: the model's name; empty where nobody says.
    """
    if module in _HF_SUBLAYERS:
        return None if _NORM_BEHIND.search(model) else _HF_SUBLAYERS[module]
    return _HF_STREAMS.get(module)


def site_from_hf_name(name: str, *, model: str = "") -> Site:
    """The site of a Hugging Face module name such as `model.layers.15`, `model.layers.15.output` or `transformer.h.3`.

    Args:
        name: the module's name; `.input` behind it is what goes in, otherwise what comes out is meant.
        model: the model's name. A whole sublayer's, such as `layers.15.mlp`, is known for models that are named and
            have no norm behind their sublayers.

    Raises:
        ValueError: the name is none of those that are known.
    """
    match = re.fullmatch(r"(?:[\w.]+\.)?(?:layers|h)\.([0-9]{1,6})(?:\.(.+))?", name)
    module = match[2] or "" if match is not None else ""
    stream = stream_of_module(module, model) if model or module not in _HF_SUBLAYERS else None
    if match is None or stream is None:
        raise ValueError(f"The module name {shown(name)} is no stream of a block that steerwidgets knows.")
    return Site(int(match[1]), stream)
