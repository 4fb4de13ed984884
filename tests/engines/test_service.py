"""The whole way to NDIF, over a network: a job's place in the queue is told, who waits may leave, and queues die.

NDIF itself can't be reached here. A service on loopback stands for it, in a process without steerwidgets: nnsight's own
client talks to it, and what nnsight sends is what it runs.
"""

import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import torch
from support import kinds, sae
from widgets.front_end import FrontEnd

import steerwidgets as sw

SERVICE = Path(__file__).parents[1] / "support" / "ndif_service.py"
SETTINGS = {"temperature": 0, "max_new_tokens": 4, "seed": 1}
QUEUED = "has the job in its queue (You are number 1 of the queue)"


class Service:
    """A service that runs the model of a folder."""

    def __init__(self, folder):
        self._process = subprocess.Popen([sys.executable, SERVICE, folder], stdout=subprocess.PIPE, text=True)
        self.address = self._process.stdout.readline().strip()

    def does(self, what):
        """Hold, release or drop what is in the queue."""
        urllib.request.urlopen(urllib.request.Request(f"{self.address}/{what}", method="POST", data=b"")).close()

    def close(self):
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def running(folder):
    service = Service(str(folder("llama")))
    yield service
    service.close()


@pytest.fixture
def service(running):
    """The service; a queue that a test held goes on after it."""
    yield running
    running.does("release")


@pytest.fixture
def there(service, folder, monkeypatch):
    import nnsight

    # A folder has no name on the hub, by which a service knows models.
    monkeypatch.setattr(nnsight.TransformersModel, "to_model_key", lambda _self: "key")
    return sw.RemoteModel(folder("llama"), remote=service.address)


@pytest.fixture
def panel(there):
    cavs = kinds.make("CAV")
    made = sw.SteeringPanel(there, [cavs], prompt="Name a city.", recipe=cavs[0].add(3), **SETTINGS)
    yield made
    made.close()


def asked(page):
    """A run of the panel, once its job is in the queue."""
    run = page.ask("generate")
    page.wait(lambda: QUEUED in str(page.of(run, "progress")), "word that the job is in the queue")
    return run


def test_what_runs_there_is_what_runs_here(llama, there):
    latents, cavs = sae.make(layer=1), kinds.make("CAV")
    recipe = latents[3].clamp(4.0).when(cavs[1] > -1e9) + cavs[0].add_relative(0.3).at("generated") + cavs[2].ablate()
    for lm in (llama, there):
        lm.tokenizer.chat_template = llama.tokenizer.chat_template
    here, elsewhere = (lm.compare("Name a city.", recipe, watch=[cavs[1]], **SETTINGS) for lm in (llama, there))
    assert elsewhere.steered.token_ids == here.steered.token_ids
    assert elsewhere.baseline.token_ids == here.baseline.token_ids
    assert elsewhere.kl == pytest.approx(here.kl, abs=1e-4)


def test_a_panel_tells_the_place_in_the_queue(service, panel):
    page = FrontEnd(panel)
    service.does("hold")
    run = asked(page)
    told = [message["said"] for message in page.of(run, "progress") if message["state"] == "waiting"]
    assert told[0].startswith(f"{service.address} ")
    assert told[0].endswith(" s")
    service.does("release")
    assert page.end(run)["type"] == "result"
    assert [row["ended"] for row in panel.result["rows"]] == ["length", "length"]


def test_whoever_waits_may_leave(service, panel, there):
    page = FrontEnd(panel)
    assert "stop" not in panel.model_info["lacks"]
    service.does("hold")
    run = asked(page)
    page.cancel(run)
    assert page.end(run, within=5)["type"] == "cancelled"
    assert panel.status == {"state": "stopped", "message": ""}
    assert there.lock.acquire(blocking=False)
    there.lock.release()
    service.does("release")
    assert page.end(page.ask("generate"))["type"] == "result"


def test_a_lens_tells_it_too(service, there):
    lens = sw.LogitLens(there, "The user asks")
    page = FrontEnd(lens)
    service.does("hold")
    read = page.ask("read", text="Another text", chat=False)
    page.wait(lambda: QUEUED in str(page.of(read, "progress")), "word that the job is in the queue")
    service.does("release")
    assert page.end(read)["type"] == "result"
    lens.close()


def test_a_queue_that_dies(service, panel):
    page = FrontEnd(panel)
    service.does("hold")
    run = asked(page)
    service.does("drop")
    end = page.end(run)
    assert end["type"] == "error"
    assert "ended the connection while the job waited" in end["error"]["message"]
    assert "ended the connection" in panel.status["message"]


def test_what_fails_there_is_told_with_its_reason(there):
    with pytest.raises(sw.EngineError, match=r"could not run this on .*: AttributeError: .*nowhere"):
        there.runs.through("nowhere", torch.zeros(1, 32))
