"""Where else a feature can be looked at."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.steer import Feature

_NEURONPEDIA: Final = "https://www.neuronpedia.org"
_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")


def feature_link(dictionary: Dictionary, feature: Feature) -> dict[str, str] | None:
    """A page about a feature, where its dictionary or the feature itself names one; http and https only.

    A `neuronpedia` entry of a dictionary's provenance is `model/source`, as `gemma-2-2b/20-gemmascope-res-16k`
    (`neuronpedia_id` in sae_lens' metadata); a concept of AxBench links the page that it was adapted from.
    """
    named = dictionary.provenance.get("neuronpedia", "")
    own = getattr(feature, "link", None)
    if _ID.fullmatch(named):
        address = f"{_NEURONPEDIA}/{quote(named)}/{feature.index}"
    elif isinstance(own, str):
        address = own
    else:
        return None
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return None
    return {"url": address, "name": "Neuronpedia" if parts.netloc.endswith("neuronpedia.org") else parts.netloc}
