"""The probes of the embedded concepts: made of other texts than the concept vectors, and right on texts of others."""

from __future__ import annotations

import json
import statistics

import pytest
from support.both import vector

import steerwidgets as sw
from steerwidgets.dose.judges import _DEMO, _demo_probes, own_judges

TEXTS = json.loads((_DEMO / "concepts" / "texts.json").read_text(encoding="utf-8"))
REPORT = _demo_probes()[1].get("report", {})
STEERED = list(sw.CAV.demo().labels[:9])


def test_there_is_one_for_every_concept_that_steers_at_another_block():
    tensors, header = _demo_probes()
    assert set(STEERED) <= set(header["labels"]) == set(TEXTS["concepts"])
    assert header["layer"] != sw.CAV.demo().site.layer
    assert tensors["weight"].shape == (len(header["labels"]), 576)
    assert (_DEMO / "concept_probes.safetensors").stat().st_size < 60_000


def test_its_report_is_of_texts_that_it_has_not_seen():
    """Answers to requests that were not trained on, and texts of another author."""
    held_out = [said["auroc_held_out"] for said in REPORT.values() if "auroc_held_out" in said]
    assert statistics.fmean(held_out) > 0.9
    assert statistics.fmean(said["auroc_written"] for said in REPORT.values()) > 0.9
    assert min(said["auroc_written"] for said in REPORT.values()) > 0.8
    assert statistics.fmean(said["neutral_written"][0] / said["neutral_written"][1] for said in REPORT.values()) < 0.06


@pytest.mark.parametrize("concept", ["the sea and sailing", "music", "religion and prayer"])
def test_it_tells_the_written_texts_apart(embedded, concept):
    """Texts that no probe was made of, by another author: those of the concept against neutral ones."""
    probe = sw.Probe.demo(embedded, concept)
    assert probe.name == "probe of block 20"
    on = probe.scores("", TEXTS["concepts"][concept]["texts"][:16])
    off = probe.scores("", TEXTS["neutral"][: REPORT[concept]["neutral_written"][1]])
    above = sum(a > b for a in on for b in off) / (len(on) * len(off))
    assert above > 0.9
    assert sum(score >= 0.5 for score in on) >= 8
    for scores, said in ((on, "on_written"), (off, "neutral_written")):
        assert [sum(score >= 0.5 for score in scores), len(scores)] == REPORT[concept][said]


def test_it_comes_first_for_its_concept(embedded):
    names = [judge.name for judge in own_judges(embedded, "music")]
    assert names == ["probe of block 20", "word list of music", "words of the label"]
    with pytest.raises(KeyError, match="There is no probe of 'sailing'; there are 'the sea and sailing'"):
        sw.Probe.demo(embedded, "sailing")


def test_a_direction_of_its_label_is_judged_by_it(embedded):
    chart = sw.DoseResponse(embedded, sw.Direction(vector(1, width=576), sw.Site(15), "music").add, [1])
    assert chart.facts["judges"][0] == "probe of block 20"
    chart.close()
