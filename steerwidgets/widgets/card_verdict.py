"""What the user said of a feature, as a card shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steerwidgets.labels.own import UserLabels

if TYPE_CHECKING:
    from steerwidgets.dictionaries.base import Dictionary


def verdict_of(home: Dictionary, index: int) -> dict[str, Any]:
    """What the user said of a feature; nothing where nothing was."""
    if "user_labels" not in home.__dict__ and not UserLabels.are_kept():
        return {"label": "", "note": "", "rating": None, "said": 0}
    try:
        entry = home.user_labels[index]
        return {"label": entry.label, "note": entry.note, "rating": entry.rating, "said": len(home.user_labels)}
    except (OSError, ValueError) as error:
        return {"label": "", "note": "", "rating": None, "said": 0, "unreadable": str(error)}
