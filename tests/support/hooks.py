"""What hangs on a model: every hook of every module, and the user's own ones."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

_KINDS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_DETAILS = ("_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called")


def all_hooks(model: Any) -> dict[str, list[Any]]:
    """Every hook and its settings, by module and kind."""
    return {
        f"{name}.{kind}": list(getattr(module, kind).items())
        for name, module in model.named_modules()
        for kind in (*_KINDS, *_DETAILS)
        if getattr(module, kind)
    }


class UserHooks:
    """Hooks of the user's on every block, before and after, that count their calls."""

    def __init__(self, blocks: Any) -> None:
        self.before = self.after = 0
        self.handles = [block.register_forward_pre_hook(self._before) for block in blocks]
        self.handles += [block.register_forward_hook(self._after) for block in blocks]

    def _before(self, *_: Any) -> None:
        self.before += 1

    def _after(self, *_: Any) -> None:
        self.after += 1

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


def passes(lm: Any, work: Callable[[], Any]) -> tuple[Any, list[int]]:
    """What `work` returns, and how many positions each pass through the base model had meanwhile."""
    seen: list[int] = []
    hook = lm.architecture.base.register_forward_hook(
        lambda _m, _a, kwargs, _o: seen.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    try:
        return work(), seen
    finally:
        hook.remove()


def in_thread(work: Callable[[], Any], timeout: float = 60) -> Any:
    """What `work` returns, run in another thread; TimeoutError where it does not end, so that a deadlock fails."""
    box: dict[str, Any] = {}

    def run() -> None:
        try:
            box["value"] = work()
        except BaseException as error:
            box["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout)
    if thread.is_alive():
        raise TimeoutError(f"the thread did not end within {timeout} s: a deadlock")
    if "error" in box:
        raise box["error"]
    return box.get("value")
