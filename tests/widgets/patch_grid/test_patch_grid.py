"""PatchGrid from Python and from its page's side: what it plans, measures, looks at, refuses, keeps and sends."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from widgets.front_end import FrontEnd

import steerwidgets as sw
from steerwidgets.widgets.arrays import unpack

SOURCE, TARGET = "The cat sat here", "The dog ran here"  # as long in this tokenizer
ANSWERS = (17, 33)


@pytest.fixture
def make(lm):
    made = []

    def make_(source=SOURCE, target=TARGET, **settings):
        made.append(sw.PatchGrid(lm, source, target, **{"tokens": ANSWERS, **settings}))
        return made[-1]

    yield make_
    for grid in made:
        grid.close()


@pytest.fixture
def page_of():
    return FrontEnd


def differs(grid):
    """The first position in which the texts differ."""
    ids = [[token["id"] for token in grid.plan[side]] for side in ("source", "target")]
    return next(i for i, (a, b) in enumerate(zip(*ids, strict=True)) if a != b)


def shares(grid):
    return unpack(grid.result["share"])


def inputs_of(grid, **changes):
    return {**grid.inputs, **changes}


# What it plans


def test_it_says_what_a_run_would_be_before_it_runs(lm, make, runs):
    grid = make()
    length = len(lm.encode(TARGET, chat=False))
    plan = grid.plan
    assert (plan["problem"], plan["layers"], plan["cells"]) == ("", [0, 1, 2, 3], 4 * length)
    assert plan["seconds"] > 0
    ids = lm.encode(TARGET, chat=False).token_ids
    assert [token["text"] for token in plan["target"]] == [token.text for token in lm.tokens(ids)]
    assert plan["partners"] == list(range(length))
    assert [token["id"] for token in plan["answers"]] == list(ANSWERS)
    assert len(plan["candidates"][0]) == 8
    assert (grid.result, grid.patching) == ({}, None)


def test_the_models_own_answers_are_the_default(lm, make):
    grid = make(tokens=None)
    best = [plan[0]["id"] for plan in grid.plan["candidates"]]
    if best[0] != best[1]:
        assert [token["id"] for token in grid.plan["answers"]] == best
    half = make(tokens=(17, None))
    assert [token["id"] for token in half.plan["answers"]] == [17, best[1]]


def test_stride_counts_from_the_deepest_block(make):
    grid = make(stride=2)
    assert grid.plan["layers"] == [1, 3]
    assert grid.run().layers == (1, 3)


# What it measures


@pytest.mark.parametrize(
    "settings", [{}, {"stream": "mlp_out"}, {"stream": "attn_z"}, {"noise": True}, {"metric": "kl"}]
)
def test_it_shows_what_the_plain_call_gives(lm, make, settings):
    grid = make(**settings)
    plain = lm.patch(SOURCE, TARGET, **{"tokens": ANSWERS, **settings})
    found = grid.run()
    torch.testing.assert_close(found.share, plain.share, atol=1e-4, rtol=1e-4)
    assert np.allclose(shares(grid), plain.share.numpy(), atol=1e-4)
    assert grid.status["state"] == "done"
    assert (grid.plan["before"], grid.plan["after"]) == pytest.approx((plain.before, plain.after), abs=1e-4)


def test_rows_come_one_by_one_with_progress(make, page_of):
    grid = make()
    page = page_of(grid)
    request = page.ask("run", inputs=dict(grid.inputs))
    assert page.end(request)["type"] == "result"
    done = [m["done"] for m in page.of(request, "progress")]
    assert done == [0, 1, 2, 3, 4]
    assert [m["seconds_left"] for m in page.of(request, "progress")][-1] == 0
    filled = [state["result"]["done"] for state in page.states if state.get("result")]
    assert filled == [1, 2, 3, 4]


def test_stop_keeps_what_is_done_and_the_next_run_goes_on(make, page_of):
    grid = make()
    page = page_of(grid)
    run = grid._run
    measured = run._row

    def slow(row):
        found = measured(row)
        if run.done == 1:
            page.cancel("request-1")
        return found

    run._row = slow
    request = page.ask("run", inputs=dict(grid.inputs))
    assert request == "request-1"
    assert page.end(request)["type"] == "cancelled"
    assert grid.status["state"] == "stopped"
    assert np.isnan(shares(grid)).all(1).tolist() == [True, True, False, False]
    del run._row
    kept = shares(grid)[2:]
    assert page.call("run", inputs=dict(grid.inputs))["type"] == "result"
    assert not np.isnan(shares(grid)).any()
    assert (shares(grid)[2:] == kept).all()


def test_going_back_shows_what_was_measured(make, page_of):
    grid = make()
    page = page_of(grid)
    grid.run()
    before = shares(grid)
    page.call("plan", inputs=inputs_of(grid, stream="attn_out"))
    assert grid.result == {}
    page.call("plan", inputs=inputs_of(grid, stream="resid_post"))
    assert (shares(grid) == before).all()


def test_pairs_by_hand(lm, make, page_of):
    grid = make()
    page = page_of(grid)
    page.call("plan", inputs=inputs_of(grid, pairs=[[1, 2], [3, 3]]))
    assert grid.plan["columns"] == [2, 3]
    assert [p for p in grid.plan["partners"] if p >= 0] == [1, 3]
    plain = lm.patch(SOURCE, TARGET, tokens=ANSWERS, align=[(1, 2), (3, 3)])
    torch.testing.assert_close(grid.run().share, plain.share, atol=1e-4, rtol=1e-4)


# A cell


def test_a_cell_and_a_range_are_looked_at(make, page_of):
    grid = make()
    page = page_of(grid)
    patching = grid.run()
    at = differs(grid)
    page.update(pinned=[2, 2, at])
    assert page.call("cell", first=2, last=2, column=at)["type"] == "result"
    cell = grid.cell
    assert cell["value"] == pytest.approx(float(patching.values[2, at]), abs=1e-3)
    assert (len(cell["next"]), len(cell["random"])) == (5, 5)
    page.call("cell", first=0, last=2, column=at)
    assert grid.cell["share"] == pytest.approx(patching.cell((0, 2), at).share, abs=1e-4)
    assert grid.look((0, 3), at).layers == (0, 3)
    assert grid.pinned == [0, 3, at]


def test_where_both_texts_hold_the_same_it_says_so(make, page_of):
    grid = make()
    page = page_of(grid)
    grid.run()
    assert page.call("cell", first=1, last=1, column=0)["type"] == "result"
    assert "Both texts hold the same at block 1, position 0" in grid.cell["note"]


def test_the_whole_text_is_written_when_asked_for(lm, make, page_of):
    grid = make()
    page = page_of(grid)
    patching = grid.run()
    at = len(patching.tokens) - 1
    assert page.call("write", first=3, last=3, column=at)["type"] == "result"
    ids = list(patching.text.token_ids)
    out = lm.compare(ids, patching.recipe(3, at), temperature=0, max_new_tokens=24)
    assert (grid.written["patched"], grid.written["alone"]) == (out.steered.text, out.baseline.text)
    grid.look(2, differs(grid))
    assert grid.written == {}


def test_a_cells_recipe_goes_to_a_panel(make, make_panel, page_of):
    panel = make_panel(prompt=TARGET, chat=False)
    grid = make(panel=panel)
    page = page_of(grid)
    patching = grid.run()
    at = len(patching.tokens) - 1
    said = page.call("send", first=2, last=2, column=at)["value"]["said"]
    assert "1 steer in the panel's recipe now" in said
    assert panel.recipe == patching.recipe(2, at)
    page.call("send", first=0, last=2, column=at)
    assert len(panel.recipe) == 4
    assert sw.Recipe.from_json(grid.steer_requested["recipe"], dictionaries=[]) == patching.recipe((0, 2), at)
    panel.generate()
    grid.steer_in(None)
    assert "grid.steer_requested" in page.call("send", first=2, last=2, column=at)["value"]["said"]


def test_the_same_range_is_the_same_recipe_though_two_runs_differ_by_rounding(lm, make, make_panel, page_of):
    panel = make_panel(prompt=TARGET, chat=False)
    grid = make(panel=panel)
    patching = grid.run()
    at = len(patching.tokens) - 1
    count = itertools.count(1)

    def blur(_module, _inputs, output):
        rounded = lambda stream: stream * (1 + 1e-6 * next(count))
        return (rounded(output[0]), *output[1:]) if isinstance(output, tuple) else rounded(output)

    handle = lm.architecture.blocks[0].register_forward_hook(blur)
    try:
        first = patching.recipe((0, 2), at)
        page = page_of(grid)
        for _ in range(2):
            page.call("send", first=0, last=2, column=at)
        assert panel.recipe == first == patching.recipe((0, 2), at) == grid.look((0, 2), at).recipe
    finally:
        handle.remove()


# What is refused


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("", TARGET), "Write a source text."),
        (("", ""), "Write a source and a target text."),
        ((SOURCE, TARGET, {"tokens": (17, 17)}), "Both answers are"),
        ((SOURCE, SOURCE), "Both texts have the same logit difference"),
        ((SOURCE, TARGET, {"tokens": (" no single token", 17)}), "tokens to this tokenizer"),
        ((SOURCE, [5, 10**9]), "outside the vocabulary"),
        ((SOURCE, TARGET, {"align": [(0, 0), (0, 1)]}), "names a position of the source twice"),
    ],
)
def test_what_is_amiss_with_the_texts_stands_beside_them(make, page_of, given, sentence):
    source, target, *rest = given
    grid = make(source, target, **(rest[0] if rest else {}))
    assert sentence in grid.plan["problem"]
    with pytest.raises(ValueError):
        grid.run()
    page = page_of(grid)
    answer = page.call("run", inputs=dict(grid.inputs))
    assert sentence in answer["error"]["message"]
    if not rest:
        page.call("plan", inputs=inputs_of(grid, source=SOURCE, target=TARGET))
        assert grid.plan["problem"] == ""
        assert grid.run().share.shape[0] == 4


def test_texts_of_other_lengths(make):
    grid = make("The old cat sat here", TARGET)
    partners = grid.plan["partners"]
    assert partners[0] == 0
    assert partners[-1] == len(grid.plan["source"]) - 1
    assert not grid.run().share.isnan().any()


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({"stream": "mlp_acts"}, "Patching takes the streams"),
        ({"metric": "cosine"}, "metric= is one of"),
        ({"stride": 0}, "stride= is a whole number"),
        ({"answers": [1]}, "The answers are two tokens"),
        ({"pairs": [[1]]}, "A pair is two positions"),
        ({"pairs": 5}, "Pairs are a list"),
        ({"source": None}, "The source is a text"),
    ],
)
def test_damaged_inputs_are_one_sentence_and_change_nothing(make, page_of, inputs, sentence):
    grid = make()
    before = dict(grid.plan)
    answer = page_of(grid).call("plan", inputs=inputs_of(grid, **inputs))
    assert sentence in answer["error"]["message"]
    assert grid.plan == before


def test_damaged_requests(make, page_of):
    grid = make()
    page = page_of(grid)
    assert "The inputs of a patch grid are" in page.call("run", inputs=3)["error"]["message"]
    assert "Nothing is measured yet" in page.call("cell", first=0, last=0, column=1)["error"]["message"]
    grid.run()
    assert "A cell is asked for" in page.call("cell", first="a")["error"]["message"]
    with pytest.raises(TypeError, match=r"sw\.PatchGrid knows no setting tokns"):
        make(tokns=1)
    with pytest.raises(TypeError, match="Steers go to a SteeringPanel"):
        grid.steer_in(3)


def test_a_model_that_does_not_go_on_from_the_middle(make, monkeypatch):
    from steerwidgets.transformer.continuation import Continuation

    fast = make().run().share
    assert make().plan["whole"] is False
    monkeypatch.setattr(Continuation, "is_exact", lambda _self: False)
    slow = make()
    assert slow.plan["whole"] is True
    assert slow.plan["seconds"] > 0
    torch.testing.assert_close(slow.run().share, fast, atol=1e-3, rtol=1e-3)


def test_ids_and_messages(lm, make):
    ids = [list(lm.encode(text, chat=False).token_ids) for text in (SOURCE, TARGET)]
    grid = make(*ids)
    assert grid.facts["given"] == [f"{len(each)} token ids" for each in ids]
    assert (grid.inputs["source"], grid.plan["problem"]) == ("", "")
    torch.testing.assert_close(grid.run().share, make().run().share, atol=1e-4, rtol=1e-4)


def test_it_says_itself_in_plain_text_and_json(make):
    grid = make()
    assert "nothing was run yet" in repr(grid)
    grid.run()
    assert "share of the logit difference" in grid.summary()
    assert json.loads(grid.to_json())["inputs"]["source"] == SOURCE


def test_the_model_has_no_hooks_left(make, page_of, hooks):
    grid = make()
    grid.run()
    before = hooks()
    grid.look((0, 3), differs(grid))
    assert len(grid.look((0, 3), differs(grid)).recipe) == 1  # above block 0 there is nothing left to set
    page_of(grid).call("write", first=1, last=2, column=differs(grid))
    assert hooks() == before
