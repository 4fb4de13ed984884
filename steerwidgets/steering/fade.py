"""A strength that changes along the generated text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

from steerwidgets.files.fields import is_finite
from steerwidgets.files.shown import shown

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Fade:
    """A steer's change is multiplied by `1 + (to − 1)·min(t/over, 1)` at generated token `t`, and by 1 in the prompt.

    So it is whole at the first generated token, and `to` of it is left from token `over` on. It is the change that
    fades and not the op's number: an ablation or a clamp that has faded to 0 changes nothing.

    Args:
        to: the share that is left at the end.
        over: how many generated tokens that takes.

    Raises:
        ValueError: `to` is no finite number, or `over` no whole number from 1 on.
    """

    to: float = 0.0
    over: int = 32

    def __post_init__(self) -> None:
        to, over = _plain(self.to), _plain(self.over)
        if not is_finite(to):
            raise ValueError(
                f"A fade goes to a share of the change, a finite number (0 leaves nothing), but to={shown(self.to)} "
                "was given."
            )
        if isinstance(over, bool) or not isinstance(over, Integral) or over < 1:
            raise ValueError(f"A fade takes 1 generated token or more, but over={shown(self.over)} was given.")
        object.__setattr__(self, "to", float(to) + 0.0)
        object.__setattr__(self, "over", int(over))

    def share(self, absolute: Tensor, prompt_length: Tensor) -> Tensor:
        """What is left of the change at each token.

        Args:
            absolute: int [batch, position].
            prompt_length: int [batch].

        Returns:
            float32 [batch, position].
        """
        generated = (absolute - prompt_length[:, None]).clamp(0, self.over)
        share: Tensor = 1 + (self.to - 1) * (generated.float() / self.over)
        return share

    def to_json(self) -> dict[str, float | int]:
        """As a recipe keeps it."""
        return {"to": self.to, "over": self.over}

    @classmethod
    def from_json(cls, value: Any) -> Fade | None:
        """The inverse of `to_json`; None stands for no fade.

        Raises:
            ValueError: it is something else.
        """
        if value is None:
            return None
        if not isinstance(value, Mapping) or set(value) != {"to", "over"}:
            raise ValueError(
                f'A steer\'s fade is {{"to": a number, "over": a whole number}}, or null, but {shown(value)} was given.'
            )
        return cls(value["to"], value["over"])


def _plain(number: Any) -> Any:
    """A number of Python's own for one of NumPy's or torch's."""
    return number.item() if hasattr(number, "item") and getattr(number, "ndim", None) == 0 else number
