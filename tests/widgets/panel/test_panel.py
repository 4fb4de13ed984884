"""SteeringPanel through its Python API: traits, recipe, catalogue, readouts, snippet, run, Ctrl-C."""

import gc
import json
import re

import pytest
import torch
from widgets.conftest import LABELS, vectors

import steerwidgets as sw
from steerwidgets.widgets.recipe_editor.describe import readout_json

SETTINGS = {"temperature", "top_p", "top_k", "frequency_penalty", "max_new_tokens", "seed"}


def test_every_trait_holds_what_the_page_reads(panel, lm, cavs):
    assert panel.prompt
    assert panel.chat is True
    assert set(panel.settings) >= SETTINGS
    assert panel.settings["max_new_tokens"] == 8
    assert panel.positions == {"where": "all", "indices": [], "special": True}
    [steer] = panel.steers
    assert {name: steer[name] for name in ("key", "op", "params", "enabled")} == {
        "key": cavs[0].key,
        "op": "add",
        "params": {"alpha": 4.0},
        "enabled": True,
    }
    assert panel.watched == cavs[0].key
    assert panel.model_info == {
        "name": lm.name,
        "blocks": 4,
        "d_model": 32,
        "device": "cpu",
        "dtype": "float32",
        "has_chat_template": True,
        "lacks": {},
    }
    assert set(panel.steer_features) == {cavs[0].key}
    assert panel.steer_features[cavs[0].key]["label"] == LABELS[0]
    assert {"add", "add_relative", "ablate", "project", "clip"} <= set(panel.ops)
    assert panel.status == {"state": "idle", "message": ""}
    assert panel.result == {}
    assert panel.provenance["dtype"] == "float32"
    tokens = panel.prompt_tokens["tokens"]
    assert "".join(t["text"] for t in tokens if not t["template"]) == panel.prompt
    assert tokens[0]["sink"]
    assert (panel.prompt_tokens["prompt"], panel.prompt_tokens["chat"]) == (panel.prompt, True)


def test_every_synced_trait_is_plain_json(panel):
    panel.generate()
    names = [name for name in panel.keys if not name.startswith("_") and name != "layout"]
    for name in names:
        json.dumps(getattr(panel, name), allow_nan=False)


def test_a_setting_that_does_not_exist_is_refused_in_one_sentence(lm, cavs):
    for name in ("temprature", "recipes"):
        with pytest.raises((TypeError, ValueError), match=rf"^(There is|SteeringPanel has) no .*{name}.*\.$"):
            sw.SteeringPanel(lm, cavs, **{name: 1})


def test_what_is_no_feature_is_refused(lm):
    with pytest.raises(TypeError, match=r"but a Tensor of shape \[32\] was given; make one of it"):
        sw.SteeringPanel(lm, [torch.zeros(32)])


@pytest.mark.parametrize(
    ("dictionary", "sentence"),
    [
        (sw.CAV(torch.ones(1, 48), ["too wide"], layer=1), "'too wide' has 48 numbers.*made for another model"),
        (sw.CAV(vectors(1), ["too deep"], layer=40), "40"),
    ],
    ids=["width", "block"],
)
def test_a_feature_of_another_model_says_so_beside_its_slider(make_panel, cavs, dictionary, sentence):
    panel = make_panel([cavs, dictionary], recipe=dictionary[0].add(1))
    [steer] = panel.steers
    assert re.search(sentence, panel.readouts[steer["id"]]["note"])
    with pytest.raises(ValueError, match=sentence):
        panel.generate()
    panel.recipe = cavs[0].add(1)
    panel.watched = cavs[0].key
    assert panel.generate().steered.text


@pytest.mark.parametrize(
    "make",
    [
        lambda c: None,
        lambda c: c[0].add(4),
        lambda c: c[0].add(4) + c[1].clip(lo=-1) + c[2].ablate(),
        lambda c: c[0].add(4).at("prompt") + c[1].project(0.5).at("prompt"),
        lambda c: c[0].add(4).at([1, 3], special=False),
        lambda c: c[0].add(4).at("prompt") + c[1].add(2).at("generated"),
        lambda c: c[0].add(4).at("first", count=3),
        lambda c: c[0].add(4).at("last_prompt") + c[0].add(-4).at("after", count=9, special=False),
        lambda c: c[0].direction.add(4) + (c[0].direction - c[1].direction).add_relative(0.2),
        lambda c: c[0].add(4) + c[0].add(4),
    ],
)
def test_a_recipe_comes_back_as_it_was_set(panel, cavs, make):
    recipe = sw.Recipe.of(make(cavs))
    panel.recipe = recipe
    assert panel.recipe == recipe
    assert sw.Recipe.from_json(panel.recipe_json, dictionaries=[cavs]) == recipe
    assert len({steer["id"] for steer in panel.steers}) == len(recipe)


