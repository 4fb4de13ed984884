"""Measures what steering with each labelled feature of the SAE promotes through the model.

`python -m embedded.features.make_effects` steers with each one at its suggested strength, or else clamped to its
largest activation, and writes the tokens whose logits rise and fall most after `lens.effect.NEUTRAL`, as means and of
those that are likely enough (`lens.effect.LEAST`), into the package: `sae_effects.safetensors`. `lm.effect` gives the
same of one feature. It comes after the labels: where there are none, there is no file.
"""

from __future__ import annotations

import argparse
import sys
from typing import Final

from embedded import SHIPPED
from embedded.share import scaled
from steerwidgets.dictionaries.effects import KnownEffects
from steerwidgets.lens.effect import LEAST, NEUTRAL, differences
from steerwidgets.steering.suggested import suggested_steer

EFFECTS: Final = SHIPPED / "sae_effects.safetensors"
TOKENS: Final = 8
_AT_ONCE: Final = 15


def main() -> None:
    """Measure, and write the file."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    import torch

    from steerwidgets.dictionaries.sae.sae import SAE
    from steerwidgets.model import LanguageModel

    lm, sae = LanguageModel.demo(), SAE.demo()
    labelled = [index for index, label in enumerate(sae.labels) if label][: scaled(sae.size, 16)]
    if not labelled:
        # Those of another training would be told of features that are not theirs.
        EFFECTS.unlink(missing_ok=True)
        sys.stdout.write(f"{EFFECTS.name}: none, since no feature has a label yet; come back after the labels\n")
        return
    steers = [suggested_steer(sae[index]) for index in labelled]
    ids, values = [], []
    for start in range(0, len(steers), _AT_ONCE):
        found = differences(lm, steers[start : start + _AT_ONCE], NEUTRAL)
        both = [found.most(TOKENS, LEAST), found.most(TOKENS, LEAST, suppressed=True)]
        ids.append(torch.cat([indices for indices, _ in both], -1))
        values.append(torch.cat([of_each for _, of_each in both], -1))
        sys.stdout.write(f"effects: {min(start + _AT_ONCE, len(steers))} of {len(steers)} features\n")
        sys.stdout.flush()
    KnownEffects(
        torch.tensor(labelled),
        torch.tensor([next(iter(steer.parameters.values())) for steer in steers]),
        torch.tensor([sae[index].suggested is not None for index in labelled]),
        torch.cat(ids),
        torch.cat(values),
        "clamp",
        len(NEUTRAL),
        LEAST,
    ).save(EFFECTS)
    EFFECTS.chmod(0o644)  # safetensors are written for their owner alone
    sys.stdout.write(f"{EFFECTS.name}: {EFFECTS.stat().st_size / 1e3:.0f} kB\n")


if __name__ == "__main__":
    main()
