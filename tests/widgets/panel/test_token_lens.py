"""The lens of a generated token beside a panel's texts, and a lens widget of one token."""

import json

import pytest
import torch
from support.hooks import passes
from widgets.front_end import FrontEnd

import steerwidgets as sw
from steerwidgets.widgets.arrays import unpack

NAMES = ("log_probs", "entropy", "kl")


def whole_text(lm, run, row):
    """The lens of a row's prompt and answer, steered as the row was."""
    text = getattr(run, row).token_ids
    recipe = run.recipe if row == "steered" else None
    return lm.logit_lens([*run.prompt.token_ids, *text], recipe, prompt_length=len(run.prompt))


@pytest.mark.parametrize("row", ["baseline", "steered"])
def test_it_is_the_lens_of_the_whole_text_at_that_token(panel, page, lm, row):
    run = panel.generate()
    whole = whole_text(lm, run, row)
    answer, seen = passes(lm, lambda: page.call("lens", row=row, step=3))
    assert answer["type"] == "result"
    assert seen == [1]
    shown = panel.token_lens(3, row)
    assert panel.lens == shown.model_id
    position = len(run.prompt) + 3
    assert shown.layer_lens.positions == (position,)
    for name in NAMES:
        ours, theirs = getattr(shown.layer_lens, name)[:, 0], getattr(whole, name)[:, position]
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    other = "baseline" if row == "steered" else "steered"
    grid = unpack(getattr(shown, row)["log_probs"])
    assert grid.shape == (4, 1, 10)
    assert torch.equal(torch.from_numpy(grid), shown.layer_lens.log_probs)
    assert (getattr(shown, other), shown.difference) == ({}, {})
    tokens = getattr(run, row).tokens
    assert shown.tokens["texts"] == [tokens[3].text, tokens[4].text]
    assert f"token 4 of 8 of the {row} text. Only this token was read again" in shown.facts["generated"]
    assert (shown.facts["first"], shown.text, shown.facts["source"]) == (position, "", "")
    assert (shown.provenance["row"], shown.provenance["step"]) == (row, "3")
    assert shown.steering.get("layers", []) == ([1] if row == "steered" else [])


def test_the_last_token_has_no_next_one(panel):
    run = panel.generate()
    shown = panel.token_lens(7)
    assert shown.tokens["texts"] == [run.steered.tokens[7].text]


def test_one_widget_shows_one_token_after_the_other(panel, page):
    panel.generate()
    assert page.call("lens", row="steered", step=0)["type"] == "result"
    first = panel.lens
    assert page.call("lens", row="baseline", step=7)["type"] == "result"
    assert panel.lens == first
    shown = panel.token_lens(7, "baseline")
    assert shown.model_id == first
    assert (shown.shows, shown.steered, shown.recipe) == ("steered", {}, sw.Recipe())


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ({}, "baseline and steered; a lens of None was asked for"),
        ({"row": "left", "step": 0}, "baseline and steered; a lens of 'left'"),
        ({"row": ["steered"], "step": 0}, "baseline and steered; a lens of"),
        ({"row": "steered"}, "a whole number from 0; None was asked for"),
        ({"row": "steered", "step": True}, "a whole number from 0; True"),
        ({"row": "steered", "step": 1.5}, "a whole number from 0; 1.5"),
        ({"row": "steered", "step": -1}, "a whole number from 0; -1"),
        ({"row": "steered", "step": 8}, "has 8 generated tokens, counted from 0; there is no step 8"),
    ],
)
def test_what_is_no_token_is_answered_by_one_sentence(panel, page, args, sentence):
    panel.generate()
    answer = page.call("lens", **args)
    assert answer["type"] == "error"
    assert sentence in answer["error"]["message"]
    assert panel.lens == ""
    assert page.call("lens", row="steered", step=1)["type"] == "result"


def test_before_the_first_run_there_is_nothing_to_open(panel, page):
    answer = page.call("lens", row="steered", step=0)
    assert "There is no generated text yet" in answer["error"]["message"]


def test_another_run_closes_it(panel):
    panel.generate()
    panel.token_lens(2)
    assert panel.lens
    panel.generate()
    assert panel.lens == ""


def test_a_stopped_run_has_lenses_too(panel, page, gate, lm):
    panel.settings = {**panel.settings, "max_new_tokens": 200}
    request = page.ask("generate")
    gate.let(6)
    page.wait(lambda: gate.is_used_up and page.of(request, "delta"), "some text")
    page.cancel(request)
    gate.open()
    assert page.end(request)["type"] == "cancelled"
    count = len(panel.result["rows"][1]["tokens"])
    assert 0 < count < 200
    shown = panel.token_lens(count - 1)
    whole = whole_text(lm, panel.comparison, "steered")
    torch.testing.assert_close(shown.layer_lens.kl[:, 0], whole.kl[:, -1], atol=1e-4, rtol=1e-4)


