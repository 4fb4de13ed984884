"""LogitLens from Python: what it reads, what travels, what it follows, what is refused, what is saved."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import traitlets
from widgets.front_end import FrontEnd

import steerwidgets as sw
from steerwidgets.widgets.arrays import unpack

TEXT = "Name a city by the sea ☕, please."
HOSTILE = "</script><img src=x onerror=alert(1)>\u2028\u202e"


@pytest.fixture
def make(lm):
    made = []

    def make_(text=TEXT, recipe=None, **settings):
        made.append(sw.LogitLens(lm, text, recipe, **settings))
        return made[-1]

    yield make_
    for lens in made:
        lens.close()


def grid(lens, name, run="baseline"):
    return unpack(getattr(lens, run)[name])


def by_hand(lm, text, block):
    """Log-probabilities [position, vocabulary] after a block: the model's own norm and unembed."""
    ids = torch.tensor([lm.encode(text, chat=False).token_ids])
    with torch.no_grad():
        out = lm.model(ids, output_hidden_states=True)
        if block == lm.architecture.layers - 1:
            return out.logits[0].float().log_softmax(-1)
        return lm.model.lm_head(lm.model.model.norm(out.hidden_states[block + 1]))[0].float().log_softmax(-1)


def token_id(lm, text):
    (found,) = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


# What it reads and what travels


def test_each_cell_is_what_the_block_would_say_next(lm, make):
    lens = make(k=4)
    for index, block in enumerate(lens.baseline["layers"]):
        log_probs = by_hand(lm, TEXT, block).numpy()
        top = -np.sort(-log_probs)[:, :4]
        assert np.allclose(grid(lens, "log_probs")[index], top, atol=1e-4)
        assert np.allclose(np.take_along_axis(log_probs, grid(lens, "ids")[index], 1), top, atol=1e-4)
    assert lens.baseline["layers"] == list(range(lm.architecture.layers))
    assert unpack(lens.tokens["ids"]).tolist() == list(lm.encode(TEXT, chat=False).token_ids)
    assert (lens.steered, lens.difference, lens.steering) == ({}, {}, {})


def test_entropy_kl_and_the_block_where_the_answer_settles(lm, make):
    lens = make()
    final = by_hand(lm, TEXT, lm.architecture.layers - 1)
    first = by_hand(lm, TEXT, 0)
    assert np.allclose(grid(lens, "entropy")[0], -(first.exp() * first).sum(-1), atol=1e-4)
    assert np.allclose(grid(lens, "kl")[0], (final.exp() * (final - first)).sum(-1), atol=1e-4)
    answers = final.argmax(-1).tolist()
    assert grid(lens, "answers").tolist() == answers
    tops = grid(lens, "ids")[:, :, 0]
    for position, (block, answer) in enumerate(zip(grid(lens, "settled"), answers, strict=True)):
        assert (tops[block:, position] == answer).all()
        assert block == 0 or tops[block - 1, position] != answer


def test_every_token_that_is_shown_has_its_text_once(lm, make, cavs):
    lens = make(recipe=cavs[0].add(20))
    ids = unpack(lens.vocabulary["ids"]).tolist()
    assert len(set(ids)) == len(ids) == len(lens.vocabulary["texts"])
    shown = {*grid(lens, "ids").ravel(), *grid(lens, "ids", "steered").ravel(), *grid(lens, "answers")}
    shown |= {*unpack(lens.difference["rises"]["ids"]).ravel(), *unpack(lens.steering["promoted"]["ids"]).ravel()}
    shown |= set(unpack(lens.steering["direct"][0]["promoted"]["ids"]).ravel())
    assert shown <= set(ids)
    texts = dict(zip(ids, lens.vocabulary["texts"], strict=True))
    broken = set(lens.vocabulary["fragments"])
    for token in lm.tokens(ids):
        assert (texts[token.id], token.id in broken) == (token.text, token.fragment)
    assert broken


def test_a_cell_takes_at_most_16_bytes_for_each_candidate(make):
    lens = make(text="word " * 60)
    cells = grid(lens, "entropy").size
    sent = json.dumps({name: lens.baseline[name] for name in ("ids", "log_probs", "entropy", "kl")})
    assert len(sent) / (cells * 10) < 16


