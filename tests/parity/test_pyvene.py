"""Recipes as IntervenableModels of pyvene: the same logits and greedy tokens as plain hooks and as `lm.steer`."""

import subprocess
import sys
import threading

import pytest
import torch
from support import naive, sae
from support.both import PROMPT, Pair, at, recipe, vector
from support.hooks import UserHooks, all_hooks, in_thread
from support.mfa import make_state
from support.models import D_MODEL, FAMILIES, blocks_of

import steerwidgets as sw
from steerwidgets.transformer.architecture import CompiledModelError

CLOSE = {"atol": 3e-4, "rtol": 1e-4}
THREE = ("llama", "gemma2", "gpt2")
SPECIAL_IDS = range(5)
ROWS = [PROMPT, (0, 5, 30), (90, 91, 3, 92, 93, 94), (17,)]
GREEDY = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 2}


def of_directions():
    """Ops of plain directions, each with its naive reference."""
    a, b, later = Pair(vector(1)), Pair(vector(1) + 0.8 * vector(3)), Pair(vector(4), layer=2)
    return {
        "add": recipe(a.make("add", 1.5)),
        "add_relative": recipe(a.make("add_relative", 0.6)),
        "ablate": recipe(a.make("ablate")),
        "project": recipe(a.make("project", 3.0)),
        "clip": recipe(a.make("clip", -0.5, 0.5)),
        "solved together": recipe(a.make("ablate"), b.make("project", 2.0), b.make("add", 0.7)),
        "several sites": recipe(a.make("add", 1.0), later.make("ablate"), Pair(vector(5), 3).make("add_relative", 0.5)),
    }


def of_dictionaries(lm):
    """Ops that need more than the direction."""
    rows = vector(7, 5 * D_MODEL).reshape(5, D_MODEL)
    reft = sw.ReFT(rows / rows.norm(dim=-1, keepdim=True), layer=1)
    dense, top = sae.make(), sae.make("topk", seed=3, layer=2, k=5)
    neurons, mfa = sw.Neurons(lm, layer=1), sw.MFA(*make_state(4, D_MODEL, 3), layer=2)
    heads, middle = sw.Heads(lm, layer=1), sw.Direction(vector(8, norm=1.0), sw.Site(1, "resid_mid"), "middle")
    return {
        "ReFT clamp": reft[2].clamp(9),
        "SAE clamp": dense[3].clamp(8) + dense[5].clamp(4),
        "SAE scale": dense[3].scale(6) + dense[11].ablate(),
        "SAE top-k clamp": top[4].clamp(9),
        "neuron set": neurons[5].set(9) + neurons[6].scale(-8),
        "MFA pull": mfa[1].pull(0.5, z={0: 6, 2: -5}),
        "MFA mixture": mfa.mixture.pull(0.8, [2.0, -1.0, 3.0]),
        "head": heads[1].scale(-4) + heads[2].ablate(),
        "conditions of its own site": reft[1].add(5).when((reft[2] > 0) | (dense[3] < 0.1)),
        "conditions of other sites": reft[1].add(5).when(neurons[2] > 0) + mfa[0].pull(0.4).when(middle < 0),
        "fading": reft[1].add(9).fade(to=0.0, over=3),
        "all together": dense[3].clamp(8) + reft[1].add(5) + mfa[0].pull(0.4) + neurons[2].add(4).at("generated"),
    }


def padded(rows):
    width = max(map(len, rows))
    ids = torch.tensor([[2] * (width - len(row)) + list(row) for row in rows])
    return {
        "input_ids": ids,
        "attention_mask": torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows]),
    }


def greedy(lm, steers, rows=(PROMPT,), *, use_cache=True):
    """What pyvene generates, row by row."""
    inputs = padded(rows)
    _, texts = sw.Recipe.of(steers).to_pyvene(lm).generate(inputs, use_cache=use_cache, **GREEDY)
    return [tuple(text[inputs["input_ids"].shape[1] :].tolist()) for text in texts]


def by_our_hooks(lm, steers, rows=(PROMPT,), *, use_cache=True):
    inputs = padded(rows)
    with lm.steer(steers, prompt_length=inputs["attention_mask"].sum(-1).tolist()):
        texts = lm.model.generate(**inputs, use_cache=use_cache, **GREEDY)
    return [tuple(text[inputs["input_ids"].shape[1] :].tolist()) for text in texts]


@pytest.fixture(params=THREE)
def tiny(request, fresh):
    return fresh(request.param)


