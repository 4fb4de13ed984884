"""What has to be true in every host. A check names what it needs; where a host has that, it is on its list."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from e2e.lab import Panel
from e2e.test_layout import CONTRAST
from hosts.host import Host
from hosts.shown import SEA, Others, Shown, Widgets
from playwright.sync_api import Locator, expect

RESTARTED = re.compile(r"restarted.{0,20}run this cell again", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        run: the check itself; it gets the host and its widgets, shown and ready.
        needs: what a host has to have.
        spoils: whether the page is not to be used again afterwards.
        touch: whether the browser is to have a touch screen.
        of: whose widgets it is about.
    """

    run: Callable[[Host, Any], Any]
    needs: frozenset[str]
    spoils: bool
    touch: bool
    of: tuple[type[Shown], ...]

    @property
    def name(self) -> str:
        return self.run.__name__


CHECKS: list[Check] = []


ALL = (Widgets, Others)


def check(*needs: str, spoils: bool = False, touch: bool = False, of: tuple[type[Shown], ...] = (Widgets,)):
    def add(run):
        CHECKS.append(Check(run, frozenset(needs), spoils, touch, of))
        return run

    return add


FOCUSED = """element => {
    const focus = element.getRootNode().activeElement;
    return element === focus || element.contains(focus);
}"""


def _untouched(host: Host) -> Callable[[], None]:
    """Afterwards cells and selection have to be what they are now."""
    cells, selection = host.cells(), host.selection()

    def still() -> None:
        host.page.wait_for_timeout(150)
        assert host.cells() == cells, "cells were changed"
        assert host.selection() == selection, f"the selection moved from {selection} to {host.selection()}"

    return still


def _click(place: Locator) -> None:
    place.scroll_into_view_if_needed()
    place.click()


def run(panel: Panel) -> None:
    """Generate, to the end; a short run may be over before one looks."""
    panel.generate.click()
    panel.page.wait_for_timeout(300)
    panel.expect_done()


# --- all hosts


@check(of=ALL)
def renders(host: Host, shown: Shown) -> None:
    """Each widget is there, once, with a height; and no cell has failed."""
    for name, root in shown.roots.items():
        expect(root).to_be_visible()
        box = root.bounding_box()
        assert box is not None, name
        assert (box["width"], box["height"]) > (300, 60), f"{name}: {box}"
    expect(host.page.get_by_text(re.compile("Traceback \\(most recent|Error displaying widget"))).to_have_count(0)


@check()
def the_recipe_is_shown(host: Host, shown: Widgets) -> None:
    expect(shown.panel.slider(SEA)).to_have_value("4")


GROUNDS = """root => {
    const luminance = start => {
        let node = start;
        while (node) {
            const element = node instanceof ShadowRoot ? node.host : node;
            if (element instanceof Element) {
                const parts = getComputedStyle(element).backgroundColor.match(/[\\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
                if ((parts[3] ?? 1) > 0.5) {
                    const scale = getComputedStyle(element).backgroundColor.startsWith('color') ? 255 : 1;
                    return (0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]) * scale / 255;
                }
            }
            node = element.assignedSlot ?? element.parentNode;
        }
        return matchMedia('(prefers-color-scheme: dark)').matches
            && getComputedStyle(document.documentElement).colorScheme.includes('dark') ? 0 : 1;
    };
    return [luminance(root), luminance(root.parentNode)];
}"""
# Texts that are hard to read on what is behind them.
FAINT = f"""root => {{
    const contrast = {CONTRAST};
    const texts = [...root.querySelectorAll('*')].filter(element => element.checkVisibility({{ opacityProperty: true }})
        && [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim())
        && !element.closest('[aria-disabled=true], :disabled, option, svg, canvas')
        && getComputedStyle(element).clipPath === 'none');
    return texts.map(element => [contrast(element), element.tagName.toLowerCase() + '.' + element.className,
        element.textContent.trim().slice(0, 30)]).filter(([ratio]) => ratio < 3);
}}"""


def _follows(shown: Shown, dark: bool) -> None:
    wrong = []
    shown.picture("dark" if dark else "light")
    for name, root in shown.roots.items():
        root.evaluate("() => new Promise(done => setTimeout(done, 600))")
        own, behind = root.evaluate(GROUNDS)
        if (own < 0.4) != (behind < 0.4):
            wrong.append(f"{name} has a ground of {own:.2f} on a page of {behind:.2f}")
        faint = root.evaluate(FAINT)
        if faint:
            ratio, what, text = min(faint)
            wrong.append(f"{name}: {len(faint)} texts under 3:1, as {what} {text!r} at {ratio:.1f}")
    assert not wrong, f"{'dark' if dark else 'light'}: " + "; ".join(wrong)


