"""What a panel shows of dictionaries too large to be listed: a first page, and a count that knows its limits."""

import json
import random

import pytest
import torch

import steerwidgets as sw
from steerwidgets.dictionaries.base import Dictionary
from steerwidgets.widgets.recipe_editor.finder import FeatureFinder
from steerwidgets.widgets.recipe_editor.shelf import FeatureShelf

PAGE = 40
"""How many rows the front-end asks for."""


class Huge(Dictionary):
    """As many features as are asked for, with one and the same direction."""

    kind = "SAE"

    def __init__(self, size, labels=None):
        self.site, self._size, self.made = sw.Site(1), size, 0
        self.labels = labels

    size = property(lambda self: self._size)
    d_model = property(lambda _: 4)

    def vector(self, index):
        return torch.ones(4)

    def feature(self, index):
        self.made += 1
        return sw.Feature(**self._entry(index))

    def encode(self, h):
        raise NotImplementedError

    def weights(self):
        return [torch.ones(1)]


@pytest.fixture(scope="module")
def labels():
    drawn = random.Random(0)
    words = [f"word{n}" for n in range(300)]
    texts = [f"references to {drawn.choice(words)} and {drawn.choice(words)}" for _ in range(30_000)]
    return [*texts, "the sea in winter", "the deep sea"]


@pytest.fixture
def huge(labels):
    return Huge(len(labels), labels)


def test_a_search_gives_a_page_and_a_bounded_count(huge):
    finder = FeatureFinder(FeatureShelf(huge))
    found = finder.find({"query": "references", "limit": PAGE})
    assert (len(found["features"]), found["total"], found["more"]) == (PAGE, 1000, True)
    assert huge.made == PAGE, "features beyond the page are never made"
    assert finder.find({"query": "sea", "limit": PAGE})["total"] == 2
    assert "more" not in finder.find({"query": "sea", "limit": PAGE})
    assert finder.find({"query": "nothing like it", "limit": PAGE}) == {"features": [], "total": 0}


def test_what_travels_stays_under_twenty_kilobytes(labels):
    longest = [f"{text}, {'x' * 40}" for text in labels]
    huge = Huge(len(labels), sw.Labels(longest, source="Neuronpedia gemma-2-2b/20-gemmascope-res-65k, gpt-4o-mini"))
    huge.statistics = sw.FeatureStatistics(torch.rand(len(labels)), corpus="monology/pile-uncopyrighted", tokens=10**6)
    found = FeatureFinder(FeatureShelf(huge)).find({"query": "references", "limit": 100, "compact": True})
    assert len(json.dumps(found)) <= 20_000


def test_the_catalogue_is_a_first_page_with_the_whole_number(huge):
    catalogue = FeatureFinder(FeatureShelf(huge)).catalogue()
    assert (catalogue["total"], catalogue["complete"]) == (30_002, False)
    assert len(catalogue["features"]) == 100
    assert huge.made <= 101, "one more for the names of its ops"


def test_several_dictionaries_share_a_page(huge):
    few = sw.CAV(torch.eye(4), ["sea", "references", "sky", "sun"], layer=1)
    found = FeatureFinder(FeatureShelf([few, huge])).find({"query": "references", "limit": PAGE})
    assert found["features"][0]["kind"] == "CAV"
    assert (len(found["features"]), found["total"], found["more"]) == (PAGE, 1001, True)
    assert FeatureFinder(FeatureShelf([few, huge])).find({"query": "sea", "limit": PAGE})["total"] == 3


def test_counts_of_a_dictionary(huge):
    assert str(huge.count("references")) == "more than 1,000"
    assert (int(huge.count("sea")), str(huge.count(""))) == (2, "30,002")
    assert [feature.index for feature in huge.search("winter sea")] == [30_000]
    assert str(huge.count("sae sea")) == "2", "the kind is a word of every feature"
    assert huge.search("12345")[0].index == 12_345


def test_a_million_features_without_labels_are_found_by_number():
    bare = Huge(1_000_000)
    assert [feature.index for feature in bare.search("12345", limit=5)] == [12345, *range(123450, 123454)]
    assert int(bare.count("12345")) == 11
    assert [feature.index for feature in bare.search("sae 7", limit=2)] == [7, 70]
    assert str(bare.count("1")) == "more than 1,000"
    assert (int(bare.count("sea")), bare.search("sea"), int(bare.count("1000000"))) == (0, [], 0)
    assert [feature.index for feature in bare.search("0")] == [0]
    assert bare[999_999].label == "SAE 999999"


def test_a_search_of_a_huge_dictionary_makes_no_list(labels):
    """However many match, the pages and the count take as long: nothing grows with the number of matches."""
    huge = Huge(len(labels), labels)
    huge.search("references")
    walked = 0
    original = huge._names._index.features

    def features(query):
        nonlocal walked
        for index in original(query):
            walked += 1
            yield index

    huge._names._index.features = features
    FeatureFinder(FeatureShelf(huge)).find({"query": "references", "limit": PAGE})
    assert walked <= PAGE + 1
