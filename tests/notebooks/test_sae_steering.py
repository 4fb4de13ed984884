"""The embedded SAE's features that are marked as steering: what the report says of them, and a few of them live."""

import json

import pytest
from embedded import SHIPPED
from embedded.labelling.sae_steering import CHOOSING, REPORT, TESTING

import steerwidgets as sw

PROMPTS = ("Tell me about your garden.", "What should I do this evening?")


@pytest.fixture(scope="module")
def report():
    return json.loads(REPORT.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def labels():
    return json.loads((SHIPPED / "sae_labels.json").read_text(encoding="utf-8"))


def _share(report, arm):
    tested = report["tested"].values()
    return sum(result[arm] for result in tested) / sum(result["answers"] for result in tested)


def test_at_least_forty_features_steer_and_controls_do_not(report):
    assert len(report["tested"]) >= 40
    assert _share(report, "steered") > 0.6
    assert max(_share(report, arm) for arm in ("baseline", "random direction", "random feature")) < 0.1
    assert not {*CHOOSING} & {*TESTING}


def test_most_steered_answers_stay_likely(report):
    assert _share(report, "likely") > 0.75


def test_every_feature_that_was_tried_is_labelled_and_reported(report, labels):
    assert {*report["tested"]} == {index for index, tried in report["tried"].items() if tried["marked"]}
    assert len(report["tried"]) > len(report["tested"])
    assert all(labels[index]["understood"] for index in report["tried"])


def test_marked_features_carry_strength_and_the_strength_where_text_breaks(report, labels):
    marked = {index: entry["steers"] for index, entry in labels.items() if "steers" in entry}
    assert {*marked} == {*report["tested"]}
    for index, said in marked.items():
        assert said["strength"] == report["tried"][index]["strength"]
        assert said["breaks"] is None or said["breaks"] > said["strength"]
    sae = sw.SAE.demo()
    index = int(next(iter(marked)))
    assert sae[index].suggested == ("clamp", {"c": marked[str(index)]["strength"]})


def test_marked_features_show_in_text_that_is_read_without_steering(embedded, report):
    sae = sw.SAE.demo()
    best = sorted(report["tested"], key=lambda index: -report["tested"][index]["steered"])[:8]
    steers = [sae[int(index)].clamp(report["tried"][index]["strength"]) for index in best]
    fired = dict.fromkeys(best, 0)
    for prompt in PROMPTS:
        plain, *steered = embedded.sweep(prompt, [None, *steers], max_new_tokens=32, seed=5)
        for index, row in zip(best, steered, strict=True):
            values = [
                float(embedded.read(list(text.token_ids), sae, [int(index)]).values[2:].max()) for text in (row, plain)
            ]
            fired[index] += values[0] > values[1]
    assert sum(fired.values()) >= 12  # of 16