@check(of=ALL)
def light_is_readable(host: Host, shown: Shown) -> None:
    _follows(shown, dark=False)


FIXED = """root => [...root.querySelectorAll('*')]
    .filter(e => getComputedStyle(e).position === 'fixed' && e.checkVisibility() && e.textContent.trim())
    .map(e => `${e.className}: ${e.textContent.trim().slice(0, 30)}`)"""


@check(of=ALL)
def nothing_is_printed_over(host: Host, shown: Shown) -> None:
    """Nothing of a widget that no pointer is on has left its place for a fixed one on the screen."""
    found = {name: root.evaluate(FIXED) for name, root in shown.roots.items()}
    assert not any(found.values()), found


@check(spoils=True, of=ALL)
def dark_follows_the_host(host: Host, shown: Shown) -> None:
    host.dark(True)
    shown.wait()
    _follows(shown, dark=True)
    host.dark(False)
    shown.wait()
    _follows(shown, dark=False)


# --- hosts with a kernel


@check("run")
def generates(host: Host, shown: Widgets) -> None:
    panel = shown.panel
    run(panel)
    expect(panel.status).to_contain_text("12 tokens")
    assert panel.text("Baseline") != panel.text("Steered")
    assert panel.text("Baseline")


@check("run")
def stops(host: Host, shown: Widgets) -> None:
    panel = shown.panel
    panel.set("Max new tokens", 1500)
    panel.generate.click()
    panel.expect_streaming()
    panel.stop.click()
    try:
        panel.expect_done()
        expect(panel.status).to_contain_text(re.compile(r"Stopped after \d+ tokens"), timeout=15_000)
    finally:
        panel.set("Max new tokens", 12)


@check("run")
def every_widget_reaches_the_kernel(host: Host, shown: Widgets) -> None:
    """The answer to a question that the page cannot answer by itself."""
    picker = shown.picker
    picker.get_by_role("radiogroup", name="Find by").get_by_role("radio", name="fires on prompt", exact=True).check()
    picker.get_by_role("textbox", name="Prompt to search by").fill("The sea")
    expect(picker.get_by_role("list").first.get_by_role("listitem").first).to_be_visible()
    picker.get_by_role("radiogroup", name="Find by").get_by_role("radio").first.check()
    grid = shown.lens.get_by_role("grid", name="Logit lens")
    before = grid.text_content() or ""
    shown.lens.get_by_role("textbox", name="Text", exact=True).fill("Another text")
    shown.lens.get_by_role("button", name="Read", exact=True).click()
    expect(grid).not_to_have_text(before)
    own = shown.card.get_by_role("textbox", name="Your own text")
    own.fill("A ship, a ship")
    own.press("Control+Enter")
    expect(shown.card.get_by_role("region", name="Try your own text")).to_contain_text("ship, a")
    expect(shown.card.get_by_role("region", name="Try your own text")).to_contain_text("strongest")


@check("run", spoils=True, of=(Others,))
def the_others_reach_the_kernel(host: Host, shown: Others) -> None:
    shown.grid.run()
    shown.dose.get_by_role("button", name="Run", exact=True).click()
    expect(shown.dose.get_by_role("status").first).to_contain_text(re.compile(r"^\d+ answers · "))
    shown.map.read()
    shown.trainer.train()
    progress = shown.check.get_by_role("progressbar")
    step = progress.get_attribute("aria-valuenow") or ""
    shown.check.get_by_role("button", name="Skip", exact=True).click()
    expect(progress).not_to_have_attribute("aria-valuenow", step)
    answer = shown.lab.get_by_role("textbox", name="Your answer")
    answer.fill("Sea")
    answer.press("Enter")
    expect(shown.lab).to_contain_text("Right.")


# --- keys


@check("run")
def typing(host: Host, shown: Widgets) -> None:
    """What is typed into the prompt stands there, all of it, also where a host has shortcuts of one letter."""
    still = _untouched(host) if "cells" in host.can else lambda: None
    prompt = shown.panel.prompt
    _click(prompt)
    still = _untouched(host) if "cells" in host.can else still
    prompt.fill("")
    typed = "abxcvz dd ii 00 m y r 1 jk hsf lo L O"
    host.page.keyboard.type(typed)
    host.page.keyboard.press("Enter")
    host.page.keyboard.press("Shift+Enter")
    expect(prompt).to_have_value(f"{typed}\n\n", timeout=5000)
    still()


