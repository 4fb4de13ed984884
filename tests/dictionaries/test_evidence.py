"""Feature data: what is kept small comes back, and what does not fit is refused."""

import pytest
import torch

import steerwidgets as sw
from steerwidgets.dictionaries.evidence import log_counts, value_levels

FEATURES, EXAMPLES, WINDOW = 3, 2, 5


def arrays():
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(FEATURES, EXAMPLES, WINDOW, generator=generator) * 40
    tops = values.amax(-1)
    lists = {}
    for name in ("promoted", "suppressed", "nearest"):
        lists[f"{name}.ids"] = torch.randint(0, 60_000, (FEATURES, 4), generator=generator).to(torch.uint16)
        lists[f"{name}.values"] = torch.randn(FEATURES, 4, generator=generator).half()
    return values, {
        "tokens": torch.randint(0, 60_000, (FEATURES, EXAMPLES, WINDOW), generator=generator).to(torch.uint16),
        "values": value_levels(values, tops),
        "tops": tops.half(),
        "lengths": torch.tensor([[5, 3], [5, 0], [0, 0]], dtype=torch.uint8),
        "peaks": values.argmax(-1).to(torch.uint8),
        "sources": torch.tensor([[0, 1], [1, 0], [0, 0]], dtype=torch.uint8),
        "counts": log_counts(torch.tensor([[0, 1, 1000], [5, 0, 0], [0, 0, 0]])),
        "histogram_top": torch.tensor([40.0, 3.0, 0.0]),
        **lists,
    }


def test_comes_back_from_its_file(tmp_path):
    values, kept = arrays()
    sw.FeatureData(kept, ["chat", "wordnet"], "a corpus").save(tmp_path / "features.safetensors")
    data = sw.FeatureData.load(tmp_path / "features.safetensors")
    assert (len(data), data.corpus) == (FEATURES, "a corpus")
    first, second = data[0].examples
    assert first.token_ids == tuple(kept["tokens"][0, 0].tolist())
    assert first.values == pytest.approx(values[0, 0].tolist(), abs=40 / 255)
    assert (first.source, second.source, len(second.token_ids)) == ("chat", "wordnet", 3)
    assert first.values[first.peak] == max(first.values)
    assert data[0].counts == pytest.approx((0, 1, 1000), rel=0.05)
    assert len(data[1].examples) == 1
    assert data[2].examples == ()
    assert data[1].promoted[0] == (kept["promoted.ids"][1, 0].item(), float(kept["promoted.values"][1, 0]))


@pytest.mark.parametrize("count", [0, 1, 7, 100, 12_345, 10_000_000])
def test_counts_are_off_by_little(count):
    kept = log_counts(torch.tensor([count])).double()
    assert float(2 ** (kept / 8) - 1) == pytest.approx(count, rel=0.06, abs=0.1)


def more_arrays():
    """Random places, two bands of places, and features that are active at the same tokens."""
    generator = torch.Generator().manual_seed(1)
    found = {}
    for group, shape in (("random.", (FEATURES, EXAMPLES)), ("quantiles.", (FEATURES, 2, EXAMPLES))):
        values = torch.rand(*shape, WINDOW, generator=generator) * 40
        found |= {
            f"{group}tokens": torch.randint(0, 60_000, (*shape, WINDOW), generator=generator).to(torch.uint16),
            f"{group}values": value_levels(values, values.amax(-1)),
            f"{group}tops": values.amax(-1).half(),
            f"{group}lengths": torch.full(shape, WINDOW, dtype=torch.uint8),
            f"{group}peaks": values.argmax(-1).to(torch.uint8),
            f"{group}sources": torch.zeros(shape, dtype=torch.uint8),
        }
    found["quantiles.bounds"] = torch.tensor([[[20.0, 40], [0, 20]], [[2, 3], [0, 2]], [[0, 0], [0, 0]]])
    found["random.lengths"][1, 1] = 0
    found["coactive.ids"] = torch.tensor([[1, 2], [0, 0], [0, 0]], dtype=torch.uint16)
    found["coactive.values"] = torch.tensor([[0.5, 0.25], [0.5, 0], [0, 0]]).half()
    return found


def test_quantiles_random_places_and_coactive_features_come_back(tmp_path):
    more = more_arrays()
    sw.FeatureData(arrays()[1] | more, ["chat", "wordnet"], "a corpus").save(tmp_path / "features.safetensors")
    data = sw.FeatureData.load(tmp_path / "features.safetensors")
    assert [(band.low, band.high) for band in data[0].quantiles] == [(20, 40), (0, 20)]
    assert data[2].quantiles == ()
    second = data[1].quantiles[0].examples[1]
    assert second.token_ids == tuple(more["quantiles.tokens"][1, 0, 1].tolist())
    assert max(second.values) == pytest.approx(float(more["quantiles.tops"][1, 0, 1]), abs=1e-3)
    assert [len(data[index].random) for index in range(3)] == [2, 1, 2]
    assert data[0].random[1].token_ids == tuple(more["random.tokens"][0, 1].tolist())
    assert [data[index].coactive for index in range(3)] == [((1, 0.5), (2, 0.25)), ((0, 0.5),), ()]


def test_older_files_have_neither(tmp_path):
    sw.FeatureData(arrays()[1], ["chat", "wordnet"]).save(tmp_path / "features.safetensors")
    evidence = sw.FeatureData.load(tmp_path / "features.safetensors")[0]
    assert (evidence.quantiles, evidence.random, evidence.coactive) == ((), (), ())


def test_half_of_a_group_is_refused():
    for name in ("quantiles.bounds", "random.peaks"):
        more = more_arrays()
        del more[name]
        with pytest.raises(ValueError, match=f"lacks {name}"):
            sw.FeatureData(arrays()[1] | more, ["chat"])
    with pytest.raises(ValueError, match="one row for each feature"):
        sw.FeatureData(arrays()[1] | more_arrays() | {"random.peaks": torch.zeros(7, 2)}, ["chat"])


def test_belongs_to_a_dictionary():
    dictionary = sw.CAV(torch.eye(4)[:3], ["a", "b", "c"], layer=1)
    assert dictionary.evidence(0) is None
    dictionary.feature_data = sw.FeatureData(arrays()[1], ["chat", "wordnet"])
    assert dictionary.evidence(1).index == 1
    assert dictionary.evidence(-1).index == 2
    with pytest.raises(IndexError, match="features 0 to 2"):
        dictionary.evidence(3)
    with pytest.raises(ValueError, match="has 4 features, but the feature data is of 3"):
        sw.CAV(torch.eye(4), list("abcd"), layer=1).feature_data = dictionary.feature_data


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file of feature data"):
        sw.FeatureData.load(tmp_path / "none")
    (tmp_path / "torn").write_bytes(b"torn")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        sw.FeatureData.load(tmp_path / "torn")
    kept = arrays()[1]
    del kept["peaks"]
    with pytest.raises(ValueError, match="lacks peaks"):
        sw.FeatureData(kept, ["chat"])
    with pytest.raises(ValueError, match="one row for each feature"):
        sw.FeatureData(arrays()[1] | {"counts": torch.zeros(7, 3)}, ["chat"])
    with pytest.raises(IndexError, match="0 to 2"):
        sw.FeatureData(arrays()[1], ["chat"])[3]
