"""One concept in several blocks: its rows are those of sweeps, its counts plain, its best one an honest one."""

from __future__ import annotations

import threading

import pytest
import torch
from support.both import vector

import steerwidgets as sw
from steerwidgets.dose.by_block import BlockRow, BlockTable
from steerwidgets.dose.statistics import Count, Mean

PROMPTS = ["Name a city by the sea.", "The user asks."]
COUNT = 5
SEA = [sw.Direction(vector(block), sw.Site(block), "the sea") for block in range(4)]
SETTINGS = {"prompts": PROMPTS, "max_new_tokens": COUNT}


def has_e(_prompt, text):
    return float("e" in text)


def test_every_row_is_that_of_a_sweep_and_counts_are_plain(llama):
    told = []
    found = llama.dose_by_block(SEA, 0.4, judge=has_e, seeds=2, on_progress=lambda *done: told.append(done), **SETTINGS)
    assert told == [(9, 36), (18, 36), (27, 36), (36, 36)]
    for seed in (0, 1):
        for index, prompt in enumerate(PROMPTS):
            steers = [sw.Recipe.of(each.add_relative(0.4)) for each in SEA]
            by_chance = [steer.random_direction(2 * seed + index) for steer in steers]
            rows = llama.sweep(prompt, [None, *steers, *by_chance], seed=seed, max_new_tokens=COUNT)
            keys = [("baseline",), *(("steered", b) for b in range(4)), *(("random", b) for b in range(4))]
            for key, row in zip(keys, rows, strict=True):
                [answer] = [a for a in found.answers if (a.key, a.prompt, a.seed) == (key, index, seed)]
                assert answer.text == row.text
    for row in found.rows:
        mine = [a for a in found.answers if a.key == ("steered", row.layer)]
        assert (row.on_topic.k, row.on_topic.n) == (sum("e" in a.text for a in mine), 4)
        runs = [
            llama.compare(PROMPTS[a.prompt], SEA[row.layer].add_relative(0.4), seed=a.seed, max_new_tokens=COUNT)
            for a in mine
        ]
        surprise = sum(sum(run.surprise) / len(run.surprise) for run in runs) / 4
        assert row.surprise.value == pytest.approx(surprise, abs=1e-4)
    assert (found.baseline.n, found.random.n, found.stopped) == (4, 16, False)
    assert "block  on topic" in repr(found)


def made(*counts, baseline=0, random=0, n=12):
    rows = [BlockRow(b, Count(k, n), Count(random, n), Mean(2.0 + 0.1 * b)) for b, k in enumerate(counts)]
    return BlockTable("sea", 0.3, tuple(rows), Count(baseline, n), Mean(2.0), "judge", (), (), (0,), (), False)


def test_the_best_block_is_above_chance_or_there_is_none():
    assert made(0, 9, 11, 3).best == 2
    assert made(11, 11, 0).best == 0  # of equal ones the least surprising
    assert made(0, 2, 1).best is None
    assert made(0, 9, 0, baseline=6).best is None
    assert made(0, 9, 0, random=9).best is None


def test_a_probe_judges_no_block_that_it_reads(llama):
    probe = sw.Probe(llama, torch.randn(32, generator=torch.Generator().manual_seed(0)), 0.0, sw.Site(2), "the sea")
    found = llama.dose_by_block(SEA, judge=probe, **SETTINGS)
    assert [row.layer for row in found.rows] == [0, 1, 3]
    assert found.left_out == (2,)
    assert "left out, since the judge reads it: block 2" in repr(found)
    with pytest.raises(ValueError, match=r"^The judge, a probe of block 2, reads the only block that there is to try"):
        llama.dose_by_block(SEA[2:3], judge=probe, **SETTINGS)


def test_a_stop_keeps_what_is_done(llama):
    stop = threading.Event()
    found = llama.dose_by_block(SEA, judge=has_e, stop=stop, on_progress=lambda *_: stop.set(), **SETTINGS)
    assert found.stopped
    assert [row.on_topic.n for row in found.rows] == [1] * 4
    calls = []

    def interrupted(_prompt, _text):
        calls.append(1)
        if len(calls) > 9:
            raise KeyboardInterrupt
        return 1.0

    found = llama.dose_by_block(SEA, judge=interrupted, **SETTINGS)
    assert (found.stopped, len(found.answers)) == (True, 9)


BAD = {
    "one": (SEA[0], {}, TypeError, "takes several directions, but"),
    "text": ("sea", {}, TypeError, "takes several directions, but"),
    "no directions": ([1, 2], {}, TypeError, "takes directions, but"),
    "none": ([], {}, ValueError, "directions of different blocks, each once, but nothing was given"),
    "twice": ([SEA[1], SEA[1]], {}, ValueError, "each once, but the blocks 1, 1 were given"),
    "seed": (SEA, {"seed": 3}, ValueError, "takes seeds=, so many of them or a list, and no seed="),
    "no prompts": (SEA, {"prompts": []}, ValueError, "There is no prompt"),
    "judge": (SEA, {"judge": "sea"}, TypeError, "takes a judge, but"),
    "another model": ([sw.Direction(torch.ones(8), sw.Site(1), "sea")], {}, ValueError, "8"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(llama, name):
    features, changes, kind, says = BAD[name]
    with pytest.raises(kind, match=says):
        llama.dose_by_block(features, **{"judge": has_e, **SETTINGS, **changes})
    assert not llama.lock.is_mine


def test_without_a_judge_the_label_judges_or_nothing_can(llama):
    assert llama.dose_by_block(SEA, **SETTINGS).judge == "words of the label"
    nameless = [sw.Direction(vector(1), sw.Site(1), "of the")]
    with pytest.raises(ValueError, match=r"^Nothing says what answers under 'of the' should be about"):
        llama.dose_by_block(nameless, **SETTINGS)