@check("run")
def sliders_take_arrows(host: Host, shown: Widgets) -> None:
    slider = shown.panel.slider(SEA)
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box
    host.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    still = _untouched(host) if "cells" in host.can else lambda: None
    values = [float(slider.input_value())]
    for key in ("ArrowRight", "ArrowUp", "ArrowRight"):
        host.page.keyboard.press(key)
        values.append(float(slider.input_value()))
    assert values == sorted(set(values)), f"→ ↑ → on a slider gave {values}"
    for key in ("ArrowLeft", "ArrowDown"):
        host.page.keyboard.press(key)
        values.append(float(slider.input_value()))
    assert values[-1] < values[-3], f"← ↓ on a slider gave {values[-3:]}"
    still()


@check("run")
def tokens_take_arrows(host: Host, shown: Widgets) -> None:
    _click(shown.tokens.nth(1))
    still = _untouched(host) if "cells" in host.can else lambda: None
    index = shown.tokens.nth(1).get_attribute("data-index")
    for _ in range(2):
        host.page.keyboard.press("ArrowRight")
    focused = shown.heatmap.evaluate("root => root.getRootNode().activeElement?.dataset.index")
    assert focused == str(int(index or 0) + 2), f"two steps from token {index} led to {focused}"
    host.page.keyboard.press("ArrowDown")
    host.page.keyboard.press("ArrowUp")
    host.page.keyboard.press("Escape")
    still()


@check("cells", spoils=True)
def dd_on_a_token_deletes_no_cell(host: Host, shown: Widgets) -> None:
    _click(shown.tokens.nth(2))
    still = _untouched(host)
    host.page.keyboard.press("d")
    host.page.keyboard.press("d")
    still()


# One control of every kind, of those that take the focus.
KINDS = """root => {
    const all = [...root.querySelectorAll('button, input, select, textarea, summary, a[href], [tabindex]')];
    const kinds = new Map();
    for (const element of all) {
        if (!element.checkVisibility() || element.matches(':disabled, [tabindex="-1"]')) continue;
        const word = element.getAttribute('role') ?? element.getAttribute('type') ?? '';
        const kind = `${element.tagName.toLowerCase()} ${word} ${element.className}`.replace(/ +/g, ' ').trim();
        if (kinds.has(kind)) continue;
        kinds.set(kind, true);
        element.dataset.kind = String(kinds.size - 1);
    }
    return [...kinds.keys()];
}"""


@check("cells", spoils=True, of=ALL)
def no_control_leaks_keys(host: Host, shown: Shown) -> None:
    """`b` makes a cell below in every notebook: not while the focus is on any control of ours."""
    leaks, tried = [], 0
    for name, root in shown.roots.items():
        for number, kind in enumerate(root.evaluate(KINDS)):
            control = root.locator(f"[data-kind='{number}']").first
            if not control.count():
                continue
            before = host.cells()
            control.evaluate("element => element.focus()")
            tried += 1
            host.page.keyboard.press("b")
            host.page.wait_for_timeout(40)
            if host.cells() != before:
                leaks.append(f"{name}: {kind}")
                continue
            if not control.evaluate(FOCUSED):
                continue
            host.page.keyboard.press("Escape")
            host.page.keyboard.press("b")
            host.page.wait_for_timeout(40)
            if host.cells() != before:
                leaks.append(f"{name}: {kind} (after Esc)")
    before = host.cells()
    host.focus_on_cell()
    host.page.keyboard.press("b")
    host.page.wait_for_timeout(300)
    assert host.cells() != before, "the host takes no keys, not even from a cell: nothing was tried"
    assert not leaks, f"{len(leaks)} of {tried} kinds of control let keys through: " + "; ".join(leaks)


CHOSEN = "box => box.value.slice(box.selectionStart, box.selectionEnd)"


def _in_prompt(host: Host, shown: Widgets, text: str) -> Callable[[], None]:
    """The focus at the end of a text in the prompt."""
    prompt = shown.panel.prompt
    _click(prompt)
    prompt.fill(text)
    host.page.wait_for_timeout(700)  # what was typed has reached the kernel, and come back
    prompt.press("End", timeout=5000)
    return _untouched(host)


@check("cells")
def ctrl_a_selects_the_text(host: Host, shown: Widgets) -> None:
    still = _in_prompt(host, shown, "one two")
    host.page.keyboard.press("Control+a")
    still()
    assert shown.panel.prompt.evaluate(CHOSEN) == "one two"


@check("cells")
def ctrl_backspace_deletes_a_word(host: Host, shown: Widgets) -> None:
    still = _in_prompt(host, shown, "one two")
    host.page.keyboard.press("Control+Backspace")
    still()
    assert shown.panel.prompt.input_value() == "one "


