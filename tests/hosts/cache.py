"""Where what the host tests install is kept, and how it gets there: environments by pip, sheets and scripts by npm."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def folder(name: str) -> Path:
    """A folder of the cache: `$STEERWIDGETS_HOSTS`, else one under the user's own cache."""
    chosen = os.environ.get("STEERWIDGETS_HOSTS")
    base = Path(chosen) if chosen else Path.home() / ".cache" / "steerwidgets-hosts"
    path = base / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def environment(host: str) -> Path:
    """The Python of a host's own environment, made of `requirements/<host>.txt` where it is not there yet.

    The host's whole Jupyter stack is installed in it; torch, transformers and the rest, which no host cares about, come
    from the environment that runs the tests, behind everything of the host's own on the path.
    """
    pins = (HERE / "requirements" / f"{host}.txt").read_text("utf-8")
    place = folder(host)
    python = place / "bin" / "python"
    done = place / "installed.txt"
    wanted = f"# {sys.version}\n{pins}"
    if not done.exists() or done.read_text("utf-8") != wanted:
        done.unlink(missing_ok=True)
        _run([sys.executable, "-m", "venv", "--clear", str(place)], 120)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
        _run([*pip, "-r", str(HERE / "requirements" / f"{host}.txt")], 570)
        done.write_text(wanted, "utf-8")
    own = Path(sysconfig.get_path("purelib", vars={"base": str(place), "platbase": str(place)}))
    (own / "behind.pth").write_text(f"{sysconfig.get_path('purelib')}\n", "utf-8")
    return python


def npm(package: str, member: str) -> str:
    """A text file of an npm package, as `bootstrap@5.3.8` and `dist/css/bootstrap.css`."""
    place = folder("npm")
    name, version = package.lstrip("@").replace("/", "-").rsplit("@", 1)
    archive = place / f"{name}-{version}.tgz"
    if not archive.exists():
        _run(["npm", "pack", "--silent", package], 120, place)
    with tarfile.open(archive) as packed:
        found = packed.extractfile(f"package/{member}")
        assert found is not None, f"{package} has no file {member}"
        return found.read().decode("utf-8")


def _run(command: list[str], within: float, where: Path | None = None) -> None:
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=within, check=False)
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        )
