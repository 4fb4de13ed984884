"""What a lens is asked to read, and how it says how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.recipe import Recipe
from steerwidgets.widgets.protocol import Cancelled, Request

if TYPE_CHECKING:
    from steerwidgets.layer_lens import LayerLens
    from steerwidgets.model import LanguageModel
    from steerwidgets.prompts import PromptLike

STREAMS: Final = {
    "resid_post": "residual after block",
    "resid_pre": "residual before block",
    "attn_out": "attention out",
    "mlp_out": "MLP out",
}
_TELLING: Final = 0.1
"""Seconds between two words to the page about how far a reading is."""


@dataclass(frozen=True)
class Asked:
    """What a lens is read of."""

    prompt: PromptLike = ""
    chat: bool = False
    stream: str = "resid_post"
    recipe: Recipe = field(default_factory=Recipe)
    k: int = 10
    tracked: tuple[int | str, ...] = ()

    @property
    def is_nothing(self) -> bool:
        """Whether there is no text."""
        return isinstance(self.prompt, str) and not self.prompt

    def read(self, lm: LanguageModel, on_progress: Callable[[int, int], None] | None = None) -> LayerLens | None:
        """The lens; None where there is no text."""
        if self.is_nothing:
            return None
        return lm.logit_lens(
            self.prompt,
            self.recipe if len(self.recipe) else None,
            chat=self.chat,
            k=self.k,
            stream=self.stream,
            track=self.tracked,
            on_progress=on_progress,
        )


def teller(request: Request) -> Callable[[int, int], None]:
    """Tells the page how far a reading is, now and then, and ends it once it is cancelled."""
    last = time.monotonic()

    def tell(done: int, of: int) -> None:
        nonlocal last
        if request.cancelled.is_set():
            raise Cancelled
        if time.monotonic() - last > _TELLING:
            last = time.monotonic()
            request.progress(done=done, of=of)

    return tell


def source_of(prompt: Any) -> str:
    """What was read, where it was no text: `12 token ids`."""
    items = list(prompt)
    kind = "message" if items and isinstance(items[0], Mapping) else "token id"
    return f"{len(items)} {kind}{'' if len(items) == 1 else 's'}"
