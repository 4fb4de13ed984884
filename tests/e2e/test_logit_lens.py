"""LogitLens in JupyterLab, by accessible names: pointer, keys, measures, steering, other texts, frozen copies."""

import re
from pathlib import Path

import pytest
from e2e.conftest import TINY
from e2e.lab import PATIENCE, scroll_frames
from e2e.test_layout import CONTRAST, WIDER_THAN_ITSELF
from playwright.sync_api import expect

import steerwidgets as sw

TEXT = "The Eiffel Tower is located in the city of"
DEMO = """
import torch
torch.set_num_threads(1)
import steerwidgets as sw
lm = sw.LanguageModel.demo()
"""
PLAIN = f'lens = sw.LogitLens(lm, "{TEXT}")\nlens'
TINY_TEXT = "Name a city by the sea ☕."
TINY_PLAIN = f'lens = sw.LogitLens(lm, "{TINY_TEXT}")\nlens'
STEERED = f'lens = sw.LogitLens(lm, "{TINY_TEXT}", cavs[0].add(20))\nlens'
HOSTILE = "</script><img src=x onerror=\"alert('owned')\"><!--\u2028 \u202eabc"


class Lens:
    """One view of a lens, by accessible names."""

    def __init__(self, page, index: int = 0, root=None) -> None:
        self.page = page
        self.root = root or page.locator(".sw-lens").nth(index)
        self.grid = self.root.get_by_role("grid", name="Logit lens")
        self.detail = self.region("Cell")
        self.chart = self.region("Across blocks")
        self.text = self.root.get_by_role("textbox", name="Text", exact=True)
        self.status = self.root.get_by_role("status")

    def region(self, name: str):
        return self.root.get_by_role("region", name=name, exact=True)

    def cell(self, block: int, position: int):
        row = self.grid.get_by_role("row").filter(
            has=self.page.get_by_role("rowheader", name=re.compile(rf"^block {block}(,|$)"))
        )
        return row.locator(f"[role=gridcell][data-column='{position}']")

    def blocks(self) -> list[int]:
        names = self.grid.get_by_role("rowheader").evaluate_all("all => all.map(e => e.getAttribute('aria-label'))")
        return [int(name.split()[1].strip(",")) for name in names if name]

    def button(self, name: str):
        return self.root.get_by_role("button", name=name, exact=True)

    def choose(self, group: str, name: str) -> None:
        self.root.get_by_role("radiogroup", name=group).get_by_role("radio", name=name, exact=True).check()

    def number(self, name: str):
        return self.root.get_by_role("spinbutton", name=name, exact=True)


@pytest.fixture
def open_lens(open_tiny):
    """A lens that is shown and ready, in a notebook with the tiny model."""

    def open_(cell: str = TINY_PLAIN, *more: str, ready: bool = True, **options):
        notebook = open_tiny(TINY, cell, *more, **options)
        lens = Lens(notebook.page)
        (lens.grid if ready else lens.text).wait_for(timeout=2 * PATIENCE)
        return notebook, lens

    return open_


@pytest.fixture
def open_page(open_saved):
    """A lens of a saved page."""

    def open_(path: Path, **options) -> Lens:
        lens = Lens(open_saved(path, **options))
        lens.grid.wait_for()
        return lens

    return open_


def test_how_paris_arrives(open_notebook, picture):
    notebook = open_notebook([DEMO, PLAIN])
    notebook.run_cell(0)
    notebook.run_cell(1)
    lens = Lens(notebook.page)
    lens.grid.wait_for(timeout=2 * PATIENCE)
    assert lens.blocks() == list(range(29, -1, -2))
    last = 9
    expect(lens.cell(29, last)).to_have_text(re.compile("Paris"))
    expect(lens.cell(29, last)).to_have_attribute(
        "aria-label", re.compile(r"^block 29 after ␣of: ␣Paris, probability ")
    )
    expect(lens.root).to_contain_text("each cell: the token that this block would say next, after the column’s token")
    expect(lens.grid.get_by_role("columnheader", name="after ␣city, before ␣of")).to_be_visible()
    lens.cell(27, last).click()
    expect(lens.detail.get_by_role("heading")).to_have_text("After “␣of”, block 27")
    expect(lens.detail.get_by_role("listitem")).to_have_count(10)
    expect(lens.chart).to_contain_text("␣Paris")
    from_block = notebook.printed("print(int(lens.layer_lens.settled[9]))").strip()
    expect(lens.chart).to_contain_text(f"top-1 from block {from_block}")
    lens.button("What wrote it").click()
    wrote = lens.region("What wrote it")
    expect(wrote.get_by_role("listitem").first).to_be_visible(timeout=2 * PATIENCE)
    expect(wrote).to_contain_text(re.compile(r"sum .*, logit "))
    lens.root.get_by_role("searchbox", name="Token text").fill(" Paris")
    lens.button("Find").click()
    lens.root.get_by_role("list", name="Tokens found").get_by_role("button").first.click()
    expect(lens.grid).to_contain_text("top 10 from", timeout=2 * PATIENCE)
    entered = notebook.printed("print(int(lens.layer_lens.enters(lens.chosen, 10)[9]))").strip()
    expect(
        lens.grid.get_by_role("gridcell", name=f"␣Paris enters the top 10 at block {entered}", exact=True).last
    ).to_be_visible()
    lens.choose("Colour by", "rank")
    expect(lens.root).to_contain_text("rank of ␣Paris, log scale")
    picture(notebook.page, "lens-paris")


