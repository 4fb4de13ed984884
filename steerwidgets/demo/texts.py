"""Short texts on everyday concepts, written for this project, to fit concept vectors and mixtures on."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from steerwidgets.files.json_text import read_json

_FILE: Final = Path(__file__).parent / "concepts" / "texts.json"


def concept_texts() -> dict[str, list[str]]:
    """Texts by concept: sixteen concepts, and `neutral` for texts that are about none of them."""
    held = read_json(_FILE)
    return {concept: list(of["texts"]) for concept, of in held["concepts"].items()} | {"neutral": list(held["neutral"])}
