"""Words, sentences and lines of tokens, and what pooling makes of their values."""

import json

import numpy as np
import pytest

import steerwidgets as sw
from steerwidgets.transformer.prompts import Token
from steerwidgets.widgets.tokens import HeatText, pooled


def pieces(tokens, granularity):
    made = tuple(each if isinstance(each, Token) else Token(-1, each) for each in tokens)
    text = HeatText(made, np.zeros(len(made), dtype=np.uint8))
    starts = text.starts(granularity).tolist()
    ends = [*starts[1:], len(made)]
    return ["".join(token.text for token in made[a:b]) for a, b in zip(starts, ends, strict=True)]


TEXT = ["The", " worm", "hole", ".", " It", "'s", " old", ",\n", "no", "?"]


def test_words_are_made_of_tokens_and_punctuation_stands_apart():
    assert pieces(TEXT, "words") == ["The", " wormhole", ".", " It's", " old", ",\n", "no", "?"]


def test_sentences_and_lines():
    assert pieces(TEXT, "sentences") == ["The wormhole.", " It's old,\n", "no?"]
    assert pieces(TEXT, "lines") == ["The wormhole. It's old,\n", "no?"]
    assert pieces(TEXT, "tokens") == TEXT


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["1", ",", "000", " b", "oats"], ["1,000", " boats"]),
        (["e", ".", "g", ".", " sea"], ["e.g", ".", " sea"]),
        (["snake", "_", "case", "(", "x"], ["snake_case", "(", "x"]),
        (["漢字", "も", "ある"], ["漢字", "も", "ある"]),
        (["नम", "स्ते", " जग", "त"], ["नमस्ते", " जगत"]),
        (["cafe", "\u0301", " bar"], ["cafe\u0301", " bar"]),
        (["a", " ", " ", "b"], ["a", "  ", "b"]),
        (["caf", Token(1, "C3", fragment=True), Token(2, "A9", fragment=True), " bar"], ["cafC3A9", " bar"]),
        (["", "a", "", "b"], ["ab"]),
    ],
)
def test_words_of_other_writing(tokens, words):
    assert pieces(tokens, "words") == words


@pytest.mark.parametrize(
    ("tokens", "sentences"),
    [
        (["See", " e.g.", " this", ".", " Then", " go"], ["See e.g. this.", " Then go"]),
        (["Go", '!"', " said", " he", "."], ['Go!"', " said he."]),
        (["海", "。", "山"], ["海。", "山"]),
        (["one", "\n", "two"], ["one\n", "two"]),
    ],
)
def test_sentences_of_other_writing(tokens, sentences):
    assert pieces(tokens, "sentences") == sentences


def test_pooling_takes_the_strongest_or_the_mean_of_what_counts():
    values = np.array([[900, 1], [1, 0], [-5, np.nan], [1, 2], [7, 7]], dtype=np.float32)
    counted = np.array([False, True, True, True, False])
    starts = np.array([0, 4])
    assert np.array_equal(pooled(values, counted, starts, "max"), [[-5, 2], [np.nan, np.nan]], equal_nan=True)
    assert np.array_equal(pooled(values, counted, starts, "mean")[0], [-1, 1])


def test_json_holds_the_words_that_are_shown():
    heatmap = sw.TokenHeatmap.from_arrays(TEXT, np.arange(10.0), granularity="words", pooling="mean")
    said = json.loads(heatmap.to_json())
    assert said["segments"][1] == {"first": 1, "last": 2, "values": [1.5]}
    assert [(each["first"], each["last"]) for each in said["segments"]][-2:] == [(8, 8), (9, 9)]
    heatmap.granularity = "lines"
    heatmap.pooling = "max"
    lines = json.loads(heatmap.to_json())["segments"]
    assert lines == [{"first": 0, "last": 7, "values": [7.0]}, {"first": 8, "last": 9, "values": [9.0]}]
    heatmap.granularity = "tokens"
    assert "segments" not in json.loads(heatmap.to_json())
