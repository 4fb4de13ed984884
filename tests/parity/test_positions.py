"""Positions are absolute: one forward, chunks with a cache, and left-padded batches steer the same tokens."""

import pytest
import torch
from support import naive
from support.both import PROMPT, Pair, at, forward, recipe, vector

import steerwidgets as sw
from steerwidgets.generation.rows import Plan, generate_rows

CLOSE = {"atol": 3e-4, "rtol": 1e-4}
SPECIAL = {0, 6}
"""Where PROMPT holds special tokens."""
SPECIAL_IDS = range(5)
WHERE = [
    ("all", None),
    ("prompt", None),
    ("generated", None),
    ("last_prompt", None),
    ("indices", (0, 3, 7, 10)),
    ("first", 4),
    ("after", 5),
]
ROWS = [PROMPT, (0, 5, 30), (90, 91, 3, 92, 93, 94), (17,)]


def made(where, value, *, special=True):
    """An add and a setter at some positions, at two sites."""
    return recipe(
        at(Pair(vector(1)).make("add", 1.2), where, value, special=special),
        at(Pair(vector(2), layer=2).make("project", 2.5), where, value, special=special),
    )


@pytest.mark.parametrize(("where", "value"), WHERE)
@pytest.mark.parametrize("special", [True, False])
def test_one_forward(lm, where, value, special):
    steers, changes = made(where, value, special=special)
    expected = naive.logits(lm.model, PROMPT, changes, 5, SPECIAL)
    torch.testing.assert_close(forward(lm, steers, PROMPT, 5), expected, **CLOSE)


@pytest.mark.parametrize(("where", "value"), WHERE)
def test_greedy_text(lm, where, value):
    steers, changes = made(where, value, special=False)
    out = lm.compare(PROMPT, steers, temperature=0, max_new_tokens=6)
    expected = naive.greedy(lm.model, PROMPT, changes, count=6, special_ids=SPECIAL_IDS, end=lm.end_ids)
    assert out.steered.token_ids == expected


@pytest.mark.parametrize(("where", "value"), WHERE)
@pytest.mark.parametrize("use_cache", [True, False])
def test_the_users_own_generate(llama, where, value, use_cache):
    steers, changes = made(where, value)
    ids = torch.tensor([PROMPT])
    with llama.steer(steers, prompt_length=len(PROMPT)):
        out = llama.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False, use_cache=use_cache
        )
    assert tuple(out[0, len(PROMPT) :].tolist()) == naive.greedy(llama.model, PROMPT, changes, count=6)


@pytest.mark.parametrize(("where", "value"), WHERE)
@pytest.mark.parametrize("with_mask", [True, False])
def test_chunks_with_a_cache(lm, where, value, with_mask):
    """A prompt in pieces of 4, 1, 3 and 1 tokens: what continued chats and assisted decoding send."""
    steers, changes = made(where, value, special=False)
    expected = naive.logits(lm.model, PROMPT, changes, 5, SPECIAL)
    ids, done, cache, pieces = torch.tensor([PROMPT]), 0, None, []
    with torch.no_grad(), lm.steer(steers, prompt_length=5):
        for length in (4, 1, 3, 1):
            mask = {"attention_mask": torch.ones(1, done + length, dtype=torch.long)} if with_mask else {}
            out = lm.model(input_ids=ids[:, done : done + length], past_key_values=cache, use_cache=True, **mask)
            cache, done = out.past_key_values, done + length
            pieces.append(out.logits[0])
    torch.testing.assert_close(torch.cat(pieces), expected, **CLOSE)


@pytest.mark.parametrize(("where", "value"), WHERE)
def test_left_padded_rows_equal_their_own_runs(lm, where, value):
    steers, changes = made(where, value, special=False)
    plans = [Plan(lm.encode(row), steers) for row in ROWS] + [Plan(lm.encode(ROWS[1]), sw.Recipe())]
    rows = generate_rows(lm, plans, sw.Sampling(temperature=0, max_new_tokens=5))
    end = lm.end_ids
    for ids, row in zip(ROWS, rows, strict=False):
        expected = naive.greedy(lm.model, ids, changes, count=5, special_ids=SPECIAL_IDS, end=end)
        assert row.token_ids == expected
    assert rows[-1].token_ids == naive.greedy(lm.model, ROWS[1], count=5, end=end)


