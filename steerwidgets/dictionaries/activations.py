"""Feature activations of a text: some features at every token, or the features that fire most."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from steerwidgets.transformer.plain_text import quoted, table
from steerwidgets.transformer.prompts import Token

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.steering.recipe import Feature

Rank = Literal["maximum", "mean"]

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

    Example:
        >>> acts = lm.read("The answer", cavs)
        >>> acts.values.shape, acts.mask.shape  # 2 tokens, 3 concepts
        (torch.Size([2, 3]), torch.Size([2]))
    """

    token_ids: tuple[int, ...]
    tokens: tuple[Token, ...]
    mask: Tensor
    dictionary: Dictionary
    features: tuple[int, ...]
    values: Tensor
    residual: Tensor

    def of(self, features: Sequence[int]) -> Activations:
        """Other features of the same text, without running the model again.

        Args:
            features: indices.

        Returns:
            Other activations, `.values` float32 [position, feature].

        Raises:
            IndexError: there is no such feature.

        Example:
            >>> lm.read("The answer", sae, ["the sea"]).of([5, 7]).values.shape
            torch.Size([2, 2])
        """
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
        values: each one's largest activation over the tokens that count, or what was asked for instead (`unit`).
        positions: where the largest activation is.
        tokens: the tokens there.
        unit: what the values are.
    """

    features: tuple[Feature, ...]
    values: tuple[float, ...]
    positions: tuple[int, ...]
    tokens: tuple[Token, ...]
    unit: str = "activation"

    def __repr__(self) -> str:
        columns = zip(self.features, self.values, self.tokens, self.positions, strict=True)
        rows = [
            [str(feature.site), feature.label, value, quoted(token), position]
            for feature, value, token, position in columns
        ]
        return table(["site", "feature", self.unit, "at", "position"], rows)


def _note(counts: Tensor) -> str:
    return "" if counts else "not counted"


def strongest(
    dictionary: Dictionary,
    residual: Tensor,
    mask: Tensor,
    tokens: Sequence[Token],
    k: int,
    max_density: float | None = None,
    rank: Rank = "maximum",
    *,
    normalise: bool = False,
) -> Fires:
    """The `k` features that fire most on a text.

    Args:
        dictionary: what to look in.
        residual: float32 [position, d_model].
        mask: bool [position], the tokens that count.
        tokens: the text's tokens.
        k: how many.
        max_density: features that fire on a larger share of their corpus are left out.
        rank: by the largest activation, or by the mean over the tokens that count.
        normalise: whether activations are divided by `scales`; features without one are left out.

    Raises:
        ValueError: a density or a scale is asked for, and the dictionary has no statistics.
    """
    import torch

    best, where = summarised(dictionary, residual, mask, rank)
    if normalise:
        best = (best / scales(dictionary)).nan_to_num(nan=-torch.inf, neginf=-torch.inf)
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
        unit_of(rank, normalise=normalise),
    )


def summarised(dictionary: Dictionary, residual: Tensor, mask: Tensor, rank: Rank) -> tuple[Tensor, Tensor]:
    """One number of every feature on a text: its largest activation over the tokens that count, or the mean.

    Args:
        dictionary: what to read.
        residual: float32 [position, d_model].
        mask: bool [position], the tokens that count.
        rank: `maximum` or `mean`.

    Returns:
        float32 [feature], −inf where no token counts; and int [feature], where the largest activation is.

    Raises:
        ValueError: there is no such rank.
    """
    import torch

    if rank not in get_args(Rank):
        raise ValueError(f"Features are ranked by their {' or '.join(get_args(Rank))}, but rank={rank!r} was given.")
    positions = mask.nonzero()[:, 0]
    best = torch.full((dictionary.size,), -torch.inf)
    total = torch.zeros(dictionary.size)
    where = torch.zeros(dictionary.size, dtype=torch.long)
    for chunk in torch.split(positions, _CHUNK):
        encoded = dictionary.encode(residual[chunk])
        values, index = encoded.max(dim=0)
        better = values > best
        best = torch.where(better, values, best)
        where = torch.where(better, chunk[index], where)
        if rank == "mean":
            total += encoded.sum(dim=0)
    return (total / len(positions) if rank == "mean" and len(positions) else best), where


def scales(dictionary: Dictionary) -> Tensor:
    """What a feature's activations are divided by to compare it with others: float32 [feature].

    Its 99.5th percentile over the corpus of `dictionary.statistics`, else its maximum there; NaN where neither is known
    or above 0, since a raw activation has no place among shares.

    Raises:
        ValueError: the dictionary has no statistics.
    """
    import torch

    known = dictionary.statistics
    if known is None:
        raise ValueError(
            f"normalise=True needs to know how strongly features fire, but nothing is known of {dictionary!r}; leave "
            "it out, or set its `.statistics`."
        )
    high = known.maximum if known.p995 is None else torch.where(known.p995 > 0, known.p995, known.maximum)
    return torch.where(high > 0, high, torch.nan)


def within(mask: Tensor, positions: Iterable[int]) -> Tensor:
    """The tokens that count among some positions, bool [position].

    Raises:
        ValueError: a position is not in the text, or none of them counts.
    """
    import torch

    if (
        isinstance(positions, range)
        and positions
        and not 0 <= min(positions[0], positions[-1]) <= max(positions[0], positions[-1]) < len(mask)
    ):
        # Before it is listed: a span from a page may be of any length.
        positions = (positions[0] if not 0 <= positions[0] < len(mask) else positions[-1],)
    chosen = sorted({operator.index(position) for position in positions})
    if outside := [position for position in chosen if not 0 <= position < len(mask)]:
        raise ValueError(f"The text has positions 0 to {len(mask) - 1}, but {outside[0]} was given.")
    found = torch.zeros_like(mask)
    found[chosen] = mask[chosen]
    if not bool(found.any()):
        raise ValueError(
            "None of these positions counts: attention sinks, special and template tokens are left out; choose others."
        )
    return found


def unit_of(rank: Rank, *, normalise: bool) -> str:
    """What the values of a search are, in words."""
    return ("mean activation" if rank == "mean" else "activation") + (" / p99.5" if normalise else "")


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
        fires[0].unit if fires else "activation",
    )
