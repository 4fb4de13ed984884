"""The files of sparse autoencoders: sae_lens' folders and Gemma Scope's params.npz."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dictionaries.sae.cfg import read_cfg
from steerwidgets.dictionaries.statistics import FILE as STATISTICS
from steerwidgets.files.atomic import atomically, made_folder, remove_file, write_text
from steerwidgets.files.containers import read_npz as load_npz
from steerwidgets.files.containers import read_safetensors
from steerwidgets.files.shown import named, shown
from steerwidgets.files.tensors import dense
from steerwidgets.transformer.sites import Site, Stream

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.dictionaries.sae.codec import DenseCodec
    from steerwidgets.dictionaries.statistics import FeatureStatistics

CFG: Final = "cfg.json"
WEIGHTS: Final = "sae_weights.safetensors"
PARAMS: Final = "params.npz"
LABELS: Final = "labels.json"
SCALER: Final = "activation_scaler.json"

_PICKLES: Final = (".pt", ".pth", ".bin", ".pkl", ".ckpt")
_FORMAT_VERSION: Final = "6.0.0"
"""The version of sae_lens whose cfg.json we write."""
_ACTIVATION_OF: Final = {"standard": "relu", "jumprelu": "jumprelu", "topk": "topk"}
"""sae_lens' names of the architectures that are computed here."""
_IN_TRAINING: Final = ("batchtopk", "matryoshka_batchtopk")
"""What is saved for use as jumprelu; a training run's checkpoints say so, with one threshold for all features."""
_OTHER_ARCHITECTURES: Final = ("gated", "abstopk", "matching_pursuit", "temporal")
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
_GEMMA_SCOPE: Final[dict[str, Stream]] = {"res": "resid_post", "mlp": "mlp_out", "att": "attn_z"}
_TRANSCODERS: Final = re.compile(r"gemma-scope[-\w]*transcoder", re.IGNORECASE)
_WRITES_TO_RESIDUAL: Final = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")


def is_native(cfg: Mapping[str, Any]) -> bool:
    """Whether an architecture of sae_lens is computed here."""
    return _architecture(cfg) in _ACTIVATION_OF


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
    settings = {
        "activation": _ACTIVATION_OF[architecture],
        "apply_b_dec_to_input": bool(cfg.get("apply_b_dec_to_input", True)),
        "normalize_activations": "expected_average_only_in" if normalisation is True else normalisation,
        "rescale_acts_by_decoder_norm": bool(cfg.get("rescale_acts_by_decoder_norm", False)),
    }
    if architecture == "topk":
        settings["k"] = cfg["k"] if "k" in cfg else (cfg.get("activation_fn_kwargs") or {}).get("k")
    return settings


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


def output_site_of(cfg: Mapping[str, Any]) -> Site | None:
    """Where a cfg says that a transcoder writes; None where it does not say, or names no stream of a block."""
    try:
        return _site_named(metadata_of(cfg), "_out")
    except ValueError:
        return None


