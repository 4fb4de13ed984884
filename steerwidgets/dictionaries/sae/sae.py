"""Sparse autoencoders: dictionaries of features that are read sparsely and steered by overwriting a latent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypedDict, Unpack

from steerwidgets import demo
from steerwidgets.dictionaries.base import Dictionary, call, refuse_path
from steerwidgets.dictionaries.effects import KnownEffects
from steerwidgets.dictionaries.evidence import FeatureData
from steerwidgets.dictionaries.names import LabelsLike
from steerwidgets.dictionaries.sae import files as sae_formats
from steerwidgets.dictionaries.sae import sae_lens as sae_bridge
from steerwidgets.dictionaries.sae.cfg import is_native, is_transcoder, refuse_other_sizes, saved_factor, settings_of
from steerwidgets.dictionaries.sae.checks import checked_tensors, fold_decoder, fold_norm
from steerwidgets.dictionaries.sae.codec import Codec, DenseCodec
from steerwidgets.dictionaries.sae.feature import SAEFeature
from steerwidgets.dictionaries.sae.packed import read_packed, write_packed
from steerwidgets.dictionaries.sae.places import given_site, is_centred, output_site_of, place_of
from steerwidgets.dictionaries.statistics import FILE as STATISTICS
from steerwidgets.dictionaries.statistics import FeatureStatistics
from steerwidgets.files.fields import naming
from steerwidgets.files.json_text import read_json
from steerwidgets.labels.labels import Labels
from steerwidgets.transformer.mistakes import wrong
from steerwidgets.transformer.sites import Site, Stream

if TYPE_CHECKING:
    import torch
    from torch import Tensor


_DEMO: Final = Path(demo.__file__).parent
_SCORES: Final = {"detection": "auroc", "detection, hard": "auroc_hard", "texts": "texts"}
"""What `label_scores` calls the figures of the shipped labels: areas under the ROC curve over held-out texts."""


class PlaceSettings(TypedDict, total=False):
    """Where an SAE of sae_lens reads, and what its files do not say.

    Attributes:
        layer: the block, where the object does not say or says otherwise.
        stream: its stream, likewise.
        site: the place, instead of the two.
        center_input: whether the residual's mean is taken out first; by default as the object says.
        norm_scaling_factor: the factor of `expected_average_only_in`; 1 where it is folded already.
        fold_decoder_norm: whether activations are given in units of the decoder's norm, as Neuronpedia shows them.
    """

    layer: int | None
    stream: Stream | None
    site: Site | None
    center_input: bool | None
    norm_scaling_factor: float | None
    fold_decoder_norm: bool


class SAE(Dictionary):
    """A sparse autoencoder: `a = σ(W_encᵀ x + b_enc)`, `x̂ = W_decᵀ a + b_dec` (row vectors, as sae_lens stores them).

    Architectures: standard (Bricken et al. 2023), JumpReLU (Rajamanoharan et al. 2024), TopK (Gao et al. 2024), and
    BatchTopK and Matryoshka as they are saved, that is as JumpReLU (Bussmann et al. 2024 and 2025). Arithmetic is
    float32 whatever dtype the weights are kept in. They stay where they are given, unless `to` moves them; weights of a
    safetensors file stay there, mapped into memory, and are read from it as they are needed. A single feature of ReLU
    or JumpReLU needs its encoder's column and its decoder's row alone, which follow the model's block to its device.

    With `output_site` it is a transcoder (Dunefsky et al. 2024), which predicts one stream from another: its features
    are read where it reads and steer where it writes, `y = W_decᵀ a + b_dec (+ W_skip x)`.

    Args:
        W_enc: [d_model, feature].
        b_enc: [feature].
        W_dec: [feature, d_model]; of a transcoder, as wide as what it writes.
        b_dec: [d_model], likewise.
        activation: `relu`, `jumprelu`, `topk`; `batchtopk` stands for `jumprelu`, as which such SAEs are saved.
        threshold: [feature] or one number for all, for JumpReLU.
        k: how many features are active, for TopK.
        layer: the block, counted from 0; or give `site`.
        stream: the stream of that block, `resid_post` by default.
        site: the place, instead of `layer` and `stream`.
        apply_b_dec_to_input: whether `b_dec` is taken off the input (sae_lens does, Gemma Scope does not).
        normalize_activations: `none`, `constant_norm_rescale`, `layer_norm`, or `expected_average_only_in`, which is
            folded into the weights and needs `norm_scaling_factor`.
        norm_scaling_factor: the factor of `expected_average_only_in`; 1 where it is folded into the weights already.
        rescale_acts_by_decoder_norm: whether activations are in units of the decoder's norm.
        center_input: whether the residual's mean is taken out first; for SAEs that were trained on TransformerLens
            models with `center_writing_weights`, used on the Hugging Face model.
        fold_decoder_norm: whether rows of `W_dec` are made of length 1 and activations larger by as much, in which
            units Neuronpedia shows them (`fold_W_dec_norm` of sae_lens).
        output_site: where a transcoder writes; None for an SAE.
        W_skip: [d_out, d_model], what a transcoder with a skip connection adds of its input.
        labels: one for each feature, {label: index}, {index: label}, a file of them, or a `Labels`; see `LabelsLike`.
        max_activations: the largest activation of each feature, or {index: activation}.
        max_activation_of: the corpus of the maxima and its size.
        provenance: where it comes from.

    Raises:
        ValueError: shapes do not fit, a weight is not finite, or a setting is missing, unknown or contradicts another.

    Example:
        >>> W = torch.eye(32)
        >>> sae = sw.SAE(W, torch.zeros(32), W, torch.zeros(32), layer=1, labels={"the sea": 3})
        >>> sae["the sea"].clamp(8.0)
        'the sea'.clamp(8)
        >>> sae.encode(torch.randn(4, 32)).shape
        torch.Size([4, 32])
    """

    kind: ClassVar[str] = "SAE"
    adds_up: ClassVar[bool] = True
    suggested: Mapping[int, tuple[str, Mapping[str, float]]] = MappingProxyType({})
    """Ops and strengths that were seen to work, by feature."""

    def __init__(
        self,
        W_enc: Tensor,
        b_enc: Tensor,
        W_dec: Tensor,
        b_dec: Tensor,
        activation: str = "relu",
        *,
        threshold: Tensor | float | None = None,
        k: int | None = None,
        layer: int | None = None,
        stream: Stream | None = None,
        site: Site | None = None,
        apply_b_dec_to_input: bool = True,
        normalize_activations: str = "none",
        norm_scaling_factor: float | None = None,
        rescale_acts_by_decoder_norm: bool = False,
        center_input: bool = False,
        fold_decoder_norm: bool = False,
        output_site: Site | None = None,
        W_skip: Tensor | None = None,
        labels: LabelsLike | None = None,
        max_activations: Sequence[float | None] | Mapping[int, float] | None = None,
        max_activation_of: str | None = None,
        provenance: Mapping[str, str] | None = None,
    ) -> None:
        activation = "jumprelu" if activation == "batchtopk" else activation
        refuse_path(W_enc, "sw.SAE")
        if W_skip is not None and output_site is None:
            raise ValueError("W_skip= belongs to a transcoder; say where it writes with output_site=.")
        given: dict[str, Any] = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec}
        given |= {"threshold": threshold, "W_skip": W_skip}
        tensors = checked_tensors(given, activation, k, transcodes=output_site is not None)
        normalisation = fold_norm(tensors, normalize_activations, norm_scaling_factor, rescale_acts_by_decoder_norm)
        if fold_decoder_norm:
            fold_decoder(tensors, activation, rescaled=rescale_acts_by_decoder_norm)
            rescale_acts_by_decoder_norm = False
        codec = DenseCodec(
            tensors["W_enc"],
            tensors["b_enc"],
            tensors["W_dec"],
            tensors["b_dec"],
            activation=activation,
            threshold=tensors.get("threshold"),
            k=k or 0,
            apply_b_dec_to_input=apply_b_dec_to_input,
            normalisation=normalisation,
            rescale_by_decoder_norm=rescale_acts_by_decoder_norm,
            center_input=center_input,
            transcodes=output_site is not None,
            W_skip=tensors.get("W_skip"),
        )
        place = given_site(site, layer, stream)
        self._set_up(codec, place, labels, provenance, center_input=center_input, output_site=output_site)
        self.statistics = FeatureStatistics.of_maxima(max_activations, self.size, max_activation_of)
        self.activation = activation

    def _set_up(
        self,
        codec: Codec,
        site: Site,
        labels: LabelsLike | None,
        provenance: Mapping[str, str] | None,
        *,
        center_input: bool,
        output_site: Site | None = None,
    ) -> None:
        self._codec, self.site, self.center_input = codec, site, center_input
        self.provenance = dict(provenance or {})
        self._output_site = output_site
        self._read_only = codec.why_read_only if isinstance(codec, sae_bridge.SaeLensCodec) else ""
        self.activation = codec.architecture if isinstance(codec, sae_bridge.SaeLensCodec) else ""
        self.labels = labels

    @property
    def size(self) -> int:
        """How many features there are."""
        return self._codec.size

    @property
    def d_model(self) -> int:
        """The width of the site."""
        return self._codec.d_in

    @property
    def writes_at(self) -> Site:
        """Where its features write: of a transcoder, another site than the one it reads."""
        return self._output_site or self.site

    def vector(self, index: int) -> Tensor:
        """`W_dec[index]`, not normalised.

        Args:
            index: the feature.

        Returns:
            float32 [d_model]: what one unit of activation adds to the residual.

        Example:
            >>> sae.vector(3).shape
            torch.Size([32])
        """
        return self._codec.decoder_row(index)

    def directions(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Some rows of `W_dec`.

        Args:
            start: the first feature.
            stop: the one after the last; by default all the rest.

        Returns:
            float32 [feature, d_model].

        Example:
            >>> sae.directions(0, 10).shape
            torch.Size([10, 32])
        """
        return self._codec.decoder_rows(start, self.size if stop is None else min(stop, self.size))

    def feature(self, index: int) -> SAEFeature:
        """The feature at an index.

        Args:
            index: the feature, which is known to exist; `sae[…]` checks, and takes labels too.

        Returns:
            The feature.

        Example:
            >>> sae.feature(3)
            <SAE 'the sea' at block 1 resid_post>
        """
        return SAEFeature(
            **self._entry(index),
            suggested=self.suggested.get(index),
            codec=self._codec,
            why_read_only=self._read_only,
            output_site=self._output_site,
        )

    def encode(self, h: Tensor) -> Tensor:
        """Every activation of a residual, `σ(W_encᵀ x + b_enc)` as sae_lens computes it.

        Args:
            h: [..., d_model].

        Returns:
            float32 [..., size].

        Raises:
            ValueError: the residual has another width than the SAE.

        Example:
            >>> h = torch.randn(4, 32)  # the residuals of four tokens
            >>> sae.encode(h).shape
            torch.Size([4, 40])
        """
        self._codec.check_width(h)
        return self._codec.encode(h.float())

    def activations(self, h: Tensor, features: Sequence[int]) -> Tensor:
        """Some activations: one encoder column for each, or the whole row for TopK and others.

        Args:
            h: [..., d_model].
            features: indices.

        Returns:
            float32 [..., feature].

        Raises:
            ValueError: the residual has another width than the SAE.
            IndexError: there is no such feature.

        Example:
            >>> h = torch.randn(4, 32)
            >>> torch.allclose(sae.activations(h, [3, 5]), sae.encode(h)[:, [3, 5]], atol=1e-5)
            True
        """
        self._codec.check_width(h)
        return self._codec.some(h.float(), self.checked(features))

    def decode(self, activations: Tensor, h: Tensor | None = None) -> Tensor:
        """The reconstruction of a residual, `W_decᵀ a + b_dec`, put back in the input's scale where the SAE normalises.

        Args:
            activations: [..., size].
            h: [..., d_model], the residual that they come from; needed where the SAE normalises or centres its input.

        Returns:
            float32 [..., d_model], in units of the residual.

        Raises:
            ValueError: the SAE normalises or centres its input, and `h` is not given.

        Example:
            >>> h = torch.randn(4, 32)
            >>> sae.decode(sae.encode(h)).shape
            torch.Size([4, 32])
        """
        return self._codec.decode(activations, h)

    def reconstruct(self, h: Tensor) -> Tensor:
        """What the SAE makes of a residual: `decode(encode(h), h)`.

        Args:
            h: [..., d_model].

        Returns:
            float32 [..., d_model], in units of the residual.

        Raises:
            ValueError: it is a transcoder, whose output is no reconstruction of its input.

        Example:
            >>> sae.reconstruct(torch.randn(4, 32)).shape
            torch.Size([4, 32])
        """
        if self._output_site is not None:
            raise ValueError("A transcoder has no error term here: its output stands at another place than its input.")
        return self.decode(self.encode(h), h)

    def error(self, h: Tensor) -> Tensor:
        """What the SAE leaves unexplained of a residual: `h − reconstruct(h)`, the error term of sae_lens.

        Args:
            h: [..., d_model].

        Returns:
            float32 [..., d_model], in units of the residual.

        Raises:
            ValueError: it is a transcoder, whose output is no reconstruction of its input.

        Example:
            >>> h = torch.randn(4, 32)
            >>> torch.allclose(sae.reconstruct(h) + sae.error(h), h, atol=1e-5)
            True
        """
        return h.float() - self.reconstruct(h)

    def __repr__(self) -> str:
        if self._output_site is None:
            return super().__repr__()
        return f"<{self.kind} (transcoder) of {len(self)} features from {self.site} to {self._output_site}>"

    def weights(self) -> Iterable[Tensor]:
        """Its settings and tensors.

        Returns:
            Tensors of any shapes, the settings as bytes first.

        Example:
            >>> all(isinstance(each, torch.Tensor) for each in sae.weights())
            True
        """
        import torch

        told = self._codec.settings() | ({} if self._output_site is None else {"writes": str(self._output_site)})
        settings = json.dumps(told, sort_keys=True)
        yield torch.tensor(list(settings.encode()), dtype=torch.uint8)
        yield from self._codec.weights()

    def save(self, folder: str | Path) -> None:
        """Write a folder that sae_lens and `SAE.load` read: cfg.json and sae_weights.safetensors.

        What else is known goes beside them, into labels.json and statistics.safetensors; where nothing is, such files
        of an SAE that stood there before are taken away, since they would be read as this one's.

        Args:
            folder: the folder; it is made where there is none.

        Raises:
            ValueError: sae_lens computes this architecture itself; save the object with sae_lens.

        Example:
            >>> sae.save(folder / "sae")
            >>> sw.SAE.load(folder / "sae")["the sea"].index
            3
        """
        codec, place = self._dense("save"), (self.site, self._output_site)
        model = self.provenance.get("model")
        sae_formats.write_folder(codec, *place, self.labels, model, Path(folder), self.statistics)

    def export(self, folder: str | Path) -> None:
        """Write a folder that `sae_lens.SAE.load_from_disk` reads, and nothing beside its two files.

        Labels and statistics that `save` wrote there of another SAE are taken away.

        Args:
            folder: the folder; it is made where there is none.

        Raises:
            ValueError: sae_lens computes this architecture itself, or does not know it.

        Example:
            >>> sae.export(folder / "sae")
            >>> sorted(path.name for path in (folder / "sae").iterdir())
            ['cfg.json', 'sae_weights.safetensors']
        """
        codec, place = self._dense("export"), (self.site, self._output_site)
        if codec.transcodes and codec.activation == "topk":
            raise ValueError("sae_lens has no transcoders with TopK, so it can't read this one; save writes it for us.")
        sae_formats.write_folder(codec, *place, (), self.provenance.get("model"), Path(folder))

    def tensors(self) -> dict[str, Tensor]:
        """Weights, biases and thresholds under sae_lens' names: `W_enc` [d_model, feature], `W_dec` [feature, d_model].

        Returns:
            Tensors by name, in the dtype that they are kept in.

        Raises:
            ValueError: sae_lens computes this architecture itself.

        Example:
            >>> sae.tensors()["W_dec"].shape
            torch.Size([40, 32])
        """
        return self._dense("ask").tensors()

    def _move(self, device: torch.device | None, dtype: torch.dtype | None) -> None:
        self._dense("move").move(device, dtype)

    def _dense(self, verb: str) -> DenseCodec:
        if not isinstance(self._codec, DenseCodec):
            raise ValueError(f"sae_lens computes {self.activation!r} itself: {verb} the sae_lens object instead.")
        return self._codec

    @classmethod
    def demo(cls) -> SAE:
        """The SAE shipped for the embedded model, with labels and suggested strengths; see its `.provenance`.

        Returns:
            The SAE, with evidence of its features.

        Example:
            >>> sae = sw.SAE.demo()
            >>> sae.kind, sae.labels[1416] != ""
            ('SAE', True)
        """
        sae = cls.load_packed(_DEMO / "sae.safetensors")
        sae.feature_data = FeatureData.load(_DEMO / "sae_features.safetensors")
        said = read_json(_DEMO / "sae_labels.json")
        of_index = {int(index): entry for index, entry in said.items()}
        understood = {index: entry["label"] for index, entry in of_index.items() if entry["understood"]}
        sae.labels = Labels(understood, size=sae.size, source="steerwidgets", author="language model")
        sae.label_scores = {
            index: {name: float(entry[key]) for name, key in _SCORES.items() if entry.get(key) is not None}
            for index, entry in of_index.items()
            if index in understood
        }
        sae.suggested = {
            index: ("clamp", {"c": entry["steers"]["strength"]})
            for index, entry in of_index.items()
            if entry.get("steers")
        }
        if (_DEMO / "sae_effects.safetensors").exists():
            sae.effects = KnownEffects.load(_DEMO / "sae_effects.safetensors")
        sae.source_code = "sw.SAE.demo()"
        return sae

    @classmethod
    def load_packed(cls, path: str | Path) -> SAE:
        """Read a file that `save_packed` wrote; its matrices come back in float32.

        Args:
            path: the file.

        Returns:
            The SAE, a JumpReLU one.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, or not of that form.

        Example:
            >>> W = torch.eye(32)
            >>> small = sw.SAE(W, torch.zeros(32), W, torch.zeros(32), "jumprelu", threshold=0.1, layer=1)
            >>> small.save_packed(folder / "sae.safetensors")
            >>> sw.SAE.load_packed(folder / "sae.safetensors")
            <SAE of 32 features at block 1 resid_post>
        """
        arguments, statistics = read_packed(Path(path))
        sae = cls(**arguments)
        sae.statistics = statistics
        sae.source_code = call(f"sw.SAE.load_packed({str(path)!r}")
        return sae

    def save_packed(self, path: str | Path) -> None:
        """Write a JumpReLU SAE with decoder rows of length 1 into one file, its matrices in 8 bits.

        Weights come back off by half a 127th of each feature's largest one at most.

        Args:
            path: the file.

        Raises:
            ValueError: it is of another architecture, or a decoder row is not of length 1.

        Example:
            >>> W = torch.eye(32)
            >>> small = sw.SAE(W, torch.zeros(32), W, torch.zeros(32), "jumprelu", threshold=0.1, layer=1)
            >>> small.save_packed(folder / "sae.safetensors")
            >>> sw.SAE.load_packed(folder / "sae.safetensors").size
            32
        """
        said = {"layer": self.site.layer, "stream": self.site.stream, "provenance": dict(self.provenance)}
        write_packed(Path(path), self.tensors(), said, self.statistics)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        layer: int | None = None,
        stream: Stream | None = None,
        site: Site | None = None,
        labels: LabelsLike | None = None,
        dtype: torch.dtype | None = None,
        center_input: bool | None = None,
        norm_scaling_factor: float | None = None,
        fold_decoder_norm: bool | None = None,
        output_layer: int | None = None,
    ) -> SAE:
        """Read an SAE or a transcoder from a folder or a file of any format of the field.

        Folders of sae_lens, of a finished run or of a checkpoint; of EleutherAI's sparsify; of dictionary_learning
        (ae.pt beside config.json); Gemma Scope (params.npz), Gemma Scope 2 (params.safetensors) and Llama Scope
        (hyperparams.json); Qwen Scope's `.sae.pt` and `.pt` files of plain tensors; cross-layer transcoders of Gemma
        Scope 2 and circuit-tracer, one block's features at a time. No code in a file is run, and sae_lens is not
        needed.

        Args:
            path: the folder, or the file.
            layer: the block, where the files do not say or say otherwise.
            stream: its stream, likewise.
            site: the place, instead of the two.
            labels: as for `SAE`; by default the folder's labels.json, where there is one.
            dtype: what the weights are kept in; by default as in the file.
            center_input: whether the residual's mean is taken out first; by default as the files say.
            norm_scaling_factor: the factor of `expected_average_only_in`; by default that of activation_scaler.json,
                which a training run leaves in its checkpoints.
            fold_decoder_norm: as for `SAE`, for values as Neuronpedia shows them; by default as the format's own
                library reads its files.
            output_layer: of a cross-layer transcoder, which has a decoder for each block from its own on, the block at
                which its features shall write; its own by default.

        Returns:
            The SAE.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the files are damaged, of an unknown architecture, could run code, or do not say where to read.

        Example:
            >>> sae.save(folder / "sae")
            >>> sw.SAE.load(folder / "sae", dtype=torch.bfloat16).tensors()["W_enc"].dtype
            torch.bfloat16
        """
        path = Path(path)
        cfg, tensors = sae_formats.read(path, output_layer)
        place = place_of(cfg, site, layer, stream)
        found = path / sae_formats.LABELS
        if norm_scaling_factor is None and cfg.get("normalize_activations") in (True, "expected_average_only_in"):
            norm_scaling_factor = saved_factor((path if path.is_dir() else path.parent) / sae_formats.SCALER)
        arguments = settings_of(cfg) | {
            name: tensor if dtype is None else tensor.to(dtype) for name, tensor in tensors.items()
        }
        refuse_other_sizes(cfg, tensors)
        folds = cfg.get("fold_decoder_norm", False) if fold_decoder_norm is None else fold_decoder_norm
        with naming(path):
            made = cls(
                **arguments,
                site=place,
                labels=found if labels is None and found.is_file() else labels,
                output_site=output_site_of(cfg, place) if is_transcoder(cfg) else None,
                center_input=is_centred(cfg, place) if center_input is None else center_input,
                norm_scaling_factor=norm_scaling_factor,
                fold_decoder_norm=folds,
                provenance=sae_bridge.provenance_of(cfg) | {"file": path.name},
            )
        if (path / STATISTICS).is_file():
            made.statistics = FeatureStatistics.load(path / STATISTICS)
        made.source_code = call(
            f"sw.SAE.load({str(path)!r}, layer={place.layer}, stream={place.stream!r}",
            labels=labels,
            dtype=dtype,
            center_input=center_input,
            norm_scaling_factor=norm_scaling_factor,
            fold_decoder_norm=fold_decoder_norm,
            output_layer=output_layer,
        )
        return made

    @classmethod
    def from_pretrained(
        cls,
        release: str,
        sae_id: str = "",
        *,
        labels: LabelsLike | None = None,
        dtype: str = "float32",
        **settings: Unpack[PlaceSettings],
    ) -> SAE:
        """A pretrained SAE by its names in sae_lens' registry, as `("gemma-scope-2b-pt-res", "layer_20/…")`.

        Args:
            release: the release.
            sae_id: the SAE's id in it.
            labels: as for `SAE`.
            dtype: what the weights are kept in, as sae_lens calls it; `bfloat16` halves the memory.
            settings: `layer`, `stream`, `site`, `center_input`, `norm_scaling_factor`, `fold_decoder_norm`, as
                `PlaceSettings` explains them.

        Returns:
            The SAE; its provenance names release and id.

        Raises:
            ImportError: sae_lens is missing; the message says how to install it.
            ValueError: there is no such release or id.

        Example:
            >>> sae = sw.SAE.from_pretrained(
            ...     "gemma-scope-2b-pt-res", "layer_20/width_16k/average_l0_71"
            ... )  # doctest: +SKIP
        """
        if not isinstance(release, str) or not sae_id or not isinstance(sae_id, str):
            given, names = (release, sae_id) if sae_id else release, '"gemma-scope-2b-pt-res-canonical", "layer_20/…"'
            meant = f"give both: sw.SAE.from_pretrained({names}), or a folder with sw.SAE.load(path)"
            raise wrong("SAE.from_pretrained", "a release and an SAE's id in it", given, meant)
        sae, found = sae_bridge.pretrained(release, sae_id, dtype)
        made = cls.from_sae_lens(sae, labels=labels, **settings)
        made.provenance = dict(made.provenance) | found
        made.source_code = call(f"sw.SAE.from_pretrained({release!r}, {sae_id!r}", labels=labels, **settings)
        return made

    @classmethod
    def from_pyvene(
        cls, source: Any, *, layer: int | None = None, stream: Stream | None = None, labels: LabelsLike | None = None
    ) -> SAE:
        """The autoencoder of pyvene's `JumpReLUAutoencoderIntervention` or `AutoencoderIntervention`.

        Args:
            source: an IntervenableModel, an intervention, its state_dict, or the path of a saved folder or file.
            layer: the block; chooses among several, and says it where the source does not.
            stream: the stream of that block, likewise; `resid_post` where nobody says.
            labels: as for `SAE`.

        Returns:
            The SAE.

        Raises:
            FileNotFoundError: there is no such file or folder, or no intervention in it.
            TypeError: the source is none of these.
            ValueError: it holds no autoencoder, a file is damaged or would run code, or its place is not clear.

        Example:
            >>> saved = {"W_enc": torch.eye(32), "W_dec": torch.eye(32), "threshold": torch.ones(32)}
            >>> saved |= {"b_enc": torch.zeros(32), "b_dec": torch.zeros(32)}  # an intervention's state_dict
            >>> sw.SAE.from_pyvene(saved, layer=1)
            <SAE of 32 features at block 1 resid_post>
        """
        from steerwidgets.dictionaries.from_pyvene import interventions as pyvene_interventions
        from steerwidgets.dictionaries.from_pyvene import weights as pyvene_weights

        found, site = pyvene_interventions.find(source, layer, stream)
        made = cls(**pyvene_weights.autoencoder(found), site=site, labels=labels, provenance=found.provenance)
        made.source_code = found.source_code("SAE", site, labels)
        return made

    @classmethod
    def from_sae_lens(
        cls,
        sae: Any,
        *,
        layer: int | None = None,
        stream: Stream | None = None,
        site: Site | None = None,
        labels: LabelsLike | None = None,
        center_input: bool | None = None,
        norm_scaling_factor: float | None = None,
        fold_decoder_norm: bool = False,
    ) -> SAE:
        """An SAE object of sae_lens, its weights shared; one in training is taken as it would be saved.

        Architectures that are not computed here compute themselves: gated, abstopk and matching pursuit SAEs read
        and steer, temporal SAEs read.

        Args:
            sae: the object.
            layer: the block, where the object does not say or says otherwise.
            stream: its stream, likewise.
            site: the place, instead of the two.
            labels: as for `SAE`.
            center_input: whether the residual's mean is taken out first; by default as the object says.
            norm_scaling_factor: the factor of `expected_average_only_in`; 1 where it is folded already.
            fold_decoder_norm: as for `SAE`, for values as Neuronpedia shows them.

        Returns:
            The SAE.

        Raises:
            TypeError: it is no SAE of sae_lens.
            ValueError: a setting is unknown or missing.

        Example:
            >>> import sae_lens  # doctest: +SKIP
            >>> theirs = sae_lens.SAE.load_from_disk("my_sae")  # doctest: +SKIP
            >>> sae = sw.SAE.from_sae_lens(theirs)  # doctest: +SKIP
        """
        cfg = sae_bridge.cfg_of(sae)
        place = place_of(cfg, site, layer, stream)
        center = is_centred(cfg, place) if center_input is None else center_input
        provenance = sae_bridge.provenance_of(cfg)
        if is_native(cfg):
            arguments = settings_of(cfg) | sae_bridge.tensors_of(sae, cfg)
            return cls(
                **arguments,
                site=place,
                output_site=output_site_of(cfg, place) if is_transcoder(cfg) else None,
                labels=labels,
                center_input=center,
                norm_scaling_factor=norm_scaling_factor,
                fold_decoder_norm=fold_decoder_norm,
                provenance=provenance,
            )
        if fold_decoder_norm:
            raise ValueError(
                "sae_lens computes this architecture itself: fold the object's decoder norms with "
                "sae.fold_W_dec_norm() before you pass it, and leave fold_decoder_norm out."
            )
        made = cls.__new__(cls)
        codec = sae_bridge.SaeLensCodec(sae, center_input=center)
        made._set_up(codec, place, labels, provenance, center_input=center)  # noqa: SLF001
        return made
