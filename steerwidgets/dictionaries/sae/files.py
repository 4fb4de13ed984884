"""The files of sparse autoencoders and transcoders: which reader a path is for, and sae_lens' folders."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dictionaries.sae import gemma_scope, others
from steerwidgets.dictionaries.sae.cfg import (
    CFG,
    architecture_of,
    named_tensors,
    read_cfg,
    refuse_hidden_transcoder,
)
from steerwidgets.dictionaries.statistics import FILE as STATISTICS
from steerwidgets.files.atomic import atomically, made_folder, remove_file, write_text
from steerwidgets.files.containers import read_safetensors
from steerwidgets.transformer.sites import Site

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.dictionaries.sae.codec import DenseCodec
    from steerwidgets.dictionaries.statistics import FeatureStatistics

WEIGHTS: Final = "sae_weights.safetensors"
LABELS: Final = "labels.json"
SCALER: Final = "activation_scaler.json"

PICKLES: Final = (".pt", ".pth", ".bin", ".pkl", ".ckpt")
_FORMAT_VERSION: Final = "6.0.0"
"""The version of sae_lens whose cfg.json we write."""


def read(path: Path, output_layer: int | None = None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The cfg of sae_lens, or one as it would be, and the tensors of a folder or a file of any format.

    Args:
        path: the folder, or one of its files.
        output_layer: the block whose decoder is meant, for a cross-layer transcoder, which has one for each.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file could run code, is damaged, or lacks something.
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no SAE at {str(path)!r}.")
    folder = path if path.is_dir() else path.parent
    if (decoder := gemma_scope.cross_layer_file(path)) is not None:
        return gemma_scope.read_cross_layer(decoder, output_layer)
    if output_layer is not None:
        raise ValueError(
            f"output_layer= chooses among the decoders of a cross-layer transcoder, and {path.name} is none."
        )
    if path.suffix in PICKLES and path.name != others.AE:
        return others.read_pt(path)
    if path.suffix == ".npz":
        return gemma_scope.read_npz(path)
    for name, reader in _BY_FILE.items():
        if (folder / name).is_file() and (path.is_dir() or path.name in (name, CFG, others.CONFIG)):
            return reader(folder)
    return read_folder(folder)


def read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The cfg and the tensors of an SAE that sae_lens saved.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: one of them is damaged or lacks something.
    """
    for name in (CFG, WEIGHTS):
        if not (folder / name).is_file():
            elsewhere = ", ".join(name for name in _BY_FILE if name != WEIGHTS)
            raise FileNotFoundError(
                f"An SAE folder holds {CFG} and {WEIGHTS}, but {str(folder)!r} has no {name}; folders of other formats "
                f"hold one of {elsewhere}."
            )
    cfg = read_cfg(folder / CFG)
    refuse_hidden_transcoder(cfg, CFG)
    return cfg, named_tensors(read_safetensors(folder / WEIGHTS, "weights")[0], WEIGHTS, cfg)


_BY_FILE: Final[Mapping[str, Callable[[Path], tuple[dict[str, Any], dict[str, Tensor]]]]] = {
    WEIGHTS: read_folder,
    others.SPARSIFY: others.read_sparsify,
    others.AE: others.read_dictionary_learning,
    others.LLAMA_SCOPE: others.read_llama_scope,
    gemma_scope.PARAMS_2: gemma_scope.read_folder,
    gemma_scope.PARAMS: lambda folder: gemma_scope.read_npz(folder / gemma_scope.PARAMS),
}
"""What reads a folder, by the file that tells its format."""


def write_folder(
    codec: DenseCodec,
    site: Site,
    output_site: Site | None,
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
    transcodes = settings.pop("transcodes", False)
    metadata = {
        "sae_lens_version": _FORMAT_VERSION,
        "hook_name": site.hook_name,
        "model_name": model,
        "model_from_pretrained_kwargs": {"center_writing_weights": True} if is_centred_input else {},
    }
    metadata |= {} if output_site is None else {"hook_name_out": output_site.hook_name}
    cfg = settings | {
        "architecture": architecture_of(activation, transcodes=transcodes, skips=codec.W_skip is not None),
        "d_in": codec.d_in,
        "d_sae": codec.size,
        **({"d_out": codec.d_out} if transcodes else {}),
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
