"""What a label check shows, as the front-end reads it: an item without its truth, a feature with all of it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.label_checks.statistics import Share
from steerwidgets.labels.own import Entry, UserLabels

if TYPE_CHECKING:
    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.label_checks.answered import Answered
    from steerwidgets.label_checks.answers import Answers
    from steerwidgets.label_checks.check_texts import CheckText
    from steerwidgets.label_checks.items import Item
    from steerwidgets.label_checks.scores import Scores
    from steerwidgets.label_checks.session import CheckSession, Step
    from steerwidgets.transformer.loaded import LoadedModel

_HIDDEN: Final = ("odd one out", "which fire", "which tokens")
"""Modes whose texts are shown without activations."""


def screen_json(lm: LoadedModel, session: CheckSession) -> dict[str, Any]:
    """The step that comes next."""
    step = session.step
    if step is None:
        return {"kind": "end", **_where(session, None)}
    item = session.item
    if item is None:
        return {"kind": "reveal", **_where(session, step), **_reveal(lm, session, step.index)}
    return {"kind": "item", **_where(session, step), **_asked(lm, item)}


def revealed(session: CheckSession) -> Answers:
    """The answers on features whose truth the reader has seen: scores of others would tell it."""
    done = session.steps[: session.answers.position + 1]
    shown = {step.index for step in done if step.mode is None}
    answers = session.answers
    return replace(answers, answered=tuple(each for each in answers if each.index in shown))


def score_rows(scores: Scores) -> list[list[str]]:
    """Scores in words, for the side of the page: counts with their intervals."""
    return [[name, _short(value)] for name, value in scores.named()]


def _short(value: object) -> str:
    if not isinstance(value, Share) or value.interval is None:
        return str(value)
    low, high = value.interval
    return f"{value} ({low:.2f}–{high:.2f})"


def detection_of_all(index: int, several: Sequence[Answers]) -> Share:
    """How many texts of a feature all who checked it judged rightly."""
    found = (each.right("which fire") for answers in several for each in answers.scores.features if each.index == index)
    return sum(found, Share())


def _where(session: CheckSession, step: Step | None) -> dict[str, Any]:
    features = len(session.queue)
    at = features if step is None else session.queue.index(step.index) + 1 if step.scored else 0
    return {
        "step": session.answers.position,
        "steps": len(session.steps),
        "feature": at,
        "features": features,
        "practice": step is not None and not step.scored,
        "again": step is not None and step.again,
        "mode": step.mode if step is not None else None,
    }


def _asked(lm: LoadedModel, item: Item) -> dict[str, Any]:
    hidden = item.mode in _HIDDEN
    return {
        "id": item.id,
        "label": item.label,
        "texts": [_text(lm, text, hidden=hidden) for text in item.texts],
        "choices": list(item.choices),
        "maximum": max(text.value for text in item.texts) if not hidden else None,
    }


def _text(lm: LoadedModel, text: CheckText, *, hidden: bool) -> dict[str, Any]:
    return {
        "tokens": [asdict(token) for token in lm.tokens(text.token_ids)],
        "values": None if hidden else list(text.values),
        "marked": list(text.marked),
    }


def _reveal(lm: LoadedModel, session: CheckSession, index: int) -> dict[str, Any]:
    dictionary, items = session.dictionary, session.items(index)
    first: dict[str, Answered] = {}
    for each in session.answers:
        if each.index == index:
            first.setdefault(each.mode, each)
    known = session.answers.features.get(index)
    labels = [label for label in dictionary.labels_of(index) if label.text == items.label]
    imported = dictionary.labels[index] if dictionary.labels else ""
    score = dictionary.label_scores.get(index, {}) if items.label == imported else {}
    own = _entry(dictionary, index)
    return {
        "index": index,
        "key": dictionary[index].key,
        "label": items.label,
        "label_author": labels[0].author if labels else "",
        "score": score.get("detection"),
        "notes": list(items.notes),
        "verdict": (known.verdict if known is not None else "") or own.verdict,
        "note": (known.note if known is not None else "") or own.note,
        "maximum": dictionary.maximum(index) or max(text.value for item in items.items for text in item.texts),
        "results": [_result(lm, item, first[item.mode]) for item in items.items if item.mode in first],
    }


def _entry(dictionary: Dictionary, index: int) -> Entry:
    """What the user has said of a feature before; nothing where nothing can be read."""
    if "user_labels" not in dictionary.__dict__ and not UserLabels.are_kept():
        return Entry(index)
    with contextlib.suppress(OSError, ValueError):
        return dictionary.user_labels[index]
    return Entry(index)


def _result(lm: LoadedModel, item: Item, answered: Answered) -> dict[str, Any]:
    judged = [answered.right(at) for at in range(len(answered.questions))]
    return {
        "mode": item.mode,
        "right": sum(each is True for each in judged),
        "of": sum(each is not None for each in judged),
        "texts": [
            {**_text(lm, text, hidden=False), "value": text.value, "decile": text.decile, "kind": text.kind}
            for text in item.texts
        ],
        "choices": list(item.choices),
        "truth": list(item.truth),
        "said": [answered.said(at) for at in range(len(answered.questions))],
    }
