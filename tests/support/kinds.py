"""A small dictionary of every kind, at block 1 of the tiny models."""

from __future__ import annotations

from typing import Any

import torch

import steerwidgets as sw
from support import sae
from support.mfa import make_state
from support.models import D_MODEL

FILED = ("SAE", "ReFT", "CAV", "MFA")
"""The kinds that come in files; neurons and heads come with their model."""

DIRECTED = (*FILED, "Neuron")
"""The kinds whose features are directions: they can be added, and write along one."""

KINDS = (*DIRECTED, "Head")

SIZE = 5
ROWS = torch.randn(SIZE, D_MODEL, generator=torch.Generator().manual_seed(3))
WIDE = D_MODEL + 16
"""Of what does not fit the tiny models."""


def make(kind: str, lm: Any = None, labels: Any = None, **settings: Any) -> Any:
    """A dictionary of `SIZE` features, but for an SAE of `sae.SIZE`, and the model's own neurons and four heads."""
    settings = ({} if kind in ("Neuron", "Head") else {"layer": 1}) | settings
    if kind == "SAE":
        return sae.make(labels=labels, **settings)
    if kind == "ReFT":
        return sw.ReFT(ROWS, labels=labels, **settings)
    if kind == "CAV":
        return sw.CAV(ROWS, labels, **settings)
    if kind == "MFA":
        return sw.MFA(*make_state(SIZE, D_MODEL, 2), labels=labels, **settings)
    if kind == "Head":
        return sw.Heads(lm, layer=settings.pop("layer", 1), labels=labels, **settings)
    return sw.Neurons(lm, **({"layer": 1} | settings), labels=labels)


def wide(kind: str, fresh: Any) -> Any:
    """One that was made for another model: of the width `WIDE`, neurons of a narrower MLP, heads of more numbers."""
    if kind == "SAE":
        return sw.SAE(**sae.tensors(d=WIDE), layer=1)
    if kind == "MFA":
        return sw.MFA(*make_state(SIZE, WIDE, 2), layer=1)
    if kind == "Neuron":
        return sw.Neurons(fresh(intermediate_size=40), layer=1)
    if kind == "Head":
        return sw.Heads(fresh(head_dim=10), layer=1)
    rows = torch.randn(SIZE, WIDE, generator=torch.Generator().manual_seed(0))
    return sw.ReFT(rows, layer=1) if kind == "ReFT" else sw.CAV(rows, layer=1)


def save(dictionary: Any, folder: Any) -> Any:
    """Its file or folder below another folder."""
    path = folder / {"SAE": "sae", "ReFT": "l1", "CAV": "cav.safetensors", "MFA": "mfa.pt"}[dictionary.kind]
    dictionary.save(path)
    return path
