"""A token that a run generated, as something to read a lens of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from steerwidgets.steering.recipe import Recipe

if TYPE_CHECKING:
    from steerwidgets.dictionaries.sae.sae import SAE
    from steerwidgets.generation.comparison import Comparison
    from steerwidgets.generation.rows import Row
    from steerwidgets.lens.attribution import Attribution
    from steerwidgets.lens.layer_lens import LayerLens
    from steerwidgets.model import LanguageModel
    from steerwidgets.transformer.prompts import Token


@dataclass(frozen=True)
class GeneratedToken:
    """One token of a run.

    Attributes:
        comparison: the run.
        step: which of the row's generated tokens, from 0, or from the end with negative numbers.
        row: `baseline` or `steered`.
    """

    comparison: Comparison
    step: int
    row: Literal["baseline", "steered"] = "steered"

    @property
    def text(self) -> Row:
        """The text that it is in."""
        return self.comparison.steered if self.row == "steered" else self.comparison.baseline

    @property
    def recipe(self) -> Recipe:
        """What steered its text."""
        return self.comparison.recipe if self.row == "steered" else Recipe()

    @property
    def index(self) -> int:
        """Its step, counted from 0."""
        return self.step % len(self.text.token_ids)

    @property
    def following(self) -> Token | None:
        """The token that was generated after it; None for the last one."""
        return next(iter(self.text.tokens[self.index + 1 :]), None)

    def read(self, *, k: int, stream: str, track: Sequence[int | str]) -> LayerLens:
        """Its lens: one position, from the run's kept keys and values where there are any.

        Raises:
            ValueError: the run has no such row or step, or a setting is out of range.
        """
        return self.comparison.lens(self.step, self.row, k=k, stream=stream, track=track)

    def attribution(
        self, lm: LanguageModel, token: int | str, minus: int | str | None, dictionary: SAE | None
    ) -> Attribution:
        """What wrote the logit of a token after it; the whole text is read, since keys and values hold no parts."""
        from steerwidgets.lens.attribution import attribution

        prompt = self.comparison.prompt
        ids = [*prompt.token_ids, *self.text.token_ids[: self.index + 1]]
        settings: dict[str, Any] = {"recipe": self.recipe, "dictionary": dictionary}
        return attribution(lm.engine, lm.encode(ids), token, minus, lm.engine.known([prompt]), **settings)

    def described(self) -> str:
        """Which token it is, and how its lens was read, in a sentence."""
        which = f"The logit lens of token {self.index + 1} of {len(self.text.token_ids)} of the {self.row} text."
        if self.comparison.keeps_cache:
            return f"{which} Only this token was read again: the run's keys and values were kept."
        return f"{which} The whole text was read again: the run's keys and values were not kept."
