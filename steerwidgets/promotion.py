"""Which features of a dictionary promote or suppress a token, through the final norm's gain and the unembed."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from steerwidgets import prompts
from steerwidgets.norms import gain
from steerwidgets.prompts import Token
from steerwidgets.tables import quoted, table
from steerwidgets.writing import written

if TYPE_CHECKING:
    from torch import Tensor, nn

    from steerwidgets.architecture import Architecture
    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.engine import Engine
    from steerwidgets.sites import Site
    from steerwidgets.steer import Direction, Feature

_CHUNK: Final = 4096
"""Features that are looked at at once."""

_COLUMNS: Final = 64
"""Of an unembed whose weights can't be read, so many rows of the identity are put through it at once."""


@dataclass(frozen=True, repr=False)
class Promoting:
    """The features that promote a token most, or suppress it most, from the strongest down.

    Attributes:
        token: the token.
        features: the features.
        values: what each one's stored direction adds to the token's logit, up to the final norm's division.
    """

    token: Token
    features: tuple[Feature, ...]
    values: tuple[float, ...]

    def __repr__(self) -> str:
        rows = [
            [feature.index, feature.label, value] for feature, value in zip(self.features, self.values, strict=True)
        ]
        return table(["index", "feature", f"logit of {quoted(self.token)}"], rows)


def promoting(engine: Engine, dictionary: Dictionary, token: str | int, k: int, *, suppress: bool) -> Promoting:
    """See `LanguageModel.promoting`."""
    if k < 1:
        raise ValueError(f"promoting gives k features, 1 or more, but k={k!r} was given.")
    token_id = token_id_of(engine, token)
    scores = promotions(engine, dictionary, reading_of(engine, token_id))
    best = (-scores if suppress else scores).topk(min(k, dictionary.size)).indices
    [named] = prompts.tokens(engine.tokenizer, [token_id])
    return Promoting(named, tuple(dictionary[int(i)] for i in best), tuple(scores[best].tolist()))


def promotions(engine: Engine, dictionary: Dictionary, reading: Tensor) -> Tensor:
    """What every feature's direction adds to a token's logit: float32 [feature].

    The same number that `lm.top_logits` gives: `W_U[token]·(g ⊙ v)`, with `v` centred for a LayerNorm. A neuron, and
    any other feature of an inner stream, stands for what it writes to the residual stream; a transcoder's feature for
    what it writes at its own output.

    Args:
        engine: the model.
        dictionary: whose features.
        reading: what `reading_of` gives for the token.

    Raises:
        ValueError: the features write nothing to the residual stream, or are made for another width.
    """
    import torch

    site = _writes_at(dictionary)
    starts = range(0, dictionary.size, _CHUNK)
    parts = [
        _written(engine.architecture, dictionary.directions(start, start + _CHUNK), site, repr(dictionary)) @ reading
        for start in starts
    ]
    return torch.cat(parts) if parts else torch.zeros(0)


def promotion(engine: Engine, direction: Direction, reading: Tensor) -> float:
    """`promotions` of a single direction."""
    output: Any = getattr(direction, "output", direction)
    found = _written(engine.architecture, output.vector, output.site, repr(direction.label))
    return float(found @ reading)


def token_id_of(engine: Engine, token: str | int) -> int:
    """The id of a token.

    Args:
        engine: the model.
        token: its exact text, spaces included, or its id.

    Raises:
        ValueError: the text is not one token, or there is no such id.
        TypeError: it is neither.
    """
    if not isinstance(token, str):
        try:
            found = operator.index(token)
        except TypeError:
            raise TypeError(f"A token is given by its text or its id, but {token!r} was given.") from None
        last = len(engine.tokenizer) - 1
        if not 0 <= found <= last:
            raise ValueError(f"The token id {found} is outside the vocabulary, which goes from 0 to {last}.")
        return found
    if not token:
        raise ValueError("The token is empty; give its text, spaces included, such as ' sea', or its id.")
    ids = [int(i) for i in engine.tokenizer(token, add_special_tokens=False)["input_ids"]]
    if len(ids) != 1:
        parts = ", ".join(f"{quoted(each)} ({each.id})" for each in prompts.tokens(engine.tokenizer, ids))
        raise ValueError(
            f"{token[:60]!r} is no token of this model but {len(ids)}: {parts}; give the text of one token, spaces "
            "included, or its id."
        )
    return ids[0]


def reading_of(engine: Engine, token_id: int) -> Tensor:
    """What a direction of the residual stream is multiplied with to get its share of a token's logit.

    Returns:
        float32 [d_model]: `g ⊙ W_U[token]`, less its mean where the final norm is a LayerNorm, which centres.
    """
    import torch
    from torch import nn

    norm, row = engine.architecture.final_norm, _row(engine.architecture.unembed, token_id, engine.architecture.d_model)
    if not isinstance(norm, nn.LayerNorm):
        return row * gain(norm, len(row))
    weighted = row * (torch.ones_like(row) if norm.weight is None else norm.weight.detach().float().cpu())
    return weighted - weighted.mean()


def _row(unembed: nn.Module, token_id: int, d_model: int) -> Tensor:
    """A token's row of the unembed, float32 [d_model]."""
    import torch

    weight: Any = getattr(unembed, "weight", None)
    is_plain = isinstance(weight, torch.Tensor) and weight.is_floating_point() and not weight.is_meta
    if is_plain and weight.ndim == 2 and weight.shape[1] == d_model:
        row: Tensor = weight[token_id].detach().float().cpu()
        return row
    # Quantised or offloaded: it is asked rather than indexed.
    parameter: Any = next(unembed.parameters())
    dtype = parameter.dtype if parameter.dtype.is_floating_point else torch.get_default_dtype()
    device = parameter.device if not parameter.is_meta else torch.device("cpu")
    with torch.no_grad():
        zero = unembed(torch.zeros(1, d_model, device=device, dtype=dtype))[:, token_id].float().cpu()
        parts = [
            unembed(piece)[:, token_id].float().cpu() - zero
            for piece in torch.split(torch.eye(d_model, device=device, dtype=dtype), _COLUMNS)
        ]
    return torch.cat(parts)


def _writes_at(dictionary: Dictionary) -> Site:
    """Where a dictionary's features write: of a transcoder, another site than the one it reads."""
    site: Site | None = getattr(dictionary[0], "output_site", None) if dictionary.size else None
    return site or dictionary.site


def _written(architecture: Architecture, vectors: Tensor, site: Site, whose: str) -> Tensor:
    width = architecture.width(site)
    if vectors.shape[-1] != width:
        raise ValueError(
            f"{whose} has directions of {vectors.shape[-1]} numbers, but {site} of {architecture.name} has {width}; "
            "it was made for another model."
        )
    found = written(architecture, vectors, site)
    if found is None:
        raise ValueError(
            f"{whose} lives at {site}, which the MLP reads and nothing writes to the residual stream, so its features "
            "can't be read through the unembed."
        )
    return found[0].cpu()
