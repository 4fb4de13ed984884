"""Every computing cell of the MFA tutorial (arXiv 2602.02464), against TransformerLens and its cells' own formulas.

TransformerLens loads GPT-2 with its writing weights and its unembed centred; its residual and its logits have no mean.
"""

import functools
import random
import warnings

import pytest
import torch
from support import models, toks
from support.mfa import Reference
from support.tutorials import CLOSE, LOGITS
from torch.distributions import LowRankMultivariateNormal

import steerwidgets as sw

LAYER, K, Q = 2, 6, 10
PROMPT = "The system answers that"


@pytest.fixture(scope="module")
def lm():
    return sw.LanguageModel(models.make("gpt2"), toks.byte_level(template=None))


@pytest.fixture(scope="module")
def hooked(lm):
    """The same weights in TransformerLens, processed as `HookedTransformer.from_pretrained` does."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights

    config = lm.model.config
    cfg = HookedTransformerConfig(
        n_layers=config.n_layer,
        d_model=config.n_embd,
        n_ctx=config.n_positions,
        n_heads=config.n_head,
        d_head=config.n_embd // config.n_head,
        d_mlp=4 * config.n_embd,
        d_vocab=config.vocab_size,
        act_fn="gelu_new",
        normalization_type="LN",
        eps=config.layer_norm_epsilon,
        device="cpu",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = HookedTransformer(cfg)
    made.load_and_process_state_dict(
        convert_gpt2_weights(lm.model, cfg), fold_ln=True, center_writing_weights=True, center_unembed=True
    )
    return made.eval()


@pytest.fixture(scope="module")
def texts():
    """Sentences of the tiny vocabulary's words, shuffled."""
    words = " ".join(toks.SENTENCES).split()
    draw = random.Random(3)
    return [" ".join(draw.sample(words, k=draw.randint(4, 14))) for _ in range(60)]


def bos_ids(lm, text):
    return [toks.BOS, *lm.tokenizer(text)["input_ids"]]


@pytest.fixture(scope="module")
def dataset(lm, hooked, texts):
    """`generate_multiple_layer_activations_and_freq` and the tokens: BOS before every text, dropped from the data."""
    name, activations, tokens = f"blocks.{LAYER}.hook_resid_post", [], []
    for text in texts:
        ids = bos_ids(lm, text)
        with torch.no_grad():
            _, cache = hooked.run_with_cache(torch.tensor([ids]), names_filter=name)
        activations.append(cache[name][0, 1:])
        tokens += ids[1:]
    return torch.cat(activations), tokens


@pytest.fixture(scope="module")
def points(lm, texts):
    return lm.points(texts, layer=LAYER, bos=True)


@pytest.fixture(scope="module")
def mfa(lm, points):
    return sw.MFA.fit(lm, points, layer=LAYER, components=K, rank=Q, centred=True, epochs=12, learning_rate=0.01)


@pytest.fixture(scope="module")
def reference(mfa):
    return Reference(mfa.checkpoint.state)


def busiest(mfa, points):
    return int(mfa.encode(points.residuals).argmax(-1).bincount().argmax())


# Activations


def test_activations(mfa, points, dataset):
    activations, tokens = dataset
    assert [points.texts[int(t)][int(p)] for t, p in zip(points.text, points.position, strict=True)] == tokens
    torch.testing.assert_close(mfa.seen(points.residuals), activations, **CLOSE)
    assert (points.residuals - activations).abs().max() > 0.01, "the Hugging Face model's residual has a mean"


def test_only_some_of_the_activations(lm, texts, dataset):
    """`X_all = activations[0][0:250_000]`."""
    few = sw.MFA.points(sw.MFA(*_any_mfa(), layer=LAYER), lm, texts, bos=True, max_tokens=100)
    centred = few.residuals - few.residuals.mean(-1, keepdim=True)
    torch.testing.assert_close(centred, dataset[0][:100], **CLOSE)


@functools.cache
def _any_mfa():
    from support.mfa import make_state

    return make_state(2, models.D_MODEL, 1)


# Training


