"""The runs that a panel remembers: kept, named, pinned, compared, taken back, written to a file."""

import itertools
import json
import random
import re

import pytest

import steerwidgets as sw
from steerwidgets.generation.comparison import shared_tokens
from steerwidgets.widgets.panel.history import KEPT


@pytest.fixture
def with_runs(panel, cavs):
    """A panel with three runs of different strengths."""
    for alpha in (0, 4, 9):
        panel.recipe = cavs[0].add(alpha)
        panel.generate()
    return panel


def test_every_run_is_kept_with_what_made_it(with_runs, cavs):
    history = with_runs.history
    assert len(history) == 3
    last = history[-1]
    result = with_runs.result
    assert dict(last.texts) == {row["name"]: row["text"] for row in result["rows"]}
    assert last.kl == pytest.approx(result["kl"], abs=1e-6)
    assert (last.prompt, dict(last.settings)) == (with_runs.prompt, with_runs.settings)
    assert with_runs.read_recipe(last.recipe) == sw.Recipe.of(cavs[0].add(9))
    assert [run.title for run in history] == ["Run 1", "Run 2", "Run 3"]
    assert "Run 3" in repr(history)


def test_the_traits_hold_it_all(with_runs, tmp_path):
    """What a page that is loaded again, a saved notebook and a saved page get."""
    state = json.loads(json.dumps(with_runs.get_state(), default=str))
    assert [run["number"] for run in state["runs"]] == [1, 2, 3]
    assert '"runs"' in with_runs.to_html(tmp_path / "page.html").read_text("utf-8")


def test_the_oldest_goes_that_is_not_pinned(panel):
    panel.settings = {**panel.settings, "max_new_tokens": 1}
    panel.generate()
    panel.history.pin(0)
    for _ in range(KEPT + 1):
        panel.generate()
    assert len(panel.history) == KEPT
    assert [run.number for run in panel.history][:2] == [1, 4]
    assert panel.history[-1].number == KEPT + 2


def test_not_every_place_can_be_pinned(panel):
    panel.settings = {**panel.settings, "max_new_tokens": 1}
    for _ in range(KEPT):
        panel.generate()
    for place in range(KEPT - 1):
        panel.history.pin(place)
    with pytest.raises(ValueError, match=r"^A panel keeps 20 runs, and 19 of them are pinned already.*first\.$"):
        panel.history.pin(KEPT - 1)
    panel.history.pin(0, pinned=False)
    panel.history.pin(KEPT - 1)
    assert sum(run.pinned for run in panel.history) == KEPT - 1


def test_names_find_runs_again(with_runs):
    history = with_runs.history
    history.name(1, "  gentle ")
    assert history[1].name == "gentle"
    history.name("gentle", "")
    assert history[1].title == "Run 2"
    with pytest.raises(TypeError, match="name of a run is a text"):
        history.name(1, 3)


def test_a_recipe_is_taken_back(with_runs, cavs):
    with_runs.recipe = None
    assert with_runs.history.take_back("Run 2") == sw.Recipe.of(cavs[0].add(4))
    assert with_runs.recipe == sw.Recipe.of(cavs[0].add(4))
    assert len(with_runs.history) == 3


def test_a_recipe_of_features_that_no_dictionary_lists_is_taken_back(panel, cavs):
    recipe = (cavs[0].direction - cavs[1].direction).add(3) + cavs[2].clip(lo=0.5).at("generated")
    panel.recipe = recipe
    panel.generate()
    panel.recipe = None
    assert panel.history.take_back(-1) == recipe


def test_two_runs_are_compared_token_by_token(with_runs):
    first, second = with_runs.runs[1], with_runs.runs[2]
    ids = [run["rows"][1]["ids"] for run in (first, second)]
    found = with_runs.history.compare(1, 2)
    assert [len(each) for each in found.same] == [len(each) for each in ids]
    shared = [
        [token for token, same in zip(text, marks, strict=True) if same]
        for text, marks in zip(ids, found.same, strict=True)
    ]
    assert shared[0] == shared[1]
    differing = [i for i, (a, b) in enumerate(zip(*ids, strict=True)) if a != b]
    assert found.divergence == differing[0]
    assert with_runs.compared["runs"] == [first["id"], second["id"]]
    alike = with_runs.history.compare(1, 2, rows=("baseline", "baseline"))
    assert alike.divergence is None
    assert all(alike.same[0])


@pytest.mark.parametrize("seed", range(20))
def test_shared_tokens_are_a_longest_common_subsequence(seed):
    draw = random.Random(seed)
    first, second = ([draw.randrange(5) for _ in range(draw.randrange(14))] for _ in range(2))
    longest = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            longest[i + 1][j + 1] = longest[i][j] + 1 if a == b else max(longest[i][j + 1], longest[i + 1][j])
    pairs = shared_tokens(first, second)
    assert all(first[i] == second[j] for i, j in pairs)
    assert all(a < c and b < d for (a, b), (c, d) in itertools.pairwise(pairs))
    assert len(pairs) == longest[-1][-1]


