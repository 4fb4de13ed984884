"""The algebra that every op keeps, whatever the activations and the numbers; against plain tensors."""

import functools

import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from support import kinds, models, naive, sae, toks
from support.drawn import examples, numbers
from support.mfa import Reference, make_state
from support.models import D_MODEL

import steerwidgets as sw

CLOSE = {"atol": 2e-3, "rtol": 1e-3}
SEEDS = st.integers(0, 10**6)


def drawn(seed, *shape, size=3.0):
    return size * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@functools.cache
def lm():
    return sw.LanguageModel(models.make("llama"), toks.byte_level())


@functools.cache
def dictionary(kind):
    return kinds.make(kind, lm())


def direction(seed):
    return sw.Direction(drawn(seed, D_MODEL), sw.Site(1), "v")


def after(feature, op, given, h):
    """`h` after one op, of those that add and of those that fix a projection."""
    spec = feature.ops[op]
    if not spec.fixes_projection:
        return h + feature.change(op, given, h)
    unit = feature.vector / feature.vector.norm()
    projection = h @ unit
    return h + (feature.target(op, given, projection) - projection)[..., None] * unit


def of_numbers(spec, data):
    """Numbers for an op's parameters; lo lies below hi."""
    given = {each.name: data.draw(st.none() if each.optional and data.draw(st.booleans()) else numbers(-6, 6))
             for each in spec.parameters}  # fmt: skip
    lo, hi = given.get("lo"), given.get("hi")
    if lo is not None and hi is not None and lo > hi:
        given["lo"], given["hi"] = hi, lo
    return given


@given(st.data(), st.sampled_from(kinds.KINDS), SEEDS)
@examples(60)
def test_a_token_is_changed_by_what_it_is_alone(data, kind, seed):
    """Of every op of every kind: neither the batch nor the tokens beside it have a say."""
    made = dictionary(kind)
    feature = made[data.draw(st.integers(0, made.size - 1))]
    op = data.draw(st.sampled_from(sorted(feature.ops)))
    given_ = of_numbers(feature.ops[op], data)
    h = drawn(seed, 2, 5, feature.width)
    whole = after(feature, op, given_, h)
    for row in range(2):
        for at in range(5):
            torch.testing.assert_close(after(feature, op, given_, h[row : row + 1, at : at + 1])[0, 0], whole[row, at])
    assert whole.isfinite().all()


@given(st.data(), st.sampled_from(kinds.KINDS), SEEDS)
@examples(80)
def test_the_numbers_that_are_said_to_change_nothing_do(data, kind, seed):
    made = dictionary(kind)
    feature = made[data.draw(st.integers(0, made.size - 1))]
    h = drawn(seed, 1, 4, feature.width)
    for name, spec in feature.ops.items():
        if spec.identity is not None:
            assert torch.equal(after(feature, name, dict(spec.identity), h), h), name


