"""One concept at many blocks: every text is read once, then a direction is fitted in each block, and its control.

The control is Hewitt and Liang's (2019, "Designing and Interpreting Probes with Control Tasks"): the same fit to the
same texts with shuffled labels, scored on held-out texts whose labels are shuffled as well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, get_args

from steerwidgets.concepts.concept import Concept, ConceptLayer, HeldOut, Scores, mean_of
from steerwidgets.concepts.examples import Clean, Examples, cleaned, text_of
from steerwidgets.dictionaries.cav.cav import CAV
from steerwidgets.dictionaries.cav.directions import DECIDE_AT_ZERO, auroc, decided_at, fit_directions
from steerwidgets.dictionaries.cav.fit import Pool, held_out_rows, pooled_by, read_each, require_scikit_learn
from steerwidgets.dictionaries.pooling import BATCH
from steerwidgets.dictionaries.reft import fit as reft
from steerwidgets.dictionaries.reft.reft import ReFT
from steerwidgets.dictionaries.reft.trainer import Settings as ReFTSettings
from steerwidgets.dictionaries.reports import CAVReport, ConceptScore
from steerwidgets.files.shown import shown
from steerwidgets.transformer.mistakes import checked_whole, indices, refuse_no_model
from steerwidgets.transformer.prompts import Answered, Prompt
from steerwidgets.transformer.sites import STREAMS, Site, Stream

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.transformer.loaded import LoadedModel

ConceptMethod = Literal["mean_difference", "logistic", "svm", "reft_r1"]
METHODS: Final = get_args(ConceptMethod)
POOLS: Final = get_args(Pool)
OnProgress = Callable[[int, int, str], None]
"""Called with the steps done, the steps in all, and what they are: `reading` or `fitting`."""

_SHUFFLES: Final = {"mean_difference": 20, "logistic": 5, "svm": 5, "reft_r1": 1}
"""As many as cost little beside the fit itself."""
_NAMES: Final = ("without it", "with it")


class TableSettings(TypedDict, total=False):
    """Which columns of a table hold what.

    Attributes:
        text: the column of the texts.
        label: the column of the labels.
        positive: the label of the texts that have the concept.
    """

    text: str
    label: str
    positive: object


class ConceptSettings(TableSettings, total=False):
    """How a concept is trained.

    Attributes:
        method: `mean_difference` (the default), `logistic`, `svm` (both without intercept), or `reft_r1`, which trains
            step by step in each block.
        pool: a text's vector: the `mean` over its own words (the default), the `last` one, or the largest of each
            number (`max`). ReFT-r1 reads the largest `relu(h·v)` instead, as AxBench does.
        layers: the blocks, "all" by default.
        stream: the stream of those blocks.
        held_out: the share of either list that is kept for the scores, a quarter by default; of answers whole
            questions are, under both system prompts.
        shuffles: fits to shuffled labels in each block: by default 20 of differences in means, 5 of `logistic` and
            `svm`, 1 of ReFT-r1, which doubles its time; 0 for none.
        max_tokens: texts are read up to so many tokens, 256 by default; of an answer so many of its own.
        max_texts: so many of either list are read, 500 by default.
        batch_size: texts that are read at once.
        seed: of the split, the solvers and the shuffles.
        reft: ReFT-r1's own settings.
        on_progress: called with the steps done, the steps in all, and what they are: `reading` or `fitting`.
        stop: set it to end early; blocks that are fitted by then are kept.
        text: of a table, the column of the texts.
        label: of a table, the column of the labels.
        positive: of a table, the label of the texts that have the concept.
    """

    method: ConceptMethod
    pool: Pool
    layers: Literal["all"] | Sequence[int]
    stream: Stream
    held_out: float
    shuffles: int
    max_tokens: int | None
    max_texts: int
    batch_size: int
    seed: int
    reft: ReFTSettings
    on_progress: OnProgress | None
    stop: threading.Event | None


class ConceptTraining:
    """One training, its texts clean and split.

    Args:
        lm: the model.
        examples: the texts.
        name: what the concept is called.
        settings: as `ConceptSettings` explains them.

    Attributes:
        clean: the texts that are read.
        sites: where.

    Raises:
        ValueError: a setting is out of range, or too few texts are left.
        ImportError: the method needs scikit-learn.
    """

    def __init__(
        self,
        lm: LoadedModel,
        examples: Examples,
        name: str = "concept",
        *,
        method: ConceptMethod = "mean_difference",
        pool: Pool = "mean",
        layers: Literal["all"] | Sequence[int] = "all",
        stream: Stream = "resid_post",
        held_out: float = 0.25,
        shuffles: int | None = None,
        max_tokens: int | None = 256,
        max_texts: int = 500,
        batch_size: int = BATCH,
        seed: int = 0,
        reft: ReFTSettings | None = None,
    ) -> None:
        import torch

        refuse_no_model(lm, "lm.concept", "positives, negatives")
        _check(method, pool, held_out)
        for count, value, least in (("max_texts", max_texts, 1), ("batch_size", batch_size, 1), ("seed", seed, 0)):
            checked_whole(count, value, least)
        checked_whole("max_tokens", max_tokens, 1, or_none="for whole texts")
        checked_whole("shuffles", shuffles, 0, or_none="for as many as cost little")
        self.sites = _sites(lm, layers, stream)
        self.clean: Clean = cleaned(lm, examples, max_tokens=max_tokens, max_texts=max_texts, seed=seed)
        self._lm, self._name, self._method, self._pool = lm, name.strip() or "concept", method, pool
        self._reft = reft if reft is not None else ReFTSettings(seed=seed)
        self._batch, self._seed = batch_size, seed
        self._targets = torch.tensor(self.clean.positive).long()
        self._is_test = self._held_out(held_out)
        self._shuffles = _SHUFFLES[method] if shuffles is None else shuffles
        self._shuffled = [self._shuffle(number) for number in range(self._shuffles)] if held_out else []

    def run(self, on_progress: OnProgress | None = None, stop: threading.Event | None = None) -> Concept:
        """Read the texts and fit in every block.

        Raises:
            RuntimeError: it was stopped before any block was fitted.
        """
        tell = on_progress if on_progress is not None else lambda _done, _total, _what: None
        stop = stop if stop is not None else threading.Event()
        layers = self._by_steps(tell, stop) if self._method == "reft_r1" else self._by_means(tell, stop)
        if not layers:
            raise RuntimeError("The training was stopped before any block was fitted.")
        tests = [text_of(self._lm, text) for text, test in zip(self.clean.texts, self._tests(), strict=True) if test]
        sides = self._targets[self._is_test].bool().tolist()
        fitted = self._targets[~self._is_test]
        return Concept(
            self._name,
            self._method,
            self.pooling,
            tuple(layers),
            tuple(HeldOut(text, side) for text, side in zip(tests, sides, strict=True)),
            (int(fitted.sum()), int((1 - fitted).sum())),
            len(self._shuffled),
            self.clean.told,
            self._provenance(),
            stopped=len(layers) < len(self.sites),
        )

    def held_out(self, *, positive: bool) -> list[Prompt]:
        """The texts that nothing is fitted on, with the concept or without."""
        rows = zip(self.clean.texts, self.clean.positive, self._tests(), strict=True)
        return [text for text, side, test in rows if test and side is positive]

    @property
    def pooling(self) -> str:
        """What of a text is read, in words."""
        tokens = "response tokens" if all(isinstance(text, Answered) for text in self.clean.texts) else "tokens"
        if self._method == "reft_r1":
            return f"largest relu(h·v) over {tokens}"
        words = {"mean": f"mean over {tokens}", "last": f"last of the {tokens}", "max": f"largest over {tokens}"}
        return words[self._pool]

    # Differences in means, and what scikit-learn solves

    def _by_means(self, tell: OnProgress, stop: threading.Event) -> list[ConceptLayer]:
        pooled = lambda _site, h, kept: pooled_by(self._pool, h, kept)
        reading = lambda done, total: tell(done, total, "reading")
        vectors = read_each(self._lm, self.clean.texts, self.sites, pooled, None, self._batch, reading, stop)
        made = []
        for number, site in enumerate(self.sites):
            if stop.is_set():
                break
            made.append(self._fitted(site, vectors[site]))
            tell(number + 1, len(self.sites), "fitting")
        return made

    def _fitted(self, site: Site, vectors: Tensor) -> ConceptLayer:
        row, converged, projections, threshold = self._direction(vectors, self._targets)
        controls = []
        for targets in self._shuffled:
            _, _, by_chance, middle = self._direction(vectors, targets)
            controls.append(self._scores(by_chance, targets, middle)[0])
        provenance = self._provenance()
        cav = CAV(row[None], [self._name], layer=site.layer, stream=site.stream, provenance=provenance)
        return self._layer(cav, projections, threshold, controls, converged=converged)

    def _direction(self, vectors: Tensor, targets: Tensor) -> tuple[Tensor, bool, Tensor, float]:
        """The direction, whether the solver was done, every text's projection, and where it decides."""
        method: Any = self._method
        rows, report = fit_directions(vectors, targets, self._is_test, _NAMES, method, self._seed)
        projections = vectors @ rows[1]
        fitted = ~self._is_test & projections.isfinite()
        return rows[1], report.converged, projections, decided_at(method, projections[fitted], targets[fitted] == 1)

    # ReFT-r1

    def _by_steps(self, tell: OnProgress, stop: threading.Event) -> list[ConceptLayer]:
        import torch

        per_site = 1 + len(self._shuffled)
        done, found = 0, []
        for site in self.sites:
            directions = []
            for targets in (self._targets, *self._shuffled):
                before = done

                def on_step(progress: Any, before: int = before) -> None:
                    tell(before + progress.step, len(self.sites) * per_site * progress.steps, "fitting")

                fitted = self._trained(site, targets, on_step, stop)
                if stop.is_set():
                    break
                done += fitted.report.steps
                directions.append(fitted)
            if stop.is_set():
                break
            found.append((site, directions))
        if not found:
            return []
        rows = {site: torch.stack([each.direction for each in directions]) for site, directions in found}

        def detected(site: Site, h: Tensor, kept: Tensor) -> Tensor:
            values = (h @ rows[site].T).relu()
            return torch.where(kept[..., None], values, -torch.inf).amax(1)

        reading = lambda read, total: tell(read, total, "reading")
        scores = read_each(self._lm, self.clean.texts, list(rows), detected, None, self._batch, reading)
        return [self._detecting(site, directions, scores[site]) for site, directions in found]

    def _trained(
        self, site: Site, targets: Tensor, on_step: Callable[[Any], None], stop: threading.Event
    ) -> reft.FittedConcept:
        train = [
            (text, bool(target))
            for text, target, test in zip(self.clean.texts, targets, self._tests(), strict=True)
            if not test
        ]
        sides = [[text for text, positive in train if positive is side] for side in (True, False)]
        return reft.fit(self._lm, *sides, site=site, settings=self._reft, held_out=0.0, on_step=on_step, stop=stop)

    def _detecting(self, site: Site, fitted: Sequence[reft.FittedConcept], values: Tensor) -> ConceptLayer:
        def middle(column: Tensor, targets: Tensor) -> float:
            train = ~self._is_test & column.isfinite()
            return decided_at("reft_r1", column[train], targets[train] == 1)

        controls = [
            self._scores(values[:, at], targets, middle(values[:, at], targets))[0]
            for at, targets in enumerate(self._shuffled, start=1)
        ]
        made = ReFT(
            fitted[0].direction[None],
            layer=site.layer,
            stream=site.stream,
            labels=[self._name],
            max_activations=[round(fitted[0].largest, 3)],
            max_activation_of=f"{fitted[0].examples} training examples",
            provenance=self._provenance(),
        )
        return self._layer(made, values[:, 0], middle(values[:, 0], self._targets), controls)

    # What both share

    def _layer(
        self,
        dictionary: CAV | ReFT,
        projections: Tensor,
        threshold: float,
        controls: Sequence[Scores],
        *,
        converged: bool = True,
    ) -> ConceptLayer:
        held_out, right, tested = self._scores(projections, self._targets, threshold)
        shuffled = mean_of(controls) if controls else None
        of_tests = tuple(projections[self._is_test].tolist())
        if isinstance(dictionary, CAV):
            dictionary.report = self._report(held_out, len(projections) - tested, tested, converged=converged)
        return ConceptLayer(dictionary, held_out, shuffled, right, tested, threshold, of_tests, converged)

    def _report(self, scores: Scores, fitted: int, tested: int, *, converged: bool) -> CAVReport:
        """What the concept's file keeps of the scores."""
        positives = int((self._is_test & (self._targets == 1)).sum())
        said = ConceptScore(self._name, scores.accuracy, scores.auroc, positives, tested - positives)
        return CAVReport((said,) if tested else (), fitted, 0, converged)

    def _scores(self, projections: Tensor, targets: Tensor, threshold: float) -> tuple[Scores, int, int]:
        """The scores on the held-out texts, how many of them were told right, and how many there are."""
        counted = self._is_test & projections.isfinite()
        sides = [projections[counted & (targets == side)] for side in (1, 0)]
        right = int((sides[0] > threshold).sum() + (sides[1] <= threshold).sum())
        tested = len(sides[0]) + len(sides[1])
        accuracy = right / tested if tested else float("nan")
        return Scores(accuracy, auroc(*sides)), right, tested

    def _held_out(self, share: float) -> Tensor:
        """Bool [text]: the same share of either side; of answers whole questions, so that no question is on both."""
        import torch

        questions = [text.question if isinstance(text, Answered) else "" for text in self.clean.texts]
        distinct = list(dict.fromkeys(questions))
        if not share or not all(questions) or len(distinct) < 2:
            return held_out_rows(self._targets, 2, share, self._seed)
        order = torch.randperm(len(distinct), generator=torch.Generator().manual_seed(self._seed)).tolist()
        count = min(max(round(share * len(distinct)), 1), len(distinct) - 1)
        drawn = {distinct[i] for i in order[:count]}
        is_test = torch.tensor([each in drawn for each in questions])
        sides = {(test, side) for test, side in zip(is_test.tolist(), self.clean.positive, strict=True)}
        # Answers that were left out may leave a side of these questions empty.
        return is_test if len(sides) == 4 else held_out_rows(self._targets, 2, share, self._seed)

    def _shuffle(self, number: int) -> Tensor:
        """The labels in another order, among the texts fitted on and among the others: both keep their shares."""
        import torch

        generator = torch.Generator().manual_seed(1_000_003 * (self._seed + 1) + number)
        shuffled = self._targets.clone()
        for part in (self._is_test, ~self._is_test):
            own = self._targets[part]
            shuffled[part] = own[torch.randperm(len(own), generator=generator)]
        return shuffled

    def _tests(self) -> list[bool]:
        found: list[bool] = self._is_test.tolist()
        return found

    def _provenance(self) -> dict[str, str]:
        test = self._targets[self._is_test]
        with_it, without = (self.clean.count(positive=side) for side in (True, False))
        return {
            "model": self._lm.architecture.name,
            "made by": "lm.concept",
            "method": f"{self._method}, {self.pooling}",
            "texts": f"{with_it} with it, {without} without",
            "held out": f"{int(test.sum())} with it, {int((1 - test).sum())} without, seed {self._seed}",
            "dtype": self._lm.provenance["dtype"],
        }


def _check(method: Any, pool: Any, held_out: Any) -> None:
    for name, value, known in (("method", method, METHODS), ("pool", pool, POOLS)):
        if value not in known:
            raise ValueError(f"{name}= is one of {', '.join(known)}, but {shown(value)} was given.")
    if isinstance(held_out, bool) or not isinstance(held_out, int | float) or not 0 <= held_out < 1:
        raise ValueError(f"held_out= is a share of the texts from 0 to below 1, but {shown(held_out)} was given.")
    if method in DECIDE_AT_ZERO:
        require_scikit_learn(method)


def _sites(lm: LoadedModel, layers: Any, stream: Any) -> list[Site]:
    count = lm.architecture.layers
    if stream not in STREAMS:
        raise ValueError(f"stream= is one of {', '.join(STREAMS)}, but {shown(stream)} was given.")
    blocks = indices(layers, count, "layers", f"{lm.architecture.name} has {count} blocks")
    return [Site(layer, stream) for layer in blocks]
