"""Files of tensors, read without running code that they may carry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_PYTORCH = (b"PK", b"\x80")
"""How a file of `torch.save` begins: a zip archive, or a bare pickle."""


def load_plain(path: Path, save_as: str) -> Any:
    """What a `.pt` file holds, without running code that it may carry.

    Args:
        path: the file.
        save_as: what it should be saved as, for the message.

    Raises:
        ValueError: it holds more than plain tensors, or is damaged.
    """
    import pickle

    import torch

    with path.open("rb") as file:
        if not file.read(2).startswith(_PYTORCH):
            raise ValueError(f"{path.name} is not a whole PyTorch file; download or make it again.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{path.name} holds more than plain tensors, and loading it could run code, so it was not loaded; "
            f"save it again as {save_as}."
        ) from None
    except (RuntimeError, EOFError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path.name} is not a whole PyTorch file ({reason}); download or make it again.") from None


def read_safetensors(path: Path, what: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the header of a safetensors file of ours.

    Args:
        path: the file.
        what: what it holds, for the message.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or something else.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"There is no file of {what} at {str(path)!r}.")
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            return tensors, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path.name} is not a whole safetensors file ({error}); make it again.") from None
