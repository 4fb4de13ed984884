"""ReFT-r1 against AxBench's own formulas in plain hooks: reading, addition, clamping, the unembed read-out."""

import einops
import pytest
import torch
from support.both import PROMPT
from support.models import D_MODEL, blocks_of

import steerwidgets as sw

LAYER, CONCEPT, MAG = 1, 3, 6.0
THREE = pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])


def params():
    drawn = torch.randn(20, D_MODEL, generator=torch.Generator().manual_seed(5))
    return drawn / drawn.norm(dim=-1, keepdim=True)


@pytest.fixture
def reft():
    return sw.ReFT(params(), layer=LAYER)


def encoder(base):
    """The tutorial's `Encoder`: relu of a Linear without bias whose weight is the dictionary."""
    proj = torch.nn.Linear(D_MODEL, 20, bias=False)
    proj.weight.data = params()
    return torch.relu(proj(base))


def addition(base):
    """The tutorial's `Steer`."""
    return base + torch.tensor(MAG) * params()[CONCEPT].unsqueeze(dim=0)


def clamping(base):
    """AxBench's `SubspaceIntervention`, max_act · mag = MAG, no prefix kept."""
    v = params()[[CONCEPT]].expand(base.shape[0], -1).unsqueeze(dim=-1)
    latent = torch.relu(torch.bmm(base, v))
    return base - torch.bmm(latent, v.permute(0, 2, 1)) + MAG * v.permute(0, 2, 1)


def hooked(model, change, ids):
    """Logits of one uncached pass with a block's output replaced, and what came in."""
    seen = []

    def hook(_module, _args, out):
        stream = out[0] if isinstance(out, tuple) else out
        seen.append(stream.clone())
        new = change(stream)
        return (new, *out[1:]) if isinstance(out, tuple) else new

    handle = blocks_of(model)[LAYER].register_forward_hook(hook)
    try:
        with torch.no_grad():
            return model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0], seen[0][0]
    finally:
        handle.remove()


def greedy(model, change, count, end):
    ids = list(PROMPT)
    for _ in range(count):
        token = int(hooked(model, change, ids)[0][-1].argmax())
        if token in end:
            break
        ids.append(token)
    return tuple(ids[len(PROMPT) :])


@THREE
def test_detection_is_the_tutorials(lm, reft):
    _, stream = hooked(lm.model, lambda base: base, PROMPT)
    acts = encoder(stream).detach()
    torch.testing.assert_close(lm.read(list(PROMPT), reft).values, acts, atol=1e-4, rtol=1e-4)
    firing = reft.firing(lm.read(list(PROMPT), reft, [0]).residual[1:])
    assert torch.equal(firing.strongest, acts[1:].max(-1)[1])
    assert torch.equal(firing.counts, (acts[1:] > 1).sum(-1))


@THREE
@pytest.mark.parametrize(("op", "reference"), [("add", addition), ("clamp", clamping)])
def test_steering_is_axbenchs(lm, reft, op, reference):
    steer = getattr(reft[CONCEPT], op)(MAG)
    plain = hooked(lm.model, lambda base: base, PROMPT)[0]
    expected = hooked(lm.model, reference, PROMPT)[0]
    assert (expected - plain).abs().max() > 0.05
    with torch.no_grad(), lm.steer(steer):
        logits = lm.model(input_ids=torch.tensor([PROMPT]), use_cache=False).logits[0]
    torch.testing.assert_close(logits, expected, atol=3e-4, rtol=1e-4)
    out = lm.compare(PROMPT, steer, temperature=0, max_new_tokens=6)
    assert out.steered.token_ids == greedy(lm.model, reference, 6, lm.end_ids)
    with lm.steer(steer):
        settings = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 2}
        texts = [lm.model.generate(torch.tensor([PROMPT]), use_cache=cache, **settings) for cache in (True, False)]
    assert torch.equal(*texts)
    assert tuple(texts[0][0, len(PROMPT) :].tolist()) == greedy(lm.model, reference, 6, ())


def test_clamp_in_a_left_padded_batch_and_in_bfloat16(fresh, reft):
    lm = fresh("gemma2", dtype=torch.bfloat16)
    steer = reft[CONCEPT].clamp(MAG)
    expected = hooked(lm.model, lambda base: clamping(base.float()).to(base.dtype), PROMPT)[0]
    ids = torch.tensor([[2, 2, *PROMPT], [*PROMPT, 5, 6]])
    mask = torch.tensor([[0, 0] + [1] * len(PROMPT), [1] * (len(PROMPT) + 2)])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad(), lm.steer(steer):
        out = lm.model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out[0, 2:].float(), expected.float(), atol=0.15, rtol=0.05)


def centred(feature):
    """The tutorial centres each token's column of the unembed, which comes to the same."""
    return sw.Direction(feature.vector - feature.vector.mean(), feature.site)


def tutorial_get_logits(model, vector, k):
    """The tutorial's `get_logits`, tokens left as ids."""
    W_U = model.lm_head.weight.T
    W_U = W_U * (model.model.norm.weight + torch.ones_like(model.model.norm.weight))[:, None]
    W_U -= einops.reduce(W_U, "d_model d_vocab -> 1 d_vocab", "mean")
    vocab_logits = vector @ W_U
    return vocab_logits.topk(k=k, sorted=True), vocab_logits.topk(k=k, largest=False, sorted=True)


@pytest.mark.parametrize("family", ["gemma2"])
def test_the_tutorials_unembed_read_out(lm, reft):
    with torch.no_grad():
        top, bottom = tutorial_get_logits(lm.model, params()[CONCEPT], 5)
    ours = lm.top_logits(centred(reft[CONCEPT]), k=5)
    assert [token.id for token, _ in ours.promoted] == top.indices.tolist()
    assert [token.id for token, _ in ours.suppressed] == bottom.indices.tolist()
    torch.testing.assert_close(torch.tensor([v for _, v in ours.promoted]), top.values, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.tensor([v for _, v in ours.suppressed]), bottom.values, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["gemma2", "llama", "gpt2"])
def test_it_differs_from_top_logits_by_the_centring_alone(lm, reft):
    feature = reft[CONCEPT]
    ours = lm.top_logits(centred(feature), 8)
    plain = lm.top_logits(feature, 8)
    same = [abs(a - b) < 1e-5 for (_, a), (_, b) in zip(ours.promoted, plain.promoted, strict=True)]
    assert all(same) == (lm.architecture.config.model_type == "gpt2")
