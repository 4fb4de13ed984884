"""What ops ask of a feature, as tensors and plain functions: it travels to where a model runs that is not here.

Such a place has torch and none of our classes, so what goes there is written without them: no decorators, no `super`,
no dataclass, and imports of torch alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Plain:
    """A feature without its dictionary.

    Args:
        vector: float32 [width], its direction.
        reads: from `h` to its activation; `h·v` where nothing is given.
        step: from `h` to how far `h` moves for one unit of activation; the vector where nothing is given.
        pulled: the change of `pull`, of `h`, its share and its loadings' numbers.
        part: which numbers of its site are its own.
        mean_output: what `mean` puts there.
        reading: the key of what was read elsewhere and is its activation.
    """

    def __init__(
        self,
        vector: Tensor,
        reads: Callable[[Tensor], Tensor] | None = None,
        step: Callable[[Tensor], Tensor] | None = None,
        pulled: Callable[..., Tensor] | None = None,
        *,
        part: slice | None = None,
        mean_output: Tensor | None = None,
        reading: str | None = None,
    ) -> None:
        self.vector = vector
        self._reads, self._step, self._pulled = reads, step, pulled
        self.part = part
        self.mean_output = mean_output
        self.reading = reading
        self.read: Tensor | None = None

    def vector_on(self, device: torch.device) -> Tensor:
        """The direction on a device, float32 [width]."""
        return self.tensor_on("vector", device)

    def tensor_on(self, name: str, device: torch.device) -> Tensor:
        """One of its tensors on a device."""
        tensor: Tensor = getattr(self, name)
        return tensor.to(device)

    def activation(self, h: Tensor) -> Tensor:
        """Its activation, float32 [...], of `h` [..., width]."""
        if self.read is not None:
            return self.read
        return h.float() @ self.vector_on(h.device) if self._reads is None else self._reads(h.float())

    def step(self, h: Tensor) -> Tensor:
        """How far `h` moves for one unit of activation: float32 that broadcasts to `h`."""
        return self.vector_on(h.device) if self._step is None else self._step(h)

    def pulled(self, h: Tensor, a: float, z: list[float]) -> Tensor:
        """The change of `pull`, float32 [..., width]."""
        assert self._pulled is not None
        return self._pulled(h, a, z)


def positive_part(vector: Tensor, h: Tensor) -> Tensor:
    """`relu(h·v)`."""
    return (h @ vector.to(h.device)).relu()


def one_number(index: int, h: Tensor) -> Tensor:
    """One of the numbers of a site."""
    return h[..., index]


def length_of_part(part: slice, h: Tensor) -> Tensor:
    """The length of some of the numbers of a site."""
    length: Tensor = h[..., part].norm(dim=-1)
    return length
