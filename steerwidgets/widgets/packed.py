"""Arrays inside traits: as on the wire, but their bytes as base64 text.

JupyterLab drops binary buffers when it saves widget state (jupyterlab#16264), so an array that has to survive in an
executed notebook travels as text; it costs a third more bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from steerwidgets.widgets.arrays import decode_array, encode_array


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
    return decode_array({**value, "data": base64.b64decode(value["data"])})
