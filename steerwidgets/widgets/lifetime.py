"""How long a widget lives: as long as it stands in some cell's output, or the user's code has it.

ipywidgets keeps every widget until somebody closes it, and IPython keeps what a cell showed. A cell that is run again
would so leave one widget more each time: with its text, its keys and values, its comm and its model in the page. Nobody
closes them, and nobody can know whether the user still wants one: it may be in a list of theirs, or followed by a lens.
So nothing is ever closed here. A widget whose outputs have all been replaced, since their cells ran again, is let go:
ipywidgets and IPython no longer keep it, and Python frees it, and closes its comm, once nobody else has it.

Only the kernel's own word counts. What a page says of its views would not do: they go away when it is reloaded, or when
a long notebook scrolls, and come back.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MethodType
from typing import TYPE_CHECKING, Any, Final

import traitlets

from steerwidgets.widgets.bundles import LIVE

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from anywidget import AnyWidget

_LINKS: Final = (traitlets.link, traitlets.directional_link)
_LAST_SHOWN: Final = ("_", "__", "___")


@dataclass(frozen=True)
class Run:
    """One run of one cell.

    Attributes:
        cell: the front-end's id of the cell; its source where there is no id (Colab, Notebook 6).
        id: which run of it.
        has_id: whether there is one. Two cells may have one source, so without an id nothing may be let go.
    """

    cell: str
    id: str
    has_id: bool


def current_run() -> Run | None:
    """The run of a cell that this code belongs to; None outside of cells, or outside of a Jupyter kernel."""
    parent = getattr(_shell(), "parent_header", None)
    if not isinstance(parent, Mapping):
        return None
    header = parent.get("header", {})
    if header.get("msg_type") != "execute_request":
        return None
    cell = parent.get("metadata", {}).get("cellId")
    source = str(parent.get("content", {}).get("code", ""))
    return Run(str(cell) if cell else source, str(header.get("msg_id")), bool(cell))


class Places:
    """The cells whose output a widget stands in, the one that made it included.

    A widget that was made or shown outside of any cell, such as by a button, stands nowhere that could be run again: it
    is kept until it is closed.
    """

    def __init__(self) -> None:
        self._runs: dict[str, str] = {}
        self._elsewhere = False

    def add(self, run: Run | None) -> None:
        """It is made or shown."""
        if run is None:
            self._elsewhere = True
        else:
            self._runs[run.cell] = run.id

    def was_replaced(self, run: Run) -> bool:
        """Whether it stood in the cell of a run that has ended, and that run did not show it."""
        return self._runs.get(run.cell, run.id) != run.id

    def is_only(self, run: Run) -> bool:
        """Whether it stands nowhere but in the cell of a run."""
        return self._runs.keys() <= {run.cell} and not self._elsewhere

    def leave(self, run: Run) -> bool:
        """It no longer stands in that cell; whether it stands nowhere now."""
        self._runs.pop(run.cell, None)
        return self.is_only(run)


def follow_cells() -> None:
    """See to it that `after_cell` is called after every cell, this one included."""
    events = getattr(_shell(), "events", None)
    if events is not None and after_cell not in events.callbacks["post_run_cell"]:
        events.register("post_run_cell", after_cell)


def stop_predecessors(widget: AnyWidget) -> None:
    """Stop what a cell's earlier widgets of the kind still run: the new one need not wait for what nobody sees."""
    run = current_run()
    for other in LIVE if run is not None and run.has_id else ():
        assert run is not None
        if other.bundle == widget.bundle and other.places.was_replaced(run) and other.places.is_only(run):
            other.stop()


def after_cell(*_result: object) -> None:
    """Let go of the widgets whose last output this cell's run has replaced."""
    run = current_run()
    replaced = [] if run is None else [widget for widget in LIVE if widget.places.was_replaced(run)]
    has_left = False
    for widget in replaced:
        assert run is not None
        if not run.has_id:
            widget.release()  # it may still be in sight, of another cell of the same source
        elif widget.places.leave(run):
            has_left = True
            widget.let_go()
    del replaced
    if has_left:
        # They are full of cycles, and Python may take its time while the next ones pile up.
        gc.collect()


def hold(widget: AnyWidget) -> None:
    """Let ipywidgets keep a widget, as it does by itself."""
    _kept()[widget.model_id] = widget


