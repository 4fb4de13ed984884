"""FeaturePicker in JupyterLab, by accessible names: every way to search, keys alone, two views, a million rows."""

import re

import pytest
from e2e.conftest import TINY
from e2e.test_layout import CONTRAST, WIDER_THAN_ITSELF
from playwright.sync_api import expect
from support import sae as tiny

import steerwidgets as sw

SETUP = """
from support import sae as tiny
sae = tiny.make(labels=[f"label {i}" for i in range(40)])
sae.statistics = sw.FeatureStatistics(torch.linspace(1, 40, 40), density=torch.linspace(0, 1, 40), corpus="test texts")
"""
PICKER = "picker = sw.FeaturePicker(lm, [sae, cavs], recipe=cavs[0].add(4))\npicker"
MILLION = """
n = 1_000_000
many = sw.CAV(torch.randn(n, 8), [f"row {i} {'even' if i % 2 == 0 else 'odd'}" for i in range(n)], layer=1)
picker = sw.FeaturePicker(None, many)
picker
"""
DEMO = """
import torch
torch.set_num_threads(1)
import steerwidgets as sw
lm = sw.LanguageModel.demo()
picker = sw.FeaturePicker(lm, [sw.SAE.demo(), sw.CAV.demo()])
picker
"""
SEA, FOOD = "the sea and sailing", "cooking and food"


class Picker:
    """One view of a picker, by accessible names."""

    def __init__(self, page, index: int = 0) -> None:
        self.page = page
        self.root = page.locator(".sw-picker").nth(index)
        self.features = self.root.get_by_role("region", name="Features", exact=True)
        self.recipe = self.root.get_by_role("region", name="Recipe", exact=True)
        self.search = self.root.get_by_role("searchbox", name="Search features")
        self.prompt = self.root.get_by_role("textbox", name="Prompt to search by")
        self.list = self.features.get_by_role("list")
        self.rows = self.list.locator("li.sw--row")

    def mode(self, name: str):
        return self.root.get_by_role("radiogroup", name="Find by").get_by_role("radio", name=name, exact=True)

    def button(self, name: str):
        return self.root.get_by_role("button", name=name, exact=True)

    def labels(self) -> list[str]:
        return self.rows.locator("button.sw--label").all_inner_texts()

    def sort(self, value: str) -> None:
        self.root.get_by_role("combobox", name="Sort features").select_option(value)

    def counted(self, text: str | re.Pattern) -> None:
        expect(self.features.locator("[aria-live]").first).to_contain_text(text)


@pytest.fixture
def open_picker(open_tiny):
    """A picker that is shown and ready, in a notebook with the tiny model."""

    def open_(cell: str = PICKER, *more: str, **options):
        notebook = open_tiny(TINY + SETUP, cell, *more, **options)
        picker = Picker(notebook.page)
        picker.rows.first.wait_for()
        return notebook, picker

    return open_


@pytest.mark.embedded
@pytest.mark.timeout(400)
def test_every_way_to_search_the_embedded_dictionaries(server, open_notebook, embedded, picture):
    notebook = open_notebook([DEMO])
    notebook.run_cell(0)
    picker = Picker(notebook.page)
    picker.rows.first.wait_for()
    expect(picker.rows.first).to_have_attribute("aria-setsize", re.compile(r"^4\d\d\d$"))
    picker.search.fill("sea")
    expect(picker.button(f"Add feature {SEA}")).to_be_visible()
    picker.mode("fires on prompt").check()
    picker.prompt.fill("The ship sailed out to sea.")
    picker.counted(re.compile(r"^\d+ of"))
    expect(picker.rows.first.locator(".sw--value")).to_have_text(re.compile(r"\d"))
    most = picker.labels()[:3]
    picker.root.get_by_role("radio", name="span").check()
    tokens = picker.root.get_by_role("group", name="Tokens of the prompt").get_by_role("button")
    tokens.last.click()
    expect(tokens.last).to_have_attribute("aria-pressed", "true")
    expect(picker.rows.first.locator("button.sw--label")).not_to_have_text(most[0])
    picture(notebook.page, "picker-prompt")
    picker.mode("promotes").check()
    picker.search.fill("sea")
    picker.counted(re.compile(r"feature"))
    expect(picker.rows.first.locator(".sw--value")).to_have_text(re.compile(r"\d"))
    promoting = picker.labels()[:3]
    picker.root.get_by_role("radio", name="suppresses").check()
    expect(picker.rows.first.locator("button.sw--label")).not_to_have_text(promoting[0])
    chosen = picker.labels()[0]
    picker.rows.first.locator("button.sw--label").click()
    picker.mode("similar").check()
    expect(picker.features).to_contain_text(f"Similar to {chosen}")
    expect(picker.rows.first.locator(".sw--value")).to_have_text(re.compile(r"0\.\d|1"))
    assert notebook.errors() == []
    server.end_kernels()


