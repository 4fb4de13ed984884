"""Gemma Scope's files: SAEs and transcoders of Gemma 2 (params.npz) and of Gemma 3, cross-layer ones too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dictionaries.sae.cfg import named_tensors
from steerwidgets.files.containers import read_npz as load_npz
from steerwidgets.files.containers import read_safetensors
from steerwidgets.files.fields import Fields
from steerwidgets.files.json_text import read_json
from steerwidgets.files.shown import named, shown
from steerwidgets.files.tensors import dense
from steerwidgets.transformer.sites import Site, Stream

if TYPE_CHECKING:
    from torch import Tensor

Read = tuple[dict[str, Any], dict[str, "Tensor"]]
"""A cfg as sae_lens would write it, and tensors under the names of `SAE`'s arguments."""

PARAMS: Final = "params.npz"
PARAMS_2: Final = "params.safetensors"
_CONFIG: Final = "config.json"

_STREAMS: Final[dict[str, Stream]] = {"res": "resid_post", "mlp": "mlp_out", "att": "attn_z"}
_STREAMS_2: Final[dict[str, Stream]] = {"resid_post": "resid_post", "mlp_out": "mlp_out", "attn_out": "attn_z"}
_TRANSCODERS: Final = re.compile(r"gemma-scope[-\w]*transcoder", re.IGNORECASE)
_CLT: Final = re.compile(r"params_layer_([0-9]{1,5})\.safetensors")
_CIRCUIT_TRACER: Final = re.compile(r"W_enc_([0-9]{1,5})\.safetensors")


def read_npz(path: Path) -> Read:
    """Gemma Scope's params.npz (Lieberum et al. 2024), as the cfg and tensors of a JumpReLU SAE or transcoder.

    The file does not say where it reads; release and layer in its path do, as they stand in Hugging Face's cache. A
    transcoder reads what the MLP gets before the norm's gain (sae_lens, `get_gemma_2_transcoder_config_from_hf`).

    Raises:
        ValueError: the file is damaged, lacks a tensor, or holds more than plain arrays.
    """
    tensors = load_npz(path)
    folder = str(path.resolve().parent) + "/"
    where = re.search(r"gemma-scope-(\w+)-(pt|it)-(res|mlp|att|transcoders)\b.*[/\\]layer_(\d+)[/\\]", folder)
    transcodes = _TRANSCODERS.search(folder) is not None
    cfg: dict[str, Any] = {
        "architecture": "jumprelu_transcoder" if transcodes else "jumprelu",
        "apply_b_dec_to_input": False,
    }
    if where is not None:
        size, tuned, what, layer = where.groups()
        stream: Stream = "mlp_normalized" if transcodes else _STREAMS[what]
        cfg["metadata"] = {
            "hook_name": Site(int(layer), stream).hook_name,
            "model_name": f"google/gemma-2-{size}" + ("-it" if tuned == "it" else ""),
        }
        cfg["metadata"] |= {"hook_name_out": Site(int(layer), "mlp_out").hook_name} if transcodes else {}
    return cfg, named_tensors(tensors, path.name, cfg)


def read_folder(folder: Path) -> Read:
    """Gemma Scope 2: config.json and params.safetensors of an SAE or a transcoder of Gemma 3.

    Where there is no config.json the path says what it is, as for `read_npz`.

    Raises:
        ValueError: a file is damaged, lacks a tensor, or says another architecture.
    """
    cfg = _cfg(folder, _folder_layer(folder))
    tensors = dict(read_safetensors(folder / PARAMS_2, "an SAE")[0])
    return cfg, _named(tensors, PARAMS_2, cfg)


def cross_layer_file(path: Path) -> Path | None:
    """The file of one block's features in a cross-layer transcoder (CLT) where a path is that; None elsewhere."""
    is_one = path.is_file() and (_CLT.fullmatch(path.name) or _CIRCUIT_TRACER.fullmatch(path.name))
    return path if is_one else None


