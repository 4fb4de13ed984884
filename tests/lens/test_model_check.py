"""Whether hooks leave a model as it is is seen: on sound models, and on models that something disturbs."""

import pytest
import torch

import steerwidgets as sw


def test_every_family_is_the_model_that_it_was(lm):
    found = lm.verify()
    assert found.holds, found
    assert {row.what for row in found.rows} >= {"resid_post", "attn_out", "with a key-value cache", "in a padded batch"}
    assert f"{lm.name} gives the same logits with hooks on as without" in repr(found)
    assert "Padding: id 2; what is padding is told by the mask" in repr(found)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_tolerance_is_that_of_the_dtype(dtype, model_and_tokenizer):
    model, tokenizer = model_and_tokenizer
    found = sw.LanguageModel(model.to(dtype), tokenizer).verify()
    assert found.holds, found
    assert found.tolerance > 0.01


@pytest.fixture
def model_and_tokenizer():
    from support import models, toks

    return models.make("llama"), toks.byte_level()


@pytest.mark.parametrize(
    ("disturbs", "what"),
    [
        (lambda h: h + torch.randn_like(h), "read again, plainly"),
        (lambda h: h * 1.5 if h.shape[1] == 1 else h, "with a key-value cache"),
        (lambda h: h * 1.5 if h.shape[0] == 2 else h, "in a padded batch"),
    ],
)
def test_what_disturbs_it_is_named(model_and_tokenizer, disturbs, what):
    lm = sw.LanguageModel(*model_and_tokenizer)
    lm.model.model.layers[1].register_forward_hook(lambda _m, _a, out: disturbs(out))
    found = lm.verify("The answer is a long one")
    assert not found.holds
    assert what in found.said
    assert [row.holds for row in found.rows if row.what == what] == [False]


def test_a_forward_that_fails_is_a_finding(model_and_tokenizer):
    lm = sw.LanguageModel(*model_and_tokenizer)

    def fails(_module, args, _kwargs):
        if args and args[0].shape[0] == 2:
            raise RuntimeError("one row at a time")

    lm.model.model.layers[0].register_forward_pre_hook(fails, with_kwargs=True)
    [row] = [row for row in lm.verify().rows if row.what == "in a padded batch"]
    assert (row.holds, row.off, row.said) == (False, None, "it raised RuntimeError: one row at a time")


def test_training_mode_is_refused(model_and_tokenizer):
    lm = sw.LanguageModel(*model_and_tokenizer)
    lm.model.train()
    with pytest.raises(ValueError, match="training mode"):
        lm.verify()
