"""How the panel looks and is handled: themes, widths, keyboard, and the notebook's shortcuts."""

import re

import pytest
from e2e.conftest import FOOD, SEA
from playwright.sync_api import expect

WIDER_THAN_ITSELF = """async root => {
    // What is as wide as it was measured to be follows a change of the page in the frames after it.
    for (let frame = 0; frame < 4; frame++) await new Promise(requestAnimationFrame);
    const frame = root.closest('.jp-OutputArea-output') ?? root;
    const own = [frame, root];
    const edge = root.getBoundingClientRect().right + 1;
    const beyond = [...root.querySelectorAll('button, input, select, textarea, p, li')].filter(
        element => element.checkVisibility() && element.getBoundingClientRect().right > edge);
    return [...own.filter(e => e.scrollWidth > e.clientWidth + 1), ...beyond].map(e => e.outerHTML.slice(0, 160));
}"""
CONTRAST = """element => {
    const parts = colour => colour.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
        .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    let ground = element;
    while (ground && (parts(getComputedStyle(ground).backgroundColor)[3] ?? 1) < 1) ground = ground.parentElement;
    const behind = ground ? getComputedStyle(ground).backgroundColor : 'rgb(255, 255, 255)';
    const [a, b] = [getComputedStyle(element).color, behind].map(c => light(parts(c))).sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
}"""
CUT_OFF = """root => {
    const cut = [];
    const told = (element, from, to) => {
        const { left, right } = element.getBoundingClientRect();
        if (left < from - 0.5 || right > to + 0.5) cut.push(`${root.style.width}: ${element.textContent}`);
    };
    for (let width = 320; width <= root.parentElement.clientWidth; width += 20) {
        root.style.width = `${width}px`;
        for (const line of root.querySelectorAll('.sw-strength .sw--meanings')) {
            const { left, right } = line.getBoundingClientRect();
            const clipped = parseFloat(getComputedStyle(line).clipPath.match(/([\\d.]+)px\\)$/)?.[1] ?? 0);
            for (const fact of line.children) told(fact, left + clipped, right);
        }
        for (const cell of root.querySelectorAll('.sw-logits :is(td, thead th)'))
            if (cell.scrollWidth > cell.clientWidth + 1) cut.push(`${width}px: ${cell.textContent}`);
    }
    root.style.width = '';
    return cut;
}"""


@pytest.mark.parametrize("width", [600, 1400])
@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_it_fits_and_is_readable(open_panel, picture, theme, width):
    notebook, panel = open_panel(viewport={"width": width, "height": 1000})
    page = notebook.page
    notebook.wear(theme)
    notebook.command("application:toggle-left-area")
    panel.run()
    panel.tokens("Steered").nth(2).click()
    for opened in ("Recipe JSON", "Code"):
        panel.button(opened).click()
        assert panel.root.evaluate(WIDER_THAN_ITSELF) == []
    panel.button("Code").click()
    picture(page, f"panel-{theme}-{width}")
    assert panel.root.evaluate(WIDER_THAN_ITSELF) == []
    ground = panel.root.evaluate("root => getComputedStyle(root).backgroundColor.match(/[\\d.]+/g).map(Number)")
    texts = [panel.generate, panel.status, panel.prompt, panel.slider(SEA).locator("xpath=ancestor::li//span[1]").first]
    assert [contrast for text in texts if (contrast := text.first.evaluate(CONTRAST)) < 4.5] == []
    words = panel.tokens("Steered").locator(".sw-word")
    assert [c for c in words.evaluate_all(f"words => words.map({CONTRAST})") if c < 4.5] == []
    if theme == "Dark":
        assert sum(ground[:3]) < 300 or ground[3:] == [0]
    notebook.wear("Light")


def test_nothing_that_is_said_is_cut_off_at_any_width(open_panel):
    notebook, panel = open_panel()
    panel.root.get_by_role("table", name="Rises").wait_for()
    notebook.printed("panel.recipe = cavs[0].add(4).at('generated').when(cavs[0] > 0).fade(to=0, over=32)")
    expect(panel.recipe.get_by_text("measured on the prompt's tokens")).to_be_visible()
    facts = panel.root.evaluate(CUT_OFF)
    notebook.printed("panel.recipe = cavs[0].add(-40)")
    expect(panel.slider(SEA)).to_have_value("-40")
    expect(panel.root.get_by_role("table", name="Rises")).to_contain_text("%")
    assert facts + panel.root.evaluate(CUT_OFF) == []


