"""What an answer to a hostile file is: a valid object, one clear sentence of ours, or something to be mended."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["fine", "clear", "raw", "wrapped", "quoted", "vague", "swallowed", "slow"]
GOOD: tuple[Kind, ...] = ("fine", "clear")

ALLOWED = (ValueError, FileNotFoundError, TypeError, OSError)
"""Classes that a loader says a fault of a file with; no subclass of a library's."""

SLOW_SECONDS = 60.0  # what a bomb takes; a busy machine may need some seconds for anything
LONGEST = 600
"""A sentence is not as long as what a file makes it."""

INTERNALS = re.compile(
    r"\b\w+(Error|Exception)\b|BadZipFile|[Uu]npickl|pickle data|Ran out of input|invalid load key|weights_only"
    r"|Unsupported (global|class|operand)|cannot reshape|broadcast|buffer (is )?(smaller|size)|out of bounds"
    r"|invalid literal|could not convert|subscriptable|object is not|object cannot|has no attribute|unexpected keyword"
    r"|positional argument|required keyword|must be real number|unhashable|not supported between|argument must be"
    r"|expected str|(list|string|tuple) ind(ices|ex)|NoneType|to unpack|[Rr]ecursion|mat1 and mat2|The size of tensor"
    r"|[Dd]imension out of range|can't be cast|not implemented for|array is too big|pickled data|not a valid GGUF"
    r"|[Oo]verflow|NaN to integer|<class '|<built-in|bytes-like|Expected .* got|was expected|size mismatch"
    r"|must be (str|int|a string|an integer)|only (integer|one element)|Too many dimensions|new\(\)|iterable"
    r"|Cannot specify|format string|__\w+__"
)
"""What Python, torch and numpy say of their own insides, whole or inside a sentence of ours."""

REASONS = re.compile(
    r"Expecting (value|property name|',' delimiter|':' delimiter)|Extra data|Unterminated string|\(char \d+\)"
    r"|Invalid (control character|\\?escape)|codec can't decode|invalid (start|continuation) byte"
    r"|unexpected end of data|while deserializing|HeaderToo|InvalidHeader|[Ii]ncomplete ?[Bb]uffer|InvalidOffset"
    r"|header too (small|large)|PytorchStreamReader|Invalid magic number|storage has|failed finding|file in archive"
    r"|not a ZIP archive|[Bb]ad magic|Bad CRC|incorrect (header|data) check|invalid (distance|stored|block|code)"
    r"|Magic string|GGUF magic|end-of-stream|Not a gzipped|\bzip file"
)
"""Why json, safetensors, zipfile, gzip and the like gave up, in their own words inside of our sentence."""


@dataclass(frozen=True)
class Case:
    """A hostile file.

    Attributes:
        loader: what reads it.
        name: what is wrong with it.
        load: writes it, and gives what loads and uses it.
        words: names of files and fields, of which a message has to say one.
        refused: whether an object made from it would be wrong, so that it has to be refused.
    """

    loader: str
    name: str
    load: Callable[[Any], Callable[[], Any]]
    words: tuple[str, ...]
    refused: bool


@dataclass(frozen=True)
class Answer:
    """How a case was answered."""

    case: Case
    kind: Kind
    text: str

    @property
    def good(self) -> bool:
        return self.kind in GOOD

    def __str__(self) -> str:
        return f"{self.case.loader}: {self.case.name}: {self.kind}: {self.text[:200]}"


def answer(case: Case, folder: Any) -> Answer:
    """Write a file, load it, use what was loaded, and judge."""
    work = case.load(folder)
    begun = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            work()
    except Exception as error:
        kind, why = judged(error, case.words)
        text = f"{type(error).__name__}: {error}" + (f" [{why}]" if why else "")
    else:
        kind, text = ("swallowed", "accepted") if case.refused else ("fine", "")
    taken = time.perf_counter() - begun
    if taken > SLOW_SECONDS and kind in GOOD:
        return Answer(case, "slow", f"{taken:.1f} s")
    return Answer(case, kind, text.replace("\n", "⏎"))


def judged(error: Exception, words: Sequence[str]) -> tuple[Kind, str]:
    """What an error is, and why it is not clear."""
    text = str(error)
    of_ours = type(error) in ALLOWED or type(error).__module__.startswith("steerwidgets")
    if not of_ours or not isinstance(error, ALLOWED) or not is_sentence(text):
        return "raw", "class" if not of_ours else "no sentence"
    if found := INTERNALS.search(text):
        return "wrapped", f"insides: {found[0]!r}"
    if found := REASONS.search(text):
        return "quoted", f"a library's words: {found[0]!r}"
    if not any(word and word.casefold() in text.casefold() for word in words):
        return "vague", "names neither file nor field"
    return "clear", ""


def is_sentence(text: str) -> bool:
    """One line that ends as a sentence, of a length that a person reads."""
    return 25 <= len(text) <= LONGEST and text.rstrip().endswith(".") and "\n" not in text and " " in text
