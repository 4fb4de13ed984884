"""axe-core finds nothing serious in any widget, light and dark, in saved pages and in JupyterLab."""

from pathlib import Path

import pytest
from e2e.conftest import PANEL, TINY
from support import pages

AXE = Path(__file__).parents[2] / "js/node_modules/axe-core/axe.min.js"
SERIOUS = """async root => {
    const { violations } = await axe.run(root, { resultTypes: ["violations"] });
    return violations.filter(({ impact }) => impact === "serious" || impact === "critical").flatMap(
        ({ id, help, nodes }) => nodes.map(
            ({ html, any }) => `${id}, ${help}: ${html.slice(0, 200)} ${any[0]?.message}`));
}"""


def serious(page, root=".sw") -> list[str]:
    """What axe-core finds of serious or critical impact in every widget on a page."""
    page.add_script_tag(path=AXE)
    return [line for each in page.locator(root).all() for line in each.evaluate(SERIOUS)]


@pytest.mark.parametrize("name", pages.WIDGETS)
def test_a_saved_page_has_nothing_serious(new_page, fresh, tmp_path, name):
    widget = pages.make(name, fresh("llama"))
    path = widget.to_html(tmp_path / "page.html")
    widget.close()
    for theme in ("light", "dark"):
        page, record = new_page(f"{name}-{theme}", offline=True, color_scheme=theme)
        page.goto(path.as_uri())
        page.locator(".sw").wait_for()
        for summary in page.locator(".sw summary").all():
            summary.click()
        found = serious(page)
        for tab in page.get_by_role("tab").all():
            tab.click()
            found += serious(page)
        assert found == []
        assert record.errors == []


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_widgets_in_jupyterlab_have_nothing_serious(open_notebook, tiny_kernel, theme):
    heatmap = "from support import sae\nsw.TokenHeatmap(lm, sae.make(), 'Name a city by the sea.', [1, 3])"
    notebook = open_notebook([TINY, PANEL, heatmap], kernel=tiny_kernel.id)
    notebook.wear(theme)
    for cell in range(3):
        notebook.run_cell(cell)
    panel = notebook.panel()
    panel.run()
    notebook.page.get_by_role("grid", name="Token activations").wait_for()
    assert serious(notebook.page) == []
    notebook.wear("Light")
    tiny_kernel.clean(notebook)
