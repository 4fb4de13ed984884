"""Reads a corpus into an index in one pass, written so that a kill loses little and nothing counts twice."""

from __future__ import annotations

import dataclasses
import itertools
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.corpus.directions import Stopped, write_directions
from steerwidgets.corpus.firing import Batch, Firing
from steerwidgets.corpus.gathering import Gathering
from steerwidgets.corpus.index import CorpusIndex, directions_file
from steerwidgets.corpus.manifest import FILE, Entry, Manifest
from steerwidgets.corpus.on_ray import FOLDER, Ray, ray_module, read_parts, shards
from steerwidgets.corpus.part_files import pyarrow
from steerwidgets.corpus.parts import merge_parts, sweep, write_gathered
from steerwidgets.corpus.progress import OnProgress, Pace, Progress
from steerwidgets.corpus.reader import Reader, told_apart
from steerwidgets.corpus.texts import Piece, Window, checked, windows
from steerwidgets.files.atomic import made_folder
from steerwidgets.steering.hooks import warn_of_other_model

if TYPE_CHECKING:
    from steerwidgets.corpus.settings import Settings
    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.transformer.loaded import LoadedModel

_WRITE_AFTER: Final = 60.0
"""Seconds of reading that a kill may cost, about; more where writing takes long."""
_WRITE_SHARE: Final = 50
"""Reading goes on for at least so many times as long as the last writing took."""
_ROWS: Final = 1_500_000
"""Places held in memory before they are written: about 0.5 GB with 31 tokens each."""
_PARTS: Final = 8
"""Parts that are made into one."""
_MOST_SOURCES: Final = 4096
"""Names of sources that are told apart; the places of further ones have the corpus' own."""


