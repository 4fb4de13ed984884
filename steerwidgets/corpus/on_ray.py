"""Reads a corpus with many models at once, on Ray Data: shards of texts go out, parts of the index come back.

The texts are cut into windows here, as in a run of one process, and some windows in a row are a shard. A shard is read
by one of several actors, each with a model of its own, which writes a part of the index and sends its number alone. The
parts are taken in the order of the texts, so that whatever ends the run, the index knows up to where it has read.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.corpus.gathering import Gathering
from steerwidgets.corpus.part_files import pyarrow
from steerwidgets.corpus.parts import write_gathered
from steerwidgets.corpus.reader import Reader, told_apart
from steerwidgets.corpus.texts import Piece, Read, Window
from steerwidgets.files.atomic import made_folder
from steerwidgets.files.fields import is_finite, is_whole
from steerwidgets.files.shown import shown
from steerwidgets.transformer.loaded import LoadedModel

if TYPE_CHECKING:
    from steerwidgets.corpus.settings import Settings
    from steerwidgets.dictionaries.base import Dictionary

FOLDER: Final = "unfinished-ray"
"""Where actors write their parts, beside those of the index."""

_SHARD_WINDOWS: Final = 32
"""Windows of texts in a shard: on a GPU about two million tokens, which is what a dead actor costs."""
_AHEAD: Final = 2
"""Shards that wait for each actor."""
_LOOK: Final = 0.2
"""Seconds between two looks at whether anybody still wants the next shard."""


@dataclass(frozen=True)
class Ray:
    """How `sw.corpus.build(…, executor=sw.corpus.Ray(…))` spreads its work over Ray's machines.

    Args:
        workers: how many models read at once; by default one for each GPU, or as many as the processors give threads.
        gpus: how many GPUs each of them has; by default one where your model is on a GPU, and none elsewhere.
        load: a function without arguments that gives the model, called once in each worker; by default your own model
            is sent to them as it is, which a quantised or offloaded one may not survive.

    Raises:
        ValueError: a number is out of range, or `load` is no function.

    Example:
        >>> sw.corpus.Ray(workers=2)
        Ray(workers=2, gpus=None, load=None)
    """

    workers: int | None = None
    gpus: float | None = None
    load: Callable[[], Any] | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and not (is_whole(self.workers) and self.workers >= 1):
            raise ValueError(
                f"workers is how many models read at once, 1 or more, but {shown(self.workers)} was given."
            )
        if self.gpus is not None and not (is_finite(self.gpus) and self.gpus >= 0):
            raise ValueError(f"gpus is how many GPUs each worker has, 0 or more, but {shown(self.gpus)} was given.")
        if self.load is not None and not callable(self.load):
            raise ValueError(
                "load is a function without arguments that gives the model, such as load=lambda: "
                f"sw.LanguageModel.from_pretrained(name), but {shown(self.load)} was given."
            )


@dataclass(frozen=True)
class Shard:
    """Some windows of texts in a row.

    Attributes:
        batches: what goes through the model at once, each piece with the number of its source.
        sources: the names that the numbers count through.
        read: how much of the texts has been read when these are.
    """

    batches: list[tuple[list[Piece], list[int]]]
    sources: list[str]
    read: Read


def shards(windows: Iterator[Window], settings: Settings, source: Callable[[str | None], int], names: list[str]) -> Any:
    """Windows as shards.

    Args:
        windows: the windows, in order.
        settings: how they are read.
        source: a source's number.
        names: of the sources so far.
    """
    batches: list[tuple[list[Piece], list[int]]] = []
    count, read = 0, None
    for window in windows:
        batches += [
            (pieces, [source(piece.source) for piece in pieces]) for pieces in window.batches(settings.batch_tokens)
        ]
        count, read = count + 1, window.read
        if count >= _SHARD_WINDOWS:
            yield Shard(batches, list(names), read)
            batches, count, read = [], 0, None
    if read is not None:
        yield Shard(batches, list(names), read)


def ray_module() -> Any:
    """The ray package with its data.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        import ray
        import ray.data
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "executor='ray' needs Ray Data, which is not installed: pip install \"steerwidgets[ray]\"."
        ) from None
    return ray


