"""Requests from the front-end: every one ends in exactly one of result, error, cancelled.

Which thread a message arrives on depends on the version of ipykernel (main thread, subshell thread, even during a
cell), so handlers return at once and nothing here relies on a thread: slow work goes to one worker.
"""

from __future__ import annotations

import atexit
import functools
import queue
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from steerwidgets.transformer.model_lock import ModelLock

from steerwidgets.files.json_text import refuse_deep
from steerwidgets.files.shown import shown
from steerwidgets.transformer.waits import Left, Waiter, waiting

Send = Callable[[dict[str, Any]], None]

WAITING: Final = "Waiting for another run on this model."
IDLE: Final = 5.0
"""Seconds after its last job for which a worker's thread waits for another one."""


class Cancelled(Exception):  # noqa: N818 - it is an outcome, not an error
    """Raised in a handler to end its request as cancelled."""


class Request:
    """One request while it is served.

    Attributes:
        id: its name, given by the front-end.
        args: what came with it.
        cancelled: set when the front-end, or code, wants it to end.
        started: whether it is being served; one that still waits in the queue is cancelled on the spot.
    """

    def __init__(self, request_id: str, args: Mapping[str, Any], send: Send) -> None:
        self.id = request_id
        self.args = args
        self.cancelled = threading.Event()
        self.started = False
        self._send = send
        self._seq = 0

    def progress(self, **values: Any) -> None:
        """Tell how far it is."""
        self._stream("progress", values)

    def waits(self, sentence: str) -> None:
        """Tell what it waits for."""
        self.progress(state="waiting", said=sentence)

    def delta(self, **values: Any) -> None:
        """Send a part of the result."""
        self._stream("delta", values)

    def finish(self, outcome: str, **values: Any) -> None:
        """Send the one message that ends it."""
        self._send({"type": outcome, "id": self.id, **values})

    def _stream(self, kind: str, values: dict[str, Any]) -> None:
        self._send({"type": kind, "id": self.id, "seq": self._seq, **values})
        self._seq += 1


@dataclass(frozen=True)
class Handler:
    """What serves a kind of request; slow ones run in the worker, quick ones where the message arrives.

    Attributes:
        serve: gives the result.
        slow: whether it is slow, or what tells that from the request's args.
    """

    serve: Callable[[Request], dict[str, Any]]
    slow: bool | Callable[[Mapping[str, Any]], bool] = False


