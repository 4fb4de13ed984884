"""The control of a steer: the same change along a random direction, as long at every position."""

import json

import pytest
import torch
from support import kinds, sae
from support.both import PROMPT
from support.models import D_MODEL

import steerwidgets as sw
from steerwidgets.steering.exports.gguf import export_control_vector
from steerwidgets.steering.hooks import SiteChange
from steerwidgets.transformer.layout import Layout

STEERS = {
    "SAE add": lambda lm: sae.make()[3].add(-4.0),
    "SAE add_relative": lambda lm: sae.make()[3].add_relative(0.3),
    "SAE clamp": lambda lm: sae.make()[3].clamp(2.0),
    "SAE scale": lambda lm: sae.make()[3].scale(3.0),
    "SAE ablate": lambda lm: sae.make()[3].ablate(),
    "CAV ablate": lambda lm: kinds.make("CAV")[1].ablate(),
    "CAV project": lambda lm: kinds.make("CAV")[1].project(-1.5),
    "CAV clip": lambda lm: kinds.make("CAV")[1].clip(hi=-0.2),
    "ReFT clamp": lambda lm: kinds.make("ReFT")[1].clamp(3.0),
    "MFA pull": lambda lm: kinds.make("MFA")[1].pull(0.6, z={0: 2.0}),
    "Head scale": lambda lm: kinds.make("Head", lm)[2].scale(-3.0),
    "Neuron set": lambda lm: kinds.make("Neuron", lm)[5].set(2.0),
}
EVERY = pytest.mark.parametrize("name", STEERS)


def residual(steer, lm):
    width = len(steer.feature.vector)
    h = torch.randn(2, 6, width, generator=torch.Generator().manual_seed(4))
    absolute = torch.tensor([[0, 1, 2, 3, 4, 5], [-1, -1, 0, 1, 2, 3]])
    return h, Layout(absolute, torch.zeros(2, 6, dtype=torch.bool), torch.tensor([6, 4]))


@EVERY
def test_as_long_as_the_change_and_forward_where_it_was(name, llama):
    steer = STEERS[name](llama)
    control = steer.random_direction(seed=7)
    h, layout = residual(steer, llama)
    own, placebo = SiteChange([steer])(h, layout), SiteChange([control])(h, layout)
    torch.testing.assert_close(placebo.norm(dim=-1), own.norm(dim=-1), atol=1e-5, rtol=1e-4)
    rows = placebo[placebo.norm(dim=-1) > 1e-6]
    assert len(rows), "it does something"
    units = rows / rows.norm(dim=-1, keepdim=True)
    # One line for all positions; the sign is the change's own along the feature's vector.
    torch.testing.assert_close((units @ units[0]).abs(), torch.ones(len(units)), atol=1e-5, rtol=1e-5)
    forward = torch.where(own @ steer.feature.vector < 0, -1.0, 1.0)[placebo.norm(dim=-1) > 1e-6]
    along = torch.sign(rows @ units[0])
    assert torch.equal(along * along[0], forward * forward[0])
    cosine = torch.cosine_similarity(units[0], steer.feature.vector, dim=0)
    assert abs(float(cosine)) < 0.75, "it is another direction"


@EVERY
def test_texts_agree_with_and_without_cache_and_padding(name, llama):
    """Positions are absolute and the direction is fixed, so however a text is cut, the same tokens come out."""
    control = STEERS[name](llama).random_direction(seed=1)
    model = llama.model
    rows = [llama.encode(PROMPT, chat=False).token_ids, llama.encode(PROMPT[3:], chat=False).token_ids]
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    settings = {"do_sample": False, "max_new_tokens": 5, "min_new_tokens": 5, "pad_token_id": 0}

    def said(ids, mask, *, cached, length):
        with llama.steer(control, prompt_length=length):
            out = model.generate(ids, attention_mask=mask, use_cache=cached, **settings)
        return out[:, ids.shape[1] :].tolist()

    together = [said(ids, mask, cached=cached, length=list(map(len, rows))) for cached in (True, False)]
    alone = [
        said(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.long), cached=True, length=len(row))[0]
        for row in rows
    ]
    assert together[0] == together[1] == alone


def test_against_a_hook_by_hand(llama):
    """A clamp of an SAE's feature, worked out by hand and put along the control's direction."""
    feature = sae.make()[3]
    control = feature.clamp(5.0).random_direction(seed=2)
    unit = control.control.unit(feature.vector)
    tensors = sae.tensors()

    def by_hand(_module, _args, output):
        h = output[0] if isinstance(output, tuple) else output
        fires = (h @ tensors["W_enc"][:, 3] + tensors["b_enc"][3] - tensors["b_dec"] @ tensors["W_enc"][:, 3]).relu()
        delta = (5.0 - fires)[..., None] * tensors["W_dec"][3]
        sign = torch.where((delta @ tensors["W_dec"][3]) < 0, -1.0, 1.0)
        changed = h + (sign * delta.norm(dim=-1))[..., None] * unit
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    ids = torch.tensor([llama.encode(PROMPT, chat=False).token_ids])
    with torch.no_grad():
        with llama.steer(control):
            ours = llama.model(ids).logits
        handle = llama.model.model.layers[1].register_forward_hook(by_hand)
        theirs = llama.model(ids).logits
        handle.remove()
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_several_steers_of_a_recipe_keep_their_own(llama):
    """Ablations of one site are solved together; one that became a control is out of that, and adds its own."""
    cavs = kinds.make("CAV")
    h, layout = residual(cavs[0].ablate(), llama)
    control = cavs[1].ablate().random_direction(3)
    both = SiteChange([cavs[0].ablate(), control])(h, layout)
    apart = SiteChange([cavs[0].ablate()])(h, layout) + SiteChange([control])(h, layout)
    torch.testing.assert_close(both, apart)


