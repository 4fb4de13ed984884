"""Feature activations of a text: some features at every token, or the features that fire most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from steerwidgets.prompts import Token
from steerwidgets.tables import quoted, table

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.steer import Feature

_CHUNK = 128
"""Positions that are encoded at once: 128 × 65,000 features in float32 are 33 MB."""


@dataclass(frozen=True, repr=False)
class Activations:
    """Some features' activations on one text.

    Attributes:
        token_ids: the text.
        tokens: its tokens as a person reads them.
        mask: bool [position], which tokens count: no attention sinks, no special or template tokens.
        dictionary: what was read.
        features: the features' indices.
        values: float32 [position, feature], one row for every token, the masked ones too.
        residual: float32 [position, d_model], what they were read from.
    """

    token_ids: tuple[int, ...]
    tokens: tuple[Token, ...]
    mask: Tensor
    dictionary: Dictionary
    features: tuple[int, ...]
    values: Tensor
    residual: Tensor

    def of(self, features: Sequence[int]) -> Activations:
        """Other features of the same text, without running the model again."""
        chosen = tuple(features)
        values = self.dictionary.activations(self.residual, chosen)
        return Activations(self.token_ids, self.tokens, self.mask, self.dictionary, chosen, values, self.residual)

    def __repr__(self) -> str:
        several = range(min(len(self.features), 6))
        headers = ["", "token", *(self.dictionary.label(self.features[column]) for column in several), ""]
        rows = [
            [position, quoted(token), *(float(self.values[position, column]) for column in several), _note(counts)]
            for position, (token, counts) in enumerate(zip(self.tokens, self.mask, strict=True))
        ]
        left_out = len(self.features) - len(several)
        return table(headers, rows) + (f"\n… and {left_out:,} more features" if left_out else "")


@dataclass(frozen=True, repr=False)
class Fires:
    """The features that fire most on a text, for each dictionary from the strongest down.

    Attributes:
        features: the features.
        values: each one's largest activation over the tokens that count.
        positions: where that is.
        tokens: the tokens there.
    """

    features: tuple[Feature, ...]
    values: tuple[float, ...]
    positions: tuple[int, ...]
    tokens: tuple[Token, ...]

    def __repr__(self) -> str:
        columns = zip(self.features, self.values, self.tokens, self.positions, strict=True)
        rows = [
            [str(feature.site), feature.label, value, quoted(token), position]
            for feature, value, token, position in columns
        ]
        return table(["site", "feature", "activation", "at", "position"], rows)


def _note(counts: Tensor) -> str:
    return "" if counts else "not counted"


def strongest(
    dictionary: Dictionary,
    residual: Tensor,
    mask: Tensor,
    tokens: Sequence[Token],
    k: int,
    max_density: float | None = None,
) -> Fires:
    """The `k` features with the largest activation anywhere in a text.

    Args:
        dictionary: what to look in.
        residual: float32 [position, d_model].
        mask: bool [position], the tokens that count.
        tokens: the text's tokens.
        k: how many.
        max_density: features that fire on a larger share of their corpus are left out.

    Raises:
        ValueError: a density is asked for, and the dictionary's densities are not known.
    """
    import torch

    positions = mask.nonzero()[:, 0]
    best = torch.full((dictionary.size,), -torch.inf)
    where = torch.zeros(dictionary.size, dtype=torch.long)
    for chunk in torch.split(positions, _CHUNK):
        values, index = dictionary.encode(residual[chunk]).max(dim=0)
        better = values > best
        best = torch.where(better, values, best)
        where = torch.where(better, chunk[index], where)
    if max_density is not None:
        best[_densities(dictionary) > max_density] = -torch.inf
    top = best.topk(min(k, dictionary.size))
    found = [(int(i), float(v)) for i, v in zip(top.indices, top.values, strict=True) if torch.isfinite(v)]
    positions_found = tuple(int(where[i]) for i, _ in found)
    return Fires(
        tuple(dictionary[i] for i, _ in found),
        tuple(v for _, v in found),
        positions_found,
        tuple(tokens[position] for position in positions_found),
    )


def _densities(dictionary: Dictionary) -> Tensor:
    known = dictionary.statistics
    if known is None or known.density is None:
        raise ValueError(
            f"max_density= needs to know how often features fire, but nothing is known of {dictionary!r}; leave it "
            "out, or set its `.statistics`."
        )
    return known.density


def merged(fires: Sequence[Fires]) -> Fires:
    """The findings of several dictionaries, one after the other."""
    return Fires(
        tuple(feature for each in fires for feature in each.features),
        tuple(value for each in fires for value in each.values),
        tuple(position for each in fires for position in each.positions),
        tuple(token for each in fires for token in each.tokens),
    )
