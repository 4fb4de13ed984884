"""Parts of an index: what was gathered since the last writing, and several of them made into one."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.corpus import pairs
from steerwidgets.corpus.gathering import Gathering, keeping, width
from steerwidgets.corpus.histogram import Histogram, quantile
from steerwidgets.corpus.index import CorpusIndex, directions_file
from steerwidgets.corpus.part_files import (
    FILE_FEATURES,
    SUMMARY,
    Block,
    DictionaryReader,
    DictionaryWriter,
    with_sources,
    write_arrays,
)
from steerwidgets.corpus.places import PARTNERS, Columns, chosen, joined, taken
from steerwidgets.corpus.texts import Read
from steerwidgets.files.atomic import atomically, made_folder, to_disk

if TYPE_CHECKING:
    from steerwidgets.corpus.manifest import Entry
    from steerwidgets.corpus.settings import Settings


COACTIVE: Final = 10
"""Of each feature, how many of those that fire at the same tokens are kept."""
_UNFINISHED: Final = "unfinished-"


def write_gathered(folder: Path, gatherings: Sequence[Gathering]) -> None:
    """Write what was gathered as a part; the folder appears when all of it is on the disk."""

    def write(fresh: Path) -> None:
        for at, gathering in enumerate(gatherings):
            _write(fresh / str(at), gathering)

    _appear(folder, write)


def merge_parts(folder: Path, parts: Sequence[Path], entries: Sequence[Entry], settings: Settings) -> None:
    """Make one part of several, with a summary of every feature; the folder appears when all of it is on the disk.

    Of one part after the other, only one file's features are held at a time.
    """

    def write(fresh: Path) -> None:
        for at, entry in enumerate(entries):
            _merge(fresh / str(at), [DictionaryReader(part / str(at), entry.size) for part in parts], entry, settings)

    _appear(folder, write)


def sweep(folder: Path, kept: Sequence[str]) -> None:
    """Remove what a killed run left: folders of parts that the index does not name."""
    for path in folder.iterdir():
        if path.is_dir() and path.name.startswith(("part-", _UNFINISHED)) and path.name not in kept:
            shutil.rmtree(path)


def _appear(folder: Path, write: Callable[[Path], Any]) -> None:
    fresh = folder.with_name(_UNFINISHED + folder.name)
    shutil.rmtree(fresh, ignore_errors=True)
    made_folder(fresh)
    write(fresh)
    for inside in (*(path for path in fresh.iterdir() if path.is_dir()), fresh):
        to_disk(inside)
    fresh.rename(folder)
    to_disk(folder.parent)


def _write(folder: Path, gathering: Gathering) -> None:
    size, histogram = gathering.dictionary.size, gathering.histogram
    writer, places = DictionaryWriter(folder, gathering.sources), gathering.places()
    for first in range(0, size, FILE_FEATURES):
        last = min(first + FILE_FEATURES, size)
        lengths, bins, counts = histogram.sparse(first, last)
        part = slice(first, last)
        found = no_places(width(gathering.settings, size)) if places is None else _of_features(places, first, last)
        writer.write(
            Block(
                first,
                histogram.maximum[part],
                gathering.lowest[part],
                histogram.below[part],
                lengths,
                bins,
                counts,
                found,
            )
        )
    writer.close(gathering.tokens, gathering.pairs.sparse() if gathering.pairs is not None else None)


def no_places(window: int) -> Columns:
    """A table without a row."""
    import numpy as np

    types = {
        "feature": np.int32,
        "kind": np.int8,
        "value": np.float32,
        "priority": np.uint64,
        "context": np.uint64,
        "text": np.uint64,
        "position": np.int32,
        "source": np.int32,
        "peak": np.int16,
        "length": np.int16,
    }
    lists = {"tokens": np.zeros((0, window), np.int32), "values": np.zeros((0, window), np.float32)}
    return {name: np.zeros(0, dtype) for name, dtype in types.items()} | lists


def _of_features(places: Columns, first: int, last: int) -> Columns:
    import numpy as np

    begin, end = np.searchsorted(places["feature"], [first, last])
    return taken(places, slice(begin, end))


def _merge(folder: Path, parts: Sequence[DictionaryReader], entry: Entry, settings: Settings) -> None:
    import numpy as np

    kept, exact = keeping(settings, entry.size), entry.size <= pairs.MOST_EXACT
    tokens = sum(part.tokens for part in parts)
    sources: list[str] = []
    writer = DictionaryWriter(folder, sources)
    blocks, noted = [], []
    for first in range(0, entry.size, FILE_FEATURES):
        last = min(first + FILE_FEATURES, entry.size)
        histogram, lowest = _summed([part.block(first, last) for part in parts], last - first)
        places, sources[:] = no_places(width(settings, entry.size)), []
        for part in parts:
            # One part after the other, so that no more than two are held.
            places, sources[:] = with_sources([(places, sources), part.places(first)])
            relative = places | {"feature": places["feature"] - first}
            places = taken(places, chosen(relative, histogram.maximum, kept))
        lengths, bins, counts = histogram.sparse(0, last - first)
        block = Block(first, histogram.maximum, lowest, histogram.below, lengths, bins, counts, places)
        writer.write(block)
        blocks.append(_described(block, tokens, histogram.active))
        if not exact:
            noted.append(taken(places, places["kind"] == PARTNERS))
    together = pairs.summed([part.pairs() for part in parts]) if exact else None
    writer.close(tokens, together)
    summary = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    if together is not None:
        keys, both = together
        active = summary["active"].astype(np.float64)
        strength = both / np.sqrt(active[keys // entry.size] * active[keys % entry.size])
    else:
        keys, strength = pairs.cosines(*pairs.shares(joined(noted), entry.size), entry.size)
    ids, values = pairs.strongest(keys, strength, entry.size, COACTIVE)
    write_arrays(folder / SUMMARY, summary | {"coactive.ids": ids, "coactive.values": values})


def _summed(blocks: Sequence[Block], size: int) -> tuple[Histogram, Any]:
    import numpy as np

    histogram = Histogram.empty(size, np.int64)
    for block in blocks:
        histogram.maximum = np.maximum(histogram.maximum, block.maximum)
        histogram.add_bins(np.repeat(np.arange(size), block.lengths), block.bins, block.counts)
        histogram.below += block.below
    return histogram, np.minimum.reduce([block.lowest for block in blocks])


def _described(block: Block, tokens: int, active: Any) -> dict[str, Any]:
    """Statistics of the features of a block, as `FeatureStatistics` has them, and how many tokens each is active at."""
    import numpy as np

    ends = np.cumsum(block.lengths)
    found = np.full((2, len(ends)), np.nan, dtype=np.float32)
    for at, (end, length) in enumerate(zip(ends, block.lengths, strict=True)):
        inside = slice(end - length, end)
        for row, share in enumerate((0.5, 0.995)):
            found[row, at] = quantile(block.bins[inside], block.counts[inside], int(block.below[at]), share)
    fires = active > 0
    return {
        "maximum": np.where(fires, block.maximum, np.nan).astype(np.float32),
        "typical": found[0],
        "p995": found[1],
        "density": (active / max(tokens, 1)).astype(np.float32),
        "active": active,
        "lowest": block.lowest,
    }


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
    made_folder(folder)
    parts = [index.path / manifest.parts[0] for index, manifest in zip(indexes, found, strict=True)]
    merge_parts(folder / _PART, parts, first.dictionaries, first.settings)
    for number in range(len(first.dictionaries)):
        held = (directions_file(index.path, number) for index in indexes)
        if (source := next((path for path in held if path.is_file()), None)) is not None:
            with atomically(directions_file(folder, number)) as fresh:
                shutil.copyfile(source, fresh)
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
