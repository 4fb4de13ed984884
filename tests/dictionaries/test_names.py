"""Labels of every kind of dictionary: every form in which they are given, the user's own beside them, and search."""

import gzip
import json

import pytest
from support.kinds import FILED, KINDS, make, save

import steerwidgets as sw

WANTED = {1: "sea", 3: "city lights"}
ALL = pytest.mark.parametrize("kind", KINDS)
ROWS = [{"index": str(i), "description": text, "explanationModelName": "m"} for i, text in WANTED.items()]


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def batches(folder):
    folder = folder / "batches"
    folder.mkdir()
    for number, row in enumerate(ROWS):
        (folder / f"batch-{number}.jsonl.gz").write_bytes(gzip.compress(jsonl([row]).encode()))
    return folder


def written(name, text):
    def write(folder):
        (folder / name).write_text(text)
        return folder / name

    return write


FORMS = {
    "label to index": lambda _: {text: i for i, text in WANTED.items()},
    "index to label": lambda _: WANTED,
    "Labels": lambda _: sw.Labels(WANTED),
    "JSON": written("labels.json", json.dumps({text: i for i, text in WANTED.items()})),
    "JSON by index": written("labels.json", json.dumps(WANTED)),
    "path as text": lambda folder: str(written("labels.json", json.dumps(WANTED))(folder)),
    "metadata.jsonl": written("metadata.jsonl", jsonl({"concept_id": i, "concept": t} for i, t in WANTED.items())),
    "CSV": written("labels.csv", "index,label\n" + "".join(f"{i},{text}\n" for i, text in WANTED.items())),
    "Neuronpedia": written("batch-0.jsonl", jsonl(ROWS)),
    "Neuronpedia's batches": batches,
}


def check(dictionary):
    assert {i: text for i, text in enumerate(dictionary.labels) if text} == WANTED
    assert len(dictionary.labels) == dictionary.size
    assert dictionary["sea"].index == 1
    assert dictionary[3].label == "city lights"
    assert [feature.index for feature in dictionary.search("light")] == [3]


@ALL
@pytest.mark.parametrize("form", FORMS)
def test_every_form(kind, form, llama, tmp_path):
    check(make(kind, llama, FORMS[form](tmp_path)))


@ALL
def test_one_for_each(kind, llama, tmp_path):
    texts = [WANTED.get(i, "") for i in range(make(kind, llama).size)]
    check(make(kind, llama, texts))
    check(make(kind, llama, [text or None for text in texts]))
    (tmp_path / "list.json").write_text(json.dumps(texts))
    check(make(kind, llama, tmp_path / "list.json"))


@ALL
def test_no_labels(kind, llama):
    for none in (None, [], {}, ()):
        dictionary = make(kind, llama, none)
        assert dictionary.labels == ()
        assert dictionary[2].label == (f"{kind} 1.2" if kind in ("Neuron", "Head") else f"{kind} 2")
        with pytest.raises(KeyError, match="has no labels, so 'sea' is not found; use an index"):
            dictionary["sea"]


@pytest.mark.parametrize("kind", FILED)
def test_labels_of_a_loaded_one(kind, llama, tmp_path):
    path = save(make(kind, llama, {"old": 0}), tmp_path)
    load = type(make(kind, llama)).load
    assert load(path, layer=1)["old"].index == 0
    (tmp_path / "labels.csv").write_text("index,label\n1,sea\n3,city lights\n")
    again = load(path, layer=1, labels=tmp_path / "labels.csv")
    check(again)
    made = eval(again.source_code, {"sw": sw})
    assert (made.labels, made.fingerprint) == (again.labels, again.fingerprint)
    assert load(path, layer=1, labels=sw.Labels(WANTED)).source_code is None


@ALL
def test_labels_of_another_dictionary(kind, llama):
    size = make(kind, llama).size
    too_high = f"belongs to feature {size}, but this {kind} dictionary has features 0 to {size - 1}: the labels are of"
    for wrong in ({"a": size}, {size: "a"}, sw.Labels({"a": size})):
        with pytest.raises(ValueError, match=too_high):
            make(kind, llama, wrong)
    with pytest.raises(ValueError, match=f"2 labels were given for the {size} features of this {kind} dictionary"):
        make(kind, llama, ["a", "b"])


@ALL
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"a": -1}, "'a' in labels has the index -1, but an index is a whole number from 0 on"),
        ({"a": True}, "labels maps str 'a' to bool True"),
        ({"a": "3"}, "labels maps str 'a' to str '3'"),
        ({"a": None}, "labels maps str 'a' to null"),
        (7, "labels is int 7"),
        ([1, 2, 3], "Entry 0 of labels is no text"),
    ],
)
def test_what_is_no_label(kind, wrong, sentence, llama):
    with pytest.raises(ValueError, match=sentence):
        make(kind, llama, wrong)