def test_other_streams(lm, make):
    lens = make(stream="mlp_out")
    assert lens.layer_lens.stream == "mlp_out"
    assert np.allclose(grid(lens, "log_probs"), lm.logit_lens(TEXT, stream="mlp_out").log_probs, atol=1e-5)
    lens.stream = "resid_pre"
    assert lens.layer_lens.stream == "resid_pre"
    assert np.allclose(grid(lens, "log_probs")[1], grid(make(), "log_probs")[0], atol=1e-4)
    with pytest.raises(ValueError, match="streams resid_post"):
        make(stream="mlp_acts")


def test_messages_ids_and_nothing_at_all(lm, make):
    ids = lm.encode("The sea", chat=False).token_ids
    lens = make(text=list(ids))
    assert unpack(lens.tokens["ids"]).tolist() == list(ids)
    assert (lens.text, lens.facts["source"]) == ("", f"{len(ids)} token ids")
    chat = make(text=[{"role": "user", "content": "Hi"}])
    assert chat.facts["source"] == "1 message"
    assert (unpack(chat.tokens["flags"]) & 4).any()
    empty = make(text="")
    assert (empty.layer_lens, empty.baseline, empty.facts["source"]) == (None, {}, "")
    empty.prompt = "The sea"
    assert unpack(empty.tokens["ids"]).tolist() == list(ids)


def test_another_text_starts_afresh_but_keeps_how_it_is_shown(make, cavs):
    lens = make(recipe=cavs[0].add(20), pinned=[1, 2], measure="entropy", shows="difference")
    lens.prompt = "The sea"
    assert (lens.pinned, lens.measure, lens.shows) == ([], "entropy", "difference")
    assert lens.text == "The sea"
    assert lens.recipe == sw.Recipe.of(cavs[0].add(20))


# Steering inside


def test_baseline_steered_and_their_difference(lm, make, cavs):
    steer = cavs[0].add(20)
    lens = make(recipe=steer)
    plain, steered = lm.logit_lens(TEXT), lm.logit_lens(TEXT, steer)
    assert np.allclose(grid(lens, "log_probs"), plain.log_probs, atol=1e-4)
    assert np.allclose(grid(lens, "log_probs", "steered"), steered.log_probs, atol=1e-4)
    site = steer.feature.site
    assert lens.steering["layers"] == [site.layer]
    assert lens.steering["steers"] == [{"label": steer.feature.label, "what": "add(20)", "site": str(site)}]
    assert lens.shows == "steered"
    top = unpack(lens.difference["top"])
    assert np.abs(top[: site.layer]).max() < 1e-4
    assert np.abs(top[site.layer :]).max() > 1e-2
    rises, falls = (lens.difference[name] for name in ("rises", "falls"))
    assert unpack(rises["values"])[-1].min() >= 0 >= unpack(falls["values"])[-1].max()
    gained = np.exp(by_hand_steered(lm, steer)) - np.exp(by_hand(lm, TEXT, lm.architecture.layers - 1).numpy())
    assert np.allclose(unpack(rises["values"])[-1, :, 0], gained.max(-1), atol=1e-4)


def by_hand_steered(lm, steer):
    ids = torch.tensor([lm.encode(TEXT, chat=False).token_ids])
    with torch.no_grad(), lm.steer(steer):
        return lm.model(ids).logits[0].float().log_softmax(-1).numpy()


def test_what_the_vector_says_by_itself_and_what_came_out(lm, make, cavs):
    steer = cavs[0].add(20)
    lens = make(recipe=steer)
    (direct,) = lens.steering["direct"]
    assert direct["site"] == str(steer.feature.site)
    assert np.allclose(unpack(direct["norms"]), 20 * steer.feature.norm, rtol=1e-3)
    assert unpack(direct["promoted"]["ids"])[-1, 0] == lm.top_logits(cavs[0], k=1).promoted[0][0].id
    effect = lm.logit_difference(TEXT, steer, k=5, chat=False)
    assert np.allclose(
        unpack(lens.steering["promoted"]["values"])[-1, :5], [value for _, value in effect.promoted], atol=1e-3
    )
    assert unpack(lens.steering["suppressed"]["ids"])[-1, 0] == effect.suppressed[0][0].id