def test_what_is_compared_goes_with_its_run(with_runs):
    with_runs.history.compare(0, 1)
    with_runs.history.remove(2)
    assert with_runs.compared
    with_runs.history.remove(0)
    assert with_runs.compared == {}
    assert [run.number for run in with_runs.history] == [2]


def test_it_is_written_to_a_file(with_runs, tmp_path):
    written = json.loads(with_runs.history.save(tmp_path / "runs.json").read_text("utf-8"))
    assert written["format"] == "steerwidgets.runs/1"
    assert written["provenance"]["dtype"] == "float32"
    assert written["runs"] == json.loads(json.dumps(with_runs.runs))


def test_a_file_is_read_back_into_another_panel(with_runs, lm, cavs, tmp_path):
    with_runs.history.name(1, "gentle")
    with_runs.history.pin(1)
    path = with_runs.history.save(tmp_path / "runs.json")
    other = sw.SteeringPanel(lm, cavs, max_new_tokens=2)
    other.generate()
    taken = other.history.load(path)
    assert [run.title for run in other.history] == ["Run 4", "gentle", "Run 3", "Run 1"]
    assert [(run.texts, run.kl, run.settings, run.at) for run in taken] == [
        (run.texts, run.kl, run.settings, run.at) for run in with_runs.history
    ]
    assert other.history["gentle"].pinned
    assert other.history.take_back("gentle") == sw.Recipe.of(cavs[0].add(4))
    assert other.history.compare("gentle", "Run 3") == with_runs.history.compare(1, 2)
    assert other.history.load(path.read_text("utf-8")) == []
    other.generate()
    assert other.history[-1].number == 5


def test_own_runs_never_go_for_those_of_a_file(panel, lm, cavs, tmp_path):
    panel.settings = {**panel.settings, "max_new_tokens": 1}
    for _ in range(KEPT):
        panel.generate()
    path = panel.history.save(tmp_path / "runs.json")
    other = sw.SteeringPanel(lm, cavs, max_new_tokens=1)
    for _ in range(3):
        other.generate()
    own = [run.key for run in other.history]
    assert [run.texts for run in other.history.load(path)] == [run.texts for run in panel.history][3:]
    assert [run.key for run in other.history][-3:] == own
    assert len(other.history) == KEPT


DAMAGES = {
    "other version": ({"format": "steerwidgets.runs/2"}, "These runs are of another version, 'steerwidgets.runs/2'"),
    "other file": ({"format": "x"}, "This is no history of runs: its format should be"),
    "no runs": ({"runs": 3}, "In these runs, runs should be a list of runs"),
    "a run that is none": ({"runs": [3]}, "In run 1 of the text, the value should be a table with names"),
}
SPOILT = {
    "a number of 0": ({"number": 0}, "number should be a whole number from 1 on"),
    "a time that is none": ({"at": "yesterday"}, "at should be a time of ISO 8601"),
    "no rows": ({"rows": []}, "rows should be baseline, steered and what stood beside them"),
    "a KL of texts": ({"kl": ["a"]}, "kl should be a list of finite numbers"),
    "settings of nothing": ({"settings": {"heat": 1}}, "heat"),
    "a recipe of nothing": ({"recipe": "{}"}, "recipe should be a recipe as text"),
    "a recipe that is cut": ({"recipe": '{"form'}, "the recipe is not whole JSON"),
    "a turn of nobody": ({"turns": [{"role": "king", "content": "x"}]}, "role should be one of"),
}


