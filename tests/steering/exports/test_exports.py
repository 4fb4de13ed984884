"""A recipe in the forms of others: what they do with it is what our hooks do."""

import base64
import hashlib
import json
import runpy
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers as hf
from support import models, sae, toks
from support.both import PROMPT, forward, vector
from support.models import D_MODEL, blocks_of

import steerwidgets as sw

CLOSE = {"atol": 3e-4, "rtol": 1e-4}
COUNT = 6


def saved(family, folder):
    """A model and tokenizer that `from_pretrained` finds, as a user has them."""
    folder.mkdir()
    models.make(family).save_pretrained(folder)
    toks.byte_level().save_pretrained(folder)
    return sw.LanguageModel.from_pretrained(str(folder), dtype=torch.float32)


def recipes():
    a, b = sw.Direction(vector(1), sw.Site(1), 'it\'s a \\ "b"\n'), sw.Direction(vector(2), sw.Site(1), "b")
    latents = sae.make("jumprelu", threshold=0.2, labels={"sea": 3})
    relu = sae.make(apply_b_dec_to_input=False, rescale_acts_by_decoder_norm=True, layer=2)
    reft = sw.ReFT(torch.stack([vector(4, norm=1.0)]), layer=2)
    return {
        "add": a.add(6) + sw.Direction(vector(3), sw.Site(2), "c").add(-0.5),
        "projections": a.ablate() + (a + b).project(9.0) + b.clip(9.0, None) + b.add(2.0),
        "sae": latents["sea"].clamp(30.0) + latents[5].scale(-4.0) + relu[7].ablate() + relu[8].clamp(30.0),
        "reft": sw.Recipe.of(reft[0].clamp(60.0)),
        "sublayers": sw.Direction(vector(1), sw.Site(1, "attn_out")).add(4.0)
        + sw.Direction(vector(2), sw.Site(1, "mlp_out")).add(4.0)
        + sw.Direction(vector(2), sw.Site(2, "resid_pre")).add(0.5),
        "random": sw.Recipe.of(a.add(8.0).random_direction(3)),
    }


RECIPES = recipes()
FAMILIES = ("llama", "gpt2", "gemma2", "neox_parallel")


@pytest.fixture(scope="module", params=FAMILIES)
def kept(request, tmp_path_factory):
    return saved(request.param, tmp_path_factory.mktemp("kept") / request.param)


def run(code, folder):
    """nnsight reads the lines of a trace, so code stands in a file, as in a notebook it stands in a cell."""
    (folder / "snippet.py").write_text(code, encoding="utf-8")
    found = runpy.run_path(str(folder / "snippet.py"))
    return tuple(found["out"][0, len(PROMPT) :].tolist()), found


@pytest.mark.parametrize("name", RECIPES)
def test_plain_pytorch_and_nnsight_do_the_same(kept, name, tmp_path):
    recipe = RECIPES[name]
    pair = kept.compare(list(PROMPT), recipe, temperature=0, max_new_tokens=COUNT)
    ours, plain = pair.steered.token_ids, pair.baseline.token_ids
    assert ours != plain
    torch_ids, found = run(recipe.to_torch(kept, list(PROMPT), COUNT), tmp_path)
    assert torch_ids[: len(ours)] == ours
    nnsight_ids, _ = run(recipe.to_nnsight(kept, list(PROMPT), COUNT), tmp_path)
    assert nnsight_ids[: len(ours)] == ours
    # The hooks are off again, and on the same tokens they move logits as ours do.
    model = found["model"]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_logits_of_the_snippets_hooks(kept, tmp_path):
    """Greedy tokens may agree by luck; the changes themselves do not."""
    for name, recipe in RECIPES.items():
        _, found = run(recipe.to_torch(kept, list(PROMPT), 1), tmp_path)
        handles = [
            found["attach"](kept.architecture.hookpoint(site).module, found[f"change_{number}"], is_input)
            for number, site in enumerate(recipe.sites)
            for is_input in [kept.architecture.hookpoint(site).is_input]
        ]
        try:
            with torch.no_grad():
                theirs = kept.model(input_ids=torch.tensor([PROMPT])).logits[0].float()
        finally:
            for handle in handles:
                handle.remove()
        ours = forward(kept, recipe, PROMPT, len(PROMPT))
        torch.testing.assert_close(theirs, ours, msg=lambda text, name=name: f"{name}: {text}", **CLOSE)


