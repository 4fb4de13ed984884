"""A batch whose rows have prompts of their own: each row is what it is alone, token for token and logit for logit."""

from __future__ import annotations

import pytest
import torch
from support import models, naive
from support.both import PROMPT, Pair, at, recipe, vector

import steerwidgets as sw
from steerwidgets.generation.conditions import plans
from steerwidgets.generation.rows import Plan, generate_rows

FAMILIES = pytest.mark.parametrize("family", models.FAMILIES)
COUNT = 6
TEXT = "Name a city by the sea."
MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "The user asks."},
    {"role": "assistant", "content": "the ocean"},
    {"role": "user", "content": TEXT},
]


def prompts(lm):
    """Prompts of five lengths, the longest not the first."""
    return [lm.encode(ids) for ids in (PROMPT, PROMPT[:4], (*PROMPT, *PROMPT[3:], 60), (7,), PROMPT[2:])]


def steered():
    """A change everywhere, in the prompt, after it, at its end, relative to ‖h‖ (which finds sinks) and a joint one."""
    one, two, three = Pair(vector(1)), Pair(vector(2), layer=2), Pair(vector(3), layer=0, stream="mlp_out")
    return [
        recipe(),
        recipe(one.make("add", 0.4), at(two.make("add", 0.7), "generated")),
        recipe(two.make("add_relative", 0.4), at(three.make("add", 0.5), "prompt")),
        recipe(at(one.make("add", 2.0), "last_prompt"), at(two.make("add_relative", -0.5), "after", 2)),
        recipe(at(one.make("project", 0.2), "first", 9), Pair(vector(4)).make("clip", -1.0, 1.0)),
    ]


def generated(lm, rows, sampling, **settings):
    """Texts, and the logits [step, row, vocabulary] that their tokens were drawn from."""
    steps = []
    hook = lm.model.register_forward_hook(lambda _m, _a, out: steps.append(out.logits[:, -1].float()))
    try:
        return generate_rows(lm, rows, sampling, **settings), torch.stack(steps)
    finally:
        hook.remove()


@FAMILIES
@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_row_is_what_it_is_alone(lm, use_cache, temperature):
    rows = [Plan(prompt, made[0]) for prompt, made in zip(prompts(lm), steered(), strict=True)]
    sampling = sw.Sampling(temperature=temperature, max_new_tokens=COUNT, seed=3)
    together, logits = generated(lm, rows, sampling, use_cache=use_cache)
    for index, row in enumerate(rows):
        [alone], own = generated(lm, [row], sampling, use_cache=use_cache)
        assert together[index].token_ids == alone.token_ids
        steps = len(alone.token_ids)
        torch.testing.assert_close(logits[:steps, index], own[:steps, 0], atol=1e-4, rtol=0)


@FAMILIES
def test_a_row_is_what_plain_hooks_make_of_it(lm):
    """One row, no cache, no padding, own hooks: greedy tokens and the logits of each step."""
    texts, changes = prompts(lm), [made[1] for made in steered()]
    rows = [Plan(prompt, made[0]) for prompt, made in zip(texts, steered(), strict=True)]
    together, logits = generated(lm, rows, sw.Sampling(temperature=0, max_new_tokens=COUNT))
    for index, (prompt, row, mine) in enumerate(zip(texts, together, changes, strict=True)):
        assert row.token_ids == naive.greedy(lm.model, prompt.token_ids, mine, count=COUNT, end=lm.end_ids)
        whole = (*prompt.token_ids, *row.token_ids)
        expected = naive.logits(lm.model, whole, mine, len(prompt))[len(prompt) - 1 : -1]
        torch.testing.assert_close(logits[: len(expected), index], expected, atol=1e-4, rtol=0)


