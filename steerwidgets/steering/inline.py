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

from steerwidgets.files.fields import NEEDED, Fields, is_whole
from steerwidgets.files.shown import shown
from steerwidgets.files.tensors import finite

if TYPE_CHECKING:
    from torch import Tensor

Reader = Callable[[Fields, Mapping[str, Any]], Any]
"""Makes a feature of what it wrote, and of the arguments that features of all kinds take."""

FORMS: Final[dict[str, Reader]] = {}
"""Readers by the name of what they read; each kind adds its own."""


def tensor_json(tensor: Tensor) -> dict[str, Any]:
    """A tensor as a JSON value: its float32 numbers in base64, and its shape."""
    data = tensor.detach().float().cpu().numpy().astype("<f4").tobytes()
    return {"data": base64.b64encode(data).decode(), "dtype": "float32", "shape": list(tensor.shape)}


def tensor_from_json(said: Fields, name: str, axes: int = 1) -> Tensor:
    """The inverse of `tensor_json`, of finite numbers.

    Args:
        said: what holds it.
        name: what it is called there.
        axes: how many it has.

    Raises:
        ValueError: the numbers are cut, do not fit the shape, are of another type, or are not finite.
    """
    import numpy as np
    import torch

    written = said.inner(name, NEEDED)
    if (dtype := written.text("dtype")) != "float32":
        raise ValueError(
            f"This recipe is damaged: {name} is written as float32, but this one as {shown(dtype)}; write it again."
        )
    data, shape = written.text("data"), written.items("shape", of="whole numbers")
    if len(shape) != axes or not all(is_whole(n) and 0 < n <= len(data) for n in shape):
        raise written.wrong("shape", f"{axes} whole number{'s' * (axes > 1)}, as many as there are numbers")
    try:
        numbers = np.frombuffer(base64.b64decode(data, validate=True), dtype="<f4").reshape(shape)
    except ValueError:
        raise ValueError(
            f"This recipe is damaged: the numbers of {name} (its data) are cut or do not fit its shape; write it again."
        ) from None
    return finite(torch.from_numpy(numbers.copy()), f"This recipe is damaged: {name}")
