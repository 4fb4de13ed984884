"""What a widget's status says of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from steerwidgets.widgets.protocol import WAITING, Cancelled, described

if TYPE_CHECKING:
    from steerwidgets.widgets.base import Widget


def say_waiting(widget: Widget) -> None:
    """Say that another run has the model."""
    widget.publish(status={"state": "waiting", "message": WAITING})


@contextmanager
def telling_how_it_ends(widget: Widget) -> Iterator[None]:
    """Say that a run was stopped, or why it failed; one that ends well says so itself.

    Raises:
        Whatever is raised inside.
    """
    try:
        yield
    except (Cancelled, KeyboardInterrupt):
        widget.publish(status={"state": "stopped", "message": ""})
        raise
    except BaseException as error:
        widget.publish(status={"state": "error", "message": described(error)["message"]})
        raise
