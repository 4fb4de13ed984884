"""Conditions, roles, phases, fades and heads against plain-loop hooks: cached, uncached, and in left-padded batches.

The reference reads one unpadded, uncached row, and every feature by its own formula from plain tensors.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support import kinds, naive, sae, toks
from support.both import PROMPT, Pair, at, forward, recipe, vector
from support.mfa import Reference, make_state
from support.models import D_MODEL

import steerwidgets as sw
from steerwidgets.generation.rows import Plan, generate_rows

FIVE = pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "qwen3", "neox_serial"])
CLOSE = {"atol": 3e-4, "rtol": 1e-4}
ROWS = [PROMPT, (0, 5, 30, 31, 32), (17, 40)]
MESSAGES = [
    {"role": "system", "content": "You answer."},
    {"role": "user", "content": "Name a city by the sea."},
    {"role": "assistant", "content": "The sea and the city."},
    {"role": "user", "content": "Would you travel?"},
]


# What a feature reads, by hand


def along(v):
    """A direction's reading."""
    v = v.double().numpy()
    return lambda row: float(row @ v)


def latent(tensors, index, threshold):
    """A JumpReLU latent's."""
    encoder, bias = tensors["W_enc"][:, index].double().numpy(), float(tensors["b_enc"][index])
    centre = tensors["b_dec"].double().numpy()

    def read(row):
        before = float((row - centre) @ encoder) + bias
        return before if before > threshold and before > 0 else 0.0

    return read


def responsibility(state, component):
    reference = Reference(state)
    return lambda row: float(reference.responsibilities(torch.from_numpy(row)[None])[0, component])


def middle(lm, site, read, ids=PROMPT):
    """A threshold that about half of the tokens pass, between two readings."""
    h = naive.streams(lm.model, ids, [site])[site].double().numpy()
    values = sorted(read(row) for row in h)
    at = len(values) // 2
    return (values[at - 1] + values[at]) / 2


SITE = (1, "resid_post")


class Case:
    """A feature for both sides, with a threshold that some tokens pass and others do not."""

    def __init__(self, lm, feature, site, read):
        self.feature, self.site, self.read = feature, site, read
        self.theta = middle(lm, site, read)

    @property
    def above(self):
        return self.feature > self.theta

    @property
    def below(self):
        return self.feature < self.theta

    def is_above(self, rows):
        return self.read(rows[self.site]) > self.theta


def direction(lm, layer=1, stream="resid_post", seed=5):
    v = vector(seed, norm=1.0)
    return Case(lm, sw.Direction(v, sw.Site(layer, stream), f"read {layer}"), (layer, stream), along(v))


def jumprelu(lm):
    tensors = sae.tensors()
    made = sw.SAE(**tensors, activation="jumprelu", threshold=torch.full((sae.SIZE,), 0.1), layer=1)
    return Case(lm, made[7], SITE, latent(tensors, 7, 0.1))


def topk(lm):
    tensors = sae.tensors()
    made = sw.SAE(**tensors, activation="topk", k=20, layer=1)

    def read(row):
        before = (row - tensors["b_dec"].double().numpy()) @ tensors["W_enc"].double().numpy()
        before = before + tensors["b_enc"].double().numpy()
        kept = sorted(before, reverse=True)[:20]
        return max(float(before[7]), 0.0) if before[7] >= kept[-1] else 0.0

    return Case(lm, made[7], SITE, read)


def reft(lm):
    v = kinds.ROWS[2]
    read = along(v)
    return Case(lm, kinds.make("ReFT")[2], SITE, lambda row: max(read(row), 0.0))


def component(lm):
    state, _ = make_state(kinds.SIZE, D_MODEL, 2)
    best = max(range(kinds.SIZE), key=lambda k: middle(lm, SITE, responsibility(state, k)))
    return Case(lm, kinds.make("MFA")[best], SITE, responsibility(state, best))


