"""Malformed, reordered, doubled and oversized messages to every widget, drawn from a seed; and what they leave.

Every request that has an id of its own is ended by exactly one result, error or cancelled; afterwards the widget's
worker serves a good request, and no thread is left once it is closed.

By hand: `python tests/torture/messages.py 10000 [seed] [widget …]`.
"""

from __future__ import annotations

import collections
import copy
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from hostile.mutations import JUNK
from support import models, pages, toks
from widgets.front_end import ENDS, FrontEnd

import steerwidgets as sw

BIG = "x" * 300_000
AT_ONCE = 12
"""Requests that are sent before anybody waits for an answer."""


class Siege:
    """Sends messages to one widget.

    Args:
        name: of the widget, as `support.pages` calls it.
        seed: of the messages.
        lm: the model.
    """

    def __init__(self, name: str, seed: int, lm: sw.LanguageModel) -> None:
        self.name, self._drawn = name, random.Random(f"{name} {seed}")
        self.widget = pages.make(name, lm)
        self.page = FrontEnd(self.widget)
        self.requests = sorted(self.widget._protocol.handlers)
        self.traits = sorted(set(self.widget.keys) - {"_esm", "_css", "_program", "layout", "comm"})
        self._state = copy.deepcopy(self.widget.get_state())
        self.sent: collections.Counter[str] = collections.Counter()
        self._number = 0

    def findings(self, count: int) -> Iterator[str]:
        """Send so many messages; what went wrong."""
        while sum(self.sent.values()) < count:
            self.page.log.clear()
            asked = []
            for _ in range(min(AT_ONCE, count - sum(self.sent.values()))):
                try:
                    asked += self._send()
                except Exception as error:
                    yield f"{self.name}: a message raised {type(error).__name__}: {str(error)[:200]}"
            for request in asked:
                try:
                    self.page.end(request, within=60)
                except AssertionError:
                    yield f"{self.name}: {request} was never answered"
            ends = collections.Counter(str(m["id"]) for m in self.page.messages if m["type"] in ENDS)
            yield from (f"{self.name}: {each} was answered {ends[each]} times" for each in asked if ends[each] > 1)
        answer = self.page.call("export_html")
        if answer["type"] != "result":
            yield f"{self.name}: afterwards no file could be made: {answer}"

    def close(self) -> Iterator[str]:
        """Close the widget; the threads that stay."""
        name = f"{type(self.widget).__name__}-worker"
        self.widget.close()
        deadline = time.monotonic() + 10
        while (left := [each for each in threading.enumerate() if each.name == name]) and time.monotonic() < deadline:
            time.sleep(0.02)
        yield from (f"{self.name}: the thread {each.name} stayed" for each in left)

    def _send(self) -> list[str]:
        """One message; the ids of which an end has to come."""
        kind = self._drawn.choices(
            ("request", "malformed", "doubled", "cancel", "trait", "oversized"), (8, 4, 2, 3, 4, 1)
        )[0]
        self.sent[kind] += 1
        if kind == "malformed":
            self.page.send(self._drawn.choice(self._malformed()))
            return []
        if kind == "trait":
            # Any value, of a trait that the page may write; what does not fit its type is refused by traitlets.
            name = self._drawn.choice(self.traits)
            value = self._junk() if self._drawn.random() < 0.7 else copy.deepcopy(self._state.get(name))
            self.page.update(**{name: value})
            return []
        if kind == "cancel":
            self.page.cancel(f"torture-{self._drawn.randint(0, self._number + 1)}")
            return []
        self._number += 1
        request = f"torture-{self._number}"
        message = {"type": "request", "id": request, "name": self._drawn.choice(self.requests), "args": self._args()}
        if kind == "oversized":
            field = self._drawn.choice(("prompt", "query", "text", "note"))
            message["args"] = {field: BIG[: self._drawn.randint(1, len(BIG))]}
            message["name"] = self._drawn.choice([each for each in self.requests if each not in SLOW_WITH_TEXT])
        self.page.send(message)
        if kind == "doubled":
            self.page.end(request, within=60)  # the id is free again: it has to be served once more
            self.page.log[:] = [entry for entry in self.page.log if entry[1].get("id") != request]
            self.page.send(message)
        return [request]

    def _args(self) -> dict[str, Any]:
        names = ("prompt", "query", "limit", "offset", "index", "key", "steers", "settings", "positions", "watched")
        names += ("run", "step", "text", "value", "do", "layer", "position", "token", "features", "mode", "note")
        return {name: self._junk() for name in self._drawn.sample(names, self._drawn.randint(0, 6))}

    def _junk(self) -> Any:
        return copy.deepcopy(self._drawn.choice(JUNK)[1])

    def _malformed(self) -> list[Any]:
        deep: Any = []
        for _ in range(500):
            deep = [deep]
        return [
            None,
            7,
            "text",
            [],
            {},
            {"type": self._junk()},
            {"type": "request", "id": self._junk()},
            {"type": "request", "name": self._junk(), "id": "malformed"},
            {"type": "request", "name": self._drawn.choice(self.requests), "id": self._junk(), "args": self._junk()},
            {"type": "cancel", "id": self._junk()},
            {"type": "request", "name": deep, "id": "deep", "args": deep},
        ]


SLOW_WITH_TEXT = ("generate", "read", "sweep", "run", "show", "try", "find", "fires")
"""A text of 300,000 characters is read by the model in these, which is what was asked and not what is attacked."""


def tiny() -> sw.LanguageModel:
    return sw.LanguageModel(models.make("llama", max_position_embeddings=4096), toks.byte_level())


def main() -> None:
    torch.set_num_threads(1)
    count, *rest = sys.argv[1:] or ["10000"]
    seed = int(rest.pop(0)) if rest and rest[0].isdecimal() else 0
    found = 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["STEERWIDGETS_DATA"] = folder
        for name in rest or pages.WIDGETS:
            begun = time.perf_counter()
            siege = Siege(name, seed, tiny())
            told = [*siege.findings(int(count)), *siege.close()]
            print(f"{name:<24}{sum(siege.sent.values()):>7} messages, {len(told)} findings,", end=" ")
            print(f"{time.perf_counter() - begun:.0f} s; " + ", ".join(f"{v} {k}" for k, v in siege.sent.items()))
            print(*told, sep="\n", flush=True)
            found += len(told)
    if found:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
