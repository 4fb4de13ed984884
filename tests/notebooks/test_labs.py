"""The labs: their checks take right answers and refuse wrong ones, and the bigger models they name exist."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from pathlib import Path

import pytest

import steerwidgets as sw

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
LABS = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb") if "sw.Lab(" in path.read_text(encoding="utf-8"))
ANSWERS = {
    "pentagon": (["72", 70.0], [90, 36]),
    "one-subject": (["SAE features"], ["neurons", "both the same"]),
    "handover": ([23], [22, 0]),
    "head": (["23.4", " 23.4 "], ["23.5", "4"]),
    "suspect": (["B"], ["A", "C"]),
    "last-digit": ([0, "0.0"], [24.6, 18.3]),
    "where-from": (["no row below it shows a difference"], ["its row has the largest difference of all"]),
    "secret": (["music"], ["outer space"]),
    "shuffled": ([0.5, "0,5"], [1.0, 0.9]),
    "persona-by-chance": ([20], [6, 0.05]),
    "arrives": ([27], [9, 26]),
    "hook": ([63], [60, 3]),
    "sum": ([0.707, "0,71"], [1, 0.5]),
    "clamp": ([75], [80, 5]),
    "added": ([43], [40, 3]),
    "pull": ([8], [12, 0.4]),
}
NAMES = {
    "BIGGER": False,
    "ORIGINAL": False,
    "POOL": ["music", "outer space"],
    "secret": "music",
    "letters": dict(zip("ABC", "xyz", strict=True)),
}


class Suspect:
    """What the secret's cell has made."""

    class feature:
        site = sw.Site(15)


def calls(name, verb):
    """The calls of `lab.verb` in a notebook, by key."""
    cells = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))["cells"]
    found = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            source = re.sub(r"^(\s*)%.*$", r"\1pass", "".join(cell["source"]), flags=re.MULTILINE)
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == f"lab.{verb}":
                    keys = [each.value.value for each in node.keywords if each.arg == "key"]
                    assert keys, f"{name}: a question without a key: {ast.unparse(node)[:80]}"
                    found[keys[0]] = node
    return found


@pytest.mark.parametrize("name", LABS)
def test_questions_have_keys_of_their_own_and_answers_to_reveal(name):
    asked = [(verb, calls(name, verb)) for verb in ("ask", "predict", "check")]
    keys = [key for _, found in asked for key in found]
    assert len(keys) == len(set(keys)) >= 5
    assert len(asked[2][1]) >= 1
    told = [
        node for _, found in asked for node in found.values() if any(each.arg == "answer" for each in node.keywords)
    ]
    assert len(told) >= len(keys) / 2


@pytest.mark.parametrize("name", LABS)
def test_checks_take_right_answers_and_refuse_wrong_ones(name, tmp_path):
    lab = sw.Lab(name, student="Ada", folder=tmp_path)
    letters = {"A": "plain", "B": "suspect", "C": "placebo"}
    names = NAMES | {"lab": lab, "suspect": Suspect, "letters": letters}
    for key, node in calls(name, "check").items():
        right, wrong = ANSWERS[key]
        for each in wrong:
            assert eval(ast.unparse(node), names).answer(each) is False, (key, each)
        for at, each in enumerate(right):
            other = sw.Lab(name, student=f"Ada {at}", folder=tmp_path)
            assert eval(ast.unparse(node), names | {"lab": other}).answer(each) is True, (key, each)


@pytest.mark.parametrize("name", LABS)
def test_the_first_code_cell_installs_and_the_index_names_the_lab(name):
    cells = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))["cells"]
    first = "".join(next(cell for cell in cells if cell["cell_type"] == "code")["source"])
    for needed in ('STUDENT = ""', "BIGGER = False", "except ModuleNotFoundError", "%pip install", "lab = sw.Lab("):
        assert needed in first
    assert f"]({name}) **lab**" in (NOTEBOOKS / "README.md").read_text(encoding="utf-8")
    assert all(cell.get("outputs", []) == [] for cell in cells)


@pytest.mark.parametrize(
    "name", ["locate_and_steer.ipynb", "mfa_geometry.ipynb", "reft_r1.ipynb", "sae_steering.ipynb"]
)
def test_labs_after_a_tutorial_keep_its_model_behind_a_switch(name):
    cells = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert "ORIGINAL = False" in sources[0]
    assert any(re.search(r"if ORIGINAL:.*from_pretrained", source, re.DOTALL) for source in sources[1:])


@pytest.mark.parametrize("name", LABS)
def test_every_lab_has_a_control_and_asks_about_it(name):
    text = (NOTEBOOKS / name).read_text(encoding="utf-8")
    assert re.search("control|placebo|shuffled", text)
    assert "TODO" not in text


def test_the_index_names_every_notebook_and_no_other():
    named = set(re.findall(r"\]\((\w+\.ipynb)\)", (NOTEBOOKS / "README.md").read_text(encoding="utf-8")))
    assert named == {path.name for path in NOTEBOOKS.glob("*.ipynb")}


@pytest.mark.parametrize(
    ("model", "release", "sae", "labs"),
    [
        ("Qwen/Qwen3-1.7B-Base", "qwen-scope-3-1.7b-base-w32k-l50", "layer14", 3),
        ("gemma-2-2b", "gemma-scope-2b-pt-res", "layer_21/width_65k/average_l0_20", 1),
        ("gemma-2-9b-it", "gemma-scope-9b-it-res-canonical", "layer_{layer}/width_131k/canonical", 1),
    ],
)
def test_dictionaries_of_bigger_models_are_in_sae_lens_registry(model, release, sae, labs):
    spec = importlib.util.find_spec("sae_lens")
    assert spec is not None
    assert spec.origin is not None
    registry = Path(spec.origin).with_name("pretrained_saes.yaml").read_text(encoding="utf-8")
    told = "".join((NOTEBOOKS / name).read_text(encoding="utf-8") for name in LABS).replace('\\"', '"')
    assert (told.count(f'"{release}"'), told.count(f'"{sae}"')) == (labs, labs)
    block = registry.split(f"\n{release}:\n", 1)[1].split("\n  model: ", 1)[1]
    assert block.startswith(f"{model}\n")
    ids = block.split("\n  saes:\n", 1)[1].split("\n\n", 1)[0].split("conversion_func", 1)[0]
    for layer in (20, 31):
        assert f"- id: {sae.format(layer=layer)}\n" in ids


def test_no_other_dictionary_is_named():
    text = "".join((NOTEBOOKS / name).read_text(encoding="utf-8") for name in LABS)
    assert text.count("SAE.from_pretrained(") == 5
