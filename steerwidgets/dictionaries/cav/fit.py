"""Concept directions from texts: activations pooled over each text, then one direction for each label."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, TypedDict, get_args

from steerwidgets.dictionaries.cav.directions import DECIDE_AT_ZERO, Method, fit_directions
from steerwidgets.dictionaries.pooling import BATCH, own_words
from steerwidgets.dictionaries.reports import CAVReport
from steerwidgets.dictionaries.statistics import FeatureStatistics
from steerwidgets.dictionaries.zeros import ZERO_OF, highs, zeros
from steerwidgets.files.shown import shown
from steerwidgets.transformer import prompts
from steerwidgets.transformer.mistakes import refuse_no_model, wrong
from steerwidgets.transformer.prompts import Prompt
from steerwidgets.transformer.residuals import Residuals, read_residuals

if TYPE_CHECKING:
    import threading

    from torch import Tensor

    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import PromptLike
    from steerwidgets.transformer.sites import Site


Pool = Literal["mean", "last", "max"]

_MOST_TESTS: Final = 256
"""Held-out texts whose every token is read: more would not move a percentile."""


class FitOptions(TypedDict, total=False):
    """The options of `fit`, each with its default.

    Attributes:
        names: what labels that are numbers stand for, as {0: "alt.atheism", …} or a list; by default the numbers.
        method: `svm` (linear, no intercept), `logistic` (no intercept), `mean_difference` (of the label's texts and the
            rest) or `pca` (first principal component about the midpoint of the two).
        unit: whether each direction is made of unit norm; otherwise a difference in means is in the residual's units.
        pool: a text's vector: the `mean` over its tokens, the `last` one, or the largest of each number (`max`).
        skip: leave out this many tokens at the beginning, BOS included, and nothing else; by default special and
            template tokens and attention sinks are left out.
        max_tokens: cut each text after this many tokens, BOS included.
        held_out: the share of each label's texts that is kept for accuracy and AUROC; 0 fits on all of them.
        batch_size: texts that are read at once.
        seed: of the split and the solvers.
        on_progress: called with texts read and texts in all.
        stop: set it to end within one batch of texts, or after the block that is being fitted.
    """

    names: Mapping[int, str] | Sequence[str] | None
    method: Method
    unit: bool
    pool: Pool
    skip: int | None
    max_tokens: int | None
    held_out: float
    batch_size: int
    seed: int
    on_progress: Callable[[int, int], None] | None
    stop: threading.Event | None


@dataclass(frozen=True)
class FittedDirections:
    """What a fit gives at one site.

    Attributes:
        vectors: float32 [concept, d_model].
        labels: of the rows.
        site: where they were fitted.
        provenance: from what and how.
        report: how well they separate.
        statistics: where the scale of each begins, and what its held-out texts give; None where none was held out.
    """

    vectors: Tensor
    labels: list[str]
    site: Site
    provenance: dict[str, str]
    report: CAVReport
    statistics: FeatureStatistics | None = None


def fit(
    lm: LoadedModel,
    texts: Sequence[PromptLike | Prompt],
    labels: Sequence[str | int],
    sites: Sequence[Site],
    *,
    names: Mapping[int, str] | Sequence[str] | None = None,
    method: Method = "svm",
    unit: bool = True,
    pool: Pool = "mean",
    skip: int | None = None,
    max_tokens: int | None = None,
    held_out: float = 0.2,
    batch_size: int = BATCH,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> list[FittedDirections]:
    """One direction for each label at each of several sites, for which every text is read once; see `FitOptions`.

    Stopped, those that are fitted by then. `max_tokens=129, skip=65, held_out=0` is what the notebook "Sparse
    Autoencoders for model steering" (Jørgensen) does: BOS and 64 tokens left out, the next 64 averaged,
    `LinearSVC(fit_intercept=False)`, unit norm.

    Raises:
        ValueError: texts and labels do not fit, an option is not known, or too few texts are left.
        ImportError: `svm` and `logistic` need scikit-learn.
        RuntimeError: it was stopped before anything was fitted.
    """
    _check_options(method, pool, skip, max_tokens, held_out)
    refuse_no_model(lm, "CAV.fit", "texts, labels, layer=15")
    if isinstance(texts, str | Mapping):
        meant = "give each text and its label in two lists: CAV.fit(lm, texts, labels, layer=15)"
        raise wrong("CAV.fit", "a list of texts", texts, meant)
    if method in DECIDE_AT_ZERO:
        require_scikit_learn(method)
    texts = list(texts)
    found, targets = _numbered(labels, len(texts))
    concepts = [str(label) for label in found] if names is None else _named(found, names)
    if not sites:
        raise ValueError("No block was given to fit at.")
    encoded = [_encoded(lm, text).cut(max_tokens) for text in texts]
    pooled = lambda _site, h, kept: pooled_by(pool, h, kept)
    vectors = read_each(lm, encoded, sites, pooled, skip, batch_size, on_progress, stop)
    is_test = held_out_rows(targets, len(concepts), held_out, seed)
    tests = [(encoded[i], int(targets[i])) for i in is_test.nonzero()[:_MOST_TESTS, 0].tolist()]
    made: list[FittedDirections] = []
    for site in sites:
        if stop is not None and stop.is_set():
            break
        rows, report = fit_directions(vectors[site], targets, is_test, concepts, method, seed, unit=unit)
        provenance = {
            "model": lm.architecture.name,
            "made by": "CAV.fit",
            "method": f"{method}, {pool} over tokens",
            "texts": f"{report.fitted} fitted, {report.dropped} dropped",
            "held out": f"accuracy {report.accuracy:.3f}, AUROC {report.auroc:.3f}" if report.scores else "none",
            "dtype": lm.provenance["dtype"],
        }
        made.append(FittedDirections(rows, concepts, site, provenance, report))
    if made and tests:
        known = _statistics(lm, tests, {each.site: each.vectors for each in made}, skip, batch_size)
        made = [replace(each, statistics=known[each.site]) for each in made]
    if not made:
        raise RuntimeError("The fit was stopped before anything was learned.")
    return made


def _check_options(method: str, pool: str, skip: int | None, max_tokens: int | None, held_out: float) -> None:
    for name, value, known in (("method", method, get_args(Method)), ("pool", pool, get_args(Pool))):
        if value not in known:
            raise ValueError(f"{name} is one of {', '.join(known)}, but {value!r} was given.")
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out is a share of the texts from 0 to below 1, but {held_out!r} was given.")
    if skip is not None and skip < 0:
        raise ValueError(f"skip counts tokens from 0 up, but {skip!r} was given.")
    if max_tokens is not None and max_tokens <= (skip or 0):
        raise ValueError(f"max_tokens={max_tokens} leaves no token after skip={skip or 0}; make it larger.")


def require_scikit_learn(method: str) -> None:
    """Refuse a method that scikit-learn solves where there is none.

    Raises:
        ImportError: there is none; the message says how to install it.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise ImportError(
            f"method={method!r} needs scikit-learn: pip install 'steerwidgets[concepts]', or take "
            'method="mean_difference".'
        ) from None