@pytest.mark.parametrize("name", of_directions())
def test_ops_of_directions(tiny, name):
    lm, (steers, changes) = tiny, of_directions()[name]
    expected = naive.logits(lm.model, PROMPT, changes)
    assert (expected - naive.logits(lm.model, PROMPT)).abs().max() > 0.05, "the reference changes nothing"
    with torch.no_grad():
        _, out = steers.to_pyvene(lm)({"input_ids": torch.tensor([PROMPT])})
    torch.testing.assert_close(out.logits[0], expected, **CLOSE)
    for use_cache in (True, False):
        assert greedy(lm, steers, use_cache=use_cache) == [naive.greedy(lm.model, PROMPT, changes, count=6)]


@pytest.mark.parametrize("use_cache", [True, False])
def test_ops_of_dictionaries(tiny, use_cache):
    lm, plain = tiny, by_our_hooks(tiny, None, ROWS)
    for name, steers in of_dictionaries(lm).items():
        expected = by_our_hooks(lm, steers, ROWS, use_cache=use_cache)
        assert expected != plain, name
        assert greedy(lm, steers, ROWS, use_cache=use_cache) == expected, name


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("all", None),
        ("prompt", None),
        ("generated", None),
        ("last_prompt", None),
        ("indices", (0, 3, 7, 10)),
        ("first", 4),
        ("after", 5),
    ],
)
@pytest.mark.parametrize("use_cache", [True, False])
def test_positions_of_a_left_padded_batch(tiny, where, value, use_cache):
    """Absolute positions, each row's own prompt, special tokens left out: every row as its own run without padding."""
    lm = tiny
    steers, changes = recipe(
        at(Pair(vector(1)).make("add", 1.2), where, value, special=False),
        at(Pair(vector(2), layer=2).make("project", 2.5), where, value, special=False),
    )
    expected = [naive.greedy(lm.model, row, changes, count=6, special_ids=SPECIAL_IDS) for row in ROWS]
    assert greedy(lm, steers, ROWS, use_cache=use_cache) == expected


def test_beams_of_a_left_padded_batch(fresh):
    """Each beam has its own row's prompt."""
    lm, inputs, beams = fresh(), padded(ROWS), {"num_beams": 3, "num_return_sequences": 2}
    steers = recipe(at(Pair(vector(1)).make("add", 1.2), "generated"))[0]
    _, got = steers.to_pyvene(lm).generate(inputs, **GREEDY | beams)
    with lm.steer(steers, prompt_length=inputs["attention_mask"].sum(-1).repeat_interleave(3).tolist()):
        expected = lm.model.generate(**inputs, **GREEDY | beams)
    assert torch.equal(got, expected)
    assert not torch.equal(got, lm.model.generate(**inputs, **GREEDY | beams))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("stream", ["resid_pre", "resid_post", "attn_out", "mlp_out", "mlp_acts", "attn_z"])
def test_streams(fresh, family, stream):
    lm = fresh(family)
    width = lm.architecture.width(sw.Site(1, stream))
    steers, changes = recipe(at(Pair(vector(1, width), 1, stream).make("add_relative", 0.8), "after", 3))
    expected = naive.logits(lm.model, PROMPT, changes)
    assert (expected - naive.logits(lm.model, PROMPT)).abs().max() > 1e-3
    with torch.no_grad():
        _, out = steers.to_pyvene(lm)({"input_ids": torch.tensor([PROMPT])})
    torch.testing.assert_close(out.logits[0], expected, **CLOSE)
    assert greedy(lm, steers) == [naive.greedy(lm.model, PROMPT, changes, count=6)]


def test_half_precision(fresh):
    lm = fresh("gemma2", dtype=torch.bfloat16)
    steers = recipe(Pair(vector(1)).make("project", 2.0), Pair(vector(2), 2).make("add", 1.0))[0]
    with torch.no_grad(), lm.steer(steers):
        expected = lm.model(input_ids=torch.tensor([PROMPT])).logits
    _, out = steers.to_pyvene(lm)({"input_ids": torch.tensor([PROMPT])})
    assert out.logits.dtype == torch.bfloat16
    assert torch.equal(out.logits, expected)


def test_chunks_with_a_cache(fresh):
    lm = fresh()
    steers, changes = recipe(at(Pair(vector(1)).make("add", 1.2), "after", 5))
    intervenable, ids, cache, pieces = steers.to_pyvene(lm), torch.tensor([PROMPT]), None, []
    with torch.no_grad():
        for start, end in ((0, 4), (4, 5), (5, 9)):
            out = intervenable({"input_ids": ids[:, start:end], "past_key_values": cache}, use_cache=True)[1]
            cache, pieces = out.past_key_values, [*pieces, out.logits[0]]
    torch.testing.assert_close(torch.cat(pieces), naive.logits(lm.model, PROMPT, changes), **CLOSE)


