"""Measures the widgets in a real browser: `python tests/benchmarks/browser.py [--repeat 9]`.

Prints a table and asserts nothing: times are of this machine, whose load is printed with them. The browser draws
without a GPU. Rows:

- a click in JupyterLab to the painted text: a feature is added to a heatmap of a text that was read, or a whole heatmap
  is made and shown by a cell;
- frame times while scrolling through a heatmap of 20,000 tokens and a picker of 1,000,000 features, and while a map
  of 5,000 features is moved and zoomed and the target of one of 5,000 tokens is dragged;
- messages and bytes on the kernel's websocket for one action, both ways;
- the size of saved pages. sae_vis' demo pages of 128 features are 4 MiB and more, CircuitsVis puts 1,295,474 bytes of
  script into every cell (read in their repositories; nothing of theirs runs here).
"""

from __future__ import annotations

import argparse
import math
import os
import re
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from e2e.conftest import TINY
from e2e.lab import Notebook, Server, launch
from playwright.sync_api import FloatRect, Page, WebSocket, sync_playwright
from support import pages
from timing import keep

A_FRAME = 17.5
"""Milliseconds of 60 frames a second, and what the clock of a browser is off by."""

SETUP = (
    TINY.replace("lm.model.register_forward_pre_hook(lambda *_: time.sleep(0.02))", "")
    + """
import numpy as np
from support import sae
labels = [f"label {i}" for i in range(40)]
dictionary = sae.make(labels=labels)
text = " ".join(f"word{i % 50}" for i in range(250))
heatmap = sw.TokenHeatmap(lm, dictionary, text, [0], selected=[5])
"""
)
LONG = """
words = [".\\n" if i % 15 == 14 else f" word{i % 700}" for i in range(20_000)]
sw.TokenHeatmap.from_arrays(words, np.random.default_rng(0).gamma(0.3, 2, (20_000, 2)), ["one", "two"])
"""
MILLION = """
vectors = torch.randn(1_000_000, 4)
many = sw.CAV(vectors, [f"feature number {i} of group {i % 997}" for i in range(1_000_000)], layer=1)
picker = sw.FeaturePicker(None, many)
picker
"""
FEATURES_MAP = """
sw.SubspaceMap(lm, sw.CAV(torch.randn(5000, 32), [f"concept {i}" for i in range(5000)], layer=1), 0)
"""
TOKENS_MAP = """
from support.mfa import make_state
mfa = sw.MFA(*make_state(2, 32, 3), layer=1)
texts = [f"Number {i} of the words in the long list of a small town by the sea, {i * 7919}." for i in range(80)]
fullest = int(torch.bincount(mfa.belonging(mfa.points(lm, texts)).component).argmax())
sw.SubspaceMap(lm, mfa, fullest, texts=texts, prompt="I think", max_new_tokens=2)
"""
PAINTED = """async ([root, name]) => {
    const button = [...document.querySelectorAll(root + ' button')].find(
        each => (each.getAttribute('aria-label') ?? each.textContent) === name);
    const legend = document.querySelector('.sw-heat-legend');
    const before = document.querySelectorAll('.sw-heat-legend li').length;
    const start = performance.now();
    button.click();
    while (document.querySelectorAll('.sw-heat-legend li').length === before)
        await new Promise(requestAnimationFrame);
    await new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)));
    return performance.now() - start;
}"""
SCROLL = """async ([box, step]) => {
    const frames = [];
    for (let last = performance.now(), i = 0; i < 120; i++) {
        box.scrollTop += step;
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        frames.push(now - last);
        last = now;
    }
    return frames;
}"""

RECORD = """() => {
    const frames = [];
    let last = performance.now(), going = true;
    requestAnimationFrame(function tick() {
        const now = performance.now();
        frames.push(now - last);
        last = now;
        if (going) requestAnimationFrame(tick);
    });
    window.swFrames = () => { going = false; return frames; };
}"""