def test_keys_alone(open_panel):
    notebook, panel = open_panel()
    keys = notebook.page.keyboard
    panel.root.get_by_role("searchbox", name="Search features").focus()
    keys.type("food")
    keys.press("ArrowDown")
    expect(panel.button(f"Add feature {FOOD}")).to_be_focused()
    keys.press("Enter")
    expect(panel.slider(FOOD)).to_be_visible()
    panel.slider(FOOD).focus()
    before = float(panel.slider(FOOD).input_value())
    keys.press("ArrowRight")
    assert float(panel.slider(FOOD).input_value()) > before
    panel.prompt.focus()
    keys.press("Tab")
    expect(panel.generate).to_be_focused()
    keys.press("Enter")
    panel.expect_streaming()
    expect(panel.generate).to_be_focused()
    keys.press("Tab")
    expect(panel.stop).to_be_focused()
    keys.press("Enter")
    panel.expect_done()
    expect(panel.stop).to_be_focused()
    panel.prompt.focus()
    keys.press("Control+Enter")
    panel.expect_streaming()
    panel.expect_done()
    first = panel.tokens("Baseline").first
    for _ in range(60):
        if first.evaluate("token => token === document.activeElement"):
            break
        keys.press("Tab")
    expect(first).to_be_focused()
    keys.press("ArrowRight")
    keys.press("ArrowRight")
    third = panel.tokens("Baseline").nth(2)
    expect(third).to_be_focused()
    expect(panel.root.get_by_text(re.compile("baseline token 3 of"))).to_be_visible()
    keys.press("Enter")
    expect(third).to_have_attribute("aria-selected", "true")
    keys.press("End")
    expect(panel.tokens("Baseline").last).to_be_focused()
    keys.press("Home")
    expect(first).to_be_focused()
    keys.press("Escape")
    expect(third).to_have_attribute("aria-selected", "false")
    keys.press("Tab")
    expect(panel.tokens("Steered").first).to_be_focused()


def test_typing_is_not_taken_for_shortcuts(open_panel):
    notebook, panel = open_panel("'the last cell'")
    before = notebook.cells()
    keys = notebook.page.keyboard
    panel.prompt.click()
    panel.prompt.fill("")
    typed = "abxcvz dd ii 00 m y r 1 jk hsf"
    keys.type(typed)
    keys.press("Enter")
    keys.press("Shift+Enter")
    expect(panel.prompt).to_have_value(f"{typed}\n\n")
    keys.press("Escape")
    for key in ("a", "b", "d", "d", "m", "x"):
        keys.press(key)
    for name in ("Seed", f"{SEA} strength"):
        panel.number(name).focus()
        for key in ("ArrowUp", "ArrowDown", "Enter", "Escape", "1", "d", "d"):
            keys.press(key)
    panel.slider(SEA).focus()
    for key in ("ArrowUp", "ArrowDown", "b", "Escape", "a", "x"):
        keys.press(key)
    panel.generate.focus()
    for key in ("b", "d", "d", "m"):
        keys.press(key)
    assert notebook.cells() == before
    expect(notebook.page.get_by_role("dialog")).to_have_count(0)


def test_tokens_say_what_they_are(open_panel):
    _, panel = open_panel()
    panel.run()
    token = panel.tokens("Steered").nth(4)
    token.hover()
    detail = panel.root.get_by_text(re.compile(r"steered token 5 of 24"))
    expect(detail).to_be_visible()
    expect(panel.root.get_by_text(re.compile(r"^id \d+$"))).to_be_visible()
    bars = panel.root.get_by_role("listbox", name="KL per step").get_by_role("option")
    assert bars.count() == 24
    expect(bars.nth(4)).to_have_accessible_name(re.compile(r"token 5 .*, KL .* nats"))
    panel.root.get_by_role("combobox", name="Watch feature").select_option(label=re.compile(FOOD).pattern + " (CAV 1)")
    panel.run()
    expect(panel.tokens("Baseline").first).to_have_accessible_name(re.compile(FOOD))


def test_positions(open_panel):
    _, panel = open_panel("")
    choice = panel.root.get_by_role("combobox", name="Positions to steer")
    pieces = panel.root.get_by_role("region", name="Positions").get_by_role("button")
    expect(pieces.first).to_have_attribute("aria-pressed", "true")
    choice.select_option("generated")
    expect(pieces.first).to_have_attribute("aria-pressed", "false")
    pieces.nth(2).click()
    expect(choice).to_have_value("indices")
    expect(pieces.nth(2)).to_have_attribute("aria-pressed", "true")
    panel.root.get_by_role("checkbox", name="Special and template tokens").uncheck()
    expect(pieces.nth(2)).to_have_attribute("aria-pressed", "false")
    panel.run()
    assert panel.text("Baseline") == panel.text("Steered")
