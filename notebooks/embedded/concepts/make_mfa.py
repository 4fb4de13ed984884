"""Makes the mixture of factor analysers shipped for the embedded model.

`python -m embedded.concepts.make_mfa` fits it to the activations that `activations.py` read of the corpus
(position 0 and massive activations left out), turns each component's loadings to its principal directions, and compares
the held-out negative log-likelihood with that of one Gaussian of full covariance and of spherical clusters by k-means.
It writes `mfa.pt` (the reference's format, the loadings' directions as float16), `mfa_report.json`, and a sheet of each
component's contexts in `build/dictionaries/mfa/` for whoever labels.

Labels come from `mfa_labels.json`, which names the fit that they were written for; another fit stays unlabelled. What
is fitted and read once is kept in `build/dictionaries/mfa/`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from embedded import MFA_FEATURES, MFA_FILE, SHIPPED
from embedded.concepts.make_heldout import small_set
from embedded.concepts.mfa_sheet import write_sheet
from embedded.features.measured import NAME, corpus_points, corpus_rows, read_rows, statistics_of, write_report
from embedded.share import scaled
from steerwidgets.dictionaries.mfa.collect import Progress
from steerwidgets.dictionaries.mfa.file import Checkpoint
from steerwidgets.dictionaries.mfa.fit import fit_points
from steerwidgets.dictionaries.mfa.mfa import MFA
from steerwidgets.dictionaries.mfa.points import Points
from steerwidgets.transformer.sites import Site

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.model import LanguageModel

REPORT: Final = SHIPPED / "mfa_report.json"
LABELS: Final = Path(__file__).parent / "mfa_labels.json"
WORK: Final = Path("build/dictionaries/mfa")
SITE: Final = Site(15)
COMPONENTS: Final = 96
RANK: Final = 10
POINTS: Final = scaled(160_000, 4_000)
EPOCHS: Final = scaled(6)
BATCH: Final = 512
LEARNING_RATE: Final = 2e-3
HELD_OUT_ROWS: Final = scaled(96, 8)


def main() -> None:
    """Fit what is not there, compare, write."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    from steerwidgets.model import LanguageModel

    lm = LanguageModel.demo()
    WORK.mkdir(parents=True, exist_ok=True)
    points, sources = corpus_points(lm.tokenizer, SITE, POINTS)
    fitted, said = _fitted(points.residuals, sources)
    held_out = _held_out(lm)
    exact = MFA(fitted.state, fitted.meta, layer=SITE.layer)
    stored = MFA(_half(fitted).state, fitted.meta, layer=SITE.layer)
    nll = {"mfa": _nll(exact, held_out.residuals), "mfa_as_stored": _nll(stored, held_out.residuals)}
    nll["small_set"] = _nll(stored, read_rows(lm, small_set(), [SITE], fast=False)[0][SITE])
    nll |= _others(points.residuals, held_out.residuals)
    labels = _labels(stored.fingerprint)
    mfa = MFA(
        stored.checkpoint.state,
        stored.checkpoint.meta,
        layer=SITE.layer,
        labels=labels["labels"],
        provenance={
            "model": lm.name,
            "made by": "embedded.concepts.make_mfa",
            "points": f"{said['points']:,} tokens of {NAME}; position 0 and massive activations left out",
            "loadings": "turned to each component's principal directions, the longest first; directions are float16",
            "held out": f"{nll['mfa_as_stored']:.1f} nats for each of {len(held_out):,} points; one Gaussian "
            f"{nll['gaussian']:.1f}, spherical clusters {nll['spherical_clusters']:.1f}",
            "labels": "by a language model, from each component's contexts; components it did not understand have none",
        },
    )
    mfa.statistics = statistics_of(mfa, points.residuals)
    mfa.save(MFA_FILE)
    MFA_FEATURES.unlink(missing_ok=True)  # it was of the ones before; `make_more_features` gathers it again
    write_sheet(mfa, points, WORK / "sheet.md")
    components = [
        {"label": mfa.label(k), "mixing": round(float(mfa.mixing[k]), 4), "poles": labels["poles"].get(str(k), {})}
        for k in range(mfa.size)
    ]
    report = said | {"held_out_points": len(held_out), "held_out_nll": nll, "fingerprint": mfa.fingerprint}
    write_report(REPORT, report | {"components": components}, MFA_FILE)
    sys.stdout.write(f"{nll}\n{mfa.fingerprint}\n{MFA_FILE.name}: {MFA_FILE.stat().st_size / 1e6:.2f} MB\n")


