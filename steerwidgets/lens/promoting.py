"""Which features of a dictionary promote or suppress a token, through the final norm's gain and the unembed."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from steerwidgets.lens.top_logits import no_direction
from steerwidgets.transformer import prompts
from steerwidgets.transformer.norms import LinearNorm
from steerwidgets.transformer.plain_text import quoted, table
from steerwidgets.transformer.prompts import Token
from steerwidgets.transformer.unembed import row_of
from steerwidgets.transformer.written_to_residual import OF_RESIDUAL, written

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.steering.recipe import Direction, Feature
    from steerwidgets.transformer.architecture import Architecture
    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.sites import Site

_CHUNK: Final = 4096
"""Features that are looked at at once."""


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


def promoting(lm: LoadedModel, dictionary: Dictionary, token: str | int, k: int, *, suppress: bool) -> Promoting:
    """See `LanguageModel.promoting`."""
    if k < 1:
        raise ValueError(f"promoting gives k features, 1 or more, but k={k!r} was given.")
    token_id = token_id_of(lm, token)
    scores = promotions(lm, dictionary, reading_of(lm, token_id))
    best = (-scores if suppress else scores).topk(min(k, dictionary.size)).indices
    [named] = prompts.tokens(lm.tokenizer, [token_id])
    return Promoting(named, tuple(dictionary[int(i)] for i in best), tuple(scores[best].tolist()))


def promotions(lm: LoadedModel, dictionary: Dictionary, reading: Tensor) -> Tensor:
    """What every feature's direction adds to a token's logit: float32 [feature].

    The same number that `lm.top_logits` gives: `W_U[token]·(g ⊙ v)`, with `v` centred for a LayerNorm. A neuron, and
    any other feature of an inner stream, stands for what it writes to the residual stream; a transcoder's feature for
    what it writes at its own output.

    Args:
        lm: the model.
        dictionary: whose features.
        reading: what `reading_of` gives for the token.

    Raises:
        ValueError: the features write nothing to the residual stream, or are made for another width.
    """
    import torch

    starts = range(0, dictionary.size, _CHUNK)
    parts = [written_directions(lm.architecture, dictionary, start, start + _CHUNK) @ reading for start in starts]
    return torch.cat(parts) if parts else torch.zeros(0)


def written_directions(architecture: Architecture, dictionary: Dictionary, start: int, stop: int) -> Tensor:
    """What some features write to the residual stream: float32 [feature, d_model].

    Raises:
        ValueError: they write nothing to it, or are made for another width.
    """
    return _written(architecture, dictionary.directions(start, stop), dictionary.writes_at, repr(dictionary))


def promotion(lm: LoadedModel, direction: Direction, reading: Tensor) -> float:
    """`promotions` of a single direction."""
    output = direction.output
    found = _written(lm.architecture, output.vector, output.site, repr(direction.label))
    return float(found @ reading)


def token_id_of(lm: LoadedModel, token: str | int) -> int:
    """The id of a token.

    Args:
        lm: the model.
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
        last = len(lm.tokenizer) - 1
        if not 0 <= found <= last:
            raise ValueError(f"The token id {found} is outside the vocabulary, which goes from 0 to {last}.")
        return found
    if not token:
        raise ValueError("The token is empty; give its text, spaces included, such as ' sea', or its id.")
    ids = [int(i) for i in lm.tokenizer(token, add_special_tokens=False)["input_ids"]]
    if len(ids) != 1:
        parts = ", ".join(f"{quoted(each)} ({each.id})" for each in prompts.tokens(lm.tokenizer, ids))
        raise ValueError(
            f"{token[:60]!r} is no token of this model but {len(ids)}: {parts}; give the text of one token, spaces "
            "included, or its id."
        )
    return ids[0]


def reading_of(lm: LoadedModel, token_id: int) -> Tensor:
    """What a direction of the residual stream is multiplied with to get its share of a token's logit.

    Returns:
        float32 [d_model]: `g ⊙ W_U[token]`, less its mean where the final norm centres, as a LayerNorm does.
    """
    width = lm.architecture.d_model
    norm = LinearNorm.of(lm.architecture.final_norm, width)
    # Centring is its own transpose.
    return norm.centred(row_of(lm.architecture.unembed, token_id, width) * norm.gain)


def _written(architecture: Architecture, vectors: Tensor, site: Site, whose: str) -> Tensor:
    width = architecture.width(site)
    if vectors.shape[-1] != width:
        raise ValueError(
            f"{whose} has directions of {vectors.shape[-1]} numbers, but {site} of {architecture.name} has {width}; "
            "it was made for another model."
        )
    if site.stream not in OF_RESIDUAL and len(vectors) and not bool(vectors.any()):
        raise ValueError(no_direction(whose))
    found = written(architecture, vectors, site)
    if found is None:
        raise ValueError(
            f"{whose} lives at {site}, which the MLP reads and nothing writes to the residual stream, so its features "
            "can't be read through the unembed."
        )
    return found[0].cpu()
