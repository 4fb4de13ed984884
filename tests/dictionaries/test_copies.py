"""Dictionaries go to other processes and are copied: with their labels, what is known of them, and the same numbers."""

import copy
import importlib
import pickle

import pytest
import torch
from support.kinds import FILED, make

import steerwidgets as sw

WAYS = {"pickle": lambda value: pickle.loads(pickle.dumps(value)), "copy": copy.deepcopy}
LABELS = {"the sea": 1, "the ocean": 1, "music": 3}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", FILED)
def test_a_dictionary_is_the_same_afterwards(kind, way):
    made = make(kind, labels=LABELS)
    made.user_labels.set(4, label="my own")
    made.statistics = sw.FeatureStatistics(torch.arange(float(made.size)))
    again = WAYS[way](made)
    h = torch.randn(3, made.d_model, generator=torch.Generator().manual_seed(0))
    assert again.fingerprint == made.fingerprint
    assert torch.equal(again.encode(h), made.encode(h))
    assert [label.text for label in again.labels_of(1)] == ["the sea", "the ocean"]
    assert (again.label(3), again.label(4), again.maximum(2)) == ("music", "my own", 2.0)
    assert again.find("the ocean") == [1]
    assert again[3].key == made[3].key


@pytest.mark.parametrize("way", WAYS)
def test_labels_and_their_index_are_the_same_afterwards(way, tmp_path):
    for given in (sw.Labels(LABELS, size=9), sw.Labels(LABELS, size=9, file=tmp_path / "kept.labels")):
        again = WAYS[way](given)
        assert len(again) == 9
        assert again.of(1) == given.of(1)
        assert [each.index for each in again.search("sea")] == [1]


@pytest.mark.parametrize("way", WAYS)
def test_an_sae_that_sae_lens_computes_goes_along(way):
    sae_lens = importlib.import_module("sae_lens")
    cfg = sae_lens.GatedSAEConfig(d_in=32, d_sae=40)
    cfg.metadata.hook_name = "blocks.1.hook_resid_post"
    own = sae_lens.GatedSAE(cfg)
    made = sw.SAE.from_sae_lens(own)
    again, h = WAYS[way](made), torch.randn(3, 32)
    assert torch.equal(again.encode(h), made.encode(h))
    assert again.fingerprint == made.fingerprint
