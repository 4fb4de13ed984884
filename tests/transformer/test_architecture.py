"""A model's parts are found by structure, and an unknown one says what was looked for and what to pass."""

import importlib

import pytest
import torch
import transformers as hf
from support import models, naive
from support.both import PROMPT, forward, recipe, vector
from support.both import Pair as BothPair
from torch import nn

import steerwidgets as sw
from steerwidgets.transformer.architecture import Architecture, UnknownArchitectureError


def test_parts_of_every_family(model, family):
    parts = Architecture(model)
    assert parts.blocks is models.blocks_of(model)
    assert parts.base is models.base_of(model)
    assert parts.unembed is model.get_output_embeddings()
    assert (parts.layers, parts.d_model) == (models.LAYERS, models.D_MODEL)
    assert parts.soft_cap == (4.0 if family == "gemma2" else None)
    assert parts.input_device == torch.device("cpu")


def test_the_final_norm_is_the_one_before_the_unembed(lm):
    """norm -> unembed -> soft cap of the last residual gives the model's own logits."""
    residual = lm.residuals(list(PROMPT), [sw.Site(3)]).values[sw.Site(3)][0]
    logits = lm.architecture.unembed(lm.architecture.final_norm(residual))
    if lm.architecture.soft_cap:
        logits = lm.architecture.soft_cap * torch.tanh(logits / lm.architecture.soft_cap)
    torch.testing.assert_close(logits, naive.logits(lm.model, PROMPT), atol=1e-4, rtol=1e-4)


OTHERS = {
    "olmo2": (hf.Olmo2ForCausalLM, hf.Olmo2Config, {}),
    "granite": (hf.GraniteForCausalLM, hf.GraniteConfig, {"residual_multiplier": 0.4}),
    "phi3": (hf.Phi3ForCausalLM, hf.Phi3Config, {}),
    "glm4": (hf.Glm4ForCausalLM, hf.Glm4Config, {"head_dim": 8}),
    "cohere": (hf.CohereForCausalLM, hf.CohereConfig, {}),
    "falcon": (hf.FalconForCausalLM, hf.FalconConfig, {"num_attention_heads": 4}),
    "gptj": (hf.GPTJForCausalLM, hf.GPTJConfig, {"n_embd": 32, "n_layer": 4, "n_head": 4, "rotary_dim": 4}),
    "opt": (hf.OPTForCausalLM, hf.OPTConfig, {"word_embed_proj_dim": 32, "ffn_dim": 48}),
}


def other(name):
    """A model of a family that nobody named: its streams have to be right, or refused."""
    model_class, config_class, settings = OTHERS[name]
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 4}
    sizes |= {"intermediate_size": 48, "vocab_size": models.VOCABULARY, "tie_word_embeddings": False} | models._IDS
    if name == "gptj":
        sizes = {"vocab_size": models.VOCABULARY, "tie_word_embeddings": False} | models._IDS
    torch.manual_seed(0)
    model = model_class(config_class(**(sizes | settings))).eval()
    models._randomise(model, 0)
    return model


@pytest.mark.parametrize("name", OTHERS)
def test_streams_of_other_families_add_up_or_are_refused(name, tokenizer):
    """What a stream is called is a promise: attn_out + mlp_out is what the block adds, resid_mid lies between."""
    lm = sw.LanguageModel(other(name), tokenizer("chatml"))

    def read(stream):
        site = sw.Site(1, stream)
        try:
            return lm.residuals(list(PROMPT), [site]).values[site][0]
        except ValueError as error:
            assert "no such stream" in str(error)  # noqa: PT017
            return None

    before, after = read("resid_pre"), read("resid_post")
    attention, mlp, middle = read("attn_out"), read("mlp_out"), read("resid_mid")
    if attention is not None and mlp is not None:
        torch.testing.assert_close(before + attention + mlp, after, atol=1e-4, rtol=1e-4)
    if attention is not None and middle is not None:
        torch.testing.assert_close(before + attention, middle, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", OTHERS)
def test_other_families_are_steered_at_their_blocks(name, tokenizer):
    lm = sw.LanguageModel(other(name), tokenizer("chatml"))
    steer = sw.Direction(vector(1), sw.Site(1), "x").add(1.5)

    def hook(_module, _args, out):
        return (out[0] + 1.5 * vector(1), *out[1:]) if isinstance(out, tuple) else out + 1.5 * vector(1)

    handle = lm.architecture.blocks[1].register_forward_hook(hook)
    ids = torch.tensor([PROMPT])
    settings = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 2, "eos_token_id": None}
    with torch.no_grad():
        logits = lm.model(input_ids=ids).logits[0]
        text = lm.model.generate(ids, attention_mask=torch.ones_like(ids), **settings)[0, len(PROMPT) :]
    handle.remove()
    torch.testing.assert_close(forward(lm, steer, PROMPT), logits, atol=3e-4, rtol=1e-4)
    out = lm.compare(PROMPT, steer, temperature=0, max_new_tokens=4)
    assert out.steered.token_ids == tuple(text.tolist())[: len(out.steered.token_ids)]


