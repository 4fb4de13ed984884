"""The sweep of one steer: its rows, its scores, where texts break, what it costs."""

import json
import math
import statistics

import pytest
import torch

import steerwidgets as sw
from steerwidgets.dose.fluency import distinct_2
from steerwidgets.widgets.panel.sweep import SEEDS, SweepRow, breaks


@pytest.fixture
def with_two(panel, cavs):
    panel.recipe = cavs[0].add(4) + cavs[1].project(0.5)
    return panel


def test_its_rows_are_those_of_lm_sweep(with_two, lm, cavs):
    found = with_two.sweep(strengths=(0, 4, 8), tokens=6)
    recipes = [cavs[0].add(a) + cavs[1].project(0.5) for a in (0, 4, 8)]
    expected = lm.sweep(with_two.prompt, [*recipes, *[None] * SEEDS], max_new_tokens=6)
    assert [row.text for row in found.rows] == [row.text for row in expected[:3]]
    assert [row["text"] for row in with_two.swept["rows"]] == [row.text for row in found.rows]
    json.dumps(with_two.swept, allow_nan=False)


def test_surprise_is_that_of_a_plain_pass(with_two, lm):
    found = with_two.sweep(strengths=(2, 8), tokens=6)
    prompt = lm.encode(with_two.prompt).token_ids
    for row, shown in zip(found.rows, with_two.swept["rows"], strict=True):
        ids = [token["id"] for token in shown["tokens"]]
        with torch.no_grad():
            logs = lm.model(torch.tensor([[*prompt, *ids]])).logits[0].log_softmax(-1)
        expected = -sum(float(logs[len(prompt) + i - 1, token]) for i, token in enumerate(ids)) / len(ids)
        assert row.surprise == pytest.approx(expected, abs=1e-3)


def test_the_baselines_range_is_over_seeds(with_two, lm):
    found = with_two.sweep(strengths=(0, 4), tokens=6)
    settings = {k: v for k, v in with_two.settings.items() if k not in ("seed", "max_new_tokens")}
    texts = [lm.sweep(with_two.prompt, [None], seed=seed, max_new_tokens=6, **settings)[0] for seed in range(SEEDS)]
    shares = [distinct_2(text.token_ids) for text in texts]
    mean, width = statistics.fmean(shares), 2 * statistics.stdev(shares)
    assert found.distinct_2 == pytest.approx((mean - width, mean + width))
    assert found.surprise[0] < found.surprise[1]


def row(strength, usual):
    return SweepRow(strength, "", 0.0, 1.0, usual)


@pytest.mark.parametrize(
    ("usual", "expected"),
    [
        ([True, True, True], None),
        ([True, True, False], 30.0),
        ([True, False, True], None),
        ([False, True, False], 30.0),
        ([True, False, False], 20.0),
        ([False, False, False], 10.0),
    ],
)
def test_texts_break_where_none_is_usual_any_more(usual, expected):
    rows = [row(10.0 * (i + 1), each) for i, each in enumerate(usual)]
    assert breaks(rows, 0.0) == (None, expected)
    mirrored = [row(-each.strength, each.usual) for each in rows]
    assert breaks(mirrored[::-1], 0.0) == (None if expected is None else -expected, None)


def test_by_default_it_goes_to_the_end_of_the_slider(with_two, cavs):
    found = with_two.sweep(tokens=2)
    reach = with_two.steer_features[cavs[0].key]["reach"]
    strengths = [each.strength for each in found.rows]
    assert len(strengths) == 12
    assert (strengths[0], strengths[-1]) == (0.0, reach)
    with_two.recipe = cavs[0].add(-4)
    assert with_two.sweep(tokens=2).rows[-1].strength == -reach
    with_two.recipe = cavs[0].project(0.2)
    strengths = [each.strength for each in with_two.sweep(tokens=2).rows]
    assert strengths[0] == 1.0
    assert strengths[-1] < 1.0


def test_where_texts_break_is_kept_for_the_slider(with_two, cavs):
    found = with_two.sweep(strengths=(0, 4, 500), tokens=8)
    mark = with_two.breaks[f"{cavs[0].key} add"]
    assert mark == {"breaks": list(found.breaks), "prompt": with_two.prompt}
    with_two.sweep(1, strengths=(1, 0), tokens=4)
    assert set(with_two.breaks) == {f"{cavs[0].key} add", f"{cavs[1].key} project"}


