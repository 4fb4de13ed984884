"""SAEs in the files of other libraries: sparsify, dictionary_learning, Llama Scope, and plain tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dictionaries.sae.cfg import CFG, named_tensors
from steerwidgets.dictionaries.sae.places import stream_of_module
from steerwidgets.files.containers import load_plain, read_safetensors, tensors_of
from steerwidgets.files.fields import NEEDED, Fields
from steerwidgets.files.json_text import read_json
from steerwidgets.files.shown import named, shown
from steerwidgets.files.tensors import dense
from steerwidgets.transformer.sites import STREAMS, Site, Stream

if TYPE_CHECKING:
    from torch import Tensor

Read = tuple[dict[str, Any], dict[str, "Tensor"]]
"""A cfg as sae_lens would write it, and tensors under the names of `SAE`'s arguments."""

SPARSIFY: Final = "sae.safetensors"
AE: Final = "ae.pt"
CONFIG: Final = "config.json"
LLAMA_SCOPE: Final = "hyperparams.json"

_MOST: Final = 2**31
_LINEAR: Final = {
    "encoder.weight": "W_enc",
    "encoder.bias": "b_enc",
    "decoder.weight": "W_dec",
    "decoder.bias": "b_dec",
}
_SAE_LENS: Final = "load it with sae_lens.SAE.from_pretrained and pass the object to sw.SAE.from_sae_lens(…)"
_DICTIONARIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "AutoEncoder": {"architecture": "standard", "fold_decoder_norm": True},
    "AutoEncoderNew": {"architecture": "standard", "apply_b_dec_to_input": False},
    "AutoEncoderTopK": {"architecture": "topk"},
    "BatchTopKSAE": {"architecture": "jumprelu"},
    "MatryoshkaBatchTopKSAE": {"architecture": "jumprelu"},
    "JumpReluAutoEncoder": {"architecture": "jumprelu", "apply_b_dec_to_input": False},
}
"""The classes of dictionary_learning (`dictionary.py`, `trainers/`); it reads AutoEncoder with decoder norms folded."""


def read_sparsify(folder: Path) -> Read:
    """A sparse coder of EleutherAI's sparsify (`sparse_coder.py`): cfg.json and sae.safetensors.

    Which stream it reads is the folder's name, a module of the model; a transcoder reads that module's input.

    Raises:
        FileNotFoundError: there is no cfg.json.
        ValueError: a file is damaged, or says what is not computed here.
    """
    said = Fields(read_json(folder / CFG), f"In {CFG} of {folder.name}")
    if said.flag("signed", False) or said.text("activation", "topk") != "topk":
        raise ValueError(
            f"{CFG} of {folder.name} says activation={shown(said.text('activation', 'topk'))} and "
            f"signed={said.flag('signed', False)}; of sparsify's coders, those with TopK of what is above 0 are read."
        )
    transcodes, skips = said.flag("transcode", False), said.flag("skip_connection", False)
    d_in, latents = said.whole("d_in", low=1, high=_MOST), said.whole("num_latents", 0, low=0, high=_MOST)
    cfg: dict[str, Any] = {
        "architecture": "topk" + ("_skip" if skips else "") + ("_transcoder" if transcodes else ""),
        "k": said.whole("k", low=1, high=_MOST),
        "apply_b_dec_to_input": not transcodes,
        "d_in": d_in,
        "d_sae": latents or d_in * said.whole("expansion_factor", low=1, high=_MOST),
        "metadata": _sparsify_place(folder, transcodes=transcodes),
    }
    if skips and not transcodes:
        raise ValueError(
            f"{CFG} of {folder.name} says skip_connection and not transcode: as an SAE it explains nothing."
        )
    tensors = _renamed(read_safetensors(folder / SPARSIFY, "a sparse coder")[0])
    if "W_enc" in tensors and tensors["W_enc"].ndim == 2:
        # Turned round as it lies: a copy would be in memory, where the file itself is mapped.
        tensors["W_enc"] = tensors["W_enc"].T
    return cfg, named_tensors(tensors, SPARSIFY, cfg)


def _sparsify_place(folder: Path, *, transcodes: bool) -> dict[str, Any]:
    """What the folder's name says of the place, and config.json beside the folder of the model."""
    run = folder.parent / CONFIG
    model = Fields(read_json(run), f"In {CONFIG}").text("model", "") if run.is_file() else ""
    place: dict[str, Any] = {"model_name": model or None}
    match = re.fullmatch(r"(?:[\w.]+\.)?(?:layers|h)[._]([0-9]{1,5})(?:\.([\w.]+))?", folder.name)
    if match is None:
        return place
    layer, module = int(match[1]), match[2] or ""
    written, read = (stream_of_module(f"{module}{end}", model) for end in ("", ".input" if module else "input"))
    if transcodes:
        return place if None in (read, written) else place | _hooks(layer, read, written)
    return place | _hooks(layer, written)


