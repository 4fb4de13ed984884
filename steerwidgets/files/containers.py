"""Files of tensors and arrays, read without running code that they may carry, whatever a library makes of damage."""

from __future__ import annotations

import contextlib
import errno
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.files.shown import shown

if TYPE_CHECKING:
    from torch import Tensor

_PYTORCH: Final = (b"PK", b"\x80")
"""How a file of `torch.save` begins: a zip archive, or a bare pickle."""

_START: Final = 200
_LARGE: Final = 2**28
"""A smaller file that asks for more memory than there is says something of itself that is not so."""

_ELSE: Final = (
    (b"version https://git-lfs", "it is a pointer of git-lfs, and git lfs pull fetches the file itself"),
    (b"<!doctype html", "it is a web page"),
    (b"<html", "it is a web page"),
)


def what_else(start: bytes) -> str:
    """What a file is in place of what it should be, as far as its first bytes tell; empty where they do not."""
    if not start.strip():
        return "it is empty"
    return next((what for begins, what in _ELSE if start.lstrip().lower().startswith(begins)), "")


@contextlib.contextmanager
def reading(path: Path, kind: str, *, todo: str = "download or make it again") -> Iterator[None]:
    """Turn whatever a library says of a file that it can't read into one sentence.

    The only place that catches them all: parsers of damaged files fail in whatever way comes first, and none of their
    words say what to do. Only the library's own call belongs inside.

    Args:
        path: the file.
        kind: what it should be, as `safetensors` or `JSON`.
        todo: what to do.

    Raises:
        ValueError: the file is damaged, or something else.
        OSError: it can't be read at all.
    """
    try:
        yield
    except MemoryError:
        if path.stat().st_size > _LARGE:
            raise
        raise _not_whole(path, kind, f"it announces more than it holds: {todo}") from None
    except OSError as error:
        if not isinstance(error, IsADirectoryError | PermissionError | FileNotFoundError) and error.errno != errno.EIO:
            # Libraries say so where a damaged file sends them to a place that it does not have.
            raise _not_whole(path, kind, todo) from None
        why = "it is a folder" if path.is_dir() else "you may not read it"
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(f"There is no file at {str(path)!r}.") from None
        if not isinstance(error, IsADirectoryError | PermissionError):
            why = "the disk could not read it"
        raise OSError(f"{str(path)!r} can't be read: {why}; give another file.") from None
    except Exception:  # noqa: BLE001 - see above
        raise _not_whole(path, kind, todo) from None


def _not_whole(path: Path, kind: str, todo: str) -> ValueError:
    with contextlib.suppress(OSError), path.open("rb") as file:
        if found := what_else(file.read(_START)):
            return ValueError(f"{path.name} is not a whole {kind} file: {found}; {todo}.")
    return ValueError(f"{path.name} is not a whole {kind} file; {todo}.")


def load_plain(path: Path, save_as: str) -> Any:
    """What a `.pt` file holds, without running code that it may carry.

    Args:
        path: the file.
        save_as: what it should be saved as, for the message.

    Raises:
        ValueError: it holds more than plain tensors, or is damaged.
        OSError: it can't be read.
    """
    import torch

    with reading(path, "PyTorch"):
        with path.open("rb") as file:
            known = file.read(2).startswith(_PYTORCH)
        try:
            if known:
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            known = zipfile.is_zipfile(path) or bool(re.search("Unsupported (global|class|operand)", str(error)))
    if not known:
        raise _not_whole(path, "PyTorch", "download or make it again")
    raise ValueError(
        f"{path.name} holds more than plain tensors, and loading it could run code, so it was not loaded; "
        f"save it again as {save_as}."
    )


def read_safetensors(path: Path, what: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the header of a safetensors file.

    Args:
        path: the file.
        what: what it holds, for the message.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or something else.
    """
    from safetensors import safe_open

    if not path.is_file():
        raise FileNotFoundError(f"There is no file of {what} at {str(path)!r}.")
    with reading(path, "safetensors"), safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        return tensors, file.metadata() or {}


def read_npz(path: Path) -> dict[str, Tensor]:
    """The arrays of a `.npz` file as tensors, without running code that it may carry.

    Raises:
        ValueError: it is damaged, or holds something else than plain arrays of numbers.
    """
    import numpy as np
    import torch

    arrays: dict[str, Any] = {}
    is_plain = True
    with reading(path, ".npz"):
        try:
            opened = np.load(path, allow_pickle=False)
            arrays = dict(opened) if isinstance(opened, np.lib.npyio.NpzFile) else {}
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise
            is_plain = False
    if not is_plain:
        raise ValueError(
            f"{path.name} holds more than plain arrays, and loading it could run code, so it was not loaded; save it "
            "again as arrays of float32."
        )
    tensors = {}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
            kind = array.dtype.name if isinstance(array, np.ndarray) else "bytes"
            raise ValueError(
                f"{name} in {path.name} holds {kind}, and only plain arrays of numbers are loaded; save it again as "
                "float32."
            )
        tensors[name] = torch.from_numpy(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")))
    return tensors


def tensors_of(value: Any, path: Path) -> Mapping[str, Tensor]:
    """A state_dict out of a `.pt` file.

    Raises:
        ValueError: it is something else.
    """
    import torch

    if not isinstance(value, Mapping) or not all(isinstance(each, torch.Tensor) for each in value.values()):
        held = ", ".join(map(str, list(value)[:8])) if isinstance(value, Mapping) and value else shown(value)
        raise ValueError(f"{path.name} should hold tensors by name, but holds {held}; save it again.")
    return {str(name): each for name, each in value.items()}
