"""The corpus of the embedded dictionaries: token rows from Debian's texts and from what the model wrote itself.

    python -m embedded.corpus.corpus

writes `build/dictionaries/corpus/debian.npz` (once) and a further `chat-N.npz` for the chats written since the last
call, each with

- `tokens`, int32 `[rows, 128]`
- `mask`, bool `[rows, 128]`: whether a dictionary may be trained on this token
- `source`, uint8 `[rows]`: the place in `sources.json`
- `heldout`, bool `[rows]`: rows of the 5 % of documents that no training may see

and beside each a `.json` file that says what is in it. Where the texts come from and their licences: `sources`.
A document lies on one side of the split with all its rows; chats about the same subject are on the same side.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm.auto import tqdm

from embedded.corpus.debian import package_files, unpack
from embedded.corpus.packing import Piece, chat_piece, pack
from embedded.corpus.sources import SOURCES, Document, debian_documents, is_held_out, shuffled
from embedded.corpus.written import FOLDER as WRITTEN
from embedded.corpus.written import batch_files, read_rows
from embedded.share import scaled

WORK: Final = Path("build/dictionaries")
_FULL: Final = {"wordnet": 700_000, "fortunes": 500_000, "bible": 250_000, "handbook": 400_000, "python": 500_000}
BUDGETS: Final = {source: scaled(tokens, 20_000) for source, tokens in _FULL.items()}
"""At most so many tokens of each source: scripture and manuals would else give features of scripture and manuals."""
LONGEST_DOCUMENT: Final = {"python": 4_000}
"""In tokens; of longer pages only the beginning is taken, so that more pages are."""
_SEPARATOR: Final = {"wordnet": "\n"}


def main() -> None:
    """Write what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--written", type=Path, default=WRITTEN)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    from transformers import AutoTokenizer

    from steerwidgets.demo.model import fetch_demo_model

    tokenizer = AutoTokenizer.from_pretrained(fetch_demo_model(), local_files_only=True)
    folder = arguments.work / "corpus"
    if not (folder / "debian.npz").exists():
        root = unpack(arguments.work / "debian")
        documents = debian_documents(root)
        write_debian(folder, tokenizer, documents, package_files(arguments.work / "debian"), arguments.seed)
    write_chats(folder, tokenizer, arguments.written, arguments.seed)


def write_debian(
    folder: Path, tokenizer: Any, documents: dict[str, list[Document]], packages: Sequence[str], seed: int
) -> None:
    """Write the shard `debian`: of each source as many documents, in random order, as its budget takes."""
    sided = []
    for source, found in documents.items():
        taken = _within(BUDGETS[source], tokenizer, shuffled(found, seed), _SEPARATOR.get(source, "\n\n"), len(found))
        sided.append((source, [(document.held_out, piece) for document, piece in taken]))
    _write_shard(folder, "debian", sided, {"packages": list(packages)}, seed)


def write_chats(folder: Path, tokenizer: Any, written: Path, seed: int) -> Path | None:
    """Write the next shard `chat-N` of the batches that no shard has yet; None where there is no new one."""
    shards = sorted(folder.glob("chat-*.json"))
    known = {name for shard in shards for name in json.loads(shard.read_text(encoding="utf-8"))["batches"]}
    files = [file for file in batch_files(written) if file.name not in known]
    if not files:
        return None
    rows = list(read_rows(files))
    kept = [row for row in rows if not row.is_degenerate]
    sided = [(is_held_out("chat", row.subject), chat_piece(tokenizer, row)) for row in kept]
    about = {
        "batches": [file.name for file in files],
        "dropped": len(rows) - len(kept),
        "domains": dict(sorted(Counter(row.domain for row in kept).items())),
        "answer tokens": sum(len(row.answer_ids) for row in kept),
    }
    return _write_shard(folder, f"chat-{len(shards)}", [("chat", sided)], about, seed)


def _within(
    budget: int, tokenizer: Any, documents: Iterable[Document], separator: str, count: int
) -> list[tuple[Document, Piece]]:
    taken, spent = [], 0
    for document in tqdm(documents, total=count, unit="document", leave=False, mininterval=2):
        ids = tokenizer(document.text + separator, add_special_tokens=False, verbose=False)["input_ids"]
        taken.append((document, Piece.of_text(ids[: LONGEST_DOCUMENT.get(document.source)])))
        spent += len(taken[-1][1].ids)
        if spent >= budget:
            break
    return taken


def _write_shard(
    folder: Path,
    name: str,
    sided: Sequence[tuple[str, Sequence[tuple[bool, Piece]]]],
    about: dict[str, Any],
    seed: int,
) -> Path:
    """Pack each source's two sides apart, shuffle the rows, and write them with a note of what is there."""
    parts = []
    for source, pieces in sided:
        for side in (False, True):
            tokens, mask = pack(piece for held_out, piece in pieces if held_out is side)
            parts.append(
                (tokens, mask, np.full(len(tokens), SOURCES.index(source), np.uint8), np.full(len(tokens), side))
            )
    order = np.random.default_rng(seed).permutation(sum(len(part[0]) for part in parts))
    tokens, mask, source_of, heldout = (np.concatenate(column)[order] for column in zip(*parts, strict=True))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sources.json").write_text(json.dumps(SOURCES) + "\n", encoding="utf-8")
    file = folder / f"{name}.npz"
    _replacing(file, lambda partial: _save(partial, tokens=tokens, mask=mask, source=source_of, heldout=heldout))
    counts = {
        source: {
            "documents": len(pieces),
            "held-out documents": sum(held_out for held_out, _ in pieces),
            "tokens": int((source_of == SOURCES.index(source)).sum()) * tokens.shape[1],
            "tokens to train on": int(mask[(source_of == SOURCES.index(source)) & ~heldout].sum()),
            "held-out tokens": int(mask[(source_of == SOURCES.index(source)) & heldout].sum()),
        }
        for source, pieces in sided
    }
    note = json.dumps({"rows": len(tokens), "seed": seed, "sources": counts, **about}, indent=1) + "\n"
    _replacing(folder / f"{name}.json", lambda partial: partial.write_text(note, encoding="utf-8"))
    tqdm.write(f"{file}: {len(tokens)} rows, {counts}")
    return file


def _save(file: Path, **arrays: np.ndarray[Any, Any]) -> None:
    with file.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)


def _replacing(file: Path, write: Callable[[Path], object]) -> None:
    """Written beside and renamed, so that who reads the folder meanwhile finds whole files only."""
    partial = file.with_name(file.name + ".partial")
    write(partial)
    partial.replace(file)


if __name__ == "__main__":
    main()
