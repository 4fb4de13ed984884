"""The same steer twice: as steerwidgets makes it and as the reference reads it."""

from __future__ import annotations

from typing import Any

import torch

import steerwidgets as sw
from support.models import D_MODEL
from support.naive import Change

PROMPT = (0, 45, 100, 200, 40, 41, 3, 300, 7)
"""Holds two special tokens of the tiny tokenizers: BOS at 0, a turn mark at 6."""


def vector(seed: int, width: int = D_MODEL, norm: float = 6.0) -> torch.Tensor:
    """A seeded direction that is not of unit norm."""
    drawn = torch.randn(width, generator=torch.Generator().manual_seed(seed))
    return norm * drawn / drawn.norm()


class Pair:
    """A direction for both sides; every method makes the steer and its reference."""

    def __init__(self, v: torch.Tensor, layer: int = 1, stream: Any = "resid_post") -> None:
        self.v = v
        self.direction = sw.Direction(v, sw.Site(layer, stream), f"d{layer}{stream}")

    def make(self, op: str, *values: float | None) -> tuple[Any, Change]:
        names = [parameter.name for parameter in self.direction.ops[op].parameters]
        numbers = dict(zip(names, values, strict=True))
        site = self.direction.site
        return getattr(self.direction, op)(*values), Change(site.layer, op, self.v.numpy(), numbers, site.stream)


def at(made: tuple[Any, Change], where: Any, value: Any = None, *, special: bool = True) -> tuple[Any, Change]:
    """Both sides at some positions."""
    from dataclasses import replace

    steer, change = made
    positions = sw.Positions(
        where,
        indices=tuple(value) if where == "indices" else (),
        count=value if where in ("first", "after") else 0,
        special=special,
    )
    return steer.at(positions), replace(change.where(where, value), special=special)


def recipe(*made: tuple[Any, Change]) -> tuple[Any, list[Change]]:
    """A recipe and its reference."""
    return sw.Recipe(tuple(steer for steer, _ in made)), [change for _, change in made]


def forward(lm: Any, steers: Any, ids: Any, prompt_length: int | None = None) -> torch.Tensor:
    """Logits [position, vocabulary] under `lm.steer`."""
    with torch.no_grad(), lm.steer(steers, prompt_length=prompt_length):
        return lm.model(input_ids=torch.tensor([list(ids)])).logits[0].float()