@dataclass
class Build:
    """One run over texts.

    Attributes:
        lm: the model.
        dictionaries: whose features.
        folder: of the index.
        manifest: what is on the disk.
        stop: set it to end with what was read so far.
        on_progress: called after every batch.
        ray: on which machines; None for this process.
    """

    lm: LoadedModel
    dictionaries: Sequence[Dictionary]
    folder: Path
    manifest: Manifest
    stop: threading.Event | None
    on_progress: OnProgress
    ray: Ray | None = None

    def __post_init__(self) -> None:
        self._sources = [self.manifest.name]
        self._numbers = {self.manifest.name: 0}
        settings = self.manifest.settings
        self._gatherings = [Gathering(dictionary, settings, self._sources) for dictionary in self.dictionaries]
        self._reader = Reader(self.lm, self.dictionaries)
        self._read, self._counting = self.manifest.read, False
        self._written_at, self._writing_took = time.monotonic(), 0.0

    def run(self, texts: Iterable[Any], max_tokens: int | None) -> None:
        """Read what is left of the texts, and finish.

        Args:
            texts: all texts, those read already included.
            max_tokens: how many tokens of the texts' own at most, to the end of a window of texts; None for all.
        """
        try:
            complete = self._read_texts(texts, max_tokens)
        except BaseException:
            # Whatever ended it, what was counted is kept: the next run goes on from there.
            if not self._counting:
                self._write()
            raise
        self._finish(complete=complete)

    def _read_texts(self, texts: Iterable[Any], max_tokens: int | None) -> bool:
        """Whether nothing is left to read."""
        if max_tokens is not None and self._read.tokens >= max_tokens:
            return True
        pace = Pace(_length(texts), max_tokens, self._read)
        wanted = self._wanted(texts, max_tokens)
        if self.ray is not None:
            return self._read_on_ray(self.ray, wanted, pace)
        for window in wanted:
            if not self._count(window, pace):
                return False
            if self._due():
                self._write()
        return True

    def _wanted(self, texts: Iterable[Any], max_tokens: int | None) -> Iterator[Window]:
        """The windows that have not been read, up to the one that holds the last token wanted."""
        before = self._read
        skip = lambda number: self.on_progress(Progress("skipping", number, before.texts, before.tokens))
        for window in windows(self.lm, texts, self.manifest.settings, before, skip):
            yield window
            if max_tokens is not None and window.read.tokens >= max_tokens:
                return

    def _read_on_ray(self, ray: Ray, wanted: Iterator[Window], pace: Pace) -> bool:
        """The parts that other processes write, each taken when all before it are."""
        settings = self.manifest.settings
        given = shards(wanted, settings, self._source, self._sources)
        for path, read in read_parts(self.lm, self.dictionaries, settings, self.folder, ray, given, self.stop):
            path.rename(self.folder / (name := self._next_part()))
            self._read = read
            self._note(parts=(*self.manifest.parts, name), read=read, finished=False)
            if len(self.manifest.parts) >= _PARTS:
                self._merge(finished=False)
            pace.tokens = read.tokens
            self.on_progress(pace.progress(read.texts))
        return not self._stopped()

    def _count(self, window: Window, pace: Pace) -> bool:
        """Read a window of texts, and count it when it is read; False where it was left."""
        found: list[tuple[Batch, list[Firing]]] = []
        done = 0
        for pieces in window.batches(self.manifest.settings.batch_tokens):
            if self._stopped():
                return False
            found.append(self._fire(pieces))
            done += len(pieces)
            pace.tokens += sum(int(piece.own.sum()) for piece in pieces)
            self.on_progress(pace.progress(window.texts_after(self._read, done)))
        self._counting = True
        for batch, firings in found:
            for gathering, firing in zip(self._gatherings, firings, strict=True):
                gathering.add(batch, firing)
        self._read, self._counting = window.read, False
        return True

    def _stopped(self) -> bool:
        return self.stop is not None and self.stop.is_set()

    def _fire(self, pieces: Sequence[Piece]) -> tuple[Batch, list[Firing]]:
        return self._reader.fire(pieces, [self._source(piece.source) for piece in pieces])

    def _source(self, name: str | None) -> int:
        if name is None or (name not in self._numbers and len(self._sources) >= _MOST_SOURCES):
            return 0
        if name not in self._numbers:
            self._numbers[name] = len(self._sources)
            self._sources.append(name)
        return self._numbers[name]

    def _due(self) -> bool:
        waited = time.monotonic() - self._written_at
        full = sum(gathering.rows for gathering in self._gatherings) > _ROWS
        return full or waited > max(_WRITE_AFTER, _WRITE_SHARE * self._writing_took)

    def _write(self) -> None:
        """Put what was gathered on the disk, and then say so, in one step each."""
        begun = time.monotonic()
        if self._read.texts > self.manifest.read.texts:
            name = self._next_part()
            write_gathered(self.folder / name, self._gatherings)
            self._note(parts=(*self.manifest.parts, name), read=self._read, finished=False)
            for gathering in self._gatherings:
                gathering.clear()
        if len(self.manifest.parts) >= _PARTS:
            self._merge(finished=False)
        self._written_at = time.monotonic()
        self._writing_took = self._written_at - begun

    def _merge(self, **said: Any) -> None:
        name = self._next_part()
        parts = [self.folder / part for part in self.manifest.parts]
        merge_parts(self.folder / name, parts, self.manifest.dictionaries, self.manifest.settings)
        self._note(parts=(name,), **said)
        sweep(self.folder, (*self.manifest.parts, FOLDER))

    def _finish(self, *, complete: bool) -> None:
        self._write()
        sweep(self.folder, self.manifest.parts)
        if not self.manifest.parts:
            write_gathered(self.folder / (name := self._next_part()), self._gatherings)
            self._note(parts=(name,))
        if not self.manifest.finished:
            self._merge(finished=False)
        try:
            for at, dictionary in enumerate(self.dictionaries):
                path = directions_file(self.folder, at)
                if not path.is_file():
                    report = lambda done, of: self.on_progress(Progress("directions", done, of, self._read.tokens))
                    write_directions(path, self.lm, dictionary, report, self.stop)
        except Stopped:
            pass
        self._note(finished=True, complete=complete)

    def _note(self, **changes: Any) -> None:
        self.manifest = dataclasses.replace(self.manifest, **changes)
        self.manifest.write(self.folder)

    def _next_part(self) -> str:
        taken = [int(name.removeprefix("part-")) for name in self.manifest.parts]
        return next(
            name
            for name in (f"part-{number:06}" for number in itertools.count(max(taken, default=0) + 1))
            if not (self.folder / name).exists()
        )


