"""The logit lens as a result: summaries, tracked tokens, settings, what it prints, and what it refuses."""

from __future__ import annotations

import inspect

import pytest
import torch
from support import hooks
from support import lens as by_hand
from support.both import PROMPT, vector
from support.models import LAYERS

import steerwidgets as sw


def steer():
    return sw.Direction(vector(1), sw.Site(1), "d").add(0.5)


def passes(lm, work):
    seen = []
    hook = lm.architecture.base.register_forward_hook(lambda *_: seen.append(1))
    try:
        return work(), len(seen)
    finally:
        hook.remove()


def test_where_the_answer_settles_and_tokens_enter(llama):
    lens = llama.logit_lens(PROMPT, k=3)
    logits = by_hand.logits(llama.model, by_hand.streams(llama.model, PROMPT))
    best = logits.argmax(-1)
    for t in range(len(PROMPT)):
        settled = LAYERS - 1
        while settled and best[settled - 1, t] == best[-1, t]:
            settled -= 1
        assert int(lens.settled[t]) == settled
    for token in (7, 45, int(best[0, 0])):
        ranks = (logits > logits[..., [token]]).sum(-1)
        for k in (1, 3, 20):
            first = [next((layer for layer in range(LAYERS) if ranks[layer, t] < k), -1) for t in range(len(PROMPT))]
            assert lens.enters(token, k).tolist() == first


def test_an_answer_that_does_not_settle(llama):
    lens = llama.logit_lens(PROMPT, layers=[0, 1], k=1)
    own = llama.logit_lens(PROMPT, k=1).token_ids[..., 0].tolist()
    answers = zip(own[0], own[1], own[-1], strict=True)
    expected = [-1 if second != last else int(first != last) for first, second, last in answers]
    assert lens.settled.tolist() == expected
    assert -1 in lens.settled.tolist()


