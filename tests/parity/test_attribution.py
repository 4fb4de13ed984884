"""Direct logit attribution: every row by hand, and their sum against the model's logit."""

from __future__ import annotations

import pytest
import torch
from support import lens as by_hand
from support import models, naive, sae, toks
from support.both import PROMPT, Pair, at, recipe
from support.models import D_MODEL, LAYERS

import steerwidgets as sw

FAMILIES = pytest.mark.parametrize("family", models.FAMILIES)
TOKEN, MINUS = 7, 300


def lm_of(family):
    return sw.LanguageModel(models.make(family), toks.byte_level())


def reader(model, final):
    """What turns a part of the last residual into logits of TOKEN minus MINUS: float64 [d_model]."""
    norm, h = by_hand.final_norm(model), final.double()
    unembed = model.get_output_embeddings().weight.detach().double()
    row = unembed[TOKEN] - unembed[MINUS]
    gain = norm.weight.detach().double() + (1.0 if model.config.model_type.startswith("gemma") else 0.0)
    if isinstance(norm, torch.nn.LayerNorm):
        h = h - h.mean()
        row = gain * row
        return (row - row.mean()) / (h.pow(2).mean() + norm.eps).sqrt()
    eps = norm.eps if hasattr(norm, "eps") else norm.variance_epsilon
    return gain * row / (h.pow(2).mean() + eps).sqrt()


def uncapped(model, final):
    raw = by_hand.normed(model, final) @ model.get_output_embeddings().weight.detach().double().T
    return float(raw[TOKEN] - raw[MINUS])


def everywhere(lm):
    """A steer in every stream that can be steered, and its reference."""

    def pair(layer, stream):
        width = lm.architecture.width(sw.Site(layer, stream))
        return Pair(torch.randn(width, generator=torch.Generator().manual_seed(layer)), layer, stream)

    places = [(0, "resid_pre"), (1, "resid_post"), (2, "attn_out"), (2, "mlp_acts"), (3, "attn_z"), (3, "mlp_in")]
    return recipe(*(pair(*place).make("add", 2.0) for place in places))


@FAMILIES
def test_every_sublayer_by_hand(family):
    lm = lm_of(family)
    found = lm.attribution(PROMPT, TOKEN, MINUS)
    final = by_hand.streams(lm.model, PROMPT)[-1, -1]
    u = reader(lm.model, final)
    rows = {row.component: row.value for row in found.rows}
    embed = by_hand.streams(lm.model, PROMPT, "resid_pre")[0, -1]
    assert rows["embed"] == pytest.approx(float(embed.double() @ u), abs=1e-4)
    for name, stream in (("attn", "attn_out"), ("MLP", "mlp_out")):
        values = by_hand.streams(lm.model, PROMPT, stream)[:, -1].double() @ u
        assert [rows[f"{name} {layer}"] for layer in range(LAYERS)] == pytest.approx(values.tolist(), abs=1e-4)
    assert found.logit == pytest.approx(uncapped(lm.model, final), rel=1e-4, abs=1e-5)
    assert found.total == pytest.approx(found.logit, rel=1e-4, abs=1e-5)
    assert abs(rows["rounding"]) < 1e-4
    own = naive.logits(lm.model, PROMPT)[-1]
    assert found.capped == pytest.approx(float(own[TOKEN] - own[MINUS]), abs=1e-4)


@FAMILIES
@pytest.mark.parametrize("minus", [None, MINUS])
@pytest.mark.parametrize("layer", [None, 0, 2])
def test_the_sum_under_a_recipe_with_and_without_an_sae(family, minus, layer):
    lm = lm_of(family)
    steers, changes = everywhere(lm)
    dictionary = None if layer is None else sae.make(layer=layer)
    found = lm.attribution(PROMPT, TOKEN, minus, recipe=steers, dictionary=dictionary, position=4)
    final = by_hand.streams(lm.model, PROMPT, changes=changes)[-1, 4]
    if minus is not None:
        assert found.logit == pytest.approx(uncapped(lm.model, final), rel=1e-4, abs=1e-4)
    assert found.total == pytest.approx(found.logit, rel=1e-4, abs=1e-4)
    # All is accounted for by name: a change counted twice would only show here.
    assert abs(sum(row.value for row in found.rows if row.kind == "rounding")) < 1e-4
    assert sum(row.kind == "steer" for row in found.rows) == {None: 6, 0: 5, 2: 2}[layer]


