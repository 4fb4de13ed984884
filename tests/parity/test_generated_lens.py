"""The lens of a generated token from the run's kept cache, against a lens of the whole text."""

from __future__ import annotations

import pytest
import torch
from support import models
from support.both import PROMPT, vector
from support.hooks import passes

import steerwidgets as sw

FAMILIES = pytest.mark.parametrize("family", models.FAMILIES)
COUNT = 10


def steers():
    """Changes everywhere, in the prompt and in the answer alone, and one that needs the prompt's sinks."""

    def direction(layer):
        return sw.Direction(vector(layer), sw.Site(layer), f"d{layer}")

    first, second, third = (direction(layer) for layer in range(3))
    return [first.add(0.3), second.add(0.5).at("prompt"), third.add(0.4).at("generated"), second.add_relative(0.2)]


@FAMILIES
@pytest.mark.parametrize("row", ["baseline", "steered"])
def test_it_is_the_lens_of_the_whole_text(lm, row):
    recipe = sw.Recipe.of(steers())
    settings = {"max_new_tokens": COUNT, "seed": 3, "temperature": 1.0}
    run = lm.compare(PROMPT, recipe, keep_cache=True, **settings)
    plain = lm.compare(PROMPT, recipe, **settings)
    assert run.steered.token_ids == plain.steered.token_ids
    text = getattr(run, row).token_ids
    whole = lm.logit_lens([*PROMPT, *text], recipe if row == "steered" else None, prompt_length=len(PROMPT), track=[5])
    last = len(text) - 1
    for step, drawn_from in ((0, True), (0, False), (last // 2, False), (last, False), (-1, True)):
        (found, seen) = passes(
            lm, lambda step=step, before=drawn_from: run.lens(step, row, track=[5], drawn_from=before)
        )
        assert seen == [1]
        position = len(PROMPT) + step % len(text) - drawn_from
        assert found.positions == (position,)
        assert found.tokens == whole.tokens[: len(PROMPT) + step % len(text) + 1]
        for name in ("log_probs", "entropy", "kl", "tracked_log_probs"):
            ours, theirs = getattr(found, name)[:, 0], getattr(whole, name)[:, position]
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
        without = plain.lens(step, row, drawn_from=drawn_from)
        torch.testing.assert_close(found.log_probs, without.log_probs, atol=1e-4, rtol=1e-4)


def test_a_token_of_a_sweep_of_reads(llama):
    """Reading one token leaves the cache as it was, and other tokens are tracked without any pass."""
    run = llama.compare(PROMPT, steers(), keep_cache=True, max_new_tokens=COUNT, seed=1)
    first = run.lens(2)
    run.lens(7 % len(run.steered.token_ids))
    again = run.lens(2)
    assert torch.equal(first.log_probs, again.log_probs)
    tracked, seen = passes(llama, lambda: first.track([9, 11]))
    assert seen == []
    assert tracked.tracked == (9, 11)


def test_steps_and_rows_that_do_not_exist(llama):
    run = llama.compare(PROMPT, steers(), keep_cache=True, max_new_tokens=3, seed=1)
    count = len(run.steered.token_ids)
    with pytest.raises(ValueError, match=rf"has {count} generated tokens, counted from 0; there is no step {count}"):
        run.lens(count)
    with pytest.raises(ValueError, match=r"has the rows baseline and steered; 'both' was given"):
        run.lens(0, "both")


def test_a_cache_that_is_too_large_is_let_go(llama, monkeypatch):
    from steerwidgets.steering import run_cache

    monkeypatch.setattr(run_cache, "KEPT_BYTES", 100)
    run = llama.compare(PROMPT, steers(), keep_cache=True, max_new_tokens=3, seed=1)
    found, seen = passes(llama, lambda: run.lens(1))
    assert seen == [len(PROMPT) + 2]
    assert found.positions == (len(PROMPT) + 1,)
