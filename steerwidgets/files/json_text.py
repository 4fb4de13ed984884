"""JSON from outside: bounded, without keys that are said twice, and told in our own words where it is broken."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from steerwidgets.files.containers import reading, what_else

MOST_BYTES: Final = 2**30
"""A longer JSON text is not read: the labels of a million features are a tenth of that."""

DEEPEST: Final = 64
"""A value that holds others deeper than that is none of ours, and would break what goes through it."""

_LONGEST_NUMBER: Final = 400
"""Digits of a whole number; one of more is as infinite as 1e400 is."""

_AGAIN: Final = "download or make it again"

Pairs = list[tuple[str, Any]]
"""A JSON object with all of its pairs, in order."""


def read_json(path: Path, *, what: str = "", **how: Any) -> Any:
    """The value in a JSON file, by default called by its name; `how` is as for `parse_json`.

    Raises:
        ValueError: it is not whole JSON, nested too deep, too long, or says a key twice.
        OSError: it can't be read.
    """
    return parse_json(json_bytes(path), what or path.name, **how)


def json_bytes(path: Path) -> bytes:
    """The bytes of a JSON file.

    Raises:
        ValueError: it is too long.
        OSError: it can't be read.
    """
    with reading(path, "JSON"):
        data = path.read_bytes() if path.stat().st_size <= MOST_BYTES else None
    if data is None:
        raise ValueError(f"{path.name} is longer than {MOST_BYTES >> 20} MB, too long for JSON of this kind.")
    return data


def parse_json(
    text: str | bytes, what: str, *, todo: str = _AGAIN, of_pairs: Callable[[Pairs], Any] | None = None
) -> Any:
    """The value of a JSON text.

    Args:
        text: the text.
        what: what it is called in messages.
        todo: what to do where it is broken.
        of_pairs: makes a value of an object's pairs; by default a dict, and a key that is said twice is refused.

    Raises:
        ValueError: it is not whole JSON, nested too deep, or says a key twice.
    """
    whole = as_text(text, what, todo=todo)
    try:
        value = _decoder(of_pairs or _without_doubles).decode(whole)
    except _TwiceError as error:
        raise ValueError(
            f"{what} says {str(error)[:60]!r} twice, so which one counts is not clear; keep one of them."
        ) from None
    except json.JSONDecodeError as error:
        else_ = what_else(whole[:200].encode("utf-8", "replace"))
        where = else_ or f"it breaks at line {error.lineno}, column {error.colno}"
        raise ValueError(f"{what} is not whole JSON: {where}; {todo}.") from None
    except RecursionError:
        raise _too_deep(what) from None
    refuse_deep(value, what)
    return value


def as_text(data: str | bytes, what: str, *, todo: str = _AGAIN) -> str:
    """Text that is UTF-8, without a byte-order mark.

    Raises:
        ValueError: it is not.
    """
    if isinstance(data, str):
        return data
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{what} is not UTF-8 text (byte {error.start} is none); save it as UTF-8, or {todo}."
        ) from None


def refuse_deep(value: Any, what: str) -> None:
    """Refuse a JSON value that is nested too deep; whatever recurses through values is safe after this.

    Raises:
        ValueError: it is.
    """
    level = _inside([value])
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise _too_deep(what)


def _inside(value: Any) -> list[Any]:
    """What a value holds that may hold something itself."""
    held = value.values() if isinstance(value, Mapping) else value
    if isinstance(value, list | tuple) and value and isinstance(value[0], str):
        held = [each for each in value if not isinstance(each, str)]
    return [each for each in held if isinstance(each, Mapping | list | tuple)]


def _too_deep(what: str) -> ValueError:
    return ValueError(f"{what} is nested deeper than {DEEPEST} levels, as nothing of this kind is; make it again.")


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else float(digits)


class _TwiceError(Exception):
    """A key that an object says twice."""


@functools.cache
def _decoder(of_pairs: Callable[[Pairs], Any]) -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=of_pairs, parse_int=_whole_number)


def _without_doubles(pairs: Pairs) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(name for at, name in enumerate(names) if name in names[:at]))
    return table
