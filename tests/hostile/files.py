"""Hostile files for every loader, made from valid ones by a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator

from hostile import (
    cav_files,
    corpus_files,
    dose_files,
    label_files,
    lens_files,
    mfa_files,
    recipe_files,
    reft_files,
    sae_files,
)
from hostile.oracle import Case

MAKERS = (
    sae_files.settings,
    sae_files.weights,
    sae_files.params_npz,
    sae_files.other_libraries,
    cav_files.safetensors,
    cav_files.pickled,
    cav_files.control_vectors,
    reft_files.folder,
    mfa_files.mixture,
    label_files.labels,
    label_files.statistics,
    corpus_files.index,
    recipe_files.recipe,
    lens_files.lenses,
    dose_files.doses,
)


def cases(seed: int = 0) -> Iterator[Case]:
    """Every hostile file; the same seed makes the same ones."""
    for number, make in enumerate(MAKERS):
        yield from make(random.Random(1_000 * seed + number))
