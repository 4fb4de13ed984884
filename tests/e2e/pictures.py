"""README's pictures, taken in JupyterLab: `make pictures`. They show the embedded model, and seeds make them again."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from e2e.lab import Notebook, Server, launch
from playwright.sync_api import sync_playwright

LOADED = """
import steerwidgets as sw
lm, cavs, sae = sw.LanguageModel.demo(), sw.CAV.demo(), sw.SAE.demo()
sea = cavs["the sea and sailing"]
"""
PANEL = """
recipe = sea.add(36) + sae[587].clamp(30)
panel = sw.SteeringPanel(lm, [cavs, sae], prompt="Tell me about your weekend.", recipe=recipe, max_new_tokens=56)
panel.generate()
panel
"""
LENS = """
sw.LogitLens(lm, "The Eiffel Tower is located in the city of", track=[" Paris", " London"], pinned=[27, 9])
"""
PATCHES = """
grid = sw.PatchGrid(
    lm, "The capital of Italy is the city of", "The capital of France is the city of", tokens=(" Rome", " Paris")
)
grid.run()
grid
"""
PICTURES = {"panel": (PANEL, ".sw-panel"), "lens": (LENS, ".sw-lens"), "patches": (PATCHES, ".sw-patch")}
"""By the file's name: the cell, and the widget's own element."""

SIZE = {"width": 1480, "height": 1400}


def take(folder: Path) -> None:
    """Take every picture, in a JupyterLab of the script's own."""
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        server, browser = Server(Path(made)), launch(playwright)
        try:
            server.wait()
            server.write("pictures.ipynb", [LOADED, *(cell for cell, _ in PICTURES.values())])
            page = browser.new_context(viewport=SIZE, reduced_motion="reduce").new_page()
            notebook = Notebook(page, server, "pictures.ipynb")
            notebook.command("application:toggle-left-area")
            for index in range(1 + len(PICTURES)):
                notebook.run_cell(index)
                notebook.wait_idle()
            if errors := notebook.errors():
                raise SystemExit("\n".join(errors))
            for name, (_, element) in PICTURES.items():
                widget = page.locator(element).first
                widget.scroll_into_view_if_needed()
                page.mouse.move(0, 0)
                path = folder / f"{name}.png"
                widget.screenshot(path=path)
                sys.stdout.write(f"{path}  {path.stat().st_size / 1e3:,.0f} KB\n")
        finally:
            browser.close()
            server.stop()


if __name__ == "__main__":
    take(Path(sys.argv[1]))
