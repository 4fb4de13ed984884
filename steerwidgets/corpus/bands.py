"""The bands of activations that examples are shown from."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from steerwidgets.corpus.numbers import lower_edge, nearest_edge

if TYPE_CHECKING:
    from steerwidgets.corpus.places import Keeping


def bands(maximum: float, keeping: Keeping) -> list[tuple[float, float]]:
    """About equal parts of the range from 0 to a feature's maximum, from the highest down.

    Their ends are those of cells (`Keeping.cell_bits`) next to the equal parts' own, since places are drawn from cells.
    """
    import numpy as np

    if not maximum > 0 or keeping.bands < 1:
        return []
    bits = keeping.cell_bits
    parts = np.arange(1, keeping.bands, dtype=np.float32) * np.float32(maximum) / np.float32(keeping.bands)
    ends = sorted({float(edge) for edge in lower_edge(nearest_edge(parts, bits), bits)} - {0.0})
    ends = [0.0, *(end for end in ends if end < maximum), float(maximum)]
    return list(itertools.pairwise(ends))[::-1]
