"""Reads the corpus through the embedded model and keeps the residuals of one block for training dictionaries.

`python -m embedded.sae.activations` waits for corpus shards (`build/dictionaries/corpus/*.npz`, see
`corpus`) and writes one part per `ROWS` rows: `NAME-0000.npy`, float16 [token, 576], with each token's place in the
corpus and a note of what was left out beside it. A part that is there is never read again, so the script may be ended
and started at any time. Held-out rows are not read here.

Left out are position 0 (an attention sink), masked tokens, and tokens with massive activations (Sun et al. 2024): a
norm above five times the median of the part. They are few and would dominate a squared error.

The model's matrix products run in bfloat16 under autocast, twice as fast on a CPU; weights and the residual stream
itself stay float32. `error_of_autocast` says what that changes. Held-out metrics never come from here.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.lens.reconstruction import counted
from steerwidgets.transformer.residuals import read_residuals

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.sites import Site

BUILD: Final = Path("build/dictionaries")
CORPUS: Final = BUILD / "corpus"
ROWS: Final = 256
BATCH: Final = 32


@dataclass(frozen=True)
class Shard:
    """Packed rows of one corpus file.

    Attributes:
        name: the file's name without its ending.
        tokens: int64 [row, position].
        mask: bool [row, position], False for tokens that no dictionary is trained on (special and template tokens).
        sources: the name of each row's source.
        heldout: bool [row], rows that no dictionary is trained on.
    """

    name: str
    tokens: Any
    mask: Any
    sources: Any
    heldout: Any

    @classmethod
    def load(cls, path: Path) -> Shard:
        """Read a corpus file; nothing in it is run."""
        import numpy as np

        names = np.array(json.loads((path.parent / "sources.json").read_text(encoding="utf-8")))
        with np.load(path, allow_pickle=False) as arrays:
            tokens, mask, heldout = (arrays[name] for name in ("tokens", "mask", "heldout"))
            return cls(path.stem, tokens.astype(np.int64), mask, names[arrays["source"]], heldout)


@dataclass(frozen=True)
class Part:
    """Some rows of a shard, read.

    Attributes:
        name: the part's name.
        source: {source: its tokens}.
        folder: where its files lie.
    """

    name: str
    sources: dict[str, int]
    folder: Path

    def values(self) -> Any:
        """float16 [token, d_model]."""
        import numpy as np

        return np.load(self.folder / f"{self.name}.npy")

    def places(self) -> Any:
        """int32 [token, 2], the row of the shard and the position in it that each token comes from."""
        import numpy as np

        return np.load(self.folder / f"{self.name}.places.npy")

    def shard(self) -> Shard:
        """The shard that it was read from."""
        return Shard.load(CORPUS / f"{self.name.rpartition('-')[0]}.npz")


def main() -> None:
    """Read every part that is missing; with `--wait`, go on looking for new shards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layer", type=int, default=15)
    parser.add_argument("--wait", type=float, default=0.0, help="minutes to go on looking for new corpus shards")
    arguments = parser.parse_args()
    from steerwidgets.model import LanguageModel
    from steerwidgets.transformer.sites import Site

    lm, site = LanguageModel.demo(), Site(arguments.layer)
    until = time.monotonic() + 60 * arguments.wait
    while True:
        missing = missing_parts(site)
        for path, part, rows in missing:
            _read_part(lm, site, path, part, rows)
            if len(missing) > 1 and missing_parts(site)[:1] != missing[1:2]:
                break  # a shard with precedence has come
        if not missing:
            if time.monotonic() >= until:
                return
            time.sleep(10)


def folder_of(site: Site) -> Path:
    """Where the parts of a site lie."""
    return BUILD / "activations" / f"block{site.layer}"