def read_parts(
    lm: LoadedModel,
    dictionaries: Sequence[Dictionary],
    settings: Settings,
    folder: Path,
    how: Ray,
    given: Iterator[Shard],
    stop: threading.Event | None,
) -> Iterator[tuple[Path, Read]]:
    """The parts of the index, in the order of the texts, and how much has been read with each.

    Args:
        lm: the model.
        dictionaries: whose features.
        settings: how texts are read.
        folder: of the index; the workers see it under the same path.
        how: on how many machines.
        given: what to read; gone through in a thread of its own.
        stop: set it to end with what has come back so far.

    Raises:
        RuntimeError: a worker failed.
        ValueError: the model can't be sent, or a worker's is another one.
    """
    ray = ray_module()
    with _cluster(ray), _quiet(ray):
        import torch

        made_folder(folder / FOLDER)
        gpus = how.gpus if how.gpus is not None else float(lm.architecture.input_device.type == "cuda")
        threads = torch.get_num_threads()
        workers = how.workers or _most(ray, gpus, threads)
        sent = _sent(ray, lm, dictionaries, how.load)
        feeder = _Feeder(ray, given, workers * _AHEAD)
        worker: dict[str, Any] = {
            "sent": [sent],
            "settings": settings,
            "folder": str(folder / FOLDER),
            "model": told_apart(lm),
            "threads": threads,
        }
        try:
            data = ray.data.read_datasource(_datasource(feeder.queue), override_num_blocks=1, num_cpus=0).map_batches(
                _Worker,
                fn_constructor_kwargs=worker,
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=workers),
                **({"num_gpus": gpus} if gpus else {"num_cpus": _threads(ray, threads)}),
            )
            for number, row in enumerate(data.iter_rows()):
                if stop is not None and stop.is_set():
                    return
                # In the order of the texts, or the index would not know up to where it has read.
                assert row["part"] == _part(number)
                yield folder / FOLDER / _part(number), feeder.reads[number]
            feeder.refuse_failure()
        except ray.exceptions.RayError as error:
            said = str(getattr(error, "cause", None) or error).strip().splitlines()
            raise RuntimeError(
                f"A worker of Ray failed ({said[-1][:200] if said else type(error).__name__}); what was read before is "
                "kept, and the same call goes on from there."
            ) from error
        finally:
            feeder.end()


class _Feeder:
    """Puts shards where Ray's workers take them, from a thread: texts may come from anything that can be gone through.

    Attributes:
        queue: of the shards, None at its end.
        reads: how much has been read with each of them.
    """

    def __init__(self, ray: Any, given: Iterator[Shard], most: int) -> None:
        from ray.util.queue import Queue

        self.queue = Queue(maxsize=most, actor_options={"num_cpus": 0})
        self.reads: list[Read] = []
        self._ray, self._given = ray, given
        self._failure: BaseException | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="texts for Ray", daemon=True)
        self._thread.start()

    def _feed(self) -> None:
        try:
            for shard in self._given:
                self.reads.append(shard.read)
                if not self._put(shard):
                    return
        except BaseException as error:  # noqa: BLE001 - raised where the parts are taken, after those before it
            self._failure = error
        self._put(None)

    def _put(self, shard: Shard | None) -> bool:
        """Whether anybody took it."""
        from ray.util.queue import Full

        # As bytes, which the queue's own process does not have to make sense of.
        sent = None if shard is None else self._ray.cloudpickle.dumps(shard)
        while not self._over.is_set():
            try:
                self.queue.put(sent, timeout=_LOOK)
            except Full:
                continue
            except self._ray.exceptions.RayError:
                return False
            return True
        return False

    def refuse_failure(self) -> None:
        """Raise what the texts raised, where they did."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        """Let go of the texts."""
        self._over.set()
        self._thread.join(timeout=5)
        self.queue.shutdown(force=True)


def _datasource(queue: Any) -> Any:
    """What Ray Data reads: one shard after the other, as they are put into the queue."""
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    def blocks() -> Iterator[Any]:
        pa, number = pyarrow(), 0
        while (shard := queue.get()) is not None:
            yield pa.table({"number": [number], "shard": pa.array([shard], pa.large_binary())})
            number += 1

    class Shards(Datasource):
        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[Any]:  # noqa: ARG002 - there is one
            said = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
            return [ReadTask(blocks, said)]

    made: Any = Shards
    return made()


class _Worker:
    """One actor: a model and the dictionaries, which read shards and write parts."""

    def __init__(
        self, sent: Sequence[Any], settings: Settings, folder: str, model: Mapping[str, Any], threads: int
    ) -> None:
        import ray
        import torch

        # Sums of another number of threads differ in their last bits.
        torch.set_num_threads(threads)
        parts, dictionaries, load = ray.get(sent[0])
        lm = load() if load is not None else LoadedModel(**parts)
        if told_apart(lm) != model:
            raise ValueError(
                f"load gave {lm.name} with other weights than the model that the index is built with; give one that "
                "loads the same."
            )
        self._reader, self._settings, self._folder = Reader(lm, dictionaries), settings, Path(folder)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Read one shard, and write what was found."""
        import pickle

        shard: Shard = pickle.loads(bytes(batch["shard"][0]))  # noqa: S301 - our own, of the process that called
        gatherings = [Gathering(each, self._settings, shard.sources) for each in self._reader.dictionaries]
        for pieces, sources in shard.batches:
            found, firings = self._reader.fire(pieces, sources)
            for gathering, firing in zip(gatherings, firings, strict=True):
                gathering.add(found, firing)
        part = self._folder / _part(int(batch["number"][0]))
        # An actor that died may have written it before it could say so.
        shutil.rmtree(part, ignore_errors=True)
        write_gathered(part, gatherings)
        return {"part": [part.name]}


