"""Any recipe does what plain loops do: in one forward, in pieces with a cache, in left-padded batches that generate."""

import functools

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from support import models, naive, toks
from support.both import forward
from support.drawn import TEXTS, Margin, examples, positions, recipes

import steerwidgets as sw
from steerwidgets.generation.rows import Plan, generate_rows

CLOSE = {"atol": 1e-3, "rtol": 1e-3}
FAMILIES = st.sampled_from(["llama", "gemma2", "gpt2", "neox_serial"])


@functools.cache
def made(family):
    torch.set_num_threads(1)
    return sw.LanguageModel(models.make(family), toks.byte_level())


def special(lm, ids):
    return {t for t, token in enumerate(ids) if token in lm.special_ids}


@given(st.data(), FAMILIES, TEXTS)
@examples(60)
def test_one_forward_and_the_same_in_pieces(data, family, ids):
    lm, margin = made(family), Margin()
    recipe, changes = data.draw(recipes(margin))
    length = data.draw(st.integers(1, len(ids)))
    expected = naive.logits(lm.model, ids, changes, length, special(lm, ids))
    assume(margin.is_clear)
    torch.testing.assert_close(forward(lm, recipe, ids, length), expected, **CLOSE)
    # Which tokens are sinks is said by the whole prompt, so that it comes in one piece.
    ends = sorted({data.draw(st.integers(length, len(ids))) for _ in range(3)} | {length, len(ids)})
    begun, cache, pieces = 0, None, []
    with torch.no_grad(), lm.steer(recipe, prompt_length=length):
        for end in ends:
            out = lm.model(input_ids=torch.tensor([ids[begun:end]]), past_key_values=cache, use_cache=True)
            begun, cache = end, out.past_key_values
            pieces.append(out.logits[0].float())
    torch.testing.assert_close(torch.cat(pieces), expected, **CLOSE)


@given(st.data(), FAMILIES, st.lists(TEXTS, min_size=1, max_size=4), st.booleans())
@examples(40)
def test_a_padded_batch_is_its_rows(data, family, texts, use_cache):
    lm, margin = made(family), Margin()
    drawn = [data.draw(recipes(margin)) for _ in texts]
    plans = [Plan(lm.encode(ids), recipe) for ids, (recipe, _) in zip(texts, drawn, strict=True)]
    steps = []
    hook = lm.model.register_forward_hook(lambda _m, _a, out: steps.append(out.logits[:, -1].float()))
    try:
        rows = generate_rows(lm, plans, sw.Sampling(temperature=0, max_new_tokens=4), use_cache=use_cache)
    finally:
        hook.remove()
    for at, (ids, row, (_, changes)) in enumerate(zip(texts, rows, drawn, strict=True)):
        whole = [*ids, *row.token_ids]
        expected = naive.logits(lm.model, whole, changes, len(ids), special(lm, whole))[len(ids) - 1 :]
        assume(margin.is_clear)
        count = min(len(steps), len(expected))
        torch.testing.assert_close(torch.stack([step[at] for step in steps[:count]]), expected[:count], **CLOSE)


# Positions by themselves


@given(positions(), st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=4), st.randoms())
@examples(300)
def test_where_a_mask_is_true(both, rows, random):
    """Rows of [position] with padding anywhere: the rule of every token, by its absolute position."""
    where, acts = both
    width = max(padding + length for padding, length in rows)
    absolute = torch.full((len(rows), width), -1)
    for row, (padding, length) in enumerate(rows):
        absolute[row, padding : padding + length] = torch.arange(length)
    lengths = torch.tensor([random.randint(1, length) for _, length in rows])
    marks = torch.tensor([[random.random() < 0.2 for _ in range(width)] for _ in rows])
    got = where.mask(absolute, lengths, marks)
    for row in range(len(rows)):
        for at, t in enumerate(absolute[row].tolist()):
            expected = t >= 0 and acts(t, int(lengths[row])) and (where.special or not marks[row, at])
            assert bool(got[row, at]) is bool(expected), (where, t)


@given(positions(), positions())
@examples(300)
def test_positions_that_meet_are_said_to_overlap(one, other):
    """Else two setters of one feature would pass that contradict each other."""
    meet = any(one[1](t, n) and other[1](t, n) for n in range(1, 14) for t in range(26))
    assert one[0].overlaps(other[0]) is other[0].overlaps(one[0])
    assert one[0].overlaps(other[0]) or not meet


@given(positions(), st.sampled_from(["sw.", ""]))
@examples(150)
def test_their_code_and_their_json_make_them_again(both, package):
    where, _ = both
    names = {"sw": sw, "first": sw.first, "after": sw.after, "role": sw.role, "Positions": sw.Positions}
    steer = sw.Direction(torch.ones(4), sw.Site(1), "a").ablate()
    assert eval(f"steer.at({where.code(package)})", {"steer": steer} | names).positions == where
    assert sw.Positions.from_json(where.to_json()) == where


@pytest.mark.parametrize("spoil", ["a row too many", "at another place"])
def test_the_reference_can_tell(spoil):
    """Else the tests above would pass whatever happened."""
    lm, margin = made("llama"), Margin()
    ids = [5, 60, 70, 80]
    recipe = sw.Recipe.of(sw.Direction(torch.ones(32), sw.Site(1), "a").add(1.0).at([1]))
    change = naive.Change(1, "add", torch.ones(32).numpy(), {"alpha": 1.0}, acts=lambda t, _n: t == 1)
    changes = [change, change] if spoil == "a row too many" else [change.where("indices", (2,))]
    assert margin.is_clear
    assert (forward(lm, recipe, ids, 4) - naive.logits(lm.model, ids, changes)).abs().max() > 0.01
