"""Labels: every file they come in, search that takes any text as words, and a person's own, kept apart."""

import gzip
import itertools
import json
import random
import sqlite3
import subprocess
import sys
import threading
import unicodedata
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import steerwidgets as sw
from steerwidgets.labels.files import Label
from steerwidgets.labels.labels import Count, Match
from steerwidgets.labels.own import Entry, UserLabels, data_dir

SEA = ["sea waves", "the wavy sea", "overseas wavelength", "city lights", "waves of the open sea in winter"]
ANY = st.text(max_size=40)
NASTY = st.lists(
    st.sampled_from(
        ['"', "'", "*", "NEAR(", ")", "AND", "OR", "NOT", "^", "text:", "tokens :", "-", "+", "%", "sea", "\0"]
    )
    | st.characters(),
    max_size=12,
).map("".join)


def found(labels, query, **options):
    return [match.index for match in labels.search(query, **options)]


@pytest.fixture
def sea():
    return sw.Labels(SEA, source="made here", author="person")


# Search


def test_every_word_begins_a_word_and_short_labels_come_first(sea):
    assert found(sea, "sea wav") == [0, 1, 4, 2]
    assert found(sea, "WAV sea") == [0, 1, 4, 2]
    assert found(sea, "sea wav", limit=2) == [0, 1]
    match = sea.search("sea")[0]
    assert isinstance(match, Match)
    assert (match.index, match.text, match.source, match.author) == (0, "sea waves", "made here", "person")
    assert match.rank > sea.search("sea")[1].rank > 0


def test_whole_words_come_before_beginnings():
    labels = sw.Labels(["season", "searing heat", "a deep sea", "overseas"])
    assert found(labels, "sea")[0] == 2
    assert set(found(labels, "sea")[1:3]) == {0, 1}
    assert found(labels, "sea")[3] == 3


def test_letters_within_words_where_beginnings_are_too_few(sea):
    assert found(sea, "eas") == [2]
    assert found(sea, "elength ver") == [2]
    assert found(sea, "ights ci") == [3], "a word of two letters begins a word"
    assert found(sea, "ight it") == []
    assert found(sea, "it") == []
    assert found(sea, "wav", limit=2) == [0, 2]


@pytest.mark.parametrize("query", ["", "   ", ".", "\0", '"" ""', "zzz", "sea zzz", "()"])
def test_nothing_is_found(sea, query):
    assert found(sea, query) == []
    assert sea.count(query) == Count(0)
    assert list(sea.features(query)) == []


@pytest.mark.parametrize("limit", [0, -1])
def test_no_limit_no_matches(sea, limit):
    assert sea.search("sea", limit=limit) == []


