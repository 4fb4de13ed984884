"""The logit lens against the model's own logits, and against norm, unembed and soft cap written out by hand."""

from __future__ import annotations

import pytest
import torch
from support import lens as by_hand
from support import models, naive, toks
from support.both import PROMPT, Pair, at, recipe
from support.models import LAYERS, VOCABULARY

import steerwidgets as sw

FAMILIES = pytest.mark.parametrize("family", models.FAMILIES)


def lm_of(family, **changes):
    return sw.LanguageModel(models.make(family, **changes), toks.byte_level())


def close(found, expected, tolerance=1e-4):
    torch.testing.assert_close(found.double(), expected.double(), atol=tolerance, rtol=tolerance)


@FAMILIES
def test_the_last_row_is_the_models_own_output(family):
    lm = lm_of(family)
    lens = lm.logit_lens(PROMPT, k=VOCABULARY)
    own = naive.logits(lm.model, PROMPT).log_softmax(-1)
    close(lens.log_probs[-1], own.gather(-1, lens.token_ids[-1].long()), 1e-5)
    assert lens.answers.tolist() == own.argmax(-1).tolist()
    assert float(lens.kl[-1].abs().max()) < 1e-5


@FAMILIES
@pytest.mark.parametrize("stream", ["resid_post", "resid_pre", "attn_out", "mlp_out"])
def test_every_layer_by_hand(family, stream):
    lm = lm_of(family)
    lens = lm.logit_lens(PROMPT, k=5, stream=stream, track=[7, 300])
    logs = by_hand.logits(lm.model, by_hand.streams(lm.model, PROMPT, stream)).log_softmax(-1)
    final = naive.logits(lm.model, PROMPT).double().log_softmax(-1)
    best = logs.topk(5)
    close(lens.log_probs, best.values)
    close(logs.gather(-1, lens.token_ids.long()), best.values)
    close(lens.entropy, -(logs.exp() * logs).sum(-1))
    close(lens.kl, (final.exp() * (final - logs)).sum(-1))
    close(lens.tracked_log_probs, logs[..., [7, 300]])
    ranks = torch.stack([(logs > logs[..., [i]] + 1e-9).sum(-1) for i in (7, 300)], dim=-1)
    assert lens.tracked_ranks.tolist() == ranks.tolist()
    assert (lens.token_ids.dtype, lens.log_probs.dtype) == (torch.int32, torch.float32)


@FAMILIES
@pytest.mark.parametrize("stream", ["resid_post", "resid_pre", "attn_out", "mlp_acts"])
def test_steered_and_baseline(family, stream):
    lm = lm_of(family)
    width = lm.architecture.width(sw.Site(1, stream))
    v = torch.randn(width, generator=torch.Generator().manual_seed(4))
    steers, changes = recipe(Pair(v, 1, stream).make("add", 3.0), at(Pair(v, 2, stream).make("add", -2.0), "prompt"))
    lens = lm.logit_lens(PROMPT, steers, k=6, track=[7])
    plain = by_hand.logits(lm.model, by_hand.streams(lm.model, PROMPT)).log_softmax(-1)
    moved = by_hand.logits(lm.model, by_hand.streams(lm.model, PROMPT, changes=changes)).log_softmax(-1)
    close(lens.log_probs, moved.topk(6).values)
    close(lens.baseline.log_probs, plain.topk(6).values)
    found, change = lens.difference, moved.exp() - plain.exp()
    close(found.rises.values, change.topk(6).values)
    close(change.gather(-1, found.rises.token_ids.long()), change.topk(6).values)
    close(found.falls.values, -(-change).topk(6).values)
    close(change.gather(-1, found.falls.token_ids.long()), -(-change).topk(6).values)
    best = plain.argmax(-1, keepdim=True)
    close(found.d_top, (moved.gather(-1, best) - plain.gather(-1, best))[..., 0], 1e-3)
    close(found.tracked_log_probs, (moved - plain)[..., [7]], 1e-3)
    assert found.steered_sites == (sw.Site(1, stream), sw.Site(2, stream))
    close(lens.baseline.entropy + found.entropy, lens.entropy)
    close(lens.baseline.kl + found.kl, lens.kl)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_the_last_layer_differs_as_the_table_of_logits_says(family):
    lm = lm_of(family)
    steer = Pair(torch.randn(models.D_MODEL, generator=torch.Generator().manual_seed(2)), 1).make("add", 2.0)[0]
    table = lm.logit_difference(list(PROMPT), steer, k=8)
    found = lm.logit_lens(list(PROMPT), steer, k=8).difference
    for ours, theirs in ((found.promoted, table.promoted), (found.suppressed, table.suppressed)):
        assert ours.token_ids[-1, -1].tolist() == [token.id for token, _ in theirs]
        close(ours.values[-1, -1], torch.tensor([value for _, value in theirs]))


