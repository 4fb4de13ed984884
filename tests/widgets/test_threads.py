"""One panel used from several threads at once, as ipykernel 7 does: code in a cell while messages come in."""

import subprocess
import sys
import threading
from pathlib import Path

from widgets.conftest import vectors
from widgets.front_end import ENDS, FrontEnd, joined
from widgets.test_requests import run_args

import steerwidgets as sw

PATIENCE = 20


def in_thread(work):
    """Run something in a thread of its own that may hang; gives a function that waits for it."""
    outcome = []

    def run():
        try:
            outcome.append((True, work()))
        except BaseException as error:
            outcome.append((False, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def wait(what="the thread"):
        thread.join(PATIENCE)
        assert outcome, f"{what} hangs"
        return outcome[0]

    return wait


def test_setting_the_recipe_from_code_while_it_runs_does_not_hang(panel, page, gate):
    # At a block that was not read yet, so that its readouts have to wait for the model.
    other = sw.CAV(vectors(1), ["elsewhere"], layer=2)
    run = page.ask("generate", **run_args(panel))
    assert gate.held.wait(PATIENCE)
    setting = in_thread(lambda: setattr(panel, "recipe", other[0].add(2)))
    page.wait(lambda: panel.steers[0]["key"] == other[0].key, "the recipe to be set")
    gate.open()
    assert page.end(run, within=PATIENCE)["type"] == "result"
    assert setting("setting the recipe")[0]
    assert [steer.feature.key for steer in panel.recipe] == [other[0].key]


def test_setting_the_prompt_from_code_while_it_runs_does_not_hang(panel, page, gate):
    run = page.ask("generate", **run_args(panel))
    assert gate.held.wait(PATIENCE)
    setting = in_thread(lambda: setattr(panel, "prompt", "A new prompt."))
    gate.open()
    assert page.end(run, within=PATIENCE)["type"] == "result"
    assert setting("setting the prompt")[0]
    assert panel.prompt_tokens["prompt"] == "A new prompt."


def test_the_page_edits_while_a_run_streams(panel, page, cavs, gate):
    run = page.ask("generate", **run_args(panel, max_new_tokens=40))
    gate.let(5)
    for alpha in range(20):
        editing = in_thread(lambda a=alpha: page.update(steers=[{**panel.steers[0], "params": {"alpha": a}}]))
        assert editing("an update from the page")[0]
    page.update(prompt="Typed meanwhile")
    gate.open()
    assert page.end(run)["type"] == "result"
    assert joined(page.of(run, "delta"))[0] == [token["id"] for token in panel.result["rows"][0]["tokens"]]
    page.wait(lambda: panel.prompt_tokens["prompt"] == "Typed meanwhile" and panel.readouts, "readouts")
    [steer] = panel.steers
    expected = [readout.ratio for readout in panel.lm.measure("Typed meanwhile", cavs[0].add(19))]
    page.wait(lambda: [panel.readouts[steer["id"]]["ratio"]] == expected, "the readout of the last strength")


def test_a_run_from_code_streams_into_the_page_and_can_be_stopped_there(panel, page, gate):
    panel.settings = {**panel.settings, "max_new_tokens": 500}
    running = in_thread(panel.generate)
    gate.let(5)
    delta = page.wait(lambda: [m for m in page.messages if m["type"] == "delta"], "text")[0]
    page.cancel(delta["id"])
    gate.let(2)
    page.wait(lambda: page.of(delta["id"], *ENDS), "the end of the run", within=5)
    assert page.end(delta["id"])["type"] == "cancelled"
    finished, comparison = running()
    assert finished
    assert comparison.steered.ended == "stopped"
    assert panel.status["state"] == "stopped"


def test_a_run_from_code_is_heard_like_any_other(panel, page):
    panel.generate()
    run = page.messages[0]["id"]
    assert {message["id"] for message in page.messages} == {run}
    stream = page.of(run, "progress", "delta")
    assert [message["seq"] for message in stream] == list(range(len(stream)))
    assert page.of(run, *ENDS) == [{"type": "result", "id": run, "value": {}}]
    assert joined(page.of(run, "delta"))[1] == [token["id"] for token in panel.result["rows"][1]["tokens"]]


def test_a_request_that_is_cancelled_while_code_runs_leaves_that_run_alone(panel, page, gate):
    panel.settings = {**panel.settings, "max_new_tokens": 12}
    running = in_thread(panel.generate)
    gate.let(3)
    own = page.wait(lambda: [m for m in page.messages if m["type"] == "delta"], "text")[0]["id"]
    waiting = page.ask("generate", **run_args(panel))
    page.wait(lambda: page.of(waiting, "progress"), "word that it waits")
    page.cancel(waiting)
    assert page.end(waiting, within=5)["type"] == "cancelled"
    assert page.call("resync", run=own)["type"] == "result"
    assert panel.status["state"] == "running"
    gate.open()
    assert running()[0]
    assert panel.status["state"] == "done"


def test_many_threads_ask_at_once(panel, page, lock_is_free, hooks):
    before = hooks()
    asked = [in_thread(lambda: page.call("find", query="sea")) for _ in range(8)]
    runs = [in_thread(lambda i=i: page.ask("generate", **run_args(panel, seed=i))) for i in range(4)]
    assert all(wait()[1]["type"] == "result" for wait in asked)
    ids = [wait()[1] for wait in runs]
    assert len(set(ids)) == 4
    assert [page.end(run)["type"] for run in ids] == ["result"] * 4
    assert lock_is_free()
    assert hooks() == before


def test_two_panels_edit_and_run_from_two_threads(make_panel, cavs, lm):
    panels = [make_panel(recipe=cavs[i].add(3)) for i in (0, 1)]
    pages = [FrontEnd(panel) for panel in panels]

    def use(panel, page):
        for seed in range(4):
            page.update(prompt=f"Prompt {seed}")
            assert page.call("generate", **run_args(panel, seed=seed))["type"] == "result"
        return panel.result["rows"][1]["text"]

    using = [in_thread(lambda p=panel, v=page: use(p, v)) for panel, page in zip(panels, pages, strict=True)]
    texts = [wait()[1] for wait in using]
    plain = [lm.compare("Prompt 3", cavs[i].add(3), seed=3, max_new_tokens=8).steered.text for i in (0, 1)]
    assert texts == plain


GENERATES_AT_ITS_END = """
import atexit, sys
sys.path.insert(0, {tests!r})
seen = []
atexit.register(lambda: print(*(message["type"] for message in seen[0].of(seen[1]))))
import torch
from support import models, toks
from widgets.conftest import Gate
from widgets.front_end import FrontEnd
from widgets.test_requests import run_args
import steerwidgets as sw

lm = sw.LanguageModel(models.make("llama", max_position_embeddings=8192), toks.byte_level())
panel = sw.SteeringPanel(lm, sw.CAV(torch.eye(32)[:1], layer=1), prompt="Hi", max_new_tokens=8000)
page, gate = FrontEnd(panel), Gate(lm.model)
seen += [page, page.ask("generate", **run_args(panel))]
gate.held.wait()
gate.open()
"""


def test_a_process_that_ends_while_a_panel_generates_ends_in_order():
    """Python stops a daemon's thread wherever it is, and within torch that is an abort."""
    code = GENERATES_AT_ITS_END.format(tests=str(Path(__file__).parents[1]))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split()[-1] == "cancelled"
