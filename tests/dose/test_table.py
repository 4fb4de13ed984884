"""Prompts × conditions: every cell is a sweep's row, counted with intervals."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from support.both import vector

import steerwidgets as sw

SEA = sw.Direction(vector(1), sw.Site(1), "the sea")
PROMPTS = ["Name a city by the sea.", "The user asks.", "You are a helpful assistant, please."]
CONDITIONS = {
    "baseline": None,
    "sea": SEA.add(0.5),
    "random": sw.Recipe.of(SEA.add(0.5)).random_direction(),
    "asked": sw.Asked("Talk about the sea."),
}
SETTINGS = {"max_new_tokens": 5, "temperature": 0.9}


def has_e(_prompt, text):
    return float("e" in text)


def test_every_cell_is_a_sweeps_row(llama):
    found = llama.table(PROMPTS, CONDITIONS, judge=has_e, seeds=[3, 5], **SETTINGS)
    assert found.prompts == tuple(PROMPTS)
    for seed in (3, 5):
        for index, prompt in enumerate(PROMPTS):
            rows = llama.sweep(prompt, list(CONDITIONS.values()), seed=seed, **SETTINGS)
            for name, row in zip(CONDITIONS, rows, strict=True):
                [answer] = [a for a in found.of(name, index) if a.seed == seed]
                assert answer.row.token_ids == row.token_ids
    for row in found.rows:
        on = ["e" in answer.text for answer in found.of(row.name)]
        assert (row.on_topic.k, row.on_topic.n) == (sum(on), 6)
        assert sum(count.k for count in row.by_prompt) == sum(on)
        assert row.surprise.value == pytest.approx(np.mean([a.surprise for a in found.of(row.name)]))
        assert row.surprise.low <= row.surprise.value <= row.surprise.high
    assert found.rows[0].kl_p95 == 0
    assert found.rows[3].kl_p95 > 0


def test_it_prints_conditions_and_prompts(llama):
    said = repr(llama.table(PROMPTS, CONDITIONS, judge=sw.Words(["e"], name="the letter"), **SETTINGS))
    assert said.startswith("3 prompts × 1 seeds, judged by the letter\ncondition  on topic  95 %")
    assert "prompt                                baseline  sea" in said
    bare = repr(llama.table(PROMPTS[:1], {"baseline": None}, **SETTINGS))
    assert "on topic" not in bare


def test_a_stop_keeps_what_is_done(llama):
    stop = threading.Event()
    found = llama.table(PROMPTS, CONDITIONS, stop=stop, on_progress=lambda *_: stop.set(), **SETTINGS)
    assert found.stopped
    assert {answer.prompt for answer in found.answers} == {0}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (([], CONDITIONS), r"^There is no prompt; give at least one"),
        ((PROMPTS, {}), r"^lm\.table needs at least one condition, such as"),
        ((PROMPTS, [SEA.add(1)]), r"^lm\.table takes conditions by name, but a list that holds the Steer"),
        ((PROMPTS, {"sea": SEA}), r"^A recipe takes steers such as feature\.add\(40\), but the Direction 'the sea'"),
        (("Name a city.", CONDITIONS), r"^lm\.table takes a list of prompts, but the text"),
        (([[5, 6]], CONDITIONS), r"^The instruction 'Talk about the sea\.' can't be put into a prompt of token ids"),
    ],
)
def test_bad_input_is_one_sentence(llama, given, says):
    with pytest.raises((TypeError, ValueError), match=says):
        llama.table(*given, **SETTINGS)


def test_seed_is_seeds(llama):
    with pytest.raises(ValueError, match=r"^lm\.table takes seeds=, so many of them or a list, and no seed=\.$"):
        llama.table(PROMPTS, CONDITIONS, seed=1)
