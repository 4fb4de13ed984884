"""Fits mixtures of factor analysers to residuals: clusters first, then Adam on the mean negative log-likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

from steerwidgets.dictionaries.mfa.collect import OnProgress, Progress, collect
from steerwidgets.dictionaries.mfa.file import Checkpoint, inverse_softplus
from steerwidgets.dictionaries.mfa.points import Points
from steerwidgets.dictionaries.mfa.reading import log_densities, prepare
from steerwidgets.dictionaries.mfa.start import Initialisation, Start, find_start
from steerwidgets.dictionaries.reports import MFAReport

if TYPE_CHECKING:
    import threading

    import torch
    from torch import Tensor

    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.sites import Site

_EPS: Final = 1e-5
_LEAST_NOISE: Final = 1e-3
"""Of the mean noise: no dimension starts with less."""


class TrainSettings(TypedDict, total=False):
    """How a mixture is trained, each setting with its default.

    Attributes:
        initialisation: `kmeans` (the default; scikit-learn), `points`, or centroids [component, d_model].
        pool: random points that k-means is run on, 50,000 by default.
        epochs: how often all points are gone through, 10 by default.
        batch: points of each step, 128 by default.
        learning_rate: Adam's, 1e-3 by default.
        held_out: the share of the points that only judges which epoch is best; 0, the default, judges by all.
        noise_per_component: whether each component has a Ψ of its own; by default all share one.
    """

    initialisation: Initialisation | Tensor
    pool: int
    epochs: int
    batch: int
    learning_rate: float
    held_out: float
    noise_per_component: bool


class SeededSettings(TrainSettings, total=False):
    """The same with the seed, which `MFA.fit` takes by itself.

    Attributes:
        seed: of the clusters, the first loadings and the order of the points; 0 by default.
    """

    seed: int


class FitSettings(TrainSettings, total=False):
    """The settings of `MFA.fit`, each with its default.

    Attributes:
        initialisation: `kmeans` (the default; scikit-learn), `points`, or centroids [component, d_model].
        pool: random points that k-means is run on, 50,000 by default.
        epochs: how often all points are gone through, 10 by default.
        batch: points of each step, 128 by default.
        learning_rate: Adam's, 1e-3 by default.
        held_out: the share of the points that only judges which epoch is best; 0, the default, judges by all.
        noise_per_component: whether each component has a Ψ of its own; by default all share one.
        bos: True puts a BOS before every text, as TransformerLens does for GPT-2; by default what the tokenizer does.
        keep_sinks: whether attention sinks stay in; by default they are left out.
        centred: whether the residual's mean over d_model is taken off first; by default it is not.
        max_tokens: how many points at most, 250,000 by default.
        max_length: a longer text is cut after this many tokens, 512 by default.
        on_progress: called with a `Progress` for every batch, in this thread.
        stop: set it to end within one batch, with the best state so far.
    """

    bos: bool | None
    keep_sinks: bool
    centred: bool
    max_tokens: int
    max_length: int
    on_progress: OnProgress | None
    stop: threading.Event | None


@dataclass(frozen=True)
class Fitted:
    """What a fit gives.

    Attributes:
        checkpoint: the best state.
        nll: the mean negative log-likelihood of each epoch, in nats for each point; held-out where points are held out.
        best: the number of the best epoch, from 1 on.
        stopped: whether it was stopped before its end.
    """

    checkpoint: Checkpoint
    nll: tuple[float, ...]
    best: int
    stopped: bool


@dataclass(frozen=True)
class FittedMixture:
    """A mixture fitted to residuals of texts.

    Attributes:
        checkpoint: its tensors.
        centred: whether it describes residuals without their mean over d_model.
        provenance: from what and how.
        report: how the fit went.
    """

    checkpoint: Checkpoint
    centred: bool
    provenance: dict[str, str]
    report: MFAReport


def fit(
    lm: LoadedModel,
    texts: Iterable[Any] | Points,
    site: Site,
    components: int,
    rank: int,
    *,
    bos: bool | None = None,
    keep_sinks: bool = False,
    centred: bool = False,
    max_tokens: int = 250_000,
    max_length: int = 512,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
    **settings: Unpack[SeededSettings],
) -> FittedMixture:
    """An MFA of the residuals of texts.

    The reference's data are activations of TransformerLens, which puts a BOS before every text and, for models with
    LayerNorm (GPT-2), takes the residual's mean off; `bos=True, centred=True` make the same of a Hugging Face model. By
    default residuals are as the model has them, and the MFA says which in its provenance.

    Args:
        lm: the model.
        texts: texts, or points that were collected already (for which `bos`, sinks and the maxima are settled).
        site: where.
        components: how many.
        rank: loadings of each component.
        bos: as for `collect`.
        keep_sinks: likewise.
        centred: whether the residual's mean over d_model is taken off first.
        max_tokens: how many points at most.
        max_length: a longer text is cut after this many tokens.
        on_progress: called with every batch, in this thread.
        stop: set it to end within one batch, with the best state so far.
        settings: as for `fit_points`.

    Raises:
        ValueError: a setting is out of range, or `centred` with a model that has no LayerNorm.
        RuntimeError: it was stopped before anything was learned, or the likelihood was lost.
        ModuleNotFoundError: k-means needs scikit-learn.
    """
    if centred:
        _check_centred(lm)
    if isinstance(texts, Points):
        points = texts
    else:
        read: dict[str, Any] = {
            "bos": bos,
            "keep_sinks": keep_sinks,
            "max_tokens": max_tokens,
            "max_length": max_length,
        }
        points = collect(lm, texts, site, on_progress=on_progress, stop=stop, **read)
    if points.site != site:
        raise ValueError(f"The points were read at {points.site}, but an MFA at {site} was asked for.")
    told: dict[str, Any] = {"on_progress": on_progress, "stop": stop, "device": lm.architecture.input_device}
    fitted = fit_points(points.residuals, components, rank, centred=centred, **told, **settings)
    provenance = lm.provenance | {
        "points": f"{len(points)} tokens of {len(points.texts)} texts",
        "dropped": f"padding, special tokens{'' if points.sinks else ', attention sinks'}; "
        f"{points.not_finite} rows with NaN or infinite values",
        "residual": "without its mean, as TransformerLens has it" if centred else "as the model has it",
        "bos": "before every text" if points.bos else "where the tokenizer puts one",
        "nll": ", ".join(f"{each:.3f}" for each in fitted.nll),
        "best epoch": f"{fitted.best}{' (stopped)' if fitted.stopped else ''}",
    }
    report = MFAReport(fitted.nll, fitted.best, fitted.stopped, len(points))
    return FittedMixture(fitted.checkpoint, centred, provenance, report)


def fit_points(
    points: Tensor,
    components: int,
    rank: int,
    *,
    seed: int = 0,
    initialisation: Initialisation | Tensor = "kmeans",
    pool: int = 50_000,
    epochs: int = 10,
    batch: int = 128,
    learning_rate: float = 1e-3,
    held_out: float = 0.0,
    noise_per_component: bool = False,
    centred: bool = False,
    device: torch.device | str = "cpu",
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
) -> Fitted:
    """A mixture of factor analysers of points, the same for the same seed.

    The parametrisation, its initial values (noise about 1, loadings of length 1, equal weights) and Adam are the
    reference's, in units of the spread within clusters, so that one learning rate serves models of any scale.

    Args:
        points: [n, d_model], finite; may be mapped from a file.
        components: how many.
        rank: loadings of each component.
        seed: of the clusters, the first loadings and the order of the points.
        initialisation: `kmeans` (scikit-learn), `points` (as many random points), or centroids [component, d_model].
        pool: random points that k-means is run on; the reference's tutorial takes a fifth of its 250,000.
        epochs: how often all points are gone through.
        batch: points of each step.
        learning_rate: Adam's.
        held_out: the share of the points that only judges which epoch is best; 0 judges by the points learned from.
        noise_per_component: whether each component has a Ψ of its own.
        centred: whether each point's mean over d_model is taken off first.
        device: where to compute.
        on_progress: called with every batch.
        stop: set it to end within one batch.

    Raises:
        ValueError: a setting is out of range.
        RuntimeError: it was stopped before anything was learned, or the likelihood was lost.
        ModuleNotFoundError: k-means needs scikit-learn.
    """
    import torch

    _check_settings(points, components, rank, initialisation, pool, held_out, epochs, batch, learning_rate)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(points), generator=generator)
    judged = order[: round(held_out * len(points))]
    learned = order[len(judged) :]
    if len(learned) < components:
        raise ValueError(f"{components} components need as many points or more, but there are {len(learned)}.")
    report = on_progress or (lambda _progress: None)
    _refuse_stopped(stop)
    rows_of: Callable[[Tensor], Tensor] = lambda rows: _seen(points[rows].float(), centred=centred)
    report(Progress("clusters", 0, 1))
    start = find_start(rows_of(learned[:pool].sort().values), components, initialisation, seed, generator)
    report(Progress("clusters", 1, 1))
    scaled: Callable[[Tensor], Tensor] = lambda rows: ((rows_of(rows) - start.middle) / start.unit).to(device)
    model = _Parameters(start, rank, noise_per_component, generator, device)
    back = points.shape[1] * math.log(start.unit)
    adam = torch.optim.Adam(model.all, lr=learning_rate)
    history: list[float] = []
    best: tuple[float, list[Tensor]] | None = None
    for epoch in range(1, epochs + 1):
        shuffled = torch.split(learned[torch.randperm(len(learned), generator=generator)], batch)
        nll = math.nan
        for step, nll in enumerate(_steps(model, adam, map(scaled, shuffled)), start=(epoch - 1) * len(shuffled) + 1):
            report(Progress("training", step, epochs * len(shuffled), epoch, nll + back))
            if not math.isfinite(nll) or (stop is not None and stop.is_set()):
                break
        if math.isfinite(nll) and len(judged):
            nll = _judged(model, map(scaled, torch.split(judged, batch)))
        if not math.isfinite(nll):
            break
        history.append(nll + back)
        if best is None or history[-1] < best[0]:
            best = history[-1], [each.detach().clone() for each in model.all]
        if stop is not None and stop.is_set():
            break
    if best is None:
        _refuse_stopped(stop)
        raise RuntimeError("The likelihood was lost in the first epoch; lower learning_rate, or look at the points.")
    stopped = stop is not None and stop.is_set()
    return Fitted(_checkpoint(best[1], start), tuple(history), history.index(best[0]) + 1, stopped)


class _Parameters:
    """The reference's parameters, in units of the spread within clusters."""

    def __init__(
        self, start: Start, rank: int, noise_per_component: bool, generator: torch.Generator, device: torch.device | str
    ) -> None:
        import torch

        components, width = start.centroids.shape
        noise = start.noise.clamp_min(_LEAST_NOISE)
        first = {
            "mu": start.centroids,
            "dir_raw": torch.randn(components, width, rank, generator=generator) / math.sqrt(width),
            "scale_rho": inverse_softplus(torch.ones(components, rank)),
            "psi_rho": inverse_softplus(noise.expand(components, width) if noise_per_component else noise),
            "pi_logits": torch.zeros(components),
        }
        self.all = [value.to(device, torch.float32, copy=True).requires_grad_() for value in first.values()]
        self._eps = _EPS / start.unit**2

    def log_likelihood(self, x: Tensor) -> Tensor:
        """`ln p(x)` of each point, differentiable."""
        from torch.nn.functional import softplus

        mu, raw, scale, psi, logits = self.all
        loadings = raw / raw.norm(dim=1, keepdim=True).clamp_min(_EPS) * softplus(scale)[:, None]
        noise = softplus(psi) + self._eps
        terms = prepare(mu, loadings, noise if noise.ndim == 2 else noise[None], mu.new_zeros(mu.shape[1]))
        return (log_densities(x, terms) + logits.log_softmax(0)).logsumexp(-1)


