"""One short forward pass says whether a model's parts are what their names say; what is right loses nothing by it."""

import warnings

import pytest
import torch
from support import models, naive, toks
from support.both import PROMPT, vector
from support.hooks import all_hooks
from torch import nn

import steerwidgets as sw
from steerwidgets.transformer.architecture import UnknownArchitectureError

PROMISED = ("attn_out", "mlp_out", "resid_mid")


def served(model):
    architecture = sw.LanguageModel(model, toks.byte_level()).architecture
    return [[s for s in PROMISED if architecture.has(sw.Site(layer, s))] for layer in range(models.LAYERS)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_right_families_keep_their_streams_in_every_dtype(family, dtype):
    expected = ["attn_out", "mlp_out"] + ([] if family == "neox_parallel" else ["resid_mid"])
    assert served(models.make(family, dtype=dtype)) == [expected] * models.LAYERS


def test_a_sink_does_not_hide_what_holds():
    """In bfloat16 a residual of 20,000 at the first token rounds away what a sublayer adds there."""
    model = models.make("llama", dtype=torch.bfloat16)
    with torch.no_grad():
        model.model.embed_tokens.weight[5] = 0
        model.model.embed_tokens.weight[5, 3] = 20_000
    assert served(model) == [list(PROMISED)] * models.LAYERS


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("name", "stream"), [("self_attn", "attn_out"), ("mlp", "mlp_out")])
def test_what_is_scaled_on_its_way_is_refused_at_that_block_alone(name, stream, dtype):
    """A module that gives twice what is added: half of its output joins the residual."""
    model = models.make("llama", dtype=dtype)
    _halve(model.model.layers[1], name)
    left = [s for s in PROMISED if s != stream]
    assert served(model) == [list(PROMISED), left, list(PROMISED), list(PROMISED)]


