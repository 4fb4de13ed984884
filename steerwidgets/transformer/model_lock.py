"""The lock of a model: whoever runs it or steers it holds it, so that runs queue and never mix."""

from __future__ import annotations

import re
import threading
import weakref
from _thread import RLock
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import nn

_LOOK: Final = 0.5
"""Seconds between two looks at whether the holder still lives."""


class ModelLock(RLock):  # type: ignore[misc] # typeshed calls it final, and it is not
    """A re-entrant lock that knows its holder: whether that thread has ended, and whether it steers the model.

    It lets go in the interpreter's own code, which no Ctrl-C cuts short.
    """

    def __init__(self) -> None:
        super().__init__()
        self._holder: threading.Thread | None = None
        self._steering = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Hold it; whether it is held now.

        Args:
            blocking: whether to wait for others.
            timeout: for how many seconds; for ever where it is -1.

        Raises:
            RuntimeError: it would be waited for for ever.
        """
        was_mine, took = self.is_mine, False
        try:
            if not blocking or timeout >= 0:
                took = super().acquire(blocking, timeout)
            else:
                while not (took := super().acquire(timeout=_LOOK)):
                    self.refuse_dead_holder()
            if took:
                self._holder = threading.current_thread()
            return took  # noqa: TRY300 - a Ctrl-C may come at this line too
        except BaseException:  # after it was taken: nobody would let it go
            if took or self.is_mine is not was_mine:
                self.release()
            raise

    def __enter__(self, blocking: bool = True, timeout: float = -1) -> bool:
        return self.acquire(blocking, timeout)

    @property
    def _owner(self) -> int:
        """The ident of the thread that holds it, 0 where none does; only its text says so, and at no time wrongly."""
        found = re.search(r"owner=(\d+)", repr(self))
        return int(found[1]) if found else 0

    @property
    def is_mine(self) -> bool:
        """Whether this thread holds it."""
        return bool(self._is_owned())  # type: ignore[attr-defined]

    @property
    def is_steering(self) -> bool:
        """Whether this thread is inside `lm.steer(…)`."""
        return self.is_mine and self._steering > 0

    @contextmanager
    def steering(self) -> Iterator[None]:
        """While it lasts, the thread that holds the lock steers whatever it runs."""
        before = self._steering
        try:
            self._steering = before + 1
            yield
        finally:
            self._steering = before

    def refuse_dead_holder(self) -> None:
        """Refuse to wait for a thread that has ended.

        Raises:
            RuntimeError: such a thread holds the lock.
        """
        owner = self._owner
        if not owner or any(each.ident == owner for each in threading.enumerate()):
            return
        if self._owner != owner:  # it let go and ended between the two looks
            return
        name = self._holder.name if self._holder is not None and self._holder.ident == owner else str(owner)
        raise RuntimeError(
            f"The model is held by the thread {name!r}, which ended without letting it go (lm.lock.acquire() or "
            "lm.steer(…) without its end), so nobody can run it any more; restart the kernel, and hold it in `with` "
            "blocks only."
        )


_locks: Final[weakref.WeakKeyDictionary[nn.Module, ModelLock]] = weakref.WeakKeyDictionary()
_guard: Final = threading.Lock()


def model_lock(model: nn.Module) -> ModelLock:
    """The one lock of a model."""
    with _guard:
        return _locks.setdefault(model, ModelLock())
