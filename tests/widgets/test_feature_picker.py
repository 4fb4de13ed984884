"""FeaturePicker: a recipe that is made from a list, its strengths, and what stays of it without a kernel."""

import json

import pytest
import torch
import traitlets
from support import sae
from widgets.front_end import FrontEnd

import steerwidgets as sw


@pytest.fixture
def dictionary():
    return sae.make(labels={3: "the sea", 5: "a calm sea", 7: "<script>alert(1)</script>"})


@pytest.fixture
def make(lm, dictionary):
    made = []

    def make(model=lm, features=dictionary, **settings):
        picker = sw.FeaturePicker(model, features, **settings)
        made.append(picker)
        return picker

    yield make
    for picker in made:
        picker.close()


def test_the_recipe_is_its_value(make, dictionary):
    recipe = dictionary[3].clamp(4) + dictionary[3].add(2).random_direction(1) + dictionary[5].add_relative(0.1)
    picker = make(recipe=recipe)
    assert picker.recipe == recipe
    assert [steer["control"] for steer in picker.steers] == [None, {"seed": 1}, None]
    picker.recipe = dictionary[7].ablate().at("generated")
    assert picker.recipe == sw.Recipe.of(dictionary[7].ablate().at("generated"))
    assert sw.Recipe.from_json(picker.recipe_json, [dictionary]) == picker.recipe
    picker.recipe = None
    assert len(picker.recipe) == 0


def test_a_page_changes_the_recipe(make, dictionary):
    picker = make(recipe=dictionary[3].clamp(4) + dictionary[5].clamp(4))
    page = FrontEnd(picker)
    first, second = picker.steers
    page.update(steers=[{**first, "control": {"seed": 5}}, {**second, "enabled": False}])
    assert picker.recipe == sw.Recipe.of(dictionary[3].clamp(4).random_direction(5))
    page.update(steers=[{**first, "op": "add", "params": {"alpha": 2.0}}])
    assert picker.recipe == sw.Recipe.of(dictionary[3].add(2))
    assert set(picker.steer_features) == {dictionary[3].key}


def test_strength_is_measured_on_the_prompt(make, lm, dictionary):
    recipe = dictionary[3].clamp(4) + dictionary[5].add(3).random_direction(2)
    picker = make(recipe=recipe, prompt="The sea was calm.")
    expected = [readout.ratio for readout in lm.measure("The sea was calm.", recipe, chat=False)]
    shown = [picker.readouts[steer["id"]]["ratio"] for steer in picker.steers]
    assert shown == pytest.approx(expected)
    assert "random direction 2" in picker.readouts[picker.steers[1]["id"]]["note"]
    picker.prompt = ""
    assert picker.readouts == {}


def test_without_a_model(make, dictionary):
    picker = make(model=None, recipe=dictionary[3].clamp(4), prompt="The sea was calm.")
    page = FrontEnd(picker)
    assert picker.recipe == sw.Recipe.of(dictionary[3].clamp(4))
    assert (picker.readouts, picker.model_info) == ({}, {})
    assert page.call("find", query="sea")["value"]["total"] == 2
    assert page.call("find", mode="similar", key=dictionary[3].key)["value"]["total"] == sae.SIZE - 1
    for request, args in (("find", {"mode": "token", "query": "e"}), ("score", {"keys": [dictionary[3].key]})):
        answer = page.call(request, **args)
        assert answer["type"] == "error"
        assert "has no model" in answer["error"]["message"]


def test_the_row_last_chosen(make, dictionary):
    picker = make()
    assert picker.feature is None
    FrontEnd(picker).update(selected=dictionary[9].key)
    assert picker.feature.index == 9
    assert dictionary[9].key in picker.steer_features
    other = traitlets.HasTraits()
    other.add_traits(feature=traitlets.Unicode())
    traitlets.link((picker, "selected"), (other, "feature"))
    assert other.feature == dictionary[9].key


def test_a_search_to_begin_with_and_the_same_from_code(make, dictionary):
    picker = make(query="sea", filters={"density": None, "labelled": True, "dictionaries": None})
    assert picker.search["query"] == "sea"
    assert [feature.index for feature in picker.find()] == [3, 5]
    assert [feature.index for feature in picker.find(query="calm")] == [5]
    assert [feature.index for feature in picker.find(query="", limit=3)] == [3, 5, 7]
    assert len(picker.find(mode="token", query="e", filters={})) > 3


