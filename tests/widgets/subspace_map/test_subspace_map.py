"""SubspaceMap from Python and from its page's side: what it draws, reads, steers, refuses, keeps and sends."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from support import kinds, pages, sae
from support.hooks import all_hooks
from support.mfa import Reference, make_state
from support.models import D_MODEL, blocks_of
from widgets.front_end import FrontEnd

import steerwidgets as sw
from steerwidgets.lens.misfit import misfit
from steerwidgets.widgets.arrays import unpack

TEXTS = [
    "The user asks the assistant about the ocean, and about the harbour.",
    "Name a city by the sea, please. What would you do there?",
    "A short one.",
    "Many words were written down, one after the other, in a book about boats.",
]
RANK = 3


def mixture(labels=None, **settings):
    return sw.MFA(*make_state(kinds.SIZE, D_MODEL, RANK), layer=1, labels=labels, **settings)


@pytest.fixture
def mfa():
    return mixture(["the sea", "cooking", "cities", "asking", "the rest"])


@pytest.fixture
def lm(llama):
    return llama


@pytest.fixture
def make(lm, mfa):
    made = []

    def make_(dictionary=None, component=None, **settings):
        made.append(sw.SubspaceMap(lm, mfa if dictionary is None else dictionary, component, **settings))
        return made[-1]

    yield make_
    for each in made:
        each.close()


@pytest.fixture
def page_of():
    return FrontEnd


def fullest(lm, mfa):
    """A component that has tokens of `TEXTS`."""
    where = mfa.belonging(mfa.points(lm, TEXTS))
    return int(torch.bincount(where.component).argmax())


# What it draws


def test_all_components_lie_where_their_centroids_do_sized_by_weight(make, mfa):
    widget = make()
    found = widget.features
    expected = PCA(2).fit_transform(mfa.centroids.double().numpy())
    places = unpack(found["places"])
    np.testing.assert_allclose(places * np.sign((places * expected).sum(0)), expected, atol=1e-4)
    np.testing.assert_allclose(unpack(found["weight"]), mfa.mixing.numpy())
    assert found["labels"] == list(mfa.labels)
    assert unpack(found["index"]).tolist() == list(range(kinds.SIZE))
    assert widget.component == int(mfa.mixing.argmax())
    assert (widget.facts["rank"], widget.facts["kind"], widget.near) == (RANK, "MFA", {})


def test_tokens_stand_at_their_z_with_their_context(lm, make, mfa):
    k = fullest(lm, mfa)
    widget = make(component=k, texts=TEXTS)
    mine = widget.read()
    points = mfa.points(lm, TEXTS)
    expected = mfa[k].points(points)
    assert widget.tokens["count"] == len(expected) == len(mine) > 2
    np.testing.assert_allclose(unpack(widget.tokens["z"]), expected.z.numpy(), atol=1e-4)
    np.testing.assert_allclose(unpack(widget.tokens["responsibility"]), expected.responsibility.numpy(), atol=1e-5)
    at, starts = unpack(widget.texts["at"]), unpack(widget.texts["starts"])
    said = [widget.texts["tokens"][i] for i in at[unpack(widget.tokens["at"])]]
    assert [token["id"] for token in said] == [token.id for token in expected.tokens]
    for text, ids in enumerate(points.texts):
        assert [widget.texts["tokens"][i]["id"] for i in at[starts[text] : starts[text + 1]]] == list(ids)
    assert widget.contexts([0]) == [str(points.context(int(expected.rows[0]), 0.0, 16))]
    widget.selected = [1, 0]
    assert len(widget.contexts()) == 2


def test_the_principal_plane_that_the_page_draws_is_the_plain_calls(lm, make, mfa):
    k = fullest(lm, mfa)
    widget = make(component=k, texts=TEXTS)
    mine = widget.read()
    onto, back = (unpack(widget.tokens["pca"][name]) for name in ("onto", "back"))
    plane = mine.plane(0, 1, pca=True)
    np.testing.assert_allclose(onto[:2], plane.onto.numpy(), atol=1e-4)
    np.testing.assert_allclose(back[:, :2], plane.back.numpy(), atol=1e-4)
    np.testing.assert_allclose(onto @ back, np.eye(len(onto)), atol=1e-4)


def test_clusters_count_all_and_are_named_by_their_tokens(lm, make, mfa):
    widget = make(component=fullest(lm, mfa), texts=TEXTS, clusters=2)
    mine = widget.read()
    which = unpack(widget.tokens["cluster"])
    clusters = widget.tokens["clusters"]
    assert [each["count"] for each in clusters] == np.bincount(which).tolist()
    own = [{mine.tokens[i].id for i in np.flatnonzero(which == c)} for c in range(len(clusters))]
    for cluster, ids in zip(clusters, own, strict=True):
        assert {name["id"] for name in cluster["names"]} <= ids


def test_another_component_needs_no_other_reading(lm, make, mfa, page_of, monkeypatch):
    widget = make(component=0, texts=TEXTS)
    page = page_of(widget)
    widget.read()
    k = fullest(lm, mfa)
    monkeypatch.setattr(type(mfa), "points", None)
    other = (k + 1) % mfa.size
    for index in (k, other, k):
        assert page.call("look", feature=index)["type"] == "result"
        assert widget.component == widget.tokens["component"] == index
        assert widget.target == {"a": 0.6, "z": [0.0] * RANK}
    widget.component = other
    assert widget.facts["label"] == mfa.label(other)
    assert widget.tokens["component"] == other


def test_points_that_were_read_already_are_shown_at_once(lm, make, mfa):
    points = mfa.points(lm, TEXTS)
    widget = make(component=fullest(lm, mfa), texts=points)
    assert widget.status["read"] == len(points)
    assert widget.tokens["count"] == len(widget.points)


def test_the_examples_of_the_dictionary_are_what_is_read_by_default(lm, make):
    data = sw.MFA(*make_state(sae.SIZE, D_MODEL, RANK), layer=1)
    data.feature_data = pages.TextEvidence(lm, pages.PLAIN)
    widget = make(data, 1)
    assert widget.facts["problem"] == ""
    widget.read()
    assert widget.status["texts"] == 1  # each window once
    assert widget.status["examples"]


# Other kinds


def test_directions_lie_by_cosine_with_the_nearest_linked(lm, make):
    dictionary = pages.dictionary(lm, pages.PLAIN)
    widget = make(dictionary, 3)
    rows = widget.near["rows"]
    plain = dictionary.nearest(dictionary[3], 11)
    expected = [each.index for each in plain.features if each.index != 3][:10]
    assert [row["index"] for row in rows[:10]] == expected
    evidence = dictionary.evidence(3)
    assert {row["index"]: row["together"] for row in rows if row["together"] is not None} == dict(evidence.coactive)
    places = unpack(widget.features["places"])
    for row in rows:
        np.testing.assert_allclose(row["at"], places[row["index"]], atol=1e-6)
    np.testing.assert_allclose(unpack(widget.features["weight"]), dictionary.statistics.density.numpy())
    assert [steer.feature.index for steer in widget.recipe] == [3]
    assert widget.facts["rank"] == 0


@pytest.mark.parametrize("kind", ["SAE", "ReFT", "CAV"])
def test_every_kind_of_directions_has_a_map(lm, make, kind):
    widget = make(kinds.make(kind, lm), 1)
    assert len(widget.near["rows"]) > 0
    assert "cosine" in widget.summary()
    with pytest.raises(ValueError, match="have no tokens of their own"):
        widget.read()


def test_what_is_too_wide_is_drawn_in_part_and_searched_whole(lm, make, page_of, monkeypatch):
    monkeypatch.setattr("steerwidgets.widgets.subspace_map.content.DRAWN", 8)
    labels = [f"feature number {i}" for i in range(sae.SIZE)]
    widget = make(sae.make(labels=labels), 5)
    drawn = unpack(widget.features["index"]).tolist()
    assert len(drawn) <= 8
    assert (widget.features["size"], len(widget.features["labels"])) == (sae.SIZE, len(drawn))
    found = page_of(widget).call("find", query="number 7")["value"]["found"]
    assert found[0] == {"index": 7, "label": "feature number 7"}


def test_umap_is_asked_for_by_the_page(lm, make, page_of, monkeypatch):
    monkeypatch.setattr("steerwidgets.dictionaries.geometry._umap", lambda x, n, _seed: torch.rand(len(x), n))
    widget = make(sae.make(), 0)
    assert page_of(widget).call("layout", method="umap")["type"] == "result"
    assert widget.features["method"] == "umap"
    assert widget.near["at"] == pytest.approx(unpack(widget.features["places"])[0].tolist())
    assert "by pca or umap" in page_of(widget).call("layout", method=[1])["error"]["message"]


def test_a_layout_that_takes_long_says_so_and_can_be_left(lm, make, page_of, monkeypatch):
    begun, end = threading.Event(), threading.Event()

    def slow(x, n, _seed):
        begun.set()
        assert end.wait(60)
        return torch.rand(len(x), n)

    monkeypatch.setattr("steerwidgets.dictionaries.geometry._umap", slow)
    widget = make(sae.make(), 0)
    page = page_of(widget)
    before = dict(widget.features)
    request = page.ask("layout", method="umap")
    assert begun.wait(60)
    page.cancel(request)
    assert page.end(request)["type"] == "cancelled"
    end.set()
    assert widget.features == before
    assert page.of(request, "progress")[0]["phase"] == "layout"
    assert page.call("layout", method="umap")["type"] == "result"
    assert widget.features["method"] == "umap"


@pytest.mark.parametrize("fits", [True, False])
def test_it_says_where_a_dictionary_does_not_fit(fresh, page_of, fits):
    lm = fresh("llama")
    torch.manual_seed(0)
    if fits:
        torch.manual_seed(0)
        eye = torch.eye(32)
        both = torch.cat([eye, -eye])
        made = sw.SAE(both.T.contiguous(), torch.zeros(64), both, torch.zeros(32), layer=1)
    else:
        made = sae.make()
    widget = sw.SubspaceMap(lm, made, 0)
    assert widget.facts["misfit"] == ""
    widget._repr_mimebundle_()
    page_of(widget).call("find", query="x")  # comes after it in the worker
    assert widget.facts["misfit"] == misfit(lm, made)
    assert bool(widget.facts["misfit"]) is not fits
    widget.look(3)
    assert widget.facts["misfit"] == misfit(lm, made)
    assert widget.facts["misfit"] in widget.summary()
    widget.close()


# What it steers


def test_the_target_is_the_z_of_a_two_stage_pull(model, tokenizer, mfa):
    """Logits after the prompt against plain hooks, on every architecture: `h + a·(μ − h) + W·z` at every position."""
    lm = sw.LanguageModel(model, tokenizer("chatml"))
    reference = Reference(make_state(kinds.SIZE, D_MODEL, RANK)[0])
    widget = sw.SubspaceMap(lm, mfa, component=2, prompt="Name a city")
    widget.move(a=0.6, z={0: 2.0, 2: -1.5})
    assert widget.recipe == sw.Recipe.of(mfa[2].pull(0.6, z={0: 2.0, 2: -1.5}))
    ids = torch.tensor([lm.encode("Name a city", chat=False).token_ids])

    def pulled(_module, _args, out):
        h = out[0] if isinstance(out, tuple) else out
        changed = reference.two_stage(h.double(), 0.6, [2.0, 0.0, -1.5], 2).to(h.dtype)
        return (changed, *out[1:]) if isinstance(out, tuple) else changed

    with torch.no_grad():
        plain = lm.model(ids).logits[0, -1].float()
        handle = blocks_of(model)[1].register_forward_hook(pulled)
        steered = lm.model(ids).logits[0, -1].float()
        handle.remove()
    found = widget.logit_difference(k=4)
    torch.testing.assert_close(found.raw, steered - plain, atol=2e-3, rtol=1e-3)
    shown = widget.next_token
    assert shown["asked"] == {"component": 2, "target": {"a": 0.6, "z": [2.0, 0.0, -1.5]}, "prompt": "Name a city"}
    rising = [token.id for token, value in found.promoted if value > 0]
    assert [row["id"] for row in shown["promoted"][: len(rising)]] == rising
    assert shown["ratio"] > 0
    widget.close()


def test_the_page_asks_for_logits_of_where_the_target_is(make, mfa, page_of):
    widget = make(component=1, prompt="Name a city")
    page = page_of(widget)
    target = {"a": 0.3, "z": [1.0, 0.0, 0.0]}
    assert page.call("logits", component=1, target=target, prompt="Name a city")["type"] == "result"
    assert widget.next_token["asked"]["target"] == target
    page.update(target=target)
    assert widget.recipe == sw.Recipe.of(mfa[1].pull(0.3, z={0: 1.0}))


def test_the_pair_is_what_compare_gives_and_stops_within_a_token(lm, make, mfa, page_of):
    widget = make(component=1, prompt="Name a city", max_new_tokens=6)
    widget.move(z=[1.0, 0.0, 0.0])
    out = widget.compare()
    plain = lm.compare("Name a city", widget.recipe, chat=False, max_new_tokens=6)
    assert (out.steered.token_ids, out.baseline.token_ids) == (plain.steered.token_ids, plain.baseline.token_ids)
    assert (widget.pair["steered"], widget.pair["baseline"]) == (plain.steered.text, plain.baseline.text)
    assert widget.pair["done"]
    page = page_of(widget)
    assert page.call("pair")["type"] == "result"


def test_it_sends_to_a_panel_in_the_place_of_the_same_component(lm, make, mfa, page_of):
    panel = sw.SteeringPanel(lm, mfa)
    widget = make(component=1, panel=panel)
    widget.move(a=0.5, z={1: 2.0})
    page = page_of(widget)
    assert "is in the panel's recipe now." in page.call("send")["value"]["said"]
    widget.move(a=0.2)
    page.call("send")
    assert panel.recipe == sw.Recipe.of(mfa[1].pull(0.2, z={1: 2.0}))
    assert sw.Recipe.from_json(widget.steer_requested["recipe"], dictionaries=[mfa]) == panel.recipe
    widget.steer_in(None)
    assert "map.steer_in(panel)" in page.call("send")["value"]["said"]
    panel.close()


def test_the_recipe_says_what_stands_there_after_json(make, mfa):
    widget = make(component=4)
    widget.move(0.25, [0.5, 0.0, -3.0])
    assert sw.Recipe.from_json(widget.recipe.to_json(), dictionaries=[mfa]) == widget.recipe


# Stop, progress


def test_stop_keeps_what_was_read(make, page_of, mfa, lm, monkeypatch):
    many = TEXTS * 40
    widget = make(component=fullest(lm, mfa), texts=many)
    page = page_of(widget)
    sent = widget._send_message

    def stop_early(message):
        sent(message)
        if message["type"] == "progress" and message.get("done"):
            page.cancel(message["id"])

    monkeypatch.setattr(widget, "_send_message", stop_early)
    widget._protocol.send = stop_early
    request = page.ask("read")
    assert page.end(request)["type"] == "cancelled"
    assert widget.status["state"] == "stopped"
    assert 0 < widget.status["read"] < len(mfa.points(lm, many))
    assert widget.tokens["count"] > 0


def test_reading_says_how_far_it_is_and_what_was_left_out(make, page_of, mfa, lm):
    widget = make(component=0, texts=["", *TEXTS, "word " * 200], max_tokens=40, max_length=30)
    page = page_of(widget)
    request = page.ask("read")
    assert page.end(request)["type"] == "result"
    done = [m["done"] for m in page.of(request, "progress")]
    assert (done[0], done[-1]) == (0, 40)
    status = widget.status
    assert (status["read"], status["full"], status["state"]) == (40, True, "done")
    assert status["cut"] >= 1


# Bad input


def refused(call):
    with pytest.raises((ValueError, TypeError, IndexError, KeyError)) as caught:
        call()
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_an_mfa_of_another_model(make, lm):
    other = sw.MFA(*make_state(3, D_MODEL + 16, 2), layer=1)
    assert "made for another model" in refused(lambda: make(other))
    deep = sw.MFA(*make_state(3, D_MODEL, 2), layer=90)
    assert "90" in refused(lambda: make(deep))


def test_a_dictionary_without_evidence_still_shows_its_components_and_says_what_to_give(make, page_of):
    widget = make(component=1)
    assert "came without examples" in widget.facts["problem"]
    assert "texts=[" in widget.facts["problem"]
    reply = page_of(widget).call("read")
    assert "came without examples" in reply["error"]["message"]
    assert widget.status["state"] == "error"
    assert widget.features["labels"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"component": 5}, "features 0 to 4, but 5 was asked for"),
        ({"component": "no such label"}, "No feature is labelled"),
        ({"component": 1.5}, "found by its index or its label"),
        ({"texts": []}, "nothing to read: an empty list was given"),
        ({"texts": ["", "  "]}, "nothing to read: a list of 2 texts without a word"),
        ({"texts": "The sea was calm."}, "several texts, but the text 'The sea was calm.' was given"),
        ({"texts": 7}, "several texts, but the number 7"),
        ({"texts": [5, 9, 7]}, "several texts, but a list of 3 numbers"),
        ({"clusters": 9}, "1 to 6 clusters, but 9"),
        ({"max_tokens": 0}, "max_tokens of sw.SubspaceMap is a whole number above 0, but 0"),
        ({"method": "tsne"}, "by pca or umap, but 'tsne'"),
        ({"size": 3}, "knows no setting size"),
        ({"temperature": -1}, "temperature"),
        ({"seed": "a"}, "seed"),
        ({"panel": 3}, "Steers go to a SteeringPanel"),
    ],
)
def test_what_is_amiss_is_one_sentence(make, settings, said):
    assert said in refused(lambda: make(**settings))


@pytest.mark.parametrize("dims", [[0, 99], [1, 1], [0], [-1, 0]])
def test_axes_that_are_none_are_refused(make, dims):
    shown = make()
    before = list(shown.dims)
    with pytest.raises(ValueError, match=r"dims of sw\.SubspaceMap are two different loadings of 0 to \d, but"):
        shown.dims = dims
    assert shown.dims == before


def test_a_feature_of_another_dictionary(make, lm):
    assert "is no single feature of this MFA" in refused(lambda: make(component=sae.make()[0]))
    assert "is no single feature of this MFA" in refused(lambda: make(component=mixture().mixture))


def test_texts_that_turn_out_empty_and_texts_of_another_kind(make):
    assert "None of the 0 texts" in refused(make(component=0, texts=iter([])).read)
    assert refused(make(component=0, texts=[None]).read)


def test_points_of_another_width(make, lm):
    other = sw.MFA(*make_state(3, D_MODEL, 2), layer=1)
    points = other.points(lm, TEXTS)
    object.__setattr__(points, "residuals", points.residuals[:, :-1])
    assert "the points have" in refused(lambda: make(component=0, texts=points))


def test_a_huge_text_is_cut_before_it_is_tokenised(make, lm, monkeypatch):
    asked = []
    real = type(lm.tokenizer).__call__

    def spy(self, text, *rest, **more):
        asked.append(len(text) if isinstance(text, str) else 0)
        return real(self, text, *rest, **more)

    monkeypatch.setattr(type(lm.tokenizer), "__call__", spy)
    widget = make(component=0, texts=["word and " * 300_000], max_length=16)
    widget.read()
    assert widget.status["cut"] == 1
    assert max(asked) <= 16 * 64


@pytest.mark.parametrize(
    "target",
    [None, 3, [], {"a": 0.5}, {"a": "x", "z": [0, 0, 0]}, {"a": 0.5, "z": [0, 0]}, {"a": 0.5, "z": [0, 0, None]}],
)
def test_a_strange_target_is_refused_and_nothing_is_lost(make, page_of, target):
    widget = make(component=1)
    widget.move(0.4, [1.0, 0.0, 0.0])
    reply = page_of(widget).call("logits", target=target)
    assert reply["type"] == "error"
    assert "number" in reply["error"]["message"]
    assert widget.target == {"a": 0.4, "z": [1.0, 0.0, 0.0]}


def test_requests_from_a_strange_page(make, page_of):
    widget = make(component=1)
    page = page_of(widget)
    for name, args in [
        ("look", {"feature": 99}),
        ("look", {"feature": "1"}),
        ("look", {}),
        ("find", {"query": 3}),
        ("logits", {"component": True}),
        ("logits", {"prompt": "  "}),
        ("pair", {"prompt": None}),
        ("send", {"component": 77}),
    ]:
        assert page.call(name, **args)["type"] == "error", name
    assert widget.component == 1
    with pytest.raises(IndexError):
        widget.component = 99
    assert widget.component == 1


def test_moves_that_do_not_exist(make):
    widget = make(component=1)
    assert "0 to 2, but z names 8" in refused(lambda: widget.move(z={8: 1.0}))
    assert "3 loadings, but 2 numbers" in refused(lambda: widget.move(z=[1.0, 2.0]))
    assert "number" in refused(lambda: widget.move(a=float("nan")))
    assert "Nothing was read yet" in refused(lambda: widget.contexts([0]))


# What survives


def test_what_is_shown_is_json_and_a_page(make, lm, mfa, tmp_path):
    widget = make(component=fullest(lm, mfa), texts=TEXTS, prompt="Name a city", max_new_tokens=4)
    widget.read()
    widget.move(a=0.5, z={0: 1.0})
    widget.logit_difference()
    widget.compare()
    state = json.loads(widget.to_json())
    assert state["tokens"]["count"] == len(widget.points)
    assert state["target"] == widget.target
    assert "subspace" in widget.to_html(tmp_path / "map.html").read_text()
    assert repr(widget.recipe) in widget.summary()
    widget.release()
    assert widget.tokens["count"] > 0
    widget.look(0)
    assert widget.tokens == {}


def test_no_hook_stays(make, lm):
    before = all_hooks(lm.model)
    widget = make(component=1, texts=TEXTS, prompt="Name a city", max_new_tokens=3)
    widget.read()
    widget.move(a=0.5)
    widget.logit_difference()
    widget.compare()
    assert all_hooks(lm.model) == before
