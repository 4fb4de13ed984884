"""A part of an index on disk: counts as safetensors, places as Parquet, both ordered by feature."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from steerwidgets.corpus.places import Columns, joined

FILE_FEATURES: Final = 4096
"""Features in one Parquet file, so that none has a long footer."""
GROUP_FEATURES: Final = 16
"""Features in one of its row groups: what is read to see one feature."""

_COUNTS: Final = "counts.safetensors"
_PAIRS: Final = "pairs.safetensors"
SUMMARY: Final = "summary.safetensors"


@dataclass
class Block:
    """What is known of the features from `first` on.

    Attributes:
        first: the first feature.
        maximum: float32 [feature].
        lowest: float32 [feature].
        below: int64 [feature], see `histogram.Histogram`.
        lengths: int64 [feature], how many bins have a count.
        bins: int32 [bin], one feature after the other.
        counts: int64 [bin].
        places: the places, ordered by feature.
    """

    first: int
    maximum: Any
    lowest: Any
    below: Any
    lengths: Any
    bins: Any
    counts: Any
    places: Columns


@dataclass
class DictionaryWriter:
    """Writes what is known of one dictionary, one block after the other.

    Args:
        folder: where to.
        sources: the names that the places' `source` counts through.
    """

    folder: Path
    sources: Sequence[str]
    _blocks: list[dict[str, Any]] = field(default_factory=list)

    def write(self, block: Block) -> None:
        """Add the next `FILE_FEATURES` features, or as many as are left."""
        import numpy as np

        self.folder.mkdir(parents=True, exist_ok=True)
        size = len(block.maximum)
        feature = block.places["feature"] - block.first
        starts = np.searchsorted(feature, np.arange(size + 1))
        write_places(_places_file(self.folder, block.first), block.places, starts, self.sources)
        kept = {name: getattr(block, name) for name in ("maximum", "lowest", "below", "lengths", "bins", "counts")}
        self._blocks.append(kept | {"places": np.diff(starts)})

    def close(self, tokens: int, pairs: tuple[Any, Any] | None) -> None:
        """Write the counts, and those of pairs where they are kept."""
        import numpy as np

        arrays = {name: np.concatenate([block[name] for block in self._blocks]) for name in self._blocks[0]}
        arrays["starts"] = np.append(0, np.cumsum(arrays.pop("lengths"))).astype(np.int64)
        arrays["places"] = np.append(0, np.cumsum(arrays["places"])).astype(np.int64)
        arrays["counts"] = arrays["counts"].astype(np.int64)
        write_arrays(self.folder / _COUNTS, arrays | {"tokens": np.array([tokens], dtype=np.int64)})
        if pairs is not None:
            write_arrays(self.folder / _PAIRS, {"keys": pairs[0], "counts": pairs[1]})


class DictionaryReader:
    """What is known of one dictionary, read as it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts = Arrays(folder / _COUNTS)

    def block(self, first: int, last: int) -> Block:
        """The features `first` to `last`, without their places."""
        starts = self.counts.some("starts", first, last + 1)
        found = {name: self.counts.some(name, first, last) for name in ("maximum", "lowest", "below")}
        bins, counts = (self.counts.some(name, int(starts[0]), int(starts[-1])) for name in ("bins", "counts"))
        return Block(first, **found, lengths=starts[1:] - starts[:-1], bins=bins, counts=counts, places={})

    def places(self, first: int) -> tuple[Columns, list[str]]:
        """The places of the `FILE_FEATURES` features from `first` on, and the names of sources."""
        return read_places(_places_file(self.folder, first), None)

    def pairs(self) -> tuple[Any, Any]:
        """The counts of pairs; see `pairs.Pairs.sparse`."""
        arrays = Arrays(self.folder / _PAIRS)
        return arrays.all("keys"), arrays.all("counts")

    @property
    def tokens(self) -> int:
        """How many tokens counted."""
        return int(self.counts.all("tokens")[0])

    def places_of(self, feature: int, open_files: dict[Path, Any]) -> tuple[Columns, list[str]]:
        """The places of one feature; of its file only one row group is read.

        Args:
            feature: which.
            open_files: files that are open already; the one needed is added.
        """
        import numpy as np

        first = feature // FILE_FEATURES * FILE_FEATURES
        path = _places_file(self.folder, first)
        if path not in open_files:
            open_files[path] = open_parquet(path)
        columns, sources = read_places(path, (feature - first) // GROUP_FEATURES, open_files[path])
        rows = np.flatnonzero(columns["feature"] == feature)
        return {name: column[rows] for name, column in columns.items()}, sources


class Arrays:
    """The arrays of a safetensors file, read whole or in slices.

    Raises:
        ValueError: the file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._explained():
            from safetensors import safe_open

            opened: Any = safe_open(path, "np")
            self._file = opened
            names: Any = self._file.keys()
            self.names = frozenset(names)

    def some(self, name: str, first: int, last: int) -> Any:
        """Rows `first` to `last` of an array; nothing else is read."""
        with self._explained():
            found = self._file.get_slice(name)
            # An empty slice at the end of an array is refused; one at its beginning is not, unless all of it is empty.
            if first == last:
                return found[:0] if found.get_shape()[0] else self._file.get_tensor(name)
            return found[first:last]

    def all(self, name: str) -> Any:
        """A whole array."""
        with self._explained():
            return self._file.get_tensor(name)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        from safetensors import SafetensorError

        try:
            yield
        except (SafetensorError, OSError) as error:
            raise _damaged(self.path, error) from None


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a safetensors file through to the disk."""
    import numpy as np
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    path.chmod(0o644)
    to_disk(path)


def to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def pyarrow() -> Any:
    """The package that reads and writes Parquet.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'A corpus index needs pyarrow, which is not installed: pip install "steerwidgets[corpus]".'
        ) from None
    return pa


def write_places(path: Path, places: Columns, starts: Any, sources: Sequence[str]) -> None:
    """Write places, ordered by feature, with `GROUP_FEATURES` features to a row group.

    Args:
        path: the file.
        places: the places.
        starts: int64 [feature + 1], where each feature's begin.
        sources: the names that `source` counts through.
    """
    arrow = pyarrow()
    table = _table(arrow, places, sources)
    with arrow.parquet.ParquetWriter(path, table.schema, compression="zstd", write_statistics=False) as writer:
        for begin in range(0, len(starts) - 1, GROUP_FEATURES):
            end = min(begin + GROUP_FEATURES, len(starts) - 1)
            rows = int(starts[end] - starts[begin])
            writer.write_table(table.slice(int(starts[begin]), rows), row_group_size=max(rows, 1))
    to_disk(path)


_PLAIN: Final = ("feature", "kind", "value", "priority", "context", "text", "position", "peak")
_LISTS: Final = ("tokens", "values")


def _table(arrow: Any, places: Columns, sources: Sequence[str]) -> Any:
    import numpy as np

    length = places["length"]
    inside = np.arange(places["tokens"].shape[1]) < length[:, None]
    offsets = arrow.array(np.append(0, np.cumsum(length)).astype(np.int32))
    lists = {name: arrow.ListArray.from_arrays(offsets, arrow.array(places[name][inside])) for name in _LISTS}
    names = arrow.array(list(sources) or [""], arrow.string())
    source = arrow.DictionaryArray.from_arrays(arrow.array(places["source"]), names)
    plain = {name: arrow.array(places[name]) for name in _PLAIN}
    width = {b"width": str(places["tokens"].shape[1]).encode()}
    return arrow.table(plain | {"source": source} | lists).replace_schema_metadata(width)


def open_parquet(path: Path) -> Any:
    """A Parquet file whose footer is read.

    Raises:
        ValueError: it is missing or damaged.
    """
    arrow = pyarrow()
    try:
        return arrow.parquet.ParquetFile(path, memory_map=True)
    except (arrow.ArrowException, OSError) as error:
        raise _damaged(path, error) from None


def read_places(path: Path, group: int | None, file: Any = None) -> tuple[Columns, list[str]]:
    """Places and the names of sources: of one row group, or all.

    Raises:
        ValueError: the file is missing or damaged.
    """
    import numpy as np

    arrow = pyarrow()
    file = file or open_parquet(path)
    try:
        table = file.read(use_threads=False) if group is None else file.read_row_group(group, use_threads=False)
        columns = {name: table.column(name).to_numpy() for name in _PLAIN}
        source = table.column("source").combine_chunks()
        source = source if isinstance(source, arrow.DictionaryArray) else source.dictionary_encode()
        lists = {name: table.column(name).combine_chunks() for name in _LISTS}
        room = int(table.schema.metadata[b"width"])
    except (arrow.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from None
    length = np.diff(lists["tokens"].offsets.to_numpy())
    inside = np.arange(room) < length[:, None]
    for name, array in lists.items():
        flat = array.flatten().to_numpy()
        columns[name] = np.zeros(inside.shape, dtype=flat.dtype)
        columns[name][inside] = flat
    columns |= {"length": length.astype(np.int16), "source": source.indices.to_numpy().astype(np.int32)}
    return columns, source.dictionary.to_pylist()


def with_sources(parts: Sequence[tuple[Columns, Sequence[str]]]) -> tuple[Columns, list[str]]:
    """Places of several files in one table, with one list of sources."""
    import numpy as np

    names = list(dict.fromkeys(name for _, sources in parts for name in sources))
    found = []
    for places, sources in parts:
        turned = np.array([names.index(name) for name in sources] or [0], dtype=np.int32)
        found.append(places | {"source": turned[places["source"]]})
    return joined(found), names


def _places_file(folder: Path, first: int) -> Path:
    return folder / f"places-{first // FILE_FEATURES:05}.parquet"


def _damaged(path: Path, error: Exception) -> ValueError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ValueError(
        f"{path.name} of the corpus index in {str(path.parent)!r} can't be read ({reason}); build it again."
    )