@check("cells")
def ctrl_shift_arrows_select_text(host: Host, shown: Widgets) -> None:
    still = _in_prompt(host, shown, "one two")
    host.page.keyboard.press("Control+Shift+ArrowLeft")
    assert shown.panel.prompt.evaluate(CHOSEN) == "two"
    for key in ("Control+Shift+ArrowDown", "Control+Shift+ArrowUp", "Shift+ArrowUp"):
        host.page.keyboard.press(key)
        still()
        assert shown.panel.prompt.evaluate(FOCUSED), f"after {key} the focus is elsewhere"


@check("run")
def ctrl_z_takes_typing_back(host: Host, shown: Widgets) -> None:
    prompt, keys = shown.panel.prompt, host.page.keyboard
    _click(prompt)
    prompt.fill("one ")
    host.page.wait_for_timeout(700)
    prompt.press("End", timeout=5000)
    keys.type("xyz")
    host.page.wait_for_timeout(700)
    still = _untouched(host) if "cells" in host.can else lambda: None
    keys.press("Control+z")
    host.page.wait_for_timeout(300)
    still()
    undone = prompt.input_value()
    assert undone in ("one ", "one xy", ""), f"after Ctrl+Z: {undone!r}"
    keys.press("Control+Shift+z")
    host.page.wait_for_timeout(300)
    still()
    assert len(prompt.input_value()) > len(undone), "Ctrl+Shift+Z does not bring it again"


@check("cells")
def ctrl_keys_on_controls_move_no_cells(host: Host, shown: Widgets) -> None:
    """Ctrl+A and the like on a control of ours select, merge and move no cells."""
    wrong = []
    places = {"token": shown.tokens.nth(1), "slider": shown.panel.slider(SEA), "button": shown.panel.generate}
    for place, control in places.items():
        for key in ("Control+a", "Shift+ArrowDown", "Control+Shift+ArrowDown", "Control+Backspace", "Control+z"):
            _click(shown.panel.prompt)
            cells = host.cells()
            control.evaluate("element => element.focus()")
            still = _untouched(host)
            host.page.keyboard.press(key)
            try:
                still()
            except AssertionError as error:
                wrong.append(f"{key} on a {place}: {error}")
            if host.cells() != cells:
                raise AssertionError("; ".join(wrong))
    assert not wrong, "; ".join(wrong)


@check("save")
def ctrl_s_saves(host: Host, shown: Widgets) -> None:
    """From every place of ours as from a cell."""
    host.focus_on_cell()
    assert host.saves(lambda: host.page.keyboard.press("Control+s")), "the host does not save from a cell either"
    wrong = []
    places = {"prompt": shown.panel.prompt, "slider": shown.panel.slider(SEA), "token": shown.tokens.nth(1)}
    for place, control in (places | {"button": shown.panel.generate}).items():
        control.scroll_into_view_if_needed()
        control.evaluate("element => element.focus()")
        host.page.wait_for_timeout(2000)  # JupyterLab drops a save while the last one is under way
        if not host.saves(lambda: host.page.keyboard.press("Control+s")):
            wrong.append(place)
    assert not wrong, f"Ctrl+S saves from a cell, and not from: {', '.join(wrong)}"


@check("cells", spoils=True, touch=True)
def a_tap_takes_the_focus(host: Host, shown: Widgets) -> None:
    """Else the next key acts on the cell that had it."""
    wrong = []
    places = {"token": (shown.heatmap, shown.tokens.nth(2)), "slider": (shown.panel.root, shown.panel.slider(SEA))}
    places["button"] = (shown.panel.root, shown.panel.button("Recipe JSON"))
    for place, (root, control) in places.items():
        control.scroll_into_view_if_needed()
        control.tap()
        host.page.wait_for_timeout(150)
        inside = root.evaluate("root => root.contains(root.getRootNode().activeElement)")
        if not inside:
            wrong.append(place)
    assert not wrong, f"after a tap the focus is elsewhere: {', '.join(wrong)}"


# --- reload and restart


@check("run", spoils=True)
def a_reload_shows_it_again(host: Host, shown: Widgets) -> None:
    if hasattr(host, "save"):
        host.save()
    host.reload()
    shown.wait()
    run(shown.panel)