def neuron(lm):
    return Case(lm, sw.Neurons(lm, layer=1)[7], (1, "mlp_acts"), lambda row: float(row[7]))


def head(lm):
    return Case(lm, sw.Heads(lm, layer=1)[2], (1, "attn_z"), lambda row: float(np.linalg.norm(row[16:24])))


KINDS = [direction, jumprelu, topk, reft, component, neuron, head]


def when(made, condition, holds, *sites):
    """Both sides under a condition."""
    steer, change = made
    return steer.when(condition), replace(change, when=holds, reads=tuple(sites))


def add(seed=1, layer=1, alpha=1.5, stream="resid_post"):
    return Pair(vector(seed), layer, stream).make("add", alpha)


def same_everywhere(lm, steers, changes, special=()):
    """One forward, greedy texts with and without a cache, and rows of a left-padded batch agree with the reference."""
    expected = naive.logits(lm.model, PROMPT, changes, len(PROMPT))
    assert (expected - naive.logits(lm.model, PROMPT)).abs().max() > 1e-3
    torch.testing.assert_close(forward(lm, steers, PROMPT, len(PROMPT)), expected, **CLOSE)
    plans = [Plan(lm.encode(row), steers) for row in ROWS] + [Plan(lm.encode(ROWS[1]), sw.Recipe())]
    texts = [naive.greedy(lm.model, ids, changes, count=5, special_ids=special, end=lm.end_ids) for ids in ROWS]
    texts.append(naive.greedy(lm.model, ROWS[1], count=5, end=lm.end_ids))
    for use_cache in (True, False):
        rows = generate_rows(lm, plans, sw.Sampling(temperature=0, max_new_tokens=5), use_cache=use_cache)
        assert [row.token_ids for row in rows] == texts


# Conditions


@FIVE
@pytest.mark.parametrize("make", KINDS)
def test_a_condition_on_a_feature_of_any_kind(lm, make):
    case = make(lm)
    steers, changes = recipe(when(add(), case.above, case.is_above, case.site))
    whole = naive.logits(lm.model, PROMPT, [replace(changes[0], when=lambda _rows: True)])
    assert (whole - naive.logits(lm.model, PROMPT, changes)).abs().max() > 1e-3, "the condition decides something"
    same_everywhere(lm, steers, changes)


@FIVE
def test_below_and_both_and_either(lm):
    first, second = direction(lm), direction(lm, 0, "attn_out", seed=6)
    sites = (first.site, second.site)
    below = when(add(1), first.below, lambda rows: not first.is_above(rows), first.site)
    both = when(add(2), first.above & second.above, lambda r: first.is_above(r) and second.is_above(r), *sites)
    either = when(add(3), first.above | second.below, lambda r: first.is_above(r) or not second.is_above(r), *sites)
    nested = when(
        add(4, layer=2),
        (first.above | second.above) & first.below,
        lambda r: second.is_above(r) and not first.is_above(r),
        *sites,
    )
    for made in (below, both, either, nested):
        same_everywhere(lm, *recipe(made))
    same_everywhere(lm, *recipe(below, both, either, nested))


@FIVE
def test_it_is_read_before_any_change_at_its_site_and_after_those_before_it(lm):
    """Two steers of one site do not see each other; one of an earlier block is seen."""
    case = direction(lm)
    pushes = Pair(case.feature.vector, 1).make("add", 50.0)
    under = when(add(2, layer=1), case.below, lambda rows: not case.is_above(rows), case.site)
    same_everywhere(lm, *recipe(pushes, under))
    earlier = Pair(case.feature.vector, 0).make("add", 3.0)
    later = when(add(2, layer=3), case.above, case.is_above, case.site)
    same_everywhere(lm, *recipe(earlier, later))


