"""A loaded model with what every verb needs of it: tokenizer, parts, lock."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.transformer import prompts
from steerwidgets.transformer.architecture import Architecture
from steerwidgets.transformer.layout import Known

if TYPE_CHECKING:
    from torch import nn

_locks: Final[weakref.WeakKeyDictionary[nn.Module, threading.RLock]] = weakref.WeakKeyDictionary()
_locks_guard: Final = threading.Lock()


class Engine:
    """A model, its tokenizer and its parts. Two engines of one model share one re-entrant lock."""

    def __init__(self, model: Any, tokenizer: Any, architecture: Architecture) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.architecture = architecture
        self.special_ids = prompts.special_ids(tokenizer)
        self.lock = model_lock(model)

    @property
    def end_ids(self) -> frozenset[int]:
        """The ids that end a text or a turn, from the model's generation settings, its config and the tokenizer."""
        sources = (getattr(self.model, "generation_config", None), self.model.config, self.tokenizer)
        return frozenset(i for source in sources for i in _as_ids(getattr(source, "eos_token_id", None)))

    def refuse_held_lock(self) -> None:
        """Refuse to wait for a worker thread while this thread holds the model: both would wait for ever.

        Raises:
            RuntimeError: this thread is inside `lm.steer(…)` or holds `lm.lock`.
        """
        if self.lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001 - as threading.Condition asks it
            raise RuntimeError(
                "The model is held by this thread (a `with lm.steer(…)` block, or lm.lock), and streaming runs it in "
                "another one; leave the block first, and give the recipe to lm.stream(…) instead."
            )

    def known(self, rows: Iterable[prompts.Prompt]) -> Known:
        """What is known of a batch that begins with these prompts."""
        rows = tuple(rows)
        template = tuple(tuple(i for i, is_template in enumerate(row.template) if is_template) for row in rows)
        return Known(self.special_ids, tuple(len(row) for row in rows), template)


def model_lock(model: nn.Module) -> threading.RLock:
    """The lock of a model: whoever runs it or steers it holds it, so that runs queue and never mix."""
    with _locks_guard:
        return _locks.setdefault(model, threading.RLock())


def _as_ids(value: Any) -> list[int]:
    if value is None:
        return []
    return [int(value)] if isinstance(value, int) else [int(i) for i in value]
