"""Pages that nbconvert makes of an executed notebook, by either template; what they ask of a CDN is served here."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from hosts.cache import ROOT, npm
from hosts.host import Cell, Host
from hosts.jupyter import write_notebook
from playwright.sync_api import Page, Route


class NbConvert(Host):
    environment = "nbconvert"
    can = frozenset({"frozen"})
    template: ClassVar[str]
    themes = False

    def open(self, page: Page, cells: Sequence[Cell]) -> None:
        self.page = page
        name = hashlib.sha256(repr(cells).encode()).hexdigest()[:8]
        self.executed = executed = self.folder / f"{name}-executed.ipynb"
        if not executed.exists():
            source = self.folder / f"{name}.ipynb"
            write_notebook(source, cells)
            self._convert(source, "--execute", "--to=notebook", f"--output={executed.stem}")
        page.route("**/*", self._answer)
        self._show("light")

    def dark(self, on: bool) -> None:
        super().dark(on)
        if self.themes:
            self._show("dark" if on else "light")

    def _show(self, theme: str) -> None:
        page = self.executed.with_name(f"{self.executed.stem}-{theme}.html")
        if not page.exists():
            options = [f"--template={self.template}", f"--HTMLExporter.theme={theme}", f"--output={page.stem}"]
            self._convert(self.executed, "--to=html", *options)
        self.page.goto(page.as_uri())

    def _convert(self, source: Path, *options: str) -> None:
        folders = {
            name: str(self.folder / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")
        }
        variables = os.environ | folders | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
        variables |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        command = [str(self.python), "-m", "nbconvert", *options, str(source)]
        done = subprocess.run(
            command, env=variables, cwd=self.folder, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]

    def _answer(self, route: Route) -> None:
        address = route.request.url
        if not address.startswith("http"):
            route.continue_()
        elif "require.min.js" in address:
            self._script(route, npm("requirejs@2.3.8", "require.js"))
        elif "embed-amd.js" in address:
            self._script(route, npm("@jupyter-widgets/html-manager@1.0.15", "dist/embed-amd.js"))
        elif "anywidget" in address:
            [script] = self.python.parent.parent.glob("lib/python*/site-packages/anywidget/nbextension/index.js")
            self._script(route, script.read_text("utf-8"))
        else:
            route.abort()

    @staticmethod
    def _script(route: Route, text: str) -> None:
        route.fulfill(body=text, content_type="text/javascript", headers={"Access-Control-Allow-Origin": "*"})


class NbConvertLab(NbConvert):
    name, template, themes = "nbconvert-lab", "lab", True


class NbConvertClassic(NbConvert):
    """Bootstrap 3, and always light."""

    name, template = "nbconvert-classic", "classic"
