"""Tuned lenses against tuned-lens itself, Jacobian lenses against their formula and a Jacobian, in their own files."""

import importlib
import json

import pytest
import torch
from safetensors.torch import save_file
from support import lens as by_hand
from support import models, naive, toks
from support.both import PROMPT, Pair, recipe, vector
from support.models import D_MODEL, LAYERS, blocks_of

import steerwidgets as sw

FAMILIES = ("llama", "gpt2", "gemma2", "neox_serial")


def lm_of(family):
    return sw.LanguageModel(models.make(family), toks.byte_level())


def matrix(seed, scale=0.3):
    drawn = torch.randn(D_MODEL, D_MODEL, generator=torch.Generator().manual_seed(seed))
    return scale * drawn / D_MODEL**0.5


def close(found, expected):
    torch.testing.assert_close(found.double(), expected.double(), atol=3e-4, rtol=1e-4)


def of_logits(lens, logits):
    """Every cell of a lens against logits [layer, position, vocabulary]."""
    logs = logits.double().log_softmax(-1)
    close(lens.log_probs, logs.topk(lens.log_probs.shape[-1]).values)
    close(logs.gather(-1, lens.token_ids.long()), lens.log_probs.double())


@pytest.mark.parametrize("family", ["llama", "gpt2", "neox_serial"])
@pytest.mark.parametrize("given", ["folder", "file", "object", "safetensors"])
def test_a_tuned_lens_as_tuned_lens_reads_it(family, given, tmp_path):
    tuned_lens = importlib.import_module("tuned_lens")
    lm = lm_of(family)
    theirs = tuned_lens.TunedLens.from_model(lm.model)
    for number, translator in enumerate(theirs):
        translator.weight.data = matrix(number)
        translator.bias.data = vector(number, norm=0.5)
    theirs.save(tmp_path)
    state = torch.load(tmp_path / "params.pt", weights_only=True)
    lens = {"folder": tmp_path, "file": str(tmp_path / "params.pt")}.get(given)
    if given == "object":
        lens = sw.FittedLens.load(tmp_path)
        assert (lens.kind, lens.numbers) == ("tuned lens", tuple(range(LAYERS)))
    elif given == "safetensors":
        (tmp_path / "params.pt").unlink()
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "params.safetensors")
        lens = tmp_path
    with torch.no_grad():
        hidden = lm.model(torch.tensor([PROMPT]), output_hidden_states=True).hidden_states
        trajectory = torch.stack([theirs(h[0], i) for i, h in enumerate(hidden[:-1])])
    of_logits(lm.logit_lens(PROMPT, lens=lens, stream="resid_pre", k=7), trajectory)
    ours = lm.logit_lens(PROMPT, lens=lens, k=7)
    of_logits(ours, torch.cat([trajectory[1:], naive.logits(lm.model, PROMPT)[None]]))
    assert ours.reading == "tuned lens"
    assert repr(ours).startswith("Likeliest next token at each layer's resid_post by a tuned lens")
    assert float(ours.kl[-1].max()) < 1e-5, "what leaves the last block is the model's own"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_jacobian_lens_by_its_formula(family, dtype, tmp_path):
    """`jlens.JacobianLens.save`: J_l for what leaves block l; `lens_l(h) = unembed(J_l h)`."""
    lm = lm_of(family)
    J = {block: (torch.eye(D_MODEL) + matrix(block)).to(dtype) for block in range(LAYERS - 1)}
    held = {"J": J, "n_prompts": 100, "source_layers": list(J), "d_model": D_MODEL}
    torch.save(held, tmp_path / "lens.pt")
    save_file({f"J.{block}": tensor for block, tensor in J.items()}, tmp_path / "lens.safetensors")
    post = by_hand.streams(lm.model, PROMPT, "resid_post").double()
    expected = torch.stack([by_hand.logits(lm.model, post[b] @ J[b].double().T) for b in range(LAYERS - 1)])
    for name in ("lens.pt", "lens.safetensors"):
        ours = lm.logit_lens(PROMPT, lens=tmp_path / name, k=6, track=[7])
        of_logits(ours, torch.cat([expected, naive.logits(lm.model, PROMPT)[None].double()]))
        final = naive.logits(lm.model, PROMPT).double().log_softmax(-1)
        logs = expected.log_softmax(-1)
        close(ours.kl[:-1], (final.exp() * (final - logs)).sum(-1))
        close(ours.tracked_log_probs[:-1], logs[..., [7]])
        assert ours.reading == "Jacobian lens"
        again = ours.track([300])
        close(again.tracked_log_probs[:-1], logs[..., [300]])
    before = lm.logit_lens(PROMPT, lens=tmp_path / "lens.pt", stream="resid_pre", layers=[1, 2, 3], k=6)
    of_logits(before, torch.stack([expected[0], expected[1], expected[2]]))
    assert sw.FittedLens.load(tmp_path / "lens.pt").provenance == {"file": "lens.pt", "prompts": "100"}


