"""Makes one index of indexes of parts of a corpus."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from steerwidgets.corpus.index import CorpusIndex, directions_file
from steerwidgets.corpus.part_files import to_disk
from steerwidgets.corpus.parts import merge_parts
from steerwidgets.corpus.texts import Read

_PART = "part-000001"


def merge(paths: Sequence[str | Path], folder: Path) -> CorpusIndex:
    """See `steerwidgets.corpus.merge`."""
    if isinstance(paths, str | Path) or not paths:
        raise ValueError("merge needs the paths of several corpus indexes in a list.")
    indexes = [CorpusIndex(path) for path in paths]
    found = [index._manifest for index in indexes]  # noqa: SLF001 - of this package
    first = found[0]
    for path, manifest in zip(paths, found, strict=True):
        if (difference := first.difference(manifest)) is not None:
            raise ValueError(
                f"Only indexes of parts of one corpus merge, but at {str(path)!r} the {difference} as at "
                f"{str(paths[0])!r}."
            )
    runs = [run for manifest in found for run in manifest.runs]
    if len(set(runs)) < len(runs):
        raise ValueError("One of the indexes to merge is in another one already, so its texts would count twice.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"A merged index needs an empty folder, but {str(folder)!r} holds something; give another path."
        )
    folder.mkdir(parents=True, exist_ok=True)
    parts = [index.path / manifest.parts[0] for index, manifest in zip(indexes, found, strict=True)]
    merge_parts(folder / _PART, parts, first.dictionaries, first.settings)
    for number in range(len(first.dictionaries)):
        held = (directions_file(index.path, number) for index in indexes)
        if (source := next((path for path in held if path.is_file()), None)) is not None:
            shutil.copyfile(source, directions_file(folder, number))
            to_disk(directions_file(folder, number))
    names = dict.fromkeys(manifest.name for manifest in found)
    reads = [manifest.read for manifest in found]
    merged = dataclasses.replace(
        first,
        name=" + ".join(names),
        runs=tuple(runs),
        read=Read(*(sum(getattr(read, name) for read in reads) for name in ("texts", "empty", "tokens"))),
        parts=(_PART,),
        finished=True,
        complete=all(manifest.complete for manifest in found),
        resumable=False,
    )
    merged.write(folder)
    return CorpusIndex(folder)
