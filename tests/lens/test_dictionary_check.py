"""Does a dictionary fit: variance unexplained and losses against plain tensors, and the site that it was made at."""

import threading

import pytest
import torch
from support import kinds, sae

import steerwidgets as sw
from steerwidgets.lens import dictionary_check, misfit
from steerwidgets.lens.reconstruction import counted

TEXTS = ["The user asks the assistant about the ocean and the sea.", "Nothing is as old as the city of music, he said."]


def principal(lm, site, claimed, rank=20):
    """A dictionary of the principal axes of a site, each in both directions, that claims to live at another one."""
    h = torch.cat([lm.residuals(text, [site]).values[site][0, 1:] for text in TEXTS * 3])
    mean = h.mean(0)
    axes = torch.linalg.svd(h - mean, full_matrices=False)[2][:rank]
    both = torch.cat([axes, -axes])
    return sw.SAE(
        both.T, torch.zeros(len(both)), both, mean, activation="relu", layer=claimed.layer, stream=claimed.stream
    )


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("site", [sw.Site(1), sw.Site(2, "mlp_out"), sw.Site(3, "attn_out")])
def test_the_site_that_it_was_made_at_is_found(lm, site):
    fits = lm.check(principal(lm, site, site), TEXTS)
    assert fits.fits, fits
    assert fits.best == site
    assert fits.said.startswith("It fits: ")
    claimed = sw.Site(0)
    other = lm.check(principal(lm, site, claimed), TEXTS)
    assert (other.site, other.best, other.fits) == (claimed, site, False)
    assert f"It seems to have been trained at {site}: FVU" in other.said
    assert f'load it with layer={site.layer}, stream="{site.stream}"' in repr(other)


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_figures_are_those_of_plain_tensors(lm, model):
    dictionary = sae.make()
    found = lm.check(dictionary, TEXTS)
    rows = []

    def keep(_module, _args, output):
        rows.append((output[0] if isinstance(output, tuple) else output)[0])

    handle = model.model.layers[1].register_forward_hook(keep)
    with torch.no_grad():
        for text in TEXTS:
            model(torch.tensor([lm.encode(text, chat=False).token_ids]))
    handle.remove()
    h = torch.cat([h[counted(h.norm(dim=-1)[None], torch.ones(1, len(h), dtype=torch.bool))[0]] for h in rows])
    a = ((h - dictionary.tensors()["b_dec"]) @ dictionary.tensors()["W_enc"] + dictionary.tensors()["b_enc"]).relu()
    y = a @ dictionary.tensors()["W_dec"] + dictionary.tensors()["b_dec"]
    expected = (h - y).square().sum() / (h - h.mean(0)).square().sum()
    assert found.fvu[found.site] == pytest.approx(float(expected), rel=1e-4)
    assert found.l0 == pytest.approx(float((a > 0).sum(-1).float().mean()), rel=1e-4)
    assert found.dead == pytest.approx(float((a > 0).any(0).logical_not().float().mean()))
    assert found.tokens == len(h)


@pytest.mark.parametrize("family", ["llama"])
def test_an_mfa_is_checked_too(lm):
    found = lm.check(kinds.make("MFA", lm), TEXTS)
    assert len(found.fvu) > 10
    assert found.losses.tokens > 0


def test_a_verdict_from_few_tokens_says_so(llama):
    few, many = llama.check(sae.make(), TEXTS[0]), llama.check(sae.make(), TEXTS * 12)
    assert f"Only {few.tokens} tokens were read: give more texts" in few.said
    assert many.tokens >= 200
    assert "Only" not in many.said


def test_progress_and_stop(llama):
    seen = []
    llama.check(sae.make(), TEXTS, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_what_cannot_be_checked_is_one_sentence(llama):
    with pytest.raises(ValueError, match="holds directions and does not give residuals again"):
        llama.check(kinds.make("CAV", llama), TEXTS)
    with pytest.raises(ValueError, match="tokens are left to check with"):
        llama.check(sae.make(), "a")
    wide = sae.tensors(d=16)
    with pytest.raises(ValueError, match="takes 16 numbers, but block 1 resid_post of LlamaForCausalLM has 32"):
        llama.check(sw.SAE(**wide, activation="relu", layer=1), TEXTS)
    with pytest.raises(ValueError, match="There is no prompt"):
        llama.check(sae.make(), [])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_widget_says_which_dictionary_does_not_fit(lm):
    site = sw.Site(2, "mlp_out")
    texts = [lm.encode(text, chat=False).token_ids for text in misfit.TEXTS]
    h = torch.cat([lm.residuals(list(text), [site]).values[site][0, 1:] for text in texts])
    axes = torch.linalg.svd(h - h.mean(0), full_matrices=False)[2][:24]
    both = torch.cat([axes, -axes])
    made = {
        claimed: sw.SAE(
            both.T, torch.zeros(48), both, h.mean(0), activation="relu", layer=claimed.layer, stream=claimed.stream
        )
        for claimed in (site, sw.Site(3))
    }
    assert misfit.misfit(lm, made[site]) == ""
    assert f"It seems to have been trained at {site}" in misfit.misfit(lm, made[sw.Site(3)])
    for make in (lambda given: sw.FeaturePicker(lm, given), lambda given: sw.SteeringPanel(lm, given)):
        said = [facts["misfit"] for facts in make([*made.values(), kinds.make("CAV", lm)]).dictionaries]
        assert [bool(each) for each in said] == [False, True, False]


@pytest.mark.parametrize("family", ["llama"])
def test_a_widget_asks_in_the_background_and_once(lm, monkeypatch):
    runs = []
    monkeypatch.setattr(
        misfit, "fit", lambda *args, **settings: (runs.append(args), dictionary_check.fit(*args, **settings))[1]
    )
    dictionary = sae.make()
    picker = sw.FeaturePicker(lm, dictionary)
    told = threading.Event()
    picker.observe(lambda _: told.set(), names="dictionaries")
    assert not runs
    picker._repr_mimebundle_()  # shown
    assert told.wait(60)
    assert picker.dictionaries[0]["misfit"].startswith("It fits nowhere in this model")
    first = len(runs)
    assert sw.FeaturePicker(lm, dictionary).dictionaries[0]["misfit"]
    assert len(runs) == first


@pytest.mark.parametrize("family", ["llama"])
def test_a_large_one_is_not_read_unasked(lm, monkeypatch):
    monkeypatch.setattr(misfit, "MOST_WEIGHTS", 10)
    large = sae.make(seed=77)
    assert not misfit.is_checked(large)
    picker = sw.FeaturePicker(lm, large)
    picker._repr_mimebundle_()
    assert misfit.known_misfit(lm, large) is None
    assert picker.dictionaries[0]["misfit"] == ""
