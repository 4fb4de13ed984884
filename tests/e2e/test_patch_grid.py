"""PatchGrid in JupyterLab, by accessible names: runs, cells, ranges, pairs, keys, touch, frozen copies."""

import re

import pytest
from e2e.conftest import TINY
from e2e.lab import PATIENCE
from e2e.test_accessibility import serious
from e2e.test_layout import CONTRAST, WIDER_THAN_ITSELF
from playwright.sync_api import expect

import steerwidgets as sw

SOURCE, TARGET = "The cat sat here", "The dog ran here"
LAST = len(TARGET) - 1  # the tiny tokenizer has hardly more than bytes
GRID = f"""
panel = sw.SteeringPanel(lm, cavs)
grid = sw.PatchGrid(lm, "{SOURCE}", "{TARGET}", tokens=(17, 33), panel=panel)
grid
"""
DEMO = """
import torch
torch.set_num_threads(1)
import steerwidgets as sw
lm = sw.LanguageModel.demo()
"""
PARIS = """
grid = sw.PatchGrid(lm, "The Colosseum is in the city of", "The Eiffel Tower is in the city of")
grid
"""


class Grid:
    """One view of a patch grid, by accessible names."""

    def __init__(self, page, root=None) -> None:
        self.page = page
        self.root = root or page.locator(".sw-patch")
        self.grid = self.root.get_by_role("grid", name="Patching")
        self.status = self.root.get_by_role("status").first
        self.detail = self.region("Cell")

    def region(self, name: str):
        return self.root.get_by_role("region", name=name, exact=True)

    def button(self, name: str):
        return self.root.get_by_role("button", name=name, exact=True)

    def box(self, name: str):
        return self.root.get_by_role("textbox", name=name, exact=True)

    def choice(self, name: str):
        return self.root.get_by_role("combobox", name=name, exact=True)

    def number(self, name: str):
        return self.root.get_by_role("spinbutton", name=name, exact=True)

    def cell(self, block: int, column: int):
        row = self.grid.get_by_role("row").filter(
            has=self.page.get_by_role("rowheader", name=f"block {block}", exact=True)
        )
        return row.locator(f"[role=gridcell][data-column='{column}']")

    def run(self) -> None:
        self.button("Run").click()
        self.expect_done()

    def expect_done(self) -> None:
        expect(self.status).to_contain_text("ran in", timeout=2 * PATIENCE)

    @property
    def last(self) -> int:
        return self.grid.get_by_role("columnheader").count() - 2


@pytest.fixture
def open_grid(open_tiny):
    """A patch grid on the tiny model, shown and ready."""

    def open_(cell: str = GRID, *more: str, **options):
        notebook = open_tiny(TINY, cell, *more, **options)
        grid = Grid(notebook.page)
        grid.grid.wait_for(timeout=2 * PATIENCE)
        return notebook, grid

    return open_


def printed(notebook, expression: str) -> str:
    return notebook.printed(f"print({expression})").strip()


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_it_fits_and_is_readable(open_grid, picture, theme):
    notebook, grid = open_grid()
    page = notebook.page
    notebook.wear(theme)
    notebook.command("application:toggle-left-area")
    grid.run()
    grid.cell(2, 5).click()
    expect(grid.region("Next token")).to_be_visible()
    grid.button("Write it").click()
    expect(grid.region("Whole text")).to_contain_text("Target alone")
    for hand in (False, True):
        if hand:
            grid.root.get_by_role("radio", name="by hand").check()
            expect(grid.region("Pairs").get_by_role("combobox").first).to_be_visible()
        for width in (600, 1400):
            page.set_viewport_size({"width": width, "height": 1000})
            assert grid.root.evaluate(WIDER_THAN_ITSELF) == []
            read = grid.root.locator("[data-row] span, .sw--column span, dd, dt, h3, .sw-note, .sw-chip, .sw--title")
            assert [c for c in read.evaluate_all(f"all => all.map({CONTRAST})") if c < 4.5] == []
            picture(page, f"patch-{theme}-{width}{'-hand' if hand else ''}")
            assert serious(page, ".sw-patch") == []
    notebook.wear("Light")


