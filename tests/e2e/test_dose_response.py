"""DoseResponse in JupyterLab, by accessible names: a run and its stop, axes, rows, keys, frozen copies."""

import re

import pytest
from e2e.conftest import SEA, TINY
from e2e.test_layout import CONTRAST, WIDER_THAN_ITSELF
from playwright.sync_api import expect

SETTINGS = "random=2, baseline_seeds=2, hold_back=1, max_new_tokens=6, judge=[has_e, sw.Words(['zz'], name='none')]"
CHART = f"""
def has_e(prompt, text):
    return float("e" in text)
panel = sw.SteeringPanel(lm, cavs)
chart = sw.DoseResponse(lm, cavs[0].add, [0, 0.5, 1, 4], panel=panel,
                        prompts=["Name a city.", "The user asks.", "Hello there."], {SETTINGS})
chart
"""


class Chart:
    """One view of a chart, by accessible names."""

    def __init__(self, page) -> None:
        self.page = page
        self.root = page.locator(".sw-dose")

    def button(self, name: str):
        return self.root.get_by_role("button", name=name, exact=True)

    @property
    def status(self):
        return self.root.get_by_role("status").first

    @property
    def figure(self):
        return self.root.get_by_role("figure", name="Dose and response")

    @property
    def slider(self):
        return self.root.get_by_role("slider", name="Strength")

    def strength(self, value: str):
        return self.root.get_by_role("radio", name=re.compile(rf"^Strength {re.escape(value)}:"))

    def region(self, name: str):
        return self.root.get_by_role("region", name=name, exact=True)

    def choose(self, group: str, name: str) -> None:
        self.root.get_by_role("radiogroup", name=group).get_by_role("radio", name=name, exact=True).check()

    def expect_done(self) -> None:
        expect(self.status).to_contain_text(re.compile(r"^\d+ answers · "))

    def run(self) -> None:
        self.button("Run").click()
        self.expect_done()


@pytest.fixture
def open_chart(open_tiny):
    """A chart on the tiny model, shown and ready."""

    def open_(*more: str, **options):
        notebook = open_tiny(TINY, CHART, *more, **options)
        chart = Chart(notebook.page)
        chart.button("Run").wait_for()
        return notebook, chart

    return open_


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_it_fits_and_is_readable(open_chart, picture, theme):
    notebook, chart = open_chart()
    page = notebook.page
    notebook.wear(theme)
    notebook.command("application:toggle-left-area")
    chart.run()
    chart.root.get_by_text("Table of the numbers").click()
    for width in (600, 1100, 1400):
        page.set_viewport_size({"width": width, "height": 1000})
        assert chart.root.evaluate(WIDER_THAN_ITSELF) == []
        read = chart.root.locator(".sw-word, dd, dt, h3, .sw-note, td, th, .sw-chip")
        assert [c for c in read.evaluate_all(f"all => all.map({CONTRAST})") if c < 4.5] == []
        picture(page, f"dose-{theme}-{width}")
    notebook.wear("Light")


def test_a_run_shows_what_comes_and_its_numbers(open_chart):
    notebook, chart = open_chart()
    expect(chart.status).to_have_text("40 answers to write")
    chart.button("Run").click()
    expect(chart.status).to_contain_text("of 40 answers")
    expect(chart.strength("4")).to_be_visible()
    chart.expect_done()
    expect(chart.button("Run again")).to_be_visible()
    drawn = chart.figure.get_by_role("img")
    expect(drawn).to_have_attribute("aria-label", re.compile(r"^Dose and response: on topic \d of 4 at 0, .* at 4;"))
    chart.root.get_by_text("Table of the numbers").click()
    numbers = chart.root.get_by_role("table", name="Numbers of dose and response")
    cells = numbers.get_by_role("row").filter(has=chart.page.get_by_role("rowheader", name="0.5", exact=True))
    said = notebook.printed("row = chart.dose.table[1]; print(row.on_topic)")
    expect(cells.get_by_role("cell").first).to_have_text(said.strip())


def test_rows_are_read_and_compared(open_chart):
    notebook, chart = open_chart()
    chart.run()
    chart.strength("1").check()
    detail = chart.region("Strength 1")
    expect(detail).to_contain_text("on topic")
    expect(detail).to_contain_text("KL to baseline")
    texts = chart.region("Against another row")
    own = notebook.printed("print([a.text for a in chart.dose.of('steered', 1) if (a.prompt, a.seed) == (0, 0)][0])")
    tokens = texts.get_by_role("listbox", name="Strength 1 tokens").get_by_role("option")
    assert "".join(tokens.all_text_contents()).split() == own.split()
    expect(texts.get_by_role("listbox", name="Baseline tokens")).to_be_visible()
    chart.root.get_by_role("combobox", name="Compare with").select_option("4")
    expect(texts.get_by_role("listbox", name="Strength 4 tokens")).to_be_visible()
    chart.root.get_by_role("combobox", name="Prompt").select_option("1")
    chart.root.get_by_role("combobox", name="Seed").select_option("1")
    other = notebook.printed("print([a.text for a in chart.dose.of('steered', 4) if (a.prompt, a.seed) == (1, 1)][0])")
    tokens = texts.get_by_role("listbox", name="Strength 4 tokens").get_by_role("option")
    assert "".join(tokens.all_text_contents()).split() == other.split()


