"""What leaves the notebook: the panel's own file, hostile text in it, and nbconvert's page."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import anywidget
import nbformat
import pytest
import torch
from e2e.conftest import SEA, TINY
from e2e.lab import TESTS, Panel
from playwright.sync_api import expect

import steerwidgets as sw

HOSTILE = "</script><img src=x onerror=\"alert('owned')\"><!--\u2028 &lt;b&gt; <script>alert('owned')</script>"
FROZEN = "A frozen copy: run its cell in the notebook to generate."


@pytest.fixture
def open_file(open_saved):
    """A panel of a saved page."""

    def open_(path: Path) -> Panel:
        page = open_saved(path)
        panel = Panel(page, page.locator(".sw-panel"))
        panel.generate.wait_for()
        return panel

    return open_


@pytest.fixture
def finished(fresh):
    """A panel that has run, made without a kernel."""
    lm = fresh("llama")
    torch.manual_seed(1)
    cavs = sw.CAV(torch.randn(2, 32), ["the sea", HOSTILE], layer=1)
    panel = sw.SteeringPanel(lm, cavs, prompt=HOSTILE, recipe=cavs[0].add(4) + cavs[1].add(1), max_new_tokens=12)
    panel.generate()
    yield panel
    panel.close()


REFERENCE = sorted((TESTS.parent / "notebooks" / "reference").glob("*.html"))


@pytest.mark.parametrize("path", REFERENCE, ids=lambda path: path.stem)
def test_a_reference_page_shows_every_widget(path, open_saved):
    page = open_saved(path)
    expect(page.locator("[data-widget]:empty")).to_have_count(0)
    assert page.locator("[data-widget]").count() > 0


def expect_same_texts(panel: Panel, result: dict) -> None:
    for name, row in zip(("Baseline", "Steered"), result["rows"], strict=True):
        assert panel.tokens(name).all_text_contents() == [token["text"] for token in row["tokens"]]


def test_a_saved_page_shows_the_texts_and_can_be_explored(finished, open_file, tmp_path, picture):
    panel = open_file(finished.to_html(tmp_path / "page.html"))
    expect_same_texts(panel, finished.result)
    expect(panel.status).to_contain_text(FROZEN)
    expect(panel.generate).to_be_disabled()
    expect(panel.slider("the sea")).to_have_value("4")
    token = panel.tokens("Steered").nth(2)
    token.hover()
    expect(panel.root.get_by_text("steered token 3 of")).to_be_visible()
    token.click()
    expect(token).to_have_attribute("aria-selected", "true")
    panel.root.get_by_role("searchbox", name="Search features").hover()
    expect(panel.root.get_by_text("steered token 3 of")).to_be_visible()
    token.press("Escape")
    expect(token).to_have_attribute("aria-selected", "false")
    panel.button("Code").click()
    expect(panel.root.get_by_role("dialog", name="Python")).to_contain_text("import steerwidgets as sw")
    picture(panel.page, "saved-page")


def test_hostile_text_in_a_saved_page_stays_text(finished, open_file, tmp_path):
    rows = [dict(row) for row in finished.result["rows"]]
    rows[0]["tokens"] = [{"id": 1, "text": HOSTILE, "fragment": False}, *rows[0]["tokens"]]
    finished.result = {**finished.result, "rows": rows}
    finished.provenance = {**finished.provenance, "note": HOSTILE}
    panel = open_file(finished.to_html(tmp_path / "page.html"))
    page = panel.page
    page.get_by_text("Provenance").click()
    panel.button("Recipe JSON").click()
    assert page.locator("img").count() == 0
    assert panel.root.locator("script").count() == 0
    assert panel.prompt.input_value() == HOSTILE
    assert panel.tokens("Baseline").first.text_content() == HOSTILE
    expect(panel.slider(HOSTILE)).to_be_visible()


def test_a_saved_page_of_a_panel_that_never_ran(open_file, fresh, tmp_path):
    lm = fresh("llama")
    unrun = sw.SteeringPanel(lm, sw.CAV(torch.ones(1, 32), ["the sea"], layer=1))
    panel = open_file(unrun.to_html(tmp_path / "page.html"))
    unrun.close()
    expect(panel.generate).to_be_disabled()
    expect(panel.column("Baseline")).to_have_count(0)


def test_save_as_html_downloads_a_page_that_opens_offline(open_panel, open_file, tmp_path):
    notebook, panel = open_panel()
    panel.run()
    texts = [panel.text(name) for name in ("Baseline", "Steered")]
    with notebook.page.expect_download() as download:
        panel.button("Save as HTML").click()
    assert download.value.suggested_filename.endswith(".html")
    path = tmp_path / "downloaded.html"
    download.value.save_as(path)
    saved = open_file(path)
    assert [saved.text(name) for name in ("Baseline", "Steered")] == texts
    expect(saved.slider(SEA)).to_have_value("4")


NPM = ("@jupyter-widgets/html-manager@1", "requirejs@2")


@pytest.fixture(scope="session")
def cdn(request, tmp_path_factory):
    """The files that nbconvert's page asks a CDN for, from npm and from the installed anywidget."""
    cache = getattr(request.config, "cache", None)
    folder = cache.mkdir("npm") if cache else tmp_path_factory.mktemp("npm")
    if len(list(folder.glob("*.tgz"))) != len(NPM):
        subprocess.run(["npm", "pack", *NPM], cwd=folder, check=True, capture_output=True, timeout=120)

    def member(package: str, name: str) -> bytes:
        [archive] = folder.glob(f"{package}-[0-9]*.tgz")
        with tarfile.open(archive) as packed:
            return packed.extractfile(f"package/{name}").read()

    nbextension = Path(anywidget.__file__).parent / "nbextension" / "index.js"
    files = {
        "require.min.js": member("requirejs", "require.js"),
        "embed-amd.js": member("jupyter-widgets-html-manager", "dist/embed-amd.js"),
        "anywidget": nbextension.read_bytes(),
    }

    def answer(route) -> None:
        address = route.request.url
        found = next((files[name] for name in files if name in address), None)
        if found is None:
            route.abort()
        else:
            route.fulfill(body=found, content_type="text/javascript", headers={"Access-Control-Allow-Origin": "*"})

    return answer


