"""Where and when a steer acts, set in the panel by accessible names, by the mouse and by keys alone."""

import json

import pytest
from e2e.conftest import FOOD, SEA
from e2e.test_layout import CONTRAST, WIDER_THAN_ITSELF
from playwright.sync_api import expect

FROM_CODE = (
    "steer = cavs[0].add(4).at(sw.role('user') & sw.after(3)).when((cavs[1] > 0.5) | (cavs[2] < -1))\n"
    "panel.recipe = steer.fade(0.5, 8) + cavs[1].add(2)"
)


def chooser(panel, name):
    return panel.root.get_by_role("combobox", name=name, exact=True)


def said(panel, label):
    return panel.slider(label).locator("xpath=ancestor::li").locator(".sw--acting")


def test_positions_condition_and_fade(open_panel):
    notebook, panel = open_panel()
    panel.button(f"Add feature {FOOD}").click()
    expect(panel.root.get_by_role("group", name=f"{SEA} where and when")).to_have_count(0)
    panel.button(f"Where and when {SEA} acts").click()
    expect(panel.root.get_by_role("group", name=f"{SEA} where and when")).to_be_visible()
    expect(chooser(panel, f"{SEA} positions")).to_have_value("all")
    chooser(panel, f"{SEA} positions").select_option("first generated")
    panel.set(f"{SEA} positions count", 3)
    expect(chooser(panel, "Positions to steer")).to_have_value("mixed")
    chooser(panel, f"{SEA} condition").select_option(label=FOOD)
    chooser(panel, f"{SEA} condition side").select_option("<")
    panel.set(f"{SEA} condition threshold", 2.5)
    chooser(panel, f"{SEA} fade").select_option("fades")
    panel.set(f"{SEA} fade to", 0.25)
    panel.set(f"{SEA} fade over", 6)
    expect(said(panel, SEA)).to_have_text(
        ["first 3 generated tokens", f"only when {FOOD} < 2.5", "fades to 0.25 × over 6 generated tokens"]
    )
    panel.run()
    notebook.until("'.fade(' in repr(panel.recipe)")
    recipe, snippet = json.loads(notebook.printed("print(json.dumps([repr(panel.recipe), panel.snippet]))"))
    at = f".at(first(3, of='generated')).when('{FOOD}' < 2.5).fade(to=0.25, over=6)"
    assert recipe.startswith(f"'{SEA}'.add(4){at} + '{FOOD}'.add(")
    # Vectors without a source are written into the snippet, and what acts on them beside them.
    assert '"of": "generated"' in snippet
    assert '"fade": {"to": 0.25, "over": 6}' in snippet
    chooser(panel, f"{SEA} fade").select_option("stays")
    chooser(panel, f"{SEA} condition").select_option("")
    chooser(panel, f"{SEA} positions").select_option("all")
    expect(said(panel, SEA)).to_have_count(0)
    expect(chooser(panel, "Positions to steer")).to_have_value("all")
    plain = f"'{SEA}'.add(4) + "
    notebook.until(f"repr(panel.recipe).startswith({plain!r})")


def test_what_was_set_in_code_is_shown_and_can_be_lifted(open_panel):
    notebook, panel = open_panel(FROM_CODE)
    notebook.run_cell(2)
    expect(said(panel, SEA)).to_have_text(
        [
            "tokens of the text after 3 that are also the user's words",
            f"only when {FOOD} > 0.5 or <b>bold</b> claims < −1",
            "fades to 0.5 × over 8 generated tokens",
        ]
    )
    panel.button(f"Where and when {SEA} acts").click()
    expect(chooser(panel, f"{SEA} positions")).to_have_value("code")
    panel.button(f"Remove condition of {SEA}").click()
    expect(chooser(panel, f"{SEA} condition")).to_have_value("")
    notebook.until("'.when(' not in repr(panel.recipe)")
    panel.root.get_by_role("checkbox", name=f"{SEA} special and template tokens").uncheck()
    chooser(panel, f"{SEA} positions").select_option("role system")
    panel.generate.click()
    expect(panel.root.get_by_role("alert")).to_contain_text(
        'acts on the role "system", but the messages are of assistant, user'
    )
    chooser(panel, f"{SEA} positions").select_option("role user")
    panel.run()


def test_keys_alone(open_panel):
    notebook, panel = open_panel()
    keys = notebook.page.keyboard
    panel.button(f"Where and when {SEA} acts").focus()
    keys.press("Enter")
    for name in (f"{SEA} random direction", f"{SEA} positions"):
        keys.press("Tab")
        expect(panel.root.get_by_label(name, exact=True)).to_be_focused()
    keys.press("ArrowDown")
    expect(chooser(panel, f"{SEA} positions")).to_have_value("prompt")
    for name in (f"{SEA} special and template tokens", f"{SEA} condition"):
        keys.press("Tab")
        expect(panel.root.get_by_label(name, exact=True)).to_be_focused()
    keys.press("ArrowDown")
    for name in (f"{SEA} condition side", f"{SEA} condition threshold"):
        keys.press("Tab")
        expect(panel.root.get_by_label(name, exact=True)).to_be_focused()
    keys.press("Control+A")
    keys.type("-1.5")
    keys.press("Tab")
    expect(chooser(panel, f"{SEA} fade")).to_be_focused()
    keys.press("ArrowDown")
    for name in (f"{SEA} fade to", f"{SEA} fade over"):
        keys.press("Tab")
        expect(panel.number(name)).to_be_focused()
    keys.press("Control+A")
    keys.type("9")
    expect(said(panel, SEA)).to_contain_text([f"only when {SEA} > −1.5", "fades to 0 × over 9"])
    expected = f"'{SEA}'.add(4).at('prompt').when('{SEA}' > -1.5).fade(to=0, over=9)"
    notebook.until(f"repr(panel.recipe) == {expected!r}")


@pytest.mark.parametrize("width", [600, 1400])
@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_it_fits_and_is_readable(open_panel, picture, theme, width):
    notebook, panel = open_panel(FROM_CODE, viewport={"width": width, "height": 1000})
    page = notebook.page
    notebook.wear(theme)
    notebook.command("application:toggle-left-area")
    notebook.run_cell(2)
    for label in (SEA, FOOD):
        panel.button(f"Where and when {label} acts").click()
    chooser(panel, f"{FOOD} condition").select_option(label=SEA)
    chooser(panel, f"{FOOD} fade").select_option("fades")
    chooser(panel, f"{FOOD} positions").select_option("first generated")
    panel.slider(FOOD).scroll_into_view_if_needed()
    picture(page, f"acting-{theme}-{width}")
    assert panel.root.evaluate(WIDER_THAN_ITSELF) == []
    texts = panel.root.locator(".sw-acting span, .sw--acting")
    assert [found for found in texts.evaluate_all(f"texts => texts.map({CONTRAST})") if found < 4.5] == []
    notebook.wear("Light")
