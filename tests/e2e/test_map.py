"""SubspaceMap in JupyterLab, by accessible names: tokens, a target for mouse, touch and keys, lasso, frozen copies."""

import json
import re

import pytest
import torch
from e2e.conftest import TINY
from e2e.lab import PATIENCE
from e2e.test_accessibility import serious
from e2e.test_layout import CONTRAST, WIDER_THAN_ITSELF
from playwright.sync_api import expect
from support.mfa import make_state
from support.models import D_MODEL

import steerwidgets as sw

MAP = """
from support.mfa import make_state
state, meta = make_state(5, 32, 3)
mfa = sw.MFA(state, meta, layer=1, labels=["research, study", "years and dates", "weather", "<b>legal</b>", "code"])
texts = ["The dissertation on the ecology of rivers was a paper that she defended.", "Name a city by the sea."] * 2
known = mfa.belonging(mfa.points(lm, texts))
fullest = int(torch.bincount(known.component).argmax())
panel = sw.SteeringPanel(lm, mfa)
widget = sw.SubspaceMap(lm, mfa, fullest, texts=texts, prompt="I think", panel=panel, max_new_tokens=6)
widget
"""
WITHOUT = """
from support.mfa import make_state
widget = sw.SubspaceMap(lm, sw.MFA(*make_state(5, 32, 3), layer=1), 1, prompt="I think", max_new_tokens=4)
widget
"""
FEATURES = """
from support import pages
features = pages.dictionary(lm, pages.PLAIN)
panel = sw.SteeringPanel(lm, features)
widget = sw.SubspaceMap(lm, features, 0, panel=panel)
widget
"""
TALL = {"width": 1400, "height": 1500}
"""The whole map is in sight, for what is done at places of it."""


class Map:
    """One view of a subspace map, by accessible names."""

    def __init__(self, page, root=None) -> None:
        self.page = page
        self.root = root or page.locator(".sw-map")
        self.status = self.root.get_by_role("status").first
        self.target = self.root.get_by_role("slider", name="Target")
        self.share = self.root.get_by_role("slider", name="Share of the way to the centroid")
        self.cloud = self.root.get_by_role("img", name=re.compile(r"tokens? along|No tokens|Map of features"))
        self.overview = self.root.get_by_role("img", name=re.compile("^All components"))
        self.logits = self.root.get_by_role("table", name="Δ logits")
        self.contexts = self.region("Contexts").get_by_role("listitem")

    def region(self, name: str):
        return self.root.get_by_role("region", name=name, exact=True)

    def button(self, name: str):
        return self.root.get_by_role("button", name=name, exact=True)

    def choose(self, group: str, name: str) -> None:
        self.root.get_by_role("radiogroup", name=group).get_by_role("radio", name=name).check()

    def read(self) -> None:
        self.button("Read texts").click()
        expect(self.root.get_by_role("img", name=re.compile(r"^\d+ tokens along z0 and z1"))).to_be_visible(
            timeout=2 * PATIENCE
        )

    def at_centre(self, of) -> tuple[float, float]:
        box = of.bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def spot(self, across: float, up: float) -> tuple[float, float]:
        """A place of the cloud, in shares of its width and height from the lower left."""
        box = self.cloud.bounding_box()
        return box["x"] + across * box["width"], box["y"] + (1 - up) * box["height"]


@pytest.fixture
def open_map(open_tiny):
    """A map on the tiny model, shown and ready."""

    def open_(cell: str = MAP, **options):
        notebook = open_tiny(TINY, cell, **options)
        found = Map(notebook.page)
        found.cloud.wait_for(timeout=2 * PATIENCE)
        return notebook, found

    return open_