def missing_parts(site: Site) -> list[tuple[Path, int, slice]]:
    """What is still to read: (corpus file, number of the part, its rows), what the model wrote itself first."""
    found = []
    for path in sorted(CORPUS.glob("*.npz"), key=lambda path: (not path.stem.startswith("chat"), path.stem)):
        shard = Shard.load(path)
        parts = range(-(-len(shard.tokens) // ROWS))
        # Evenly spread first: whatever is read of a shard by then stands for the whole of it.
        for part in sorted(parts, key=_spread):
            rows = slice(part * ROWS, (part + 1) * ROWS)
            is_read = (folder_of(site) / f"{shard.name}-{part:04d}.json").exists()
            if not is_read and not shard.heldout[rows].all():
                found.append((path, part, rows))
    return found


def parts_of(site: Site) -> list[Part]:
    """The parts that are there."""
    folder = folder_of(site)
    notes = sorted(folder.glob("*.json"))
    known = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in notes}
    return [Part(name, note["sources"], folder) for name, note in known.items()]


def residuals_of(lm: LoadedModel, rows: Sequence[Sequence[int]], site: Site, *, fast: bool) -> Iterator[Tensor]:
    """The residuals of rows, batch by batch, float32 [row, position, d_model], padded on the left.

    Args:
        lm: the model.
        rows: token ids.
        site: where to read; blocks above it are not run.
        fast: whether matrix products run in bfloat16.
    """
    import torch

    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        with lm.lock, torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast):
            yield read_residuals(lm.architecture, batch, [site]).values[site]


def error_of_autocast(lm: LoadedModel, rows: Sequence[Sequence[int]], site: Site) -> float:
    """The relative error of reading with bfloat16 products: the median over tokens of ‖fast − exact‖ / ‖exact‖."""
    import torch

    exact = torch.cat([h.flatten(0, 1) for h in residuals_of(lm, rows, site, fast=False)])
    fast = torch.cat([h.flatten(0, 1) for h in residuals_of(lm, rows, site, fast=True)])
    return float(((fast - exact).norm(dim=-1) / exact.norm(dim=-1)).median())


def _read_part(lm: LoadedModel, site: Site, path: Path, part: int, rows: slice) -> None:
    import numpy as np
    import torch

    started = time.monotonic()
    shard, folder, name = Shard.load(path), folder_of(site), f"{path.stem}-{part:04d}"
    train = np.flatnonzero(~shard.heldout[rows]) + rows.start
    mask = torch.from_numpy(shard.mask[train])
    h = torch.cat(list(residuals_of(lm, shard.tokens[train].tolist(), site, fast=True)))
    keep = counted(h.norm(dim=-1), mask)
    places = np.argwhere(keep.numpy()).astype(np.int32)
    places[:, 0] = train[places[:, 0]]
    names, counts = np.unique(shard.sources[places[:, 0]], return_counts=True)
    seconds = time.monotonic() - started
    massive = int(mask[:, 1:].sum() - keep.sum())
    note = {
        "tokens": len(places),
        "sources": dict(zip(names.tolist(), counts.tolist(), strict=True)),
        "massive": massive,
        "seconds": round(seconds, 1),
    }
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{name}.npy", h[keep].half().numpy())
    np.save(folder / f"{name}.places.npy", places)
    # The note comes last: a part is there once it has one.
    (folder / f"{name}.json").write_text(json.dumps(note), encoding="utf-8")
    done = sum(sum(part.sources.values()) for part in parts_of(site))
    left = sum(min(ROWS, rows.stop - rows.start) for _, _, rows in missing_parts(site)) * shard.tokens.shape[1]
    speed = len(places) / seconds
    sys.stdout.write(
        f"{time.strftime('%H:%M:%S')} {name}: {len(places)} tokens, {massive} massive, {speed:.0f} tokens/s; "
        f"{done:,} read, about {left / speed / 60:.0f} min left\n"
    )
    sys.stdout.flush()


def _spread(number: int) -> int:
    """The bits of a number reversed: an order that covers a range evenly."""
    return int(f"{number:016b}"[::-1], 2)


if __name__ == "__main__":
    main()
