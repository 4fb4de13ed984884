"""What the cfg.json of an SAE may say, field by field, and how the weights beside it are named and meant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dictionaries.sae.places import metadata_of
from steerwidgets.files.fields import Fields
from steerwidgets.files.json_text import read_json
from steerwidgets.files.shown import named, shown
from steerwidgets.files.tensors import dense

if TYPE_CHECKING:
    from torch import Tensor

CFG: Final = "cfg.json"

_TEXTS: Final = (
    *("architecture", "activation_fn", "activation_fn_str", "hook_name", "hf_hook_name", "hook_point", "model_name"),
    *("neuronpedia_id", "dataset_path", "hook_name_out", "hf_hook_name_out"),
)
_FLAGS: Final = ("apply_b_dec_to_input", "rescale_acts_by_decoder_norm")
_SIZES: Final = ("d_in", "d_sae", "d_out")
_MOST: Final = 2**31

_ACTIVATION_OF: Final = {
    "standard": "relu",
    "jumprelu": "jumprelu",
    "topk": "topk",
    "transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "topk_transcoder": "topk",
    "skip_transcoder": "relu",
    "jumprelu_skip_transcoder": "jumprelu",
    "topk_skip_transcoder": "topk",
}
"""The architectures that are computed here, by sae_lens' names; it has no transcoders with TopK."""
_IN_TRAINING: Final = ("batchtopk", "matryoshka_batchtopk")
"""What is saved for use as jumprelu; a training run's checkpoints say so, with one threshold for all features."""
_OTHER_ARCHITECTURES: Final = ("gated", "abstopk", "matching_pursuit", "temporal")


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


def is_native(cfg: Mapping[str, Any]) -> bool:
    """Whether an architecture of sae_lens is computed here."""
    return _architecture(cfg) in _ACTIVATION_OF


def is_transcoder(cfg: Mapping[str, Any]) -> bool:
    """Whether what the cfg tells of reads at one place and writes at another."""
    return "transcoder" in _architecture(cfg)


def architecture_of(activation: str, *, transcodes: bool, skips: bool) -> str:
    """The name of an architecture that is computed here."""
    return next(
        name
        for name, function in _ACTIVATION_OF.items()
        if function == activation and ("transcoder" in name) == transcodes and ("skip" in name) == skips
    )


