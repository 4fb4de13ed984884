"""TokenHeatmap from Python: what it reads, what travels, what is refused, what is saved."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import traitlets
from support import kinds, sae
from widgets.front_end import FrontEnd

import steerwidgets as sw
from steerwidgets.transformer.prompts import Token
from steerwidgets.widgets.arrays import unpack
from steerwidgets.widgets.heatmap.columns import feature_column

PROMPT = "Name a city by the sea ☕, please."
LABELS = [f"label {i}" for i in range(sae.SIZE)]
HOSTILE = "</script><img src=x onerror=alert(1)>\u2028\u202e"


@pytest.fixture
def dictionary():
    return sae.make(labels=LABELS)


@pytest.fixture
def make(lm, dictionary):
    made = []

    def make_(prompt=PROMPT, features=(1, 3), **settings):
        made.append(sw.TokenHeatmap(lm, settings.pop("dictionary", dictionary), prompt, features, **settings))
        return made[-1]

    yield make_
    for heatmap in made:
        heatmap.close()


def flags(heatmap):
    return unpack(heatmap.text["flags"])


def values(heatmap):
    return unpack(heatmap.reading["values"])


def expected(lm, dictionary, prompt, indices, **settings):
    """The features of the residual after block 1, as transformers itself gives it."""
    ids = lm.encode(prompt, **{"chat": False, **settings}).token_ids
    hidden = lm.model(torch.tensor([ids]), output_hidden_states=True).hidden_states[2][0]
    return dictionary.encode(hidden)[:, indices].detach().numpy()


def test_it_shows_each_token_and_each_features_value(lm, dictionary, make):
    heatmap = make()
    ids = lm.encode(PROMPT, chat=False).token_ids
    assert unpack(heatmap.text["ids"]).tolist() == list(ids)
    assert heatmap.text["texts"] == [token.text for token in lm.tokens(ids)]
    assert np.allclose(values(heatmap), expected(lm, dictionary, PROMPT, [1, 3]), atol=1e-4)
    assert [column["label"] for column in heatmap.reading["features"]] == ["label 1", "label 3"]
    assert [feature.index for feature in heatmap.features] == [1, 3]


def test_features_by_index_label_and_value(make, dictionary):
    direction = dictionary[2].direction
    heatmap = make(features=[1, "label 5", dictionary[7], direction, 1])
    assert [column["label"] for column in heatmap.reading["features"]] == ["label 1", "label 5", "label 7", "label 2"]
    read = heatmap.activations.residual @ direction.vector
    assert np.allclose(values(heatmap)[:, 3], read, atol=1e-4)
    assert heatmap.reading["features"][3]["signed"]
    assert not heatmap.reading["features"][0]["signed"]


def test_every_kind_of_dictionary(make, lm, cavs):
    signed = make(dictionary=cavs, features="the sea and sailing")
    assert np.allclose(values(signed)[:, 0], signed.activations.residual @ cavs[0].vector, atol=1e-4)
    assert signed.reading["features"][0]["signed"]
    assert (signed.reading["features"][0]["maximum"], signed.reading["features"][0]["corpus"]) == (9.0, "ten tokens")
    neurons = sw.Neurons(lm, layer=1)
    heatmap = make(dictionary=neurons, features=np.int64(3))
    assert np.allclose(values(heatmap)[:, 0], lm.read(PROMPT, neurons, [3]).values[:, 0], atol=1e-5)
    assert heatmap.facts["site"] == str(neurons.site)


def test_other_features_need_no_model_run(make, lm, dictionary, runs):
    heatmap = make()
    assert runs
    runs.clear()
    heatmap.features = "label 9"
    assert not runs
    assert np.allclose(values(heatmap), heatmap.activations.of([9]).values, atol=1e-6)
    before = flags(heatmap)
    heatmap.features = []
    assert values(heatmap).shape == (len(before), 0)
    assert not runs


def test_another_prompt_is_read_once_and_starts_afresh(make, lm, dictionary, runs):
    heatmap = make(selected=[2, 3], hovered=1)
    heatmap.prompt = "The sea"
    assert heatmap.selected == []
    assert heatmap.hovered is None
    assert heatmap.prompt == "The sea"
    assert np.allclose(values(heatmap), expected(lm, dictionary, "The sea", [1, 3]), atol=1e-4)


def test_what_does_not_count_is_said(make, lm):
    heatmap = make(chat=True)
    prompt = lm.encode(PROMPT, chat=True)
    bits = flags(heatmap)
    assert ((bits & 2) > 0).tolist() == list(prompt.special)
    assert ((bits & 4) > 0).tolist() == list(prompt.template)
    fragments = [token.fragment for token in lm.tokens(prompt.token_ids)]
    assert ((bits & 1) > 0).tolist() == fragments
    assert any(fragments)
    raw = make()
    assert flags(raw)[0] & 8  # position 0 is a sink even where no BOS stands
    counted = (flags(raw) & np.uint8(2 | 4 | 8 | 16)) == 0
    assert counted.tolist() == raw.activations.mask.tolist()
    largest = np.abs(values(raw)[counted, 0]).max()
    assert raw.reading["features"][0]["largest"] == pytest.approx(float(largest), rel=1e-6)


def test_messages_and_token_ids(make, lm):
    chat = make(prompt=[{"role": "user", "content": "Hi"}])
    assert (flags(chat) & 4).any()
    ids = list(lm.encode("The sea").token_ids)
    assert unpack(make(prompt=ids).text["ids"]).tolist() == ids


def test_a_comparison_shows_its_steered_text_read_without_steering(make, lm, dictionary):
    out = lm.compare("Hi", dictionary[1].add(40), max_new_tokens=6, seed=3)
    assert out.baseline.token_ids != out.steered.token_ids
    heatmap = make(prompt=out)
    ids = [*out.prompt.token_ids, *out.steered.token_ids]
    assert unpack(heatmap.text["ids"]).tolist() == ids
    assert np.allclose(values(heatmap), expected(lm, dictionary, ids, [1, 3]), atol=1e-4)
    bits = flags(heatmap)
    prompt = len(out.prompt)
    assert ((bits & 32) > 0).tolist() == [False] * prompt + [True] * 6
    assert ((bits & 4) > 0).tolist() == [*out.prompt.template, *[False] * 6]
    assert heatmap.facts["origin"] == "steered text, read without steering"
    assert json.loads(heatmap.provenance["recipe"]) == json.loads(out.recipe.to_json())
    assert "seed=3" in heatmap.provenance["sampling"]
    said = json.loads(heatmap.to_json())["tokens"]
    assert [row["generated"] for row in said] == [False] * prompt + [True] * 6
    assert heatmap.fires(range(prompt, len(ids)), k=3).features


def test_rows_of_comparisons_and_sweeps_bring_their_prompt(make, lm, dictionary):
    out = lm.compare("Hi", dictionary[1].add(40), max_new_tokens=4)
    baseline = make(prompt=out.baseline)
    ids = [*out.prompt.token_ids, *out.baseline.token_ids]
    assert unpack(baseline.text["ids"]).tolist() == ids
    assert baseline.facts["origin"] == "text generated without steering"
    assert "recipe" not in baseline.provenance
    strongest = lm.sweep("Hi", [None, dictionary[1].add(40)], max_new_tokens=4)[1]
    baseline.prompt = strongest
    assert unpack(baseline.text["ids"]).tolist() == [*out.prompt.token_ids, *strongest.token_ids]
    assert baseline.facts["origin"] == "steered text, read without steering"
    assert baseline.prompt is strongest
    baseline.prompt = "The sea"
    assert baseline.facts["origin"] == ""
    assert not (flags(baseline) & 32).any()


def test_a_turn_mark_that_the_model_wrote_does_not_count(make, lm):
    out = lm.compare("Hi", None, max_new_tokens=2)
    mark = next(i for i in out.prompt.token_ids if i in lm.special_ids)
    row = dataclasses.replace(out.baseline, token_ids=(*out.baseline.token_ids, mark))
    bits = flags(make(prompt=row))
    assert bits[-1] & 2
    assert bits[-1] & 32


def test_the_strongest_features_of_each_token_go_with_it(make, dictionary):
    heatmap = make(top=3)
    kept = {name: unpack(heatmap.strongest[name]) for name in ("values", "indices")}
    encoded = dictionary.encode(heatmap.activations.residual)
    assert np.allclose(kept["values"], encoded.topk(3).values, atol=1e-5)
    assert heatmap.strongest["labels"][str(kept["indices"][4, 0])] == LABELS[kept["indices"][4, 0]]
    assert make(top=0).strongest == {}


def test_scales_come_from_the_dictionarys_statistics(make, dictionary):
    p995 = torch.full((sae.SIZE,), 3.5)
    dictionary.statistics = sw.FeatureStatistics(torch.full((sae.SIZE,), 7.0), p995=p995, corpus="C4", tokens=1000)
    column = make().reading["features"][0]
    assert (column["p995"], column["maximum"], column["corpus"]) == (3.5, 7.0, "C4, 1,000 tokens")
    shown = json.loads(make(domain="maximum").to_json())["features"][0]
    assert (shown["scale_end"], shown["scale_end_is"]) == (7.0, "maximum over C4, 1,000 tokens")
    assert json.loads(make().to_json())["features"][0]["scale_end"] == 3.5


def test_a_projections_scale_begins_at_its_zero(lm, make, dictionary):
    cavs = sw.CAV(dictionary.tensors()["W_dec"][:3], ["a", "b", "c"], layer=1)
    heatmap = make(dictionary=cavs, features=[0, 1])
    plain = json.loads(heatmap.to_json())
    low, high = (min(t["values"][0] for t in plain["tokens"]), max(t["values"][0] for t in plain["tokens"]))
    middle = (low + high) / 2
    cavs.statistics = sw.FeatureStatistics(
        torch.full((3,), torch.nan), zero=torch.tensor([middle, torch.nan, 0.0]), zero_of="other texts"
    )
    heatmap = make(dictionary=cavs, features=[0, 1])
    first, second = heatmap.reading["features"]
    assert (first["zero"], first["zero_of"]) == (pytest.approx(middle), "other texts")
    assert first["largest"] <= high + 1e-5
    assert (second["zero"], second["signed"]) == (None, True)
    assert [t["values"] for t in json.loads(heatmap.to_json())["tokens"]] == [t["values"] for t in plain["tokens"]]


def test_an_end_below_the_zero_is_no_end(make, dictionary):
    cavs = sw.CAV(dictionary.tensors()["W_dec"][:1], ["a"], layer=1)
    cavs.statistics = sw.FeatureStatistics(torch.tensor([9.0]), p995=torch.tensor([1.0]), zero=torch.tensor([2.0]))
    [column] = json.loads(make(dictionary=cavs, features=[0]).to_json())["features"]
    assert (column["scale_end"], column["scale_end_is"]) == (9.0, "maximum over its corpus")


# The plain call behind the span's question, and the question itself


def test_which_features_fire_at_a_span(make, dictionary):
    heatmap = make()
    span = [3, 4, 5]
    encoded = dictionary.encode(heatmap.activations.residual)[span]
    best = encoded.max(dim=0).values.topk(4)
    found = heatmap.fires(span, k=4)
    assert [feature.index for feature in found.features] == best.indices.tolist()
    assert np.allclose(found.values, best.values)
    assert set(found.positions) <= set(span)
    heatmap.selected = span
    assert heatmap.fires(k=4).values == found.values


def test_the_page_asks_and_adds_what_it_found(make, runs):
    heatmap = make()
    page = FrontEnd(heatmap)
    runs.clear()
    assert page.call("fires", positions=[3, 4])["type"] == "result"
    assert heatmap.found["positions"] == [3, 4]
    first = heatmap.found["features"][0]
    assert first["value"] >= heatmap.found["features"][1]["value"] > 0
    assert page.call("show", index=first["index"])["type"] == "result"
    assert heatmap.features[-1].index == first["index"]
    assert page.call("remove", key=heatmap.features[0].key)["type"] == "result"
    assert [feature.index for feature in heatmap.features] == [3, first["index"]]
    assert not runs
    shapes = {tuple(state["reading"]["values"]["shape"]) for state in page.states if "reading" in state}
    assert shapes == {(len(heatmap.text["texts"]), 3), (len(heatmap.text["texts"]), 2)}


@pytest.mark.parametrize(
    ("name", "args", "says"),
    [
        ("fires", {"positions": [0]}, "None of these tokens counts"),
        ("fires", {"positions": []}, "No token is selected"),
        ("fires", {"positions": [10_000]}, "10000 was given"),
        ("fires", {"positions": "all"}, "a list of whole numbers"),
        ("show", {"index": 10_000}, "features 0 to 39"),
        ("show", {"index": "x"}, "a whole number"),
    ],
)
def test_what_a_page_asks_wrongly_is_answered_in_a_sentence(make, name, args, says):
    heatmap = make()
    reading = heatmap.reading
    ended = FrontEnd(heatmap).call(name, **args)
    assert ended["type"] == "error"
    assert says in ended["error"]["message"]
    assert "\n" not in ended["error"]["message"]
    assert heatmap.reading == reading


def test_a_seventh_feature_is_refused_by_page_and_code(make):
    heatmap = make(features=range(6))
    assert "at most 6 features" in FrontEnd(heatmap).call("show", index=9)["error"]["message"]
    with pytest.raises(ValueError, match="at most 6 features at once"):
        heatmap.features = range(7)
    assert len(heatmap.features) == 6


def test_what_code_asks_wrongly_is_answered_in_a_sentence(make, dictionary):
    with pytest.raises(IndexError, match="features 0 to 39, but 4000"):
        make(features=[4000])
    with pytest.raises(KeyError, match="No feature is labelled 'nothing'"):
        make(features="nothing")
    with pytest.raises(ValueError, match=r"lives at block 2 resid_post, but this text is read at block 1"):
        make(features=[sae.make(layer=2)[0]])
    with pytest.raises(ValueError, match="The prompt is empty"):
        make(prompt="")
    with pytest.raises(ValueError, match="0 to 5, but 9 was given"):
        make(top=9)
    with pytest.raises(TypeError, match="no setting 'colour'"):
        make(colour="red")
    heatmap = make()
    for wrong in (-1, "p95", True, float("nan"), None):
        with pytest.raises(traitlets.TraitError, match="a number above 0"):
            heatmap.domain = wrong
    with pytest.raises(traitlets.TraitError, match="positions of tokens"):
        heatmap.selected = [0, 999]
    with pytest.raises(traitlets.TraitError, match="positions of tokens"):
        heatmap.hovered = -1


# Selection as a value


def test_selected_is_sorted_and_what_the_page_writes_arrives(make):
    heatmap = make()
    heatmap.selected = [5, 2, 2]
    assert heatmap.selected == [2, 5]
    seen = []
    heatmap.observe(lambda change: seen.append(change["new"]), "selected")
    FrontEnd(heatmap).update(selected=[1], hovered=4)
    assert seen == [[1]]
    assert heatmap.hovered == 4


def test_two_heatmaps_can_be_linked(make):
    first, second = make(), make(features=[7])
    link = traitlets.link((first, "selected"), (second, "selected"))
    FrontEnd(first).update(selected=[3, 4])
    assert second.selected == [3, 4]
    second.selected = []
    assert first.selected == []
    link.unlink()


# Arrays


def test_arrays_need_no_torch():
    code = (
        "import sys, numpy as np, steerwidgets as sw\n"
        "h = sw.TokenHeatmap.from_arrays(['a', ' b'], np.array([1.0, 2.0]), 'x')\n"
        "assert h.to_json() and 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize(
    "given",
    [[[1, 2], [3, -4]], np.array([[1, 2], [3, -4]], dtype=np.int64), torch.tensor([[1, 2], [3, -4]]).bfloat16()],
)
def test_arrays_of_every_sort(given):
    heatmap = sw.TokenHeatmap.from_arrays(["a", " b"], given, ["up", "down"])
    assert values(heatmap).tolist() == [[1, 2], [3, -4]]
    assert [column["signed"] for column in heatmap.reading["features"]] == [False, True]
    assert heatmap.features == ("up", "down")
    assert heatmap.text["ids"] is None
    assert heatmap.activations is None


def test_arrays_with_ids_a_mask_and_gaps():
    tokens = [Token(5, "a"), Token(6, "E2 98", fragment=True), Token(7, "b")]
    heatmap = sw.TokenHeatmap.from_arrays(tokens, [90.0, np.nan, 2.0], mask=[False, True, True])
    assert unpack(heatmap.text["ids"]).tolist() == [5, 6, 7]
    assert (flags(heatmap) & 31).tolist() == [16, 1, 0]
    assert heatmap.reading["features"][0]["largest"] == 2.0
    rows = json.loads(heatmap.to_json())["tokens"]
    assert [row["values"] for row in rows] == [[90.0], [None], [2.0]]
    assert [row["counted"] for row in rows] == [False, True, True]


@pytest.mark.parametrize(
    ("tokens", "given", "labels", "says"),
    [
        (["a", "b"], [1.0], None, r"one row for each of the 2 tokens, .* but has shape \[1\]"),
        (["a", "b"], np.zeros((2, 3, 4)), None, r"has shape \[2, 3, 4\]"),
        (["a", "b"], np.zeros((2, 9)), None, "1 to 6 features at once, but values has 9 columns"),
        (["a", "b"], np.zeros((2, 0)), None, "values has 0 columns"),
        (["a", "b"], [1.0, np.inf], None, "an infinite number"),
        (["a", "b"], ["x", "y"], None, "an array of numbers"),
        (["a", "b"], [1.0, 2.0], ["x", "y"], "names each of the 1 columns of values, but 2 were given"),
        ([], [], None, "tokens is empty"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_a_sentence(tokens, given, labels, says):
    with pytest.raises(ValueError, match=says):
        sw.TokenHeatmap.from_arrays(tokens, given, labels)


def test_tokens_that_are_none_are_refused():
    with pytest.raises(TypeError, match="one string was given"):
        sw.TokenHeatmap.from_arrays("ab", [1.0, 2.0])
    with pytest.raises(TypeError, match="but int was given"):
        sw.TokenHeatmap.from_arrays([1, 2], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"for each of the 2 tokens .* shape \[1\]"):
        sw.TokenHeatmap.from_arrays(["a", "b"], [1.0, 2.0], mask=[True])


def test_arrays_have_nothing_more_to_read():
    heatmap = sw.TokenHeatmap.from_arrays(["a", "b"], [1.0, 2.0])
    with pytest.raises(ValueError, match="made from arrays"):
        heatmap.features = [3]
    with pytest.raises(ValueError, match="made from arrays"):
        heatmap.prompt = "Hi"
    assert "made from arrays" in FrontEnd(heatmap).call("fires", positions=[0])["error"]["message"]


# What is saved


def test_json_says_what_is_shown(make, dictionary):
    heatmap = make(selected=[1], domain=2.5, curve="log", granularity="words", top=2)
    said = json.loads(heatmap.to_json())
    assert [row["text"] for row in said["tokens"]] == heatmap.text["texts"]
    assert np.allclose([row["values"] for row in said["tokens"]], values(heatmap), rtol=1e-6)
    assert [row["id"] for row in said["tokens"]] == unpack(heatmap.text["ids"]).tolist()
    assert {name: said[name] for name in ("selected", "domain", "curve", "granularity", "pooling")} == {
        "selected": [1],
        "domain": 2.5,
        "curve": "log",
        "granularity": "words",
        "pooling": "max",
    }
    assert said["features"][0]["scale_end"] == 2.5
    best = dictionary.encode(heatmap.activations.residual)[4].max(0)
    assert said["tokens"][4]["strongest"][0]["index"] == int(best.indices)
    assert {"model", "dtype", "dictionary", "fingerprint", "site"} <= set(said["provenance"])


def test_state_is_json_without_buffers(make):
    """JupyterLab drops buffers on saving, so no trait may need one."""
    heatmap = make()
    state = heatmap.get_state()
    own = {name: state[name] for name in heatmap.keys if not name.startswith("_") and name not in ("layout", "comm")}
    json.dumps(own, allow_nan=False)


def test_hostile_text_stays_text_in_a_saved_page(tmp_path):
    heatmap = sw.TokenHeatmap.from_arrays([HOSTILE, "\ud800"], [1.0, 2.0], HOSTILE)
    text = heatmap.to_html(tmp_path / "page.html").read_text("utf-8")
    assert "<img" not in text
    assert "\u2028" not in text
    assert heatmap.text["texts"][1] == "U+D800"


def test_a_long_text_stays_small_on_the_wire():
    words = [f" word{i % 900}" for i in range(20_000)]
    heatmap = sw.TokenHeatmap.from_arrays(words, np.random.default_rng(0).random((20_000, 2)))
    own = {name: value for name, value in heatmap.get_state().items() if name in ("text", "reading", "strongest")}
    assert len(json.dumps(own)) < 600_000


def test_a_neurons_scale_has_two_ends_since_its_value_goes_below_zero(lm):
    neurons = kinds.make("Neuron", lm)
    heatmap = sw.TokenHeatmap(lm, neurons, PROMPT, [0])
    try:
        positive = np.abs(values(heatmap)[:, 0])
        assert feature_column(neurons[0], neurons, positive)["signed"]
    finally:
        heatmap.close()


def test_a_projection_whose_zero_nobody_knows_says_so(lm, make):
    """A concept vector of a file, and a direction by arithmetic; a neuron's 0 is one, for it writes nothing."""
    cavs = sw.CAV(torch.eye(2, 32), ["sea", "sky"], layer=1)
    unknown = "not known: no texts without it were read"
    for dictionary, feature, said in (
        (cavs, 0, unknown),
        (cavs, cavs[0].direction - cavs[1].direction, unknown),
        (sw.Neurons(lm, layer=1), 3, ""),
    ):
        [column] = make(dictionary=dictionary, features=[feature]).reading["features"]
        assert (column["zero"], column["zero_of"]) == (None, said)