def said(notebook, expression: str):
    return json.loads(notebook.printed(f"print(json.dumps({expression}))").strip())


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_it_fits_and_is_readable(open_map, picture, theme):
    notebook, found = open_map()
    page = notebook.page
    notebook.wear(theme)
    notebook.command("application:toggle-left-area")
    found.read()
    found.region("Groups of tokens").get_by_role("button").first.click()
    found.button("Steer").click()
    expect(found.region("Baseline")).to_have_attribute("aria-busy", "false", timeout=2 * PATIENCE)
    found.root.get_by_text("Target by numbers").click()
    for width in (600, 1400):
        page.set_viewport_size({"width": width, "height": 1000})
        assert found.root.evaluate(WIDER_THAN_ITSELF) == []
        read = found.root.locator("h2, h3, p, li button span, th, td, .sw-chip, .sw-note, .sw--flag, label")
        assert [c for c in read.evaluate_all(f"all => all.map({CONTRAST})") if c < 4.5] == []
        picture(page, f"map-{theme}-{width}")
        assert serious(page, ".sw-map") == []
    notebook.wear("Light")


def test_the_dragged_target_is_the_z_of_the_pull(open_map):
    notebook, found = open_map(viewport=TALL)
    found.read()
    expect(found.logits.get_by_role("row")).not_to_have_count(0)
    at_first = found.logits.inner_text()
    mouse = notebook.page.mouse
    mouse.move(*found.at_centre(found.target))
    mouse.down()
    mouse.move(*found.spot(0.6, 0.5))
    mouse.move(*found.spot(0.75, 0.8), steps=6)
    # Δ logits follow while it is held; the pair waits until it is let go.
    expect(found.logits).not_to_have_text(at_first, use_inner_text=True)
    expect(found.region("Steered")).to_have_count(0)
    before = found.target.get_attribute("aria-valuetext")
    mouse.up()
    expect(found.region("Baseline")).to_have_attribute("aria-busy", "false", timeout=2 * PATIENCE)
    target = said(notebook, "widget.target")
    place = [round(z, 2) for z in target["z"]]
    assert place[0] != 0
    assert place[1] != 0
    assert place[2] == 0
    assert before.startswith("z0 ")
    pull = "mfa[fullest].pull(a=widget.target['a'], z=dict(enumerate(widget.target['z'])))"
    notebook.until(f"widget.recipe == sw.Recipe.of({pull})")
    # What stands beside it is what the plain call gives for where it is now.
    expect(found.region("Δ logits")).to_have_attribute("aria-busy", "false", timeout=2 * PATIENCE)
    code = "list(lm.logit_difference('I think', widget.recipe, 3, chat=False, least=1e-3).promoted[0])[1]"
    first = found.logits.get_by_role("row").first.get_by_role("cell").last.inner_text()
    assert float(first) == pytest.approx(said(notebook, code), abs=0.01)
    found.button("Send to panel").click()
    expect(found.root).to_contain_text("is in the panel's recipe now.")
    notebook.until("panel.recipe == widget.recipe")


def test_keys_alone(open_map):
    notebook, found = open_map()
    keys = notebook.page.keyboard
    found.button("Read texts").focus()
    keys.press("Enter")
    expect(found.root.get_by_role("img", name=re.compile(r"^\d+ tokens along"))).to_be_visible(timeout=2 * PATIENCE)
    found.target.focus()
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowUp"):
        keys.press(key)
    one = float(found.target.get_attribute("aria-valuenow"))
    assert one > 0
    two = float(found.target.get_attribute("aria-valuetext").rpartition(" ")[2])
    assert two == pytest.approx(5 * one, rel=0.01)
    expect(found.region("Baseline")).to_have_attribute("aria-busy", "false", timeout=2 * PATIENCE)
    off = f"[abs(a - b) for a, b in zip(widget.target['z'], {[one, two, 0]}, strict=True)]"
    notebook.until(f"max({off}) < 1e-3")
    keys.press("Home")
    expect(found.target).to_have_attribute("aria-valuetext", "z0 0 · z1 0")
    # The legend lists what a lasso would.
    found.region("Groups of tokens").get_by_role("button").first.focus()
    keys.press("Enter")
    expect(found.contexts).not_to_have_count(0)
    before = notebook.cells()
    for key in ("a", "b", "d", "d", "m", "x"):
        keys.press(key)
    assert notebook.cells() == before


