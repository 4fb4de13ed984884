"""All widgets in every host, each started for real; see `checks.py` for what has to be true.

A host's list is what it can do: a check that it cannot have (a restart in nbconvert's page) is not on it.
Run some with -k, as `-k notebook7` or `-k "dark and marimo"`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from e2e.lab import PATIENCE
from hosts import jupyter, marimo, nbconvert
from hosts.checks import CHECKS, Check, run
from hosts.host import Cell, Host
from hosts.shown import PLAIN, Others, Widgets, run_before
from playwright.sync_api import expect

HOSTS: tuple[type[Host], ...] = (
    jupyter.JupyterLab,
    jupyter.Notebook7,
    jupyter.Notebook6,
    jupyter.NbClassic,
    jupyter.Voila,
    marimo.MarimoEditWrapped,
    marimo.MarimoEditPlain,
    marimo.MarimoRunWrapped,
    marimo.MarimoRunPlain,
    nbconvert.NbConvertLab,
    nbconvert.NbConvertClassic,
)
LISTS = [
    (host, of, check)
    for host in HOSTS
    for of in (Widgets, Others)
    for check in CHECKS
    if of in check.of and check.needs <= host.can
]
VIEW = {"width": 1400, "height": 4500}  # all cells at once: notebooks take those out of sight off the page


class Opened:
    """One host at a time, and its page, which several checks share as long as they leave it as it was."""

    def __init__(self, browser, folders) -> None:
        self._browser = browser
        self._folders = folders
        self._host: Host | None = None
        self._context = None
        self._cells: Sequence[Cell] = ()
        self.errors: list[str] = []
        self.console: list[str] = []

    def host(self, kind: type[Host]) -> Host:
        if type(self._host) is not kind:
            self.stop()
            self._host = kind(self._folders.mktemp(kind.name))
        return self._host

    def page(self, kind: type[Host], cells: Sequence[Cell], *, touch: bool = False) -> Host:
        host = self.host(kind)
        if self._cells != cells:
            self.close()
        if self._context is None:
            self._cells = cells
            self.errors, self.console = [], []
            self._context = self._browser.new_context(viewport=VIEW, has_touch=touch, reduced_motion="reduce")
            self._context.set_default_timeout(20_000)
            self._context.route(re.compile(r"^https?://(?!127\.0\.0\.1)"), lambda route: route.abort())
            page = self._context.new_page()
            page.on("console", self._heard)
            page.on("pageerror", lambda error: self.errors.append(f"pageerror {error}"))
            page.on("dialog", lambda dialog: dialog.accept())
            host.open(page, cells if "run" in host.can else run_before(cells))
        return host

    def _heard(self, message) -> None:
        line = f"{message.type} {re.sub(r'[0-9a-f]{8}-[0-9a-f-]{27}|:[0-9]{4,5}/', '…', message.text)}"
        self.console.append(line)
        if message.type == "error":
            self.errors.append(line)

    def close(self) -> None:
        """The next check gets a page of its own."""
        if self._context is not None:
            self._host.leave()
            self._context.close()
            self._context = None

    def give_up(self) -> None:
        """And a kernel of its own: nobody knows what is left in this one."""
        self.close()
        if self._host is not None:
            self._host.renew()

    def stop(self) -> None:
        self.close()
        if self._host is not None:
            self._host.stop()
            self._host = None


@pytest.fixture(scope="module", autouse=True)
def _patience():
    expect.set_options(timeout=20_000)
    yield
    expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def opened(chromium, tmp_path_factory):
    found = Opened(chromium, tmp_path_factory)
    yield found
    found.stop()


def _name(value: object) -> str:
    return value.name if isinstance(value, Check) else getattr(value, "name", str(value))


@pytest.mark.parametrize(("host", "of", "check"), LISTS, ids=_name)
def test_host(opened, host, of, check, picture, request, tmp_path):
    if check.touch:
        opened.close()
    good = False
    try:
        shown_in = opened.page(host, of.CELLS, touch=check.touch)
        request.node.pages = [(host.name, shown_in.page, opened)]
        shown = of(shown_in.page, lambda name: picture(shown_in.page, f"host-{host.name}-{of.name}-{name}"))
        shown.wait()
        check.run(shown_in, shown)
        good = True
    finally:
        # A page that a check has failed on is closed in the teardown, after the screenshot of what went wrong.
        if check.spoils or not good:
            request.addfinalizer(opened.close if good else opened.give_up)


@pytest.mark.parametrize("host", HOSTS, ids=_name)
def test_nothing_goes_wrong_in_the_console(opened, host, request, tmp_path):
    """From opening the page to a run: no error in the console that the plainest widget's page does not have."""
    opened.close()
    request.addfinalizer(opened.give_up)
    there = opened.page(host, [PLAIN])
    there.page.get_by_role("button", name="plain", exact=True).wait_for(timeout=60_000)
    there.page.wait_for_timeout(500)
    usual = set(opened.errors)
    found = []
    for of in (Widgets, Others):
        opened.give_up()
        there = opened.page(host, of.CELLS)
        request.node.pages = [(host.name, there.page, opened)]
        shown = of(there.page)
        shown.wait()
        if "run" in there.can and of is Widgets:
            run(shown.panel)
            shown.tokens.nth(2).click()
        there.page.wait_for_timeout(500)
        found += [line for line in opened.errors if line not in usual]
    assert not found, "\n".join(line[:400] for line in found)
