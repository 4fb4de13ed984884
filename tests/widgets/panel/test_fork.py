"""Rows beside a pair, and a token chosen in the place of a generated one, in a panel."""

import json

import pytest
from widgets.front_end import FrontEnd, joined

import steerwidgets as sw


@pytest.fixture
def four(make_panel, cavs):
    return make_panel(recipe=cavs[0].add(4), asked="Talk about the sea.", random=1)


def ids(row):
    return [token["id"] for token in row["tokens"]]


def test_rows_beside_are_those_of_lm_compare(four, lm, cavs):
    recipe = sw.Recipe.of(cavs[0].add(4))
    beside = [sw.Asked("Talk about the sea."), recipe.random_direction(1)]
    expected = lm.compare(four.prompt, recipe, beside=beside, max_new_tokens=8)
    four.generate()
    rows = four.result["rows"]
    assert [row["name"] for row in rows] == ["baseline", "steered", "prompted", "random 1"]
    assert [row["text"] for row in rows] == [
        each.text for each in (expected.baseline, expected.steered, *expected.beside)
    ]
    assert all(len(row["watched"]) == len(row["tokens"]) for row in rows)
    assert four.result["beside"] == {"asked": "Talk about the sea.", "random": 1}
    assert list(four.history[-1].texts) == ["baseline", "steered", "prompted", "random 1"]
    json.dumps(four.result, allow_nan=False)


def test_every_steered_row_says_how_far_it_is_from_the_unsteered_model(four, lm, cavs):
    four.generate()
    kl = [row["kl"] for row in four.result["rows"]]
    assert kl[1] == pytest.approx(sum(four.result["kl"]) / len(four.result["kl"]), abs=1e-6)
    assert (kl[0], kl[2]) == (None, None)
    random = sw.Recipe.of(cavs[0].add(4)).random_direction(1)
    alone = lm.compare(four.prompt, random, max_new_tokens=8)
    assert alone.steered.text == four.result["rows"][3]["text"]
    assert kl[3] == pytest.approx(sum(alone.kl) / len(alone.kl), abs=1e-3)


def test_rows_beside_stream_with_the_pair(four):
    page = FrontEnd(four)
    request = page.ask("generate", beside={"asked": "", "random": 2})
    assert page.end(request)["type"] == "result"
    progress = page.of(request, "progress")[0]
    assert progress["rows"] == ["baseline", "steered", "random 1", "random 2"]
    assert joined(page.of(request, "delta"), rows=4) == [ids(row) for row in four.result["rows"]]


def test_without_a_recipe_there_is_nothing_to_randomise(four):
    four.recipe = None
    four.generate()
    assert [row["name"] for row in four.result["rows"]] == ["baseline", "steered", "prompted"]


@pytest.mark.parametrize(
    ("beside", "sentence"),
    [
        ({"random": 9}, "random should be a whole number from 0 to 8, but 9"),
        ({"random": -1}, "random should be a whole number"),
        ({"random": 1.5}, "random should be a whole number"),
        ({"asked": 3}, "asked should be a text, but 3"),
        ([], "should be a table"),
    ],
)
def test_rows_that_there_can_not_be_are_one_sentence(panel, page, beside, sentence):
    ended = page.call("generate", beside=beside)
    assert ended["type"] == "error"
    assert sentence in ended["error"]["message"]
    assert panel.generate().steered.text


def test_a_constructor_says_it_at_once(lm, cavs):
    with pytest.raises(ValueError, match="random should be a whole number"):
        sw.SteeringPanel(lm, cavs, random=99)