def settings_of(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `SAE` that a cfg.json of sae_lens stands for, weights and site left out.

    Both the format of sae_lens 6 (with `metadata`) and the flat one before it are understood (sae_lens,
    `pretrained_sae_loaders.py`, `handle_pre_6_0_config`).

    Raises:
        ValueError: the architecture or a setting is not one that is computed here.
    """
    architecture = _architecture(cfg)
    if architecture not in _ACTIVATION_OF:
        raise ValueError(_not_native(architecture))
    function = cfg.get("activation_fn") or cfg.get("activation_fn_str") or "relu"
    if function not in ("relu", "topk"):
        raise ValueError(
            f"This SAE's activation function {shown(function)} is unknown (in {CFG}); relu, jumprelu and topk are "
            "known."
        )
    normalisation = cfg.get("normalize_activations") or "none"
    transcodes = is_transcoder(cfg)
    settings = {
        "activation": _ACTIVATION_OF[architecture],
        # sae_lens' transcoders never do, since b_dec stands at another place than what they read.
        "apply_b_dec_to_input": bool(cfg.get("apply_b_dec_to_input", True)) and not transcodes,
        "normalize_activations": "expected_average_only_in" if normalisation is True else normalisation,
        "rescale_acts_by_decoder_norm": bool(cfg.get("rescale_acts_by_decoder_norm", False)),
    }
    if settings["activation"] == "topk":
        settings["k"] = cfg["k"] if "k" in cfg else (cfg.get("activation_fn_kwargs") or {}).get("k")
    return settings


def named_tensors(tensors: Mapping[str, Tensor], source: str, cfg: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a native SAE under the names of `SAE`'s arguments.

    Raises:
        ValueError: one is missing, or one is there that changes the arithmetic.
    """
    if not is_native(cfg):
        raise ValueError(_not_native(_architecture(cfg)))
    renamed = {"W" + name[1:] if name.startswith("w_") else name: tensor for name, tensor in tensors.items()}
    _as_for_use(renamed, cfg, source)
    wanted = ["W_enc", "b_enc", "W_dec", "b_dec"]
    wanted += ["threshold"] if _ACTIVATION_OF[_architecture(cfg)] == "jumprelu" else []
    wanted += ["W_skip"] if "skip" in _architecture(cfg) else []
    missing = [name for name in wanted if name not in renamed]
    if missing:
        raise ValueError(f"{source} lacks {', '.join(missing)}; it holds {named(tensors)}.")
    factor = renamed.get("scaling_factor", renamed.get("finetuning_scaling_factor"))
    if factor is not None and not bool((dense(factor, f"The fine-tuning scale in {source}").float() == 1).all()):
        raise ValueError(
            f"{source} has a fine-tuning scale for each feature, which steerwidgets does not compute; load it "
            "with sae_lens "
            "and pass the object to sw.SAE.from_sae_lens(…)."
        )
    return {name: renamed[name] for name in wanted}


def _as_for_use(tensors: dict[str, Tensor], cfg: Mapping[str, Any], source: str) -> None:
    """Give a training run's checkpoint the threshold that sae_lens saves for use, in place.

    As its `process_state_dict_for_saving_inference` and `…_for_loading`: BatchTopK learns one threshold for all
    features, and old JumpReLU runs its logarithm.
    """
    if "topk_threshold" in tensors and _ACTIVATION_OF[_architecture(cfg)] == "jumprelu" and "b_enc" in tensors:
        one = dense(tensors["topk_threshold"], f"topk_threshold in {source}").float()
        if one.numel() != 1:
            raise ValueError(f"topk_threshold in {source} is one number, but {shown(one)} was given; save it again.")
        tensors["threshold"] = one.reshape(1).expand(len(tensors["b_enc"]) if tensors["b_enc"].ndim else 1).clone()
    elif "log_threshold" in tensors and "threshold" not in tensors:
        tensors["threshold"] = dense(tensors["log_threshold"], f"log_threshold in {source}").float().exp()


def refuse_other_sizes(cfg: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights of other sizes than the cfg beside them says: they belong to another SAE.

    Raises:
        ValueError: they are.
    """
    shape = list(tensors["W_enc"].shape)
    said = [cfg.get(name) for name in ("d_in", "d_sae")]
    if len(shape) == 2 and any(each not in (None, found) for each, found in zip(said, shape, strict=True)):
        raise ValueError(
            f"{CFG} says d_in={said[0]}, d_sae={said[1]}, but W_enc beside it is {shape}; the two are not of one SAE: "
            "download both again."
        )


def refuse_hidden_transcoder(cfg: Mapping[str, Any], source: str) -> None:
    """Refuse what says of itself that it is an SAE, but reads at one place and writes at another.

    As an SAE its features would steer where they only read, and older formats of transcoders say too little.

    Raises:
        ValueError: it is one.
    """
    said = metadata_of(cfg)
    out = said.get("hook_name_out") or said.get("hf_hook_name_out")
    is_other = (out and out != (said.get("hook_name") or said.get("hf_hook_name"))) or said.get("is_transcoder") is True
    if is_other and not is_transcoder(cfg):
        raise ValueError(
            f"{source} is of a transcoder, which reads {shown(said.get('hook_name'))} and writes at {shown(out)}, but "
            f"its architecture says {shown(_architecture(cfg))}, so how it is computed is not clear; load it with "
            "sae_lens and pass the object to sw.SAE.from_sae_lens(…)."
        )


def _architecture(cfg: Mapping[str, Any]) -> str:
    topk = (cfg.get("activation_fn") or cfg.get("activation_fn_str")) == "topk"
    said = str(cfg.get("architecture") or "standard")
    return "topk" if topk and said in ("standard", "topk") else "jumprelu" if said in _IN_TRAINING else said


def _not_native(architecture: str) -> str:
    if architecture in _OTHER_ARCHITECTURES or "transcoder" in architecture:
        return (
            f"The architecture {architecture!r} is computed by sae_lens itself: load it with sae_lens.SAE and pass the "
            "object to sw.SAE.from_sae_lens(…), or use sw.SAE.from_pretrained."
        )
    known = ", ".join((*_ACTIVATION_OF, *_OTHER_ARCHITECTURES))
    return f"The SAE architecture {shown(architecture)} is unknown; {known} are known."
