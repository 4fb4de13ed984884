"""The request "find": what a list of features shows, in every mode, filtered, sorted and cut into pages."""

import json
import random
import time

import pytest
import torch
from support import kinds, sae
from support.naive import stream_module
from widgets.front_end import FrontEnd
from widgets.recipe_editor.test_shelf import Huge
from widgets.test_malformed import assert_sentence

import steerwidgets as sw
from steerwidgets.widgets.recipe_editor.finder import FeatureFinder
from steerwidgets.widgets.recipe_editor.shelf import FeatureShelf

TEXT = "The sea was calm."
SIZE = sae.SIZE


@pytest.fixture
def first():
    """An SAE with labels, and statistics of all but one of its features."""
    made = sae.make(labels={3: "the sea", 5: "a calm sea", 7: "cooking"})
    drawn = torch.Generator().manual_seed(2)
    density = torch.rand(SIZE, generator=drawn) / 10
    maximum = 1 + torch.rand(SIZE, generator=drawn)
    density[9] = maximum[9] = torch.nan
    made.statistics = sw.FeatureStatistics(maximum, density=density, p995=maximum / 2, corpus="ten tokens")
    return made


@pytest.fixture
def second():
    return sae.make(seed=1)


@pytest.fixture
def finder(lm, first, second):
    return FeatureFinder(FeatureShelf([first, second]), lm)


def indices(answer, dictionary=None):
    rows = answer["features"]
    return [row["index"] for row in rows if dictionary is None or row["dictionary"] == dictionary.fingerprint]


def residual(lm, site, text=TEXT):
    """A stream of a text and which of its tokens count, by hand."""
    prompt = lm.encode(text, chat=False)
    kept = []
    module, _ = stream_module(lm.model, site.layer, site.stream)
    handle = module.register_forward_hook(lambda _m, _a, out: kept.append(out[0] if isinstance(out, tuple) else out))
    with torch.no_grad():
        lm.model(torch.tensor([prompt.token_ids]))
    handle.remove()
    h = kept[0][0] if kept[0].ndim == 3 else kept[0]
    norms = h.norm(dim=-1)
    counts = torch.arange(len(h)) > 0
    counts &= norms <= 10 * norms[1:].median()
    counts &= ~torch.tensor(prompt.special)
    return h, counts


# Labels


def test_without_a_query_every_feature_is_there_page_by_page(finder, first, second):
    pages = [finder.find({"offset": offset, "limit": 30}) for offset in range(0, 2 * SIZE, 30)]
    assert {page["total"] for page in pages} == {2 * SIZE}
    rows = [(row["dictionary"], row["index"]) for page in pages for row in page["features"]]
    assert rows == [(d.fingerprint, i) for d, i in worth_looking_at(first, second)]
    assert finder.find({"offset": 500})["features"] == []


def worth_looking_at(*several):
    """Every feature, the labelled ones of all dictionaries first, by hand."""
    every = [(d, i) for d in several for i in range(d.size)]
    return sorted(every, key=lambda each: not (each[0].labels and each[0].labels[each[1]]))


def test_the_list_begins_with_labels_and_of_these_with_the_tested_ones(first, second, tmp_path, monkeypatch):
    monkeypatch.setenv("STEERWIDGETS_DATA", str(tmp_path))  # what other tests said of such features is not asked
    first.label_scores = {5: {"detection": 0.6}, 7: {"detection": 0.9}}
    second.labels = {11: "music", 2: "law"}
    finder = FeatureFinder(FeatureShelf([first, second]))
    begins = [(row["dictionary"], row["index"]) for row in finder.find({"limit": 8})["features"]]
    a, b = first.fingerprint, second.fingerprint
    assert begins == [(a, 7), (a, 5), (a, 3), (b, 2), (b, 11), (a, 0), (a, 1), (a, 2)]
    assert [row["index"] for row in finder.catalogue()["features"][:3]] == [7, 5, 3]
    assert [row["index"] for row in finder.find({"sort": "index", "limit": 3})["features"]] == [0, 1, 2]