def _part(number: int) -> str:
    return f"part-{number:06}"


def _sent(ray: Any, lm: LoadedModel, dictionaries: Sequence[Dictionary], load: Callable[[], Any] | None) -> Any:
    """A reference to what every worker gets."""
    parts = lm.architecture
    # Together, so that the parts are those of the model on the other side too.
    model = {"model": lm.model, "tokenizer": lm.tokenizer}
    model |= {name: getattr(parts, name) for name in ("blocks", "base", "final_norm", "unembed")}
    # Once a model has given `output_hidden_states`, transformers' own hooks are on it, with such a variable.
    ray.util.register_serializer(ContextVar, serializer=lambda each: each.name, deserializer=_context_variable)
    try:
        return ray.put((None if load is not None else model, list(dictionaries), load))
    except Exception as error:
        raise ValueError(
            f"{lm.name} can't be sent to Ray's workers ({type(error).__name__}: {str(error).splitlines()[0][:120]}); "
            "give executor=sw.corpus.Ray(load=…), a function that loads it there."
        ) from error
    finally:
        ray.util.deregister_serializer(ContextVar)


def _context_variable(name: str) -> ContextVar[Any]:
    return ContextVar(name, default=None)


def _most(ray: Any, gpus: float, threads: int) -> int:
    """How many workers the cluster has room for."""
    resources = ray.cluster_resources()
    return max(1, int(resources.get("GPU", 0) / gpus) if gpus else int(resources.get("CPU", 1) // threads))


def _threads(ray: Any, threads: int) -> float:
    """How many processors a worker may claim: no more than one machine of the cluster has."""
    return min(float(threads), max(float(node["Resources"].get("CPU", 1.0)) for node in ray.nodes() if node["Alive"]))


@contextmanager
def _cluster(ray: Any) -> Iterator[None]:
    """The cluster that the process is connected to already, or `RAY_ADDRESS` names; else one of this machine's own."""
    if ray.is_initialized():
        yield
        return
    # Nothing of steerwidgets tells anybody that it is used.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own: dict[str, Any] = {} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **own)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Ray Data as it is needed here: in order, a shard as soon as it is there, and without bars of its own."""
    context = ray.data.DataContext.get_current()
    logger = logging.getLogger("ray.data")
    order, level = context.execution_options.preserve_order, logger.level
    settings = {"target_max_block_size": 1, "enable_progress_bars": False}
    before = {name: getattr(context, name) for name in settings}
    try:
        logger.setLevel(logging.ERROR)
        context.execution_options.preserve_order = True
        for name, value in settings.items():
            setattr(context, name, value)
        yield
    finally:
        logger.setLevel(level)
        context.execution_options.preserve_order = order
        for name, value in before.items():
            setattr(context, name, value)
