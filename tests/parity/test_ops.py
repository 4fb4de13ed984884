"""Every op on every family equals plain reference hooks: logits of one forward, and greedy texts by every route."""

import pytest
import torch
from support import naive
from support.both import PROMPT, Pair, forward, recipe, vector

import steerwidgets as sw
from steerwidgets.generation.rows import Plan, generate_rows

CLOSE = {"atol": 3e-4, "rtol": 1e-4}


def combinations():
    a, b = Pair(vector(1)), Pair(vector(2))
    skewed = Pair(vector(1) + 0.8 * vector(3))  # far from orthogonal to `a`
    later = Pair(vector(4), layer=2)
    last = Pair(vector(5), layer=3)
    return {
        "add": recipe(a.make("add", 1.5)),
        "add negative": recipe(a.make("add", -0.7)),
        "add_relative": recipe(a.make("add_relative", 0.6)),
        "ablate": recipe(a.make("ablate")),
        "project": recipe(a.make("project", 3.0)),
        "project negative": recipe(a.make("project", -1.5)),
        "clip low": recipe(a.make("clip", 2.0, None)),
        "clip high": recipe(a.make("clip", None, -1.0)),
        "clip both": recipe(a.make("clip", -0.5, 0.5)),
        "two adds of one feature": recipe(a.make("add", 1.0), a.make("add", 0.5)),
        "sum of adds": recipe(a.make("add", 1.0), b.make("add", -1.0), b.make("add_relative", 0.3)),
        "two ablations": recipe(a.make("ablate"), skewed.make("ablate")),
        "three setters": recipe(a.make("project", 2.0), skewed.make("clip", None, 0.2), b.make("ablate")),
        "setters and sums": recipe(a.make("ablate"), skewed.make("project", 2.0), b.make("add", 1.0)),
        "several sites": recipe(a.make("add", 1.0), later.make("ablate"), last.make("add_relative", 0.5)),
    }


COMBINATIONS = combinations()


@pytest.fixture(params=COMBINATIONS)
def both(request):
    return COMBINATIONS[request.param]


def test_one_forward(lm, both):
    steers, changes = both
    expected = naive.logits(lm.model, PROMPT, changes)
    assert (expected - naive.logits(lm.model, PROMPT)).abs().max() > 0.05, "the reference changes nothing"
    torch.testing.assert_close(forward(lm, steers, PROMPT, len(PROMPT)), expected, **CLOSE)


def test_compare_generates_what_the_reference_does(lm, both):
    steers, changes = both
    out = lm.compare(PROMPT, steers, temperature=0, max_new_tokens=6)
    end = lm.end_ids
    assert out.baseline.token_ids == naive.greedy(lm.model, PROMPT, count=6, end=end)
    assert out.steered.token_ids == naive.greedy(lm.model, PROMPT, changes, count=6, end=end)


@pytest.mark.parametrize("name", ["add", "add_relative", "three setters", "several sites"])
@pytest.mark.parametrize("use_cache", [True, False])
def test_the_users_own_generate(lm, name, use_cache):
    steers, changes = COMBINATIONS[name]
    ids = torch.tensor([PROMPT])
    with lm.steer(steers, prompt_length=len(PROMPT)):
        settings = {"max_new_tokens": 6, "do_sample": False, "use_cache": use_cache, "eos_token_id": None}
        out = lm.model.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=2, **settings)
    assert tuple(out[0, len(PROMPT) :].tolist()) == naive.greedy(lm.model, PROMPT, changes, count=6)


@pytest.mark.parametrize("name", ["add", "add_relative", "three setters", "several sites"])
def test_without_cache_in_our_own_loop(lm, name):
    steers, changes = COMBINATIONS[name]
    plans = [Plan(lm.encode(PROMPT), steers), Plan(lm.encode(PROMPT), sw.Recipe())]
    sampling = sw.Sampling(temperature=0, max_new_tokens=6)
    rows = generate_rows(lm, plans, sampling, use_cache=False)
    assert rows[0].token_ids == naive.greedy(lm.model, PROMPT, changes, count=6)
    assert rows[1].token_ids == naive.greedy(lm.model, PROMPT, count=6)


def test_sweep_rows_are_each_their_own_recipe(lm):
    pair = Pair(vector(1))
    made = [recipe(pair.make("add", alpha)) for alpha in (0.0, 0.8, -1.6, 3.0)]
    rows = lm.sweep(PROMPT, [steers for steers, _ in made] + [None], temperature=0, max_new_tokens=6)
    expected = [naive.greedy(lm.model, PROMPT, changes, count=6) for _, changes in made]
    assert [row.token_ids for row in rows] == [*expected, expected[0]]
    assert len(set(expected)) > 2


def test_add_is_the_seeds_hook(lm):
    """`out + mag * W[idx]` on every position, tensor or tuple."""
    v = vector(9)

    def hook(_module, _args, out):
        return (out[0] + 1.3 * v, *out[1:]) if isinstance(out, tuple) else out + 1.3 * v

    handle = naive.stream_module(lm.model, 2, "resid_post")[0].register_forward_hook(hook)
    try:
        with torch.no_grad():
            expected = lm.model(input_ids=torch.tensor([PROMPT])).logits[0]
    finally:
        handle.remove()
    torch.testing.assert_close(forward(lm, Pair(v, layer=2).direction.add(1.3), PROMPT), expected, **CLOSE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_keep_their_dtype(fresh, family, dtype):
    lm = fresh(family, dtype=dtype)
    steers, changes = COMBINATIONS["setters and sums"]
    seen = []
    watcher = naive.stream_module(lm.model, 2, "resid_pre")[0].register_forward_pre_hook(
        lambda _m, args, kwargs: seen.append((args[0] if args else kwargs["hidden_states"]).dtype), with_kwargs=True
    )
    with torch.no_grad(), lm.steer(steers):
        logits = lm.model(input_ids=torch.tensor([PROMPT])).logits[0]
    watcher.remove()
    assert seen == [dtype]
    assert logits.dtype == dtype
    expected = naive.logits(lm.model, PROMPT, changes)
    torch.testing.assert_close(logits.float(), expected, atol=0.35 if dtype == torch.bfloat16 else 0.05, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_identity_is_exact(fresh, dtype):
    lm = fresh(dtype=dtype)
    plain = forward(lm, None, PROMPT)
    for steer in (Pair(vector(1)).direction.add(0), Pair(vector(1)).direction.project(1)):
        assert torch.equal(forward(lm, steer, PROMPT), plain)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("family", ["llama", "gemma2", "gemma3"])
def test_other_caches_agree(fresh, family, cache):
    lm = fresh(family)
    steers, changes = COMBINATIONS["add_relative"]
    ids = torch.tensor([PROMPT])
    with lm.steer(steers.at("after", count=4), prompt_length=len(PROMPT)):
        out = lm.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=6,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=2,
            cache_implementation=cache,
        )
    expected = naive.greedy(lm.model, PROMPT, [changes[0].where("after", 4)], count=6)
    assert tuple(out[0, len(PROMPT) :].tolist()) == expected
