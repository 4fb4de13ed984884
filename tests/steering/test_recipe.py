"""Recipes: JSON in and out, equality that ignores order, fingerprints that last, and refusals that say why."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.both import vector

import steerwidgets as sw

SITE = sw.Site(1)
A, B = sw.Direction(vector(1), SITE, "a"), sw.Direction(vector(2), SITE, "b")
CAVS = sw.CAV(torch.stack([vector(3), vector(4)]), ["ocean", "fire \u2028</script>"], layer=2, stream="mlp_out")
MIXED = CAVS["ocean"].add(4) + A.clip(None, 2).at("generated") + CAVS[1].project(0.5).at([3, 1], special=False)


def test_round_trip_by_dictionary():
    text = MIXED.to_json()
    again = sw.Recipe.from_json(text, dictionaries=[CAVS])
    assert again == MIXED
    assert hash(again) == hash(MIXED)
    assert again.to_json() == text
    assert json.loads(text)["steers"][0]["feature"]["dictionary"] == CAVS.fingerprint
    assert "vector" not in json.loads(text)["steers"][0]["feature"]
    assert "vector" in json.loads(text)["steers"][1]["feature"], "a direction of no dictionary is written out"


def test_round_trip_inline():
    again = sw.Recipe.from_json(MIXED.to_json(inline=True))
    for mine, theirs in zip(MIXED, again, strict=True):
        assert torch.equal(mine.feature.vector, theirs.feature.vector)
        assert mine.feature.site == theirs.feature.site
        assert mine.feature.label == theirs.feature.label
        assert (mine.op, mine.parameters, mine.positions) == (theirs.op, theirs.parameters, theirs.positions)
    assert again == sw.Recipe.from_json(again.to_json())


finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
directions = st.builds(
    lambda values, layer, stream, label: sw.Direction(torch.tensor(values), sw.Site(layer, stream), label),
    st.lists(finite, min_size=1, max_size=6).filter(any),
    st.integers(0, 200),
    st.sampled_from(["resid_pre", "resid_post", "attn_out", "mlp_out", "mlp_acts", "attn_z"]),
    st.text(max_size=12),
)
features = st.one_of(directions, st.sampled_from(list(CAVS)))
positions = st.one_of(
    st.builds(
        lambda where, special: sw.Positions(where, special=special),
        st.sampled_from(["all", "prompt", "generated", "last_prompt"]),
        st.booleans(),
    ),
    st.builds(
        lambda where, count, special: sw.Positions(where, count=count, special=special),
        st.sampled_from(["first", "after"]),
        st.integers(1, 10**6),
        st.booleans(),
    ),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=5).map(lambda i: sw.Positions("indices", tuple(i))),
)
numbers = st.floats(-3.4e38, 3.4e38)  # what float32 holds
bounds = st.tuples(st.none() | numbers, st.none() | numbers).map(
    lambda pair: tuple(sorted(pair)) if None not in pair else pair
)
steers = st.one_of(
    st.builds(lambda f, a, p: f.add(a).at(p), features, numbers, positions),
    st.builds(lambda f, a, p: f.add_relative(a).at(p), features, numbers, positions),
    st.builds(lambda f, c, p: f.project(c).at(p), features, numbers, positions),
    st.builds(lambda f, b, p: f.clip(*b).at(p), features, bounds, positions),
    st.builds(lambda f, p: f.ablate().at(p), features, positions),
)


def without_conflicts(made):
    kept = {}
    for steer in made:
        kept.setdefault((steer.feature.key if steer.is_setter else id(steer)), steer)
    return sw.Recipe(tuple(kept.values()))


@given(st.lists(steers, max_size=5).map(without_conflicts), st.randoms())
@settings(max_examples=120, deadline=None)
def test_any_recipe_survives_its_json(recipe, random):
    again = sw.Recipe.from_json(recipe.to_json(), dictionaries=[CAVS])
    assert again == recipe
    assert hash(again) == hash(recipe)
    assert again.fingerprint == recipe.fingerprint
    shuffled = list(recipe.steers)
    random.shuffle(shuffled)
    assert sw.Recipe(tuple(shuffled)) == recipe
    assert sw.Recipe(tuple(shuffled)).fingerprint == recipe.fingerprint
    json.loads(recipe.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_a_multiset():
    once, twice = sw.Recipe.of(A.add(1)), A.add(1) + A.add(1)
    assert once != twice
    assert len(twice) == 2
    assert A.add(1) + B.add(2) == B.add(2) + A.add(1)
    assert hash(A.add(1) + B.add(2)) == hash(B.add(2) + A.add(1))
    assert len({A.add(1) + B.add(2), B.add(2) + A.add(1), once}) == 2
    assert A.add(1) != A.add(1).at("prompt")
    assert once.fingerprint != twice.fingerprint


def test_adding_up():
    recipe = A.add(1) + B.ablate()
    assert len(recipe + recipe.at("prompt").steers[0]) == 3
    assert len(A.add(1) + recipe) == 3
    assert len(sw.Recipe((A.add(1),)) + sw.Recipe()) == 1
    with pytest.raises(TypeError):
        _ = recipe + 3
    assert recipe.sites == (SITE,)
    assert (recipe + CAVS[0].add(1)).sites == (SITE, sw.Site(2, "mlp_out"))


def test_a_recipe_takes_a_list():
    assert sw.Recipe([A.add(1), B.add(2)]) + A.add(3) == sw.Recipe((A.add(1), B.add(2), A.add(3)))


def test_equal_recipes_have_equal_fingerprints():
    """A fingerprint says what a recipe does: neither a label nor the sign of a zero changes that."""
    renamed = sw.Direction(A.vector, SITE, "another name")
    for one, other in ((A.add(1), renamed.add(1)), (A.add(0.0), A.add(-0.0))):
        assert sw.Recipe.of(one) == sw.Recipe.of(other)
        assert sw.Recipe.of(one).fingerprint == sw.Recipe.of(other).fingerprint


def test_a_direction_keeps_its_numbers():
    """A recipe is reproducible: changing the tensor that a direction was made from must not change it."""
    source = vector(5).clone()
    direction = sw.Direction(source, SITE)
    key, rows = direction.key, torch.stack([vector(6), vector(7)])
    cavs = sw.CAV(rows, ["x", "y"], layer=1)
    fingerprint = cavs.fingerprint
    source.mul_(2)
    rows.mul_(2)
    assert direction.key == key
    assert torch.equal(direction.vector, vector(5))
    assert sw.CAV(cavs.vectors, ["x", "y"], layer=1).fingerprint == fingerprint


def test_fingerprints_are_the_same_in_every_process():
    script = (
        "import torch, steerwidgets as sw\n"
        "v = torch.arange(1.0, 9.0)\n"
        "c = sw.CAV(torch.stack([v, -v]), ['x', 'y'], layer=3)\n"
        "d = sw.Direction(v, sw.Site(3), 'd')\n"
        "r = c['x'].add(2) + d.ablate().at('prompt')\n"
        "print(c.fingerprint, d.key, r.fingerprint)"
    )
    outs = {
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True,
                       env={"PYTHONHASHSEED": seed}).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(outs) == 1
    assert all(outs.pop().split())


SETTERS = [lambda f: f.ablate(), lambda f: f.project(2), lambda f: f.clip(0, 1)]


@pytest.mark.parametrize("first", SETTERS)
@pytest.mark.parametrize("second", SETTERS)
def test_two_setters_of_one_feature_are_refused(first, second):
    for feature in (A, CAVS[0]):
        with pytest.raises(ValueError, match=f"both set '{feature.label}' at positions that overlap; keep one of them"):
            _ = first(feature) + second(feature)
        assert len(first(feature) + feature.add(1)) == 2
        assert len(first(A) + second(B)) == 2


def p(where, count=0, indices=()):
    return sw.Positions(where, indices, count)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (p("prompt"), p("generated"), False),
        (p("last_prompt"), p("generated"), False),
        (p("prompt"), p("last_prompt"), True),
        (p("all"), p("generated"), True),
        (p("first", 4), p("after", 4), False),
        (p("first", 5), p("after", 4), True),
        (p("first", 3), p("first", 9), True),
        (p("indices", indices=(1, 2)), p("indices", indices=(3,)), False),
        (p("indices", indices=(1, 2)), p("indices", indices=(2, 3)), True),
        (p("indices", indices=(0, 1)), p("after", 2), False),
        (p("indices", indices=(0, 2)), p("after", 2), True),
        (p("indices", indices=(7,)), p("first", 7), False),
        (p("indices", indices=(6,)), p("first", 7), True),
        (p("indices", indices=(6,)), p("prompt"), True),
    ],
)
def test_setters_at_positions_apart(one, other, overlap):
    for first, second in ((one, other), (other, one)):
        if overlap:
            with pytest.raises(ValueError, match="overlap"):
                _ = A.ablate().at(first) + A.project(2).at(second)
        else:
            assert len(A.ablate().at(first) + A.project(2).at(second)) == 2


def test_a_missing_dictionary_is_named():
    other = sw.CAV(torch.stack([vector(8)]), ["x"], layer=2)
    says = rf"feature 0 \('ocean'\) of the CAV dictionary {CAVS.fingerprint}.*not among the 1 .* given; pass it"
    with pytest.raises(ValueError, match=says):
        sw.Recipe.from_json(MIXED.to_json(), dictionaries=[other])


def damaged(change):
    value = json.loads(MIXED.to_json())
    change(value)
    return json.dumps(value)


def set_in(*path_and_value):
    *path, last, new = path_and_value

    def change(value):
        for key in path:
            value = value[key]
        value[last] = new

    return change


DAMAGES = {
    "not JSON": ("{oh", "not a recipe: the text is not whole JSON"),
    "empty": ("", "not a recipe"),
    "a list": ("[]", "format should be 'steerwidgets.recipe/1' or 'steerwidgets.recipe/2', but it is \\[\\]"),
    "a number": ("3", "format should be .* but it is 3"),
    "other format": (damaged(set_in("format", "steerwidgets.recipe/9")), "format should be .*recipe/9"),
    "no steers": ('{"format": "steerwidgets.recipe/1"}', "damaged.*steers"),
    "steers null": (damaged(set_in("steers", None)), "damaged"),
    "steer is text": (damaged(set_in("steers", 0, "add")), "damaged"),
    "no feature": (damaged(set_in("steers", 0, {"op": "add"})), "damaged.*feature"),
    "unknown op": (damaged(set_in("steers", 0, "op", "melt")), "does not take the op 'melt'; it takes add"),
    "unknown number": (damaged(set_in("steers", 0, "parameters", {"beta": 1})), "'add' takes alpha, but 'beta'"),
    "number is text": (damaged(set_in("steers", 0, "parameters", {"alpha": "4"})), "has to be a finite number.*'4'"),
    "number is huge": (MIXED.to_json().replace("4.0", "1e999"), "alpha has to be a finite number.*inf"),
    "no number": (damaged(set_in("steers", 0, "parameters", None)), "damaged"),
    "index outside": (damaged(set_in("steers", 0, "feature", "index", 7)), "features 0 to 1, but 7"),
    "index is text": (damaged(set_in("steers", 0, "feature", "index", "x")), "."),
    "positions text": (damaged(set_in("steers", 0, "positions", "all")), "damaged"),
    "positions unknown": (damaged(set_in("steers", 0, "positions", {"where": "here"})), "Positions are one of.*'here'"),
    "positions negative": (damaged(set_in("steers", 0, "positions", {"where": "indices", "indices": [-1]})), "-1"),
    "positions no list": (damaged(set_in("steers", 0, "positions", {"where": "indices", "indices": 3})), "damaged"),
    "site unknown": (damaged(set_in("steers", 1, "feature", "site", "stream", "soul")), "stream is one of .*'soul'"),
    "site layer": (damaged(set_in("steers", 1, "feature", "site", "layer", -1)), "layer=-1"),
    "vector base64": (damaged(set_in("steers", 1, "feature", "vector", "data", "AAA")), "damaged"),
    "vector shape": (damaged(set_in("steers", 1, "feature", "vector", "shape", [3])), "damaged"),
    "vector cut": (damaged(set_in("steers", 1, "feature", "vector", "data", "AACAPw==")), "damaged"),
    "vector dtype": (damaged(set_in("steers", 1, "feature", "vector", "dtype", "float16")), "float16"),
    "vector null": (damaged(set_in("steers", 1, "feature", "vector", None)), "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_text_is_refused_in_a_sentence(damage):
    text, says = DAMAGES[damage]
    with pytest.raises(ValueError, match=says) as caught:
        sw.Recipe.from_json(text, dictionaries=[CAVS])
    assert type(caught.value) is ValueError, "a subclass is a leak from below"


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: sw.Direction(torch.ones(2, 3), SITE, "x"), ValueError, r"'x' has shape \[2, 3\]"),
        (lambda: sw.Direction(torch.zeros(3), SITE, "x"), ValueError, "'x' is all zeros"),
        (lambda: sw.Direction(torch.tensor([1, float("nan")]), SITE, "x"), ValueError, "'x' holds NaN"),
        (lambda: A + sw.Direction(vector(1), sw.Site(2), "z"), ValueError, "only directions of one site"),
        (lambda: A.cosine(sw.Direction(vector(1, 8), SITE, "z")), ValueError, "32 numbers at .*'z' is 8"),
        (lambda: A.clip(2, 1), ValueError, "lo=2 lies above hi=1"),
        (lambda: A.add(float("nan")), ValueError, "alpha has to be a finite number, but nan"),
        (lambda: A.add(None), ValueError, "alpha has to be a finite number, but None"),
        (lambda: sw.Steer(A, "clamp", {}), ValueError, "'a' does not take the op 'clamp'; it takes add"),
        (lambda: A.add(1).at("everywhere"), ValueError, "Positions are one of all.*'everywhere'"),
        (lambda: A.add(1).at([-1]), ValueError, r"\[-1\].*last_prompt"),
        (lambda: A.add(1).at("first"), ValueError, "count"),
        (lambda: A.add(1).at("after"), ValueError, "count"),
        (lambda: sw.Site(-1), ValueError, "layer=-1"),
        (lambda: sw.Site(1, "resid"), ValueError, "stream is one of resid_pre.*'resid'"),
        (lambda: sw.Recipe.of("ocean"), TypeError, "feature.add"),
        (lambda: sw.Recipe.of([A]), TypeError, "feature.add"),
    ],
)  # fmt: skip
def test_refusals(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_an_op_without_a_method_of_its_own_is_made_of_its_entry():
    """What a feature says of such an op, with the methods hidden that the shipped ops have."""
    add, clip = (sw.Direction.__getattr__(A, op) for op in ("add", "clip"))
    assert add(2) == add(alpha=2) == A.add(2)
    assert clip(-1, hi=2) == A.clip(-1, 2)
    with pytest.raises(TypeError, match="'add' takes alpha, but 2 values were given"):
        add(2, 3)
    with pytest.raises(AttributeError, match="does not take the op 'pull'; it takes add"):
        _ = A.pull


def test_positions_that_say_nothing_survive_json():
    """A count beside "all" means nothing, so it must not make two equal steers differ after a round trip."""
    recipe = sw.Recipe.of(A.add(1).at("all", count=3))
    assert sw.Recipe.from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize("number", [np.float32(2), np.float64(2), np.int64(2), torch.tensor(2.0)])
def test_numbers_of_numpy_and_torch_are_numbers(number):
    assert A.add(number) == A.add(2)
    assert json.loads(sw.Recipe.of(A.add(number)).to_json())["steers"][0]["parameters"] == {"alpha": 2.0}


def test_arithmetic_of_directions():
    made = 2 * A - B + (-A)
    torch.testing.assert_close(made.vector, A.vector - B.vector)
    assert abs((A + B).cosine(A + B) - 1) < 1e-6
    assert CAVS["ocean"].direction.kind == "direction"
    h = torch.randn(2, 3, 32, dtype=torch.bfloat16)
    torch.testing.assert_close(A.activation(h), h.float() @ A.vector)


def test_indices_of_numpy_and_torch():
    for indices in (np.array([2, 1]), torch.tensor([1, 2]), range(1, 3), (np.int64(1), 2)):
        assert A.add(1).at(indices) == A.add(1).at([1, 2])
        json.loads(sw.Recipe.of(A.add(1).at(indices)).to_json())
    assert CAVS[np.int64(1)].index == 1
    with pytest.raises((TypeError, ValueError), match="osition"):
        A.add(1).at(3)
