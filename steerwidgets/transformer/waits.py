"""While a model elsewhere is waited for: who asked is told how its job stands, and may leave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final


class Left(Exception):  # noqa: N818 - it is an outcome, not an error
    """Raised where a job was waited for by somebody who has left; what it computes is dropped."""


@dataclass(frozen=True)
class Waiter:
    """Who waits.

    Attributes:
        told: is called with one sentence on how the job stands.
        has_left: whether the job is not wanted any more.
    """

    told: Callable[[str], object]
    has_left: Callable[[], bool]


_waiter: Final[ContextVar[Waiter | None]] = ContextVar("waiter", default=None)


def waiter() -> Waiter | None:
    """Who waits for what this thread asks of a model; None for code that only wants the result."""
    return _waiter.get()


@contextmanager
def waiting(who: Waiter) -> Iterator[None]:
    """What is asked of a model inside is waited for by somebody.

    Raises:
        Left: they left.
    """
    before = _waiter.set(who)
    try:
        yield
    finally:
        _waiter.reset(before)
