"""FeatureCard in JupyterLab, by accessible names: pointer, keys, own text, verdicts, steering, frozen copies."""

import json
from pathlib import Path

import pytest
from e2e.conftest import TINY
from e2e.test_layout import CONTRAST, WIDER_THAN_ITSELF
from playwright.sync_api import expect

import steerwidgets as sw

SETUP = """
import os, tempfile
os.environ["STEERWIDGETS_DATA"] = tempfile.mkdtemp()
from support import sae as tiny
from support.evidence import TEXTS, Gathered
dictionary = tiny.make(labels=[f"label {i}" for i in range(40)])
dictionary.feature_data = Gathered(lm, dictionary)
ones = torch.ones(40)
dictionary.statistics = sw.FeatureStatistics(ones * 20, ones, ones * 8, ones / 8, corpus="a corpus", tokens=1000)
"""
CARD = "card = sw.FeatureCard(lm, dictionary, 3)\ncard"
HOSTILE = "</script><img src=x onerror=\"alert('owned')\"><!--\u2028 \u202eabc"


class Card:
    """One view of a card, by accessible names."""

    def __init__(self, page, index: int = 0) -> None:
        self.page = page
        self.root = page.locator(".sw-card").nth(index)

    def grid(self, name: str = "Examples"):
        return self.root.get_by_role("grid", name=name, exact=True)

    def token(self, position: int, line: int = 0, grid: str = "Examples"):
        return self.grid(grid).locator(f"[data-line='{line}'] [data-token='{position}']")

    def peak(self, line: int = 0, grid: str = "Examples"):
        return self.grid(grid).locator(f"[data-line='{line}'] .sw--at [data-token]")

    def button(self, name: str):
        return self.root.get_by_role("button", name=name, exact=True)

    def region(self, name: str):
        return self.root.get_by_role("region", name=name, exact=True)

    def choose(self, group: str, name: str) -> None:
        self.root.get_by_role("radiogroup", name=group).get_by_role("radio", name=name, exact=True).check()

    @property
    def own(self):
        return self.root.get_by_role("textbox", name="Your own text")

    @property
    def caption(self):
        return self.region("How often, how strongly").locator("figcaption")


@pytest.fixture
def open_card(open_tiny):
    """A card that is shown and ready, in a notebook with the tiny model."""

    def open_(cell: str = CARD, *more: str, **options):
        notebook = open_tiny(TINY + SETUP, cell, *more, **options)
        card = Card(notebook.page)
        card.region("Examples").wait_for()
        return notebook, card

    return open_


@pytest.fixture
def open_page(open_saved):
    """A card of a saved page."""

    def open_(path: Path, **options) -> Card:
        card = Card(open_saved(path, **options))
        card.region("Examples").wait_for()
        return card

    return open_


def ground(locator) -> str:
    return locator.locator(".sw-word").evaluate("word => getComputedStyle(word).backgroundColor")


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_it_fits_and_is_readable(open_card, picture, theme):
    notebook, card = open_card('card = sw.FeatureCard(lm, dictionary, 3, own_text="The sea and the city")\ncard')
    page = notebook.page
    notebook.wear(theme)
    notebook.command("application:toggle-left-area")
    for width in (600, 1100, 1400):
        page.set_viewport_size({"width": width, "height": 1000})
        card.peak().hover()
        assert card.root.evaluate(WIDER_THAN_ITSELF) == []
        texts = ".sw-word:not(.sw--uncounted), dd, dt, h3, .sw--peak, .sw-note, figcaption span, .sw--source"
        read = card.root.locator(texts)
        assert [c for c in read.evaluate_all(f"all => all.map({CONTRAST})") if c < 4.5] == []
        picture(page, f"card-{theme}-{width}")
    notebook.wear("Light")


def test_hover_tabs_and_scale_need_no_kernel(open_card):
    notebook, card = open_card(CARD, "import time; time.sleep(8)")
    notebook.cell(2).click()
    notebook.page.keyboard.press("Shift+Enter")
    card.peak().hover()
    value = card.grid().get_by_role("rowheader").first.text_content()
    expect(card.caption).to_contain_text(f"under the pointer {float(value):g}")
    expect(card.root.locator(".sw--marker")).to_have_count(1)
    expect(card.root.locator(".sw-card-tip")).to_contain_text("scale end")
    before = ground(card.peak(1))
    card.choose("Curve", "log")
    expect(card.root.locator(".sw-card-scale")).to_contain_text("log, feature maximum")
    assert ground(card.peak(1)) != before
    card.choose("Which examples", "by quantile")
    expect(card.root.locator(".sw-card-band").first).to_contain_text("–")
    card.choose("Which examples", "random")
    expect(card.grid().get_by_role("row")).to_have_count(2)
    card.button("Context of line 1").click()
    expect(card.token(0)).to_be_visible()
    notebook.wait_idle()
    notebook.until("(card.tab, card.curve, card.expanded) == ('random', 'log', ['random/0'])")