def _hooks(layer: int, stream: Stream | None, output: Stream | None = None) -> dict[str, str]:
    """The fields of a cfg that say where an SAE reads, and where a transcoder writes."""
    reads = {} if stream is None else {"hook_name": Site(layer, stream).hook_name}
    return reads | ({} if output is None else {"hook_name_out": Site(layer, output).hook_name})


def read_dictionary_learning(folder: Path) -> Read:
    """A dictionary of dictionary_learning (Marks et al.): `ae.pt`, its tensors alone, and `config.json`.

    Raises:
        ValueError: a file is damaged or could run code, or the class is not computed here.
    """
    tensors = tensors_of(load_plain(folder / AE, "a state_dict"), folder / AE)
    if not (folder / CONFIG).is_file():
        return _by_its_tensors(tensors, folder / AE, {})
    trainer = Fields(read_json(folder / CONFIG), f"In {CONFIG}").inner("trainer", NEEDED)
    name = trainer.text("dict_class")
    if name not in _DICTIONARIES:
        known = ", ".join(_DICTIONARIES)
        raise ValueError(f"{CONFIG} says dict_class={shown(name)}; {known} are read here. For others, {_SAE_LENS}.")
    cfg: dict[str, Any] = dict(_DICTIONARIES[name])
    k = trainer.whole("k", None, low=1, high=_MOST)
    cfg |= {"k": k} if k is not None and cfg["architecture"] == "topk" else {}
    place: dict[str, Any] = {"model_name": trainer.text("lm_name", None)}
    layer, module = trainer.whole("layer", None, low=0, high=_MOST), trainer.text("submodule_name", None)
    stream = next((stream for stream in STREAMS if module and module.startswith(stream)), None)
    if layer is not None and (module is None or stream is not None):
        place |= _hooks(layer, stream or "resid_post")
    cfg["metadata"] = place
    return cfg, _of_dictionary(tensors, AE, cfg)


