"""Files that are written whole or not at all: beside their place first, then put there in one step."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MORE: Final = 1 << 20
"""Where so many bytes can be written to a file, a library that could not write did not run out of room."""


@contextlib.contextmanager
def atomically(path: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """A place to write a file to; when the block ends the file takes its own place, and until then nothing changes.

    Whatever ends the block early, nothing of it is left, and a file that stood there before is as it was.

    Args:
        path: where the file shall be.
        durable: whether its bytes are on the disk before it takes its place, so that a crash leaves no empty file.

    Raises:
        OSError: it can't be written; one sentence says why, whatever the library that wrote it said.
    """
    # A link stays one: what it leads to is replaced.
    target = Path(os.path.realpath(path))
    fresh = target.with_name(f".{target.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        try:
            with _told(Path(path), fresh):
                # Made first, so that it has the permissions that any file made here has (safetensors' own have fewer).
                fresh.touch(exist_ok=False)
                mode = (target if target.exists() else fresh).stat().st_mode & 0o777
                yield fresh
                fresh.chmod(mode)
                if durable:
                    to_disk(fresh)
                fresh.replace(target)
        finally:
            _take_away(fresh)
    finally:  # a Ctrl-C may have come in the middle of taking it away
        _take_away(fresh)


def _take_away(fresh: Path) -> None:
    with contextlib.suppress(OSError):
        fresh.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_atomically(folder: str | Path) -> Iterator[Path]:
    """A folder to write files into; when the block ends they take their places, and until then nothing changes.

    Args:
        folder: where the files shall be; other files in it stay.

    Raises:
        OSError: they can't be written; one sentence says why, whatever the library that wrote them said.
    """
    target = Path(os.path.realpath(folder))
    fresh = target.with_name(f".{target.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with _told(Path(folder), fresh / "more"):
            fresh.mkdir(parents=True)
            yield fresh
            target.mkdir(exist_ok=True)
            for each in fresh.iterdir():
                each.replace(target / each.name)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all.

    Raises:
        OSError: it can't be written.
    """
    with atomically(path) as fresh:
        fresh.write_text(text, encoding="utf-8")


def remove_file(path: Path) -> None:
    """Take a file away, where there is one, that belonged to what a folder held before.

    Raises:
        OSError: it can't be taken away.
    """
    with _told(path):
        path.unlink(missing_ok=True)


def made_folder(folder: str | Path) -> Path:
    """A folder that exists when this returns.

    Raises:
        OSError: it can't be made.
    """
    folder = Path(folder)
    with _told(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk."""
    if not path.is_dir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _told(path: Path, fresh: Path | None = None) -> Iterator[None]:
    """One sentence for whatever kept a file from being written.

    safetensors, torch and SQLite do not raise an OSError where the disk is full, each says something of its own: then
    the disk is asked itself.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:  # a sentence already
            raise
        raise cannot_write(path, error.errno) from None
    except Exception as error:
        number = None
        if isinstance(error, RuntimeError) or type(error).__module__.startswith(("safetensors", "sqlite3", "pyarrow")):
            # SQLite takes back what it wrote, and there is room again.
            is_full = getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"
            number = errno.ENOSPC if is_full else _refusal(fresh or path)
        if number is None:
            raise
        raise cannot_write(path, number) from None


def _refusal(path: Path) -> int | None:
    """Why no more can be written to a file that was not finished, by the system's number; None where more can."""
    try:
        with path.open("ab") as file:
            file.write(bytes(_MORE))
    except OSError as error:
        return error.errno
    return None


def cannot_write(path: Path, number: int | None) -> OSError:
    """The error of a file that can't be written, by the system's number for why."""
    folder = str(path.parent)
    why, kind = {
        errno.ENOSPC: ("the disk is full; make room there, or name another folder", OSError),
        errno.EDQUOT: ("your share of the disk is full; make room there, or name another folder", OSError),
        errno.EFBIG: ("it is larger than a file may be there; name another folder", OSError),
        errno.EACCES: ("you may not write there; name another folder", PermissionError),
        errno.EPERM: ("you may not write there; name another folder", PermissionError),
        errno.EROFS: ("that disk can only be read; name another folder", OSError),
        errno.ENOENT: ("there is no such folder; make it first, or name another", FileNotFoundError),
        errno.ENOTDIR: ("that is a file and no folder; name another folder", NotADirectoryError),
        errno.EEXIST: ("a file of that name stands in its way; name another folder", FileExistsError),
        errno.EISDIR: ("a folder of that name stands there; choose another name", IsADirectoryError),
        errno.ENAMETOOLONG: ("the name is too long; choose a shorter one", OSError),
    }.get(number or 0, (f"the disk says error {number}; name another folder", OSError))
    return kind(f"{path.name} could not be written into {folder!r}: {why}. Nothing was changed.")