@given(SEEDS, SEEDS, numbers(-4, 4), numbers(-4, 4))
@examples(80)
def test_directions_add_up_scale_and_stay_where_they_were_put(seed, other, a, b):
    f, h = direction(seed), drawn(other, 3, D_MODEL)
    unit = f.vector / f.vector.norm()
    twice = after(f, "add", {"alpha": b}, after(f, "add", {"alpha": a}, h))
    torch.testing.assert_close(twice, h + (a + b) * f.vector, **CLOSE)
    gone = after(f, "ablate", {}, h)
    torch.testing.assert_close(gone @ unit, torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(after(f, "ablate", {}, gone), gone, atol=1e-4, rtol=0)
    torch.testing.assert_close(gone - h, -(h @ unit)[:, None] * unit, **CLOSE)
    times = after(f, "project", {"c": b}, after(f, "project", {"c": a}, h))
    torch.testing.assert_close(times, after(f, "project", {"c": a * b}, h), **CLOSE)
    lo, hi = min(a, b), max(a, b)
    kept = after(f, "clip", {"lo": lo, "hi": hi}, h)
    assert ((kept @ unit) >= lo - 1e-3).all()
    assert ((kept @ unit) <= hi + 1e-3).all()
    torch.testing.assert_close(after(f, "clip", {"lo": lo, "hi": hi}, kept), kept, **CLOSE)
    share = after(f, "add_relative", {"alpha": a}, h) - h
    torch.testing.assert_close(share.norm(dim=-1), abs(a) * h.norm(dim=-1), **CLOSE)


@given(SEEDS, st.integers(1, 4), SEEDS)
@examples(80)
def test_what_is_solved_together_reaches_every_target_by_the_least_change(seed, count, other):
    """Against numpy's least squares, at tokens where some of the steers act and others do not."""
    from steerwidgets.steering.ops import solve_projections

    h, active = drawn(other, 4, D_MODEL), drawn(other + 1, 4, count) > 0
    units = torch.nn.functional.normalize(drawn(seed, count, D_MODEL), dim=-1)
    targets = drawn(seed + 1, count)
    assume(float(torch.linalg.svdvals(units).min()) > 1e-2)
    residue = targets - h @ units.T
    got = h + solve_projections(residue, units, active)
    for token in range(4):
        changes = [
            naive.Change(1, "clip", unit.numpy(), {"lo": float(value), "hi": float(value)})
            for unit, value, acts in zip(units, targets, active[token], strict=True)
            if acts
        ]
        expected = naive.changed(h[token : token + 1].double().numpy(), changes, 1, frozenset())[0]
        torch.testing.assert_close(got[token].double(), torch.from_numpy(expected), atol=2e-3, rtol=1e-3)


@given(SEEDS, st.integers(0, sae.SIZE - 1), numbers(0, 8), numbers(-2, 3))
@examples(80)
def test_an_saes_clamp_is_encode_overwrite_decode_and_the_error(seed, index, value, factor):
    weights, made = sae.tensors(), dictionary("SAE")
    h = drawn(seed, 3, D_MODEL)
    acts = ((h - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]).relu()
    decoded = acts @ weights["W_dec"] + weights["b_dec"]
    for op, given_, new in (
        ("clamp", {"c": value}, torch.full((3,), value)),
        ("scale", {"m": factor}, factor * acts[:, index]),
        ("ablate", {}, torch.zeros(3)),
    ):
        changed = acts.clone()
        changed[:, index] = new
        expected = changed @ weights["W_dec"] + weights["b_dec"] + (h - decoded)
        torch.testing.assert_close(after(made[index], op, given_, h), expected, **CLOSE)


@given(SEEDS, st.integers(0, kinds.SIZE - 1), numbers(0, 1), st.lists(numbers(-4, 4), min_size=2, max_size=2))
@examples(40)
def test_a_pull_is_two_stages(seed, index, a, z):
    reference, h = Reference(make_state(kinds.SIZE, D_MODEL, 2)[0]), drawn(seed, 3, D_MODEL)
    got = after(dictionary("MFA")[index], "pull", {"a": a, "z0": z[0], "z1": z[1]}, h)
    torch.testing.assert_close(got.double(), reference.two_stage(h, a, z, index), **CLOSE)


@given(SEEDS, st.integers(0, kinds.SIZE - 1), numbers(-8, 8))
@examples(40)
def test_a_reft_clamp_takes_off_what_fired(seed, index, value):
    h, v = drawn(seed, 3, D_MODEL), kinds.ROWS[index]
    got = after(dictionary("ReFT")[index], "clamp", {"alpha": value}, h)
    torch.testing.assert_close(got, h + (value - (h @ v).clamp(min=0))[:, None] * v, atol=1e-2, rtol=1e-3)


@given(SEEDS, st.data(), numbers(-8, 8))
@examples(40)
def test_neurons_and_heads_are_their_own_numbers(seed, data, value):
    neurons, heads = dictionary("Neuron"), dictionary("Head")
    at = data.draw(st.integers(0, neurons.size - 1))
    h = drawn(seed, 3, neurons.d_model)
    expected = h.clone()
    expected[:, at] = value
    torch.testing.assert_close(after(neurons[at], "set", {"c": value}, h), expected, atol=1e-5, rtol=1e-5)
    head = data.draw(st.integers(0, heads.size - 1))
    z = drawn(seed, 3, 32)
    expected = z.clone()
    expected[:, 8 * head : 8 * head + 8] *= value
    torch.testing.assert_close(after(heads[head], "scale", {"m": value}, z), expected, atol=1e-4, rtol=1e-5)
