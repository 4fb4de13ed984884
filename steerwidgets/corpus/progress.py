"""How far a run over a corpus is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from steerwidgets.corpus.texts import Read


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        stage: `skipping` counts texts that an earlier run read, `reading` counts tokens where `max_tokens` was given
            and texts otherwise, `directions` counts features.
        done: how many are done.
        of: how many there will be; None where nobody knows.
        tokens: how many tokens of the texts' own have been read, earlier runs included.
        seconds_left: about how long it still takes; None where nobody knows.
    """

    stage: Literal["skipping", "reading", "directions"]
    done: int
    of: int | None
    tokens: int
    seconds_left: float | None = None


OnProgress = Callable[[Progress], None]


@dataclass
class Pace:
    """Works out how long reading still takes.

    Attributes:
        texts: how many texts there are; None where nobody knows.
        max_tokens: how many tokens are wanted; None for all.
        read: how much was read when the last window ended.
        tokens: how many tokens were read by now.
    """

    texts: int | None
    max_tokens: int | None
    read: Read
    tokens: int = 0
    _begun: float = field(default_factory=time.monotonic)
    _first: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        self.tokens = self.read.tokens
        self._first = (self.read.texts, self.read.tokens)

    def progress(self, texts: int) -> Progress:
        """Where we are, with so many texts done."""
        wanted = self.max_tokens if self.max_tokens is not None else self.texts
        done = self.tokens if self.max_tokens is not None else texts
        # Texts of the window that is being read count by its share of tokens as yet unknown: tokens tell the speed.
        new = done - (self._first[1] if self.max_tokens is not None else self._first[0])
        left = None
        if wanted is not None and new > 0:
            left = max(0.0, (wanted - done) * (time.monotonic() - self._begun) / new)
        return Progress("reading", min(done, wanted) if wanted is not None else done, wanted, self.tokens, left)


class Bar:
    """A tqdm bar, which the progress of a run moves."""

    def __init__(self) -> None:
        self._shown: Any = None
        self._stage = ""

    def __call__(self, progress: Progress) -> None:
        """Show how far the run is."""
        from tqdm.auto import tqdm

        if progress.stage != self._stage:
            self.close()
            self._stage = progress.stage
            self._shown = tqdm(total=progress.of, desc=progress.stage, unit_scale=True)
        self._shown.set_postfix_str(f"{progress.tokens:,} tokens", refresh=False)
        self._shown.update(progress.done - self._shown.n)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._shown is not None:
            self._shown.close()
