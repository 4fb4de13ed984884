"""What re-runs of a cell leave in JupyterLab's page: heap, DOM nodes and listeners, beside what a slider leaves."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

import pytest
from hosts.host import PATIENCE, Cell
from hosts.jupyter import JupyterLab
from hosts.shown import SETUP

RUNS = int(os.environ.get("STEERWIDGETS_RUNS", "30"))
WARM = 5  # re-runs before the first measure: code is compiled, caches are filled
SLIDER = "ipywidgets.IntSlider()"
WIDGETS = {
    "panel": "sw.SteeringPanel(lm, [cavs, dictionary], prompt='Hello there', recipe=cavs[0].add(4))",
    "heatmap": "sw.TokenHeatmap(lm, dictionary, 'Name a city by the sea, please.', features=[1, 3])",
    "picker": "sw.FeaturePicker(lm, [dictionary, cavs], recipe=cavs[0].add(4))",
    "card": "sw.FeatureCard(lm, dictionary, 3)",
    "lens": "sw.LogitLens(lm, 'Name a city by the sea.')",
}
CLOSED = "if 'shown' in globals(): shown.close()\n"


@dataclass(frozen=True)
class Left:
    """What is there after a collection, or what one re-run leaves."""

    heap: float  # bytes
    nodes: float
    listeners: float

    def __sub__(self, other: Left) -> Left:
        per_run = [(getattr(self, name) - getattr(other, name)) / RUNS for name in asdict(self)]
        return Left(*per_run)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    host = JupyterLab(tmp_path_factory.mktemp("lab"))
    yield host
    host.stop()


RERUN = """async () => {
    const book = jupyterapp.shell.currentWidget.content;
    const cell = book.widgets[1];
    for (const old of cell.node.querySelectorAll('.jp-OutputArea-child')) old.dataset.old = '1';
    book.activeCellIndex = 1;
    await jupyterapp.commands.execute('notebook:run-cell');
    for (;;) {
        const child = cell.node.querySelector('.jp-OutputArea-child:not([data-old])');
        const error = child?.querySelector('[data-mime-type="application/vnd.jupyter.stderr"]');
        if (error) throw new Error(error.textContent);
        if (child?.querySelector('button, input, [role=slider], [role=grid]')) return;
        await new Promise(done => setTimeout(done, 20));
    }
}"""


@pytest.fixture
def left_by(lab, new_page):
    """Runs a cell many times, and says what each run leaves in the page."""

    def measure(expression: str, *, closed: bool) -> Left:
        page, _ = new_page("JupyterLab")
        code = f"{CLOSED if closed else ''}shown = {expression}"
        lab.open(page, [Cell(SETUP), Cell(code, "shown")])
        page.locator(".jp-OutputArea-child").first.wait_for(timeout=PATIENCE)
        chrome = page.context.new_cdp_session(page)
        chrome.send("Performance.enable")

        def now() -> Left:
            page.wait_for_timeout(800)
            for _ in range(3):
                chrome.send("HeapProfiler.collectGarbage")
            found = {each["name"]: each["value"] for each in chrome.send("Performance.getMetrics")["metrics"]}
            return Left(found["JSHeapUsedSize"], found["Nodes"], found["JSEventListeners"])

        for _ in range(WARM):
            page.evaluate(RERUN)
        before = now()
        for _ in range(RUNS):
            page.evaluate(RERUN)
        return now() - before

    return measure


_sliders: dict[bool, Left] = {}


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "left-open"])
@pytest.mark.parametrize("name", WIDGETS)
def test_re_runs_leave_no_more_than_a_plain_slider(left_by, name, closed, record_property):
    if closed not in _sliders:
        _sliders[closed] = left_by(SLIDER, closed=closed)
    slider, widget = _sliders[closed], left_by(WIDGETS[name], closed=closed)
    for what, left in (("slider", slider), (name, widget)):
        record_property(what, json.dumps(asdict(left)))
        print(
            f"{what}, {'closed' if closed else 'left open'}: each re-run leaves {left.heap / 1e6:.3f} MB of heap, "
            f"{left.nodes:.1f} nodes, {left.listeners:.1f} listeners"
        )
    # What JupyterLab itself keeps of every run is the slider's; the rest is what two measures differ by.
    assert widget.heap <= slider.heap + 20_000
    assert widget.nodes <= slider.nodes + 2
    assert widget.listeners <= slider.listeners + 1
