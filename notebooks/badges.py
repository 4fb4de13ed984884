"""Write "Open in Colab" and the address to install from into the notebooks: `python notebooks/badges.py`.

Both are made of the repository's address in pyproject.toml, and left out while there is none.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_BADGE = re.compile(r" ?\[!\[Open in Colab\]\([^)]*\)\]\([^)]*\)\n*")
_SOURCE = re.compile(r'^SOURCE = ".*?"', re.MULTILINE)
_GITHUB = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?")


def address(pyproject: Path) -> str:
    """The repository's address; "" while there is none."""
    urls = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"].get("urls", {})
    return next((url for name, url in urls.items() if name.casefold() in {"repository", "source"}), "")


def badge(url: str, name: str) -> str:
    """The badge of a notebook; "" where Colab could not open it: it reads from GitHub alone."""
    found = _GITHUB.fullmatch(url)
    if found is None:
        return ""
    opens = f"https://colab.research.google.com/github/{found[1]}/blob/main/notebooks/{name}"
    return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({opens})"


def write(notebooks: Path, url: str) -> None:
    """Bring every notebook of a folder, and its index, up to an address."""
    for path in sorted(notebooks.glob("*.ipynb")):
        notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        first, *rest = notebook["cells"]
        mark = badge(url, path.name)
        _set(first, (f"{mark}\n\n" if mark else "") + _BADGE.sub("", _text(first)))
        for cell in rest:
            if cell["cell_type"] == "code":
                _set(cell, _SOURCE.sub(f'SOURCE = "{f"git+{url}" if url else ""}"', _text(cell)))
        path.write_text(json.dumps(notebook, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    index = notebooks / "README.md"
    lines = [_BADGE.sub("", line).rstrip() for line in index.read_text(encoding="utf-8").splitlines()]
    for at, line in enumerate(lines):
        if named := re.match(r"\| \[\w+\]\((\w+\.ipynb)\)[^|]*", line):
            mark = badge(url, named[1])
            lines[at] = f"{named[0].rstrip()} {mark} {line[named.end() :]}" if mark else line
    index.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def _set(cell: dict[str, Any], text: str) -> None:
    cell["source"] = text.splitlines(keepends=True)


if __name__ == "__main__":
    write(ROOT / "notebooks", address(ROOT / "pyproject.toml"))
