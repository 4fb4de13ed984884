"""LayerLens: what the model would say next if each layer were its last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from steerwidgets.lens.cells import top
from steerwidgets.transformer.plain_text import quoted, table
from steerwidgets.transformer.prompts import Prompt, Token
from steerwidgets.transformer.unembed import FrozenNorm
from steerwidgets.transformer.written_to_residual import written_change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from steerwidgets.lens.streams import Injected
    from steerwidgets.steering.recipe import Recipe
    from steerwidgets.transformer.architecture import Architecture
    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.sites import Site
    from steerwidgets.transformer.unembed import Unembed


_FROM_ARRAYS: Final = "This lens was made from arrays alone, so it can't be read again; call lm.logit_lens(…)."
_SHOWN: Final = 6
"""Positions that a printed lens shows: the last ones."""


Track = Callable[["Sequence[int | str]", "Callable[[int, int], None] | None"], "LayerLens"]
"""Makes a lens again with other tokens followed."""


@dataclass(frozen=True, repr=False, eq=False)
class LayerLens:
    """What each layer's residual says about the next token (the logit lens of nostalgebraist, 2020).

    The model's own final norm (its statistics taken afresh), unembed and soft cap are put on the stream of every layer;
    of the last residual they give the model's own logits. Position `t` speaks of the token after it.

    Attributes:
        prompt: the text as token ids.
        tokens: its tokens as a person reads them, all of them.
        layers: the blocks read, counted from 0, ascending: the axis `layer` below.
        stream: which stream of each block.
        positions: the positions read, counted from 0: the axis `position` below.
        recipe: what steered, or None.
        token_ids: int32 [layer, position, k], the likeliest next tokens from first to last.
        log_probs: float32 [layer, position, k], their log-probabilities in nats.
        entropy: float32 [layer, position], of the layer's distribution, in nats.
        kl: float32 [layer, position], KL(final ‖ layer) in nats, final being the model's own output.
        tracked: ids of the tokens that are followed.
        tracked_log_probs: float32 [layer, position, tracked].
        tracked_ranks: int32 [layer, position, tracked]; 0 is the likeliest.
        answers: int32 [position], the model's own likeliest next token.
        baseline: the same text without the recipe, or None.
        difference: this minus the baseline, or None.
        reading: `logit lens`, or the fitted lens by which it was read: `tuned lens`, `Jacobian lens`.

    Example:
        >>> lens = lm.logit_lens("The answer", k=3)
        >>> lens.layers, lens.positions
        ((0, 1, 2, 3), (0, 1))
        >>> lens.probs.shape, lens.entropy.shape
        (torch.Size([4, 2, 3]), torch.Size([4, 2]))
    """

    prompt: Prompt
    tokens: tuple[Token, ...]
    layers: tuple[int, ...]
    stream: str
    positions: tuple[int, ...]
    recipe: Recipe | None
    token_ids: Tensor
    log_probs: Tensor
    entropy: Tensor
    kl: Tensor
    tracked: tuple[int, ...]
    tracked_log_probs: Tensor
    tracked_ranks: Tensor
    answers: Tensor
    baseline: LayerLens | None = None
    difference: LensDifference | None = None
    reading: str = "logit lens"
    _lm: LoadedModel | None = field(default=None, kw_only=True)
    _track: Track | None = field(default=None, kw_only=True)

    @property
    def probs(self) -> Tensor:
        """The probabilities of `token_ids`: float32 [layer, position, k]."""
        return self.log_probs.exp()

    @property
    def settled(self) -> Tensor:
        """The layer from which on the model's own answer is the likeliest token: int32 [position].

        A layer of `layers`; -1 where it is not the likeliest even in the last of them.

        Example:
            >>> lm.logit_lens("The answer").settled.shape
            torch.Size([2])
        """
        import torch

        is_answer = self.token_ids[:, :, 0] == self.answers
        # Counted from the end: how many layers in a row have the answer on top.
        run = is_answer.flip(0).int().cumprod(0).sum(0)
        layers = torch.tensor([*self.layers, -1], dtype=torch.int32)
        return layers[torch.where(run > 0, len(self.layers) - run, len(self.layers))]

    def enters(self, token_id: int, k: int) -> Tensor:
        """The first layer at which a token is among the `k` likeliest: int32 [position], -1 where it never is.

        Args:
            token_id: the token; one that is neither tracked nor within reach of `token_ids` is read anew.
            k: how many are looked at.

        Returns:
            int32 [position], a layer of `layers` or -1.

        Raises:
            ValueError: `k` is less than 1, or the id is outside the vocabulary.

        Example:
            >>> lens = lm.logit_lens("The answer")
            >>> lens.enters(lens.tokens[0].id, k=320).tolist()  # among all 320 tokens it is from the start
            [0, 0]
        """
        import torch

        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"k counts the likeliest tokens that are looked at, 1 or more; {k!r} was given.")
        if k <= self.token_ids.shape[-1]:
            among = (self.token_ids[..., :k] == token_id).any(-1)
        else:
            lens = self if token_id in self.tracked else self.track([token_id])
            among = lens.tracked_ranks[..., lens.tracked.index(token_id)] < k
        layers = torch.tensor([*self.layers, -1], dtype=torch.int32)
        return layers[torch.where(among.any(0), among.int().argmax(0), len(self.layers))]

    def track(
        self, token_ids: Sequence[int | str], *, on_progress: Callable[[int, int], None] | None = None
    ) -> LayerLens:
        """The same lens with other tokens followed.

        The model is not run again where the residuals were kept (up to 256 MB of them); they are unembedded once more.

        Args:
            token_ids: ids, or strings that the tokenizer makes one token of.
            on_progress: called with the cells done and all of them; what it raises ends the work.

        Returns:
            A lens whose `.tracked_log_probs` and `.tracked_ranks` are of these.

        Raises:
            ValueError: an id is outside the vocabulary, or a string is not one token.

        Example:
            >>> lm.logit_lens("The answer").track([" the", " a"]).tracked_log_probs.shape
            torch.Size([4, 2, 2])
        """
        if self._track is None:
            raise ValueError(_FROM_ARRAYS)
        return self._track(token_ids, on_progress)

    def __repr__(self) -> str:
        shown = range(max(0, len(self.positions) - _SHOWN), len(self.positions))
        headers = ["layer", *(f"{self.positions[t]}: {quoted(self.tokens[self.positions[t]])}" for t in shown)]
        named = self._named([int(self.token_ids[layer, t, 0]) for layer in range(len(self.layers)) for t in shown])
        rows = [
            [layer, *(f"{named[i * len(shown) + j]} {self._percent(i, t)}" for j, t in enumerate(shown))]
            for i, layer in reversed(list(enumerate(self.layers)))
        ]
        left_out = len(self.positions) - len(shown)
        by = "" if self.reading == "logit lens" else f" by a {self.reading}"
        title = f"Likeliest next token at each layer's {self.stream}{by}"
        note = f"\n… and {left_out:,} positions before" if left_out else ""
        return f"{title}{' under ' + repr(self.recipe) if self.recipe else ''}\n{table(headers, rows, most=100)}{note}"

    def _percent(self, layer: int, position: int) -> str:
        return f"{float(self.log_probs[layer, position, 0].exp()):.0%}"

    def _named(self, ids: Sequence[int]) -> list[str]:
        return [str(i) for i in ids] if self._lm is None else [quoted(token) for token in self._lm.tokens(ids)]


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
