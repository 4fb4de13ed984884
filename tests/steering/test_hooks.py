"""Steering leaves the model as it was, whatever happens, and touches nobody else's hooks, threads or forwards."""

import threading

import pytest
import torch
from support import naive
from support.both import PROMPT, Pair, forward, vector
from support.hooks import UserHooks, all_hooks, in_thread
from support.models import blocks_of

import steerwidgets as sw

SITE = sw.Site(1)
STEER = sw.Direction(vector(1), SITE, "one").add(1.5)
OTHER = sw.Direction(vector(2), sw.Site(2, "mlp_out"), "two").add(4)
GREEDY = {"temperature": 0, "max_new_tokens": 4}


class Boom(Exception):
    pass


@pytest.fixture
def users(llama):
    """Hooks of the user's, on the model while a test runs; afterwards exactly what was there is there again."""
    before = all_hooks(llama.model)
    hooks = UserHooks(blocks_of(llama.model))
    with_users = all_hooks(llama.model)
    yield hooks
    assert all_hooks(llama.model) == with_users
    hooks.remove()
    assert all_hooks(llama.model) == before


def test_after_success(llama, users):
    llama.compare(PROMPT, STEER + OTHER, watch=[STEER.feature], **GREEDY)
    assert users.before == users.after == 4 * len(blocks_of(llama.model)) + 4  # one more step reads the last token
    llama.sweep(PROMPT, [STEER, OTHER, None], **GREEDY)
    _ = llama.compare(PROMPT, STEER, **GREEDY).kl
    list(llama.stream(PROMPT, STEER, **GREEDY))
    llama.measure(PROMPT, STEER + OTHER)
    with llama.steer(STEER + OTHER) as steering:
        assert steering.attached
    assert not steering.attached


def test_the_users_hooks_run_while_steering(llama, users):
    with llama.steer(STEER):
        forward_once(llama)
    assert users.before == users.after == len(blocks_of(llama.model))


def lock_is_free(lm):
    if not lm.lock.acquire(blocking=False):
        return False
    lm.lock.release()
    return True


def forward_once(lm):
    with torch.no_grad():
        return lm.model(input_ids=torch.tensor([PROMPT])).logits[0]


@pytest.mark.parametrize("error", [Boom, KeyboardInterrupt, SystemExit])
def test_an_exception_inside(llama, users, error):
    plain = forward(llama, None, PROMPT)
    with pytest.raises(error), llama.steer(STEER + OTHER):
        raise error
    assert torch.equal(forward_once(llama), plain)


@pytest.mark.parametrize("error", [Boom, KeyboardInterrupt])
@pytest.mark.parametrize("from_where", ["on_step", "hook"])
def test_an_exception_inside_generate(llama, users, error, from_where):
    plain = forward(llama, None, PROMPT)
    calls = []

    def fail(*_):
        calls.append(1)
        if len(calls) == 3:
            raise error

    handle = blocks_of(llama.model)[2].mlp.register_forward_hook(fail) if from_where == "hook" else None
    try:
        with pytest.raises(error):
            llama.compare(PROMPT, STEER, on_step=fail if handle is None else None, **(GREEDY | {"max_new_tokens": 9}))
    finally:
        if handle is not None:
            handle.remove()
    assert len(calls) == 3
    assert torch.equal(forward_once(llama), plain)
    assert in_thread(lambda: lock_is_free(llama)), "the lock is still held"


def test_an_exception_while_reading(llama, users):
    handle = blocks_of(llama.model)[1].register_forward_hook(lambda *_: (_ for _ in ()).throw(Boom))
    with pytest.raises(Boom):
        llama.residuals(list(PROMPT), [sw.Site(3)])
    handle.remove()


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (sw.Direction(vector(1), sw.Site(4), "high").add(1), "block 4 resid_post .* has 4 blocks, counted from 0 to 3"),
        (sw.Direction(vector(1, 31), SITE, "thin").add(1), "'thin' has 31 numbers, but .* has 32"),
        (sw.Direction(vector(1, 31), sw.Site(1, "mlp_out"), "thin").add(1), "'thin' has 31 numbers.* 32"),
        (sw.Direction(vector(1, 31), sw.Site(1, "attn_out"), "thin").ablate(), "'thin' has 31 numbers.* 32"),
        (sw.Direction(torch.ones(1), sw.Site(1, "mlp_out"), "one").add(1), "'one' has 1 numbers.* 32"),
        (sw.Direction(vector(1, 32), sw.Site(1, "mlp_acts"), "thin").add(1), "'thin' has 32 numbers.* 48"),
        (sw.Direction(torch.ones(1), sw.Site(1, "mlp_acts"), "one").add(1), "'one' has 1 numbers.* 48"),
        (sw.Direction(vector(1, 31), sw.Site(1, "attn_z"), "thin").add(1), "'thin' has 31 numbers.* 32"),
        (sw.Direction(vector(1), sw.Site(1, "resid_mid"), "mid").add(1), "'mid' lives at .* resid_mid, .*not steered"),
    ],
)  # fmt: skip
def test_a_recipe_that_does_not_fit(llama, users, bad, says):
    for use in (lambda: llama.compare(PROMPT, STEER + bad, **GREEDY), lambda: forward(llama, STEER + bad, PROMPT)):
        with pytest.raises(ValueError, match=says):
            use()


