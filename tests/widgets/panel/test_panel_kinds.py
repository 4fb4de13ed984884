"""Every kind of dictionary in one panel: mixed in one recipe, set from the page, run, and the same as `lm.compare`."""

import json

import pytest
import torch
from support.mfa import make_state
from support.sae import make as make_sae
from widgets.conftest import D_MODEL
from widgets.front_end import FrontEnd
from widgets.panel.test_panel import LABELS

import steerwidgets as sw

K, Q = 5, 4


@pytest.fixture
def reft():
    drawn = torch.randn(6, D_MODEL, generator=torch.Generator().manual_seed(3))
    return sw.ReFT(drawn / drawn.norm(dim=-1, keepdim=True), layer=2, labels=[f"subject {i}" for i in range(6)])


@pytest.fixture
def mfa():
    return sw.MFA(*make_state(K, D_MODEL, Q, rotation="varimax"), layer=2, labels=[f"region {k}" for k in range(K)])


@pytest.fixture
def kinds(lm, cavs, reft, mfa):
    """One dictionary of each kind, in the order of the test's steers."""
    return {
        "SAE": make_sae("jumprelu", threshold=0.1),
        "CAV": cavs,
        "ReFT": reft,
        "MFA": mfa,
        "Neuron": sw.Neurons(lm, 1),
        "Head": sw.Heads(lm, 1, mean_over=["The user asks the assistant.", "Name a city by the sea."]),
    }


@pytest.fixture
def steers(kinds):
    return [
        kinds["SAE"][7].clamp(6.0),
        kinds["SAE"][9].ablate(),
        kinds["CAV"][0].add(3.0),
        kinds["CAV"][1].ablate(),
        kinds["ReFT"][4].clamp(2.5),
        kinds["MFA"][2].pull(0.3, z={0: 4.0, 3: -2.0}),
        kinds["MFA"].mixture.pull(0.2, z=[1.0, 0.0, 0.0, 0.5]),
        kinds["MFA"].mixture.pull(0.1, z={1: {2: 3.0}, 4: {0: -2.0}}),
        kinds["Neuron"][5].set(1.5),
        kinds["Neuron"][6].scale(0.0),
        kinds["Head"][0].scale(3.0),
        kinds["Head"][1].ablate(),
        kinds["Head"][2].mean(),
    ]


@pytest.fixture
def panel(make_panel, kinds, steers):
    return make_panel(list(kinds.values()), recipe=sw.Recipe(tuple(steers)))


def same_texts(panel, lm, recipe):
    out = lm.compare(panel.prompt, recipe, max_new_tokens=8)
    shown = [[token["id"] for token in row["tokens"]] for row in panel.result["rows"]]
    assert shown == [list(out.baseline.token_ids), list(out.steered.token_ids)]
    return out


def test_all_kinds_in_one_run(panel, lm, kinds, steers):
    recipe = sw.Recipe(tuple(steers))
    assert panel.recipe == recipe
    panel.generate()
    assert panel.status == {"state": "done", "message": ""}
    assert same_texts(panel, lm, recipe).divergence is not None
    assert sw.Recipe.from_json(panel.recipe_json, dictionaries=list(kinds.values())) == recipe
    assert {feature["kind"] for feature in panel.steer_features.values()} == set(kinds)
    assert {feature["kind"] for feature in panel.catalogue["features"]} == set(kinds)
    json.dumps(panel.result, allow_nan=False)


def test_every_steer_has_a_readout(panel, lm, steers):
    measured = lm.measure(panel.prompt, sw.Recipe(tuple(steers)))
    for shown, readout, steer in zip(panel.steers, measured, steers, strict=True):
        found = panel.readouts[shown["id"]]
        assert found["ratio"] == pytest.approx(readout.ratio)
        assert (found["asked"], found["achieved"]) == pytest.approx((readout.asked, readout.achieved))
        assert (found["asked"] is not None) == steer.spec.sets_value


def test_each_kind_alone_from_the_page(make_panel, lm, kinds, steers):
    """What the page does: it picks a feature of the catalogue, an op of the feature, numbers, and asks for a run."""
    panel = make_panel(list(kinds.values()))
    page = FrontEnd(panel)
    listed = {feature["key"]: feature for feature in panel.catalogue["features"]}
    for number, steer in enumerate(steers):
        if steer.feature.key not in listed:
            assert steer.feature.label.startswith("mixture"), "only mixtures are not in the list"
            continue
        op = next(name for name in listed[steer.feature.key]["ops"] if name.rpartition(".")[2].rstrip("′") == steer.op)
        assert set(steer.parameters) == {p["name"] for p in panel.ops[op]["parameters"]}
        entry = {"id": f"s{number}", "key": steer.feature.key, "op": op, "params": dict(steer.parameters)}
        page.update(steers=[entry | {"enabled": True}])
        assert panel.recipe == sw.Recipe.of(steer)
        assert page.call("generate")["type"] == "result"
        same_texts(panel, lm, steer)
        result = panel.result["watched"]
        assert result["key"] == steer.feature.key