def test_a_call_knows_no_more_than_one_with_our_hooks(fresh):
    """What a text before it showed of ordinary norms does not decide which tokens of the next one are sinks."""
    lm = fresh()
    with torch.no_grad():
        embed = lm.model.get_input_embeddings().weight
        embed /= embed.norm(dim=-1, keepdim=True)
        embed[200:] *= 300
    steers = recipe(Pair(vector(1), layer=0, stream="resid_pre").make("add_relative", 0.8))[0]
    intervenable, small, large = steers.to_pyvene(lm), torch.tensor([[10, 11, 12, 13]]), torch.tensor([[210, 220, 230]])
    intervenable({"input_ids": small})
    for steered_by_ours in (True, False):
        with torch.no_grad():
            cache = lm.model(input_ids=small, use_cache=True).past_key_values
            if steered_by_ours:
                with lm.steer(steers):
                    expected = lm.model(input_ids=large, past_key_values=cache).logits
            else:
                got = intervenable({"input_ids": large, "past_key_values": cache})[1].logits
    torch.testing.assert_close(got, expected, **CLOSE)


def test_the_bare_model_and_the_unsteered_output(fresh):
    lm = fresh()
    steers, changes = recipe(Pair(vector(1)).make("add", 1.5))
    intervenable = steers.to_pyvene(lm.model)
    inputs = {"input_ids": torch.tensor([PROMPT])}
    for base, steered in (
        intervenable(inputs, output_original_output=True),
        intervenable(inputs, output_original_output=True, return_dict=True).to_tuple(),
    ):
        torch.testing.assert_close(base.logits[0], naive.logits(lm.model, PROMPT), **CLOSE)
        torch.testing.assert_close(steered.logits[0], naive.logits(lm.model, PROMPT, changes), **CLOSE)
    base, steered = intervenable.generate(inputs, output_original_output=True, intervene_on_prompt=True, **GREEDY)
    assert tuple(base[0, len(PROMPT) :].tolist()) == naive.greedy(lm.model, PROMPT, count=6)
    assert tuple(steered[0, len(PROMPT) :].tolist()) == naive.greedy(lm.model, PROMPT, changes, count=6)


def test_embeddings_that_were_given_stay_as_they_are(fresh):
    """pyvene writes into the tensor that a block gets, and the first block of a Llama gets the user's."""
    lm = fresh()
    steers, changes = recipe(Pair(vector(1), 0, "resid_pre").make("add", 1.5))
    embeds = lm.model.get_input_embeddings()(torch.tensor([PROMPT])).detach()
    before = embeds.clone()
    _, out = steers.to_pyvene(lm)({"inputs_embeds": embeds})
    assert torch.equal(embeds, before)
    torch.testing.assert_close(out.logits[0], naive.logits(lm.model, PROMPT, changes), **CLOSE)


def test_the_model_is_left_as_it_was(fresh):
    """Neither the user's hooks nor mode nor gradients are touched, and none of ours stay, whatever happens."""
    lm = fresh()
    lm.model.train()
    wanted = [parameter.requires_grad for parameter in lm.model.parameters()]
    hooks = UserHooks(blocks_of(lm.model))
    before = all_hooks(lm.model)
    intervenable = sw.Recipe((Pair(vector(1)).direction.add(1),)).to_pyvene(lm)
    intervenable({"input_ids": torch.tensor([PROMPT])})
    assert hooks.before == hooks.after == 4
    with pytest.raises(IndexError):
        intervenable({"input_ids": torch.tensor([[10_000]])})

    def stops(*_):
        raise KeyboardInterrupt

    handle = blocks_of(lm.model)[3].register_forward_hook(stops)
    for call in (intervenable, lambda base: intervenable.generate(base, **GREEDY)):
        with pytest.raises(KeyboardInterrupt):
            call({"input_ids": torch.tensor([PROMPT])})
    handle.remove()
    assert all_hooks(lm.model) == before
    assert lm.model.training
    assert [parameter.requires_grad for parameter in lm.model.parameters()] == wanted == [True] * len(wanted)
    intervenable.disable_model_gradients()
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())


def test_it_adds_up_with_our_own_hooks(fresh):
    lm = fresh()
    steers, changes = recipe(Pair(vector(1)).make("add", 1.0), Pair(vector(2), 2).make("add", 1.0))
    first, second = steers
    with lm.steer(first):
        got = greedy(lm, second)
    assert got == [naive.greedy(lm.model, PROMPT, changes, count=6)]


