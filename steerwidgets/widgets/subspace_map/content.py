"""What the page draws: features as points, those near one of them, and the tokens of a component, packed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from steerwidgets.dictionaries.geometry import closest_pairs, clustered
from steerwidgets.widgets.arrays import pack
from steerwidgets.widgets.recipe_editor.describe import tokens_json

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.dictionaries.geometry import FeatureMap
    from steerwidgets.model import LanguageModel
    from steerwidgets.transformer.prompts import Token

DRAWN: Final = 20_000
"""Features, and tokens of a component, that are drawn at most."""

_LINKED: Final = 0.5
"""The cosine from which on each feature is linked to its nearest."""

_NEAR: Final = 10
_COACTIVE: Final = 8
_NAMES: Final = 2
"""Tokens that name a cluster."""

_AXES: Final = 6
"""Principal axes that can be chosen among."""


class TextPoints(Protocol):
    """Residuals of texts, as far as it is told which tokens they are of."""

    @property
    def text(self) -> Tensor:
        """Int [n], which text."""
        ...

    @property
    def position(self) -> Tensor:
        """Int [n], which token of it."""
        ...

    @property
    def texts(self) -> Sequence[Sequence[int]]:
        """The texts as token ids."""
        ...


class RegionPoints(Protocol):
    """The points of one component, as far as they are drawn."""

    @property
    def rows(self) -> Tensor:
        """Int [n], which of all points."""
        ...

    @property
    def z(self) -> Tensor:
        """float32 [n, rank], in the units of `pull`."""
        ...

    @property
    def coordinates(self) -> Tensor:
        """float32 [n, rank], in units of the residual."""
        ...

    @property
    def lengths(self) -> Tensor:
        """float32 [rank], of the loadings."""
        ...

    @property
    def responsibility(self) -> Tensor:
        """float32 [n]."""
        ...

    @property
    def tokens(self) -> Sequence[Token]:
        """The tokens."""
        ...

    def pca(self, n: int = 2) -> Any:
        """Their principal axes."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...


def features_json(dictionary: Dictionary, found: FeatureMap) -> dict[str, Any]:
    """The features as points, with labels and weights; of more than `DRAWN` an evenly spaced part."""
    step = math.ceil(len(found) / DRAWN)
    drawn = list(range(0, len(found), step))
    pairs = [] if dictionary.are_regions or step > 1 else closest_pairs(dictionary, _LINKED)
    weight = None if found.weight is None else pack(_float32(found.weight[drawn]))
    return {
        "method": found.method,
        "explained": list(found.explained),
        "at_unit_length": found.at_unit_length,
        "size": len(found),
        "index": pack(np.asarray(drawn, dtype=np.int32)),
        "places": pack(_float32(found.coordinates[drawn])),
        "weight": weight,
        "labels": [dictionary.label(index) for index in drawn],
        "links": pack(np.asarray([pair[:2] for pair in pairs], dtype=np.int32).reshape(-1, 2)),
        "linked_from": _LINKED,
    }


def near_json(dictionary: Dictionary, index: int, found: FeatureMap) -> dict[str, Any]:
    """The features that point most nearly the same way, and those active at the same tokens, with where they lie."""
    import torch

    feature = dictionary[index]
    closest = dictionary.nearest(feature, _NEAR + 1)
    cosines = {
        other.index: cosine
        for other, cosine in zip(closest.features, closest.cosines, strict=True)
        if other.index != index
    }
    evidence = dictionary.evidence(index)
    together = dict(evidence.coactive[:_COACTIVE]) if evidence is not None else {}
    several = list(cosines)[:_NEAR] + [other for other in together if other not in cosines and other != index]
    rows = []
    for other in several:
        cosine = cosines.get(other)
        if cosine is None:
            one, two = dictionary.vector(index).cpu(), dictionary.vector(other).cpu()
            cosine = float(torch.nn.functional.cosine_similarity(one, two, dim=0))
        rows.append(
            {
                "index": other,
                "label": dictionary.label(other),
                "cosine": round(cosine, 3),
                "together": round(together[other], 3) if other in together else None,
                "at": found.coordinates[other].tolist(),
            }
        )
    return {
        "index": index,
        "label": feature.label,
        "at": found.coordinates[index].tolist(),
        "rows": rows,
        "knows_together": bool(together),
    }


def texts_json(lm: LanguageModel, points: TextPoints) -> dict[str, Any]:
    """All tokens read, each as a number of a list of different ones, and where each text begins."""
    ids = np.fromiter((each for text in points.texts for each in text), dtype=np.int32)
    different, at = np.unique(ids, return_inverse=True)
    starts = np.cumsum([0, *(len(text) for text in points.texts)])
    return {
        "tokens": tokens_json(lm.tokens(different.tolist())),
        "at": pack(at.astype(np.int32)),
        "starts": pack(starts.astype(np.int32)),
    }


def component_json(points: TextPoints, mine: RegionPoints, component: int, clusters: int) -> dict[str, Any]:
    """The tokens of a component in the units of `pull`, with clusters, principal axes, and where each stands."""
    starts = np.cumsum([0, *(len(text) for text in points.texts)])
    rows = mine.rows.numpy()
    which = clustered(mine.coordinates, clusters)
    said = {
        "component": component,
        "count": len(mine),
        "z": pack(_float32(mine.z)),
        "lengths": mine.lengths.tolist(),
        "responsibility": pack(_float32(mine.responsibility)),
        "at": pack((starts[points.text.numpy()[rows]] + points.position.numpy()[rows]).astype(np.int32)),
        "cluster": pack(which.numpy().astype(np.uint8)),
        "clusters": _clusters_json(mine.tokens, which.tolist()),
        "pca": None,
    }
    if len(mine) > 1:
        rank = mine.z.shape[1]
        found = mine.pca(min(rank, _AXES))
        lengths = mine.lengths.numpy()
        onto, back = found.axes * lengths, (found.axes / lengths).T
        explained = [float(each) for each in found.explained]
        said["pca"] = {"onto": pack(_float32(onto)), "back": pack(_float32(back)), "explained": explained}
    return said


def _clusters_json(tokens: Sequence[Token], which: Sequence[int]) -> list[dict[str, Any]]:
    """Each cluster with how many tokens it has, and those that tell it from the others."""
    size = max(which, default=-1) + 1
    of_all: dict[int, int] = {}
    of_each: list[dict[int, int]] = [{} for _ in range(size)]
    seen = {}
    for token, cluster in zip(tokens, which, strict=True):
        seen[token.id] = token
        of_all[token.id] = of_all.get(token.id, 0) + 1
        of_each[cluster][token.id] = of_each[cluster].get(token.id, 0) + 1
    return [
        {
            "count": sum(counts.values()),
            "names": tokens_json(seen[each] for each in _telling(counts, of_all, len(tokens))),
        }
        for counts in of_each
    ]


def _telling(counts: dict[int, int], of_all: dict[int, int], total: int) -> Iterator[int]:
    """The token ids with the largest `n·log(p(token|cluster) / p(token))`."""
    size = sum(counts.values())
    score = {each: n * math.log(n / size * total / of_all[each]) for each, n in counts.items()}
    # Where one cluster has all, the commonest tokens name it.
    ranked = sorted(counts, key=lambda each: (-score[each], -counts[each], each))
    yield from ranked[:_NAMES]


def _float32(values: Any) -> Any:
    found = values.detach().cpu().numpy() if hasattr(values, "detach") else values
    return np.ascontiguousarray(found, dtype=np.float32)
