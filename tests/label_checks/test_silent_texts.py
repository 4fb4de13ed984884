"""Texts where a feature stays silent, against a reading of each text by transformers itself."""

import re
import threading

import pytest
import torch
from support import sae
from support.evidence import TEXTS, Gathered, read

import steerwidgets as sw
from steerwidgets.label_checks.silent_texts import silent_texts
from steerwidgets.label_checks.where_it_should_fire import content_words

LABEL = "'sea' and 'city', wherever they stand"


@pytest.fixture
def dictionary(lm):
    made = sae.make(labels={LABEL: 3, "the user of a system": 5})
    made.feature_data = Gathered(lm, made)
    return made


@pytest.fixture
def lm(fresh):
    return fresh("llama")


def naive(lm, dictionary, index, texts, words, share, typical):
    """For each text with a word: the largest activation of each of the word's tokens, and whether it is silent."""
    found = {}
    for ids in texts:
        h, counts = read(lm, dictionary, ids)
        values = dictionary.encode(h)[:, index].masked_fill(~counts, 0.0)
        pieces = [lm.tokenizer.decode([token]) for token in ids]
        ends = torch.tensor([len(piece) for piece in pieces]).cumsum(0).tolist()
        for match in re.finditer(r"\w+", "".join(pieces)):
            if match.group().casefold() not in words:
                continue
            inside = [i for i, end in enumerate(ends) if end > match.start() and end - len(pieces[i]) < match.end()]
            if all(counts[i] for i in inside):
                value = float(values[inside].max())
                found.setdefault(tuple(ids), []).append((inside[-1], value, value < share * typical(match.group())))
    return found


def typical_of(data, index, fallback):
    """The median of what the word's tokens have in the feature's own examples, where that is above 0."""

    def typical(word, lm):
        values = []
        e = data[index]
        for example in [*e.examples, *(x for band in e.quantiles for x in band.examples), *e.random]:
            pieces = [lm.tokenizer.decode([token]) for token in example.token_ids]
            text, starts = "".join(pieces), [0]
            for piece in pieces:
                starts.append(starts[-1] + len(piece))
            for match in re.finditer(r"\w+", text):
                if match.group().casefold() != word.casefold():
                    continue
                inside = [i for i in range(len(pieces)) if starts[i + 1] > match.start() and starts[i] < match.end()]
                top = max(example.values[i] for i in inside)
                if top > 0:
                    values.append(top)
        return float(torch.tensor(values).double().quantile(0.5)) if values else fallback

    return typical


@pytest.mark.parametrize("share", [0.1, 0.6, 1.0])
def test_it_finds_what_a_plain_reading_finds(lm, dictionary, share):
    e = dictionary.evidence(3)
    peaks = [x.values[x.peak] for x in [*e.examples, *(x for b in e.quantiles for x in b.examples), *e.random]]
    fallback = float(torch.tensor(peaks).double().quantile(0.5))
    known = typical_of(dictionary.feature_data, 3, fallback)
    ids = [tuple(lm.tokenizer(text)["input_ids"]) for text in TEXTS]
    expected = naive(lm, dictionary, 3, ids, {"sea", "city"}, share, lambda word: known(word, lm))
    found = silent_texts(lm, dictionary, 3, TEXTS, words=["sea", "city"], share=share, k=50)
    silent = {ids: {(p, round(v, 3)) for p, v, quiet in places if quiet} for ids, places in expected.items()}
    silent = {ids: places for ids, places in silent.items() if places}
    assert (found.read, found.silent) == (len(expected), len(silent))
    assert {each.token_ids for each in found.texts} == set(silent)
    for each in found.texts:
        assert any(each.position == p and abs(each.value - v) < 2e-3 for p, v in silent[each.token_ids])
        assert each.value < share * each.expected
        assert each.expected == pytest.approx(known(each.word, lm), rel=1e-3)


