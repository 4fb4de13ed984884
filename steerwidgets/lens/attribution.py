"""Direct logit attribution: how much each part of the residual stream adds to a token's logit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from steerwidgets.dictionaries.sae.sae import SAE
from steerwidgets.frozen_norm import FrozenNorm
from steerwidgets.lens.logit_lens import fitted, text_indices, token_id
from steerwidgets.residual_parts import Part, features_of, parts_of, read_parts
from steerwidgets.transformer.plain_text import quoted, table
from steerwidgets.transformer.prompts import Prompt, Token, tokens

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.engine import Engine
    from steerwidgets.steer import Feature
    from steerwidgets.steering.recipe import Recipe
    from steerwidgets.transformer.layout import Known
    from steerwidgets.transformer.unembed import Unembed

Kind = Literal["embed", "attention", "mlp", "block", "feature", "error", "bias", "steer", "rounding"]


@dataclass(frozen=True)
class Contribution:
    """What one part adds to the logit, or to the difference of two.

    Attributes:
        component: its name, such as `embed`, `attn 25`, `MLP 27`.
        kind: what it is.
        layer: its block; None for the embedding, the biases and the rounding.
        value: in logits, before a soft cap.
        feature: the SAE's feature, where it is one.
    """

    component: str
    kind: Kind
    layer: int | None
    value: float
    feature: Feature | None = None


@dataclass(frozen=True, repr=False)
class Attribution:
    """How much each part of the residual stream adds to a token's logit, or to the difference of two.

    The final norm's scale is held still at the text's own last residual, which makes norm and unembed linear, so the
    parts add up (direct paths of Elhage et al. 2021). What a part does through later blocks is counted there.

    Attributes:
        prompt: the text.
        position: where, counted from 0; the logits are those of the token after it.
        token: whose logit.
        minus: the token whose logit is taken off, or None.
        recipe: what steered the run, or None.
        rows: the contributions, in the network's order.
        logit: what the model gives, before a soft cap.
        capped: the model's logit (or difference) after its soft cap; the same where it has none.
    """

    prompt: Prompt
    position: int
    token: Token
    minus: Token | None
    recipe: Recipe | None
    rows: tuple[Contribution, ...]
    logit: float
    capped: float

    @property
    def total(self) -> float:
        """The sum of all rows: `logit`, but for rounding."""
        return sum(row.value for row in self.rows)

    def top(self, k: int = 10) -> tuple[Contribution, ...]:
        """The rows that add or take off most, from the largest down."""
        return tuple(sorted(self.rows, key=lambda row: -abs(row.value))[:k])

    def __repr__(self) -> str:
        minus = f" minus that of {quoted(self.minus)} ({self.minus.id})" if self.minus else ""
        before = " before the soft cap" if self.capped != self.logit else ""
        title = f"Logit of {quoted(self.token)} ({self.token.id}){minus} after position {self.position}{before}"
        rows = [[row.component, row.value] for row in self.top(20)]
        left_out = len(self.rows) - len(rows)
        rows += [[f"… {left_out} more", self.total - sum(float(str(row[1])) for row in rows)]] if left_out else []
        return f"{title}\n{table(['component', 'logit'], [*rows, ['sum', self.total], ['the model', self.logit]])}"


def attribution(
    engine: Engine,
    prompt: Prompt,
    token: int | str,
    minus: int | str | None,
    known: Known,
    *,
    position: int = -1,
    recipe: Recipe | None = None,
    dictionary: SAE | None = None,
) -> Attribution:
    """Attribute a logit to the parts of the residual stream.

    Args:
        engine: the model.
        prompt: the text.
        token: whose logit: an id, or a string that the tokenizer makes one token of.
        minus: a token whose logit is taken off, likewise.
        known: what is known of the text.
        position: which position's next token; the last by default.
        recipe: what steers; each change that it makes is a row of its own.
        dictionary: an SAE of the residual stream or of a sublayer's output; its active features, its bias and its error
            take the place of what its site holds.

    Raises:
        ValueError: a token or the position does not exist, the SAE reads another stream, or the final norm is of a
            kind that does not become linear.
    """
    ids = [token_id(engine, each) for each in (token, minus) if each is not None]
    (at,) = text_indices([position], len(prompt))
    recipe = recipe or None
    read = read_parts(engine, prompt, recipe, known, at)
    parts = list(parts_of(read))
    if dictionary is not None:
        parts = list(features_of(dictionary, read, parts))
    unembed = fitted(engine, read.streams)
    named = tokens(engine.tokenizer, ids)
    with engine.lock:
        rows = tuple(_contributions(unembed, parts, read.final, ids))
        logit = _difference(unembed.uncapped(read.final), ids)
        capped = _difference(unembed.logits(read.final), ids) if unembed.soft_cap is not None else logit
    return Attribution(prompt, at, named[0], named[1] if minus is not None else None, recipe, rows, logit, capped)


def _contributions(unembed: Unembed, parts: list[Part], final: Tensor, ids: list[int]) -> Iterator[Contribution]:
    import torch

    frozen = FrozenNorm(unembed, final)
    row, bias = unembed.reader(ids[0])
    if len(ids) > 1:
        other, other_bias = unembed.reader(ids[1])
        row, bias = row - other, bias - other_bias

    def value(vector: Tensor) -> float:
        return float(frozen.through(vector).double().cpu() @ row.double())

    left = final.double().cpu()
    for part in parts:
        left = left - part.vector.double().cpu()
        yield Contribution(part.name, part.kind, part.layer, value(part.vector), part.feature)
    yield Contribution("rounding", "rounding", None, value(left.to(torch.float32)))
    of_norm = float(frozen.bias.double().cpu() @ row.double())
    if of_norm:
        yield Contribution("final norm's bias", "bias", None, of_norm)
    if bias:
        yield Contribution("unembed's bias", "bias", None, bias)


def _difference(logits: Tensor, ids: list[int]) -> float:
    values = [float(logits[i]) for i in ids]
    return values[0] - (values[1] if len(values) > 1 else 0.0)