def principal(checkpoint: Checkpoint) -> Checkpoint:
    """The same mixture with orthogonal loadings, the longest first: `W = U S Vᵀ` becomes `U S`, `W Wᵀ` stays.

    The entry of a loading that is largest in size is made positive, since a direction has no sign of its own.
    """
    import torch

    loadings = checkpoint.loadings(slice(None), rotated=False)
    u, s, _ = torch.linalg.svd(loadings, full_matrices=False)
    signs = u.gather(1, u.abs().argmax(1, keepdim=True)).sign()
    noise, state = checkpoint.noise(), checkpoint.state
    return Checkpoint.of(state["mu"], u * signs * s[:, None], noise[0], state["pi_logits"].double(), eps=checkpoint.eps)


def _fitted(points: Tensor, sources: dict[str, int]) -> tuple[Checkpoint, dict[str, Any]]:
    """The fit that is kept, or a new one; and what is known of it."""
    import torch

    kept = WORK / "fit.pt"
    if not kept.exists():
        began = time.monotonic()
        fit = fit_points(
            points, COMPONENTS, RANK, epochs=EPOCHS, batch=BATCH, learning_rate=LEARNING_RATE, on_progress=_say
        )
        said = {
            "site": str(SITE),
            "points": len(points),
            "sources": sources,
            "epochs": EPOCHS,
            "training_nll": [round(each, 3) for each in fit.nll],
            "seconds": round(time.monotonic() - began),
        }
        turned = principal(fit.checkpoint)
        torch.save({"state": dict(turned.state), "meta": dict(turned.meta), "said": said}, kept)
    held = torch.load(kept, weights_only=True)
    return Checkpoint(held["state"], held["meta"]), held["said"]


def _held_out(lm: LanguageModel) -> Points:
    """Some held-out rows of the corpus with their residuals, in float32, read once."""
    import torch
    from safetensors.torch import load_file, save_file

    file = WORK / f"held-out-{HELD_OUT_ROWS}.safetensors"
    if not file.exists():
        rows = corpus_rows(HELD_OUT_ROWS, held_out=True)
        values, where = read_rows(lm, rows, [SITE], fast=False)
        save_file({"values": values[SITE], "where": where.contiguous(), "ids": torch.tensor(rows.ids)}, file)
    held = load_file(file)
    row, position = held["where"].T
    texts = tuple(tuple(ids) for ids in held["ids"].tolist())
    return Points(held["values"], SITE, row, position, texts, lm.tokenizer)


def _half(checkpoint: Checkpoint) -> Checkpoint:
    import torch

    state = dict(checkpoint.state)
    state["dir_raw"] = state["dir_raw"].to(torch.float16)
    return Checkpoint(state, checkpoint.meta)


def _nll(mfa: MFA, residuals: Tensor) -> float:
    import torch

    values = torch.cat([mfa.log_likelihood(chunk) for chunk in torch.split(residuals, 4096)])
    return round(-float(values.double().mean()), 3)


def _others(learned: Tensor, held_out: Tensor) -> dict[str, float]:
    """The held-out negative log-likelihood of one Gaussian and of as many spherical clusters by k-means."""
    import torch

    points = learned.double()
    x = held_out.double()
    gaussian: Any = torch.distributions.MultivariateNormal(points.mean(0), points.T.cov())
    found = {"gaussian": round(-float(gaussian.log_prob(x).mean()), 3)}
    return found | {"spherical_clusters": round(spherical_nll(points.float(), held_out), 3)}


def spherical_nll(points: Tensor, held_out: Tensor) -> float:
    """Of a mixture of spherical Gaussians: k-means' centroids, its clusters' shares, one variance for all."""
    import math

    import torch
    from sklearn.cluster import MiniBatchKMeans

    found = MiniBatchKMeans(COMPONENTS, random_state=0, batch_size=1024, n_init=3).fit(points.numpy())
    centroids, nearest = torch.as_tensor(found.cluster_centers_), torch.as_tensor(found.labels_).long()
    variance = float((points - centroids[nearest]).double().square().mean())
    shares = torch.bincount(nearest, minlength=COMPONENTS).double().clamp_min(1) / len(points)
    width = points.shape[1]
    distance = torch.cdist(held_out, centroids).double().square()
    terms = shares.log() - distance / (2 * variance) - width / 2 * math.log(2 * math.pi * variance)
    return -float(terms.logsumexp(-1).mean())


def _labels(fingerprint: str) -> Mapping[str, Any]:
    """What was written for this very fit; nothing for another."""
    held: dict[str, Any] = json.loads(LABELS.read_text(encoding="utf-8")) if LABELS.exists() else {}
    if held.get("fingerprint") != fingerprint:
        sys.stdout.write(f"{LABELS.name} was not written for {fingerprint}, so no component is labelled.\n")
        return {"labels": [], "poles": {}}
    return held


def _say(progress: Progress) -> None:
    if progress.done % 100 == 0 and progress.nll is not None:
        line = f"{time.strftime('%H:%M:%S')} epoch {progress.epoch}, {progress.done}/{progress.total}: "
        sys.stdout.write(f"{line}{progress.nll:.2f} nats\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