@pytest.mark.parametrize("stream", ["attn_out", "mlp_out"])
def test_what_granite_multiplies_is_served_as_what_is_added(stream, tokenizer):
    """Granite adds 0.4 times what a sublayer gives: its stream, read, moved or left, is what joins the residual."""
    lm = sw.LanguageModel(other("granite"), tokenizer("chatml"))
    site, block = sw.Site(1, stream), lm.model.model.layers[1]
    sublayer = block.self_attn if stream == "attn_out" else block.mlp
    with torch.no_grad():
        plain = lm.model(torch.tensor([PROMPT])).logits[0]
        hook = sublayer.register_forward_hook(
            lambda _m, _a, out: (
                (out[0] + 1.5 / 0.4 * vector(1), *out[1:]) if isinstance(out, tuple) else out + 1.5 / 0.4 * vector(1)
            )
        )
        expected = lm.model(torch.tensor([PROMPT])).logits[0]
        hook.remove()
    moved = sw.Direction(vector(1), site, "x")
    torch.testing.assert_close(forward(lm, moved.add(1.5), PROMPT), expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(forward(lm, moved.add(0.0), PROMPT), plain)


def test_what_a_neuron_of_granite_writes_is_multiplied_too(tokenizer):
    lm = sw.LanguageModel(other("granite"), tokenizer("chatml"))
    neuron, column = sw.Neurons(lm, layer=1)[3], 0.4 * lm.model.model.layers[1].mlp.down_proj.weight[:, 3]
    norm, head = lm.architecture.final_norm, lm.architecture.unembed
    with torch.no_grad():
        want = head(norm(1e4 * column) * column.square().mean().sqrt())
    for token, value in lm.top_logits(neuron, k=3).promoted:
        assert value == pytest.approx(float(want[token.id]), rel=1e-3)
    # Through the model: what attribution says that the change adds is what it adds.
    found = lm.attribution(list(PROMPT), 5, recipe=neuron.add(2.0))
    assert sum(abs(row.value) for row in found.rows if row.kind == "rounding") < 1e-2
    assert any(row.kind == "steer" for row in found.rows)


def test_pyvene_is_not_given_what_is_multiplied_on_its_way(tokenizer):
    importlib.import_module("pyvene")
    lm = sw.LanguageModel(other("granite"), tokenizer("chatml"))
    with pytest.raises(ValueError, match=r"block 1 attn_out of .* is what its module gives times 0.4"):
        sw.Recipe.of(sw.Direction(vector(1), sw.Site(1, "attn_out"), "x").add(1)).to_pyvene(lm)


class Odd(nn.Module):
    """A causal model with names of its own, around a tiny Llama's parts."""

    def __init__(self, inner, *, twin=False):
        super().__init__()
        self.config = inner.config
        self.trunk = Trunk(inner.model, twin=twin)
        self.to_vocabulary = inner.lm_head
        self.embed = inner.model.embed_tokens

    def get_input_embeddings(self):
        return self.embed

    def forward(self, input_ids, attention_mask=None, **_):
        from types import SimpleNamespace

        return SimpleNamespace(logits=self.to_vocabulary(self.trunk(input_ids, attention_mask)))


class Trunk(nn.Module):
    def __init__(self, inner, *, twin):
        super().__init__()
        self.steps = inner.layers
        self.inner = inner.embed_tokens
        self.rotary = inner.rotary_emb
        self.last = inner.norm
        if twin:
            self.gates = nn.ModuleList(nn.Linear(2, 2) for _ in inner.layers)

    def forward(self, input_ids, attention_mask=None, **_):
        h = self.inner(input_ids)
        positions = torch.arange(h.shape[1])[None]
        mask = torch.full((h.shape[1],) * 2, float("-inf")).triu(1)[None, None]
        for block in self.steps:
            h = block(h, attention_mask=mask, position_ids=positions, position_embeddings=self.rotary(h, positions))
        return self.last(h)


def test_unknown_structures_say_what_was_looked_for(fresh, tokenizer):
    inner = fresh().model
    tok = tokenizer("chatml")
    says = r"final norm of Odd was not found: Trunk was looked at for norm, ln_f.*has steps, inner, .*Pass it"
    with pytest.raises(UnknownArchitectureError, match=says):
        sw.LanguageModel(Odd(inner), tok)
    with pytest.raises(UnknownArchitectureError, match=r"unembed of Odd was not found.*pass unembed="):
        sw.LanguageModel(Odd(inner), tok, final_norm=inner.model.norm)
    twin = Odd(inner, twin=True)
    with pytest.raises(
        UnknownArchitectureError, match=r"blocks of Odd.*num_hidden_layers \(4\).*trunk.steps, trunk.gates.*blocks="
    ):
        sw.LanguageModel(twin, tok)
    with pytest.raises(UnknownArchitectureError, match=r"No module of Odd holds the given blocks.*base="):
        sw.LanguageModel(twin, tok, blocks=nn.ModuleList([nn.Linear(2, 2)]))
    with pytest.raises(UnknownArchitectureError, match=r"blocks of Linear.*\(None\).*these are: none"):
        sw.LanguageModel(nn.Linear(2, 2), tok)


def test_given_parts_are_used(fresh, tokenizer):
    inner = fresh().model
    steers, changes = recipe(BothPair(vector(1)).make("add", 1.0))
    expected = naive.logits(inner, PROMPT, changes)
    odd = Odd(inner, twin=True)
    lm = sw.LanguageModel(
        odd, tokenizer("chatml"), blocks=odd.trunk.steps, final_norm=odd.trunk.last, unembed=odd.to_vocabulary
    )
    assert lm.architecture.base is odd.trunk
    assert lm.name == "Odd" or lm.name == inner.config._name_or_path
    torch.testing.assert_close(forward(lm, steers, PROMPT), expected, atol=3e-4, rtol=1e-4)


def test_a_headless_model_is_refused(tokenizer):
    headless = hf.LlamaModel(models.make("llama").config)
    with pytest.raises(UnknownArchitectureError, match=r"unembed.*AutoModelForCausalLM"):
        sw.LanguageModel(headless, tokenizer("chatml"))


def test_layers_out_of_range(lm):
    with pytest.raises(ValueError, match=r"block 4 resid_post was asked for, but .* has 4 blocks, counted from 0 to 3"):
        lm.residuals([5, 6], [sw.Site(4)])


def test_a_site_by_its_hook_name():
    for stream in (
        "resid_pre",
        "resid_mid",
        "resid_post",
        "attn_out",
        "mlp_out",
        "mlp_acts",
        "attn_z",
        "mlp_in",
        "mlp_normalized",
    ):
        site = sw.Site(7, stream)
        assert sw.Site.from_hook_name(site.hook_name) == site
    assert sw.Site.from_hook_name("blocks.3.mlp.hook_post") == sw.Site(3, "mlp_acts")
    for bad in ("blocks.x.hook_resid_post", "blocks.3.hook_soul", "hook_embed", ""):
        with pytest.raises(
            ValueError, match=r"hook name .* is none of those that steerwidgets knows: blocks.N.hook_resid_pre"
        ):
            sw.Site.from_hook_name(bad)
