"""A kernel that was restarted, and a cell that was not run again: the widget says so, and can still be read."""

import pytest
from e2e.test_saved import FROZEN
from playwright.sync_api import expect

BANNER = "The kernel was restarted: run this cell again."


def _by_rest(notebook, kernel: str) -> None:
    """As another page would: this one is not told."""
    notebook.server.call("POST", f"api/kernels/{kernel}/restart")


def _here(notebook, _: str) -> None:
    notebook.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")


@pytest.mark.parametrize("restart", [_by_rest, _here])
def test_a_restart_is_told(open_panel, tiny_kernel, restart, picture):
    notebook, panel = open_panel("time.sleep(6)", anew=True)
    panel.run()
    texts = [panel.text(name) for name in ("Baseline", "Steered")]
    banner = panel.root.get_by_text(BANNER)
    # A cell that runs for a while is no restart.
    notebook.run_cell(2)
    panel.generate.click()
    notebook.page.wait_for_timeout(4500)
    expect(banner).to_have_count(0)
    notebook.wait_idle()
    panel.expect_done()
    expect(banner).to_have_count(0)
    restart(notebook, tiny_kernel.id)
    if restart is _by_rest:
        panel.generate.click()
    expect(banner).to_be_visible()
    expect(panel.generate).to_have_attribute("aria-disabled", "true")
    picture(notebook.page, f"restarted-{restart.__name__}")
    assert [panel.text(name) for name in ("Baseline", "Steered")] == texts
    panel.expect_done()
    notebook.run_cell(0)
    notebook.run_cell(1)
    expect(banner).to_have_count(0)
    panel.run()


def test_a_notebook_that_was_opened_and_not_run_is_a_frozen_copy(open_panel, open_notebook, tiny_kernel):
    notebook, panel = open_panel(anew=True)
    panel.run()
    texts = [panel.text(name) for name in ("Baseline", "Steered")]
    notebook.save()
    notebook.page.goto("about:blank")
    notebook.server.end_kernels()
    again = open_notebook(name=notebook.name).panel()
    again.column("Steered").wait_for()
    assert [again.text(name) for name in ("Baseline", "Steered")] == texts
    expect(again.generate).to_be_disabled()
    expect(again.status).to_contain_text(FROZEN)