class Wire:
    """What goes over a page's websockets to the kernel."""

    def __init__(self, page: Page) -> None:
        self.sent: list[int] = []
        self.received: list[int] = []
        page.on("websocket", self._follow)

    def _follow(self, socket: WebSocket) -> None:
        socket.on("framesent", lambda payload: self._take(self.sent, payload))
        socket.on("framereceived", lambda payload: self._take(self.received, payload))

    def _take(self, into: list[int], payload: str | bytes) -> None:
        data = payload.encode() if isinstance(payload, str) else payload
        # Busy, idle and echoes of code are the kernel's own; what widgets say are comm messages.
        if b"comm_msg" in data:
            into.append(len(data))

    def reset(self) -> None:
        self.sent.clear()
        self.received.clear()

    def __str__(self) -> str:
        out = f"{len(self.sent)} messages, {sum(self.sent):,} bytes out"
        return f"{out}; {len(self.received)} messages, {sum(self.received):,} bytes in"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=9)
    arguments = parser.parse_args()
    rows = [("load of the machine, 1 and 5 minutes", "{:.1f} and {:.1f}".format(*os.getloadavg()[:2]), "")]
    rows += page_sizes()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = launch(playwright)
        server = Server(Path(folder))
        try:
            server.wait()
            rows += in_jupyterlab(browser, server, arguments.repeat)
        finally:
            server.stop()
            browser.close()
    rows.append(("load at the end", "{:.1f} and {:.1f}".format(*os.getloadavg()[:2]), ""))
    width = max(len(name) for name, _, _ in rows)
    for name, found, reach in rows:
        print(f"{name:<{width}}  {found:<60}  {reach}")


def in_jupyterlab(browser: Any, server: Server, repeat: int) -> list[tuple[str, str, str]]:
    """Clicks, scrolling and messages, in one notebook."""
    server.write("benchmark.ipynb", [SETUP, "heatmap", LONG, MILLION, FEATURES_MAP, TOKENS_MAP])
    page = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    page.set_default_timeout(120_000)
    wire = Wire(page)
    notebook = Notebook(page, server, "benchmark.ipynb")
    for cell in (0, 1):
        notebook.run_cell(cell)
    grids = page.get_by_role("grid", name="Token activations")
    grids.first.wait_for()
    notebook.wait_idle()
    rows = clicks(page, wire, repeat)
    rows += wired(page, wire)
    notebook.run_cell(2)
    grids.nth(1).wait_for()
    notebook.wait_idle()
    rows.append(scrolled(page, "20,000 tokens", ".sw-heat-text >> nth=1", 400))
    notebook.run_cell(3)
    page.locator(".sw-picker .sw-features .sw--row").first.wait_for()
    notebook.wait_idle()
    rows.append(scrolled(page, "1,000,000 features", ".sw-picker .sw-features", 900))
    rows += searched(page, wire)
    rows += mapped(notebook)
    return rows


def clicks(page: Page, wire: Wire, repeat: int) -> list[tuple[str, str, str]]:
    """A feature is added to a text that was read."""
    page.get_by_role("button", name="Which features fire here").click()
    found = page.get_by_role("region", name="Features that fire here")
    found.get_by_role("button").first.wait_for()
    name = found.get_by_role("button", disabled=False).first.get_attribute("aria-label")
    assert name is not None
    label = name.removeprefix("Show ")
    taken = []
    for turn in range(repeat):
        wire.reset()
        taken.append(page.evaluate(PAINTED, [".sw-heat-found", name]))
        if turn == 0:
            page.wait_for_timeout(600)
            on_wire = str(wire)
        page.get_by_role("button", name=f"Remove {label}", exact=True).click()
        page.get_by_role("button", name=f"Remove {label}", exact=True).wait_for(state="detached")
        page.wait_for_timeout(500)
    tokens = page.get_by_role("grid", name="Token activations").first.get_attribute("aria-rowcount")
    keep("click to painted heatmap in JupyterLab", taken, "<= 100", "ms")
    return [
        (f"click to painted, one more feature on {tokens} lines", spread(taken), "<= 100 ms"),
        ("  on the wire", on_wire, ""),
    ]


def wired(page: Page, wire: Wire) -> list[tuple[str, str, str]]:
    """Messages of what a user does all the time."""
    token = page.locator("[role=gridcell][data-index='8']").first
    actions = {
        "pointing at a token": token.hover,
        "pinning a token": token.click,
        "another scale": page.get_by_role("radio", name="log").first.check,
        "words": page.get_by_role("radio", name="words").first.check,
    }
    rows = []
    for name, act in actions.items():
        wire.reset()
        act()
        page.wait_for_timeout(800)
        rows.append((f"on the wire: {name}", str(wire), ""))
    return rows


