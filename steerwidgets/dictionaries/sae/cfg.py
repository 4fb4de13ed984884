"""What the cfg.json of an SAE may say, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from steerwidgets.files.fields import Fields
from steerwidgets.files.json_text import read_json
from steerwidgets.files.shown import shown

_TEXTS: Final = (
    *("architecture", "activation_fn", "activation_fn_str", "hook_name", "hf_hook_name", "hook_point", "model_name"),
    *("neuronpedia_id", "dataset_path", "hook_name_out", "hf_hook_name_out"),
)
_FLAGS: Final = ("apply_b_dec_to_input", "rescale_acts_by_decoder_norm")
_SIZES: Final = ("d_in", "d_sae", "d_out")
_MOST: Final = 2**31


def read_cfg(path: Path) -> dict[str, Any]:
    """The settings in a cfg.json, every one that is used of its kind.

    Raises:
        ValueError: it is not whole JSON, no table, or a setting is of another kind.
    """
    table = read_json(path)
    if not isinstance(table, Mapping):
        raise ValueError(f"{path.name} in {path.parent.name!r} is not a table of settings, but {shown(table)}.")
    said = Fields(table, f"In {path.name}")
    inner = said.inner("metadata")
    for part in (said, inner):
        _check(part)
    for name in _FLAGS:
        said.flag(name, None)
    for name in _SIZES:
        said.whole(name, None, low=1, high=_MOST)
    if not isinstance(table.get("normalize_activations"), bool):  # old files say true for the one way that there was
        said.text("normalize_activations", None)
    kwargs = said.inner("activation_fn_kwargs")
    if "topk" in (table.get("architecture"), table.get("activation_fn"), table.get("activation_fn_str")):
        said.whole("k", None, low=1, high=_MOST)
        kwargs.whole("k", None, low=1, high=_MOST)
    return {**table}


def _check(part: Fields) -> None:
    for name in _TEXTS:
        part.text(name, None)
    part.whole("hook_layer", None, low=0, high=_MOST)
    part.inner("model_from_pretrained_kwargs").flag("center_writing_weights", None)


def saved_factor(path: Path) -> float | None:
    """What a training run multiplied its inputs by, as sae_lens leaves it in activation_scaler.json; None elsewhere.

    Raises:
        ValueError: the file is damaged, or says something else.
    """
    if not path.is_file():
        return None
    return Fields(read_json(path), f"In {path.name}").number("scaling_factor", None, low=1e-30)
