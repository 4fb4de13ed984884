"""Debian packages as sources of text: fetched and unpacked into the work folder, not installed, nothing of them run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

PACKAGES: Final = (
    "wordnet-base",
    "fortunes",
    "fortunes-min",
    "bible-kjv-text",
    "debian-handbook",
    "python3.11-doc",
)
"""Those of Debian 12; together 57 MB to download."""


class PackageUnavailable(OSError):  # noqa: N818 - named for what the user sees
    """A Debian package can't be had; the message says what to do."""


def unpack(work: Path, packages: tuple[str, ...] = PACKAGES) -> Path:
    """Fetch what is missing into `work/debs`, unpack it into `work/root`, and return that folder.

    Works as any user. A package file that lies in `work/debs` already is used as it is, so that a machine without a
    network can be given them.

    Raises:
        PackageUnavailable: there is no apt-get or dpkg-deb, or a package can't be fetched.
    """
    debs, root = work / "debs", work / "root"
    debs.mkdir(parents=True, exist_ok=True)
    for package in packages:
        done = root / f".{package}"
        if not done.exists():
            _run(["dpkg-deb", "-x", str(_fetched(package, debs)), str(root)], package)
            done.touch()
    return root


def package_files(work: Path) -> list[str]:
    """The names of the package files, which hold their versions."""
    return sorted(file.name for file in (work / "debs").glob("*.deb"))


def _fetched(package: str, debs: Path) -> Path:
    if not any(debs.glob(f"{package}_*.deb")):
        _run(["apt-get", "download", "-qq", package], package, debs)
    return next(debs.glob(f"{package}_*.deb"))


def _run(command: list[str], package: str, folder: Path | None = None) -> None:
    program = shutil.which(command[0])
    if program is None:
        raise PackageUnavailable(
            f"The Debian package {package} is needed, but there is no {command[0]} here: run this on Debian 12."
        )
    done = subprocess.run([program, *command[1:]], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise PackageUnavailable(
            f"`{' '.join(command)}` failed ({done.stderr.strip()}): run `apt-get update` first, or put the .deb "
            f"file of {package} from Debian 12 into the folder debs of the work folder."
        )
