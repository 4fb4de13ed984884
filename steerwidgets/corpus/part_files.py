"""A part of an index on disk: counts as safetensors, places as Parquet, both ordered by feature."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from steerwidgets.corpus.histogram import bin_of
from steerwidgets.corpus.places import Columns, joined
from steerwidgets.files.atomic import atomically, made_folder

FILE_FEATURES: Final = 4096
"""Features in one Parquet file, so that none has a long footer."""
GROUP_FEATURES: Final = 16
"""Features in one of its row groups: what is read to see one feature."""

_COUNTS: Final = "counts.safetensors"
_PAIRS: Final = "pairs.safetensors"
SUMMARY: Final = "summary.safetensors"
_WIDEST: Final = 1 << 16
"""More tokens than any place has with its context."""


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

        made_folder(self.folder)
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

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.counts = Arrays(folder / _COUNTS)
        each = dict.fromkeys(("maximum", "lowest", "below"), (size,)) | dict.fromkeys(("starts", "places"), (size + 1,))
        self.counts.expect(each | {"tokens": (1,), "bins": (None,), "counts": (None,)}, real=("maximum", "lowest"))

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

    def histogram(self, feature: int) -> tuple[Any, Any, int, float]:
        """The bins of one feature with their counts, what lies below them, and its maximum.

        Raises:
            ValueError: they contradict each other.
        """
        counts = self.counts
        begin, end = (int(start) for start in counts.some("starts", feature, feature + 2))
        if not 0 <= begin <= end <= min(counts.lengths["bins"], counts.lengths["counts"]):
            raise damaged(counts.path)
        bins, of_bins = (counts.some(name, begin, end) for name in ("bins", "counts"))
        below, maximum = (counts.some(name, feature, feature + 1)[0] for name in ("below", "maximum"))
        top = int(bin_of([maximum])[0]) if maximum > 0 else -1
        if len(bins) and not (int(bins.min()) >= 0 and int(bins.max()) <= top and int(of_bins.min()) >= 0):
            raise damaged(counts.path)
        return bins, of_bins, int(below), float(maximum)

    @property
    def tokens(self) -> int:
        """How many tokens counted."""
        return max(0, int(self.counts.all("tokens")[0]))

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
        from safetensors import safe_open

        self.path = path
        with _reading(path):
            opened: Any = safe_open(path, "np")
            self._file = opened
            names: Any = self._file.keys()
            self.names = frozenset(names)
            slices = {name: self._file.get_slice(name) for name in self.names}
            self._shapes = {name: tuple(each.get_shape()) for name, each in slices.items()}
            self._kinds = {name: str(each.get_dtype())[0] for name, each in slices.items()}
        self.lengths = {name: shape[0] if shape else 0 for name, shape in self._shapes.items()}

    def expect(self, shapes: Mapping[str, tuple[int | None, ...]], *, real: Sequence[str] = ()) -> None:
        """Refuse the file where an array is missing, of another shape, or of another kind of numbers.

        Args:
            shapes: of each array; None for a length that nothing says.
            real: those of real numbers; the others are of whole ones.

        Raises:
            ValueError: one is.
        """
        for name, wanted in shapes.items():
            found = self._shapes.get(name)
            fits = found is not None and len(found) == len(wanted)
            fits = fits and all(length in (None, n) for n, length in zip(found or (), wanted, strict=True))
            if not fits or (self._kinds[name] == "F") != (name in real):
                held = "missing" if found is None else f"of shape {list(found)}"
                raise damaged(self.path, f"{name} in it is {held}")

    def some(self, name: str, first: int, last: int) -> Any:
        """Rows `first` to `last` of an array; nothing else is read."""
        with _reading(self.path):
            found = self._file.get_slice(name)
            # An empty slice at the end of an array is refused; one at its beginning is not, unless all of it is empty.
            if first == last:
                return found[:0] if found.get_shape()[0] else self._file.get_tensor(name)
            return found[first:last]

    def all(self, name: str) -> Any:
        """A whole array."""
        with _reading(self.path):
            return self._file.get_tensor(name)


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a safetensors file through to the disk."""
    import numpy as np
    from safetensors.numpy import save_file

    with atomically(path) as fresh:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, fresh)


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
    settings: dict[str, Any] = {"compression": "zstd", "write_statistics": False}
    with atomically(path) as fresh, arrow.parquet.ParquetWriter(fresh, table.schema, **settings) as writer:
        for begin in range(0, len(starts) - 1, GROUP_FEATURES):
            end = min(begin + GROUP_FEATURES, len(starts) - 1)
            rows = int(starts[end] - starts[begin])
            writer.write_table(table.slice(int(starts[begin]), rows), row_group_size=max(rows, 1))


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
    with _reading(path):
        return arrow.parquet.ParquetFile(path, memory_map=True)


def read_places(path: Path, group: int | None, file: Any = None) -> tuple[Columns, list[str]]:
    """Places and the names of sources: of one row group, or all.

    Raises:
        ValueError: the file is missing or damaged.
    """
    import numpy as np

    arrow = pyarrow()
    file = file or open_parquet(path)
    with _reading(path):
        table = file.read(use_threads=False) if group is None else file.read_row_group(group, use_threads=False)
        columns = {name: table.column(name).to_numpy() for name in _PLAIN}
        source = table.column("source").combine_chunks()
        source = source if isinstance(source, arrow.DictionaryArray) else source.dictionary_encode()
        lists = {name: table.column(name).combine_chunks() for name in _LISTS}
        room = int(table.schema.metadata[b"width"])
        length = np.diff(lists["tokens"].offsets.to_numpy())
        if not 0 <= room <= _WIDEST or (len(length) and int(length.max()) > room):
            raise damaged(path)
        inside = np.arange(room) < length[:, None]
        for name, array in lists.items():
            flat = array.flatten().to_numpy()
            columns[name] = np.zeros(inside.shape, dtype=flat.dtype)
            columns[name][inside] = flat
        indices, names = source.indices.to_numpy().astype(np.int32), source.dictionary.to_pylist()
        columns |= {"length": length.astype(np.int16), "source": indices}
        if len({len(column) for column in columns.values()}) > 1 or (len(indices) and int(indices.max()) >= len(names)):
            raise damaged(path)
    return columns, names


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


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever safetensors and pyarrow make of a damaged file is one sentence."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - they fail in whatever way comes first
        said = str(error) if isinstance(error, ValueError) and "corpus index" in str(error) else ""
        raise (ValueError(said) if said else damaged(path)) from None


def damaged(path: Path, why: str = "") -> ValueError:
    """The sentence of a file of an index that can't be used."""
    what = why or ("it is damaged or cut" if path.exists() else "it is missing")
    return ValueError(
        f"{path.name} of the corpus index in {str(path.parent)!r} can't be read ({what}); build it again."
    )
