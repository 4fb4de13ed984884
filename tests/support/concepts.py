"""Texts of kinds that a tiny model can tell apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch

KINDS = {"sea": range(40, 80), "code": range(100, 140), "maths": range(200, 240)}


def corpus(
    count: int = 12,
    kinds: Sequence[str] = ("sea", "code", "maths"),
    shortest: int = 6,
    longest: int = 20,
    seed: int = 0,
) -> tuple[list[list[int]], list[str]]:
    """Texts as token ids, most of them from one kind's part of the vocabulary; and their labels."""
    generator = torch.Generator().manual_seed(seed)
    texts: list[list[int]] = []
    labels: list[str] = []
    for number in range(count * len(kinds)):
        kind = kinds[number % len(kinds)]
        length = int(torch.randint(shortest, longest, (1,), generator=generator))
        own = torch.randint(KINDS[kind].start, KINDS[kind].stop, (length,), generator=generator)
        noise = torch.randint(20, 300, (length,), generator=generator)
        texts.append(torch.where(torch.rand(length, generator=generator) < 0.7, own, noise).tolist())
        labels.append(kind)
    return texts, labels
