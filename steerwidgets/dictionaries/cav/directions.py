"""Directions that tell classes of vectors apart, one against the rest, and how well they do; tensors in and out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from steerwidgets.dictionaries.reports import CAVReport, ConceptScore

if TYPE_CHECKING:
    from torch import Tensor

Method = Literal["svm", "logistic", "mean_difference", "pca"]
DECIDE_AT_ZERO: Final = ("svm", "logistic")
"""Methods that are fitted to decide at 0, by scikit-learn."""


def auroc(positive: Tensor, negative: Tensor) -> float:
    """The chance that a positive scores higher than a negative, ties counting half (Mann-Whitney U).

    Args:
        positive: float [n].
        negative: float [m].

    Returns:
        0 to 1; NaN where either is empty.
    """
    import torch

    if not len(positive) or not len(negative):
        return float("nan")
    ordered = negative.sort().values
    below = torch.searchsorted(ordered, positive, right=False).double()
    not_above = torch.searchsorted(ordered, positive, right=True).double()
    return float((below + not_above).mean() / (2 * len(negative)))


def fit_directions(
    vectors: Tensor,
    targets: Tensor,
    is_test: Tensor,
    names: Sequence[str],
    method: Method,
    seed: int,
    *,
    unit: bool = True,
) -> tuple[Tensor, CAVReport]:
    """One direction for each class, fitted on some rows and scored on the others.

    Args:
        vectors: float32 [row, d_model]; rows that hold NaN are dropped and counted.
        targets: int [row], each row's class.
        is_test: bool [row], the rows that are held out.
        names: of the classes.
        method: how.
        seed: of the solvers.
        unit: whether directions are made of unit norm.

    Returns:
        float32 [class, d_model], and the report.

    Raises:
        ValueError: a class has no row left to fit on.
    """
    import torch

    real = torch.isfinite(vectors).all(-1)
    train, test = real & ~is_test, real & is_test
    for i, name in enumerate(names):
        if not bool((train & (targets == i)).any()):
            raise ValueError(
                f"No text labelled {name!r} is left to fit on: give more texts, or longer ones, or a smaller skip."
            )
    x, y = vectors[train], targets[train]
    rows, converged = _SOLVERS[method](x, y, len(names), seed)
    rows = rows / rows.norm(dim=-1, keepdim=True) if unit else rows
    scores = []
    for i, name in enumerate(names):
        threshold = decided_at(method, x @ rows[i], y == i)
        positive, negative = (vectors[test & mine] @ rows[i] for mine in (targets == i, targets != i))
        right = int((positive > threshold).sum()) + int((negative <= threshold).sum())
        count = len(positive) + len(negative)
        if len(positive) and len(negative):
            scores.append(ConceptScore(name, right / count, auroc(positive, negative), len(positive), len(negative)))
    return rows, CAVReport(tuple(scores), int(train.sum()), int((~real).sum()), converged)


def _svm(x: Tensor, y: Tensor, classes: int, seed: int) -> tuple[Tensor, bool]:
    """`LinearSVC(fit_intercept=False)`; of two classes it gives one row, the first class takes it negated."""
    import torch
    from sklearn.svm import LinearSVC

    solver, converged = _quietly_fitted(LinearSVC(fit_intercept=False, random_state=seed), x, y)
    rows = torch.as_tensor(solver.coef_, dtype=torch.float32)
    return (torch.cat([-rows, rows]) if classes == 2 else rows), converged


def _logistic(x: Tensor, y: Tensor, classes: int, seed: int) -> tuple[Tensor, bool]:
    """`LogisticRegression(fit_intercept=False)` of each class against the rest."""
    import torch
    from sklearn.linear_model import LogisticRegression

    rows, converged = [], True
    for label in range(classes):
        solver = LogisticRegression(fit_intercept=False, max_iter=1000, random_state=seed)
        fitted, done = _quietly_fitted(solver, x, y == label)
        rows.append(torch.as_tensor(fitted.coef_[0], dtype=torch.float32))
        converged = converged and done
    return torch.stack(rows), converged


def _mean_difference(x: Tensor, y: Tensor, classes: int, _seed: int) -> tuple[Tensor, bool]:
    """Mean of a class minus mean of the rest (DiffMean)."""
    import torch

    return torch.stack([x[y == i].mean(0) - x[y != i].mean(0) for i in range(classes)]), True


def _pca(x: Tensor, y: Tensor, classes: int, _seed: int) -> tuple[Tensor, bool]:
    """The first principal component about the midpoint of a class and the rest, both sides counting the same.

    repeng's `pca_center` without its pairs; the sign is the one by which the class projects higher on average.
    """
    import torch

    rows = []
    for label in range(classes):
        inside, outside = x[y == label].double(), x[y != label].double()
        middle = (inside.mean(0) + outside.mean(0)) / 2
        sides = [(side - middle) / math.sqrt(len(side)) for side in (inside, outside)]
        first = torch.linalg.svd(torch.cat(sides), full_matrices=False).Vh[0]
        rows.append((first if float((inside.mean(0) - outside.mean(0)) @ first) >= 0 else -first).float())
    return torch.stack(rows), True


_SOLVERS: Final = {"svm": _svm, "logistic": _logistic, "mean_difference": _mean_difference, "pca": _pca}


def _quietly_fitted(solver: Any, x: Tensor, y: Tensor) -> tuple[Any, bool]:
    """A fitted solver, and whether it converged; the warning becomes a word in the report."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        solver.fit(x.numpy(), y.numpy())
    return solver, not any(issubclass(each.category, ConvergenceWarning) for each in caught)


def decided_at(method: str, projections: Tensor, mine: Tensor) -> float:
    """Above which projection a text counts as a class's: 0, or the midpoint of the means seen in fitting.

    Args:
        method: how the direction was found.
        projections: float [row], of the rows that it was fitted on.
        mine: bool [row], which of them are of the class.
    """
    if method in DECIDE_AT_ZERO:
        return 0.0
    return float(projections[mine].mean() + projections[~mine].mean()) / 2