@FAMILIES
@pytest.mark.parametrize("prompt", [TEXT, MESSAGES], ids=["text", "messages"])
def test_asked_and_random_rows_beside_a_pair_are_what_they_are_alone(lm, prompt):
    steer = Pair(vector(1)).direction.add(0.6)
    conditions = [
        sw.Asked("Please answer about the ocean."),
        *(sw.Recipe.of(steer).random_direction(i) for i in (1, 2)),
    ]
    settings = {"max_new_tokens": COUNT, "seed": 5, "temperature": 0.8}
    out = lm.compare(prompt, steer, beside=conditions, watch=[steer.feature], **settings)
    pair = lm.compare(prompt, steer, watch=[steer.feature], **settings)
    assert [out.baseline.token_ids, out.steered.token_ids] == [pair.baseline.token_ids, pair.steered.token_ids]
    assert [row.plan.prompt for row in out.beside[1:]] == [pair.prompt] * 2
    assert len(out.beside[0].plan.prompt) > len(pair.prompt)
    for row, condition in zip(out.beside, conditions, strict=True):
        [alone] = lm.sweep(prompt, [condition], watch=[steer.feature], **settings)
        assert row.token_ids == alone.token_ids
        torch.testing.assert_close(torch.tensor(row.watched), torch.tensor(alone.watched), atol=1e-4, rtol=1e-4)
    streamed = [step.token_ids for step in lm.stream(prompt, steer, beside=conditions, **settings)]
    for index, row in enumerate((out.baseline, out.steered, *out.beside)):
        assert tuple(step[index] for step in streamed if step[index] is not None) == row.token_ids


@FAMILIES
def test_the_lens_of_a_row_beside_reads_its_own_prompt(lm):
    steer = Pair(vector(1)).direction.add(0.6)
    asked = sw.Asked("Please answer about the ocean.")
    settings = {"max_new_tokens": COUNT, "temperature": 0, "beside": [asked]}
    kept, read = (lm.compare(TEXT, steer, keep_cache=keep, **settings) for keep in (True, False))
    own = kept.beside[0].plan.prompt.token_ids
    whole = lm.logit_lens([*own, *kept.beside[0].token_ids], prompt_length=len(own))
    for run in (kept, read):
        found = run.lens(1, 0)
        assert found.positions == (len(own) + 1,)
        torch.testing.assert_close(found.log_probs[:, 0], whole.log_probs[:, len(own) + 1], atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="baseline and steered, and 1 beside them, from 0; 1 was given"):
        kept.lens(1, 1)


@pytest.fixture
def templated(tokenizer, llama):
    def make(template):
        tok = tokenizer("chatml")
        before, tok.chat_template = tok.chat_template, template
        made.append((tok, before))
        return sw.LanguageModel(llama.model, tok)

    made = []
    yield make
    for tok, before in reversed(made):
        tok.chat_template = before


def words(lm, prompt, **settings):
    [planned] = plans(lm, prompt, sw.Asked("Talk about the sea."), **settings)
    assert not planned.recipe
    return lm.tokenizer.decode(planned.prompt.token_ids)


NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
)
DROPS_SYSTEM = "{% for m in messages if m['role'] != 'system' %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"


def test_where_an_instruction_stands(llama, templated):
    user = [{"role": "user", "content": TEXT}]
    system = [{"role": "system", "content": "Be kind."}]
    assert "system\nTalk about the sea.<" in words(llama, TEXT)
    assert "You are a helpful assistant" not in words(llama, TEXT)
    assert words(llama, user) == words(llama, TEXT)
    assert "system\nBe kind.\n\nTalk about the sea.<" in words(llama, system + user)
    assert words(llama, TEXT, chat=False) == f"Talk about the sea.\n\n{TEXT}"
    for template in (NO_SYSTEM, DROPS_SYSTEM):
        assert words(templated(template), TEXT) == f"<user>Talk about the sea.\n\n{TEXT}"
    kind = words(templated(DROPS_SYSTEM), system + user)
    assert kind == f"<user>Talk about the sea.\n\n{TEXT}"
    # Without a template there is no system prompt.
    assert words(templated(None), TEXT) == f"Talk about the sea.\n\n{TEXT}"


def test_what_can_not_be_asked_is_told(llama):
    with pytest.raises(ValueError, match=r"^The instruction 'Talk' can't be put into a prompt of token ids; give"):
        llama.sweep([5, 6], [sw.Asked("Talk")])
    with pytest.raises(
        TypeError, match=r"^sw\.Asked takes an instruction, but the number 3 was given; say it in words"
    ):
        sw.Asked(3)
    with pytest.raises(ValueError, match=r"^The instruction of sw\.Asked is empty; say it"):
        sw.Asked("  ")
    with pytest.raises(ValueError, match="The prompt is empty"):
        llama.sweep("", [sw.Asked("Talk")])
    with pytest.raises(TypeError, match="A recipe takes steers"):
        llama.compare(TEXT, sw.Asked("Talk"))
    alone = llama.compare(TEXT, None, beside=sw.Asked("Talk"), max_new_tokens=2)
    assert len(alone.beside) == 1