@pytest.mark.parametrize("width", [600, 1400])
@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_it_fits_and_is_readable(open_lens, picture, theme, width):
    notebook, lens = open_lens(STEERED, viewport={"width": width, "height": 1000})
    page = notebook.page
    notebook.wear(theme)
    notebook.command("application:toggle-left-area")
    words = lens.grid.locator("[data-row] span")
    for run in ("baseline", "steered", "difference"):
        lens.choose("Run", run)
        for measure in ("probability", "log-prob", "entropy", "KL to output"):
            lens.choose("Colour by", measure)
            assert [c for c in words.evaluate_all(f"words => words.map({CONTRAST})") if c < 4.5] == []
    lens.cell(3, 4).click()
    picture(page, f"lens-{theme}-{width}")
    assert lens.root.evaluate(WIDER_THAN_ITSELF) == []
    notebook.wear("Light")


def test_pointer_measures_and_rows_need_no_kernel(open_lens):
    notebook, lens = open_lens(STEERED, "import time; time.sleep(8)")
    notebook.run_cell(2)  # the kernel is busy from here on
    lens.cell(2, 3).hover()
    expect(lens.detail.get_by_role("heading")).to_contain_text("block 2")
    before = lens.cell(2, 3).get_attribute("style")
    lens.choose("Run", "baseline")
    lens.choose("Colour by", "entropy")
    expect(lens.root).to_contain_text("entropy, nats · largest in this text")
    assert lens.cell(2, 3).get_attribute("style") != before
    lens.number("Layer stride").fill("2")
    assert lens.blocks() == [3, 1]  # block 1 is steered as well
    lens.number("Layer stride").fill("3")
    assert lens.blocks() == [3, 1, 0]
    lens.number("Last block").fill("2")
    assert lens.blocks() == [2, 1]
    lens.cell(2, 5).click()
    expect(lens.cell(2, 5)).to_have_attribute("aria-selected", "true")
    notebook.wait_idle()
    notebook.until("(lens.measure, lens.stride, lens.span, lens.pinned) == ('entropy', 3, [0, 2], [2, 5])")


def test_keys_alone(open_lens):
    notebook, lens = open_lens()
    keys = notebook.page.keyboard
    last = len(notebook.printed("print(' '.join('x' for _ in lens.layer_lens.tokens))").split()) - 1
    lens.root.get_by_role("radiogroup", name="Template").get_by_role("radio", name="raw").focus()
    for _ in range(6):
        keys.press("Tab")
        if lens.cell(3, last).evaluate("cell => cell === document.activeElement"):
            break
    expect(lens.cell(3, last)).to_be_focused()
    for key, place in (
        ("Home", (3, 0)),
        ("ArrowRight", (3, 1)),
        ("ArrowDown", (2, 1)),
        ("ArrowUp", (3, 1)),
        ("ArrowUp", (3, 1)),
        ("End", (3, last)),
        ("Control+Home", (3, 0)),
        ("Control+End", (0, last)),
        ("ArrowLeft", (0, last - 1)),
    ):
        keys.press(key)
        expect(lens.cell(*place)).to_be_focused()
    expect(lens.detail.get_by_role("heading")).to_contain_text("block 0")
    keys.press("Enter")
    expect(lens.cell(0, last - 1)).to_have_attribute("aria-selected", "true")
    keys.press("Escape")
    expect(lens.grid.locator("[aria-selected=true]")).to_have_count(0)
    before = notebook.cells()
    for key in ("a", "b", "d", "d", "m", "x"):
        keys.press(key)
    assert notebook.cells() == before


