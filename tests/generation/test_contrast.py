"""lm.contrast: what the model wrote under each system prompt, of which the answers alone count."""

import threading

import pytest
import torch

import steerwidgets as sw

A, B = "You are cheerful.", "You are gloomy."
QUESTIONS = ["How was your day?", "What is new?", "Tell me of your mother."]


@pytest.fixture
def endless(fresh):
    """A model whose texts never end by themselves."""
    lm = fresh("llama", max_position_embeddings=4096)
    with torch.no_grad():
        lm.model.get_output_embeddings().weight[sorted(lm.special_ids)] = 0
    return lm


def test_each_answer_is_what_the_model_writes_to_that_conversation(endless):
    pair = endless.contrast(A, B, QUESTIONS, max_new_tokens=6, temperature=0, batch_size=4)
    assert (pair.labels, len(pair.a), len(pair.b)) == (("a", "b") * 3, 3, 3)
    for text, (system, question) in zip(pair.texts, [(s, q) for q in QUESTIONS for s in (A, B)], strict=True):
        prompt = endless.encode([{"role": "system", "content": system}, {"role": "user", "content": question}])
        assert text.token_ids[: text.start] == prompt.token_ids
        ids = torch.tensor([prompt.token_ids])
        expected = []
        for _ in range(6):
            with torch.no_grad():
                expected.append(int(endless.model(ids).logits[0, -1].argmax()))
            ids = torch.cat([ids, torch.tensor([[expected[-1]]])], dim=1)
        assert list(text.token_ids[text.start :]) == expected
        assert text.answer == endless.tokenizer.decode(expected)
        assert [i for i, own in enumerate(text.own) if own] == list(range(text.start, len(text)))
        assert text.question == question


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_a_persona_vector_is_the_difference_of_means_over_the_answers(lm):
    pair = lm.contrast(A, B, QUESTIONS, max_new_tokens=8, seed=3)
    cavs = sw.CAV.fit(lm, pair.texts, pair.labels, layer=1, method="mean_difference", held_out=0, unit=False)
    means = {"a": [], "b": []}
    for text, label in zip(pair.texts, pair.labels, strict=True):
        h = lm.residuals(text.token_ids, [sw.Site(1)])
        kept = h.counted(sw.Site(1))[0].clone()
        kept[: text.start] = False
        kept &= torch.tensor([token not in lm.special_ids for token in text.token_ids])
        means[label].append(h.values[sw.Site(1)][0][kept].mean(0))
    expected = torch.stack(means["a"]).mean(0) - torch.stack(means["b"]).mean(0)
    torch.testing.assert_close(cavs["a"].vector, expected, atol=1e-3, rtol=1e-3)


def test_max_tokens_and_skip_count_from_the_answer_on(endless):
    pair = endless.contrast(A, B, QUESTIONS, max_new_tokens=8)
    [text] = pair.texts[:1]
    assert len(text.cut(3)) == text.start + 3
    assert sum(text.cut(3).own) == 3
    skipped = sw.CAV.fit(
        endless,
        pair.texts,
        pair.labels,
        layer=1,
        held_out=0,
        skip=2,
        max_tokens=5,
        unit=False,
        method="mean_difference",
    )
    rows = {"a": [], "b": []}
    for each, label in zip(pair.texts, pair.labels, strict=True):
        h = endless.residuals(each.token_ids, [sw.Site(1)]).values[sw.Site(1)][0]
        rows[label].append(h[each.start + 2 : each.start + 5].mean(0))
    expected = torch.stack(rows["a"]).mean(0) - torch.stack(rows["b"]).mean(0)
    torch.testing.assert_close(skipped["a"].vector, expected, atol=1e-3, rtol=1e-3)


def test_without_a_chat_template_it_says_so(model_plain):
    pair = model_plain.contrast(A, B, QUESTIONS[:1], max_new_tokens=4)
    text = pair.texts[0]
    assert model_plain.tokenizer.decode(text.token_ids[: text.start]).endswith(f"{A}\n\n{QUESTIONS[0]}\n")
    assert "This tokenizer has no chat template" in pair.told[0]
    assert not text.chat
    assert sum(text.own) == len(text) - text.start


@pytest.fixture
def model_plain(endless, tokenizer):
    return sw.LanguageModel(endless.model, tokenizer("plain"))


def test_concept_holds_out_whole_questions(endless):
    questions = [f"Question {i}?" for i in range(12)]
    pair = endless.contrast(A, B, questions, max_new_tokens=16, temperature=2, per_question=2)
    assert len(pair.texts) == 48
    concept = endless.concept(pair, name="cheer")
    assert concept.told == ()
    assert concept.pooling == "mean over response tokens"
    held = {text.text for text in concept.tests}
    asked = {text.question for text in pair.texts if text.answer in held}
    both = {text.question for text in pair.texts if text.answer not in held}
    assert len(asked) == 3
    assert not asked & both


def test_stop_keeps_whole_pairs(endless):
    stop, seen = threading.Event(), []

    def on_progress(done, total):
        seen.append((done, total))
        stop.set()

    pair = endless.contrast(A, B, QUESTIONS, max_new_tokens=4, batch_size=2, on_progress=on_progress, stop=stop)
    assert (seen, len(pair.texts), pair.stopped) == ([(2, 6)], 2, True)


def test_empty_answers_are_left_out_and_told(fresh):
    lm = fresh("llama")
    with torch.no_grad():
        lm.model.get_output_embeddings().weight.zero_()  # token 0 is the likeliest, and special
    pair = lm.contrast(A, B, QUESTIONS, max_new_tokens=3, temperature=0)
    assert pair.texts == () or all(text.answer.strip() for text in pair.texts)


@pytest.mark.parametrize(
    ("given", "settings", "sentence"),
    [
        ((A, A, QUESTIONS), {}, "Both system prompts of lm.contrast are the same"),
        ((A, " ", QUESTIONS), {}, "A system prompt of lm.contrast is empty"),
        ((A, 3, QUESTIONS), {}, "takes two system prompts, but the number 3"),
        ((A, B, []), {}, "There is no question for lm.contrast"),
        ((A, B, "Why?"), {}, "takes a list of questions, but the text 'Why?'"),
        ((A, B, [3]), {}, "takes questions that are texts, but the number 3"),
        ((A, B, QUESTIONS), {"per_question": 0}, "per_question= is a whole number from 1"),
        ((A, B, QUESTIONS), {"names": ("x", "x")}, "names= are two labels that differ"),
        ((A, B, QUESTIONS), {"temperature": -1}, "temperature"),
    ],
)
def test_bad_input_is_one_sentence(llama, given, settings, sentence):
    with pytest.raises((ValueError, TypeError)) as raised:
        llama.contrast(*given, **settings)
    assert sentence in str(raised.value)
