"""A value from outside as a message names it: on one line, short, and never with what makes another message fail."""

from __future__ import annotations

import reprlib
from typing import Any, Final

_DIGITS: Final = 30


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 2, 60, 60
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 4

    def repr_int(self, value: int, level: int) -> str:  # noqa: ARG002 - reprlib's signature
        # Python refuses to write numbers of more than 4,300 digits, so its length is told by its bits.
        return repr(value) if value.bit_length() < 3 * _DIGITS else f"a number of {value.bit_length()} bits"

    def repr_NoneType(self, value: None, level: int) -> str:  # noqa: ARG002, N802 - reprlib finds it by this name
        return "null"

    def repr_instance(self, value: Any, level: int) -> str:  # noqa: ARG002 - reprlib's signature
        if hasattr(value, "shape") and hasattr(value, "dtype"):
            kind = str(value.dtype).removeprefix("torch.")
            return f"{kind} {list(value.shape)}"
        if isinstance(value, float):
            return repr(value)
        return f"a {type(value).__name__}"

    def repr_float(self, value: float, level: int) -> str:  # noqa: ARG002 - reprlib's signature
        return repr(value)

    def repr_bool(self, value: bool, level: int) -> str:  # noqa: ARG002 - reprlib's signature
        return repr(value)


_short: Final = _Short()


def shown(value: Any) -> str:
    """A value on one line, cut where it is long."""
    text = _short.repr(value)
    return text if len(text) <= 120 else f"{text[:110]}…"


def named(words: Any, *, most: int = 8) -> str:
    """Names of fields or tensors as a list, cut where there are many; `nothing` where there are none."""
    every = [str(word)[:60] for word in words]
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more if every else "nothing"