def test_a_slider_for_every_loading(make_panel, lm, mfa):
    """The page moves one z after the other; those left out of a message are 0."""
    panel = make_panel(mfa, recipe=mfa[1].pull(0.0))
    page = FrontEnd(panel)
    [steer] = panel.steers
    assert steer["params"] == {"a": 0.0, "z0": 0.0, "z1": 0.0, "z2": 0.0, "z3": 0.0}
    sliders = panel.ops[steer["op"]]["parameters"]
    assert [slider["name"] for slider in sliders] == list(steer["params"])
    assert all(slider["min"] <= slider["default"] <= slider["max"] for slider in sliders)
    before = panel.readouts[steer["id"]]["ratio"]
    assert before == 0
    page.update(steers=[{**steer, "params": {"a": 0.5, "z2": -6}}])
    assert panel.recipe == sw.Recipe.of(mfa[1].pull(0.5, z={2: -6}))
    page.wait(lambda: panel.readouts[steer["id"]]["ratio"], "the readout of the new strength")
    page.call("generate")
    same_texts(panel, lm, mfa[1].pull(0.5, z={2: -6}))
    page.update(steers=[{**steer, "params": {"a": 0.5, "z4": 1.0}}])
    assert "'z4' was given" in panel.readouts[steer["id"]]["note"]


def test_two_mfas_of_different_rank(make_panel, lm, mfa):
    """Both have a `pull`, with other numbers of sliders."""
    other = sw.MFA(*make_state(3, D_MODEL, 2), layer=1)
    panel = make_panel([mfa, other], recipe=mfa[0].pull(0.1, z=[1, 2, 3, 4]) + other[0].pull(0.1, z=[5, 6]))
    first, second = panel.steers
    assert first["op"] != second["op"]
    assert len(panel.ops[first["op"]]["parameters"]) == 5
    assert len(panel.ops[second["op"]]["parameters"]) == 3
    panel.generate()
    same_texts(panel, lm, mfa[0].pull(0.1, z=[1, 2, 3, 4]) + other[0].pull(0.1, z=[5, 6]))


def test_ops_of_one_name_that_mean_something_else(panel, kinds):
    """`ablate` overwrites a latent of an SAE, removes a CAV's projection, silences a head: three names on the wire."""
    names = {(steer["key"], steer["op"]) for steer in panel.steers}
    ablations = {op for key, op in names if op.rpartition(".")[2] == "ablate"}
    assert len(ablations) == 3
    formulas = {panel.ops[op]["formula"] for op in ablations}
    assert len(formulas) == 3


def test_the_snippet_of_all_kinds_runs(make_panel, lm, kinds, tmp_path):
    """Dictionaries from files, since a snippet has to load them again."""
    kinds["SAE"].save(tmp_path / "sae")
    kinds["CAV"].save(tmp_path / "cavs.safetensors")
    kinds["ReFT"].save(tmp_path / "l2")
    kinds["MFA"].save(tmp_path / "mfa.pt")
    sae, cavs = sw.SAE.load(tmp_path / "sae"), sw.CAV.load(tmp_path / "cavs.safetensors")
    reft, mfa, mlp = sw.ReFT.load(tmp_path / "l2"), sw.MFA.load(tmp_path / "mfa.pt"), sw.Neurons(lm, layer=1)
    recipe = sae[7].clamp(6.0) + cavs[LABELS[0]].add(3.0) + reft["subject 4"].clamp(2.5)
    recipe = recipe + mfa["region 2"].pull(0.3, z={0: 4, 3: -2}) + mfa.mixture.pull(0.1) + mlp[5].set(1.5)
    recipe = recipe + mfa.mixture.pull(0.1, z={1: {2: 3.0}})
    panel = make_panel([sae, cavs, reft, mfa, mlp], recipe=recipe)
    panel.generate()
    names = {"model": lm.model, "tokenizer": lm.tokenizer}
    exec(panel.snippet, names)
    assert names["recipe"] == recipe
    assert [row["text"] for row in panel.result["rows"]] == [names["out"].baseline.text, names["out"].steered.text]


