"""The end of a kernel in the middle of a run, a panel made twice, and a notebook without a page."""

import os
import subprocess
import sys

import nbformat
import pytest
from kernel.kernels import SETUP, TESTS, Kernel, Page


@pytest.fixture
def own_kernel(vintage, tmp_path):
    """A kernel that the test may end."""
    name, path = vintage
    kernel = Kernel(name, path, tmp_path)
    kernel.run(SETUP)
    yield kernel
    kernel.stop()


def test_a_shutdown_in_the_middle_of_a_run_is_prompt(own_kernel):
    own_kernel.run("panel = sw.SteeringPanel(lm, cavs, recipe=cavs[0].add(4))")
    page = Page(own_kernel, own_kernel.run("panel.model_id").strip("'"))
    page.streamed(page.generate(5000))
    own_kernel.client.shutdown()
    own_kernel.wait(lambda: not own_kernel.manager.is_alive(), "the kernel to end", within=15)


def test_the_cell_of_a_panel_can_run_again_while_the_first_one_generates(kernel, open_page):
    first = open_page()
    run = first.generate(3000)
    first.streamed(run)
    kernel.run("panel0.close()")
    second = open_page()
    assert second.end(second.generate(5), within=20)["type"] == "result"


def test_nbconvert_execute_keeps_what_is_shown(tmp_path):
    cells = [
        SETUP,
        "panel = sw.SteeringPanel(lm, cavs, recipe=cavs[0].add(4), max_new_tokens=5)\npanel",
        "out = panel.generate()\nprint(out.steered.text)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    path = tmp_path / "panel.ipynb"
    nbformat.write(notebook, path)
    command = [sys.executable, "-m", "nbconvert", "--execute", "--to", "notebook", "--output", "done.ipynb", str(path)]
    environment = os.environ | {
        "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    subprocess.run(command, check=True, cwd=tmp_path, env=environment, timeout=120)
    done = nbformat.read(tmp_path / "done.ipynb", as_version=4)
    text = done.cells[2].outputs[0]["text"]
    shown = done.cells[1].outputs[0]["data"]["application/vnd.jupyter.widget-view+json"]["model_id"]
    state = done.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"][shown]["state"]
    assert state["result"]["rows"][1]["text"] == text.removesuffix("\n")
    assert state["status"]["state"] == "done"
    assert state["prompt"] == "Tell me about your weekend."
    assert "import(" in state["_esm"]
    assert "function" in state["_program"]  # the program itself, so that a page can show it
    assert state["_css"]
