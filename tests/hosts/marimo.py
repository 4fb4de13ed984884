"""marimo, edited and run as an application; widgets wrapped in `mo.ui.anywidget` or shown as they are."""

from __future__ import annotations

import re
import shutil
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hosts.cache import folder
from hosts.host import Cell, Host, free_port
from playwright.sync_api import Page

CONFIG = """
[display]
theme = "system"
[runtime]
auto_instantiate = true
output_max_bytes = 50_000_000
[save]
autosave = "off"
"""


def write_app(path: Path, cells: Sequence[Cell], *, wrapped: bool) -> None:
    """A marimo file; it finds out by itself which cell needs what of which."""
    parts = ["import marimo", "", 'app = marimo.App(width="full")', ""]
    for code in ["import marimo as mo", *(_code(cell, wrapped=wrapped) for cell in cells)]:
        parts += ["", "@app.cell", "def _():", textwrap.indent(code, "    "), "    return", ""]
    path.write_text("\n".join([*parts, "", 'if __name__ == "__main__":', "    app.run()", ""]), "utf-8")


def _code(cell: Cell, *, wrapped: bool) -> str:
    shows = f"mo.ui.anywidget({cell.shows})" if wrapped and cell.shows else cell.shows
    return f"{cell.code.strip()}\n{shows}".strip()


class Marimo(Host):
    """A server of one file; for each opening a new one, so that its session is new too."""

    environment = "marimo"
    mode: str
    wrapped: bool
    _place: Path | None = None

    def open(self, page: Page, cells: Sequence[Cell]) -> None:
        self.page = page
        self.leave()
        if not self._place:
            # What lies in /tmp has no name yet to marimo, and cannot be saved.
            self._place = Path(tempfile.mkdtemp(dir=folder("apps")))
        (self.folder / ".marimo.toml").write_text(CONFIG, "utf-8")
        file = self._place / "app.py"
        write_app(file, cells, wrapped=self.wrapped)
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        options = ["--headless", "--no-token", f"--port={port}", "--host=127.0.0.1"]
        options += ["--skip-update-check"] if self.mode == "edit" else ["--no-check", "--session-ttl=120"]
        self.start(["marimo", "--quiet", self.mode, *options, str(file)], answers="health")
        page.emulate_media(color_scheme="light")
        page.goto(f"{self.address}/?file={file}" if self.mode == "edit" else self.address)

    def cells(self) -> list[str]:
        return self.page.evaluate(
            "() => [...new Set([...document.querySelectorAll('[data-cell-id]')].map(e => e.dataset.cellId))]"
        )

    def selection(self) -> Any:
        return self.page.evaluate(
            "() => document.activeElement?.closest('[data-cell-id]')?.dataset.cellId ?? document.activeElement?.tagName"
        )

    def is_save(self, address: str) -> bool:
        return address.endswith("/api/kernel/save")

    def leave(self) -> None:
        super().stop()

    def stop(self) -> None:
        super().stop()
        if self._place:
            shutil.rmtree(self._place, ignore_errors=True)


class MarimoEdit(Marimo):
    mode = "edit"
    can = frozenset({"cells", "save", "run", "rerun", "keeps"})

    def restart(self) -> None:
        # What the menu's "Restart kernel" does once it is confirmed; the page loads itself again then.
        with self.page.expect_navigation(wait_until="commit"):
            self.focus_on_cell()  # a widget that has the focus keeps all keys
            self.page.keyboard.press("Control+k")
            self.page.get_by_role("dialog").get_by_role("combobox").fill("restart kernel")
            self.page.get_by_role("option", name="Restart kernel").click()
            self.page.get_by_role("alertdialog").get_by_role(
                "button", name=re.compile("restart", re.IGNORECASE)
            ).click()

    def run_again(self) -> None:
        """It runs its cells when it starts."""

    def focus_on_cell(self) -> None:
        self.page.locator("[data-cell-id]").first.focus()


class MarimoRun(Marimo):
    mode = "run"
    can = frozenset({"run"})


class MarimoEditWrapped(MarimoEdit):
    name, wrapped = "marimo-edit-wrapped", True


class MarimoEditPlain(MarimoEdit):
    name, wrapped = "marimo-edit-plain", False


class MarimoRunWrapped(MarimoRun):
    name, wrapped = "marimo-run-wrapped", True


class MarimoRunPlain(MarimoRun):
    name, wrapped = "marimo-run-plain", False
