"""Recipes of features of every kind survive their JSON; any JSON at all is a recipe or one clear sentence."""

import functools
import json

import torch
from hostile import base, mutations, oracle
from hypothesis import given
from hypothesis import strategies as st
from support import kinds
from support.drawn import examples, numbers, positions, tried

import steerwidgets as sw

LABELS = st.text(max_size=12)


@functools.cache
def dictionaries():
    return tuple(kinds.make(kind, base.lm()) for kind in kinds.KINDS)


@st.composite
def steers(draw, inline=False):
    """Of a feature of any kind, with numbers for its op; of those that can be written out where that is asked."""
    made = draw(st.sampled_from(dictionaries()))
    feature = made[draw(st.integers(0, made.size - 1))]
    if inline and feature.not_inline:
        feature = dictionaries()[0][draw(st.integers(0, 9))]
    op = draw(st.sampled_from(sorted(feature.ops)))
    spec = feature.ops[op]
    given_ = {
        each.name: draw(numbers(-6, 6)) for each in spec.parameters if not (each.optional and draw(st.booleans()))
    }
    if given_.get("lo", -9) > given_.get("hi", 9):
        given_ = {}
    steer = sw.Steer(feature, op, given_).at(draw(positions())[0])
    return steer.fade(draw(numbers(-1, 2)), draw(st.integers(1, 99))) if draw(st.booleans()) else steer


def recipe(made):
    """Without those that contradict each other."""
    found = sw.Recipe()
    for steer in made:
        try:
            found = found + steer
        except ValueError:
            continue
    return found


@given(st.lists(steers(), max_size=4).map(recipe), st.sampled_from([None, 1]))
@examples(80)
def test_by_dictionary(made, indent):
    text = made.to_json(indent=indent)
    again = sw.Recipe.from_json(text, dictionaries())
    assert (again, hash(again), repr(again), again.fingerprint) == (made, hash(made), repr(made), made.fingerprint)
    assert again.to_json(indent=indent) == text


@given(st.lists(steers(inline=True), min_size=1, max_size=3).map(recipe), st.integers(0, 10**6))
@examples(60)
def test_written_out(made, seed):
    """Without its dictionary a steer does the same, to the rounding of its numbers."""
    again = sw.Recipe.from_json(made.to_json(inline=True))
    assert again.to_json(inline=True) == sw.Recipe.from_json(again.to_json(inline=True)).to_json(inline=True)
    for mine, its in zip(made, again, strict=True):
        assert (mine.op, mine.positions, mine.fading, repr(mine)) == (its.op, its.positions, its.fading, repr(its))
        h = 3 * torch.randn(4, mine.feature.width, generator=torch.Generator().manual_seed(seed))
        if mine.spec.fixes_projection:
            torch.testing.assert_close(mine.feature.vector, its.feature.vector)
            continue
        changes = [each.feature.change(each.op, each.parameters, h) for each in (mine, its)]
        torch.testing.assert_close(*changes, atol=1e-4, rtol=1e-4)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def spoilt(draw):
    """A recipe's JSON with anything at any of its places."""
    made = recipe([draw(steers(inline=True)), draw(steers(inline=True))])
    value = json.loads(made.to_json(inline=draw(st.booleans())))
    for _ in range(draw(st.integers(1, 3))):
        where = draw(st.sampled_from(list(mutations.paths(value))))
        try:
            value = mutations.replaced(value, where, draw(JSON))
        except (TypeError, KeyError, IndexError, ValueError):
            continue
    return json.dumps(value)


@given(spoilt() | JSON.map(json.dumps) | st.text(max_size=60))
@examples(200)
def test_any_text_is_a_recipe_or_a_sentence(text):
    made, error = tried(lambda: sw.Recipe.from_json(text, dictionaries()))
    if error is None:
        assert sw.Recipe.from_json(made.to_json(), dictionaries()) == made
    else:
        words = ("recipe", "steer", "position", "op", "feature", "site", "block", "fade")
        assert oracle.judged(error, words)[0] == "clear", repr(error)
