"""Every computing step of the notebook "Locating and Steering concepts in LLMs" (nnsight, sae_lens, Neuronpedia)."""

import pytest
import sae_lens
import torch
from support import naive
from support.models import D_MODEL
from support.tutorials import CLOSE, LOGITS, block_output, greedy, logits, templated
from transformers import GenerationConfig

import steerwidgets as sw
from steerwidgets.generation.sampling import gumbel_noise

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

LAYER, SIZE, COEFF = 2, 96, 7.0
REQUEST = "Name a city."
MESSAGES = [{"role": "user", "content": REQUEST}]
THREE = pytest.mark.parametrize("family", ["gemma2", "llama", "gpt2"])


def make_sae(layer, seed):
    cls, config = sae_lens.registry.get_sae_class("jumprelu")
    cfg = config(d_in=D_MODEL, d_sae=SIZE, apply_b_dec_to_input=False)
    cfg.metadata.hook_name = f"blocks.{layer}.hook_resid_post"
    cfg.metadata.model_name = "tiny"
    made = cls(cfg)
    drawn = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(made.named_parameters()):
        noise = torch.randn(parameter.shape, generator=drawn) / (4 if parameter.ndim == 2 else 3)
        parameter.data = noise.abs() if name == "threshold" else noise
    return made.requires_grad_(False)


@pytest.fixture(scope="module")
def references():
    return {layer: make_sae(layer, layer + 1) for layer in (0, LAYER, 3)}


@pytest.fixture(scope="module")
def saes(references):
    return {layer: sw.SAE.from_sae_lens(sae) for layer, sae in references.items()}


@pytest.fixture(scope="module")
def sae(saes):
    return saes[LAYER]


# Reading


@THREE
def test_features_of_a_chat_prompt(lm, sae, references):
    """`model.model.layers[31].output[0]`, `sae.encode`, `sae.decode`."""
    ids = templated(lm.tokenizer, REQUEST)
    hidden = block_output(lm.model, ids, LAYER)
    features = references[LAYER].encode(hidden)
    out = references[LAYER].decode(features)
    read = lm.read(MESSAGES, sae)
    assert read.token_ids == tuple(ids)
    torch.testing.assert_close(read.residual, hidden, **CLOSE)
    torch.testing.assert_close(read.values, features, **CLOSE)
    torch.testing.assert_close(sae.decode(read.values), out, **CLOSE)


def test_a_templated_prompt_that_is_tokenised_again(fresh, tokenizer, sae):
    """The notebook's `tokenizer(prompt)` of a templated string begins with two BOS; ours with one, ids are kept."""
    lm = sw.LanguageModel(fresh("gemma2").model, tokenizer("bos"))
    prompt = lm.tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    twice = lm.tokenizer(prompt)["input_ids"]
    assert twice[:2] == [0, 0]
    assert lm.read(twice, sae).token_ids == tuple(twice)
    assert lm.read(prompt, sae).token_ids == lm.read(MESSAGES, sae).token_ids == tuple(twice[1:])


@THREE
def test_which_features_fire_in_several_dictionaries_at_once(lm, saes, references):
    """ "Search via inference", all layers: of each dictionary the features with the largest activation anywhere."""
    prompt = "Name a city by the sea, please."
    fires = lm.search(prompt, list(saes.values()), k=5)
    ids = lm.tokenizer(prompt)["input_ids"]
    assert [feature.site.layer for feature in fires.features] == [0] * 5 + [LAYER] * 5 + [3] * 5
    for number, (layer, reference) in enumerate(references.items()):
        mine = slice(5 * number, 5 * number + 5)
        acts = reference.encode(block_output(lm.model, ids, layer))
        values, positions = acts[1:].max(0)  # position 0 is an attention sink
        top = values.topk(5)
        assert [feature.index for feature in fires.features[mine]] == top.indices.tolist()
        torch.testing.assert_close(torch.tensor(fires.values[mine]), top.values, **CLOSE)
        assert list(fires.positions[mine]) == (1 + positions[top.indices]).tolist()


@THREE
def test_testing_a_feature_on_other_texts(lm, sae, references):
    """The "Test" button: one feature's activation on every token of any text."""
    index = lm.search("a city by the sea", sae, k=1).features[0].index
    for text in ("Nobody knows the answer.", "a city by the sea"):
        acts = references[LAYER].encode(block_output(lm.model, lm.tokenizer(text)["input_ids"], LAYER))
        torch.testing.assert_close(lm.read(text, sae, [index]).values[:, 0], acts[:, index], **CLOSE)


