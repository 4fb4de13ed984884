"""Streams inside a block: what they are, steering them, and outputs that come as tuples."""

import importlib

import pytest
import torch
from support import naive
from support.both import PROMPT, Pair, at, forward, recipe, vector
from support.models import blocks_of

import steerwidgets as sw

CLOSE = {"atol": 3e-4, "rtol": 1e-4}
WRITABLE = ("resid_pre", "resid_post", "attn_out", "mlp_out", "mlp_acts", "attn_z", "mlp_in")


def read(lm, layer, *streams, ids=PROMPT):
    sites = [sw.Site(layer, stream) for stream in streams]
    residuals = lm.residuals(list(ids), sites)
    return [residuals.values[site][0] for site in sites]


def width_of(lm, stream):
    return read(lm, 1, stream)[0].shape[-1]


@pytest.mark.parametrize("stream", WRITABLE)
def test_reading_equals_the_reference(lm, stream):
    expected = naive.streams(lm.model, PROMPT, [(2, stream)])[2, stream]
    torch.testing.assert_close(read(lm, 2, stream)[0], expected, atol=1e-5, rtol=1e-5)


def test_the_streams_of_a_block_add_up(lm):
    before, attention, mlp, after = read(lm, 1, "resid_pre", "attn_out", "mlp_out", "resid_post")
    torch.testing.assert_close(before + attention + mlp, after, atol=1e-4, rtol=1e-5)


def test_resid_mid_is_what_the_mlp_reads(lm, family):
    if family == "neox_parallel":
        with pytest.raises(ValueError, match="no such stream; it has resid_pre, resid_post, attn_out"):
            read(lm, 1, "resid_mid")
        return
    before, attention, middle = read(lm, 1, "resid_pre", "attn_out", "resid_mid")
    torch.testing.assert_close(before + attention, middle, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "neox_serial"])
def test_resid_mid_is_not_steered(lm):
    steer = sw.Direction(vector(1), sw.Site(1, "resid_mid"), "middle").add(1)
    with pytest.raises(
        ValueError, match=r"'middle' lives at block 1 resid_mid, which can be read but not steered.*attn_out"
    ):
        lm.compare(PROMPT, steer)


def norm_before_mlp(lm):
    block = blocks_of(lm.model)[1]
    names = ("pre_feedforward_layernorm", "post_attention_layernorm", "ln_2")
    return next(getattr(block, name) for name in names if hasattr(block, name))


