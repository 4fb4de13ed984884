"""Folders of the user's own: where they are, and that there may be none (containers without a home)."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def own_folder(variable: str, xdg: str, *, mac: str, windows: str, linux: str) -> Path:
    r"""A folder of the user's own for this package.

    Args:
        variable: the environment variable that names it.
        xdg: the variable of the XDG base directories whose `steerwidgets` it is otherwise.
        mac: the folder in `~/Library` that it stands in on macOS.
        windows: what it is called in `%LOCALAPPDATA%\steerwidgets`.
        linux: the folder in the home folder that it stands in elsewhere.

    Raises:
        OSError: nobody names it, and there is no home folder to put it into.
    """
    try:
        if named := os.environ.get(variable):
            return Path(named).expanduser()
        if named := os.environ.get(xdg):
            return Path(named).expanduser() / "steerwidgets"
        if sys.platform == "darwin":
            return Path.home() / "Library" / mac / "steerwidgets"
        if os.name == "nt" and (named := os.environ.get("LOCALAPPDATA")):
            return Path(named) / "steerwidgets" / windows
        return Path.home() / linux / "steerwidgets"
    except RuntimeError:
        raise OSError(
            f"You have no home folder on this machine, so nothing can be kept there; name a folder in ${variable}."
        ) from None