def test_the_jacobian_of_the_last_block_at_one_token(llama):
    """J_l as autograd gives it, rows the last residual's numbers and columns this one's: no transpose too many."""
    last, h = blocks_of(llama.model)[LAYERS - 1], by_hand.streams(llama.model, PROMPT, "resid_post")[LAYERS - 2].float()
    with torch.no_grad():
        rotary = llama.model.model.rotary_emb(h[None], torch.arange(len(PROMPT))[None])

    def through(row):
        x = torch.cat([h[:-1], row[None]])[None]
        out = last(x, position_embeddings=rotary, position_ids=torch.arange(len(PROMPT))[None], attention_mask=None)
        return (out[0] if isinstance(out, tuple) else out)[0, -1]

    J = torch.autograd.functional.jacobian(through, h[-1])
    lens = sw.FittedLens("Jacobian lens", {LAYERS - 1: J})
    at = {"layers": [LAYERS - 2], "positions": [-1], "k": 3}
    ours = llama.logit_lens(PROMPT, lens=lens, **at)
    of_logits(ours, by_hand.logits(llama.model, (J.double() @ h[-1].double())[None])[None])


@pytest.mark.parametrize("family", FAMILIES)
def test_steered_and_baseline_by_a_fitted_lens(family):
    lm = lm_of(family)
    steers, changes = recipe(Pair(vector(4), 1).make("add", 2.0))
    lens = sw.FittedLens(
        "tuned lens", {b: matrix(b) for b in range(LAYERS)}, {b: vector(b, norm=0.3) for b in range(1, LAYERS)}
    )
    ours = lm.logit_lens(PROMPT, steers, lens=lens, k=5)
    for made, what in ((ours, changes), (ours.baseline, ())):
        post = by_hand.streams(lm.model, PROMPT, "resid_post", what).double()
        carried = [post[b] + post[b] @ matrix(b + 1).double().T + vector(b + 1, norm=0.3) for b in range(LAYERS - 1)]
        of_logits(made, by_hand.logits(lm.model, torch.stack([*carried, post[-1]])))
        assert made.reading == "tuned lens"
    close(ours.difference.entropy, ours.entropy - ours.baseline.entropy)


def test_lenses_that_do_not_fit(llama, tmp_path):
    eye = torch.eye(D_MODEL)
    fits = sw.FittedLens("Jacobian lens", {1: eye, 2: eye, 3: eye})
    with pytest.raises(ValueError, match="fitted to the residual stream, and mlp_out was asked for"):
        llama.logit_lens(PROMPT, lens=fits, stream="mlp_out")
    with pytest.raises(ValueError, match=r"no matrix for block 0 resid_pre; it has some for residuals with 1 to 3"):
        llama.logit_lens(PROMPT, lens=fits, stream="resid_pre")
    with pytest.raises(ValueError, match=r"for residuals of 8 numbers, and .* has 32"):
        llama.logit_lens(PROMPT, lens=sw.FittedLens("tuned lens", {1: torch.eye(8)}))
    with pytest.raises(ValueError, match=r"what leaves block 7, and .* has 4 blocks"):
        llama.logit_lens(PROMPT, lens=sw.FittedLens("tuned lens", {8: eye}))
    heads = sw.FittedLens("Jacobian lens", dict.fromkeys(range(1, LAYERS + 1), 2 * eye))
    with pytest.raises(ValueError, match=r"for what leaves the last block .* fitted elsewhere"):
        llama.logit_lens(PROMPT, lens=heads)
    whole = sw.FittedLens("Jacobian lens", dict.fromkeys(range(1, LAYERS + 1), eye))
    close(llama.logit_lens(PROMPT, lens=whole).log_probs, llama.logit_lens(PROMPT).log_probs)
    with pytest.raises(TypeError, match="lens= takes a FittedLens or the path of one, but a int"):
        llama.logit_lens(PROMPT, lens=3)
    with pytest.raises(FileNotFoundError, match="There is no lens"):
        llama.logit_lens(PROMPT, lens=tmp_path / "none.pt")
    with pytest.raises(ValueError, match="'tuned lens' or a 'Jacobian lens', but 'logit lens'"):
        sw.FittedLens("logit lens", {1: eye})
    with pytest.raises(ValueError, match="Matrix 2 of this Jacobian lens holds NaN"):
        sw.FittedLens("Jacobian lens", {1: eye, 2: eye * float("nan")})
    with pytest.raises(ValueError, match=r"Matrix 2 of this Jacobian lens is \[d_model: 32, d_model: 32\]"):
        sw.FittedLens("Jacobian lens", {1: eye, 2: eye[:4]})


def test_a_lens_of_another_model_warns(tmp_path):
    model = models.make("llama")
    model.config.name_or_path = "meta-llama/Llama-3.2-1B"
    lm = sw.LanguageModel(model, toks.byte_level())
    save = {f"{b}.weight": matrix(b) for b in range(LAYERS)}
    torch.save(save, tmp_path / "params.pt")
    config = {"base_model_name_or_path": "gpt2-large", "d_model": D_MODEL, "num_hidden_layers": LAYERS}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.warns(sw.OtherModelWarning, match="tuned lens was fitted to gpt2-large, but the model is"):
        lm.logit_lens(PROMPT, lens=tmp_path)
