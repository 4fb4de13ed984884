"""Surprise, KL and ‖change‖/‖h‖ of several texts read together, against one row at a time with plain hooks."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from support import models, naive
from support.both import PROMPT, Pair, at, recipe, vector

import steerwidgets as sw
from steerwidgets.steering.divergence import teacher_forced, teacher_forced_together

FAMILIES = pytest.mark.parametrize("family", models.FAMILIES)
TEXTS = ((11, 12, 13, 14, 60), (200,), (), (9, 9, 9, 9, 9, 31, 7), (5, 60, 5))


def rows():
    one, two = Pair(vector(1)), Pair(vector(2), layer=2)
    return [
        recipe(one.make("add", 0.7)),
        recipe(at(two.make("add_relative", 0.6), "generated")),
        recipe(one.make("add", 1.0)),
        recipe(),
        recipe(at(one.make("project", -1.0), "prompt"), two.make("clip", -0.5, 0.5)),
    ]


def changes_of(model, text, mine, prompt):
    """‖change‖/‖h‖ at the site where its median is largest: tokens that change, without sinks."""
    sites = sorted({(change.layer, change.stream) for change in mine})
    before = naive.streams(model, (*prompt, *text), sites, mine, len(prompt))
    medians = []
    for site in sites:
        h = before[site].double().numpy()
        changed = naive.changed(h, [c for c in mine if (c.layer, c.stream) == site], len(prompt), frozenset())
        norms = np.linalg.norm(h, axis=1)
        threshold = 10 * statistics.median(norms[1:])
        lengths = np.linalg.norm(changed - h, axis=1)
        kept = [
            length / norm
            for t, (length, norm) in enumerate(zip(lengths, norms, strict=True))
            if t > 0 and norm <= threshold and length > 0
        ]
        medians.extend([statistics.median_low(kept)] if kept else [])
    return max(medians, default=0.0)


@FAMILIES
def test_texts_read_together_are_scored_as_alone(lm):
    prompt = lm.encode(PROMPT)
    made = rows()
    found = teacher_forced_together(lm, prompt, TEXTS, [steers for steers, _ in made])
    for text, (steers, changes), scores in zip(TEXTS, made, found, strict=True):
        whole, length = (*PROMPT, *text), len(PROMPT)
        plain = naive.logits(lm.model, whole, prompt_length=length).log_softmax(-1)[length - 1 : -1]
        steered = naive.logits(lm.model, whole, changes, length).log_softmax(-1)[length - 1 : -1]
        surprise = [-float(plain[i, token]) for i, token in enumerate(text)]
        kl = (steered.exp() * (steered - plain)).sum(-1).tolist()
        assert scores.surprise == pytest.approx(surprise, abs=2e-4)
        assert scores.kl == pytest.approx(kl, abs=2e-4)
        assert scores.ratio == pytest.approx(changes_of(lm.model, text, changes, PROMPT) if text else 0.0, rel=1e-3)
        alone = teacher_forced(lm, prompt, text, steers)
        assert scores.kl == pytest.approx(alone.kl, abs=2e-4)
        assert scores.surprise == pytest.approx(alone.surprise, abs=2e-4)


@FAMILIES
def test_a_row_that_was_asked_is_read_after_both_prompts(lm):
    """Its surprise is that of the plain prompt's, its KL from what asking does to the next token."""
    prompt, asked = lm.encode(PROMPT), lm.encode((3, 40, 41, *PROMPT))
    text = TEXTS[0]
    [other, scores] = teacher_forced_together(lm, prompt, [TEXTS[3], text], [sw.Recipe(), sw.Recipe()], [prompt, asked])
    plain = naive.logits(lm.model, (*PROMPT, *text)).log_softmax(-1)[len(PROMPT) - 1 : -1]
    own = naive.logits(lm.model, (*asked.token_ids, *text)).log_softmax(-1)[len(asked) - 1 : -1]
    assert scores.kl == pytest.approx((own.exp() * (own - plain)).sum(-1).tolist(), abs=2e-4)
    assert scores.surprise == pytest.approx([-float(plain[i, token]) for i, token in enumerate(text)], abs=2e-4)
    assert other.kl == (0.0,) * len(TEXTS[3])


def test_what_does_not_fit_at_once_is_read_in_parts(llama, monkeypatch):
    from steerwidgets.steering import divergence

    prompt, made = llama.encode(PROMPT), [steers for steers, _ in rows()]
    whole = teacher_forced_together(llama, prompt, TEXTS, made)
    monkeypatch.setattr(divergence, "_LOGITS", 2 * 7 * models.VOCABULARY)
    for first, second in zip(whole, teacher_forced_together(llama, prompt, TEXTS, made), strict=True):
        assert first.kl == pytest.approx(second.kl, abs=1e-5)
        assert first.ratio == pytest.approx(second.ratio, rel=1e-5)
    assert [score.kl for score in teacher_forced_together(llama, prompt, [(), ()], made[:2])] == [(), ()]