# Steering


@THREE
def test_additive_steering(lm, sae, references):
    """`layers[31].output[0][:, :, :] += coeff * sae.W_dec[120353]`, for every step (`model.all()`)."""
    index = 40
    edits = {LAYER: lambda stream: stream + COEFF * references[LAYER].W_dec[index]}
    ids = templated(lm.tokenizer, REQUEST)
    recipe = sae[index].add(COEFF)
    with torch.no_grad(), lm.steer(recipe):
        found = lm.model(input_ids=torch.tensor([ids])).logits[0]
    torch.testing.assert_close(found, logits(lm.model, ids, edits), **LOGITS)
    out = lm.compare(REQUEST, recipe, temperature=0, max_new_tokens=12)
    assert out.steered.token_ids == greedy(lm.model, ids, edits, 12, lm.end_ids)
    assert out.baseline.token_ids == greedy(lm.model, ids, {}, 12, lm.end_ids)
    assert out.divergence is not None


def test_without_do_sample_the_notebook_is_greedy(llama, sae):
    """It passes a temperature and top-p, but not `do_sample`: `generate` ignores both."""
    ids = templated(llama.tokenizer, REQUEST)
    settings = GenerationConfig(max_new_tokens=10, temperature=0.5, top_p=0.1, pad_token_id=2, eos_token_id=[1])
    inputs = {"inputs": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids))}
    with llama.steer(sae[40].add(COEFF)):
        out = llama.model.generate(**inputs, generation_config=settings)[0, len(ids) :].tolist()
    ours = llama.compare(ids, sae[40].add(COEFF), temperature=0, max_new_tokens=10).steered
    assert tuple(token for token in out if token != 1) == ours.token_ids


def penalised(scores, text, temperature, top_p, freq_penalty):
    """Probabilities as TransformerLens' `sample_logits` has them, by which Neuronpedia samples.

    `logits / T − penalty × count` first, then the nucleus of what that gives.
    """
    scores = scores / temperature - freq_penalty * torch.bincount(
        torch.tensor(text, dtype=torch.long), minlength=len(scores)
    )
    ordered, order = scores.sort(descending=True)
    cumulative = ordered.softmax(-1).cumsum(-1)
    removed = cumulative > top_p
    removed[1:] = removed[:-1].clone()
    removed[0] = False
    return scores.masked_fill(torch.zeros_like(removed).scatter(0, order, removed), -torch.inf)


@pytest.mark.parametrize("penalise_prompt", [False, True])
@pytest.mark.parametrize(("temperature", "top_p", "penalty"), [(0.5, 0.1, 1.0), (0.5, 0.9, 1.0), (1.5, 0.6, 2.5)])
def test_its_sampling_settings(llama, sae, penalise_prompt, temperature, top_p, penalty):
    """`temperature=0.5, top_p=0.1, freq_penalty=1.0`, both rows, step by step with the shared noise."""
    ids = templated(llama.tokenizer, REQUEST)
    settings = {"temperature": temperature, "top_p": top_p, "top_k": 0, "frequency_penalty": penalty}
    settings |= {"penalise_prompt": penalise_prompt, "max_new_tokens": 16, "seed": 4}
    recipe = sae[40].add(COEFF)
    out = llama.compare(ids, recipe, **settings)
    edits = {LAYER: lambda stream: stream + COEFF * sae[40].vector}
    for row, mine in ((out.baseline, {}), (out.steered, edits)):
        text = list(ids)
        for step in range(16):
            counted = text if penalise_prompt else text[len(ids) :]
            scores = penalised(logits(llama.model, text, mine)[-1], counted, temperature, top_p, penalty)
            token = int((scores + gumbel_noise(4, step, len(scores))).argmax())
            if token in llama.end_ids:
                break
            text.append(token)
        assert row.token_ids == tuple(text[len(ids) :])


