"""A model through nnsight gives what local hooks give: logits, streams, texts and lenses, for every op and kind."""

import pytest
import torch
from support import kinds, naive, sae
from support.both import PROMPT, Pair, at, forward, recipe, vector
from support.mfa import make_state
from support.models import D_MODEL

import steerwidgets as sw

CLOSE = {"atol": 1e-4, "rtol": 1e-4}
FOUR = pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "neox_parallel"])
GREEDY = {"temperature": 0, "max_new_tokens": 6}


def directions():
    """Every op of directions, positions and several sites, each with its reference in plain loops."""
    a, skewed = Pair(vector(1)), Pair(vector(1) + 0.8 * vector(3))
    attention, last = Pair(vector(4), 1, "attn_out"), Pair(vector(5), layer=3)
    return {
        "add": recipe(a.make("add", 1.5)),
        "add_relative": recipe(a.make("add_relative", 0.6)),
        "solved together": recipe(a.make("ablate"), skewed.make("project", 2.0), Pair(vector(2)).make("clip", -0.5, 0.5)),
        "several sites": recipe(attention.make("add", 1.0), a.make("ablate"), last.make("add_relative", 0.5)),
        "prompt": recipe(at(a.make("add", 2.0), "prompt")),
        "generated": recipe(at(a.make("add", 2.0), "generated", special=False)),
    }


@FOUR
def test_ops_of_directions_as_the_reference_has_them(lm, remote_of, family):
    there = remote_of(family)
    for name, (steers, changes) in directions().items():
        expected = naive.logits(lm.model, PROMPT, changes, prompt_length=len(PROMPT))
        torch.testing.assert_close(forward(there, steers, PROMPT, len(PROMPT)), expected, **CLOSE, msg=name)
        out = there.compare(PROMPT, steers, **GREEDY)
        assert out.steered.token_ids == naive.greedy(lm.model, PROMPT, changes, count=6, end=lm.end_ids), name
    assert out.baseline.token_ids == naive.greedy(lm.model, PROMPT, count=6, end=lm.end_ids)


def of_kinds(lm):
    """Steers that need more than a direction, with conditions, fades and controls."""
    latents, mfa, cavs = sae.make(layer=1), sw.MFA(*make_state(5, D_MODEL, 2), layer=1), kinds.make("CAV")
    topk, normed = sae.make(layer=1, activation="topk", k=2), sae.make(layer=1, normalize_activations="layer_norm")
    heads, neurons = sw.Heads(lm, layer=1, mean_over=["The user asks."]), sw.Neurons(lm, layer=1)
    return {
        "latents": latents[1].clamp(9) + latents[2].scale(3) + latents[3].ablate(),
        "topk": topk[1].clamp(9),
        "normed": normed[1].clamp(9),
        "component": mfa[1].pull(0.5, z={0: 3}),
        "mixture": mfa.mixture.pull(0.6, z={0: 2}),
        "mixture of some": mfa[1, 3].pull(0.3, z={1: {0: 4.0}}),
        "reft": kinds.make("ReFT")[2].clamp(6),
        "neurons": neurons[5].set(4) + neurons[7].scale(3),
        "heads": heads[1].ablate() + heads[2].scale(3) + heads[3].mean(),
        "condition": cavs[0].add(3).when((latents[1] > 0.1) | (cavs[1] < 0)),
        "responsibility": cavs[0].add(3).when(mfa[1] > 0.2),
        "fade": cavs[0].add(3).fade(to=0.0, over=4),
        "faded ablation": cavs[0].ablate().fade(to=0.2, over=3),
        "control": latents[1].clamp(9).random_direction(3),
        "roles": cavs[0].add(3).at(sw.role("user")),
    }


@FOUR
def test_every_kind_as_local_hooks_have_it(lm, remote_of, family):
    there, prompt = remote_of(family), [{"role": "user", "content": "Name a city by the sea."}]
    for name, steers in of_kinds(lm).items():
        here, elsewhere = (each.logit_difference(prompt, steers) for each in (lm, there))
        assert here.raw.abs().max() > 1e-3, f"{name} changes nothing"
        torch.testing.assert_close(elsewhere.raw, here.raw, atol=2e-4, rtol=1e-4, msg=name)
        rows = [each.sweep(prompt, [None, steers], **GREEDY) for each in (lm, there)]
        assert [row.token_ids for row in rows[1]] == [row.token_ids for row in rows[0]], name