def test_greedy_rows_have_a_range_to_be_compared_with(with_two):
    with_two.settings = {**with_two.settings, "temperature": 0}
    found = with_two.sweep(strengths=(0, 4), tokens=6)
    assert found.surprise[0] < found.surprise[1]
    assert found.rows[0].text


def test_the_page_is_told_what_it_costs_and_streams(with_two, page):
    steer = with_two.steers[0]["id"]
    told = page.call("sweep_plan", steer=steer)
    assert told["type"] == "result"
    plan = told["value"]
    assert (plan["from"], plan["count"], plan["tokens"]) == (0.0, 12, 48)
    assert plan["seconds"] > 0
    assert with_two.swept == {}
    request = page.ask("sweep", steer=steer, **{"from": 0, "to": 8, "count": 3, "tokens": 6})
    assert page.end(request)["type"] == "result"
    deltas = page.of(request, "delta")
    assert all(delta["of"] == "sweep" for delta in deltas)
    assert {part["row"] for delta in deltas for part in delta["rows"]} == {0, 1, 2}
    assert [each["strength"] for each in with_two.swept["rows"]] == [0.0, 4.0, 8.0]
    assert with_two.result == {}
    assert len(with_two.history) == 0


def test_a_sweep_that_is_stopped_keeps_its_texts(with_two, page, gate):
    request = page.ask("sweep", steer=with_two.steers[0]["id"], **{"from": 0, "to": 8, "count": 3, "tokens": 40})
    gate.let(4)
    page.first_delta(request)
    page.cancel(request)
    gate.open()
    assert page.end(request)["type"] == "cancelled"
    assert with_two.swept["breaks"] is None
    assert all(0 < len(each["tokens"]) < 40 for each in with_two.swept["rows"])
    assert with_two.breaks == {}


@pytest.mark.parametrize(
    ("make", "arguments", "sentence"),
    [
        (lambda c: None, {}, "no steer to sweep: add a feature"),
        (lambda c: c[0].ablate(), {}, "has no strength to sweep; choose an op with one"),
        (lambda c: c[0].add(4), {"steer": 3}, "has 1 steers, from 0 to 0; 3 was given"),
        (lambda c: c[0].add(4), {"steer": "sea"}, "'sea' was given"),
        (lambda c: c[0].add(4), {"strengths": []}, "takes 1 to 32 strengths"),
        (lambda c: c[0].add(4), {"strengths": [1, math.nan]}, "takes 1 to 32 strengths"),
        (lambda c: c[0].add(4), {"strengths": range(40)}, "takes 1 to 32 strengths"),
        (lambda c: c[0].add(4), {"tokens": 0}, "1 token or more"),
    ],
)
def test_what_can_not_be_swept_is_one_sentence(panel, cavs, make, arguments, sentence):
    panel.recipe = make(cavs)
    before = panel.swept
    with pytest.raises(ValueError, match=sentence):
        panel.sweep(**arguments)
    assert panel.swept == before
    panel.recipe = cavs[0].add(4)
    assert panel.generate().steered.text


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ({"steer": "gone", "from": 0, "to": 1, "count": 3}, "switched off or gone"),
        ({"from": 0, "to": 1, "count": 1}, "count should be a whole number from 2"),
        ({"from": "a", "to": 1, "count": 3}, "from should be a finite number"),
        ({"to": 1, "count": 3}, "from should be given"),
    ],
)
def test_a_page_that_asks_for_nonsense_hears_a_sentence(panel, page, args, sentence):
    ended = page.call("sweep", **{"steer": panel.steers[0]["id"], **args})
    assert ended["type"] == "error"
    assert sentence in ended["error"]["message"]


def test_too_strong_is_told(panel, cavs):
    panel.recipe = cavs[0].add(4)
    with pytest.raises(ValueError, match="NaN or infinite under"):
        panel.sweep(strengths=(0, 3e38), tokens=3)
    assert isinstance(panel.recipe, sw.Recipe)
