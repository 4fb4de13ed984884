"""`.kl` and `.surprise` equal a teacher-forced computation of their own, in float64 over full logits."""

import math

import pytest
import torch
from support import naive
from support.both import PROMPT, Pair, at, recipe, vector

import steerwidgets as sw
from steerwidgets.steering import divergence

RECIPES = {
    "add": recipe(Pair(vector(1)).make("add", 1.0)),
    "generated": recipe(at(Pair(vector(1)).make("add", 2.0), "generated")),
    "prompt": recipe(at(Pair(vector(1)).make("add_relative", 0.7), "prompt")),
    "mixed": recipe(
        Pair(vector(1)).make("ablate"), at(Pair(vector(2), 2).make("project", 3.0), "after", 3, special=False)
    ),
}


def teacher_forced(model, generated, changes, special):
    text = (*PROMPT, *generated)
    rows = slice(len(PROMPT) - 1, len(text) - 1)
    plain = naive.logits(model, text, (), len(PROMPT))[rows].double().log_softmax(-1)
    steered = naive.logits(model, text, changes, len(PROMPT), special)[rows].double().log_softmax(-1)
    kl = (steered.exp() * (steered - plain)).sum(-1)
    return kl, -plain[torch.arange(len(generated)), torch.tensor(generated)]


@pytest.mark.parametrize("name", RECIPES)
def test_scores(lm, name):
    steers, changes = RECIPES[name]
    out = lm.compare(PROMPT, steers, max_new_tokens=6, seed=1)
    special = {t for t, i in enumerate((*PROMPT, *out.steered.token_ids)) if i < 5}
    kl, surprise = teacher_forced(lm.model, out.steered.token_ids, changes, special)
    assert kl.max() > 1e-3
    torch.testing.assert_close(torch.tensor(out.kl).double(), kl, atol=2e-4, rtol=2e-3)
    torch.testing.assert_close(torch.tensor(out.surprise).double(), surprise, atol=5e-4, rtol=1e-4)
    assert len(out.kl) == len(out.surprise) == len(out.steered.token_ids)


def test_the_soft_cap_counts(fresh):
    """The same weights without the cap give other scores, so the test above can tell."""
    capped, open_ = fresh("gemma2"), fresh("gemma2", final_logit_softcapping=None)
    steers, _ = RECIPES["add"]
    kl = [lm.compare(PROMPT, steers, max_new_tokens=3, seed=1).kl[0] for lm in (capped, open_)]
    assert abs(kl[0] - kl[1]) > 1e-3


def test_an_identity_has_no_kl(lm):
    out = lm.compare(PROMPT, sw.Direction(vector(1), sw.Site(1)).add(0), max_new_tokens=4)
    assert max(out.kl) <= 1e-6
    assert 0 <= out.scores.kl_floor <= 1e-6


def test_the_scored_text_is_the_steered_one(llama):
    out = llama.compare(PROMPT, RECIPES["add"][0], temperature=0, max_new_tokens=5)
    own = naive.logits(llama.model, (*PROMPT, *out.baseline.token_ids))[len(PROMPT) - 1 : -1].log_softmax(-1)
    assert sum(out.surprise) > float(-own.max(-1).values.sum())


def test_scores_are_computed_once_and_only_when_asked(llama):
    calls = []
    handle = llama.architecture.base.register_forward_hook(lambda *_: calls.append(1))
    out = llama.compare(PROMPT, RECIPES["add"][0], max_new_tokens=4)
    generated = len(calls)
    _ = out.kl, out.surprise, out.kl
    handle.remove()
    assert generated == 4
    assert len(calls) == 5


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [((), (), None), ((1, 2), (1, 2), None), ((1, 2), (1, 3), 1), ((1,), (1, 2), 1), ((1, 2), (1,), 1), ((), (4,), 0)],
)
def test_divergence(first, second, expected):
    from steerwidgets.generation.comparison import first_difference

    assert first_difference(first, second) == expected


def test_divergence_of_a_run(llama):
    out = llama.compare(PROMPT, RECIPES["generated"][0], temperature=0, max_new_tokens=8)
    first = out.divergence
    assert first is not None
    assert first >= 1, "the first token comes from the prompt, which was not steered"
    assert out.baseline.token_ids[:first] == out.steered.token_ids[:first]
    assert out.baseline.token_ids[first] != out.steered.token_ids[first]


def test_the_mean_surprise_of_texts_of_different_lengths_is_that_of_each_alone(llama):
    prompt = llama.encode("Hello", chat=False)
    texts = [(40, 41, 42, 43), (50,), (60, 61)]
    together = divergence.surprises(llama, prompt, texts)
    for text, found in zip(texts, together, strict=True):
        alone = divergence.teacher_forced(llama, prompt, text, sw.Recipe()).surprise
        assert found == pytest.approx(sum(alone) / len(alone), abs=1e-5)


def test_it_equals_a_plain_cross_entropy(llama):
    prompt, text = llama.encode("Hello", chat=False), (40, 41, 42)
    ids = torch.tensor([[*prompt.token_ids, *text]])
    with torch.no_grad():
        logits = llama.model(ids).logits[0, len(prompt) - 1 : -1]
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(text))
    assert divergence.surprises(llama, prompt, [text])[0] == pytest.approx(float(expected), abs=1e-5)


def test_a_text_without_tokens_has_no_surprise(llama):
    prompt = llama.encode("Hello", chat=False)
    assert math.isnan(divergence.surprises(llama, prompt, [()])[0])
    mixed = divergence.surprises(llama, prompt, [(), (40,)])
    assert math.isnan(mixed[0])
    assert mixed[1] > 0