def test_the_penalty_acts_even_where_the_nucleus_is_one_token(fresh):
    """At top-p 0.1 the nucleus is often one token; a penalty that came after it could not keep it from repeating."""
    lm = fresh("llama")
    with torch.no_grad():
        lm.model.get_output_embeddings().weight.mul_(0.1)
    settings = {"temperature": 0.5, "top_p": 1e-6, "top_k": 0, "max_new_tokens": 12}
    stuck = lm.compare(list(range(40, 50)), None, **settings).baseline.token_ids
    free = lm.compare(list(range(40, 50)), None, frequency_penalty=50.0, **settings).baseline.token_ids
    assert len(set(free)) == len(free)
    assert len(set(stuck)) < len(stuck)


# Concepts as directions


def test_vector_arithmetic(llama, saes, references):
    """Directions add up: the sum steers as one vector, and finds its nearest features by cosine."""
    W_dec = references[LAYER].W_dec
    king, man, woman = (saes[LAYER][i] for i in (11, 23, 57))
    combined = king.direction - man.direction + woman.direction
    vector = W_dec[11] - W_dec[23] + W_dec[57]
    torch.testing.assert_close(combined.vector, vector)
    cosines = torch.nn.functional.cosine_similarity(W_dec, vector[None])
    assert combined.cosine(woman) == pytest.approx(float(cosines[57]), abs=1e-5)
    found = saes[LAYER].nearest(combined, k=5)
    assert [feature.index for feature in found.features] == cosines.topk(5).indices.tolist()
    torch.testing.assert_close(torch.tensor(found.cosines), cosines.topk(5).values, **CLOSE)
    ids = templated(llama.tokenizer, REQUEST)
    edits = {LAYER: lambda stream: stream + 3 * vector}
    with torch.no_grad(), llama.steer(combined.add(3)):
        found = llama.model(input_ids=torch.tensor([ids])).logits[0]
    torch.testing.assert_close(found, logits(llama.model, ids, edits), **LOGITS)
    with pytest.raises(ValueError, match="only directions of one site go together"):
        king.direction + saes[0][3].direction


@THREE
def test_polysemantic_neurons(lm):
    """A neuron's value is what enters the MLP's last matrix; it fires on texts that have nothing in common."""
    mlp = sw.Neurons(lm, layer=1)
    module, is_input = naive.stream_module(lm.model, 1, "mlp_acts")
    assert is_input
    texts = ["the answer of the function", "a city by the sea"]
    for text in texts:
        ids = lm.tokenizer(text)["input_ids"]
        values = naive.streams(lm.model, ids, [(1, "mlp_acts")])[1, "mlp_acts"]
        torch.testing.assert_close(lm.read(text, mlp).values, values, **CLOSE)
        top = values[1:].max(0).values.topk(4)
        assert [neuron.index for neuron in lm.search(text, mlp, k=4).features] == top.indices.tolist()
    weight = module.weight if module.weight.shape[0] == D_MODEL else module.weight.T
    if not hasattr(lm.model.config, "final_logit_softcapping"):
        torch.testing.assert_close(mlp[7].output.vector, weight[:, 7].detach().float(), **CLOSE)


@THREE
def test_difference_in_means(lm):
    """Mean activation of texts with a concept minus mean of those without, each text averaged over its tokens."""
    with_it = ["the sea by the sea", "a city by the ocean, the sea", "the ocean and the sea"]
    without = ["return the value of the function", "print the result", "def main(): return the value"]
    mean = lambda text: block_output(lm.model, lm.tokenizer(text)["input_ids"], LAYER)[1:].mean(0)
    vector = torch.stack([mean(t) for t in with_it]).mean(0) - torch.stack([mean(t) for t in without]).mean(0)
    labels = ["sea"] * 3 + ["code"] * 3
    cavs = sw.CAV.fit(lm, with_it + without, labels, layer=LAYER, method="mean_difference", held_out=0, unit=False)
    torch.testing.assert_close(cavs["sea"].vector, vector, **CLOSE)
    unit = sw.CAV.fit(lm, with_it + without, labels, layer=LAYER, method="mean_difference", held_out=0)
    torch.testing.assert_close(unit["sea"].vector, vector / vector.norm(), **CLOSE)
    out = lm.compare(REQUEST, cavs["sea"].add(1.5), temperature=0, max_new_tokens=6)
    edits = {LAYER: lambda stream: stream + 1.5 * vector}
    ids = templated(lm.tokenizer, REQUEST)
    assert out.steered.token_ids == greedy(lm.model, ids, edits, 6, lm.end_ids)
