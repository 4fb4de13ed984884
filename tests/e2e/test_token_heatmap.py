"""TokenHeatmap in JupyterLab, by accessible names: pointer, keys, spans, links, long texts, themes, frozen copies."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from e2e.conftest import TINY
from e2e.lab import scroll_frames
from e2e.test_layout import CONTRAST, WIDER_THAN_ITSELF
from e2e.test_saved import cdn  # noqa: F401 - a fixture
from playwright.sync_api import expect

import steerwidgets as sw

PROMPT = "Name a city by the sea ☕.\\nWould a wormhole let you travel through time? Nobody knows the answer."
SETUP = f"""
from support import sae as tiny
dictionary = tiny.make(labels=[f"label {{i}}" for i in range(40)])
prompt = "{PROMPT}"
"""
ONE = "heatmap = sw.TokenHeatmap(lm, dictionary, prompt, features=[1])\nheatmap"
TWO = "heatmap = sw.TokenHeatmap(lm, dictionary, prompt, features=[1, 3])\nheatmap"
HOSTILE = "</script><img src=x onerror=\"alert('owned')\"><!--\u2028 \u202eabc"


class Heatmap:
    """One view of a heatmap, by accessible names."""

    def __init__(self, page, index: int = 0) -> None:
        self.page = page
        self.root = page.locator(".sw-heat").nth(index)
        self.grid = self.root.get_by_role("grid", name="Token activations")
        self.detail = self.root.get_by_role("region", name="Token", exact=True)

    def token(self, position: int):
        return self.grid.locator(f"[role=gridcell][data-index='{position}'][data-start='0']")

    def word(self, position: int):
        return self.token(position).locator(".sw-word")

    def background(self, position: int) -> str:
        return self.word(position).evaluate("word => getComputedStyle(word).backgroundColor")

    def button(self, name: str):
        return self.root.get_by_role("button", name=name, exact=True)

    def choose(self, group: str, name: str) -> None:
        self.root.get_by_role("radiogroup", name=group).get_by_role("radio", name=name).check()

    def legend(self):
        return self.root.get_by_role("region", name="Features", exact=True)

    def drag(self, first: int, last: int) -> None:
        mouse = self.page.mouse
        mouse.move(*self.middle(first))
        mouse.down()
        mouse.move(*self.middle(last), steps=4)
        mouse.up()

    def middle(self, position: int) -> tuple[int, int]:
        """Whole pixels, as a mouse has them."""
        box = self.word(position).bounding_box()
        return round(box["x"] + box["width"] / 2), round(box["y"] + box["height"] / 2)


@pytest.fixture
def open_heatmap(open_tiny):
    """A heatmap that is shown and ready, in a notebook with the tiny model."""

    def open_(cell: str = ONE, *more: str, **options):
        notebook = open_tiny(TINY + SETUP, cell, *more, **options)
        heatmap = Heatmap(notebook.page)
        heatmap.token(0).wait_for()
        return notebook, heatmap

    return open_


@pytest.fixture
def open_page(open_saved):
    """A heatmap of a saved page."""

    def open_(path: Path, **options) -> Heatmap:
        heatmap = Heatmap(open_saved(path, **options))
        heatmap.token(0).wait_for()
        return heatmap

    return open_


@pytest.mark.parametrize("width", [600, 1400])
@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_it_fits_and_is_readable(open_heatmap, picture, theme, width):
    notebook, heatmap = open_heatmap(TWO, viewport={"width": width, "height": 1000})
    page = notebook.page
    notebook.wear(theme)
    notebook.command("application:toggle-left-area")
    words = heatmap.grid.locator(".sw-word:not(.sw--uncounted)")
    for mixing in ("stripes", "blend"):
        heatmap.choose("Several features", mixing)
        assert [c for c in words.evaluate_all(f"words => words.map({CONTRAST})") if c < 4.5] == []
    heatmap.token(4).click()
    heatmap.token(9).click()
    heatmap.token(12).hover()
    picture(page, f"heatmap-{theme}-{width}")
    assert heatmap.root.evaluate(WIDER_THAN_ITSELF) == []
    beyond = """grid => { const edge = grid.getBoundingClientRect().right;
        return [...grid.querySelectorAll('.sw-word')].filter(w => w.getBoundingClientRect().right > edge + 1)
            .map(w => w.textContent) }"""
    assert heatmap.grid.evaluate(beyond) == []
    ground = heatmap.root.evaluate("root => getComputedStyle(root).backgroundColor.match(/[\\d.]+/g).map(Number)")
    if theme == "Dark":
        assert sum(ground[:3]) < 300 or ground[3:] == [0]
    notebook.wear("Light")


def test_pointer_and_legend_need_no_kernel(open_heatmap):
    notebook, heatmap = open_heatmap(TWO, "import time; time.sleep(8)")
    notebook.run_cell(2)  # the kernel is busy from here on
    heatmap.token(5).hover()
    expect(heatmap.detail).to_contain_text("position 5")
    expect(heatmap.detail).to_contain_text(re.compile(r"id \d+"))
    expect(heatmap.detail).to_contain_text("Strongest here")
    both = heatmap.background(5)
    solo = heatmap.button("Solo label 1")
    solo.click()
    expect(solo).to_have_attribute("aria-pressed", "true")
    alone = heatmap.background(5)
    heatmap.button("Solo label 3").click()
    assert len({both, alone, heatmap.background(5)}) >= 2
    heatmap.choose("Curve", "log")
    expect(heatmap.legend()).to_contain_text("log · largest in this text")
    heatmap.root.get_by_role("combobox", name="Scale end").select_option("fixed")
    box = heatmap.root.get_by_role("spinbutton", name="Full colour at the value")
    box.fill("0.01")
    expect(heatmap.legend()).to_contain_text("beyond")
    heatmap.choose("Granularity", "words")
    expect(heatmap.legend()).to_contain_text("each word shows the strongest of its tokens")
    heatmap.choose("Pooling", "mean")
    expect(heatmap.legend()).to_contain_text("each word shows the mean of its tokens")
    notebook.wait_idle()
    notebook.until("(heatmap.curve, heatmap.granularity, heatmap.domain) == ('log', 'words', 0.01)")


def test_keys_alone(open_heatmap):
    notebook, heatmap = open_heatmap()
    keys = notebook.page.keyboard
    heatmap.root.get_by_role("radiogroup", name="Curve").get_by_role("radio", name="linear").focus()
    for _ in range(8):
        keys.press("Tab")
        if heatmap.token(0).evaluate("token => token === document.activeElement"):
            break
    expect(heatmap.token(0)).to_be_focused()
    for key, position in (("ArrowRight", 1), ("ArrowRight", 2), ("End", None), ("Home", 0), ("ArrowRight", 1)):
        keys.press(key)
        if position is not None:
            expect(heatmap.token(position)).to_be_focused()
    expect(heatmap.detail).to_contain_text("position 1")
    keys.press("Enter")
    expect(heatmap.token(1)).to_have_attribute("aria-selected", "true")
    keys.press("Shift+ArrowRight")
    keys.press("Shift+ArrowRight")
    expect(heatmap.grid.locator("[aria-selected=true]")).to_have_count(3)
    keys.press("ArrowDown")
    row = "() => document.activeElement.closest('[role=row]').getAttribute('aria-rowindex')"
    assert notebook.page.evaluate(row) == "2"
    keys.press("Control+End")
    last = int(heatmap.grid.get_by_role("gridcell").last.get_attribute("data-index"))
    expect(heatmap.token(last)).to_be_focused()
    keys.press("Escape")
    expect(heatmap.grid.locator("[aria-selected=true]")).to_have_count(0)
    before = notebook.cells()
    for key in ("a", "b", "d", "d", "m", "x"):
        keys.press(key)
    assert notebook.cells() == before


def test_a_span_is_asked_about_and_the_answer_added(open_heatmap, picture):
    notebook, heatmap = open_heatmap()
    heatmap.drag(4, 8)
    expect(heatmap.grid.locator("[aria-selected=true]")).to_have_count(5)
    heatmap.button("Which features fire here").click()
    found = heatmap.root.get_by_role("region", name="Features that fire here")
    first = found.get_by_role("button").first
    name = first.get_attribute("aria-label")
    label = name.removeprefix("Show ")
    notebook.until(f"heatmap.fires(range(4, 9)).features[0].label == {label!r}")
    candidate = found.get_by_role("button", disabled=False).first
    added = candidate.get_attribute("aria-label").removeprefix("Show ")
    candidate.click()
    expect(heatmap.button(f"Solo {added}")).to_be_visible()
    picture(notebook.page, "heatmap-found")
    notebook.until(f"{added!r} in [f.label for f in heatmap.features]")
    heatmap.button(f"Remove {added}").click()
    expect(heatmap.button(f"Remove {added}")).to_have_count(0)
    notebook.until("heatmap.selected == [4, 5, 6, 7, 8]")
    heatmap.button("Clear").click()
    expect(heatmap.button("Which features fire here")).to_have_count(0)


COPIED = """() => { document.addEventListener('copy', event => {
    globalThis.copied = event.clipboardData.getData('text/plain') }) }"""


def test_a_drag_selects_text_natively_and_copies_it(open_heatmap):
    notebook, heatmap = open_heatmap()
    page = notebook.page
    page.evaluate(COPIED)
    texts = [heatmap.token(position).text_content() for position in range(12)]
    selected = "() => String(getSelection())"
    # Twice from the same place: the second drag begins within what the first has selected.
    for first, last in ((4, 8), (6, 9)):
        heatmap.drag(first, last)
        native = page.evaluate(selected)
        inner = "".join(texts[first + 1 : last])
        assert inner in native
        assert native in "".join(texts[first : last + 1])
        chosen = heatmap.grid.locator("[aria-selected=true]")
        expect(chosen).to_have_count(last - first + 1)
        page.keyboard.press("Control+C")
        assert page.evaluate("() => globalThis.copied") == native
    notebook.until("heatmap.selected == [6, 7, 8, 9]")
    box, (_, y) = heatmap.word(9).bounding_box(), heatmap.middle(9)
    for x in range(round(box["x"]) + 1, round(box["x"] + box["width"])):
        heatmap.page.mouse.move(x, y)
        heatmap.page.mouse.down()
        heatmap.page.mouse.move(*heatmap.middle(4), steps=3)
        heatmap.page.mouse.up()
        assert "".join(texts[5:9]) in page.evaluate(selected)
    heatmap.token(2).click()
    assert page.evaluate(selected) == ""
    expect(heatmap.token(2)).to_be_focused()
    expect(heatmap.token(2)).to_have_attribute("aria-selected", "true")


def test_copied_text_is_exact_across_lines(open_heatmap):
    _, heatmap = open_heatmap()
    heatmap.page.evaluate(COPIED)
    last = int(heatmap.grid.get_by_role("gridcell").last.get_attribute("data-index"))
    heatmap.page.evaluate(
        """([grid]) => { const cells = grid.querySelectorAll('[role=gridcell]');
            const last = cells[cells.length - 1];
            getSelection().setBaseAndExtent(cells[0], 0, last, last.childNodes.length);
            document.execCommand('copy') }""",
        [heatmap.grid.element_handle()],
    )
    assert last > 20
    assert heatmap.page.evaluate("() => globalThis.copied") == PROMPT.replace("\\n", "\n")


def test_words_on_the_screen_are_those_of_the_json(open_heatmap):
    notebook, heatmap = open_heatmap(
        "heatmap = sw.TokenHeatmap(lm, dictionary, prompt, 1, granularity='words')\nheatmap"
    )
    code = "import json; words = json.loads(heatmap.to_json())['segments']; print(json.dumps(words))"
    words = json.loads(notebook.printed(code))
    joined = "grid => [...grid.querySelectorAll('[role=gridcell]')].filter(c => c.querySelector('.sw--joined')).length"
    several = [word for word in words if word["last"] > word["first"]]
    assert several
    assert heatmap.grid.evaluate(joined) == sum(word["last"] - word["first"] for word in several)
    word = max(several, key=lambda word: word["values"][0] or 0)
    for position in range(word["first"], word["last"] + 1):
        heatmap.token(position).hover()
        expect(heatmap.detail).to_contain_text(f"its word: {word['values'][0]:.4g} (max)")


def test_a_steered_text_is_told_apart_from_its_prompt(open_heatmap, picture):
    steered = (
        "out = lm.compare('Hello there', dictionary[1].add(30), max_new_tokens=12)\n"
        "heatmap = sw.TokenHeatmap(lm, dictionary, out, [1])\nheatmap"
    )
    notebook, heatmap = open_heatmap(steered)
    expect(heatmap.root).to_contain_text("12 generated")
    expect(heatmap.root).to_contain_text("steered text, read without steering")
    prompt = int(notebook.printed("print(len(out.prompt))"))
    expect(heatmap.token(prompt)).to_have_attribute("aria-label", re.compile("generated from here on"))
    heatmap.token(prompt + 2).hover()
    expect(heatmap.detail).to_contain_text("generated")
    heatmap.token(prompt - 1).hover()
    expect(heatmap.detail).not_to_contain_text("generated")
    texts = heatmap.grid.get_by_role("gridcell").all_text_contents()
    assert "".join(texts).endswith(
        notebook.printed("print(*(token.text for token in out.steered.tokens), sep='', end='')")
    )
    words = heatmap.grid.locator(".sw-word:not(.sw--uncounted)")
    assert [c for c in words.evaluate_all(f"words => words.map({CONTRAST})") if c < 4.5] == []
    picture(notebook.page, "heatmap-steered")


def test_what_goes_wrong_is_a_sentence_in_the_widget(open_heatmap):
    _, heatmap = open_heatmap()
    heatmap.token(0).click()  # an attention sink
    heatmap.button("Which features fire here").click()
    expect(heatmap.root.get_by_role("alert")).to_contain_text("None of these tokens counts")
    heatmap.button("Dismiss").click()
    expect(heatmap.root.get_by_role("alert")).to_have_count(0)


def test_two_heatmaps_are_linked_and_two_views_stay_in_step(open_heatmap):
    linked = ONE.replace("\nheatmap", "") + (
        "\nother = sw.TokenHeatmap(lm, dictionary, prompt, features=[3])\nimport traitlets\n"
        "links = [traitlets.link((heatmap, name), (other, name)) for name in ('selected', 'hovered')]\n"
        "display(heatmap); display(other); display(heatmap)"
    )
    notebook, first = open_heatmap(linked)
    second, again = Heatmap(notebook.page, 1), Heatmap(notebook.page, 2)
    first.token(6).click()
    for each in (second, again):
        expect(each.token(6)).to_have_attribute("aria-selected", "true")
        expect(each.detail).to_contain_text("position 6")
    second.token(8).click()
    expect(first.token(8)).to_have_attribute("aria-selected", "true")
    notebook.until("heatmap.selected == other.selected == [6, 8]")
    assert notebook.execute("other.selected = []") == "ok"
    expect(first.token(8)).to_have_attribute("aria-selected", "false")


LONG = """
import numpy as np
words = [".\\n" if i % 15 == 14 else f" word{i % 700}" for i in range(20_000)]
heatmap = sw.TokenHeatmap.from_arrays(words, np.random.default_rng(0).gamma(0.3, 2, (20_000, 2)), ["one", "two"])
heatmap
"""


def test_twenty_thousand_tokens_scroll(open_heatmap):
    notebook, heatmap = open_heatmap(LONG)
    assert int(heatmap.grid.get_attribute("aria-rowcount")) > 1300
    count = "root => root.querySelectorAll('*').length"
    at_rest = heatmap.root.evaluate(count)
    assert at_rest < 2500
    seen = scroll_frames(heatmap.grid, "scrollTop")
    assert seen["at"] > 20_000
    assert seen["nodes"] < 2500
    assert seen["median"] < 250, f"a frame of scrolling took {seen['median']:.0f} ms"
    heatmap.grid.get_by_role("gridcell").nth(20).click()
    notebook.page.keyboard.press("Control+End")
    expect(heatmap.token(19_999)).to_be_focused()
    expect(heatmap.detail).to_contain_text("position 19999")
    assert heatmap.root.evaluate(count) < 2500


def test_a_saved_page_hovers_pins_switches_and_solos(open_page, fresh, tmp_path, picture):
    from support import sae

    heatmap = sw.TokenHeatmap(
        fresh("llama"), sae.make(labels=[HOSTILE, *map(str, range(39))]), f"The {HOSTILE} sea", [0, 3]
    )
    shown = open_page(heatmap.to_html(tmp_path / "page.html"))
    texts = heatmap.text["texts"]
    heatmap.close()
    assert [shown.token(i).text_content() for i in range(len(texts))] == texts
    assert shown.page.locator("img").count() == 0
    shown.token(4).hover()
    expect(shown.detail).to_contain_text("position 4")
    expect(shown.detail).to_contain_text("Strongest here")
    shown.token(4).click()
    expect(shown.token(4)).to_have_attribute("aria-selected", "true")
    before = shown.background(4)
    shown.button("Solo 2").click()
    shown.choose("Curve", "log")
    expect(shown.legend()).to_contain_text("log · largest in this text")
    shown.root.get_by_role("combobox", name="Scale end").select_option("fixed")
    shown.root.get_by_role("spinbutton", name="Full colour at the value").fill("0.5")
    shown.choose("Granularity", "lines")
    expect(shown.legend()).to_contain_text("fixed")
    assert shown.background(4) != before
    expect(shown.button("Which features fire here")).to_have_count(0)
    expect(shown.button("Save as HTML")).to_have_count(0)
    shown.page.get_by_text("Provenance").click()
    expect(shown.root).to_contain_text("fingerprint")
    picture(shown.page, "heatmap-saved")


def test_a_saved_page_follows_a_dark_system(open_page, tmp_path, picture):
    values = np.random.default_rng(1).normal(0, 2, (6, 3))
    heatmap = sw.TokenHeatmap.from_arrays(["The", " sea", " is", " wide", ".", "\n"], values)
    path = heatmap.to_html(tmp_path / "page.html")
    heatmap.close()
    shown = open_page(path, color_scheme="dark", viewport={"width": 600, "height": 800})
    picture(shown.page, "heatmap-saved-dark")
    words = shown.grid.locator(".sw-word")
    assert [c for c in words.evaluate_all(f"words => words.map({CONTRAST})") if c < 4.5] == []
    assert "dark" in shown.root.get_attribute("class")


def test_text_that_runs_from_right_to_left_begins_on_the_right(open_page, tmp_path):
    words = ["שלום", " עולם", ".\n", "The", " sea", "."]
    heatmap = sw.TokenHeatmap.from_arrays(words, np.ones(len(words)), ["one"])
    view = open_page(heatmap.to_html(tmp_path / "page.html"))
    keys = view.page.keyboard
    grid = view.grid.bounding_box()
    places = [view.word(i).bounding_box() for i in range(len(words))]
    left = lambda i: places[i]["x"] - grid["x"]
    right = lambda i: grid["x"] + grid["width"] - places[i]["x"] - places[i]["width"]
    assert right(0) < 20
    assert left(0) > left(1) > left(2)
    assert left(3) < 20
    assert left(3) < left(4) < left(5)
    view.token(0).click()
    keys.press("ArrowLeft")
    expect(view.token(1)).to_be_focused()
    keys.press("ArrowRight")
    expect(view.token(0)).to_be_focused()
    view.token(3).click()
    keys.press("ArrowRight")
    expect(view.token(4)).to_be_focused()


def test_nbconvert_of_the_saved_notebook_shows_it(open_heatmap, new_page, cdn, tmp_path):  # noqa: F811
    notebook, heatmap = open_heatmap()
    heatmap.token(5).click()
    notebook.wait_idle()
    background = heatmap.background(7)
    path = notebook.save()
    widgets = nbformat.read(path, as_version=4).metadata["widgets"]["application/vnd.jupyter.widget-state+json"]
    assert any(entry["state"].get("selected") == [5] for entry in widgets["state"].values())
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--output-dir", str(tmp_path), str(path)]
    environment = os.environ | {"JUPYTER_CONFIG_DIR": str(tmp_path), "JUPYTER_DATA_DIR": str(tmp_path)}
    subprocess.run(command, check=True, capture_output=True, env=environment, timeout=120)
    page, record = new_page("nbconvert's page")
    page.route("**/*", lambda route: cdn(route) if route.request.url.startswith("http") else route.continue_())
    page.goto((tmp_path / path.with_suffix(".html").name).as_uri())
    frozen = Heatmap(page)
    frozen.token(5).wait_for()
    expect(frozen.token(5)).to_have_attribute("aria-selected", "true")
    assert frozen.background(7) == background
    frozen.token(7).hover()
    expect(frozen.detail).to_contain_text("position 7")
    assert [line for line in record.errors if "pageerror" in line] == []
