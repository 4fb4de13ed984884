"""The hosts with a Jupyter server: JupyterLab, Notebook 7, Notebook 6, nbclassic, Voilà."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import nbformat
from hosts.host import PATIENCE, Cell, Host, free_port
from playwright.sync_api import Page

NOTEBOOK = frozenset({"cells", "save", "run", "restart", "rerun", "keeps"})
SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}


def write_notebook(path: Path, cells: Sequence[Cell]) -> None:
    made = [nbformat.v4.new_code_cell(f"{cell.code}\n{cell.shows}".strip()) for cell in cells]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": kernel}), path)


class Jupyter(Host):
    """A server of notebooks; all of them share one kernel, since to start one takes longer than most checks."""

    can = NOTEBOOK
    app: str
    page_path: str
    traits: ClassVar[dict[str, object]]
    server = "ServerApp"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.files = folder / "files"
        self.files.mkdir()
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        for name, values in SETTINGS.items():
            path = folder / "jupyterlab_settings_dir" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
        server = self.server
        options: dict[str, object] = {
            f"{server}.ip": "127.0.0.1",
            f"{server}.port": port,
            f"{server}.port_retries": 0,
            f"{server}.allow_root": True,
            f"{server}.open_browser": False,
        }
        options |= {f"{server}.notebook_dir" if server == "NotebookApp" else f"{server}.root_dir": self.files}
        options |= {"NotebookApp.token" if server == "NotebookApp" else "IdentityProvider.token": self.token}
        self.start([self.app, *(f"--{name}={value}" for name, value in (options | self.traits).items())])
        self._kernel = ""
        self._opened = 0

    def open(self, page: Page, cells: Sequence[Cell]) -> None:
        self.page = page
        self._opened += 1
        self.notebook = f"cells-{self._opened}.ipynb"
        write_notebook(self.files / self.notebook, cells)
        if not self._kernel:
            self._kernel = self.call("POST", "api/kernels", {"name": "python3"})["id"]
        session = {"path": self.notebook, "name": self.notebook, "type": "notebook", "kernel": {"id": self._kernel}}
        self.call("POST", "api/sessions", session)
        page.goto(f"{self.address}/{self.page_path.format(self.notebook)}token={self.token}")
        self.wait_ready()
        self.run_all()

    def renew(self) -> None:
        for kernel in self.call("GET", "api/kernels"):
            self.call("DELETE", f"api/kernels/{kernel['id']}")
        self._kernel = ""

    def wait_ready(self) -> None:
        raise NotImplementedError

    def run_all(self) -> None:
        raise NotImplementedError

    def run_again(self) -> None:
        self.run_all()

    def reload(self) -> None:
        self.page.reload()
        self.wait_ready()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.renew()
        super().stop()


class JupyterLab(Jupyter):
    name = environment = "jupyterlab"
    app = "jupyterlab"
    page_path = "lab/tree/{}?reset&"
    traits: ClassVar[dict[str, object]] = {
        "LabApp.expose_app_in_browser": True,
        "LabApp.extension_manager": "readonly",
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }
    current = "jupyterapp.shell.currentWidget"

    def wait_ready(self) -> None:
        self.page.wait_for_function(
            """name => window.jupyterapp?.shell?.currentWidget?.context?.path === name
                && jupyterapp.shell.currentWidget.context.isReady
                && jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.connectionStatus === "connected"
                && ["idle", "busy"].includes(jupyterapp.shell.currentWidget.sessionContext.session.kernel.status)""",
            arg=self.notebook,
            timeout=PATIENCE,
        )

    def command(self, name: str, args: dict | None = None) -> None:
        self.page.evaluate("([n, a]) => { window.jupyterapp.commands.execute(n, a) }", [name, args or {}])

    def run_all(self) -> None:
        self.command("notebook:run-all-cells")

    def restart(self) -> None:
        # The menu's own command asks first; what it does then is this.
        self.page.evaluate(f"() => {self.current}.sessionContext.session.kernel.restart()")
        self.wait_ready()

    def dark(self, on: bool) -> None:
        theme = "JupyterLab Dark" if on else "JupyterLab Light"
        self.page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
        self.page.wait_for_function("dark => document.body.dataset.jpThemeLight === String(!dark)", arg=on)

    def cells(self) -> list[str]:
        script = f"() => {self.current}.content.widgets.map(c => c.model.type + ' ' + c.model.sharedModel.source)"
        return self.page.evaluate(script)

    def selection(self) -> Any:
        return self.page.evaluate(
            f"""() => {{ const book = {self.current}.content;
                return [book.activeCellIndex, book.widgets.filter(c => book.isSelectedOrActive(c)).length]; }}"""
        )

    def focus_on_cell(self) -> None:
        self.page.evaluate(
            f"() => {{ const book = {self.current}.content; book.activeCellIndex = 0; book.mode = 'command';"
            " book.node.focus(); book.activate(); }"
        )

    def save(self) -> None:
        self.page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")


class Notebook7(JupyterLab):
    name = environment = "notebook7"
    app = "notebook"
    page_path = "notebooks/{}?"
    traits: ClassVar[dict[str, object]] = {"JupyterNotebookApp.expose_app_in_browser": True}


class Classic(Jupyter):
    """The classic notebook, which has no dark mode."""

    def wait_ready(self) -> None:
        self.page.wait_for_function(
            "() => window.Jupyter?.notebook?._fully_loaded && Jupyter.notebook.kernel?.is_connected()", timeout=PATIENCE
        )
        self.page.evaluate("() => Jupyter.notebook.set_autosave_interval(0)")
        # Its widget manager asks the kernel which widgets there are, and then draws outputs anew: run nothing before.
        self.page.wait_for_function("() => Jupyter.notebook.kernel.widget_manager", timeout=PATIENCE)
        self.page.evaluate("() => new Promise(done => Jupyter.notebook.kernel.kernel_info(done))")
        self.page.wait_for_timeout(1000)

    def run_all(self) -> None:
        self.page.evaluate("() => { Jupyter.notebook.execute_all_cells() }")

    def restart(self) -> None:
        self.page.evaluate("() => new Promise(done => Jupyter.notebook.kernel.restart(done))")
        self.page.wait_for_function("() => Jupyter.notebook.kernel.is_connected()", timeout=PATIENCE)

    def cells(self) -> list[str]:
        return self.page.evaluate("() => Jupyter.notebook.get_cells().map(c => c.cell_type + ' ' + c.get_text())")

    def selection(self) -> Any:
        script = "() => [Jupyter.notebook.get_selected_index(), Jupyter.notebook.get_selected_cells_indices().length]"
        return self.page.evaluate(script)

    def focus_on_cell(self) -> None:
        self.page.evaluate(
            "() => { const book = Jupyter.notebook; book.select(0); book.command_mode(); book.focus_cell() }"
        )

    def save(self) -> None:
        with self.page.expect_response(lambda answer: answer.request.method == "PUT" and self.is_save(answer.url)):
            self.page.evaluate("() => { Jupyter.notebook.save_notebook() }")


class Notebook6(Classic):
    """With Colab's ipykernel, ipywidgets and traitlets."""

    name = environment = "notebook6"
    app = "notebook"
    server = "NotebookApp"
    page_path = "notebooks/{}?"
    traits: ClassVar[dict[str, object]] = {}


class NbClassic(Classic):
    name = environment = "nbclassic"
    app = "nbclassic"
    page_path = "notebooks/{}?"
    traits: ClassVar[dict[str, object]] = {}


class Voila(Host):
    """A notebook as an application; a kernel for every page."""

    name = environment = "voila"
    can = frozenset({"run"})

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.files = folder / "files"
        self.files.mkdir()
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        options = [
            "--no-browser",
            "--Voila.ip=127.0.0.1",
            f"--port={port}",
            "--VoilaConfiguration.show_tracebacks=True",
        ]
        options += ["--VoilaConfiguration.allow_theme_override=YES", "--ServerApp.allow_root=True"]
        self.start(["voila", *options, str(self.files)], answers="")

    def open(self, page: Page, cells: Sequence[Cell]) -> None:
        self.page = page
        write_notebook(self.files / "cells.ipynb", cells)
        page.goto(f"{self.address}/voila/render/cells.ipynb", timeout=PATIENCE)

    def dark(self, on: bool) -> None:
        theme = "dark" if on else "light"
        self.page.goto(f"{self.address}/voila/render/cells.ipynb?theme={theme}", timeout=PATIENCE)