def build(
    lm: LoadedModel,
    dictionaries: Sequence[Dictionary],
    texts: Any,
    folder: Path,
    *,
    settings: Settings,
    max_tokens: int | None,
    name: str,
    on_progress: OnProgress,
    stop: threading.Event | None,
    ray: Ray | None = None,
) -> CorpusIndex:
    """See `steerwidgets.corpus.build`."""
    from filelock import FileLock, Timeout

    pyarrow()
    if ray is not None:
        ray_module()
    checked(texts)
    _check(lm, dictionaries, max_tokens)
    lm.architecture.refuse_training()
    made_folder(folder)
    try:
        with FileLock(folder / ".lock", timeout=0):
            manifest = _manifest(lm, dictionaries, folder, settings, name)
            Build(lm, dictionaries, folder, manifest, stop, on_progress, ray).run(texts, max_tokens)
    except Timeout:
        raise RuntimeError(
            f"Another run is building the corpus index at {str(folder)!r}; wait for it, or give another path."
        ) from None
    return CorpusIndex(folder)


def _manifest(
    lm: LoadedModel, dictionaries: Sequence[Dictionary], folder: Path, settings: Settings, name: str
) -> Manifest:
    """What is at the path already, if it is of the same; else a new one."""
    entries = tuple(Entry.of(dictionary) for dictionary in dictionaries)
    wanted = Manifest(name, told_apart(lm), settings, entries, (secrets.token_hex(8),))
    if not (folder / FILE).is_file():
        if strange := [path.name for path in folder.iterdir() if not _is_own(path.name)]:
            raise ValueError(
                f"A corpus index needs a folder of its own, but {str(folder)!r} holds {strange[0]}; give another path."
            )
        wanted.write(folder)
    found = Manifest.load(folder)
    if (difference := wanted.difference(found)) is not None:
        raise ValueError(
            f"{str(folder)!r} holds a corpus index whose {difference}; give the same to go on with it, or another path."
        )
    if not found.resumable:
        raise ValueError(
            f"The corpus index at {str(folder)!r} was merged from others, so nothing can be added to it; build another "
            "part and merge again."
        )
    sweep(folder, found.parts)
    return found


def _is_own(name: str) -> bool:
    """Whether a name is of what a run leaves that was ended by Ctrl-C, a kill or a full disk."""
    return name.startswith((".", "part-", "unfinished-")) or name.endswith(".new")


def _check(lm: LoadedModel, dictionaries: Sequence[Dictionary], max_tokens: int | None) -> None:
    if not dictionaries:
        raise ValueError("A corpus index needs a dictionary, one or several, but none was given.")
    if max_tokens is not None and (isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1):
        raise ValueError(f"max_tokens is a whole number above 0, or None for all, but {max_tokens!r} was given.")
    prints = [dictionary.fingerprint for dictionary in dictionaries]
    if twice := [each for each in dictionaries if prints.count(each.fingerprint) > 1]:
        raise ValueError(f"{twice[0]!r} was given twice; give every dictionary once.")
    for dictionary in dictionaries:
        width = lm.architecture.width(dictionary.site)
        if dictionary.d_model != width:
            raise ValueError(
                f"The {dictionary.kind} dictionary at {dictionary.site} reads {dictionary.d_model} numbers, but "
                f"{lm.architecture.name} has {width} there; it was made for another model."
            )
        warn_of_other_model(lm.architecture, dictionary)


def _length(texts: Any) -> int | None:
    try:
        return len(texts)
    except TypeError:
        return None