def test_what_the_user_labels_comes_first(first, tmp_path, monkeypatch):
    monkeypatch.setenv("STEERWIDGETS_DATA", str(tmp_path))
    first.label_scores = {7: {"detection": 0.9}}
    finder = FeatureFinder(FeatureShelf(first))
    assert indices(finder.find({"limit": 3})) == [7, 3, 5]
    first.user_labels.set(20, label="mine")
    assert indices(finder.find({"limit": 4})) == [20, 7, 3, 5]


def test_where_no_label_was_tested_output_scores_order_the_labelled(lm, first):
    lm.output_scores([first[5], first[9]])
    assert indices(FeatureFinder(FeatureShelf(first), lm).find({"limit": 4})) == [5, 3, 7, 0]


def test_the_order_of_a_million_is_made_once(monkeypatch):
    huge = Huge(1_000_000)
    huge.labels = {999_999: "the last"}
    finder = FeatureFinder(FeatureShelf(huge))
    assert indices(finder.find({"limit": 3})) == [999_999, 0, 1]
    monkeypatch.setattr("numpy.argsort", None)
    began = time.perf_counter()
    for offset in range(0, 500_000, 100_000):
        # Another search each time, so that nothing but the order is kept.
        found = finder.find(
            {"filters": {"density": None, "labelled": False}, "offset": offset, "normalise": offset > 0}
        )
        assert found["total"] == 1_000_000
    assert time.perf_counter() - began < 2


def test_words_find_labels_and_numbers_find_features(finder, first, second):
    found = finder.find({"query": "sea"})
    assert (indices(found), found["total"]) == ([3, 5], 2)
    assert [row["label"] for row in found["features"]] == ["the sea", "a calm sea"]
    by_number = finder.find({"query": "12"})
    assert [(row["dictionary"], row["index"]) for row in by_number["features"]] == [
        (first.fingerprint, 12),
        (second.fingerprint, 12),
    ]


def test_a_row_holds_what_a_list_shows(finder, first):
    row = finder.find({"query": "cooking"})["features"][0]
    assert row["key"] == first[7].key
    assert row["dictionary"] == first.fingerprint
    assert row["density"] == pytest.approx(float(first.statistics.density[7]), rel=1e-4)
    assert row["max_activation"] == pytest.approx(first.maximum(7), rel=1e-4)
    assert (row["histogram"], row["value"], row["at"], row["output_score"]) == (None, None, None, None)
    assert set(row["ops"]) == {"SAE.clamp", "SAE.scale", "SAE.ablate", "add", "add_relative"}


def test_histograms_have_twelve_bars_of_log_counts():
    demo = sw.SAE.demo()
    demo.labels = None
    rows = FeatureFinder(FeatureShelf(demo)).find({"limit": 5})["features"]
    for row in rows:
        counts = demo.evidence(row["index"]).counts
        assert len(row["histogram"]) == 12
        assert max(row["histogram"]) == 64
        assert all(isinstance(bar, int) and 0 <= bar <= 64 for bar in row["histogram"])
        assert (row["histogram"][0] == 0) == (sum(counts[: round(len(counts) / 12)]) == 0)


# Filters and sorts


@pytest.mark.parametrize("sort", ["density", "maximum"])
@pytest.mark.parametrize("descending", [True, False])
def test_sorted_by_a_number_the_unknown_last(finder, first, second, sort, descending):
    found = finder.find({"sort": sort, "descending": descending, "limit": 100})
    numbers = getattr(first.statistics, sort)
    known = sorted((i for i in range(SIZE) if i != 9), key=lambda i: float(numbers[i]), reverse=descending)
    assert indices(found)[: SIZE - 1] == known
    assert indices(found)[SIZE - 1 :] == [9, *range(SIZE)]


def test_sorted_by_index(finder):
    up = finder.find({"sort": "index", "limit": 100})
    down = finder.find({"sort": "index", "descending": True, "limit": 100})
    assert [row["key"] for row in down["features"]] == [row["key"] for row in up["features"]][::-1]


