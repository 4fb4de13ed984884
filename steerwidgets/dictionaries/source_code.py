"""The Python that makes a dictionary again, for snippets."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

_LONGEST: Final = 200
"""A longer argument is no longer something to read."""


def call(start: str, **arguments: Any) -> str | None:
    """A call with the arguments that are not None; None where one of them can't be written down.

    Args:
        start: the call up to its last positional argument, as `sw.SAE.load('folder'`.
        arguments: the others, by name.
    """
    written = {name: _literal(value) for name, value in arguments.items() if value is not None}
    if None in written.values():
        return None
    return start + "".join(f", {name}={text}" for name, text in written.items()) + ")"


def _literal(value: Any) -> str | None:
    if isinstance(value, Path):
        return repr(str(value))
    if type(value).__module__ == "torch":
        return str(value)
    if not isinstance(value, str | int | float | dict | list | tuple):
        return None
    text = repr(value)
    return text if len(text) < _LONGEST else None
