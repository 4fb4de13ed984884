"""Conditions: at which tokens a steer acts, by what features read there before any change."""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, Protocol

from steerwidgets.files.fields import Fields, is_finite
from steerwidgets.files.shown import shown
from steerwidgets.steering.positions import Positions
from steerwidgets.transformer.mistakes import what

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.transformer.sites import Site

Side = Literal[">", "<"]

_DEEPEST: Final = 32
"""Nobody nests so many; a damaged file might."""


class Readable(Protocol):
    """A feature, as far as a condition needs to know it."""

    @property
    def key(self) -> str:
        """A name that is the same for the same feature in every session."""
        ...

    @property
    def label(self) -> str:
        """What a reader calls it."""
        ...

    @property
    def site(self) -> Site:
        """Where it is read."""
        ...


class Condition(ABC):
    """What has to hold at a token for a steer to act there, as `sae[3] > 2.0`; `&` and `|` join conditions.

    A feature is read at each token as the stream enters the feature's site: before what the recipe changes at that site
    itself. What the recipe changed at earlier sites, or at earlier tokens, is in it, as it is in what a steer reads of
    its own feature; an entirely unsteered reading would cost a second run of the model.

    Conditions compare and hash by what they say.

    Attributes:
        features: the features that are read, each once.

    Example:
        >>> (sae["the sea"] > 2.0) & (cavs["music"] < 0.5)
        ('the sea' > 2) & ('music' < 0.5)
    """

    @property
    @abstractmethod
    def features(self) -> tuple[Readable, ...]:
        """The features that are read, each once."""

    @property
    @abstractmethod
    def identity_key(self) -> tuple[Any, ...]:
        """What makes two conditions the same one."""

    @abstractmethod
    def holds(self, readings: Mapping[str, Tensor]) -> Tensor:
        """Where it holds.

        Args:
            readings: what each feature reads, float32 [batch, position] by the feature's key.

        Returns:
            bool [batch, position].

        Example:
            >>> (cavs["music"] > 1).holds({cavs["music"].key: torch.tensor([[0.5, 2.0]])})
            tensor([[False,  True]])
        """

    @abstractmethod
    def excludes(self, other: Condition) -> bool:
        """Whether no token can meet both.

        Args:
            other: another condition.

        Returns:
            True only where that is plain.

        Example:
            >>> (cavs["music"] > 1).excludes(cavs["music"] < 1)
            True
        """

    @abstractmethod
    def to_json(self, write: Callable[[Any], Any]) -> dict[str, Any]:
        """The condition as a JSON value.

        Args:
            write: writes a feature.

        Returns:
            A dict of plain values, and of what `write` gives.

        Example:
            >>> (cavs["music"] > 1).to_json(lambda feature: feature.label)
            {'feature': 'music', 'is': '>', 'than': 1.0}
        """

    @abstractmethod
    def code(self, name: Callable[[Any], str], number: Callable[[float], str] = repr) -> str:
        """Python that makes it again.

        Args:
            name: writes a feature.
            number: writes a number.

        Returns:
            Python, without parentheses around it.

        Example:
            >>> (cavs["music"] > 1).code(lambda feature: f"cavs[{feature.index}]")
            'cavs[1] > 1.0'
        """

    def __repr__(self) -> str:
        return self.code(lambda feature: repr(feature.label), lambda value: f"{value:g}")

    def __and__(self, other: Condition) -> Condition:
        return _joined("all", self, other)

    def __or__(self, other: Condition) -> Condition:
        return _joined("any", self, other)

    def __invert__(self) -> NoReturn:
        raise TypeError(
            f"A condition has no opposite by ~, but {self!r} was given to it; turn its comparisons around, as feature "
            "< 3 for feature > 3, and & into |."
        )

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"The condition {self!r} is true at some tokens and not at others, so it is no truth value: join two with "
            "& or |, each in parentheses, as in (feature > 1) & (feature < 3)."
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Condition) and self.identity_key == other.identity_key

    def __hash__(self) -> int:
        return hash(self.identity_key)


def compared(feature: Readable, side: Side, threshold: float) -> Condition:
    """The condition that a feature's reading is above or below a number.

    Args:
        feature: what is read, of any dictionary, at the steer's site or an earlier one.
        side: `>` or `<`.
        threshold: in the feature's own units.

    Raises:
        TypeError: it is compared with something else than a number.
        ValueError: the number is not finite.
    """
    return _Compared(feature, side, threshold)