def test_filters(finder, first, second):
    density = first.statistics.density
    within = sorted((i for i in range(SIZE) if 0.02 <= density[i] <= 0.05), key=lambda i: i not in (3, 5, 7))
    found = finder.find({"filters": {"density": [0.02, 0.05]}, "limit": 100})
    assert (indices(found), found["total"]) == (within, len(within))
    assert indices(finder.find({"filters": {"labelled": True}})) == [3, 5, 7]
    both = finder.find({"filters": {"labelled": True, "density": [None, 0.05]}})
    assert indices(both) == [i for i in (3, 5, 7) if density[i] <= 0.05]
    other = finder.find({"filters": {"dictionaries": [second.fingerprint]}, "limit": 100})
    assert indices(other, second) == list(range(SIZE))
    assert other["total"] == SIZE
    of_words = finder.find({"query": "sea", "sort": "density", "filters": {"labelled": True}})
    assert indices(of_words) == sorted((3, 5), key=lambda i: -float(density[i]))


def test_the_users_verdicts_are_shown_and_filter(lm, first, second, tmp_path, monkeypatch):
    monkeypatch.setenv("STEERWIDGETS_DATA", str(tmp_path))
    finder = FeatureFinder(FeatureShelf([first, second]), lm)
    assert {row["verdict"] for row in finder.find({})["features"]} == {""}
    first.user_labels.set(5, verdict="wrong")
    first.user_labels.set(7, verdict="mixed")
    second.user_labels.set(2, verdict="wrong")
    rows = {(row["dictionary"], row["index"]): row["verdict"] for row in finder.find({"limit": 1000})["features"]}
    assert rows[first.fingerprint, 5] == rows[second.fingerprint, 2] == "wrong"
    found = finder.find({"filters": {"verdicts": ["wrong"]}})
    assert (indices(found, first), indices(found, second), found["total"]) == ([5], [2], 2)
    assert indices(finder.find({"filters": {"verdicts": ["mixed", "wrong"]}}), first) == [5, 7]
    first.user_labels.set(5, verdict="true")
    assert indices(finder.find({"filters": {"verdicts": ["wrong"]}}), first) == []
    assert finder.find({"filters": {"verdicts": []}})["total"] == 0


def test_what_becomes_known_later_is_seen(finder, second):
    search = {"sort": "maximum", "filters": {"dictionaries": [second.fingerprint]}, "limit": 3}
    assert indices(finder.find(search)) == [0, 1, 2]
    second.statistics = sw.FeatureStatistics(torch.arange(SIZE).float())
    assert indices(finder.find(search)) == [SIZE - 1, SIZE - 2, SIZE - 3]
    second.labels = {4: "new"}
    assert indices(finder.find({"filters": {"labelled": True}}), second) == [4]


# By a text


@pytest.mark.parametrize("rank", ["maximum", "mean"])
def test_what_fires_on_a_text(finder, lm, first, second, rank):
    found = finder.find({"mode": "prompt", "query": TEXT, "rank": rank, "limit": 100})
    expected = []
    for dictionary in (first, second):
        h, counts = residual(lm, dictionary.site)
        values = dictionary.encode(h)[counts]
        best = values.max(dim=0).values if rank == "maximum" else values.mean(dim=0)
        expected += [(float(v), dictionary.fingerprint, i) for i, v in enumerate(best) if v > 0]
    expected.sort(key=lambda each: -each[0])
    assert found["total"] == len(expected)
    assert [row["value"] for row in found["features"]] == pytest.approx([each[0] for each in expected[:100]], rel=1e-3)
    assert [row["index"] for row in found["features"][:5]] == [each[2] for each in expected[:5]]
    assert [token["id"] for token in found["tokens"]] == list(lm.encode(TEXT, chat=False).token_ids)
    row = found["features"][0]
    assert row["at"]["token"]["id"] == found["tokens"][row["at"]["position"]]["id"]
    assert ("mean" if rank == "mean" else "largest") in found["note"]


def test_a_span_and_division(finder, lm, first, second):
    span = finder.find(
        {"mode": "prompt", "query": TEXT, "rank": "span", "span": [3, 5], "normalise": True, "limit": 100}
    )
    h, counts = residual(lm, first.site)
    counts &= torch.tensor([3 <= i <= 5 for i in range(len(h))])
    shares = first.encode(h)[counts].max(dim=0).values / first.statistics.p995
    expected = sorted((float(v) for v in shares if v > 0), reverse=True)
    assert [row["value"] for row in span["features"]] == pytest.approx(expected, rel=1e-3)
    assert all(3 <= row["at"]["position"] <= 5 for row in span["features"])
    assert 9 not in indices(span)
    assert "p99.5" in span["note"]
    assert "left out, since nothing is known of their activations: SAE of 40 features" in span["note"]


