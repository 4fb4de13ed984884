"""What a corpus index says of itself: one JSON file, replaced in one step."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.corpus.settings import Settings
from steerwidgets.corpus.texts import Read
from steerwidgets.files.atomic import to_disk, write_text
from steerwidgets.files.fields import NEEDED, Fields, is_whole
from steerwidgets.files.json_text import read_json
from steerwidgets.files.shown import shown

if TYPE_CHECKING:
    from steerwidgets.dictionaries.base import Dictionary

FILE: Final = "index.json"
FORMAT: Final = "steerwidgets corpus index"
VERSION: Final = 1
_AGAIN: Final = "build it again"
_PART: Final = re.compile(r"part-[0-9]+")
"""What its folders are called: nothing else is looked into, or outside of it."""


@dataclass(frozen=True)
class Entry:
    """A dictionary in an index.

    Attributes:
        fingerprint: which.
        kind: `SAE`, `CAV`, …
        site: where.
        size: how many features.
        above: the activation above which a feature counts as active.
    """

    fingerprint: str
    kind: str
    site: str
    size: int
    above: float

    @classmethod
    def of(cls, dictionary: Dictionary) -> Entry:
        """A dictionary as an index names it."""
        return cls(
            dictionary.fingerprint, dictionary.kind, str(dictionary.site), dictionary.size, dictionary.active_above
        )


@dataclass(frozen=True)
class Manifest:
    """What an index is of, and which folders hold it.

    Attributes:
        name: what the corpus is called.
        model: what tells the model from others: its name, sizes and some of its weights.
        settings: how it was read.
        dictionaries: in the order of the folders.
        runs: an id of each run that read texts into it.
        read: how much was read.
        parts: the folders that hold it; one where it is finished.
        finished: whether it may be opened.
        complete: whether nothing was left to read.
        resumable: whether `read` says where to go on.
    """

    name: str
    model: Mapping[str, Any]
    settings: Settings
    dictionaries: tuple[Entry, ...]
    runs: tuple[str, ...]
    read: Read = field(default_factory=Read)
    parts: tuple[str, ...] = ()
    finished: bool = False
    complete: bool = False
    resumable: bool = True

    def write(self, folder: Path) -> None:
        """Replace the file of an index in one step, on the disk when this returns."""
        said = {"format": FORMAT, "version": VERSION} | dataclasses.asdict(self)
        said["settings"] = self.settings.to_json()
        write_text(folder / FILE, json.dumps(said, indent=1, ensure_ascii=False))
        to_disk(folder)

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read the file of an index.

        Raises:
            FileNotFoundError: there is no index.
            ValueError: the file is damaged, or of another version or kind.
        """
        path = folder / FILE
        if not path.is_file():
            raise FileNotFoundError(f"There is no corpus index at {str(folder)!r}; sw.corpus.build makes one.")
        where = f"{FILE} in {str(folder)!r} is damaged"
        table = read_json(path, what=f"{where}, or not of a corpus index: it", todo=_AGAIN)
        if not isinstance(table, dict) or table.get("format") != FORMAT or not is_whole(table.get("version")):
            raise ValueError(f"{where}, or not of a corpus index (its format and version say so); {_AGAIN}.")
        if table["version"] != VERSION:
            raise ValueError(
                f"The corpus index at {str(folder)!r} has version {shown(table['version'])}, and this "
                "steerwidgets reads "
                f"version {VERSION}; build it again, or update steerwidgets."
            )
        return _manifest(Fields(table, f"{where}: in it", todo=_AGAIN))

    def difference(self, other: Manifest) -> str | None:
        """What makes another index no part of the same one; None where nothing does."""
        for name in ("model", "dictionaries", "settings"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                return _told(name, mine, theirs)
        return None


def _told(name: str, mine: Any, theirs: Any) -> str:
    if name == "model":
        same = mine["model"] == theirs["model"]
        return "model has other weights" if same else f"model is {theirs['model']}, not {mine['model']}"
    if name == "dictionaries":
        listed = (", ".join(f"{each.kind} at {each.site}" for each in all_of) for all_of in (theirs, mine))
        found, expected = listed
        return "dictionaries have other weights" if found == expected else f"dictionaries are {found}, not {expected}"
    changed = (key for key, value in mine.to_json().items() if theirs.to_json()[key] != value)
    key = next(changed)
    return f"{key} is {getattr(theirs, key)!r}, not {getattr(mine, key)!r}"


def _manifest(said: Fields) -> Manifest:
    said.only("format", "version", *(each.name for each in dataclasses.fields(Manifest)))
    runs, parts = said.items("runs", of="texts"), said.items("parts", of="names")
    if not all(isinstance(run, str) for run in runs):
        raise said.wrong("runs", "a list of texts")
    if not all(isinstance(part, str) and _PART.fullmatch(part) for part in parts):
        raise said.wrong("parts", "a list of names of its own folders")
    finished = said.flag("finished")
    if finished and len(parts) != 1:
        raise said.wrong("parts", "one folder, as of every finished index")
    entries = said.items("dictionaries", of="dictionaries")
    read = said.inner("read", NEEDED)
    read.only("texts", "empty", "tokens", "digest")
    return Manifest(
        said.text("name"),
        said.inner("model", NEEDED).table,
        Settings.from_json(said.inner("settings", NEEDED)),
        tuple(_entry(Fields(each, said.where, todo=_AGAIN, within="dictionaries.")) for each in entries),
        tuple(runs),
        Read(
            read.whole("texts", low=0), read.whole("empty", low=0), read.whole("tokens", low=0), read.text("digest", "")
        ),
        tuple(parts),
        finished,
        said.flag("complete"),
        said.flag("resumable"),
    )


def _entry(said: Fields) -> Entry:
    said.only("fingerprint", "kind", "site", "size", "above")
    return Entry(
        said.text("fingerprint"),
        said.text("kind"),
        said.text("site"),
        said.whole("size", low=1, high=2**31),
        said.number("above"),
    )
