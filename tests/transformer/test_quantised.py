"""Models that bitsandbytes packs into 4 or 8 bits, on the CPU: read, steered and described like any other."""

import importlib
import logging

import pytest
import torch
from support import models, naive, toks
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

import steerwidgets as sw

# Packed blocks are of 64 numbers: matrices have to be multiples of that.
SIZES = {"llama": {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}, "gpt2": {"n_embd": 64}}
SETTINGS = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.float32},
    "8-bit": {"load_in_8bit": True},
}
TEXT = "The sea is wide"


@pytest.fixture(autouse=True)
def quiet():
    """It tells of every product what it casts."""
    importlib.import_module("bitsandbytes")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


@pytest.fixture(scope="module", params=[(words, family) for words in SETTINGS for family in SIZES], ids="-".join)
def packed(request, tmp_path_factory):
    words, family = request.param
    folder = tmp_path_factory.mktemp("model")
    models.make(family, **SIZES[family]).save_pretrained(folder)
    settings = BitsAndBytesConfig(**SETTINGS[words])
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=settings, device_map={"": "cpu"}).eval()
    kinds = {type(module).__name__ for module in model.modules()}
    assert {"nf4": "Linear4bit", "8-bit": "Linear8bitLt"}[words] in kinds
    return sw.LanguageModel(model, toks.byte_level()), words


def directions(lm):
    drawn = torch.randn(2, 64, generator=torch.Generator().manual_seed(3))
    return [sw.Direction(row, sw.Site(layer), str(layer)) for layer, row in zip((1, 2), drawn, strict=True)]


def test_described_in_words(packed):
    lm, words = packed
    assert (lm.provenance["quantisation"], lm.provenance["dtype"]) == (words, "float32")


def test_read_as_plain_hooks_read(packed):
    lm, _ = packed
    ids = list(lm.encode(TEXT, chat=False).token_ids)
    sites = [(1, "resid_post"), (2, "mlp_out"), (2, "attn_out")]
    expected = naive.streams(lm.model, ids, sites)
    found = lm.residuals(TEXT, [sw.Site(*site) for site in sites]).values
    for site in sites:
        torch.testing.assert_close(found[sw.Site(*site)][0], expected[site], rtol=1e-5, atol=1e-5)


def test_steered_as_plain_hooks_steer(packed):
    """Token by token, as it is generated: LLM.int8 rounds by what stands in a batch together."""
    lm, _ = packed
    one, other = directions(lm)
    prompt = torch.tensor([lm.encode(TEXT, chat=False).token_ids])
    blocks = models.blocks_of(lm.model)

    def add(_module, _args, out):
        h = out[0] if isinstance(out, tuple) else out
        return (h + 3 * one.vector, *out[1:]) if isinstance(out, tuple) else h + 3 * one.vector

    def ablate(_module, _args, out):
        h = out[0] if isinstance(out, tuple) else out
        unit = other.vector / other.vector.norm()
        h = h - (h @ unit)[..., None] * unit
        return (h, *out[1:]) if isinstance(out, tuple) else h

    handles = [blocks[1].register_forward_hook(add), blocks[2].register_forward_hook(ablate)]
    settings = {"max_new_tokens": 6, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    settings |= {"eos_token_id": None, "pad_token_id": 2}
    try:
        expected = lm.model.generate(prompt, attention_mask=torch.ones_like(prompt), **settings)
    finally:
        for handle in handles:
            handle.remove()
    with lm.steer(one.add(3) + other.ablate()):
        found = lm.model.generate(prompt, attention_mask=torch.ones_like(prompt), **settings)
    assert found.sequences.tolist() == expected.sequences.tolist()
    torch.testing.assert_close(torch.stack(found.logits), torch.stack(expected.logits), rtol=1e-4, atol=1e-4)


def test_every_verb_works(packed):
    lm, _ = packed
    one, other = directions(lm)
    pair = lm.compare(TEXT, one.add(3) + other.ablate(), chat=False, max_new_tokens=4, temperature=0, watch=[one])
    assert len(pair.steered.token_ids) == 4
    assert all(value >= 0 for value in pair.kl)
    assert lm.verify(TEXT).holds, lm.verify(TEXT)
    assert torch.as_tensor(lm.logit_lens(TEXT, k=3).probs).isfinite().all()
    assert len(lm.top_logits(sw.Neurons(lm, layer=1)[5], k=5).promoted) == 5
    assert lm.patch("The sea is wide", "The sky is wide", tokens=(5, 9)).share.isfinite().all()