def test_division_where_nothing_is_known_leaves_raw_values(lm, second):
    finder = FeatureFinder(FeatureShelf(second), lm)
    raw, divided = (finder.find({"mode": "prompt", "query": TEXT, "normalise": n}) for n in (False, True))
    assert raw["features"] == divided["features"]
    assert "not divided" in divided["note"]


def test_another_ranking_needs_no_model_run(finder, lm):
    finder.find({"mode": "prompt", "query": TEXT})
    runs = []
    handle = lm.architecture.base.register_forward_pre_hook(lambda *_: runs.append(1))
    finder.find({"mode": "prompt", "query": TEXT, "rank": "mean"})
    finder.find({"mode": "prompt", "query": TEXT, "rank": "span", "span": [2, 6], "offset": 5})
    assert not runs
    finder.find({"mode": "prompt", "query": TEXT + " Yes."})
    handle.remove()
    assert len(runs) == 1


def test_single_directions_are_found_too(lm, first):
    direction = sw.Direction(first[0].vector, first.site, "my own sea")
    finder = FeatureFinder(FeatureShelf([first, direction]), lm)
    by_label = finder.find({"query": "own sea"})
    assert [row["key"] for row in by_label["features"]] == [direction.key]
    assert by_label["features"][0]["dictionary"] == ""
    alike = finder.find({"mode": "similar", "key": direction.key})
    assert alike["features"][0]["key"] == first[0].key
    for args in ({"mode": "prompt", "query": TEXT}, {"mode": "token", "query": "e"}):
        found = finder.find({**args, "limit": 100})
        mine = [row for row in found["features"] if row["key"] == direction.key]
        assert len(mine) <= 1
    assert finder.find({"mode": "token", "query": "e", "limit": 100})["total"]


# By a token, by likeness


@pytest.mark.parametrize("promotes", [True, False])
def test_what_promotes_a_token(finder, lm, first, second, promotes):
    found = finder.find({"mode": "token", "query": "e", "promotes": promotes, "limit": 100})
    token = lm.encode("e", chat=False).token_ids[-1]
    weight, gain = lm.model.get_output_embeddings().weight, lm.model.model.norm.weight
    expected = []
    for dictionary in (first, second):
        scores = dictionary.directions() @ (weight[token] * gain).detach()
        expected += [(float(v), i) for i, v in enumerate(scores) if (v > 0 if promotes else v < 0)]
    expected.sort(reverse=promotes)
    assert found["total"] == len(expected)
    assert [row["value"] for row in found["features"]] == pytest.approx([v for v, _ in expected], rel=1e-3)
    assert f"id {token}" in found["note"]
    by_id = finder.find({"mode": "token", "query": f"#{token}", "promotes": promotes, "limit": 100})
    assert by_id["features"] == found["features"]


def test_what_points_the_same_way(finder, first, second):
    found = finder.find({"mode": "similar", "key": first[3].key, "limit": 100})
    rows = torch.cat([first.directions(), second.directions()])
    cosines = torch.nn.functional.cosine_similarity(rows, first[3].vector[None], dim=-1)
    expected = [c for i, c in enumerate(cosines.tolist()) if i != 3]
    assert [row["value"] for row in found["features"]] == pytest.approx(sorted(expected, reverse=True), abs=1e-4)
    assert first[3].key not in [row["key"] for row in found["features"]]


def test_features_of_other_sites_are_named(lm, first):
    elsewhere = kinds.make("CAV", layer=2)
    found = FeatureFinder(FeatureShelf([first, elsewhere]), lm).find({"mode": "similar", "key": first[3].key})
    assert found["total"] == SIZE - 1
    assert "at other sites: CAV of 5 features at block 2" in found["note"]


def test_an_empty_query_of_a_mode_says_what_to_write(finder):
    for mode in ("prompt", "token"):
        found = finder.find({"mode": mode, "query": ""})
        assert (found["features"], found["total"]) == ([], 0)
        assert found["note"].startswith("Write a")