def test_own_text_is_answered_as_one_types(open_card):
    notebook, card = open_card()
    card.own.fill("Name a city by the sea ☕, please.")
    expect(card.region("Try your own text")).to_contain_text("position")
    notebook.until("card.own_text.startswith('Name') and card.tried['strongest']")
    text = card.grid("Your text").locator("[data-token]").all_text_contents()
    assert "".join(text).replace("\u200b", "").startswith("Name a city by the sea")
    card.grid("Your text").locator("[data-token='3']").hover()
    expect(card.root.locator(".sw-card-tip")).to_contain_text("4 of")
    card.button("Next feature").click()
    expect(card.root.get_by_role("heading", name="label 4")).to_be_visible()
    expect(card.grid("Your text")).to_be_visible()
    card.own.fill("")
    expect(card.grid("Your text")).to_have_count(0)


def test_neighbours_open_their_cards(open_card):
    notebook, card = open_card()
    first = card.region("Nearest").get_by_role("button").first
    label = first.text_content()
    first.click()
    expect(card.root.get_by_role("heading", name=label, exact=True)).to_be_visible()
    notebook.until(f"card.content['label'] == {label!r} and card.feature == card.index")
    assert notebook.execute("card.feature = 0") == "ok"
    expect(card.button("Previous feature")).to_have_attribute("aria-disabled", "true")


def test_keys_alone(open_card):
    notebook, card = open_card()
    keys = notebook.page.keyboard
    card.grid().locator("[tabindex='0'][data-token]").focus()
    expect(card.root.locator(".sw-card-tip")).to_be_visible()
    keys.press("ArrowDown")
    keys.press("ArrowLeft")
    keys.press("Enter")
    expect(card.grid().locator("[data-line='1']")).to_have_class("sw-card-line sw--open")
    keys.press("Home")
    expect(card.token(0, 1)).to_be_focused()
    keys.press("Escape")
    expect(card.root.locator(".sw-card-tip")).to_have_count(0)
    card.root.get_by_role("radio", name="1 star", exact=True).focus()
    keys.press("ArrowRight")
    expect(card.region("Your verdict")).to_contain_text("saved on this machine")
    card.root.get_by_role("textbox", name="Your label").focus()
    keys.type("my own sea")
    keys.press("Enter")
    expect(card.root.get_by_role("heading", name="my own sea")).to_be_visible()
    card.root.get_by_role("textbox", name="Your note").focus()
    keys.type("and tides")
    keys.press("Tab")
    expect(card.button("Export 1 verdict as JSON")).to_be_visible()
    expect(card.region("Your verdict")).to_contain_text("saved on this machine")
    notebook.until("(e := dictionary.user_labels[3]) and (e.rating, e.label, e.note) == (2, 'my own sea', 'and tides')")
    with notebook.page.expect_download() as started:
        card.button("Export 1 verdict as JSON").press("Enter")
    entry = json.loads(Path(started.value.path()).read_text(encoding="utf-8"))["entries"][0]
    assert (entry["rating"], entry["label"], entry["note"]) == (2, "my own sea", "and tides")
    card.button("Take the rating away").press("Enter")
    expect(card.button("Take the rating away")).to_have_count(0)


def test_silent_texts_and_what_fires_there(open_card):
    notebook, card = open_card()
    card.root.get_by_role("textbox", name="Words to look for").fill("the, sea")
    card.button("Look for silent texts").click()
    section = card.region("Where it stays silent")
    expect(section).to_contain_text("No other text with “sea”, “the” was found")
    texts = "[text + ' And so on.' for text in TEXTS]"
    assert notebook.execute(f"card.silent_texts({texts}, words=['the', 'sea', 'user'], share=1.0)") == "ok"
    expect(section).to_contain_text("of its typical value in")
    expect(card.grid("Silent texts")).to_be_visible()
    rival = section.get_by_role("button", name="Open").first
    label = rival.text_content()
    rival.click()
    expect(card.root.get_by_role("heading", name=label, exact=True)).to_be_visible()
    assert notebook.execute("card.show(39); dictionary.feature_data = None") == "ok"
    card.button("Previous feature").click()
    expect(card.root.get_by_role("heading", name="label 38")).to_be_visible()
    expect(card.region("Examples")).to_contain_text("sw.corpus.build")
    card.button("Look for silent texts").click()
    expect(card.root.get_by_role("alert")).to_contain_text("no corpus examples")


