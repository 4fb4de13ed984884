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
    "year-of-death": ([3895], [3117, 3105]),
    "handover": ([23], [22, 0]),
    "head": (["23.4", " 23.4 "], ["23.5", "4"]),
    "suspect": (["B"], ["A", "C"]),
    "where": ([15, "15"], [14, 16]),
    "secret": (["music"], ["outer space"]),
    "shuffled": ([0.5, "0,5"], [1.0, 0.9]),
    "steers": (["no"], ["yes"]),
}
NAMES = {
    "BIGGER": False,
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


def test_the_index_names_every_notebook_and_no_other():
    named = set(re.findall(r"\]\((\w+\.ipynb)\)", (NOTEBOOKS / "README.md").read_text(encoding="utf-8")))
    assert named == {path.name for path in NOTEBOOKS.glob("*.ipynb")}


def test_dictionaries_of_bigger_models_are_in_sae_lens_registry():
    spec = importlib.util.find_spec("sae_lens")
    assert spec is not None
    assert spec.origin is not None
    registry = Path(spec.origin).with_name("pretrained_saes.yaml").read_text(encoding="utf-8")
    text = "".join((NOTEBOOKS / name).read_text(encoding="utf-8") for name in LABS).replace('\\"', '"')
    named = re.findall(r'SAE\.from_pretrained\("([^"]+)", "([^"]+)"', text)
    assert named
    for release, sae in named:
        block = registry.split(f"\n{release}:\n", 1)[1].split("\n  model: ", 1)[1]
        assert block.startswith("Qwen/Qwen3-1.7B-Base\n")
        assert f"- id: {sae}\n" in block.split("\n  saes:\n", 1)[1].split("\n\n", 1)[0].split("conversion_func", 1)[0]
