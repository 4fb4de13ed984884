"""Where the questions of a lab keep what is said to them: one record in memory, and its file.

Several books may keep one file: a first cell that ran twice, or two notebooks of one student, each in its own kernel.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from steerwidgets.files.atomic import made_folder
from steerwidgets.lab.record import Entry, LabRecord
from steerwidgets.widgets.protocol import Worker


class Book:
    """One student's record and its file.

    Attributes:
        file: where it is kept.
        record: what it holds now.
    """

    def __init__(self, file: Path, record: LabRecord) -> None:
        self.file = file
        self.record = record
        self._guard = threading.RLock()
        self._worker = Worker("Lab-worker", lambda _error: None)
        self._is_waiting = False
        self._kept_here: set[str] = set()
        self._seen = _stand(file)

    def entry(self, key: str) -> Entry:
        """A question as it stands; one that nobody asked yet has nothing in it."""
        return self.record.entries.get(key, Entry(key))

    def note(self, entry: Entry) -> None:
        """Keep a question as it is now, in memory."""
        with self._guard:
            self.record = self.record.with_entry(entry)

    def note_kept(self, name: str, value: Any) -> None:
        """Keep something under a name, in memory."""
        with self._guard:
            self.record = self.record.with_kept(name, value)
            self._kept_here.add(name)

    def put(self, entry: Entry) -> None:
        """Keep a question as it is now, on the disk.

        Raises:
            OSError: it can't be written; it is kept in memory.
        """
        self.note(entry)
        self.save()

    def save(self) -> None:
        """Write the file, with what others wrote into it meanwhile.

        Raises:
            OSError: it can't be written.
        """
        with self._guard:
            if _stand(self.file) not in (None, self._seen):
                with contextlib.suppress(OSError, ValueError):  # damaged by somebody: this record is whole
                    self.record = self.record.with_later(LabRecord.load(self.file), self._kept_here)
            self.record = replace(self.record, saved=round(time.time(), 1))
            made_folder(self.file.parent)
            self.record.save(self.file)
            self._seen = _stand(self.file)
            self._kept_here.clear()

    def save_soon(self) -> None:
        """Write what nobody waits for, many changes at once; where that fails, the next answer says why."""
        with self._guard:
            if self._is_waiting:
                return
            self._is_waiting = True
        self._worker.submit(self._save_now)

    def _save_now(self) -> None:
        with self._guard:
            self._is_waiting = False
        with contextlib.suppress(OSError):
            self.save()


def _stand(file: Path) -> object:
    """What tells whether a file was written since; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
