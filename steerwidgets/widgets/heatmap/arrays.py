"""A heatmap's content from plain arrays, checked; no model, and no torch unless a tensor is given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steerwidgets.transformer.prompts import Token
from steerwidgets.widgets.arrays import as_numpy
from steerwidgets.widgets.heatmap.columns import MOST, array_column
from steerwidgets.widgets.tokens import FRAGMENT, LEFT_OUT, HeatText


class ArrayReading:
    """Tokens and values that the user brought.

    Args:
        tokens: exact token texts, or `Token`s.
        values: [position] or [position, feature], as anything that numpy or torch makes an array of; NaN where
            nothing is known.
        labels: what the columns are called, a name or one for each.
        mask: bool [position], which tokens count; by default all.

    Raises:
        TypeError: a token is no text.
        ValueError: shapes do not fit, or a value is infinite.
    """

    activations = None
    strongest: None = None

    def __init__(
        self,
        tokens: Iterable[str | Token],
        values: Any,
        labels: str | Sequence[str] | None = None,
        mask: Any = None,
    ) -> None:
        self.text = _checked_text(tokens, mask)
        self.values = _checked_values(values, len(self.text))
        names = _checked_labels(labels, self.values.shape[1])
        counted = self.values[self.text.counted]
        self.columns = [array_column(f"column/{i}", name, counted[:, i]) for i, name in enumerate(names)]
        self.features: tuple[str, ...] = tuple(names)

    @property
    def facts(self) -> dict[str, Any]:
        """What the header says."""
        return {"model": "", "dictionary": "", "site": "", "searchable": False}

    @property
    def provenance(self) -> dict[str, str]:
        """Where the numbers come from."""
        return {"values": "arrays given by the user", "steerwidgets": metadata.version("steerwidgets")}


def _checked_text(tokens: Iterable[str | Token], mask: Any) -> HeatText:
    if isinstance(tokens, str):
        raise TypeError("tokens is a list with the text of each token, but one string was given; split it first.")
    made = tuple(_token(token) for token in tokens)
    if not made:
        raise ValueError("tokens is empty; give the text of at least one token.")
    flags = np.array([FRAGMENT * token.fragment for token in made], dtype=np.uint8)
    if mask is not None:
        counts = as_numpy(mask)
        if counts.shape != (len(made),):
            raise ValueError(
                f"mask says for each of the {len(made)} tokens whether it counts, but has shape {list(counts.shape)}."
            )
        flags |= np.where(counts.astype(bool), 0, LEFT_OUT).astype(np.uint8)
    return HeatText(made, flags, has_ids=any(token.id >= 0 for token in made))


def _token(token: str | Token) -> Token:
    if isinstance(token, Token):
        return token
    if not isinstance(token, str):
        raise TypeError(f"A token is its text (a string) or a Token, but {type(token).__name__} was given.")
    # Half of a character can't be written to a file; show its code instead.
    whole = not any(0xD800 <= ord(character) <= 0xDFFF for character in token)
    codes = " ".join(f"U+{ord(character):04X}" for character in token)
    return Token(-1, token if whole else codes, fragment=not whole)


def _checked_values(values: Any, positions: int) -> NDArray[np.float32]:
    try:
        array = as_numpy(values).astype(np.float32)
    except (TypeError, ValueError):
        raise ValueError("values is an array of numbers, [position] or [position, feature].") from None
    shape = list(array.shape)
    if array.ndim not in (1, 2) or len(array) != positions:
        raise ValueError(
            f"values has one row for each of the {positions} tokens, [position] or [position, feature], but has shape "
            f"{shape}."
        )
    array = array.reshape(positions, -1)
    if not 1 <= array.shape[1] <= MOST:
        raise ValueError(
            f"A heatmap shows 1 to {MOST} features at once, but values has {array.shape[1]} columns; choose some, "
            "as in values[:, [3, 17]]."
        )
    if bool(np.isinf(array).any()):
        raise ValueError("values holds an infinite number, which no scale can show; use NaN where nothing is known.")
    return array


def _checked_labels(labels: str | Sequence[str] | None, count: int) -> list[str]:
    names = [labels] if isinstance(labels, str) else list(labels or ())
    if not names:
        return ["activation"] if count == 1 else [f"feature {i}" for i in range(count)]
    if len(names) != count:
        raise ValueError(f"labels names each of the {count} columns of values, but {len(names)} were given.")
    return [str(name) for name in names]
