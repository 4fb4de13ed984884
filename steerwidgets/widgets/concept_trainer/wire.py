"""A trained concept as it travels: scores, projections, promoted tokens, neighbours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.dictionaries.nearest import cosines
from steerwidgets.files.shown import shown
from steerwidgets.widgets.arrays import exact

if TYPE_CHECKING:
    from steerwidgets.concepts.concept import Concept, ConceptLayer, Scores
    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.dose.by_block import BlockTable
    from steerwidgets.dose.result import DoseResult
    from steerwidgets.dose.statistics import Count
    from steerwidgets.lens.top_logits import TokenValues
    from steerwidgets.model import LanguageModel
    from steerwidgets.steering.recipe import Direction

_TOKENS: Final = 6
_NEAREST: Final = 3
_LISTED: Final = 200
"""Features of one dictionary that arithmetic offers."""
_LETTERS: Final = 600
"""Of a held-out text."""


@dataclass(frozen=True)
class Other:
    """A feature of a dictionary that a concept is compared with.

    Attributes:
        dictionary: which of the trainer's.
        index: the feature.
    """

    dictionary: int
    index: int

    @classmethod
    def of(cls, given: Any, dictionaries: Sequence[Dictionary]) -> Other:
        """The one that a page names, as `0:12`.

        Raises:
            ValueError: there is none.
        """
        parts = given.split(":") if isinstance(given, str) else []
        if len(parts) == 2 and all(each.isascii() and each.isdigit() for each in parts):
            found = cls(*map(int, parts))
            if found.dictionary < len(dictionaries) and found.index < dictionaries[found.dictionary].size:
                return found
        raise ValueError(f"There is no feature {shown(given)} among this trainer's dictionaries.")


def concept_json(lm: LanguageModel, concept: Concept, dictionaries: Sequence[Dictionary]) -> dict[str, Any]:
    """All that a page shows of a concept."""
    return {
        "name": concept.name,
        "method": concept.method,
        "pooling": concept.pooling,
        "shuffles": concept.shuffles,
        "fitted": list(concept.fitted),
        "tests": [{"text": _short(test.text), "positive": test.positive} for test in concept.tests],
        "layers": [_layer_json(lm, each, dictionaries) for each in concept.layers],
        "best": concept.best.layer,
        "told": list(concept.told),
        "stopped": concept.stopped,
    }


def of_dictionary(lm: LanguageModel, dictionary: Any, others: Sequence[Dictionary]) -> dict[str, Any]:
    """All that a page shows of a concept that was loaded: its texts are not in the file."""
    report = getattr(dictionary, "report", None)
    score = report.scores[0] if report is not None and report.scores else None
    row = _bare_json(lm, dictionary, others)
    if score is not None:
        tested = score.positives + score.negatives
        row |= {"auroc": _number(score.auroc), "accuracy": _number(score.accuracy), "tested": tested}
        row["right"] = round(score.accuracy * tested)
    return {
        "name": dictionary[0].label,
        "method": dictionary.provenance.get("method", ""),
        "pooling": "",
        "shuffles": 0,
        "fitted": [],
        "tests": [],
        "layers": [row],
        "best": dictionary.site.layer,
        "told": [
            "Loaded from a file: its texts are not in it."
            if dictionary.texts is None
            else "Loaded from a file, with its texts: press Train for the scores of every block."
        ],
        "stopped": False,
    }


def _layer_json(lm: LanguageModel, layer: ConceptLayer, dictionaries: Sequence[Dictionary]) -> dict[str, Any]:
    return {
        **_bare_json(lm, layer.dictionary, dictionaries),
        **_scores_json(layer.held_out),
        "right": layer.right,
        "tested": layer.tested,
        "interval": [_number(each) for each in layer.interval],
        "shuffled": None if layer.shuffled is None else _scores_json(layer.shuffled),
        "selectivity": None if layer.selectivity is None else _scores_json(layer.selectivity),
        "threshold": _number(layer.threshold),
        "projections": [_number(each) for each in layer.projections],
        "converged": layer.converged,
    }


def _bare_json(lm: LanguageModel, dictionary: Dictionary, others: Sequence[Dictionary]) -> dict[str, Any]:
    """What is known of a direction without any text."""
    feature = dictionary[0]
    found: dict[str, Any] = {
        "layer": dictionary.site.layer,
        "auroc": None,
        "accuracy": None,
        "right": 0,
        "tested": 0,
        "interval": [0.0, 1.0],
        "shuffled": None,
        "selectivity": None,
        "threshold": None,
        "projections": [],
        "converged": True,
        "others": _others_json(feature, others),
    }
    return found | promoted_json(lm, feature)


def promoted_json(lm: LanguageModel, direction: Direction) -> dict[str, Any]:
    """What a direction promotes along the direct path, or why that can't be said."""
    try:
        top = lm.top_logits(direction, _TOKENS)
    except ValueError as error:
        return {"promoted": [], "suppressed": [], "weak": str(error)}
    return {"promoted": _tokens_json(top.promoted), "suppressed": _tokens_json(top.suppressed), "weak": top.note}


