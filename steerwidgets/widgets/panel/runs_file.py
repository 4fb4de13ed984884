"""A panel's runs as a file holds them, read back: checked whole before any of them is taken."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from steerwidgets.files.fields import Fields, is_finite, is_text, is_whole
from steerwidgets.files.json_text import parse_json
from steerwidgets.files.shown import shown
from steerwidgets.generation.sampling import Sampling
from steerwidgets.steering.recipe import FORMATS as RECIPES
from steerwidgets.widgets.recipe_editor.inputs import checked_turn

FORMAT: Final = "steerwidgets.runs/1"
_FAMILY: Final = FORMAT.partition("/")[0]
_AGAIN: Final = "export the runs again"
_LONGEST_NAME: Final = 80


def read(text: str | bytes, what: str = "the text") -> list[dict[str, Any]]:
    """The runs of an exported history, the oldest first.

    Args:
        text: JSON as `history.to_json()` or "Export runs" wrote it.
        what: what it is called in messages.

    Raises:
        ValueError: it is none, or damaged, or of another version.
    """
    value = parse_json(text, f"This is no history of runs: {what}", todo="copy the whole text")
    found = value.get("format") if isinstance(value, Mapping) else None
    if found in RECIPES:
        raise ValueError("This is a recipe, not a history of runs; import it with Recipe, or panel.load.")
    if isinstance(found, str) and found != FORMAT and found.partition("/")[0] == _FAMILY:
        raise ValueError(
            f"These runs are of another version, {shown(found)}, and this one reads {FORMAT!r}; update steerwidgets, "
            f"or {_AGAIN}."
        )
    if found != FORMAT:
        said = shown(found) if isinstance(value, Mapping) else shown(value)
        raise ValueError(f"This is no history of runs: its format should be {FORMAT!r}, but it is {said}; {_AGAIN}.")
    runs = Fields(value, "In these runs", todo=_AGAIN).items("runs", of="runs")
    entries = [_entry(Fields(run, f"In run {number} of {what}", todo=_AGAIN)) for number, run in enumerate(runs, 1)]
    ids = [entry["id"] for entry in entries]
    if len(set(ids)) < len(ids):
        twice = next(each for at, each in enumerate(ids) if each in ids[:at])
        raise ValueError(f"In these runs, the id {shown(twice)} stands twice; {_AGAIN}.")
    return entries


def _entry(said: Fields) -> dict[str, Any]:
    """A run as the trait holds it, and nothing else that the file says of it."""
    rows = [_row(Fields(row, said.where, todo=_AGAIN, within="rows.")) for row in said.items("rows", of="rows")]
    names = [row["name"] for row in rows]
    if not {"baseline", "steered"} <= set(names) or len(set(names)) < len(names):
        raise said.wrong("rows", "baseline, steered and what stood beside them, each once")
    return {
        "id": _short(said, "id"),
        "number": said.whole("number", low=1),
        "name": said.text("name", "").strip()[:_LONGEST_NAME],
        "pinned": said.flag("pinned", default=False),
        "at": _time(said),
        "prompt": said.text("prompt"),
        "chat": said.flag("chat"),
        "system": said.text("system", ""),
        "turns": [checked_turn(turn) for turn in said.items("turns", [], of="messages")],
        "settings": Sampling.of(said.inner("settings").table).to_json(),
        "recipe": _recipe(said),
        "said": said.text("said", "")[:300],
        "rows": rows,
        "divergence": said.whole("divergence", None, low=0),
        "kl": said.items("kl", None, of="finite numbers", each=is_finite),
    }


def _row(said: Fields) -> dict[str, Any]:
    ids = said.items("ids", of="whole numbers", each=is_whole)
    texts = said.items("texts", of="texts", each=is_text)
    fragments = said.items("fragments", of="whole numbers", each=is_whole)
    if len(texts) != len(ids):
        raise said.wrong("texts", f"{len(ids)} texts, one for each of ids")
    if not set(fragments) <= set(range(len(ids))):
        raise said.wrong("fragments", "places of tokens")
    return {
        "name": _short(said, "name"),
        "text": said.text("text"),
        "ended": said.text("ended", None),
        "forked": said.whole("forked", None, low=0),
        "kl": said.number("kl", None),
        "ids": ids,
        "texts": texts,
        "fragments": fragments,
    }


def _short(said: Fields, name: str) -> str:
    value = said.text(name)
    if not 0 < len(value) <= _LONGEST_NAME:
        raise said.wrong(name, f"a text of 1 to {_LONGEST_NAME} characters")
    return value


def _time(said: Fields) -> str:
    value = said.text("at")
    try:
        when = datetime.fromisoformat(value).timestamp()
    except (ValueError, OverflowError, OSError):
        when = math.nan
    if math.isnan(when):
        raise said.wrong("at", "a time of ISO 8601")
    return value


def _recipe(said: Fields) -> str:
    """Its text; which features it needs is told when it is taken back."""
    text = said.text("recipe")
    value = parse_json(text, f"{said.where}, the recipe", todo=_AGAIN)
    if not isinstance(value, Mapping) or value.get("format") not in RECIPES:
        raise said.wrong("recipe", "a recipe as text")
    return text