def test_what_fires_instead(lm, dictionary):
    found = silent_texts(lm, dictionary, 3, TEXTS, words=["sea", "city", "the"], share=1.0, rivals=4)
    assert found.texts
    for each in found.texts:
        h, counts = read(lm, dictionary, each.token_ids)
        values = dictionary.encode(h)
        assert torch.allclose(torch.tensor(each.values), values[:, 3] * counts, atol=1e-4)
        order = [i for i in values[each.position].argsort(descending=True).tolist() if i != 3][:4]
        assert [one.index for one in each.instead] == order
        own = dictionary.vector(3)
        for one in each.instead:
            assert one.value == pytest.approx(float(values[each.position, one.index]), abs=1e-3)
            along = float(one.value * (dictionary.vector(one.index) @ own) / own.norm())
            assert one.along == pytest.approx(along, abs=1e-3)
            assert one.label == dictionary.label(one.index)


def test_by_default_it_looks_in_other_features_examples_for_the_labels_words(lm, dictionary):
    dictionary.feature_data = Gathered(lm, dictionary, more=False)
    found = silent_texts(lm, dictionary, 3, share=1.0, k=50)
    own = {each.token_ids for each in dictionary.evidence(3).examples}
    assert {"sea", "city"} <= set(found.words)
    assert found.read
    assert all(each.token_ids not in own for each in found.texts)
    assert all(each.word.casefold() in found.words for each in found.texts)
    assert "texts with" in repr(found)


def test_other_kinds_name_rivals_without_a_share_of_the_direction(lm):
    cavs = sw.CAV(torch.randn(4, 32), ["sea", "b", "c", "d"], layer=1)
    cavs.feature_data = Gathered(lm, cavs)
    found = silent_texts(lm, cavs, "sea", TEXTS, words=["the", "user", "city"], share=1.0)
    assert found.texts
    assert {one.along for each in found.texts for one in each.instead} == {None}


def test_progress_and_stop(lm, dictionary):
    told = []
    stop = threading.Event()
    texts = [f"{text} {number}" for number in range(10) for text in TEXTS]
    whole = silent_texts(lm, dictionary, 3, texts, words=["the"], on_progress=lambda *at: told.append(at))
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[-1] == (whole.read, whole.read)
    part = silent_texts(lm, dictionary, 3, texts, words=["the"], on_progress=lambda *_: stop.set(), stop=stop)
    assert 0 < part.read < whole.read
    assert part.stopped
    assert not whole.stopped


def test_texts_are_read_no_further_than_needed(lm, dictionary):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield f"the sea {len(taken)}"

    found = silent_texts(lm, dictionary, 3, endless(), words=["sea"], at_most=5)
    assert found.read == 5
    assert len(taken) <= 6


def test_long_texts_are_cut_around_the_word(lm, dictionary):
    text = "so it goes on and on " * 60 + "to the sea " + "and on it goes " * 40
    found = silent_texts(lm, dictionary, 3, [text], words=["sea"], share=1.0)
    assert found.read == 1
    for each in found.texts:
        assert len(each.token_ids) < 300
        assert each.word == "sea"
        assert each.tokens[each.position].text.strip() in "sea"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"share": 0}, "0 to 1, but 0"),
        ({"k": 0}, "k counts texts"),
        ({"at_most": True}, "at_most counts texts"),
        ({"words": ["…"]}, "no word to look for"),
    ],
)
def test_what_is_asked_wrongly(lm, dictionary, settings, says):
    with pytest.raises(ValueError, match=says):
        silent_texts(lm, dictionary, 3, **settings)


def test_without_evidence_it_says_how_to_get_some(lm):
    with pytest.raises(ValueError, match=r"sw\.corpus\.build"):
        silent_texts(lm, sae.make(), 3)
    known = sae.make(labels={"sea": 3})
    known.statistics = sw.FeatureStatistics(torch.ones(sae.SIZE), typical=torch.ones(sae.SIZE))
    with pytest.raises(ValueError, match="no corpus examples"):
        silent_texts(lm, known, 3)
    assert silent_texts(lm, known, 3, ["the sea and the city"], share=1.0).read == 1


def test_content_words():
    assert content_words("'prevent', 'stop', “impede”: keeping something from happening") == {
        "prevent",
        "stop",
        "impede",
    }
    assert content_words("reactions and compounds in chemistry") == {"reactions", "compounds", "chemistry"}
    assert content_words("the word a of") == set()
