"""What a recipe does inside the model: the steered lens minus the baseline's, and the injected change's own path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from steerwidgets.frozen_norm import FrozenNorm
from steerwidgets.lens.cells import top
from steerwidgets.transformer.written_to_residual import written_change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from steerwidgets.lens.streams import Injected
    from steerwidgets.transformer.architecture import Architecture
    from steerwidgets.transformer.sites import Site
    from steerwidgets.transformer.unembed import Unembed


@dataclass(frozen=True)
class TokenChanges:
    """The tokens that change most, and by how much.

    Attributes:
        token_ids: int32 [..., k], from the largest change to the smallest.
        values: float32 of the same shape.
    """

    token_ids: Tensor
    values: Tensor


@dataclass(frozen=True)
class DirectPath:
    """What the change injected at one site promotes by itself, apart from what later blocks make of it.

    The change `h' - h`, as the run made it at each position, goes through the final norm with its scale frozen at the
    steered run's last residual, and through the unembed: the direct path of Elhage et al. (2021).

    Attributes:
        site: where it was injected.
        norms: float32 [position], ‖h' - h‖ as written to the residual stream; 0 where the recipe does not act.
        promoted: [position, k], the tokens whose logit it raises most; logits before a soft cap, less their mean.
        suppressed: [position, k], those it lowers most.
        tracked: float32 [position, tracked], what it adds to the tracked tokens' logits, less the mean of all.
    """

    site: Site
    norms: Tensor
    promoted: TokenChanges
    suppressed: TokenChanges
    tracked: Tensor


@dataclass(frozen=True, eq=False)
class LensDifference:
    """A steered lens minus its baseline, cell by cell, read in one batch.

    Attributes:
        rises: [layer, position, k], the tokens whose probability grows most, with the change of probability.
        falls: [layer, position, k], those whose probability shrinks most, with negative values.
        promoted: [layer, position, k], the tokens whose logit grows most, with the change of logit less its mean over
            the vocabulary: at the last layer what `lm.logit_difference` gives.
        suppressed: [layer, position, k], those whose logit shrinks most.
        d_top: float32 [layer, position], the change of log-probability of the baseline's likeliest token of that cell.
        entropy: float32 [layer, position], the change of entropy in nats.
        kl: float32 [layer, position], the change of KL(final ‖ layer) in nats, each run's own final.
        tracked_log_probs: float32 [layer, position, tracked], the change of log-probability.
        tracked_ranks: int32 [layer, position, tracked], the change of rank; negative where a token climbs.
        steered_sites: where the recipe acts, in the network's order.
        direct: for each of these, what the injected change promotes by itself.
    """

    rises: TokenChanges
    falls: TokenChanges
    promoted: TokenChanges
    suppressed: TokenChanges
    d_top: Tensor
    entropy: Tensor
    kl: Tensor
    tracked_log_probs: Tensor
    tracked_ranks: Tensor
    steered_sites: tuple[Site, ...]
    direct: tuple[DirectPath, ...]


def direct_paths(
    architecture: Architecture,
    unembed: Unembed,
    injected: Sequence[Injected],
    final: Tensor,
    k: int,
    tracked: Sequence[int],
) -> tuple[DirectPath, ...]:
    """The direct path of every injected change.

    Args:
        architecture: the model's parts.
        unembed: from residuals to logits.
        injected: the changes, at the same positions as `final`.
        final: [position, d_model], the steered run's last residuals.
        k: how many tokens of each kind.
        tracked: ids of tokens to follow.
    """
    if not injected:
        return ()
    frozen = FrozenNorm(unembed, final)
    return tuple(_direct_path(architecture, unembed, each, frozen, k, list(tracked)) for each in injected)


def _direct_path(
    architecture: Architecture, unembed: Unembed, injected: Injected, frozen: FrozenNorm, k: int, tracked: list[int]
) -> DirectPath:
    import torch

    change = written_change(architecture, injected.before, injected.after, injected.site)
    through = frozen.through(change)
    parts: list[tuple[Tensor, ...]] = []
    # The same positions at a time as anywhere else: [position, vocabulary] of a long text is large, too.
    for some in torch.split(through, 64):
        logits = unembed.linear(some)
        logits -= logits.mean(-1, keepdim=True)
        promoted, promoted_ids = top(logits, k)
        of_tracked = logits[:, tracked]
        suppressed, suppressed_ids = top(logits.neg_(), k)
        parts.append((promoted_ids.int(), promoted, suppressed_ids.int(), -suppressed, of_tracked))
    promoted_ids, promoted, suppressed_ids, suppressed, of_tracked = (
        torch.cat(column).cpu() for column in zip(*parts, strict=True)
    )
    return DirectPath(
        injected.site,
        change.norm(dim=-1).cpu(),
        TokenChanges(promoted_ids, promoted),
        TokenChanges(suppressed_ids, suppressed),
        of_tracked,
    )