@dataclass(frozen=True, eq=False, repr=False)
class _Compared(Condition):
    """A feature's reading above or below a number."""

    feature: Readable
    side: Side
    threshold: float

    def __post_init__(self) -> None:
        given: Any = self.threshold
        number = given.item() if hasattr(given, "item") and getattr(given, "ndim", None) == 0 else given
        if isinstance(number, bool) or not isinstance(number, numbers.Real):
            raise TypeError(
                f"A feature is compared with a number, but {shown(self.feature.label)} was compared with "
                f"{what(given)}; write feature > 3.0."
            )
        if not is_finite(float(number)):
            raise ValueError(f"{shown(self.feature.label)} is compared with a finite number, but {given} was given.")
        object.__setattr__(self, "threshold", float(number) + 0.0)

    @property
    def features(self) -> tuple[Readable, ...]:
        return (self.feature,)

    @property
    def identity_key(self) -> tuple[Any, ...]:
        return (self.feature.key, self.side, self.threshold)

    def holds(self, readings: Mapping[str, Tensor]) -> Tensor:
        reading = readings[self.feature.key]
        return reading > self.threshold if self.side == ">" else reading < self.threshold

    def excludes(self, other: Condition) -> bool:
        if not isinstance(other, _Compared):
            return other.excludes(self)
        if self.feature.key != other.feature.key or self.side == other.side:
            return False
        low, high = (self, other) if self.side == ">" else (other, self)
        return low.threshold >= high.threshold

    def to_json(self, write: Callable[[Any], Any]) -> dict[str, Any]:
        return {"feature": write(self.feature), "is": self.side, "than": self.threshold}

    def code(self, name: Callable[[Any], str], number: Callable[[float], str] = repr) -> str:
        return f"{name(self.feature)} {self.side} {number(self.threshold)}"


@dataclass(frozen=True, eq=False, repr=False)
class _Joined(Condition):
    """Conditions of which all have to hold, or any."""

    how: Literal["all", "any"]
    parts: tuple[Condition, ...]

    @property
    def features(self) -> tuple[Readable, ...]:
        return tuple({feature.key: feature for part in self.parts for feature in part.features}.values())

    @property
    def identity_key(self) -> tuple[Any, ...]:
        # Their order says nothing.
        return (self.how, *sorted((part.identity_key for part in self.parts), key=repr))

    def holds(self, readings: Mapping[str, Tensor]) -> Tensor:
        first, *rest = (part.holds(readings) for part in self.parts)
        for each in rest:
            first = first & each if self.how == "all" else first | each
        return first

    def excludes(self, other: Condition) -> bool:
        return (any if self.how == "all" else all)(part.excludes(other) for part in self.parts)

    def to_json(self, write: Callable[[Any], Any]) -> dict[str, Any]:
        return {self.how: [part.to_json(write) for part in self.parts]}

    def code(self, name: Callable[[Any], str], number: Callable[[float], str] = repr) -> str:
        return {"all": " & ", "any": " | "}[self.how].join(f"({part.code(name, number)})" for part in self.parts)


def _joined(how: Literal["all", "any"], first: Condition, second: Any) -> Condition:
    if not isinstance(second, Condition):
        sign = "&" if how == "all" else "|"
        if isinstance(second, Positions):
            raise TypeError(
                f"{sign} joins two conditions, but positions were given ({second.named}); say both of the steer: "
                "steer.at(positions).when(condition)."
            )
        raise TypeError(
            f"{sign} joins two conditions, but {what(second)} was given; compare it with a number, in parentheses: "
            f"({first!r}) {sign} (feature > 1)."
        )
    flat: list[Condition] = []
    for part in (first, second):
        flat += part.parts if isinstance(part, _Joined) and part.how == how else (part,)
    each_once = tuple(dict.fromkeys(flat))
    return each_once[0] if len(each_once) == 1 else _Joined(how, each_once)


def condition_from_json(said: Fields, read: Callable[[Fields], Readable], depth: int = 0) -> Condition:
    """The inverse of `Condition.to_json`.

    Args:
        said: the JSON value.
        read: makes the feature of a comparison, of its JSON value.
        depth: how many conditions it stands in.

    Raises:
        ValueError: it is something else.
    """
    said.only("feature", "is", "than", "all", "any")
    found = [how for how in ("all", "any", "is") if how in said.table]
    if len(found) != 1 or depth > _DEEPEST:
        raise said.wrong("is", '">" or "<", with a feature and a number, or conditions in all or any, one of the three')
    if found[0] == "is":
        side: Any = said.text("is", choices=(">", "<"))
        return _Compared(read(said), side, said.number("than"))
    how: Any = found[0]
    given = said.items(how, of="conditions")
    parts = [
        condition_from_json(Fields(part, said.where, todo=said.todo, within=f"when.{how}."), read, depth + 1)
        for part in given
    ]
    if len(parts) < 2:
        raise said.wrong(how, "two conditions or more")
    whole: Condition = parts[0]
    for part in parts[1:]:
        whole = _joined(how, whole, part)
    return whole
