"""Which features promote a token, ranked searches of a text, and output scores: against the same thing by hand."""

import pytest
import torch
from support import kinds, sae
from support.both import PROMPT

import steerwidgets as sw

FAMILIES = pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])


@FAMILIES
@pytest.mark.parametrize("kind", kinds.DIRECTED)
@pytest.mark.parametrize("suppress", [False, True])
def test_as_top_logits_says_of_each_feature(kind, suppress, lm):
    dictionary = kinds.make(kind, lm)
    token = 40
    found = lm.promoting(dictionary, token, k=4, suppress=suppress)
    size = len(lm.tokenizer)

    def score(index):
        every = lm.top_logits(dictionary[index], k=size)
        return next(value for each, value in every.promoted if each.id == token)

    values = {index: score(index) for index in range(dictionary.size)}
    best = sorted(values, key=values.get, reverse=not suppress)[:4]
    assert [feature.index for feature in found.features] == best
    assert found.values == pytest.approx([values[index] for index in best], abs=1e-4)
    assert found.token.id == token


def test_chunks_and_texts(llama, monkeypatch):
    dictionary = sae.make()
    whole = llama.promoting(dictionary, "e", k=sae.SIZE)
    monkeypatch.setattr("steerwidgets.lens.promoting._CHUNK", 7)
    assert llama.promoting(dictionary, "e", k=sae.SIZE).values == pytest.approx(whole.values)
    assert llama.promoting(dictionary, whole.token.id, k=3).values == pytest.approx(whole.values[:3])
    assert "logit of 'e'" in repr(whole)


def test_unembeds_whose_weights_cannot_be_read_are_asked(llama):
    """As quantised ones: their `weight` is packed, and only calling them says what they do."""
    from steerwidgets.transformer.unembed import row_of

    class Packed(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(5, 1))
            self.inner = [inner]

        def forward(self, x):
            return self.inner[0](x)

    unembed = llama.architecture.unembed
    torch.testing.assert_close(row_of(Packed(unembed), 40, unembed.weight.shape[1]), unembed.weight[40].detach())


@pytest.mark.parametrize(
    ("token", "error", "said"),
    [
        ("several tokens", ValueError, "is no token of this model but"),
        ("", ValueError, "The token is empty"),
        (10**9, ValueError, "outside the vocabulary"),
        (-1, ValueError, "outside the vocabulary"),
        (1.5, TypeError, "by its text or its id"),
        (None, TypeError, "by its text or its id"),
    ],
)
def test_what_is_no_token(llama, token, error, said):
    with pytest.raises(error, match=said):
        llama.promoting(sae.make(), token)


def test_what_the_mlp_takes_is_refused(llama):
    rows = torch.eye(sae.D_MODEL)[:3]
    dictionary = sw.SAE(rows.T, torch.zeros(3), rows, torch.zeros(sae.D_MODEL), layer=1, stream="mlp_in")
    with pytest.raises(ValueError, match="nothing writes to the residual stream"):
        llama.promoting(dictionary, 40)


# Searches of a text


def test_ranked_by_mean_within_positions_and_divided(llama):
    dictionary = sae.make()
    read = llama.read(PROMPT, dictionary)
    counted = read.values[read.mask]
    mean = llama.search(PROMPT, dictionary, k=5, rank="mean")
    assert mean.values == pytest.approx(counted.mean(0).topk(5).values.tolist(), rel=1e-4)
    assert mean.unit == "mean activation"
    span = read.values[2:4][read.mask[2:4]].max(0).values.topk(5)
    within = llama.search(PROMPT, dictionary, k=5, positions=range(2, 4))
    assert within.values == pytest.approx(span.values.tolist(), rel=1e-4)
    assert set(within.positions) <= {2, 3}
    p995 = torch.rand(sae.SIZE, generator=torch.Generator().manual_seed(0)) + 0.1
    p995[0], p995[1] = torch.nan, 0.0
    maximum = torch.full((sae.SIZE,), 5.0)
    maximum[1] = 0.0
    dictionary.statistics = sw.FeatureStatistics(maximum, p995=p995)
    scale = p995.clone()
    scale[0], scale[1] = 5.0, torch.nan
    divided = llama.search(PROMPT, dictionary, k=sae.SIZE, normalise=True)
    expected = (counted.max(0).values / scale).nan_to_num(-torch.inf).topk(sae.SIZE - 1)
    assert divided.values == pytest.approx(expected.values.tolist(), rel=1e-4)
    assert 1 not in [feature.index for feature in divided.features]
    assert "activation / p99.5" in repr(divided)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rank": "median"}, "ranked by their maximum or mean"),
        ({"positions": [10**6]}, "The text has positions 0 to"),
        ({"positions": [0]}, "None of these positions counts"),
        ({"normalise": True}, "needs to know how strongly features fire"),
    ],
)
def test_searches_of_wrong_settings(llama, settings, said):
    with pytest.raises(ValueError, match=said):
        llama.search(PROMPT, sae.make(), **settings)


# Output scores