def _numbered(labels: Sequence[str | int], texts: int) -> tuple[list[str | int], Tensor]:
    """The distinct labels in order, numbers as numbers, and the place of each text's: int [text]."""
    import torch

    labels = [label.item() if hasattr(label, "item") else label for label in labels]
    if len(labels) != texts:
        raise ValueError(f"CAV.fit takes one label for each text, but it got {texts} texts and {len(labels)} labels.")
    for at, label in enumerate(labels):
        is_hole = label is None or (isinstance(label, float) and not math.isfinite(label))
        if is_hole or not isinstance(label, str | int | float):
            hole = "a hole in a table's column, perhaps: " if is_hole else ""
            raise ValueError(
                f"CAV.fit takes a text or a number as the label of each text, but labels[{at}] is {shown(label)} "
                f"({hole}"
                "give it a label, or leave its text out)."
            )
    is_number = all(isinstance(label, int) for label in labels)
    distinct = sorted(set(labels), key=None if is_number else str)
    if len(distinct) < 2:
        raise ValueError(f"CAV.fit tells labels apart, so it needs at least two, but {len(distinct)} was given.")
    place = {label: i for i, label in enumerate(distinct)}
    return distinct, torch.tensor([place[label] for label in labels])


def _named(labels: Sequence[str | int], names: Mapping[int, str] | Sequence[str]) -> list[str]:
    """What labels that are numbers stand for."""
    by_number = dict(names) if isinstance(names, Mapping) else dict(enumerate(names))
    for label in labels:
        if label not in by_number:
            raise ValueError(
                f"names says what labels that are numbers stand for, but it holds nothing for {label!r}; "
                f'give it as {{{label!r}: "…"}}, or leave names out.'
            )
    found = [str(by_number[label]) for label in labels if isinstance(label, int)]
    if len(set(found)) < len(labels):
        raise ValueError(f"names gives two labels the same name; name each of them apart: {', '.join(found)}.")
    return found


def _encoded(lm: LoadedModel, text: PromptLike | Prompt) -> Prompt:
    return text if isinstance(text, Prompt) else prompts.encode(lm.tokenizer, text, chat=False)


