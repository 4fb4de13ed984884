"""The text of a heatmap: exact tokens, what each of them is, and which of them count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from steerwidgets.prompts import Token
from steerwidgets.widgets.packed import pack

FRAGMENT: Final = 1
SPECIAL: Final = 2
TEMPLATE: Final = 4
SINK: Final = 8
LEFT_OUT: Final = 16
"""Bits of a token's flags; the front-end has the same. LEFT_OUT: not counted, for a reason of the user's own."""


@dataclass(frozen=True)
class HeatText:
    """Tokens with what they are.

    Attributes:
        tokens: exact tokens, in order.
        flags: uint8 [position], what each is.
        has_ids: whether the tokens' ids mean anything.
    """

    tokens: tuple[Token, ...]
    flags: NDArray[np.uint8]
    has_ids: bool = True

    @classmethod
    def of(
        cls,
        tokens: Sequence[Token],
        *,
        special: Sequence[bool],
        template: Sequence[bool],
        sink: Sequence[bool],
    ) -> HeatText:
        """A text that a model has read; each of the sequences has one entry for each token."""
        columns = {
            FRAGMENT: [token.fragment for token in tokens],
            SPECIAL: special,
            TEMPLATE: template,
            SINK: sink,
        }
        flags = np.zeros(len(tokens), dtype=np.uint8)
        for bit, column in columns.items():
            flags |= np.asarray(column, dtype=np.uint8) * np.uint8(bit)
        return cls(tuple(tokens), flags)

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Bool [position]: no attention sinks, no special or template tokens."""
        found: NDArray[np.bool_] = (self.flags & ~np.uint8(FRAGMENT)) == 0
        return found

    def __len__(self) -> int:
        return len(self.tokens)

    def wire(self) -> dict[str, Any]:
        """As it travels: a column for each property."""
        ids = np.array([token.id for token in self.tokens], dtype=np.int32)
        return {
            "texts": [token.text for token in self.tokens],
            "ids": pack(ids) if self.has_ids else None,
            "flags": pack(self.flags),
        }

    def rows(self) -> list[dict[str, Any]]:
        """One plain object for each token."""
        return [
            {
                "position": position,
                "id": token.id if self.has_ids else None,
                "text": token.text,
                "fragment": token.fragment,
                "special": bool(flags & SPECIAL),
                "template": bool(flags & TEMPLATE),
                "sink": bool(flags & SINK),
                "counted": not flags & ~FRAGMENT,
            }
            for position, (token, flags) in enumerate(zip(self.tokens, self.flags.tolist(), strict=True))
        ]
