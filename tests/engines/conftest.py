"""Tiny models as they run elsewhere."""

import pytest
from support import models, toks

import steerwidgets as sw

FAMILIES = ("llama", "gemma2", "gpt2", "neox_parallel")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The folder of a tiny model of a family, written once."""
    made = {}

    def folder_of(family):
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            models.make(family).save_pretrained(made[family])
            toks.byte_level().save_pretrained(made[family])
        return made[family]

    return folder_of


@pytest.fixture(scope="session")
def remote_of(folder):
    """A tiny model of a family through nnsight, the whole remote way but for the network."""
    made = {}

    def remote(family):
        if family not in made:
            made[family] = sw.RemoteModel(folder(family), remote="local")
        return made[family]

    return remote


@pytest.fixture
def remote(remote_of):
    return remote_of("llama")
