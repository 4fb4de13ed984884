"""Linear layers of a few rows on a CPU: as `(W·xᵀ)ᵀ` where that is measured to be faster than `x·Wᵀ`.

A step of generation reads every weight once, whether for one row or for several, so that several rows should cost what
one costs. PyTorch's `F.linear` costs up to four times that on some processors, and the same product the other way
around does not.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product, repeat
from types import MethodType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor, nn

    from steerwidgets.transformer.architecture import Architecture

MOST: Final = 16
"""Of more rows the usual way is as fast."""

_GAIN: Final = 0.95
"""What the other way may cost of the usual one's time to be taken."""

_SAMPLE: Final = 6
"""Layers of one shape that are measured: several, since weights come from memory and not from a cache."""

_ROUNDS: Final = range(3, 12)
"""Measurements of each way, and when they took their time, the least."""

_SECONDS: Final = 0.3
"""The time that they may take beyond the least."""

_Shape = tuple[int, ...]

_chosen: Final[dict[tuple[_Shape, int, int], int]] = {}
"""Of a weight's shape, rows and threads: the columns that `x` gets; 0 for the usual way. Measured once in a session."""

_NO_RUN: Final[tuple[int, dict[_Shape, int]]] = (0, {})

_in_thread: Final = threading.local()
"""`run`: the rows of this thread's run and the columns of each shape."""


@contextmanager
def few_rows(architecture: Architecture, rows: int) -> Iterator[None]:
    """While it lasts, this thread's forwards of so many rows compute linear layers the faster way.

    Only plain `nn.Linear` with float32 weights on a CPU, in evaluation, without gradients or autocast. Their `forward`
    is hidden by one that does as the class does for other threads and other numbers of rows, and is shown again
    whatever happens.

    Args:
        architecture: the model's parts; nothing of it changes but for that.
        rows: the rows of a batch that each brings one token.
    """
    layers = _plain_layers(architecture) if rows <= MOST else []
    columns = {shape: chosen for shape, chosen in _columns(layers, rows).items() if chosen}
    served = [layer for layer in layers if layer.weight.shape in columns and "forward" not in vars(layer)]
    hiding = [(vars(layer), MethodType(_forward, layer)) for layer in served]
    before = getattr(_in_thread, "run", None)
    try:
        try:
            for attributes, own in hiding:
                attributes["forward"] = own
            _in_thread.run = (rows, columns)
            yield
        finally:
            _end(hiding, before)
    finally:
        _end(hiding, before)  # again, where a Ctrl-C cut the first time short


@contextmanager
def usual_rows() -> Iterator[None]:
    """While it lasts, this thread's forwards are PyTorch's own again: for a user's code in the middle of a run."""
    before = getattr(_in_thread, "run", None)
    _in_thread.run = None
    try:
        yield
    finally:
        _in_thread.run = before


def _end(hiding: Sequence[tuple[dict[str, Any], object]], before: object) -> None:
    _in_thread.run = before
    still = [attributes for attributes, own in hiding if attributes.get("forward") is own]
    # One call into C, so that no Ctrl-C comes between two layers.
    deque(map(dict.pop, still, repeat("forward"), repeat(None)), maxlen=0)


def _forward(layer: nn.Linear, x: Tensor) -> Tensor:
    """`nn.Linear.forward` in its place. A method of the layer, so that a copy of the layer gets one of its own."""
    import torch
    from torch import nn

    rows, columns = getattr(_in_thread, "run", None) or _NO_RUN
    chosen = columns.get(layer.weight.shape)
    if chosen is None or x.numel() != rows * x.shape[-1] or x.dtype != torch.float32 or torch.is_grad_enabled():
        return nn.Linear.forward(layer, x)
    return _other_way(layer, x, chosen)