def test_what_carries_paris(open_notebook, picture):
    notebook = open_notebook([DEMO, PARIS])
    notebook.run_cell(0)
    notebook.run_cell(1)
    grid = Grid(notebook.page)
    grid.grid.wait_for(timeout=4 * PATIENCE)
    expect(grid.status).to_contain_text(re.compile(r"^\d+ cells · 15 batches · about "))
    grid.button("Run").click()
    expect(grid.status).to_contain_text("ran in", timeout=5 * PATIENCE)
    expect(grid.root).to_contain_text(
        re.compile("share of the difference logit\\(␣.*\\) − logit\\(␣.*\\) that one patch")
    )
    expect(grid.cell(29, grid.last)).to_have_text(re.compile(r"^(1\.00|\.99)$"))
    grid.cell(17, grid.last).click()
    expect(grid.region("Next token").get_by_role("listitem")).to_have_count(5)
    grid.button("Write it").click()
    expect(grid.region("Whole text")).to_contain_text("Target alone", timeout=2 * PATIENCE)
    picture(notebook.page, "patch-paris")


def test_cells_are_what_the_plain_call_gives(open_grid):
    notebook, grid = open_grid()
    expect(grid.status).to_contain_text(re.compile(r"^\d+ cells · 4 batches · about "))
    expect(grid.cell(2, 5)).to_have_attribute("aria-label", re.compile("not measured yet$"))
    grid.run()
    last = grid.last
    share = float(printed(notebook, f"float(grid.patching.share[2, {last}])"))
    expect(grid.cell(2, last)).to_have_attribute("aria-label", re.compile(r"^block 2 after \S+, share "))
    said = grid.cell(2, last).inner_text().replace("−", "-")
    assert float(said) == pytest.approx(share, abs=0.006)
    grid.cell(2, last).hover()
    expect(grid.detail).to_contain_text("target alone")
    grid.cell(2, last).click()
    expect(grid.cell(2, last)).to_have_attribute("aria-selected", "true")
    expect(grid.region("Next token").get_by_role("listitem")).to_have_count(5)
    expect(grid.detail).to_contain_text("5 random changes of the same size")
    grid.button("Send to panel").click()
    expect(grid.root).to_contain_text("1 steer in the panel's recipe now.")
    notebook.until(f"panel.recipe == grid.patching.recipe(2, {last})")


def test_a_range_of_blocks_by_shift_and_by_numbers(open_grid):
    notebook, grid = open_grid()
    grid.run()
    last = grid.last
    grid.cell(0, last).click()
    expect(grid.region("Next token")).to_be_visible()
    grid.cell(2, last).click(modifiers=["Shift"])
    expect(grid.detail.get_by_role("heading")).to_contain_text("Blocks 0 to 2")
    expect(grid.grid.locator("[aria-selected=true]")).to_have_count(3)
    expect(grid.region("Next token")).to_be_visible()
    share = float(printed(notebook, f"grid.patching.cell((0, 2), {last}).share"))
    expect(grid.detail).to_contain_text(f"{share:.2f}".replace("-", "−"))
    grid.number("Last block").fill("3")
    expect(grid.detail.get_by_role("heading")).to_contain_text("Blocks 0 to 3")
    expect(grid.detail).to_contain_text("1.00")


