"""One concept of a ReFT-r1 dictionary as a feature: how it reads, and what its ops change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from steerwidgets.steering import ops
from steerwidgets.steering.inline import FORMS, tensor_from_json, tensor_json
from steerwidgets.steering.ops import Op
from steerwidgets.steering.plain import Plain, positive_part
from steerwidgets.steering.recipe import Feature, Steer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False, repr=False)
class ReFTFeature(Feature):
    """One concept of a ReFT-r1 dictionary; its activation is `relu(h·w)`.

    Args:
        link: where the concept comes from, as Neuronpedia's page of the SAE feature it was adapted from.
        genres: what sort of text it lives in: `text`, `code`, `math`.

    Example:
        >>> concept = reft["music"]
        >>> concept.add(40) + concept.clamp(10).at("generated")
        'music'.add(40) + 'music'.clamp(10).at('generated')
    """

    signed: ClassVar[bool] = False
    reads: ClassVar[str] = "relu(h·w)"

    link: str | None = None
    genres: tuple[str, ...] = ()

    @property
    def page(self) -> str | None:
        """The page that it was adapted from."""
        return self.link

    @property
    def _ops(self) -> Mapping[str, Op]:
        return ops.REFT_OPS

    def activation(self, h: Tensor) -> Tensor:
        """`relu(h·w)`; the bias that AxBench stores is never used there either.

        Args:
            h: [..., d_model].

        Returns:
            float32 [...], in units of the residual where `w` is of unit norm.

        Raises:
            ValueError: the residual has another width than `w`.

        Example:
            >>> reft["music"].activation(torch.randn(4, 32)).shape
            torch.Size([4])
        """
        return super().activation(h).relu()

    not_inline = ""

    def inline(self) -> dict[str, Any]:
        """Its vector, which is all that it is.

        Returns:
            A JSON value.

        Example:
            >>> reft[0].inline()["form"]
            'reft'
        """
        return {"form": "reft", "vector": tensor_json(self.vector)}

    def _plain(self, read: bool) -> Plain:  # noqa: ARG002 - its vector is all that it is
        """The feature without its dictionary."""
        return Plain(self.vector, partial(positive_part, self.vector))

    def clamp(self, alpha: float) -> Steer:
        """Take out what fires and put `alpha` there: `h + (α − relu(h·v))·v` (AxBench's `SubspaceIntervention`).

        Args:
            alpha: the activation.

        Returns:
            The steer.

        Example:
            >>> reft["music"].clamp(10)
            'music'.clamp(10)
        """
        return Steer(self, "clamp", {"alpha": alpha})

    def times_max(self, factor: float) -> float:
        """`factor` times the largest activation known: the strength that AxBench gives to `add` and `clamp`.

        AxBench tries 0.2 to 5 and chooses one for each concept; where no activation is known it takes 50.

        Args:
            factor: how many times.

        Returns:
            A strength, in units of the activation.

        Raises:
            ValueError: no largest activation is known.

        Example:
            >>> reft["music"].times_max(0.5)  # its maximum is 8
            4.0
        """
        if self.max_activation is None:
            raise ValueError(
                f"No largest activation of {self.label!r} is known, so {factor:g} times it is not a strength; pass "
                "max_activations= to ReFT, or give a strength in activation units."
            )
        return factor * self.max_activation


FORMS["reft"] = lambda parts, entry: ReFTFeature(tensor_from_json(parts, "vector"), **entry)
