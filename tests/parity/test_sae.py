"""SAEs against sae_lens itself: encode, decode, its own error term for every op, and greedy texts on tiny models."""

import copy
import functools
import warnings

import pytest
import sae_lens
import torch
from support import naive
from support.both import PROMPT, forward
from support.models import D_MODEL

import steerwidgets as sw
from steerwidgets.generation.rows import Plan, generate_rows

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

SIZE = 96
CLOSE = {"atol": 1e-4, "rtol": 1e-5}
ARCHITECTURES = {
    "standard": ("standard", {}),
    "standard, b_dec not taken off": ("standard", {"apply_b_dec_to_input": False}),
    "jumprelu": ("jumprelu", {}),
    "jumprelu, b_dec not taken off": ("jumprelu", {"apply_b_dec_to_input": False}),
    "topk": ("topk", {"k": 7}),
    "topk by decoder norm": ("topk", {"k": 7, "rescale_acts_by_decoder_norm": True}),
    "gated": ("gated", {}),
    "abstopk": ("abstopk", {"k": 7}),
    "abstopk by decoder norm": ("abstopk", {"k": 7, "rescale_acts_by_decoder_norm": True}),
    "matching_pursuit": ("matching_pursuit", {"max_iterations": 6}),
}
NORMALISATIONS = ("none", "layer_norm", "constant_norm_rescale")
FAMILIES = ("llama", "gemma2", "gpt2")


def make(architecture, hook="blocks.1.hook_resid_post", seed=0, d_in=D_MODEL, **settings):
    """A random SAE of sae_lens, decoder rows of different lengths, biases and thresholds that matter."""
    cls, config = sae_lens.registry.get_sae_class(architecture)
    cfg = config(d_in=d_in, d_sae=SIZE, **settings)
    cfg.metadata.hook_name = hook
    cfg.metadata.model_name = "tiny"
    made = cls(cfg)
    drawn = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(made.named_parameters()):
        noise = torch.randn(parameter.shape, generator=drawn)
        noise = noise * (0.5 + torch.rand(parameter.shape[0], 1, generator=drawn)) / 4 if noise.ndim == 2 else noise / 5
        parameter.data = noise.abs() if name == "threshold" else noise
    return made.requires_grad_(False)


def residuals(seed=3, d=D_MODEL):
    return 2 * torch.randn(3, 5, d, generator=torch.Generator().manual_seed(seed)) + 0.4


def overwritten(reference, edit, h):
    """sae_lens' own way: its error term on, its activations changed by a hook."""
    if isinstance(reference, sae_lens.MatchingPursuitSAE):  # has no hook on its activations
        clean = reference.decode(reference.encode(h))
        acts = reference.encode(h)
        return h - clean + reference.decode(edit(acts))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference.use_error_term = True
    reference.add_hook("hook_sae_acts_post", lambda acts, hook: edit(acts))
    try:
        return reference(h)
    finally:
        reference.reset_hooks()
        reference.use_error_term = False


def set_latents(values):
    def edit(acts):
        acts = acts.clone()
        for index, value in values.items():
            acts[..., index] = value(acts[..., index]) if callable(value) else value
        return acts

    return edit


@pytest.fixture(params=ARCHITECTURES)
def named(request):
    return ARCHITECTURES[request.param]


@pytest.fixture(params=NORMALISATIONS)
def reference(request, named):
    architecture, settings = named
    return make(architecture, normalize_activations=request.param, **settings)


def busiest(acts, count):
    """The features that are active at most positions."""
    return (acts != 0).flatten(0, -2).sum(0).topk(count).indices.tolist()


def test_encode_and_decode(reference):
    h, ours = residuals(), sw.SAE.from_sae_lens(reference)
    acts = reference.encode(h)
    expected = reference.decode(acts.clone())
    assert 0 < (acts != 0).float().mean() < 1
    torch.testing.assert_close(ours.encode(h), acts, **CLOSE)
    torch.testing.assert_close(ours.decode(ours.encode(h), h), expected, **CLOSE)
    torch.testing.assert_close(ours.error(h), h - expected, **CLOSE)
    wanted = [*busiest(acts, 3), 0, SIZE - 1]
    torch.testing.assert_close(ours.activations(h, wanted), acts[..., wanted], **CLOSE)
    for index in wanted:
        torch.testing.assert_close(ours[index].activation(h), acts[..., index], **CLOSE)


