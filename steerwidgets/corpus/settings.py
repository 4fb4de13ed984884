"""How a corpus is read, and what is kept of every feature."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from steerwidgets.files.fields import Fields
from steerwidgets.files.shown import shown

MOST_BANDS: Final = 10
_LIMITS: Final = {
    "examples": (1, 200),
    "quantiles": (0, MOST_BANDS),
    "per_quantile": (0, 100),
    "random": (0, 100),
    "bins": (1, 64),
    "max_length": (1, None),
    "batch_tokens": (1, None),
}
_MOST_CONTEXT: Final = 200


@dataclass(frozen=True)
class Settings:
    """What `steerwidgets.corpus.build` was asked for; two indexes merge where all of it agrees.

    Attributes:
        examples: of each feature, how many of the strongest places are kept.
        quantiles: into how many bands its activations are cut.
        per_quantile: how many places of each band are kept.
        random: how many places drawn from all.
        bins: at most how many bars its histogram is shown with.
        context: how many tokens before and after a place are kept.
        max_length: longer texts are cut into pieces of so many tokens, each read by itself.
        chat: whether plain strings go through the chat template.
        column: the column of a record that holds its text, or None for `text` or `messages`.
        batch_tokens: how many tokens go through the model at once, padding included.
    """

    examples: int = 20
    quantiles: int = 5
    per_quantile: int = 5
    random: int = 5
    bins: int = 40
    context: tuple[int, int] = (18, 12)
    max_length: int = 1024
    chat: bool = False
    column: str | None = None
    batch_tokens: int = 2048

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low or (high and value > high):
                most = f"to {high}" if high else "or more"
                raise ValueError(f"{name} is a whole number, {low} {most}, but {shown(value)} was given.")
        numbers = tuple(self.context) if isinstance(self.context, tuple | list) else ()
        whole = all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= _MOST_CONTEXT for n in numbers)
        if len(numbers) != 2 or not whole:
            raise ValueError(
                f"context is how many tokens are kept before and after a place, two whole numbers up to "
                f"{_MOST_CONTEXT} such as (18, 12), but {shown(self.context)} was given."
            )
        object.__setattr__(self, "context", numbers)

    @property
    def per_cell(self) -> int:
        """How many places of each cell of values are kept, so that both bands and random places can be drawn."""
        return max(self.per_quantile if self.quantiles else 0, self.random)

    @property
    def window(self) -> int:
        """The most tokens of a place with its context."""
        return self.context[0] + 1 + self.context[1]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"context": list(self.context)}

    @classmethod
    def from_json(cls, said: Fields) -> Settings:
        """What `to_json` gave.

        Raises:
            ValueError: it says something else, or too little.
        """
        said.only(*(each.name for each in fields(cls)))
        numbers = {name: said.whole(name, low=low, high=high) for name, (low, high) in _LIMITS.items()}
        context = said.items("context", of="two whole numbers")
        return cls(**numbers, context=tuple(context), chat=said.flag("chat"), column=said.text("column", None))