def _steps(model: _Parameters, adam: torch.optim.Adam, batches: Iterable[Tensor]) -> Iterator[float]:
    """One step for each batch; yields the mean negative log-likelihood of the points so far, NaN where it is lost."""
    import torch

    total, seen = 0.0, 0
    for x in batches:
        try:
            loss = -model.log_likelihood(x).mean()
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # as torch documents it
            yield math.nan
            return
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        adam.step()
        total, seen = total + float(loss.detach()) * len(x), seen + len(x)
        yield total / seen


def _judged(model: _Parameters, batches: Iterable[Tensor]) -> float:
    import torch

    try:
        with torch.no_grad():
            values = torch.cat([model.log_likelihood(x) for x in batches])
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # as torch documents it
        return math.nan
    return -float(values.double().mean())


def _checkpoint(parameters: list[Tensor], start: Start) -> Checkpoint:
    """The reference's state_dict, back in the residual's own units."""
    from torch.nn.functional import softplus

    mu, raw, scale, psi, logits = (each.cpu().double() for each in parameters)
    state = {
        "mu": mu * start.unit + start.middle,
        "dir_raw": raw,
        "scale_rho": inverse_softplus(softplus(scale) * start.unit),
        "psi_rho": inverse_softplus(softplus(psi) * start.unit**2),
        "pi_logits": logits,
    }
    return Checkpoint({name: value.float() for name, value in state.items()}, {"eps_floor": _EPS})