def _other_way(layer: nn.Linear, x: Tensor, columns: int) -> Tensor:
    import torch

    flat = x.reshape(-1, x.shape[-1])
    rows = len(flat)
    if columns > rows:
        flat = torch.cat([flat, flat.new_zeros(columns - rows, flat.shape[1])])
    out = torch.mm(layer.weight, flat.T)[:, :rows].T.contiguous()
    if layer.bias is not None:
        out += layer.bias
    return out.view(*x.shape[:-1], len(layer.weight))


def _plain_layers(architecture: Architecture) -> list[nn.Linear]:
    import torch
    from torch import nn

    if torch.is_autocast_enabled("cpu") or architecture.is_compiled:
        return []
    return [each for each in architecture.model.modules() if type(each) is nn.Linear and _is_plain(each)]


def _is_plain(layer: nn.Linear) -> bool:
    import torch
    from torch import nn

    forward = vars(layer).get("forward")
    is_anothers = forward is not None and getattr(forward, "__func__", None) is not _forward
    if layer.training or is_anothers or type(layer.weight) is not nn.Parameter or not layer.weight.is_contiguous():
        return False
    tensors = [each for each in (layer.weight, layer.bias) if each is not None]
    return all(each.dtype == torch.float32 and each.device.type == "cpu" for each in tensors)


def _columns(layers: Sequence[nn.Linear], rows: int) -> Mapping[_Shape, int]:
    """For each shape of weight, the columns with which the other way is faster; 0 where it is not."""
    import torch

    threads = torch.get_num_threads()
    of_shape: dict[_Shape, list[nn.Linear]] = {}
    for layer in layers:
        of_shape.setdefault(tuple(layer.weight.shape), []).append(layer)
    unknown = [some[:_SAMPLE] for shape, some in of_shape.items() if (shape, rows, threads) not in _chosen]
    for sample, columns in zip(unknown, _measured(unknown, rows) if unknown else (), strict=True):
        _chosen[tuple(sample[0].weight.shape), rows, threads] = columns
    return {shape: _chosen[shape, rows, threads] for shape in of_shape}


def _measured(samples: Sequence[Sequence[nn.Linear]], rows: int) -> list[int]:
    import torch
    from torch import nn

    # Kernels treat what is left over four columns in another way, so that equal rows would not come out equal.
    columns = max(2, rows if rows <= 4 else -(-rows // 4) * 4)
    inputs = [_equal_rows(sample[0], rows) for sample in samples]
    ways = (nn.Linear.forward, lambda layer, x: _other_way(layer, x, columns))
    least: dict[tuple[int, int], list[float]] = {}
    begun = time.perf_counter()
    with torch.no_grad():
        for done in range(_ROUNDS.stop):
            if done >= _ROUNDS.start and time.perf_counter() - begun > _SECONDS:
                break
            # All layers one way, then all the other: the weights have left the cache when they come again.
            for way, shape in product(range(len(ways)), range(len(samples))):
                taken = [_seconds(ways[way], layer, inputs[shape]) for layer in samples[shape]]
                before = least.get((shape, way), taken)
                # Of each layer by itself, for others' work on the machine hits few of so short times.
                least[shape, way] = [min(pair) for pair in zip(before, taken, strict=True)]
        even = [_is_even(_other_way(sample[0], x, columns)) for sample, x in zip(samples, inputs, strict=True)]
    usual, other = ([sum(least[shape, way]) for shape in range(len(samples))] for way in range(len(ways)))
    return [columns if even[i] and other[i] < _GAIN * usual[i] else 0 for i in range(len(samples))]


def _seconds(way: Callable[[nn.Linear, Tensor], Tensor], layer: nn.Linear, x: Tensor) -> float:
    begun = time.perf_counter()
    way(layer, x)
    return time.perf_counter() - begun


def _equal_rows(layer: nn.Linear, rows: int) -> Tensor:
    import torch

    drawn: Tensor = torch.randn(layer.weight.shape[1], generator=torch.Generator().manual_seed(0))
    return drawn.repeat(rows, 1)


def _is_even(out: Tensor) -> bool:
    """Whether equal rows came out equal to the last bit."""
    return bool((out == out[0]).all())
