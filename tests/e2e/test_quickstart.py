"""What a new user does, with the embedded model: opens notebooks/quickstart.ipynb, runs it, plays with the panel."""

import re
import shutil

import pytest
from e2e.lab import TESTS
from playwright.sync_api import expect

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(400)]
NAME = "quickstart.ipynb"


@pytest.fixture
def quickstart(server, open_notebook, embedded):
    """A copy of the notebook, run from top to bottom; `embedded` has made sure that the model is cached."""
    shutil.copy(TESTS.parent / "notebooks" / NAME, server.files / NAME)
    notebook = open_notebook(name=NAME)
    notebook.run_all()
    yield notebook
    server.end_kernels()


def sentences(text: str) -> bool:
    """Whether a text reads like words, and not like the noise of a broken model."""
    return len(re.findall(r"[A-Za-z]{2,}", text)) >= 5


def test_quickstart(quickstart, picture):
    notebook, panel = quickstart, quickstart.panel()
    panel.generate.wait_for()
    panel.expect_streaming()  # the last cell generates from code
    panel.expect_done()
    notebook.wait_idle()
    assert notebook.errors() == []
    first = [panel.text(name) for name in ("Baseline", "Steered")]
    printed = " ".join(" ".join(notebook.page.locator(".jp-Notebook .jp-Cell").last.all_inner_texts()).split())
    for text in first:
        assert sentences(text)
        assert " ".join(text.split()) in printed
    assert first[0] != first[1]
    picture(notebook.page, "quickstart")

    # Another concept, by its label.
    [chosen] = panel.recipe.get_by_role("slider").evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    panel.root.get_by_role("button", name=re.compile("^Add feature (?!.*sailing)")).first.click()
    panel.button(f"Remove {chosen}").click()
    slider = panel.recipe.get_by_role("slider")
    expect(slider).to_have_count(1)
    label = slider.get_attribute("aria-label")
    assert label != chosen
    before = float(slider.input_value())
    slider.focus()
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    assert float(slider.input_value()) > before > 0
    expect(panel.recipe).to_contain_text(re.compile(r"\d+\s*% of ‖h‖"))
    panel.set("Max new tokens", 24)
    panel.generate.click()
    panel.expect_streaming()
    panel.expect_done()
    assert panel.text("Baseline") != panel.text("Steered")
    assert sentences(panel.text("Steered"))

    # Stop halfway, and again.
    panel.set("Max new tokens", 400)
    panel.generate.click()
    panel.expect_streaming(4)
    panel.stop.click()
    panel.expect_done()
    expect(panel.status).to_contain_text(re.compile(r"Stopped after \d+ tokens"))
    assert 4 <= panel.tokens("Steered").count() < 200
    panel.set("Max new tokens", 12)
    panel.set(f"{label} strength", 0)
    panel.run()
    assert panel.text("Baseline") == panel.text("Steered") != ""
    expect(panel.root.get_by_text("the texts are the same")).to_be_visible()

    # Restart, run again.
    notebook.restart_and_run_all()
    expect(panel.status).not_to_contain_text("12 tokens")
    fresh = notebook.panel()
    fresh.expect_streaming()
    fresh.expect_done()
    notebook.wait_idle()
    assert [fresh.text(name) for name in ("Baseline", "Steered")] == first
    fresh.prompt.fill("")
    fresh.generate.click()
    expect(fresh.alert).to_contain_text("The prompt is empty")
    assert notebook.errors() == []
