"""A JupyterLab of the tests' own, and a notebook in it as a page object."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Browser, Locator, Page, Playwright, expect

TESTS = Path(__file__).parent.parent
PATIENCE = 60_000  # ms; two busy cores may need it
expect.set_options(timeout=PATIENCE)

SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyter-widgets/jupyterlab-manager/plugin": {"saveState": True},
}


def launch(playwright: Playwright) -> Browser:
    """The Chromium of the machine, or Playwright's own."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("STEERWIDGETS_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    quiet = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    sandbox = ["--no-sandbox"] if os.getuid() == 0 else []
    return playwright.chromium.launch(executable_path=found, args=[*quiet, *sandbox])


class Server:
    """JupyterLab on loopback, with settings, workspaces and files of its own."""

    def __init__(self, folder: Path) -> None:
        self.files = folder / "files"
        self.files.mkdir()
        self._log = folder / "server.log"
        self._token = secrets.token_hex(16)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        for name, values in SETTINGS.items():
            path = folder / "settings" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
        # Its requests are cut off by a restart, of which it writes an error of its own into the console.
        page = folder / "config" / "labconfig" / "page_config.json"
        page.parent.mkdir(parents=True)
        page.write_text(json.dumps({"disabledExtensions": {"@jupyterlab/debugger-extension": True}}))
        self._process = self._start(folder, port)

    def _start(self, folder: Path, port: int) -> subprocess.Popen[bytes]:
        own = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }
        environment = os.environ | {name: str(folder / sub) for name, sub in own.items()}
        environment |= {
            "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}",
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        options = {
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.port": port,
            "ServerApp.port_retries": 0,
            "ServerApp.root_dir": self.files,
            "ServerApp.allow_root": True,
            "ServerApp.open_browser": False,
            "IdentityProvider.token": self._token,
            "LabApp.expose_app_in_browser": True,
            "LabApp.extension_manager": "readonly",
            "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        }
        command = [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]
        with self._log.open("wb") as log:
            return subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError):
                self.call("GET", "api/status")
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)
        raise RuntimeError(f"JupyterLab did not start:\n{self.log}")

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8", "replace")[-6000:]

    def call(self, method: str, path: str, body: dict | None = None) -> Any:
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"{self.address}/{path}?token={self._token}", data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            found = answer.read()
        return json.loads(found) if found else None

    def start_kernel(self) -> str:
        """A kernel that several notebooks can use, one after the other; its id."""
        return self.call("POST", "api/kernels", {"name": "python3"})["id"]

    def attach(self, name: str, kernel: str) -> None:
        """Give a notebook a kernel that runs already."""
        session = {"path": name, "name": name, "type": "notebook", "kernel": {"id": kernel}}
        self.call("POST", "api/sessions", session)

    def end_kernels(self, *, but: str | None = None) -> None:
        """End every kernel and leave every notebook, but for one kernel."""
        for kernel in self.call("GET", "api/kernels"):
            if kernel["id"] != but:
                with contextlib.suppress(urllib.error.HTTPError):
                    self.call("DELETE", f"api/kernels/{kernel['id']}")

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.end_kernels()
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def url(self, name: str) -> str:
        return f"{self.address}/lab/tree/{name}?reset&token={self._token}"

    def write(self, name: str, cells: list[str]) -> None:
        made = [nbformat.v4.new_code_cell(cell) for cell in cells]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": kernel}), self.files / name)


