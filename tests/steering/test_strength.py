"""How strong a recipe is: medians without sinks, and values asked beside values that a fresh read gives."""

import statistics

import numpy as np
import pytest
import torch
from support import naive
from support.both import PROMPT, Pair, at, recipe, vector

import steerwidgets as sw
from steerwidgets.dictionaries.pooling import mean_difference, pooled
from steerwidgets.transformer.residuals import read_residuals


def counted(h):
    norms = np.linalg.norm(h, axis=-1)
    threshold = 10 * statistics.median(norms[1:]) if len(norms) > 1 else float("inf")
    return [t for t in range(1, len(norms)) if norms[t] <= threshold]


def naive_readout(model, ids, change, changes):
    """(ratio, asked, achieved) of one steer, its own change alone and a fresh read after the whole recipe."""
    site = (change.layer, change.stream)
    h = naive.streams(model, ids, [site])[site].double().numpy()
    alone = naive.changed(h, [change], len(ids), set())
    before = naive.streams(model, ids, [site], changes)[site].double().numpy()
    after = naive.changed(before, [c for c in changes if (c.layer, c.stream) == site], len(ids), set())
    where = [t for t in counted(h) if change.acts(t, len(ids))]
    unit = np.asarray(change.v, dtype=float) / np.linalg.norm(change.v)
    ratio = np.linalg.norm(alone - h, axis=-1) / np.linalg.norm(h, axis=-1)
    return _median(ratio[where]), _median((alone @ unit)[where]), _median((after @ unit)[where])


def _median(values):
    return float(torch.as_tensor(values).median())


