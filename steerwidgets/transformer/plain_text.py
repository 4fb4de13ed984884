"""Small tables in plain text: what a result prints as."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final
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


_POP, _POP_ISOLATE = "\u202c", "\u2069"
_BEGIN: Final = dict.fromkeys("\u202a\u202b\u202d\u202e", _POP) | dict.fromkeys("\u2066\u2067\u2068", _POP_ISOLATE)


def whole(value: Any) -> Any:
    """JSON that every reader takes: what it has no word for is replaced, and all else stays as it is.

    U+FFFD stands for half of a character (a lone surrogate), null for NaN and infinite numbers.
    """
    if isinstance(value, str):
        return value if value.isascii() or _is_whole(value) else _whole(value)
    if isinstance(value, Mapping):
        return {whole(name): whole(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [whole(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def closed(text: str) -> str:
    """A text that ends every turn of writing direction that it begins (Unicode's Annex 9, X1 to X8)."""
    ends: list[str] = []
    for character in text:
        if character in _BEGIN:
            ends.append(_BEGIN[character])
        elif character == _POP_ISOLATE and character in ends:
            while ends.pop() != character:
                pass
        elif ends and character == ends[-1]:
            ends.pop()
    return text + "".join(reversed(ends))


def as_json(value: Any) -> str:
    """JSON as text that every file can hold."""
    return json.dumps(whole(value), ensure_ascii=False, allow_nan=False)


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _whole(text: str) -> str:
    """Two halves that belong together become their character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
