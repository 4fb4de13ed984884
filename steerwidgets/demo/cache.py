"""The cache folder, and what makes a folder in it complete."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TypedDict, cast

from steerwidgets.demo.source import DemoSource

FORMAT = 1
"""Counts up when the files in the cache change their meaning; a cache of another format is rebuilt."""

MANIFEST = "manifest.json"
WEIGHTS = "model.safetensors"

_HASH_ALWAYS_BELOW = 16 * 2**20


class FileRecord(TypedDict):
    """One file of the cache as it was written."""

    bytes: int
    sha256: str


class DemoManifest(TypedDict):
    """What the cache holds and where it came from. Written last, so a folder that has one was finished."""

    format: int
    name: str
    repository: str
    requirement: str
    wheel_sha256: str
    weights_sha256: str
    stored_as: str
    versions: dict[str, str]
    files: dict[str, FileRecord]


def cache_dir() -> Path:
    """Return the cache folder: $STEERWIDGETS_CACHE, $XDG_CACHE_HOME/steerwidgets, or the platform's own."""
    if named := os.environ.get("STEERWIDGETS_CACHE"):
        return Path(named).expanduser()
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named).expanduser() / "steerwidgets"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "steerwidgets"
    if os.name == "nt" and (named := os.environ.get("LOCALAPPDATA")):
        return Path(named) / "steerwidgets" / "Cache"
    return Path.home() / ".cache" / "steerwidgets"


def read_manifest(folder: Path) -> DemoManifest:
    """The manifest of a finished folder."""
    return cast("DemoManifest", json.loads((folder / MANIFEST).read_text("utf-8")))


def complete(folder: Path, source: DemoSource) -> bool:
    """Tell whether the folder is a finished cache of this source: every size, and the hash of every small file."""
    try:
        manifest = read_manifest(folder)
        return (
            manifest["format"] == FORMAT
            and manifest["wheel_sha256"] == source.wheel_sha256
            and WEIGHTS in manifest["files"]
            and all(_intact(folder / name, record) for name, record in manifest["files"].items())
        )
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _intact(file: Path, record: FileRecord) -> bool:
    if file.stat().st_size != record["bytes"]:
        return False
    return record["bytes"] >= _HASH_ALWAYS_BELOW or sha256(file) == record["sha256"]


def sha256(file: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remove(path: Path) -> None:
    """Remove a file or a folder; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
