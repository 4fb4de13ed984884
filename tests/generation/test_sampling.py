"""The sampler against an implementation of its own: temperature, frequency penalty, top-k, top-p, Gumbel-max."""

import math

import numpy as np
import pytest
import torch
from support import naive
from support.both import PROMPT

import steerwidgets as sw
from steerwidgets.generation.sampling import CoupledSampler, gumbel_noise, processed_logits


def reference(logits, text, sampling):
    """Plain loops over one row; `text` are the ids that count for the penalty."""
    scores = [x / sampling.temperature if sampling.temperature else x for x in logits]
    scores = [x - sampling.frequency_penalty * text.count(i) for i, x in enumerate(scores)]
    kept = set(range(len(scores)))
    if sampling.top_k:
        kept = set(sorted(kept, key=lambda i: -scores[i])[: sampling.top_k])
    if sampling.top_p < 1:
        top = max(scores[i] for i in kept)
        weight = {i: math.exp(scores[i] - top) for i in kept}
        total, held, nucleus = sum(weight.values()), 0.0, set()
        for i in sorted(kept, key=lambda i: -scores[i]):
            if held / total >= sampling.top_p:
                break
            nucleus.add(i)
            held += weight[i]
        kept = nucleus
    return [x if i in kept else -math.inf for i, x in enumerate(scores)]


SETTINGS = [
    {},
    {"temperature": 0},
    {"temperature": 0, "frequency_penalty": 1.5},
    {"temperature": 0.3, "top_k": 5},
    {"temperature": 1.7, "top_k": 0, "top_p": 0.6},
    {"temperature": 0.9, "top_k": 12, "top_p": 0.35, "frequency_penalty": 0.8},
    {"temperature": 0.5, "top_k": 1},
    {"top_k": 0, "top_p": 1e-6},
    {"top_k": 10_000, "frequency_penalty": -0.7, "penalise_prompt": True},
    {"temperature": 2.0, "top_k": 0, "frequency_penalty": 0.4, "penalise_prompt": True},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_processor(settings):
    sampling = sw.Sampling(**settings)
    rng = np.random.default_rng(0)
    prompts, width, generated = [[3, 3, 7, 9, 0], [5, 0]], 5, [[3, 8, 8], [0, 5, 5]]
    logits = torch.tensor(rng.normal(0, 3, (2, 40)), dtype=torch.float32)
    ids = torch.tensor([[0] * (width - len(p)) + p + g for p, g in zip(prompts, generated, strict=True)])
    sampler = CoupledSampler(sampling, torch.tensor([len(p) for p in prompts]), width)
    got = sampler(ids, logits.clone())
    if sampling.temperature:
        got = got - gumbel_noise(sampling.seed, 3, 40)
    for row in range(2):
        text = (prompts[row] if sampling.penalise_prompt else []) + generated[row]
        expected = torch.tensor(reference(logits[row].tolist(), text, sampling))
        torch.testing.assert_close(got[row], expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("settings", SETTINGS)
def test_whole_texts(llama, settings):
    """Every step of `compare`, from reference logits and the reference processor, rows padded to different lengths."""
    sampling = sw.Sampling(max_new_tokens=6, seed=9, **settings)
    text = list(PROMPT)
    for step in range(6):
        counted = text if sampling.penalise_prompt else text[len(PROMPT) :]
        scores = reference(naive.logits(llama.model, text)[-1].tolist(), counted, sampling)
        noise = gumbel_noise(9, step, len(scores)).tolist() if sampling.temperature else [0.0] * len(scores)
        token = max(range(len(scores)), key=lambda i: scores[i] + noise[i])
        if token in llama.end_ids:
            break
        text.append(token)
    out = llama.compare(PROMPT, None, max_new_tokens=6, seed=9, **settings)
    assert list(out.baseline.token_ids) == text[len(PROMPT) :]


def test_logits_are_not_changed_in_place():
    logits = torch.randn(1, 10)
    before = logits.clone()
    for settings in SETTINGS:
        processed_logits(logits, torch.ones(1, 10), sw.Sampling(**settings))
    assert torch.equal(logits, before)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])
def test_gumbel_max_samples_from_the_softmax(temperature):
    """Chi-square over 4,000 fixed seeds and steps; 99.9 % of right samplers stay below the bound."""
    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -0.5, -1.0, -1.0, -2.0])
    counts = torch.zeros(8)
    for draw in range(4000):
        settings = sw.Sampling(temperature=temperature, top_k=0, seed=draw // 8)
        sampler = CoupledSampler(settings, torch.tensor([1]), 1)
        ids = torch.zeros(1, 1 + draw % 8, dtype=torch.long)
        counts[sampler(ids, logits[None].clone()).argmax()] += 1
    expected = 4000 * (logits / temperature).softmax(-1)
    assert float(((counts - expected) ** 2 / expected).sum()) < 24.32  # chi-square, 7 degrees of freedom


def test_gumbel_noise_is_gumbel_and_differs_by_seed_and_step():
    noise = gumbel_noise(0, 0, 200_000)
    assert torch.isfinite(noise).all()
    assert abs(float(noise.mean()) - 0.5772) < 0.02
    assert abs(float(noise.var()) - math.pi**2 / 6) < 0.03
    keys = [(seed, step) for seed in (-3, -1, 0, 1, 2, 2**40) for step in range(4)]
    draws = {tuple(gumbel_noise(*key, 5).tolist()) for key in keys}
    assert len(draws) == len(keys)
    assert torch.equal(gumbel_noise(7, 3, 50), gumbel_noise(7, 3, 50))
    a, b = gumbel_noise(0, 1, 20_000), gumbel_noise(1, 0, 20_000)
    assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 0.03


def test_drawing_noise_leaves_the_users_random_state_alone(llama):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    llama.compare(PROMPT, None, max_new_tokens=3)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"temperature": -1}, "temperature has to be .*0 or more.*-1 was given"),
        ({"temperature": math.nan}, "temperature .*nan"),
        ({"temperature": "hot"}, "temperature .*'hot'"),
        ({"top_p": 0}, "top_p has to be .*above 0 and at most 1.*0 was given"),
        ({"top_p": 1.1}, "top_p .*1.1"),
        ({"top_k": 2.5}, "top_k has to be a whole number.*2.5"),
        ({"top_k": -1}, "top_k .*-1"),
        ({"frequency_penalty": math.inf}, "frequency_penalty has to be a finite number.*inf"),
        ({"max_new_tokens": 0}, "max_new_tokens has to be a whole number, 1 or more.*0"),
        ({"max_new_tokens": True}, "max_new_tokens .*True"),
        ({"seed": 1.5}, "seed has to be a whole number.*1.5"),
        ({"temprature": 1}, "no sampling setting 'temprature'; there are temperature, top_p, top_k"),
    ],
)
def test_settings_out_of_range(llama, settings, says):
    for use in (llama.compare, llama.stream):
        with pytest.raises(ValueError, match=says):
            use(PROMPT, None, **settings)
    with pytest.raises(ValueError, match=says):
        llama.sweep(PROMPT, [None], **settings)