def padded(rows, padding=2):
    width = max(map(len, rows))
    ids = torch.tensor([[padding] * (width - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


@pytest.mark.parametrize(("where", "value"), [w for w in WHERE if w[0] not in ("prompt", "generated", "last_prompt")])
@pytest.mark.parametrize("op", [("add", 1.2), ("add_relative", 0.5), ("clip", -0.5, 0.5)])
def test_logits_of_a_left_padded_batch(lm, where, value, op):
    """The user's own padded forward, where pads share position 0 with the first token."""
    steers, changes = recipe(at(Pair(vector(1)).make(*op), where, value))
    ids, mask = padded(ROWS)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad(), lm.steer(steers):
        got = lm.model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
    for row, logits in zip(ROWS, got, strict=True):
        torch.testing.assert_close(logits[-len(row) :], naive.logits(lm.model, row, changes), **CLOSE)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_the_users_own_padded_generate(lm):
    steers, changes = made("after", 2, special=False)
    ids, mask = padded(ROWS)
    with lm.steer(steers):
        out = lm.model.generate(ids, attention_mask=mask, max_new_tokens=5, do_sample=False, eos_token_id=None)
    for row, text in zip(ROWS, out, strict=True):
        expected = naive.greedy(lm.model, row, changes, count=5, special_ids=SPECIAL_IDS)
        assert tuple(text[ids.shape[1] :].tolist()) == expected


def test_right_padding_is_never_steered(llama):
    steers, changes = recipe(Pair(vector(1)).make("add", 1.0))
    ids, mask = torch.tensor([[*PROMPT, 2, 2], [*PROMPT, 50, 60]]), torch.ones(2, 11, dtype=torch.long)
    mask[0, -2:] = 0
    with torch.no_grad(), llama.steer(steers):
        got = llama.model(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(got[0, :9], naive.logits(llama.model, PROMPT, changes), **CLOSE)
    torch.testing.assert_close(got[1], naive.logits(llama.model, (*PROMPT, 50, 60), changes), **CLOSE)


@pytest.mark.parametrize("call", ["positional", "embeds", "base"])
def test_however_the_model_is_called(lm, call):
    steers, changes = recipe(at(Pair(vector(1)).make("add", 1.0), "indices", (2, 3)))
    ids = torch.tensor([PROMPT])
    with torch.no_grad(), lm.steer(steers):
        if call == "positional":
            got = lm.model(ids).logits[0]
        elif call == "embeds":
            scale = {"inputs_embeds": lm.model.get_input_embeddings()(ids)}
            got = lm.model(**scale).logits[0]
        else:
            hidden = lm.architecture.base(ids)[0]
            got = lm.model.get_output_embeddings()(hidden)[0]
    if call == "base" and lm.architecture.soft_cap:
        got = lm.architecture.soft_cap * torch.tanh(got / lm.architecture.soft_cap)
    torch.testing.assert_close(got, naive.logits(lm.model, PROMPT, changes), **CLOSE)


def sink_model(fresh):
    """A Llama whose embeddings have three sizes: 1 below id 100, 15 below 200, 300 above."""
    lm = fresh()
    with torch.no_grad():
        embed = lm.model.get_input_embeddings().weight
        embed /= embed.norm(dim=-1, keepdim=True)
        embed[100:200] *= 15
        embed[200:] *= 300
    return lm


@pytest.mark.parametrize("generated", [(), (20, 21), (210, 220, 230, 240, 250)])
def test_sinks_are_left_out_of_relative_steering(fresh, generated):
    """Ten times the median of the prompt is a sink, wherever it stands; position 0 always is."""
    lm = sink_model(fresh)
    prompt = (10, 11, 12, 110, 13, 14)
    steers, changes = recipe(Pair(vector(1), layer=0, stream="resid_pre").make("add_relative", 0.8))
    text = (*prompt, *generated)
    expected = naive.logits(lm.model, text, changes, len(prompt))
    torch.testing.assert_close(forward(lm, steers, text, len(prompt)), expected, **CLOSE)


@pytest.mark.parametrize("known", [True, False])
def test_sinks_are_the_same_with_and_without_a_cache(fresh, known):
    """The generated tokens must not change which prompt tokens are sinks, or the two runs part."""
    lm = sink_model(fresh)
    prompt, generated = (10, 11, 12, 110, 13, 14), (210, 220, 230, 240, 250, 260, 270)
    steer = Pair(vector(1), layer=0, stream="resid_pre").direction.add_relative(0.8)
    length = len(prompt) if known else None
    whole = forward(lm, steer, (*prompt, *generated), length)
    with torch.no_grad(), lm.steer(steer, prompt_length=length):
        first = lm.model(input_ids=torch.tensor([prompt]), use_cache=True)
        rest = lm.model(input_ids=torch.tensor([generated]), past_key_values=first.past_key_values).logits[0]
    torch.testing.assert_close(torch.cat([first.logits[0], rest]), whole, **CLOSE)