def test_ops_equal_overwriting_with_the_error_term(reference):
    h, ours = residuals(), sw.SAE.from_sae_lens(reference)
    first, second = busiest(reference.encode(h), 2)
    a, b = ours[first], ours[second]
    cases = {
        "clamp": ([("clamp", {"c": 8.0})], {first: 8.0}),
        "negative clamp": ([("clamp", {"c": -3.0})], {first: -3.0}),
        "ablate": ([("ablate", {})], {first: 0.0}),
        "scale": ([("scale", {"m": 4.0})], {first: lambda value: 4 * value}),
    }
    for name, (ops, latents) in cases.items():
        expected = overwritten(reference, set_latents(latents), h)
        assert (expected - h).abs().max() > 1e-2, name
        change = sum(a.change(op, numbers, h) for op, numbers in ops)
        torch.testing.assert_close(h + change, expected, **CLOSE, msg=lambda text, name=name: f"{name}: {text}")
    expected = overwritten(reference, set_latents({first: 5.0, second: 0.0}), h)
    together = h + a.change("clamp", {"c": 5.0}, h) + b.change("ablate", {}, h)
    torch.testing.assert_close(together, expected, **CLOSE)
    assert torch.equal(a.change("scale", {"m": 1.0}, h), torch.zeros_like(h))


def test_the_object_of_sae_lens_stays_as_it_was(reference):
    before = {name: value for name, value in vars(reference).items() if not name.startswith("_")}
    weights = {name: tensor.clone() for name, tensor in reference.state_dict().items()}
    ours, h = sw.SAE.from_sae_lens(reference), residuals()
    ours.error(h)
    ours[3].activation(h)
    assert {name: value for name, value in vars(reference).items() if not name.startswith("_")} == before
    assert all(torch.equal(tensor, weights[name]) for name, tensor in reference.state_dict().items())


def test_centred_models():
    """On the Hugging Face model the residual's mean is taken out first; what is written back is the same step."""
    reference, h = make("standard"), residuals() + 3
    reference.cfg.metadata.model_from_pretrained_kwargs = {"center_writing_weights": True}
    ours = sw.SAE.from_sae_lens(reference)
    centred = h - h.mean(-1, keepdim=True)
    acts = reference.encode(centred)
    assert ours.center_input
    torch.testing.assert_close(ours.encode(h), acts, **CLOSE)
    torch.testing.assert_close(ours[5].activation(h), acts[..., 5], **CLOSE)
    torch.testing.assert_close(ours.error(h), centred - reference.decode(acts), **CLOSE)
    step = (7.0 - acts[..., 5])[..., None] * reference.W_dec[5]
    torch.testing.assert_close(ours[5].change("clamp", {"c": 7.0}, h), step, **CLOSE)
    assert not sw.SAE.from_sae_lens(reference, center_input=False).center_input


@pytest.mark.parametrize("rescaled", [False, True])
def test_the_average_norm_is_folded_as_sae_lens_folds_it(rescaled):
    settings = {"k": 7, "rescale_acts_by_decoder_norm": True} if rescaled else {}
    reference = make("topk" if rescaled else "jumprelu", normalize_activations="expected_average_only_in", **settings)
    ours = sw.SAE.from_sae_lens(copy.deepcopy(reference), norm_scaling_factor=0.37)
    reference.fold_activation_norm_scaling_factor(0.37)
    h = residuals()
    torch.testing.assert_close(ours.encode(h), reference.encode(h), **CLOSE)
    torch.testing.assert_close(ours.decode(ours.encode(h)), reference(h), **CLOSE)


# Greedy texts


def naive_hook(reference, edit):
    """What a user of sae_lens writes: encode, overwrite, decode, add the error, cast back."""

    def hook(_module, _args, out):
        stream = out[0] if isinstance(out, tuple) else out
        h = stream.float()
        clean = reference.decode(reference.encode(h))
        acts = reference.encode(h)
        new = (reference.decode(edit(acts)) + (h - clean)).to(stream.dtype)
        return (new, *out[1:]) if isinstance(out, tuple) else new

    return hook


