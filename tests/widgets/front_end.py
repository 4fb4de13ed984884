"""The other end of a widget's comm: sends what a page sends, keeps what a page would get, in the form of the wire."""

from __future__ import annotations

import copy
import itertools
import json
import threading
import time
from collections.abc import Callable
from typing import Any

ENDS = ("result", "error", "cancelled")
PATIENCE = 30.0


class FrontEnd:
    """Stands in for the page of one widget.

    Attributes:
        log: everything that was published, in order: `("message", content)` and `("state", traits)`.
    """

    def __init__(self, widget: Any) -> None:
        self.log: list[tuple[str, dict[str, Any]]] = []
        self._news = threading.Condition()
        self._widget = widget
        self._counter = itertools.count(1)
        widget.comm.publish_msg = self._publish

    def _publish(self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **_: Any) -> None:
        if msg_type != "comm_msg":
            return
        json.dumps(data, allow_nan=False)  # what a page could not parse must never be sent
        data = copy.deepcopy(data)
        entry = ("message", data["content"]) if data["method"] == "custom" else ("state", data["state"])
        with self._news:
            self.log.append(entry)
            self._news.notify_all()

    # What a page sends

    def send(self, content: Any) -> None:
        """One custom message, whatever it holds."""
        self._deliver({"method": "custom", "content": content})

    def update(self, **state: Any) -> None:
        """Traits that the page has changed."""
        self._deliver({"method": "update", "state": state, "buffer_paths": []})

    def _deliver(self, data: dict[str, Any]) -> None:
        self._widget.comm.handle_msg({"content": {"comm_id": "", "data": data}, "buffers": [], "metadata": {}})

    def ask(self, name: str, **args: Any) -> str:
        """Send a request; its id."""
        request_id = f"request-{next(self._counter)}"
        self.send({"type": "request", "id": request_id, "name": name, "args": args})
        return request_id

    def cancel(self, request_id: str) -> None:
        """Cancel a request."""
        self.send({"type": "cancel", "id": request_id})

    # What came back

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The custom messages so far."""
        with self._news:
            return [content for kind, content in self.log if kind == "message"]

    @property
    def states(self) -> list[dict[str, Any]]:
        """The trait updates so far."""
        with self._news:
            return [state for kind, state in self.log if kind == "state"]

    def of(self, request_id: str, *types: str) -> list[dict[str, Any]]:
        """The messages of one request, of some types or all."""
        return [m for m in self.messages if m["id"] == request_id and (not types or m["type"] in types)]

    def wait(self, condition: Callable[[], Any], what: str, within: float = PATIENCE) -> Any:
        """Wait for something to become true, looking again after everything that is published."""
        deadline = time.monotonic() + within
        while not (value := condition()):
            with self._news:
                if time.monotonic() > deadline:
                    tail = "\n".join(str(entry)[:300] for entry in self.log[-8:])
                    raise AssertionError(f"Waited {within:g} s for {what}. Last published:\n{tail}")
                self._news.wait(0.02)
        return value

    def end(self, request_id: str, within: float = PATIENCE) -> dict[str, Any]:
        """Wait for the one message that ends a request."""
        return self.wait(lambda: self.of(request_id, *ENDS), f"the end of {request_id}", within)[0]

    def call(self, name: str, **args: Any) -> dict[str, Any]:
        """Ask and wait: the ending message."""
        return self.end(self.ask(name, **args))

    def first_delta(self, request_id: str) -> dict[str, Any]:
        """Wait until text streams."""
        return self.wait(lambda: self.of(request_id, "delta"), f"text of {request_id}")[0]


def joined(deltas: list[dict[str, Any]], rows: int = 2) -> list[list[int]]:
    """The token ids that deltas add up to; each has to start where the last one ended."""
    ids: list[list[int]] = [[] for _ in range(rows)]
    for delta in deltas:
        for part in delta["rows"]:
            assert part["start"] == len(ids[part["row"]])
            ids[part["row"]] += [token["id"] for token in part["tokens"]]
    return ids
