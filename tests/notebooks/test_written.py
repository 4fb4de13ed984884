"""Chats that the model writes itself: the sampler against a plain loop, runs that are stopped and go on."""

import functools

import pytest
import torch
from embedded.corpus.answers import sample_answers, use_grouped_attention
from embedded.corpus.written import Settings, Written, batch_files, read_rows, usable_tokens, write
from support import models, toks

PROMPTS = [[5, 60, 61, 62], [70, 71], [80, 81, 82, 83, 84, 85, 86, 87, 88], [90] * 5]
END = 1
SETTINGS = Settings(rows=4, max_new_tokens=60)


def greedy(model, prompt, end, most):
    """One row, no cache, no padding."""
    ids = list(prompt)
    for _ in range(most):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == end:
            break
    return ids[len(prompt) :]


def sampled(model, end=END, **changes):
    settings = {"temperature": 1.0, "top_k": 1, "max_new_tokens": 12, "seed": 0} | changes
    return sample_answers(model, PROMPTS, end=end, **settings)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_a_batch_says_what_each_row_says_alone(family, grouped):
    plain, model = models.make(family), models.make(family)
    if grouped:
        use_grouped_attention(model)
    alone = [greedy(plain, prompt, END, 12) for prompt in PROMPTS]
    assert sampled(model) == alone
    # A token that one row says becomes the end: that row leaves and the others go on as before.
    end = alone[0][3]
    ending = [greedy(plain, prompt, end, 12) for prompt in PROMPTS]
    assert len({len(answer) for answer in ending}) > 1
    assert sampled(model, end=end) == ending


def test_sampling_draws_from_the_top_k_by_temperature():
    model = models.make("llama")
    prompts = [PROMPTS[0]] * 400
    with torch.no_grad():
        logits = model(torch.tensor([PROMPTS[0]])).logits[0, -1]
    drawn = sample_answers(model, prompts, end=END, temperature=0.8, top_k=3, max_new_tokens=1, seed=7)
    values, tokens = logits.topk(3)
    expected = torch.softmax(values / 0.8, 0)
    shares = torch.tensor([sum(answer == [int(token)] for answer in drawn) / 400 for token in tokens])
    assert shares.sum() == pytest.approx(1)
    assert torch.allclose(shares, expected, atol=0.09)
    again = functools.partial(sample_answers, model, prompts, end=END, temperature=0.8, top_k=3, max_new_tokens=1)
    assert drawn == again(seed=7) != again(seed=8)


@pytest.fixture(scope="module")
def writer():
    return functools.partial(write, models.make("llama", max_position_embeddings=2048), toks.byte_level())


@pytest.fixture(scope="module")
def whole(writer, tmp_path_factory):
    """Seven batches in one go: the sixth is one of follow-ups."""
    folder = tmp_path_factory.mktemp("whole")
    count = 0
    while count < 7:
        writer(folder, 1 + usable_tokens(read_rows(batch_files(folder))), SETTINGS)
        count = len(batch_files(folder))
    return folder


def test_what_is_written_is_what_was_sampled(whole):
    tokenizer = toks.byte_level()
    rows = list(read_rows(batch_files(whole)))
    for row in rows:
        end = [tokenizer.eos_token_id] if row.ended else []
        kept = row.answer_ids[: len(row.answer_ids) - len(end)]
        assert row.answer_ids == kept + end
        assert tokenizer.decode(kept) == row.answer
        assert tokenizer.eos_token_id not in kept
        assert row.ended or len(row.answer_ids) == SETTINGS.max_new_tokens
        text = tokenizer.apply_chat_template(row.messages, add_generation_prompt=True, tokenize=False)
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == row.prompt_ids


def test_every_request_once_and_follow_ups_on_finished_answers(whole):
    files = batch_files(whole)
    first = [row.index for row in read_rows(files) if row.index is not None]
    assert first == list(range(len(first)))
    answered = {(row.messages[-1]["content"], row.answer) for row in read_rows(files[:5]) if row.ended}
    second = list(read_rows(files[5:6]))
    assert second
    for row in second:
        assert row.index is None
        assert [message["role"] for message in row.messages[-3:]] == ["user", "assistant", "user"]
        assert (row.messages[-3]["content"], row.messages[-2]["content"]) in answered


def test_a_stopped_run_goes_on_as_if_it_had_not_been(writer, whole, tmp_path, monkeypatch):
    files = batch_files(whole)
    target = usable_tokens(read_rows(files))
    saves = 0

    def killed_at_the_third(rows, file):
        nonlocal saves
        saves += 1
        if saves == 3:
            file.with_suffix(".partial").write_text('{"index": 1', encoding="utf-8")
            raise KeyboardInterrupt
        return kept(rows, file)

    from embedded.corpus import written

    kept = written._save
    monkeypatch.setattr(written, "_save", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        writer(tmp_path, target, SETTINGS)
    monkeypatch.undo()
    assert len(batch_files(tmp_path)) == 2
    writer(tmp_path, target, SETTINGS)
    assert [file.read_text("utf-8") for file in batch_files(tmp_path)] == [file.read_text("utf-8") for file in files]
    writer(tmp_path, target, SETTINGS)
    assert len(batch_files(tmp_path)) == len(files)


def test_loops_and_empty_answers_count_for_nothing():
    def row(answer, distinct_2):
        return Written(0, "nature", "the sea", [], answer, [1], [4, 5, 6], False, 0.9, distinct_2)

    rows = [row("fine", 0.4), row("la la la", 0.39), row(" \n", 1.0)]
    assert [r.is_degenerate for r in rows] == [False, True, True]
    assert usable_tokens(rows) == 3