def test_the_recipe_is_set_linked_and_taken_away(lm, make, cavs):
    lens, other = make(), make()
    link = traitlets.link((lens, "recipe"), (other, "recipe"))
    lens.recipe = cavs[0].add(20)
    assert other.recipe == lens.recipe == sw.Recipe.of(cavs[0].add(20))
    assert grid(other, "log_probs", "steered").tolist() == grid(lens, "log_probs", "steered").tolist()
    assert sw.Recipe.from_json(lens.recipe_json, [cavs]) == lens.recipe
    lens.recipe = None
    assert (lens.steered, lens.recipe_json, other.steered) == ({}, "", {})
    link.unlink()


def test_a_recipe_that_does_not_fit_leaves_what_was_shown(make, cavs):
    lens = make(recipe=cavs[0].add(20))
    before = lens.steered
    far = sw.CAV(torch.randn(1, 32), ["x"], layer=40)
    with pytest.raises(ValueError, match="40"):
        lens.recipe = far[0].add(3)
    with pytest.raises(TypeError, match="steers"):
        lens.recipe = [3]
    assert lens.recipe == sw.Recipe.of(cavs[0].add(20))
    assert lens.steered is before


def test_it_follows_a_panel_in_the_background_and_reads_only_the_last_wish(make, make_panel, cavs, gate):
    gate.open()
    panel = make_panel(recipe=cavs[0].add(4))
    lens = make()
    page = FrontEnd(lens)
    end = lens.follow(panel)
    assert lens.recipe == panel.recipe
    for strength in (5, 6, 7, 8):
        panel.recipe = cavs[0].add(strength)
    page.wait(lambda: lens.recipe == panel.recipe and lens.status["state"] == "idle", "the panel's last recipe")
    assert lens.recipe == sw.Recipe.of(cavs[0].add(8))
    end()
    panel.recipe = cavs[1].add(1)
    assert lens.recipe == sw.Recipe.of(cavs[0].add(8))
    with pytest.raises(TypeError, match="has a recipe"):
        lens.follow(sw.TokenHeatmap.from_arrays(["a"], [1.0]))


def test_a_closed_lens_follows_nobody(make, make_panel, cavs):
    panel = make_panel(recipe=cavs[0].add(4))
    before = {name: len(panel._trait_notifiers.get(name, {}).get("change", [])) for name in ("steers", "positions")}
    lens = make()
    lens.follow(panel)
    lens.close()
    after = {name: len(panel._trait_notifiers.get(name, {}).get("change", [])) for name in ("steers", "positions")}
    assert after == before


# What a page asks


def test_the_page_reads_another_text(lm, make):
    lens = make(text="")
    page = FrontEnd(lens)
    assert page.call("read", text="The sea", chat=False)["type"] == "result"
    assert unpack(lens.tokens["ids"]).tolist() == list(lm.encode("The sea", chat=False).token_ids)
    assert page.call("stream", stream="attn_out")["type"] == "result"
    assert lens.stream == lens.layer_lens.stream == "attn_out"


def test_a_reading_is_stopped_while_another_run_has_the_model(make, lm):
    lens = make()
    before = lens.baseline
    page = FrontEnd(lens)
    with lm.lock:
        request = page.ask("read", text="Another text", chat=False)
        page.wait(lambda: page.of(request, "progress"), "that it waits")
        page.cancel(request)
        assert page.end(request)["type"] == "cancelled"
    assert lens.baseline is before


def test_a_reading_is_stopped_half_way(make, gate):
    lens = make(text="")
    before = lens.baseline
    page = FrontEnd(lens)
    request = page.ask("read", text="Another text", chat=False)
    assert gate.held.wait(30)  # the model is at it
    page.cancel(request)
    gate.open()
    assert page.end(request)["type"] == "cancelled"
    assert lens.baseline is before


def test_tokens_are_found_followed_and_chosen_by_id(lm, make, runs):
    lens = make()
    page = FrontEnd(lens)
    runs.clear()
    assert page.call("find", query="e")["type"] == "result"
    (wanted,) = [token["id"] for token in lens.found["tokens"] if token["text"] == "e"]
    assert wanted == token_id(lm, "e")
    assert page.call("track", ids=[wanted, 7])["type"] == "result"
    assert lens.tracked == [wanted, 7]
    assert not runs
    for block in range(lm.architecture.layers):
        log_probs = by_hand(lm, TEXT, block)
        assert np.allclose(grid(lens, "tracked_log_probs")[block, :, 0], log_probs[:, wanted], atol=1e-4)
        better = (log_probs > log_probs[:, [wanted]] + 1e-6).sum(-1)
        assert np.abs(grid(lens, "tracked_ranks")[block, :, 0] - better.numpy()).max() <= 1
    lens.track("e")
    assert lens.tracked == [wanted]
    assert str(wanted) in json.loads(lens.to_json())["vocabulary"]


