"""`pull` equals the reference's two-stage hooks: logits, greedy texts, cache or none, left padding, several layers."""

from contextlib import contextmanager

import pytest
import torch
from support import naive
from support.both import PROMPT, forward
from support.mfa import Reference, make_state
from support.models import D_MODEL

import steerwidgets as sw

K, Q = 4, 3
CLOSE = {"atol": 5e-4, "rtol": 1e-4}
CASES = {
    "centroid": (0.6, None, 2),
    "loadings": (0.0, [4.0, 0.0, -2.0], 1),
    "two stages": (0.6, [4.0, 0.0, -2.0], 2),
    "mixture": (0.5, None, None),
    "mixture and loadings": (0.3, [2.0, -1.0, 3.0], None),
    "mixture, each its own loadings": (
        0.3,
        [[0.0, 0.0, 0.0], [5.0, 0.0, 0.0], [0.0, -4.0, 2.0], [1.0, 1.0, 1.0]],
        None,
    ),
}


families = pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def make(layer=1, rotation="varimax", seed=0):
    state, meta = make_state(K, D_MODEL, Q, rotation=rotation, seed=seed)
    return sw.MFA(state, meta, layer=layer), Reference(state, rotated=True)


def pulled(mfa, a, z, k):
    return (mfa.mixture if k is None else mfa[k]).pull(a, z)


@contextmanager
def hooked(model, *edits):
    """Plain hooks: `(layer, reference, a, z, k)` each."""

    def hook_of(reference, a, z, k):
        def hook(_module, _args, out):
            h = out[0] if isinstance(out, tuple) else out
            new = reference.two_stage(h, a, z, k).to(h.dtype)
            return (new, *out[1:]) if isinstance(out, tuple) else new

        return hook

    handles = [
        naive.stream_module(model, layer, "resid_post")[0].register_forward_hook(hook_of(reference, a, z, k))
        for layer, reference, a, z, k in edits
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def naive_logits(model, ids, *edits):
    with torch.no_grad(), hooked(model, *edits):
        return model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0].float()


def naive_greedy(model, ids, *edits, count=8):
    text = list(ids)
    for _ in range(count):
        text.append(int(naive_logits(model, text, *edits)[-1].argmax()))
    return tuple(text[len(ids) :])


@families
def test_one_forward(lm, case):
    mfa, reference = make()
    expected = naive_logits(lm.model, PROMPT, (1, reference, *case))
    assert (expected - naive_logits(lm.model, PROMPT)).abs().max() > 0.05, "the reference changes nothing"
    torch.testing.assert_close(forward(lm, pulled(mfa, *case), PROMPT), expected, **CLOSE)


@pytest.mark.parametrize("use_cache", [True, False])
@families
def test_greedy_text(lm, case, use_cache):
    mfa, reference = make()
    ids = torch.tensor([PROMPT])
    with lm.steer(pulled(mfa, *case)):
        out = lm.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=8,
            do_sample=False,
            use_cache=use_cache,
            eos_token_id=None,
            pad_token_id=2,
        )
    assert tuple(out[0, len(PROMPT) :].tolist()) == naive_greedy(lm.model, PROMPT, (1, reference, *case))


@families
def test_compare(lm, case):
    mfa, reference = make()
    out = lm.compare(PROMPT, pulled(mfa, *case), temperature=0, max_new_tokens=8)
    for row, edits in ((out.baseline, ()), (out.steered, [(1, reference, *case)])):
        expected = naive_greedy(lm.model, PROMPT, *edits)
        assert row.token_ids == expected[: len(row.token_ids)]
        assert len(row.token_ids) == 8 or expected[len(row.token_ids)] in lm.end_ids


