"""A model through nnsight gives what local hooks give: logits, streams, texts and lenses, for every op and kind."""

import pickletools

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
        "solved together": recipe(
            a.make("ablate"), skewed.make("project", 2.0), Pair(vector(2)).make("clip", -0.5, 0.5)
        ),
        "several sites": recipe(attention.make("add", 1.0), a.make("ablate"), last.make("add_relative", 0.5)),
        "prompt": recipe(at(a.make("add", 2.0), "prompt")),
        "generated": recipe(at(a.make("add", 2.0), "generated", special=False)),
    }


@FOUR
def test_ops_of_directions_as_the_reference_has_them(lm, remote_of, family):
    there, made = remote_of(family), directions()
    for name, (steers, changes) in made.items():
        expected = naive.logits(lm.model, PROMPT, changes)
        torch.testing.assert_close(forward(there, steers, PROMPT, len(PROMPT)), expected, **CLOSE, msg=name)
    rows = there.sweep(PROMPT, [None, *(steers for steers, _ in made.values())], **GREEDY)
    for row, (name, (_, changes)) in zip(rows, {"baseline": (None, []), **made}.items(), strict=True):
        assert row.token_ids == naive.greedy(lm.model, PROMPT, changes, count=6, end=lm.end_ids), name


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
    here, elsewhere = (each.sweep(prompt, [None, *of_kinds(lm).values()], **GREEDY) for each in (lm, there))
    assert [row.token_ids for row in elsewhere] == [row.token_ids for row in here]


def test_what_travels_is_source_and_no_bytecode(llama):
    """Bytecode would ask for the same Python at the other end."""
    import nnsight
    from nnsight.intervention.serialization import dumps

    from steerwidgets.engines import there

    nnsight.register("steerwidgets")
    steers = [steer for made in of_kinds(llama).values() for steer in sw.Recipe.of(made)]
    carried = [there.one_pass, there.Ends([1]), there.put_through]
    carried += [part for steer in steers for part in (steer.feature.plain(read=True), steer.spec.change)]
    for part in carried:
        assert "CodeType" not in [argument for _, argument, _ in pickletools.genops(dumps(part))], part


@FOUR
def test_reading_verbs(lm, remote_of, family):
    there, text, cavs = remote_of(family), "The user asks the assistant", kinds.make("CAV")
    sites = [sw.Site(1), sw.Site(2, "resid_pre"), sw.Site(1, "attn_out"), sw.Site(2, "mlp_out"), sw.Site(1, "attn_z")]
    here, elsewhere = (each.residuals(text, sites).values for each in (lm, there))
    for site in sites:
        torch.testing.assert_close(elsewhere[site], here[site], **CLOSE)
    here, elsewhere = (each.logit_lens(text, cavs[0].add(3), k=4, track=[" the"]) for each in (lm, there))
    assert torch.equal(elsewhere.token_ids, here.token_ids)
    for name in ("log_probs", "entropy", "kl", "tracked_log_probs"):
        torch.testing.assert_close(getattr(elsewhere, name), getattr(here, name), **CLOSE)
    torch.testing.assert_close(elsewhere.difference.d_top, here.difference.d_top, **CLOSE)
    here, elsewhere = (each.top_logits(cavs[1], k=3).promoted for each in (lm, there))
    assert [token for token, _ in elsewhere] == [token for token, _ in here]
    assert [value for _, value in elsewhere] == pytest.approx([value for _, value in here], abs=1e-3)


def test_search_and_scores_of_texts(llama, remote_of):
    there, latents = remote_of("llama"), sae.make(layer=1)
    here, elsewhere = (each.search("The user asks", latents, k=3) for each in (llama, there))
    assert [each.index for each in elsewhere.features] == [each.index for each in here.features]
    assert elsewhere.values == pytest.approx(here.values, abs=1e-4)
    steer, settings = latents[1].clamp(9), {"temperature": 0.9, "seed": 4, "max_new_tokens": 6}
    here, elsewhere = (each.compare("Name a city.", steer, watch=[latents[2]], **settings) for each in (llama, there))
    assert elsewhere.steered.token_ids == here.steered.token_ids
    assert elsewhere.kl == pytest.approx(here.kl, abs=1e-4)
    assert elsewhere.surprise == pytest.approx(here.surprise, abs=1e-4)
    watched = [[value for (value,) in out.steered.watched] for out in (here, elsewhere)]
    assert watched[1] == pytest.approx(watched[0], abs=1e-4)
    here, elsewhere = (each.measure("Name a city.", steer) for each in (llama, there))
    assert elsewhere[0].ratio == pytest.approx(here[0].ratio, abs=1e-4)
    assert elsewhere[0].achieved == pytest.approx(here[0].achieved, abs=1e-3)


