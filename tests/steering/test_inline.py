"""Recipes that hold all that their ops need: read without any dictionary, they do exactly the same."""

import json

import pytest
import sae_lens
import torch
from support import sae as saes
from support.both import PROMPT
from support.mfa import make_state
from support.models import D_MODEL

import steerwidgets as sw

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SAES = {
    "relu": {"activation": "relu"},
    "relu, b_dec not taken off": {"activation": "relu", "apply_b_dec_to_input": False},
    "jumprelu": {"activation": "jumprelu", "threshold": 0.2},
    "layer_norm": {"activation": "relu", "normalize_activations": "layer_norm"},
    "constant_norm_rescale": {
        "activation": "jumprelu",
        "threshold": 0.1,
        "normalize_activations": "constant_norm_rescale",
    },
    "by decoder norm": {"activation": "relu", "rescale_acts_by_decoder_norm": True},
    "centred": {"activation": "relu", "center_input": True},
}


def again(recipe, **settings):
    return sw.Recipe.from_json(sw.Recipe.of(recipe).to_json(inline=True, **settings))


def same_change(steer, other, h):
    mine, theirs = (each.feature.change(each.op, each.parameters, h) for each in (steer, other))
    assert torch.equal(mine, theirs)
    assert mine.abs().max() > 1e-3


@pytest.mark.parametrize("name", SAES)
def test_an_op_of_an_sae(name):
    sae, h = saes.make(**SAES[name]), saes.residuals()
    index = int((sae.encode(h) > 0).flatten(0, -2).sum(0).argmax())
    for steer in (sae[index].clamp(7.0), sae[index].scale(3.0), sae[index].ablate()):
        [found] = again(steer)
        same_change(steer, found, h)
        assert found == steer
        assert torch.equal(found.feature.activation(h), sae[index].activation(h))
        assert torch.equal(found.feature.vector, sae[index].vector)
        assert (found.feature.label, found.feature.site, found.feature.kind) == (f"SAE {index}", sae.site, "SAE")


def test_weights_in_bfloat16():
    tensors = {name: tensor.bfloat16() for name, tensor in saes.tensors().items()}
    sae = sw.SAE(**tensors, activation="relu", layer=1)
    same_change(sae[3].clamp(5.0), again(sae[3].clamp(5.0)).steers[0], saes.residuals())


@pytest.mark.parametrize("rotation", [None, "varimax"])
@pytest.mark.parametrize("centred", [False, True])
def test_a_component_of_an_mfa(rotation, centred):
    mfa = sw.MFA(*make_state(5, D_MODEL, 3, rotation=rotation), layer=2, centred=centred, labels=list("abcde"))
    steer = mfa["d"].pull(0.4, z={0: 3, 2: -5}).at("generated")
    [found] = again(steer)
    same_change(steer, found, saes.residuals())
    assert found == steer
    assert list(found.feature.ops) == list(mfa["d"].ops)
    same_change(mfa["d"].add(2.0), sw.Steer(found.feature, "add", {"alpha": 2.0}), saes.residuals())
    read = found.feature.activation(saes.residuals().bfloat16())
    assert (read.shape, read.dtype) == (saes.residuals().shape[:-1], torch.float32)
    assert read.isnan().all()


def test_reft_and_neurons(llama):
    reft = sw.ReFT(torch.randn(4, D_MODEL, generator=torch.Generator().manual_seed(0)), layer=1, labels=list("abcd"))
    mlp = sw.Neurons(llama, layer=1)
    h, inner = saes.residuals(), torch.randn(2, 5, mlp.d_model, generator=torch.Generator().manual_seed(1))
    [clamp] = again(reft["b"].clamp(3.0))
    same_change(reft["b"].clamp(3.0), clamp, h)
    [setting] = again(mlp[9].set(1.5))
    assert setting == mlp[9].set(1.5)
    target = setting.feature.target(setting.op, setting.parameters, inner[..., 9])
    assert torch.equal(target, torch.full((2, 5), 1.5))
    assert torch.equal(setting.feature.activation(inner), inner[..., 9])