class Notebook:
    """A notebook that is open in JupyterLab. Its plumbing goes through commands, panels through accessible names."""

    def __init__(self, page: Page, server: Server, name: str, *, beside: bool = False) -> None:
        """Open it: in a JupyterLab that is loaded for it, or `beside` what the page's own has had open before."""
        self.page = page
        self.server = server
        self.name = name
        if beside:
            # In braces: what a command gives is an object of JupyterLab's, and to send it here took seconds.
            opened = "path => { jupyterapp.commands.execute('docmanager:open', { path, factory: 'Notebook' }) }"
            page.evaluate(opened, name)
        else:
            page.goto(server.url(name))
        page.wait_for_function(
            """name => window.jupyterapp?.shell?.currentWidget?.context?.path === name
                && window.jupyterapp.shell.currentWidget.context.isReady
                && window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === "idle" """,
            arg=name,
            timeout=PATIENCE,
        )

    def leave(self) -> None:
        """Close all that is open, unsaved; the kernel runs on, and JupyterLab is as it was when it was loaded."""
        self.page.evaluate("""() => {
            for (const open of [...jupyterapp.shell.widgets("main")]) open.dispose();
            jupyterapp.shell.expandLeft();
        }""")
        self.page.mouse.move(0, 0)
        expect(self.page.get_by_role("dialog")).to_have_count(0)

    def command(self, name: str, args: dict | None = None) -> None:
        """Start a command of JupyterLab; it may take as long as a cell."""
        self.page.evaluate("([n, a]) => { window.jupyterapp.commands.execute(n, a) }", [name, args or {}])

    def wear(self, theme: str) -> None:
        """Light or Dark; the server keeps it for the pages that are opened next."""
        self.page.evaluate(
            "name => jupyterapp.commands.execute('apputils:change-theme', { theme: name })", f"JupyterLab {theme}"
        )
        # Switched again while its splash fades out, JupyterLab takes that off twice, and the second time is an error.
        is_worn = """dark => document.body.dataset.jpThemeLight === String(!dark)
            && !document.getElementById("jupyterlab-splash")"""
        self.page.wait_for_function(is_worn, arg=theme == "Dark")

    def run_all(self) -> None:
        self.command("notebook:run-all-cells")

    def run_cell(self, index: int) -> None:
        self._settle()
        self.page.evaluate("i => { jupyterapp.shell.currentWidget.content.activeCellIndex = i }", index)
        self.command("notebook:run-cell")

    def wait_idle(self) -> None:
        """Until no cell runs."""
        self.page.wait_for_function(
            """() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === "idle"
                && !jupyterapp.shell.currentWidget.content.widgets.some(c => c.model.executionState === "running")""",
            timeout=PATIENCE * 2,
        )

    def execute(self, code: str) -> str:
        """Run code in the kernel without a cell, after all that the page has changed; as `_ask`."""
        self._settle()
        return self._ask(code)

    def _settle(self) -> None:
        """See that what the page has changed is on its way to the kernel.

        A widget holds its next change back until the kernel has taken the last one, and code would overtake it. When
        the kernel has answered something, be it nothing, it has taken what was sent before that was asked.
        """
        self._ask("pass")

    def _ask(self, code: str) -> str:
        """How code ended, `late` where it does not."""
        script = """async code => {
            const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const reply = kernel.requestExecute({ code, stop_on_error: false }).done;
            const late = new Promise(resolve => setTimeout(resolve, 15000, { content: { status: "late" } }));
            return (await Promise.race([reply, late])).content.status;
        }"""
        return self.page.evaluate(script, code)

    def until(self, condition: str) -> None:
        """Wait until a condition holds in the kernel: what a worker of its own does may come after the question."""
        deadline = time.monotonic() + PATIENCE / 1000
        while self.execute(f"assert {condition}") != "ok":
            assert time.monotonic() < deadline, f"Python never says: {condition}"

    def printed(self, code: str) -> str:
        """What code prints that runs in the kernel without a cell, after all that the page has changed."""
        self._settle()
        script = """async code => {
            const future = jupyterapp.shell.currentWidget.sessionContext.session.kernel.requestExecute({ code });
            let text = "";
            future.onIOPub = message => { if (message.header.msg_type === "stream") text += message.content.text };
            await future.done;
            return text;
        }"""
        return self.page.evaluate(script, code)

    def restart_and_run_all(self) -> None:
        self.command("notebook:restart-run-all")
        self.page.get_by_role("dialog").get_by_role("button", name="Confirm Kernel Restart").click()

    def save(self) -> Path:
        """Save it; where it lies."""
        self.page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
        return self.server.files / self.name

    def cell(self, index: int) -> Locator:
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def output(self, index: int) -> Locator:
        return self.cell(index).locator(".jp-OutputArea-output")

    def cells(self) -> list[str]:
        """Kind and source of every cell."""
        return self.page.evaluate(
            "() => jupyterapp.shell.currentWidget.content.widgets.map(c => c.model.type + c.model.sharedModel.source)"
        )

    def errors(self) -> list[str]:
        """What cells raised."""
        return self.page.locator(".jp-Notebook [data-mime-type='application/vnd.jupyter.stderr']").all_inner_texts()

    def panel(self, index: int = 0) -> Panel:
        return Panel(self.page, self.page.locator(".sw-panel").nth(index))


class Panel:
    """One view of a steering panel, by accessible names only."""

    def __init__(self, page: Page, root: Locator) -> None:
        self.page = page
        self.root = root

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    @property
    def generate(self) -> Locator:
        return self.button("Generate")

    @property
    def stop(self) -> Locator:
        return self.button("Stop")

    @property
    def prompt(self) -> Locator:
        return self.root.get_by_role("textbox", name="Prompt", exact=True)

    @property
    def status(self) -> Locator:
        return self.root.get_by_role("status")

    @property
    def alert(self) -> Locator:
        return self.root.get_by_role("alert")

    @property
    def recipe(self) -> Locator:
        return self.root.get_by_role("region", name="Recipe", exact=True)

    def slider(self, label: str) -> Locator:
        return self.root.get_by_role("slider", name=label, exact=True)

    def number(self, name: str) -> Locator:
        return self.root.get_by_role("spinbutton", name=name, exact=True)

    def column(self, name: str) -> Locator:
        return self.root.get_by_role("region", name=name, exact=True)

    def tokens(self, name: str) -> Locator:
        return self.column(name).get_by_role("option")

    def text(self, name: str) -> str:
        """The exact text of a column."""
        return self.column(name).get_by_role("listbox").text_content() or ""

    def set(self, name: str, value: float) -> None:
        """Type a number into its box."""
        self.number(name).fill(f"{value:g}")
        self.number(name).blur()

    def expect_streaming(self, tokens: int = 2) -> None:
        """Both columns have text while the run is going on."""
        for name in ("Baseline", "Steered"):
            expect(self.tokens(name).nth(tokens - 1)).to_be_visible()
        expect(self.column("Steered")).to_have_attribute("aria-busy", "true")

    def expect_done(self) -> None:
        expect(self.column("Steered")).to_have_attribute("aria-busy", "false")
        expect(self.column("Baseline")).to_have_attribute("aria-busy", "false")

    def run(self) -> None:
        """Generate, to the end."""
        self.generate.click()
        expect(self.column("Steered")).to_have_attribute("aria-busy", "true")
        self.expect_done()


SCROLL = """async (grid, side) => {
    const box = grid.parentElement;
    const frames = [];
    let last = performance.now();
    for (let i = 0; i < 60; i++) {
        box[side] += 400;
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        frames.push(now - last);
        last = now;
    }
    frames.sort((a, b) => a - b);
    return { median: frames[30], at: box[side], nodes: grid.querySelectorAll('*').length };
}"""


def scroll_frames(grid: Locator, side: str) -> dict[str, Any]:
    """Scroll what holds a grid, by `scrollTop` or `scrollLeft`: the median frame in ms, how far it came, its nodes."""
    return grid.evaluate(SCROLL, side)
