"""The end of a kernel in the middle of a run, a panel made twice, and a notebook without a page."""

import os
import subprocess
import sys

import nbformat
import pytest
from kernel.kernels import SETUP, TESTS, Kernel, Page
from kernel.reruns import CELLS, CLOSES_WITHIN, FEW, MORE, at_last, counted, growth, run_again

RERUNS = int(os.environ.get("STEERWIDGETS_RERUNS", "12"))


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


@pytest.fixture(scope="module")
def counting_kernel(vintage, tmp_path_factory):
    name, path = vintage
    kernel = Kernel(name, path, tmp_path_factory.mktemp(f"counting-{name}"))
    try:
        kernel.run(SETUP + MORE)
        yield kernel
    finally:
        kernel.stop()


@pytest.mark.parametrize("closes", [True, False], ids=["close", "no-close"])
@pytest.mark.parametrize("widget", CELLS)
def test_a_cell_that_is_run_again_leaves_nothing_in_the_kernel(counting_kernel, widget, closes):
    found = growth(counting_kernel, CELLS[widget], RERUNS, close=closes, warm=3)
    assert (found["widgets"], found["comms"]) == (0, 0)
    assert found["threads"] <= 0
    # A widget that stayed would be 40 KB to 560 KB. An allocator takes some MB once before it gives pages back; what a
    # widget leaves it leaves again.
    most = 6_000 + 20 * RERUNS
    if found["KB"] >= most:
        found = growth(counting_kernel, CELLS[widget], RERUNS, close=closes, warm=0)
    assert found["KB"] < most


def test_all_of_them_in_turn_leave_no_descriptor(counting_kernel):
    before = counted(counting_kernel)
    for cell in CELLS.values():
        for closes in (True, False):
            run_again(counting_kernel, cell, RERUNS // 2, close=closes)
    more = at_last(before, counting_kernel, {"descriptors": FEW}, within=CLOSES_WITHIN)
    assert more["descriptors"] <= FEW


RUN_AGAIN = "panel = sw.SteeringPanel(lm, cavs, recipe=cavs[0].add(4), max_new_tokens=3)\npanel.generate();\npanel"
LIVING = "from steerwidgets.widgets.bundles import LIVE\nimport gc\ngc.collect()\nlen([1 for _ in LIVE])"


@pytest.fixture
def count(counting_kernel):
    """How many more widgets live in the kernel than before the test."""
    counting_kernel.run("panel = lens = heatmap = picker = card = kept = None")
    before = int(counting_kernel.run(LIVING).splitlines()[-1])
    yield lambda: int(counting_kernel.run(LIVING).splitlines()[-1]) - before
    counting_kernel.run("import ipywidgets\nipywidgets.Widget.close_all()\npanel = kept = None")


def run_cell(kernel, code, cell_id):
    run = kernel.start_cell(code, cell_id)
    kernel.finish(run)
    return run


def test_a_widget_that_the_user_has_or_that_another_cell_shows_stays(counting_kernel, count):
    run_cell(counting_kernel, RUN_AGAIN + "\nkept = panel", "one")
    run_cell(counting_kernel, RUN_AGAIN, "one")
    assert count() == 2
    run_cell(counting_kernel, "kept", "two")
    counting_kernel.run("kept.prompt = 'Still served'\nkept = None")
    assert count() == 2  # the second cell shows it
    run_cell(counting_kernel, "1", "two")
    assert count() == 1


def test_a_widget_without_a_name_stays_until_its_cell_is_run_again(counting_kernel, count):
    code = "sw.FeaturePicker(lm, cavs)"
    run_cell(counting_kernel, code, "one")
    run_cell(counting_kernel, code, "two")
    assert count() == 2
    for _ in range(3):
        run_cell(counting_kernel, code, "one")
    assert count() == 2
    counting_kernel.run("6 * 7")
    assert counting_kernel.run("_") == "42"  # IPython's own history goes on


def test_without_ids_of_cells_only_what_is_heavy_goes(counting_kernel, count):
    counting_kernel.run(RUN_AGAIN)
    counting_kernel.run("kept = panel")
    counting_kernel.run(RUN_AGAIN)
    assert count() == 2
    assert counting_kernel.run("(kept.comparison.keeps_cache, panel.comparison.keeps_cache)") == "(False, True)"


def test_a_run_that_nobody_sees_any_more_stops(counting_kernel, count):
    run = run_cell(counting_kernel, "panel = sw.SteeringPanel(lm, cavs, recipe=cavs[0].add(4))\npanel", "one")
    [shown] = counting_kernel.of(run, "execute_result", "display_data")
    page = Page(counting_kernel, shown["content"]["data"]["application/vnd.jupyter.widget-view+json"]["model_id"])
    page.streamed(page.generate(6000))
    run_cell(counting_kernel, RUN_AGAIN, "one")
    assert count() == 1