def test_keys_alone(open_grid):
    notebook, grid = open_grid()
    keys = notebook.page.keyboard
    grid.box("Source").focus()
    keys.press("Control+Enter")
    grid.expect_done()
    last = grid.last
    for _ in range(12):
        if grid.cell(3, last).evaluate("cell => cell === document.activeElement"):
            break
        keys.press("Tab")
    expect(grid.cell(3, last)).to_be_focused()
    for key, place in (("ArrowDown", (2, last)), ("Home", (2, 0)), ("End", (2, last)), ("ArrowUp", (3, last))):
        keys.press(key)
        expect(grid.cell(*place)).to_be_focused()
    keys.press("Enter")
    expect(grid.cell(3, last)).to_have_attribute("aria-selected", "true")
    keys.press("ArrowDown")
    keys.press("ArrowDown")
    keys.press("Shift+Enter")
    expect(grid.detail.get_by_role("heading")).to_contain_text("Blocks 1 to 3")
    keys.press("Escape")
    expect(grid.grid.locator("[aria-selected=true]")).to_have_count(0)
    before = notebook.cells()
    for key in ("a", "b", "d", "d", "m", "x"):
        keys.press(key)
    assert notebook.cells() == before


def test_pairs_are_chosen_by_keys(open_grid):
    notebook, grid = open_grid()
    grid.root.get_by_role("radio", name="by position").focus()
    notebook.page.keyboard.press("ArrowRight")
    lists = grid.region("Pairs").get_by_role("combobox")
    expect(lists.first).to_be_visible()
    lists.nth(3).select_option("4")
    expect(lists.nth(4)).to_have_value("-1")  # the source's token moved from there
    expect(grid.cell(2, 4)).to_have_attribute("aria-label", re.compile("not paired$"))
    grid.run()
    notebook.until("(4, 3) in zip(grid.patching.partners, grid.patching.positions)")
    grid.root.get_by_role("radio", name="by position").check()
    expect(lists).to_have_count(0)


def test_what_is_amiss_stands_beside_the_boxes_and_nothing_is_lost(open_grid):
    _, grid = open_grid()
    grid.run()
    before = grid.cell(3, 5).inner_text()
    grid.box("Target").fill("")
    expect(grid.root).to_contain_text("Write a target text.")
    expect(grid.button("Run")).to_have_attribute("aria-disabled", "true")
    grid.box("Target").fill(TARGET)
    expect(grid.cell(3, 5)).to_have_text(before)
    grid.choice("Stream").select_option("attn_z")
    expect(grid.grid.get_by_role("columnheader", name="head 0")).to_be_visible()
    grid.run()
    grid.choice("Stream").select_option("resid_post")
    expect(grid.cell(3, 5)).to_have_text(before)
    grid.choice("Source’s answer").fill("no token at all")
    expect(grid.root).to_contain_text("tokens to this tokenizer")


def test_touch(open_grid):
    _, grid = open_grid(has_touch=True)
    grid.button("Run").tap()
    grid.expect_done()
    grid.cell(1, 4).tap()
    expect(grid.cell(1, 4)).to_have_attribute("aria-selected", "true")
    expect(grid.detail.get_by_role("heading")).to_contain_text("Block 1")


def test_a_frozen_copy_is_pointed_at_without_a_kernel(open_saved, fresh, tmp_path, picture):
    widget = sw.PatchGrid(fresh("llama"), SOURCE, TARGET, tokens=(17, 33))
    patching = widget.run()
    at = len(patching.tokens) - 1
    widget.look((1, 2), at)
    path = widget.to_html(tmp_path / "patching.html")
    widget.close()
    page = open_saved(path)
    grid = Grid(page)
    expect(grid.detail.get_by_role("heading")).to_contain_text("Blocks 1 to 2")
    expect(grid.region("Next token").get_by_role("listitem")).to_have_count(5)
    grid.cell(3, at).hover()
    expect(grid.detail.get_by_role("heading")).to_contain_text("Block 3")
    expect(grid.root.get_by_text("frozen copy")).to_be_visible()
    expect(grid.button("Run")).to_have_count(0)
    picture(page, "patch-frozen")


def test_it_says_that_the_kernel_was_restarted(open_grid):
    notebook, grid = open_grid()
    grid.run()
    notebook.page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    expect(grid.root.get_by_role("alert").first).to_contain_text("The kernel was restarted", timeout=2 * PATIENCE)
