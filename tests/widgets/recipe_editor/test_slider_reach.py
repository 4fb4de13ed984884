"""Where a slider ends: it follows the feature, else the length of the residual, else the tutorials; typing goes on."""

import pytest
import torch
from support.kinds import make as make_dictionary
from support.models import D_MODEL
from support.sae import make as make_sae

import steerwidgets as sw
from steerwidgets.widgets.recipe_editor.describe import slider_reach

V = torch.randn(1, D_MODEL, generator=torch.Generator().manual_seed(2))
V = 2 * V / V.norm()
TUTORIAL = 525.0
"""The clamp that the tutorial on SAE steering begins with, on a slider from 0 to 1000."""


def cav(**settings):
    return sw.CAV(V, ["sea"], layer=1, **settings)


def test_three_times_what_was_seen_to_work():
    feature = cav(suggested=[("add", {"alpha": 40.0})], max_activations=[9.0])[0]
    assert slider_reach(feature, 100.0) == 120.0
    assert slider_reach(cav(suggested=[("project", {"c": 2.0})])[0]) is None, "not in the feature's own units"


def test_four_times_the_strength_of_its_largest_activation():
    assert slider_reach(make_sae(max_activations={3: 20.0})[3], 100.0) == 80.0
    assert slider_reach(cav(max_activations=[40.0])[0]) == 40.0, "h·v moves by α‖v‖² = 4α"
    neurons = make_dictionary("CAV")
    neurons.statistics = sw.FeatureStatistics(torch.full((5,), -3.0))
    assert slider_reach(neurons[0]) is None, "a concept that never points its own way"


def test_else_three_times_the_residuals_length():
    assert slider_reach(cav()[0], 350.0) == 500.0  # 525, in round numbers
    assert slider_reach(make_sae()[3], 100.0) == pytest.approx(300 / make_sae()[3].norm, rel=0.3)
    mfa = make_dictionary("MFA")
    mfa.statistics = sw.FeatureStatistics(torch.ones(5))
    assert slider_reach(mfa[0], 100.0) == pytest.approx(300 / mfa[0].norm, rel=0.3), "a responsibility is no strength"
    assert slider_reach(cav()[0]) is None


@pytest.mark.parametrize(
    ("make", "op"),
    [(make_sae, "clamp"), (make_sae, "add"), (cav, "add"), (lambda: sw.ReFT(V, layer=1), "clamp")],
)
def test_where_nothing_is_known_the_tutorials_range(make, op):
    parameter = make()[0].ops[op].parameters[0]
    assert parameter.raw
    assert parameter.high == 1000.0 > TUTORIAL
    assert parameter.low in (0.0, -1000.0)


def test_in_a_panel(make_panel, lm):
    sae = make_sae()
    panel = make_panel([sae], recipe=sae[3].clamp(5))
    [key] = panel.steer_features
    h = lm.residuals(panel.prompt, [sae.site], chat=panel.chat)
    median = float(h.values[sae.site].norm(dim=-1)[h.counted(sae.site)].median())
    assert panel.steer_features[key]["reach"] == slider_reach(sae[3], median)
    assert panel.steer_features[key]["reach"] > 0
    op = panel.ops["SAE.clamp"]["parameters"][0]
    assert (op["min"], op["max"], op["raw"]) == (0.0, 1000.0, True)
    known = make_sae(max_activations={3: 20.0})
    panel = make_panel([known], recipe=known[3].clamp(5))
    [found] = panel.steer_features.values()
    assert (found["full"], found["reach"]) == (20.0, 80.0)


@pytest.mark.parametrize("value", [TUTORIAL, 5000.0, -40.0])
def test_a_typed_value_beyond_the_slider_steers(make_panel, lm, value):
    sae = make_sae(max_activations={3: 20.0})
    panel = make_panel([sae], recipe=sae[3].clamp(5), prompt="the sea", max_new_tokens=2, temperature=0)
    [steer] = panel.steers
    panel.steers = [{**steer, "params": {"c": value}}]
    assert panel.recipe == sw.Recipe.of(sae[3].clamp(value))
    out = panel.generate()
    expected = lm.compare("the sea", sae[3].clamp(value), max_new_tokens=2, temperature=0)
    assert out.steered.token_ids == expected.steered.token_ids