@pytest.mark.parametrize(
    ("text", "queries"),
    [
        ("Straße", ["straße", "STRASSE", "strass", "RASS"]),
        ("café crème", ["cafe", "CAFÉ creme", "cafe\u0301", "reme"]),
        ("Ёлка зимой", ["елка", "ЁЛКА", "зим", "лка"]),
        ("海洋の波", ["海", "海洋", "洋の", "波", "海洋の波"]),
        ("ガラス", ["ガ", "ガラス", "ラス", unicodedata.normalize("NFD", "ガ")]),
        ("한국어 단어", ["한국", "단어", unicodedata.normalize("NFD", "한국어")]),
        ("🌊waves and 👩‍💻", ["🌊", "waves", "🌊waves", "👩‍💻", "👩", "💻"]),
        ("written in C++ or {braces}", ["c++", "C+", "{brace", "{", "}"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("don't", ["don", "don't", "don’t"]),
        ("time-travel", ["time travel", "time-travel", "travel"]),
        ("ﬁne № ①", ["fine", "1"]),
    ],
)
def test_writing_systems(text, queries):
    labels = sw.Labels(["something else", text, "洋の海 が"])
    for query in queries:
        assert 1 in found(labels, query), query
        assert 1 in labels.features(query)


def test_characters_that_stand_together_are_found_together():
    labels = sw.Labels(["海洋", "洋海", "a + = b", "a += b"])
    assert found(labels, "洋海") == [1]
    assert labels.count("洋海") == Count(1)


@given(query=NASTY)
@settings(max_examples=300, deadline=None)
def test_a_query_is_words_and_never_syntax(query):
    matches = LABELS.search(query)
    assert len(matches) <= int(LABELS.count(query))
    assert [match.index for match in matches] == list(LABELS.features(query))


@given(text=ANY)
@settings(max_examples=300, deadline=None)
def test_a_label_is_found_by_its_own_text(text):
    labels = sw.Labels([text, "sea"], file=None)
    words = text.casefold().split()
    if any(unicodedata.category(letter)[0] == "L" for letter in text):
        assert 0 in found(labels, text), (text, words)
    assert labels[0] == text or not text.strip() or "\ud800" <= max(text) <= "\udfff"


LABELS = sw.Labels([*SEA, "NEAR and OR or NOT", "text: a 'quoted' \"label\"", "50% * 2", "海洋の波 🌊"])


def test_operators_are_words():
    assert found(LABELS, "OR") == [5]
    assert found(LABELS, "sea OR city") == []
    assert found(LABELS, "NOT sea") == []
    assert found(LABELS, "text:quoted") == [6]
    assert found(LABELS, 'quot"ed') == []
    assert found(LABELS, "*") == [7]
    assert found(LABELS, "se*") == []


@pytest.mark.parametrize(
    "query", ["a" * 10_000, "sea " * 10_000, "海" * 10_000, " ".join(map(str, range(5000))), "\ud800sea"]
)
def test_long_and_broken_queries(query):
    assert LABELS.search(query) is not None
    assert LABELS.count(query).more is False


# Many words over few letters: some beginnings and letters within are few enough to be spelled out, some are not.
WORDS = ["".join(letters) for n in (1, 2, 3, 4, 5) for letters in itertools.product("abc", repeat=n)][::2]


@pytest.fixture(scope="module")
def crowd():
    drawn = random.Random(3)
    texts = [" ".join(drawn.choices(WORDS, k=drawn.randint(1, 6))) for _ in range(3_000)]
    return texts, sw.Labels(texts)


def by_reading(texts, query):
    """The labels with every word whole, as a beginning, and within a word, each without those before."""
    words, tiers = query.split(), []
    rules = [
        lambda word, token: token == word,
        lambda word, token: token.startswith(word),
        lambda word, token: word in token if len(word) >= 3 else token.startswith(word),
    ]
    for rule in rules:
        found = {i for i, text in enumerate(texts) if all(any(rule(w, t) for t in text.split()) for w in words)}
        tiers.append(found - set().union(*tiers))
    return tiers


@pytest.mark.parametrize("seed", range(40))
def test_finds_what_reading_every_label_finds(crowd, seed):
    texts, labels = crowd
    drawn = random.Random(seed)
    query = " ".join("".join(drawn.choices("abcd", (5, 5, 5, 1), k=drawn.randint(1, 6))) for _ in range(seed % 4 + 1))
    tiers = by_reading(texts, query)
    everything = found(labels, query, limit=9_999)
    assert len(everything) == len(set(everything))
    ends = list(itertools.accumulate(map(len, tiers)))
    assert [set(everything[start:end]) for start, end in zip([0, *ends], ends, strict=False)] == tiers
    assert set(labels.features(query)) == set().union(*tiers)
    number = ends[-1]
    assert labels.count(query) == Count(min(number, 1000), more=number > 1000)
    page = found(labels, query, limit=20)
    assert len(page) == min(20, number)
    assert sum(index in tiers[0] for index in page) == min(20, len(tiers[0])), "whole words first"


def test_a_count_of_features_that_have_several_labels():
    labels = sw.Labels([Label(n // 3, f"sea {n}") for n in range(900)], size=300)
    assert labels.count("sea") == Count(900)
    assert labels.count("sea", features=True) == Count(300)


def test_counts_are_honest():
    labels = sw.Labels([f"sea {n}" for n in range(5_000)] + ["overseas", "city"])
    assert labels.count("city") == Count(1)
    assert labels.count("city").__str__() == "1"
    assert str(labels.count("sea 49")) == "111"
    assert (labels.count("sea"), str(labels.count("sea"))) == (Count(1000, more=True), "more than 1,000")
    assert int(labels.count("sea")) == 1000
    assert len(labels.search("sea", limit=9999)) == 5001
    assert len(set(labels.features("sea"))) == 5001


def test_of_many_matches_the_shortest_are_ranked():
    labels = sw.Labels(["sea of others " + "so " * (20 - n // 200) for n in range(4_000)] + ["sea"])
    assert found(labels, "sea")[0] == 4_000
    assert min(found(labels, "sea oth")) >= 3_800


def test_threads_share_labels(sea):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: (found(sea, "sea wav"), sea[n % 5], str(sea.count("sea"))), range(400)))
    assert all(answer == ([0, 1, 4, 2], SEA[n % 5], "4") for n, answer in enumerate(answers))


# Labels by index


def test_by_index(sea):
    assert (len(sea), sea[1], sea[-1], list(sea)) == (5, SEA[1], SEA[4], SEA)
    assert sea.of(0) == [Label(0, "sea waves", "made here", "person")]
    with pytest.raises(IndexError, match="features 0 to 4, but 5 was asked for"):
        sea[5]
    with pytest.raises(TypeError, match="found by the feature's index, but 'sea'"):
        sea["sea"]


def test_several_labels_of_one_feature():
    labels = sw.Labels(
        [Label(3, "sea", "a", "person"), Label(3, "ocean", "b", "language model"), Label(3, "sea", "c")], size=6
    )
    assert (len(labels), labels[3], labels[0], list(labels)) == (6, "sea", "", ["", "", "", "sea", "", ""])
    assert [(label.text, label.source, label.author) for label in labels.of(3)] == [
        ("sea", "a", "person"),
        ("ocean", "b", "language model"),
        ("sea", "c", "unknown"),
    ]
    assert labels.of(0) == []
    assert len(labels.search("sea")) == 2
    assert list(labels.features("sea")) == [3]


@pytest.mark.parametrize(
    "given_labels", [{"sea": 0, "city": 2}, {0: "sea", 2: "city"}, {"0": "sea", "2": "city"}, ["sea", None, "city"]]
)
def test_shapes(given_labels):
    assert list(sw.Labels(given_labels)) == ["sea", "", "city"]
    assert sw.Labels(given_labels, author="person").of(2)[0].author == "person"


def test_no_labels():
    labels = sw.Labels([])
    assert (len(labels), list(labels), labels.search("sea")) == (0, [], [])


@pytest.mark.parametrize(
    ("given_labels", "options", "sentence"),
    [
        ("sea", {}, "'sea' was given; read them from a file"),
        ([3], {}, "Entry 0 of labels is no text and no row with names, but int 3"),
        ({"sea": "city"}, {}, r"maps str 'sea' to str 'city'"),
        ({"sea": [1]}, {}, r"maps str 'sea' to list \[1\]"),
        ({"sea": -1}, {}, "'sea' in labels has the index -1, but an index is a whole number from 0 on"),
        ({"sea": True}, {}, "maps str 'sea' to bool True"),
        ({"sea": 9}, {"size": 9}, "of feature 9, but the dictionary has features 0 to 8: the labels are of another"),
        (["sea"], {"size": 9}, "one label for each of the 9 features of a dictionary, but 1 were given"),
        (["sea"], {"author": "robot"}, "'person', 'language model', 'unknown', but is 'robot'"),
        ([], {"size": -1}, "0 or more, but -1"),
    ],
)
def test_wrong_shapes(given_labels, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        sw.Labels(given_labels, **options)


# Files

NEURONPEDIA = [
    {
        "modelId": "gemma-2-2b",
        "layer": "20-gemmascope-res-16k",
        "index": str(n),
        "description": text,
        "explanationModelName": model,
        "typeName": "oai_token-act-pair",
    }
    for n, text, model in [
        (1, "sea waves", "gpt-4o-mini"),
        (1, "oceans", None),
        (4, "city", "gpt-4o-mini"),
        (5, "", None),
    ]
]


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def test_neuronpedia_batches(tmp_path):
    for number, row in enumerate(NEURONPEDIA):
        (tmp_path / f"batch-{number * 7}.jsonl.gz").write_bytes(gzip.compress(lines([row]).encode()))
    labels = sw.Labels.load(tmp_path, size=8)
    assert (len(labels), labels[1], labels[4], labels[5]) == (8, "sea waves", "city", "")
    source = "Neuronpedia gemma-2-2b/20-gemmascope-res-16k, oai_token-act-pair"
    assert labels.of(1) == [
        Label(1, "sea waves", f"{source}, gpt-4o-mini", "language model"),
        Label(1, "oceans", source, "unknown"),
    ]
    both = sw.Labels.load([tmp_path / "batch-0.jsonl.gz", tmp_path / "batch-14.jsonl.gz"])
    assert list(both) == ["", "sea waves", "", "", "city"]


def test_features_with_nested_explanations(tmp_path):
    """A feature as Neuronpedia's API and its exports give it: a table of explanations instead of one text."""
    says = lambda text, how, model: {"id": "cm9", "description": text, "typeName": how, "explanationModelName": model}
    home = {"modelId": "gemma-2-2b", "layer": "20-gemmascope-res-16k", "maxActApprox": 31.5}
    sea = [says("sea waves", "oai_token-act-pair", "gpt-4o-mini"), says("oceans", "", None)]
    features = [home | {"index": "1", "explanations": sea}, home | {"index": "4", "explanations": []}]
    (tmp_path / "many.json").write_text(json.dumps(features))
    (tmp_path / "many.jsonl").write_text(lines(features))
    (tmp_path / "one.json").write_text(json.dumps(features[0], indent=2))
    source = "Neuronpedia gemma-2-2b/20-gemmascope-res-16k"
    expected = [
        Label(1, "sea waves", f"{source}, oai_token-act-pair, gpt-4o-mini", "language model"),
        Label(1, "oceans", source, "unknown"),
    ]
    for name in ("many.json", "many.jsonl", "one.json"):
        assert sw.Labels.load(tmp_path / name, size=8).of(1) == expected
    assert sw.Labels(features, size=8).of(1) == expected
    assert sw.Labels(features, size=8)[4] == ""
    for broken in ("sea waves", [["sea"]], {"description": "sea"}):
        with pytest.raises(ValueError, match=r"has explanations .*; that is a list of tables"):
            sw.Labels([home | {"index": 1, "explanations": broken}])
    with pytest.raises(ValueError, match=r"Explanation 0 in entry 0 of labels has no column for a label"):
        sw.Labels([home | {"index": 1, "explanations": [{"score": 1.0}]}])


def test_labels_of_one_dictionary_only(tmp_path):
    path = tmp_path / "all.jsonl"
    other = [row | {"layer": "21-gemmascope-res-16k", "description": "other"} for row in NEURONPEDIA]
    path.write_text(lines(NEURONPEDIA + other))
    with pytest.raises(ValueError, match=r"several dictionaries \(gemma-2-2b/20-gem.* and gemma-2-2b/21-.*Labels.load"):
        sw.Labels.load(path)
    assert sw.Labels.load(path, layer="21-gemmascope-res-16k")[4] == "other"
    with pytest.raises(ValueError, match=r"all.jsonl holds no labels of 22-res; check"):
        sw.Labels.load(path, layer="22-res")
    with pytest.raises(ValueError, match="dictionary has features 0 to 3: the labels are of another dictionary, or"):
        sw.Labels.load(path, layer="21-gemmascope-res-16k", size=4)


def test_metadata_of_reft(tmp_path):
    path = tmp_path / "metadata.jsonl"
    ref = "https://www.neuronpedia.org/gemma-2-2b/20-gemmascope-res-16k/10004"
    rows = [{"concept_id": n, "concept": text, "ref": ref} for n, text in enumerate(SEA)]
    path.write_text(lines(rows) + "\n")
    labels = sw.Labels.load(path)
    assert list(labels) == SEA
    assert labels.of(0) == [Label(0, SEA[0], "metadata.jsonl", "language model")]


def test_json(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text('{"sea": 3, "ocean": 3, "city": 1, "city": 2}')
    labels = sw.Labels.load(path, author="person", size=5)
    assert list(labels) == ["", "city", "city", "sea", ""], "a label may stand for two features"
    assert [label.text for label in labels.of(3)] == ["sea", "ocean"]
    assert labels.of(3)[0].source == "labels.json"
    path.write_text('["sea", null, "city"]')
    assert list(sw.Labels.load(path)) == ["sea", "", "city"]
    path.write_text('{"0": "sea", "2": "city"}')
    assert list(sw.Labels.load(path)) == ["sea", "", "city"]
    path.write_text(json.dumps(NEURONPEDIA))
    assert sw.Labels.load(path)[4] == "city"


def test_tables(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text('\ufeffFeature,Label,author,source\n3,"sea, ""deep""",person,mine\n1,city,,\n', encoding="utf-8")
    labels = sw.Labels.load(path)
    assert labels.of(3) == [Label(3, 'sea, "deep"', "mine", "person")]
    assert labels.of(1) == [Label(1, "city", "labels.csv", "unknown")]
    (tmp_path / "labels.tsv").write_text("index\tdescription\n0\tsea, deep\n")
    assert sw.Labels.load(tmp_path / "labels.tsv")[0] == "sea, deep"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "a.csv",
            b"number,label\n1,sea\n",
            "first line of a.csv has no column for an index .*columns are number, label",
        ),
        ("a.csv", b"index,words\n1,sea\n", "no column for a label .*columns are index, words"),
        ("a.csv", b"index,label\n1\n", "Line 2 of a.csv has another number of columns"),
        ("a.csv", b"index,label\nx,sea\n", "Line 2 of a.csv has the index 'x', but an index is a whole number"),
        ("a.csv", b'index,label\n1,"sea\n', "of a.csv is not whole CSV"),
        ("a.csv", b"index,label\n1,\xff\n", "a.csv is not UTF-8 text"),
        ("a.jsonl", b'{"index": 1, "lab', "Line 1 of a.jsonl is not whole JSON"),
        ("a.jsonl", b"[1]\n", r"Line 1 of a.jsonl is no row with names, but list \[1\]"),
        ("a.jsonl", b'{"index": 1, "label": 2}\n', "Line 1 of a.jsonl has label 2, which is no text"),
        ("a.jsonl", b'{"index": 1.5, "label": "sea"}\n', "has the index 1.5, but"),
        ("a.json", b'{"sea": 1', "a.json is not whole JSON"),
        ("a.json", b"3", "but a.json is int 3"),
        ("a.json", b'{"sea": {"index": 1}}', "a.json maps str 'sea' to dict"),
        ("a.json", b"[3]", "is no text and no row with names, but int 3"),
        ("a.parquet", b"", "but not as a.parquet"),
        ("a.jsonl.gz", gzip.compress(lines(NEURONPEDIA).encode())[:-12], "a.jsonl.gz is not a whole gzip file"),
        ("a.jsonl.gz", b"not gzip", "a.jsonl.gz is not a whole gzip file"),
    ],
)
def test_wrong_files(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        sw.Labels.load(tmp_path / name)


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file of labels at"):
        sw.Labels.load(tmp_path / "none.json")
    with pytest.raises(FileNotFoundError, match=r"holds no .jsonl and no .jsonl.gz"):
        sw.Labels.load(tmp_path)


# Kept in a file


def test_kept_in_a_file(tmp_path, sea):
    file = tmp_path / "labels.sqlite"
    made = sw.Labels(SEA, source="made here", author="person", file=file)
    again = sw.Labels.open(file)
    for labels in (made, again):
        assert labels.search("sea wav") == sea.search("sea wav")
        assert (list(labels), labels.of(2)) == (SEA, sea.of(2))
    assert [path.name for path in tmp_path.iterdir()] == ["labels.sqlite"]
    with pytest.raises(FileExistsError, match=r"already; open it with Labels.open, or remove it"):
        sw.Labels(SEA, file=file)


def test_nothing_is_left_of_a_file_that_failed(tmp_path):
    with pytest.raises(ValueError, match="another dictionary"):
        sw.Labels({"sea": 3}, size=3, file=tmp_path / "labels.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_none(tmp_path):
    file = tmp_path / "labels.sqlite"
    with pytest.raises(FileNotFoundError, match="no file of labels"):
        sw.Labels.open(file)
    file.write_bytes(b"not a database, but long enough to be read as one" * 50)
    with pytest.raises(ValueError, match=r"labels.sqlite is not a whole file"):
        sw.Labels.open(file)
    file.unlink()
    with sqlite3.connect(file) as other:
        other.execute("CREATE TABLE x (y)")
    with pytest.raises(ValueError, match="not a file of labels of this version"):
        sw.Labels.open(file)


# Dictionaries


def test_large_dictionaries_search_their_index():
    import torch

    names = [f"word{n} sea" for n in range(2_500)] + ["sea", "overseas", "", "Sea CAV"]
    cavs = sw.CAV(torch.ones(len(names), 2), names, layer=0)
    assert [feature.index for feature in cavs.search("sea", limit=1)] == [2500]
    assert [feature.index for feature in cavs.search("CAV word1234")] == [1234]
    assert [feature.index for feature in cavs.search("cav vers")] == [2501]
    assert [feature.index for feature in cavs.search("2502")] == [2502], "without a label, by its number"
    assert len(set(cavs.matches("sea"))) == len(list(cavs.matches("sea"))) == 2503
    assert list(cavs.matches("cav")) == list(cavs.matches("")) == list(range(len(names)))
    assert list(cavs.matches('sea" OR *')) == []
    assert "_label_index" not in vars(sw.CAV(torch.ones(3, 2), ["a", "b", "c"], layer=0))


# A person's own


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.setenv("STEERWIDGETS_DATA", str(tmp_path / "data"))
    return UserLabels("sae:1", size=10)


def test_labels_notes_and_ratings(mine, tmp_path):
    assert mine[3] == Entry(3)
    entry = mine.set(3, label="sea", rating=4)
    assert (entry.label, entry.note, entry.rating) == ("sea", "", 4)
    assert entry.changed > 1e9
    mine.set(3, note="weak below 20")
    again = UserLabels("sae:1")
    assert (again[3].label, again[3].note, again[3].rating) == ("sea", "weak below 20", 4)
    assert (len(mine), [entry.index for entry in mine]) == (1, [3])
    assert mine.set(3, rating="none").rating is None
    assert UserLabels("sae:2")[3] == Entry(3), "another dictionary's"
    assert (tmp_path / "data" / "user_labels.sqlite").is_file()
    mine.set(3, label="", note="")
    assert len(mine) == 0
    mine.set(4, label="city")
    mine.remove(4)
    assert mine[4] == Entry(4)


def test_verdicts(mine, tmp_path):
    mine.set(3, label="sea", verdict="too wide")
    mine.set(3, rating=2)
    mine.set(5, verdict="true")
    again = UserLabels("sae:1")
    assert (again[3].label, again[3].verdict, again[3].rating) == ("sea", "too wide", 2)
    assert dict(again.verdicts) == {3: "too wide", 5: "true"}
    assert dict(again.labels) == {3: "sea"}
    mine.export_json(tmp_path / "mine.json")
    other = UserLabels("sae:1", folder=tmp_path / "other")
    other.import_json(tmp_path / "mine.json")
    assert list(other) == list(mine)
    mine.set(5, verdict="")
    assert len(mine) == 1


@pytest.mark.parametrize("verdict", ["maybe", 3, True])
def test_wrong_verdicts(mine, tmp_path, verdict):
    with pytest.raises(ValueError, match="A verdict is one of 'true', 'too wide', 'too narrow', 'mixed', 'wrong'"):
        mine.set(3, verdict=verdict)
    assert len(mine) == 0
    mine.set(3, verdict="true")
    mine.export_json(tmp_path / "mine.json")
    entries = json.loads((tmp_path / "mine.json").read_text())
    entries["entries"][0]["verdict"] = verdict
    (tmp_path / "mine.json").write_text(json.dumps(entries))
    with pytest.raises(ValueError, match=r"Entry 0 of mine\.json is wrong: A verdict is one of"):
        UserLabels("sae:1", folder=tmp_path / "other").import_json(tmp_path / "mine.json")


def test_a_file_of_before_there_were_verdicts_takes_them(tmp_path):
    kept = sqlite3.connect(tmp_path / "user_labels.sqlite")
    kept.execute(
        "CREATE TABLE entries (dictionary TEXT NOT NULL, feature INTEGER NOT NULL, label TEXT NOT NULL,"
        " note TEXT NOT NULL, rating INTEGER, changed REAL NOT NULL, PRIMARY KEY (dictionary, feature)) WITHOUT ROWID"
    )
    kept.execute("INSERT INTO entries VALUES ('sae:1', 3, 'sea', '', 4, 1.0)")
    kept.commit()
    kept.close()
    mine, beside = UserLabels("sae:1", folder=tmp_path), UserLabels("sae:1", folder=tmp_path)
    assert mine[3] == Entry(3, "sea", "", 4, 1.0, "")
    mine.set(3, verdict="mixed")
    assert beside[3].verdict == "mixed"


@pytest.mark.parametrize("rating", [0, 6, 2.5, True, "5"])
def test_wrong_ratings(mine, rating):
    with pytest.raises(ValueError, match="whole number from 1 to 5, but"):
        mine.set(3, rating=rating)


def test_wrong_entries(mine):
    with pytest.raises(IndexError, match="features 0 to 9, but 10 was asked for"):
        mine.set(10, label="sea")
    with pytest.raises(IndexError, match="counted from 0, but -1"):
        UserLabels("sae:1").set(-1, label="sea")
    with pytest.raises(ValueError, match="A label is text, but 3 was given"):
        mine.set(1, label=3)


def test_export_and_import(mine, tmp_path):
    mine.set(1, label="sea", rating=5)
    mine.set(2, note="é 海")
    path = tmp_path / "mine.json"
    mine.export_json(path)
    other = UserLabels("sae:1", size=10, folder=tmp_path / "other")
    assert other.import_json(path) == 2
    assert list(other) == list(mine)
    assert other.import_json(path) == 0, "of the same age, the one here stays"
    other.set(1, label="ocean")
    assert other.import_json(path) == 0
    assert other.import_json(path, merge="mine") == 0
    assert (other[1].label, other[1].rating) == ("ocean", 5)
    assert other.import_json(path, merge="theirs") == 2
    assert list(other) == list(mine)
    mine.set(2, note="newer")
    mine.export_json(path)
    assert other.import_json(path) == 1
    assert other[2].note == "newer"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": "x"}, "not a file that UserLabels.export_json wrote"),
        ({"version": 9}, "another version"),
        ({"dictionary": "sae:2"}, "labels of the dictionary 'sae:2', but these are of 'sae:1'"),
        ({"entries": {}}, "not a file that"),
        ({"entries": [{"index": 1}, {"index": 10}]}, "Entry 1 of x.json is wrong: The dictionary has features 0 to 9"),
        ({"entries": [{"index": 1}, {"index": 2, "rating": 9}]}, "Entry 1 of x.json is wrong: A rating"),
        ({"entries": [{"index": 1, "label": 3}]}, "Entry 0 of x.json has"),
        ({"entries": [{"index": 1, "colour": "red"}]}, "Entry 0 of x.json is not made of"),
        ({"entries": [3]}, "Entry 0 of x.json is not made of"),
    ],
)
def test_an_import_takes_all_or_nothing(mine, tmp_path, change, sentence):
    path = tmp_path / "x.json"
    mine.export_json(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=sentence):
        mine.import_json(path)
    assert len(mine) == 0
    path.write_text('{"format": ')
    with pytest.raises(ValueError, match=r"x.json is not whole JSON"):
        mine.import_json(path)
    with pytest.raises(ValueError, match="merge is one of 'newer', 'mine', 'theirs', but 'all'"):
        mine.import_json(path, merge="all")
    with pytest.raises(FileNotFoundError, match="no file of user labels"):
        mine.import_json(tmp_path / "none.json")


def test_two_kernels_write_at_once(mine):
    script = (
        "import sys; from steerwidgets.labels.own import UserLabels; mine = UserLabels('sae:1')\n"
        "for n in range(40): mine.set(n % 10, **{sys.argv[1]: f'{sys.argv[1]} {n}'})"
    )
    kernels = [subprocess.Popen([sys.executable, "-c", script, field]) for field in ("label", "note")]
    threads = [threading.Thread(target=mine.set, args=(n,), kwargs={"rating": 1 + n % 5}) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [kernel.wait() for kernel in kernels] == [0, 0]
    assert [(e.label, e.note, e.rating) for e in mine] == [
        (f"label {30 + n}", f"note {30 + n}", 1 + n % 5) for n in range(10)
    ]


def test_where_they_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("STEERWIDGETS_DATA", str(tmp_path / "here"))
    assert data_dir() == tmp_path / "here"
    monkeypatch.delenv("STEERWIDGETS_DATA")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert data_dir() == tmp_path / "steerwidgets"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert data_dir().name in {"steerwidgets", "Data"}


def test_folders_and_files_that_do_not_serve(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Labels cannot be kept in .*STEERWIDGETS_DATA"):
        UserLabels("sae:1", folder=tmp_path / "file" / "folder")
    (tmp_path / "user_labels.sqlite").write_bytes(b"not a database, but long enough to be read as one" * 50)
    with pytest.raises(ValueError, match="is not a whole file of user labels"):
        UserLabels("sae:1", folder=tmp_path)