def test_rows_of_other_lengths(llama, remote_of):
    """Padded on the left, as prompts that ask and prompts that do not are."""
    cavs, there = kinds.make("CAV"), remote_of("llama")
    rows = [None, cavs[0].add(3).at("generated"), sw.Asked("Talk about the sea and nothing else.")]
    here, elsewhere = (each.sweep("Name a city.", rows, **GREEDY) for each in (llama, there))
    assert [row.token_ids for row in elsewhere] == [row.token_ids for row in here]


def test_users_own_code_is_steered_there(llama, remote_of):
    there, cavs = remote_of("llama"), kinds.make("CAV")
    ids = torch.tensor([llama.encode("Name a city.").token_ids])
    with llama.steer(cavs[0].add(3)), torch.no_grad():
        expected = llama.model(ids).logits
    with there.steer(cavs[0].add(3)):
        torch.testing.assert_close(there.model(ids).logits, expected, **CLOSE)


def test_what_would_change_a_stream_by_a_hook_is_refused(remote_of):
    there = remote_of("llama")
    handle = there.architecture.blocks[1].register_forward_hook(lambda _module, _args, output: output + 1)
    try:
        with pytest.raises(ValueError, match="can read it but not change it"):
            there.model(torch.tensor([[3, 4]]))
    finally:
        handle.remove()
    with pytest.raises(ValueError, match=r"lm\.compare, lm\.stream and lm\.sweep"):
        there.model.generate(torch.tensor([[3, 4]]))


def test_what_needs_weights_here_is_refused(remote_of):
    there, latents = remote_of("llama"), sae.make(layer=1)
    calls = {
        "lm.patch": lambda: there.patch("The user asks", "The model asks"),
        "lm.attribution": lambda: there.attribution("The user", " asks"),
        "lm.check": lambda: there.check(latents, ["The user asks."]),
        "lm.verify": there.verify,
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=f"{name} needs the model's weights in this process"):
            call()


def test_says_where_a_model_may_run(folder):
    with pytest.raises(ValueError, match="Say where the model runs"):
        sw.RemoteModel(folder("llama"))
    with pytest.raises(ValueError, match=r"sw\.EngineModel"):
        sw.RemoteModel(folder("llama"), serve="http://127.0.0.1:1")


def test_provenance_names_who_ran_it(remote_of):
    said = remote_of("llama").provenance
    assert said["nnsight"]
    assert "remote='local'" in said["device"]


def test_verbs_built_of_runs(llama, remote_of):
    there, cavs = remote_of("llama"), sw.CAV(torch.eye(32)[:2], ["a", "b"], layer=1)
    judge = lambda prompt, text: "e" in text
    prompts = ["The sea", "A city by it"]
    here = llama.dose(cavs[0].add, [0, 4], prompts=prompts, judge=judge, max_new_tokens=4, random=2, chat=False)
    far = there.dose(cavs[0].add, [0, 4], prompts=prompts, judge=judge, max_new_tokens=4, random=2, chat=False)
    assert [each.text for each in far.answers] == [each.text for each in here.answers]
    conditions = {"nothing": None, "a": cavs[0].add(4)}
    tables = [each.table(prompts, conditions, judge=judge, max_new_tokens=4, chat=False) for each in (llama, there)]
    assert str(tables[0]) == str(tables[1])
    pairs = [each.contrast("Be kind.", "Be rude.", ["Who?"], max_new_tokens=4) for each in (llama, there)]
    assert [each.answer for each in pairs[0].a + pairs[0].b] == [each.answer for each in pairs[1].a + pairs[1].b]
    found = [each.promoting(cavs, "e").features for each in (llama, there)]
    assert [each.key for each in found[0]] == [each.key for each in found[1]]