@FIVE
@pytest.mark.parametrize("op", [("ablate",), ("project", 3.0), ("clip", -0.2, 0.2), ("add_relative", 0.8)])
def test_every_op_and_those_that_are_solved_together(lm, op):
    """Ops that fix a projection are solved with those that act at the same token, and only with those."""
    case = direction(lm)
    conditioned = when(Pair(vector(1)).make(*op), case.above, case.is_above, case.site)
    beside = Pair(vector(1) + 0.9 * vector(2)).make("project", 2.0)
    same_everywhere(lm, *recipe(conditioned, beside))
    same_everywhere(lm, *recipe(conditioned))


@pytest.mark.parametrize("stream", ["resid_pre", "attn_z", "attn_out", "mlp_in", "mlp_acts", "mlp_out", "resid_post"])
def test_any_stream_of_a_block_that_comes_before(lm, stream):
    width = naive.streams(lm.model, PROMPT, [(1, stream)])[1, stream].shape[-1]
    v = vector(5, width, norm=1.0)
    case = Case(lm, sw.Direction(v, sw.Site(1, stream), stream), (1, stream), along(v))
    steers, changes = recipe(when(add(), case.above, case.is_above, case.site))
    torch.testing.assert_close(forward(lm, steers, PROMPT), naive.logits(lm.model, PROMPT, changes), **CLOSE)


def test_a_stream_that_can_only_be_read_will_do(llama):
    v = vector(5, norm=1.0)
    for stream, at_ in (("resid_mid", 1), ("mlp_normalized", 1)):
        feature = sw.Direction(v, sw.Site(at_, stream), stream)
        h = llama.residuals(list(PROMPT), [feature.site]).values[feature.site][0] @ v
        holds = (h > h.median()).tolist()
        steers, changes = recipe(at(add(), "indices", [i for i, each in enumerate(holds) if each]))
        del steers
        mine = Pair(vector(1)).direction.add(1.5).when(feature > float(h.median()))
        torch.testing.assert_close(forward(llama, mine, PROMPT), naive.logits(llama.model, PROMPT, changes), **CLOSE)


def test_one_condition_for_each_row_of_a_sweep(llama):
    first, second = direction(llama), direction(llama, 0, "attn_out", seed=6)
    made = [
        recipe(when(add(1), first.above, first.is_above, first.site)),
        recipe(when(add(1), first.below, lambda rows: not first.is_above(rows), first.site)),
        recipe(when(add(2, layer=2), second.above, second.is_above, second.site)),
        recipe(add(1)),
    ]
    rows = llama.sweep(PROMPT, [None, *(steers for steers, _ in made)], temperature=0, max_new_tokens=6)
    for row, changes in zip(rows, [[], *(changes for _, changes in made)], strict=True):
        assert row.token_ids == naive.greedy(llama.model, PROMPT, changes, count=6, end=llama.end_ids)


@FIVE
def test_strengths_of_one_conditioned_fading_steer_in_one_batch(lm):
    """Rows that differ by their numbers alone are worked out together, each by what it reads itself."""
    case = direction(lm)
    rows = []
    for alpha, condition, holds in [
        (1.0, case.above, case.is_above),
        (3.0, case.above, case.is_above),
        (-2.0, case.below, lambda rows: not case.is_above(rows)),
    ]:
        steer, change = when(add(alpha=alpha), condition, holds, case.site)
        rows.append((steer.fade(0.5, 3), replace(change, share=fade(0.5, 3))))
    made = lm.sweep(PROMPT, [None, *(steer for steer, _ in rows)], temperature=0, max_new_tokens=5)
    for row, changes in zip(made, [[], *([change] for _, change in rows)], strict=True):
        assert row.token_ids == naive.greedy(lm.model, PROMPT, changes, count=5, end=lm.end_ids)


def test_positions_and_special_tokens_beside_a_condition(lm):
    case = direction(lm)
    made = when(at(add(), "after", 3, special=False), case.above, case.is_above, case.site)
    steers, changes = recipe(made)
    expected = naive.logits(lm.model, PROMPT, changes, 5, {0, 6})
    torch.testing.assert_close(forward(lm, steers, PROMPT, 5), expected, **CLOSE)


