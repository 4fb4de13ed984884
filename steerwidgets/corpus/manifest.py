"""What a corpus index says of itself: one JSON file, replaced in one step."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.corpus.part_files import to_disk
from steerwidgets.corpus.settings import Settings
from steerwidgets.corpus.texts import Read

if TYPE_CHECKING:
    from steerwidgets.dictionaries.base import Dictionary

FILE: Final = "index.json"
FORMAT: Final = "steerwidgets corpus index"
VERSION: Final = 1


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
        fresh = folder / f"{FILE}.new"
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(said, file, indent=1, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(folder / FILE)
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
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            version = said.pop("version") if said.pop("format") == FORMAT else None
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, AttributeError, TypeError):
            version = None
        if version is None:
            raise ValueError(f"{FILE} in {str(folder)!r} is damaged, or not of a corpus index; build it again.")
        if version != VERSION:
            raise ValueError(
                f"The corpus index at {str(folder)!r} has version {version}, and this steerwidgets reads version "
                f"{VERSION}; build it again, or update steerwidgets."
            )
        try:
            return cls(
                **{
                    **said,
                    "settings": Settings.from_json(said["settings"]),
                    "dictionaries": tuple(Entry(**entry) for entry in said["dictionaries"]),
                    "runs": tuple(said["runs"]),
                    "read": Read(**said["read"]),
                    "parts": tuple(_plain_name(name) for name in said["parts"]),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{FILE} in {str(folder)!r} is damaged ({error}); build it again.") from None

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


def _plain_name(name: str) -> str:
    if not isinstance(name, str) or Path(name).name != name:
        raise ValueError(f"{name!r} is no folder of the index")
    return name
