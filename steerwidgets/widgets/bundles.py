"""The program and the styles of a widget's class, as anywidget takes them, without its hold on every instance."""

from __future__ import annotations

import functools
import hashlib
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.widgets.export import STATIC

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anywidget import AnyWidget


class LiveWidgets:
    """The widgets that there are, none of them kept alive by it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._widgets: weakref.WeakSet[AnyWidget] = weakref.WeakSet()

    def add(self, widget: AnyWidget) -> None:
        """Take one more in; it leaves by itself."""
        with self._guard:
            self._widgets.add(widget)

    def __iter__(self) -> Iterator[AnyWidget]:
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

    def __init__(self, owner: type[AnyWidget], key: str, contents: Any) -> None:
        self._owner = weakref.ref(owner)
        self._key = key
        self._contents = contents
        self.changed = contents.changed
        self.changed.connect(self._reload)

    @property
    def text(self) -> str:
        """What the file holds."""
        return str(self._contents)

    def traits(self) -> dict[str, str]:
        """The traits that it stands in."""
        return {self._key: str(self)}

    def __str__(self) -> str:
        return self.text

    def _reload(self, _text: str) -> None:
        owner = self._owner()
        for widget in LIVE:
            if owner is not None and isinstance(widget, owner):
                widget.publish_together(**self.traits())


class Program(Bundle):
    """The program of a class: pages are given a module that imports it once for all instances, and the text beside it.

    Pages keep every module that they ever imported, and hosts import one for each instance: 0.5 to 1 MB each time that
    a cell runs again, were it the program.
    """

    def traits(self) -> dict[str, str]:
        """The traits that it stands in: the module, and the program beside it."""
        return {"_program": self.text, **super().traits()}

    def __str__(self) -> str:
        # Another program makes another module: by that hosts see that there is something new.
        return f"{_loader()}// {hashlib.sha256(self.text.encode()).hexdigest()[:16]}\n"


@functools.cache
def _loader() -> str:
    return (STATIC / "loader.js").read_text(encoding="utf-8")


def take_over(owner: type[AnyWidget]) -> None:
    """Put a `Bundle` in the place of each file that anywidget made of a class's own paths."""
    for key, kind in (("_esm", Program), ("_css", Bundle)):
        contents = owner.__dict__.get(key)
        if hasattr(contents, "changed"):
            setattr(owner, key, kind(owner, key, contents))


def program_of(owner: type[AnyWidget]) -> str:
    """The program of a class, or of the class that it is made from."""
    own = (each.__dict__.get("_esm") for each in owner.__mro__)
    return next((each.text for each in own if isinstance(each, Program)), "")