def searched(page: Page, wire: Wire) -> list[tuple[str, str, str]]:
    """A search among a million labels."""
    wire.reset()
    box = page.locator(".sw-picker").get_by_role("searchbox", name="Search features")
    box.fill("group 73")
    page.locator(".sw-picker .sw-features .sw--row", has_text="group 73").first.wait_for()
    page.wait_for_timeout(800)
    return [("on the wire: a search in 1,000,000 labels", str(wire), "<= 20 KB a page")]


def scrolled(page: Page, what: str, where: str, step: int) -> tuple[str, str, str]:
    """How long frames take while a box scrolls."""
    box = page.locator(where)
    box.scroll_into_view_if_needed()
    return frames(f"scrolling {what}", page.evaluate(SCROLL, [box.element_handle(), step]))


def mapped(notebook: Notebook) -> list[tuple[str, str, str]]:
    """How long frames take while a map is moved and zoomed, and while its target is dragged."""
    page, rows = notebook.page, []
    notebook.run_cell(4)
    features = page.get_by_role("img", name="Map of features").last
    features.wait_for()
    features.scroll_into_view_if_needed()
    notebook.wait_idle()
    box = centred(features.bounding_box())
    page.evaluate(RECORD)
    for step in range(60):
        page.mouse.move(*box)
        page.mouse.wheel(0, -30 if step % 30 < 15 else 30)
    rows.append(frames("zooming a map of 5,000 features", page.evaluate("window.swFrames()")))
    rows.append(frames("moving it", dragged(page, box)))
    notebook.run_cell(5)
    page.get_by_role("button", name="Read texts").last.click()
    tokens = page.get_by_role("img", name=re.compile(r"tokens along")).last
    tokens.wait_for()
    tokens.scroll_into_view_if_needed()
    notebook.wait_idle()
    count = str(tokens.get_attribute("aria-label")).partition(" ")[0]
    target = page.get_by_role("slider", name="Target", exact=True).last
    found = dragged(page, centred(target.bounding_box()))
    rows.append(frames(f"dragging the target among {count} tokens", found))
    return rows


def dragged(page: Page, start: tuple[float, float]) -> list[float]:
    """The frames while the mouse draws a circle with its button down."""
    page.mouse.move(*start)
    page.mouse.down()
    page.evaluate(RECORD)
    for step in range(120):
        turn = step / 20 * math.pi
        page.mouse.move(start[0] + 60 * math.sin(turn), start[1] + 60 * (math.cos(turn) - 1))
    taken: list[float] = page.evaluate("window.swFrames()")
    page.mouse.up()
    return taken


def centred(box: FloatRect | None) -> tuple[float, float]:
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def frames(name: str, taken: list[float]) -> tuple[str, str, str]:
    """One row of frame times; the first one holds the wait before."""
    taken = sorted(taken[1:])
    worst = taken[int(len(taken) * 0.95)]
    keep(f"a frame while {name}", [statistics.median(taken)], f"<= {A_FRAME}", "ms")
    return name, f"{statistics.median(taken):.1f} ms, 95 % within {worst:.1f} ms", "16.7 ms is 60 a second"


def spread(taken: list[float]) -> str:
    return f"{statistics.median(taken):.0f} ms ({min(taken):.0f} to {max(taken):.0f}, {len(taken)} times)"


def page_sizes() -> list[tuple[str, str, str]]:
    """Saved pages of each widget around the tiny model."""
    import torch
    from support import models, toks

    import steerwidgets as sw

    torch.set_num_threads(1)
    lm = sw.LanguageModel(models.make("llama"), toks.byte_level())
    beside = {"feature card": "sae_vis: 4 MiB for 128 features", "token heatmap": "CircuitsVis: 1,295,474 bytes a cell"}
    rows = []
    for name in pages.WIDGETS:
        widget = pages.make(name, lm)
        with tempfile.TemporaryDirectory() as folder:
            size = widget.to_html(Path(folder) / "page.html").stat().st_size
        keep(f"saved page, {name}", [size / 1024], "", "KB")
        widget.close()
        rows.append((f"saved page, {name}", f"{size / 1024:.0f} KiB", beside.get(name, "")))
    return rows


if __name__ == "__main__":
    main()