def test_steering_goes_to_the_panel(open_card):
    cell = (
        "panel = sw.SteeringPanel(lm, dictionary)\ncard = sw.FeatureCard(lm, dictionary, 3, panel=panel)\n"
        "display(panel); display(card)"
    )
    notebook, card = open_card(cell)
    card.button("Steer with this").click()
    said = card.root.get_by_role("banner").or_(card.root.locator(".sw--said"))
    expect(said).to_contain_text("in the panel's recipe now")
    expect(notebook.panel().root).to_contain_text("label 3")
    notebook.until("[s.feature.index for s in panel.recipe] == [3]")
    card.button("Steer with this").click()
    expect(card.root.locator(".sw--said")).to_contain_text("already")


def test_two_views_stay_in_step(open_card):
    notebook, first = open_card(f"{CARD.removesuffix('card')}display(card); display(card)")
    second = Card(notebook.page, 1)
    first.own.fill("the sea")
    expect(second.own).to_have_value("the sea")
    second.choose("Which examples", "random")
    expect(first.grid().get_by_role("row")).to_have_count(2)
    second.button("Next feature").click()
    expect(first.root.get_by_role("heading", name="label 4")).to_be_visible()
    assert notebook.execute("card.close()") == "ok"
    expect(notebook.page.locator(".sw-card")).to_have_count(0)


def test_a_saved_page_hovers_and_turns_its_pages(open_page, fresh, tmp_path, picture):
    from support import sae
    from support.evidence import Gathered

    lm = fresh("llama")
    home = sae.make(labels=[HOSTILE, *(f"label {i}" for i in range(1, 40))])
    home.feature_data = Gathered(lm, home, ["The sea and the city", f"a {HOSTILE} b"])
    card = sw.FeatureCard(lm, home, 0, own_text=f"The {HOSTILE} sea")
    shown = open_page(card.to_html(tmp_path / "page.html", features=range(5)))
    card.close()
    assert shown.page.locator("img").count() == 0
    expect(shown.root.get_by_role("heading", level=2)).to_have_text(HOSTILE)
    expect(shown.button("Steer with this")).to_have_count(0)
    shown.peak().hover()
    expect(shown.caption).to_contain_text("under the pointer")
    shown.choose("Which examples", "random")
    shown.choose("Curve", "log")
    expect(shown.root.locator(".sw-card-scale")).to_contain_text("log")
    shown.button("Next feature").click()
    expect(shown.root.get_by_role("heading", name="label 1", exact=True)).to_be_visible()
    expect(shown.grid("Your text")).to_be_visible()
    picture(shown.page, "card-saved")


@pytest.mark.embedded
def test_the_embedded_models_features(open_notebook, picture):
    make = "import steerwidgets as sw\nlm = sw.LanguageModel.demo()\n"
    make += "sae, mfa, cavs = sw.SAE.demo(), sw.MFA.demo(), sw.CAV.demo()"
    cells = [make, "card = sw.FeatureCard(lm, [sae, mfa, cavs], 111)\ncard"]
    notebook = open_notebook(cells, viewport={"width": 1400, "height": 1300})
    notebook.run_cell(0)
    notebook.run_cell(1)
    card = Card(notebook.page)
    card.region("Examples").wait_for()
    expect(card.root).to_contain_text("LM label · detection 1.00")
    card.own.fill("Vinegar and baking soda are a symbol of a mess.")
    expect(card.region("Try your own text")).to_contain_text("strongest")
    picture(notebook.page, "card-embedded-sae")
    assert notebook.execute("card.key = mfa[3].key") == "ok"
    expect(card.region("Loadings").get_by_role("listitem")).to_have_count(notebook_rank(notebook))
    card.own.fill("Do let me know, can you?")
    card.grid("Your text").locator("[data-token='5']").hover()
    expect(card.region("Loadings")).to_contain_text("E[z] at the token")
    picture(notebook.page, "card-embedded-mfa")
    assert notebook.execute("card.key = cavs[1].key") == "ok"
    expect(card.root.locator(".sw-card-scale")).to_contain_text("zero at 51.4: 95th percentile of tokens of held-out")
    expect(card.root.get_by_role("heading", level=2)).to_have_text("outer space")
    picture(notebook.page, "card-embedded-cav")


def notebook_rank(notebook) -> int:
    return int(notebook.printed("print(mfa.rank)"))
