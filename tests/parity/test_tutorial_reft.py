"""Every computing cell of AxBench's ReFT-r1 tutorial (pyvene), against plain tensors that do what the cell does."""

import json

import einops
import pytest
import torch
from support.models import D_MODEL
from support.tutorials import CLOSE, LOGITS, block_output, greedy, logits, templated

import steerwidgets as sw

LAYER, CONCEPTS, CONCEPT, MAG = 2, 50, 17, 9.0
QUESTION = "Would a wormhole let you travel through time?"
MESSAGES = [{"role": "user", "content": QUESTION}]
THREE = pytest.mark.parametrize("family", ["gemma2", "llama", "gpt2"])


def weight():
    drawn = torch.randn(CONCEPTS, D_MODEL, generator=torch.Generator().manual_seed(11))
    return drawn / drawn.norm(dim=-1, keepdim=True)


def metadata():
    return [
        {
            "concept_id": i,
            "concept": f"words related to subject {i}",
            "ref": f"https://www.neuronpedia.org/gemma-2-2b/20-gemmascope-res-16k/{9 * i}",
            "concept_genres_map": {f"words related to subject {i}": ["text", "code"][: 1 + i % 2]},
        }
        for i in range(CONCEPTS)
    ]


@pytest.fixture
def folder(tmp_path):
    """The two files that the tutorial downloads; the tensor in bfloat16, as published ones may be."""
    made = tmp_path / f"l{LAYER}"
    made.mkdir()
    torch.save(weight().to(torch.bfloat16), made / "weight.pt")
    (made / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metadata()))
    return made


@pytest.fixture
def reft():
    return sw.ReFT(weight(), layer=LAYER)


def acts_of(model, ids):
    """`Encoder`: relu of a Linear without bias, whose weight is the dictionary, on the block's output."""
    return torch.relu(block_output(model, ids, LAYER) @ weight().T)


def steer(base):
    """`Steer`: `base + mag · proj.weight[idx]`."""
    return base + torch.tensor(MAG) * weight()[CONCEPT].unsqueeze(dim=0)


def test_weight_and_metadata(folder):
    reft = sw.ReFT.load(folder)
    params, md = weight().to(torch.bfloat16).float(), metadata()
    assert (reft.size, reft.d_model) == tuple(params.shape)
    assert reft.site == sw.Site(LAYER)
    for row in md:
        concept = reft[row["concept_id"]]
        assert torch.equal(concept.vector, params[row["concept_id"]])
        assert (concept.label, concept.link) == (row["concept"], row["ref"])
        assert list(concept.genres) == row["concept_genres_map"][row["concept"]]
    assert reft["words related to subject 17"].index == 17


@THREE
def test_how_much_a_concept_fires_on_each_token(lm, reft):
    """`acts[1:, 1795]`."""
    ids = templated(lm.tokenizer, QUESTION)
    acts = acts_of(lm.model, ids)
    read = lm.read(MESSAGES, reft, [CONCEPT])
    assert read.token_ids == tuple(ids)
    torch.testing.assert_close(read.values[1:, 0], acts[1:, CONCEPT], **CLOSE)
    assert 0 < int((acts[1:, CONCEPT] == 0).sum()) < len(ids) - 1


@THREE
def test_strongest_concept_and_how_many_fire(lm, reft):
    """`acts[1:].max(-1)` and `(acts[1:] > 1).sum(-1)`, from the read activations and chunk by chunk."""
    acts = acts_of(lm.model, templated(lm.tokenizer, QUESTION))
    values, indices = acts[1:].max(-1)
    read = lm.read(MESSAGES, reft)
    torch.testing.assert_close(read.values[1:].max(-1).values, values, **CLOSE)
    assert torch.equal(read.values[1:].max(-1).indices, indices)
    assert torch.equal((read.values[1:] > 1).sum(-1), (acts[1:] > 1).sum(-1))
    firing = reft.firing(read.residual[1:])
    torch.testing.assert_close(firing.values, values, **CLOSE)
    assert torch.equal(firing.strongest, indices)
    assert torch.equal(firing.counts, (acts[1:] > 1).sum(-1))
    assert len(set(firing.counts.tolist())) > 1


