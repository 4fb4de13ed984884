"""Typed fields of a table from outside: of the right kind, in range and finite, or refused in one sentence."""

from __future__ import annotations

import contextlib
import enum
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, overload

from steerwidgets.files.shown import named, shown

LARGEST: Final = 3.4028235677973362e38
"""What still rounds to the largest float32: a larger number is infinite as soon as a tensor holds it."""

_TODO: Final = "correct it, or make the file again"


class _Needed(enum.Enum):
    NEEDED = "needed"


NEEDED: Final = _Needed.NEEDED
"""The default of a field that has to be there."""

Default = TypeVar("Default")


class Fields:
    """A table whose fields are asked for by name and kind.

    A field that is null counts as left out. What is not asked for is left alone, unless `only` is called.

    Args:
        table: what was read.
        where: how a message begins, as `In cfg.json`.
        todo: how it ends.

    Raises:
        ValueError: it is no table with names.
    """

    def __init__(self, table: Any, where: str, *, todo: str = _TODO, within: str = "") -> None:
        self.where, self.todo, self._within = where, todo, within
        if not isinstance(table, Mapping) or not all(isinstance(name, str) for name in table):
            what = within.rstrip(".") or "the value"
            raise ValueError(f"{where}, {what} should be a table with names, but {shown(table)} was given; {todo}.")
        self.table: Mapping[str, Any] = table

    def __contains__(self, name: str) -> bool:
        return self.table.get(name) is not None

    def only(self, *names: str) -> None:
        """Refuse fields of other names.

        Raises:
            ValueError: there is one.
        """
        if unknown := [name for name in self.table if name not in names]:
            raise ValueError(
                f"{self.where}, {self._within}{named(unknown)} is not known (there are {', '.join(names)}); "
                f"{self.todo}."
            )

    def value(self, name: str) -> Any:
        """A field of any kind, null and left out alike; whoever asks checks it."""
        return self.table.get(name)

    @overload
    def text(self, name: str, default: _Needed = ..., *, choices: Collection[str] = ...) -> str: ...
    @overload
    def text(self, name: str, default: Default, *, choices: Collection[str] = ...) -> str | Default: ...
    def text(self, name: str, default: Any = NEEDED, *, choices: Collection[str] = ()) -> Any:
        """A text, one of some where `choices` are given."""
        if (value := self._given(name, default)) is None:
            return default
        if not isinstance(value, str) or (choices and value not in choices):
            raise self.wrong(name, f"one of {', '.join(map(repr, choices))}" if choices else "a text")
        return value

    @overload
    def flag(self, name: str, default: _Needed = ...) -> bool: ...
    @overload
    def flag(self, name: str, default: Default) -> bool | Default: ...
    def flag(self, name: str, default: Any = NEEDED) -> Any:
        """True or false; a text that says so is neither."""
        if (value := self._given(name, default)) is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    @overload
    def whole(self, name: str, default: _Needed = ..., *, low: int | None = ..., high: int | None = ...) -> int: ...
    @overload
    def whole(self, name: str, default: Default, *, low: int | None = ..., high: int | None = ...) -> int | Default: ...
    def whole(self, name: str, default: Any = NEEDED, *, low: int | None = None, high: int | None = None) -> Any:
        """A whole number, from `low` to `high`."""
        if (value := self._given(name, default)) is None:
            return default
        outside = not is_whole(value) or (low is not None and value < low) or (high is not None and value > high)
        if outside:
            raise self.wrong(name, f"a whole number{_range(low, high)}")
        return value

    @overload
    def number(
        self, name: str, default: _Needed = ..., *, low: float | None = ..., high: float | None = ...
    ) -> float: ...
    @overload
    def number(
        self, name: str, default: Default, *, low: float | None = ..., high: float | None = ...
    ) -> float | Default: ...
    def number(self, name: str, default: Any = NEEDED, *, low: float | None = None, high: float | None = None) -> Any:
        """A finite number that float32 can hold, from `low` to `high`."""
        if (value := self._given(name, default)) is None:
            return default
        outside = not is_finite(value) or (low is not None and value < low) or (high is not None and value > high)
        if outside:
            raise self.wrong(name, f"a finite number{_range(low, high)}")
        return float(value)

    @overload
    def items(
        self, name: str, default: _Needed = ..., *, of: str = ..., each: Callable[[Any], bool] = ...
    ) -> list[Any]: ...
    @overload
    def items(
        self, name: str, default: Default, *, of: str = ..., each: Callable[[Any], bool] = ...
    ) -> list[Any] | Default: ...
    def items(
        self, name: str, default: Any = NEEDED, *, of: str = "", each: Callable[[Any], bool] = lambda _item: True
    ) -> Any:
        """A list, of what `each` takes; what else there is to check of it is checked by whoever asks."""
        if (value := self._given(name, default)) is None:
            return default
        if not isinstance(value, list | tuple) or not all(map(each, value)):
            raise self.wrong(name, f"a list{of and f' of {of}'}")
        return list(value)

    def texts(self, name: str) -> dict[str, str]:
        """A table of texts; empty where it is left out."""
        inner = self.inner(name)
        return {key: inner.text(key) for key in inner.table}

    def inner(self, name: str, default: Any = None) -> Fields:
        """A table in the table; an empty one where it is left out, unless it is `NEEDED`."""
        value = self._given(name, default)
        return Fields({} if value is None else value, self.where, todo=self.todo, within=f"{self._within}{name}.")

    def wrong(self, name: str, expected: str) -> ValueError:
        """The sentence of a field that is not what it should be."""
        value = self.table.get(name)
        given = "is missing" if name not in self.table else f"{shown(value)} was given"
        return ValueError(f"{self.where}, {self._within}{name} should be {expected}, but {given}; {self.todo}.")

    def _given(self, name: str, default: Any) -> Any:
        value = self.table.get(name)
        if value is None and default is NEEDED:
            raise self.wrong(name, "given")
        return value


def is_text(value: Any) -> bool:
    """Whether a value is a text."""
    return isinstance(value, str)


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number of JSON; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Whether a value is a number that float32 can hold; true and false are none."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= LARGEST if isinstance(value, int) else math.isfinite(value) and abs(value) <= LARGEST


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return "" if high is None else f" up to {high}"
    return f" from {low} on" if high is None else f" from {low} to {high}"


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Say in which file it is what an object refuses that is made from it.

    Raises:
        ValueError: what was refused inside, with the file's name before it where it does not say it itself.
    """
    try:
        yield
    except ValueError as error:
        if path.name in str(error):
            raise
        raise ValueError(f"{path.name}: {error}") from None
