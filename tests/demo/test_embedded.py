"""The embedded model behaves: facts that the design states of SmolLM2-135M-Instruct. `pytest -m embedded`."""

import pytest
import torch
from support import naive
from support.naive import Change

import steerwidgets as sw

pytestmark = pytest.mark.embedded
SITE = sw.Site(15)
OCEAN = [
    "The waves rolled over the deep blue ocean.",
    "Ships sail across the sea.",
    "Fish swim in salt water near the coast.",
]
PLAIN = [
    "The committee met on Monday to discuss the budget.",
    "He wrote a letter to his bank.",
    "The car needs new tyres.",
]


@pytest.fixture(scope="module")
def ocean(embedded):
    from steerwidgets.dictionaries.pooling import mean_difference

    texts = [[embedded.encode(text, chat=False) for text in each] for each in (OCEAN, PLAIN)]
    vector = mean_difference(embedded, *texts, SITE)
    return sw.Direction(vector / vector.norm(), SITE, "ocean")


def test_its_parts(embedded):
    assert (embedded.architecture.layers, embedded.architecture.d_model) == (30, 576)
    assert embedded.has_chat_template
    assert next(embedded.model.parameters()).dtype == torch.float32, "bf16 is for storage"
    assert embedded.source_code == "sw.LanguageModel.demo()"
    assert set(embedded.provenance) >= {"model", "dtype", "device", "torch", "transformers"}


def test_position_0_is_a_sink_without_any_bos(embedded):
    residuals = embedded.residuals("The Eiffel Tower is in the city of", [SITE])
    norms = residuals.values[SITE][0].norm(dim=-1)
    assert norms[0] > 50 * norms[1:].median()
    assert residuals.counted(SITE)[0].tolist() == [False] + [True] * (len(norms) - 1)


def test_raw_and_templated_prompts_differ(embedded):
    raw = embedded.compare("The Eiffel Tower is in the city of", None, chat=False, temperature=0, max_new_tokens=1)
    assert raw.baseline.text == " Paris"
    chat = embedded.encode("The Eiffel Tower is in the city of")
    assert chat.chat
    assert sum(chat.template) > 10
    assert embedded.tokenizer.decode(chat.token_ids).count("<|im_start|>") == 3


def test_identity_and_relative_steering_spare_the_sink(embedded, ocean):
    out = embedded.compare("Name a city.", ocean.add(0) + ocean.project(1), max_new_tokens=8)
    assert out.divergence is None
    ids = embedded.encode("I walked to the town and", chat=False).token_ids
    change = Change(15, "add_relative", ocean.vector.numpy(), {"alpha": 0.2})
    with torch.no_grad(), embedded.steer(ocean.add_relative(0.2), prompt_length=len(ids)):
        got = embedded.model(input_ids=torch.tensor([ids])).logits[0]
    torch.testing.assert_close(got, naive.logits(embedded.model, ids, [change]), atol=2e-3, rtol=1e-3)


def test_a_concept_moves_the_text_and_the_scores(embedded, ocean):
    out = embedded.compare(
        "I walked to the town and", ocean.add(40), chat=False, temperature=0, max_new_tokens=16, watch=[ocean]
    )
    assert out.divergence is not None
    assert len(out.kl) == len(out.steered.token_ids)
    assert max(out.kl) > 0.1 > out.scores.kl_floor
    words = ("sea", "ocean", "water", "wave", "beach", "ship", "fish", "coast", "shore", "boat", "swim", "sail")
    assert any(word in out.steered.text.lower() for word in words), out.steered.text
    assert not any(word in out.baseline.text.lower() for word in words), out.baseline.text
    assert None not in out.steered.watched


def test_the_end_of_turn_ends_a_row(embedded):
    out = embedded.compare("What is 2+2? Answer with one number.", None, temperature=0, max_new_tokens=48)
    assert out.baseline.ended == "eos"
    assert "<|im_end|>" not in out.baseline.text
    assert len(out.baseline.token_ids) < 48


def test_concepts_shipped_with_it(embedded):
    cavs = sw.CAV.demo()
    assert cavs.d_model == embedded.architecture.d_model
    assert len(cavs) > 3
    assert embedded.measure("Name a city.", cavs[0].add(20))[0].ratio > 0.01