@families
def test_left_padding(lm, case):
    mfa, reference = make()
    rows = [PROMPT, PROMPT[:4]]
    ids = torch.tensor([[2] * (len(PROMPT) - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (len(PROMPT) - len(row)) + [1] * len(row) for row in rows])
    with lm.steer(pulled(mfa, *case)):
        out = lm.model.generate(
            ids, attention_mask=mask, max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=2
        )
    for row, generated in zip(rows, out[:, len(PROMPT) :].tolist(), strict=True):
        assert tuple(generated) == naive_greedy(lm.model, row, (1, reference, *case), count=6)


@families
def test_several_layers_and_other_kinds_in_one_recipe(lm):
    """The reference puts one hook on several layers; ours is a recipe, with a CAV beside it."""
    mfa, reference = make(layer=0)
    other, other_reference = make(layer=2, seed=5)
    v = torch.randn(1, D_MODEL, generator=torch.Generator().manual_seed(2))
    cavs = sw.CAV(v, ["ocean"], layer=2)
    recipe = mfa[2].pull(0.5) + mfa.at(1)[2].pull(0.5) + other[1].pull(0.2, z={1: 3}) + cavs["ocean"].add(2)

    def add(_module, _args, out):
        return (out[0] + 2 * v[0], *out[1:]) if isinstance(out, tuple) else out + 2 * v[0]

    edits = [(0, reference, 0.5, None, 2), (1, reference, 0.5, None, 2), (2, other_reference, 0.2, [0.0, 3.0, 0.0], 1)]
    with hooked(lm.model, *edits):
        # Registered after the pull, so that it adds to its output: the sum of both changes of the same h.
        handle = naive.stream_module(lm.model, 2, "resid_post")[0].register_forward_hook(add)
        try:
            with torch.no_grad():
                expected = lm.model(input_ids=torch.tensor([PROMPT]), use_cache=False).logits[0]
        finally:
            handle.remove()
    torch.testing.assert_close(forward(lm, recipe, PROMPT), expected, **CLOSE)


@families
def test_identity_reproduces_the_baseline(lm):
    mfa, _ = make()
    for steer in (mfa[1].pull(0), mfa.mixture.pull(0)):
        assert torch.equal(forward(lm, steer, PROMPT), forward(lm, None, PROMPT))
        out = lm.compare(PROMPT, steer, temperature=1.0, seed=3, max_new_tokens=8)
        assert out.divergence is None


@families
def test_positions(lm):
    """Only the last position is moved; the others' logits stay."""
    mfa, _ = make()
    steered = forward(lm, mfa[2].pull(0.6).at([len(PROMPT) - 1]), PROMPT)
    plain = forward(lm, None, PROMPT)
    torch.testing.assert_close(steered[:-1], plain[:-1])
    assert (steered[-1] - plain[-1]).abs().max() > 0.05


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@families
def test_a_half_precision_model_with_a_float32_dictionary(fresh, family, case, dtype):
    lm = fresh(family, dtype=dtype)
    mfa, reference = make()
    mine = forward(lm, pulled(mfa, *case), PROMPT)
    expected = naive_logits(lm.model, PROMPT, (1, reference, *case))
    torch.testing.assert_close(mine, expected, atol=0.25 if dtype == torch.bfloat16 else 0.04, rtol=0)


def test_centred_on_a_model_with_layer_norm(fresh):
    """What TransformerLens computes for GPT-2: the residual has no mean, and the model does not see one."""
    lm = fresh("gpt2")
    state, meta = make_state(K, D_MODEL, Q)
    state["mu"] = state["mu"] - state["mu"].mean(-1, keepdim=True)
    mfa, reference = sw.MFA(state, meta, layer=1, centred=True), Reference(state)

    def hook(_module, _args, out):
        h = out[0] if isinstance(out, tuple) else out
        new = reference.two_stage(h - h.mean(-1, keepdim=True), 0.6, [1.0, 2.0, 3.0], None).to(h.dtype)
        return (new, *out[1:]) if isinstance(out, tuple) else new

    handle = naive.stream_module(lm.model, 1, "resid_post")[0].register_forward_hook(hook)
    with torch.no_grad():
        expected = lm.model(input_ids=torch.tensor([PROMPT])).logits[0]
    handle.remove()
    torch.testing.assert_close(forward(lm, mfa.mixture.pull(0.6, [1, 2, 3]), PROMPT), expected, **CLOSE)


@families
def test_logit_differences_of_the_tutorial(lm):
    """`print_logit_diff`: steered minus unsteered logits at the last position, up, down, and by absolute change."""
    mfa, reference = make()
    found = lm.logit_difference(PROMPT, mfa[2].pull(0.6, z={0: 4, 2: -2}), k=8)
    edit = (1, reference, 0.6, [4.0, 0.0, -2.0], 2)
    delta = (naive_logits(lm.model, PROMPT, edit) - naive_logits(lm.model, PROMPT))[-1]
    torch.testing.assert_close(found.raw, delta, **CLOSE)
    assert [token.id for token, _ in found.promoted] == delta.topk(8).indices.tolist()
    assert [token.id for token, _ in found.suppressed] == (-delta).topk(8).indices.tolist()
    assert [token.id for token, _ in found.changed] == (delta - delta.mean()).abs().topk(8).indices.tolist()


@families
def test_an_mfa_of_another_model(lm):
    mfa = sw.MFA(*make_state(K, D_MODEL + 1, Q), layer=1)
    with pytest.raises(ValueError, match=r"has 33 numbers, .* made for another model"), lm.steer(mfa[0].pull(0.5)):
        pass
    with pytest.raises(ValueError, match="describes 33 numbers"):
        lm.read(PROMPT, mfa)