def test_label_index_filters_and_order(open_picker):
    notebook, picker = open_picker()
    picker.counted("43 features")
    picker.search.fill("food")
    picker.counted("1 of 43 features")
    assert picker.labels() == [FOOD]
    picker.search.fill("#7")
    expect(picker.rows).to_have_count(1)
    assert picker.labels() == ["label 7"]
    picker.search.fill("")
    picker.sort("density")
    expect(picker.rows.first.locator("button.sw--label")).to_have_text("label 39")
    picker.button("Largest first").click()
    expect(picker.rows.first.locator("button.sw--label")).to_have_text("label 0")
    picker.button("Filters").click()
    picker.root.get_by_role("spinbutton", name="Least density, %").fill("50")
    picker.counted("20 of 43 features")
    picker.root.get_by_role("group", name="Filters").get_by_role("button", name=re.compile("SAE")).click()
    expect(picker.features).to_contain_text("No feature passes the filters")
    assert notebook.errors() == []


def test_a_prompt_finds_what_the_tensors_give(open_picker):
    code = """
read = lm.residuals("Hello there", [sae.site])
hidden = read.values[sae.site][0][read.counted(sae.site)[0]]
tensors = tiny.tensors()
fires = ((hidden - tensors["b_dec"]) @ tensors["W_enc"] + tensors["b_enc"]).relu().amax(0)
raw, shares = int(fires.argmax()), int((fires / torch.linspace(1, 40, 40)).argmax())
print(f"raw: label {raw}, of the maximum: label {shares}.")
"""
    notebook, picker = open_picker(PICKER.replace("[sae, cavs]", "sae"), code)
    picker.mode("fires on prompt").check()
    expect(picker.features).to_contain_text("Write a text")
    picker.prompt.fill("Hello there")
    expect(picker.rows.first.locator(".sw--value")).to_have_text(re.compile(r"\d"))
    shares = picker.labels()[0]
    picker.root.get_by_role("switch", name="Normalised").uncheck()
    expect(picker.rows.first.locator("button.sw--label")).not_to_have_text(shares)
    raw = picker.labels()[0]
    notebook.run_cell(2)
    expect(notebook.output(2)).to_contain_text(f"raw: {raw}, of the maximum: {shares}.")


def test_selected_and_recipe_are_what_python_has(open_picker):
    code = "print(picker.selected == cavs[1].key, [(s.feature.label, s.control is not None) for s in picker.recipe])"
    notebook, picker = open_picker(PICKER, code)
    picker.search.fill("food")
    picker.button(FOOD).click()
    expect(picker.button(FOOD)).to_have_attribute("aria-pressed", "true")
    picker.button(f"Add feature {FOOD}").click()
    control = picker.button(f"{FOOD} random direction")
    control.click()
    expect(control).to_have_attribute("aria-pressed", "true")
    notebook.run_cell(2)
    expect(notebook.output(2)).to_contain_text(f"True [('{SEA}', False), ('{FOOD}', True)]")
    picker.button(f"Remove {SEA}").click()
    expect(picker.recipe.get_by_role("slider")).to_have_count(1)
    assert notebook.errors() == []


