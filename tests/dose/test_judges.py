"""Judges: whole words and their counts, probes that read unsteered, callables of any shape; one sentence for others."""

from __future__ import annotations

import json

import pytest
import torch
from support import naive
from support.both import vector

import steerwidgets as sw
from steerwidgets.dose import judges
from steerwidgets.dose.judges import Verdict, checked_judge, judge_name, judged, own_judges

TEXT = "The old ship was at sea, and the SHIP's crew sang."


@pytest.mark.parametrize(
    ("words", "least", "says"),
    [
        (["sea", "ship"], None, 1.0),
        (["sea", "Crew", "boat"], 3, 0.0),
        (["sea", "Crew", "boat"], 2, 1.0),
        (["se", "shi", "cre"], 1, 0.0),
        (["old ship"], None, 1.0),
        (["old  ship", "at\nsea"], 2, 1.0),
        (["ship", "SHIP", "ship"], None, 1.0),
        (["c++", "sea;"], 1, 0.0),
    ],
)
def test_distinct_whole_words_are_counted(words, least, says):
    assert sw.Words(words, least=least)("any prompt", TEXT) == says


def test_words_of_other_scripts():
    assert sw.Words(["море", "été"])("", "Море и ÉTÉ.") == 1.0
    assert sw.Words(["c++"])("", "I write C++ code.") == 1.0


def test_the_shipped_lists_judge_as_their_makers_did():
    """At least two distinct words, whole and whatever their case, as the README of the material says."""
    import re

    lists = json.loads((judges._DEMO / "concepts" / "word_lists.json").read_text(encoding="utf-8"))
    texts = json.loads((judges._DEMO / "concepts" / "texts.json").read_text(encoding="utf-8"))
    for concept, words in lists.items():
        judge = sw.Words.demo(concept)
        for text in [*texts["concepts"][concept]["texts"], *texts["neutral"][:20]]:
            found = {*re.findall(r"[a-z]+", text.lower())} & {*words}
            assert judge("", text) == float(len(found) >= 2), (concept, text)


def test_a_probe_is_the_logistic_of_the_mean_residual(llama):
    """Against plain hooks: one text, no padding, the sink at position 0 and special tokens left out."""
    weight, bias, texts = vector(5), -0.3, ["The user asks.", "Name a city by the sea, please.", "ocean"]
    probe = sw.Probe(llama, weight, bias, sw.Site(2), "x")
    for text, found in zip(texts, probe.scores("Name a city.", texts), strict=True):
        ids = llama.encode(text, chat=False).token_ids
        own = [t for t in range(1, len(ids)) if ids[t] not in llama.special_ids]
        h = naive.streams(llama.model, ids, [(2, "resid_post")])[2, "resid_post"]
        expected = torch.sigmoid(h[own].mean(0) @ weight + bias) if own else torch.tensor(0.0)
        assert found == pytest.approx(float(expected), abs=1e-5)
        assert probe("another prompt", text) == pytest.approx(found, abs=1e-5)
    assert probe.scores("", ["", " ", "\n"]) == [0.0] * 3


def test_a_probe_reads_unsteered_or_not_at_all(llama):
    probe = sw.Probe(llama, vector(5), 0.0, sw.Site(2), "x")
    plain = probe("", "Name a city by the sea.")
    llama.compare("Name a city.", sw.Direction(vector(1), sw.Site(1)).add(9), max_new_tokens=2)
    assert probe("", "Name a city by the sea.") == plain


def test_what_judges_say():
    def said(value):
        return judged(lambda _prompt, _text: value, "p", ["t"])[0]

    assert said(0.5) == Verdict(0.5, on_topic=True)
    assert said(0.49) == Verdict(0.49, on_topic=False)
    assert said(True) == said(1) == Verdict(1.0, on_topic=True)
    assert said(torch.tensor(0.75)).on_topic
    marks = said({"concept": 2, "instruct": 1, "fluency": 2})
    assert marks.on_topic
    assert marks.overall == pytest.approx(3 / (1 / 2 + 1 + 1 / 2))
    assert said({"concept": 0, "instruct": 2, "fluency": 2}).overall == 0
    assert not said({"concept": 0, "instruct": 2, "fluency": 2}).on_topic


