"""What features do on a sample of the corpus: largest, median and 99.5th percentile activation, and density."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from embedded.sae.activations import BATCH, CORPUS, Shard, parts_of
from steerwidgets.demo.cache import sha256
from steerwidgets.dictionaries.mfa.points import Points
from steerwidgets.dictionaries.statistics import FeatureStatistics
from steerwidgets.transformer.residuals import read_residuals

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.sites import Site

NAME: Final = "the project's corpus"


def statistics_of(dictionary: Dictionary, residuals: Tensor) -> FeatureStatistics:
    """What the features of a dictionary do on residuals.

    Args:
        dictionary: whose features.
        residuals: float [token, d_model] at its site, attention sinks and padding left out.
    """
    import torch

    values = torch.cat([dictionary.encode(chunk.float()) for chunk in torch.split(residuals, 8192)])
    columns: dict[str, list[float]] = {name: [] for name in FeatureStatistics.ARRAYS}
    for index in range(dictionary.size):
        active = values[:, index][values[:, index] > 0]
        some = len(active) > 0
        columns["maximum"].append(float(values[:, index].max()))
        columns["typical"].append(float(active.median()) if some else float("nan"))
        columns["p995"].append(float(active.quantile(0.995)) if some else float("nan"))
        columns["density"].append(len(active) / len(values))
    arrays: dict[str, Any] = {name: torch.tensor(numbers) for name, numbers in columns.items()}
    return FeatureStatistics(**arrays, corpus=NAME, tokens=len(values))


@dataclass(frozen=True)
class Rows:
    """Rows of the corpus.

    Attributes:
        ids: the token ids of each row.
        mask: bool [row, position], False where a row has no token.
        sources: where each row comes from.
    """

    ids: list[list[int]]
    mask: Any
    sources: list[str]


def corpus_rows(count: int, *, held_out: bool, folder: Path = CORPUS) -> Rows:
    """Some rows of the corpus, the same ones each time; half of them the model's own chat, where there is as much."""
    import numpy as np

    shards = [Shard.load(path) for path in sorted(folder.glob("*.npz"))]
    mine = np.concatenate([shard.heldout for shard in shards]) == held_out
    tokens, mask, sources = (
        np.concatenate([getattr(shard, name) for shard in shards])[mine] for name in ("tokens", "mask", "sources")
    )
    order = np.random.default_rng(0).permutation(len(tokens))
    chat, rest = (order[(sources[order] == "chat") == side] for side in (True, False))
    half = chat[: count // 2]
    chosen = np.sort(np.concatenate([half, rest[: count - len(half)]]))
    return Rows(tokens[chosen].tolist(), mask[chosen], sources[chosen].tolist())


def read_rows(lm: LoadedModel, rows: Rows, sites: Sequence[Site], *, fast: bool) -> tuple[dict[Site, Tensor], Tensor]:
    """The residuals of every token of some rows but position 0, padding, special tokens and attention sinks.

    Matrix products run in bfloat16 under autocast where `fast`, as in `activations.py`.

    Returns:
        For each site, float32 [token, d_model]; and int [token, 2], the row and the position of each.
    """
    import torch

    special = torch.tensor(sorted(lm.special_ids))
    mask, ids = torch.as_tensor(rows.mask), torch.tensor(rows.ids)
    kept = mask & ~torch.isin(ids, special)
    kept[:, 0] = False
    values: dict[Site, list[Tensor]] = {site: [] for site in sites}
    for start in range(0, len(rows.ids), BATCH):
        with lm.lock, torch.autocast("cpu", torch.bfloat16, enabled=fast):
            found = read_residuals(lm.architecture, rows.ids[start : start + BATCH], sites)
        here = kept[start : start + BATCH]
        for site in sites:
            here &= found.counted(site)
        for site in sites:
            values[site].append(found.values[site][here])
    return {site: torch.cat(parts) for site, parts in values.items()}, kept.nonzero()


def corpus_points(tokenizer: Any, site: Site, count: int) -> tuple[Points, dict[str, int]]:
    """Points of the parts that `activations.py` read: of the model's own chat all that is there, up to half.

    Returns:
        The points, their residuals in float16; and how many come from chat and from elsewhere.
    """
    import numpy as np
    import torch

    draw = np.random.default_rng(0)
    values: list[Any] = []
    rows: list[Any] = []
    positions: list[Any] = []
    texts: list[tuple[int, ...]] = []
    taken: dict[str, int] = {}
    parts = parts_of(site)
    for name, most in (("chat", count // 2), ("other", count)):
        mine = [part for part in parts if part.name.startswith("chat") == (name == "chat")]
        total = sum(sum(part.sources.values()) for part in mine)
        room = min(most, count - sum(taken.values()))
        for part in mine:
            found, places, tokens = part.values(), part.places(), part.shard().tokens
            picks = np.sort(draw.permutation(len(found))[: round(len(found) * min(1.0, room / total))])
            used, row = np.unique(places[picks, 0], return_inverse=True)
            values.append(found[picks])
            rows.append(row + len(texts))
            positions.append(places[picks, 1])
            texts += [tuple(tokens[i].tolist()) for i in used]
            taken[name] = taken.get(name, 0) + len(picks)
    arrays = (torch.from_numpy(np.concatenate(each)) for each in (values, rows, positions))
    residuals, text, position = arrays
    return Points(residuals, site, text, position, tuple(texts), tokenizer), taken


def write_report(path: Path, report: dict[str, Any], about: Path) -> None:
    """One JSON file, with name, size and SHA-256 of the file that it is about, which lies beside it or below."""
    report = {
        "file": {
            "name": about.relative_to(path.parent).as_posix(),
            "bytes": about.stat().st_size,
            "sha256": sha256(about),
        }
    } | report
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