def let_go(widget: Any) -> None:
    """Let ipywidgets know a widget for as long as somebody else keeps it: a page that is reloaded still asks for it."""
    if widget.comm is None or sys.is_finalizing():
        return
    _kept()[widget.model_id] = weakref.proxy(widget)
    hear_weakly(widget)
    loosen_links(widget)


def loosen_links(widget: Any) -> None:
    """Let widgets that are joined with a widget not keep it: `traitlets.link` and `dlink`, `jslink` and `jsdlink`.

    A slider that a panel is linked with is kept by ipywidgets for ever, and with it the link and the panel. The link
    goes on for as long as somebody else has the panel.
    """
    for each in [*_kept().values()]:
        with contextlib.suppress(ReferenceError):
            if {"source", "target"} <= each.traits().keys() and widget in _ends_of(each):
                let_go(each)  # ipywidgets makes a widget of a link in the page
    for link in _links_with(widget):
        for side in ("source", "target"):
            end, name = getattr(link, side)
            if end is widget:
                setattr(link, side, (weakref.proxy(widget), name))
        weakref.finalize(widget, _unlink, link).atexit = False


def _links_with(widget: Any) -> list[Any]:
    """The links of traitlets that a widget is an end of; those that it is the target of, other widgets know alone."""
    found: dict[int, Any] = {}
    for each in [widget, *_kept().values()]:
        with contextlib.suppress(ReferenceError):
            every = each._trait_notifiers.values()  # noqa: SLF001 - there is no public way
            handlers = [handler for of_name in every for of_kind in of_name.values() for handler in of_kind]
            links = [getattr(handler, "__self__", None) for handler in handlers]
            found |= {id(link): link for link in links if isinstance(link, _LINKS) and widget in _ends_of(link)}
    return list(found.values())


def _ends_of(link: Any) -> list[Any]:
    return [end[0] for end in (link.source, link.target) if isinstance(end, tuple) and end]


def _unlink(link: Any) -> None:
    """What `link.unlink` does, where one end is gone."""
    for end, name in (link.source, link.target):
        for update in ("_update", "_update_source", "_update_target"):
            with contextlib.suppress(AttributeError, KeyError, ReferenceError, ValueError):
                end.unobserve(getattr(link, update), names=name)


def hear_weakly(widget: Any) -> None:
    """Let a widget's comm, which the kernel keeps, not keep the widget."""
    widget.comm.on_msg(weakly(widget._handle_msg))  # noqa: SLF001 - as ipywidgets gives it to the comm


def weakly(method: Callable[..., object]) -> Callable[..., None]:
    """A bound method that does not keep its object; once that is gone, nothing."""
    assert isinstance(method, MethodType)
    found = weakref.WeakMethod(method)

    def call(*args: Any, **named: Any) -> None:
        known = found()
        if known is not None:
            known(*args, **named)

    return call


def forget_shown(widget: AnyWidget) -> None:
    """Take a widget out of what IPython keeps of outputs: `Out[3]`, `_3`, `_`."""
    shell = _shell()
    if shell is None:
        return
    outputs: MutableMapping[int, Any] = shell.user_ns.get("_oh", {})
    for number in [number for number, value in list(outputs.items()) if value is widget]:
        del outputs[number]
    for names in (shell.user_ns, shell.user_ns_hidden):
        for name in [name for name, value in list(names.items()) if value is widget and _is_of_output(name)]:
            del names[name]
    for name in _LAST_SHOWN:
        if getattr(shell.displayhook, name, None) is widget:
            setattr(shell.displayhook, name, "")
            shell.user_ns.setdefault(name, "")  # as at the start; IPython goes on only where both are the same


def _is_of_output(name: str) -> bool:
    return name in _LAST_SHOWN or (name.startswith("_") and name[1:].isdecimal())


def _shell() -> Any:
    """The shell of a Jupyter kernel; None where there is no kernel (a script, marimo)."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if hasattr(shell, "kernel") else None


def _kept() -> dict[str, Any]:
    """Where ipywidgets keeps every widget that is open, by id; in the class until ipywidgets 8."""
    from ipywidgets.widgets import widget

    found: dict[str, Any] | None = getattr(widget, "_instances", None)
    return vars(widget.Widget)["widgets"] if found is None else found  # an empty one is one
