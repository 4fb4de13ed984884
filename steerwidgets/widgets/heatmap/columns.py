"""The features of a heatmap as the front-end reads them, and where their colour scales end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from steerwidgets.steering.recipe import Direction, Feature
from steerwidgets.widgets.arrays import exact

if TYPE_CHECKING:
    from steerwidgets.dictionaries.base import Dictionary

MOST: Final = 6
"""Features that are shown at once: as many as there are colours that stay apart."""

SCALES: Final = ("auto", "p99.5", "maximum", "text")
"""Where a colour scale can end, besides at a number."""


_NO_ZERO: Final = "not known: no texts without it were read"


def feature_column(feature: Direction, dictionary: Dictionary, values: NDArray[np.float32]) -> dict[str, Any]:
    """A feature with what is known of its activations.

    Args:
        feature: what was read.
        dictionary: which knows who wrote the label, where the feature is its own.
        values: float32 [position], its activations at the tokens that count.
    """
    column = array_column(feature.key, feature.label, values)
    column |= {
        "kind": feature.kind,
        "layer": feature.site.layer,
        "stream": feature.site.stream,
        "signed": column["signed"] or feature.signed,
        **zero_of_scale(feature),
    }
    if not isinstance(feature, Feature):
        return column
    column |= {
        "index": feature.index,
        "p995": _positive(feature.p995_activation),
        "maximum": _positive(feature.max_activation),
        "corpus": feature.max_activation_of,
        "label_source": feature.label_source,
    }
    if column["zero"] is not None:
        finite = values[np.isfinite(values)]
        column["largest"] = exact(finite.max()) if finite.size else 0.0
    if feature.dictionary == dictionary.fingerprint:
        authors = [label.author for label in dictionary.labels_of(feature.index)[:1]]
        column["label_author"] = authors[0] if authors else "unknown"
    return column


def array_column(key: str, label: str, values: NDArray[np.float32]) -> dict[str, Any]:
    """A column of which only this text is known."""
    finite = values[np.isfinite(values)]
    return {
        "key": key,
        "label": label,
        "label_source": "",
        "label_author": "unknown",
        "kind": "",
        "layer": None,
        "stream": "",
        "index": None,
        "signed": bool((finite < 0).any()),
        "p995": None,
        "maximum": None,
        "zero": None,
        "zero_of": "",
        "corpus": None,
        "largest": exact(np.abs(finite).max()) if finite.size else 0.0,
    }


def zero_of_scale(feature: Direction) -> dict[str, Any]:
    """Where a feature's colour scale begins, and what that value is; None where it begins at 0.

    Below that value nothing is coloured: a scale that begins at what texts without the feature give has one end. A
    projection has no zero by itself, so where no such texts were read that is said.
    """
    zero = feature.zero_activation if isinstance(feature, Feature) and feature.signed else None
    if isinstance(feature, Feature) and zero is not None and math.isfinite(zero):
        return {"zero": zero, "zero_of": feature.zero_of}
    return {"zero": None, "zero_of": _NO_ZERO if feature.signed and feature.reads_projection else ""}


def end_of_scale(column: Mapping[str, Any], domain: str | float) -> tuple[float, str]:
    """The value at full colour and what it is, as the front-end shows it; not above its zero where nothing fires."""
    if not isinstance(domain, str):
        return domain, "fixed"
    corpus, zero = column["corpus"] or "its corpus", column["zero"] or 0.0
    if domain in ("auto", "p99.5") and column["p995"] and column["p995"] > zero:
        return column["p995"], f"99.5th percentile over {corpus}"
    if domain in ("auto", "maximum") and column["maximum"] and column["maximum"] > zero:
        return column["maximum"], f"maximum over {corpus}"
    return column["largest"], "largest in this text"


def _positive(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) and value > 0 else None
