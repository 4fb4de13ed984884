"""Does a dictionary fit, asked by a widget of its own accord: a sentence where it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from steerwidgets.lens.dictionary_check import fit
from steerwidgets.lens.reconstruction import Reconstructs

if TYPE_CHECKING:
    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.transformer.loaded import LoadedModel

TEXTS: Final = (
    "The bridge across the river was closed for repairs, so we took the longer road through the village.",
    "In 1969 two people walked on the Moon; millions watched it on television, most of them for the first time.",
    "Heat the oil, add the onions, and stir until they are soft. Then pour in the stock and let it simmer.",
    "def mean(values):\n    return sum(values) / len(values)\n",
)
"""Ordinary sentences, about ninety tokens."""

MOST_WEIGHTS: Final = 50_000_000
"""Weights of an encoder above which nobody wants to wait unasked, or to have a file read that was only mapped."""

_found: WeakKeyDictionary[Any, dict[str, str]] = WeakKeyDictionary()


def is_checked(dictionary: Dictionary) -> bool:
    """Whether a widget asks of its own accord: it reconstructs, and is not so large that it would take seconds."""
    return isinstance(dictionary, Reconstructs) and dictionary.d_model * len(dictionary) <= MOST_WEIGHTS


def known_misfit(lm: LoadedModel, dictionary: Dictionary) -> str | None:
    """What `misfit` found before; None where it was not asked."""
    return _found.get(lm.model, {}).get(dictionary.fingerprint)


def misfit(lm: LoadedModel, dictionary: Dictionary) -> str:
    """A sentence where a dictionary does not fit at its site, else an empty one; found once for a model.

    The sites next to its own are looked at first, and all others only where one of those fits better, or its own not
    at all. `lm.check` reads more, on texts of the user's.

    Args:
        lm: the model, unsteered.
        dictionary: one of which `is_checked` holds.

    Raises:
        ValueError: it has another width than its site.
    """
    found = known_misfit(lm, dictionary)
    if found is None:
        texts = [lm.encode(text, chat=False).token_ids for text in TEXTS]
        near = fit(lm, dictionary, texts, within=1)
        found = "" if near.fits else fit(lm, dictionary, texts).said
        _found.setdefault(lm.model, {})[dictionary.fingerprint] = found
    return found