def test_without_a_model_labels_numbers_and_likeness_are_left(first):
    finder = FeatureFinder(FeatureShelf(first))
    assert finder.find({"query": "sea"})["total"] == 2
    assert finder.find({"mode": "similar", "key": first[3].key})["total"] == SIZE - 1
    for mode in ("prompt", "token"):
        with pytest.raises(ValueError, match=r"has no model.*sw\.FeaturePicker"):
            finder.find({"mode": mode, "query": "sea"})


# What travels


def test_a_page_by_column_is_the_same_page(finder):
    search = {"mode": "prompt", "query": TEXT, "limit": 30}
    plain, packed = finder.find(search), finder.find(search | {"compact": True})
    shared, columns = packed["shared"], packed["columns"]
    rows = [
        {**shared[of], **{name: column[i] for name, column in columns.items()}} for i, of in enumerate(packed["of"])
    ]
    assert [{**row, "key": f"{row['dictionary']}/{row['index']}"} for row in rows] == plain["features"]
    assert packed["rows"] == 30
    assert {name: packed[name] for name in ("total", "note", "tokens")} == {
        name: plain[name] for name in ("total", "note", "tokens")
    }
    assert len(json.dumps(packed)) < 0.6 * len(json.dumps(plain))
    assert finder.find({"query": "nothing like it", "compact": True})["rows"] == 0


def test_a_hundred_rows_stay_under_twenty_kilobytes():
    demo = sw.SAE.demo()
    found = FeatureFinder(FeatureShelf(demo)).find(
        {"limit": 100, "compact": True, "filters": {"labelled": True}, "sort": "density"}
    )
    assert found["rows"] == 100
    assert len(json.dumps(found, ensure_ascii=False, separators=(",", ":"))) <= 20_000


def test_a_million_features_are_sorted_and_filtered_without_being_made():
    huge = Huge(1_000_000)
    drawn = torch.Generator().manual_seed(0)
    huge.statistics = sw.FeatureStatistics(
        torch.rand(1_000_000, generator=drawn), density=torch.rand(1_000_000, generator=drawn)
    )
    finder = FeatureFinder(FeatureShelf(huge))
    found = finder.find({"sort": "density", "descending": False, "offset": 500_000, "limit": 100})
    order = huge.statistics.density.argsort(stable=True)
    assert indices(found) == order[500_000:500_100].tolist()
    rare = finder.find({"sort": "maximum", "filters": {"density": [0, 0.001]}, "limit": 100})
    few = (huge.statistics.density <= 0.001).nonzero()[:, 0]
    assert rare["total"] == len(few)
    assert indices(rare) == few[huge.statistics.maximum[few].argsort(descending=True, stable=True)][:100].tolist()
    assert huge.made <= 200


# Requests


@pytest.mark.parametrize(
    "args",
    [
        {"mode": "nonsense"},
        {"mode": None},
        {"mode": ["label"]},
        {"mode": "prompt", "query": "half a character \ud83d"},
        {"mode": "prompt", "query": TEXT, "rank": "median"},
        {"mode": "prompt", "query": TEXT, "rank": "span", "span": [500, 501]},
        {"mode": "prompt", "query": TEXT, "rank": "span", "span": [0, 0]},
        {"mode": "prompt", "query": TEXT, "span": "all"},
        {"mode": "prompt", "query": TEXT, "span": [1]},
        {"mode": "prompt", "query": TEXT, "span": [1, -2]},
        {"mode": "token", "query": "several tokens at once"},
        {"mode": "token", "query": "#99999999"},
        {"mode": "similar"},
        {"mode": "similar", "key": "cav:0000000000000000/0"},
        {"mode": "similar", "key": ["a"]},
        {"query": None},
        {"query": 5},
        {"normalise": "yes"},
        {"promotes": 1, "mode": "token", "query": "e"},
        {"sort": "nonsense"},
        {"sort": None},
        {"descending": "down"},
        {"filters": None},
        {"filters": []},
        {"filters": {"density": 5}},
        {"filters": {"density": [0, "a"]}},
        {"filters": {"density": [float("nan"), 1]}},
        {"filters": {"labelled": 1}},
        {"filters": {"dictionaries": "sae"}},
        {"filters": {"dictionaries": [5]}},
        {"filters": {"verdicts": "wrong"}},
        {"filters": {"verdicts": ["so-so"]}},
        {"filters": {"dictionaries": ["sae:0000000000000000"]}},
        {"offset": -1},
        {"offset": "first"},
        {"offset": 1.5},
        {"limit": -5},
        {"limit": None},
        {"limit": float("nan")},
        {"compact": "yes"},
    ],
    ids=lambda args: str(args)[:70],
)
def test_a_search_of_wrong_arguments_is_answered_by_one_sentence(panel, page, args):
    answer = page.call("find", **args)
    assert answer["type"] == "error", answer
    assert_sentence(answer["error"]["message"])
    assert page.call("find", query="sea")["value"]["total"] == 1