@pytest.mark.parametrize(
    "value",
    ["yes", None, 1.5, -0.1, float("nan"), {"concept": 3, "instruct": 1, "fluency": 1}, {"concept": 1}, [0.5], (1, 2)],
)
def test_what_no_judge_says_is_one_sentence(value):
    with pytest.raises(
        ValueError, match=r"^A judge gives a number from 0 to 1 .* came from it; change what it returns\.$"
    ):
        judged(lambda _prompt, _text: value, "p", ["t"])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            "sea",
            r"^lm\.dose takes a judge, but the text 'sea' was given; say how words judge: sw\.Words\(\['sea'\]\)\.$",
        ),
        (["sea", "sail"], r"^lm\.dose takes a judge, but a list of 2 texts was given; say how words judge"),
        (3, r"^lm\.dose takes a judge, but the number 3 was given; give judge\(prompt, text\)"),
        (lambda text: 1.0, r"^lm\.dose takes a judge that takes a prompt and a text, but a function was given; give"),
        (sw.Words, r"^lm\.dose takes a judge, but the class Words itself was given"),
    ],
)
def test_no_judge_is_one_sentence(given, says):
    with pytest.raises(TypeError, match=says):
        checked_judge(given, "lm.dose")


def test_no_words_are_one_sentence():
    with pytest.raises(
        TypeError, match=r"^sw\.Words takes a list of words, but the text 'sea' was given; give several"
    ):
        sw.Words("sea")
    with pytest.raises(TypeError, match=r"^sw\.Words takes words, but the number 3 was given"):
        sw.Words(["sea", 3])
    with pytest.raises(ValueError, match=r"^sw\.Words needs at least one word, and least .* but no word was given\.$"):
        sw.Words([])
    with pytest.raises(ValueError, match="but least=3 of 1 was asked"):
        sw.Words(["sea"], least=3)
    with pytest.raises(KeyError, match="There is no word list of 'sailing'; there are 'the sea and sailing'"):
        sw.Words.demo("sailing")


def test_no_probe_is_one_sentence(llama):
    with pytest.raises(ValueError, match=r"^A probe at .* has 32 weights, but shape \[7\] was given; it was made for"):
        sw.Probe(llama, torch.ones(7), 0.0, sw.Site(1), "x")
    with pytest.raises(TypeError, match=r"^sw\.Probe takes a LanguageModel first"):
        sw.Probe("lm", torch.ones(7), 0.0, sw.Site(1), "x")
    with pytest.raises(
        ValueError, match=r"^The shipped probes read .*, but the model is LlamaForCausalLM; give a probe"
    ):
        sw.Probe.demo(llama, "music")


def test_names_of_judges():
    def about_the_sea(prompt, text):
        raise AssertionError

    assert judge_name(about_the_sea) == "about_the_sea"
    assert judge_name(lambda *_: 1) == "your judge"
    assert judge_name(sw.Words(["sea", "sail"])) == "2 of 2 words (sea, sail)"


def test_what_comes_with_a_label(llama):
    """A probe for the embedded model alone, a word list, the label's own words; nothing where a label says nothing."""
    assert [judge.name for judge in own_judges(llama, "music")] == ["word list of music", "words of the label"]
    assert own_judges(llama, "of it") == []
    assert own_judges(llama, "The sea, and the law")[0].words == ("sea", "law")


def test_a_probe_from_texts_weighs_two_normal_distributions_along_the_difference(llama):
    from scipy.stats import norm

    sides = [
        ["the sea and a ship", "sailing at dawn", "a storm at sea"],
        ["the user asks", "print it", "a system here"],
    ]
    probe = sw.Probe.fit(llama, *sides, layer=2, label="the sea")
    site = sw.Site(2)

    def mean(text):
        h = llama.residuals(text, [site])
        kept = h.counted(site)[0] & torch.tensor(llama.encode(text, chat=False).own)
        return h.values[site][0][kept].mean(0).double()

    rows = [torch.stack([mean(text) for text in side]) for side in sides]
    d = rows[0].mean(0) - rows[1].mean(0)
    along = [(side @ d).numpy() for side in rows]
    spread = ((along[0].var(ddof=1) + along[1].var(ddof=1)) / 2) ** 0.5
    texts = ["the sea", "a user at sea", "system"]
    x = torch.stack([mean(text) for text in texts]).numpy() @ d.numpy()
    likely = [norm.pdf(x, side.mean(), spread) for side in along]
    assert probe.scores("", texts) == pytest.approx((likely[0] / (likely[0] + likely[1])).tolist(), abs=1e-3)
    with pytest.raises(ValueError, match="needs 2 texts or more of either kind, but 1 and 3"):
        sw.Probe.fit(llama, ["one"], sides[1], layer=2, label="x")
