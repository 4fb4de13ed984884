"""The points that an MFA describes: residuals of texts, which token each stands for, and which component explains it.

Three things are called z elsewhere, and are three things here. `pull(a, z)` moves along the loadings `W_k` as they
are; `ComponentPoints.z` says where points lie in its units. `MFA.expected_latent` is `E[z|x,k]`, what the model infers:
shrunk by the noise, and counted from the centroid. `coordinates` are what the reference plots: least squares of the
residual itself, uncentred, on the loadings at unit length.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

from steerwidgets.transformer import prompts
from steerwidgets.transformer.prompts import Token

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.dictionaries.mfa.reading import MixtureReading
    from steerwidgets.transformer.sites import Site

Score = Literal["likelihood", "responsibility"]

_NUMBERS: Final = 2**24
"""Numbers that an intermediate result may hold: 64 MB in float32."""


class ContextSettings(TypedDict, total=False):
    """How the points that tell what a component is about are chosen, each setting with its default.

    Attributes:
        by: `likelihood` (the default), `ln p(x|k)`, or `responsibility`.
        sample: how many points, 10 by default.
        pool: how many of the highest they are drawn from, 5,000 by default.
        seed: of the draw; 0 by default.
        window: how many tokens before the point are shown, 16 by default.
    """

    by: Score
    sample: int
    pool: int
    seed: int
    window: int


@dataclass(frozen=True)
class Points:
    """Residuals of the tokens of some texts; padding, special tokens and mostly attention sinks left out.

    Attributes:
        residuals: float32 [n, d_model], as the model has them.
        site: where they were read.
        text: int [n], which text each comes from.
        position: int [n], which token of that text it is.
        texts: the texts as token ids.
        tokenizer: the tokenizer.
        bos: whether a BOS was put before every text, as TransformerLens does.
        not_finite: how many rows were dropped for NaN or infinite values.
        sinks: whether attention sinks are among them.
    """

    residuals: Tensor
    site: Site
    text: Tensor
    position: Tensor
    texts: tuple[tuple[int, ...], ...]
    tokenizer: Any
    bos: bool = False
    not_finite: int = 0
    sinks: bool = False

    def __len__(self) -> int:
        return len(self.residuals)

    def tokens(self, rows: Sequence[int]) -> list[Token]:
        """The tokens of some points as a person reads them."""
        return prompts.tokens(self.tokenizer, [self.texts[int(self.text[i])][int(self.position[i])] for i in rows])

    def context(self, row: int, score: float, window: int) -> Context:
        """A point with up to `window` tokens before it."""
        text, position = int(self.text[row]), int(self.position[row])
        ids = self.texts[text][max(0, position - window) : position + 1]
        before = str(self.tokenizer.decode(list(ids[:-1]), clean_up_tokenization_spaces=False))
        return Context(row, text, position, self.tokens([row])[0], before, score)


@dataclass(frozen=True)
class Context:
    """A point as a reader of a component sees it: a token and what stands before it.

    Attributes:
        row: the point.
        text: the text's number.
        position: the token's.
        token: the token.
        before: the text that leads up to it.
        score: `ln p(x|k)`, or the responsibility.
    """

    row: int
    text: int
    position: int
    token: Token
    before: str
    score: float

    def __str__(self) -> str:
        return self.before + self.token.text


def contexts(
    mfa: MixtureReading,
    points: Points,
    components: Sequence[int] | None = None,
    *,
    by: Score = "likelihood",
    sample: int = 10,
    pool: int = 5000,
    seed: int = 0,
    window: int = 16,
) -> dict[int, tuple[Context, ...]]:
    """Points sampled among those that score highest for each component; see `MFA.contexts`."""
    if by not in ("likelihood", "responsibility"):
        raise ValueError(f"Contexts are found by likelihood or responsibility, but {by!r} was given.")
    wanted = [mfa.check_component(k) for k in (range(mfa.size) if components is None else components)]
    score = mfa.log_likelihoods if by == "likelihood" else mfa.responsibilities
    draw = random.Random(seed)
    found = {}
    for k, (values, rows) in zip(wanted, _best(mfa, points, wanted, score, pool), strict=True):
        chosen = draw.sample(range(len(rows)), k=min(sample, len(rows)))
        found[k] = tuple(points.context(int(rows[i]), float(values[i]), window) for i in chosen)
    return found


def _best(
    mfa: MixtureReading, points: Points, components: Sequence[int], score: Callable[[Tensor], Tensor], pool: int
) -> list[tuple[Tensor, Tensor]]:
    """For each component, the scores and rows of the points that score highest, from the highest down."""
    import torch

    values = torch.zeros(len(components), 0)
    rows = torch.zeros(len(components), 0, dtype=torch.long)
    start = 0
    for chunk in chunks(mfa, points):
        new = score(chunk)[:, list(components)].T
        here = (start + torch.arange(len(chunk))).expand(len(components), -1)
        start += len(chunk)
        values, order = torch.cat([values, new], 1).sort(dim=1, descending=True, stable=True)
        rows = torch.cat([rows, here], 1).gather(1, order)
        values, rows = values[:, :pool], rows[:, :pool]
    return list(zip(values, rows, strict=True))


def chunks(mfa: MixtureReading, points: Points) -> Iterator[Tensor]:
    """Residuals of some points at a time: few enough that what is computed of them fits into memory.

    Raises:
        ValueError: they are as wide as no residual that the mixture describes.
    """
    import torch

    if points.residuals.shape[1] != mfa.d_model:
        raise ValueError(
            f"This MFA describes {mfa.d_model} numbers at {mfa.site}, but the points have "
            f"{points.residuals.shape[1]} at {points.site}."
        )
    return iter(torch.split(points.residuals, max(1, _NUMBERS // (mfa.size * mfa.rank))))