def test_what_is_shown_survives(make, dictionary, tmp_path):
    picker = make(recipe=dictionary[3].clamp(4), prompt="The sea was calm.", query="sea")
    state = json.loads(picker.to_json())
    for name in ("steers", "readouts", "steer_features", "ops", "catalogue", "dictionaries", "search", "provenance"):
        assert state[name] == json.loads(json.dumps(getattr(picker, name))), name
    assert state["catalogue"]["complete"]
    assert len(state["catalogue"]["features"]) == sae.SIZE
    assert {"density", "histogram", "dictionary"} <= state["catalogue"]["features"][0].keys()
    [about] = state["dictionaries"]
    assert (about["fingerprint"], about["size"], about["labelled"]) == (dictionary.fingerprint, sae.SIZE, 3)
    assert "SAE of 40 features" in picker.provenance["dictionary 1"]
    page = picker.to_html(tmp_path / "picker.html").read_text("utf-8")
    assert "<script>alert(1)" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_snippets_make_the_recipe_again(make, dictionary):
    picker = make(recipe=dictionary[3].clamp(4).random_direction(2))
    dictionary.source_code = "dictionary"
    picker.recipe = picker.recipe
    assert "[3].clamp(4.0).random_direction(2)" in picker.snippet or "['the sea']" in picker.snippet
    assert "compare" not in picker.snippet


@pytest.mark.parametrize(
    "state",
    [
        {"steers": [1, None]},
        {"steers": [{"id": "a", "key": "cav:0000000000000000/0", "op": "add", "params": {}}]},
        {"selected": "cav:0000000000000000/0"},
        {"selected": "no key"},
        {"search": {"mode": 5}},
        {"search": {}},
        {"prompt": "half a character \ud83d"},
        {"positions": {"where": "nonsense"}},
    ],
    ids=lambda state: str(state)[:60],
)
def test_traits_of_wrong_values_do_no_harm(make, dictionary, state):
    picker = make(recipe=dictionary[3].clamp(4))
    page = FrontEnd(picker)
    picker.set_state(state)
    assert page.call("find", query="sea")["type"] == "result"
    good = {"id": "s", "key": dictionary[5].key, "op": "add", "params": {"alpha": 1.0}, "enabled": True}
    page.update(steers=[good], positions={"where": "all"}, prompt="", selected="")
    assert picker.recipe == sw.Recipe.of(dictionary[5].add(1))


@pytest.mark.parametrize("control", [5, "yes", [1], {}, {"seed": "x"}, {"seed": 1.5}, {"seed": True}], ids=str)
def test_a_control_of_wrong_form_is_told_beside_its_steer(make, dictionary, control):
    picker = make()
    steer = {"id": "s", "key": dictionary[5].key, "op": "add", "params": {"alpha": 1.0}, "control": control}
    FrontEnd(picker).update(steers=[steer])
    assert "control" in picker.readouts["s"]["note"]


def test_mistakes_are_told(lm, dictionary):
    with pytest.raises(TypeError, match="LanguageModel"):
        sw.FeaturePicker(dictionary, lm)
    with pytest.raises(TypeError, match="no setting 'queries'"):
        sw.FeaturePicker(lm, dictionary, queries="sea")
    with pytest.raises(ValueError, match="mode has to be one of label"):
        sw.FeaturePicker(lm, dictionary, mode="words")
    with pytest.raises(TypeError, match="a Tensor of shape"):
        sw.FeaturePicker(lm, torch.ones(3))


def test_panel_and_picker_agree(make, make_panel, dictionary):
    """They share one component: the same recipe on the same prompt shows the same numbers."""
    recipe = dictionary[3].clamp(4) + dictionary[5].add(3)
    picker = make(recipe=recipe, prompt="The sea was calm.", chat=False)
    panel = make_panel(dictionary, recipe=recipe, prompt="The sea was calm.", chat=False)
    assert [picker.readouts[s["id"]] for s in picker.steers] == [panel.readouts[s["id"]] for s in panel.steers]
    assert picker.catalogue == panel.catalogue
    assert picker.dictionaries == panel.dictionaries
