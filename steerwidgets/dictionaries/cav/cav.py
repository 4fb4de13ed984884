"""Concept activation vectors: one labelled direction for each concept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Unpack, overload

from steerwidgets import demo
from steerwidgets.dictionaries.base import Dictionary, call, refuse_other_width, refuse_path
from steerwidgets.dictionaries.cav import files
from steerwidgets.dictionaries.evidence import FeatureData
from steerwidgets.dictionaries.given_strengths import suggestions
from steerwidgets.dictionaries.names import LabelsLike
from steerwidgets.dictionaries.placed import Rows
from steerwidgets.dictionaries.reports import CAVReport
from steerwidgets.dictionaries.statistics import FeatureStatistics
from steerwidgets.files.fields import naming
from steerwidgets.files.tensors import dense
from steerwidgets.steering.exports.gguf import read_control_vector, write_control_vector
from steerwidgets.steering.ops import OPS
from steerwidgets.steering.recipe import Feature
from steerwidgets.transformer.mistakes import wrong
from steerwidgets.transformer.sites import Site, Stream

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from steerwidgets.dictionaries.cav.fit import FitOptions, FittedDirections
    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import Prompt, PromptLike

_DEMO: Final = Path(demo.__file__).parent / "cavs"
_DEMO_BLOCK: Final = 15
"""The block of the concepts whose strengths were chosen."""

_DEMO_FEATURES: Final = Path(demo.__file__).parent / "cavs_features.safetensors"


class CAV(Dictionary):
    """A set of concept activation vectors (Kim et al. 2018), read as `h·v` and steered by adding `α·v`.

    A vector of zeros is a concept that points nowhere: it reads 0 everywhere and can't steer.

    Args:
        vectors: [concept, d_model], kept as they are (not normalised).
        labels: of the rows, in any form of `LabelsLike`, or none.
        layer: the block, counted from 0.
        stream: the stream of that block.
        suggested: for each row, an op and its numbers that were seen to work, or None.
        max_activations: for each row, the largest `h·v` over `max_activation_of`, or None.
        max_activation_of: the corpus of the maxima and its size.
        provenance: where the vectors come from.

    Raises:
        ValueError: shapes and labels do not fit, or a row is not finite.

    Example:
        >>> cavs = sw.CAV(torch.randn(2, 32), ["the sea", "music"], layer=1)
        >>> cavs["music"].add(40)  # what steers: `h + 40·v`
        'music'.add(40)
        >>> cavs.encode(torch.randn(4, 32)).shape  # what is read: `h·v`
        torch.Size([4, 2])
    """

    kind: ClassVar[str] = "CAV"

    def __init__(
        self,
        vectors: Tensor,
        labels: LabelsLike | None = None,
        *,
        layer: int,
        stream: Stream = "resid_post",
        suggested: Sequence[tuple[str, Mapping[str, float]] | None] | None = None,
        max_activations: Sequence[float | None] | None = None,
        max_activation_of: str | None = None,
        provenance: Mapping[str, str] | None = None,
    ) -> None:
        import torch

        refuse_path(vectors, "sw.CAV")
        given: Any = vectors
        if isinstance(given, Mapping):
            told = "stack them: sw.CAV(torch.stack(list(vectors.values())), list(vectors), layer=15)"
            raise wrong("sw.CAV", "vectors [concept, d_model] and their labels", vectors, told)
        self._rows = Rows(dense(vectors, "The vectors of these CAVs").to("cpu", torch.float32, copy=True))
        if self.vectors.ndim != 2 or 0 in self.vectors.shape:
            raise ValueError(
                f"CAVs are vectors [concept, d_model], but one tensor of shape {list(self.vectors.shape)} was given."
            )
        self.labels = labels
        bad = (~torch.isfinite(self.vectors)).any(-1)
        if bool(bad.any()):
            row = int(bad.nonzero()[0])
            named = self.labels[row] if self.labels else self.unlabelled(row)
            raise ValueError(f"The vector of {named!r} (row {row}) holds NaN or infinite values.")
        self.site = Site(layer, stream)
        self.provenance = dict(provenance or {})
        nothing = (None,) * self.size
        called = lambda row: self.labels[row] if self.labels else self.unlabelled(row)
        self._suggested = suggestions(nothing if suggested is None else suggested, self.size, OPS, called)
        self.statistics = FeatureStatistics.of_maxima(max_activations, self.size, max_activation_of)
        self.report: CAVReport | None = None
        self.texts: files.Texts | None = None

    @property
    def vectors(self) -> Tensor:
        """The directions, [concept, d_model], as they are kept."""
        return self._rows.matrix

    @property
    def size(self) -> int:
        """How many concepts there are."""
        return len(self.vectors)

    def _move(self, device: torch.device | None, dtype: torch.dtype | None) -> None:
        self._rows.move(device, dtype)

    def weights(self) -> Iterable[Tensor]:
        """The vectors.

        Returns:
            One tensor, float32 [concept, d_model].

        Example:
            >>> [tensor.shape for tensor in cavs.weights()]
            [torch.Size([3, 32])]
        """
        return (self.vectors,)

    def encode(self, h: Tensor) -> Tensor:
        """`h·v` for every concept (Kim et al. 2018).

        Args:
            h: [..., d_model].

        Returns:
            float32 [..., size]; for vectors of unit norm in units of the residual.

        Raises:
            ValueError: the residual has another width than the vectors.

        Example:
            >>> h = torch.randn(4, 32)  # the residuals of four tokens
            >>> torch.allclose(cavs.encode(h), h @ cavs.vectors.T)
            True
        """
        refuse_other_width(self, h)
        return self._rows.products(h)

    def activations(self, h: Tensor, features: Sequence[int]) -> Tensor:
        """`h·v` for some concepts.

        Args:
            h: [..., d_model].
            features: indices.

        Returns:
            float32 [..., feature].

        Raises:
            IndexError: there is no such concept.
            ValueError: the residual has another width than the vectors.

        Example:
            >>> cavs.activations(torch.randn(4, 32), [0, 1]).shape
            torch.Size([4, 2])
        """
        refuse_other_width(self, h)
        return self._rows.products(h, self.checked(features))

    @property
    def d_model(self) -> int:
        """The width of the site."""
        return int(self.vectors.shape[1])

    def vector(self, index: int) -> Tensor:
        """The stored direction of a concept, not normalised.

        Args:
            index: the row.

        Returns:
            float32 [d_model].

        Example:
            >>> cavs.vector(0).shape
            torch.Size([32])
        """
        return self.vectors[index].float()

    def directions(self, start: int = 0, stop: int | None = None) -> Tensor:
        """The stored directions of some concepts.

        Args:
            start: the first row.
            stop: the one after the last; by default all the rest.

        Returns:
            float32 [concept, d_model].

        Example:
            >>> cavs.directions(0, 2).shape
            torch.Size([2, 32])
        """
        return self.vectors[start:stop].float()

    def feature(self, index: int) -> Feature:
        """The concept at an index.

        Args:
            index: the row, which is known to exist; `cavs[…]` checks, and takes labels too.

        Returns:
            The concept.

        Example:
            >>> cavs.feature(1)
            <CAV 'music' at block 1 resid_post>
        """
        return Feature(
            **self._entry(index),
            suggested=self._suggested[index],
        )

    def save(self, path: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write a safetensors file that `CAV.load` reads: the vectors, and all else as JSON in its header.

        Args:
            path: the file.
            dtype: what the vectors are kept in, float32 by default; they come back in float32.

        Example:
            >>> cavs.save(folder / "cavs.safetensors")
            >>> sw.CAV.load(folder / "cavs.safetensors").fingerprint == cavs.fingerprint
            True
        """
        header = {
            "labels": self.labels,
            "layer": self.site.layer,
            "stream": self.site.stream,
            "suggested": self._suggested,
            "provenance": self.provenance,
        }
        files.write(Path(path), self.vectors.to(dtype), header, self.statistics, self.report, self.texts)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        layer: int | None = None,
        stream: Stream | None = None,
        labels: LabelsLike | None = None,
    ) -> CAV:
        """Read CAVs from a safetensors file of `save`, a `.pt` file that holds `{"cavs", "labels"}`, or a GGUF file.

        A GGUF control vector (repeng, llama.cpp) is one concept with a direction for each of several blocks; the one
        of `layer` is taken, and labelled with the file's name. No code in the file is run.

        Args:
            path: the file.
            layer: the block; needed for `.pt` files, which do not say, and GGUF files, which hold several.
            stream: the stream, `resid_post` where neither this nor the file says.
            labels: as for `CAV`; by default those in the file.

        Returns:
            The CAVs, their vectors in float32.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is none of the three, or the layer is missing or not in it.

        Example:
            >>> cavs.save(folder / "cavs.safetensors")
            >>> sw.CAV.load(folder / "cavs.safetensors").labels
            ('the sea', 'music', 'food')
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"There is no CAV file at {str(path)!r}.")
        with naming(path):
            vectors, header = files.read(path, layer)
        block = header.pop("layer", None) if layer is None else layer
        if block is None:
            raise ValueError(f"{path.name} does not say which block its CAVs belong to; pass layer=.")
        header |= {"layer": block} if stream is None else {"layer": block, "stream": stream}
        statistics, report, texts = (header.pop(name, None) for name in ("statistics", "report", "texts"))
        said = header.pop("labels")
        with naming(path):
            loaded = cls(vectors, said if labels is None else labels, **header)
            loaded.statistics, loaded.report = loaded.statistics if statistics is None else statistics, report
            loaded.texts = texts
        loaded.source_code = call(f"sw.CAV.load({str(path)!r}", layer=block, stream=stream, labels=labels)
        return loaded

    @classmethod
    def load_layers(cls, path: str | Path) -> dict[int, CAV]:
        """Read a GGUF control vector with all of its blocks: for each block, CAVs of one concept.

        `sum((cavs[0].add(a) for cavs in CAV.load_layers("happy.gguf").values()), sw.Recipe())` steers as repeng does.

        Args:
            path: the file, as repeng and llama.cpp have it.

        Returns:
            CAVs by block, counted from 0.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not a GGUF control vector.

        Example:
            >>> cavs.to_gguf(folder / "sea.gguf", "the sea")
            >>> sw.CAV.load_layers(folder / "sea.gguf")
            {1: <CAV of 1 features at block 1 resid_post>}
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"There is no CAV file at {str(path)!r}.")
        return {layer: cls.load(path, layer=layer) for layer in read_control_vector(path).directions}

    def to_gguf(self, path: str | Path, concept: int | str = 0, *, model_hint: str = "") -> None:
        """Write one concept as a GGUF control vector, which repeng and llama.cpp read.

        For a concept with a direction in each of several blocks, see `control_vectors.export_control_vector`.

        Args:
            path: the file to write.
            concept: its index or label.
            model_hint: the model's type as its config says, `llama` or `gemma2`; readers show it and no more.

        Raises:
            ValueError: the vectors do not live in `resid_post`, the only stream that the format knows.
            IndexError: there is no such concept.
            KeyError: no concept, or more than one, has that label.

        Example:
            >>> cavs.to_gguf(folder / "sea.gguf", "the sea", model_hint="llama")
            >>> sw.CAV.load(folder / "sea.gguf", layer=1).size
            1
        """
        if self.site.stream != "resid_post":
            raise ValueError(f"A GGUF control vector acts on resid_post, but these CAVs live at {self.site}.")
        write_control_vector(path, {self.site.layer: self[concept].vector}, model_hint)

    @classmethod
    def from_pyvene(
        cls, source: Any, *, layer: int | None = None, stream: Stream | None = None, labels: LabelsLike | None = None
    ) -> CAV:
        """The directions of a pyvene intervention, read as `h·v`; nothing of it is run.

        The rows of a `proj.weight`, the axis of a rotation of rank 1 (DAS), or the constant that an
        `AdditionIntervention` or `SubtractionIntervention` adds or takes away, which `suggested` then tells. What a
        LoReFT intervention writes depends on a learned source, so it is refused.

        Args:
            source: an IntervenableModel, an intervention, its state_dict, or the path of a saved folder or file.
            layer: the block; chooses among several, and says it where the source does not.
            stream: the stream of that block, likewise; `resid_post` where nobody says.
            labels: as for `CAV`.

        Returns:
            The directions, as many as the intervention has.

        Raises:
            FileNotFoundError: there is no such file or folder, or no intervention in it.
            TypeError: the source is none of these.
            ValueError: it holds no directions, a file is damaged or would run code, or its place is not clear.

        Example:
            >>> saved = {"proj.weight": torch.randn(3, 32)}  # an intervention's state_dict
            >>> sw.CAV.from_pyvene(saved, layer=1)
            <CAV of 3 features at block 1 resid_post>
        """
        from steerwidgets.dictionaries.from_pyvene import interventions as pyvene_interventions
        from steerwidgets.dictionaries.from_pyvene import weights as pyvene_weights

        found, site = pyvene_interventions.find(source, layer, stream)
        rows, times = pyvene_weights.directions(found)
        suggested = None if times is None else [("add", {"alpha": times})]
        made = cls(rows, labels, layer=site.layer, stream=site.stream, suggested=suggested, provenance=found.provenance)
        made.source_code = found.source_code("CAV", site, labels)
        return made

    @overload
    @classmethod
    def fit(
        cls,
        lm: LoadedModel,
        texts: Sequence[PromptLike | Prompt],
        labels: Sequence[str | int],
        *,
        layer: int,
        stream: Stream = "resid_post",
        **options: Unpack[FitOptions],
    ) -> CAV: ...

    @overload
    @classmethod
    def fit(
        cls,
        lm: LoadedModel,
        texts: Sequence[PromptLike | Prompt],
        labels: Sequence[str | int],
        *,
        layers: Literal["all"] | Sequence[int],
        stream: Stream = "resid_post",
        **options: Unpack[FitOptions],
    ) -> LayerFits: ...

    @classmethod
    def fit(
        cls,
        lm: LoadedModel,
        texts: Sequence[PromptLike | Prompt],
        labels: Sequence[str | int],
        *,
        layer: int | None = None,
        layers: Literal["all"] | Sequence[int] | None = None,
        stream: Stream = "resid_post",
        **options: Unpack[FitOptions],
    ) -> CAV | LayerFits:
        """One vector for each label, from texts; see `dictionaries.cav.fit` for the options.

        Activations are pooled over each text's own tokens, then one direction is found for each label: by default the
        normal of a linear SVM without intercept, of unit norm, as in the notebook "Sparse Autoencoders for model
        steering" (Jørgensen); `mean_difference` is AxBench's DiffMean.

        Args:
            lm: the model that reads the texts.
            texts: strings (read raw), messages, token ids, or prompts that are encoded, such as those of `lm.contrast`.
            labels: one for each text.
            layer: the block to fit at; the result is a `CAV`.
            layers: several blocks or "all", read in one pass; the result maps blocks to CAVs and knows the `.best`.
            stream: the stream of those blocks.
            options: `names`, `method`, `unit`, `pool`, `skip`, `max_tokens`, `held_out`, `batch_size`, `seed`,
                `on_progress`, `stop`, as `FitOptions` explains them.

        Returns:
            CAVs of one row for each label, sorted; of one block, or by block where `layers` are given.

        Raises:
            ValueError: neither or both of `layer` and `layers` are given, texts and labels do not fit, an option is not
                known, or too few texts are left.
            ImportError: `svm` and `logistic` need scikit-learn; the message says how to install it.
            RuntimeError: it was stopped before anything was fitted.

        Example:
            >>> texts = ["the sea and the answer", "the system and the user"] * 4
            >>> made = sw.CAV.fit(lm, texts, ["sea", "talk"] * 4, layer=1, method="mean_difference")
            >>> made.labels, made.vectors.shape
            (('sea', 'talk'), torch.Size([2, 32]))
        """
        from steerwidgets.dictionaries.cav.fit import fit

        if (layer is None) == (layers is None):
            raise ValueError("CAV.fit needs either layer= (one block) or layers= (several, or 'all').")
        if layer is not None:
            [fitted] = fit(lm, texts, labels, [Site(layer, stream)], **options)
            return cls._of(fitted)
        blocks = range(lm.architecture.layers) if layers == "all" else [int(each) for each in layers or ()]
        several = fit(lm, texts, labels, [Site(each, stream) for each in blocks], **options)
        return LayerFits({fitted.site.layer: cls._of(fitted) for fitted in several})

    @classmethod
    def _of(cls, fitted: FittedDirections) -> CAV:
        site, report = fitted.site, fitted.report
        made = cls(fitted.vectors, fitted.labels, layer=site.layer, stream=site.stream, provenance=fitted.provenance)
        made.report, made.statistics = report, fitted.statistics
        return made

    @classmethod
    def demo(cls, *, layer: int = 15) -> CAV:
        """The concepts shipped for the embedded model at one block; those that steer come first.

        Args:
            layer: the block, counted from 0.

        Returns:
            The CAVs, with suggested strengths.

        Raises:
            ValueError: none are shipped for that block.

        Example:
            >>> sw.CAV.demo().site
            Site(layer=15, stream='resid_post')
        """
        path = _DEMO / f"{layer}.safetensors"
        if not path.exists():
            shipped = ", ".join(map(str, sorted(int(each.stem) for each in _DEMO.glob("*.safetensors"))))
            raise ValueError(
                f"The embedded model's concept vectors are shipped for the blocks {shipped}, but {layer!r} was asked "
                "for; choose one of them, or make your own with CAV.fit."
            )
        cavs = cls.load(path)
        is_default = layer == _DEMO_BLOCK
        if is_default and _DEMO_FEATURES.exists():
            cavs.feature_data = FeatureData.load(_DEMO_FEATURES)
        cavs.source_code = "sw.CAV.demo()" if is_default else f"sw.CAV.demo(layer={layer})"
        return cavs