def naive_greedy(model, ids, reference, edit, count, stream="resid_post", end=frozenset()):
    module, is_input = naive.stream_module(model, 1, stream)
    assert not is_input
    handle = module.register_forward_hook(naive_hook(reference, edit)) if edit else None
    text = list(ids)
    try:
        for _ in range(count):
            with torch.no_grad():
                token = int(model(input_ids=torch.tensor([text]), use_cache=False).logits[0, -1].argmax())
            if token in end:
                break
            text.append(token)
    finally:
        if handle is not None:
            handle.remove()
    return tuple(text[len(ids) :])


RECIPES = {
    "clamp": (lambda d: d[3].clamp(12), {3: 12.0}),
    "ablate": (lambda d: d[3].ablate() + d[8].ablate() + d[9].ablate(), {3: 0.0, 8: 0.0, 9: 0.0}),
    "scale": (lambda d: d[3].scale(15) + d[8].scale(-9), {3: lambda a: 15 * a, 8: lambda a: -9 * a}),
    "two clamps": (lambda d: d[3].clamp(6) + d[20].clamp(-7), {3: 6.0, 20: -7.0}),
}


@functools.cache
def pair(name, stream="hook_resid_post", normalisation="none"):
    architecture, settings = ARCHITECTURES[name]
    reference = make(architecture, f"blocks.1.{stream}", normalize_activations=normalisation, **settings)
    return reference, sw.SAE.from_sae_lens(reference)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["standard", "jumprelu", "topk by decoder norm", "gated"])
@pytest.mark.parametrize("op", RECIPES)
def test_greedy_texts(lm, name, op):
    (reference, ours), (recipe, latents) = pair(name), RECIPES[op]
    expected = naive_greedy(lm.model, PROMPT, reference, set_latents(latents), 6, end=lm.end_ids)
    plain = naive_greedy(lm.model, PROMPT, reference, None, 6, end=lm.end_ids)
    out = lm.compare(PROMPT, recipe(ours), temperature=0, max_new_tokens=6)
    assert out.baseline.token_ids == plain
    assert out.steered.token_ids == expected
    if "clamp" in op:
        assert expected != plain, "the reference changes nothing"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("normalisation", ["layer_norm", "constant_norm_rescale"])
def test_greedy_texts_of_normalised_inputs(lm, normalisation):
    (reference, ours), (recipe, latents) = pair("jumprelu", normalisation=normalisation), RECIPES["two clamps"]
    out = lm.compare(PROMPT, recipe(ours), temperature=0, max_new_tokens=6)
    end = lm.end_ids
    assert out.steered.token_ids == naive_greedy(lm.model, PROMPT, reference, set_latents(latents), 6, end=end)


@pytest.mark.parametrize("family", FAMILIES)
def test_other_streams(lm):
    """MLP outputs, behind the post norm on Gemma 2 as TransformerLens has them."""
    (reference, ours), (recipe, latents) = pair("standard", "hook_mlp_out"), RECIPES["clamp"]
    assert ours.site == sw.Site(1, "mlp_out")
    out = lm.compare(PROMPT, recipe(ours), temperature=0, max_new_tokens=6)
    end = lm.end_ids
    expected = naive_greedy(lm.model, PROMPT, reference, set_latents(latents), 6, "mlp_out", end)
    assert out.steered.token_ids == expected