def test_what_wrote_a_logit(lm, make, cavs):
    lens = make(recipe=cavs[0].add(20))
    page = FrontEnd(lens)
    assert page.call("wrote", position=5, id=7, minus=9, run="steered")["type"] == "result"
    found = lens.wrote
    expected = lm.attribution(TEXT, 7, 9, position=5, recipe=cavs[0].add(20))
    assert [part["name"] for part in found["parts"]] == [row.component for row in expected.top(len(found["parts"]))]
    shown = sum(part["value"] for part in found["parts"]) + found["rest"]
    with lm.steer(cavs[0].add(20)), torch.no_grad():
        logits = lm.model(torch.tensor([lm.encode(TEXT, chat=False).token_ids])).logits[0, 5]
    assert shown == pytest.approx(float(logits[7] - logits[9]), abs=1e-3)
    assert (found["run"], found["minus"], found["of"]) == ("steered", 9, len(expected.rows))
    assert lens.attribution(7, 9, position=5).rows[0].component == expected.rows[0].component
    page.call("wrote", position=5, id=7, minus=None, run="baseline")
    assert (lens.wrote["run"], lens.wrote["minus"]) == ("baseline", None)
    lens.prompt = "The sea"
    assert lens.wrote == {}
    with pytest.raises(ValueError, match="Nothing is read"):
        make(text="").attribution(3)


def test_tokens_that_read_alike_stay_apart(lm, make):
    lens = make()
    FrontEnd(lens).call("find", query="sea")
    ids = [token["id"] for token in lens.found["tokens"]]
    assert len(ids) == len(set(ids)) > 1


@pytest.mark.parametrize(
    ("name", "args", "says"),
    [
        ("read", {"text": ""}, "nothing to read"),
        ("read", {"text": 3}, "nothing to read"),
        ("read", {"text": "half \ud800"}, "lone surrogate"),
        ("stream", {"stream": "nowhere"}, "one of the streams"),
        ("track", {"ids": "7"}, "list of whole numbers"),
        ("track", {"ids": [10**9]}, "outside the vocabulary"),
        ("track", {"ids": list(range(7))}, "At most 6"),
        ("find", {"query": ""}, "text of a token"),
        ("find", {"query": 3}, "text of a token"),
        ("wrote", {"position": 99999, "id": 3}, "positions 0 to"),
        ("wrote", {"position": 0, "id": "x"}, "whole numbers"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_the_lens_lives_on(make, name, args, says):
    lens = make()
    before = lens.baseline
    page = FrontEnd(lens)
    end = page.call(name, **args)
    assert end["type"] == "error"
    assert says in end["error"]["message"]
    assert "\n" not in end["error"]["message"]
    assert lens.baseline is before
    assert page.call("find", query="e")["type"] == "result"


def test_what_the_page_writes_does_not_run_the_model_in_its_thread(make, lm):
    lens = make()
    page = FrontEnd(lens)
    with lm.lock:
        done = threading.Event()
        thread = threading.Thread(target=lambda: (page.update(stream="resid_pre"), done.set()))
        thread.start()
        assert done.wait(10)
    page.wait(lambda: lens.layer_lens.stream == "resid_pre", "the other stream")
    thread.join()


# What is refused, what is saved


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"k": 0}, ValueError, "k counts"),
        ({"track": list(range(7))}, ValueError, "At most 6"),
        ({"track": ["two words here"]}, ValueError, "tokens to this tokenizer"),
        ({"measure": "colour"}, traitlets.TraitError, "measure"),
        ({"colour": 1}, TypeError, "no setting 'colour'"),
        ({"stride": 0}, traitlets.TraitError, "stride"),
    ],
)
def test_settings_that_make_no_sense(make, settings, error, says):
    with pytest.raises(error, match=says):
        make(**settings)


