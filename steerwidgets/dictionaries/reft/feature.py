"""One concept of a ReFT-r1 dictionary as a feature: how it reads, and what its ops change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from steerwidgets.steer import Direction, Feature, Steer
from steerwidgets.steering import ops
from steerwidgets.steering.ops import Op

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.lens.top_logits import TopLogits
    from steerwidgets.model import LanguageModel


@dataclass(frozen=True, eq=False, repr=False)
class ReFTFeature(Feature):
    """One concept of a ReFT-r1 dictionary; its activation is `relu(h·w)`.

    Args:
        link: where the concept comes from, as Neuronpedia's page of the SAE feature it was adapted from.
        genres: what sort of text it lives in: `text`, `code`, `math`.
    """

    link: str | None = None
    genres: tuple[str, ...] = ()

    @property
    def ops(self) -> Mapping[str, Op]:
        """The ops of a direction, and `clamp`."""
        return ops.REFT_OPS

    def activation(self, h: Tensor) -> Tensor:
        """`relu(h·w)`, float32 [...]; the bias that AxBench stores is never used there either."""
        return super().activation(h).relu()

    def change(self, op: str, parameters: Mapping[str, float | None], h: Tensor) -> Tensor:
        """The change of an op that adds something, `clamp` included."""
        if op != "clamp":
            return super().change(op, parameters, h)
        return ops.reft_clamp(h, self.vector_on(h.device), parameters["alpha"] or 0.0)

    def asked(self, op: str, parameters: Mapping[str, float | None], h: Tensor) -> Tensor | None:
        """The activation that `clamp` puts there (with a `v` of unit norm, where the concept fired), float32 [...]."""
        return h.new_full(h.shape[:-1], parameters["alpha"] or 0.0) if op == "clamp" else None

    def clamp(self, alpha: float) -> Steer:
        """Take out what fires and put `alpha` there: `h + (α − relu(h·v))·v` (AxBench clamping)."""
        return Steer(self, "clamp", {"alpha": alpha})

    def times_max(self, factor: float) -> float:
        """`factor` times the largest activation known: the strength that AxBench gives to `add` and `clamp`.

        AxBench tries 0.2 to 5 and chooses one for each concept; where no activation is known it takes 50.

        Raises:
            ValueError: no largest activation is known.
        """
        if self.max_activation is None:
            raise ValueError(
                f"No largest activation of {self.label!r} is known, so {factor:g} times it is not a strength; pass "
                "max_activations= to ReFT, or give a strength in activation units."
            )
        return factor * self.max_activation

    def tutorial_logits(self, lm: LanguageModel, k: int = 10) -> TopLogits:
        """What the concept promotes and suppresses, exactly as AxBench's tutorial computes it.

        `v @ (W_U ⊙ gain − mean over d_model)`: the final norm's gain goes into the unembed (`1 + weight` for Gemma),
        and each token's column is centred. That equals `lm.top_logits` of `v − mean(v)`; `lm.top_logits` itself does
        not centre for a model with RMSNorm, since such a model does not.
        """
        from steerwidgets.lens.top_logits import top_logits

        return top_logits(lm, Direction(self.vector - self.vector.mean(), self.site, self.label), k)