def test_a_run_that_ctrl_c_ended_is_read_as_a_whole(panel, lm, cavs):
    handle = lm.model.register_forward_pre_hook(interrupted_at(5))
    with pytest.raises(KeyboardInterrupt):
        panel.generate()
    handle.remove()
    texts = [[token["id"] for token in row["tokens"]] for row in panel.result["rows"]]
    assert texts[1]
    shown = panel.token_lens(1)
    assert "the run's keys and values were not kept" in shown.facts["generated"]
    prompt = lm.encode(panel.prompt, chat=True)
    whole = lm.logit_lens([*prompt.token_ids, *texts[1]], cavs[0].add(4), prompt_length=len(prompt))
    at = len(prompt) + 1
    torch.testing.assert_close(shown.layer_lens.log_probs[:, 0], whole.log_probs[:, at], atol=1e-4, rtol=1e-4)


def interrupted_at(count):
    """A hook that Ctrl-C hits at one of the model's passes."""
    left = [count]

    def hook(*_):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    return hook


def test_closing_the_panel_closes_its_lens(make_panel, cavs):
    panel = make_panel(recipe=cavs[0].add(4))
    panel.generate()
    shown = panel.token_lens(0)
    assert shown.comm is not None
    panel.close()
    assert shown.comm is None


def test_a_lens_that_was_closed_is_made_anew(panel):
    panel.generate()
    first = panel.token_lens(0)
    first.close()
    second = panel.token_lens(1)
    assert second is not first
    assert panel.lens == second.model_id


def test_a_page_of_its_own_holds_no_lens(panel):
    panel.generate()
    before = panel.to_json()
    shown = panel.token_lens(0)
    assert panel.to_json() == before
    assert shown.model_id not in panel._page()


class TestOfToken:
    @pytest.fixture
    def run(self, lm, cavs):
        return lm.compare("Hello there", cavs[0].add(4), keep_cache=True, max_new_tokens=6, seed=0)

    def test_from_code(self, lm, run):
        lens = sw.LogitLens.of_token(lm, run, -1, k=3, track=[5], pinned=[2, 0])
        assert lens.layer_lens.token_ids.shape == (4, 1, 3)
        assert (lens.shows, lens.recipe, lens.tracked) == ("steered", run.recipe, [5])
        shown = json.loads(lens.to_json())
        assert shown["baseline"] == {}
        assert len(shown["steered"]["entropy"]) == 4
        assert "token 6 of 6 of the steered text" in shown["facts"]["generated"]
        lens.close()

    def test_requests_of_its_page(self, lm, run):
        lens = sw.LogitLens.of_token(lm, run, 2)
        page = FrontEnd(lens)
        (answer, seen) = passes(lm, lambda: page.call("track", ids=[7, 9]))
        assert (answer["type"], lens.tracked, seen) == ("result", [7, 9], [])
        assert page.call("stream", stream="mlp_out")["type"] == "result"
        whole = lm.logit_lens(
            [*run.prompt.token_ids, *run.steered.token_ids], run.recipe, prompt_length=len(run.prompt), stream="mlp_out"
        )
        at = len(run.prompt) + 2
        torch.testing.assert_close(lens.layer_lens.log_probs[:, 0], whole.log_probs[:, at], atol=1e-4, rtol=1e-4)
        token = int(lens.layer_lens.answers[0])
        assert page.call("wrote", position=0, id=token, minus=None, run="steered")["type"] == "result"
        assert lens.wrote["run"] == "steered"
        assert lens.wrote["total"] == pytest.approx(lens.wrote["logit"], abs=1e-3)
        found = lens.attribution(token)
        assert found.position == at
        assert found.prompt.token_ids == (*run.prompt.token_ids, *run.steered.token_ids[:3])
        assert "0 to 0" in page.call("wrote", position=1, id=token, minus=None)["error"]["message"]
        lens.close()

    def test_its_recipe_is_its_runs(self, lm, run, cavs):
        lens = sw.LogitLens.of_token(lm, run, 2)
        before = lens.to_json()
        with pytest.raises(ValueError, match="its recipe can't be changed; give it a text first"):
            lens.recipe = cavs[1].add(2)
        assert lens.recipe == run.recipe
        assert lens.to_json() == before
        lens.prompt = "another text"
        lens.recipe = cavs[1].add(2)
        assert lens.difference
        assert lens.facts["generated"] == ""
        lens.close()

    @pytest.mark.parametrize(("step", "row", "sentence"), [(6, "steered", "6 generated tokens"), (0, "left", "'left'")])
    def test_what_the_run_has_not(self, lm, run, step, row, sentence):
        with pytest.raises(ValueError, match=sentence):
            sw.LogitLens.of_token(lm, run, step, row)
