"""A float16 model whose activations overflow, or come near it, is told of when it is loaded, before any NaN is read."""

import warnings

import pytest
import torch
from support import models, toks

import steerwidgets as sw

FAMILIES = ("llama", "gemma2", "gemma3", "gpt2")


def grown(family, size, dtype=torch.float16):
    """A model whose residual is about as large as `size` at its first token, as at the sinks of Gemma 3."""
    model = models.make(family)
    tokenizer = toks.byte_level()
    first = tokenizer("The")["input_ids"][0]
    with torch.no_grad():
        row = model.get_input_embeddings().weight[first]
        scale = model.config.hidden_size**0.5 if family.startswith("gemma") else 1.0
        row.copy_(row.sign() * size / scale)
    return model.to(dtype), tokenizer


@pytest.mark.parametrize("family", FAMILIES)
def test_told_before_it_overflows(family):
    with pytest.warns(RuntimeWarning, match=r"gives up to 4\d,\d{3} after block 0, and float16 ends at 65,504: other"):
        lm = sw.LanguageModel(*grown(family, 40_000))
    assert bool(lm.residuals("The sea", [sw.Site(3)]).values[sw.Site(3)].isfinite().all())


@pytest.mark.parametrize("family", FAMILIES)
def test_told_when_it_overflows(family):
    with pytest.warns(
        RuntimeWarning, match=r"overflows float16, which ends at 65,504: block \d gives infinite"
    ) as seen:
        sw.LanguageModel(*grown(family, 80_000))
    assert "dtype=torch.bfloat16" in str(seen[0].message)
    assert seen[0].filename == __file__


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_others_hold_it(dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sw.LanguageModel(*grown("gemma3", 80_000, dtype))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_ordinary_one_is_no_matter(family):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sw.LanguageModel(models.make(family).half(), toks.byte_level())


def test_told_once_and_not_of_a_model_in_training():
    model, tokenizer = grown("llama", 40_000)
    model.train()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sw.LanguageModel(model, tokenizer)
    model.eval()
    with pytest.warns(RuntimeWarning, match="float16 ends at"):
        sw.LanguageModel(model, tokenizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sw.LanguageModel(model, tokenizer)