def test_nbconvert_of_the_saved_notebook_shows_the_last_state(open_panel, new_page, cdn, tmp_path, picture):
    notebook, panel = open_panel()
    panel.set("Max new tokens", 10)
    panel.run()
    texts = [panel.text(name) for name in ("Baseline", "Steered")]
    path = notebook.save()
    widgets = nbformat.read(path, as_version=4).metadata["widgets"]["application/vnd.jupyter.widget-state+json"]
    results = [entry["state"]["result"] for entry in widgets["state"].values() if "result" in entry["state"]]
    assert ["".join(t["text"] for t in row["tokens"]) for row in results[0]["rows"]] == texts
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--output-dir", str(tmp_path), str(path)]
    environment = os.environ | {"JUPYTER_CONFIG_DIR": str(tmp_path), "JUPYTER_DATA_DIR": str(tmp_path)}
    subprocess.run(command, check=True, capture_output=True, env=environment, timeout=120)
    page, record = new_page("nbconvert's page")
    page.route("**/*", lambda route: cdn(route) if route.request.url.startswith("http") else route.continue_())
    page.goto((tmp_path / path.with_suffix(".html").name).as_uri())
    frozen = Panel(page, page.locator(".sw-panel"))
    frozen.column("Steered").wait_for()
    assert [frozen.text(name) for name in ("Baseline", "Steered")] == texts
    picture(page, "nbconvert")
    # There is no kernel behind this page, and it says so instead of waiting for one.
    expect(frozen.generate).to_be_disabled()
    expect(frozen.status).to_contain_text(FROZEN)
    assert [line for line in record.errors if "pageerror" in line] == []


WIDGETS = """
from support import sae as saes
sae = saes.make()
display(sw.TokenHeatmap(lm, sae, "The wide sea", features=[1]))
display(sw.FeaturePicker(lm, [sae, cavs], recipe=cavs[0].add(4)))
display(sw.FeatureCard(lm, sae, 3, own_text="The wide sea"))
display(sw.LogitLens(lm, "The wide sea"))
"""


def test_every_widget_survives_nbconvert(cdn, new_page, tmp_path, picture):
    """Executed by nbconvert itself, which keeps the widgets' state; nobody has looked at them in JupyterLab before."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(TINY + WIDGETS)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = tmp_path / "widgets.ipynb"
    nbformat.write(notebook, path)
    environment = os.environ | {"JUPYTER_CONFIG_DIR": str(tmp_path), "JUPYTER_DATA_DIR": str(tmp_path)}
    environment |= {"PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "nbconvert", "--execute", "--to", "html", str(path)]
    subprocess.run(command, check=True, capture_output=True, env=environment, timeout=240)
    page, record = new_page("nbconvert's page")
    page.route("**/*", lambda route: cdn(route) if route.request.url.startswith("http") else route.continue_())
    page.goto(path.with_suffix(".html").as_uri())
    expect(page.get_by_role("grid", name="Token activations").first).to_contain_text("sea")
    expect(page.get_by_role("searchbox", name="Search features")).to_be_visible()
    expect(page.get_by_role("slider", name=SEA)).to_have_value("4")
    expect(page.get_by_role("grid", name="Logit lens")).to_be_visible()
    expect(page.get_by_text("feature 3", exact=True)).to_be_visible()
    picture(page, "nbconvert-widgets")
    assert [line for line in record.errors if "pageerror" in line] == []