def everything(lm):
    sae = saes.make("jumprelu", threshold=0.1)
    mfa = sw.MFA(*make_state(5, D_MODEL, 3), layer=2)
    reft = sw.ReFT(torch.randn(4, D_MODEL, generator=torch.Generator().manual_seed(0)), layer=1)
    recipe = sae[7].clamp(6) + sae[9].ablate() + sae[11].add(2) + mfa[1].pull(0.3, z=[1, 2, 3]) + reft[2].clamp(2)
    return recipe + sw.Neurons(lm, layer=0)[4].scale(-1.0) + sw.Direction(torch.ones(D_MODEL), sw.Site(0)).ablate()


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_all_kinds_give_the_same_texts(lm):
    recipe = everything(lm)
    read = again(recipe)
    settings = {"temperature": 1.0, "seed": 3, "max_new_tokens": 8}
    mine, theirs = (lm.compare(PROMPT, each, **settings) for each in (recipe, read))
    assert mine.divergence is not None
    assert mine.steered == theirs.steered
    assert [each.ratio for each in lm.measure(PROMPT, recipe)] == [each.ratio for each in lm.measure(PROMPT, read)]


def test_it_can_be_written_again(llama):
    recipe = everything(llama)
    text = recipe.to_json(inline=True)
    assert sw.Recipe.from_json(text).to_json(inline=True) == text


def test_a_dictionary_that_is_given_is_taken():
    sae = saes.make("relu", labels=[f"number {i}" for i in range(saes.SIZE)])
    text = sw.Recipe.of(sae[3].clamp(2)).to_json(inline=True)
    assert sw.Recipe.from_json(text, dictionaries=[sae]).steers[0].feature.codec is sae._codec
    assert "inline" not in sw.Recipe.of(sae[3].clamp(2)).to_json()


def test_it_is_small():
    """Two vectors for an op of an SAE (three where b_dec is taken off): at d_model 2304 25 KB, however wide it is."""
    text = sw.Recipe.of(saes.make("relu", apply_b_dec_to_input=False)[3].clamp(2)).to_json(inline=True)
    assert len(text) < 2 * D_MODEL * 4 * 4 / 3 + 1000


def gated():
    cls, config = sae_lens.registry.get_sae_class("gated")
    cfg = config(d_in=D_MODEL, d_sae=8)
    cfg.metadata.hook_name = "blocks.1.hook_resid_post"
    return sw.SAE.from_sae_lens(cls(cfg))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: saes.make("topk", k=3)[5].clamp(2), "TopK compares a feature with all others of its SAE"),
        (lambda: gated()[5].clamp(2), "sae_lens computes this architecture, from the whole SAE"),
        (lambda: sw.MFA(*make_state(3, 8, 2), layer=0).mixture.pull(0.5), "it acts by all components of its mixture"),
    ],
    ids=["topk", "gated", "mixture"],
)
def test_what_needs_the_whole_dictionary(make, says):
    steer = make()
    with pytest.raises(ValueError, match=rf"can't be written out in a recipe: {says}.* Leave inline out and pass"):
        sw.Recipe.of(steer).to_json(inline=True)
    sw.Recipe.of(steer).to_json()


def test_a_direction_of_such_a_dictionary_is_written_out():
    sae = saes.make("topk", k=3)
    [found] = again(sae[5].add(2.0))
    assert torch.equal(found.feature.vector, sae[5].vector)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda parts: parts.update(form="pickle"), "form should be one of .*, but 'pickle' was given"),
        (lambda parts: parts.pop("encoder"), "damaged: .*inline.encoder should be given, but is missing"),
        (lambda parts: parts["encoder"].update(shape=[31]), "numbers of encoder .* are cut"),
        (
            lambda parts: parts.update(decoder=parts["encoder"] | {"shape": [4, 8]}),
            r"decoder\.shape should be 1 whole number, .* but \[4, 8\]",
        ),
        (
            lambda parts: parts["settings"].update(activation="topk"),
            "activation should be one of 'relu', 'jumprelu', but 'topk'",
        ),
        (lambda parts: parts.update(settings=3), "damaged: .*settings should be a table"),
    ],
)
def test_damage(damage, says):
    value = json.loads(sw.Recipe.of(saes.make("relu")[3].clamp(2)).to_json(inline=True))
    damage(value["steers"][0]["feature"]["inline"])
    with pytest.raises(ValueError, match=says):
        sw.Recipe.from_json(json.dumps(value))
