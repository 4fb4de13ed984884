"""Packs the trained SAE into the package, and says how good the packed weights are.

    python -m embedded.sae.report_sae --rows 32

Read in float32 from rows that no training saw, of every source alike: how well residuals are reconstructed, and how
much of the next-token loss is recovered (`steerwidgets.lens.reconstruction`), by the weights as they are packed.
Features are called dead that are active at none of `DENSITY_TOKENS` training tokens.

It writes `sae.safetensors`, `sae_report.json`, and `sae_heldout.safetensors`: a few held-out rows as token ids with
the figures on them, for anyone to recompute.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from embedded import SAE_FILE
from embedded.sae.activations import CORPUS, Shard, parts_of
from embedded.sae.make_sae import FOLDER, SITE
from embedded.share import scaled
from steerwidgets.dictionaries.sae.sae import SAE
from steerwidgets.lens.reconstruction import Losses, Reconstruction, losses, read_counted, reconstruction
from steerwidgets.model import LanguageModel

if TYPE_CHECKING:
    from torch import Tensor

REPORT: Final = SAE_FILE.with_name("sae_report.json")
HELDOUT: Final = SAE_FILE.with_name("sae_heldout.safetensors")
DENSITY_TOKENS: Final = scaled(250_000, 8_000)
SMALL: Final = {"chat": 6}
"""How many held-out rows of a source are shipped, where it is not 2."""


@dataclass(frozen=True)
class Rows:
    """Held-out rows of one source.

    Attributes:
        tokens: int64 [row, position].
        mask: bool [row, position].
    """

    tokens: Tensor
    mask: Tensor


def main() -> None:
    """Pack, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="final", help="the folder under build/dictionaries/sae")
    parser.add_argument("--rows", type=int, default=scaled(32, 6), help="held-out rows of each source")
    arguments = parser.parse_args()
    trained = SAE.load(FOLDER / arguments.name / "sae_lens")
    provenance = json.loads((FOLDER / arguments.name / "provenance.json").read_text(encoding="utf-8"))
    trained.save_packed(SAE_FILE)
    packed = SAE.load_packed(SAE_FILE)
    lm = LanguageModel.demo()
    sources = held_out(arguments.rows)
    report: dict[str, Any] = {"features": packed.size, "site": str(packed.site), **provenance}
    report["held_out"] = measured(lm, packed, trained, sources)
    small = {
        source: Rows(rows.tokens[:n], rows.mask[:n]) for source, rows in sources.items() for n in [SMALL.get(source, 2)]
    }
    report["shipped_rows"] = measured(lm, packed, trained, small, each=False)
    _write_small(small)
    report["dead"] = dead(packed)
    packed.provenance = provenance | _summary(report)
    packed.save_packed(SAE_FILE)
    REPORT.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1, ensure_ascii=False))


def held_out(rows: int) -> dict[str, Rows]:
    """At most so many held-out rows of each source, from all shards."""
    import numpy as np
    import torch

    found: dict[str, list[tuple[Any, Any]]] = {}
    for path in sorted(CORPUS.glob("*.npz")):
        shard = Shard.load(path)
        for row in np.flatnonzero(shard.heldout):
            found.setdefault(str(shard.sources[row]), []).append((shard.tokens[row], shard.mask[row]))
    return {
        source: Rows(*(torch.from_numpy(np.stack(column)) for column in zip(*pairs[:rows], strict=True)))
        for source, pairs in sorted(found.items())
    }


def measured(
    lm: LanguageModel, sae: SAE, trained: SAE, sources: dict[str, Rows], *, each: bool = True
) -> dict[str, Any]:
    """The figures over the rows of all sources together, of each, and beside them those of the unpacked weights."""
    import torch

    read = {name: read_counted(lm, sae.site, rows.tokens, rows.mask) for name, rows in sources.items()}
    mean = torch.cat([h for h, _ in read.values()]).mean(0)
    of_source = {name: losses(lm, sae, rows.tokens, read[name][1], mean) for name, rows in sources.items()}
    residuals = [h for h, _ in read.values()]
    found = _figures(reconstruction(sae, residuals, mean)) | _of_losses(_together([*of_source.values()]))
    if each:
        found["before it was packed"] = _figures(reconstruction(trained, residuals, mean))
        found["sources"] = {
            name: _figures(reconstruction(sae, [h], mean)) | _of_losses(of_source[name])
            for name, (h, _) in read.items()
        }
    massive = sum(int(rows.mask[:, 1:].sum()) for rows in sources.values()) - found["tokens"]
    return found | {"massive_tokens_left_out": massive}


def dead(sae: SAE) -> dict[str, Any]:
    """How many features are active at none of the tokens that are read for it, evenly from all parts."""
    import torch

    parts = parts_of(SITE)
    each = -(-DENSITY_TOKENS // len(parts))
    pieces = [torch.from_numpy(part.values()[:each]) for part in parts]
    whole = reconstruction(sae, pieces, torch.cat(pieces).float().mean(0))
    return {"features": round(whole.dead * sae.size), "share": round(whole.dead, 5), "tokens": whole.tokens}


def _together(parts: list[Losses]) -> Losses:
    total = sum(part.tokens for part in parts)
    clean, spliced, ablated = (
        sum(getattr(part, name) * part.tokens for part in parts) / total for name in ("clean", "spliced", "ablated")
    )
    return Losses(clean, spliced, ablated, total)


def _figures(found: Reconstruction) -> dict[str, Any]:
    return {
        "tokens": found.tokens,
        "fvu": round(found.fvu, 4),
        "median_fvu": round(found.median_fvu, 4),
        "l0": round(found.l0, 2),
    }


def _of_losses(loss: Losses) -> dict[str, Any]:
    return {
        "loss_recovered": round(loss.recovered, 4),
        "loss": {name: round(getattr(loss, name), 4) for name in ("clean", "spliced", "ablated")},
    }


def _summary(report: dict[str, Any]) -> dict[str, str]:
    held = report["held_out"]
    return {
        "held-out tokens": f"{held['tokens']:,}",
        "FVU": f"{held['fvu']:.3f} over all tokens, {held['median_fvu']:.3f} the median token",
        "L0": f"{held['l0']:.1f}",
        "loss recovered": f"{held['loss_recovered']:.1%}",
        "dead": f"{report['dead']['features']} of {report['features']} over {report['dead']['tokens']:,} tokens",
    }


def _write_small(small: dict[str, Rows]) -> None:
    import torch
    from safetensors.torch import save_file

    tokens, mask = (torch.cat([getattr(rows, name) for rows in small.values()]) for name in ("tokens", "mask"))
    save_file({"tokens": tokens.to(torch.int32), "mask": mask}, HELDOUT)


if __name__ == "__main__":
    main()