def test_attention_heads(llama):
    """A hook_z SAE reads all heads as one vector; on Hugging Face they come so."""
    reference = make("standard", "blocks.1.attn.hook_z", reshape_activations="hook_z")
    ours = sw.SAE.from_sae_lens(reference)
    h = residuals()
    heads = h.reshape(3, 5, 4, 8)
    expected = overwritten(reference, set_latents({3: 9.0}), heads)
    assert ours.site == sw.Site(1, "attn_z")
    torch.testing.assert_close(h + ours[3].change("clamp", {"c": 9.0}, h), expected.reshape_as(h), **CLOSE)
    gated = make("gated", "blocks.1.attn.hook_z", reshape_activations="hook_z")
    torch.testing.assert_close(sw.SAE.from_sae_lens(gated).encode(h), gated.encode(heads), **CLOSE)
    plain = forward(llama, None, PROMPT)
    assert (forward(llama, ours[3].clamp(9), PROMPT) - plain).abs().max() > 0.05


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("name", ["jumprelu", "topk"])
def test_left_padded_batches_with_and_without_cache(lm, use_cache, name):
    (reference, ours), (recipe, latents) = pair(name), RECIPES["two clamps"]
    rows = [PROMPT, PROMPT[2:6], (*PROMPT, 11, 12)]
    longest = max(map(len, rows))
    ids = torch.tensor([[2] * (longest - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    settings = {"max_new_tokens": 5, "do_sample": False, "use_cache": use_cache, "eos_token_id": None}
    with torch.no_grad(), lm.steer(recipe(ours)):
        out = lm.model.generate(ids, attention_mask=mask, pad_token_id=2, **settings)
    expected = [naive_greedy(lm.model, row, reference, set_latents(latents), 5) for row in rows]
    assert [tuple(row[longest:].tolist()) for row in out] == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_our_own_loop_without_cache(lm):
    (reference, ours), (recipe, latents) = pair("jumprelu"), RECIPES["clamp"]
    plans = [Plan(lm.encode(PROMPT), sw.Recipe.of(recipe(ours))), Plan(lm.encode(PROMPT), sw.Recipe())]
    rows = generate_rows(lm, plans, sw.Sampling(temperature=0, max_new_tokens=5), use_cache=False)
    end = lm.end_ids
    assert rows[0].token_ids == naive_greedy(lm.model, PROMPT, reference, set_latents(latents), 5, end=end)
    assert rows[1].token_ids == naive_greedy(lm.model, PROMPT, reference, None, 5, end=end)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bf16_model_with_a_float32_sae(fresh, family):
    lm = fresh(family, dtype=torch.bfloat16)
    (reference, ours), (recipe, latents) = pair("jumprelu"), RECIPES["two clamps"]
    expected = naive_greedy(lm.model, PROMPT, reference, set_latents(latents), 5, end=lm.end_ids)
    out = lm.compare(PROMPT, recipe(ours), temperature=0, max_new_tokens=5)
    assert out.steered.token_ids == expected


@pytest.mark.parametrize("name", ["jumprelu", "topk by decoder norm"])
def test_weights_in_16_bits_compute_in_float32(name):
    reference, _ = pair(name)
    half = make(*ARCHITECTURES[name][:1], **ARCHITECTURES[name][1]).to(torch.bfloat16)
    ours, h = sw.SAE.from_sae_lens(half), residuals()
    exact = half.to(torch.float32)
    torch.testing.assert_close(ours.encode(h), exact.encode(h), **CLOSE)
    torch.testing.assert_close(ours.decode(ours.encode(h)), exact(h), **CLOSE)
    torch.testing.assert_close(ours[3].activation(h), exact.encode(h)[..., 3], **CLOSE)
    assert ours.vector(3).dtype == torch.float32
    assert reference.W_dec.dtype == torch.float32


def test_reading_through_the_model(llama):
    reference, ours = pair("jumprelu")
    residual = llama.residuals(llama.encode(PROMPT), [ours.site]).values[ours.site][0]
    expected = reference.encode(residual)
    some = busiest(expected[None], 3)
    torch.testing.assert_close(llama.read(PROMPT, ours, some).values, expected[:, some], **CLOSE)
    everything = llama.read(PROMPT, ours)
    torch.testing.assert_close(everything.values, expected, **CLOSE)
    fires = llama.search(PROMPT, ours, k=5)
    peak = expected[everything.mask].max(0).values.topk(5)
    assert [feature.index for feature in fires.features] == peak.indices.tolist()
    torch.testing.assert_close(torch.tensor(fires.values), peak.values, **CLOSE)


def test_a_clamp_says_what_it_asks_and_what_a_fresh_read_gives():
    torch.manual_seed(0)
    sae = sw.SAE(torch.randn(32, 20), torch.zeros(20), torch.randn(20, 32), torch.zeros(32), activation="relu", layer=1)
    feature = sae[4]
    h = torch.randn(1, 5, 32)
    for steer, wanted in ((feature.clamp(3.0), 3.0), (feature.ablate(), 0.0)):
        asked = feature.asked(steer.op, steer.parameters, h)
        assert torch.equal(asked, torch.full((1, 5), wanted))
    scaled = feature.scale(2.0)
    assert torch.allclose(feature.asked(scaled.op, scaled.parameters, h), 2 * feature.activation(h))
    assert feature.asked("add", {"alpha": 1.0}, h) is None