def test_differing_positions_are_mixed_until_the_page_chooses(panel, cavs):
    panel.recipe = cavs[0].add(4).at("prompt") + cavs[1].add(2).at("generated")
    assert panel.positions["where"] == "mixed"
    panel.positions = {"where": "prompt", "indices": [], "special": False}
    assert {steer.positions for steer in panel.recipe} == {sw.Positions("prompt", special=False)}


def test_a_switched_off_steer_is_left_out(panel, cavs):
    panel.recipe = cavs[0].add(4) + cavs[1].add(2)
    panel.steers = [panel.steers[0], {**panel.steers[1], "enabled": False}]
    assert panel.recipe == sw.Recipe.of(cavs[0].add(4))
    assert set(panel.readouts) == {panel.steers[0]["id"]}


def test_a_small_catalogue_is_whole(panel, cavs):
    assert panel.catalogue["complete"]
    assert panel.catalogue["total"] == 3
    assert [f["key"] for f in panel.catalogue["features"]] == [f.key for f in cavs]
    first = panel.catalogue["features"][0]
    assert (first["max_activation"], first["max_activation_of"]) == (9.0, "ten tokens")


def test_a_large_catalogue_is_searched_by_the_kernel(make_panel):
    panel = make_panel(sw.CAV(vectors(700), [f"concept {i}" for i in range(700)], layer=1))
    assert not panel.catalogue["complete"]
    assert panel.catalogue["total"] == 700
    assert len(panel.catalogue["features"]) <= 500


def test_readouts_are_those_of_measure(panel, lm, cavs):
    panel.recipe = cavs[0].add(4) + cavs[1].clip(lo=0.5) + cavs[2].project(-1)
    measured = lm.measure(panel.prompt, panel.recipe)
    shown = [panel.readouts[steer["id"]] for steer in panel.steers]
    assert shown == [readout_json(readout) for readout in measured]
    panel.prompt = "Another prompt, a little longer than the one before."
    again = [panel.readouts[steer["id"]]["ratio"] for steer in panel.steers]
    assert again == [readout.ratio for readout in lm.measure(panel.prompt, panel.recipe)]
    assert again != [readout["ratio"] for readout in shown]


def test_an_op_of_which_the_numbers_are_wrong_says_so_beside_its_slider(panel):
    [steer] = panel.steers
    panel.steers = [{**steer, "params": {"alpha": None}}]
    assert "alpha has to be a finite number" in panel.readouts[steer["id"]]["note"]
    panel.steers = [{**steer, "params": {"alpha": 2.0}}]
    assert panel.readouts[steer["id"]]["ratio"] > 0


@pytest.mark.parametrize(
    "positions", [sw.Positions(), sw.Positions("generated", special=False), sw.Positions("indices", (2, 5))]
)
def test_the_snippet_runs_and_gives_the_same_texts(panel, lm, cavs, positions):
    panel.recipe = (cavs[0].add(4) + cavs[1].project(0.5)).at(positions)
    panel.prompt = "Quotes ' and \" and\nlines \\ 🙂"
    panel.settings = {**panel.settings, "seed": 3, "temperature": 1.3}
    panel.generate()
    names = {"model": lm.model, "tokenizer": lm.tokenizer}
    exec(panel.snippet, names)
    assert [row["text"] for row in panel.result["rows"]] == [names["out"].baseline.text, names["out"].steered.text]


def test_generate_shows_what_compare_gives(panel, lm, cavs):
    shown = panel.generate()
    plain = lm.compare(panel.prompt, cavs[0].add(4), max_new_tokens=8, watch=[cavs[0]])
    assert plain.divergence is not None
    result = panel.result
    for row, expected in zip(result["rows"], (plain.baseline, plain.steered), strict=True):
        assert [token["id"] for token in row["tokens"]] == list(expected.token_ids)
        assert row["text"] == expected.text
        assert row["watched"] == pytest.approx([values[0] for values in expected.watched], abs=1e-5)
        assert row["ended"] == expected.ended
    assert result["divergence"] == plain.divergence
    assert result["kl"] == pytest.approx(plain.kl, abs=1e-5)
    assert result["surprise"] == pytest.approx(plain.surprise, abs=1e-5)
    assert result["prompt"] == panel.prompt
    assert json.loads(result["recipe"]) == json.loads(panel.recipe_json)
    assert result["watched"] == {
        "key": cavs[0].key,
        "label": LABELS[0],
        "domain": 9.0,
        "domain_source": "maximum over ten tokens",
        "zero": None,
        "zero_of": "not known: no texts without it were read",
    }
    assert panel.status["state"] == "done"
    assert panel.comparison is shown
    assert shown.steered.text == plain.steered.text