def test_chunks_with_a_cache(lm):
    case = direction(lm, 0, seed=6)
    steers, changes = recipe(when(add(2, layer=2), case.above, case.is_above, case.site))
    ids, done, cache, pieces = torch.tensor([PROMPT]), 0, None, []
    with torch.no_grad(), lm.steer(steers):
        for length in (4, 1, 3, 1):
            out = lm.model(input_ids=ids[:, done : done + length], past_key_values=cache, use_cache=True)
            cache, done = out.past_key_values, done + length
            pieces.append(out.logits[0])
    torch.testing.assert_close(torch.cat(pieces), naive.logits(lm.model, PROMPT, changes), **CLOSE)


def test_kl_lens_and_kept_cache_are_of_the_conditioned_run(llama):
    """Every other way to read the run steers the same tokens."""
    case = direction(llama)
    steers, changes = recipe(when(add(), case.above, case.is_above, case.site))
    steers = steers.fade(to=0.0, over=3)
    changes = [replace(each, share=fade(0.0, 3)) for each in changes]
    out = llama.compare(PROMPT, steers, temperature=0, max_new_tokens=6, keep_cache=True)
    text = (*PROMPT, *out.steered.token_ids)
    with_it = naive.logits(llama.model, text, changes, len(PROMPT)).log_softmax(-1)
    without = naive.logits(llama.model, text).log_softmax(-1)
    kl = (with_it.exp() * (with_it - without)).sum(-1)[len(PROMPT) - 1 : -1]
    torch.testing.assert_close(torch.tensor(out.kl), kl, atol=1e-3, rtol=1e-3)
    cached, again = (out.lens(2, k=3), llama.logit_lens(list(text), steers, k=3, prompt_length=len(PROMPT)))
    torch.testing.assert_close(cached.log_probs[:, 0], again.log_probs[:, len(PROMPT) + 2], atol=1e-3, rtol=1e-3)
    last = again.log_probs[-1, -1, 0]
    torch.testing.assert_close(last, with_it[-1].max(), atol=1e-3, rtol=1e-3)


def test_a_fork_goes_on_where_the_run_was(llama):
    """A text that is begun counts as generated: phases and fades go on."""
    steer, change = add(alpha=3.0)
    made = steer.at(sw.after(1, of="generated")).fade(to=0.0, over=4)
    changes = [replace(change, acts=lambda t, n: t >= n + 1, share=fade(0.0, 4))]
    out = llama.compare(PROMPT, made, temperature=0, max_new_tokens=6)
    other = next(i for i in range(20, 40) if i != out.steered.token_ids[2])
    forked = out.fork(2, other)
    begun = (*PROMPT, *out.steered.token_ids[:2], other)
    text = list(begun)
    for _ in range(3):
        text.append(int(naive.logits(llama.model, text, changes, len(PROMPT))[-1].argmax()))
    assert forked.steered.token_ids == tuple(text[len(PROMPT) :])


# Phases


def fade(to, over):
    def share(t, prompt_length):
        since = t - prompt_length
        if since <= 0:
            return 1.0
        return to if since >= over else 1 + (to - 1) * since / over

    return share


@FIVE
@pytest.mark.parametrize(("to", "over"), [(0.0, 3), (-0.5, 2), (2.0, 9), (0.3, 1)])
@pytest.mark.parametrize("op", [("add", 2.0), ("add_relative", 0.6), ("ablate",), ("clip", -0.2, 0.2)])
def test_fading(lm, op, to, over):
    steer, change = Pair(vector(1)).make(*op)
    made = steer.fade(to, over), replace(change, share=fade(to, over))
    beside = at(Pair(vector(1) + 0.9 * vector(2)).make("project", 2.0), "generated")
    same_everywhere(lm, *recipe(made, beside))