@pytest.mark.parametrize("row", ["baseline", "steered", "prompted", "random 1"])
def test_it_goes_on_from_another_token(four, row):
    out = four.generate()
    texts = dict(
        zip(("baseline", "steered", "prompted", "random 1"), (out.baseline, out.steered, *out.beside), strict=True)
    )
    other = four.alternatives(3, row, k=3)[1][0]
    if other.id == texts[row].token_ids[3]:
        other = four.alternatives(3, row, k=3)[0][0]
    four.fork(3, other.id, row)
    for shown in four.result["rows"]:
        before = list(texts[shown["name"]].token_ids)
        if shown["name"] != row:
            assert (ids(shown), shown["forked"]) == (before, None)
            continue
        assert ids(shown)[:4] == [*before[:3], other.id]
        assert len(shown["watched"]) == len(shown["tokens"])
        assert shown["forked"] == 3
    assert len(four.result["kl"]) == len(four.result["rows"][1]["tokens"])
    assert len(four.history) == 2
    assert four.runs[-1]["rows"][["baseline", "steered", "prompted", "random 1"].index(row)]["forked"] == 3


def test_the_page_chooses_and_sees_it_grow(four):
    four.generate()
    before = [ids(row) for row in four.result["rows"]]
    page = FrontEnd(four)
    offered = page.call("alternatives", row="steered", step=2)["value"]["tokens"]
    assert [each["p"] for each in offered] == sorted((each["p"] for each in offered), reverse=True)
    other = next(each["id"] for each in offered if each["id"] != before[1][2])
    request = page.ask("fork", row="steered", step=2, token=other)
    assert page.end(request)["type"] == "result"
    parts = [part for delta in page.of(request, "delta") for part in delta["rows"]]
    assert {part["row"] for part in parts} == {1}
    assert parts[0]["start"] == 2
    after = [ids(row) for row in four.result["rows"]]
    assert after[0] == before[0]
    assert after[1][:3] == [*before[1][:2], other]


def test_inputs_that_changed_since_do_not_change_what_is_gone_on_with(panel, cavs):
    out = panel.generate()
    panel.recipe = cavs[1].add(9)
    panel.prompt = "Something else."
    forked = panel.fork(2, out.steered.token_ids[2])
    assert forked.steered.token_ids == out.steered.token_ids
    assert panel.read_recipe(panel.result["recipe"]) == sw.Recipe.of(cavs[0].add(4))
    assert panel.result["prompt"] != panel.prompt


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ({"row": "louder", "step": 0, "token": 5}, "shows the rows baseline, steered, but 'louder'"),
        ({"row": "steered", "step": 99, "token": 5}, "step 99 was asked for"),
        ({"row": "steered", "step": "a", "token": 5}, "step 'a' was asked for"),
        ({"row": "steered", "step": 0, "token": -1}, "outside the vocabulary"),
        ({"row": "steered", "step": 0, "token": None}, "by its text or its id"),
        ({"row": ["steered"], "step": 0, "token": 5}, "shows the rows"),
    ],
)
def test_a_token_that_there_is_not_is_one_sentence_and_the_texts_stay(panel, page, args, sentence):
    panel.generate()
    before = panel.result
    ended = page.call("fork", **args)
    assert ended["type"] == "error"
    assert sentence in ended["error"]["message"]
    assert panel.result == before
    if args["token"] == 5:
        assert page.call("alternatives", **args)["type"] == "error"


def test_before_the_first_run_it_says_what_to_do(panel, page):
    for name in ("fork", "alternatives"):
        ended = page.call(name, row="steered", step=0, token=1)
        assert "press Generate, then choose one of its tokens" in ended["error"]["message"]


def test_the_end_of_a_text_can_be_chosen(panel, lm):
    panel.generate()
    panel.fork(3, min(lm.end_ids))
    steered = panel.result["rows"][1]
    assert (len(steered["tokens"]), steered["ended"]) == (3, "eos")
    json.dumps(panel.result, allow_nan=False)


def test_stop_keeps_what_was_gone_on_with(panel, page, gate):
    gate.open()
    panel.settings = {**panel.settings, "max_new_tokens": 40}
    panel.generate()
    other = panel.alternatives(2)[1][0].id
    gate._left = 0
    request = page.ask("fork", row="steered", step=2, token=other)
    gate.let(3)
    page.first_delta(request)
    page.cancel(request)
    gate.open()
    assert page.end(request)["type"] == "cancelled"
    steered = panel.result["rows"][1]
    assert steered["ended"] == "stopped"
    assert 3 <= len(steered["tokens"]) < 40