def test_colours_end_at_the_99_5th_percentile_where_it_is_known(make_panel, cavs):
    maxima, p995 = torch.tensor([9.0, 8.0, torch.nan]), torch.tensor([6.5, torch.nan, torch.nan])
    cavs.statistics = sw.FeatureStatistics(maxima, p995=p995, corpus="C4", tokens=1000)
    ends = []
    for index in range(3):
        panel = make_panel(cavs, recipe=cavs[index].add(1), max_new_tokens=2)
        panel.generate()
        ends.append((panel.result["watched"]["domain"], panel.result["watched"]["domain_source"]))
    assert ends[0] == (6.5, "99.5th percentile over C4, 1,000 tokens")
    assert ends[1] == (8.0, "maximum over C4, 1,000 tokens")
    shown = [abs(value) for row in panel.result["rows"] for value in row["watched"]]
    assert ends[2] == (max(shown), "largest in these texts")
    assert panel.steer_features[cavs[2].key]["p995_activation"] is None


def test_an_empty_recipe_gives_the_same_text_twice(panel):
    panel.recipe = None
    panel.generate()
    baseline, steered = panel.result["rows"]
    assert baseline["tokens"] == steered["tokens"]
    assert panel.result["divergence"] is None
    assert max(panel.result["kl"]) <= panel.result["kl_floor"]


def test_steering_that_overflows_is_told_and_leaves_what_can_be_shown(panel, cavs, tmp_path):
    panel.recipe = cavs[0].add(3e38)
    with pytest.raises(ValueError, match=r"NaN or infinite under 'the sea and sailing'\.add\("):
        panel.generate()
    json.dumps(panel.result, allow_nan=False)
    json.dumps(panel.readouts, allow_nan=False)
    panel.to_html(tmp_path / "overflow.html")


def test_an_empty_prompt_is_one_sentence_and_leaves_the_last_result(panel):
    panel.generate()
    before = panel.result
    panel.prompt = "  \n"
    with pytest.raises(ValueError, match="The prompt is empty"):
        panel.generate()
    assert panel.result == before
    assert panel.status["state"] == "error"
    assert panel.status["message"].startswith("The prompt is empty")


class InterruptAtForward:
    """What Ctrl-C does: KeyboardInterrupt in the middle of a forward pass."""

    def __init__(self, at: int) -> None:
        self.at = at

    def __call__(self, *_args: object) -> None:
        self.at -= 1
        if self.at == 0:
            raise KeyboardInterrupt


def test_ctrl_c_keeps_the_text_so_far(panel, lm, hooks, lock_is_free):
    whole = panel.generate()
    before = hooks()
    handle = lm.model.model.layers[2].register_forward_hook(InterruptAtForward(6))
    with pytest.raises(KeyboardInterrupt):
        panel.generate()
    handle.remove()
    rows = panel.result["rows"]
    assert [[t["id"] for t in row["tokens"]] for row in rows] == [
        list(whole.baseline.token_ids[:5]),
        list(whole.steered.token_ids[:5]),
    ]
    assert [row["ended"] for row in rows] == ["stopped", "stopped"]
    assert [len(row["watched"]) for row in rows] == [5, 5]
    assert panel.status["state"] == "stopped"
    assert hooks() == before
    assert lock_is_free()
    assert panel.generate().steered.text == whole.steered.text


def test_an_exception_in_the_model_leaves_no_hook_and_the_lock_free(panel, lm, hooks, lock_is_free):
    def fail(*_args):
        raise RuntimeError("a user's hook went wrong")

    before = hooks()
    handle = lm.model.model.layers[2].register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="went wrong"):
        panel.generate()
    handle.remove()
    assert "a user's hook went wrong" in panel.status["message"]
    assert hooks() == before
    assert lock_is_free()
    panel.generate()
    assert panel.status["state"] == "done"


def test_the_users_own_hooks_stay(panel, lm):
    seen = []
    handle = lm.model.model.layers[0].register_forward_hook(lambda *_: seen.append(1))
    panel.generate()
    before = len(seen)
    lm.residuals("text", [sw.Site(0)])
    handle.remove()
    assert len(seen) > before > 0


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_panel_that_could_not_be_made_leaves_without_a_word(lm, cavs):
    for arguments in ({"temperature": -1}, {"features": [1]}, {"nonsense": 1}):
        with pytest.raises((TypeError, ValueError)):
            sw.SteeringPanel(lm, arguments.pop("features", cavs), **arguments)
        gc.collect()


def test_a_setting_is_set_by_the_name_that_the_panel_was_made_with(make_panel):
    panel = make_panel(max_new_tokens=5)
    assert (panel.max_new_tokens, panel.seed) == (5, 0)
    panel.max_new_tokens, panel.temperature = 3, 0
    assert panel.settings["max_new_tokens"] == 3
    panel.generate()
    assert len(panel.result["rows"][0]["tokens"]) == 3
    with pytest.raises(ValueError, match="max_new_tokens"):
        panel.max_new_tokens = 0
    assert panel.max_new_tokens == 3
    with pytest.raises(AttributeError, match="no attribute 'max_tokens'"):
        _ = panel.max_tokens