def get_logits(model, tokenizer, concept_subspace, gain, k):
    """The tutorial's function. `reduce(W_U, "d_model d_vocab -> 1 d_vocab", "mean")` centres every column over d_model;
    what a softmax ignores, the mean over d_vocab, stays in.
    """
    W_U = model.lm_head.weight.T
    W_U = W_U * gain[:, None]
    W_U -= einops.reduce(W_U, "d_model d_vocab -> 1 d_vocab", "mean")
    vocab_logits = concept_subspace @ W_U
    sides = []
    for largest in (True, False):
        values, indices = vocab_logits.topk(k=k, largest=largest, sorted=True)
        texts = tokenizer.batch_decode(indices.unsqueeze(dim=-1))
        sides.append((indices.tolist(), texts, values.tolist()))
    return sides


def gain_of(model):
    """`norm.weight + 1` is Gemma's; a Llama's gain is its weight alone."""
    norm = model.model.norm
    return norm.weight + torch.ones_like(norm.weight) if model.config.model_type == "gemma2" else norm.weight


@pytest.mark.parametrize("family", ["gemma2", "llama"])
def test_the_unembed_of_a_concept(lm, reft):
    with torch.no_grad():
        sides = get_logits(lm.model, lm.tokenizer, weight()[CONCEPT], gain_of(lm.model), 5)
    v = reft[CONCEPT].vector
    ours = lm.top_logits(sw.Direction(v - v.mean(), reft.site), k=5)
    for (ids, texts, values), found in zip(sides, (ours.promoted, ours.suppressed), strict=True):
        assert [token.id for token, _ in found] == ids
        assert all(token.text == text for (token, _), text in zip(found, texts, strict=True) if not token.fragment)
        torch.testing.assert_close(torch.tensor([value for _, value in found]), torch.tensor(values), **CLOSE)


@pytest.mark.parametrize("family", ["gemma2", "llama"])
def test_our_own_read_out_beside_it(lm, reft):
    """`W_U (g ⊙ v)`: the same without the centring, which a model with RMSNorm does not do."""
    with torch.no_grad():
        scores = (weight()[CONCEPT] * gain_of(lm.model)) @ lm.model.lm_head.weight.T
    ours = lm.top_logits(reft[CONCEPT], k=5)
    assert [token.id for token, _ in ours.promoted] == scores.topk(5).indices.tolist()
    assert [token.id for token, _ in ours.suppressed] == (-scores).topk(5).indices.tolist()
    torch.testing.assert_close(torch.tensor([value for _, value in ours.promoted]), scores.topk(5).values, **CLOSE)


@THREE
def test_steering_with_mag(lm, reft):
    """`pv_model.generate(…, unit_locations=None, subspaces=[{"idx": …, "mag": …}])`: all positions, every step."""
    ids = templated(lm.tokenizer, QUESTION)
    recipe = reft[CONCEPT].add(MAG)
    plain, expected = logits(lm.model, ids), logits(lm.model, ids, {LAYER: steer})
    assert (expected - plain).abs().max() > 0.1
    with torch.no_grad(), lm.steer(recipe):
        found = lm.model(input_ids=torch.tensor([ids])).logits[0]
    torch.testing.assert_close(found, expected, **LOGITS)
    out = lm.compare(MESSAGES, recipe, temperature=0, max_new_tokens=10)
    assert out.prompt.token_ids == tuple(ids)
    assert out.steered.token_ids == greedy(lm.model, ids, {LAYER: steer}, 10, lm.end_ids)
    assert out.baseline.token_ids == greedy(lm.model, ids, {}, 10, lm.end_ids)


@THREE
def test_the_same_question_as_a_plain_string(lm, reft):
    """Generating verbs put a string through the template as the tutorial does by hand."""
    settings = {"temperature": 0, "max_new_tokens": 6}
    recipe = reft[CONCEPT].add(MAG)
    assert lm.compare(QUESTION, recipe, **settings).steered == lm.compare(MESSAGES, recipe, **settings).steered
