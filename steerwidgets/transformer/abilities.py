"""What a model can do beside running: views ask it, and say why where it can't."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Abilities:
    """What a model can do; each is empty where it can, or says why not.

    Attributes:
        stream: give tokens one by one while it generates.
        stop: end a run within one token.
        couple: draw the tokens of all rows with one noise.
        ops: carry out every op of every kind.
        where: steer some tokens and leave out others, but for the prompt's; conditions and fades do that too.
        carries: names of the ops of directions that it carries out, where that is not every op.
    """

    stream: str = ""
    stop: str = ""
    couple: str = ""
    ops: str = ""
    where: str = ""
    carries: tuple[str, ...] = ()

    @property
    def lacking(self) -> dict[str, str]:
        """What it can't do, and why not."""
        return {name: why for name, why in asdict(self).items() if why and name != "carries"}
