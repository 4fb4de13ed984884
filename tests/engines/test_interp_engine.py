"""A model behind interp-engine's own server gives what local hooks give, or says why it can't."""

import pytest
import torch
from support import kinds, naive, sae
from support.both import PROMPT, Pair, forward, recipe, vector

import steerwidgets as sw

FOUR = pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "neox_parallel"])
CLOSE = {"atol": 1e-4, "rtol": 1e-4}
GREEDY = {"temperature": 0, "max_new_tokens": 6}


def directions():
    a, attention, last = Pair(vector(1)), Pair(vector(4), 1, "attn_out"), Pair(vector(5), layer=3)
    return {
        "add": recipe(a.make("add", 1.5), Pair(vector(2)).make("add", -1.0)),
        "ablate": recipe(a.make("ablate")),
        "project and add": recipe(Pair(vector(2)).make("add", 1.0), a.make("project", 2.0)),
        "clip": recipe(a.make("clip", -0.5, 0.5)),
        "several sites": recipe(last.make("clip", None, 0.2), attention.make("add", 1.0), a.make("ablate")),
    }


@FOUR
def test_ops_as_the_reference_has_them(lm, engine_of, family):
    there = engine_of(family)
    for name, (steers, changes) in directions().items():
        expected = naive.logits(lm.model, PROMPT, changes)
        torch.testing.assert_close(forward(there, steers, PROMPT, len(PROMPT)), expected, **CLOSE, msg=name)
        out = there.compare(PROMPT, steers, **GREEDY)
        assert out.steered.token_ids == naive.greedy(lm.model, PROMPT, changes, count=6, end=lm.end_ids), name
    assert out.baseline.token_ids == naive.greedy(lm.model, PROMPT, count=6, end=lm.end_ids)


@FOUR
def test_reading_verbs(lm, engine_of, family):
    there, text, cavs = engine_of(family), "The user asks the assistant", kinds.make("CAV")
    sites = [sw.Site(1), sw.Site(2, "resid_pre"), sw.Site(1, "attn_out"), sw.Site(2, "mlp_out"), sw.Site(1, "attn_z")]
    here, elsewhere = (each.residuals(text, sites).values for each in (lm, there))
    for site in sites:
        torch.testing.assert_close(elsewhere[site], here[site], **CLOSE, msg=str(site))
    here, elsewhere = (each.logit_lens(text, cavs[0].add(3), k=4) for each in (lm, there))
    assert torch.equal(elsewhere.token_ids, here.token_ids)
    torch.testing.assert_close(elsewhere.log_probs, here.log_probs, **CLOSE)
    here, elsewhere = (each.top_logits(cavs[1], k=3).promoted for each in (lm, there))
    assert [token for token, _ in elsewhere] == [token for token, _ in here]
    assert [value for _, value in elsewhere] == pytest.approx([value for _, value in here], abs=1e-2)


def test_scores_watched_features_and_steps(llama, engine_of):
    there, cavs, steps = engine_of("llama"), kinds.make("CAV"), []
    steer = cavs[0].add(3)
    here = llama.compare("Name a city.", steer, watch=[cavs[1]], **GREEDY)
    elsewhere = there.compare("Name a city.", steer, watch=[cavs[1]], on_step=steps.append, **GREEDY)
    assert elsewhere.steered.token_ids == here.steered.token_ids
    assert elsewhere.kl == pytest.approx(here.kl, abs=1e-4)
    watched = [[value for (value,) in out.steered.watched] for out in (here, elsewhere)]
    assert watched[1] == pytest.approx(watched[0], abs=1e-4)
    of_rows = [[step.token_ids[row] for step in steps if step.token_ids[row] is not None] for row in (0, 1)]
    assert [tuple(ids) for ids in of_rows] == [here.baseline.token_ids, here.steered.token_ids]
    latents = sae.make(layer=1)
    here, elsewhere = (each.search("The user asks", latents, k=3) for each in (llama, there))
    assert [each.index for each in elsewhere.features] == [each.index for each in here.features]


def test_leaving_a_stream_stops_it(engine_of):
    for step in engine_of("llama").stream("Name a city.", kinds.make("CAV")[0].add(3), max_new_tokens=200):
        assert step.token_ids[0] is not None
        break
    out = engine_of("llama").compare("Name a city.", None, **GREEDY)
    assert len(out.baseline.token_ids) > 0


def test_a_share_of_the_norm_warns_of_sinks(engine_of):
    with pytest.warns(UserWarning, match="attention sinks too"):
        out = engine_of("llama").compare("Name a city.", kinds.make("CAV")[0].add_relative(0.5), **GREEDY)
    assert out.steered.token_ids != out.baseline.token_ids


def refused(lm):
    cavs, latents = kinds.make("CAV"), sae.make(layer=1)
    return {
        "clamp of this SAE": latents[1].clamp(9),
        "pull of this MFA": kinds.make("MFA")[1].pull(0.5),
        "without a condition": cavs[0].add(3).when(cavs[1] > 1),
        "without a fade": cavs[0].add(3).fade(over=4),
        "all tokens, or the prompt's": cavs[0].add(3).at("generated"),
        "one after another": cavs[0].ablate() + cavs[1].ablate(),
        "the same for every steer": cavs[0].add(1).at("prompt") + cavs[1].add(1),
    }


def test_what_the_server_can_not_do_is_refused_with_the_reason(llama, engine_of):
    for reason, steers in refused(llama).items():
        with pytest.raises(ValueError, match=reason):
            engine_of("llama").compare("Name a city.", steers, **GREEDY)
    with pytest.raises(ValueError, match="frequency_penalty"):
        engine_of("llama").compare("Name a city.", None, frequency_penalty=1.0, **GREEDY)


def test_a_panel_says_which_ops_it_refuses(llama, engine_of):
    latents = sae.make(layer=1)
    here, there = (
        sw.SteeringPanel(lm, latents, recipe=latents[3].clamp(2.0)).ops for lm in (llama, engine_of("llama"))
    )
    assert {op["refused"] for op in here.values()} == {""}
    carried = {name for name, op in there.items() if not op["refused"]}
    assert carried == {"add", "add_relative", "ablate", "project", "clip"}
    assert "carries out add, add_relative" in there["SAE.clamp"]["refused"]


def test_tokens_and_dead_servers(folder, serving):
    with serving(folder("llama"), token="secret") as address:
        with pytest.raises(sw.EngineError, match="asks for a token"):
            sw.EngineModel(address)
        with pytest.raises(sw.EngineError, match="does not take this token"):
            sw.EngineModel(address, token="guess")
        there = sw.EngineModel(address, token="secret")
        assert there.compare("Name a city.", None, **GREEDY).baseline.text
    with pytest.raises(sw.EngineError, match="Nobody answers"):
        there.compare("Name a city.", None, **GREEDY)
    with pytest.raises(sw.EngineError, match="Nobody answers"):
        sw.EngineModel(address)


def test_an_address_is_one():
    with pytest.raises(ValueError, match="is none"):
        sw.EngineModel("localhost:8000")


def test_provenance_names_who_ran_it(engine_of):
    said = engine_of("llama").provenance
    assert said["backend"] == "eager"
    assert said["device"].startswith("at http://127.0.0.1:")
