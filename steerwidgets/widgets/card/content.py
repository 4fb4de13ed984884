"""What a feature card shows of one feature, as the front-end reads it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from steerwidgets.labels.own import UserLabels
from steerwidgets.lens.effect import effect_said
from steerwidgets.lens.top_logits import of_random, top_logits, weak_note
from steerwidgets.steering.recipe import YOUR_LABEL, Direction, Feature
from steerwidgets.widgets.card.lines import Line, lines_json
from steerwidgets.widgets.heatmap.columns import zero_of_scale
from steerwidgets.widgets.recipe_editor.describe import feature_json, finite

if TYPE_CHECKING:
    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.dictionaries.evidence import Evidence, Example
    from steerwidgets.lens.top_logits import TokenValues
    from steerwidgets.model import LanguageModel
    from steerwidgets.steering.recipe import Feature
    from steerwidgets.transformer.sites import Site


_LISTED: Final = 8
_LOADED: Final = 4
_COMPARED: Final = 100_000
"""Dictionaries up to this size are searched for neighbours where no file keeps them."""

_CODE: Final = "index = sw.corpus.build(lm, dictionary, texts, path)\nindex.attach(dictionary)\ncard.show(card.key)"
"""How to get what is missing."""


def card_content(lm: LanguageModel, dictionary: Dictionary, index: int) -> dict[str, Any]:
    """One feature with all that is known of it."""
    feature, evidence = dictionary[index], dictionary.evidence(index)
    promoted, suppressed, why = _logits(lm, feature, evidence)
    return {
        **_named(dictionary, feature),
        **_known(dictionary, index, evidence),
        "promoted": promoted,
        "suppressed": suppressed,
        "logits_note": why,
        "effect": shipped_effect(lm, dictionary, index),
        "nearest": _nearest(dictionary, feature, evidence),
        "coactive": _features(dictionary, evidence.coactive) if evidence is not None else [],
        "examples": _examples(lm, evidence),
        "missing": _missing(evidence),
        "mixture": _mixture(lm, feature),
        "link": feature_link(dictionary, feature),
    }


def labels_json(dictionary: Dictionary, index: int) -> dict[str, Any]:
    """What a feature is called, by whom, and how well that label did where it was scored."""
    labels = dictionary.labels_of(index)
    first = labels[0] if labels else None
    score = dictionary.label_scores.get(index) if first is None or first.source != YOUR_LABEL else None
    return {
        "label": dictionary.label(index),
        "label_source": first.source if first else "",
        "label_author": first.author if first else "",
        "other_labels": [{"text": each.text, "source": each.source, "author": each.author} for each in labels[1:]],
        "score": dict(score) if score else None,
    }


def provenance_of(lm: LanguageModel, dictionary: Dictionary) -> dict[str, str]:
    """Where a card's numbers come from."""
    statistics, data = dictionary.statistics, dictionary.feature_data
    return {
        **lm.provenance,
        "dictionary": f"{dictionary!r} {dict(dictionary.provenance)}",
        "fingerprint": dictionary.fingerprint,
        "site": str(dictionary.site),
        "statistics": str(statistics.source if statistics is not None else None),
        "examples": str(data.corpus if data is not None else None),
    }


def _named(dictionary: Dictionary, feature: Feature) -> dict[str, Any]:
    known = feature_json(feature)
    kept = ("key", "kind", "layer", "stream", "index", "norm", "ops", "suggested")
    return {
        **{name: known[name] for name in kept},
        **labels_json(dictionary, feature.index),
        "site": str(feature.site),
        "size": dictionary.size,
        "reads": feature.reads,
        "signed": feature.signed,
        **zero_of_scale(feature),
    }


def _known(dictionary: Dictionary, index: int, evidence: Evidence | None) -> dict[str, Any]:
    statistics = dictionary.statistics
    known = {
        name: finite(statistics.of(name, index)) if statistics is not None else None
        for name in ("density", "maximum", "p995", "typical")
    }
    source = statistics.source if statistics is not None else None
    if evidence is not None:
        known["maximum"] = known["maximum"] or finite(evidence.histogram_top) or None
        source = source or dictionary.feature_data.corpus if dictionary.feature_data is not None else source
    fires = evidence is not None and sum(evidence.counts) > 0
    histogram = {"counts": list(evidence.counts), "top": evidence.histogram_top} if evidence and fires else None
    return {
        **known,
        "corpus": source or None,
        "tokens": statistics.tokens if statistics is not None else None,
        "examples_of": (dictionary.feature_data.corpus if dictionary.feature_data is not None else "") or None,
        "histogram": histogram,
    }


def _logits(lm: LanguageModel, feature: Feature, evidence: Evidence | None) -> tuple[list[Any], list[Any], str]:
    if evidence is not None and evidence.promoted:
        beyond = of_random(lm, feature, evidence.promoted[0][1])
        return _valued(lm, evidence.promoted), _valued(lm, evidence.suppressed), weak_note(beyond)
    try:
        found = top_logits(lm, feature, _LISTED)
    except ValueError as error:
        return [], [], str(error)
    return _tokens(found.promoted), _tokens(found.suppressed), found.note


def shipped_effect(lm: LanguageModel, dictionary: Dictionary, index: int) -> dict[str, Any] | None:
    """What steering with a feature promotes through the model, where that comes with the dictionary."""
    known = dictionary.effects.get(index)
    if known is None or any(token >= len(lm.tokenizer) for token, _ in (*known.promoted, *known.suppressed)):
        return None
    numbers, suggested = {"": known.strength}, known.is_suggested
    said = effect_said(known.op, numbers, known.prompts, suggested=suggested, least=known.least)
    return {"promoted": _valued(lm, known.promoted), "suppressed": _valued(lm, known.suppressed), "said": said}


