"""JupyterLab and Chromium for the browser tests; what went wrong is shown with a screenshot and the console."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from e2e.lab import Notebook, Server, launch
from playwright.sync_api import Error, Page, sync_playwright

TINY = """
import json, pathlib, time, torch
torch.set_num_threads(1)
from support import models, toks
import steerwidgets as sw
lm = sw.LanguageModel(models.make("llama", max_position_embeddings=8192), toks.byte_level())
with torch.no_grad():
    lm.model.get_output_embeddings().weight[sorted(lm.special_ids)] = 0  # texts never end by themselves
lm.model.register_forward_pre_hook(lambda *_: time.sleep(0.02))  # a model of at most 50 tokens a second
vectors = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
cavs = sw.CAV(vectors, ["the sea and sailing", "cooking and food", "<b>bold</b> claims"], layer=1)
"""
PANEL = 'panel = sw.SteeringPanel(lm, cavs, prompt="Hello there", recipe=cavs[0].add(4), max_new_tokens=24)\npanel'
SEA, FOOD = "the sea and sailing", "cooking and food"


class Record:
    """What a browser context said and fetched."""

    def __init__(self) -> None:
        self.console: list[str] = []
        self.errors: list[str] = []
        self.requests: list[str] = []

    def follow(self, page) -> None:
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.errors.append(f"pageerror {error}"))

    def _heard(self, message) -> None:
        line = f"{message.type} {message.text}"
        self.console.append(line)
        if message.type == "error":
            self.errors.append(line)

    def forget(self) -> None:
        for heard in (self.console, self.errors, self.requests):
            heard.clear()

    def outside(self, *allowed: str) -> list[str]:
        """Addresses that are neither the server's nor the page's own."""
        own = (*allowed, "data:", "blob:", "about:")
        return [address for address in self.requests if not address.startswith(own)]


VIEWPORT = {"width": 1400, "height": 1000}


def page_of_its_own(chromium, **options) -> tuple[Page, Record]:
    context = chromium.new_context(**{"viewport": VIEWPORT} | options)
    record = Record()
    context.on("request", lambda sent: record.requests.append(sent.url))
    context.on("page", record.follow)
    page = context.new_page()
    page.set_default_timeout(60_000)
    return page, record


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    item.failed = report.failed or getattr(item, "failed", False)
    if call.when == "call" and report.failed:
        for name, page, record in getattr(item, "pages", []):
            _explain(item, report, name, page, record)
    return report


def _explain(item, report, name: str, page, record: Record) -> None:
    try:
        path = _picture_path(item, f"{re.sub(r'[^A-Za-z0-9]+', '-', item.name)}-{name}-failed")
        page.screenshot(path=path, timeout=5000)
        report.sections.append((f"Screenshot of {name}", str(path)))
    except Exception as error:
        report.sections.append((f"Screenshot of {name}", f"none: {error}"))
    report.sections.append((f"Console of {name}", "\n".join(record.console[-40:]) or "silent"))


def _picture_path(item, name: str) -> Path:
    chosen = os.environ.get("STEERWIDGETS_SCREENSHOTS")
    folder = Path(chosen) if chosen else item.funcargs["tmp_path"]
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.png"


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("lab"))
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.fixture
def new_page(request, chromium, tmp_path):
    """Pages with contexts of their own; each comes with a record of what it said and fetched."""
    request.node.pages = []
    contexts = []

    def make(name: str = "page", **options):
        page, record = page_of_its_own(chromium, **options)
        contexts.append(page.context)
        request.node.pages.append((name, page, record))
        return page, record

    yield make
    for context in contexts:
        context.close()


class Tab:
    """One loaded JupyterLab for many tests: to load one takes longer than most of them. A failure ends its use."""

    def __init__(self, chromium) -> None:
        self._chromium = chromium
        self._found: tuple[Page, Record] | None = None
        self._is_taken = False
        self.notebook: Notebook | None = None

    def take(self) -> tuple[Page, Record, bool]:
        """The page, its record, and whether JupyterLab is loaded in it."""
        is_loaded = self._found is not None
        page, record = self._found = self._found or page_of_its_own(self._chromium)
        record.forget()
        self._is_taken = True
        return page, record, is_loaded

    def give_back(self, *, is_sound: bool) -> None:
        """Leave the notebook that was opened in it; without one, or after a failure, the page is given up."""
        if not self._is_taken:
            return
        notebook, self._is_taken, self.notebook = self.notebook, False, None
        found, self._found = self._found, None
        if is_sound and notebook is not None:
            notebook.leave()
            self._found = found
        elif found is not None:
            found[0].context.close()

    def give_up(self) -> None:
        if self._found is not None:
            self._found[0].context.close()
        self._found = None


@pytest.fixture(scope="session")
def tab(chromium):
    tab = Tab(chromium)
    yield tab
    tab.give_up()


@pytest.fixture
def open_notebook(server, new_page, tab, request):
    """Opens notebooks, in pages of their own or in the one that tests share; afterwards nothing may have gone wrong in
    the page, or been fetched from elsewhere."""
    opened = []

    def open_(
        cells: list[str] | None = None, name: str = "", kernel: str | None = None, *, shared: bool = False, **options
    ) -> Notebook:
        name = name or re.sub(r"[^A-Za-z0-9]+", "-", request.node.name) + ".ipynb"
        if cells is not None:
            server.write(name, cells)
        if kernel is not None:
            server.attach(name, kernel)
        if shared:
            page, record, is_loaded = tab.take()
            page.set_viewport_size(options.get("viewport", VIEWPORT))
            request.node.pages.append(("JupyterLab", page, record))
        else:
            (page, record), is_loaded = new_page("JupyterLab", **options), False
        opened.append(record)
        notebook = Notebook(page, server, name, beside=is_loaded)
        if shared:
            tab.notebook = notebook
        return notebook

    yield open_
    errors = [error for record in opened for error in record.errors]
    own = (server.address, server.address.replace("http", "ws"))
    outside = [address for record in opened for address in record.outside(*own)]
    tab.give_back(is_sound=not request.node.failed and not errors)
    assert outside == []
    assert errors == []


class TinyKernel:
    """One kernel with the tiny model for many tests: to start one takes longer than most of them."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._id: str | None = None

    @property
    def id(self) -> str:
        if self._id is None:
            self._id = self._server.start_kernel()
        return self._id

    def clean(self, notebook: Notebook) -> None:
        """Close every panel and stop what runs; a kernel that can't is given up."""
        code = "import ipywidgets\nipywidgets.Widget.close_all()\nassert lm.lock.acquire(timeout=10)\nlm.lock.release()"
        try:
            usable = notebook.execute(code) == "ok"
        except Error:
            usable = False
        if not usable:
            self._id = None
        self._server.end_kernels(but=self._id)


