"""Where the questions of a lab keep what is said to them: one record in memory, and its file."""

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

    def put(self, entry: Entry) -> None:
        """Keep a question as it is now, on the disk.

        Raises:
            OSError: it can't be written; it is kept in memory.
        """
        self.note(entry)
        self.save()

    def save(self) -> None:
        """Write the file.

        Raises:
            OSError: it can't be written.
        """
        with self._guard:
            self.record = replace(self.record, saved=round(time.time(), 1))
            made_folder(self.file.parent)
            self.record.save(self.file)

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
