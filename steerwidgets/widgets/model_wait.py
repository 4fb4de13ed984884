"""Holding a model for a request that stays cancellable while another run has it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from steerwidgets.widgets.protocol import Cancelled, Request


@contextmanager
def held_for(lock: threading.RLock, request: Request, on_wait: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold a model's lock; while another run has it, the page is told.

    Args:
        lock: the model's.
        request: for which.
        on_wait: called once where there is another run, before the page is told.

    Raises:
        Cancelled: the request was cancelled meanwhile.
    """
    if not lock.acquire(blocking=False):
        on_wait()
        request.progress(state="waiting")
        while not lock.acquire(timeout=0.05):
            if request.cancelled.is_set():
                raise Cancelled
    try:
        yield
    finally:
        lock.release()
