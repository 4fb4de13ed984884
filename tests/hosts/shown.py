"""What every host shows, in two pages: a tiny model and a cell for each widget; and they, by accessible names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from e2e.conftest import TINY
from e2e.lab import Panel
from e2e.test_map import Map
from e2e.test_patch_grid import Grid
from e2e.test_trainer import Trainer
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
# The least that anywidget can show: what goes wrong with it is the host's.
PLAIN = Cell(
    "import anywidget\nmodule = 'export default {\\n render({ el }) { el.innerHTML = \"<button>plain</button>\" } }'",
    "anywidget.AnyWidget(_esm=module)",
)
MORE = f"""
{SETUP.strip()}
from support import checked
from support.mfa import make_state
indexed = checked.indexed(lm, texts=60)
mfa = sw.MFA(*make_state(5, 32, 3), layer=1, labels=["research, study", "dates", "weather", "<b>legal</b>", "code"])
with_it = [f"thank you {{word}} for it" for word in ("so much", "all", "kindly", "again", "truly", "dearly")]
without = [f"the train to {{word}} leaves" for word in ("York", "Bath", "Leeds", "Hull", "Ely", "Kent")]
few = {{"random": 1, "baseline_seeds": 1, "hold_back": 0, "max_new_tokens": 6}}
lab = sw.Lab("sea", student="Ada", folder=tempfile.mkdtemp())
"""
OTHERS = (
    Cell(MORE),
    Cell("grid = sw.PatchGrid(lm, 'The cat sat here', 'The dog ran here', metric='kl')", "grid"),
    Cell(
        "chart = sw.DoseResponse(lm, cavs[0].add, [0, 1, 4], prompts=['Name a city.', 'The user asks.'],"
        " judge=sw.Words(['e'], name='an e'), **few)",
        "chart",
    ),
    Cell("spots = sw.SubspaceMap(lm, mfa, 0, texts=['Name a city by the sea.'] * 2, prompt='I think')", "spots"),
    Cell("trainer = sw.ConceptTrainer(lm, with_it, without, name='grateful', dictionaries=cavs)", "trainer"),
    Cell("asking = sw.LabelCheck(lm, indexed, features=[3, 4], seed=2026)", "asking"),
    Cell("asked = lab.check('Which word fires?', 'sea', hint='Think of ships.', key='word')", "asked"),
)
RUNS = {"panel": "ran = panel.generate()", "grid": "ran = grid.run()", "chart": "dose = chart.run()"}
RUNS |= {"trainer": "trained = trainer.train()"}


def run_before(cells: Sequence[Cell]) -> list[Cell]:
    """A page without a kernel shows what ran before it was saved."""
    return [
        Cell("\n".join([each.code, *([RUNS[each.shows]] if each.shows in RUNS else [])]), each.shows) for each in cells
    ]


class Shown:
    """The widgets of a page."""

    NAMES: ClassVar[tuple[str, ...]]
    CELLS: ClassVar[tuple[Cell, ...]]

    def __init__(self, page: Page, picture: Callable[[str], object] = lambda name: None) -> None:
        self.page = page
        self.picture = picture
        self.roots = {name: page.locator(f".sw-{name}").first for name in self.NAMES}

    def wait(self, within: float = 120_000) -> None:
        """Until all of them show what they are about."""
        raise NotImplementedError


class Widgets(Shown):
    """A panel and what stands beside it."""

    name = "five"
    NAMES = ("panel", "heat", "picker", "card", "lens")
    CELLS = CELLS

    def __init__(self, page: Page, picture: Callable[[str], object] = lambda name: None) -> None:
        super().__init__(page, picture)
        panel, self.heatmap, self.picker, self.card, self.lens = self.roots.values()
        self.panel = Panel(page, panel)

    @property
    def tokens(self) -> Locator:
        """The tokens of the heatmap."""
        return self.heatmap.get_by_role("grid", name="Token activations").get_by_role("gridcell")

    def wait(self, within: float = 120_000) -> None:
        self.panel.generate.wait_for(timeout=within)
        self.tokens.first.wait_for(timeout=within)
        self.picker.get_by_role("searchbox", name="Search features").wait_for(timeout=within)
        self.card.get_by_text("label 3", exact=True).first.wait_for(timeout=within)
        self.lens.get_by_role("grid", name="Logit lens").wait_for(timeout=within)


class Others(Shown):
    """The widgets that train, patch, dose, map and ask."""

    name = "others"
    NAMES = ("patch", "dose", "map", "trainer", "check", "lab")
    CELLS = OTHERS

    def __init__(self, page: Page, picture: Callable[[str], object] = lambda name: None) -> None:
        super().__init__(page, picture)
        patch, self.dose, spots, trainer, self.check, self.lab = self.roots.values()
        self.grid, self.map, self.trainer = Grid(page, patch), Map(page, spots), Trainer(page, trainer)

    def wait(self, within: float = 120_000) -> None:
        self.grid.box("Source").wait_for(timeout=within)
        self.dose.get_by_role("status").first.wait_for(timeout=within)
        self.map.cloud.wait_for(timeout=within)
        self.trainer.box("Name of the concept").wait_for(timeout=within)
        self.check.get_by_role("heading", name="Label check").wait_for(timeout=within)
        self.lab.get_by_role("textbox", name="Your answer").wait_for(timeout=within)