def test_a_snippet_runs_as_copied_in_a_fresh_python(tmp_path):
    lm = saved("llama", tmp_path / "model")
    (tmp_path / "snippet.py").write_text(RECIPES["projections"].to_torch(lm, "The sea", COUNT), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "snippet.py"], cwd=tmp_path, capture_output=True, text=True, check=True, env={"PATH": ""}
    )
    ours = lm.compare("The sea", RECIPES["projections"], temperature=0, max_new_tokens=COUNT).steered
    assert done.stdout.rstrip("\n") == lm.tokenizer.decode(list(ours.token_ids)).rstrip("\n")


def test_what_does_not_fit_into_lines_is_refused(llama):
    a = sw.Direction(vector(1), sw.Site(1), "a")
    topk = sae.make("topk", k=4)
    mfa_like = {
        r'acts on "generated"': a.add(1).at("generated"),
        "leaves special tokens out": a.add(1).at("all", special=False),
        "acts only where its condition holds": a.add(1).when(a > 1),
        "fades over the generated tokens": a.add(1).fade(),
        "leaves attention sinks out": a.add_relative(0.5),
        "along a random direction": a.ablate().random_direction(),
        "TopK compares a feature with all others": topk[3].clamp(2),
        "whose set is no formula of a line": sw.Neurons(llama, layer=1)[3].set(2.0),
        "centres or normalises": sae.make(center_input=True)[3].clamp(2.0),
    }
    for reason, steer in mfa_like.items():
        for form in ("to_torch", "to_nnsight"):
            with pytest.raises(ValueError, match=f"acts alike at every token, and .*{reason}"):
                getattr(sw.Recipe.of(steer), form)(llama)
    with pytest.raises(ValueError, match="The recipe is empty"):
        sw.Recipe().to_torch(llama)
    with pytest.raises(ValueError, match="has 4 blocks"):
        sw.Recipe.of(sw.Direction(vector(1), sw.Site(9)).add(1)).to_torch(llama)
    with pytest.raises(ValueError, match="max_new_tokens is a whole number"):
        sw.Recipe.of(a.add(1)).to_torch(llama, max_new_tokens=0)


def test_a_gguf_control_vector_of_a_recipe(tmp_path, llama):
    recipe = RECIPES["add"] + sw.Direction(vector(7), sw.Site(2), "d").add(0.7)
    recipe.to_gguf(tmp_path / "v.gguf", model_hint="llama")
    again = sum((cav[0].add(1.0) for cav in sw.CAV.load_layers(tmp_path / "v.gguf").values()), sw.Recipe())
    torch.testing.assert_close(forward(llama, again, PROMPT), forward(llama, recipe, PROMPT), **CLOSE)
    with pytest.raises(ValueError, match=r"A GGUF control vector adds one vector .* it changes each token by what"):
        RECIPES["projections"].to_gguf(tmp_path / "w.gguf")


def test_easysteer(llama):
    """Its payloads, read as `payloads.materialize` of its engine reads them, and its formulas in plain hooks."""
    a, b = sw.Direction(vector(1), sw.Site(1), "a"), sw.Direction(vector(2), sw.Site(2), "b")
    recipe = a.add(1.5) + a.add(0.5) + b.add(-1.0) + sw.Direction(vector(5), sw.Site(3), "c").ablate()
    spec = json.loads(recipe.to_easysteer())
    assert spec["conflict"] == "sequential"
    handles = []
    for each in spec["vectors"]:
        assert each["apply"] == {"prompt": "all", "generation": "all"}
        wire = each["data"]
        digest = hashlib.sha256(b"direction:1")
        for name, tensor in sorted(wire["tensors"].items()):
            data = base64.b64decode(tensor["data"])
            array = np.frombuffer(data, dtype=np.float32).reshape(tensor["shape"])
            digest.update(name.encode() + str(array.shape).encode() + data)
            v, layer = torch.from_numpy(array.copy()), int(name.removeprefix("layer."))
            assert layer in each["layers"]

            def edit(_module, _args, out, v=v, scale=each["scale"], erase=each["algorithm"] == "erase"):
                return out - (out @ v)[..., None] * v / (v @ v) if erase else out + scale * v

            handles.append(blocks_of(llama.model)[layer].register_forward_hook(edit))
        assert wire["sha256"] == digest.hexdigest()
    try:
        theirs = forward(llama, sw.Recipe(), PROMPT)
    finally:
        for handle in handles:
            handle.remove()
    torch.testing.assert_close(theirs, forward(llama, recipe, PROMPT), **CLOSE)
    where = {"prompt": {"prompt": "all"}, "generated": {"generation": "all"}, "last_prompt": {"prompt_positions": [-1]}}
    for positions, apply in where.items():
        [only] = json.loads(sw.Recipe.of(a.add(1).at(positions)).to_easysteer())["vectors"]
        assert only["apply"] == apply
    for steer in (a.project(2), a.add(1).at([3]), a.add(1).fade(), sae.make()[3].clamp(2), a.add(1).when(a > 1)):
        with pytest.raises(
            ValueError, match=r"EasySteer adds and erases directions at resid_post .* does something else"
        ):
            sw.Recipe.of(steer).to_easysteer()
    with pytest.raises(ValueError, match="solved together here"):
        (a.ablate() + sw.Direction(vector(2), sw.Site(1), "d").ablate()).to_easysteer()