def _others_json(feature: Direction, dictionaries: Sequence[Dictionary]) -> list[dict[str, Any]]:
    """The features of dictionaries at the same site: all of small ones, the nearest of large ones; largest first."""
    found = []
    for number, dictionary in enumerate(dictionaries):
        if dictionary.site != feature.site:
            continue
        values = cosines(dictionary, feature)
        top = values.topk(min(_LISTED, dictionary.size))
        for rank, (index, cosine) in enumerate(zip(top.indices.tolist(), top.values.tolist(), strict=True)):
            found.append(
                {
                    "id": f"{number}:{index}",
                    "kind": dictionary.kind,
                    "index": index,
                    "label": dictionary[index].label,
                    "cosine": _number(cosine),
                    "near": rank < _NEAREST,
                }
            )
    return sorted(found, key=lambda each: -(each["cosine"] or 0.0))


def dose_json(result: DoseResult, layer: int) -> dict[str, Any]:
    """A dose check in a few numbers."""
    if not result.answers:
        return {}
    return {
        "layer": layer,
        "judge": result.judge,
        "rows": [
            {"strength": _number(row.strength), "on_topic": _count(row.on_topic), "random": _count(row.random)}
            for row in result.table
        ],
        "baseline": _count(result.baseline.on_topic),
        "useful": None if result.useful is None else [_number(each) for each in result.useful],
        "breaks": result.breaks,
        "answers": len(result.answers),
    }


def blocks_json(found: BlockTable) -> dict[str, Any]:
    """Where a concept steers, in a few numbers of each block."""
    return {
        "ratio": found.ratio,
        "judge": found.judge,
        "left_out": list(found.left_out),
        "rows": [
            {
                "layer": row.layer,
                "on_topic": _count(row.on_topic),
                "random": _count(row.random),
                "surprise": _number(row.surprise.value),
            }
            for row in found.rows
        ],
        "baseline": _count(found.baseline),
        "baseline_surprise": _number(found.baseline_surprise.value),
        "random": _count(found.random),
        "best": found.best,
        "stopped": found.stopped,
    }


def _count(count: Count) -> dict[str, Any]:
    return {"k": count.k, "n": count.n, "interval": [_number(end) for end in count.interval]}


def _number(value: float) -> float | None:
    """As few digits as float32 needs; None for what is no number, which JSON has no word for."""
    return exact(value) if math.isfinite(value) else None


def _scores_json(scores: Scores) -> dict[str, Any]:
    return {"accuracy": _number(scores.accuracy), "auroc": _number(scores.auroc)}


def _tokens_json(values: TokenValues) -> list[dict[str, Any]]:
    return [
        {"id": token.id, "text": token.text, "fragment": token.fragment, "value": _number(value)}
        for token, value in values
    ]


def _short(text: str) -> str:
    return text if len(text) <= _LETTERS else text[:_LETTERS] + "…"


def asked_terms(given: Any) -> list[Mapping[str, Any]]:
    """The terms of a sum as a page asks for it.

    Raises:
        ValueError: they are none.
    """
    fits = isinstance(given, list | tuple) and all(
        isinstance(each, Mapping) and set(each) == {"id", "sign"} and each["sign"] in (1, -1) for each in given
    )
    if not fits:
        raise ValueError(f"The terms of a sum are features with a sign, but {shown(given)} came.")
    return list(given)
