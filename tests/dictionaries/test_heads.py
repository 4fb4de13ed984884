"""Attention heads as a dictionary: what they are called, what they refuse, what a recipe keeps of them.

That they read and steer as plain hooks do is in `parity/test_conditions.py`.
"""

import json

import pytest
import torch
from support.both import PROMPT, vector

import steerwidgets as sw

TEXTS = ["The user asks the assistant about the ocean.", "Name a city by the sea, please."]


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", "qwen2", "neox_parallel"])
def test_silencing_a_head_is_silencing_its_rows_of_the_last_matrix(family, fresh):
    """The head's numbers go through its own rows of the output matrix and nowhere else."""
    lm = fresh(family)
    ids = torch.tensor([PROMPT])
    with torch.no_grad(), lm.steer(sw.Heads(lm, layer=2)[3].ablate()):
        got = lm.model(ids).logits
    last = lm.architecture.hookpoint(sw.Site(2, "attn_z")).module
    with torch.no_grad():
        (last.weight if family == "gpt2" else last.weight.T)[24:32] = 0
        torch.testing.assert_close(got, lm.model(ids).logits, atol=3e-4, rtol=1e-4)


def test_finding_naming_and_searching(llama):
    heads = sw.Heads(llama, 1, labels=["", "", "induction", ""])
    assert heads["induction"].index == 2
    assert heads[3].label == "Head 1.3"
    assert repr(heads) == "<Head of 4 features at block 1 attn_z>"
    fires = llama.search(list(PROMPT), heads, k=2)
    values = llama.read(list(PROMPT), heads)
    assert [f.index for f in fires.features] == values.values[values.mask].max(0).values.topk(2).indices.tolist()
    assert heads[1].scale(1).is_identity
    assert list(heads[1].ops) == ["ablate", "scale"]


def test_a_recipe_comes_back_and_means_are_told_apart(llama):
    heads, other = sw.Heads(llama, 1, mean_over=TEXTS), sw.Heads(llama, 1, mean_over=TEXTS[:1])
    assert len({heads.fingerprint, other.fingerprint, sw.Heads(llama, 1).fingerprint}) == 3
    assert heads.fingerprint == sw.Heads(llama, 1, mean_over=TEXTS).fingerprint
    recipe = heads[3].mean() + heads[1].scale(2).at("generated")
    assert sw.Recipe.from_json(recipe.to_json(), [heads]) == recipe
    again = sw.Recipe.from_json(recipe.to_json(inline=True))
    assert again == recipe
    assert torch.equal(again.steers[0].feature.mean_output, heads[3].mean_output)
    out = [llama.compare(PROMPT, each, temperature=0, max_new_tokens=5).steered.token_ids for each in (recipe, again)]
    assert out[0] == out[1]
    with pytest.raises(ValueError, match=r"both set 'Head 1.3' at positions that overlap"):
        heads[3].mean() + heads[3].ablate()


def test_readouts_say_what_was_asked_and_reached(llama):
    heads = sw.Heads(llama, 1, mean_over=TEXTS)
    silent, mean, twice = llama.measure(PROMPT, heads[0].ablate() + heads[1].mean() + heads[2].scale(-2))
    assert (silent.asked, silent.achieved) == (0, pytest.approx(0, abs=1e-5))
    assert mean.asked == pytest.approx(float(heads[1].mean_output.norm()), rel=1e-4)
    assert mean.achieved == pytest.approx(mean.asked, rel=1e-4)
    assert twice.asked == pytest.approx(twice.achieved, rel=1e-4)


def test_what_a_direction_does_and_a_head_does_not(llama):
    head = sw.Heads(llama, 1)[2]
    for ask in (lambda: llama.top_logits(head), lambda: llama.promoting(sw.Heads(llama, 1), " the")):
        with pytest.raises(
            ValueError, match=r"has no direction of its own that it writes.* lm.effect\(feature\) tells"
        ):
            ask()
    with pytest.raises(ValueError, match=r"Head feature 'Head 1.2' does not take the op 'add'; it takes ablate, scale"):
        head.add(1)
    with pytest.raises(ValueError, match="does not take the op 'add'"):
        llama.output_scores([head])
    assert len(llama.effect(head, "The sea", k=3).promoted) == 3


def damaged(llama, **changes):
    text = json.loads(sw.Recipe.of(sw.Heads(llama, 1, mean_over=TEXTS)[3].mean()).to_json(inline=True))
    feature = text["steers"][0]["feature"]
    feature["index"] = changes.pop("index", 3)
    feature["inline"] |= changes
    return json.dumps(text)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"index": 4}, "no head of index 4 among 4 of 32 numbers"),
        ({"index": -1}, "no head of index -1"),
        ({"heads": 5}, "among 5 of 32 numbers"),
        ({"heads": 0}, "heads should be a whole number from 1"),
        ({"width": 1e9}, "width should be a whole number"),
        ({"heads": 8}, r"the mean output of 'Head 1.3' has 8 numbers, and the head 4"),
        ({"mean": 3}, "damaged"),
    ],
)
def test_a_damaged_recipe(llama, change, says):
    with pytest.raises(ValueError, match=says):
        sw.Recipe.from_json(damaged(llama, **change))


def test_what_can_be_wrong(llama, fresh):
    with pytest.raises(ValueError, match="4 blocks, counted from 0 to 3"):
        sw.Heads(llama, layer=4)
    with pytest.raises(ValueError, match="2 labels were given for the 4 features"):
        sw.Heads(llama, layer=1, labels=["a", "b"])
    with pytest.raises(IndexError, match="features 0 to 3, but 4"):
        sw.Heads(llama, layer=1)[4]
    with pytest.raises(
        ValueError, match=r"mean output of 'Head 1.2' is not known; give texts .* mean_over=texts\)\[2\]"
    ):
        sw.Heads(llama, layer=1)[2].mean()
    with pytest.raises(ValueError, match="The 1 texts of mean_over have no token that counts"):
        sw.Heads(llama, layer=1, mean_over=[[7]])
    lm = fresh()
    lm.model.config.num_attention_heads = 5
    with pytest.raises(ValueError, match=r"heads of block 1 of .* can't be told apart: .* 32 numbers, .*heads=5"):
        sw.Heads(lm, layer=1)
    other = fresh()
    attention = other.model.model.layers[1].self_attn
    attention.last, attention.o_proj = attention.o_proj, None
    del attention.o_proj
    with pytest.raises(ValueError, match=r"block 1 attn_z was asked for, but .* has no such stream; it has"):
        sw.Heads(other, layer=1)
    narrow = sw.Heads(fresh(head_dim=10), layer=1)
    with pytest.raises(ValueError, match="reads 40 numbers, but the activations have 32"):
        llama.read(list(PROMPT), narrow)
    steer = sw.Direction(vector(1), sw.Site(1)).add(1).when(narrow[0] > 1)
    with pytest.raises(ValueError, match=r"'Head 1.0' has 40 numbers, but block 1 attn_z of .* has 32"):
        llama.compare(PROMPT, steer, max_new_tokens=1)
