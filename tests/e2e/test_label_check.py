"""LabelCheck in JupyterLab, by accessible names: keys alone, touch, a break, verdicts that show elsewhere, themes."""

import json
import re

import pytest
from e2e.conftest import TINY
from e2e.test_accessibility import serious
from e2e.test_layout import CONTRAST, WIDER_THAN_ITSELF
from playwright.sync_api import expect

SETUP = """
import os, tempfile
os.environ["STEERWIDGETS_DATA"] = tempfile.mkdtemp()
from support import checked
plain = sw.LanguageModel(models.make("llama", max_position_embeddings=512), toks.byte_level())
sae = checked.indexed(plain, texts=120)
"""
CHECK = "check = sw.LabelCheck(plain, sae, features=[3, 4, 5], seed=2026)\ncheck"
MODES = ["odd one out", "which fire", "which tokens", "which label"]


class Check:
    """One view of a label check, by accessible names."""

    def __init__(self, page, index: int = 0) -> None:
        self.page = page
        self.root = page.locator(".sw-check").nth(index)

    def button(self, name: str):
        return self.root.get_by_role("button", name=name, exact=True)

    def region(self, name: str):
        return self.root.get_by_role("region", name=name, exact=True)

    def group(self, name: str):
        return self.root.get_by_role("radiogroup", name=name, exact=True)

    def radio(self, group: str, name: str):
        return self.group(group).get_by_role("radio", name=name, exact=True)

    @property
    def mode(self):
        return self.root.get_by_role("list", name="Modes").locator("[aria-current=step]")

    def until(self, *regions: str) -> str:
        """Wait for one of some screens; which it is."""
        for name in regions:
            if self.region(name).count():
                return name
        either = self.region(regions[0])
        for name in regions[1:]:
            either = either.or_(self.region(name))
        expect(either.first).to_be_visible()
        return next(name for name in regions if self.region(name).count())


@pytest.fixture
def open_check(open_tiny):
    """A check that is shown and ready, in a notebook with the tiny model."""

    def open_(cell: str = CHECK, *more: str, **options):
        notebook = open_tiny(TINY + SETUP, cell, *more, **options)
        check = Check(notebook.page)
        check.mode.wait_for()
        return notebook, check

    return open_


def state(notebook, expression: str):
    return json.loads(notebook.printed(f"print(json.dumps({expression}))"))


def step_of(notebook) -> int:
    return state(notebook, "check.screen['step']")


def wait_for_another(notebook, step: int) -> None:
    """Until the page shows another step of the way."""
    notebook.page.wait_for_function(
        "now => document.querySelector('.sw-check .sw--progress')?.getAttribute('aria-valuenow') !== now",
        arg=str(round(100 * step / state(notebook, "check.screen['steps']"))),
    )


def test_keys_alone_from_the_first_item_to_the_last(open_check):
    notebook, check = open_check("check = sw.LabelCheck(plain, sae, features=[3, 4], seed=2026)\ncheck", "'last'")
    cells = notebook.cells()
    keys = notebook.page.keyboard
    check.root.get_by_role("heading", name="Label check").click()
    check.root.locator("[data-arrive]").focus()
    seen = set()
    for _ in range(30):
        screen = state(notebook, "{n: check.screen[n] for n in ('kind', 'mode', 'step')} ")
        if screen["kind"] == "end":
            break
        before = screen["step"]
        if screen["kind"] == "reveal":
            keys.press("2")
            expect(check.radio("Your verdict", "too wide")).to_be_checked()
            expect(check.region("Your verdict")).to_contain_text("saved on this machine")
        elif screen["mode"] in ("odd one out", "which label"):
            keys.press("3")
            group = "Texts" if screen["mode"] == "odd one out" else "Labels"
            expect(check.group(group).get_by_role("radio").nth(2)).to_be_checked()
        else:
            count = state(notebook, "len(check.item.texts)")
            for at in range(count):
                keys.press("12"[at % 2])
            expect(check.group(f"Text {count}").get_by_role("radio", checked=True)).to_have_count(1)
        seen.add(screen["mode"])
        keys.press("Enter")
        wait_for_another(notebook, before)
    expect(check.region("Done")).to_be_visible()
    assert seen >= {*MODES, None}
    answers = state(notebook, "[[e.mode, [a is None for a in e.answers]] for e in check.answers]")
    assert not any(skipped for _, each in answers for skipped in each)
    assert set(state(notebook, "[c.verdict for c in check.answers.features.values()]")) == {"too wide"}
    assert notebook.cells() == cells  # no key reached the notebook


def test_touch(open_check):
    notebook, check = open_check(viewport={"width": 700, "height": 900}, has_touch=True, is_mobile=False)
    for _ in range(12):
        screen = state(notebook, "{n: check.screen[n] for n in ('kind', 'mode', 'step', 'practice')}")
        if screen["kind"] == "item" and screen["mode"] == "which fire":
            break
        before = screen["step"]
        (check.button("Skip") if screen["kind"] == "item" else check.button("Next")).tap()
        wait_for_another(notebook, before)
    check.radio("Text 1", "yes").tap()
    check.radio("Text 2", "rather no").tap()
    expect(check.radio("Text 1", "yes")).to_be_checked()
    expect(check.root.get_by_role("status").first).to_contain_text("not answered")
    step = step_of(notebook)
    check.button("Next").tap()
    expect(check.radio("Text 1", "yes")).to_have_count(0)
    assert step_of(notebook) == step + 1
    said = state(notebook, "list(check.answers.answered[-1].answers)")
    assert (said[0], round(said[1], 3), set(said[2:])) == (1, 0.333, {None})


