"""The panel's tabs, forks, conversation and positions in JupyterLab, by accessible names and by keys."""

import json
import re

import torch
from e2e.conftest import FOOD, SEA
from e2e.lab import PATIENCE
from playwright.sync_api import expect

import steerwidgets as sw


def tab(panel, name):
    return panel.root.get_by_role("tab", name=name)


def test_what_a_recipe_does_to_the_next_token_follows_it(open_panel, picture):
    notebook, panel = open_panel()
    rises = panel.root.get_by_role("table", name="Rises")
    expect(rises.get_by_role("row")).to_have_count(9)
    before = rises.inner_text()
    panel.set(f"{SEA} strength", -9)
    expect(rises).not_to_have_text(before)
    found = json.loads(
        notebook.printed(
            "d = lm.logit_difference(panel.prompt, panel.recipe, 8, least=1e-3)\n"
            "print(json.dumps([token.text for token, _ in d.promoted]))"
        )
    )
    said = [re.compile(re.escape(text.strip())) for text in found]
    expect(rises.get_by_role("rowheader")).to_have_text(said)
    picture(notebook.page, "next-token")
    panel.root.get_by_role("combobox", name="Positions to steer").select_option("generated")
    expect(panel.root.get_by_text("Nothing of this recipe acts on the prompt")).to_be_visible()


def test_runs_are_kept_over_a_reload_and_compared(open_panel, picture):
    notebook, panel = open_panel(anew=True)
    panel.run()
    panel.set("Seed", 3)
    panel.run()
    tab(panel, "Δ logits").focus()
    notebook.page.keyboard.press("End")
    expect(tab(panel, "History")).to_be_focused()
    expect(tab(panel, "History")).to_have_attribute("aria-selected", "true")
    name = panel.root.get_by_role("textbox", name="Name of run 1")
    name.fill("first try")
    name.press("Enter")
    panel.button("Pin first try").click()
    expect(panel.button("Pin first try")).to_have_attribute("aria-pressed", "true")
    for run in ("first try", "Run 2"):
        panel.root.get_by_role("checkbox", name=f"Compare {run}").check()
    compared = panel.root.get_by_role("region", name="Comparison of runs")
    expect(compared.get_by_text(re.compile("Texts part at token"))).to_be_visible()
    picture(notebook.page, "history")
    notebook.save()
    notebook.page.reload()
    again = notebook.panel()
    again.generate.wait_for(timeout=2 * PATIENCE)
    expect(again.root.get_by_role("textbox", name="Name of run 1")).to_have_value("first try")
    expect(again.root.get_by_role("region", name="Comparison of runs")).to_be_visible()
    again.button(f"Remove {SEA}").click()
    again.button("Use recipe of first try").click()
    expect(again.slider(SEA)).to_have_value("4")


def test_a_sweep_from_a_steer_to_the_mark_on_its_slider(open_panel, picture):
    notebook, panel = open_panel()
    panel.button(f"Sweep {SEA}").click()
    expect(panel.root.get_by_text(re.compile("about .* in one batch"))).to_be_visible()
    for name, value in (("Sweep from", 0), ("Sweep to", 900), ("Number of strengths", 4), ("Tokens of a sweep", 12)):
        panel.set(name, value)
    panel.button("Run sweep").click()
    rows = panel.root.get_by_role("table", name="Strengths").get_by_role("row")
    expect(rows).to_have_count(5)
    expect(panel.button("Use strength 300")).to_be_visible()
    expect(panel.recipe.get_by_text("breaks near")).to_be_visible()
    picture(notebook.page, "sweep")
    panel.button("Use strength 300").press("Enter")
    expect(panel.number(f"{SEA} strength")).to_have_value("300")
    assert notebook.errors() == []


def test_a_text_goes_on_from_another_token_by_keys(open_panel):
    notebook, panel = open_panel()
    panel.run()
    before = panel.tokens("Steered").all_text_contents()
    baseline = panel.text("Baseline")
    panel.tokens("Steered").nth(2).click()
    panel.root.get_by_role("button", name=re.compile("^Alternatives to ")).press("Enter")
    choices = panel.root.get_by_role("group", name="Alternatives").get_by_role("button")
    expect(choices).to_have_count(10)
    other = next(each for each in choices.all() if each.get_attribute("aria-disabled") != "true")
    other.press("Enter")
    expect(panel.column("Steered").get_by_text("token 3 chosen")).to_be_visible()
    after = panel.tokens("Steered").all_text_contents()
    assert (after[:2], after[2] != before[2]) == (before[:2], True)
    assert panel.text("Baseline") == baseline
    assert notebook.errors() == []


def test_rows_beside_and_a_conversation(open_panel, picture):
    notebook, panel = open_panel()
    panel.button("More rows").click()
    panel.root.get_by_role("textbox", name="Asked in words").fill("Talk about the sea.")
    panel.set("Random rows", 1)
    panel.run()
    for name in ("Baseline", "Steered", "Prompted", "Random 1"):
        assert panel.tokens(name).count() == 24
    steered = json.loads(notebook.printed("print(json.dumps(panel.result['rows'][1]['text']))"))
    panel.button("Reply to steered").click()
    turns = panel.root.get_by_role("list", name="Turns")
    expect(turns.get_by_role("listitem")).to_have_count(2)
    expect(panel.prompt).to_have_value("")
    panel.prompt.fill("And then?")
    panel.run()
    assert json.loads(notebook.printed("print(json.dumps(panel.conversation[1]['content']))")) == steered
    panel.set(f"{SEA} strength", 7)
    expect(turns.get_by_text("another recipe's")).to_be_visible()
    expect(panel.root.get_by_text("The recipe has changed: 1 answer above was")).to_be_visible()
    picture(notebook.page, "conversation")
    panel.button("Edit turn 1").press("Enter")
    expect(panel.prompt).to_have_value("Hello there")
    expect(turns).to_have_count(0)
    assert notebook.errors() == []