def test_keys_alone(open_picker):
    notebook, picker = open_picker()
    keys = notebook.page.keyboard
    picker.search.focus()
    keys.type("label 1")
    picker.counted("13 of 43 features")
    keys.press("ArrowDown")
    expect(picker.button("label 1")).to_be_focused()
    keys.press("ArrowDown")
    keys.press("Enter")
    expect(picker.button("label 10")).to_have_attribute("aria-pressed", "true")
    keys.press("ArrowRight")
    expect(picker.button("Add feature label 10")).to_be_focused()
    keys.press("Enter")
    expect(picker.recipe.get_by_role("slider", name="label 10")).to_be_visible()
    keys.press("End")
    expect(picker.button("Add feature label 31")).to_be_focused()
    keys.press("2")  # typing goes to the box
    expect(picker.search).to_be_focused()
    expect(picker.search).to_have_value("label 12")
    keys.press("ArrowDown")
    keys.press("Escape")
    expect(picker.search).to_be_focused()
    picker.mode("label").focus()
    keys.press("ArrowRight")
    expect(picker.prompt).to_be_visible()
    expect(picker.mode("fires on prompt")).to_be_checked()


def test_two_views_stay_in_step_and_close(open_picker):
    notebook, first = open_picker(PICKER, "picker", "picker.search = {**picker.search, 'query': 'sailing'}")
    notebook.run_cell(2)
    second = Picker(notebook.page, 1)
    second.rows.first.wait_for()
    first.search.fill("food")
    expect(second.search).to_have_value("food")
    expect(second.rows).to_have_count(1)
    second.button(f"Add feature {FOOD}").click()
    expect(first.recipe.get_by_role("slider", name=FOOD)).to_be_visible()
    first.mode("promotes").check()
    expect(second.mode("promotes")).to_be_checked()
    expect(first.mode("promotes")).to_be_checked()
    second.mode("label").check()
    notebook.run_cell(3)
    expect(first.search).to_have_value("sailing")
    expect(second.button(f"Add feature {SEA}")).to_be_visible()
    assert notebook.execute("picker.close()") == "ok"
    expect(notebook.page.locator(".sw-picker")).to_have_count(0)
    assert notebook.errors() == []


def test_a_million_rows_scroll(open_picker):
    notebook, picker = open_picker(MILLION)
    picker.counted("1,000,000 features")
    assert picker.rows.count() < 40
    box = picker.list
    for share, row in ((0.5, 500_000), (1, 999_999), (0, 0)):
        box.evaluate("(list, share) => { list.scrollTop = share * (list.scrollHeight - list.clientHeight) }", share)
        parity = "odd" if row % 2 else "even"
        expect(picker.button(f"row {row} {parity}")).to_be_visible()
    picker.search.focus()
    notebook.page.keyboard.press("ArrowDown")
    notebook.page.keyboard.press("End")
    expect(picker.button("row 999999 odd")).to_be_focused()
    picker.search.fill("row 765432")
    expect(picker.rows).to_have_count(1)
    assert picker.labels() == ["row 765432 even"]
    assert notebook.errors() == []


@pytest.mark.parametrize("width", [600, 1400])
@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_it_fits_and_is_readable(open_picker, picture, theme, width):
    notebook, picker = open_picker(viewport={"width": width, "height": 1000})
    page = notebook.page
    notebook.wear(theme)
    notebook.command("application:toggle-left-area")
    picker.button("label 0").click()
    picker.button("Filters").click()
    picture(page, f"picker-{theme}-{width}")
    assert picker.root.evaluate(WIDER_THAN_ITSELF) == []
    texts = picker.rows.locator(".sw--label, .sw--number")
    assert [c for c in texts.evaluate_all(f"texts => texts.map({CONTRAST})") if c < 4.5] == []
    notebook.wear("Light")


def test_a_frozen_page_searches_what_it_holds(fresh, new_page, tmp_path):
    sae = tiny.make(labels=[f"label {i}" for i in range(39)] + ["<img src=x>"])
    widget = sw.FeaturePicker(fresh("llama"), sae, recipe=sae[3].add(2))
    path = widget.to_html(tmp_path / "picker.html")
    widget.close()
    page, record = new_page("saved page", offline=True)
    page.goto(path.as_uri())
    picker = Picker(page)
    picker.search.fill("img")
    expect(picker.rows).to_have_count(1)
    assert picker.labels() == ["<img src=x>"]
    expect(picker.recipe.get_by_role("spinbutton", name="label 3 strength")).to_have_value("2")
    picker.mode("fires on prompt").check()
    expect(picker.features).to_contain_text("this needs the kernel")
    expect(picker.prompt).to_be_disabled()
    assert record.errors == []
    assert record.outside(path.as_uri()) == []