def _of_dictionary(tensors: Mapping[str, Tensor], source: str, cfg: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors of a state_dict of dictionary_learning, matrices of `Linear` turned round."""
    found = _renamed(tensors)
    for theirs, ours in (("encoder.weight", "W_enc"), ("decoder.weight", "W_dec")):
        if theirs in tensors:
            found[ours] = _turned(tensors[theirs])
    if "bias" in found:  # AutoEncoder keeps one bias, of the decoder
        found.setdefault("b_dec", found["bias"])
    if cfg["architecture"] == "topk":
        cfg["k"] = cfg.get("k") or _whole(found, "k", source)
    if cfg["architecture"] == "jumprelu" and "threshold" in found and "b_enc" in found:
        found["threshold"] = _for_each(found["threshold"], found["b_enc"], source)
    return named_tensors(found, source, cfg)


def read_llama_scope(folder: Path) -> Read:
    """An SAE or transcoder of Llama Scope (He et al. 2024): hyperparams.json and checkpoints/final.safetensors.

    Inputs are multiplied by √d over their average norm in the corpus, and outputs divided by theirs, which is folded
    into the weights here. The threshold is multiplied likewise, as sae_lens does, whose values Neuronpedia shows
    (`pretrained_sae_loaders.py`, `get_llama_scope_config_from_hf`).

    Raises:
        FileNotFoundError: there are no weights.
        ValueError: a file is damaged, or says what is not computed here.
    """
    said = Fields(read_json(folder / LLAMA_SCOPE), f"In {LLAMA_SCOPE}")
    if said.text("act_fn", "jumprelu") != "jumprelu" or said.flag("use_glu_encoder", False):
        raise ValueError(
            f"{LLAMA_SCOPE} says act_fn={shown(said.text('act_fn', 'jumprelu'))}; of Llama Scope, SAEs with jumprelu "
            "and without a GLU encoder are read."
        )
    norms = said.inner("dataset_average_activation_norm", NEEDED)
    d_in = said.whole("d_model", low=1, high=_MOST)
    factor = {name: d_in**0.5 / norms.number(name, low=1e-12) for name in ("in", "out")}
    reads, writes = said.text("hook_point_in", None), said.text("hook_point_out", None)
    transcodes = reads != writes
    cfg: dict[str, Any] = {
        "architecture": "jumprelu_transcoder" if transcodes else "jumprelu",
        "apply_b_dec_to_input": said.flag("apply_decoder_bias_to_pre_encoder", False),
        "d_in": d_in,
        "d_sae": said.whole("d_sae", None, low=1, high=_MOST),
        "metadata": {"hook_name": reads, "model_name": "meta-llama/Llama-3.1-8B"},
    }
    cfg["metadata"] |= {"hook_name_out": writes} if transcodes else {}
    found = read_safetensors(folder / "checkpoints" / "final.safetensors", "an SAE")[0]
    tensors = {
        ours: dense(_turned(found[theirs]) if ours.startswith("W") else found[theirs], f"{theirs} of {folder.name}")
        for theirs, ours in _LINEAR.items()
        if theirs in found
    }
    for name, scale in (("W_enc", factor["in"]), ("W_dec", 1 / factor["out"]), ("b_dec", 1 / factor["out"])):
        if name in tensors:
            tensors[name] = tensors[name].float() * scale
    if "b_enc" in tensors:
        threshold = said.number("jump_relu_threshold") * factor["in"]
        tensors["threshold"] = tensors["b_enc"].float().new_full(tensors["b_enc"].shape, threshold)
    return cfg, named_tensors(tensors, "final.safetensors", cfg)


def read_pt(path: Path) -> Read:
    """A `.pt` file of plain tensors: Qwen Scope's by its path, others by which tensors there are.

    Raises:
        ValueError: it is damaged or could run code, or does not say how it is computed.
    """
    tensors = tensors_of(load_plain(path, "a state_dict of tensors"), path)
    scope = re.search(r"SAE-Res-([\w.\-]+?)-W\d+K-L0_(\d{1,6})\b", str(path.resolve().parent))
    layer = re.fullmatch(r"layer(\d{1,5})\.sae\.pt", path.name)
    if scope is None or layer is None:
        return _by_its_tensors(tensors, path, {})
    hooks = _hooks(int(layer[1]), "resid_post")
    said = {"architecture": "topk", "k": int(scope[2]), "apply_b_dec_to_input": False}
    return _by_its_tensors(tensors, path, said | {"metadata": hooks | {"model_name": f"Qwen/{scope[1]}"}})


def _by_its_tensors(tensors: Mapping[str, Tensor], path: Path, cfg: dict[str, Any]) -> Read:
    """What the tensors alone tell: an SAE of ReLU, of JumpReLU where there is a threshold, of TopK where there is a k.

    Matrices under the names of `Linear` are dictionary_learning's; the others stand as sae_lens has them, or turned
    round, which the biases tell.
    """
    if "encoder.weight" in tensors and "k" in tensors and "threshold" in tensors and not cfg:
        raise ValueError(
            f"{path.name} holds k and threshold, as both TopK and BatchTopK of dictionary_learning do; put its "
            f"{CONFIG} beside it, which says which it is."
        )
    if not cfg:
        cfg = {"architecture": "jumprelu" if "threshold" in tensors else "topk" if "k" in tensors else "standard"}
        if "encoder.weight" in tensors and "decoder.bias" in tensors:
            cfg["apply_b_dec_to_input"] = False
        elif "encoder.weight" not in tensors and _moves(tensors, path.name):
            raise ValueError(
                f"{path.name} holds tensors alone, which do not say whether b_dec is taken off the input; make the SAE "
                "of them, as sw.SAE(**torch.load(path), apply_b_dec_to_input=…, layer=…)."
            )
    found = dict(tensors)
    if "W_enc" in found and "W_dec" in found and "b_enc" in found and found["b_enc"].ndim == 1:
        size = len(found["b_enc"])
        for name, axis in (("W_enc", 1), ("W_dec", 0)):
            shape = list(found[name].shape)
            if len(shape) == 2 and shape[axis] != size and shape[1 - axis] == size:
                found[name] = _turned(found[name])
    return cfg, _of_dictionary(found, path.name, cfg)


def _moves(tensors: Mapping[str, Tensor], source: str) -> bool:
    """Whether it matters where b_dec is taken off."""
    return "b_dec" in tensors and bool(dense(tensors["b_dec"], f"b_dec in {source}").any())


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {_LINEAR.get(name, name): tensor for name, tensor in tensors.items()}


def _turned(matrix: Tensor) -> Tensor:
    """A matrix of `Linear` [out, in] as [in, out]; what is no matrix stays, and is refused where shapes are checked."""
    return matrix.T.contiguous() if matrix.ndim == 2 and not matrix.is_sparse else matrix


def _whole(tensors: Mapping[str, Tensor], name: str, source: str) -> int:
    """A whole number that is kept as a tensor."""
    if name not in tensors:
        raise ValueError(f"{source} lacks {name}; it holds {named(tensors)}.")
    value = tensors[name]
    if value.numel() != 1 or value.is_complex() or value.is_floating_point() or str(value.layout) != "torch.strided":
        raise ValueError(f"{name} in {source} is one whole number, but {shown(value)} was given; save it again.")
    return int(value)


def _for_each(threshold: Tensor, of_features: Tensor, source: str) -> Tensor:
    """A threshold for every feature, of one for all."""
    value = dense(threshold, f"threshold in {source}")
    return value.reshape(1).expand(len(of_features)).clone() if value.numel() == 1 and of_features.ndim == 1 else value