def _seen(points: Tensor, *, centred: bool) -> Tensor:
    return points - points.mean(-1, keepdim=True) if centred else points


def _check_settings(
    points: Tensor,
    components: int,
    rank: int,
    initialisation: str | Tensor,
    pool: int,
    held_out: float,
    epochs: int,
    batch: int,
    learning_rate: float,
) -> None:
    import torch

    if points.ndim != 2 or not len(points):
        raise ValueError(f"Points are [n, d_model] with n above 0, but shape {list(points.shape)} was given.")
    if not all(bool(torch.isfinite(chunk).all()) for chunk in torch.split(points, 4096)):
        raise ValueError("The points hold NaN or infinite values; leave those rows out.")
    if not 1 <= rank <= points.shape[1]:
        raise ValueError(f"The rank lies between 1 and {points.shape[1]}, the width of the site, but {rank} was given.")
    if isinstance(initialisation, torch.Tensor):
        if initialisation.shape != (components, points.shape[1]) or not bool(torch.isfinite(initialisation).all()):
            raise ValueError(
                f"Centroids to begin with are finite numbers [{components}, {points.shape[1]}], one row for each "
                f"component, but a tensor of shape {list(initialisation.shape)} was given."
            )
    elif initialisation not in ("kmeans", "points"):
        raise ValueError(
            f"The initialisation is kmeans or points, or a tensor of centroids, but {initialisation!r} was given."
        )
    if pool < components:
        raise ValueError(f"k-means finds {components} clusters among as many points or more, but pool={pool!r}.")
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out is a share of the points from 0 to below 1, but {held_out!r} was given.")
    counts = {"components": components, "epochs": epochs, "batch": batch, "learning_rate": learning_rate}
    for name, value in counts.items():
        if not value > 0:
            raise ValueError(f"{name} is above 0, but {value!r} was given.")


def _check_centred(lm: LoadedModel) -> None:
    from torch import nn

    norm = lm.architecture.final_norm
    if not isinstance(norm, nn.LayerNorm):
        raise ValueError(
            "centred=True is for models with LayerNorm, which do not see the residual's mean; "
            f"{lm.architecture.name} has {type(norm).__name__}, which does."
        )


def _refuse_stopped(stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise RuntimeError("The fit was stopped before anything was learned.")
