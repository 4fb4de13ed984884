"""The lock of a model: whoever runs it or steers it holds it, so that runs queue and never mix."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import nn

_LOOK: Final = 0.5
"""Seconds between two looks at whether the holder still lives."""


class ModelLock:
    """A re-entrant lock that knows its holder: whether that thread has ended, and whether it steers the model."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._holder: threading.Thread | None = None
        self._depth = 0
        self._steering = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Hold it; whether it is held now.

        Args:
            blocking: whether to wait for others.
            timeout: for how many seconds; for ever where it is -1.

        Raises:
            RuntimeError: it would be waited for for ever.
        """
        if not blocking or timeout >= 0:
            took = self._lock.acquire(blocking, timeout)
        else:
            while not (took := self._lock.acquire(timeout=_LOOK)):
                self.refuse_dead_holder()
        if took:
            self._depth += 1
            self._holder = threading.current_thread()
        return took

    def release(self) -> None:
        """Let it go, as often as it was taken."""
        if self.is_mine:
            self._depth -= 1
            if not self._depth:
                # Before it is let go: who takes it next is known a moment later, and meanwhile nobody holds it.
                self._holder = None
        self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    @property
    def is_mine(self) -> bool:
        """Whether this thread holds it."""
        return bool(self._lock._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001 - as threading.Condition asks it

    @property
    def is_steering(self) -> bool:
        """Whether this thread is inside `lm.steer(…)`."""
        return self.is_mine and self._steering > 0

    @contextmanager
    def steering(self) -> Iterator[None]:
        """While it lasts, the thread that holds the lock steers whatever it runs."""
        self._steering += 1
        try:
            yield
        finally:
            self._steering -= 1

    def refuse_dead_holder(self) -> None:
        """Refuse to wait for a thread that has ended.

        Raises:
            RuntimeError: such a thread holds the lock.
        """
        holder = self._holder
        # The second look: it may have let go and ended between the first two.
        if holder is None or holder.is_alive() or self._holder is not holder:
            return
        raise RuntimeError(
            f"The model is held by the thread {holder.name!r}, which ended without letting it go (lm.lock.acquire() or "
            "lm.steer(…) without its end), so nobody can run it any more; restart the kernel, and hold it in `with` "
            "blocks only."
        )


_locks: Final[weakref.WeakKeyDictionary[nn.Module, ModelLock]] = weakref.WeakKeyDictionary()
_guard: Final = threading.Lock()


def model_lock(model: nn.Module) -> ModelLock:
    """The one lock of a model."""
    with _guard:
        return _locks.setdefault(model, ModelLock())
