import pytest
import torch
from support import models, sae, toks

import steerwidgets as sw


@pytest.fixture(scope="module")
def lm():
    return sw.LanguageModel(models.make("llama"), toks.byte_level())


def test_features_that_fire_nearly_everywhere_can_be_left_out(lm):
    dictionary = sae.make()
    first = lm.search("Hello there", dictionary, k=3)
    dense = first.features[0].index
    density = torch.full((dictionary.size,), 0.01)
    density[dense] = 0.4
    dictionary.statistics = sw.FeatureStatistics(maximum=torch.ones(dictionary.size), density=density)
    rest = lm.search("Hello there", dictionary, k=2, max_density=0.05)
    assert [each.index for each in rest.features] == [each.index for each in first.features[1:]]
    assert rest.values == first.values[1:]


def test_a_density_limit_needs_densities(lm):
    with pytest.raises(ValueError, match="nothing is known of <SAE"):
        lm.search("Hello there", sae.make(), max_density=0.05)
