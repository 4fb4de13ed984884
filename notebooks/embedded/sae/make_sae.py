"""Trains the SAE of the embedded model on the residuals that `activations` keeps, and says how good it is.

    python -m embedded.sae.make_sae            trains on all parts that are there, or goes on where it stopped
    python -m embedded.sae.make_sae --k 48     …with another sparsity

Chats and stories are seen twice as often as reference texts, so that features are not those of scripture and manuals.
Every ten minutes a checkpoint is kept; it holds which parts were there, and training goes on with the same ones.

The layer: six concept directions were tried at blocks 9, 12, 15, 18 and 21 (`choose_layer`); answers on the concept at
the best strength, times how fluent they stay: 0.59, 0.65, 0.63, 0.55, 0.55. Blocks 12 and 15 tie, and the concept
vectors are at 15.

k and learning rate, after 600,000 tokens at 4,096 features: k = 32 unexplained 0.22 of a batch's variance with 2e-3 and
0.20 with 4e-3, but there 0.7 % of the features had died by then; 3e-3 kept all but two alive.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from embedded.sae.activations import BUILD, parts_of
from embedded.sae.trainer import SAESettings, SAETrainer, Step
from embedded.share import scaled
from steerwidgets.transformer.sites import Site

if TYPE_CHECKING:
    from torch import Tensor

SITE: Final = Site(15)
MORE_OFTEN: Final = {"chat": 2}
"""How often an epoch holds a source's tokens, where it is not once."""
BATCH: Final = 1024
SAMPLE: Final = 20_000
CHECKPOINT_SECONDS: Final = 600
FOLDER: Final = BUILD / "sae"


@dataclass(frozen=True)
class Activations:
    """The tokens to train on.

    Attributes:
        values: float16 [token, d_model].
        order: int64 [n], an epoch before it is shuffled: each token as often as its source counts.
        parts: the parts' names, in order.
    """

    values: Tensor
    order: Tensor
    parts: tuple[str, ...]

    @classmethod
    def read(cls, site: Site, names: Sequence[str] | None = None) -> Activations:
        """All parts of a site, or those named.

        Raises:
            FileNotFoundError: there is none, or one of those named is not there.
        """
        import torch

        found = {part.name: part for part in parts_of(site)}
        names = tuple(found if names is None else names)
        if missing := [name for name in names if name not in found]:
            raise FileNotFoundError(f"Training began with parts that are gone ({', '.join(missing[:3])}); start anew.")
        if not names:
            raise FileNotFoundError(f"There are no activations of {site}; run embedded.sae.activations first.")
        values, order, start = [], [], 0
        for name in names:
            values.append(torch.from_numpy(found[name].values()))
            once = torch.arange(start, start := start + len(values[-1]))
            # A part is of one source: what the model wrote, or reference texts.
            order += [once] * max(MORE_OFTEN.get(source, 1) for source in [*found[name].sources, ""])
        return cls(torch.cat(values), torch.cat(order), names)

    def batches(self, size: int, seed: int, skip: int = 0) -> Iterator[Tensor]:
        """Batches without end, epoch after epoch, each in an order of its own; the first `skip` are passed over."""
        import torch

        left = skip
        for epoch in itertools.count():
            whole = len(self.order) // size
            if left >= whole:
                left -= whole
                continue
            shuffled = self.order[
                torch.randperm(len(self.order), generator=torch.Generator().manual_seed(seed + epoch))
            ]
            for start in range(left * size, whole * size, size):
                yield self.values[shuffled[start : start + size]]
            left = 0


def main() -> None:
    """Train, and keep the SAE in sae_lens' format."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=4096)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument(
        "--tokens", type=int, default=scaled(3_200_000, 60_000), help="how many are seen, over all epochs"
    )
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="final", help="the folder under build/dictionaries/sae")
    arguments = parser.parse_args()
    settings = SAESettings(
        features=arguments.features,
        k=arguments.k,
        steps=arguments.tokens // BATCH,
        lr=arguments.lr,
        seed=arguments.seed,
    )
    train(settings, FOLDER / arguments.name)


def train(settings: SAESettings, folder: Path) -> None:
    """Train from the checkpoint in a folder, or from the start, and save the SAE there."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint.pt"
    state = torch.load(checkpoint, weights_only=True) if checkpoint.exists() else None
    activations = Activations.read(SITE, state["parts"] if state else None)
    sample = torch.randperm(len(activations.values), generator=torch.Generator().manual_seed(settings.seed))[:SAMPLE]
    trainer = SAETrainer(activations.values[sample], settings)
    if state is not None:
        trainer.restore(state["trainer"])
    _say(
        f"{len(activations.values):,} tokens in {len(activations.parts)} parts; {trainer.done} of {settings.steps} done"
    )
    batches = activations.batches(BATCH, settings.seed, skip=trainer.done)
    started = kept = time.monotonic()
    began = trainer.done
    while trainer.done < settings.steps:
        step = trainer.step(next(batches))
        now = time.monotonic()
        if trainer.done % 100 == 0:
            speed = (trainer.done - began) * BATCH / (now - started)
            _say(_line(trainer.done, settings.steps, step, speed))
        if now - kept > CHECKPOINT_SECONDS:
            _keep(checkpoint, {"parts": list(activations.parts), "trainer": trainer.state()})
            kept = now
    sae = trainer.to_sae(SITE, provenance=_provenance(settings, activations))
    sae.save(folder / "sae_lens")
    (folder / "provenance.json").write_text(_json(dict(sae.provenance)), encoding="utf-8")
    checkpoint.unlink(missing_ok=True)


def _provenance(settings: SAESettings, activations: Activations) -> dict[str, str]:
    seen, epoch = settings.steps * BATCH, len(activations.order)
    return {
        "model": "SmolLM2-135M-Instruct",
        "made by": "embedded.sae.make_sae",
        "method": f"BatchTopK, k = {settings.k}, auxiliary loss for dead features; exported as JumpReLU",
        "corpus": "texts of Debian packages (WordNet, fortunes, King James Bible, Debian handbook, Python's "
        "documentation) and chats that the model wrote itself; see embedded.corpus.sources",
        "tokens": f"{len(activations.values):,} different, {seen:,} seen in {seen / epoch:.1f} epochs",
        "left out": "first positions, special and template tokens, massive activations (norm above 5 × the median)",
        "seed": str(settings.seed),
    }


def _keep(file: Path, state: dict[str, Any]) -> None:
    import torch

    partial = file.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(file)


def _line(done: int, steps: int, step: Step, speed: float) -> str:
    left = (steps - done) * BATCH / speed / 60
    return (
        f"{done}/{steps}: FVU {step.fvu:.3f}, {step.active:.1f} active, {step.dead} dead, {speed:,.0f} tokens/s, "
        f"about {left:.0f} min left"
    )


def _json(value: Any) -> str:
    import json

    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
