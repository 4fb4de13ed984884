"""What an earlier version saved is read by this one, and does the same numbers.

Every folder `from_<version>/` holds files as that version wrote them and what it said of them; `make_fixtures.py` tells
how. They are never written again: where a test fails here, the code that reads has to be put right.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from support import saved

import steerwidgets as sw

EARLIER = Path(__file__).parent / "from_0_1_0"
HERE = Path()
"""The folder of the files: paths in them are relative to it."""

EXPECTED = saved.read_lines(EARLIER / "expected.json")
RECIPES = saved.read_lines(EARLIER / "recipes.json")
INLINE = saved.read_lines(EARLIER / "recipes-inline.json")
DONE = saved.read_lines(EARLIER / "recipes-expected.json")
RESIDUAL = torch.tensor(EXPECTED["residual"])


def digests():
    files = (path for path in EARLIER.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(autouse=True, scope="module")
def in_their_folder(tmp_path_factory):
    """The folder of the files as the working directory; a person's own labels are none of theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(EARLIER)
        patch.setenv("STEERWIDGETS_DATA", str(tmp_path_factory.mktemp("data")))
        before = digests()
        yield
    assert digests() == before, "a test wrote into the files of an earlier version; give it a copy"


@pytest.fixture(scope="module")
def quiet(in_their_folder):
    """The tiny model with a residual that is the same at every block."""
    return saved.quiet_model(HERE, RESIDUAL)


@pytest.fixture(scope="module")
def dictionaries(quiet):
    """All of them, for recipes to find their features in."""
    return [*(load(HERE) for load in saved.DICTIONARIES.values()), saved.neurons(quiet)]


def assert_says(expected, found, scale=0.0):
    differences = list(saved.differences(expected, found, scale=scale))
    assert not differences, "\n".join(differences)


def assert_does(name, quiet, recipe):
    """A recipe changes the residual as it did; a number of `h′ − h` is as exact as `h` is."""
    assert_says(DONE[name]["change"], saved.change(quiet, recipe), RESIDUAL.norm(dim=-1, keepdim=True).numpy())


# Dictionaries, and what is known of them


@pytest.mark.parametrize("name", saved.DICTIONARIES)
def test_a_dictionary_reads_as_it_did(name):
    assert_says(EXPECTED[f"dictionary {name}"], saved.dictionary_says(saved.DICTIONARIES[name](HERE), RESIDUAL))


def test_every_dictionary_is_compared():
    assert {f"dictionary {name}" for name in saved.DICTIONARIES} == {name for name in EXPECTED if "dictionary" in name}


def test_neurons_are_the_same(quiet):
    assert_says(
        EXPECTED["neurons"], saved.dictionary_says(saved.neurons(quiet), torch.tensor(EXPECTED["neurons read"]))
    )


def test_statistics():
    assert_says(EXPECTED["statistics"], saved.statistics_say(sw.FeatureStatistics.load("statistics.safetensors")))


@pytest.mark.parametrize("name", ["features", "features-least"])
def test_feature_data(name):
    data = sw.FeatureData.load(f"{name}.safetensors")
    assert_says(EXPECTED[name], saved.evidence_says(data))
    sae = sw.SAE.load("sae-relu")
    sae.feature_data = data
    assert sae.evidence(1) == data[1]


@pytest.mark.parametrize("name", saved.LABELS)
def test_labels(name, tmp_path):
    if name == "kept":
        (tmp_path / "labels.sqlite").write_bytes(gzip.decompress((EARLIER / "labels.sqlite.gz").read_bytes()))
    labels = saved.LABELS[name](tmp_path if name == "kept" else HERE)
    assert_says(EXPECTED[f"labels {name}"], saved.labels_say(labels))


# A person's own labels


def test_the_database_of_own_labels_is_read_and_written(tmp_path, monkeypatch):
    shutil.copy("user_labels.sqlite", tmp_path)
    monkeypatch.setenv("STEERWIDGETS_DATA", str(tmp_path))
    for dictionary in (sw.SAE.load("sae-relu"), sw.CAV.load("cav.safetensors")):
        own = dictionary.user_labels
        told = json.loads(Path(f"verdicts-{dictionary.kind}.json").read_text(encoding="utf-8"))
        assert_says(told["entries"], saved.entries_say(own))
        assert dictionary.label(0) == dictionary[0].label == "my sea 🌊"
        own.set(2, rating=5)
        assert own[2].rating == 5
        own.close()


def test_exported_verdicts_are_taken_in(tmp_path, monkeypatch):
    monkeypatch.setenv("STEERWIDGETS_DATA", str(tmp_path))
    own = sw.SAE.load("sae-relu").user_labels
    assert own.import_json("verdicts-SAE.json") == len(EXPECTED["entries"])
    assert_says(EXPECTED["entries"], saved.entries_say(own))
    own.close()


