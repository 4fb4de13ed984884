"""Run a notebook without a screen, in a kernel of this Python, and write its steering panel to one HTML file.

`python -m headless notebook.ipynb [panel.html]`: the notebook itself is not changed. Without a second
argument it is only run. Exit status 1 and one readable message where a cell fails or no panel is there to write.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["NotebookFailed", "run_notebook"]

CELL_TIMEOUT_S = 1200

_WRITE_PANEL = """
def _write_panel(path):
    import steerwidgets

    values = list(get_ipython().user_ns.values())  # the last value of a cell is here too, as _7 or the like
    panels = [value for value in values if isinstance(value, steerwidgets.SteeringPanel)]
    if not panels:
        raise LookupError("the notebook made no SteeringPanel")
    panels[-1].to_html(path)

_write_panel({path!r})
"""


class NotebookFailed(RuntimeError):  # noqa: N818 - named for what the user sees
    """A cell of the notebook raised, its kernel died, or there was no panel to write."""


def run_notebook(notebook: Path, html: Path | None = None, *, then: str = "") -> Any:
    """Run every cell, in a kernel of this Python whose working directory is the notebook's.

    Args:
        notebook: the file to run; it is only read.
        html: where the last steering panel that the notebook made is written with its `to_html`.
        then: Python that runs after the last cell.

    Returns:
        The notebook with its outputs.

    Raises:
        NotebookFailed: a cell raised or took longer than 20 minutes, the kernel died, or there was no panel to write.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellControlSignal, CellExecutionError, DeadKernelError

    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # or every kernel start warns about its debugger
    content: Any = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    count = len(content.cells)
    after = then if html is None else _WRITE_PANEL.format(path=str(html.resolve()))
    if after:
        content.cells.append(nbformat.v4.new_code_cell(after))  # type: ignore[no-untyped-call]
    client = NotebookClient(
        content,
        timeout=CELL_TIMEOUT_S,
        kernel_name="python3",  # this Python, whatever the notebook was last saved with
        resources={"metadata": {"path": str(notebook.resolve().parent)}},
    )
    number = 0
    with client.setup_kernel():
        for number, cell in enumerate(content.cells, start=1):
            where = f"{notebook}, cell {number}" if number <= count else f"{notebook}"
            try:
                client.execute_cell(cell, number - 1)
            except CellExecutionError as error:
                raise NotebookFailed(f"{where}: {error.ename}: {error.evalue}\n\n{_plain(error.traceback)}") from error
            except DeadKernelError as error:
                raise NotebookFailed(f"{where}: the kernel died.") from error
            except (CellControlSignal, TimeoutError) as error:
                raise NotebookFailed(f"{where}: {error}") from error
    del content.cells[count:]
    return content


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def main(arguments: list[str] | None = None) -> int:
    """Run one notebook from a terminal and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m headless", description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("html", type=Path, nargs="?")
    chosen = parser.parse_args(arguments)
    if not chosen.notebook.is_file():
        sys.stderr.write(f"There is no notebook {chosen.notebook}.\n")
        return 1
    sys.stdout.write(f"Running {chosen.notebook}\n")
    sys.stdout.flush()
    began = time.perf_counter()
    try:
        run_notebook(chosen.notebook, chosen.html)
    except NotebookFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{chosen.notebook}: every cell ran, {time.perf_counter() - began:.0f} s\n")
    if chosen.html is not None:
        sys.stdout.write(f"{chosen.html.resolve()}  {chosen.html.stat().st_size / 1e6:.1f} MB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