def test_steering_and_its_difference(open_lens, picture):
    notebook, lens = open_lens(STEERED)
    expect(lens.grid.get_by_role("rowheader", name="block 1, steered here")).to_contain_text("1◂")
    expect(lens.region("Steering")).to_contain_text("add(20)")
    expect(lens.region("Steering").get_by_role("list", name="Direct path").get_by_role("listitem")).to_have_count(5)
    promoted = notebook.printed("print(lm.top_logits(cavs[0], k=1).promoted[0][0].text)").strip()
    expect(
        lens.region("Steering").get_by_role("list", name="Direct path").get_by_role("listitem").first
    ).to_contain_text(promoted)
    lens.choose("Run", "difference")
    expect(lens.root).to_contain_text("bold where steering changed it")
    lens.cell(0, 3).hover()
    expect(lens.detail).to_contain_text("Nothing changes here.")
    lens.cell(3, 3).hover()
    for kind in ("Rises", "Falls"):
        expect(lens.detail.get_by_role("list", name=kind).get_by_role("listitem")).to_have_count(5)
    expect(lens.chart).to_contain_text("steered site")
    picture(notebook.page, "lens-difference")
    assert notebook.execute("lens.recipe = None") == "ok"
    expect(lens.root.get_by_role("radiogroup", name="Run")).to_have_count(0)
    expect(lens.region("Steering")).to_have_count(0)
    expect(lens.grid).not_to_contain_text("◂")


def test_it_follows_a_panels_slider(open_lens):
    both = (
        'panel = sw.SteeringPanel(lm, cavs, prompt="Hi", recipe=cavs[0].add(4))\n'
        f'lens = sw.LogitLens(lm, "{TINY_TEXT}")\nlens.follow(panel)\ndisplay(panel); display(lens)'
    )
    notebook, lens = open_lens(both)
    expect(lens.region("Steering")).to_contain_text("add(4)")
    slider = notebook.panel().slider("the sea and sailing")
    slider.focus()
    for _ in range(3):
        notebook.page.keyboard.press("ArrowRight")
    expect(lens.region("Steering")).not_to_contain_text("add(4)")
    notebook.until("lens.recipe == panel.recipe")


def test_a_fitted_lens_says_what_it_means_and_is_switched(open_lens):
    eye = "{b: (1 + b) * torch.eye(lm.architecture.d_model).flip(0) for b in range(1, lm.architecture.layers)}"
    code = f'import torch\nlens = sw.LogitLens(lm, "{TINY_TEXT}", lens=sw.FittedLens("Jacobian lens", {eye}))\nlens'
    notebook, lens = open_lens(code)
    choice = lens.root.get_by_role("combobox", name="Lens")
    expect(choice).to_have_value("Jacobian lens")
    expect(lens.root).to_contain_text("The average derivative of the last residual by this one")
    by_j = lens.cell(1, 3).inner_text()
    choice.select_option("logit lens")
    expect(lens.root).to_contain_text("read as if the blocks after it did nothing")
    expect(lens.cell(1, 3)).not_to_have_text(by_j)
    notebook.until("lens.layer_lens.reading == lens.reading == 'logit lens'")
    assert notebook.execute("lens.reading = 'Jacobian lens'") == "ok"
    expect(choice).to_have_value("Jacobian lens")
    expect(lens.cell(1, 3)).to_have_text(by_j)


def test_another_text_is_read_stopped_and_refused(open_lens):
    notebook, lens = open_lens("lens = sw.LogitLens(lm)\nlens", ready=False)
    expect(lens.root).to_contain_text("write a text above and press Read")
    lens.button("Read").click()
    expect(lens.root.get_by_role("alert")).to_contain_text("There is nothing to read")
    lens.text.fill("The sea")
    lens.button("Read").click()
    expect(lens.grid).to_be_visible()
    expect(lens.root.get_by_role("alert")).to_have_count(0)
    notebook.until("lens.prompt == 'The sea'")
    lens.root.get_by_role("combobox", name="Stream").select_option("attention out")
    expect(lens.button("Read")).to_be_visible()
    notebook.until("lens.layer_lens.stream == 'attn_out'")
    lens.text.fill("word " * 1500)
    lens.text.press("Control+Enter")
    lens.button("Stop").click()
    expect(lens.button("Read")).to_be_visible()
    notebook.until("lens.prompt == 'The sea'")
    expect(lens.grid.get_by_role("columnheader").nth(1)).to_be_visible()