@check("keeps", spoils=True)
def a_reload_keeps_what_was(host: Host, shown: Widgets) -> None:
    panel = shown.panel
    panel.prompt.fill("Kept over a reload")
    panel.set(f"{SEA} strength", 6)
    run(panel)
    texts = [panel.text(name) for name in ("Baseline", "Steered")]
    if hasattr(host, "save"):
        host.save()
    host.reload()
    shown.wait()
    expect(panel.prompt).to_have_value("Kept over a reload")
    expect(panel.slider(SEA)).to_have_value("6")
    assert [panel.text(name) for name in ("Baseline", "Steered")] == texts


def _silent_of_the_restart(host: Host, shown: Shown) -> dict[str, list[str]]:
    """The widgets that have not said it after a while, and what they say instead."""
    host.page.wait_for_timeout(6000)
    silent = {}
    for name, root in shown.roots.items():
        said = root.inner_text()
        if not RESTARTED.search(said):
            wait = "waiting|searching|reading|cannot|nothing was found|busy, or gone|kernel"
            lines = [line.strip() for line in said.splitlines() if re.search(wait, line, re.IGNORECASE)]
            silent[name] = lines[:3] or ["nothing"]
    return silent


@check("restart", spoils=True, of=(Others,))
def a_restart_is_told_by_the_others(host: Host, shown: Others) -> None:
    host.restart()
    for asks in (
        shown.grid.button("Run"),
        shown.dose.get_by_role("button", name="Run", exact=True),
        shown.map.button("Read texts"),
        shown.trainer.button("Train"),
        shown.check.get_by_role("button", name="Skip", exact=True),
    ):
        asks.click(force=True)  # some are disabled where the host has told it at once
    answer = shown.lab.get_by_role("textbox", name="Your answer")
    if answer.is_editable():
        answer.fill("Sea")
        answer.press("Enter")
    assert _silent_of_the_restart(host, shown) == {}


@check("restart", spoils=True)
def a_restart_is_told(host: Host, shown: Widgets) -> None:
    """The kernel was restarted and the cell not run again: every widget says so, and what it had can still be read."""
    run(shown.panel)
    texts = [shown.panel.text(name) for name in ("Baseline", "Steered")]
    host.restart()
    # What makes each of them ask the kernel.
    shown.panel.generate.click(force=True)  # which is disabled where the host has told it at once
    _click(shown.tokens.nth(2))
    search = shown.heatmap.get_by_role("button", name=re.compile("fire"))
    if search.count():
        search.first.click(force=True)
    shown.picker.get_by_role("radiogroup", name="Find by").get_by_role(
        "radio", name="fires on prompt", exact=True
    ).check()
    shown.picker.get_by_role("textbox", name="Prompt to search by").fill("The sea")
    own = shown.card.get_by_role("textbox", name="Your own text")
    own.fill("A ship")
    own.press("Control+Enter")
    shown.lens.get_by_role("textbox", name="Text", exact=True).fill("Another text")
    shown.lens.get_by_role("button", name="Read", exact=True).click(force=True)
    silent = _silent_of_the_restart(host, shown)
    kept = [shown.panel.text(name) for name in ("Baseline", "Steered")] if shown.panel.column("Steered").count() else []
    assert (silent, kept) == ({}, texts), (
        f"no word of the restart, but: {silent}; the last texts are there: {kept == texts}"
    )


@check("rerun", spoils=True)
def after_a_restart_it_runs_again(host: Host, shown: Widgets) -> None:
    panel = shown.panel
    run(panel)
    texts = [panel.text(name) for name in ("Baseline", "Steered")]
    host.restart()
    host.run_again()
    shown.wait()
    expect(panel.column("Steered")).to_have_count(0)
    run(panel)
    assert [panel.text(name) for name in ("Baseline", "Steered")] == texts


# --- pages without a kernel


@check("frozen")
def a_frozen_page_shows_the_last_run(host: Host, shown: Widgets) -> None:
    for name in ("Baseline", "Steered"):
        assert len(shown.panel.text(name)) > 5
    _click(shown.tokens.nth(2))
    expect(shown.heatmap.get_by_role("region", name="Token", exact=True)).to_contain_text("id ")


@check("frozen", spoils=True)
def a_frozen_page_says_that_there_is_no_kernel(host: Host, shown: Widgets) -> None:
    """In the words of a frozen copy, and nothing is waited for."""
    if shown.panel.generate.is_enabled():
        shown.panel.generate.click()
        host.page.wait_for_timeout(3000)
    expect(shown.panel.status).not_to_contain_text("Waiting", timeout=5000)
    expect(shown.panel.root).to_contain_text(re.compile("frozen|no kernel", re.IGNORECASE), timeout=5000)


@check("frozen", spoils=True)
def a_frozen_page_reloads(host: Host, shown: Widgets) -> None:
    host.reload()
    shown.wait()
