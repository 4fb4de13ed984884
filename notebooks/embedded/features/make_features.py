"""Gathers what can be seen of the SAE's features: examples, samples, histogram, tokens, neighbours, statistics.

    python -m embedded.features.make_features --tokens 500000

reads the activations that `activations` keeps, evenly from all parts and so from all sources, once. All examples go to
`build/dictionaries/sae/features.safetensors`, for whoever labels; a few of them into the package, `sae_features`, and
the statistics into the SAE's own file. It comes last: it notes both files' hashes in the report of `report_sae`.

The contexts are of the corpus: a dozen tokens on either side, five to a feature; licences are in `sources`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from embedded import SAE_FEATURES, SAE_FILE
from embedded.features.corpus_activations import CorpusActivations, read_corpus, values_in
from embedded.features.samples import coactive, samples
from embedded.sae.activations import parts_of
from embedded.sae.make_sae import FOLDER
from embedded.sae.report_sae import REPORT
from embedded.share import scaled
from steerwidgets.corpus.directions import nearest, top_tokens
from steerwidgets.dictionaries.evidence import FeatureData, log_counts, value_levels
from steerwidgets.dictionaries.statistics import FeatureStatistics

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.transformer.loaded import LoadedModel

AROUND: Final = 12
"""Tokens on either side of an example."""
EXAMPLES: Final = 10
SHIPPED_EXAMPLES: Final = 5
BINS: Final = 20
TOKENS: Final = 8
NEAREST: Final = 6
_ALIKE: Final = 3
"""Examples with the same so many tokens before and at the peak are one."""
_FEATURES_AT_ONCE: Final = 256


def main() -> None:
    """Gather, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=scaled(500_000, 8_000))
    arguments = parser.parse_args()
    from steerwidgets.dictionaries.sae.sae import SAE
    from steerwidgets.model import LanguageModel

    sae, lm = SAE.load_packed(SAE_FILE), LanguageModel.demo()
    activations = read_corpus(sae, parts_of(sae.site), arguments.tokens)
    corpus = f"{len(activations.row):,} tokens of the training corpus, {len({*activations.sources})} sources"
    data = feature_data(sae, lm, activations, corpus)
    data.save(FOLDER / "features.safetensors")
    shortened(data, SHIPPED_EXAMPLES).save(SAE_FEATURES)
    sae.statistics = statistics(activations, sae.size)
    sae.save_packed(SAE_FILE)
    _note_hashes()
    size = SAE_FEATURES.stat().st_size / 1e6
    sys.stdout.write(f"{SAE_FEATURES.name}: {size:.2f} MB; {corpus}\n")


def _note_hashes() -> None:
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    files = (SAE_FILE, SAE_FEATURES)
    report["sha256"] = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    REPORT.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def statistics(activations: CorpusActivations, size: int) -> FeatureStatistics:
    """Maximum, median, 99.5th percentile and density of every feature."""
    import numpy as np
    import torch

    found = np.full((4, size), np.nan, dtype=np.float32)
    for feature in range(size):
        _, value = activations.of(feature)
        found[3, feature] = len(value) / len(activations.row)
        if len(value):
            found[:3, feature] = value.max(), np.median(value), np.quantile(value, 0.995)
    maximum, typical, p995, density = torch.from_numpy(found)
    corpus = "the project's corpus"
    return FeatureStatistics(maximum, typical, p995, density, corpus=corpus, tokens=len(activations.row))


def feature_data(dictionary: Dictionary, lm: LoadedModel, activations: CorpusActivations, corpus: str) -> FeatureData:
    """Examples, samples, histograms, tokens and neighbours of all features of a dictionary of the residual stream."""
    names = sorted({*activations.sources})
    arrays = _examples(activations, dictionary.size, names) | _histograms(activations, dictionary.size)
    arrays |= samples(activations, dictionary.size, names) | coactive(activations, dictionary.size)
    arrays |= _comparisons(dictionary, lm)
    return FeatureData(arrays, names, corpus)


