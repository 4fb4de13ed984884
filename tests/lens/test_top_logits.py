"""What a feature of every kind promotes and suppresses: through the weights by hand, or one sentence."""

import pytest
import torch
from support.both import PROMPT, vector
from support.kinds import DIRECTED, make
from support.models import D_MODEL, blocks_of
from support.naive import stream_module

import steerwidgets as sw

FAMILIES = pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])


def by_hand(lm, v):
    """Every token's score: `W_U (g ⊙ v)`, `v` centred for a LayerNorm."""
    model = lm.model
    norm = model.transformer.ln_f if hasattr(model, "transformer") else model.model.norm
    gemma = model.config.model_type.startswith("gemma")
    v = v - v.mean() if isinstance(norm, torch.nn.LayerNorm) else v
    return (model.get_output_embeddings().weight @ ((1 + norm.weight if gemma else norm.weight) * v)).detach()


def check(lm, direction, v, k=6):
    scores, found = by_hand(lm, v), lm.top_logits(direction, k)
    for row, sign in ((found.promoted, 1), (found.suppressed, -1)):
        expected = (sign * scores).topk(k)
        assert [token.id for token, _ in row] == expected.indices.tolist()
        values = torch.tensor([value for _, value in row])
        torch.testing.assert_close(values, sign * expected.values, atol=1e-4, rtol=1e-4)


def through(lm, stream, v):
    """A direction of an inner stream through the sublayer's last matrix and, on Gemma 2, the gain of the norm after."""
    module, _ = stream_module(lm.model, 1, stream)
    weight = module.weight.detach()
    is_conv = type(module).__name__ == "Conv1D"
    out = v @ weight if is_conv else weight @ v
    if lm.model.config.model_type == "gemma2":
        block = blocks_of(lm.model)[1]
        after = block.post_feedforward_layernorm if stream == "mlp_acts" else block.post_attention_layernorm
        out = out * (1 + after.weight.detach())
    return out


@FAMILIES
@pytest.mark.parametrize("kind", DIRECTED)
def test_every_kind(kind, lm):
    feature = make(kind, lm)[3]
    v = through(lm, "mlp_acts", feature.vector) if kind == "Neuron" else feature.vector
    check(lm, feature, v)


@FAMILIES
@pytest.mark.parametrize("stream", ["mlp_acts", "attn_z"])
def test_directions_of_inner_streams(lm, stream):
    """Where heads × d_head equals d_model, too: the numbers fit the unembed, the space does not."""
    width = lm.architecture.width(sw.Site(1, stream))
    v = vector(1, width)
    check(lm, sw.Direction(v, sw.Site(1, stream), "inner"), through(lm, stream, v))
    rows = torch.stack([v, vector(2, width)])
    sae = sw.SAE(rows.T, torch.zeros(2), rows, torch.zeros(width), layer=1, stream=stream)
    check(lm, sae[0], through(lm, stream, v))


@pytest.mark.parametrize("stream", ["resid_pre", "resid_mid", "attn_out", "mlp_out"])
def test_streams_of_the_residual(llama, stream):
    v = vector(1)
    check(llama, sw.Direction(v, sw.Site(2, stream)), v)


def test_the_mixture_of_an_mfa(llama):
    mixture = make("MFA").mixture
    check(llama, mixture, mixture.vector)


@pytest.mark.parametrize("stream", ["mlp_in", "mlp_normalized"])
def test_what_the_mlp_takes_is_refused(llama, stream):
    with pytest.raises(ValueError, match=f"'x' lives at block 1 {stream}, which the MLP reads and nothing writes"):
        llama.top_logits(sw.Direction(vector(1), sw.Site(1, stream), "x"))


def test_wrong_widths_are_refused(llama):
    with pytest.raises(ValueError, match=r"has 31 numbers at block 1 resid_post, and only a direction of the residual"):
        llama.top_logits(sw.Direction(vector(1, 31), sw.Site(1), "thin"))
    with pytest.raises(ValueError, match=rf"'thin' has {D_MODEL} numbers, but block 1 mlp_acts .* has 48"):
        llama.top_logits(sw.Direction(vector(1), sw.Site(1, "mlp_acts"), "thin"))


def test_a_neurons_output_moves_the_logits_as_it_says(llama):
    """At the last block nothing comes after but the norm: the logits' change lies along what top_logits ranks."""
    neuron = sw.Neurons(llama, layer=3)[7]
    plain, steered = (llama.logit_difference(PROMPT, neuron.add(alpha), chat=False).raw for alpha in (1e-2, -1e-2))
    scores = by_hand(llama, neuron.output.vector)
    moved = (plain - steered) / 2
    scores, moved = scores - scores.mean(), moved - moved.mean()
    assert torch.nn.functional.cosine_similarity(scores, moved, dim=0) > 0.9
