"""Presets, and recipes that are pasted or read from a file; whatever comes, nothing is lost."""

import json

import pytest

import steerwidgets as sw


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("STEERWIDGETS_DATA", str(tmp_path / "data"))


def state(panel):
    return panel.recipe, panel.settings, panel.chat, panel.system, panel.beside, panel.prompt


def test_a_preset_comes_back_in_another_panel(panel, make_panel, cavs):
    panel.recipe = cavs[0].add(7) + cavs[1].project(0.5).at("generated")
    panel.settings = {**panel.settings, "temperature": 1.1}
    panel.system, panel.chat, panel.beside = "Be brief.", True, {"asked": "Talk.", "random": 2}
    panel.save_preset("calm/../sea ☕")
    other = make_panel(prompt="My own prompt", chat=False)
    assert other.presets == ["calm/../sea ☕"]
    assert other.load("calm/../sea ☕") == panel.recipe
    assert state(other)[:5] == state(panel)[:5]
    assert other.prompt == "My own prompt"
    other.remove_preset("calm/../sea ☕")
    assert other.presets == []


def test_a_name_never_leaves_the_folder(panel, tmp_path):
    panel.save_preset("../../escaped")
    assert [path.parent.name for path in tmp_path.rglob("*.json")] == ["presets"]


@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize("inline", [False, True])
def test_a_recipe_is_imported_as_text_and_from_a_file(panel, page, cavs, tmp_path, inline, newer):
    recipe = cavs[2].add(3).at("prompt") + cavs[1].ablate()
    if newer:  # with a condition or a fade it is of the second format
        recipe = recipe.when(cavs[0] > 0).fade(over=4)
    text = recipe.to_json(inline=inline, indent=2)
    assert page.call("preset", do="import", text=f"\n {text}\n")["type"] == "result"
    assert len(panel.recipe) == 2
    panel.recipe = None
    (tmp_path / "mine.json").write_text(text, "utf-8")
    panel.load(tmp_path / "mine.json")
    again = panel.recipe
    panel.recipe = None
    assert panel.load(str(tmp_path / "mine.json")) == again
    assert panel.generate().steered.text


def preset_text(panel):
    panel.save_preset("one")
    from steerwidgets.widgets.panel import presets

    return presets.text_of("one")


DAMAGES = {
    "half": (lambda v: json.dumps(v)[: len(json.dumps(v)) // 2], "not whole JSON"),
    "another version": (
        lambda v: json.dumps(v | {"format": "steerwidgets.preset/2"}),
        "of another version, 'steerwidgets.preset/2'",
    ),
    "no format": (lambda v: json.dumps({"recipe": {}}), "its format should be"),
    "a list": (lambda v: "[1, 2]", "its format should be"),
    "runs": (lambda v: json.dumps({"format": "steerwidgets.runs/1", "runs": []}), "a history of runs, not a recipe"),
    "settings": (lambda v: json.dumps(v | {"settings": {"temperature": -1}}), "temperature has to be"),
    "unknown setting": (lambda v: json.dumps(v | {"settings": {"heat": 1}}), "no sampling setting 'heat'"),
    "chat": (lambda v: json.dumps(v | {"chat": "yes"}), "chat should be true or false"),
    "beside": (lambda v: json.dumps(v | {"beside": {"random": 99}}), "random should be a whole number"),
    "recipe": (
        lambda v: json.dumps(v | {"recipe": {"format": "steerwidgets.recipe/1", "steers": [{}]}}),
        "recipe is damaged",
    ),
    "no recipe": (lambda v: json.dumps({k: x for k, x in v.items() if k != "recipe"}), "not a recipe"),
    "deep": (lambda v: "[" * 500 + "]" * 500, "nested deeper"),
    "empty": (lambda v: "", "not whole JSON"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_one_sentence_and_nothing_is_lost(panel, page, damage):
    spoil, sentence = DAMAGES[damage]
    text = spoil(json.loads(preset_text(panel)))
    panel.settings = {**panel.settings, "seed": 5}
    panel.generate()
    before, result = state(panel), panel.result
    ended = page.call("preset", do="import", text=text)
    assert ended["type"] == "error"
    assert sentence in ended["error"]["message"]
    assert "Traceback" not in ended["error"]["message"]
    assert (state(panel), panel.result) == (before, result)
    assert panel.generate().steered.text


def test_a_recipe_of_a_dictionary_that_is_not_here_says_so(panel):
    import torch

    stranger = sw.CAV(torch.randn(1, 32, generator=torch.Generator().manual_seed(9)), ["strange"], layer=1)
    before = panel.recipe
    with pytest.raises(ValueError, match="dictionar"):
        panel.load(sw.Recipe.of(stranger[0].add(3)).to_json())
    assert panel.recipe == before


@pytest.mark.parametrize(
    ("ask", "error", "sentence"),
    [
        (lambda p: p.load("nobody"), KeyError, "no preset 'nobody'; none was saved yet"),
        (lambda p: p.remove_preset("nobody"), KeyError, "no preset 'nobody'"),
        (lambda p: p.save_preset("  "), ValueError, "name of a preset has 1 to 60 characters"),
        (lambda p: p.save_preset("x" * 61), ValueError, "name of a preset has 1 to 60 characters"),
        (lambda p: p.save_preset(3), ValueError, "name of a preset"),
        (lambda p: p.load(3), TypeError, "panel.load takes"),
    ],
)
def test_what_there_is_not_is_one_sentence(panel, ask, error, sentence):
    with pytest.raises(error, match=sentence):
        ask(panel)


def test_a_page_gives_text_and_never_a_path(panel, page, tmp_path, cavs):
    secret = tmp_path / "mine.json"
    secret.write_text(sw.Recipe.of(cavs[1].add(3)).to_json())
    ended = page.call("preset", do="import", text=str(secret))
    assert ended["type"] == "error"
    assert page.call("preset", do="burn")["type"] == "error"


def test_without_a_home_there_are_none(make_panel, monkeypatch):
    monkeypatch.setattr(
        "steerwidgets.widgets.panel.presets.data_dir", lambda: (_ for _ in ()).throw(OSError("no home"))
    )
    assert make_panel().presets == []
