"""What every host shows: one cell with a tiny model, and one for each widget. And the widgets, by accessible names."""

from __future__ import annotations

from e2e.conftest import TINY
from e2e.lab import Panel
from hosts.host import Cell
from playwright.sync_api import Locator, Page

SEA = "the sea and sailing"
SETUP = f"""
import os, tempfile
import ipywidgets
os.environ["STEERWIDGETS_DATA"] = tempfile.mkdtemp()  # labels that a check types into a card are not the next one's
ipywidgets.Widget.close_all()
{TINY.strip()}
from support import sae as tiny
dictionary = tiny.make(labels=["a label of a feature", *(f"label {{i}}" for i in range(1, 40))])
"""
CELLS = (
    Cell(SETUP),
    Cell(
        "panel = sw.SteeringPanel(lm, [cavs, dictionary], prompt='Hello there', recipe=cavs[0].add(4),"
        " max_new_tokens=12)",
        "panel",
    ),
    Cell("heatmap = sw.TokenHeatmap(lm, dictionary, 'Name a city by the sea, please.', features=[1, 3])", "heatmap"),
    Cell("picker = sw.FeaturePicker(lm, [dictionary, cavs], recipe=cavs[0].add(4))", "picker"),
    Cell("card = sw.FeatureCard(lm, dictionary, 3, own_text='The wide sea')", "card"),
    Cell("lens = sw.LogitLens(lm, 'Name a city by the sea.')", "lens"),
)
# A page without a kernel shows what ran before it was saved.
RUN = [
    Cell(f"{cell.code}\nran = panel.generate()" if cell.shows == "panel" else cell.code, cell.shows) for cell in CELLS
]


class Widgets:
    """The five widgets of a page."""

    NAMES = ("panel", "heat", "picker", "card", "lens")

    def __init__(self, page: Page) -> None:
        self.page = page
        roots = [page.locator(f".sw-{name}").first for name in self.NAMES]
        panel, self.heatmap, self.picker, self.card, self.lens = roots
        self.panel = Panel(page, panel)
        self.roots = dict(zip(self.NAMES, roots, strict=True))

    @property
    def tokens(self) -> Locator:
        """The tokens of the heatmap."""
        return self.heatmap.get_by_role("grid", name="Token activations").get_by_role("gridcell")

    def wait(self, within: float = 120_000) -> None:
        """Until all of them show what they are about."""
        self.panel.generate.wait_for(timeout=within)
        self.tokens.first.wait_for(timeout=within)
        self.picker.get_by_role("searchbox", name="Search features").wait_for(timeout=within)
        self.card.get_by_text("label 3", exact=True).first.wait_for(timeout=within)
        self.lens.get_by_role("grid", name="Logit lens").wait_for(timeout=within)
