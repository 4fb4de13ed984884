"""The reference pages that `make api` builds out of the docstrings."""

import importlib.util
import re
from pathlib import Path

import pytest

import steerwidgets as sw

SCRIPT = Path(__file__).parents[1] / "notebooks" / "api.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("api_page", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    made = tmp_path_factory.mktemp("api")
    assert script.build(made).is_file()
    return made


def test_every_public_name_has_its_place(folder):
    text = (folder / "steerwidgets.html").read_text(encoding="utf-8")
    told = set(re.findall(r'id="([\w.]+)"', text))
    pages = {path.stem for path in (folder / "steerwidgets").glob("*.html")}
    assert {*sw.__all__} - pages - told == set()
    assert {"LanguageModel.read", "PatchGrid", "Lab.ask"} <= told
    for name in pages:
        page = (folder / "steerwidgets" / f"{name}.html").read_text(encoding="utf-8")
        assert {*getattr(sw, name).__all__} <= set(re.findall(r'id="([\w.]+)"', page))


def test_the_pages_fetch_nothing_from_elsewhere(folder):
    for path in folder.rglob("*.html"):
        assert re.findall(r'(?:src|<link[^>]* href)="(?:https?:)?//', path.read_text(encoding="utf-8")) == []
