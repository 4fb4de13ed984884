"""Lines of text with activations, as a feature card shows them: packed for the wire, and plain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from steerwidgets.widgets.arrays import exact, pack, unpack
from steerwidgets.widgets.tokens import FRAGMENT, SPECIAL

if TYPE_CHECKING:
    from steerwidgets.model import LanguageModel


@dataclass(frozen=True)
class Line:
    """A text with an activation for each token.

    Attributes:
        token_ids: the text.
        values: an activation for each of its tokens.
        peak: the token that the line is about.
        source: where the text is from.
        flags: why a token does not count, a byte for each; by default special tokens are marked.
        more: what else belongs to it, as JSON.
    """

    token_ids: Sequence[int]
    values: Sequence[float]
    peak: int
    source: str = ""
    flags: Sequence[int] | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


def lines_json(lm: LanguageModel, lines: Sequence[Line]) -> dict[str, Any]:
    """Lines as they travel: every distinct token's text once, then ids and values of all lines one after the other."""
    ids = [token for line in lines for token in line.token_ids]
    known = sorted(set(ids))
    tokens = lm.tokens(known)
    place = {token: at for at, token in enumerate(known)}
    special = lm.special_ids
    bits = [bit for line in lines for bit in line.flags or [SPECIAL * (token in special) for token in line.token_ids]]
    flags = [bit | FRAGMENT * tokens[place[token]].fragment for token, bit in zip(ids, bits, strict=True)]
    kind = np.uint8 if len(known) <= 1 << 8 else np.uint16 if len(known) <= 1 << 16 else np.uint32
    values = np.array([value for line in lines for value in line.values], dtype=np.float32)
    return {
        "vocabulary": {"ids": pack(np.array(known, dtype=np.int32)), "texts": [token.text for token in tokens]},
        "tokens": pack(np.array([place[token] for token in ids], dtype=kind)),
        "values": pack(values),
        "flags": pack(np.array(flags, dtype=np.uint8)),
        "lines": [
            {"length": len(line.token_ids), "peak": line.peak, "source": line.source, **line.more} for line in lines
        ],
    }


def plain_lines(wire: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The same lines with their tokens written out."""
    ids, texts = unpack(wire["vocabulary"]["ids"]), wire["vocabulary"]["texts"]
    columns = [unpack(wire[name]) for name in ("tokens", "values", "flags")]
    found, start = [], 0
    for line in wire["lines"]:
        end = start + line["length"]
        rows = zip(*(column[start:end].tolist() for column in columns), strict=True)
        tokens = [
            {
                "id": int(ids[at]),
                "text": texts[at],
                "fragment": bool(flags & FRAGMENT),
                "counted": not flags & ~FRAGMENT,
                "value": exact(value),
            }
            for at, value, flags in rows
        ]
        found.append({**{name: value for name, value in line.items() if name != "length"}, "tokens": tokens})
        start = end
    return found