@FAMILIES
def test_an_injected_change_is_its_own_row(family):
    lm = lm_of(family)
    pair = Pair(torch.randn(D_MODEL, generator=torch.Generator().manual_seed(3)), 2)
    steers, changes = recipe(at(pair.make("add", 3.0), "indices", (8,)))
    found = lm.attribution(PROMPT, TOKEN, MINUS, recipe=steers)
    u = reader(lm.model, by_hand.streams(lm.model, PROMPT, changes=changes)[-1, -1])
    (row,) = [row for row in found.rows if row.kind == "steer"]
    assert row.value == pytest.approx(float(3.0 * pair.v.double() @ u), abs=1e-4)
    plain = {row.component: row for row in lm.attribution(PROMPT, TOKEN, MINUS).rows}
    # What the change is not: a part of its own block's sublayers.
    before = reader(lm.model, by_hand.streams(lm.model, PROMPT)[-1, -1])
    mlp = by_hand.streams(lm.model, PROMPT, "mlp_out")[2, -1].double()
    assert plain["MLP 2"].value == pytest.approx(float(mlp @ before), abs=1e-4)
    assert {r.component: r for r in found.rows}["MLP 2"].value == pytest.approx(float(mlp @ u), abs=1e-4)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "neox_parallel"])
@pytest.mark.parametrize("stream", ["resid_pre", "resid_post", "attn_out", "mlp_out"])
def test_an_saes_features_by_hand(family, stream):
    lm = lm_of(family)
    weights, dictionary = sae.tensors(), sae.make(layer=2, stream=stream)
    found = lm.attribution(PROMPT, TOKEN, MINUS, dictionary=dictionary)
    h = by_hand.streams(lm.model, PROMPT, stream)[2, -1]
    acts = ((h - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]).relu()
    u = reader(lm.model, by_hand.streams(lm.model, PROMPT)[-1, -1])
    features = {row.feature.index: row.value for row in found.rows if row.kind == "feature"}
    expected = {i: float((acts[i] * weights["W_dec"][i]).double() @ u) for i in acts.nonzero()[:, 0].tolist()}
    assert features == pytest.approx(expected, abs=1e-4)
    error = h - acts @ weights["W_dec"] - weights["b_dec"]
    (row,) = [row for row in found.rows if row.kind == "error"]
    assert row.value == pytest.approx(float(error.double() @ u), abs=1e-4)
    assert found.total == pytest.approx(found.logit, rel=1e-4, abs=1e-4)
    names = {row.component for row in found.rows}
    assert ("embed" in names) == (stream in ("attn_out", "mlp_out"))
    assert ("MLP 2" in names) == (stream in ("attn_out", "resid_pre"))


def test_bf16_is_near():
    lm = sw.LanguageModel(models.make("gemma2", dtype=torch.bfloat16), toks.byte_level())
    found = lm.attribution(PROMPT, TOKEN, MINUS)
    assert found.total == pytest.approx(found.logit, rel=5e-2, abs=5e-2)


def test_what_it_prints_and_refuses():
    lm = lm_of("gemma2")
    found = lm.attribution(PROMPT, TOKEN, MINUS)
    text = repr(found)
    assert "before the soft cap" in text
    assert "the model" in text
    assert abs(found.top(3)[0].value) == max(abs(row.value) for row in found.rows)
    with pytest.raises(ValueError, match=r"outside the vocabulary, which goes from 0 to 319"):
        lm.attribution(PROMPT, 320)
    with pytest.raises(ValueError, match=r"is 2 tokens to this tokenizer"):
        lm.attribution(PROMPT, "ZQ")
    with pytest.raises(ValueError, match=r"positions= takes whole numbers from -9 to 8"):
        lm.attribution(PROMPT, TOKEN, position=9)
    with pytest.raises(ValueError, match=r"features of an SAE of resid_pre, resid_post, attn_out or mlp_out"):
        lm.attribution(PROMPT, TOKEN, dictionary=sae.make(layer=1, stream="resid_mid"))