# The corpus index


def indexed():
    return [sw.SAE.load("sae-relu"), sw.MFA.load("mfa.pt")]


def test_a_corpus_index_says_the_same():
    index = sw.corpus.open("index")
    assert_says(EXPECTED["index"], saved.index_says(index, indexed()))
    sae = indexed()[0]
    index.attach(sae)
    assert sae.evidence(1) == index.of(sae)[1]
    assert_says(EXPECTED["index"]["statistics"][0], saved.statistics_say(sae.statistics))


def build(folder, on_progress):
    texts = json.loads(Path("texts.json").read_text(encoding="utf-8"))
    settings = EXPECTED["corpus settings"] | {"on_progress": on_progress}
    return sw.corpus.build(saved.model(HERE), indexed(), texts, folder, **settings)


def test_a_run_that_broke_off_goes_on(tmp_path):
    folder, read = shutil.copytree("index-broken", tmp_path / "index"), []
    with pytest.raises(ValueError, match="not finished"):
        sw.corpus.open(folder)
    index = build(folder, read.append)
    assert read[0].stage == "skipping"
    # Not all of the evidence: another machine may round an activation to the next bin.
    found = saved.index_says(index, indexed())
    assert_says({name: EXPECTED["index"][name] for name in ("name", "complete", "counts", "dictionaries")}, found)
    for mine, theirs in zip(found["statistics"], EXPECTED["index"]["statistics"], strict=True):
        assert mine["maximum"] == pytest.approx(theirs["maximum"], rel=1e-3)
        assert mine["density"] == pytest.approx(theirs["density"], abs=0.01)


def test_a_finished_run_has_nothing_left_to_read(tmp_path):
    folder, read = shutil.copytree("index", tmp_path / "index"), []
    index = build(folder, read.append)
    assert not [each for each in read if each.stage == "reading"]
    assert_says(EXPECTED["index"], saved.index_says(index, indexed()))


# Recipes


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_by_fingerprint_does_the_same(name, quiet, dictionaries):
    recipe = sw.Recipe.from_json(json.dumps(RECIPES[name]), dictionaries)
    assert recipe.fingerprint == DONE[name]["fingerprint"]
    if "change" in DONE[name]:
        assert_does(name, quiet, recipe)


@pytest.mark.parametrize("name", INLINE)
def test_a_recipe_that_was_written_out_does_the_same(name, quiet):
    recipe = sw.Recipe.from_json(json.dumps(INLINE[name]))
    assert_does(name, quiet, recipe)


def test_every_op_and_form_of_positions_is_among_them():
    # What is new since then belongs into a folder of its own version.
    found = {(steer["feature"].get("kind"), steer["op"]) for recipe in RECIPES.values() for steer in recipe["steers"]}
    by_kind = {kind: {op for other, op in found if other == kind} for kind, _ in found}
    assert by_kind == {
        None: {"add", "add_relative", "ablate", "project", "clip"},
        "CAV": {"add", "add_relative", "ablate", "project", "clip"},
        "ReFT": {"add", "add_relative", "ablate", "project", "clip", "clamp"},
        "SAE": {"add", "add_relative", "ablate", "clamp", "scale"},
        "MFA": {"add", "add_relative", "ablate", "pull"},
        "Neuron": {"add", "add_relative", "ablate", "clip", "set", "scale"},
    }


# What a panel left, and trainings


def test_a_panels_recipes_are_read_again(dictionaries):
    told = saved.read_lines(Path("panel.json"))
    for text in (told["recipe_json"], told["result"]["recipe"]):
        assert sw.Recipe.from_json(text, dictionaries).fingerprint == told["fingerprint"]
    lens = told["lens"]
    assert sw.Recipe.from_json(lens["recipe_json"], dictionaries).fingerprint == lens["fingerprint"]


def test_a_panels_snippet_makes_the_run_again(capsys):
    told, names = saved.read_lines(Path("panel.json")), {}
    exec(Path("snippet.py.txt").read_text(encoding="utf-8"), names)
    assert names["recipe"].fingerprint == told["fingerprint"]
    rows = [row["text"] for row in told["result"]["rows"]]
    assert [names["out"].baseline.text, names["out"].steered.text] == rows
    assert capsys.readouterr().out


def test_a_training_goes_on_where_it_was(tmp_path):
    told, state = EXPECTED["training"], shutil.copy("reft-training.pt", tmp_path)
    texts = told["texts"]
    reft = sw.ReFT.fit(saved.model(HERE), texts[:6], texts[6:], **told["train"], state=state)
    assert len(reft.report.history) == reft.report.steps - 2
    # Many matrix products lie in between, which machines round differently.
    torch.testing.assert_close(reft.weight, torch.tensor(told["weight"]), rtol=1e-3, atol=1e-4)
