"""Text of users and files that can be sent, saved, and put into a sentence.

Half of a character, as damaged files and file names hold it, can't be encoded; an open mark of writing direction turns
what follows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

_POP, _POP_ISOLATE = "\u202c", "\u2069"
_BEGIN: Final = dict.fromkeys("\u202a\u202b\u202d\u202e", _POP) | dict.fromkeys("\u2066\u2067\u2068", _POP_ISOLATE)


def whole(value: Any) -> Any:
    """JSON in which U+FFFD stands for every half of a character (lone surrogates); what is whole stays as it is."""
    if isinstance(value, str):
        return value if value.isascii() or _is_whole(value) else _whole(value)
    if isinstance(value, Mapping):
        return {whole(name): whole(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [whole(each) for each in value]
    return value


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
