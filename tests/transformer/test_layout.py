"""Where tokens stand, where no mask of the whole text says so: caches of states, beams, several returned sequences."""

import pytest
import torch
import transformers as hf
from support import models, toks
from support.both import PROMPT, vector

import steerwidgets as sw

SHORT = PROMPT[:6]
ROWS = torch.tensor([PROMPT, (2,) * (len(PROMPT) - len(SHORT)) + SHORT])
MASK = torch.tensor([[1] * len(PROMPT), [0] * (len(PROMPT) - len(SHORT)) + [1] * len(SHORT)])
PLAIN = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 2, "eos_token_id": None}


def steer(where="generated"):
    return sw.Direction(vector(1), sw.Site(1), "x").add(3).at(where)


@pytest.fixture
def mamba():
    torch.manual_seed(0)
    sizes = {"hidden_size": models.D_MODEL, "num_hidden_layers": 4, "state_size": 4, "vocab_size": models.VOCABULARY}
    return sw.LanguageModel(hf.MambaForCausalLM(hf.MambaConfig(**sizes, **models._IDS)).eval(), toks.byte_level())


@pytest.mark.parametrize("where", ["generated", "prompt", "last_prompt"])
def test_a_cache_of_states_goes_on_from_the_pass_that_made_it(mamba, where):
    ids = torch.tensor([PROMPT])
    settings = PLAIN | {"attention_mask": torch.ones_like(ids), "max_new_tokens": 5}
    with mamba.steer(steer(where), prompt_length=len(PROMPT)):
        texts = [mamba.model.generate(ids, use_cache=cached, **settings).tolist() for cached in (True, False)]
    assert texts[0] == texts[1]


def test_a_cache_of_states_from_outside_is_refused(mamba):
    """Nothing tells how many tokens it holds."""
    ids = torch.tensor([PROMPT])
    with torch.no_grad():
        cache = mamba.model(ids, use_cache=True).cache_params
        with (
            mamba.steer(steer(), prompt_length=len(PROMPT)),
            pytest.raises(ValueError, match=r"can't be told: its \w+ was filled outside .*position_ids=\.$"),
        ):
            mamba.model(ids[:, :1], cache_params=cache, use_cache=True)


def test_position_ids_are_taken_where_no_mask_is_given(llama):
    ids = torch.tensor([PROMPT[:3]])
    seen = []
    with torch.no_grad():
        before = llama.model(ids, position_ids=torch.tensor([[7, 8, 9]])).logits
        with llama.steer(steer([8])):
            seen.append(llama.model(ids, position_ids=torch.tensor([[7, 8, 9]])).logits)
        with llama.steer(steer([1])):
            seen.append(llama.model(ids, position_ids=torch.tensor([[7, 8, 9]])).logits)
    changed = [(logits - before).abs().amax(-1)[0] > 1e-3 for logits in seen]
    assert [each.tolist() for each in changed] == [[False, True, True], [False, False, False]]


def test_beams_stand_where_their_prompt_ends(llama):
    settings = PLAIN | {"num_beams": 2}
    with llama.steer(steer(), prompt_length=[len(PROMPT), len(SHORT)]):
        together = llama.model.generate(ROWS, attention_mask=MASK, **settings)[:, len(PROMPT) :].tolist()
    alone = []
    for row in (PROMPT, SHORT):
        with llama.steer(steer(), prompt_length=len(row)):
            ids = torch.tensor([row])
            text = llama.model.generate(ids, attention_mask=torch.ones_like(ids), **settings)
        alone.append(text[0, len(row) :].tolist())
    assert together == alone


def test_returned_sequences_stand_where_their_prompt_ends(llama):
    settings = PLAIN | {"do_sample": True, "num_return_sequences": 2, "top_k": 1}
    with llama.steer(steer(), prompt_length=[len(PROMPT), len(SHORT)]):
        several = llama.model.generate(ROWS, attention_mask=MASK, **settings)
        greedy = llama.model.generate(ROWS, attention_mask=MASK, **PLAIN)
    assert several.tolist() == greedy.repeat_interleave(2, 0).tolist()


def test_rows_that_are_no_multiple_are_refused(llama):
    with (
        torch.no_grad(),
        llama.steer(steer(), prompt_length=[4, 5]),
        pytest.raises(ValueError, match=r"given for 2 rows, but the batch has 3, which is no multiple"),
    ):
        llama.model(torch.tensor([PROMPT] * 3))
