"""What every widget shares: bundle, requests, one writer at a time, frozen copies."""

from __future__ import annotations

import threading
import traceback
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import traitlets

from steerwidgets.calls import tell_calls, tells_calls
from steerwidgets.files.atomic import write_text
from steerwidgets.files.json_text import refuse_deep
from steerwidgets.transformer.plain_text import as_json, whole
from steerwidgets.widgets import bundles, lifetime
from steerwidgets.widgets.export import write_page
from steerwidgets.widgets.protocol import Handler, Protocol, Worker


@tells_calls("Widget", "widget")
class Widget(anywidget.AnyWidget):
    """A steerwidgets widget.

    Traits hold what has to survive a reload or an export; messages carry traffic. Handlers and the worker write
    traits under one lock, since `hold_sync` and `set_state` of ipywidgets are not made for two threads.

    Attributes:
        places: the outputs that it stands in; see `lifetime`.
    """

    _program = traitlets.Unicode().tag(sync=True)
    _own_id = traitlets.Unicode().tag(sync=True)  # how the page finds its model among its host's

    _protocol: Protocol
    _worker: Worker
    bundle: ClassVar[str]
    title: ClassVar[str]

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        bundles.take_over(cls)
        tell_calls(cls, f"sw.{cls.__name__}", "widget")

    def __init__(self, **traits: Any) -> None:
        self._sync_lock = threading.RLock()
        self.last_traceback = ""
        self._from_front_end = threading.local()
        self._worker = Worker(f"{type(self).__name__}-worker", lifetime.weakly(self._note_background_error))
        handlers = {"export_html": Handler(lambda _request: self._exported()), **self._handlers()}
        self._protocol = Protocol(self._send_message, handlers, self._worker, self._note_error)
        unknown = [name for name in traits if not self.has_trait(name)]
        if unknown:
            raise TypeError(f"{type(self).__name__} has no setting {unknown[0]!r}.")
        self.places = lifetime.Places()
        self.places.add(lifetime.current_run())
        own_id = uuid.uuid4().hex
        super().__init__(_program=bundles.program_of(type(self)), model_id=own_id, _own_id=own_id, **traits)
        self.on_msg(self._receive_message)
        lifetime.follow_cells()
        lifetime.stop_predecessors(self)
        bundles.LIVE.add(self)

    def _handlers(self) -> Mapping[str, Handler]:
        """What the page may ask for besides a file of itself, by name."""
        return {}

    def _exported(self) -> dict[str, str]:
        return {"html": self._page(), "filename": f"{self.title.replace(' ', '-')}.html"}

    def publish(self, **traits: Any) -> None:
        """Set traits, one writer at a time.

        Args:
            traits: by name.

        Example:
            >>> heatmap = sw.TokenHeatmap.from_arrays(["The", " sea"], [0.0, 2.0])
            >>> heatmap.publish(curve="log")
            >>> heatmap.curve
            'log'
        """
        with self._sync_lock:
            for name, value in traits.items():
                setattr(self, name, value)

    def publish_together(self, **traits: Any) -> None:
        """Set traits so that the page gets them in one message.

        Args:
            traits: by name.

        Example:
            >>> heatmap = sw.TokenHeatmap.from_arrays(["The", " sea"], [0.0, 2.0])
            >>> heatmap.publish_together(curve="log", clip=False)
            >>> heatmap.curve
            'log'
        """
        with self._sync_lock, self.hold_sync():
            self.publish(**traits)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take in what the front-end wrote; while it lasts, `in_front_end_update` is true in this thread."""
        try:
            refuse_deep(sync_data, "What the page wrote")
        except ValueError as error:
            # Nothing of it is taken in: the page gets back what stands, and hears why.
            self.send_state([name for name in sync_data if name in self.keys])
            self._protocol.refuse(error)
            return
        with self._sync_lock:
            self._from_front_end.now = True
            try:
                super().set_state(sync_data)
            finally:
                self._from_front_end.now = False

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """Traits as they travel and are saved: no half of a character, which neither a message nor a file can hold."""
        found: dict[str, Any] = whole(super().get_state(key, drop_defaults))
        return found

    @property
    def in_front_end_update(self) -> bool:
        """Whether this thread is taking in what the front-end wrote, and so has to return at once."""
        return bool(getattr(self._from_front_end, "now", False))

    def open(self) -> None:
        """Open the comm; a message is then served in the subshell that the page tagged it with.

        ipykernel 7.4 would serve it where we last published, which while a cell runs is the busy main shell: Stop
        would wait for the cell.
        """
        super().open()
        lifetime.hear_weakly(self)
        comm: Any = self.comm
        if hasattr(comm, "_reply_subshell_for"):
            comm._reply_subshell_for = lambda _data, tagged: tagged  # noqa: SLF001 - there is no public way

    if hasattr(anywidget.AnyWidget, "_ipython_display_"):  # ipywidgets 7 shows itself

        def _ipython_display_(self, **settings: Any) -> None:
            self._note_shown()
            super()._ipython_display_(**settings)

    def _note_shown(self) -> None:
        self.places.add(lifetime.current_run())
        lifetime.hold(self)

    def stop(self) -> None:
        """Ask whatever is running for the page to end.

        Example:
            >>> heatmap = sw.TokenHeatmap.from_arrays(["The", " sea"], [0.0, 2.0])
            >>> heatmap.stop()  # nothing runs, so nothing happens
        """
        self._protocol.cancel_all()

    def let_go(self) -> None:
        """Stop what is running, and from now on live only as long as somebody's code has the widget.

        Example:
            >>> heatmap = sw.TokenHeatmap.from_arrays(["The", " sea"], [0.0, 2.0])
            >>> heatmap.let_go()
            >>> heatmap.curve
            'linear'
        """
        self.stop()
        lifetime.let_go(self)
        lifetime.forget_shown(self)

    def release(self) -> None:
        """Give back memory that only makes answers faster.

        Example:
            >>> heatmap = sw.TokenHeatmap.from_arrays(["The", " sea"], [0.0, 2.0])
            >>> heatmap.release()
        """

    def close(self) -> None:
        """Stop what is running and take the widget off the page."""
        # ipywidgets closes a widget that is collected, even one whose making failed half-way.
        if "_protocol" in self.__dict__:
            self._protocol.cancel_all()
            self._worker.close()
            self.release()
        lifetime.forget_shown(self)
        super().close()
        # ipywidgets leaves the layout, a widget with a comm of its own; other widgets may have it as well.
        layout = self._trait_values.pop("layout", None)
        if layout is not None:
            lifetime.let_go(layout)

    def __repr__(self) -> str:
        first, *_ = [*self._said(), ""]
        return f"<{type(self).__name__}{': ' if first else ''}{first}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """What a host shows; where it can't render widgets, what this one says in plain text."""
        self._note_shown()
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if isinstance(data, dict):
            data["text/plain"] = self.summary()
        return bundle

    def summary(self) -> str:
        """The widget in plain text, for where it can't be seen.

        Returns:
            Its title and what it shows, in lines.

        Example:
            >>> heatmap = sw.TokenHeatmap.from_arrays(["The", " sea"], [0.0, 2.0])
            >>> isinstance(heatmap.summary(), str)
            True
        """
        first, *rest = [*self._said(), ""]
        return "\n".join(filter(None, (f"{self.title.capitalize()}: {first}", *rest)))

    def _said(self) -> Sequence[str]:
        """What it shows, in lines, the most important first."""
        return ()

    def to_html(self, path: str | Path) -> Path:
        """Write one offline file that shows the widget as it stands; it needs neither kernel nor network.

        Args:
            path: the file.

        Returns:
            The path.

        Example:
            >>> heatmap = sw.TokenHeatmap.from_arrays(["The", " sea"], [0.0, 2.0])
            >>> heatmap.to_html(folder / "sea.html").name
            'sea.html'
        """
        write_text(path, self._page())
        return Path(path)

    def to_json(self) -> str:
        """The widget as it stands, as JSON: exactly what is shown, with its provenance.

        Returns:
            JSON text.

        Example:
            >>> import json
            >>> panel = sw.SteeringPanel(lm, cavs)
            >>> json.loads(panel.to_json())["prompt"]
            'Tell me about your weekend.'
        """
        return as_json(self._state())

    def _page(self) -> str:
        return write_page(self.title, self.bundle, self._state())

    def _state(self) -> dict[str, Any]:
        with self._sync_lock:
            return {name: getattr(self, name) for name in self.keys if not name.startswith("_") and name not in _HOST}

    def _send_message(self, message: dict[str, Any]) -> None:
        self.send(whole(message))

    def _receive_message(self, _widget: object, content: Any, _buffers: object) -> None:
        self._protocol.receive(content)

    def _note_background_error(self, error: BaseException) -> None:
        self._note_error("background work", error)

    def _note_error(self, name: str, error: BaseException) -> None:
        self.last_traceback = f"{name}\n" + "".join(traceback.format_exception(error))


_HOST = frozenset({"layout", "tabbable", "tooltip", "comm"})