def measured_effect(lm: LanguageModel, feature: Feature) -> dict[str, Any]:
    """The same, measured now.

    Raises:
        ValueError: the feature can be read but not steered.
    """
    found = lm.effect(feature, k=_LISTED)
    return {"promoted": _tokens(found.promoted), "suppressed": _tokens(found.suppressed), "said": found.said}


def _valued(lm: LanguageModel, values: Iterable[tuple[int, float]]) -> list[dict[str, Any]]:
    several = list(values)[:_LISTED]
    return _tokens(tuple(zip(lm.tokens([token for token, _ in several]), (value for _, value in several), strict=True)))


def _tokens(values: TokenValues) -> list[dict[str, Any]]:
    return [{"id": t.id, "text": t.text, "fragment": t.fragment, "value": value} for t, value in values]


def _nearest(dictionary: Dictionary, feature: Feature, evidence: Evidence | None) -> list[dict[str, Any]]:
    if evidence is not None and evidence.nearest:
        return _features(dictionary, evidence.nearest)
    if dictionary.are_axes or not 1 < dictionary.size <= _COMPARED:
        return []
    found = dictionary.nearest(feature, 7)
    several = zip(found.features, found.cosines, strict=True)
    return _features(dictionary, [(other.index, cosine) for other, cosine in several if other.index != feature.index])


def _features(dictionary: Dictionary, values: Iterable[tuple[int, float]]) -> list[dict[str, Any]]:
    return [
        {"index": index, "label": dictionary.label(index), "value": value} for index, value in list(values)[:_LISTED]
    ]


def _examples(lm: LanguageModel, evidence: Evidence | None) -> dict[str, Any]:
    if evidence is None:
        return {}
    bands = [
        (example, {"low": band.low, "high": band.high}) for band in evidence.quantiles for example in band.examples
    ]
    tabs: dict[str, Sequence[tuple[Example, dict[str, Any]]]] = {
        "strongest": [(example, {}) for example in evidence.examples],
        "quantiles": bands,
        "random": [(example, {}) for example in evidence.random],
    }
    return {name: lines_json(lm, [_line(*each) for each in rows]) for name, rows in tabs.items() if rows}


def _line(example: Example, more: dict[str, Any]) -> Line:
    return Line(example.token_ids, example.values, example.peak, example.source, more=more)


def _missing(evidence: Evidence | None) -> dict[str, dict[str, str]]:
    """For every view without data: why, and the code that gets it."""
    if evidence is None:
        nothing = {"said": "No examples yet: this dictionary has not been read over a corpus.", "code": _CODE}
        unknown = {"said": "Not known: this dictionary has not been read over a corpus.", "code": ""}
        return {**dict.fromkeys(("strongest", "quantiles", "random"), nothing), "histogram": unknown}
    silent = {"said": "It fired nowhere in the corpus that was read. Try a text of your own below.", "code": ""}
    found = {} if sum(evidence.counts) else {"histogram": silent}
    if not evidence.examples:
        return {**found, **dict.fromkeys(("strongest", "quantiles", "random"), silent)}
    only = {
        "said": "Only the strongest examples were kept. An index of your own corpus has these as well:",
        "code": _CODE,
    }
    kept = {"quantiles": evidence.quantiles, "random": evidence.random}
    return {**found, **{name: only for name, there in kept.items() if not there}}


def _mixture(lm: LanguageModel, feature: Feature) -> dict[str, Any] | None:
    """What sets a component of a mixture apart: its share, and its loadings with what they promote."""
    loadings = feature.loadings
    if loadings is None:
        return None
    return {
        "mixing": feature.mixing,
        "loadings": [_loading(lm, feature.site, loadings[:, at], at) for at in range(loadings.shape[1])],
    }


def _loading(lm: LanguageModel, site: Site, vector: Any, at: int) -> dict[str, Any]:
    said = {"index": at, "norm": float(vector.norm()), "promoted": [], "suppressed": []}
    if not said["norm"]:
        return said
    found = top_logits(lm, Direction(vector, site, f"loading {at}"), _LOADED)
    return said | {"promoted": _tokens(found.promoted), "suppressed": _tokens(found.suppressed)}


_NEURONPEDIA: Final = "https://www.neuronpedia.org"
_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")


def feature_link(dictionary: Dictionary, feature: Feature) -> dict[str, str] | None:
    """A page about a feature, where its dictionary or the feature itself names one; http and https only.

    A `neuronpedia` entry of a dictionary's provenance is `model/source`, as `gemma-2-2b/20-gemmascope-res-16k`
    (`neuronpedia_id` in sae_lens' metadata); a concept of AxBench links the page that it was adapted from.
    """
    named = dictionary.provenance.get("neuronpedia", "")
    address = f"{_NEURONPEDIA}/{quote(named)}/{feature.index}" if _ID.fullmatch(named) else feature.page
    if address is None:
        return None
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return None
    return {"url": address, "name": "Neuronpedia" if parts.netloc.endswith("neuronpedia.org") else parts.netloc}


_NOTHING_SAID: Final[dict[str, Any]] = {"label": "", "note": "", "rating": None, "verdict": "", "said": 0}


def verdict_of(home: Dictionary, index: int) -> dict[str, Any]:
    """What the user said of a feature; nothing where nothing was."""
    if "user_labels" not in home.__dict__ and not UserLabels.are_kept():
        return _NOTHING_SAID
    try:
        entry = home.user_labels[index]
        said = {"label": entry.label, "note": entry.note, "rating": entry.rating, "verdict": entry.verdict}
        return said | {"said": len(home.user_labels)}
    except (OSError, ValueError) as error:
        return _NOTHING_SAID | {"unreadable": str(error)}
