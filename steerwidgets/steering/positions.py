"""Which positions of a text a steer acts on, decided by absolute position."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from steerwidgets.calls import tells_calls
from steerwidgets.files.fields import Fields
from steerwidgets.files.shown import shown

if TYPE_CHECKING:
    from torch import Tensor

Where = Literal["all", "prompt", "generated", "indices", "first", "after", "last_prompt"]
_WHERE: Final[tuple[Where, ...]] = get_args(Where)
_MOST: Final = 2**53
"""Positions beyond that are none of any text, and not the same number in a page, whose numbers are float64."""

_COUNTED: Final = frozenset({"first", "after"})
_NEEDS_PROMPT: Final = frozenset({"prompt", "generated", "last_prompt"})


@tells_calls("sw.Positions", "positions")
@dataclass(frozen=True)
class Positions:
    """The positions that a steer acts on.

    Positions are absolute: they count a row's own tokens from 0, without padding, so a run with a key-value cache,
    a run without one and a left-padded batch all steer the same tokens. Padding is never steered.

    Args:
        where: `all` (as the reference implementations do), `prompt`, `generated`, `last_prompt`, `indices`,
            `first` (the first `count` positions) or `after` (every position from `count` on).
        indices: the absolute positions, for `indices`.
        count: how many positions, for `first` and `after`.
        special: whether special tokens (BOS, turn marks) and the words of the chat template are steered too.

    Raises:
        ValueError: a setting is missing, negative or not known.

    Example:
        >>> sw.Positions("first", count=5)
        Positions(where='first', indices=(), count=5, special=True)
    """

    where: Where = "all"
    indices: tuple[int, ...] = ()
    count: int | None = None
    special: bool = True

    def __post_init__(self) -> None:
        if self.where not in _WHERE:
            raise ValueError(f"Positions are one of {', '.join(_WHERE)}, but {shown(self.where)} was given.")
        counted = () if self.count is None else (self.count,)
        if any(
            isinstance(i, bool) or not isinstance(i, Integral) or not 0 <= int(i) < _MOST
            for i in (*self.indices, *counted)
        ):
            raise ValueError(
                f"Positions count a row's tokens from 0, but indices={shown(list(self.indices))}, "
                f'count={shown(self.count)} was given; for the last token of the prompt use "last_prompt".'
            )
        if self.where in _COUNTED and self.count is None:
            raise ValueError(f'Positions "{self.where}" need to know how many: give count=, as in count=5.')
        # What this kind of positions does not use must not make two of them differ.
        object.__setattr__(
            self, "indices", tuple(sorted({int(i) for i in self.indices})) if self.where == "indices" else ()
        )
        object.__setattr__(
            self, "count", int(self.count) if self.where in _COUNTED and self.count is not None else None
        )

    @classmethod
    def parse(
        cls, where: Positions | Where | Sequence[int], *, count: int | None = None, special: bool = True
    ) -> Positions:
        """Positions from what a user writes: `"prompt"`, a list of indices, or positions already made.

        Args:
            where: a word, indices from 0, or positions, which stay as they are.
            count: how many positions, for `first` and `after`.
            special: whether special tokens and the words of the chat template are steered too.

        Returns:
            The positions.

        Raises:
            ValueError: a setting is missing, negative or not known.
            TypeError: it is no word, no list and no positions.

        Example:
            >>> sw.Positions.parse([4, 3]).indices
            (3, 4)
        """
        if isinstance(where, Positions):
            return where
        if isinstance(where, str):
            return cls(where, count=count, special=special)
        if not isinstance(where, Iterable):
            raise TypeError(f'Positions are a word such as "prompt" or a list of indices, but {where!r} was given.')
        plain = where.tolist() if hasattr(where, "tolist") else where
        return cls("indices", indices=tuple(plain), special=special)

    @property
    def needs_prompt_length(self) -> bool:
        """Whether the prompt's length has to be known to decide."""
        return self.where in _NEEDS_PROMPT

    def mask(self, absolute: Tensor, prompt_length: Tensor | None, special: Tensor) -> Tensor:
        """Where to steer.

        Args:
            absolute: int [batch, position], each token's absolute position; -1 marks padding.
            prompt_length: int [batch], tokens in each row's prompt, or None where unknown.
            special: bool [batch, position], special and template tokens.

        Returns:
            bool [batch, position].

        Raises:
            ValueError: the prompt's length is needed and not known.

        Example:
            >>> absolute = torch.tensor([[-1, 0, 1, 2]])  # a row with one token of padding
            >>> special = torch.zeros(1, 4, dtype=torch.bool)
            >>> sw.Positions("prompt").mask(absolute, torch.tensor([2]), special)
            tensor([[False,  True,  True, False]])
        """
        import torch

        chosen = absolute >= 0
        if self.needs_prompt_length:
            if prompt_length is None:
                raise ValueError(
                    f'Positions "{self.where}" need the length of the prompt; pass prompt_length= to lm.steer(…).'
                )
            chosen = chosen & self._by_phase(absolute, prompt_length[:, None])
        elif self.count is not None:
            chosen = chosen & (absolute < self.count if self.where == "first" else absolute >= self.count)
        elif self.where == "indices":
            chosen = chosen & torch.isin(absolute, absolute.new_tensor(self.indices))
        return chosen if self.special else chosen & ~special

    def _by_phase(self, absolute: Tensor, prompt_length: Tensor) -> Tensor:
        if self.where == "prompt":
            return absolute < prompt_length
        if self.where == "generated":
            return absolute >= prompt_length
        return absolute == prompt_length - 1

    def overlaps(self, other: Positions) -> bool:
        """Whether the two may meet in some text; True unless they provably never do.

        Args:
            other: other positions.

        Returns:
            False only where no text has a position in both.

        Example:
            >>> sw.Positions("prompt").overlaps(sw.Positions("generated"))
            False
        """
        pair = {self.where, other.where}
        if pair in ({"prompt", "generated"}, {"last_prompt", "generated"}):
            return False
        if not pair <= {"indices", *_COUNTED}:
            return True
        if self.where == other.where == "indices":
            return not set(self.indices).isdisjoint(other.indices)
        if self.where != "indices" and other.where != "indices":
            (low, high), (other_low, other_high) = self._interval(), other._interval()
            return max(low, other_low) < min(high, other_high)
        single, counted = (self, other) if self.where == "indices" else (other, self)
        low, high = counted._interval()  # noqa: SLF001 - of this class
        return any(low <= position < high for position in single.indices)

    def _interval(self) -> tuple[float, float]:
        """The first of the counted positions, and the one after their last."""
        count = self.count or 0
        return (0, count) if self.where == "first" else (count, math.inf)

    def to_json(self) -> dict[str, Any]:
        """A JSON value; settings that say nothing are left out.

        Returns:
            A dict of plain values.

        Example:
            >>> sw.Positions("prompt").to_json()
            {'where': 'prompt', 'special': True}
        """
        value: dict[str, Any] = {"where": self.where, "special": self.special}
        if self.where == "indices":
            value["indices"] = list(self.indices)
        if self.where in _COUNTED:
            value["count"] = self.count
        return value

    @classmethod
    def from_json(cls, value: Fields | Mapping[str, Any]) -> Positions:
        """The inverse of `to_json`.

        Args:
            value: what `to_json` gave; what is missing is as in `Positions()`.

        Returns:
            The positions.

        Raises:
            ValueError: a setting is not known, or is no number, list or truth value where it should be one.

        Example:
            >>> sw.Positions.from_json({"where": "first", "count": 5}).count
            5
        """
        said = value if isinstance(value, Fields) else Fields(value, "In the positions", within="positions.")
        said.only("where", "indices", "count", "special")
        where: Any = said.text("where", "all")
        count: Any = said.value("count")
        return cls(where, tuple(said.items("indices", [])), count, said.flag("special", default=True))

    def without_special(self) -> Positions:
        """The same positions, special and template tokens left out.

        Returns:
            Other positions.

        Example:
            >>> sw.Positions("prompt").without_special().special
            False
        """
        return replace(self, special=False)
