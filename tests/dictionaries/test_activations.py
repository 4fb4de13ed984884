import pytest
import torch
from support import sae

import steerwidgets as sw


def test_features_that_fire_nearly_everywhere_can_be_left_out(llama):
    dictionary = sae.make()
    first = llama.search("Hello there", dictionary, k=3)
    dense = first.features[0].index
    density = torch.full((dictionary.size,), 0.01)
    density[dense] = 0.4
    dictionary.statistics = sw.FeatureStatistics(maximum=torch.ones(dictionary.size), density=density)
    rest = llama.search("Hello there", dictionary, k=2, max_density=0.05)
    assert [each.index for each in rest.features] == [each.index for each in first.features[1:]]
    assert rest.values == first.values[1:]


def test_a_density_limit_needs_densities(llama):
    with pytest.raises(ValueError, match="nothing is known of <SAE"):
        llama.search("Hello there", sae.make(), max_density=0.05)