def shortened(data: FeatureData, examples: int) -> FeatureData:
    """The same with fewer examples of each feature."""
    of_examples = ("tokens", "values", "lengths", "peaks", "tops", "sources")
    arrays = {name: array[:, :examples] if name in of_examples else array for name, array in data.arrays.items()}
    return FeatureData(arrays, data.sources, data.corpus)


def _examples(activations: CorpusActivations, size: int, names: Sequence[str]) -> dict[str, Tensor]:
    import numpy as np
    import torch

    width = 2 * AROUND + 1
    tokens = np.zeros((size, EXAMPLES, width), dtype=np.int64)
    values = np.zeros((size, EXAMPLES, width), dtype=np.float32)
    small = {name: np.zeros((size, EXAMPLES), dtype=np.uint8) for name in ("lengths", "peaks", "sources")}
    for feature in range(size):
        for rank, (token, window) in enumerate(_peaks(activations, feature)):
            row = activations.row[token]
            ids = activations.texts[row][window]
            tokens[feature, rank, : len(ids)] = ids
            values[feature, rank, : len(ids)] = values_in(activations, feature, row, window)
            small["lengths"][feature, rank] = len(ids)
            small["peaks"][feature, rank] = activations.position[token] - window.start
            small["sources"][feature, rank] = names.index(activations.sources[row])
    of_values = torch.from_numpy(values)
    tops = of_values.amax(-1)
    return {
        "tokens": torch.from_numpy(tokens).to(torch.uint16),
        "values": value_levels(of_values, tops),
        "tops": tops.half(),
        **{name: torch.from_numpy(array) for name, array in small.items()},
    }


def _peaks(activations: CorpusActivations, feature: int) -> Iterator[tuple[int, slice]]:
    """The tokens of the strongest activations, one to a row and no two alike, with the window around each."""
    import numpy as np

    at, value = activations.of(feature)
    rows: set[int] = set()
    seen: set[tuple[int, ...]] = set()
    for token in at[np.argsort(-value, kind="stable")]:
        row, position = int(activations.row[token]), int(activations.position[token])
        ending = tuple(activations.texts[row][max(0, position - _ALIKE + 1) : position + 1].tolist())
        if row in rows or ending in seen:
            continue
        rows.add(row)
        seen.add(ending)
        yield int(token), slice(max(0, position - AROUND), min(activations.texts.shape[1], position + AROUND + 1))
        if len(seen) == EXAMPLES:
            return


def _histograms(activations: CorpusActivations, size: int) -> dict[str, Tensor]:
    import numpy as np
    import torch

    counts, tops = torch.zeros(size, BINS, dtype=torch.long), torch.zeros(size)
    for feature in range(size):
        _, value = activations.of(feature)
        if len(value):
            tops[feature] = float(value.max())
            # In float64: a mixture's responsibilities can be too small for bins of float32.
            found, _ = np.histogram(value.astype(np.float64), BINS, (0.0, float(value.max())))
            counts[feature] = torch.from_numpy(found)
    return {"counts": log_counts(counts), "histogram_top": tops}


def _comparisons(dictionary: Dictionary, lm: LoadedModel) -> dict[str, Tensor]:
    """The tokens that each direction promotes and suppresses most, and the features that are nearest to it."""
    import torch

    vectors = dictionary.directions()
    found: dict[str, list[Tensor]] = {}
    for part in torch.split(vectors, _FEATURES_AT_ONCE):
        for name, array in top_tokens(lm, part, TOKENS):
            found.setdefault(name, []).append(array)
    for ids, cosines in nearest(torch.nn.functional.normalize(vectors, dim=-1), _FEATURES_AT_ONCE, NEAREST):
        found.setdefault("nearest.ids", []).append(ids)
        found.setdefault("nearest.values", []).append(cosines)
    whole = {name: torch.cat(parts) for name, parts in found.items()}
    return {name: a.half() if name.endswith("values") else a.to(torch.uint16) for name, a in whole.items()}


if __name__ == "__main__":
    main()