def _halve(block, name):
    """The block's residual gets half of a sublayer's output, whatever that is changed to."""
    sublayer = getattr(block, name)

    class Halved(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = sublayer

        def forward(self, *args, **kwargs):
            out = self.inner(*args, **kwargs)
            return (0.5 * out[0], *out[1:]) if isinstance(out, tuple) else 0.5 * out

    # The name leads to the inner module, the block runs the one around it.
    block.register_module(name, sublayer)
    halved = Halved()
    plain = block.forward

    def forward(*args, **kwargs):
        object.__getattribute__(block, "_modules")[name] = halved
        try:
            return plain(*args, **kwargs)
        finally:
            object.__getattribute__(block, "_modules")[name] = sublayer

    block.forward = forward


def test_nothing_of_the_model_is_left_changed():
    """No hooks, the modules' modes and the user's random numbers as before; one pass, however many look."""
    model = models.make("llama").train()
    model.model.layers[2].eval()
    modes, hooks = [module.training for module in model.modules()], all_hooks(model)
    passes = []
    mine = model.register_forward_pre_hook(lambda *_: passes.append(1))
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    for _ in range(2):
        served(model)
    assert torch.equal(torch.rand(2), expected)
    mine.remove()
    assert [module.training for module in model.modules()] == modes
    assert all_hooks(model) == hooks
    assert len(passes) == 1


def test_a_hook_of_the_users_is_no_fault_of_the_model():
    model = models.make("llama")
    hook = model.model.layers[1].register_forward_hook(lambda _m, _a, out: out + 3)
    assert served(model) == [list(PROMISED)] * models.LAYERS
    hook.remove()


def test_a_model_that_fails_is_refused_in_one_sentence():
    model = models.make("llama")
    model.model.layers[1].mlp.forward = lambda h: {}[h.shape]
    before = all_hooks(model)
    with pytest.raises(UnknownArchitectureError, match=r"on token ids alone \(KeyError: torch.Size.*\)\.$"):
        sw.LanguageModel(model, toks.byte_level())
    assert all_hooks(model) == before


def test_another_norm_than_the_last_is_refused():
    model = models.make("llama")
    with pytest.raises(UnknownArchitectureError, match=r"final norm \(LlamaRMSNorm\) does not take what the last"):
        sw.LanguageModel(model, toks.byte_level(), final_norm=model.model.layers[0].input_layernorm)
    sw.LanguageModel(model, toks.byte_level())


class Prompted(nn.Module):
    """What PEFT makes of prompt tuning: virtual tokens' embeddings before the text's, and a longer mask."""

    def __init__(self, inner, count=4):
        super().__init__()
        self.inner, self.config = inner, inner.config
        self.virtual = nn.Parameter(torch.randn(count, models.D_MODEL, generator=torch.Generator().manual_seed(7)))

    def get_input_embeddings(self):
        return self.inner.get_input_embeddings()

    def get_output_embeddings(self):
        return self.inner.get_output_embeddings()

    def forward(self, input_ids, attention_mask=None, **others):
        others.pop("position_ids", None)
        rows = len(input_ids)
        embeds = torch.cat([self.virtual.expand(rows, -1, -1), self.get_input_embeddings()(input_ids)], dim=1)
        ones = torch.ones(rows, len(self.virtual), dtype=torch.long)
        mask = torch.cat([ones, torch.ones_like(input_ids) if attention_mask is None else attention_mask], dim=1)
        return self.inner(inputs_embeds=embeds, attention_mask=mask, **others)


def test_virtual_tokens_come_before_the_texts_own():
    """They are read with the text and count for no position; the model without them was looked at before."""
    inner = models.make("llama")
    sw.LanguageModel(inner, toks.byte_level())
    lm = sw.LanguageModel(Prompted(inner).eval(), toks.byte_level())
    assert lm.architecture.virtual_tokens == 4
    ids, v = torch.tensor([PROMPT]), vector(1)
    with torch.no_grad():
        own = lm.model(ids).logits[0, 4:]
        lens = lm.logit_lens(list(PROMPT), k=1)
        torch.testing.assert_close(lens.log_probs[-1, :, 0], own.log_softmax(-1).amax(-1), atol=1e-4, rtol=1e-4)
        at_second = torch.zeros(4 + len(PROMPT), 1)
        at_second[5] = 2.0
        hook = inner.model.layers[1].register_forward_hook(lambda _m, _a, out: out + at_second * v)
        expected = lm.model(ids).logits
        hook.remove()
        with lm.steer(sw.Direction(v, sw.Site(1), "x").add(2.0).at([1])):
            torch.testing.assert_close(lm.model(ids).logits, expected)
    assert lm.residuals(list(PROMPT), [sw.Site(1)]).values[sw.Site(1)].shape == (1, len(PROMPT), models.D_MODEL)


def test_given_ids_read_as_before(llama):
    """What a text reads is what plain hooks read."""
    site = sw.Site(2)
    with torch.no_grad():
        torch.testing.assert_close(
            llama.logit_lens(list(PROMPT), k=1).log_probs[-1, -1, 0],
            naive.logits(llama.model, PROMPT)[-1].log_softmax(-1).max(),
        )
    assert llama.residuals(list(PROMPT), [site]).values[site].shape[1] == len(PROMPT)


def test_a_model_of_nan_is_told_so():
    model = models.make("llama")
    with torch.no_grad():
        model.model.layers[2].mlp.down_proj.weight[0] = float("nan")
    with pytest.raises(
        UnknownArchitectureError, match=r"what block 2 gives is NaN or infinite: .* float32 or bfloat16\.$"
    ):
        sw.LanguageModel(model, toks.byte_level())


def test_what_overflows_only_by_what_the_look_adds_is_served():
    """A residual near the end of float16: the noise that is added to it would be infinite, the model itself is not."""
    model = models.make("llama", dtype=torch.float16)
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 3] = 55_000
    with pytest.warns(RuntimeWarning, match="gives up to 55,008 after block 0, and float16 ends at"):
        lm = sw.LanguageModel(model, toks.byte_level())
    assert lm.logit_lens(list(PROMPT), k=1).log_probs.isfinite().all()
    assert all({"attn_out", "mlp_out"} <= set(each) for each in served(model))


def test_a_model_without_weights_is_told_so():
    lm = sw.LanguageModel(models.make("llama").to("meta"), toks.byte_level())
    with pytest.raises(ValueError, match="its weights are on the meta device; load it with its weights"):
        lm.logit_lens(list(PROMPT))


def test_what_is_read_as_nan_is_told(fresh):
    """It may be NaN only later, or on some texts: then nothing fires, which is no finding."""
    lm = fresh("llama")
    cav = sw.CAV(vector(1)[None], ["x"], layer=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lm.read(list(PROMPT), cav)
    with torch.no_grad():
        lm.model.model.layers[2].mlp.down_proj.weight[0] = float("nan")
    for verb in (lambda: lm.read(list(PROMPT), cav), lambda: lm.search(list(PROMPT), cav)):
        with pytest.warns(RuntimeWarning, match=f"at block 3 resid_post is NaN or infinite at {len(PROMPT)} of"):
            verb()
    with pytest.warns(RuntimeWarning, match="at its last block is NaN or infinite at 1 of 1 tokens"):
        lm.logit_lens(list(PROMPT))
