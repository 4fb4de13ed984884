"""Strengths as files and callers give them: steers that were seen to work, largest activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from steerwidgets.files.fields import LARGEST, Fields, is_finite
from steerwidgets.files.shown import shown
from steerwidgets.steering.ops import Op

Suggestion = tuple[str, Mapping[str, float]]
"""An op's name and its numbers."""


def suggestions(
    given: Sequence[Any], size: int, ops: Mapping[str, Op], named: Callable[[int], str]
) -> tuple[Suggestion | None, ...]:
    """What is suggested for each feature of a dictionary.

    Args:
        given: `[op, {number's name: number}]` or None for each.
        size: how many features there are.
        ops: those that the features take.
        named: what a feature is called, by its index.

    Raises:
        ValueError: there is not one for each feature, or one is no op with its numbers.
    """
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) != size:
        found = len(given) if isinstance(given, Sequence) and not isinstance(given, str) else shown(given)
        raise ValueError(
            f"suggested has one entry for each of the {size} concepts, but {found} were given: an op with its "
            "numbers, or None where nothing is known."
        )
    return tuple(
        None if each is None else suggestion(each, ops, f"suggested of {named(i)!r}") for i, each in enumerate(given)
    )


def suggestion(given: Any, ops: Mapping[str, Op], what: str) -> Suggestion:
    """One op with its numbers.

    Raises:
        ValueError: it is something else.
    """
    is_pair = isinstance(given, list | tuple) and len(given) == 2 and isinstance(given[0], str)
    if not is_pair or given[0] not in ops or not isinstance(given[1], Mapping):
        raise ValueError(
            f'{what} should be an op ({", ".join(ops)}) with its numbers, as ["add", {{"alpha": 4}}], but '
            f"{shown(given)} was given; correct it, or leave it out."
        )
    name, numbers = given[0], Fields(given[1], f"In {what}")
    numbers.only(*(parameter.name for parameter in ops[name].parameters))
    return name, {each: numbers.number(each) for each in numbers.table}


def maxima(given: Any, size: int) -> dict[int, float]:
    """Largest activations by feature, of one for each feature (None where not known) or {index: activation}.

    Raises:
        ValueError: there is not one for each, an index is none, or one is no finite number.
    """
    if given is None or (isinstance(given, Sequence) and not len(given)):
        return {}
    if isinstance(given, str) or not isinstance(given, Mapping | Sequence):
        given = given.tolist() if hasattr(given, "tolist") else given
    if isinstance(given, Mapping):
        found = dict(given)
    elif isinstance(given, list | tuple):
        if len(given) != size:
            raise ValueError(
                f"max_activations has one entry for each of the {size} features, but {len(given)} were given."
            )
        found = {index: value for index, value in enumerate(given) if value is not None}
    else:
        raise ValueError(
            f"max_activations has one entry for each of the {size} features, or is {{index: activation}}, but "
            f"{shown(given)} was given."
        )
    return {_index(index, size): _activation(index, value) for index, value in found.items()}


def _index(index: Any, size: int) -> int:
    if not hasattr(index, "__index__") or not 0 <= index.__index__() < size:
        raise ValueError(f"max_activations names feature {shown(index)}, but features are 0 to {size - 1}.")
    return int(index.__index__())


def _activation(index: int, value: Any) -> float:
    value = value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value
    if value is None or value != value:  # noqa: PLR0124 - NaN stands for what is not known
        return float("nan")
    if not is_finite(value):
        raise ValueError(
            f"max_activations of feature {index} should be a finite number up to {LARGEST:.3g}, but {shown(value)} was "
            "given; give None where nothing is known."
        )
    return float(value)
