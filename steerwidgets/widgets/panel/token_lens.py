"""The lens of a generated token beside a panel's texts: a widget of its own, made when the first one is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from steerwidgets.widgets.lens.asked import GeneratedToken
from steerwidgets.widgets.lens.logit_lens import LogitLens

if TYPE_CHECKING:
    from steerwidgets.generation.comparison import Comparison
    from steerwidgets.model import LanguageModel


class PanelLens:
    """Shows one token of the run that a panel shows.

    Attributes:
        comparison: the run; None where there is none yet.
        widget: what shows the token; None before the first.
    """

    def __init__(self, lm: LanguageModel) -> None:
        self._lm = lm
        self.comparison: Comparison | None = None
        self.widget: LogitLens | None = None

    def show(self, args: Mapping[str, Any]) -> LogitLens:
        """The lens of the token that a page asks for.

        Args:
            args: `row` and `step`, from 0.

        Raises:
            ValueError: nothing was generated, or there is no such row or step.
        """
        row, step = _checked(args)
        if self.comparison is None:
            raise ValueError("There is no generated text yet: press Generate, then open a token's lens.")
        token = GeneratedToken(self.comparison, step, row)
        if self.widget is None or self.widget.comm is None:
            self.widget = LogitLens(self._lm, token)
        else:
            self.widget.prompt = token
        return self.widget

    def close(self) -> None:
        """Take the widget away."""
        if self.widget is not None:
            self.widget.close()
        self.widget = None


def _checked(args: Mapping[str, Any]) -> tuple[Literal["baseline", "steered"], int]:
    row, step = args.get("row"), args.get("step")
    if row not in ("baseline", "steered"):
        raise ValueError(f"A panel's texts are baseline and steered; a lens of {row!r} was asked for.")
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise ValueError(f"A generated token is named by its step, a whole number from 0; {step!r} was asked for.")
    return "steered" if row == "steered" else "baseline", step
