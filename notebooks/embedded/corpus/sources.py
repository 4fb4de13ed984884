"""Documents from Debian's packages, as material for the embedded dictionaries.

What they are and what allows their use here (from each package's `copyright` file). Only features learned from them
and short excerpts are shipped, not the texts:

- wordnet-base (WordNet 3.0, © 2006 Princeton University): the WordNet 3.0 licence, use, copying, modification and
  distribution for any purpose without fee, with its notice kept.
- fortunes, fortunes-min (collected by Ken Arnold, Amy Lewis and others): the packages' copyright file states the BSD
  licence (© 1991 The Regents of the University of California) for the program and says nothing of most of the
  quotations, which are short and remain their authors'. Left out: the package fortunes-off, and the files on ethnic
  groups and on men and women.
- bible-kjv-text: the King James Version of 1611, whose copyright is expired; Chip Chapin's data file is for
  unrestricted use.
- debian-handbook (© 2003-2015 Raphaël Hertzog and Roland Mas, 2013-2015 Freexian SARL): GPL-2.0+ or CC-BY-SA-3.0.
- python3.11-doc (© 2001-2023 Python Software Foundation): the PSF licence version 2.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import re
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embedded.corpus.html_text import html_text
from embedded.corpus.wordnet import Synset, read_synsets

SOURCES: Final = ("chat", "wordnet", "fortunes", "bible", "handbook", "python")
"""Their places are their numbers in the shards' `source`."""

_FORTUNES_LEFT_OUT: Final = frozenset({"ethnic", "men-women", "ascii-art", "translate-me"})
_PYTHON_PARTS: Final = ("tutorial", "howto", "library", "reference", "faq", "using", "installing")
_BIBLE_REFERENCE: Final = re.compile(r"^(\d?[A-Z][A-Za-z]*?)(\d+):(\d+) ")
_LZW_HEADER: Final = b"\x1f\x9d\x90"
_HELD_OUT_ONE_IN: Final = 20


@dataclass(frozen=True)
class Document:
    """A text that belongs together; `key` decides the side of the split, `label` says more about where it is from."""

    text: str
    source: str
    label: str
    key: str

    @property
    def held_out(self) -> bool:
        """Whether it is one of the 5 % that no training sees."""
        return is_held_out(self.source, self.key)


def is_held_out(source: str, key: str) -> bool:
    """One in twenty, by a hash, so that what is added later changes no side."""
    digest = hashlib.blake2b(f"{source}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _HELD_OUT_ONE_IN == 0


def debian_documents(root: Path) -> dict[str, list[Document]]:
    """All documents of each source but chat, in a fixed order."""
    return {
        "wordnet": wordnet_documents(read_synsets(root / "usr/share/wordnet")),
        "fortunes": fortunes_documents(root / "usr/share/games/fortunes"),
        "bible": bible_documents(bible_lines((root / "usr/lib/bible.data").read_bytes())),
        "handbook": handbook_documents(root / "usr/share/doc/debian-handbook/html/en-US"),
        "python": python_documents(root / "usr/share/doc/python3.11/html"),
    }


def wordnet_documents(synsets: list[Synset]) -> list[Document]:
    """One document for each synset; most as a dictionary entry, some as the bare definition or the bare examples."""
    return [Document(_wordnet_text(synset), "wordnet", synset.lexicographer_file, synset.key) for synset in synsets]


def _wordnet_text(synset: Synset) -> str:
    form = random.Random(synset.key).random()
    if form < 0.15 and synset.examples:
        return " ".join(_sentence(example) for example in synset.examples)
    if form < 0.4:
        return " ".join(_sentence(part) for part in (synset.definition, *synset.examples))
    return synset.text


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text[-1:] in ".?!" else ".")


def fortunes_documents(folder: Path) -> list[Document]:
    """One document for each quotation."""
    names = sorted(
        file.name
        for file in folder.iterdir()
        if not file.is_symlink() and not file.suffix and file.name not in _FORTUNES_LEFT_OUT
    )
    texts = ((name, text) for name in names for text in parse_fortunes((folder / name).read_text("utf-8", "replace")))
    return [Document(text, "fortunes", name, text[:60]) for name, text in texts]


def parse_fortunes(text: str) -> list[str]:
    """The quotations of a file: parted by lines of one percent sign; overstrikes and tabs are taken out."""
    plain = re.sub(".\b", "", text).replace("\t", "    ").expandtabs()
    parts = re.split(r"^%\s*$", plain, flags=re.MULTILINE)
    return [re.sub(r" {3,}", "  ", part).strip() for part in parts if part.strip()]


def bible_lines(data: bytes) -> list[str]:
    """The text file inside `bible.data`: windows of 64 KiB, each an LZW stream as compress(1) makes them.

    The layout is that of the Bible Retrieval System's "EC02" files: big-endian, the window size and the number of
    windows at byte 84, then where each window begins and the last one ends. Python has no LZW, gzip does.

    Raises:
        ValueError: the data are of another format.
    """
    if not data.startswith(b"EC02"):
        raise ValueError(f"bible.data has to begin with EC02, but this begins with {data[:4]!r}.")
    _, count = struct.unpack_from(">2I", data, 84)
    begins = struct.unpack_from(f">{count + 1}I", data, 92)
    windows = (
        subprocess.run(["gzip", "-dc"], input=_LZW_HEADER + data[a:b], capture_output=True, check=True).stdout  # noqa: S607
        for a, b in itertools.pairwise(begins)
    )
    return b"".join(windows).decode("latin-1").splitlines()


def bible_documents(lines: list[str]) -> list[Document]:
    """One document for each chapter; verses run on, and one chapter in five keeps its verse numbers."""
    chapters: dict[str, list[tuple[str, str]]] = {}
    for line in lines:
        if found := _BIBLE_REFERENCE.match(line):
            book, chapter, verse = found.groups()
            chapters.setdefault(f"{book} {chapter}", []).append((verse, line[found.end() :].strip()))
    return [Document(_chapter(key, verses), "bible", key.split()[0], key) for key, verses in chapters.items()]


def _chapter(key: str, verses: list[tuple[str, str]]) -> str:
    if random.Random(key).random() < 0.2:
        return "\n".join(f"{key.split()[1]}:{verse} {text}" for verse, text in verses)
    return " ".join(text for _, text in verses)


def handbook_documents(folder: Path) -> list[Document]:
    """One document for each page of the handbook."""
    pages = ((file, html_text(file.read_text(encoding="utf-8"))) for file in sorted(folder.glob("*.html")))
    return [Document(text, "handbook", file.stem, file.stem) for file, text in pages if len(text) > 500]


def python_documents(folder: Path) -> list[Document]:
    """One document for each page of the tutorial, the how-tos, the library and the language reference."""
    files = (file for part in _PYTHON_PARTS for file in sorted((folder / part).glob("*.html")))
    pages = ((file, html_text(file.read_text(encoding="utf-8"), within="body")) for file in files)
    return [
        Document(text, "python", file.parent.name, f"{file.parent.name}/{file.stem}")
        for file, text in pages
        if len(text) > 500
    ]


def shuffled(documents: list[Document], seed: int) -> Iterator[Document]:
    """The documents in a random order that the seed decides."""
    order = list(documents)
    random.Random(seed).shuffle(order)
    yield from order
