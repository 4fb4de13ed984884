"""sae_lens' own SAE objects as dictionaries: those that are computed here, and those that compute themselves."""

from __future__ import annotations

import copy
import importlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steerwidgets.dictionaries.sae.cfg import named_tensors
from steerwidgets.dictionaries.sae.codec import NORMALISATIONS, Codec, normalised
from steerwidgets.dictionaries.sae.places import metadata_of
from steerwidgets.transformer.mistakes import wrong

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def sae_lens_module() -> Any:
    """The sae_lens package.

    Raises:
        ImportError: it is not installed, or does not import; the message says what to do.
    """
    try:
        return importlib.import_module("sae_lens")
    except ImportError as error:
        if error.name == "sae_lens":
            raise ImportError(
                "Pretrained SAEs come through sae_lens, which is not installed: pip install 'steerwidgets[sae]'."
            ) from None
        raise ImportError(
            f"sae_lens is installed but does not import ({error}): pip install -U 'steerwidgets[sae]'."
        ) from error


def pretrained(release: str, sae_id: str, dtype: str) -> tuple[Any, dict[str, str]]:
    """A pretrained SAE as sae_lens loads it, and where its files are.

    Raises:
        ImportError: sae_lens is missing.
        ValueError: there is no such release or id, or its weights do not load.
    """
    sae = sae_lens_module().SAE.from_pretrained(release, sae_id, device="cpu", dtype=dtype)
    found = {"release": release, "sae_id": sae_id}
    try:
        directory = importlib.import_module("sae_lens.loading.pretrained_saes_directory")
        # An id such as a canonical one is a pointer; repository and folder name the weights themselves.
        found["repository"], found["folder"] = map(str, directory.get_repo_id_and_folder_name(release, sae_id))
    except (ImportError, AttributeError, KeyError, ValueError):
        pass
    return sae, found


def cfg_of(sae: Any) -> dict[str, Any]:
    """The settings of a sae_lens object, as it would save them for inference.

    Raises:
        TypeError: it is no SAE of sae_lens.
    """
    if not hasattr(sae, "cfg") or not hasattr(sae, "state_dict") or not hasattr(sae.cfg, "to_dict"):
        meant = "load one by name with sw.SAE.from_pretrained(release, sae_id), or a folder with sw.SAE.load(path)"
        raise wrong("SAE.from_sae_lens", "an SAE of sae_lens", sae, meant)
    for_inference = getattr(sae.cfg, "get_inference_sae_cfg_dict", None)
    cfg = dict(for_inference() if for_inference is not None else sae.cfg.to_dict())
    metadata: Any = cfg.get("metadata")
    return cfg | {"metadata": metadata.to_dict() if hasattr(metadata, "to_dict") else dict(metadata or {})}


def tensors_of(sae: Any, cfg: dict[str, Any]) -> dict[str, Tensor]:
    """The weights of an SAE that is computed here, shared with the object; one in training as it would be saved."""
    state = {name: tensor.detach() for name, tensor in sae.state_dict().items()}
    convert = getattr(sae, "process_state_dict_for_saving_inference", None)
    if convert is not None:
        state = {name: tensor.clone() for name, tensor in state.items()}
        convert(state)
    return named_tensors(state, f"This {type(sae).__name__}", cfg)


def provenance_of(cfg: dict[str, Any]) -> dict[str, str]:
    """What a cfg says of where an SAE comes from."""
    metadata = metadata_of(cfg)
    names = {"model": "model_name", "hook": "hook_name", "neuronpedia": "neuronpedia_id", "corpus": "dataset_path"}
    return {name: str(metadata[key]) for name, key in names.items() if metadata.get(key)}


