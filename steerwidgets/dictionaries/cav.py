"""Concept activation vectors: one labelled direction for each concept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from steerwidgets.dictionaries.base import Dictionary
from steerwidgets.sites import Site, Stream
from steerwidgets.steer import Feature

if TYPE_CHECKING:
    from torch import Tensor

_TENSOR = "vectors"


class CAV(Dictionary):
    """A set of concept activation vectors (Kim et al. 2018), read as `h·v` and steered by adding `α·v`.

    Args:
        vectors: [concept, d_model], kept as they are (not normalised).
        labels: one for each row.
        layer: the block, counted from 0.
        stream: the stream of that block.
        suggested: for each row, an op and its numbers that were seen to work, or None.
        max_activations: for each row, the largest `h·v` over `max_activation_of`, or None.
        max_activation_of: the corpus of the maxima and its size.
        provenance: where the vectors come from.

    Raises:
        ValueError: shapes and labels do not fit, or a row is zero or not finite.
    """

    kind: ClassVar[str] = "CAV"

    def __init__(
        self,
        vectors: Tensor,
        labels: Sequence[str],
        *,
        layer: int,
        stream: Stream = "resid_post",
        suggested: Sequence[tuple[str, Mapping[str, float]] | None] | None = None,
        max_activations: Sequence[float | None] | None = None,
        max_activation_of: str | None = None,
        provenance: Mapping[str, str] | None = None,
    ) -> None:
        import torch

        self.vectors = torch.as_tensor(vectors).detach().to("cpu", torch.float32)
        if self.vectors.ndim != 2 or len(self.vectors) != len(labels):
            raise ValueError(
                f"CAVs are vectors [concept, d_model] with one label for each row, but vectors of shape "
                f"{list(self.vectors.shape)} and {len(labels)} labels were given."
            )
        bad = (~torch.isfinite(self.vectors)).any(-1) | ~self.vectors.any(-1)
        if bool(bad.any()):
            row = int(bad.nonzero()[0])
            raise ValueError(f"The vector of {labels[row]!r} (row {row}) is zero or holds NaN or infinite values.")
        self.labels = tuple(labels)
        self.site = Site(layer, stream)
        self.provenance = dict(provenance or {})
        self._suggested = _for_each_row("suggested", suggested, len(labels))
        self._max_activations = _for_each_row("max_activations", max_activations, len(labels))
        self._max_activation_of = max_activation_of

    @property
    def size(self) -> int:
        """How many concepts there are."""
        return len(self.vectors)

    def weights(self) -> Iterable[Tensor]:
        """The vectors."""
        return (self.vectors,)

    def encode(self, h: Tensor) -> Tensor:
        """`h·v` for every concept, float32 [..., size]."""
        return h.float() @ self.vectors.to(h.device).T

    @property
    def d_model(self) -> int:
        """The width of the site."""
        return int(self.vectors.shape[1])

    def vector(self, index: int) -> Tensor:
        """The stored direction of a concept, float32 [d_model]."""
        return self.vectors[index]

    def feature(self, index: int) -> Feature:
        """The concept at an index."""
        return Feature(
            self.vectors[index],
            self.site,
            self.label(index),
            dictionary=self.fingerprint,
            dictionary_kind=self.kind,
            index=index,
            max_activation=self._max_activations[index],
            max_activation_of=self._max_activation_of,
            suggested=self._suggested[index],
        )

    def save(self, path: str | Path) -> None:
        """Write a safetensors file that `CAV.load` reads: the vectors, and all else as JSON in its header."""
        from safetensors.torch import save_file

        header = {
            "labels": self.labels,
            "layer": self.site.layer,
            "stream": self.site.stream,
            "suggested": self._suggested,
            "max_activations": self._max_activations,
            "max_activation_of": self._max_activation_of,
            "provenance": self.provenance,
        }
        save_file({_TENSOR: self.vectors.contiguous()}, Path(path), {"cav": json.dumps(header, ensure_ascii=False)})

    @classmethod
    def load(cls, path: str | Path, *, layer: int | None = None, stream: Stream | None = None) -> CAV:
        """Read CAVs from a safetensors file of `save`, or a `.pt` file that holds `{"cavs", "labels"}`.

        No code in the file is run.

        Args:
            path: the file.
            layer: the block; needed for `.pt` files, which do not say.
            stream: the stream, `resid_post` where neither this nor the file says.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not one of the two, or the layer is missing.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"There is no CAV file at {str(path)!r}.")
        vectors, header = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pt(path)
        layer = header.pop("layer", None) if layer is None else layer
        if layer is None:
            raise ValueError(f"{path.name} does not say which block its CAVs belong to; pass layer=.")
        header.pop("layer", None)
        stream = stream or header.pop("stream", "resid_post")
        header.pop("stream", None)
        loaded = cls(vectors, header.pop("labels"), layer=layer, stream=stream, **header)
        loaded.source_code = f"sw.CAV.load({str(path)!r}, layer={layer})"
        return loaded

    @classmethod
    def demo(cls) -> CAV:
        """The concepts shipped for the embedded model."""
        from steerwidgets.demo.cavs import load_demo_cavs

        return load_demo_cavs()


def _for_each_row(name: str, values: Sequence[Any] | None, rows: int) -> tuple[Any, ...]:
    if values is None:
        return (None,) * rows
    if len(values) != rows:
        raise ValueError(f"{name} has one entry for each of the {rows} concepts, but {len(values)} were given.")
    return tuple(tuple(value) if isinstance(value, list) else value for value in values)


def _read_safetensors(path: Path) -> tuple[Tensor, dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if "cav" not in metadata:
                raise ValueError(f"{path.name} is a safetensors file, but not one that CAV.save wrote.")
            return file.get_tensor(_TENSOR), dict(json.loads(metadata["cav"]))
    except SafetensorError as error:
        raise ValueError(f"{path.name} is not a whole safetensors file ({error}); download or make it again.") from None


def _read_pt(path: Path) -> tuple[Tensor, dict[str, Any]]:
    import pickle

    import torch

    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{path.name} holds more than plain tensors, and loading it could run code, so it was not loaded; "
            'save it again as {"cavs": tensor, "labels": list of str}.'
        ) from None
    except (RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{path.name} is not a whole PyTorch file ({error}); download or make it again.") from None
    if not isinstance(value, dict) or not {"cavs", "labels"} <= set(value):
        found = ", ".join(map(str, value)) if isinstance(value, dict) else type(value).__name__
        raise ValueError(f'A CAV file holds {{"cavs", "labels"}}, but {path.name} holds {found}.')
    return value["cavs"], {"labels": [str(label) for label in value["labels"]]}