def test_json_is_what_is_shown(lm, make, cavs):
    lens = make(recipe=cavs[0].add(20), track=["e"], pinned=[1, 3])
    shown = json.loads(lens.to_json())
    assert np.allclose(shown["baseline"]["log_probs"], grid(lens, "log_probs"), atol=1e-6)
    assert shown["steered"]["ids"] == grid(lens, "ids", "steered").tolist()
    assert shown["difference"]["rises"]["ids"] == unpack(lens.difference["rises"]["ids"]).tolist()
    first = shown["baseline"]["ids"][0][0][0]
    assert shown["vocabulary"][str(first)]["text"] == lm.tokens([first])[0].text
    assert shown["tokens"]["ids"] == list(lm.encode(TEXT, chat=False).token_ids)
    assert shown["pinned"] == [1, 3]
    assert shown["provenance"]["recipe"] == repr(lens.recipe)
    assert {"model", "dtype", "stream"} <= set(shown["provenance"])
    assert sw.Recipe.from_json(shown["recipe_json"], [cavs]) == lens.recipe


def test_the_saved_page_is_one_file_and_nothing_in_it_runs(make, tmp_path, cavs):
    hostile = sw.CAV(cavs.vectors, [HOSTILE, "b", "c"], layer=1)
    lens = make(text=HOSTILE, recipe=hostile[0].add(3))
    page = lens.to_html(tmp_path / "lens.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert page.count("</script>") == page.count("<script")


def test_import_needs_no_torch():
    code = "import sys, steerwidgets; steerwidgets.LogitLens; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_measures_are_those_of_the_front_end():
    """One that only the page knows is refused by the trait, without a word to the user."""
    source = (Path(__file__).parents[3] / "js/src/lens/measure.ts").read_text(encoding="utf-8")
    table = source[source.index("export const MEASURES") : source.index("} satisfies")]
    assert re.findall(r"^  (\w+): \{$", table, re.MULTILINE) == sw.LogitLens.measure.values


# A fitted lens


def fitted(lm, seed=0):
    width, layers = lm.architecture.d_model, lm.architecture.layers
    drawn = torch.Generator().manual_seed(seed)
    noise = {b: torch.randn(width, width, generator=drawn) / width**0.5 for b in range(1, layers)}
    return sw.FittedLens("Jacobian lens", {b: torch.eye(width) + 0.3 * each for b, each in noise.items()})


def test_a_fitted_lens_takes_its_place_and_back(lm, make, tmp_path):
    lens = make(lens=fitted(lm))
    assert lens.reading == "Jacobian lens"
    by_j = lm.logit_lens(TEXT, lens=fitted(lm))
    assert np.array_equal(grid(lens, "ids"), by_j.token_ids.numpy())
    assert [name for name, _ in lens.facts["readings"]] == ["logit lens", "Jacobian lens"]
    assert "average derivative" in dict(map(tuple, lens.facts["readings"]))["Jacobian lens"]
    assert lens.provenance["lens"].startswith("<Jacobian lens for")
    front = FrontEnd(lens)
    assert front.call("reading", reading="logit lens")["type"] == "result"
    plain = lm.logit_lens(TEXT)
    assert lens.reading == "logit lens"
    assert np.array_equal(grid(lens, "ids"), plain.token_ids.numpy())
    assert "lens" not in lens.provenance
    lens.reading = "Jacobian lens"
    assert np.array_equal(grid(lens, "ids"), by_j.token_ids.numpy())
    assert json.loads(lens.to_json())["reading"] == "Jacobian lens"
    lens.to_html(tmp_path / "lens.html")
    assert "average derivative" in (tmp_path / "lens.html").read_text(encoding="utf-8")


def test_readings_that_are_not_there(lm, make):
    lens = make()
    assert [name for name, _ in lens.facts["readings"]] == ["logit lens"]
    with pytest.raises(ValueError, match=r"can be read by: logit lens; 'tuned lens' was asked for"):
        lens.reading = "tuned lens"
    assert lens.reading == "logit lens"
    assert FrontEnd(lens).call("reading", reading="tuned lens")["type"] == "error"
    with pytest.raises(ValueError, match="fitted to the residual stream"):
        make(lens=fitted(lm), stream="mlp_out")
    steered = make(lens=fitted(lm))
    with pytest.raises(ValueError, match="fitted to the residual stream"):
        steered.stream = "mlp_out"
    assert steered.stream == "resid_post", "what could not be read is not shown as if it were"
    out = lm.compare(TEXT, None, max_new_tokens=2)
    with pytest.raises(ValueError, match="texts alone are read by it"):
        steered.prompt = sw.LogitLens.of_token(lm, out, 1, "baseline").prompt