class Worker:
    """One thread that does jobs in order; it starts with a job and ends at `close`, or when there was none for a while.

    The thread does not end at once, since a slider gives a job every few milliseconds, and each thread that sends
    messages gets a socket from ipykernel. A job that fails does not end it: `on_error` is told.
    """

    def __init__(self, name: str, on_error: Callable[[BaseException], None], idle: float = IDLE) -> None:
        self._name = name
        self._on_error = on_error
        self._idle = idle
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()
        _workers.add(self)

    def submit(self, job: Callable[[], None]) -> None:
        """Do a job after those submitted before."""
        with self._guard:
            self._jobs.put(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End the thread once its jobs are done."""
        # Without the guard: a widget may be collected, and so closed, by whatever a thread does that holds it.
        self._jobs.put(None)

    def join(self, seconds: float) -> None:
        """Wait so long at most until the thread has ended."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def _work(self) -> None:
        while self._do_next():
            pass

    def _do_next(self) -> bool:
        """One job; whether there may be more. Between jobs nothing here keeps what they were about."""
        try:
            job = self._jobs.get(timeout=self._idle)
        except queue.Empty:
            return not self._has_ended()
        if job is None:
            return False
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - the worker outlives its jobs
            self._on_error(error)
        return True

    def _has_ended(self) -> bool:
        with self._guard:
            if self._jobs.empty():
                self._thread = None
            return self._thread is None


_begun: Final[weakref.WeakSet[Request]] = weakref.WeakSet()
_workers: Final[weakref.WeakSet[Worker]] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """End what runs: a thread that Python stops within torch, as it does as it ends, takes the process down with it."""
    for request in list(_begun):
        request.cancelled.set()
    workers, end = list(_workers), time.monotonic() + IDLE
    for worker in workers:
        worker.close()
    for worker in workers:
        worker.join(max(0.0, end - time.monotonic()))


@dataclass
class Protocol:
    """Serves requests by name and cancels them by id.

    Args:
        send: sends one message to the front-end.
        handlers: what serves which request.
        worker: where slow ones run.
        on_error: told of every exception, with the request's name.
    """

    send: Send
    handlers: Mapping[str, Handler]
    worker: Worker
    on_error: Callable[[str, BaseException], None] = lambda _name, _error: None
    running: dict[str, Request] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def receive(self, message: Any) -> None:
        """Take in one message; whatever it holds, nothing is raised."""
        request_id = message.get("id") if isinstance(message, Mapping) else None
        try:
            _refuse_deep(message)
        except _MalformedError as error:
            self.refuse(error, request_id if isinstance(request_id, str) else None)
            return
        try:
            self._dispatch(message)
        except _MalformedError as error:
            self.refuse(error, request_id)

    def refuse(self, error: ValueError, request_id: Any = None) -> None:
        """Tell the front-end why what it sent was not taken in."""
        self.send({"type": "error", "id": request_id, "error": described(error)})

    def cancel_all(self) -> None:
        """Ask every running request to end."""
        with self._guard:
            ids = list(self.running)
        for request_id in ids:
            self._cancel(request_id)

    @contextmanager
    def from_code(self) -> Iterator[Request]:
        """A run that code starts, which the page follows: it can be cancelled by its id, and ends in one outcome.

        Raises:
            Whatever is raised inside; the front-end is told of it as well.
        """
        request = Request(f"code-{uuid.uuid4().hex}", {}, self.send)
        self._open(request)
        request.started = True
        try:
            yield request
        except (Cancelled, KeyboardInterrupt):
            self._end(request, "cancelled")
            raise
        except BaseException as error:
            self._end(request, "error", error=described(error))
            raise
        if request.cancelled.is_set():
            self._end(request, "cancelled")
        else:
            self._end(request, "result", value={})

    def _dispatch(self, message: Any) -> None:
        kind, request_id = _kind_and_id(message)
        if kind == "cancel":
            self._cancel(request_id)
            return
        if kind == "ping":
            self.send({"type": "pong", "id": request_id})
            return
        name, args = message.get("name"), message.get("args", {})
        handler = self.handlers.get(name) if isinstance(name, str) else None
        if handler is None:
            raise _MalformedError(f"There is no request {shown(name)}; there are {', '.join(self.handlers)}.")
        if not isinstance(args, Mapping):
            raise _MalformedError(f"The args of {name!r} have to be an object, but {type(args).__name__} came.")
        request = Request(request_id, args, self.send)
        has_company = self._open(request)
        self.send({"type": "accepted", "id": request_id})
        if handler.slow(args) if callable(handler.slow) else handler.slow:
            if has_company:
                request.waits(WAITING)
            self.worker.submit(functools.partial(self._serve, str(name), handler, request))
        else:
            self._serve(str(name), handler, request)

    def _open(self, request: Request) -> bool:
        """Take a request in; whether others are running."""
        with self._guard:
            if request.id in self.running:
                raise _MalformedError(
                    f"The request {shown(request.id)} is running already; every request needs its own id."
                )
            has_company = bool(self.running)
            self.running[request.id] = request
            _begun.add(request)
        return has_company

    def _cancel(self, request_id: str) -> None:
        with self._guard:
            request = self.running.get(request_id)
            if request is None:
                return
            request.cancelled.set()
            is_waiting = not request.started
        if is_waiting:
            self._end(request, "cancelled")

    def _serve(self, name: str, handler: Handler, request: Request) -> None:
        with self._guard:
            if self.running.get(request.id) is not request:
                return
            request.started = True
        try:
            value = handler.serve(request)
        except Cancelled:
            self._end(request, "cancelled")
        except BaseException as error:  # noqa: BLE001 - it reaches the reader as a sentence, and never kills the kernel
            self.on_error(name, error)
            self._end(request, "error", error=described(error))
        else:
            self._end(request, "result", value=value)

    def _end(self, request: Request, outcome: str, **values: Any) -> None:
        with self._guard:
            if self.running.pop(request.id, None) is None:
                return
        request.finish(outcome, **values)


class _MalformedError(ValueError):
    pass


def _refuse_deep(message: Any) -> None:
    """Refuse a message that is nested too deep, before anything goes through it that would run out of stack."""
    try:
        refuse_deep(message, "A message")
    except ValueError as error:
        raise _MalformedError(str(error)) from None


def _kind_and_id(message: Any) -> tuple[str, str]:
    if not isinstance(message, Mapping):
        raise _MalformedError(f"A message is an object, but {type(message).__name__} came.")
    kind, request_id = message.get("type"), message.get("id")
    if kind not in ("request", "cancel", "ping"):
        raise _MalformedError(f"A message's type is request, cancel or ping, but {shown(kind)} came.")
    if not isinstance(request_id, str) or not request_id:
        raise _MalformedError(f"A {kind} needs an id, a string, but {shown(request_id)} came.")
    return kind, request_id


def described(error: BaseException) -> dict[str, str]:
    """An exception as a person reads it: a KeyError's own text is quoted, an empty one says nothing."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    kind = "BadRequest" if isinstance(error, _MalformedError) else type(error).__name__
    expected = isinstance(error, ValueError | TypeError | KeyError | IndexError | OSError) and text
    return {"message": text if expected else f"{kind}: {text}".rstrip(": "), "kind": kind}


@contextmanager
def held_for(lock: ModelLock, request: Request, on_wait: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold a model's lock; while another run has it, or its job waits elsewhere, the page is told.

    Args:
        lock: the model's.
        request: for which.
        on_wait: called once where there is another run, before the page is told.

    Raises:
        Cancelled: the request was cancelled meanwhile.
        RuntimeError: the lock is held by a thread that has ended.
    """
    if not lock.acquire(blocking=False):
        on_wait()
        request.waits(WAITING)
        while not lock.acquire(timeout=0.05):
            if request.cancelled.is_set():
                raise Cancelled
            lock.refuse_dead_holder()
    try:
        with waiting(Waiter(request.waits, request.cancelled.is_set)):
            yield
    except Left:
        raise Cancelled from None
    finally:
        lock.release()
