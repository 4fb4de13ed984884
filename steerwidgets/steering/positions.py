"""Which positions of a text a steer acts on, decided by absolute position."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, get_args

from steerwidgets.calls import tells_calls
from steerwidgets.files.fields import Fields
from steerwidgets.files.shown import shown
from steerwidgets.transformer.layout import SPEAKER
from steerwidgets.transformer.mistakes import what

if TYPE_CHECKING:
    from torch import Tensor

Where = Literal["all", "prompt", "generated", "indices", "first", "after", "last_prompt", "role", "both"]
_WHERE: Final[tuple[Where, ...]] = get_args(Where)

_ROLES: Final = frozenset({"system", "user", SPEAKER, "tool"})
"""Roles that somebody might take for positions."""

Of = Literal["text", "generated"]
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

    `sw.first(5)`, `sw.after(5)`, `sw.role("assistant")` and `sw.last_prompt` are short for some of them, and `&` takes
    the positions that two have in common: `sw.role("user") & sw.after(20)`.

    Args:
        where: `all` (as the reference implementations do), `prompt`, `generated`, `last_prompt`, `indices`,
            `first` (the first `count` positions), `after` (every position from `count` on), `role` (the words of one
            role's messages; what is generated is the assistant's), or `both` (what all `parts` have in common).
        indices: the absolute positions, for `indices`.
        count: how many positions, for `first` and `after`.
        special: whether special tokens (BOS, turn marks) and the words of the chat template are steered too.
        role: whose words, for `role`: `system`, `user`, `assistant`, or what else the messages say.
        of: what `first` and `after` count: the tokens of the whole `text`, or those that are `generated`.
        parts: positions of other sorts, for `both`.

    Raises:
        ValueError: a setting is missing, negative or not known.

    Example:
        >>> sw.Positions("first", count=5)
        Positions(where='first', indices=(), count=5, special=True)
        >>> sw.role("user") & sw.after(20)
        Positions(where='both', parts=(after(20), role('user')), special=True)
    """

    where: Where = "all"
    indices: tuple[int, ...] = ()
    count: int | None = None
    special: bool = True
    role: str | None = None
    of: Of = "text"
    parts: tuple[Positions, ...] = ()

    def __post_init__(self) -> None:
        if self.where in _ROLES:
            raise ValueError(f'Positions are no role by its name alone; give sw.role("{self.where}").')
        if self.where not in _WHERE:
            raise ValueError(f"Positions are one of {', '.join(_WHERE)}, but {shown(self.where)} was given.")
        if self.of not in get_args(Of):
            raise ValueError(f"Positions count the tokens of {' or '.join(get_args(Of))}, but {shown(self.of)} came.")
        if self.where == "role" and not (isinstance(self.role, str) and self.role):
            raise ValueError(
                f'Positions "role" need to know whose words: give role=, as in role="assistant"; {shown(self.role)} '
                "was given."
            )
        counted = () if self.count is None else (self.count,)
        if strange := [each for each in (*self.indices, *counted) if not _counts(each)]:
            name = "count" if strange[0] is self.count else "indices"
            raise ValueError(
                f"Positions count a row's tokens from 0 in whole numbers, but {name}="
                f"{shown(getattr(self, name) if name == 'count' else list(self.indices))} was given; for the last "
                'token of the prompt use "last_prompt".'
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
        object.__setattr__(self, "role", self.role if self.where == "role" else None)
        object.__setattr__(self, "of", self.of if self.where in _COUNTED else "text")
        object.__setattr__(self, "parts", self._checked_parts() if self.where == "both" else ())

    def _checked_parts(self) -> tuple[Positions, ...]:
        """The parts, each once and in an order of their own; what they leave out is said by the whole."""
        given: tuple[Any, ...] = tuple(self.parts)
        if len(given) < 2 or not all(isinstance(part, Positions) for part in given):
            raise ValueError(
                f'Positions "both" are what two or more have in common, as in sw.role("user") & sw.after(20); '
                f"{shown(self.parts)} was given."
            )
        if not all(part.special for part in given):
            object.__setattr__(self, "special", False)
        flat = {replace(each, special=True) for part in given for each in (part.parts or (part,))}
        return tuple(sorted(flat, key=Positions.code))

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
            return where if special else where.without_special()
        if isinstance(where, str):
            return cls(where, count=count, special=special)
        given: Any = where
        if not isinstance(given, Iterable):
            raise TypeError(
                f'Positions are a word such as "prompt" or a list of indices, but {what(given)} was given; what a '
                "token reads is said by steer.when(feature > 3)."
            )
        plain = where.tolist() if hasattr(where, "tolist") else where
        return cls("indices", indices=tuple(plain), special=special)

    @property
    def needs_prompt_length(self) -> bool:
        """Whether the prompt's length has to be known to decide."""
        return (
            self.where in _NEEDS_PROMPT
            or self.of == "generated"
            or any(part.needs_prompt_length for part in self.parts)
        )

    @property
    def waits_for_text(self) -> bool:
        """Whether it may be that they lie in what is generated alone."""
        return self._phase == "generated" or self.role == SPEAKER or any(part.waits_for_text for part in self.parts)

    @property
    def roles(self) -> frozenset[str]:
        """The roles whose words have to be known to decide."""
        own = {self.role} if self.role is not None else set()
        return frozenset(own).union(*(part.roles for part in self.parts))

    def mask(
        self,
        absolute: Tensor,
        prompt_length: Tensor | None,
        special: Tensor,
        roles: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> Tensor:
        """Where to steer.

        Args:
            absolute: int [batch, position], each token's absolute position; -1 marks padding.
            prompt_length: int [batch], tokens in each row's prompt, or None where unknown.
            special: bool [batch, position], special and template tokens.
            roles: bool [batch, position] for each role, the words of its messages.

        Returns:
            bool [batch, position].

        Raises:
            ValueError: the prompt's length is needed and not known, or no message is of the role.

        Example:
            >>> absolute = torch.tensor([[-1, 0, 1, 2]])  # a row with one token of padding
            >>> special = torch.zeros(1, 4, dtype=torch.bool)
            >>> sw.Positions("prompt").mask(absolute, torch.tensor([2]), special)
            tensor([[False,  True,  True, False]])
        """
        import torch

        chosen = absolute >= 0
        if self.needs_prompt_length and prompt_length is None:
            raise ValueError(
                f"Positions {self.named} need the length of the prompt; pass prompt_length= to lm.steer(…)."
            )
        if self.where in _NEEDS_PROMPT and prompt_length is not None:
            chosen = chosen & self._by_phase(absolute, prompt_length[:, None])
        elif self.count is not None:
            begin = prompt_length[:, None] if self.of == "generated" and prompt_length is not None else 0
            counted = absolute - begin
            chosen = chosen & (counted >= 0)
            chosen = chosen & (counted < self.count if self.where == "first" else counted >= self.count)
        elif self.where == "indices":
            chosen = chosen & torch.isin(absolute, absolute.new_tensor(self.indices))
        elif self.role is not None:
            if self.role not in roles:
                raise ValueError(
                    f"No message is of the role {shown(self.role)}; there are {', '.join(roles) or 'none'}."
                )
            chosen = chosen & roles[self.role]
        for part in self.parts:
            chosen = chosen & part.mask(absolute, prompt_length, special, roles)
        return chosen if self.special else chosen & ~special

    def _by_phase(self, absolute: Tensor, prompt_length: Tensor) -> Tensor:
        if self.where == "prompt":
            return absolute < prompt_length
        if self.where == "generated":
            return absolute >= prompt_length
        return absolute == prompt_length - 1

    def __and__(self, other: Positions | Where | Sequence[int]) -> Positions:
        """The positions that both have in common."""
        both = {self, Positions.parse(other)}
        special = all(each.special for each in both)
        # What is everywhere takes nothing away from the other.
        named = {replace(each, special=special) for each in both} - {Positions(special=special)}
        if len(named) < 2:
            return named.pop() if named else Positions(special=special)
        return Positions("both", special=special, parts=tuple(named))

    __rand__ = __and__

    def _refuse_joining(self, *_other: Any) -> NoReturn:
        raise TypeError(
            f"Positions are joined by & alone, but {self.named} came to | or ~; add the same steer at each instead: "
            "steer.at(one) + steer.at(other)."
        )

    __or__ = __ror__ = __invert__ = _refuse_joining

    @property
    def named(self) -> str:
        """What they are called in a sentence: `"prompt"`, `role('user')`."""
        if self.where == "both":
            return " & ".join(part.named for part in self.parts)
        is_word = self.where not in ("role", *_COUNTED)
        return f'"{self.where}"' if is_word else replace(self, special=True).code()

    def code(self, package: str = "") -> str:
        """What stands in the parentheses of `steer.at(…)` to make them again.

        Args:
            package: what comes before a name of steerwidgets, as `sw.`.

        Returns:
            Python.

        Example:
            >>> sw.Positions("indices", indices=[3, 4], special=False).code()
            '[3, 4], special=False'
        """
        of = f", of={self.of!r}" if self.of != "text" else ""
        written = {
            "indices": lambda: repr(list(self.indices)),
            "role": lambda: f"{package}role({self.role!r})",
            "first": lambda: f"{package}first({self.count}{of})",
            "after": lambda: f"{package}after({self.count}{of})",
            "both": lambda: " & ".join(part._operand(package) for part in self.parts),  # noqa: SLF001 - of this class
        }
        code = written[self.where]() if self.where in written else repr(self.where)
        return code + ("" if self.special else ", special=False")

    def _operand(self, package: str) -> str:
        """What stands on one side of `&`, which words and lists alone do not know."""
        is_named = self.where in ("role", *_COUNTED)
        return self.code(package) if is_named else f"{package}Positions.parse({self.code(package)})"

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
        if self.parts or other.parts:
            return all(mine.overlaps(its) for mine in self.parts or (self,) for its in other.parts or (other,))
        pair = {self.where, other.where}
        if pair == {"role"}:
            return self.role == other.role
        phases = {self._phase, other._phase}
        if phases == {"prompt", "generated"}:
            return False
        if not pair <= {"indices", *_COUNTED} or self.of != other.of:
            return True
        if self.where == other.where == "indices":
            return not set(self.indices).isdisjoint(other.indices)
        if self.where != "indices" and other.where != "indices":
            (low, high), (other_low, other_high) = self._interval(), other._interval()
            return max(low, other_low) < min(high, other_high)
        single, counted = (self, other) if self.where == "indices" else (other, self)
        low, high = counted._interval()  # noqa: SLF001 - of this class
        return any(low <= position < high for position in single.indices)

    @property
    def _phase(self) -> Literal["prompt", "generated", ""]:
        """Where they provably stand alone: in the prompt, or in what is generated."""
        if self.where in ("prompt", "last_prompt") or (self.role is not None and self.role != SPEAKER):
            return "prompt"
        return "generated" if self.where == "generated" or self.of == "generated" else ""

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
        if self.of != "text":
            value["of"] = self.of
        if self.role is not None:
            value["role"] = self.role
        if self.parts:
            value["parts"] = [part.to_json() for part in self.parts]
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
        said.only("where", "indices", "count", "special", "role", "of", "parts")
        where: Any = said.text("where", "all")
        count: Any = said.value("count")
        of: Any = said.text("of", "text")
        parts = tuple(
            cls._part(Fields(part, said.where, todo=said.todo, within="positions.parts."))
            for part in said.items("parts", [])
        )
        indices, special = tuple(said.items("indices", [])), said.flag("special", default=True)
        return cls(where, indices, count, special, said.text("role", None), of, parts)

    @classmethod
    def _part(cls, said: Fields) -> Positions:
        if "parts" in said:
            raise said.wrong("parts", "left out: parts have no parts")
        return cls.from_json(said)

    def without_special(self) -> Positions:
        """The same positions, special and template tokens left out.

        Returns:
            Other positions.

        Example:
            >>> sw.Positions("prompt").without_special().special
            False
        """
        return replace(self, special=False)

    def __repr__(self) -> str:
        if self.where == "both":
            parts = ", ".join(part.code() for part in self.parts)
            return f"Positions(where='both', parts=({parts}), special={self.special})"
        of = {} if self.of == "text" else {"of": self.of}
        more = of | ({} if self.role is None else {"role": self.role})
        told = {"where": self.where, "indices": self.indices, "count": self.count, "special": self.special} | more
        return f"Positions({', '.join(f'{name}={value!r}' for name, value in told.items())})"


def _counts(given: Any) -> bool:
    return not isinstance(given, bool) and isinstance(given, Integral) and 0 <= int(given) < _MOST


def role(name: str) -> Positions:
    """The words of one role's messages, found by the chat template's spans.

    What the template itself writes, turn marks and headers, is nobody's; what is generated is the assistant's. The
    first generated token is drawn at `last_prompt`, which is the template's.

    Args:
        name: `system`, `user`, `assistant`, or what else the messages say.

    Returns:
        Positions, for `steer.at(…)`.

    Raises:
        ValueError: it is no name.

    Example:
        >>> cavs["music"].add(40).at(sw.role("assistant"))
        'music'.add(40).at(role('assistant'))
    """
    return Positions("role", role=name)


def first(count: int, *, of: Of = "text") -> Positions:
    """The first `count` positions, of the text or of what is generated.

    Args:
        count: how many.
        of: `text`, which begins with the prompt, or `generated`.

    Returns:
        Positions, for `steer.at(…)`.

    Raises:
        ValueError: it is no number from 0 on.

    Example:
        >>> cavs["music"].add(40).at(sw.first(8, of="generated"))
        'music'.add(40).at(first(8, of='generated'))
    """
    return Positions("first", count=count, of=of)


def after(count: int, *, of: Of = "text") -> Positions:
    """Every position from `count` on, of the text or of what is generated; together with `first(count)` it is all.

    Args:
        count: how many are left out.
        of: `text`, which begins with the prompt, or `generated`.

    Returns:
        Positions, for `steer.at(…)`.

    Raises:
        ValueError: it is no number from 0 on.

    Example:
        >>> cavs["music"].add(40).at(sw.after(8))
        'music'.add(40).at(after(8))
    """
    return Positions("after", count=count, of=of)


last_prompt: Final = Positions("last_prompt")
"""The prompt's last token, at which the first one is drawn."""