@pytest.mark.parametrize(
    ("watched", "says"),
    [
        (sw.Direction(vector(1, 31), SITE, "thin"), "'thin' has 31 numbers.* 32"),
        (sw.Direction(vector(1), sw.Site(9), "high"), "block 9 .* has 4 blocks"),
    ],
)
def test_a_watched_feature_that_does_not_fit(llama, users, watched, says):
    with pytest.raises(ValueError, match=says):
        llama.compare(PROMPT, STEER, watch=[watched], **GREEDY)


@pytest.mark.parametrize("where", ["prompt", "generated", "last_prompt"])
def test_a_phase_needs_the_prompts_length(llama, users, where):
    with (
        pytest.raises(ValueError, match=f"'one' acts on \"{where}\".*pass prompt_length="),
        llama.steer(STEER.at(where)),
    ):
        pass


def test_nested_steering_adds_up(llama, users):
    a, b = Pair(vector(1)), Pair(vector(2), layer=2)
    expected = naive.logits(llama.model, PROMPT, [a.make("add", 1)[1], b.make("add", 1)[1]])
    plain = forward(llama, None, PROMPT)
    with llama.steer(a.direction.add(1)):
        with llama.steer(b.direction.add(1)):
            inside = forward_once(llama)
        outer = forward_once(llama)
    torch.testing.assert_close(inside, expected, atol=3e-4, rtol=1e-4)
    assert torch.equal(outer, forward(llama, a.direction.add(1), PROMPT))
    assert torch.equal(forward_once(llama), plain)


def test_compare_inside_steer_is_refused_since_it_would_steer_both_rows(llama, users):
    with llama.steer(STEER), pytest.raises(RuntimeError, match="the baseline would be steered as well"):
        llama.compare(PROMPT, None, **GREEDY)
    assert llama.compare(PROMPT, STEER, **GREEDY).divergence is not None


def test_stream_inside_steer_does_not_hang(llama, users):
    """The stream's worker needs the lock that `lm.steer` holds in this thread: run, or refuse, but never hang."""
    expected = llama.compare(PROMPT, STEER, **GREEDY).steered.token_ids

    def work():
        with llama.steer(STEER):
            return [step.token_ids[0] for step in llama.stream(PROMPT, None, **GREEDY)]

    try:
        got = in_thread(work, timeout=20)
    except RuntimeError as error:
        assert "steer" in str(error)  # noqa: PT017 - a refusal that says why is as good
    else:
        assert tuple(got) == expected


def test_one_steering_is_entered_once(llama, users):
    from steerwidgets.steering.hooks import Steering

    steering = Steering(llama.architecture, sw.Recipe.of(STEER))
    with steering, pytest.raises(RuntimeError, match="on the model already"), steering:
        pass
    with steering:
        inside = forward_once(llama)
    assert torch.equal(inside, forward(llama, STEER, PROMPT))


def test_two_language_models_of_one_model_share_a_lock(llama, tokenizer):
    other = sw.LanguageModel(llama.model, tokenizer("plain"))
    assert other.lock is llama.lock
    with llama.steer(STEER):
        assert not in_thread(lambda: lock_is_free(other))
    assert in_thread(lambda: lock_is_free(other))


def test_forwards_of_other_threads_pass_through(llama, users):
    plain, steered = forward(llama, None, PROMPT), forward(llama, STEER + OTHER, PROMPT)
    with llama.steer(STEER + OTHER):
        assert torch.equal(in_thread(lambda: forward_once(llama)), plain)
        assert torch.equal(forward_once(llama), steered)


def test_another_threads_forward_between_two_of_ours(llama, users):
    """Its layout must not stand in for ours: other length, other mask, in the middle of a cached run."""
    alone = llama.compare(PROMPT, STEER.at("generated"), **GREEDY)

    def other():
        with torch.no_grad():
            llama.model(input_ids=torch.tensor([[9], [8], [7]]), attention_mask=torch.tensor([[0], [1], [1]]))

    handle = blocks_of(llama.model)[0].register_forward_hook(
        lambda *_: in_thread(other) if threading.current_thread() is threading.main_thread() else None
    )
    try:
        out = llama.compare(PROMPT, STEER.at("generated"), **GREEDY)
    finally:
        handle.remove()
    assert out.steered.token_ids == alone.steered.token_ids


def test_two_threads_queue_and_never_mix(llama, users):
    recipes = [STEER, OTHER, None, STEER + OTHER]
    expected = [llama.compare(PROMPT, recipe, **GREEDY).steered.token_ids for recipe in recipes]
    got = [[] for _ in recipes]
    barrier = threading.Barrier(len(recipes))

    def work(i):
        barrier.wait(30)
        for _ in range(3):
            got[i].append(llama.compare(PROMPT, recipes[i], **GREEDY).steered.token_ids)

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(len(recipes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert got == [[each] * 3 for each in expected]


def test_a_forward_that_fails_leaves_the_model_usable(llama, users):
    with llama.steer(STEER), pytest.raises(IndexError):
        llama.model(input_ids=torch.tensor([[100_000]]))
    assert llama.compare(PROMPT, None, **GREEDY).divergence is None


@pytest.mark.parametrize("length", [0, -3, "7", 2.5, True, [4, 0]])
def test_a_prompt_length_that_is_none(lm, length):
    steer = sw.Direction(vector(1, 32), SITE, "x").add(1).at("prompt")
    with (
        pytest.raises(ValueError, match="prompt_length counts the prompt's tokens"),
        lm.steer(steer, prompt_length=length),
    ):
        pass
