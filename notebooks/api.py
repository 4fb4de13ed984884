"""Build the reference pages out of the docstrings: `python notebooks/api.py build/api`; it needs no network."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pdoc

import steerwidgets as sw


def build(folder: Path) -> Path:
    """Write one page for `steerwidgets` and one for each of its public modules.

    Args:
        folder: where they are written.

    Returns:
        The first page.
    """
    for module in (sw, sw.corpus, sw.lab, sw.labels):
        for name in module.__all__:
            getattr(module, name)  # names are loaded when first used, and pdoc tells only of what is there
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc(sw.__name__, output_directory=folder)
    return folder / "steerwidgets.html"


def main() -> None:
    """Build them from a terminal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/api"))
    sys.stdout.write(f"{build(parser.parse_args().folder).resolve()}\n")


if __name__ == "__main__":
    main()
