"""What an engine is: whoever runs a model that is not in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.engines.places import Place, Places
    from steerwidgets.generation.sampling import CoupledSampler
    from steerwidgets.steering.hooks import Steering
    from steerwidgets.transformer.abilities import Abilities


class EngineError(RuntimeError):
    """The engine that runs a model could not do what was asked: one sentence says why, and what may help.

    Example:
        >>> sw.EngineModel("http://127.0.0.1:1")  # where nobody answers  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        steerwidgets.engines.engine.EngineError: Nobody answers at http://127.0.0.1:1 ...
    """


@dataclass(frozen=True)
class Pass:
    """One forward pass that is asked for.

    Attributes:
        ids: int [row, position], padded on the left.
        mask: int [row, position], 1 for tokens.
        steering: what steers it.
        keep: whose streams are wanted, before any change there.
        logits: of how many positions at the end logits are wanted; 0 for all, None for none.
    """

    ids: Tensor
    mask: Tensor
    steering: Steering | None
    keep: Sequence[Place]
    logits: int | None


@dataclass(frozen=True)
class Passed:
    """What a forward pass gave.

    Attributes:
        streams: for each place asked for [row, position, width], in the model's dtype.
        logits: [row, position, vocabulary], or None.
    """

    streams: Mapping[Place, Tensor]
    logits: Tensor | None


@dataclass(frozen=True)
class Generation:
    """A batch that is to be generated.

    Attributes:
        ids: int [row, position], the prompts, padded on the left.
        mask: int [row, position].
        steering: what steers it.
        watch: whose streams are wanted at each pass's last position, before any change there.
        sampler: draws the tokens.
        end_ids: what ends a row.
        passes: how many forward passes are made at most.
    """

    ids: Tensor
    mask: Tensor
    steering: Steering
    watch: Sequence[Place]
    sampler: CoupledSampler
    end_ids: frozenset[int]
    passes: int


class Taking(Protocol):
    """Takes in what a run brings, as it comes or once it is done."""

    def step(self, whole: Tensor, streams: Mapping[Place, Tensor]) -> bool:
        """One step of all rows.

        Args:
            whole: int [row, position], all tokens so far.
            streams: what was watched in its pass, [row, 1, width].

        Returns:
            Whether the run goes on.
        """
        ...

    def token(self, row: int, token: int) -> bool:
        """One token of one row, where rows come one after another; whether that row goes on."""
        ...

    def streams(self, row: int, streams: Mapping[Place, Tensor]) -> None:
        """What was watched of a row that has ended, [position, width] of all its tokens, the prompt's among them."""
        ...

    def generated(self, row: int) -> list[int]:
        """What a row has got."""
        ...


class Engine(Protocol):
    """Runs a model elsewhere.

    Attributes:
        where: where that is, in words: `NDIF`, or an address.
        abilities: what it can do.
    """

    where: str
    abilities: Abilities

    def forward(self, places: Places, asked: Pass) -> Passed:
        """One forward pass.

        Raises:
            EngineError: it did not come to an end.
            ValueError: a recipe can't be carried out there.
        """
        ...

    def generate(self, places: Places, asked: Generation, taking: Taking) -> None:
        """Generate a batch, and give what it brings, as it comes or all at the end.

        Raises:
            EngineError: it did not come to an end.
            ValueError: a recipe or a setting can't be carried out there.
        """
        ...

    def through(self, path: str, vectors: Tensor) -> Tensor:
        """Vectors [..., d_model] through the final norm or the unembed.

        Raises:
            EngineError: it did not come to an end.
        """
        ...

    def describe(self) -> Mapping[str, Any]:
        """What provenance has to say of it."""
        ...
