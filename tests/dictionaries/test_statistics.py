"""What is known of features' activations: one record for every kind, on its features, and back from its files."""

import pytest
import torch
from support.kinds import FILED, KINDS, SIZE, make, save
from support.sae import make as make_sae
from support.sae import write as write_sae

import steerwidgets as sw
from steerwidgets.dictionaries.zeros import zeros


def known(size=SIZE):
    maximum = torch.arange(size) + 42.3
    maximum[1] = torch.nan
    return sw.FeatureStatistics(
        maximum, maximum / 3, maximum / 2, torch.full((size,), 0.01), corpus="ten books", tokens=12_345
    )


ALL = pytest.mark.parametrize("kind", KINDS)
IN_FILES = pytest.mark.parametrize("kind", FILED)


@ALL
def test_every_kind_carries_them(kind, llama):
    dictionary = make(kind, llama)
    assert dictionary.statistics is None
    assert (dictionary.maximum(2), dictionary.typical(2), dictionary[2].max_activation) == (None, None, None)
    before = dictionary.fingerprint
    dictionary.statistics = known(dictionary.size)
    feature = dictionary[2]
    assert (dictionary.maximum(2), feature.max_activation) == (44.3, 44.3)
    assert dictionary.typical(2) == feature.typical_activation == pytest.approx(44.3 / 3)
    assert feature.max_activation_of == "ten books, 12,345 tokens"
    assert dictionary.statistics.of("density", 2) == 0.01
    assert dictionary.maximum(1) is None
    assert dictionary.fingerprint == before


@ALL
def test_statistics_of_another_dictionary_are_refused(kind, llama):
    dictionary = make(kind, llama)
    with pytest.raises(ValueError, match=f"has {dictionary.size} features, but the statistics are of 3"):
        dictionary.statistics = known(3)


@IN_FILES
def test_they_are_saved_with_it(kind, llama, tmp_path):
    dictionary = make(kind, llama)
    dictionary.statistics = known(dictionary.size)
    path = save(dictionary, tmp_path)
    again = type(dictionary).load(path, layer=1)
    for name in sw.FeatureStatistics.ARRAYS:
        mine, theirs = getattr(dictionary.statistics, name), getattr(again.statistics, name)
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)
    assert (again.statistics.corpus, again.statistics.tokens) == ("ten books", 12_345)
    assert again.fingerprint == dictionary.fingerprint


def test_a_file_of_their_own(tmp_path):
    known().save(tmp_path / "known.safetensors")
    again = sw.FeatureStatistics.load(tmp_path / "known.safetensors")
    assert repr(again) == repr(known())
    assert [again.of("maximum", i) for i in range(3)] == [42.3, None, 44.3]
    only = sw.FeatureStatistics(torch.ones(3), corpus="a text")
    only.save(tmp_path / "only.safetensors")
    again = sw.FeatureStatistics.load(tmp_path / "only.safetensors")
    assert (again.typical, again.density, again.tokens, again.source) == (None, None, None, "a text")


def test_maxima_alone_make_them():
    assert make_sae().statistics is None
    some = make_sae(max_activations={3: 12.5}, max_activation_of="10 texts").statistics
    assert (some.of("maximum", 3), some.of("maximum", 4), some.of("typical", 3)) == (12.5, None, None)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"maximum": torch.ones(2, 3)}, r"one number for each feature.*one of shape \[2, 3\]"),
        ({"maximum": torch.tensor([1.0, torch.inf])}, "an infinite value"),
        ({"maximum": torch.ones(3), "typical": torch.ones(4)}, "3 of maximum, 4 of typical"),
        ({"maximum": torch.ones(2), "density": torch.tensor([0.5, 1.5])}, "share of tokens, from 0 to 1"),
    ],
)
def test_wrong_arrays(arrays, sentence):
    with pytest.raises(ValueError, match=sentence):
        sw.FeatureStatistics(**arrays)


def test_wrong_files_and_maxima(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file of feature statistics"):
        sw.FeatureStatistics.load(tmp_path / "none.safetensors")
    known().save(tmp_path / "cut.safetensors")
    whole = (tmp_path / "cut.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-10])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        sw.FeatureStatistics.load(tmp_path / "cut.safetensors")
    with pytest.raises(ValueError, match="are a maximum for each feature, a corpus"):
        sw.FeatureStatistics.load(write_sae(tmp_path) / "sae_weights.safetensors")
    with pytest.raises(ValueError, match="names feature 99, but features are 0 to 39"):
        make_sae(max_activations={99: 1.0})
    with pytest.raises(ValueError, match="one entry for each of the 40 features, but 2 were given"):
        make_sae(max_activations=[1.0, 2.0])


@IN_FILES
def test_a_zero_of_its_own_is_kept_and_told(kind, llama, tmp_path):
    dictionary = make(kind, llama)
    zero = torch.arange(float(dictionary.size)) - 1
    zero[0] = torch.nan
    dictionary.statistics = sw.FeatureStatistics(torch.ones(dictionary.size), zero=zero, zero_of="other texts")
    path = save(dictionary, tmp_path)
    again = type(dictionary).load(path, layer=1)
    torch.testing.assert_close(again.statistics.zero, zero, rtol=0, atol=0, equal_nan=True)
    assert again.statistics.zero_of == "other texts"
    assert (again[0].zero_activation, again[2].zero_activation, again[2].zero_of) == (None, 1.0, "other texts")


def test_a_file_without_zeros_is_read_as_before(tmp_path):
    known().save(tmp_path / "known.safetensors")
    again = sw.FeatureStatistics.load(tmp_path / "known.safetensors")
    assert (again.zero, again.zero_of) == (None, "")


def test_zeros_are_of_tokens_without_the_feature():
    values = torch.stack([torch.arange(100.0), -torch.arange(100.0)], dim=1)
    without = torch.stack([torch.arange(100) < 40, torch.arange(100) < 10], dim=1)
    found = zeros(values, without)
    assert found[0] == pytest.approx(0.95 * 39, abs=1e-4)
    assert found[1].isnan()
