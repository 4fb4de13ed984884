"""What steering with a feature promotes through the model, against plain forward passes."""

import pytest
import torch
from support import kinds, sae

import steerwidgets as sw
from steerwidgets.dictionaries.effects import KnownEffects
from steerwidgets.lens.effect import NEUTRAL, differences
from steerwidgets.lens.top_logits import weak_note

PROMPTS = ["The sea was calm.", "One two three"]


@pytest.fixture
def dictionary():
    return sae.make(labels={3: "the sea"}, max_activations={3: 4.0})


def by_hand(lm, steer, prompts):
    total = 0
    for prompt in prompts:
        ids = torch.tensor([lm.encode(prompt, chat=False).token_ids])
        with torch.no_grad():
            plain = lm.model(ids).logits[0, -1]
            with lm.steer(steer):
                steered = lm.model(ids).logits[0, -1]
        raw = (steered - plain).float()
        total = total + raw - raw.mean()
    return total / len(prompts)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_it_is_the_mean_difference_of_plain_runs(lm, dictionary):
    steer = dictionary[3].clamp(7.0)
    found = lm.effect(dictionary[3], PROMPTS, k=4, steer=steer, least=0.0)
    expected = by_hand(lm, steer, PROMPTS)
    torch.testing.assert_close(found.difference, expected, atol=1e-4, rtol=1e-4)
    assert [token.id for token, _ in found.promoted] == expected.topk(4).indices.tolist()
    assert [value for _, value in found.suppressed] == pytest.approx((-(-expected).topk(4).values).tolist(), abs=1e-4)
    assert (found.prompts, found.is_suggested, found.steer) == (2, False, steer)


def test_without_a_steer_the_suggested_strength_or_a_stated_default(llama, dictionary):
    default = llama.effect(dictionary[3], "The sea")
    assert (default.steer, default.is_suggested) == (dictionary[3].clamp(4.0), False)
    assert "steered by clamp(4), a default, not a strength that was seen to work" in repr(default)
    dictionary.suggested = {3: ("clamp", {"c": 6.0})}
    suggested = llama.effect(dictionary[3])
    assert (suggested.steer, suggested.is_suggested) == (dictionary[3].clamp(6.0), True)
    said = f"after {len(NEUTRAL)} prompts of tokens that have 0.1 % or more after one of them, steered by clamp(6), the"
    assert said in repr(suggested)


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_every_kind_has_one(kind, llama):
    assert len(llama.effect(kinds.make(kind, llama)[0], "The sea", k=3).promoted) == 3


def test_tokens_that_are_never_likely_are_left_out_and_it_says_so(llama, dictionary):
    steer = dictionary[3].clamp(7.0)
    likeliest = torch.zeros(())
    for prompt in PROMPTS:
        ids = torch.tensor([llama.encode(prompt, chat=False).token_ids])
        with torch.no_grad():
            plain = llama.model(ids).logits[0, -1].softmax(-1)
            with llama.steer(steer):
                likeliest = torch.maximum(likeliest, torch.maximum(plain, llama.model(ids).logits[0, -1].softmax(-1)))
    least = float(likeliest.sort(descending=True).values[9])
    expected = by_hand(llama, steer, PROMPTS)
    likely = (likeliest >= least * (1 - 1e-4)).nonzero()[:, 0].tolist()
    assert len(likely) == 10
    found = llama.effect(dictionary[3], PROMPTS, k=40, steer=steer, least=least * (1 - 1e-4))
    ranked = sorted(likely, key=lambda token: -float(expected[token]))
    assert [token.id for token, _ in found.promoted] == ranked
    assert [token.id for token, _ in found.suppressed] == ranked[::-1]
    torch.testing.assert_close(found.difference, expected, atol=1e-4, rtol=1e-4)
    assert f"of tokens that have {found.least * 100:g} % or more after one of them" in repr(found)
    assert "or more" not in repr(llama.effect(dictionary[3], PROMPTS, least=0.0))
    assert llama.effect(dictionary[3], PROMPTS, least=1.0).promoted == ()


def test_many_features_in_batches_are_the_same(llama, dictionary):
    steers = [dictionary[i].add(2.0) for i in range(20)]
    together = differences(llama, steers, PROMPTS)
    torch.testing.assert_close(together.mean[17], by_hand(llama, steers[17], PROMPTS), atol=1e-4, rtol=1e-4)


def test_effects_that_come_with_a_dictionary_are_kept_small(tmp_path):
    ids = torch.tensor([[5, 6, 7, 8], [1, 2, 3, 49151]])
    values = torch.tensor([[2.0, 1.0, -3.0, -1.0], [1.0, -torch.inf, 1.0, 1.0]])
    made = KnownEffects(
        torch.tensor([9, 4]), torch.tensor([50.0, 30.0]), torch.tensor([True, False]), ids, values, "clamp", 6, 0.01
    )
    made.save(tmp_path / "effects.safetensors")
    again = KnownEffects.load(tmp_path / "effects.safetensors")
    assert list(again) == [9, 4]
    assert again[9].promoted == ((5, 2.0), (6, 1.0))
    assert again[4].suppressed == ((3, 1.0), (49151, 1.0))
    assert (again[4].promoted, again[4].least) == (((1, 1.0),), 0.01)
    assert (again[9].op, again[9].strength, again[9].is_suggested, again[4].is_suggested) == ("clamp", 50, True, False)
    (tmp_path / "other.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"other\.safetensors is not a whole safetensors file"):
        KnownEffects.load(tmp_path / "other.safetensors")


# The direct path, beside it


def test_a_random_directions_direct_path_is_weak_and_a_tokens_own_is_not(llama):
    drawn = torch.randn(32, generator=torch.Generator().manual_seed(5))
    noise = llama.top_logits(sw.Direction(drawn, sw.Site(1)))
    assert noise.of_random < 1
    assert "The direct path is weak: its largest score is" in repr(noise)
    assert "direct path" in repr(noise).splitlines()[0]
    own = llama.model.lm_head.weight[40].detach() * 50
    strong = llama.top_logits(sw.Direction(own, sw.Site(1)))
    assert strong.of_random > noise.of_random
    longer = llama.top_logits(sw.Direction(drawn * 7, sw.Site(1)))
    assert longer.of_random == pytest.approx(noise.of_random, rel=1e-4)


def test_what_is_not_weak_says_nothing():
    assert weak_note(None) == weak_note(1.0) == ""
    assert "lm.effect(feature)" in weak_note(0.9)
