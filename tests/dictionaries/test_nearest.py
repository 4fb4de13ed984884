"""Features by cosine: every kind, chunk by chunk, and what is not compared."""

import pytest
import torch
from support import sae as saes
from support.mfa import make_state
from support.models import D_MODEL

import steerwidgets as sw

WANTED = torch.randn(D_MODEL, generator=torch.Generator().manual_seed(9))


def kinds():
    rows = torch.randn(11, D_MODEL, generator=torch.Generator().manual_seed(2))
    yield saes.make("topk", k=3)
    yield sw.CAV(rows, [f"concept {i}" for i in range(11)], layer=1)
    yield sw.ReFT(rows, layer=1)
    yield sw.MFA(*make_state(5, D_MODEL, 2), layer=1)


@pytest.mark.parametrize("chunk", [4096, 3])
@pytest.mark.parametrize("dictionary", list(kinds()), ids=lambda d: d.kind)
def test_the_largest_cosines(dictionary, chunk, monkeypatch):
    monkeypatch.setattr("steerwidgets.dictionaries.nearest._CHUNK", chunk)
    direction = sw.Direction(WANTED, sw.Site(1), "wanted")
    every = torch.tensor([direction.cosine(feature) for feature in dictionary])
    found = dictionary.nearest(direction, k=4)
    assert [feature.index for feature in found.features] == every.topk(4).indices.tolist()
    torch.testing.assert_close(torch.tensor(found.cosines), every.topk(4).values, atol=1e-6, rtol=1e-5)
    assert len(dictionary.nearest(direction, k=1000).features) == dictionary.size
    itself = dictionary.nearest(dictionary[2], k=1)
    assert itself.features[0].key == dictionary[2].key
    assert itself.cosines[0] == pytest.approx(1, abs=1e-6)


def test_it_prints_as_a_table():
    cavs = sw.CAV(torch.eye(3), ["sea", "sky", "sand"], layer=1)
    shown = repr(cavs.nearest(cavs["sky"] * 2.0 + cavs["sand"], k=2))
    assert [line.split() for line in shown.splitlines()] == [
        ["index", "feature", "cosine"],
        ["1", "sky", "0.8944"],
        ["2", "sand", "0.4472"],
    ]


def test_what_is_not_compared():
    cavs = sw.CAV(torch.eye(3), list("abc"), layer=1)
    with pytest.raises(ValueError, match=r"numbers at block 2 resid_post, .* only those of one site are compared"):
        cavs.nearest(sw.Direction(torch.ones(3), sw.Site(2)))
    with pytest.raises(ValueError, match=r"is 4 numbers at block 1 resid_post, .* directions of 3"):
        cavs.nearest(sw.Direction(torch.ones(4), sw.Site(1)))
    with pytest.raises(ValueError, match="1 or more, but k=0"):
        cavs.nearest(cavs[0], k=0)
