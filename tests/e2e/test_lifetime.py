"""What a page has more of after a cell with a widget has run again and again."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest
from e2e.conftest import PANEL, TINY
from e2e.test_label_check import CHECK
from e2e.test_label_check import SETUP as CHECKED
from playwright.sync_api import expect

CELLS = {
    ".sw-panel": PANEL.replace("\npanel", "\npanel.generate();\npanel"),
    ".sw-lens": 'lens = sw.LogitLens(lm, "The ship sailed at dawn.", cavs[0].add(4))\nlens',
    ".sw-patch": 'grid = sw.PatchGrid(lm, "The ship sailed.", "The ship sank.", metric="kl")\ngrid.run();\ngrid',
    ".sw-heat": 'heatmap = sw.TokenHeatmap(lm, cavs, "The ship sailed at dawn.", features=[0])\nheatmap',
    ".sw-picker": "picker = sw.FeaturePicker(lm, cavs)\npicker",
    ".sw-card": "card = sw.FeatureCard(lm, cavs, 0)\ncard",
    ".sw-map": "features_map = sw.SubspaceMap(lm, cavs, 0)\nfeatures_map",
    ".sw-dose": "chart = sw.DoseResponse(lm, cavs[0].add, [0, 4], prompts=['The ship'], judge=sw.Words(['e']))\nchart",
    ".sw-trainer": "trainer = sw.ConceptTrainer(lm, ['thank you'] * 6, ['the train'] * 6)\ntrainer",
    ".sw-lab": "lab = sw.Lab('sea', student='Ada')\nasked = lab.ask('Why is a neuron no concept?', key='why')\nasked",
    ".sw-check": CHECK,
}
# What is loaded by now is 10⁶ objects, and to go through them at each run of a cell takes most of its time.
FROZEN = "import gc\ngc.collect()\ngc.freeze()\n"
RUNS = int(os.environ.get("STEERWIDGETS_RERUNS", "5"))
COUNTED = ("JSHeapUsedSize", "Nodes", "JSEventListeners")


class Heap:
    """The page's heap, nodes and listeners, after a collection."""

    def __init__(self, page) -> None:
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable")

    def counted(self) -> dict[str, float]:
        for _ in range(3):
            self._session.send("HeapProfiler.collectGarbage")
        found = {each["name"]: each["value"] for each in self._session.send("Performance.getMetrics")["metrics"]}
        return {name: found[name] for name in COUNTED}


def run_again(notebook, times: int, shown: str, *, clear: bool) -> None:
    """Run the second cell again, its output cleared before or not, and wait each time for the view of another model."""
    for _ in range(times):
        if clear:
            notebook.command("notebook:clear-cell-output")
            expect(notebook.page.locator(shown)).to_have_count(0)
        before = notebook.page.evaluate("s => { window.last = document.querySelector(s) }", shown)
        assert before is None
        notebook.run_cell(1)
        notebook.page.wait_for_function(
            "s => document.querySelectorAll(s).length === 1 && document.querySelector(s) !== window.last", arg=shown
        )
        notebook.page.evaluate("() => { delete window.last }")
        notebook.wait_idle()


def growth(notebook, shown: str, times: int, warm: int = 4, *, clear: bool = False) -> dict[str, float]:
    """What each further run leaves in the page.

    Counted twice, and the smaller taken: JupyterLab itself takes some 130 listeners more once, soon after a page has
    opened, with whatever widget; what a widget leaves it leaves both times.
    """
    heap = Heap(notebook.page)
    run_again(notebook, warm, shown, clear=clear)
    counts = [heap.counted()]
    for _ in range(2):
        run_again(notebook, times, shown, clear=clear)
        counts.append(heap.counted())
    return {name: min(b[name] - a[name] for a, b in pairwise(counts)) / times for name in COUNTED}


@pytest.mark.parametrize("shown", CELLS)
def test_a_cell_that_is_run_again_leaves_hardly_anything_in_the_page(open_tiny, shown):
    """A plain slider leaves 66 KB, 13 nodes and 5 listeners; a program of its own for each run would leave 700 KB."""
    notebook = open_tiny(TINY + FROZEN + CHECKED * (shown == ".sw-check"), CELLS[shown], anew=True)
    expect(notebook.page.locator(shown)).to_be_visible()
    found = growth(notebook, shown, RUNS)
    print(shown, found)
    assert found["JSHeapUsedSize"] < 220_000, found
    assert found["Nodes"] < 30, found
    assert found["JSEventListeners"] < 10, found


LIVING = "import gc\nfrom steerwidgets.widgets.bundles import LIVE\ngc.collect()\nprint(len(list(LIVE)))"


@pytest.mark.parametrize("shown", [".sw-panel", ".sw-heat", ".sw-patch"])
def test_cleared_outputs_leave_hardly_anything_either(open_tiny, shown):
    notebook = open_tiny(TINY + FROZEN, CELLS[shown], anew=True)
    expect(notebook.page.locator(shown)).to_be_visible()
    before = int(notebook.printed(LIVING))
    found = growth(notebook, shown, RUNS, clear=True)
    print(shown, found)
    assert found["JSHeapUsedSize"] < 220_000, found
    assert found["Nodes"] < 30, found
    assert found["JSEventListeners"] < 10, found
    assert int(notebook.printed(LIVING)) == before


def test_a_cleared_panel_that_generates_stops_once_its_cell_is_run_again(open_panel):
    notebook, panel = open_panel()
    panel.set("Max new tokens", 3000)
    panel.generate.click()
    panel.expect_streaming()
    notebook.command("notebook:clear-all-cell-outputs")
    expect(panel.root).to_have_count(0)
    notebook.run_cell(1)
    notebook.wait_idle()
    panel.run()
