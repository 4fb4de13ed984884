"""Tensors as JSON values, and the readers of features that a recipe writes out whole.

A feature says by `inline()` what its ops need of it, and names a form; its kind registers who reads that form. So a
recipe can be read without the dictionary: an SAE's latent is its encoder column, bias, threshold and decoder row, a
component of an MFA its centroid and loadings. What depends on the rest of its dictionary (TopK, a whole mixture) can't
be written out.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor

Reader = Callable[[Mapping[str, Any], Mapping[str, Any]], Any]
"""Makes a feature of what it wrote, and of the arguments that features of all kinds take."""

FORMS: Final[dict[str, Reader]] = {}
"""Readers by the name of what they read; each kind adds its own."""


def tensor_json(tensor: Tensor) -> dict[str, Any]:
    """A tensor as a JSON value: its float32 numbers in base64, and its shape."""
    data = tensor.detach().float().cpu().numpy().astype("<f4").tobytes()
    return {"data": base64.b64encode(data).decode(), "dtype": "float32", "shape": list(tensor.shape)}


def tensor_from_json(value: Mapping[str, Any]) -> Tensor:
    """The inverse of `tensor_json`.

    Raises:
        ValueError: the numbers are cut, do not fit the shape, or are of another type.
    """
    import numpy as np
    import torch

    if value["dtype"] != "float32":
        raise ValueError(f"This recipe is damaged: a vector is written as float32, but this one as {value['dtype']!r}.")
    try:
        data = np.frombuffer(base64.b64decode(value["data"], validate=True), dtype="<f4").reshape(value["shape"])
    except ValueError:
        raise ValueError("This recipe is damaged: the numbers of a vector are cut or do not fit its shape.") from None
    return torch.from_numpy(data.copy())