def train_nll(x, centroids, epochs, batch, lr):
    """`MFA(centroids, rank)` and `train_nll`: Adam on the mean negative log-likelihood, the best state kept."""
    draw = torch.Generator().manual_seed(0)
    k, width = centroids.shape
    parameters = [
        centroids.clone(),
        torch.randn(k, width, Q, generator=draw) / width**0.5,
        torch.full((k, Q), 1.0).expm1().log(),
        torch.full((width,), 1.0).expm1().log(),
        torch.zeros(k),
    ]
    parameters = [each.requires_grad_() for each in parameters]
    optimiser = torch.optim.Adam(parameters, lr=lr)
    softplus, best = torch.nn.functional.softplus, float("inf")

    def nll(chunk):
        mu, raw, scale, psi, logits = parameters
        loadings = raw / raw.norm(dim=1, keepdim=True) * softplus(scale)[:, None]
        gaussians = LowRankMultivariateNormal(mu, loadings, (softplus(psi) + 1e-5).expand(k, -1))
        return -(gaussians.log_prob(chunk[:, None]) + logits.log_softmax(0)).logsumexp(-1).mean()

    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=draw).split(batch):
            optimiser.zero_grad()
            loss = nll(x[rows])
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            best = min(best, float(nll(x)))
    return best


@pytest.mark.parametrize("initialisation", ["kmeans", "points", "given"])
def test_training_does_as_well(lm, points, dataset, initialisation):
    """The reference trains in the residual's units, ours in those of the spread in clusters: as good an end."""
    x, _ = dataset
    centroids = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(1))[:K]]
    expected = train_nll(x, centroids, epochs=10, batch=32, lr=0.01)
    settings = {"epochs": 10, "batch": 32, "learning_rate": 0.01, "pool": round(len(x) / 5)}
    settings["initialisation"] = centroids if initialisation == "given" else initialisation
    fitted = sw.MFA.fit(lm, points, layer=LAYER, components=K, rank=Q, centred=True, **settings)
    nll = -float(Reference(fitted.checkpoint.state).log_likelihood(x).mean())
    assert nll < expected + 0.5
    assert (fitted.report.best, len(fitted.report.nll)) == (10, 10)  # {"best_epoch": …} of the notebook


# Interpretation


def top_strings_per_concept(reference, activations, tokens, tok2str, topk=50):
    """`get_top_strings_per_concept(…, score="likelihood")`, which keeps 50 of each by default."""
    scores = reference.log_likelihoods(activations)
    result = {}
    for k in range(K):
        order = sorted(range(len(tokens)), key=lambda i: -float(scores[i, k]))[:topk]
        result[k] = [tok2str(tokens[i]) for i in order]
    return result


@pytest.mark.parametrize("kept", [50, 5000])
def test_top_strings_by_likelihood(lm, mfa, reference, points, dataset, kept):
    """The cell that samples lines: `random.seed(0)`, then `random.sample` from each component's pool in turn."""
    tok2str = lm.tokenizer.decode
    results = top_strings_per_concept(reference, *dataset, tok2str, topk=kept)
    random.seed(0)
    expected = {}
    for k, strings in list(results.items())[:25]:
        pool = strings[: min(5000, len(strings))]
        expected[k] = random.sample(pool, k=min(10, len(pool)))
    found = mfa.contexts(points, range(min(25, K)), by="likelihood", sample=10, pool=kept, seed=0)
    assert {k: [tok2str(each.token.id) for each in contexts] for k, contexts in found.items()} == expected


def project_loader_to_subspace(reference, activations, tokens, k):
    """The cell that projects: hard assignment, `c = (UᵀU)⁻¹Uᵀx` on the unit loadings, uncentred."""
    mine = reference.responsibilities(activations).argmax(-1) == k
    unit = reference.turned(k) / reference.turned(k).norm(dim=0)
    solve = lambda x: torch.linalg.solve(unit.T @ unit, unit.T @ x.double().T).T
    coordinates = solve(activations[mine])
    projected = coordinates @ unit.T
    energy = projected.square().sum(-1)
    return {
        "coords": coordinates,
        "tokens": [token for token, is_mine in zip(tokens, mine.tolist(), strict=True) if is_mine],
        "energy": energy,
        "ratio": energy / activations[mine].double().square().sum(-1),
        "centroid_coords": solve(reference.mu[k][None])[0],
    }


