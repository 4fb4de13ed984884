"""Widgets take a model that runs elsewhere as they take any, and say what it can't do."""

import numpy as np
import pytest
from support import kinds, sae

import steerwidgets as sw
from steerwidgets.widgets.arrays import unpack

SETTINGS = {"temperature": 0, "max_new_tokens": 4, "seed": 1}


@pytest.fixture(params=["remote", "engine"])
def there(request, remote_of, engine_of):
    return (remote_of if request.param == "remote" else engine_of)("llama")


def test_a_panel_generates(llama, there):
    cavs = kinds.make("CAV")
    texts = []
    for lm in (llama, there):
        panel = sw.SteeringPanel(lm, [cavs], prompt="Name a city.", recipe=cavs[0].add(3), random=1, **SETTINGS)
        panel.generate()
        assert panel.status["state"] != "error", panel.status
        texts.append([row["text"] for row in panel.result["rows"]])
        assert panel.result["kl"] is not None
    assert texts[1] == texts[0]


def test_a_panel_says_what_its_model_lacks(llama, there):
    lacks = {"couple", "ops", "where"} if isinstance(there, sw.EngineModel) else {"stream", "stop"}
    assert set(sw.SteeringPanel(there, kinds.make("CAV")).model_info["lacks"]) == lacks
    assert sw.SteeringPanel(llama, kinds.make("CAV")).model_info["lacks"] == {}


def test_a_lens_reads(llama, there):
    steer = kinds.make("CAV")[0].add(3)
    shown = [sw.LogitLens(lm, "The user asks", steer) for lm in (llama, there)]
    for run in ("baseline", "steered"):
        here, elsewhere = (unpack(getattr(each, run)["log_probs"]) for each in shown)
        assert np.allclose(here, elsewhere, atol=1e-4)
        here, elsewhere = (unpack(getattr(each, run)["ids"]) for each in shown)
        assert (here == elsewhere).all()


def test_a_picker_finds_what_fires(llama, there):
    latents = sae.make(layer=1)
    found = [sw.FeaturePicker(lm, latents).find(mode="prompt", query="The user asks") for lm in (llama, there)]
    assert [each.index for each in found[1]] == [each.index for each in found[0]]