def test_positions_are_painted_by_drag_and_by_keys(open_panel):
    notebook, panel = open_panel()
    pieces = panel.root.get_by_role("group", name="Prompt tokens").get_by_role("button")
    expect(pieces.first).to_have_accessible_name(re.compile("attention sink, steered$"))
    first, last = pieces.nth(1).bounding_box(), pieces.nth(3).bounding_box()
    mouse = notebook.page.mouse
    mouse.move(first["x"] + 3, first["y"] + 5)
    mouse.down()
    mouse.move(last["x"] + 3, last["y"] + 5, steps=12)
    mouse.up()
    for index in (1, 2, 3):
        expect(pieces.nth(index)).to_have_attribute("aria-pressed", "false")
    pieces.nth(4).focus()
    notebook.page.keyboard.press("Shift+ArrowLeft")
    expect(pieces.nth(3)).to_have_attribute("aria-pressed", "true")
    expect(pieces.nth(3)).to_be_focused()
    panel.root.get_by_role("combobox", name="Positions to steer").select_option("all")
    panel.root.get_by_role("checkbox", name="Special and template tokens").uncheck()
    expect(pieces.first).to_have_accessible_name(re.compile("excluded$"))


def test_a_recipe_is_pasted_kept_as_a_preset_and_loaded(open_panel):
    notebook, panel = open_panel()
    notebook.printed("import os, tempfile; os.environ['STEERWIDGETS_DATA'] = tempfile.mkdtemp()")
    recipe = notebook.printed("print(sw.Recipe.of(cavs[1].add(6)).to_json())")
    panel.button("Recipe JSON").click()
    box = panel.root.get_by_role("textbox", name="Recipe to import")
    box.fill(recipe[: len(recipe) // 2])
    panel.button("Import").click()
    expect(panel.alert).to_contain_text("not whole JSON")
    expect(panel.slider(SEA)).to_have_value("4")
    box.fill(recipe)
    panel.button("Import").press("Enter")
    expect(panel.slider(FOOD)).to_have_value("6")
    panel.root.get_by_role("textbox", name="Name of the preset").fill("food")
    panel.button("Save preset").click()
    panel.button(f"Remove {FOOD}").click()
    panel.root.get_by_role("combobox", name="Preset").select_option("food")
    panel.button("Load preset").click()
    expect(panel.slider(FOOD)).to_have_value("6")
    assert notebook.errors() == []


def test_exported_runs_are_pasted_and_read_from_a_file(open_panel, tmp_path):
    notebook, panel = open_panel()
    notebook.printed("other = sw.SteeringPanel(lm, cavs, recipe=cavs[1].add(6), max_new_tokens=4)")
    runs = notebook.printed("_ = other.generate(), other.generate(); print(other.history.to_json())")
    tab(panel, "History").click()
    panel.root.get_by_text("Import runs").press("Enter")
    box = panel.root.get_by_role("textbox", name="Runs to import")
    box.fill(runs[: len(runs) // 2])
    panel.button("Import").click()
    expect(panel.alert).to_contain_text("not whole JSON")
    box.fill(runs)
    panel.button("Import").press("Enter")
    listed = panel.root.get_by_role("list", name="Runs").get_by_role("listitem")
    expect(listed).to_have_count(2)
    panel.button("Forget Run 2").click()
    expect(listed).to_have_count(1)
    (tmp_path / "runs.json").write_text(runs, encoding="utf-8")
    panel.root.get_by_label("Runs file").set_input_files(tmp_path / "runs.json")
    expect(listed).to_have_count(2)
    expect(panel.root.get_by_text("1 of 2 runs were added; 1 were here already.")).to_be_visible()
    panel.button("Use recipe of Run 1").click()
    expect(panel.slider(FOOD)).to_have_value("6")


def test_generate_stands_above_the_fold_at_600_px(open_panel):
    _, panel = open_panel(viewport={"width": 600, "height": 1000})
    top = panel.root.bounding_box()["y"]
    button = panel.generate.bounding_box()
    assert button["y"] + button["height"] - top < 400
    features = panel.root.get_by_role("region", name="Features").bounding_box()
    assert button["y"] < features["y"]


def test_a_saved_page_shows_the_last_state_of_each_tab(fresh, open_saved, tmp_path):
    torch.manual_seed(1)
    cavs = sw.CAV(torch.randn(2, 32), ["the sea", "food"], layer=1)
    panel = sw.SteeringPanel(fresh("llama"), cavs, recipe=cavs[0].add(4), max_new_tokens=8)
    panel.generate()
    panel.logit_difference()
    panel.sweep(strengths=(0, 5, 900), tokens=6)
    panel.generate()
    panel.history.compare(0, 1)
    page = open_saved(panel.to_html(tmp_path / "page.html"))
    panel.close()
    expect(page.get_by_role("table", name="Rises").get_by_role("row")).to_have_count(9)
    page.get_by_role("tab", name="Sweep").click()
    expect(page.get_by_role("table", name="Strengths").get_by_role("row")).to_have_count(4)
    page.get_by_role("tab", name="History").click()
    expect(page.get_by_role("list", name="Runs").get_by_role("listitem")).to_have_count(2)
    expect(page.get_by_text("The texts are the same.")).to_be_visible()
