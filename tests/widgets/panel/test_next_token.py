"""The tab "Δ logits": what a recipe does to the token after the prompt."""

import pytest
import torch


def plain_logits(lm, ids, change):
    """The last logits, block 1's output changed by a plain hook."""
    handle = lm.model.model.layers[1].register_forward_hook(
        lambda _m, _i, out: (out[0] + change, *out[1:]) if isinstance(out, tuple) else out + change
    )
    with torch.no_grad():
        logits = lm.model(torch.tensor([ids])).logits[0, -1]
    handle.remove()
    return logits


def test_it_shows_what_plain_hooks_give(panel, lm, cavs):
    panel.prompt = "Name a city."
    found = panel.logit_difference(k=6)
    ids = lm.encode(panel.prompt).token_ids
    before, after = (plain_logits(lm, ids, alpha * cavs[0].vector) for alpha in (0.0, 4.0))
    delta = after - before
    delta = delta - delta.mean()
    rare = torch.stack((before, after)).softmax(-1).amax(0) < 1e-3
    shown = panel.next_token
    assert shown["changes"]
    for side, sign in (("promoted", 1), ("suppressed", -1)):
        expected = (sign * delta).masked_fill(rare, -torch.inf).topk(6)
        rows = shown[side]
        assert [row["id"] for row in rows] == expected.indices.tolist()
        assert [abs(row["delta"]) for row in rows] == pytest.approx(expected.values.abs().tolist(), abs=1e-4)
        for name, logits in (("before", before), ("after", after)):
            assert [row[name] for row in rows] == pytest.approx(logits.softmax(-1)[expected.indices].tolist(), abs=1e-5)
    assert [token.id for token, _ in found.promoted] == [row["id"] for row in shown["promoted"]]


def test_the_page_asks_for_what_stands_on_it(panel, page, lm, cavs):
    [steer] = panel.steers
    steers = [{**steer, "params": {"alpha": 9.0}}]
    assert page.call("logits", steers=steers, prompt="Hi")["type"] == "result"
    assert panel.next_token["asked"]["steers"] == steers
    expected = lm.logit_difference("Hi", cavs[0].add(9), least=1e-3)
    assert panel.next_token["promoted"][0]["delta"] == pytest.approx(expected.promoted[0][1], abs=1e-4)


def test_a_recipe_that_waits_for_generated_tokens_changes_nothing_there(panel, cavs):
    panel.recipe = cavs[0].add(4).at("generated")
    panel.logit_difference()
    assert panel.next_token["changes"] is False


def test_bad_inputs_are_one_sentence_and_what_was_shown_stays(panel, page, cavs):
    panel.logit_difference()
    before = panel.next_token
    ended = page.call("logits", prompt="  ")
    assert ended["type"] == "error"
    assert "The prompt is empty" in ended["error"]["message"]
    panel.recipe = cavs[0].add(3e38)
    with pytest.raises(ValueError, match="NaN or infinite under"):
        panel.logit_difference()
    assert panel.next_token == before


def test_the_tab_that_is_open_is_one_there_is(panel):
    panel.tab = "logits"
    with pytest.raises(Exception, match="tab"):
        panel.tab = "weather"
    assert panel.tab == "logits"
