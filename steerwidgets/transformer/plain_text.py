"""Small tables in plain text: what a result prints as."""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import east_asian_width

from steerwidgets.transformer.prompts import Token


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, most: int = 40) -> str:
    """A table with aligned columns, numbers to the right.

    Args:
        headers: the columns' names.
        rows: a cell for each column; floats are shown to four significant digits.
        most: rows shown; of more, the number of those left out is said below.
    """
    cells = [[_shown(cell) for cell in row] for row in rows[:most]]
    numeric = [bool(rows) and all(isinstance(row[i], int | float) for row in rows[:most]) for i in range(len(headers))]
    widths = [max(map(_width, column)) for column in zip(headers, *cells, strict=True)]
    lines = [
        "  ".join(_padded(*each) for each in zip(row, widths, numeric, strict=True)).rstrip()
        for row in [list(headers), *cells]
    ]
    left_out = len(rows) - len(cells)
    return "\n".join([*lines, *([f"… and {left_out:,} more"] if left_out else [])])


def quoted(token: Token) -> str:
    """A token's exact text in quotation marks, spaces and line breaks visible; bytes in hex as they are."""
    return token.text if token.fragment else repr(token.text)


def _shown(cell: object) -> str:
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def _padded(text: str, width: int, numeric: bool) -> str:
    room = " " * (width - _width(text))
    return room + text if numeric else text + room


def _width(text: str) -> int:
    return sum(2 if east_asian_width(character) in "FW" else 1 for character in text)
