"""The panel, the lens and the picker in JupyterLab on models that run elsewhere: through nnsight, behind a server."""

import re

import pytest
from e2e.conftest import FOOD, SEA, TINY
from playwright.sync_api import expect

SAVED = "\nlm.model.save_pretrained('tiny'); lm.tokenizer.save_pretrained('tiny')"
REMOTE = "\nlm = sw.RemoteModel('tiny', remote='local')"
SERVED = """
import subprocess, sys, urllib.error, urllib.request, atexit
port = __import__("socket").create_server(("127.0.0.1", 0)); number = port.getsockname()[1]; port.close()
run = [sys.executable, "-m", "interp_engine.server", "--model", "tiny", "--backend", "eager", "--device", "cpu"]
server = subprocess.Popen([*run, "--dtype", "float32", "--port", str(number)], stderr=subprocess.DEVNULL)
atexit.register(server.kill)
address = f"http://127.0.0.1:{number}"
while True:
    try:
        urllib.request.urlopen(f"{address}/health"); break
    except urllib.error.URLError:
        time.sleep(0.2)
lm = sw.EngineModel(address)
"""
SERVICE = """
import subprocess, sys, urllib.request, atexit
from support import ndif_service
service = subprocess.Popen([sys.executable, ndif_service.__file__, "tiny"], stdout=subprocess.PIPE, text=True)
atexit.register(service.kill)
address = service.stdout.readline().strip()
def does(what): urllib.request.urlopen(urllib.request.Request(f"{address}/{what}", method="POST", data=b"")).close()
import nnsight
nnsight.TransformersModel.to_model_key = lambda _: "key"  # a folder has no name on the hub
lm = sw.RemoteModel("tiny", remote=address)
"""
WHOLE = "The model runs elsewhere, and a text comes back whole once its job is done."
PANEL = 'panel = sw.SteeringPanel(lm, cavs, prompt="Hello there", recipe=cavs[0].add(4), max_new_tokens=6)\npanel'


@pytest.fixture(params=["remote", "engine"])
def elsewhere(request, open_notebook):
    """A notebook whose model runs elsewhere, with a panel, a lens and a picker; and which it is."""
    begin = TINY + SAVED + (REMOTE if request.param == "remote" else SERVED)
    cells = [begin, PANEL, 'sw.LogitLens(lm, "Hello there")', "sw.FeaturePicker(lm, cavs)"]
    notebook = open_notebook(cells)
    for cell in range(len(cells)):
        notebook.run_cell(cell)
    notebook.wait_idle()
    return notebook, request.param


def test_panel_lens_and_picker(elsewhere):
    notebook, which = elsewhere
    panel = notebook.panel()
    panel.generate.click()
    # Texts may come back whole, and so quickly that the panel is hardly seen to be busy.
    for column in ("Baseline", "Steered"):
        expect(panel.column(column)).to_contain_text("cut at the limit")
    baseline = panel.text("Baseline")
    assert baseline
    assert baseline != panel.text("Steered")
    expect(notebook.page.get_by_role("grid", name="Logit lens")).to_be_visible()
    if which == "remote":
        expect(panel.stop).to_have_attribute("title", WHOLE)
    else:
        assert not panel.stop.get_attribute("title")
        # What its server can't do is greyed where it would be chosen, with the reason.
        notebook.page.get_by_role("button", name=f"Where and when {SEA} acts").click()
        greyed = {
            "Positions to steer": ("the prompt only", "generated tokens only"),
            f"{SEA} positions": ("every token", "the user's words"),
            f"{SEA} fade": ("stays as it is", "fades to"),
        }
        for name, (can, cannot) in greyed.items():
            choice = notebook.page.get_by_label(name, exact=True)
            expect(choice.get_by_role("option", name=can, exact=True)).to_be_enabled()
            greyed_out = choice.get_by_role("option", name=cannot, exact=True)
            expect(greyed_out).to_be_disabled()
            expect(greyed_out).to_have_attribute("title", re.compile("alike"))
        read = notebook.page.get_by_label(f"{SEA} condition", exact=True).get_by_role("option")
        expect(read.first).to_be_enabled()
        expect(read.last).to_be_disabled()
        expect(notebook.page.get_by_role("checkbox", name="Special and template tokens").first).to_be_disabled()
    search = notebook.page.get_by_role("searchbox", name="Search features").last
    search.fill("food")
    expect(notebook.page.get_by_role("button", name=f"Add feature {FOOD}").last).to_be_visible()
    panel.set(f"{SEA} strength", 0)
    panel.generate.click()
    expect(panel.column("Steered").get_by_role("listbox")).to_have_text(baseline)
    assert notebook.errors() == []


def test_a_place_in_a_queue_is_told_and_left(open_notebook):
    notebook = open_notebook([TINY + SAVED + SERVICE, PANEL, "does('hold')", "does('release')"])
    for cell in range(3):
        notebook.run_cell(cell)
    notebook.wait_idle()
    panel = notebook.panel()
    queued = "has the job in its queue (You are number 1 of the queue)"
    panel.generate.click()
    expect(panel.status).to_contain_text(queued)
    panel.stop.click()
    expect(panel.generate).to_be_enabled()
    expect(panel.status).not_to_contain_text(queued)
    panel.generate.click()
    expect(panel.status).to_contain_text(queued)
    notebook.run_cell(3)
    for column in ("Baseline", "Steered"):
        expect(panel.column(column)).to_contain_text("cut at the limit")
    assert notebook.errors() == []