@pytest.mark.parametrize(
    "op", [("add", 1.5), ("add_relative", 0.4), ("ablate",), ("project", 2.0), ("clip", -0.5, 0.5)]
)
@pytest.mark.parametrize("where", [("all", None), ("after", 3), ("indices", (0, 2, 5)), ("last_prompt", None)])
def test_one_steer(lm, op, where):
    made = at(Pair(vector(1)).make(*op), *where)
    steers, changes = recipe(made)
    (got,) = lm.measure(PROMPT, steers)
    ratio, asked, achieved = naive_readout(lm.model, PROMPT, changes[0], changes)
    assert got.ratio == pytest.approx(ratio, rel=1e-3, abs=1e-5)
    if op[0] in ("add", "add_relative"):
        assert (got.asked, got.achieved) == (None, None)
    else:
        assert got.asked == pytest.approx(asked, rel=1e-3, abs=1e-4)
        assert got.achieved == pytest.approx(achieved, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_what_others_at_the_site_do_shows_in_the_achieved_value(lm):
    skewed = Pair(vector(1) + vector(2))
    steers, changes = recipe(Pair(vector(1)).make("project", 2.0), skewed.make("add", 1.0))
    got = lm.measure(PROMPT, steers)
    _, asked, achieved = naive_readout(lm.model, PROMPT, changes[0], changes)
    assert abs(asked - achieved) > 0.5
    assert got[0].asked == pytest.approx(asked, rel=1e-3, abs=1e-4)
    assert got[0].achieved == pytest.approx(achieved, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_what_earlier_blocks_do_shows_in_the_achieved_value(lm):
    """`achieved` is what a fresh read after the WHOLE recipe gives, steers of earlier blocks included."""
    steers, changes = recipe(Pair(vector(2), layer=0).make("add", 3.0), Pair(vector(1), layer=2).make("project", 2.0))
    got = lm.measure(PROMPT, steers)
    _, _, achieved = naive_readout(lm.model, PROMPT, changes[1], changes)
    assert got[1].achieved == pytest.approx(achieved, rel=1e-3, abs=1e-3)


def test_nothing_to_measure(llama):
    steer = sw.Direction(vector(1), sw.Site(1)).add(1)
    for where in ([0], [99]):
        (got,) = llama.measure(PROMPT, steer.at(where))
        assert got.ratio is None
        assert "no token of this prompt" in got.note
    assert llama.measure(PROMPT, []) == []
    (got,) = llama.measure([5], steer)
    assert got.ratio is None


def test_generated_is_measured_on_the_prompt_and_says_so(llama):
    steer = sw.Direction(vector(1), sw.Site(1)).add(1)
    (got,), (every,) = llama.measure(PROMPT, steer.at("generated")), llama.measure(PROMPT, steer)
    assert got.ratio == every.ratio
    assert "prompt's tokens" in got.note
    assert every.note == ""


def test_special_positions_are_left_out_where_asked(llama):
    steer = sw.Direction(vector(1), sw.Site(1)).project(3)
    residual = llama.residuals("Name a city.", [sw.Site(1)], chat=True).values[sw.Site(1)][0]
    prompt = llama.encode("Name a city.")
    own = [t for t in range(len(prompt)) if not (prompt.special[t] or prompt.template[t])]
    values = (residual @ steer.feature.vector / steer.feature.norm)[own]
    (got,) = llama.measure("Name a city.", steer.at("all", special=False))
    assert got.asked == pytest.approx(3 * float(values.median()), rel=1e-3)


def with_sink(fresh):
    """A Llama in whose embeddings ids from 300 on are a hundred times as long."""
    lm = fresh()
    with torch.no_grad():
        lm.model.get_input_embeddings().weight[300:] *= 100
    return lm


def test_sinks_count_in_no_average(fresh):
    lm, site = with_sink(fresh), sw.Site(0, "resid_pre")
    rows = [(5, 6, 7, 310, 8, 9), (310, 6, 7, 8)]
    residuals = read_residuals(lm.architecture, rows, [site])
    assert residuals.counted(site).tolist() == [
        [False, True, True, False, True, True],
        [False, False, False, True, True, True],
    ]
    (got,) = lm.measure(rows[0], sw.Direction(vector(1), site).add(1))
    h = lm.model.get_input_embeddings().weight[[6, 7, 8, 9]]
    assert got.ratio == pytest.approx(float((6.0 / h.detach().norm(dim=-1)).median()), rel=1e-3)


def test_difference_in_means(llama):
    texts = {True: ["the ocean and the sea", "a city by the sea, please"], False: ["print the result", "def main"]}
    encoded = {key: [llama.encode(text) for text in each] for key, each in texts.items()}
    site, means = sw.Site(2), {}
    for key, prompts in encoded.items():
        rows = []
        for prompt in prompts:
            h = naive.streams(llama.model, prompt.token_ids, [(2, "resid_post")])[2, "resid_post"]
            own = [t for t in counted(h.numpy()) if not (prompt.special[t] or prompt.template[t])]
            rows.append(h[own].mean(0))
        means[key] = torch.stack(rows).mean(0)
    got = mean_difference(llama, encoded[True], encoded[False], site)
    torch.testing.assert_close(got, means[True] - means[False], atol=1e-4, rtol=1e-3)
    many = encoded[True] * 9  # more than one batch
    assert pooled(llama, many, site, lambda words: words.mean(0)).shape == (18, 32)
    with pytest.raises(ValueError, match="no word left to read; give a longer one"):
        mean_difference(llama, [llama.encode([0, 4])], encoded[False], site)


@pytest.mark.parametrize("norm", [1.0, 3.0])
def test_a_reft_clamp_shows_what_is_asked_beside_a_fresh_read(llama, norm):
    """Where the concept fired and is of unit norm the two agree; else a fresh read says what came of it."""
    v = vector(1, norm=norm)
    reft = sw.ReFT(v[None], layer=1)
    steer = reft[0].clamp(20.0)
    (got,) = llama.measure(PROMPT, steer)
    h = naive.streams(llama.model, PROMPT, [(1, "resid_post")])[1, "resid_post"]
    where = counted(h.numpy())
    after = h + (20.0 - (h @ v).relu())[:, None] * v  # AxBench's SubspaceIntervention
    assert got.asked == 20.0
    assert got.achieved == pytest.approx(_median((after @ v).relu()[where]), rel=1e-3)
    change = (after - h).norm(dim=-1) / h.norm(dim=-1)
    assert got.ratio == pytest.approx(_median(change[where]), rel=1e-3)
    fired = (h @ v)[where] > 0
    assert 0 < int(fired.sum()) < len(where)
    if norm == 1.0:
        torch.testing.assert_close(
            (after @ v)[where][fired], torch.full((int(fired.sum()),), 20.0), atol=1e-3, rtol=1e-4
        )


def test_a_neuron_that_is_set_shows_what_is_asked(llama):
    neuron = sw.Neurons(llama, layer=1)[7]
    (got,) = llama.measure(PROMPT, neuron.set(3.0))
    assert (got.asked, got.achieved) == (pytest.approx(3.0), pytest.approx(3.0))
    assert llama.measure(PROMPT, neuron.add(3.0))[0].asked is None
