"""The badge "Open in Colab" and the address to install from, both made of the repository's address."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
ADDRESS = "https://github.com/somebody/steerwidgets"


@pytest.fixture(scope="module")
def badges():
    spec = importlib.util.spec_from_file_location("badges", ROOT / "notebooks" / "badges.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.fixture
def folder(tmp_path):
    for path in (*NOTEBOOKS.glob("*.ipynb"), NOTEBOOKS / "README.md"):
        shutil.copy(path, tmp_path)
    return tmp_path


def texts(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_what_is_committed_is_what_the_address_gives(badges, folder):
    before = texts(folder)
    badges.write(folder, badges.address(ROOT / "pyproject.toml"))
    assert texts(folder) == before


def test_an_address_gives_every_notebook_its_badge_once_and_none_takes_it_away(badges, folder):
    before = texts(folder)
    for url in (ADDRESS, f"{ADDRESS}.git", ADDRESS):
        badges.write(folder, url)
    for path in folder.glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        opens = f"colab.research.google.com/github/somebody/steerwidgets/blob/main/notebooks/{path.name})"
        assert "".join(cells[0]["source"]).count(opens) == 1
        setups = ["".join(cell["source"]) for cell in cells if "SOURCE = " in "".join(cell["source"])]
        assert all(f'SOURCE = "git+{ADDRESS}"' in each for each in setups)
        assert (folder / "README.md").read_text(encoding="utf-8").count(opens) == 1
    badges.write(folder, "")
    assert texts(folder) == before


def test_an_address_elsewhere_is_installed_from_and_gets_no_badge(badges, folder):
    badges.write(folder, "https://example.org/steerwidgets")
    text = (folder / "patching.ipynb").read_text(encoding="utf-8")
    assert "git+https://example.org/steerwidgets" in text
    assert "colab.research" not in text


def test_the_address_stands_in_pyproject(badges, tmp_path):
    project = tmp_path / "pyproject.toml"
    project.write_text(f'[project]\nname = "x"\n[project.urls]\nRepository = "{ADDRESS}"\n')
    assert badges.address(project) == ADDRESS
    project.write_text('[project]\nname = "x"\n')
    assert badges.address(project) == ""