@FIVE
@pytest.mark.parametrize(
    ("positions", "acts"),
    [
        (sw.first(2, of="generated"), lambda t, n: n <= t < n + 2),
        (sw.after(2, of="generated"), lambda t, n: t >= n + 2),
        (sw.first(3), lambda t, _n: t < 3),
        (sw.last_prompt, lambda t, n: t == n - 1),
        (sw.after(2) & "prompt", lambda t, n: 2 <= t < n),
        (sw.after(2) & sw.first(7) & sw.Positions("generated", special=False), lambda t, n: n <= t < 7),
    ],
)
def test_phases(lm, positions, acts):
    steer, change = add(alpha=3.0)
    beside, same = add(2, alpha=0.5)
    change = replace(change, acts=acts, special=positions.special)
    same_everywhere(lm, sw.Recipe((steer.at(positions), beside)), [change, same], special=range(5))


def words(lm, messages, role):
    """The positions of a role's words: the ids of the text before each message's words tell where they begin."""
    text, found = lm.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True), set()
    offsets = lm.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    start = 0
    for message in messages:
        start = text.index(message["content"], text.index(message["role"], start) + len(message["role"]))
        end = start + len(message["content"])
        if message["role"] == role:
            found |= {i for i, (a, b) in enumerate(offsets) if a < end and b > start}
        start = end
    return found


@FIVE
@pytest.mark.parametrize("role", ["system", "user", "assistant"])
def test_the_words_of_a_role(lm, role):
    encoded = lm.encode(MESSAGES)
    theirs, ids = words(lm, MESSAGES, role), encoded.token_ids
    assert 2 < len(theirs) < len(ids) - 10
    steer, change = add(alpha=2.0)
    acts = lambda t, n: t in theirs if t < n else role == "assistant"
    change = replace(change, acts=acts)
    steers = sw.Recipe.of(steer.at(sw.role(role)))
    expected = naive.logits(lm.model, ids, [change])
    with torch.no_grad(), lm.steer(steers, prompt=encoded):
        got = lm.model(input_ids=torch.tensor([ids])).logits[0]
    torch.testing.assert_close(got, expected, **CLOSE)
    text = naive.greedy(lm.model, ids, [change], count=5, end=lm.end_ids)
    assert lm.compare(MESSAGES, steers, temperature=0, max_new_tokens=5).steered.token_ids == text


@FIVE
def test_roles_of_prompts_of_different_lengths_in_one_batch(lm):
    """Rows of one batch, padded on the left; with and without a cache; several conversations and recipes."""
    chats = [MESSAGES, MESSAGES[1:2], MESSAGES[1:]]
    case = direction(lm)
    plans, expected = [], []
    for messages in chats:
        for role in ("user", "assistant"):
            theirs = words(lm, messages, role)
            steer, change = when(add(alpha=2.0), case.above, case.is_above, case.site)
            acts = lambda t, n, theirs=theirs, role=role: t in theirs if t < n else role == "assistant"
            change = replace(change, acts=acts, share=fade(0.0, 4))
            encoded = lm.encode(messages)
            plans.append(Plan(encoded, sw.Recipe.of(steer.at(sw.role(role)).fade(over=4))))
            expected.append(naive.greedy(lm.model, encoded.token_ids, [change], count=5, end=lm.end_ids))
    for use_cache in (True, False):
        rows = generate_rows(lm, plans, sw.Sampling(temperature=0, max_new_tokens=5), use_cache=use_cache)
        assert [row.token_ids for row in rows] == expected