def read_each(
    lm: LoadedModel,
    texts: Sequence[Prompt],
    sites: Sequence[Site],
    of: Callable[[Site, Tensor, Tensor], Tensor],
    skip: int | None = None,
    batch_size: int = BATCH,
    on_progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> dict[Site, Tensor]:
    """What is made of every text at every site, for which each text is read once; in the order of the texts.

    Texts of like length are read together, so that little of a batch is padding.

    Args:
        lm: the model.
        texts: the texts.
        sites: where to read.
        of: makes [text, …] of a site, float32 [text, position, width] and bool [text, position], what counts.
        skip: as for `fit`.
        batch_size: texts that are read at once.
        on_progress: called with texts read and texts in all.
        stop: set it to end within one batch.

    Raises:
        RuntimeError: it was stopped.
    """
    import torch

    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    found: dict[Site, list[Tensor]] = {site: [] for site in sites}
    for start in range(0, len(order), batch_size):
        if stop is not None and stop.is_set():
            raise RuntimeError(f"The fit was stopped after {start} of {len(texts)} texts, before anything was learned.")
        batch = [texts[i] for i in order[start : start + batch_size]]
        with lm.lock:
            residuals = read_residuals(lm.architecture, [text.token_ids for text in batch], sites)
        for site in sites:
            found[site].append(of(site, residuals.values[site], _kept(residuals, site, batch, skip)))
        if on_progress is not None:
            on_progress(start + len(batch), len(texts))
    back = torch.tensor(order).argsort()
    return {site: torch.cat(parts)[back] for site, parts in found.items()}


def _kept(residuals: Residuals, site: Site, texts: Sequence[Prompt], skip: int | None) -> Tensor:
    """Bool [text, position], what counts."""
    import torch

    if skip is None:
        return own_words(residuals, site, texts)
    return residuals.absolute >= torch.tensor([[skip + text.begins] for text in texts])


def _statistics(
    lm: LoadedModel,
    tests: Sequence[tuple[Prompt, int]],
    vectors: Mapping[Site, Tensor],
    skip: int | None,
    batch_size: int,
) -> dict[Site, FeatureStatistics]:
    """What held-out texts give at every token: the zero of each direction, and how far it goes.

    Their maxima are left out: strengths are derived from a feature's maximum, and a few texts have not shown it.

    Args:
        lm: the model.
        tests: the held-out texts, each with the place of its label.
        vectors: the directions at each site, float32 [concept, d_model].
        skip: as for `fit`.
        batch_size: likewise.
    """
    import torch

    values: dict[Site, list[Tensor]] = {site: [] for site in vectors}
    without: dict[Site, list[Tensor]] = {site: [] for site in vectors}
    tests = sorted(tests, key=lambda each: len(each[0]))
    for start in range(0, len(tests), batch_size):
        batch = tests[start : start + batch_size]
        texts = [text for text, _ in batch]
        with lm.lock:
            residuals = read_residuals(lm.architecture, [text.token_ids for text in texts], list(vectors))
        own = torch.tensor([label for _, label in batch])
        for site, rows in vectors.items():
            kept = _kept(residuals, site, texts, skip)
            values[site].append(residuals.values[site][kept].float() @ rows.T)
            labels = own[:, None].expand(kept.shape)[kept]
            without[site].append(labels[:, None] != torch.arange(len(rows)))
    return {site: _known(torch.cat(values[site]), torch.cat(without[site])) for site in vectors}


def _known(values: Tensor, without: Tensor) -> FeatureStatistics:
    import torch

    zero = zeros(values, without)
    return FeatureStatistics(
        torch.full_like(zero, torch.nan),
        p995=highs(values, zero),
        corpus="the fit's held-out texts",
        tokens=len(values),
        zero=zero,
        zero_of=ZERO_OF,
    )


def pooled_by(pool: Pool, h: Tensor, kept: Tensor) -> Tensor:
    """[text, position, d_model] and bool [text, position] to [text, d_model]; NaN where nothing is kept."""
    import torch

    counts = kept.sum(-1, keepdim=True)
    if pool == "mean":
        # 0/0 is NaN: a text with nothing to read is dropped later, as the reference does.
        return torch.where(kept[..., None], h, 0.0).sum(1) / counts
    if pool == "max":
        values = torch.where(kept[..., None], h, -torch.inf).amax(1)
    else:
        place = torch.arange(h.shape[1]) * kept
        values = h[torch.arange(len(h)), place.argmax(-1)]
    return torch.where(counts > 0, values, torch.nan)


def held_out_rows(targets: Tensor, classes: int, held_out: float, seed: int) -> Tensor:
    """Bool [text], the texts that are held out: the same share of every label, by a seeded shuffle."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    is_test = torch.zeros(len(targets), dtype=torch.bool)
    for label in range(classes):
        rows = (targets == label).nonzero()[:, 0]
        shuffled = rows[torch.randperm(len(rows), generator=generator)]
        wanted = min(max(round(held_out * len(rows)), 1), len(rows) - 1) if held_out else 0
        is_test[shuffled[:wanted]] = True
    return is_test
