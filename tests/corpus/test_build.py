"""An index against a reference that holds every activation in memory."""

import math

import pytest
import torch
from support import corpora, mfa
from support import sae as saes

import steerwidgets as sw


def dictionaries():
    """One of each kind of activation: sparse ones with and without a threshold, signed ones, and never zero ones."""
    directions = torch.randn(5, 32, generator=torch.Generator().manual_seed(3))
    return {
        "topk": saes.make("topk", k=5),
        "jumprelu": saes.make("jumprelu", threshold=0.8, layer=2),
        "cav": sw.CAV(directions, list("abcde"), layer=1),
        "reft": sw.ReFT(directions, layer=0, labels=list("abcde")),
        "mfa": sw.MFA(*mfa.make_state(4, 32, 2), layer=2),
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    from conftest import _model, _tokenizer

    lm = sw.LanguageModel(_model("llama"), _tokenizer("chatml"))
    texts = [
        *corpora.texts(40, longest=20),
        "",
        *corpora.texts(4, seed=9, longest=100),
        "The ocean is wide.",
        "The ocean is wide.",
    ]
    kinds = dictionaries() | {"neurons": sw.Neurons(lm, layer=3)}
    path = tmp_path_factory.mktemp("index") / "index"
    seen = []
    index = sw.corpus.build(lm, list(kinds.values()), texts, path, batch_tokens=300, on_progress=seen.append)
    references = {name: corpora.Reference(lm, each, [text for text in texts if text]) for name, each in kinds.items()}
    return index, kinds, references, seen, lm


@pytest.fixture(params=["topk", "jumprelu", "cav", "reft", "neurons"])
def pair(made, request):
    index, kinds, references, _, _ = made
    return index, kinds[request.param], references[request.param]


def test_counts_and_statistics(pair):
    index, dictionary, reference = pair
    data, found = index.of(dictionary), index.statistics(dictionary)
    assert data.tokens == found.tokens == reference.tokens
    for feature in range(0, dictionary.size, 5):
        values = torch.tensor([value for value, _, _ in reference.firing(feature)])
        assert found.of("density", feature) == pytest.approx(len(values) / reference.tokens)
        if len(values):
            assert found.of("maximum", feature) == pytest.approx(float(values.max()), rel=1e-4)
            # Between the neighbours of the quantile itself, and a fine bin to either side.
            for name, share in (("typical", 0.5), ("p995", 0.995)):
                low, high = (values.quantile(share, interpolation=side) for side in ("lower", "higher"))
                assert float(low) * 0.98 <= found.of(name, feature) <= float(high) * 1.02
        else:
            assert found.of("maximum", feature) is None


def test_histograms(pair):
    index, dictionary, reference = pair
    for feature in range(0, dictionary.size, 5):
        values = torch.tensor([value for value, _, _ in reference.firing(feature)])
        evidence = index.of(dictionary)[feature]
        assert sum(evidence.counts) == len(values)
        if not len(values):
            assert evidence.counts == ()
            continue
        bins, top = len(evidence.counts), evidence.histogram_top
        assert 20 <= bins <= 40
        assert top * (1 - 1 / bins) <= float(values.max()) <= top
        expected = torch.histc(values, bins, 0, top).long()
        off = (expected.cumsum(0) - torch.tensor(evidence.counts).cumsum(0)).abs()
        # A value at the very edge of a bin may be a rounding away from it.
        assert int(off.max()) <= 1


def test_strongest_examples(pair, made):
    index, dictionary, reference = pair
    lm = made[4]
    for feature in range(0, dictionary.size, 5):
        examples = index.of(dictionary)[feature].examples
        values = [example.values[example.peak] for example in examples]
        assert values == pytest.approx(reference.strongest(feature, 20), rel=1e-4)
        endings = [example.token_ids[max(0, example.peak - 2) : example.peak + 1] for example in examples]
        assert len(set(endings)) == len(endings)
        for example in examples:
            assert_is_there(example, feature, reference)
    assert examples[0].source == "corpus"
    assert lm.tokens(examples[0].token_ids)


def assert_is_there(example, feature, reference):
    """The window is in one of the texts, as far as it goes, with this feature's activations there."""
    for ids, values, counted in zip(reference.ids, reference.values, reference.counted, strict=True):
        for start in range(len(ids) - len(example.token_ids) + 1):
            end = start + len(example.token_ids)
            if tuple(ids[start:end]) != example.token_ids:
                continue
            expected = torch.where(counted, values[:, feature], 0).clamp(min=0)[start:end].tolist()
            if expected == pytest.approx(example.values, rel=1e-4, abs=1e-5):
                before = min(18, start + example.peak)
                after = min(12, len(ids) - 1 - start - example.peak)
                # The same tokens may stand at the beginning of two texts, of which one goes on.
                if (example.peak, len(ids[start:end]) - 1 - example.peak) == (before, after):
                    return
    raise AssertionError(f"{example} is in no text")


def test_samples(pair):
    index, dictionary, reference = pair
    for feature in range(0, dictionary.size, 5):
        evidence, firing = index.of(dictionary)[feature], reference.firing(feature)
        if not firing:
            assert (evidence.quantiles, evidence.random) == ((), ())
            continue
        largest = max(value for value, _, _ in firing)
        assert [band.high for band in evidence.quantiles[1:]] == [band.low for band in evidence.quantiles[:-1]]
        assert evidence.quantiles[-1].low == 0
        assert evidence.quantiles[0].high == pytest.approx(largest, rel=1e-4)
        assert len(evidence.quantiles) == 5
        texts = {(tuple(reference.ids[text]), position): value for value, text, position in firing}
        for number, band in enumerate(evidence.quantiles):
            assert band.low == pytest.approx(largest * (4 - number) / 5, abs=largest / 7.9)
            inside = [value for value in texts.values() if band.low <= value <= band.high]
            assert len(band.examples) == pytest.approx(min(5, len(inside)), abs=1)
            for example in band.examples:
                assert band.low <= example.values[example.peak] <= band.high
                assert_is_there(example, feature, reference)
        assert len(evidence.random) == min(5, len(texts))
        for example in evidence.random:
            assert_is_there(example, feature, reference)


def test_features_that_go_together(pair):
    index, dictionary, reference = pair
    for feature in range(0, dictionary.size, 7):
        counts = [len(reference.firing(other)) for other in range(dictionary.size)]
        expected = {}
        for other in range(dictionary.size):
            both = reference.together(feature, other)
            if other != feature and both:
                expected[other] = both / math.sqrt(counts[feature] * counts[other])
        found = index.of(dictionary)[feature].coactive
        assert [value for _, value in found] == pytest.approx(sorted(expected.values(), reverse=True)[:10], rel=1e-5)
        for other, value in found:
            assert value == pytest.approx(expected[other], rel=1e-5)


def test_tokens_and_neighbours(made):
    index, kinds, _, _, lm = made
    for dictionary in kinds.values():
        evidence = index.of(dictionary)[2]
        top = lm.top_logits(dictionary[2], 10)
        for found, expected in ((evidence.promoted, top.promoted), (evidence.suppressed, top.suppressed)):
            assert [value for _, value in found] == pytest.approx([value for _, value in expected], rel=1e-3, abs=1e-4)
        near = dictionary.nearest(dictionary[2], min(11, dictionary.size))
        assert [value for _, value in evidence.nearest] == pytest.approx(near.cosines[1:], abs=1e-5)


def test_components_count_where_their_responsibility_is_above_a_thousandth(made):
    index, kinds, references, _, _ = made
    for component in range(kinds["mfa"].size):
        firing = references["mfa"].firing(component, above=1e-3)
        density = index.statistics(kinds["mfa"]).of("density", component)
        assert density == pytest.approx(len(firing) / references["mfa"].tokens)


def test_progress(made):
    index, _, _, seen, _ = made
    stages = list(dict.fromkeys(each.stage for each in seen))
    assert stages == ["reading", "directions"]
    reading = [each for each in seen if each.stage == "reading"]
    assert {each.of for each in reading} == {index.texts}
    assert [each.tokens for each in reading] == sorted(each.tokens for each in reading)
    assert reading[-1].tokens == index.tokens
    assert all(each.seconds_left is None or each.seconds_left >= 0 for each in seen)
    assert (index.texts, index.empty, index.complete) == (47, 1, True)


def test_attached(made):
    index, kinds, references, _, _ = made
    sae = dictionaries()["topk"]
    index.attach(sae)
    assert sae.evidence(-1) == index.of(kinds["topk"])[sae.size - 1]
    assert sae.statistics.source == f"corpus, {references['topk'].tokens:,} tokens"
    assert len(sae.feature_data) == sae.size
    assert sae.feature_data.corpus == sae.statistics.source
    with pytest.raises(IndexError, match="features 0 to 39"):
        index.of(sae)[40]
    with pytest.raises(KeyError, match="is not in the corpus index"):
        index.of(saes.make("topk", seed=1, k=5))


def test_signed_activations_say_how_low_they_go(made):
    index, kinds, references, _, _ = made
    values = torch.cat([v[c] for v, c in zip(references["cav"].values, references["cav"].counted, strict=True)])
    lowest = index.of(kinds["cav"]).lowest
    assert lowest == pytest.approx(values.amin(0).clamp(max=0).numpy(), rel=1e-4)
    assert index.of(kinds["topk"]).lowest.tolist() == [0.0] * saes.SIZE
