"""Labels scored by a callable: a language model, or whatever else answers the items that people answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from steerwidgets.dictionaries.base import checked_dictionary
from steerwidgets.label_checks.session import CheckSession, CheckSettings
from steerwidgets.transformer.mistakes import refuse_unknown

if TYPE_CHECKING:
    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.label_checks.answers import Answers
    from steerwidgets.label_checks.items import Item
    from steerwidgets.transformer.loaded import LoadedModel


def score(
    dictionary: Dictionary,
    answer: Callable[[Item], Any],
    *,
    lm: LoadedModel | None = None,
    folder: str | Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
    **settings: Unpack[CheckSettings],
) -> Answers:
    """Let a callable answer the items that a person with the same settings gets, and score it alike.

    The callable gets an item: its `.mode`, the `.label` that is checked, `.texts` with `.text` and `.with_marks()`, and
    `.choices`. It answers "odd one out" and "which label" with which one, counted from 0, and "which fire" and "which
    tokens" with one number for each text: how sure it is that the feature fires there, or that the marks are right, 0
    to 1. None skips. The items hold the truth too, for readers that shall know it.

    Args:
        dictionary: whose labels are scored, with evidence of its features.
        answer: the callable.
        lm: the model; the embedded one by default, for a dictionary that was made for it.
        folder: where to keep the answers while they come, so that a run that breaks off goes on there; by default
            nowhere.
        on_progress: told how many steps are done, and of how many.
        stop: set it to end after the item that is asked.
        settings: `features`, `seed`, `count`, `modes`, `labels`, `reader`, as `CheckSettings` explains them.

    Returns:
        The answers: `.scores`, `.save(path)`, `.to_csv(path)`.

    Raises:
        TypeError: `answer` can't be called, or the dictionary is none.
        ValueError: nothing can be asked, a setting is wrong, or an answer is none.

    Example:
        >>> texts = ["The user asks the assistant about the ocean.", "Name a city by the sea, please."]
        >>> index = sw.corpus.build(lm, sae, texts, folder / "index", on_progress=lambda progress: None)
        >>> index.attach(sae)
        >>> knows = lambda item: item.truth[0] if item.is_choice else item.truth
        >>> found = sw.labels.score(sae, knows, lm=lm, features=[3, 5], reader="one who knows")
        >>> found.reader, found.seed  # found.scores prints as a table
        ('one who knows', 0)
    """
    checked_dictionary(dictionary, "sw.labels.score", after=", answer")
    if not callable(answer):
        raise TypeError(
            f"answer is a callable that answers items, but {answer!r} was given; give a function: "
            "sw.labels.score(dictionary, answer=lambda item: …)."
        )
    refuse_unknown("sw.labels.score", settings, CheckSettings.__annotations__)
    kept = None if folder is None else Path(folder)
    session = CheckSession(lm or _embedded(dictionary), dictionary, folder=kept, practice=False, **settings)
    while session.step is not None and not (stop is not None and stop.is_set()):
        item = session.item
        if item is None:
            session.go_on()
        else:
            session.answer(answer(item))
        if on_progress is not None:
            on_progress(session.answers.position, len(session.steps))
    return session.answers


def _embedded(dictionary: Dictionary) -> LoadedModel:
    """The embedded model, for a dictionary that was made for it.

    Raises:
        ValueError: it was made for another one.
    """
    from steerwidgets.demo.cache import SMOLLM2
    from steerwidgets.demo.model import load_demo_model
    from steerwidgets.transformer.loaded import LoadedModel

    if dictionary.made_for != SMOLLM2.name:
        raise ValueError(
            f"The items of {dictionary!r} are texts that its model reads, and it is not the embedded one's; give the "
            "model: sw.labels.score(dictionary, answer, lm=lm)."
        )
    return LoadedModel(*load_demo_model())
