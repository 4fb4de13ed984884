"""Whether an answer is right: held against a value, some values, a sealed one, or a function of the teacher's."""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
import string
import unicodedata
from collections.abc import Callable, Collection
from typing import Any, Final

from steerwidgets.files.fields import is_finite
from steerwidgets.files.shown import shown

Answer = str | float
"""What a student says: a text, one of the choices, or a number."""

Expected = str | float | Collection[str | float] | Callable[[Any], Any]

_SEALED: Final = re.compile(r"sealed:([0-9a-f]{16}):([0-9a-f]{64})")
_NUMBER: Final = re.compile(
    r"(?P<above>[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)(\s*/\s*(?P<below>\d+\.?\d*))?\s*(%|°|[^\W\d_]+)?", re.IGNORECASE
)
_ROUNDS: Final = 100_000


def seal(answer: str) -> str:
    """An answer that a notebook can mark without anybody reading it there.

    It hides the answer from a glance, not from a program that tries every word.

    Source: PBKDF2-HMAC-SHA256 (RFC 8018) with a salt of its own, of the answer without case, spaces and punctuation
    around it.

    Args:
        answer: the answer.

    Returns:
        A text for `lab.check(question, sealed)`.

    Raises:
        ValueError: there is nothing in it.

    Example:
        >>> sealed = sw.lab.seal("Ocean")
        >>> lab = sw.Lab("secret", student="Ada", folder=folder)
        >>> lab.check("What is the secret word?", sealed).answer(" ocean. ")
        True
    """
    if not isinstance(answer, str) or not plain(answer):
        raise ValueError(f"sw.lab.seal takes the answer as a text, but {shown(answer)} was given.")
    salt = secrets.token_hex(8)
    return f"sealed:{salt}:{_digest(answer, salt)}"


def marked(expected: Expected, answer: Answer, *, tolerance: float = 0.0) -> tuple[bool, str]:
    """Whether an answer is right, and what a function of the teacher's says of a wrong one.

    Texts are compared without case, and without spaces and punctuation around them; numbers to a millionth, or to
    `tolerance` where that is more.
    """
    if callable(expected):
        said = expected(answer)
        return (False, said) if isinstance(said, str) else (bool(said), "")
    if isinstance(expected, str) or not isinstance(expected, Collection):
        return _is(expected, answer, tolerance), ""
    return any(_is(each, answer, tolerance) for each in expected), ""


def plain(text: str) -> str:
    """A text as it is compared."""
    words = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return words.strip(string.punctuation + " «»“”„’‘…")


def as_number(text: str) -> float | None:
    """The number that somebody typed: with a comma or a point, as a fraction, with a unit; None where it is none."""
    found = _NUMBER.fullmatch(text.strip().replace("−", "-").replace(",", "."))
    if found is None:
        return None
    above, below = float(found["above"]), float(found["below"] or 1)
    return above / below if below and is_finite(above / below) else None


def _is(expected: str | float, answer: Answer, tolerance: float) -> bool:
    if isinstance(expected, str) and isinstance(answer, str):
        if found := _SEALED.fullmatch(expected):
            return hmac.compare_digest(_digest(answer, found[1]), found[2])
        return plain(expected) == plain(answer)
    if isinstance(expected, str) or isinstance(answer, str):
        return False
    return math.isclose(expected, answer, rel_tol=1e-6, abs_tol=max(tolerance, 1e-9))


def _digest(answer: str, salt: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", plain(answer).encode(), bytes.fromhex(salt), _ROUNDS).hex()
