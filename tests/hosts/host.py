"""What every host is to the checks: it opens cells, and its kernel, page and theme can be handled."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hosts.cache import ROOT, environment
from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as TooLate

PATIENCE = 90_000  # ms, for what a busy machine may take


@dataclass(frozen=True)
class Cell:
    """Code, and the expression that it shows in its last line."""

    code: str
    shows: str = ""


class Host:
    """A host that has been started; one page of it is open at a time.

    `can` says which checks it takes part in:

    * `cells`: it has cells, with keys of its own that act on them;
    * `save`: Ctrl+S saves;
    * `run`: there is a kernel behind the page;
    * `restart`: the kernel can be restarted while the page and its widgets stay;
    * `rerun`: after a restart the cells can be run again;
    * `keeps`: a reload of the page finds the widgets as they were;
    * `frozen`: there is no kernel.
    """

    name: ClassVar[str]
    environment: ClassVar[str]
    can: ClassVar[frozenset[str]]
    plain: ClassVar[Cell] = Cell("import ipywidgets", "ipywidgets.IntSlider()")  # a slider of the host's own world
    page: Page

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = environment(self.environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "log.txt"
        self.address = ""
        self.token = secrets.token_hex(16)

    # --- what the checks use

    def open(self, page: Page, cells: Sequence[Cell]) -> None:
        """Show the cells in a page, and run them all."""
        raise NotImplementedError

    def reload(self) -> None:
        """Load the page again, as a user does."""
        self.page.reload()

    def restart(self) -> None:
        """Restart the kernel and run nothing."""
        raise NotImplementedError

    def run_again(self) -> None:
        """Run all cells after a restart."""
        raise NotImplementedError

    def dark(self, on: bool) -> None:
        """Make the host dark or light; one that is always light is seen on a system that is dark."""
        self.page.emulate_media(color_scheme="dark" if on else "light")

    def cells(self) -> list[str]:
        """Kind and source of every cell."""
        raise NotImplementedError

    def selection(self) -> Any:
        """Which cells are active or selected."""
        raise NotImplementedError

    def focus_on_cell(self) -> None:
        """Put the focus where the host's own keys surely work: on the first cell, which is not being edited."""
        raise NotImplementedError

    def saves(self, action: Callable[[], object], within: float = 4000) -> bool:
        """Whether an action makes the host save the document."""
        wanted = lambda request: request.method in ("PUT", "POST") and self.is_save(request.url)
        try:
            with self.page.expect_request(wanted, timeout=within):
                action()
        except TooLate:
            return False
        return True

    def is_save(self, address: str) -> bool:
        return "/api/contents/" in address and "checkpoints" not in address

    def leave(self) -> None:
        """The page is about to be closed."""

    def renew(self) -> None:
        """The next page gets a new kernel."""

    # --- servers

    def start(self, arguments: Sequence[str], answers: str = "api/status") -> None:
        """Start a server of the host's own environment on loopback, and wait until it answers."""
        own = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR")
        own += ("JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME")
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "PYTHON", "VIRTUAL"))
        }
        kept |= {name: str(self.folder / name.lower()) for name in own}
        kept |= {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), "JUPYTER_PLATFORM_DIRS": "1"}
        kept |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "STEERWIDGETS_DATA": str(self.folder / "data")}
        kept["PATH"] = os.pathsep.join([str(self.python.parent), os.environ["PATH"]])
        self.variables = kept
        command = [str(self.python), "-m", *arguments]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env=kept, cwd=self.folder, stdout=log, stderr=log)
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError):
                self.call("GET", answers)
                return
            time.sleep(0.1)
        raise RuntimeError(f"{self.name} did not start:\n{self._log.read_text('utf-8', 'replace')[-4000:]}")

    def call(self, method: str, path: str, body: dict | None = None) -> Any:
        """Ask the server; JSON where it answers JSON."""
        headers = {"Authorization": f"token {self.token}", "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.address}/{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            found = answer.read()
        return json.loads(found) if found[:1] in (b"{", b"[") else None

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._process = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