def test_forwards_of_other_threads_are_not_steered(fresh):
    lm = fresh()
    plain, seen, ours = naive.logits(lm.model, PROMPT), [], threading.get_ident()

    def elsewhere(*_):
        if threading.get_ident() == ours and not seen:
            with torch.no_grad():
                seen.append(in_thread(lambda: lm.model(input_ids=torch.tensor([PROMPT, PROMPT])).logits[0]))

    handle = blocks_of(lm.model)[0].register_forward_hook(elsewhere)
    steers, changes = recipe(Pair(vector(1)).make("add", 1.5))
    got = greedy(lm, steers)
    handle.remove()
    torch.testing.assert_close(seen[0], plain, **CLOSE)
    assert got == [naive.greedy(lm.model, PROMPT, changes, count=6)]


@pytest.mark.parametrize("verb", ["forward", "generate"])
@pytest.mark.parametrize(
    "settings",
    [
        {"unit_locations": {"base": 3}},
        {"sources": [{"input_ids": torch.tensor([PROMPT])}]},
        {"subspaces": [{"idx": 1, "mag": 2.0}]},
        {"source_representations": torch.zeros(D_MODEL)},
    ],
)
def test_what_would_act_elsewhere_is_refused(fresh, verb, settings):
    intervenable = sw.Recipe((Pair(vector(1)).direction.add(1),)).to_pyvene(fresh())
    with pytest.raises(ValueError, match=rf"says itself .* so it takes no {next(iter(settings))};"):
        getattr(intervenable, verb)({"input_ids": torch.tensor([PROMPT])}, **settings)


def test_what_cannot_be_is_refused_in_one_sentence(fresh, tmp_path):
    lm, direction = fresh(), Pair(vector(1)).direction
    inputs = {"input_ids": torch.tensor([PROMPT])}
    steers = sw.Recipe((direction.add(1),))
    with pytest.raises(ValueError, match="The recipe is empty, so there is nothing that pyvene could do"):
        sw.Recipe().to_pyvene(lm)
    with pytest.raises(TypeError, match="takes a LanguageModel or the Hugging Face model itself, but a str was given"):
        steers.to_pyvene("gpt2")
    with pytest.raises(ValueError, match=r"made from a recipe.*leave the prompt alone, make it from recipe.at"):
        steers.to_pyvene(lm).generate(inputs, intervene_on_prompt=False)
    with pytest.raises(ValueError, match=r'acts on "last_prompt", which needs the length.*call generate, or give'):
        steers.at("last_prompt").to_pyvene(lm)(inputs)
    with pytest.raises(ValueError, match=r"fades over the generated tokens, which needs the length.*call generate"):
        steers.fade().to_pyvene(lm)(inputs)
    with pytest.raises(ValueError, match=r"acts on role\('user'\), and pyvene gets token ids.*by number"):
        steers.at(sw.role("user")).to_pyvene(lm)
    with pytest.raises(ValueError, match=r"leaves special tokens out.*give the LanguageModel instead of the bare"):
        steers.at("all", special=False).to_pyvene(lm.model)
    with pytest.raises(ValueError, match="'middle' lives at block 1 resid_mid, which can be read but not steered"):
        sw.Recipe((sw.Direction(vector(1), sw.Site(1, "resid_mid"), "middle").add(1),)).to_pyvene(lm)
    with pytest.raises(ValueError, match=r"has 31 numbers, but block 1 resid_post of .* has 32"):
        sw.Recipe((sw.Direction(vector(1, 31), sw.Site(1)).add(1),)).to_pyvene(lm)
    with pytest.raises(NotImplementedError, match=r"no place for a recipe; keep recipe.to_json\(\)"):
        steers.to_pyvene(lm).save(tmp_path)
    lm.model.model.layers[1].compile(backend="eager")
    with pytest.raises(CompiledModelError, match="is compiled"):
        steers.to_pyvene(lm)


def test_without_pyvene_there_is_one_sentence():
    code = (
        "import sys; sys.modules['pyvene'] = None; import torch, steerwidgets as sw\n"
        "try: (sw.Direction(torch.ones(4), sw.Site(0)).add(1) + sw.Recipe()).to_pyvene(torch.nn.Linear(4, 4))\n"
        "except ImportError as error: print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == "to_pyvene needs pyvene, which is not installed: pip install 'steerwidgets[pyvene]'.\n"
