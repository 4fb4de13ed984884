"""Arrays on the wire: `{data, dtype, shape}`, little-endian and contiguous; the front-end has the same codec."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from steerwidgets.files.shown import shown

DTYPES: Final = (
    "float32",
    "float16",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "bool",
)


def encode_array(array: NDArray[Any]) -> dict[str, Any]:
    """An array as a value that travels in a trait or a message.

    Raises:
        ValueError: the dtype is not one that the front-end can read.
    """
    dtype = array.dtype.name
    if dtype not in DTYPES:
        raise ValueError(f"An array of dtype {dtype} can't be sent; convert it to one of {', '.join(DTYPES)}.")
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return {"data": little.tobytes(), "dtype": dtype, "shape": list(array.shape)}


def decode_array(value: Mapping[str, Any]) -> NDArray[Any]:
    """The inverse of `encode_array`; the result is a copy.

    Raises:
        ValueError: the value is not an encoded array, or its data and shape do not fit.
    """
    dtype, data, shape = (_field(value, name) for name in ("dtype", "data", "shape"))
    is_shape = isinstance(shape, list | tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not (
        isinstance(dtype, str) and dtype in DTYPES and isinstance(data, bytes | bytearray | memoryview) and is_shape
    ):
        raise ValueError("An array travels as {data, dtype, shape}; this value is not one.")
    kind = np.dtype(dtype)
    count, rest = divmod(memoryview(data).nbytes, kind.itemsize)
    if rest or count != math.prod(shape):
        told = f"{count} and a part of one" if rest else count
        raise ValueError(f"An array of shape {shown(list(shape))} was announced, but {told} numbers came.")
    return np.frombuffer(bytes(data), dtype=kind.newbyteorder("<")).reshape(shape).astype(kind)


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None


def pack(array: NDArray[Any]) -> dict[str, Any]:
    """An array as JSON: `{data: base64, dtype, shape}`.

    Raises:
        ValueError: the dtype is not one that the front-end can read.
    """
    value = encode_array(array)
    return {**value, "data": base64.b64encode(value["data"]).decode("ascii")}


def unpack(value: Mapping[str, Any]) -> NDArray[Any]:
    """The inverse of `pack`.

    Raises:
        ValueError: the value is not a packed array.
    """
    data = _field(value, "data")
    try:
        decoded = base64.b64decode(data, validate=True) if isinstance(data, str) else None
    except ValueError:
        decoded = None
    if decoded is None:
        raise ValueError("A packed array travels as {data: base64, dtype, shape}; this value is not one.")
    return decode_array({**value, "data": decoded})


def as_numpy(value: Any) -> NDArray[Any]:
    """Anything array-like as numpy; a tensor of torch on whatever device, of whatever dtype."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float().numpy() if value.is_floating_point() else value.numpy()
    found: NDArray[Any] = np.asarray(value)
    return found


def exact(value: np.float32 | float) -> float:
    """The shortest number that float32 can't tell from it: 42.3, not 42.29999923706055."""
    return float(str(np.float32(value)))