class SaeLensCodec(Codec):
    """An SAE that sae_lens computes: gated, abstopk, matching pursuit and temporal.

    The whole row is computed, in the object's own dtype and where it lives. The object itself is never changed: the
    statistics that sae_lens keeps on it between encode and decode are kept on a shallow copy, behind a lock.

    Args:
        sae: the object.
        center_input: whether the input's mean over d_model is taken out first.

    Raises:
        ValueError: its input has to be normalised in a way that is not folded into its weights.
    """

    def __init__(self, sae: Any, *, center_input: bool) -> None:
        self.architecture = str(sae.cfg.architecture())
        self.normalisation = getattr(sae.cfg, "normalize_activations", None) or "none"
        if self.normalisation not in NORMALISATIONS and self.architecture != "temporal":
            raise ValueError(
                f"This SAE needs {self.normalisation!r} of its input; fold it into the weights first, as with "
                "sae.fold_activation_norm_scaling_factor(…)."
            )
        self._sae = copy.copy(sae)
        self._sae.turn_off_forward_pass_hook_z_reshaping()
        self._sae._setup_activation_normalization()  # noqa: SLF001 - the closures of the copy keep their state on it
        self._lock = threading.Lock()
        self._center = center_input
        self.d_in, self.size = int(sae.cfg.d_in), int(sae.cfg.d_sae)
        self.d_out = int(getattr(sae.cfg, "d_out", sae.cfg.d_in))

    def __reduce__(self) -> tuple[Any, ...]:
        """As class, settings and weights: the object itself holds functions of its own, which go nowhere."""
        return _again, (type(self._sae), self._sae.cfg, self._sae.state_dict(), self._center)

    @property
    def why_read_only(self) -> str:
        """Why its features can't steer; empty where they can."""
        if self.architecture == "temporal":
            return "it belongs to a temporal SAE, whose activations depend on the whole text before them"
        return ""

    def encode(self, h: Tensor) -> Tensor:
        """Every activation, float32 [..., size]; a temporal SAE takes whole texts, [..., position, d_in]."""
        import torch

        x = self._centred(h)
        with self._lock, torch.no_grad():
            a = self._sae.encode(self._as_batch(x))
        a = a.to_dense() if a.is_sparse else a
        row: Tensor = a.reshape(*h.shape[:-1], self.size).to(h.device, torch.float32)
        return row

    def some(self, h: Tensor, indices: Sequence[int]) -> Tensor:
        """Some activations, float32 [..., feature], out of the whole row."""
        return self.encode(h)[..., list(indices)]

    def reader(self, index: int, device: torch.device) -> Callable[[Tensor], Tensor]:  # noqa: ARG002
        """Reads one activation out of the whole row."""
        return lambda h: self.encode(h)[..., index]

    def decode(self, activations: Tensor, h: Tensor | None) -> Tensor:
        """The reconstruction, float32 [..., d_out].

        Raises:
            ValueError: `h` is needed for a normalisation and not given.
        """
        import torch

        if h is None and (self._center or self.normalisation != "none"):
            raise ValueError("This SAE's output depends on its input, so decode needs it too: sae.decode(a, h).")
        a = activations.to(self._sae.W_dec.device, self._sae.dtype)
        with self._lock, torch.no_grad():
            if h is not None:
                self._sae.process_sae_in(self._as_batch(self._centred(h)))
            y = self._sae.decode(self._as_batch(a))
        output: Tensor = y.reshape(*activations.shape[:-1], self.d_out).to(activations.device, torch.float32)
        if h is None:
            return output
        return output + h.float().mean(dim=-1, keepdim=True) if self._center else output

    def decoder_row(self, index: int) -> Tensor:
        """`W_dec[index]`, float32 [d_out]."""
        row: Tensor = self._sae.W_dec[index].detach().float()
        return row

    def unit_step(self, index: int) -> Tensor:
        """`W_dec[index]`; of unit length where activations are rescaled by the decoder's norm."""
        row = self.decoder_row(index)
        return row / row.norm() if getattr(self._sae.cfg, "rescale_acts_by_decoder_norm", False) else row

    def scale(self, h: Tensor) -> Tensor | None:
        """The input's own scale, as for `DenseCodec`."""
        if self.normalisation == "none":
            return None
        return normalised(h.float(), self.normalisation, center=self._center).scale

    def weights(self) -> Iterable[Tensor]:
        """The object's tensors, by name."""
        import torch

        for _, tensor in sorted(self._sae.state_dict().items()):
            yield from torch.split(tensor, 1024) if tensor.ndim == 2 else (tensor,)

    def settings(self) -> dict[str, Any]:
        """Architecture, normalisation and the like, as the object's cfg has them."""
        cfg = {name: value for name, value in cfg_of(self._sae).items() if name not in ("metadata", "device", "dtype")}
        return {name: str(value) for name, value in cfg.items()} | {"center_input": str(self._center)}

    def _centred(self, h: Tensor) -> Tensor:
        x = h.float()
        return x - x.mean(dim=-1, keepdim=True) if self._center else x

    def _as_batch(self, x: Tensor) -> Tensor:
        """On the object's device; [batch, position, width] where a text is read as a whole."""
        x = x.to(self._sae.W_dec.device)
        if self.architecture != "temporal":
            return x
        return x.reshape(-1, *x.shape[-2:]) if x.ndim > 1 else x[None, None]


def _again(kind: type[Any], cfg: Any, state: Mapping[str, Tensor], center_input: bool) -> SaeLensCodec:
    sae = kind(cfg)
    sae.load_state_dict(state)
    return SaeLensCodec(sae, center_input=center_input)
