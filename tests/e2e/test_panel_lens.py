"""The lens of a generated token, opened in a panel in JupyterLab by keys and by pointer, in two views."""

import json
import re

import pytest
from e2e.lab import PATIENCE
from e2e.test_logit_lens import Lens
from playwright.sync_api import expect

EMBEDDED = """
import json, torch
torch.set_num_threads(1)
import steerwidgets as sw
lm = sw.LanguageModel.demo()
cavs = sw.CAV.demo()
panel = sw.SteeringPanel(lm, cavs, prompt="Tell me about your weekend.", recipe=cavs[0].add(20), max_new_tokens=12)
panel
"""


def opener(panel):
    return panel.root.get_by_role("button", name=re.compile("^Logit lens of "))


def drawer(panel):
    return panel.root.get_by_role("region", name="Logit lens", exact=True)


def open_by_keys(panel, index: int) -> Lens:
    """Arrow to a steered token, pin it, and press the button that then stands below the texts."""
    panel.tokens("Steered").first.focus()
    for _ in range(index):
        panel.page.keyboard.press("ArrowRight")
    panel.page.keyboard.press("Enter")
    panel.page.keyboard.press("Tab")  # the divergence of each step
    panel.page.keyboard.press("Tab")
    expect(opener(panel)).to_be_focused()
    panel.page.keyboard.press("Enter")
    lens = Lens(panel.page, root=drawer(panel).locator(".sw-lens"))
    lens.grid.wait_for(timeout=2 * PATIENCE)
    return lens


@pytest.mark.embedded
@pytest.mark.timeout(400)
def test_the_lens_of_a_steered_token_by_keys(server, open_notebook, embedded, picture):
    notebook = open_notebook([EMBEDDED])
    notebook.run_cell(0)
    panel = notebook.panel()
    panel.generate.wait_for(timeout=4 * PATIENCE)
    panel.run()
    lens = open_by_keys(panel, 3)
    text = panel.tokens("Steered").nth(3).text_content()
    expect(lens.root.get_by_text("token 4 of 12 of the steered text. Only this token was read again")).to_be_visible()
    expect(lens.grid.get_by_role("columnheader").nth(1)).to_have_attribute(
        "aria-label", re.compile(f"^after .*{re.escape(text.strip())}, before ")
    )
    assert lens.blocks()[0] == 29
    expect(lens.detail.get_by_role("list", name="Likeliest next tokens").get_by_role("listitem")).to_have_count(10)
    expect(lens.text).to_have_count(0)
    found = json.loads(notebook.printed("shown = panel.token_lens(3)\nprint(json.dumps(shown.vocabulary['texts']))"))
    likeliest = lens.detail.get_by_role("listitem").first.inner_text()
    assert any(token.strip() and token.strip() in likeliest for token in found)
    picture(notebook.page, "panel-lens")
    panel.button("Close Logit lens").press("Enter")
    expect(drawer(panel)).to_have_count(0)
    expect(opener(panel)).to_be_focused()
    assert notebook.errors() == []


def test_two_views_show_one_lens(open_panel, picture):
    notebook, first = open_panel("panel")
    notebook.run_cell(2)
    second = notebook.panel(1)
    second.generate.wait_for()
    first.run()
    first.tokens("Baseline").nth(2).click()
    opener(first).click()
    for panel in (first, second):
        lens = Lens(notebook.page, root=drawer(panel).locator(".sw-lens"))
        expect(lens.root.get_by_text("token 3 of 24 of the baseline text")).to_be_visible()
        assert lens.blocks() == [3, 2, 1, 0]
    lens = Lens(notebook.page, root=drawer(first).locator(".sw-lens"))
    lens.cell(2, 0).click()
    lens.choose("Colour by", "entropy")
    expect(lens.cell(2, 0)).to_have_attribute("aria-selected", "true")
    picture(notebook.page, "panel-lens-tiny")
    # another token takes its place
    first.tokens("Steered").nth(5).click()
    opener(first).click()
    expect(lens.root.get_by_text("token 6 of 24 of the steered text")).to_be_visible()
    expect(lens.root.get_by_role("region", name="Steering")).to_contain_text("the sea and sailing")
    # another run closes it, in both views
    first.run()
    for panel in (first, second):
        expect(drawer(panel)).to_have_count(0)
    assert notebook.errors() == []