def test_beams_and_returned_sequences_keep_their_prompts_roles(llama):
    encoded = [llama.encode(MESSAGES[1:2]), llama.encode(MESSAGES)]
    width = max(map(len, encoded))
    ids = torch.tensor([[2] * (width - len(each)) + list(each.token_ids) for each in encoded])
    mask = torch.tensor([[0] * (width - len(each)) + [1] * len(each) for each in encoded])
    steer, change = add(alpha=2.0)
    with llama.steer(steer.at(sw.role("user")), prompt=encoded):
        out = llama.model.generate(
            ids, attention_mask=mask, max_new_tokens=4, num_beams=1, do_sample=True, top_k=1, num_return_sequences=2
        )
    for row, (each, chat) in enumerate(zip(encoded, (MESSAGES[1:2], MESSAGES), strict=True)):
        theirs = words(llama, chat, "user")
        acts = lambda t, _n, theirs=theirs: t in theirs
        text = naive.greedy(llama.model, each.token_ids, [replace(change, acts=acts)], count=4, end=llama.end_ids)
        for got in out[2 * row : 2 * row + 2, width:].tolist():
            assert tuple(got[: len(text)]) == text


# Heads


def mean_of(lm, texts, part):
    """The mean of a part of attn_z over the tokens that count: not the first, and no sink."""
    rows = []
    for text in texts:
        ids = list(lm.encode(text, chat=False).token_ids)
        z = naive.streams(lm.model, ids, [(1, "attn_z")])[1, "attn_z"].double().numpy()
        norms = [float(np.linalg.norm(row)) for row in z]
        threshold = 10 * sorted(norms[1:])[(len(norms) - 2) // 2]
        rows += [row[part] for row, norm in list(zip(z, norms, strict=True))[1:] if norm <= threshold]
    return np.mean(rows, axis=0).tolist()


TEXTS = ["The user asks the assistant about the ocean.", "Name a city by the sea, please.", toks.SENTENCES[3]]


def of_head(lm, index, value, layer=1):
    """A head's steer and its reference."""
    heads = sw.Heads(lm, layer, mean_over=TEXTS if value == "mean" else None)
    part = slice(index * 8, index * 8 + 8)
    made = {"mean": heads[index].mean, 0.0: heads[index].ablate}.get(value, lambda: heads[index].scale(value))()
    wanted = mean_of(lm, TEXTS, part) if value == "mean" else value
    return made, naive.Change(layer, "head", None, {"part": part, "value": wanted}, "attn_z")


@FIVE
@pytest.mark.parametrize("value", [0.0, 3.0, -1.0, "mean"])
def test_a_head(lm, value):
    same_everywhere(lm, *recipe(of_head(lm, 2, value)))
    case = direction(lm, 0, seed=6)
    made = when(of_head(lm, 3, value), case.above, case.is_above, case.site)
    made = made[0].fade(0.5, 3), replace(made[1], share=fade(0.5, 3))
    same_everywhere(lm, *recipe(made, of_head(lm, 1, value), add()))


@FIVE
def test_heads_are_read_as_long_as_they_are(lm):
    z = naive.streams(lm.model, PROMPT, [(1, "attn_z")])[1, "attn_z"]
    expected = torch.stack([z[:, 8 * i : 8 * i + 8].norm(dim=-1) for i in range(4)], dim=-1)
    torch.testing.assert_close(lm.read(list(PROMPT), sw.Heads(lm, layer=1)).values, expected, atol=1e-5, rtol=1e-5)


def test_heads_of_grouped_queries_are_those_of_the_queries(fresh):
    """Four heads share two value heads: silencing the first of these silences heads 0 and 1, and no other."""
    lm = fresh()
    with torch.no_grad():
        lm.model.model.layers[1].self_attn.v_proj.weight[:8] = 0
    values = lm.read(list(PROMPT), sw.Heads(lm, layer=1)).values
    assert (values[:, :2] == 0).all()
    assert (values[:, 2:] > 0).all()
    plain = naive.logits(lm.model, PROMPT)
    torch.testing.assert_close(forward(lm, sw.Heads(lm, 1)[1].ablate(), PROMPT), plain, **CLOSE)
    assert (forward(lm, sw.Heads(lm, 1)[2].ablate(), PROMPT) - plain).abs().max() > 1e-2
