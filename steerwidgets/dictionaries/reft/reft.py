"""ReFT-r1 (AxBench, Wu et al. 2025): one matrix whose rows detect concepts and steer towards them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, Unpack

from steerwidgets import demo
from steerwidgets.dictionaries.base import Dictionary, call, refuse_other_width, refuse_path
from steerwidgets.dictionaries.evidence import FeatureData
from steerwidgets.dictionaries.given_strengths import suggestions
from steerwidgets.dictionaries.names import LabelsLike
from steerwidgets.dictionaries.placed import Rows
from steerwidgets.dictionaries.reft.feature import ReFTFeature
from steerwidgets.dictionaries.reft.files import ABOUT, layer_of, read_about, read_metadata, read_weight
from steerwidgets.dictionaries.statistics import FILE as STATISTICS
from steerwidgets.dictionaries.statistics import FeatureStatistics
from steerwidgets.files.atomic import atomically, made_folder, remove_file, write_text
from steerwidgets.files.fields import naming
from steerwidgets.files.tensors import dense
from steerwidgets.steering.ops import REFT_OPS
from steerwidgets.transformer.sites import Site, Stream

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from steerwidgets.dictionaries.reft.fit import Example, FitOptions, ReFTReport
    from steerwidgets.transformer.loaded import LoadedModel

_CHUNK: Final = 128
_DEMO: Final = Path(demo.__file__).parent / "reft"
_DEMO_FEATURES: Final = Path(demo.__file__).parent / "reft_features.safetensors"
_MODELS: Final = {
    "pyvene/gemma-reft-2b-it-res": "google/gemma-2-2b-it",
    "pyvene/gemma-reft-9b-it-res": "google/gemma-2-9b-it",
}


@dataclass(frozen=True)
class Firing:
    """Which concepts fire at each token.

    Attributes:
        strongest: int [position], the concept with the largest activation.
        values: float32 [position], that activation.
        counts: int [position], how many concepts are above the threshold.
    """

    strongest: Tensor
    values: Tensor
    counts: Tensor


class ReFT(Dictionary):
    """A ReFT-r1 dictionary: each row detects a concept as `relu(h·w)` and steers by adding `α·w` or clamping.

    ReFT-r1 of AxBench (Wu et al. 2025), whose code calls the class `LsReFT`; the bias that it stores is never used.

    A row of zeros is a concept that points nowhere: it reads 0 everywhere and can't steer.

    Args:
        weight: [concept, d_model], kept as it is: AxBench's rows are of unit norm only nearly.
        layer: the block, counted from 0.
        labels: of the rows, in any form of `LabelsLike`, or none.
        stream: the stream of that block.
        links: for each row, a web address, or None.
        genres: for each row, the genres it was made from.
        max_activations: for each row, the largest activation known, or None.
        max_activation_of: where that was seen.
        suggested: for each row, an op and its numbers that were seen to work, or None.
        provenance: where the rows come from.

    Raises:
        ValueError: shapes do not fit, or a row is not finite.

    Example:
        >>> reft = sw.ReFT(torch.randn(2, 32), layer=1, labels=["the sea", "music"])
        >>> reft["music"].clamp(20)
        'music'.clamp(20)
        >>> reft.encode(torch.randn(4, 32)).shape
        torch.Size([4, 2])
    """

    kind: ClassVar[str] = "ReFT"

    def __init__(
        self,
        weight: Tensor,
        *,
        layer: int,
        labels: LabelsLike | None = None,
        stream: Stream = "resid_post",
        links: Sequence[str | None] = (),
        genres: Sequence[tuple[str, ...]] = (),
        max_activations: Sequence[float | None] = (),
        max_activation_of: str | None = None,
        suggested: Sequence[tuple[str, Mapping[str, float]] | None] = (),
        provenance: Mapping[str, str] | None = None,
    ) -> None:
        import torch

        refuse_path(weight, "sw.ReFT")
        self._rows = Rows(dense(weight, "A ReFT weight").to("cpu", torch.float32, copy=True))
        if self.weight.ndim != 2 or 0 in self.weight.shape:
            raise ValueError(
                f"A ReFT weight is [concept, d_model], but one of shape {list(self.weight.shape)} was given."
            )
        of_rows = {"links": links, "genres": genres, "maxima": max_activations, "strengths": suggested}
        for name, values in of_rows.items():
            if len(values) not in (0, len(self.weight)):
                raise ValueError(f"There are {len(self.weight)} concepts, but {len(values)} {name} were given.")
        bad = ~torch.isfinite(self.weight.norm(dim=-1))
        if bool(bad.any()):
            raise ValueError(f"Row {int(bad.nonzero()[0])} of the ReFT weight holds NaN or infinite values.")
        self.labels = labels
        self.site = Site(layer, stream)
        self.links = tuple(links)
        self.genres = tuple(genres)
        named = lambda row: self.labels[row] if self.labels else self.unlabelled(row)
        self.suggested = suggestions(suggested, self.size, REFT_OPS, named) if len(suggested) else ()
        self.statistics = FeatureStatistics.of_maxima(max_activations, self.size, max_activation_of)
        self.provenance = dict(provenance or {})
        self.report: ReFTReport | None = None

    @property
    def weight(self) -> Tensor:
        """The matrix, [concept, d_model], as it is kept."""
        return self._rows.matrix

    @property
    def size(self) -> int:
        """How many concepts there are."""
        return len(self.weight)

    def _move(self, device: torch.device | None, dtype: torch.dtype | None) -> None:
        self._rows.move(device, dtype)

    @property
    def d_model(self) -> int:
        """The width of the site."""
        return int(self.weight.shape[1])

    def vector(self, index: int) -> Tensor:
        """The stored direction of a concept, of unit norm only nearly.

        Args:
            index: the row.

        Returns:
            float32 [d_model].

        Example:
            >>> reft.vector(0).shape
            torch.Size([32])
        """
        return self.weight[index].float()

    def directions(self, start: int = 0, stop: int | None = None) -> Tensor:
        """The stored directions of some concepts.

        Args:
            start: the first row.
            stop: the one after the last; by default all the rest.

        Returns:
            float32 [concept, d_model].

        Example:
            >>> reft.directions(0, 2).shape
            torch.Size([2, 32])
        """
        return self.weight[start:stop].float()

    def weights(self) -> Iterable[Tensor]:
        """The matrix.

        Returns:
            One tensor, float32 [concept, d_model].

        Example:
            >>> [tensor.shape for tensor in reft.weights()]
            [torch.Size([5, 32])]
        """
        return (self.weight,)

    def feature(self, index: int) -> ReFTFeature:
        """The concept at an index.

        Args:
            index: the row, which is known to exist; `reft[…]` checks, and takes labels too.

        Returns:
            The concept.

        Example:
            >>> reft.feature(1)
            <ReFT 'music' at block 1 resid_post>
        """
        return ReFTFeature(
            **self._entry(index),
            link=self.links[index] if self.links else None,
            genres=self.genres[index] if self.genres else (),
            suggested=self.suggested[index] if self.suggested else None,
        )

    def __getitem__(self, name: int | str) -> ReFTFeature:
        """A concept by index or label."""
        found = super().__getitem__(name)
        assert isinstance(found, ReFTFeature)
        return found

    def encode(self, h: Tensor) -> Tensor:
        """`relu(h·w)` for every concept (AxBench, `models/lsreft.py`).

        Args:
            h: [..., d_model].

        Returns:
            float32 [..., size], in units of the residual where rows are of unit norm.

        Raises:
            ValueError: the residual has another width than the rows.

        Example:
            >>> reft.encode(torch.randn(4, 32)).shape
            torch.Size([4, 5])
        """
        refuse_other_width(self, h)
        return self._rows.products(h).relu()

    def activations(self, h: Tensor, features: Sequence[int]) -> Tensor:
        """`relu(h·w)` for some concepts.

        Args:
            h: [..., d_model].
            features: indices.

        Returns:
            float32 [..., feature].

        Raises:
            IndexError: there is no such concept.
            ValueError: the residual has another width than the rows.

        Example:
            >>> reft.activations(torch.randn(4, 32), [0, 1]).shape
            torch.Size([4, 2])
        """
        refuse_other_width(self, h)
        return self._rows.products(h, self.checked(features)).relu()

    def firing(self, h: Tensor, *, threshold: float = 1.0) -> Firing:
        """Which concept is strongest at each token, and how many are above a threshold.

        ReFT-r1 is not sparse: on Gemma 2 2B hundreds to thousands of 16k concepts are above 1. AxBench's tutorial
        leaves position 0 out; do the same with `reft.firing(lm.read(text, reft, [0]).residual[1:])`.

        Args:
            h: float32 [position, d_model].
            threshold: a concept counts where its activation is larger.

        Returns:
            `.strongest`, `.values` and `.counts`, each [position].

        Raises:
            ValueError: the residual has another width than the rows.

        Example:
            >>> found = reft.firing(torch.randn(4, 32), threshold=0.5)
            >>> found.strongest.shape, found.values.shape, found.counts.shape
            (torch.Size([4]), torch.Size([4]), torch.Size([4]))
        """
        import torch

        parts = []
        for chunk in torch.split(h, _CHUNK):
            values = self.encode(chunk)
            top = values.max(dim=-1)
            parts.append((top.indices, top.values, (values > threshold).sum(dim=-1)))
        strongest, values, counts = (torch.cat(part) for part in zip(*parts, strict=True))
        return Firing(strongest, values, counts)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        layer: int | None = None,
        stream: Stream | None = None,
        labels: LabelsLike | None = None,
    ) -> Self:
        """Read a folder with `weight.pt` (or AxBench's `…_weight.pt`) and, where there is one, `metadata.jsonl`.

        No code in the files is run.

        Args:
            folder: the folder; called `l20` it says the block itself.
            layer: the block, where the folder does not say or says otherwise.
            stream: the stream of that block, likewise; `resid_post` where nobody says.
            labels: as for `ReFT`; by default those of `metadata.jsonl`.

        Returns:
            The dictionary.

        Raises:
            FileNotFoundError: there is no such folder, or no weight in it.
            ValueError: a file is damaged or holds something else, or the block is not known.

        Example:
            >>> reft.save(folder / "l1")
            >>> sw.ReFT.load(folder / "l1")["music"].index
            1
        """
        folder = Path(folder)
        found = [folder / "weight.pt"] if (folder / "weight.pt").is_file() else sorted(folder.glob("*_weight.pt"))
        if len(found) != 1:
            held = "no weight.pt" if not found else f"{len(found)} weights ({', '.join(path.name for path in found)})"
            raise FileNotFoundError(f"A ReFT folder holds one weight.pt, but {str(folder)!r} holds {held}.")
        metadata, about = folder / "metadata.jsonl", read_about(folder / ABOUT)
        block = about.get("layer") if layer is None else layer
        with naming(folder):
            loaded = cls._read(
                found[0],
                metadata if metadata.exists() else None,
                layer_of(folder.name, block),
                stream or about.get("stream", "resid_post"),
                about.get("provenance", {}),
            )
        if (folder / STATISTICS).is_file():
            loaded.statistics = FeatureStatistics.load(folder / STATISTICS)
        if labels is not None:
            loaded.labels = labels
        loaded.source_code = call(f"sw.ReFT.load({str(folder)!r}", layer=loaded.site.layer, labels=labels)
        return loaded

    @classmethod
    def from_pretrained(
        cls,
        repository: str,
        folder: str,
        *,
        layer: int | None = None,
        stream: Stream = "resid_post",
        labels: LabelsLike | None = None,
    ) -> Self:
        """A published dictionary, as `ReFT.from_pretrained("pyvene/gemma-reft-2b-it-res", "l20")`.

        Args:
            repository: the Hugging Face repository.
            folder: the folder in it; `l20` says the block itself.
            layer: the block, where the folder's name does not say.
            stream: the stream of that block.
            labels: as for `ReFT`; by default those of `metadata.jsonl`.

        Returns:
            The dictionary; its provenance names the repository.

        Raises:
            OSError: it can't be fetched: no network, no such file, or no access.
            ValueError: what was fetched is damaged or holds something else.

        Example:
            >>> reft = sw.ReFT.from_pretrained("pyvene/gemma-reft-2b-it-res", "l20")  # doctest: +SKIP
        """
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError, HFValidationError

        layer = layer_of(folder, layer)
        try:
            weight = huggingface_hub.hf_hub_download(repository, f"{folder}/weight.pt")
            try:
                metadata: Path | None = Path(huggingface_hub.hf_hub_download(repository, f"{folder}/metadata.jsonl"))
            except EntryNotFoundError:
                metadata = None
        except (OSError, EntryNotFoundError, HFValidationError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise OSError(f"{folder}/weight.pt of {repository} can't be fetched from Hugging Face: {reason}") from error
        provenance = {"source": f"{repository}/{folder}"}
        if repository in _MODELS:
            provenance["model"] = _MODELS[repository]
        loaded = cls._read(Path(weight), metadata, layer, stream, provenance)
        if labels is not None:
            loaded.labels = labels
        loaded.source_code = call(f"sw.ReFT.from_pretrained({repository!r}, {folder!r}", labels=labels)
        return loaded

    @classmethod
    def from_pyvene(
        cls, source: Any, *, layer: int | None = None, stream: Stream | None = None, labels: LabelsLike | None = None
    ) -> Self:
        """The rows of `proj.weight` of a pyvene intervention, such as the `Encoder` and `Steer` of AxBench's tutorial.

        The matrix's own shape counts, [concept, d_model]. The tutorial's classes are made with `embed_dim` and
        `latent_dim` exchanged, so their `embed_dim` and `interchange_dim` hold the number of concepts, and neither is
        looked at. A bias is left out, as AxBench does. Nothing is run, neither the intervention nor code in a file.

        Args:
            source: an IntervenableModel, an intervention, its state_dict, or the path of a saved folder or file.
            layer: the block; chooses among several, and says it where the source does not.
            stream: the stream of that block, likewise; `resid_post` where nobody says.
            labels: as for `ReFT`.

        Returns:
            The dictionary.

        Raises:
            FileNotFoundError: there is no such file or folder, or no intervention in it.
            TypeError: the source is none of these.
            ValueError: it holds no projection, a file is damaged or would run code, or its place is not clear.

        Example:
            >>> saved = {"proj.weight": torch.randn(3, 32)}  # an intervention's state_dict
            >>> sw.ReFT.from_pyvene(saved, layer=1)
            <ReFT of 3 features at block 1 resid_post>
        """
        from steerwidgets.dictionaries.from_pyvene import interventions as pyvene_interventions
        from steerwidgets.dictionaries.from_pyvene import weights as pyvene_weights

        found, site = pyvene_interventions.find(source, layer, stream)
        rows = pyvene_weights.projection(found)
        made = cls(rows, layer=site.layer, stream=site.stream, labels=labels, provenance=found.provenance)
        made.source_code = found.source_code("ReFT", site, labels)
        return made

    @classmethod
    def _read(
        cls, weight: Path, metadata: Path | None, layer: int, stream: Stream, provenance: Mapping[str, str]
    ) -> Self:
        tensor = read_weight(weight)
        if metadata is None:
            return cls(tensor, layer=layer, stream=stream, provenance=provenance)
        rows = read_metadata(metadata, len(tensor))
        return cls(
            tensor,
            layer=layer,
            stream=stream,
            labels=[row["label"] for row in rows],
            links=[row["link"] for row in rows],
            genres=[row["genres"] for row in rows],
            max_activations=[row["max_activation"] for row in rows],
            suggested=[row["suggested"] for row in rows],
            provenance=provenance,
        )

    def save(self, folder: str | Path) -> None:
        """Write `weight.pt` and `metadata.jsonl`, the files that `ReFT.load` and AxBench's tutorial read.

        What is known of activations goes beside them, into statistics.safetensors, and block, stream and provenance,
        which the format has no place for, into about.json.

        Args:
            folder: the folder; it is made where there is none.

        Example:
            >>> reft.save(folder / "l1")
            >>> sw.ReFT.load(folder / "l1").fingerprint == reft.fingerprint
            True
        """
        import torch

        folder = made_folder(folder)
        lines = [json.dumps(self._metadata(index), ensure_ascii=False) for index in range(self.size)]
        about = {"layer": self.site.layer, "stream": self.site.stream, "provenance": dict(self.provenance)}
        # All of them are written before one takes its place, so that no folder has the rows of one and labels of
        # another.
        with atomically(folder / "weight.pt") as weight, atomically(folder / "metadata.jsonl") as metadata:
            torch.save(self.weight.clone(), weight)
            metadata.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
            write_text(folder / ABOUT, json.dumps(about, ensure_ascii=False, indent=1) + "\n")
            if self.statistics is not None:
                self.statistics.save(folder / STATISTICS)
        if self.statistics is None:
            # Of what stood there before: it would be read as this one's.
            remove_file(folder / STATISTICS)

    def _metadata(self, index: int) -> dict[str, Any]:
        concept = self.labels[index] if self.labels else ""
        genres = list(self.genres[index]) if self.genres else []
        row = {
            "concept_id": index,
            "concept": concept,
            "ref": self.links[index] if self.links else None,
            "concept_genres_map": {concept: genres},
        }
        maximum, suggested = self.maximum(index), self.suggested[index] if self.suggested else None
        known = {"max_activation": maximum, "suggested": suggested and [suggested[0], dict(suggested[1])]}
        return row | {name: value for name, value in known.items() if value is not None}

    @classmethod
    def demo(cls) -> ReFT:
        """The concepts shipped for the embedded model.

        Returns:
            The dictionary, with evidence of its concepts.

        Example:
            >>> sw.ReFT.demo().kind
            'ReFT'
        """
        reft = cls.load(_DEMO)
        if _DEMO_FEATURES.exists():
            reft.feature_data = FeatureData.load(_DEMO_FEATURES)
        reft.source_code = "sw.ReFT.demo()"
        return reft

    @classmethod
    def fit(
        cls,
        lm: LoadedModel,
        positives: Sequence[Example],
        negatives: Sequence[Example],
        *,
        label: str,
        layer: int,
        stream: Stream = "resid_post",
        **options: Unpack[FitOptions],
    ) -> ReFT:
        """Train one concept from examples with it and without it, as AxBench trains ReFT-r1.

        The loss is that of the language model steered by `h + mean(topk(relu(h·v)))·v`, and a penalty on the
        activations that are not among the top (`axbench/models/lsreft.py`).

        Args:
            lm: the model; its weights stay as they are.
            positives: examples with the concept: texts, or (prompt, answer) pairs of which the answer is learned.
            negatives: examples without it, on which the direction learns to stay silent.
            label: what the concept is called.
            layer: the block, counted from 0.
            stream: the stream of that block.
            options: `settings`, `held_out`, `state`, `on_step`, `stop`, as `FitOptions` explains them.

        Returns:
            A dictionary of one concept; `.report` says how the training went and how well it detects.

        Raises:
            ValueError: an example or setting can't be used, the site can't be steered, or the state is of another
                training.

        Example:
            >>> with_it = ["the sea and the ocean", "a city by the sea"]
            >>> without = ["the system and the user", "print the result"]
            >>> made = sw.ReFT.fit(lm, with_it, without, label="the sea", layer=1, held_out=0)
            >>> made["the sea"].vector.shape, made.report.finished
            (torch.Size([32]), True)
        """
        from steerwidgets.dictionaries.reft.fit import fit

        fitted = fit(lm, positives, negatives, site=Site(layer, stream), **options)
        made = cls(
            fitted.direction[None],
            layer=layer,
            stream=stream,
            labels=[label],
            max_activations=[round(fitted.largest, 3)],
            max_activation_of=f"{fitted.examples} training examples",
            provenance=fitted.provenance,
        )
        made.report = fitted.report
        return made