def test_coordinates_in_a_component(mfa, reference, points, dataset):
    k = busiest(mfa, points)
    expected = project_loader_to_subspace(reference, *dataset, k)
    found = mfa[k].points(points)
    assert len(found) == len(expected["tokens"]) > 20
    assert [token.id for token in found.tokens] == expected["tokens"]
    torch.testing.assert_close(found.coordinates.double(), expected["coords"], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(found.energy.double(), expected["energy"], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(found.share.double(), expected["ratio"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.centroid.double(), expected["centroid_coords"], atol=1e-3, rtol=1e-4)
    assert found.axes(0, 8).tolist() == found.coordinates[:, [0, 8]].tolist()


# Steering


def intervene(hooked, reference, ids, alpha, z, k):
    """`MFASteerer.intervene` and `.intervene_to_latent_two_stage`: logits [position, vocabulary]."""

    def hook_fn(value, hook):
        return reference.two_stage(value, alpha, z, k).to(value.dtype)

    with torch.no_grad():
        name = f"blocks.{LAYER}.hook_resid_post"
        return hooked.run_with_hooks(torch.tensor([ids]), fwd_hooks=[(name, hook_fn)])[0]


Z = [20.0, 0, 0, 0, 0, 0, 0, 0, -10.0, 0]
STEERS = {"centroid": (0.6, None), "two stages": (0.6, Z), "loadings alone": (0.0, Z)}


@pytest.mark.parametrize("name", STEERS)
@pytest.mark.parametrize("of_mixture", [False, True])
def test_intervene(lm, hooked, mfa, reference, points, name, of_mixture):
    """On the Hugging Face model the same logits, but for what all logits share; both ways of ranking them."""
    alpha, z = STEERS[name]
    k = None if of_mixture else busiest(mfa, points)
    ids = bos_ids(lm, PROMPT)
    with torch.no_grad():
        before = hooked(torch.tensor([ids]))[0]
    after = intervene(hooked, reference, ids, alpha, z, k)
    assert (after - before).abs().max() > 0.1
    prompt = lm.tokenizer.bos_token + PROMPT
    recipe = mfa[k].pull(alpha, z={0: 20, 8: -10} if z else None)
    with torch.no_grad(), lm.steer(recipe):
        found = lm.model(input_ids=torch.tensor([ids])).logits[0]
    torch.testing.assert_close(found - found.mean(-1, keepdim=True), after, **LOGITS)
    delta = (after - before)[-1]
    difference = lm.logit_difference(prompt, recipe, k=15)
    torch.testing.assert_close(difference.centred, delta, **LOGITS)
    torch.testing.assert_close(difference.raw - difference.raw.mean(), delta, **LOGITS)
    print_logit_diff(difference, delta, 15)
    get_logit_diff(lm.logit_difference(prompt, recipe, k=20), delta, 20)


def print_logit_diff(difference, delta, top_k):
    """`torch.topk(delta_logits)` and `torch.topk(-delta_logits)`."""
    for found, sign in ((difference.promoted, 1), (difference.suppressed, -1)):
        values, indices = torch.topk(sign * delta, k=top_k)
        assert [token.id for token, _ in found] == indices.tolist()
        torch.testing.assert_close(torch.tensor([value for _, value in found]), sign * values, **LOGITS)


def get_logit_diff(difference, delta, top_k):
    """`torch.topk(abs(delta_logits))`; ours keeps the sign."""
    values, indices = torch.topk(delta.abs(), k=top_k)
    assert [token.id for token, _ in difference.changed] == indices.tolist()
    torch.testing.assert_close(torch.tensor([abs(value) for _, value in difference.changed]), values, **LOGITS)


def test_generating_at_two_layers(lm, hooked, mfa, reference, points):
    """`generate(…, layers=[…])`, greedy: TransformerLens steers at both layers with one mixture."""
    k, ids = busiest(mfa, points), bos_ids(lm, PROMPT)
    hook_fn = lambda value, hook: reference.two_stage(value, 0.4, None, k).to(value.dtype)
    hooks = [(f"blocks.{layer}.hook_resid_post", hook_fn) for layer in (1, LAYER)]
    text = list(ids)
    for _ in range(10):
        with torch.no_grad():
            token = int(hooked.run_with_hooks(torch.tensor([text]), fwd_hooks=hooks)[0, -1].argmax())
        if token in lm.end_ids:
            break
        text.append(token)
    recipe = mfa.at(1)[k].pull(0.4) + mfa[k].pull(0.4)
    out = lm.compare(lm.tokenizer.bos_token + PROMPT, recipe, temperature=0, max_new_tokens=10)
    assert out.prompt.token_ids == tuple(ids)
    assert out.steered.token_ids == tuple(text[len(ids) :])
    assert out.divergence is not None