@pytest.mark.parametrize("family", ["llama", "gemma2", "gemma3", "gpt2", "neox_parallel", "qwen3"])
@pytest.mark.parametrize("stream", ["resid_pre", "attn_out", "mlp_out", "resid_post"])
def test_the_direct_path_is_what_the_change_adds_where_nothing_comes_after(family, stream):
    """`W_U (g ⊙ (h' - h)) / σ` at the steered run's last residual, by hand; centred, before the soft cap."""
    lm = lm_of(family)
    pair = Pair(torch.randn(models.D_MODEL, generator=torch.Generator().manual_seed(5)), 2, stream)
    steers, changes = recipe(at(pair.make("add", 4.0), "indices", (3, 5)))
    (path,) = lm.logit_lens(PROMPT, steers, k=4, track=[9]).difference.direct
    final = by_hand.streams(lm.model, PROMPT, changes=changes)[-1].double()
    norm, change = by_hand.final_norm(lm.model), torch.zeros_like(final)
    change[[3, 5]] = 4.0 * pair.v.double()
    if isinstance(norm, torch.nn.LayerNorm):
        change = change - change.mean(-1, keepdim=True)
        final = final - final.mean(-1, keepdim=True)
    gain = norm.weight.detach().double() + (1.0 if family.startswith("gemma") else 0.0)
    scale = final.pow(2).mean(-1, keepdim=True).add(1e-6).sqrt()
    logits = (gain * change / scale) @ lm.model.get_output_embeddings().weight.detach().double().T
    logits = logits - logits.mean(-1, keepdim=True)
    for position in (3, 5):
        close(path.promoted.values[position], logits[position].topk(4).values, 1e-3)
        close(path.suppressed.values[position], -(-logits[position]).topk(4).values, 1e-3)
        assert int(path.promoted.token_ids[position, 0]) == int(logits[position].argmax())
        close(path.tracked[position], logits[position, [9]], 1e-3)
    assert [bool(norm > 0) for norm in path.norms] == [position in (3, 5) for position in range(len(PROMPT))]
    assert path.site == sw.Site(2, stream)


@FAMILIES
def test_bf16_rounds_as_the_model_does(family):
    lm = sw.LanguageModel(models.make(family, dtype=torch.bfloat16), toks.byte_level())
    lens = lm.logit_lens(PROMPT, k=3)
    own = naive.logits(lm.model, PROMPT).log_softmax(-1)
    close(lens.log_probs[-1], own.topk(3).values, 3e-2)


def test_logits_that_are_scaled():
    """Granite divides its logits, and multiplies what its sublayers give; Cohere multiplies its logits."""
    import transformers as hf

    sizes = models._ROTARY | models._IDS
    sizes.pop("head_dim")
    granite = hf.GraniteConfig(**sizes, logits_scaling=3.0, residual_multiplier=0.5, embedding_multiplier=2.0)
    cohere = hf.CohereConfig(**sizes, logit_scale=0.25)
    for model_class, config in ((hf.GraniteForCausalLM, granite), (hf.CohereForCausalLM, cohere)):
        torch.manual_seed(0)
        model = model_class(config).eval()
        models._randomise(model, 0)
        lm = sw.LanguageModel(model, toks.byte_level())
        own = naive.logits(model, PROMPT).log_softmax(-1)
        close(lm.logit_lens(PROMPT, k=5).log_probs[-1], own.topk(5).values, 1e-5)
        found = lm.attribution(PROMPT, 7, 9)
        assert found.total == pytest.approx(found.logit, rel=1e-4, abs=1e-5)
        assert found.logit == pytest.approx(float(own[-1, 7] - own[-1, 9]), abs=1e-4)


def test_the_whole_logits_never_exist():
    """[layer, position, vocabulary] of this text is 184 MB; the largest tensor made is the chunk or the unembed."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    from steerwidgets.lens.cells import CHUNK_BYTES

    lm = sw.LanguageModel(models.make("llama", vocab_size=60_000), toks.byte_level())
    largest = 0

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for each in tree_leaves(out):
                if isinstance(each, torch.Tensor):
                    largest = max(largest, each.numel() * each.element_size())
            return out

    ids = [int(i) for i in torch.randint(5, 300, (192,), generator=torch.Generator().manual_seed(0))]
    whole = LAYERS * len(ids) * 60_000 * 4
    with Watching():
        lens = lm.logit_lens(ids)
    assert lens.token_ids.shape == (LAYERS, 192, 10)
    assert largest <= CHUNK_BYTES["cpu"] < whole / 3
    own = naive.logits(lm.model, ids).log_softmax(-1)
    close(lens.log_probs[-1], own.topk(10).values)