def test_bytes_of_a_character_are_joined(open_lens):
    _, lens = open_lens('lens = sw.LogitLens(lm, "a☕b")\nlens')
    titles = lens.grid.get_by_role("columnheader").evaluate_all("all => all.map(e => e.title)")
    assert [title for title in titles if title.endswith("bytes of ☕")]
    fragment = next(i for i, title in enumerate(titles) if "bytes of" in title) - 1
    lens.cell(3, fragment).hover()
    expect(lens.detail).to_contain_text("bytes of “☕”")


def test_two_views_stay_in_step(open_lens):
    notebook, first = open_lens(TINY_PLAIN + "\ndisplay(lens)\nlens")
    second = Lens(notebook.page, 1)
    second.grid.wait_for()
    first.cell(2, 3).click()
    expect(second.cell(2, 3)).to_have_attribute("aria-selected", "true")
    second.choose("Colour by", "entropy")
    expect(first.root).to_contain_text("entropy, nats")
    assert notebook.execute("lens.pinned = [1, 1]") == "ok"
    expect(first.cell(1, 1)).to_have_attribute("aria-selected", "true")


def test_a_closed_view_leaves_nothing_behind(open_lens):
    notebook, lens = open_lens()
    page = notebook.page
    page.evaluate("() => jupyterapp.shell.currentWidget.content.activeCellIndex = 1")
    notebook.command("notebook:clear-cell-output")
    expect(lens.root).to_have_count(0)
    assert notebook.execute("lens.pinned = [1, 1]; lens.measure = 'kl'; lens.close()") == "ok"
    page.set_viewport_size({"width": 900, "height": 700})


LONG = """
lens = sw.LogitLens(lm, "word " * 1000)
lens
"""


def test_a_thousand_tokens_scroll(open_lens):
    notebook, lens = open_lens(LONG)
    assert int(lens.grid.get_attribute("aria-colcount")) > 1000
    seen = scroll_frames(lens.grid, "scrollLeft")
    assert seen["at"] > 20_000
    assert seen["nodes"] < 2500
    assert seen["median"] < 250, f"a frame of scrolling took {seen['median']:.0f} ms"
    lens.cell(3, int(seen["at"]) // 58 + 4).click()
    notebook.page.keyboard.press("End")
    column = int(lens.grid.get_attribute("aria-colcount")) - 2
    expect(lens.cell(3, column)).to_be_focused()
    notebook.page.keyboard.press("Home")
    expect(lens.cell(3, 0)).to_be_focused()
    assert lens.grid.evaluate("grid => grid.querySelectorAll('*').length") < 2500


def test_a_saved_page_hovers_pins_and_switches(open_page, fresh, tmp_path, picture):
    lm = fresh("llama")
    from widgets.conftest import vectors

    cavs = sw.CAV(vectors(), [HOSTILE, "b", "c"], layer=1)
    lens = sw.LogitLens(lm, f"The {HOSTILE} sea", cavs[0].add(9), track=[7])
    path = lens.to_html(tmp_path / "lens.html")
    tokens = [token.text for token in lens.layer_lens.tokens]
    lens.close()
    shown = open_page(path)
    assert shown.page.locator("img").count() == 0
    assert int(shown.grid.get_attribute("aria-colcount")) == len(tokens) + 1
    shown.cell(2, 1).hover()
    expect(shown.detail.get_by_role("heading")).to_contain_text("block 2")
    shown.cell(2, 1).click()
    expect(shown.cell(2, 1)).to_have_attribute("aria-selected", "true")
    shown.choose("Run", "difference")
    shown.choose("Colour by", "KL to output")
    expect(shown.root).to_contain_text("change of the KL to the output")
    shown.number("Layer stride").fill("2")
    assert shown.blocks() == [3, 2, 1]  # what is pinned stays in sight
    shown.choose("Trajectory", "rank")
    expect(shown.chart.get_by_role("img")).to_be_visible()
    shown.root.get_by_role("list", name="Tokens found").get_by_role("button").first.click()
    expect(shown.grid).to_contain_text("top 10 from")
    for gone in ("Read", "Save as HTML", "What wrote it", "Find"):
        expect(shown.button(gone)).to_have_count(0)
    expect(shown.region("Steering")).to_contain_text(HOSTILE.split("\u2028", maxsplit=1)[0])
    shown.page.get_by_text("Provenance").click()
    expect(shown.root).to_contain_text("transformers")
    picture(shown.page, "lens-saved")
