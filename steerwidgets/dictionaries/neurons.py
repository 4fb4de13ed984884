"""The neurons of a block's MLP as a dictionary: the values that enter its last matrix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from steerwidgets.dictionaries.base import Dictionary, call, refuse_other_width
from steerwidgets.dictionaries.names import LabelsLike
from steerwidgets.files.fields import Fields
from steerwidgets.steering import ops
from steerwidgets.steering.inline import FORMS
from steerwidgets.steering.ops import Op
from steerwidgets.steering.plain import Plain, one_number
from steerwidgets.steering.recipe import Direction, Feature, Steer
from steerwidgets.transformer.architecture import Architecture
from steerwidgets.transformer.mistakes import refuse_no_model
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
    """One neuron: its direction is an axis of the MLP's inner space, its activation the value there.

    Attributes:
        architecture: the parts of the model that it belongs to; None where a recipe was read without it.

    Example:
        >>> neuron = sw.Neurons(lm, layer=1)[5]
        >>> neuron.set(2.0)
        'Neuron 1.5'.set(2)
    """

    reads: ClassVar[str] = "value"
    reads_projection: ClassVar[bool] = False

    architecture: Architecture | None = field(default=None, repr=False)

    @property
    def _ops(self) -> Mapping[str, Op]:
        return ops.NEURON_OPS

    def activation(self, h: Tensor) -> Tensor:
        """The neuron's value.

        Args:
            h: [..., neuron], what enters the MLP's last matrix.

        Returns:
            float32 [...].

        Raises:
            ValueError: there are more or fewer neurons than the model has.

        Example:
            >>> h = torch.randn(4, 48)  # the tiny model's MLP has 48 neurons
            >>> torch.equal(sw.Neurons(lm, layer=1)[5].activation(h), h[:, 5])
            True
        """
        self._refuse_other_width(h)
        return h[..., self.index].float()

    not_inline = ""

    def inline(self) -> dict[str, Any]:
        """How many neurons there are: its index says the rest.

        Returns:
            A JSON value.

        Example:
            >>> sw.Neurons(lm, layer=1)[5].inline()
            {'form': 'neuron', 'width': 48}
        """
        return {"form": "neuron", "width": len(self.vector)}

    def _plain(self, read: bool) -> Plain:  # noqa: ARG002 - its index is all that it is
        """The neuron without its dictionary."""
        return Plain(self.vector, partial(one_number, self.index))

    def set(self, c: float) -> Steer:
        """Give the neuron the value `c` at every position that the steer acts on.

        Args:
            c: the value.

        Returns:
            The steer.

        Example:
            >>> sw.Neurons(lm, layer=1)[5].set(2.0)
            'Neuron 1.5'.set(2)
        """
        return Steer(self, "set", {"c": c})

    def scale(self, m: float) -> Steer:
        """Multiply the neuron's value by `m`: 1 keeps it, 0 removes it.

        Args:
            m: the factor.

        Returns:
            The steer.

        Example:
            >>> sw.Neurons(lm, layer=1)[5].scale(0)
            'Neuron 1.5'.scale(0)
        """
        return Steer(self, "scale", {"m": m})

    @property
    def output(self) -> Direction:
        """What the neuron writes to the residual stream per unit of its value, as `lm.top_logits` reads it.

        Its column of the MLP's last matrix; on Gemma 2 and 3 times the gain of the norm that follows (whose division
        by the MLP output's own scale is left out, since no text is given).

        Example:
            >>> sw.Neurons(lm, layer=1)[5].output.vector.shape
            torch.Size([32])
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

    Example:
        >>> neurons = sw.Neurons(lm, layer=1)
        >>> neurons
        <Neuron of 48 features at block 1 mlp_acts>
        >>> lm.read("The answer", neurons, [5]).values.shape[1]
        1
    """

    kind: ClassVar[str] = "Neuron"
    are_axes: ClassVar[bool] = True

    def __init__(self, lm: HasArchitecture, layer: int, *, labels: LabelsLike | None = None) -> None:
        if not hasattr(lm, "architecture"):
            refuse_no_model(lm, "sw.Neurons", "layer=15")
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
        """The axis of a neuron.

        Args:
            index: the neuron.

        Returns:
            float32 [neuron], 1 at the index and 0 elsewhere.

        Example:
            >>> sw.Neurons(lm, layer=1).vector(5).nonzero().tolist()
            [[5]]
        """
        import torch

        axis = torch.zeros(self._width)
        axis[index] = 1.0
        return axis

    def weights(self) -> Iterable[Tensor]:
        """The first numbers of the MLP's last matrix: enough to tell models apart.

        Returns:
            At most one tensor; none where the weights are not in memory.

        Example:
            >>> len(list(sw.Neurons(lm, layer=1).weights()))
            1
        """
        return first_weights(self._last)

    def unlabelled(self, index: int) -> str:
        """A neuron without a label: its block and index.

        Args:
            index: the neuron.

        Returns:
            Its name.

        Example:
            >>> sw.Neurons(lm, layer=1).unlabelled(5)
            'Neuron 1.5'
        """
        return f"Neuron {self.site.layer}.{index}"

    def feature(self, index: int) -> Neuron:
        """The neuron at an index.

        Args:
            index: the neuron, which is known to exist; `neurons[…]` checks, and takes labels too.

        Returns:
            The neuron.

        Example:
            >>> sw.Neurons(lm, layer=1).feature(5)
            <Neuron 'Neuron 1.5' at block 1 mlp_acts>
        """
        return Neuron(**self._entry(index), architecture=self._architecture)

    def __getitem__(self, name: int | str) -> Neuron:
        """A neuron by index or label."""
        found = super().__getitem__(name)
        assert isinstance(found, Neuron)
        return found

    def encode(self, h: Tensor) -> Tensor:
        """The values themselves.

        Args:
            h: [..., size], what enters the MLP's last matrix.

        Returns:
            float32 [..., size].

        Raises:
            ValueError: there are more or fewer than the MLP has.

        Example:
            >>> sw.Neurons(lm, layer=1).encode(torch.randn(4, 48)).shape
            torch.Size([4, 48])
        """
        refuse_other_width(self, h)
        return h.float()

    def activations(self, h: Tensor, features: Sequence[int]) -> Tensor:
        """The values of some neurons.

        Args:
            h: [..., size], what enters the MLP's last matrix.
            features: indices.

        Returns:
            float32 [..., feature].

        Raises:
            IndexError: there is no such neuron.
            ValueError: there are more or fewer than the MLP has.

        Example:
            >>> sw.Neurons(lm, layer=1).activations(torch.randn(4, 48), [0, 5]).shape
            torch.Size([4, 2])
        """
        refuse_other_width(self, h)
        return h[..., self.checked(features)].float()


def first_weights(module: nn.Module) -> Iterator[Tensor]:
    """The first numbers of a matrix, enough to tell models apart; none where they are not in memory."""
    parameter: Any = next(module.parameters())
    if not parameter.is_meta:
        yield parameter.detach().reshape(-1)[:_SAMPLE]


def _width(last: nn.Module, architecture: Architecture) -> int:
    """The number of inputs of a matrix: `Linear` and quantised ones say `in_features`, GPT-2's `Conv1D` says `nx`."""
    for name in _WIDTHS:
        if hasattr(last, name):
            return int(getattr(last, name))
    raise ValueError(
        f"The number of neurons of {architecture.name} is not known: {type(last).__name__} says neither "
        f"{' nor '.join(_WIDTHS)}."
    )
