"""Probes that say whether a finished text is on a feature's topic, trained on the corpus and read without steering.

A feature's own activation can't judge the text that it was pushed into. The judge is a logistic regression on the mean
residual of another block, trained on corpus texts where the feature fires and where it does not, of the same sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from embedded.features.sampled_activations import WORK, Array, SampledActivations
from steerwidgets.transformer.residuals import read_residuals
from steerwidgets.transformer.sites import Site

if TYPE_CHECKING:
    from steerwidgets.model import LanguageModel

SITE: Final = Site(22)
WINDOW: Final = 32
_POSITIVES: Final = 40
_NEGATIVES: Final = 3
_BATCH: Final = 32


@dataclass(frozen=True)
class Probe:
    """A judge of one topic.

    Attributes:
        fitted: scikit-learn's pipeline.
        threshold: what one in twenty unsteered answers exceed, one half at least.
    """

    fitted: Any
    threshold: float

    def judges(self, vectors: Array) -> Array:
        """Bool [text]: which texts are on the topic; vectors are float [text, d_model]."""
        on_topic: Array = self.fitted.predict_proba(vectors)[:, 1] > self.threshold
        return on_topic


def mean_residuals(lm: LanguageModel, texts: Sequence[Sequence[int]]) -> Array:
    """The mean residual of each text at the probes' block, sinks left out: float32 [text, d_model]."""
    import torch

    pooled = []
    for first in range(0, len(texts), _BATCH):
        # Twice as fast on a CPU; the residual of a float32 model stays float32.
        with lm.lock, torch.autocast("cpu", torch.bfloat16):
            read = read_residuals(lm.architecture, [list(ids) or [0] for ids in texts[first : first + _BATCH]], [SITE])
        counted = read.counted(SITE)[..., None]
        pooled.append(((read.values[SITE] * counted).sum(1) / counted.sum(1).clamp(min=1)).numpy())
    return np.concatenate(pooled)


class Windows:
    """Windows of corpus rows, each read once and kept in a file.

    Args:
        lm: the model.
        fires: where features fire on the rows.
        kept: the file.
    """

    def __init__(
        self, lm: LanguageModel, fires: SampledActivations, kept: Path = WORK / "sampled" / "windows.npy"
    ) -> None:
        self.fires = fires
        shape = (len(fires.tokens), fires.tokens.shape[1] // WINDOW, lm.architecture.d_model)
        if not kept.exists() or np.load(kept, mmap_mode="r").shape != shape:
            np.save(kept, mean_residuals(lm, fires.tokens.reshape(-1, WINDOW).tolist()).reshape(shape))
        self.vectors: Array = np.load(kept)

    def probe(self, feature: int, baseline: Array, seed: int = 0) -> Probe:
        """Train a feature's probe.

        Args:
            feature: which.
            baseline: float [text, d_model], unsteered answers, which set the threshold and are not trained on.
            seed: of the negatives.
        """
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        rows, positions, _ = self.fires.of(feature)
        fires = np.zeros(self.vectors.shape[:2], bool)
        fires[rows, positions // WINDOW] = True
        _, strongest = np.unique(rows * fires.shape[1] + positions // WINDOW, return_index=True)
        best = np.sort(strongest)[:_POSITIVES]
        positive = self.vectors[rows[best], positions[best] // WINDOW]
        negative = self.vectors[self._quiet(fires, rows[best], seed)]
        fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=500))
        fitted.fit(np.concatenate([positive, negative]), [1] * len(positive) + [0] * len(negative))
        threshold = max(0.5, float(np.quantile(fitted.predict_proba(baseline)[:, 1], 0.95)))
        return Probe(fitted, threshold)

    def _quiet(self, fires: Array, rows: Array, seed: int) -> tuple[Array, Array]:
        """Windows without the feature, of the same sources as the rows given, three for each."""
        draw = np.random.default_rng(seed)
        chosen = []
        for source, count in zip(*np.unique(self.fires.source[rows], return_counts=True), strict=True):
            quiet = np.argwhere(~fires & (self.fires.source == source)[:, None])
            chosen.append(draw.permutation(quiet)[: _NEGATIVES * count])
        row, window = np.concatenate(chosen).T
        return row, window