@pytest.fixture(scope="session")
def tiny_kernel(server):
    return TinyKernel(server)


@pytest.fixture
def open_tiny(open_notebook, tiny_kernel):
    """Opens notebooks on the kernel of the tiny model, and runs the first two cells: what is needed, what is shown.

    What asks more of the page than a size, or asks `anew`, gets a JupyterLab of its own.
    """
    notebooks = []

    def open_(*cells: str, anew: bool = False, **options) -> Notebook:
        shared = not (anew or notebooks or options.keys() - {"viewport"})
        notebook = open_notebook(list(cells), kernel=tiny_kernel.id, shared=shared, **options)
        notebooks.append(notebook)
        notebook.run_cell(0)
        notebook.run_cell(1)
        return notebook

    yield open_
    for notebook in notebooks:
        tiny_kernel.clean(notebook)


@pytest.fixture
def open_panel(open_tiny):
    """A panel on the tiny model, shown and ready, in a notebook with some more cells."""

    def open_(*more: str, **options):
        notebook = open_tiny(TINY, PANEL, *more, **options)
        panel = notebook.panel()
        panel.generate.wait_for()
        return notebook, panel

    return open_


@pytest.fixture
def open_saved(new_page):
    """Opens a saved page without a network; it may fetch nothing, and nothing may go wrong in it."""
    opened = []

    def open_(path: Path, **options) -> Page:
        page, record = new_page("saved page", offline=True, **options)
        dialogs = []
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(path.as_uri())
        opened.append((record, dialogs, path))
        return page

    yield open_
    for record, dialogs, path in opened:
        assert record.outside(path.as_uri()) == []
        assert record.errors == []
        assert dialogs == []


@pytest.fixture
def picture(request):
    """Saves a screenshot where STEERWIDGETS_SCREENSHOTS says; without it, nothing."""

    def save(page, name: str) -> None:
        if os.environ.get("STEERWIDGETS_SCREENSHOTS"):
            page.screenshot(path=_picture_path(request.node, name))

    return save