def read_cross_layer(path: Path, output_layer: int | None) -> Read:
    """The features of one block of a cross-layer transcoder (Ameisen et al. 2025), with the decoder of one block.

    Such a feature writes at every block from its own on, with a decoder for each; `output_layer` chooses one, by
    default that of its own. Files: Gemma Scope 2's `params_layer_N.safetensors`, and circuit-tracer's
    `W_enc_N.safetensors` with `W_dec_N.safetensors`, whose decoders begin with block N's.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: it is damaged, lacks a tensor, or has no decoder for that block.
    """
    tensors = dict(read_safetensors(path, "a transcoder")[0])
    ours = _CLT.fullmatch(path.name)
    if ours is not None:
        layer, first = int(ours[1]), 0
        cfg = _cfg(path.parent, layer, is_cross_layer=True)
    else:
        layer = first = int(re.findall(r"\d+", path.name)[-1])
        decoder = path.with_name(path.name.replace("W_enc", "W_dec"))
        tensors |= read_safetensors(decoder, "decoders")[0]
        tensors = {name.removesuffix(f"_{layer}"): tensor for name, tensor in tensors.items()}
        if "W_enc" in tensors and tensors["W_enc"].ndim == 2:
            tensors["W_enc"] = tensors["W_enc"].T.contiguous()
        cfg = _circuit_tracer_cfg(path.parent, layer, has_threshold="threshold" in tensors)
    writes = layer if output_layer is None else output_layer
    name = next((name for name in ("w_dec", "W_dec") if name in tensors), None)
    if name is None:
        raise ValueError(f"{path.name} lacks W_dec; it holds {named(tensors)}.")
    decoders = dense(tensors[name], f"{name} in {path.name}")
    if decoders.ndim != 3 or not layer <= writes < first + decoders.shape[1]:
        last = f"{first + decoders.shape[1] - 1}" if decoders.ndim == 3 else "?"
        raise ValueError(
            f"{name} in {path.name} is [feature, block, d_model] with decoders for the blocks {layer} to {last}, but "
            f"output_layer={shown(writes)} was asked of one of shape {list(decoders.shape)}; choose one of them."
        )
    encoder = dense(tensors.get("w_enc", tensors.get("W_enc", decoders)), f"W_enc in {path.name}")
    if encoder.shape[:1] != decoders.shape[-1:]:
        raise ValueError(
            f"W_enc and {name} in {path.name} are of one d_model, but {shown(encoder)} and {shown(decoders)} were "
            "given; download them again."
        )
    tensors[name] = decoders[:, writes - first].contiguous()
    cfg["metadata"]["hook_name_out"] = Site(writes, "mlp_out").hook_name
    cfg["metadata"].pop("hf_hook_name_out", None)
    if writes != layer:
        # The bias in the file belongs to the output of its own block, and so does what skips the features.
        cfg["architecture"] = "jumprelu_transcoder" if "jumprelu" in cfg["architecture"] else "transcoder"
        tensors["b_dec"] = decoders.new_zeros(decoders.shape[-1])
    return cfg, _named(tensors, path.name, cfg)


def _named(tensors: dict[str, Tensor], source: str, cfg: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors as `SAE` takes them; the skip connection is kept [d_in, d_out] in the files."""
    skip = tensors.pop("affine_skip_connection", None)
    if skip is not None:
        tensors["W_skip"] = skip.T.contiguous() if skip.ndim == 2 else skip
    return named_tensors(tensors, source, cfg)


def _cfg(folder: Path, layer: int | None, *, is_cross_layer: bool = False) -> dict[str, Any]:
    """What config.json says, or the path where there is none, as a cfg of sae_lens."""
    path = folder / _CONFIG
    said = Fields(read_json(path) if path.is_file() else {}, f"In {_CONFIG}")
    if (architecture := said.text("architecture", "jump_relu")) != "jump_relu":
        raise ValueError(f"{_CONFIG} in {folder.name!r} says architecture={shown(architecture)}; jump_relu is known.")
    where = str(folder.resolve())
    reads, writes = said.text("hf_hook_point_in", None), said.text("hf_hook_point_out", None)
    transcodes = is_cross_layer or writes is not None or bool(re.search(r"transcoder|[/\\]clt\b", where))
    affine = said.flag("affine_connection", None)
    skips = transcodes and (affine if affine is not None else "affine" in folder.name)
    metadata: dict[str, Any] = {"model_name": _model(said, where)}
    metadata |= {} if reads is None or is_cross_layer else {"hf_hook_name": reads}
    if layer is not None and "hf_hook_name" not in metadata:
        metadata |= _place_by_path(where, layer, transcodes=transcodes)
    if transcodes and "hook_name_out" not in metadata:
        metadata |= {"hf_hook_name_out": writes} if writes is not None else {}
    kind = "jumprelu" + ("_skip" if skips else "") + ("_transcoder" if transcodes else "")
    return {"architecture": kind, "apply_b_dec_to_input": False, "metadata": metadata}


def _place_by_path(where: str, layer: int, *, transcodes: bool) -> dict[str, str]:
    if transcodes:
        return {"hook_name": Site(layer, "mlp_in").hook_name, "hook_name_out": Site(layer, "mlp_out").hook_name}
    stream = next((stream for name, stream in _STREAMS_2.items() if f"/{name}" in where.replace("\\", "/")), None)
    return {} if stream is None else {"hook_name": Site(layer, stream).hook_name}


def _folder_layer(folder: Path) -> int | None:
    found = re.search(r"layer_([0-9]{1,5})(?![0-9])", folder.name)
    return None if found is None else int(found[1])


def _model(said: Fields, where: str) -> str | None:
    """The model's name on Hugging Face, of what config.json or the path calls it."""
    found = re.search(r"gemma-scope-2-(\w+)-(pt|it)", where)
    name = said.text("model_name", None) or (f"gemma-3-{found[1]}-{found[2]}" if found else None)
    if name is None:
        return None
    name = name.replace("-v3", "-3")
    name = name.replace("-pt", "") if "270m" in name else name
    return name if "/" in name else f"google/{name}"


def _circuit_tracer_cfg(folder: Path, layer: int, *, has_threshold: bool) -> dict[str, Any]:
    """What config.yaml of a CLT of circuit-tracer says; lines of `name: value` are all that is needed of it."""
    path = folder / "config.yaml"
    text = path.read_text(encoding="utf-8", errors="replace")[:10_000] if path.is_file() else ""
    said = dict(re.findall(r"^(\w+):\s*[\"']?([^\s\"']+)", text, re.MULTILINE))
    return {
        "architecture": "jumprelu_transcoder" if has_threshold else "transcoder",
        "apply_b_dec_to_input": False,
        "metadata": {
            "model_name": said.get("model_name"),
            "hook_name": f"blocks.{layer}.{said.get('feature_input_hook', 'hook_resid_mid')}",
        },
    }