def test_some_layers_and_positions(llama):
    whole = llama.logit_lens(PROMPT, steer(), track=[7])
    some = llama.logit_lens(PROMPT, steer(), layers=[-1, 1], positions=[-1, 2, 4], track=[7])
    assert (some.layers, some.positions) == ((1, 3), (2, 4, 8))
    for name in ("log_probs", "entropy", "kl", "tracked_log_probs"):
        ours, all_of_them = getattr(some, name), getattr(whole, name)
        torch.testing.assert_close(ours, all_of_them[[1, 3]][:, [2, 4, 8]], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        some.difference.d_top, whole.difference.d_top[[1, 3]][:, [2, 4, 8]], atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(
        some.difference.direct[0].promoted.values,
        whole.difference.direct[0].promoted.values[[2, 4, 8]],
        atol=1e-5,
        rtol=1e-4,
    )


def test_other_tokens_are_tracked_without_a_second_run(llama, monkeypatch):
    lens = llama.logit_lens(PROMPT, steer())
    tracked, count = passes(llama, lambda: lens.track([7, 300]))
    assert count == 0
    direct = llama.logit_lens(PROMPT, steer(), track=[7, 300])
    for ours, theirs in ((tracked, direct), (lens.baseline.track([7, 300]), direct.baseline)):
        assert ours.tracked == (7, 300)
        torch.testing.assert_close(ours.tracked_log_probs, theirs.tracked_log_probs)
        assert ours.tracked_ranks.tolist() == theirs.tracked_ranks.tolist()
    assert tracked.recipe is not None
    assert lens.baseline.track([7]).recipe is None
    from steerwidgets.lens import logit_lens

    monkeypatch.setattr(logit_lens, "KEPT_BYTES", 10)
    large = llama.logit_lens(PROMPT)
    again, count = passes(llama, lambda: large.track([7]))
    assert count == 1
    torch.testing.assert_close(again.tracked_log_probs, direct.baseline.tracked_log_probs[..., :1])


def test_ids_that_decode_alike_stay_apart(fresh, tokenizer):
    """Two ids whose bytes are no character by themselves: both decode to the replacement character."""
    lm = fresh()
    tok = lm.tokenizer
    alike = [i for i in range(5, 320) if tok.decode([i]) == "\ufffd"][:2]
    assert len(alike) == 2
    lens = lm.logit_lens(PROMPT, track=alike)
    assert lens.tracked == tuple(alike)
    logs = by_hand.logits(lm.model, by_hand.streams(lm.model, PROMPT)).log_softmax(-1)
    torch.testing.assert_close(lens.tracked_log_probs.double(), logs[..., alike], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(lens.tracked_log_probs[..., 0], lens.tracked_log_probs[..., 1])
    assert len({token.text for token in lm.tokens(alike)}) == 2
    assert all(token.fragment for token in lm.tokens(alike))


def test_prompts_of_every_sort(llama):
    raw = llama.logit_lens("Name a city by the sea.")
    ids = llama.encode("Name a city by the sea.", chat=False).token_ids
    assert raw.prompt.token_ids == ids
    assert torch.equal(raw.token_ids, llama.logit_lens(list(ids)).token_ids)
    messages = llama.logit_lens([{"role": "user", "content": "Name a city."}], steer())
    templated = llama.logit_lens("Name a city.", steer(), chat=True)
    assert messages.prompt == templated.prompt
    assert messages.prompt.chat
    assert torch.equal(messages.log_probs, templated.log_probs)


def test_an_empty_recipe_is_none(llama):
    lens = llama.logit_lens(PROMPT, sw.Recipe())
    assert lens.baseline is None
    assert lens.difference is None
    assert lens.recipe is None


def test_nothing_stays_on_the_model(llama):
    before = hooks.all_hooks(llama.model)

    class Stop(Exception):
        pass

    def stop(done, total):
        assert 0 < done <= total == LAYERS * len(PROMPT)
        raise Stop

    with pytest.raises(Stop):
        llama.logit_lens(PROMPT, steer(), on_progress=stop)
    assert hooks.all_hooks(llama.model) == before


def test_what_it_prints(llama):
    text = repr(llama.logit_lens(PROMPT, steer()))
    assert text.startswith("Likeliest next token at each layer's resid_post under 'd'.add(0.5)")
    assert "and 3 positions before" in text
    rows = text.splitlines()
    assert [int(row.split()[0]) for row in rows[2 : 2 + LAYERS]] == [3, 2, 1, 0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "k counts the likeliest tokens of each cell, 1 or more; 0 was given"),
        ({"stream": "mlp_acts"}, "reads one of the streams resid_post, resid_pre, attn_out, mlp_out; 'mlp_acts'"),
        ({"layers": [4]}, "layers= takes whole numbers from -4 to 3, since .* has 4 blocks; got 4"),
        ({"layers": []}, "layers= is empty"),
        ({"positions": [9]}, "positions= takes whole numbers from -9 to 8, since the text has 9 tokens; got 9"),
        ({"track": [320]}, "The token id 320 is outside the vocabulary, which goes from 0 to 319"),
        ({"track": ["ZQ"]}, "'ZQ' is 2 tokens to this tokenizer"),
    ],
)
def test_settings_out_of_range(llama, settings, message):
    with pytest.raises(ValueError, match=message):
        llama.logit_lens(PROMPT, **settings)


def test_a_text_that_is_too_long(fresh):
    lm = fresh("gpt2")
    with pytest.raises(ValueError, match=r"The text has 129 tokens, and .* has learned 128 positions; shorten it"):
        lm.logit_lens([5] * 129)


def test_a_model_with_logits_of_its_own_is_warned_of(fresh):
    from steerwidgets.transformer.unembed import InexactLensWarning

    lm = fresh()
    plain = lm.model.forward

    def twisted(*args, **kwargs):
        out = plain(*args, **kwargs)
        out.logits = out.logits.sin()
        return out

    twisted.__signature__ = inspect.signature(plain)
    lm.model.forward = twisted
    with pytest.warns(InexactLensWarning, match=r"in a way of its own"):
        lm.logit_lens(PROMPT)
    with pytest.raises(ValueError, match=r"can't be attributed: .* away from the model's"):
        lm.attribution(PROMPT, 7)
