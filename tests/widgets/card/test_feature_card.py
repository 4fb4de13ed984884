"""FeatureCard from Python: what it shows of every kind, what travels, what is refused, what is kept and saved."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
import traitlets
from support import kinds, sae
from support.evidence import TEXTS, Gathered, read
from widgets.front_end import FrontEnd

import steerwidgets as sw
from steerwidgets.dictionaries.effects import KnownEffect
from steerwidgets.label_checks.silent_texts import silent_texts
from steerwidgets.labels.files import Label
from steerwidgets.widgets.arrays import unpack
from steerwidgets.widgets.card.lines import plain_lines

HOSTILE = "</script><img src=x onerror=alert(1)>\u2028\u202e"
LABELS = [f"label {i}" for i in range(sae.SIZE)]


@pytest.fixture
def dictionary(lm):
    made = sae.make(labels=LABELS)
    made.feature_data = Gathered(lm, made)
    known = torch.full((sae.SIZE,), 2.0)
    made.statistics = sw.FeatureStatistics(2 * known, known / 2, known, known / 4, corpus="C4", tokens=1000)
    return made


@pytest.fixture
def make(lm, dictionary):
    made = []

    def make_(feature=3, dictionary=dictionary, **settings):
        made.append(sw.FeatureCard(lm, dictionary, feature, **settings))
        return made[-1]

    yield make_
    for card in made:
        card.close()


@pytest.fixture(autouse=True)
def own_labels(monkeypatch, tmp_path):
    monkeypatch.setenv("STEERWIDGETS_DATA", str(tmp_path / "data"))


def lines(wire):
    return plain_lines(wire)


# What is known of a feature


def test_numbers_labels_and_histogram(make, dictionary):
    content = make().content
    assert (content["index"], content["key"], content["kind"]) == (3, dictionary[3].key, "SAE")
    assert (content["label"], content["density"], content["maximum"], content["p995"]) == ("label 3", 0.5, 4.0, 2.0)
    assert (content["corpus"], content["tokens"], content["examples_of"]) == (
        "C4, 1,000 tokens",
        1000,
        "five sentences",
    )
    evidence = dictionary.evidence(3)
    assert content["histogram"] == {"counts": list(evidence.counts), "top": evidence.histogram_top}


def test_examples_of_each_sort_with_their_exact_tokens(make, lm, dictionary):
    content, evidence = make().content, dictionary.evidence(3)
    bands = [example for band in evidence.quantiles for example in band.examples]
    assert content["missing"] == {}
    for name, expected in (("strongest", evidence.examples), ("quantiles", bands), ("random", evidence.random)):
        shown = lines(content["examples"][name])
        assert [tuple(token["id"] for token in line["tokens"]) for line in shown] == [e.token_ids for e in expected]
        assert [line["peak"] for line in shown] == [each.peak for each in expected]
        assert [line["source"] for line in shown] == [each.source for each in expected]
        for line, example in zip(shown, expected, strict=True):
            assert [token["value"] for token in line["tokens"]] == pytest.approx(list(example.values), rel=1e-6)
            assert [token["text"] for token in line["tokens"]] == [t.text for t in lm.tokens(example.token_ids)]
    ends = [(line["low"], line["high"]) for line in lines(content["examples"]["quantiles"])]
    assert ends == [(band.low, band.high) for band in evidence.quantiles for _ in band.examples]


def test_neighbours_and_tokens(make, lm, dictionary):
    content, evidence = make().content, dictionary.evidence(3)
    assert [(each["index"], each["value"]) for each in content["nearest"]] == list(evidence.nearest)
    assert [(each["index"], each["label"]) for each in content["coactive"]] == [(0, "label 0"), (2, "label 2")]
    assert [token["text"] for token in content["promoted"]] == [token.text for token in lm.tokens([65, 66])]
    assert content["suppressed"][0]["value"] == -0.5


def test_without_a_file_the_model_and_the_directions_still_say_something(make, lm):
    plain = sae.make()
    content = make(5, plain).content
    top = lm.top_logits(plain[5], 8)
    assert [token["id"] for token in content["promoted"]] == [token.id for token, _ in top.promoted]
    assert [token["value"] for token in content["suppressed"]] == [value for _, value in top.suppressed]
    near = plain.nearest(plain[5], 7)
    assert [each["index"] for each in content["nearest"]] == [f.index for f in near.features if f.index != 5]
    assert (content["density"], content["histogram"], content["examples"]) == (None, None, {})
    assert set(content["missing"]) == {"strongest", "quantiles", "random", "histogram"}
    assert "sw.corpus.build" in content["missing"]["random"]["code"]


def test_a_file_with_the_strongest_alone_says_how_to_get_the_rest(make, lm, dictionary):
    dictionary.feature_data = Gathered(lm, dictionary, more=False)
    content = make().content
    assert set(content["missing"]) == {"quantiles", "random"}
    assert set(content["examples"]) == {"strongest"}


def test_a_feature_that_never_fired_says_so(make, lm, dictionary):
    class Silent(Gathered):
        def __getitem__(self, index):
            from dataclasses import replace

            return replace(super().__getitem__(index), examples=(), quantiles=(), random=(), counts=(0,) * 10)

    dictionary.feature_data = Silent(lm, dictionary)
    content = make().content
    assert "fired nowhere" in content["missing"]["strongest"]["said"]
    assert content["histogram"] is None


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_every_kind_of_dictionary(make, lm, kind):
    home = kinds.make(kind, lm)
    card = make(1, home)
    assert card.content["kind"] == kind
    anything = torch.randn(200, home.d_model, generator=torch.Generator().manual_seed(0))
    assert card.content["signed"] == bool((home[1].activation(anything) < 0).any())
    values = card.try_text("The sea and the city.").values[:, 0]
    shown = lines(card.tried["text"])[0]
    assert [token["value"] for token in shown["tokens"]] == pytest.approx(values.tolist(), rel=1e-4, abs=1e-6)
    assert (card.content["mixture"] is not None) == (kind == "MFA")
    assert card.steer().feature.key == home[1].key
    json.loads(card.to_json())


def test_a_mixtures_component_has_loadings_and_latents(make, lm):
    mfa = kinds.make("MFA", lm)
    card = make(2, mfa)
    mixture = card.content["mixture"]
    assert mixture["mixing"] == pytest.approx(float(mfa.mixing[2]), rel=1e-6)
    assert [each["norm"] for each in mixture["loadings"]] == pytest.approx(
        mfa.loadings(2).norm(dim=0).tolist(), rel=1e-5
    )
    direction = sw.Direction(mfa.loadings(2)[:, 1], mfa.site)
    top = lm.top_logits(direction, 4)
    assert [token["id"] for token in mixture["loadings"][1]["promoted"]] == [token.id for token, _ in top.promoted]
    acts = card.try_text("The sea and the city.")
    assert np.allclose(unpack(card.tried["latents"]), mfa.expected_latent(acts.residual, 2), atol=1e-4)


def test_who_wrote_the_label_and_how_well_it_did(make, dictionary):
    dictionary.labels = [Label(3, "the sea", "a method", "language model"), Label(3, "water", "", "person")]
    dictionary.label_scores = {3: {"detection": 0.94}}
    content = make().content
    assert (content["label"], content["label_author"], content["label_source"]) == (
        "the sea",
        "language model",
        "a method",
    )
    assert content["score"] == {"detection": 0.94}
    assert content["other_labels"] == [{"text": "water", "source": "", "author": "person"}]


def test_scores_of_the_shipped_labels():
    shipped = sw.SAE.demo()
    assert shipped.label_scores
    assert all(0 <= each["detection"] <= 1 for each in shipped.label_scores.values())
    assert all(shipped.labels[index] for index in shipped.label_scores)


@pytest.mark.parametrize(
    ("named", "url"),
    [
        ("gemma-2-2b/20-gemmascope-res-16k", "https://www.neuronpedia.org/gemma-2-2b/20-gemmascope-res-16k/3"),
        ("javascript:alert(1)//", None),
        ("//evil.example/x", None),
        ("", None),
    ],
)
def test_links_lead_to_neuronpedia_or_nowhere(make, dictionary, named, url):
    dictionary.provenance = {"neuronpedia": named}
    link = make().content["link"]
    assert (link and link["url"]) == url


@pytest.mark.parametrize("own", ["javascript:alert(1)", "data:text/html,x", "https:", "ftp://x/y", "file:///etc"])
def test_a_concepts_own_link_is_of_the_web(make, own):
    links = [own, "https://www.neuronpedia.org/gemma-2-2b/20-axbench/7", None, None, None]
    reft = sw.ReFT(kinds.ROWS, layer=1, links=links)
    assert make(0, reft).content["link"] is None
    assert make(1, reft).content["link"] == {"url": links[1], "name": "Neuronpedia"}
    assert make(2, reft).content["link"] is None


# Which feature is shown


def test_by_index_key_label_and_itself(make, dictionary):
    card = make("label 7")
    assert (card.feature, card.key) == (7, dictionary[7].key)
    card.feature = 4
    assert (card.index, card.key, card.content["label"]) == (4, dictionary[4].key, "label 4")
    card.key = dictionary[9].key
    assert (card.feature, card.content["index"]) == (9, 9)
    card.show(dictionary[2])
    assert card.feature == 2
    card.show("label 5")
    assert card.feature == 5
    card.feature = np.int64(6)
    assert card.content["index"] == 6


def test_it_links_with_a_key_both_ways(make, dictionary):
    class Picker(traitlets.HasTraits):
        selected = traitlets.Unicode()

    card, picker = make(), Picker()
    link = traitlets.link((picker, "selected"), (card, "feature"))
    assert card.index == 3
    picker.selected = dictionary[8].key
    assert card.content["label"] == "label 8"
    assert FrontEnd(card).call("show", feature=11)["type"] == "result"
    assert picker.selected == dictionary[11].key
    link.unlink()


def test_several_dictionaries(make, lm, dictionary, cavs):
    card = make(3, [dictionary, cavs])
    page = FrontEnd(card)
    acts = card.try_text("The sea")
    card.key = cavs[1].key
    assert (card.dictionary, card.feature, card.content["kind"]) == (cavs, 1, "CAV")
    page.wait(lambda: card.tried.get("key") == cavs[1].key, "the text at the other site")
    shown = lines(card.tried["text"])[0]["tokens"]
    again = cavs[1].activation(lm.read(list(acts.token_ids), cavs, [1]).residual)
    assert [token["value"] for token in shown] == pytest.approx(again.tolist(), abs=1e-4)
    card.feature = 0
    assert card.content["label"] == cavs.label(0)
    card.feature = dictionary[4].key
    assert card.dictionary is dictionary


def test_whoever_watches_finds_one_feature_at_a_time(make):
    card = make()
    seen = []
    card.observe(lambda _: seen.append((card.feature, card.key, card.content["index"])), ["feature", "key", "content"])
    card.feature = 5
    assert {(index, shown) for index, _, shown in seen} == {(5, 5)}
    assert len({key for _, key, _ in seen}) == 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (4000, "features 0 to 39"),
        ("nothing", "No feature is labelled"),
        ("sae:0000/3", "was not given"),
        (1.5, "index"),
    ],
)
def test_a_feature_that_is_not_there_is_refused_in_a_sentence(make, wrong, says):
    card = make()
    with pytest.raises(traitlets.TraitError, match=says):
        card.feature = wrong
    ended = FrontEnd(card).call("show", feature=wrong)
    assert ended["type"] == "error"
    assert "\n" not in ended["error"]["message"]
    assert card.content["index"] == 3


def test_what_is_made_wrongly_is_refused(make, lm, dictionary):
    with pytest.raises(IndexError, match="features 0 to 39, but 4000"):
        make(4000)
    with pytest.raises(KeyError, match="No feature is labelled 'nothing'"):
        make("nothing")
    with pytest.raises(TypeError, match="feature of a dictionary"):
        sw.FeatureCard(lm, [], 0)
    with pytest.raises(TypeError, match="no setting 'colour'"):
        make(colour="red")
    with pytest.raises(TypeError, match="SteeringPanel or a FeaturePicker, but dict"):
        make(panel={})


# Own texts


def test_own_text_is_read_once_for_every_feature(make, lm, dictionary, runs):
    card = make()
    page = FrontEnd(card)
    text = "Name a city by the sea ☕, please."
    assert page.call("try", text=text)["type"] == "result"
    ids = lm.encode(text, chat=False).token_ids
    h, _ = read(lm, dictionary, list(ids))
    shown = lines(card.tried["text"])[0]["tokens"]
    assert [token["id"] for token in shown] == list(ids)
    assert [token["value"] for token in shown] == pytest.approx(dictionary.encode(h)[:, 3].tolist(), abs=1e-4)
    counted = [token["value"] if token["counted"] else -1 for token in shown]
    assert card.tried["strongest"] == {"position": int(np.argmax(counted)), "value": max(counted)}
    assert not shown[0]["counted"]  # position 0 is a sink even where no BOS stands
    runs.clear()
    assert page.call("show", feature=5)["type"] == "result"
    assert not runs
    again = lines(card.tried["text"])[0]["tokens"]
    assert [token["value"] for token in again] == pytest.approx(dictionary.encode(h)[:, 5].tolist(), abs=1e-4)
    assert page.call("try", text="")["type"] == "result"
    assert card.tried == {}


def test_own_text_from_code_stands_in_the_box(make, lm):
    card = make(own_text="The sea")
    assert card.tried["typed"] == "The sea"
    acts = card.try_text(lm.encode("the city", chat=False).token_ids)
    assert card.own_text == "the city"
    assert acts.features == (3,)


def test_a_text_that_waits_for_the_model_can_be_stopped(make, gate):
    gate.open()
    card = make()
    page = FrontEnd(card)
    with card._lm.lock:
        asked = page.ask("try", text="The sea")
        page.wait(lambda: page.of(asked, "progress"), "word that it waits")
        page.cancel(asked)
        assert page.end(asked)["type"] == "cancelled"
    assert card.tried == {}


# Silent texts


def test_silent_texts_are_shown_with_what_fires_instead(make, lm, dictionary):
    card = make()
    page = FrontEnd(card)
    found = silent_texts(lm, dictionary, 3, words=["the", "user"], share=0.1)
    asked = page.ask("silent", words=["the", "user"])
    assert page.end(asked)["type"] == "result"
    shown = card.silent
    assert (shown["read"], shown["silent"], shown["words"]) == (found.read, found.silent, ["the", "user"])
    assert [line["word"] for line in lines(shown["text"])] == [each.word for each in found.texts]
    for line, each in zip(lines(shown["text"]), found.texts, strict=True):
        assert [one["index"] for one in line["instead"]] == [one.index for one in each.instead]
    card.silent_texts(TEXTS, words=["sea"], share=1.0)
    assert card.silent["words"] == ["sea"]
    card.feature = 4
    assert card.silent == {}


def test_silence_of_a_feature_of_which_nothing_is_known(make):
    ended = FrontEnd(make(3, sae.make())).call("silent")
    assert "sw.corpus.build" in ended["error"]["message"]


# Verdicts


def test_what_is_made_of_a_label_is_kept_and_can_be_taken_back(make, dictionary):
    card = make()
    page = FrontEnd(card)
    assert page.call("verdict", key=card.key, verdict="too wide")["type"] == "result"
    assert dictionary.user_labels[3].verdict == card.verdict["verdict"] == "too wide"
    assert card.rate(4).verdict == "too wide"
    assert "A verdict is one of" in page.call("verdict", key=card.key, verdict="so-so")["error"]["message"]
    assert card.rate(verdict="").verdict == ""


def test_a_verdict_is_kept_and_exported(make, dictionary):
    card = make()
    page = FrontEnd(card)
    assert page.call("verdict", key=card.key, rating=4)["type"] == "result"
    assert page.call("verdict", key=card.key, label="the sea", note="also tides")["type"] == "result"
    entry = dictionary.user_labels[3]
    assert (entry.rating, entry.label, entry.note) == (4, "the sea", "also tides")
    assert card.verdict == {"rating": 4, "label": "the sea", "note": "also tides", "verdict": "", "said": 1}
    assert (card.content["label"], card.content["label_source"]) == ("the sea", "your label")
    exported = page.call("export_verdicts")["value"]
    assert json.loads(exported["text"])["entries"][0]["label"] == "the sea"
    assert page.call("verdict", key=card.key, rating=None, label="")["type"] == "result"
    assert card.content["label"] == "label 3"
    assert make().verdict == {"rating": None, "label": "", "note": "also tides", "verdict": "", "said": 1}


@pytest.mark.parametrize("wrong", [{"rating": 6}, {"rating": "x"}, {"label": 3}])
def test_a_verdict_that_is_none(make, wrong):
    card = make()
    ended = FrontEnd(card).call("verdict", key=card.key, **wrong)
    assert ended["type"] == "error"
    assert card.verdict["rating"] is None


def test_a_verdict_for_a_feature_that_is_gone_is_not_kept(make, dictionary):
    card = make()
    key = card.key
    card.feature = 5
    assert "Another feature" in FrontEnd(card).call("verdict", key=key, rating=2)["error"]["message"]
    assert len(dictionary.user_labels) == 0


# Steering


def test_steer_with_this(make, make_panel, dictionary):
    dictionary.suggested = {3: ("clamp", {"c": 7.0})}
    panel = make_panel(dictionary)
    panel.add(dictionary[1].add(2))
    card = make()
    page = FrontEnd(card)
    assert "card.steer_in(panel)" in page.call("steer")["value"]["said"]
    card.steer_in(panel)
    assert "in the panel's recipe now" in page.call("steer")["value"]["said"]
    assert [(steer.feature.index, steer.op) for steer in panel.recipe] == [(1, "add"), (3, "clamp")]
    assert dict(panel.recipe.steers[1].parameters) == {"c": 7.0}
    assert "already" in page.call("steer")["value"]["said"]
    assert len(panel.recipe) == 2
    assert card.steer_requested == {
        "key": dictionary[3].key,
        "index": 3,
        "label": "label 3",
        "op": "clamp",
        "params": {"c": 7.0},
        "count": 3,
    }


def test_steers_that_are_switched_off_stay(make, make_panel, dictionary):
    panel = make_panel(dictionary, recipe=dictionary[1].add(2))
    panel.steers = [{**panel.steers[0], "enabled": False}]
    make(panel=panel).steer()
    assert [steer["enabled"] for steer in panel.steers] == [False, True]


# Frozen copies


def test_json_holds_what_is_shown(make, dictionary):
    card = make(own_text="The sea", tab="random", curve="log")
    card.rate(3)
    said = json.loads(card.to_json())
    assert (said["index"], said["tab"], said["curve"], said["own_text"]) == (3, "random", "log", "The sea")
    assert said["verdict"]["rating"] == 3
    example = dictionary.evidence(3).examples[0]
    assert [token["id"] for token in said["examples"]["strongest"][0]["tokens"]] == list(example.token_ids)
    assert said["tried"]["text"][0]["tokens"][1]["text"]
    assert said["provenance"]["fingerprint"] == dictionary.fingerprint
    assert said["histogram"]["counts"] == list(dictionary.evidence(3).counts)


def test_a_page_holds_other_features_too(make, tmp_path):
    card = make()
    alone = card.to_html(tmp_path / "one.html").read_text(encoding="utf-8")
    several = card.to_html(tmp_path / "more.html", features=range(2, 6)).read_text(encoding="utf-8")

    def pages(text):
        state = re.search(r'<script type="application/json" id="state">(.*?)</script>', text, re.DOTALL)[1]
        return [page["content"]["index"] for page in json.loads(state)["pages"]]

    assert pages(alone) == []
    assert pages(several) == [3, 2, 4, 5]
    assert card.pages == []


def test_hostile_text_stays_text(make, dictionary, tmp_path):
    dictionary.labels = {HOSTILE: 3}
    card = make(own_text=f"The {HOSTILE} sea")
    card.rate(note=HOSTILE)
    text = card.to_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<img src=x" not in text
    assert card.content["label"] == HOSTILE
    assert json.loads(card.to_json())["verdict"]["note"] == HOSTILE


def test_what_travels_is_small(make):
    card = make()
    page = FrontEnd(card)
    page.call("show", feature=5)
    sent = sum(len(json.dumps(state)) for state in page.states)
    assert sent < 20_000


def test_what_it_promotes_through_the_model_comes_with_it_or_is_measured(make, lm, dictionary):
    card = make()
    assert card.content["effect"] is None
    page = FrontEnd(card)
    assert page.call("effect")["type"] == "result"
    found = lm.effect(dictionary[3], k=8)
    shown = card.content["effect"]
    assert [token["id"] for token in shown["promoted"]] == [token.id for token, _ in found.promoted]
    assert shown["said"] == found.said
    card.show(4)
    assert card.content["effect"] is None
    card.show(3)
    assert card.content["effect"] == shown, "what was measured stays"
    dictionary.effects = {5: KnownEffect(((40, 2.0),), ((41, -1.0),), "clamp", 50.0, True, 6)}
    card.show(5)
    assert [token["id"] for token in card.content["effect"]["promoted"]] == [40]
    assert card.content["effect"]["said"].endswith("steered by clamp(50), the suggested strength")