@pytest.mark.parametrize("name", [*DAMAGES, *SPOILT, "cut", "recipe", "twice", "half a row"])
def test_a_damaged_file_is_one_sentence_and_nothing_is_lost(with_runs, lm, cavs, name):
    from widgets.front_end import FrontEnd

    value = json.loads(with_runs.history.to_json())
    text, sentence = "", ""
    if name in DAMAGES:
        changes, sentence = DAMAGES[name]
        value |= changes
    elif name in SPOILT:
        changes, sentence = SPOILT[name]
        value["runs"][1] |= changes
    elif name == "twice":
        value["runs"][1]["id"], sentence = value["runs"][0]["id"], "stands twice"
    elif name == "half a row":
        value["runs"][1]["rows"][0]["texts"].pop()
        sentence = "In run 2 of the text, rows.texts should be"
    text = json.dumps(value)
    if name == "cut":
        text, sentence = text[: len(text) // 2], "is not whole JSON: it breaks at"
    elif name == "recipe":
        text, sentence = sw.Recipe.of(cavs[0].add(4)).to_json(), "This is a recipe, not a history of runs"
    other = sw.SteeringPanel(lm, cavs, max_new_tokens=2)
    other.generate()
    before = list(other.runs)
    ended = FrontEnd(other).call("history", do="import", text=text)
    assert ended["type"] == "error"
    assert sentence in ended["error"]["message"]
    with pytest.raises(ValueError, match=re.escape(ended["error"]["message"])):
        other.history.load(text)
    assert other.runs == before
    with pytest.raises(TypeError, match=r"^history\.load takes a path or JSON, but"):
        other.history.load(3)


def test_the_page_imports_runs(with_runs, lm, cavs):
    from widgets.front_end import FrontEnd

    other = sw.SteeringPanel(lm, cavs)
    page = FrontEnd(other)
    text = with_runs.history.to_json()
    assert page.call("history", do="import", text=text)["value"] == {"said": "3 of 3 runs were added."}
    other.history.remove(0)
    said = page.call("history", do="import", text=text)["value"]["said"]
    assert said == "1 of 3 runs were added; 2 were here already."
    assert "Runs are imported from text" in page.call("history", do="import")["error"]["message"]


def test_the_page_does_all_of_it(with_runs, cavs):
    from widgets.front_end import FrontEnd

    page = FrontEnd(with_runs)
    ids = [run["id"] for run in with_runs.runs]
    assert page.call("history", do="name", run=ids[0], title="mine")["type"] == "result"
    assert page.call("history", do="pin", run=ids[0], pinned=True)["type"] == "result"
    assert (with_runs.history[0].name, with_runs.history[0].pinned) == ("mine", True)
    assert page.call("history", do="compare", runs=[ids[0], ids[2]])["type"] == "result"
    assert with_runs.compared["runs"] == [ids[0], ids[2]]
    assert page.call("history", do="take_back", run=ids[1])["type"] == "result"
    assert with_runs.recipe == sw.Recipe.of(cavs[0].add(4))
    assert page.call("history", do="remove", run=ids[2])["type"] == "result"
    assert len(with_runs.history) == 2


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ({"do": "burn"}, "A history can do name, pin"),
        ({"do": "pin", "run": "nobody"}, "no longer in the history"),
        ({"do": "pin"}, "no longer in the history"),
        ({"do": "compare", "runs": ["a"]}, "Two runs are compared"),
        ({"do": "compare", "runs": 3}, "Two runs are compared"),
        ({"do": ["pin"]}, "A history can do"),
    ],
)
def test_what_makes_no_sense_is_one_sentence_and_nothing_is_lost(with_runs, args, sentence):
    from widgets.front_end import FrontEnd

    before = list(with_runs.runs)
    ended = FrontEnd(with_runs).call("history", **args)
    assert ended["type"] == "error"
    assert sentence in ended["error"]["message"]
    assert with_runs.runs == before


def test_an_empty_history_says_what_to_do(panel):
    assert len(panel.history) == 0
    for ask in (lambda h: h.pin(0), lambda h: h.take_back(-1), lambda h: h.compare(0, 1), lambda h: h.remove("x")):
        with pytest.raises(KeyError, match="There is no run yet: press Generate"):
            ask(panel.history)
    with pytest.raises(IndexError, match="There is no run yet"):
        panel.history[0]
    assert json.loads(panel.history.to_json())["runs"] == []


def test_a_run_that_there_is_not_is_named(with_runs):
    with pytest.raises(KeyError, match="from 0 to 2; 7 was asked"):
        with_runs.history.take_back(7)
    with pytest.raises(KeyError, match="no run 'gentle'; there are Run 1, Run 2, Run 3"):
        with_runs.history.take_back("gentle")
    with pytest.raises(KeyError, match="no row 'louder'; it has baseline, steered"):
        with_runs.history.compare(0, 1, rows=("steered", "louder"))
    with pytest.raises(ValueError, match=r"^Two runs are compared, each with one of its rows.*'steered' was given\.$"):
        with_runs.history.compare(0, 1, rows="steered")


def test_a_run_is_found_by_place_and_by_name(with_runs):
    history = with_runs.history
    history.name(1, "gentle")
    assert history["gentle"] == history[1] == history[-2] == history[0:2][1]
    assert history["Run 3"].number == 3
    with pytest.raises(IndexError, match="from 0 to 2; 3 was asked for"):
        history[3]
    with pytest.raises(KeyError, match="no run 'loud'; there are Run 1, gentle, Run 3"):
        history["loud"]


def test_a_run_that_was_stopped_is_kept_too(panel, page, gate):
    request = page.ask("generate")
    gate.let(3)
    page.first_delta(request)
    page.cancel(request)
    gate.open()
    page.end(request)
    [run] = panel.history
    assert run.kl is None
    assert run.texts["steered"]
