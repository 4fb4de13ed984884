"""How much of the work is done: all of it, or a small share, to try that every step runs.

`make dictionaries SHARE=0.01` sets `STEERWIDGETS_SHARE`, and every script that takes long reads, writes or trains so
much of what it would else. What comes out is no good, and it is written over the shipped files: try it in a clone of
its own.
"""

from __future__ import annotations

import os
from typing import Final

VARIABLE: Final = "STEERWIDGETS_SHARE"


def share() -> float:
    """The share that is asked for, above 0 and at most 1.

    Raises:
        ValueError: it is something else.
    """
    asked = os.environ.get(VARIABLE, "1")
    try:
        value = float(asked)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise ValueError(f"{VARIABLE} is the share of the work to do, above 0 and at most 1, but it is {asked!r}.")
    return value


def scaled(full: int, least: int = 1) -> int:
    """So much of a number, and never less than `least`."""
    return max(min(least, full), round(full * share()))
