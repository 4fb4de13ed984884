"""Another token in the place of a generated one: its probability, and the text that goes on from there."""

import pytest
import torch
from support import models

import steerwidgets as sw
from steerwidgets.generation.rows import Plan, generate_rows

PROMPT = (5, 9, 30, 7, 12)


@pytest.fixture(params=models.FAMILIES)
def lm(request, fresh):
    lm = fresh(request.param)
    with torch.no_grad():
        lm.model.get_output_embeddings().weight[sorted(lm.special_ids)] = 0
    return lm


@pytest.fixture
def cavs():
    vectors = torch.randn(2, models.D_MODEL, generator=torch.Generator().manual_seed(3))
    return sw.CAV(vectors, ["sea", "food"], layer=1)


RECIPES = {
    "everywhere": lambda c: c[0].add(3) + c[1].project(0.5),
    "generated": lambda c: c[0].add(3).at("generated"),
    "a token of the answer": lambda c: c[0].add(6).at([7]),
}


def same_ids(one, other):
    """Texts of one row and of two may part at near-ties only; these models have none."""
    assert tuple(one) == tuple(other)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("temperature", [0, 0.8])
@pytest.mark.parametrize("row", ["baseline", "steered"])
def test_the_same_token_goes_on_as_it_did(lm, cavs, recipe, temperature, row):
    settings = {"max_new_tokens": 9, "temperature": temperature, "frequency_penalty": 0.3}
    out = lm.compare(PROMPT, recipe(cavs), **settings)
    text = getattr(out, row)
    for step in (0, 4, 8):
        forked = out.fork(step, text.token_ids[step], row)
        same_ids(getattr(forked, row).token_ids, text.token_ids)
        assert getattr(forked, row).ended == text.ended
        other = "steered" if row == "baseline" else "baseline"
        assert getattr(forked, other) is getattr(out, other)


def greedy(lm, ids, count, vector, alpha, first=0):
    """A plain loop without a cache that adds `alpha·v` after block 1 from position `first` on."""
    blocks = lm.architecture.blocks

    def hook(_module, _inputs, output):
        h = output[0] if isinstance(output, tuple) else output
        h = h.clone()
        h[:, first:] += alpha * vector
        return (h, *output[1:]) if isinstance(output, tuple) else h

    handle = blocks[1].register_forward_hook(hook)
    ids = list(ids)
    with torch.no_grad():
        for _ in range(count):
            ids.append(int(lm.model(torch.tensor([ids])).logits[0, -1].argmax()))
    handle.remove()
    return ids


def test_another_token_goes_on_as_a_plain_loop_does(lm, cavs):
    out = lm.compare(PROMPT, cavs[0].add(3).at("generated"), max_new_tokens=8, temperature=0)
    token = out.alternatives(3, k=2)[1][0].id
    begun = [*PROMPT, *out.steered.token_ids[:3], token]
    expected = greedy(lm, begun, 4, cavs[0].vector, 3.0, first=len(PROMPT))
    same_ids(out.fork(3, token).steered.token_ids, expected[len(PROMPT) :])


@pytest.mark.parametrize("keep_cache", [False, True])
@pytest.mark.parametrize("row", ["baseline", "steered"])
def test_alternatives_have_the_probabilities_of_a_plain_pass(lm, cavs, keep_cache, row):
    out = lm.compare(PROMPT, cavs[0].add(3), max_new_tokens=6, keep_cache=keep_cache)
    ids = [*PROMPT, *getattr(out, row).token_ids[:4]]
    alpha = 3.0 if row == "steered" else 0.0
    handle = lm.architecture.blocks[1].register_forward_hook(
        lambda _m, _i, o: (
            (o[0] + alpha * cavs[0].vector, *o[1:]) if isinstance(o, tuple) else o + alpha * cavs[0].vector
        )
    )
    with torch.no_grad():
        expected = lm.model(torch.tensor([ids])).logits[0, -1].float().softmax(-1).topk(5)
    handle.remove()
    found = out.alternatives(4, row, k=5)
    assert [token.id for token, _ in found] == expected.indices.tolist()
    assert [p for _, p in found] == pytest.approx(expected.values.tolist(), abs=1e-4)


def test_scores_and_watched_values_are_those_of_the_new_text(lm, cavs):
    out = lm.compare(PROMPT, cavs[0].add(3), max_new_tokens=6, temperature=0, watch=[cavs[1]])
    token = out.alternatives(2, k=2)[1][0].id
    forked = out.fork(2, token, watch=[cavs[1]])
    assert len(forked.kl) == len(forked.steered.token_ids) == len(forked.steered.watched) == 6
    assert forked.steered.watched[:2] == out.steered.watched[:2]
    assert all(each is not None for each in forked.steered.watched)
    again = forked.fork(2, out.steered.token_ids[2], watch=[cavs[1]])
    same_ids(again.steered.token_ids, out.steered.token_ids)
    for found, expected in zip(again.steered.watched, out.steered.watched, strict=True):
        assert found == pytest.approx(expected, abs=1e-3)


def test_a_row_beside_goes_on_too(llama):
    vectors = torch.randn(1, models.D_MODEL, generator=torch.Generator().manual_seed(3))
    recipe = sw.Recipe.of(sw.CAV(vectors, ["sea"], layer=1)[0].add(3))
    beside = [sw.Asked("Talk about the sea."), recipe.random_direction(0)]
    out = llama.compare("Name a city.", recipe, max_new_tokens=6, beside=beside)
    for index, text in enumerate(out.beside):
        forked = out.fork(3, text.token_ids[3], index)
        same_ids(forked.beside[index].token_ids, text.token_ids)


def test_a_token_that_ends_the_text_ends_it(llama):
    out = llama.compare(PROMPT, None, max_new_tokens=5)
    end = min(llama.end_ids)
    forked = out.fork(2, end, "baseline")
    assert forked.baseline.token_ids == out.baseline.token_ids[:2]
    assert forked.baseline.ended == "eos"


@pytest.mark.parametrize(
    ("step", "token", "row", "sentence"),
    [
        (9, 5, "steered", "has 5 tokens, from 0 to 4; step 9"),
        (True, 5, "steered", "step True"),
        (0, 10**6, "steered", "outside the vocabulary"),
        (0, "two words", "steered", "is no token of this model"),
        (0, 5, "louder", "has the rows baseline and steered; 'louder'"),
    ],
)
def test_what_there_is_not_is_one_sentence(llama, step, token, row, sentence):
    out = llama.compare(PROMPT, None, max_new_tokens=5)
    assert len(out.steered.token_ids) == 5
    with pytest.raises(ValueError, match=sentence):
        out.fork(step, token, row)


def test_rows_with_seeds_of_their_own_are_runs_of_those_seeds(lm):
    sampling = sw.Sampling(max_new_tokens=7, temperature=0.9, seed=4)
    prompt = lm.encode(PROMPT)
    rows = generate_rows(lm, [Plan(prompt, sw.Recipe(), seed=seed) for seed in (None, 11, 12)], sampling)
    for row, seed in zip(rows, (4, 11, 12), strict=True):
        [alone, _, _] = lm.sweep(PROMPT, [None] * 3, max_new_tokens=7, temperature=0.9, seed=seed)
        same_ids(row.token_ids, alone.token_ids)
    assert len({row.token_ids for row in rows}) > 1