def test_axes_and_another_judge(open_chart):
    notebook, chart = open_chart()
    chart.run()
    chart.choose("Dose", "‖Δ‖/‖h‖")
    expect(chart.figure).to_contain_text("median ‖change‖/‖h‖")
    # It is chosen once its dose is found.
    chart.root.get_by_role("radiogroup", name="Dose").get_by_role("radio", name="iso-KL").click()
    expect(chart.figure.or_(chart.root.get_by_role("alert")).filter(has_text=re.compile("1 nat"))).to_be_visible()
    expect(chart.button("Run again")).not_to_have_attribute("aria-disabled", "true")
    chart.root.get_by_role("combobox", name="Judge").select_option("none")
    expect(chart.strength("4")).to_have_attribute("aria-label", re.compile("on topic 0 of 4"))
    notebook.until("chart.dose.judge == 'none'")


def test_a_stop_keeps_what_is_done(open_chart):
    notebook, chart = open_chart()
    chart.root.get_by_text("What is tried").click()
    chart.root.get_by_role("spinbutton", name="Tokens").fill("60")
    chart.button("Run").click()
    expect(chart.strength("4")).to_be_visible()
    chart.button("Stop").click()
    expect(chart.status).to_contain_text("stopped after")
    expect(chart.strength("4")).to_be_visible()
    notebook.until("chart.dose.stopped and chart.dose.answers")


def test_keys_alone(open_chart):
    notebook, chart = open_chart()
    keys = notebook.page.keyboard
    chart.button("Run").focus()
    keys.press("Enter")
    chart.expect_done()
    chart.slider.focus()
    keys.press("Home")
    expect(chart.region("Strength 0")).to_be_visible()
    keys.press("ArrowRight")
    expect(chart.region("Strength 0.5")).to_be_visible()
    expect(chart.slider).to_have_attribute("aria-valuetext", re.compile(r"^0\.5, on topic \d of 4$"))
    chart.strength("0.5").focus()
    keys.press("ArrowDown")
    expect(chart.strength("1")).to_be_focused()
    expect(chart.region("Strength 1")).to_be_visible()
    chart.button("Send 1 to panel").focus()
    keys.press("Enter")
    expect(chart.root).to_contain_text("is in the panel's recipe now.")
    notebook.until("repr(panel.recipe).endswith('.add(1)')")


def test_what_is_tried_is_changed_on_the_page(open_chart):
    notebook, chart = open_chart()
    chart.root.get_by_text("What is tried").click()
    strengths = chart.root.get_by_role("textbox", name="Strengths")
    strengths.fill("0, many")
    strengths.blur()
    expect(chart.root.get_by_role("alert")).to_contain_text("“many” is no number")
    strengths.fill("2, 0 -1")
    strengths.blur()
    prompts = chart.root.get_by_role("textbox", name="Prompts, one in each line")
    prompts.fill("")
    chart.root.get_by_role("spinbutton", name="Seeds").fill("1")
    chart.button("Run").click()
    expect(chart.root.get_by_role("alert")).to_contain_text("There is no prompt; give at least one")
    prompts.fill("One?\n\nAnother?")
    chart.button("Run").click()
    chart.expect_done()
    notebook.until("chart.dose.strengths == (-1, 0, 2) and len(chart.dose.seeds) == 1")
    notebook.until("(chart.dose.prompts, chart.dose.held_back) == (('One?', 'Another?'), ('Hello there.',))")


def test_a_run_from_code_is_followed(open_chart):
    notebook, chart = open_chart("chart.run()")
    notebook.cell(2).click()
    notebook.page.keyboard.press("Shift+Enter")
    expect(chart.status).to_contain_text("of 40 answers")
    chart.expect_done()
    notebook.wait_idle()
    expect(notebook.output(2)).to_contain_text("the sea and sailing · add: 2 prompts × 2 seeds, judged by has_e")


def test_a_frozen_copy_can_be_explored(open_chart, open_saved, tmp_path):
    notebook, chart = open_chart()
    chart.run()
    path = tmp_path / "dose.html"
    assert notebook.execute(f"chart.to_html({str(path)!r})") == "ok"
    frozen = Chart(open_saved(path))
    frozen.strength("4").check()
    expect(frozen.region("Strength 4")).to_be_visible()
    frozen.choose("Dose", "‖Δ‖/‖h‖")
    expect(frozen.figure).to_contain_text("median ‖change‖/‖h‖")
    expect(frozen.button("Run again")).to_have_count(0)
    expect(frozen.root).to_contain_text(SEA)