BAKED = {
    "resid_post": sw.Direction(vector(1), sw.Site(1)).add(1.5) + sw.Direction(vector(2), sw.Site(3)).add(-0.5),
    "mlp_out": sw.Recipe.of(sw.Direction(vector(1), sw.Site(1, "mlp_out")).add(1.5)),
    "attn_out": sw.Recipe.of(sw.Direction(vector(1), sw.Site(2, "attn_out")).add(1.5)),
    "neurons": sw.Recipe.of(sw.Direction(vector(3, width=48), sw.Site(1, "mlp_acts")).add(1.5)),
}


@pytest.mark.parametrize("name", BAKED)
@pytest.mark.parametrize("family", ["llama", "gpt2", "neox_parallel", "neox_serial"])
def test_a_baked_model_needs_no_hooks(family, name, tmp_path):
    lm = saved(family, tmp_path / "model")
    recipe = BAKED[name]
    if name == "neurons":
        width = lm.architecture.width(sw.Site(1, "mlp_acts"))
        recipe = sw.Recipe.of(sw.Direction(vector(3, width=width), sw.Site(1, "mlp_acts")).add(1.5))
    before = {key: value.clone() for key, value in lm.model.state_dict().items()}
    recipe.bake(lm, tmp_path / "baked")
    baked = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "baked", dtype=torch.float32).eval()
    with torch.no_grad():
        theirs = baked(input_ids=torch.tensor([PROMPT])).logits[0]
        out = baked.generate(torch.tensor([PROMPT]), max_new_tokens=COUNT, do_sample=False, pad_token_id=2)
    torch.testing.assert_close(theirs, forward(lm, recipe, PROMPT), **CLOSE)
    assert (theirs - forward(lm, sw.Recipe(), PROMPT)).abs().max() > 0.01
    ours = lm.compare(list(PROMPT), recipe, temperature=0, max_new_tokens=COUNT).steered.token_ids
    assert tuple(out[0, len(PROMPT) :].tolist())[: len(ours)] == ours
    assert all(torch.equal(value, before[key]) for key, value in lm.model.state_dict().items()), (
        "the model is as it was"
    )
    assert not getattr(lm.model.config, "mlp_bias", False)
    tokenizer = hf.AutoTokenizer.from_pretrained(tmp_path / "baked")
    assert tokenizer.decode([45, 100]) == lm.tokenizer.decode([45, 100])


@pytest.mark.parametrize(
    ("family", "reason"),
    [("gemma2", "a norm or a factor stands"), ("qwen2", "has no bias, and its config has no switch")],
)
def test_families_without_a_usable_bias_say_so(family, reason, request, tmp_path):
    lm = saved(family, tmp_path / "model")
    with pytest.raises(ValueError, match=reason):
        BAKED["resid_post"].bake(lm, tmp_path / "baked")
    assert not (tmp_path / "baked").exists()


def test_what_can_not_be_baked(llama, tmp_path):
    a = sw.Direction(vector(1), sw.Site(1), "a")
    for steer in (a.ablate(), a.add(1).at("generated"), sae.make()[3].clamp(2.0), a.add(1).when(a > 1)):
        with pytest.raises(ValueError, match=r"A bias adds one vector to every token, and .* does something else"):
            sw.Recipe.of(steer).bake(llama, tmp_path / "x")
    with pytest.raises(ValueError, match=r"which no bias of .* moves alone"):
        sw.Recipe.of(sw.Direction(vector(1), sw.Site(1, "resid_pre")).add(1)).bake(llama, tmp_path / "x")
    with pytest.raises(ValueError, match=f"has {D_MODEL}; it was made for another model"):
        sw.Recipe.of(sw.Direction(vector(1, width=40), sw.Site(1)).add(1)).bake(llama, tmp_path / "x")
    with pytest.raises(TypeError, match="takes a LanguageModel or the Hugging Face model"):
        sw.Recipe.of(a.add(1)).bake("model", tmp_path / "x")
    sw.Recipe.of(a.add(1)).bake(llama.model, tmp_path / "bare")
    assert not (tmp_path / "bare" / "tokenizer.json").exists()
