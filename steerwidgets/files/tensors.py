"""Tensors from outside: dense, of real floating-point numbers, of the shape that their name says, and finite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.files.shown import shown

if TYPE_CHECKING:
    from torch import Tensor

Axis = str | tuple[str, int]
"""An axis by what it counts, as `feature`, with its length where that is known."""

_TODO: Final = "make it again"


def dense(value: Any, name: str) -> Tensor:
    """A tensor that can be computed with; lists of numbers become float32.

    Args:
        value: a tensor, an array, or lists of numbers.
        name: what messages call it, as `W_enc` or `'mu' of this MFA`.

    Raises:
        ValueError: it is no such thing, sparse, quantised, without numbers (on the meta device), or of whole, complex
            or truth values.
    """
    import numpy as np
    import torch

    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.dtype.itemsize <= 8:
        value = torch.from_numpy(np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("=")))
    elif isinstance(value, list | tuple):
        value = _of_lists(value, name)
    if not isinstance(value, torch.Tensor):
        raise ValueError(f"{name} should be a tensor of floating-point numbers, but {shown(value)} was given; {_TODO}.")
    if value.layout != torch.strided or value.is_quantized or value.is_meta:
        how = (
            "without numbers (on the meta device)" if value.is_meta else "quantised" if value.is_quantized else "sparse"
        )
        raise ValueError(f"{name} should be a dense tensor, but one that is {how} was given; {_TODO}.")
    if not value.is_floating_point():
        raise ValueError(
            f"{name} holds {str(value.dtype).removeprefix('torch.')}, not floating-point numbers; save it as float32."
        )
    return value.detach()


def shaped(tensor: Tensor, name: str, axes: Sequence[Axis]) -> Tensor:
    """A tensor of a shape; an axis without a length has to have at least one entry.

    Raises:
        ValueError: it has another shape.
    """
    lengths = [axis[1] if isinstance(axis, tuple) else None for axis in axes]
    found = list(tensor.shape)
    fits = len(found) == len(axes) and all(
        n == length if length is not None else n > 0 for n, length in zip(found, lengths, strict=True)
    )
    if not fits:
        wanted = ", ".join(f"{axis[0]}: {axis[1]}" if isinstance(axis, tuple) else axis for axis in axes)
        raise ValueError(f"{name} is [{wanted}], but one of shape {found} was given; {_TODO}.")
    return tensor


def finite(tensor: Tensor, name: str, *, but_nan: bool = False) -> Tensor:
    """A tensor without infinite values, and without NaN unless that stands for what is not known.

    Raises:
        ValueError: there is one.
    """
    import torch

    values = tensor if tensor.dtype.itemsize > 1 else tensor.float()
    if but_nan:
        if bool(values.isinf().any()):
            raise ValueError(f"{name} holds an infinite value; {_TODO}, with NaN where nothing is known.")
        return tensor
    # The sum of finite numbers is finite, and costs one pass and no memory.
    if bool(torch.isfinite(values.sum(dtype=torch.float64 if values.ndim < 2 else torch.float32))):
        return tensor
    for row, each in enumerate(values if values.ndim else values[None]):
        if not bool(torch.isfinite(each).all()):
            raise ValueError(f"{name} holds NaN or infinite values (row {row}), so it can't read or steer; {_TODO}.")
    return tensor


def checked(value: Any, name: str, axes: Sequence[Axis]) -> Tensor:
    """A dense and finite tensor of a shape.

    Raises:
        ValueError: it is something else.
    """
    return finite(shaped(dense(value, name), name, axes), name)


def _of_lists(value: Sequence[Any], name: str) -> Tensor:
    import torch

    if value and all(isinstance(each, torch.Tensor) for each in value):
        if len({each.shape for each in value}) == 1:
            return torch.stack(list(value))
    elif _is_numbers(value):
        return torch.tensor(value, dtype=torch.float32)
    raise ValueError(f"{name} should be rows of numbers of one length, but {shown(value)} was given; {_TODO}.")


def _is_numbers(value: Any, depth: int = 3) -> bool:
    """Whether lists hold numbers only, as many in each."""
    if not isinstance(value, list | tuple):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if depth == 0 or len({len(each) if isinstance(each, list | tuple) else -1 for each in value}) > 1:
        return False
    return all(_is_numbers(each, depth - 1) for each in value)
