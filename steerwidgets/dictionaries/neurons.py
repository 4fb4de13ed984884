"""The neurons of a block's MLP as a dictionary: the values that enter its last matrix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from steerwidgets.dictionaries.base import Dictionary, call, refuse_other_width
from steerwidgets.dictionaries.names import LabelsLike
from steerwidgets.files.fields import Fields
from steerwidgets.steering import ops
from steerwidgets.steering.inline import FORMS
from steerwidgets.steering.ops import Op
from steerwidgets.steering.recipe import Direction, Feature, Steer
from steerwidgets.transformer.architecture import Architecture
from steerwidgets.transformer.sites import Site
from steerwidgets.transformer.written_to_residual import written

if TYPE_CHECKING:
    from torch import Tensor, nn

_WIDTHS: Final = ("in_features", "nx")
_SAMPLE: Final = 4096
_WIDEST: Final = 2**22
"""No MLP is wider; the axis of a neuron has as many numbers."""


class HasArchitecture(Protocol):
    """A `LanguageModel`, as far as neurons need it."""

    @property
    def architecture(self) -> Architecture:
        """The model's parts."""
        ...


@dataclass(frozen=True, eq=False, repr=False)
class Neuron(Feature):
    """One neuron: its direction is an axis of the MLP's inner space, its activation the value there."""

    reads: ClassVar[str] = "value"
    reads_projection: ClassVar[bool] = False

    architecture: Architecture | None = field(default=None, repr=False)

    @property
    def ops(self) -> Mapping[str, Op]:
        """`set`, `scale`, `ablate`, `clip`, `add` and `add_relative`."""
        return ops.NEURON_OPS

    def activation(self, h: Tensor) -> Tensor:
        """The neuron's value, float32 [...]."""
        self._refuse_other_width(h)
        return h[..., self.index].float()

    not_inline = ""

    def inline(self) -> dict[str, Any]:
        """How many neurons there are: its index says the rest."""
        return {"form": "neuron", "width": len(self.vector)}

    def set(self, c: float) -> Steer:
        """Give the neuron the value `c` at every position that the steer acts on."""
        return Steer(self, "set", {"c": c})

    def scale(self, m: float) -> Steer:
        """Multiply the neuron's value by `m`: 1 keeps it, 0 removes it."""
        return Steer(self, "scale", {"m": m})

    @property
    def output(self) -> Direction:
        """What the neuron writes to the residual stream per unit of its value, as `lm.top_logits` reads it.

        Its column of the MLP's last matrix; on Gemma 2 and 3 times the gain of the norm that follows (whose division
        by the MLP output's own scale is left out, since no text is given).
        """
        assert self.architecture is not None
        found = written(self.architecture, self.vector, self.site)
        assert found is not None
        return Direction(*found, f"output of {self.label}")


def _neuron(parts: Fields, entry: Mapping[str, Any]) -> Neuron:
    import torch

    width = parts.whole("width", low=1, high=_WIDEST)
    if not 0 <= entry["index"] < width:
        raise ValueError(f"This recipe is damaged: there is no neuron of index {entry['index']} among {width}.")
    axis = torch.zeros(width)
    axis[entry["index"]] = 1.0
    return Neuron(axis, **entry)


FORMS["neuron"] = _neuron


class Neurons(Dictionary):
    """The neurons of one block's MLP, on Llama, Gemma 2, GPT-2, NeoX and whatever is built like them.

    For gated MLPs the value is that of the product which enters `down_proj`; for others the activation function's.

    Args:
        lm: a `LanguageModel`; only its architecture is kept.
        layer: the block, counted from 0.
        labels: of the neurons, in any form of `LabelsLike`, or none.

    Raises:
        ValueError: there is no such block, its MLP has no last matrix that is known, or the labels do not fit.
    """

    kind: ClassVar[str] = "Neuron"
    are_axes: ClassVar[bool] = True

    def __init__(self, lm: HasArchitecture, layer: int, *, labels: LabelsLike | None = None) -> None:
        self.site = Site(layer, "mlp_acts")
        self._architecture = lm.architecture
        self._last = self._architecture.hookpoint(self.site).module
        self._width = _width(self._last, self._architecture)
        self.labels = labels
        self.provenance = {"model": self._architecture.name}
        self.source_code = call("sw.Neurons(lm", layer=layer, labels=labels)

    @property
    def size(self) -> int:
        """How many neurons there are."""
        return self._width

    @property
    def d_model(self) -> int:
        """The width of the site: the neurons themselves."""
        return self._width

    def vector(self, index: int) -> Tensor:
        """The axis of a neuron, float32 [neuron]."""
        import torch

        axis = torch.zeros(self._width)
        axis[index] = 1.0
        return axis

    def weights(self) -> Iterable[Tensor]:
        """The first numbers of the MLP's last matrix: enough to tell models apart."""
        parameter: Any = next(self._last.parameters())
        if not parameter.is_meta:
            yield parameter.detach().reshape(-1)[:_SAMPLE]

    def unlabelled(self, index: int) -> str:
        """A neuron without a label: its block and index."""
        return f"Neuron {self.site.layer}.{index}"

    def feature(self, index: int) -> Neuron:
        """The neuron at an index."""
        return Neuron(**self._entry(index), architecture=self._architecture)

    def __getitem__(self, name: int | str) -> Neuron:
        """A neuron by index or label."""
        found = super().__getitem__(name)
        assert isinstance(found, Neuron)
        return found

    def encode(self, h: Tensor) -> Tensor:
        """The values themselves, float32 [..., size]."""
        refuse_other_width(self, h)
        return h.float()

    def activations(self, h: Tensor, features: Sequence[int]) -> Tensor:
        """The values of some neurons, float32 [..., feature]."""
        refuse_other_width(self, h)
        return h[..., self.checked(features)].float()


def _width(last: nn.Module, architecture: Architecture) -> int:
    """The number of inputs of a matrix: `Linear` and quantised ones say `in_features`, GPT-2's `Conv1D` says `nx`."""
    for name in _WIDTHS:
        if hasattr(last, name):
            return int(getattr(last, name))
    raise ValueError(
        f"The number of neurons of {architecture.name} is not known: {type(last).__name__} says neither "
        f"{' nor '.join(_WIDTHS)}."
    )
