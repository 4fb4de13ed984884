"""Labels of features: imported and searched, a user's own; and how true they are, by name from `label_checks`."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {"agreement": "label_checks.agreement", "score": "label_checks.scoring"}
"""What `sw.labels` calls by name; it stands on rooms above this one, and is loaded when it is first asked for."""

__all__ = ["agreement", "score"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'steerwidgets.labels' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"steerwidgets.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