class LayerFits(Mapping[int, CAV]):
    """CAVs of the same texts at several blocks."""

    def __init__(self, fits: Mapping[int, CAV]) -> None:
        self._fits = dict(fits)

    def __getitem__(self, layer: int) -> CAV:
        return self._fits[layer]

    def __iter__(self) -> Iterator[int]:
        return iter(self._fits)

    def __len__(self) -> int:
        return len(self._fits)

    def __repr__(self) -> str:
        scored = [value for value in self.auroc.values() if not math.isnan(value)]
        best = f"; best held-out AUROC {max(scored):.3f} at block {self.best.site.layer}" if scored else ""
        return f"<CAVs of one set of texts at the blocks {', '.join(map(str, self._fits))}{best}>"

    @property
    def auroc(self) -> dict[int, float]:
        """The mean held-out AUROC at each block."""
        return {layer: cav.report.auroc for layer, cav in self._fits.items() if cav.report is not None}

    @property
    def best(self) -> CAV:
        """The CAVs of the block with the highest mean held-out AUROC, the earlier of two that are equal.

        Raises:
            ValueError: nothing was held out, so there is nothing to choose by.
        """
        found = {layer: value for layer, value in self.auroc.items() if not math.isnan(value)}
        if not found:
            raise ValueError("No text was held out, so no block is known to be the best; fit with held_out=0.2.")
        return self._fits[max(found, key=lambda layer: found[layer])]
