"""Gathers what can be seen of the features of the ReFT, MFA and CAV dictionaries, as `make_features` does for the SAE.

`python -m embedded.features.make_more_features` writes `reft_features`, `mfa_features` and `cavs_features`
(`.safetensors`) into the package.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from embedded import CAV_FEATURES, MFA_FEATURES, REFT_FEATURES
from embedded.features.corpus_activations import read_corpus
from embedded.features.make_features import SHIPPED_EXAMPLES, feature_data, shortened
from embedded.sae.activations import parts_of
from embedded.share import scaled
from steerwidgets.dictionaries.cav.cav import CAV
from steerwidgets.dictionaries.mfa.mfa import MFA
from steerwidgets.dictionaries.reft.reft import ReFT

if TYPE_CHECKING:
    from steerwidgets.dictionaries.base import Dictionary

TOKENS: Final = scaled(100_000, 4_000)


def main() -> None:
    """Gather and write, one dictionary after the other."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    from steerwidgets.model import LanguageModel

    lm = LanguageModel.demo()
    shipped: dict[Path, Dictionary] = {REFT_FEATURES: ReFT.demo(), MFA_FEATURES: MFA.demo(), CAV_FEATURES: CAV.demo()}
    for path, dictionary in shipped.items():
        activations = read_corpus(dictionary, parts_of(dictionary.site), TOKENS)
        corpus = f"{len(activations.row):,} tokens of the training corpus, {len({*activations.sources})} sources"
        shortened(feature_data(dictionary, lm, activations, corpus), SHIPPED_EXAMPLES).save(path)
        path.chmod(0o644)  # safetensors are written for their owner alone
        sys.stdout.write(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB; {corpus}\n")


if __name__ == "__main__":
    main()
