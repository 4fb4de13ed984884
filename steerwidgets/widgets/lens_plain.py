"""A lens as plain JSON: what is shown, as nested lists that numpy reads back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from steerwidgets.widgets.packed import unpack


def plain(value: Any) -> Any:
    """The same value with each packed array as nested lists; NaN and infinities as null."""
    if isinstance(value, Mapping):
        if set(value) == {"data", "dtype", "shape"}:
            return _listed(unpack(value))
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def plain_vocabulary(vocabulary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The tokens by their ids."""
    if not vocabulary:
        return {}
    fragments = set(vocabulary["fragments"])
    ids = unpack(vocabulary["ids"]).tolist()
    return {
        str(i): {"text": text, "fragment": i in fragments} for i, text in zip(ids, vocabulary["texts"], strict=True)
    }


def _listed(array: np.ndarray[Any, Any]) -> Any:
    if array.dtype != np.float32:
        return array.tolist()
    # The shortest number that float32 can't tell from it: 0.342, not 0.34200000762939453.
    texts = array.astype(str).ravel()
    numbers = [None if text in ("nan", "inf", "-inf") else float(text) for text in texts.tolist()]
    return np.array(numbers, dtype=object).reshape(array.shape).tolist()