def test_a_break_goes_on_where_it_was(open_check):
    notebook, check = open_check()
    first = check.mode.text_content()
    check.button("Skip").click()
    expect(check.mode).not_to_have_text(first)
    second = check.mode.text_content()
    check.root.get_by_role("radio").first.check()
    notebook.run_cell(1)  # the same cell again: another widget, the same answers
    expect(check.mode).to_have_text(second)
    expect(check.root.get_by_text("You go on where you stopped")).to_be_visible()
    assert state(notebook, "len(check.answers)") == 1


def test_the_truth_verdicts_and_where_they_show(open_check):
    more = "card = sw.FeatureCard(plain, sae, check.queue[0])\ncard", "picker = sw.FeaturePicker(plain, sae)\npicker"
    one = "check = sw.LabelCheck(plain, sae, features=[4], modes=['which fire'])\ncheck"
    notebook, check = open_check(one, *more)
    while state(notebook, "check.screen['practice']"):
        before = step_of(notebook)
        (check.button("Skip") if check.button("Skip").count() else check.button("Next")).click()
        wait_for_another(notebook, before)
    truth = state(notebook, "list(check.item.truth)")
    for at, fires in enumerate(truth):
        check.radio(f"Text {at + 1}", "yes" if fires or at == 0 else "no").check()
    check.button("Next").click()
    told = check.region("What is true")
    expect(told).to_be_visible()
    wrong = 0 if truth[0] else 1
    expect(told.get_by_role("img", name="right", exact=True)).to_have_count(len(truth) - wrong)
    expect(told.get_by_role("img", name="wrong", exact=True)).to_have_count(wrong)
    expect(check.region("This label")).to_contain_text(f"{len(truth) - wrong} of {len(truth)}")
    expect(check.region("This session")).to_contain_text("balanced accuracy")
    check.radio("Your verdict", "mixed").check()
    check.root.get_by_role("textbox", name="Your note").fill("two senses")
    check.root.get_by_role("textbox", name="Your note").press("Enter")
    expect(check.root.get_by_text("saved on this machine")).to_be_visible()
    notebook.run_cell(2)
    notebook.run_cell(3)
    card = notebook.page.locator(".sw-card")
    expect(card.get_by_role("combobox", name="Verdict on the label")).to_have_value("mixed")
    expect(card.get_by_role("textbox", name="Your note")).to_have_value("two senses")
    picker = notebook.page.locator(".sw-picker")
    picker.get_by_role("button", name="Filters").click()
    picker.get_by_role("combobox", name="Verdict", exact=True).select_option("mixed")
    expect(picker.locator(".sw-features .sw--row")).to_have_count(1)
    expect(picker.locator(".sw-features")).to_contain_text("mixed")
    with notebook.page.expect_download() as download:
        check.button("CSV").click()
    text = download.value.path().read_text()
    assert text.startswith("dictionary,seed,reader,feature,label")
    assert "mixed" in text


def test_an_error_keeps_what_was_chosen(open_check):
    notebook, check = open_check()
    check.root.get_by_role("radio").nth(1).check()
    notebook.execute("import pathlib; check.file.parent.parent.mkdir(parents=True, exist_ok=True)")
    assert notebook.execute("check.file.parent.write_text('in the way')") == "ok"
    check.button("Next").click()
    expect(check.root.get_by_role("alert")).to_contain_text("could not be")
    assert notebook.execute("check.file.parent.unlink()") == "ok"
    assert state(notebook, "len(check.answers)") == 1


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_it_fits_and_is_readable(open_check, picture, theme):
    notebook, check = open_check()
    page = notebook.page
    notebook.wear(theme)
    notebook.command("application:toggle-left-area")
    for screen in (*MODES, "truth"):
        reach = f"""
while not (check.screen["kind"] == "reveal" and not check.screen["practice"] if {screen!r} == "truth"
           else check.item is not None and check.item.mode == {screen!r} and not check.screen["practice"]):
    item = check.item
    check.go_on() if item is None else check.answer(0 if item.is_choice else [1.0, 0.0] * (len(item.texts) // 2)
                                                    + [1.0] * (len(item.texts) % 2))
"""
        assert notebook.execute(reach) == "ok"
        check.region("What is true" if screen == "truth" else screen).wait_for()
        for width in (600, 1400):
            page.set_viewport_size({"width": width, "height": 1100})
            assert check.root.evaluate(WIDER_THAN_ITSELF) == []
            read = check.root.locator(".sw-word, dd, dt, h3, .sw-note, .sw-segmented label, .sw--number, .sw--modes li")
            assert [c for c in read.evaluate_all(f"all => all.map({CONTRAST})") if c < 4.5] == []
            picture(page, f"check-{screen.replace(' ', '-')}-{theme}-{width}")
        assert serious(page, ".sw-check") == []
    notebook.wear("Light")


def test_the_modes_are_named(open_check):
    _, check = open_check()
    items = check.root.get_by_role("list", name="Modes").get_by_role("listitem")
    assert items.all_text_contents() == MODES
    expect(check.root.get_by_text(re.compile(r"class seed\s*2026"))).to_be_visible()