def test_touch(open_map):
    notebook, found = open_map(has_touch=True, viewport=TALL)
    found.button("Read texts").tap()
    expect(found.root.get_by_role("img", name=re.compile(r"^\d+ tokens along"))).to_be_visible(timeout=2 * PATIENCE)
    session = notebook.page.context.new_cdp_session(notebook.page)

    def touch(kind, *places):
        points = [{"x": x, "y": y} for x, y in places]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    start, end = found.at_centre(found.target), found.spot(0.7, 0.3)
    touch("touchStart", start)
    for share in (0.3, 0.6, 1.0):
        touch("touchMove", tuple(a + share * (b - a) for a, b in zip(start, end, strict=True)))
    touch("touchEnd")
    expect(found.target).not_to_have_attribute("aria-valuetext", "z0 0 · z1 0")
    expect(found.region("Baseline")).to_have_attribute("aria-busy", "false", timeout=2 * PATIENCE)
    notebook.until("any(widget.target['z'])")


def test_lasso_hover_axes_and_colours(open_map):
    notebook, found = open_map(viewport=TALL)
    found.read()
    page = notebook.page
    page.mouse.move(*found.spot(0.02, 0.02))
    page.mouse.down()
    for corner in ((0.98, 0.02), (0.98, 0.9), (0.02, 0.9)):
        page.mouse.move(*found.spot(*corner), steps=3)
    page.mouse.up()
    count = len(said(notebook, "widget.selected"))
    assert count > 2
    expect(found.contexts).to_have_count(min(count, 200))
    expect(found.region("Contexts")).to_contain_text(f"{count} tokens chosen")
    first = said(notebook, "widget.contexts()[0]")
    expect(found.contexts.first).to_contain_text(first.strip()[-5:].strip() or first[-1])
    found.button("Clear").click()
    expect(found.region("Contexts")).to_have_count(0)
    found.choose("Axes", "PCA")
    expect(found.cloud).to_have_attribute("aria-label", re.compile(r"along PC1 \(\d+"))
    found.choose("Colour", "token")
    expect(found.region("Groups of tokens").get_by_role("button")).not_to_have_count(0)
    found.choose("Colour", "density")
    expect(found.root).to_contain_text("The stronger the colour")
    found.choose("Axes", "loadings")
    found.root.get_by_role("combobox", name="Axis up").select_option("2")
    expect(found.target).to_have_attribute("aria-valuetext", "z0 0 · z2 0")
    notebook.until("[widget.axes, widget.colour, widget.dims] == ['loadings', 'density', [0, 2]]")
    # The token nearest to a corner of the lasso's own list: pointed at, it tells its context.
    x, y = _first_dot(found)
    page.mouse.move(x, y)
    expect(found.root.locator(".sw-map-tip")).to_contain_text("responsibility")


def _first_dot(found) -> tuple[float, float]:
    """Where a dot is painted, read from the picture itself."""
    return tuple(
        found.cloud.evaluate("""canvas => {
            const { data, width } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            const frame = canvas.getBoundingClientRect(), ratio = canvas.width / frame.width;
            for (let i = 3; i < data.length; i += 4) if (data[i] > 140) {
                const at = (i - 3) / 4;
                return [frame.left + (at % width) / ratio, frame.top + Math.floor(at / width) / ratio];
            }
            return [0, 0];
        }""")
    )