def _site_named(metadata: Mapping[str, Any], which: str) -> Site:
    hook_name, hf_name = metadata.get(f"hook_name{which}"), metadata.get(f"hf_hook_name{which}")
    # Trained on a model of transformers itself, sae_lens writes its module's name where the hook's stands.
    for name in filter(None, (hook_name, hf_name)):
        for parse in (Site.from_hook_name, site_from_hf_name):
            with contextlib.suppress(ValueError):
                return parse(name)
    if not hook_name and not hf_name:
        raise ValueError("This SAE does not say where it reads; pass layer= (and stream=) or site=.")
    raise ValueError(
        f"This SAE reads {shown(hook_name or hf_name)}, which is none of the streams that steerwidgets knows; if "
        "one of "
        "them carries the same activations, pass it as site=, or correct hook_name."
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


def site_from_hf_name(name: str) -> Site:
    """The site of a Hugging Face module name such as `model.layers.15`, `model.layers.15.output` or `transformer.h.3`.

    Raises:
        ValueError: the name is none of those that are known.
    """
    match = re.fullmatch(r"(?:[\w.]+\.)?(?:layers|h)\.([0-9]{1,6})(?:\.(.+))?", name)
    stream = _HF_STREAMS.get(match[2] or "") if match is not None else None
    if match is None or stream is None:
        raise ValueError(f"The module name {shown(name)} is no stream of a block that steerwidgets knows.")
    return Site(int(match[1]), stream)


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The cfg and the tensors of a folder or a file, whichever kind it is.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is a pickle, damaged, or lacks something.
    """
    if path.suffix in _PICKLES:
        raise ValueError(
            f"{path.name} is a pickle, and loading one can run code, so it was not loaded; SAEs load from a folder "
            f"with {CFG} and {WEIGHTS}, or from {PARAMS}."
        )
    if not path.exists():
        raise FileNotFoundError(f"There is no SAE at {str(path)!r}.")
    if path.suffix == ".npz":
        return read_npz(path)
    folder = path if path.is_dir() else path.parent
    if (folder / PARAMS).is_file() and not (folder / CFG).is_file():
        return read_npz(folder / PARAMS)
    return read_folder(folder)


def read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The cfg and the tensors of an SAE that sae_lens saved.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: one of them is damaged or lacks something.
    """
    for name in (CFG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"An SAE folder holds {CFG} and {WEIGHTS}, but {str(folder)!r} has no {name}.")
    cfg = read_cfg(folder / CFG)
    _refuse_transcoder(cfg, CFG)
    return cfg, named_tensors(read_safetensors(folder / WEIGHTS, "weights")[0], WEIGHTS, cfg)


def _refuse_transcoder(cfg: Mapping[str, Any], source: str) -> None:
    """Refuse what reads at one place and writes at another: as an SAE its features would steer where they only read."""
    said = metadata_of(cfg)
    out = said.get("hook_name_out") or said.get("hf_hook_name_out")
    if (out and out != (said.get("hook_name") or said.get("hf_hook_name"))) or said.get("is_transcoder") is True:
        raise ValueError(
            f"{source} is of a transcoder, which reads {shown(said.get('hook_name'))} and writes at {shown(out)}, "
            "so it is "
            "no SAE; load it with sae_lens and pass the object to sw.SAE.from_sae_lens(…)."
        )


def read_npz(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Gemma Scope's params.npz (Lieberum et al. 2024), as the cfg and tensors of a JumpReLU SAE of sae_lens.

    The file does not say where the SAE reads; release and layer in its path do, as they stand in Hugging Face's cache.

    Raises:
        ValueError: the file is damaged, lacks a tensor, or holds more than plain arrays.
    """
    tensors = load_npz(path)
    if _TRANSCODERS.search(str(path.resolve().parent)):
        raise ValueError(
            f"{path.name} in {path.parent.name!r} is of a Gemma Scope transcoder, which reads mlp_in and writes "
            "at mlp_out, "
            "so it is no SAE; load it with sae_lens.SAE.from_pretrained and pass the object to sw.SAE.from_sae_lens(…)."
        )
    cfg: dict[str, Any] = {"architecture": "jumprelu", "apply_b_dec_to_input": False}
    folder = str(path.resolve().parent) + "/"
    where = re.search(r"gemma-scope-(\w+)-(pt|it)-(res|mlp|att)\b.*[/\\]layer_(\d+)[/\\]", folder)
    if where is not None:
        size, tuned, stream, layer = where.groups()
        cfg["metadata"] = {
            "hook_name": Site(int(layer), _GEMMA_SCOPE[stream]).hook_name,
            "model_name": f"google/gemma-2-{size}" + ("-it" if tuned == "it" else ""),
        }
    return cfg, named_tensors(tensors, path.name, cfg)


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
    wanted += ["threshold"] if _architecture(cfg) == "jumprelu" else []
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
    if "topk_threshold" in tensors and _architecture(cfg) == "jumprelu" and "b_enc" in tensors:
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


def write_folder(
    codec: DenseCodec,
    site: Site,
    labels: Sequence[str],
    model: str | None,
    folder: Path,
    statistics: FeatureStatistics | None = None,
) -> None:
    """Write an SAE as sae_lens 6 does, so that either reads it; labels and statistics go into files of their own.

    Such files of an SAE that stood there before are taken away: they would be read as this one's.
    """
    from safetensors.torch import save_file

    made_folder(folder)
    tensors = {name: tensor.contiguous().cpu() for name, tensor in codec.tensors().items()}
    settings = codec.settings()
    activation, is_centred_input = settings.pop("activation"), settings.pop("center_input")
    metadata = {
        "sae_lens_version": _FORMAT_VERSION,
        "hook_name": site.hook_name,
        "model_name": model,
        "model_from_pretrained_kwargs": {"center_writing_weights": True} if is_centred_input else {},
    }
    cfg = settings | {
        "architecture": next(name for name, function in _ACTIVATION_OF.items() if function == activation),
        "d_in": codec.d_in,
        "d_sae": codec.size,
        "dtype": str(codec.W_enc.dtype).removeprefix("torch."),
        "device": "cpu",
        "reshape_activations": "hook_z" if site.stream == "attn_z" else "none",
        "metadata": metadata,
    }
    # All of them are written before one takes its place, so that no folder has the settings of one and weights of
    # another.
    with atomically(folder / WEIGHTS) as weights, atomically(folder / CFG) as settings_file:
        save_file(tensors, weights)
        settings_file.write_text(json.dumps(cfg, indent=2), encoding="utf-8")
        if labels:
            write_text(folder / LABELS, json.dumps(list(labels), ensure_ascii=False))
        if statistics is not None:
            statistics.save(folder / STATISTICS)
    for name, is_known in ((LABELS, bool(labels)), (STATISTICS, statistics is not None)):
        if not is_known:
            remove_file(folder / name)


def _architecture(cfg: Mapping[str, Any]) -> str:
    topk = (cfg.get("activation_fn") or cfg.get("activation_fn_str")) == "topk"
    said = str(cfg.get("architecture") or "standard")
    return "topk" if topk else "jumprelu" if said in _IN_TRAINING else said


def _not_native(architecture: str) -> str:
    if architecture in _OTHER_ARCHITECTURES or "transcoder" in architecture:
        return (
            f"The architecture {architecture!r} is computed by sae_lens itself: load it with sae_lens.SAE and pass the "
            "object to sw.SAE.from_sae_lens(…), or use sw.SAE.from_pretrained."
        )
    known = ", ".join((*_ACTIVATION_OF, *_OTHER_ARCHITECTURES))
    return f"The SAE architecture {shown(architecture)} is unknown; {known} and transcoders are known."
