"""The readable text of documentation pages: no navigation, no index marks, paragraphs and listings as they stand."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final

_BLOCKS: Final = frozenset(
    {
        "p",
        "div",
        "section",
        "li",
        "ul",
        "ol",
        "dl",
        "dt",
        "dd",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "tr",
        "table",
        "pre",
    }
)
_VOID: Final = frozenset({"br", "img", "hr", "meta", "link", "input", "col", "wbr"})
_SKIPPED_TAGS: Final = frozenset({"script", "style", "head", "nav", "footer", "title"})
_SKIPPED_CLASSES: Final = frozenset(
    {
        "headerlink",
        "indexterm",
        "docnav",
        "sphinxsidebar",
        "related",
        "footer",
        "toctree-wrapper",
        "contents",
        "toc",
    }
)


def html_text(page: str, within: str | None = None) -> str:
    """The text of an HTML page; with `within`, of the parts whose class has this name only.

    Paragraphs are parted by an empty line, runs of white space become one space, listings keep their lines.
    """
    reader = _Reader(within)
    reader.feed(page)
    reader.close()
    blocks = ["".join(parts) for parts in reader.blocks]
    kept = [block.strip("\n") if "\n" in block else " ".join(block.split()) for block in blocks]
    return "\n\n".join(block for block in kept if block.strip())


class _Reader(HTMLParser):
    def __init__(self, within: str | None) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[list[str]] = [[]]
        self._within = within
        self._stack: list[tuple[str, bool, bool]] = []  # tag, whether it is skipped, whether it is wanted
        self._listing = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        classes = (dict(attrs).get("class") or "").split()
        if tag == "br":
            self.handle_data(" ")
        if tag in _VOID:
            return
        skipped = self._skips or tag in _SKIPPED_TAGS or not _SKIPPED_CLASSES.isdisjoint(classes)
        self._stack.append((tag, skipped, self._wants or self._within in classes))
        self._listing += tag == "pre"
        if tag in _BLOCKS and (tag == "pre" or not self._listing):
            self.blocks.append([])

    def handle_endtag(self, tag: str) -> None:
        if not any(open_tag == tag for open_tag, _, _ in self._stack):
            return
        while self._stack:
            open_tag, _, _ = self._stack.pop()
            self._listing -= open_tag == "pre"
            if open_tag == tag:
                break
        if tag in _BLOCKS and not self._listing:
            self.blocks.append([])

    def handle_data(self, data: str) -> None:
        if self._wants and not self._skips:
            self.blocks[-1].append(data if self._listing else re.sub(r"\s+", " ", data))

    @property
    def _skips(self) -> bool:
        return bool(self._stack) and self._stack[-1][1]

    @property
    def _wants(self) -> bool:
        return self._within is None or (bool(self._stack) and self._stack[-1][2])