def test_components_are_found_and_looked_at(open_map):
    notebook, found = open_map()
    found.read()
    found.root.get_by_role("searchbox", name="Search components").fill("legal")
    entries = found.region("List of components").get_by_role("listitem")
    expect(entries).to_have_count(1)
    expect(entries).to_contain_text("<b>legal</b>")
    entries.get_by_role("button").click()
    expect(found.root.get_by_role("heading", level=2)).to_have_text("3 · <b>legal</b>")
    notebook.until("[widget.component, widget.target['z']] == [3, [0, 0, 0]]")
    found.root.get_by_role("searchbox", name="Search components").fill("nothing at all")
    expect(found.root).to_contain_text("No label has “nothing at all”")


def test_what_can_not_be_read_is_said_and_the_target_steers_all_the_same(open_map):
    notebook, found = open_map(WITHOUT)
    expect(found.root).to_contain_text("This MFA came without examples")
    expect(found.button("Read texts")).to_have_attribute("aria-disabled", "true")
    found.target.focus()
    notebook.page.keyboard.press("Shift+ArrowRight")
    expect(found.region("Baseline")).to_have_attribute("aria-busy", "false", timeout=2 * PATIENCE)
    found.region("Prompt").get_by_role("textbox").fill("")
    expect(found.region("Δ logits")).to_contain_text("Write a prompt")
    found.button("Steer").click()
    expect(found.root.get_by_role("alert")).to_contain_text("Write a prompt")


def test_features_of_other_kinds(open_map, picture):
    notebook, found = open_map(FEATURES)
    rows = found.root.get_by_role("table", name="Near features").get_by_role("row")
    plain = said(notebook, "[each.index for each in features.nearest(features[0], 3).features]")
    expect(rows.nth(1)).to_contain_text(re.compile(rf"^{plain[1]}\b"))
    expect(found.root).to_contain_text("features lie by their directions at unit length")
    rows.nth(1).get_by_role("button").click()
    expect(found.root.get_by_role("heading", level=2)).to_contain_text(f"{plain[1]} · ")
    found.button("Send to panel").click()
    expect(found.root).to_contain_text("is in the panel's recipe now.")
    notebook.until(f"[steer.feature.index for steer in panel.recipe] == [{plain[1]}]")
    found.button("Zoom in").click()
    picture(notebook.page, "map-features")
    assert serious(notebook.page, ".sw-map") == []


def test_a_frozen_copy_is_looked_at_without_a_kernel(open_saved, fresh, tmp_path, picture):
    lm = fresh("llama")
    mfa = sw.MFA(*make_state(5, D_MODEL, 3), layer=1)
    points = mfa.points(lm, ["The dissertation on rivers was a paper.", "Name a city by the sea."])
    fullest = int(torch.bincount(mfa.belonging(points).component).argmax())
    widget = sw.SubspaceMap(lm, mfa, fullest, texts=points, prompt="I think", max_new_tokens=4)
    widget.move(a=0.5, z={0: 1.0})
    widget.logit_difference()
    widget.compare()
    path = widget.to_html(tmp_path / "map.html")
    widget.close()
    page = open_saved(path)
    found = Map(page)
    expect(found.root.get_by_text("frozen copy")).to_be_visible()
    expect(found.logits.get_by_role("row")).not_to_have_count(0)
    expect(found.region("Steered")).to_contain_text("I think")
    for name in ("Steer", "Read texts", "Read again", "Send to panel"):
        expect(found.button(name)).to_have_count(0)
    page.mouse.move(*_first_dot(found))
    expect(found.root.locator(".sw-map-tip")).to_contain_text("responsibility")
    before = found.cloud.evaluate("canvas => canvas.toDataURL()")
    page.mouse.move(*found.spot(0.4, 0.5))
    page.mouse.down()
    page.mouse.move(*found.spot(0.5, 0.6), steps=4)
    page.mouse.up()
    page.wait_for_function(
        "([canvas, before]) => canvas.toDataURL() !== before", arg=[found.cloud.element_handle(), before]
    )
    found.choose("Axes", "PCA")
    expect(found.cloud).to_have_attribute("aria-label", re.compile("along PC1"))
    picture(page, "map-frozen")
