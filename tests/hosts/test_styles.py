"""A widget looks the same in every page: its computed styles under foreign sheets are those of a plain page.

Chromium says which rules of a foreign sheet reach an element of ours; the tests report the classes that collide.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hosts import hostile, styles
from hosts.cache import npm
from playwright.sync_api import Page
from support import pages, sae

import steerwidgets as sw

SHEETS = {
    "bootstrap3": lambda: npm("bootstrap@3.4.1", "dist/css/bootstrap.css"),
    "bootstrap5": lambda: npm("bootstrap@5.3.8", "dist/css/bootstrap.css"),
    "tailwind": lambda: npm("tailwindcss@2.2.19", "dist/tailwind.css"),
    "hostile_classes": lambda: hostile.CLASSES,
    "hostile_elements": lambda: hostile.ELEMENTS,
}
WIDGETS = pages.WIDGETS | {
    "card with own text": lambda lm, features, texts: sw.FeatureCard(lm, features, 0, own_text=texts.prompt),
    "card without examples": lambda lm, *_: sw.FeatureCard(lm, sae.make(), 3),
    "panel that has not run": lambda lm, features, _: sw.SteeringPanel(lm, features),
}
ROOT = ".sw"
# From the first moment: what a widget scrolls to when it is shown depends on its width.
COLUMN = "#widget { width: 1200px !important; margin: 0 !important }"
# What a reader may open, so that it is compared too.
OPEN = """root => {
    for (const each of root.querySelectorAll('details')) each.open = true;
    const button = [...root.querySelectorAll('button[aria-expanded=false]')].find(b => b.checkVisibility());
    button?.click();
}"""


def _ours(name: str) -> bool:
    return name == "sw" or name.startswith("sw-")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The page of each widget, as `to_html` writes it."""
    from support import models, toks

    lm = sw.LanguageModel(models.make("llama"), toks.byte_level())
    folder = tmp_path_factory.mktemp("saved")
    made: dict[str, str] = {}

    def page(name: str) -> str:
        if name not in made:
            widget = WIDGETS[name](lm, pages.dictionary(lm, pages.PLAIN), pages.PLAIN)
            made[name] = widget.to_html(folder / "page.html").read_text("utf-8")
            widget.close()
        return made[name]

    return page


@pytest.fixture
def look(new_page, tmp_path):
    """Opens a saved page offline, in a column of fixed width, and says how everything in its widget looks."""
    page, _ = new_page("saved page", offline=True, reduced_motion="reduce")

    def open_(html: str) -> tuple[Page, list[dict]]:
        path = tmp_path / "page.html"
        path.write_text(html.replace("</head>", f"<style>{COLUMN}</style></head>"), "utf-8")
        page.goto(path.as_uri())
        page.locator(f"#widget > {ROOT}").wait_for()
        page.add_style_tag(content="*, ::before, ::after { transition: none !important; animation: none !important }")
        root = page.locator(ROOT).first
        root.evaluate(OPEN)
        page.evaluate("async () => { for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame) }")
        return page, root.evaluate(styles.READ, list(styles.PROPERTIES))

    return open_


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("widget", WIDGETS)
@pytest.mark.parametrize("sheet", SHEETS)
def test_a_foreign_sheet_changes_nothing(saved, look, sheet, widget, place, picture, record_property):
    html = saved(widget)
    _, plain = look(html)
    page, other = look(styles.with_sheet(html, SHEETS[sheet](), last=place == "after"))
    picture(page, f"styles-{sheet}-{widget.replace(' ', '-')}-{place}")
    found = styles.differences(page.locator(ROOT).first, plain, other)
    classes = sorted({name for difference in found for name in difference.classes})
    record_property("classes", classes)
    rules = Counter(rule for difference in found for rule in difference.rules)
    record_property("rules", [rule for rule, _ in rules.most_common()])
    assert not found, (
        f"{len(found)} properties differ. Classes that collide: {', '.join(classes) or 'none'}. "
        f"Rules: {', '.join(f'{rule} ({n})' for rule, n in rules.most_common(40))}.\n" + "\n".join(map(str, found[:40]))
    )


@pytest.mark.parametrize("widget", WIDGETS)
def test_every_class_in_a_widget_carries_our_prefix(saved, look, widget):
    _, elements = look(saved(widget))
    bare = {name for element in elements for name in element["classes"] if not _ours(name)}
    assert sorted(bare) == []


BUNDLES = sorted((Path(sw.__file__).parent / "static").rglob("*.css"))


@pytest.mark.parametrize("sheet", BUNDLES, ids=lambda path: path.stem)
def test_every_class_of_a_sheet_carries_our_prefix(new_page, sheet):
    page, _ = new_page("blank")
    names = page.evaluate(styles.CLASSES_OF_SHEET, sheet.read_text("utf-8"))
    assert names
    assert [name for name in names if not _ours(name)] == []
