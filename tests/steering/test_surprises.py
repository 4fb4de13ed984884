import math

import pytest
import torch
from support import models, toks

import steerwidgets as sw
from steerwidgets.steering.divergence import surprises, teacher_forced


@pytest.fixture(scope="module")
def lm():
    return sw.LanguageModel(models.make("llama"), toks.byte_level())


def test_the_mean_surprise_of_texts_of_different_lengths_is_that_of_each_alone(lm):
    prompt = lm.encode("Hello", chat=False)
    texts = [(40, 41, 42, 43), (50,), (60, 61)]
    together = surprises(lm, prompt, texts)
    for text, found in zip(texts, together, strict=True):
        alone = teacher_forced(lm, prompt, text, sw.Recipe()).surprise
        assert found == pytest.approx(sum(alone) / len(alone), abs=1e-5)


def test_it_equals_a_plain_cross_entropy(lm):
    prompt, text = lm.encode("Hello", chat=False), (40, 41, 42)
    ids = torch.tensor([[*prompt.token_ids, *text]])
    with torch.no_grad():
        logits = lm.model(ids).logits[0, len(prompt) - 1 : -1]
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(text))
    assert surprises(lm, prompt, [text])[0] == pytest.approx(float(expected), abs=1e-5)


def test_a_text_without_tokens_has_no_surprise(lm):
    prompt = lm.encode("Hello", chat=False)
    assert math.isnan(surprises(lm, prompt, [()])[0])
    mixed = surprises(lm, prompt, [(), (40,)])
    assert math.isnan(mixed[0])
    assert mixed[1] > 0