def test_seeds_and_features_have_directions_of_their_own():
    cavs = kinds.make("CAV")
    drawn = [cavs[i].add(1).random_direction(seed).control.unit(cavs[i].vector) for i in (0, 1) for seed in (0, 1)]
    drawn = torch.stack(drawn)
    assert ((drawn @ drawn.T) - torch.eye(4)).abs().max() < 0.75
    again = cavs[0].add(-3).random_direction(0).control.unit(cavs[0].vector)
    torch.testing.assert_close(again, drawn[0])


def test_recipes_keep_it(llama):
    dictionary = sae.make()
    recipe = dictionary[1].clamp(3).random_direction(5) + dictionary[1].clamp(4)
    again = sw.Recipe.from_json(recipe.to_json(), [dictionary])
    assert again == recipe
    assert again.fingerprint == recipe.fingerprint
    assert recipe.fingerprint != (dictionary[1].clamp(3) + dictionary[2].clamp(4)).fingerprint
    assert [steer.get("control") for steer in json.loads(recipe.to_json())["steers"]] == [{"seed": 5}, None]
    assert dictionary[1].clamp(3).random_direction(5).own_direction() == dictionary[1].clamp(3)
    assert dictionary[1].clamp(3).random_direction(5) != dictionary[1].clamp(3).random_direction(6)
    assert "random_direction(5)" in repr(recipe)
    moved = dictionary[1].clamp(3).random_direction(5).at("generated")
    assert moved.control.seed == 5


@EVERY
def test_a_recipe_without_its_dictionary_does_the_same(name, llama):
    steer = STEERS[name](llama)
    control = steer.random_direction(9)
    [alone] = sw.Recipe.from_json(sw.Recipe.of(control).to_json(inline=True))
    h, layout = residual(steer, llama)
    torch.testing.assert_close(SiteChange([alone])(h, layout), SiteChange([control])(h, layout))


def test_fingerprints_of_other_recipes_stay_what_they_were():
    """Recipes that are kept somewhere are found again."""
    steer = sw.Direction(torch.ones(D_MODEL), sw.Site(1), "ones").add(2)
    assert json.loads(sw.Recipe.of(steer).to_json())["steers"][0].keys() == {"feature", "op", "parameters", "positions"}


def test_strength_is_that_of_the_steer_itself(llama):
    feature = sae.make()[3]
    own = llama.measure(PROMPT, feature.clamp(6), chat=False)[0]
    control = llama.measure(PROMPT, feature.clamp(6).random_direction(1), chat=False)[0]
    assert control.ratio == pytest.approx(own.ratio, rel=1e-4)
    assert own.asked is not None
    assert (control.asked, control.achieved) == (None, None)
    assert "random direction 1" in control.note


def test_pyvene_does_the_same(llama):
    control = sw.Recipe.of(sae.make()[3].clamp(5).random_direction(4))
    ids = torch.tensor([llama.encode(PROMPT, chat=False).token_ids])
    with torch.no_grad(), llama.steer(control):
        ours = llama.model(ids).logits
    _, theirs = control.to_pyvene(llama)({"input_ids": ids})
    torch.testing.assert_close(theirs.logits, ours, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("seed", [1.5, "a", None, True])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(TypeError, match="seed of a random direction is a whole number"):
        sae.make()[0].add(1).random_direction(seed)


def test_a_damaged_control_is_told():
    text = sw.Recipe.of(sw.Direction(torch.ones(4), sw.Site(0)).add(1)).to_json()
    damaged = text.replace('"op": "add"', '"control": {"seed": "x"}, "op": "add"')
    with pytest.raises(ValueError, match="a whole number"):
        sw.Recipe.from_json(damaged)


def test_a_random_direction_is_a_control_vector_too(tmp_path):
    control = sw.Direction(torch.ones(D_MODEL), sw.Site(1)).add(2).random_direction(0)
    export_control_vector(tmp_path / "v.gguf", control)
    found = sw.CAV.load(tmp_path / "v.gguf")[0].vector
    assert float(found.norm()) == pytest.approx(2 * D_MODEL**0.5, rel=1e-5)
    assert abs(float(found @ torch.ones(D_MODEL))) < 0.9 * float(found.norm()) * D_MODEL**0.5