def test_a_recipe_that_was_written_out(make_panel, lm, kinds, mfa):
    """In a panel without its dictionaries; the watched feature is a component, whose responsibility nobody knows."""
    recipe = mfa[2].pull(0.3, z={0: 4.0}) + kinds["SAE"][7].clamp(6.0) + kinds["Neuron"][5].set(1.5)
    panel = make_panel((), recipe=sw.Recipe.from_json(recipe.to_json(inline=True)))
    panel.generate()
    same_texts(panel, lm, recipe)
    assert panel.watched == mfa[2].key
    assert [value for row in panel.result["rows"] for value in row["watched"] if value is not None] == []
    json.dumps(panel.result, allow_nan=False)
    assert [panel.readouts[steer["id"]]["ratio"] for steer in panel.steers] == [
        readout.ratio for readout in lm.measure(panel.prompt, recipe)
    ]


def test_the_snippet_of_a_topk_sae_beside_a_direction(make_panel, lm, tmp_path):
    """What no vector can stand for is loaded again, what belongs to no dictionary is written out."""
    make_sae("topk", k=4).save(tmp_path / "sae")
    sae = sw.SAE.load(tmp_path / "sae")
    recipe = sae[7].clamp(6.0) + (sae[1].direction - sae[2].direction).add(2.0)
    panel = make_panel(sae, recipe=recipe)
    panel.generate()
    names = {"model": lm.model, "tokenizer": lm.tokenizer}
    exec(panel.snippet, names)
    assert names["recipe"] == recipe
    assert panel.result["rows"][1]["text"] == names["out"].steered.text


CONDITIONS = {
    "one": lambda k: k["SAE"][7] > 0.2,
    "both": lambda k: (k["CAV"][0] > -1) & (k["Neuron"][3] < 2),
    "any": lambda k: (k["SAE"][7] > 0.2) | (k["CAV"][1] < 0.0) & (k["Head"][0] > 0.1),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions_phases_and_fades_from_the_page(make_panel, lm, kinds, name):
    """The page writes a feature's key where a recipe has the feature; what it wrote runs, and its code runs."""
    recipe = sw.Recipe.of(kinds["ReFT"][4].add(6.0)).when(CONDITIONS[name](kinds)).fade(to=0.25, over=4)
    recipe += kinds["ReFT"][1].add(3.0).at(sw.role("user") & sw.after(3))
    recipe += kinds["ReFT"][2].add(3.0).at(sw.first(2, of="generated"))
    shown = make_panel(list(kinds.values()), recipe=recipe)
    panel = make_panel(list(kinds.values()))
    page = FrontEnd(panel)
    page.update(positions={"where": "mixed"}, steers=shown.steers)
    assert panel.recipe == recipe == shown.recipe
    assert {feature.key for steer in recipe for feature in steer.features} <= set(panel.steer_features)
    assert sw.Recipe.from_json(panel.recipe_json, list(kinds.values())) == recipe
    page.call("generate")
    same_texts(panel, lm, recipe)
    names = {"model": lm.model, "tokenizer": lm.tokenizer} | {f"{kind.lower()}s": each for kind, each in kinds.items()}
    code = [line for line in panel.snippet.splitlines() if "as this panel was given it" not in line]
    exec("\n".join(code), names)
    assert repr(names["recipe"]) == repr(recipe)
    assert panel.result["rows"][1]["text"] == names["out"].steered.text


def test_the_snippet_of_a_condition_on_a_topk_sae(make_panel, lm, tmp_path):
    """What nothing but the SAE can read is loaded again, whatever is steered by it."""
    make_sae("topk", k=4).save(tmp_path / "sae")
    sae = sw.SAE.load(tmp_path / "sae")
    recipe = sw.Recipe.of((sae[1].direction - sae[2].direction).add(2.0).when(sae[7] > 0.1))
    panel = make_panel(sae, recipe=recipe)
    panel.generate()
    names = {"model": lm.model, "tokenizer": lm.tokenizer}
    exec(panel.snippet, names)
    assert names["recipe"] == recipe
    assert panel.result["rows"][1]["text"] == names["out"].steered.text


def test_the_page_is_saved(panel, tmp_path):
    panel.generate()
    text = panel.to_html(tmp_path / "kinds.html").read_text("utf-8")
    assert "region 2" in text
    assert "subject 4" in text