@ALL
def test_files_that_are_none(kind, llama, tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file of labels at"):
        make(kind, llama, tmp_path / "none.json")
    (tmp_path / "cut.json").write_text('{"a": ')
    with pytest.raises(ValueError, match=r"cut\.json is not whole JSON"):
        make(kind, llama, tmp_path / "cut.json")
    (tmp_path / "short.json").write_text('["a", "b"]')
    with pytest.raises(ValueError, match=r"short\.json is a list of 2 labels, but the dictionary has \d+ features"):
        make(kind, llama, str(tmp_path / "short.json"))


def test_several_labels_of_one_feature():
    sae = make("SAE", labels={"sea": 3, "ocean": 3, "city": 5})
    assert (sae[3].label, sae["ocean"].index) == ("sea", 3)
    assert [feature.index for feature in sae.search("ocea")] == [3]
    assert [label.text for label in sae.labels_of(3)] == ["sea", "ocean"]
    with pytest.raises(KeyError, match=r"2 features are labelled 'sea': \[1, 3\]; choose one by its index"):
        make("SAE", labels=[{1: "sea", 3: "sea"}.get(i, "") for i in range(40)])["sea"]


def test_source_and_author_are_kept(tmp_path):
    sae = make("SAE", labels=FORMS["Neuronpedia"](tmp_path))
    (label,) = sae.labels_of(1)
    assert (label.text, label.author) == ("sea", "language model")
    assert sae[1].label_source == label.source


# The user's own


@pytest.fixture
def data(monkeypatch, tmp_path):
    monkeypatch.setenv("STEERWIDGETS_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@ALL
def test_looking_leaves_no_file(kind, llama, data):
    dictionary = make(kind, llama, WANTED)
    assert dictionary[1].label == "sea"
    assert list(dictionary.search("sea"))
    assert not data.exists()


@ALL
def test_the_users_own_label_is_shown_found_and_kept_apart(kind, llama, data):
    dictionary = make(kind, llama, WANTED)
    dictionary.user_labels.set(1, label="tides and waves", note="also rivers")
    dictionary.user_labels.set(0, label="numbers")
    feature = dictionary[1]
    assert (feature.label, feature.label_source) == ("tides and waves", "your label")
    assert "'tides and waves' (your label)" in repr(feature)
    assert (dictionary[3].label, dictionary[0].label) == ("city lights", "numbers")
    assert "(your label)" not in repr(dictionary[3])
    assert dictionary.labels[1] == "sea"
    assert [label.text for label in dictionary.labels_of(1)] == ["tides and waves", "sea"]
    for name in ("tides and waves", "sea"):
        assert dictionary[name].index == 1
    for query, found in {"tide": [1], "wav tides": [1], "sea": [1], "number": [0], "light": [3], "zzz": []}.items():
        assert [each.index for each in dictionary.search(query)] == found, query
    again = make(kind, llama)
    assert again[1].label == "tides and waves", "the next session, without the imported labels"
    dictionary.user_labels.set(1, label="")
    assert [dictionary[1].label, again[1].label] == ["sea", again.unlabelled(1)]


@pytest.mark.parametrize("kind", FILED)
def test_the_users_own_are_never_saved_with_it(kind, llama, data, tmp_path):
    dictionary = make(kind, llama, WANTED)
    dictionary.user_labels.set(1, label="tides")
    save(dictionary, tmp_path)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or path.is_relative_to(data) or b"tides" not in path.read_bytes(), path


def test_another_dictionary_has_none_of_them(data):
    make("SAE").user_labels.set(1, label="tides")
    assert make("SAE", seed=1)[1].label == "SAE 1"
    assert make("SAE")[1].label == "tides"


def test_a_label_of_ones_own_that_another_feature_has(data):
    sae = make("SAE", labels=WANTED)
    sae.user_labels.set(5, label="sea")
    with pytest.raises(KeyError, match=r"2 features are labelled 'sea': \[1, 5\]"):
        sae["sea"]


def test_another_kernels_labels_are_seen(data):
    here, there = make("SAE"), make("SAE")
    here.user_labels.set(1, label="tides")
    assert there[1].label == "tides"
    here.user_labels.set(1, label="waves")
    assert there[1].label == "waves"
    here.user_labels.remove(1)
    assert there[1].label == "SAE 1"


def test_a_damaged_file_of_ones_own_is_said_and_left_out(data):
    data.mkdir()
    (data / "user_labels.sqlite").write_bytes(b"nothing of the sort" * 100)
    with pytest.warns(UserWarning, match=r"Your own labels are left out. .* is not a whole file of user labels"):
        assert make("SAE", labels=WANTED)[1].label == "sea"


def test_a_snippet_holds_for_those_who_do_not_have_them(data, llama, tmp_path):
    path = save(make("CAV", labels=["a", "sea", "c", "d", "e"]), tmp_path)
    cavs = sw.CAV.load(path)
    cavs.user_labels.set(1, label="tides")
    cavs.user_labels.set(3, label="c")
    for name, code in {1: "cavs['sea']", 2: "cavs[2]", 3: "cavs['d']"}.items():
        panel = sw.SteeringPanel(llama, cavs, recipe=cavs[name].add(2))
        assert f"recipe = {code}.add(2.0)" in panel.snippet
        assert panel.recipe.steers[0].feature.index == name


def test_own_labels_among_many(data):
    import torch

    many = sw.CAV(torch.eye(32).repeat(100, 1), [f"label of {i}" for i in range(3200)], layer=1)
    many.user_labels.set(2999, label="something else of 12")
    assert [feature.index for feature in many.search("of 12", limit=2)] == [2999, 12]
    assert [feature.index for feature in many.search("something")] == [2999]
    assert sum(index == 2999 for index in many.matches("of")) == 1