@pytest.mark.parametrize("keys", [None, "a", [5], ["cav:0000000000000000/0"], {"a": 1}], ids=str)
def test_scores_of_wrong_keys_are_answered_by_one_sentence(panel, page, keys):
    answer = page.call("score", keys=keys)
    assert answer["type"] == "error"
    assert_sentence(answer["error"]["message"])


def test_scores_are_measured_told_and_sorted_by(make_panel, lm, first):
    panel = make_panel(first)
    page = FrontEnd(panel)
    keys = [first[i].key for i in (4, 8, 15)]
    request = page.ask("score", keys=keys)
    scores = page.end(request)["value"]["scores"]
    assert list(scores) == keys
    assert list(scores.values()) == pytest.approx(lm.output_scores([first[i] for i in (4, 8, 15)]), rel=1e-3)
    told = page.of(request, "progress")
    assert (told[0]["done"], told[-1]["done"], told[-1]["of"]) == (0, 3, 3)
    found = page.call("find", sort="output_score", limit=5)["value"]
    expected = sorted((4, 8, 15), key=lambda i: -scores[first[i].key])
    assert indices(found)[:3] == expected
    assert [row["output_score"] for row in found["features"][:3]] == [scores[first[i].key] for i in expected]
    assert found["features"][3]["output_score"] is None


def test_scores_can_be_stopped(make_panel, first, gate):
    page = FrontEnd(make_panel(first, prompt=""))
    request = page.ask("score", keys=[first[i].key for i in range(SIZE)])
    page.wait(gate.held.is_set, "the first batch")
    page.cancel(request)
    gate.open()
    assert page.end(request)["type"] == "cancelled"


def test_ops_of_every_dictionary_are_known_from_the_start(make_panel, lm, first):
    panel = make_panel([Huge(600), kinds.make("MFA")])
    assert "MFA.pull" in panel.ops or "pull" in panel.ops


def test_random_searches_agree_with_a_naive_list(finder, first, second):
    """Filters, sorts and pages together, against the same thing done feature by feature."""
    drawn = random.Random(0)
    every = worth_looking_at(first, second)

    def number(d, i, name):
        return d._known_of(name, i)

    for _ in range(40):
        sort, down = drawn.choice(["match", "density", "maximum"]), drawn.random() < 0.5
        labelled, dense = drawn.random() < 0.3, drawn.random() < 0.4
        chosen = drawn.choice([None, [first.fingerprint], [second.fingerprint]])
        offset = drawn.randrange(0, 30)
        answer = finder.find(
            {
                "sort": sort,
                "descending": down,
                "offset": offset,
                "limit": 20,
                "filters": {
                    "density": [0.01, 0.07] if dense else None,
                    "labelled": labelled,
                    "dictionaries": chosen,
                },
            }
        )
        kept = [
            (d, i)
            for d, i in every
            if (chosen is None or d.fingerprint in chosen)
            and (not labelled or (d.labels and d.labels[i]))
            and (not dense or (number(d, i, "density") is not None and 0.01 <= number(d, i, "density") <= 0.07))
        ]
        if sort != "match":
            known = [each for each in kept if number(*each, sort) is not None]
            known.sort(key=lambda each: number(*each, sort), reverse=down)
            kept = known + [each for each in kept if number(*each, sort) is None]
        assert answer["total"] == len(kept)
        assert [row["key"] for row in answer["features"]] == [d[i].key for d, i in kept[offset : offset + 20]]
