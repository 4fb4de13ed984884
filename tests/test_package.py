"""What people install: the wheel and the sdist hold everything, and importing the package imports nothing heavy."""

import json
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_WHEEL_MB = 20
"""The demo's dictionaries may take 12 MB, the front-end a few more."""


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def in_wheel(built) -> set[str]:
    with zipfile.ZipFile(built[0]) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


@pytest.fixture(scope="module")
def in_sdist(built) -> set[str]:
    with tarfile.open(built[1]) as archive:
        return {name.partition("/")[2] for name in archive.getnames() if archive.getmember(name).isfile()}


@pytest.fixture(scope="module")
def in_tree() -> set[str]:
    files = (path.relative_to(ROOT) for path in (ROOT / "steerwidgets").rglob("*") if path.is_file())
    return {path.as_posix() for path in files if "__pycache__" not in path.parts}


def test_the_wheel_holds_the_whole_package_and_nothing_else(in_wheel, in_tree):
    assert {name for name in in_wheel if ".dist-info/" not in name} == in_tree


def test_the_sdist_holds_the_whole_package_and_what_builds_it(in_sdist, in_tree):
    assert in_tree <= in_sdist
    assert {"pyproject.toml", "README.md", "LICENSE", "Makefile", "constraints.txt", "js/package.json"} <= in_sdist
    assert not {name for name in in_sdist if "node_modules" in name or "__pycache__" in name}


def test_types_front_end_and_licence_are_there(in_wheel):
    assert "steerwidgets/py.typed" in in_wheel
    assert any(name.startswith("steerwidgets/static/") and name.endswith(".js") for name in in_wheel)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in in_wheel)


def test_the_wheel_is_small(built):
    assert built[0].stat().st_size < MAX_WHEEL_MB * 1e6


def test_a_clean_environment_imports_the_wheel(built, tmp_path):
    """Without a single dependency: so the import needs none, torch least of all."""
    venv.create(tmp_path / "env", with_pip=False)
    python = next(path for path in (tmp_path / "env").glob("*/python*") if path.stem == "python")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--no-deps",
        "--no-index",
        "-q",
        str(built[0]),
    ]
    subprocess.run(pip, check=True)
    script = "import steerwidgets, steerwidgets.demo; print(steerwidgets.__file__); print(*dir(steerwidgets))"
    done = subprocess.run([python, "-I", "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    where, public = done.stdout.splitlines()
    assert Path(where).is_relative_to(tmp_path / "env")
    assert {"LanguageModel", "SteeringPanel"} <= set(public.split())


def test_importing_the_package_imports_nothing_heavy():
    script = (
        "import sys, steerwidgets\n"
        "print([name for name in ('torch', 'transformers', 'numpy', 'anywidget', 'IPython') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_wheel_says_its_licence(built):
    with zipfile.ZipFile(built[0]) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
        licence = archive.read(next(n for n in archive.namelist() if n.endswith("licenses/LICENSE"))).decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert "License-File: LICENSE" in metadata
    assert licence == (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_the_wheel_brings_the_licences_of_what_is_bundled(built):
    """The MIT licence asks that it goes along with every copy, minified ones too."""
    bundled = json.loads((ROOT / "js/package-lock.json").read_text(encoding="utf-8"))["packages"]
    needed = {path.removeprefix("node_modules/") for path, entry in bundled.items() if path and not entry.get("dev")}
    with zipfile.ZipFile(built[0]) as archive:
        told = archive.read("steerwidgets/static/LICENCES.txt").decode()
    assert needed
    for name in needed:
        assert f"\n{name}\n\nThe MIT License (MIT)" in told, name
    assert told.count("Copyright (c)") == len(needed)


def test_the_wheel_holds_no_file_that_has_no_business_there(in_wheel):
    """No secrets, caches, sources of the front-end or files of editors; every file is of a sort that is expected."""
    sorts = {path.rpartition(".")[2] for path in in_wheel if ".dist-info/" not in path}
    assert sorts <= {"py", "pyi", "typed", "js", "css", "json", "jsonl", "safetensors", "pt", "txt", "md"}
    assert not [path for path in in_wheel if path.rpartition("/")[2].startswith(".") or "node_modules" in path]
