"""The program and the styles of a widget's class, as anywidget takes them, without its hold on every instance."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steerwidgets.widgets.base import Widget

KEYS: Final = ("_esm", "_css")


class LiveWidgets:
    """The widgets that there are, none of them kept alive by it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._widgets: weakref.WeakSet[Widget] = weakref.WeakSet()

    def add(self, widget: Widget) -> None:
        """Take one more in; it leaves by itself."""
        with self._guard:
            self._widgets.add(widget)

    def __iter__(self) -> Iterator[Widget]:
        with self._guard:
            return iter(list(self._widgets))


LIVE: Final = LiveWidgets()


class Bundle:
    """A file of the front-end; its text is read once, and again whenever it changes where anywidget watches it.

    anywidget connects every instance to the file of its class, watched or not, by a closure that is never let go, so
    that no widget would ever be freed. This is no file to anywidget: it takes the text alone. What a watched file holds
    anew (`ANYWIDGET_HMR=1`) goes from here to the instances that live at the time.

    Attributes:
        changed: the signal of the watched file.
    """

    def __init__(self, owner: type[Widget], key: str, contents: Any) -> None:
        self._owner = weakref.ref(owner)
        self._key = key
        self._contents = contents
        self.changed = contents.changed
        self.changed.connect(self._reload)

    def __str__(self) -> str:
        return str(self._contents)

    def _reload(self, text: str) -> None:
        owner = self._owner()
        for widget in LIVE:
            if owner is not None and isinstance(widget, owner):
                widget.publish(**{self._key: text})


def take_over(owner: type[Widget]) -> None:
    """Put a `Bundle` in the place of each file that anywidget made of a class's own paths."""
    for key in KEYS:
        contents = owner.__dict__.get(key)
        if hasattr(contents, "changed"):
            setattr(owner, key, Bundle(owner, key, contents))