def test_what_the_mlp_takes_is_its_norm_with_and_without_gain(lm, family):
    """The norm's own formula in float64, and its own output where the gain is put back."""
    norm, outputs = norm_before_mlp(lm), []
    handle = norm.register_forward_hook(lambda _m, args, out: outputs.append((args[0][0], out[0])))
    with torch.no_grad():
        lm.model(input_ids=torch.tensor([PROMPT]))
    handle.remove()
    x, gained = outputs[0]
    bare, full = read(lm, 1, "mlp_normalized", "mlp_in")
    torch.testing.assert_close(full, gained, atol=1e-5, rtol=1e-5)
    x = x.double()
    is_layer_norm = isinstance(norm, torch.nn.LayerNorm)
    x = x - x.mean(-1, keepdim=True) if is_layer_norm else x
    eps = norm.eps if hasattr(norm, "eps") else norm.variance_epsilon
    torch.testing.assert_close(bare.double(), x / torch.sqrt((x**2).mean(-1, keepdim=True) + eps), atol=1e-5, rtol=1e-5)
    gain = 1 + norm.weight if family.startswith("gemma") else norm.weight
    again = bare * gain + (norm.bias if is_layer_norm else 0)
    torch.testing.assert_close(again, gained, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_mlp_normalized_is_transformer_lens_hook_normalized(lm):
    """TransformerLens' own norms on the same input: `hook_normalized` is before the gain."""
    components = importlib.import_module("transformer_lens.components")
    from transformer_lens import HookedTransformerConfig

    norm = norm_before_mlp(lm)
    is_layer_norm = isinstance(norm, torch.nn.LayerNorm)
    eps = norm.eps if is_layer_norm else norm.variance_epsilon
    cfg = HookedTransformerConfig(n_layers=1, d_model=32, n_ctx=9, d_head=8, attn_only=True, eps=eps)
    theirs, seen = (components.LayerNorm if is_layer_norm else components.RMSNorm)(cfg), []
    theirs.w.data = norm.weight.data.clone()
    theirs.hook_normalized.register_forward_hook(lambda _m, _a, out: seen.append(out[0]))
    with torch.no_grad():
        theirs(read(lm, 1, "resid_mid")[0][None])
    torch.testing.assert_close(read(lm, 1, "mlp_normalized")[0], seen[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_mlp_normalized_is_not_steered(lm):
    steer = sw.Direction(vector(1), sw.Site(1, "mlp_normalized"), "bare").add(1)
    with pytest.raises(
        ValueError, match=r"'bare' lives at block 1 mlp_normalized, which can be read but .*steer mlp_in"
    ):
        lm.compare(PROMPT, steer)


@pytest.mark.parametrize("stream", WRITABLE)
@pytest.mark.parametrize("op", [("add", 1.5), ("add_relative", 0.8), ("project", 3.0)])
def test_steering_equals_the_reference(lm, stream, op):
    pair = Pair(vector(1, width_of(lm, stream)), layer=1, stream=stream)
    steers, changes = recipe(at(pair.make(*op), "after", 3))
    expected = naive.logits(lm.model, PROMPT, changes)
    assert (expected - naive.logits(lm.model, PROMPT)).abs().max() > 1e-3
    torch.testing.assert_close(forward(lm, steers, PROMPT, len(PROMPT)), expected, **CLOSE)


@pytest.mark.parametrize("stream", ["mlp_out", "attn_z"])
def test_greedy_texts_of_inner_streams(lm, stream):
    pair = Pair(vector(1, width_of(lm, stream)), layer=2, stream=stream)
    steers, changes = recipe(at(pair.make("add", 3.0), "generated"))
    out = lm.compare(PROMPT, steers, temperature=0, max_new_tokens=6)
    assert out.steered.token_ids == naive.greedy(lm.model, PROMPT, changes, count=6)


def test_attn_out_is_the_same_change_as_resid_mid_would_be(llama):
    """What the refusal recommends: the change of attn_out reaches the residual and the MLP."""
    v = vector(1)
    with torch.no_grad(), llama.steer(sw.Direction(v, sw.Site(1, "attn_out")).add(1)):
        middle = read(llama, 1, "resid_mid")[0]
    torch.testing.assert_close(middle - read(llama, 1, "resid_mid")[0], v.expand(len(PROMPT), -1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("stream", ["resid_pre", "resid_post", "attn_out"])
def test_blocks_that_return_tuples(fresh, stream):
    """As Llama did before transformers 4.54 and Falcon still does: the rest of the tuple is left alone."""
    lm = fresh()
    block, extra, got = blocks_of(lm.model)[1], object(), []
    forward_of_block = block.forward
    block.forward = lambda *args, **kwargs: (forward_of_block(*args, **kwargs), extra)
    steers, changes = recipe(Pair(vector(1), 1, stream).make("add", 1.5))
    with lm.steer(steers):
        handle = block.register_forward_hook(lambda _m, _a, out: got.append(out) or out[0])
        try:
            with torch.no_grad():
                logits = lm.model(input_ids=torch.tensor([PROMPT])).logits[0]
        finally:
            handle.remove()
    assert type(got[0]) is tuple
    assert got[0][1] is extra
    block.forward = forward_of_block
    torch.testing.assert_close(logits, naive.logits(lm.model, PROMPT, changes), **CLOSE)


def test_a_steered_stream_is_not_changed_in_place(llama):
    """Whoever keeps what the block made (the user's own hook) keeps it unsteered."""
    kept = []
    handle = blocks_of(llama.model)[1].register_forward_hook(lambda _m, _a, out: kept.append(out))
    try:
        llama.compare(PROMPT, sw.Direction(vector(1), sw.Site(1)).add(2), temperature=0, max_new_tokens=1)
    finally:
        handle.remove()
    first = kept[0]
    torch.testing.assert_close(first[1], first[0])


def test_reading_leaves_output_hidden_states_working(fresh):
    """Reading ends the forward early; transformers' own capture has to work as before and after."""
    lm = fresh()
    ids = torch.tensor([PROMPT])
    before = lm.model(input_ids=ids, output_hidden_states=True).hidden_states
    residual = read(lm, 1, "resid_post")[0]
    after = lm.model(input_ids=ids, output_hidden_states=True).hidden_states
    assert len(before) == len(after) == 5
    torch.testing.assert_close(after[2][0], residual, atol=1e-5, rtol=1e-5)


def test_reading_several_texts_pads_on_the_left(lm):
    from steerwidgets.transformer.residuals import read_residuals

    rows = [PROMPT, (5, 6), (0, 9, 33, 44)]
    site = sw.Site(2)
    residuals = read_residuals(lm.architecture, rows, [site])
    assert residuals.absolute.tolist()[1] == [-1] * 7 + [0, 1]
    for row, values, real in zip(rows, residuals.values[site], residuals.real, strict=True):
        expected = naive.streams(lm.model, row, [(2, "resid_post")])[2, "resid_post"]
        torch.testing.assert_close(values[real], expected, atol=1e-4, rtol=1e-4)
