"""Running a notebook without a screen: what `make demo HEADLESS=1` and `make notebooks` do."""

import base64
import gzip
import json
import re
import sys
from pathlib import Path

import nbformat
import pytest
from headless import NotebookFailed, main, run_notebook
from reference import digest, write_reference

PANEL = """
import steerwidgets
class Panel:
    def __init__(self, name): self.name = name
    def to_html(self, path): open(path, "w").write(f"<p>{self.name}</p>")
steerwidgets.SteeringPanel = Panel
"""


@pytest.fixture
def notebook(tmp_path):
    def write(*cells: str):
        path = tmp_path / "lab.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells]), path)
        return path

    return write


def test_the_last_panel_is_written_and_the_notebook_is_not_touched(notebook, tmp_path, capsys):
    path = notebook(PANEL, "first = Panel('first')", "Panel('the value of a cell')")
    before = path.read_bytes()
    assert main([str(path), str(tmp_path / "out.html")]) == 0
    assert (tmp_path / "out.html").read_text() == "<p>the value of a cell</p>"
    assert path.read_bytes() == before
    assert str(tmp_path / "out.html") in capsys.readouterr().out


def test_cells_run_in_this_python_and_in_the_notebooks_folder(notebook, tmp_path):
    run_notebook(notebook("import os, sys", "open('here', 'w').write(sys.prefix)"))
    assert (tmp_path / "here").read_text() == sys.prefix


def test_a_failing_cell_is_named_and_fails_the_run(notebook, tmp_path, capsys):
    path = notebook("1", "undefined_name", "open('never', 'w')")
    assert main([str(path)]) == 1
    heard = capsys.readouterr().err
    assert "lab.ipynb, cell 2: NameError: name 'undefined_name' is not defined" in heard
    assert "\x1b" not in heard
    assert not (tmp_path / "never").exists()


def test_a_notebook_without_a_panel_fails_where_one_is_asked_for(notebook, tmp_path):
    with pytest.raises(NotebookFailed, match="LookupError: the notebook made no SteeringPanel"):
        run_notebook(notebook(PANEL), tmp_path / "out.html")


def test_a_kernel_that_dies_fails_the_run(notebook):
    with pytest.raises(NotebookFailed, match="cell 1: the kernel died"):
        run_notebook(notebook("import os; os._exit(1)"))


def test_no_such_notebook(capsys):
    assert main(["nowhere.ipynb"]) == 1
    assert "There is no notebook nowhere.ipynb" in capsys.readouterr().err


def test_a_reference_page_holds_text_outputs_and_frozen_widgets(notebook, tmp_path):
    heatmap = 'import steerwidgets as sw\nsw.TokenHeatmap.from_arrays(["The", " sea"], [0.0, 2.0], labels="</script>")'
    path = notebook("print('<b>said</b>')", heatmap, heatmap)
    page = tmp_path / "pages" / "lab.html"
    write_reference(path, page)
    text = page.read_text(encoding="utf-8")
    assert "&lt;b&gt;said&lt;/b&gt;" in text
    assert text.count('data-widget="') == 2
    assert text.count("data-widget") > 2  # the script that puts them there
    packed = dict(re.findall(r'<script type="text/plain" id="(\w+)">(.*?)</script>', text, re.DOTALL))
    held = {name: json.loads(gzip.decompress(base64.b64decode(letters))) for name, letters in packed.items()}
    assert sorted(bundle for bundle, _ in held["states"].values()) == ["token_heatmap"] * 2
    assert list(held["modules"]) == ["token_heatmap", "static_host"]
    assert not re.search(r'(?:src|href)="(?:https?:)?//', text)


SHIPPED = Path(__file__).parents[2] / "notebooks"


@pytest.mark.parametrize("lab", sorted(SHIPPED.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_shipped_page_is_of_this_notebook_and_of_no_machine(lab):
    text = (SHIPPED / "reference" / f"{lab.stem}.html").read_text(encoding="utf-8")
    of = re.search('<meta name="notebook" content="(.*?)">', text)
    assert of, "no reference page"
    assert of[1] == digest(lab), "the page is of another version of the notebook: make reference"
    states = gzip.decompress(base64.b64decode(re.search('id="states">(.*?)</script>', text)[1])).decode()
    assert not re.search(r"/home/|/root/|/work/|/tmp/", text + states)
