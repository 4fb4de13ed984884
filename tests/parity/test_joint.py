"""Ops that fix a projection at one site are solved together: every target is reached at once."""

import itertools

import pytest
import torch
from support import naive
from support.both import PROMPT, Pair, at, forward, recipe, vector

import steerwidgets as sw
from steerwidgets.steering import ops

SITE = sw.Site(1)


def read_after(lm, steers, layer: int = 1, ids=PROMPT, prompt_length=None):
    """The block's output [position, d_model] as the next block gets it."""
    kept = []
    with torch.no_grad(), lm.steer(steers, prompt_length=prompt_length):
        handle = naive.stream_module(lm.model, layer + 1, "resid_pre")[0].register_forward_pre_hook(
            lambda _m, args, kwargs: kept.append((args[0] if args else kwargs["hidden_states"])[0].clone()),
            with_kwargs=True,
        )
        try:
            lm.model(input_ids=torch.tensor([list(ids)]))
        finally:
            handle.remove()
    return kept[0]


def unit(v):
    return v / v.norm()


def test_the_designs_example():
    """Cosine 0.5, projections 1 and 1.37: single ablations summed leave -0.68 and -0.50, the joint solution 0."""
    first = torch.tensor([1.0, 0.0, 0.0])
    second = torch.tensor([0.5, 3**0.5 / 2, 0.0])
    h = torch.tensor([1.0, (1.37 - 0.5) / (3**0.5 / 2), 5.0])
    both = torch.stack([first, second])
    torch.testing.assert_close(both @ h, torch.tensor([1.0, 1.37]))
    summed = h - (h @ first) * first - (h @ second) * second
    torch.testing.assert_close(both @ summed, torch.tensor([-0.685, -0.5]))
    joint = h + ops.solve_projections(-(both @ h), both)
    torch.testing.assert_close(both @ joint, torch.zeros(2), atol=1e-6, rtol=0)
    assert joint[2] == 5, "nothing outside the span moves"


@pytest.mark.parametrize("seed", range(4))
def test_every_target_is_reached(llama, seed):
    drawn = torch.Generator().manual_seed(seed)
    shared = torch.randn(32, generator=drawn)
    v = [torch.randn(32, generator=drawn) + shared * 0.8 for _ in range(4)]
    h = read_after(llama, None)
    directions = [sw.Direction(each, SITE, f"{i}") for i, each in enumerate(v)]
    steers = sw.Recipe((directions[0].ablate(), directions[1].project(2.5), directions[2].clip(None, -3.0)))
    after = read_after(llama, steers)
    torch.testing.assert_close(after @ unit(v[0]), torch.zeros(len(PROMPT)), atol=2e-4, rtol=0)
    torch.testing.assert_close(after @ unit(v[1]), 2.5 * (h @ unit(v[1])), atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(after @ unit(v[2]), (h @ unit(v[2])).clamp(max=-3.0), atol=2e-4, rtol=1e-4)
    span = torch.linalg.qr(torch.stack([unit(each) for each in v[:3]]).T).Q
    outside = (after - h) - (after - h) @ span @ span.T
    assert outside.abs().max() < 1e-4


def test_mixed_positions_solve_only_what_acts_there(lm):
    a, b, c = Pair(vector(1)), Pair(vector(1) + 0.9 * vector(2)), Pair(vector(2))
    steers, changes = recipe(
        at(a.make("ablate"), "indices", [1, 2, 5]),
        at(b.make("project", 2.0), "after", 2),
        at(c.make("clip", -0.1, 0.1), "first", 6),
    )
    expected = naive.logits(lm.model, PROMPT, changes)
    torch.testing.assert_close(forward(lm, steers, PROMPT), expected, atol=3e-4, rtol=1e-4)


def test_parallel_and_opposite_directions(llama):
    """One direction in two lengths: consistent targets are reached, contradicting ones are met half way."""
    v = vector(1)
    h = read_after(llama, None) @ unit(v)
    twice = sw.Direction(v, SITE).ablate() + sw.Direction(-3 * v, SITE).ablate()
    torch.testing.assert_close(read_after(llama, twice) @ unit(v), torch.zeros_like(h), atol=1e-4, rtol=0)
    contradiction = sw.Direction(v, SITE).ablate() + sw.Direction(2 * v, SITE).project(3)
    torch.testing.assert_close(read_after(llama, contradiction) @ unit(v), 1.5 * h, atol=1e-3, rtol=1e-3)


def test_nearly_parallel_directions_stay_finite(llama):
    v = vector(1)
    steers = sw.Direction(v, SITE).ablate() + sw.Direction(v + 1e-5 * vector(2), SITE).project(3)
    assert read_after(llama, steers).isfinite().all()


def test_the_order_of_steers_never_matters(llama):
    a, b, c = (sw.Direction(vector(i) + vector(9), SITE, f"{i}") for i in range(3))
    steers = [a.ablate(), b.project(2), c.clip(0, 1), a.add(0.5), b.add_relative(0.2)]
    reference = forward(llama, sw.Recipe(tuple(steers)), PROMPT)
    for order in itertools.islice(itertools.permutations(steers), 7, 120, 23):
        torch.testing.assert_close(forward(llama, sw.Recipe(order), PROMPT), reference, atol=1e-4, rtol=1e-4)


def test_an_identity_setter_does_not_hold_its_projection(llama):
    a, b = sw.Direction(vector(1), SITE), sw.Direction(vector(1) + vector(2), SITE)
    alone = forward(llama, a.ablate(), PROMPT)
    for idle in (b.project(1), b.clip()):
        assert torch.equal(forward(llama, a.ablate() + idle, PROMPT), alone)
