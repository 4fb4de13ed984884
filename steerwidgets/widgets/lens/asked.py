"""What a lens is asked to read, and how it says how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.steering.recipe import Recipe
from steerwidgets.widgets.lens_token import GeneratedToken
from steerwidgets.widgets.protocol import Cancelled, Request

if TYPE_CHECKING:
    from steerwidgets.dictionaries.sae.sae import SAE
    from steerwidgets.lens.attribution import Attribution
    from steerwidgets.lens.layer_lens import LayerLens
    from steerwidgets.model import LanguageModel
    from steerwidgets.transformer.prompts import PromptLike

STREAMS: Final = {
    "resid_post": "residual after block",
    "resid_pre": "residual before block",
    "attn_out": "attention out",
    "mlp_out": "MLP out",
}
_TELLING: Final = 0.1
"""Seconds between two words to the page about how far a reading is."""


@dataclass(frozen=True)
class Asked:
    """What a lens is read of: a text, or one token of a run, which comes with its own recipe."""

    prompt: PromptLike | GeneratedToken = ""
    chat: bool = False
    stream: str = "resid_post"
    recipe: Recipe = field(default_factory=Recipe)
    k: int = 10
    tracked: tuple[int | str, ...] = ()

    @property
    def token(self) -> GeneratedToken | None:
        """The token of a run that is read; None where it is a text."""
        return self.prompt if isinstance(self.prompt, GeneratedToken) else None

    @property
    def is_nothing(self) -> bool:
        """Whether there is no text."""
        return isinstance(self.prompt, str) and not self.prompt

    def read(self, lm: LanguageModel, on_progress: Callable[[int, int], None] | None = None) -> LayerLens | None:
        """The lens; None where there is no text."""
        if self.is_nothing:
            return None
        if isinstance(self.prompt, GeneratedToken):
            return self.prompt.read(k=self.k, stream=self.stream, track=self.tracked)
        return lm.logit_lens(
            self.prompt,
            self.recipe if len(self.recipe) else None,
            chat=self.chat,
            k=self.k,
            stream=self.stream,
            track=self.tracked,
            on_progress=on_progress,
        )

    def attribution(
        self,
        lm: LanguageModel,
        token: int | str,
        minus: int | str | None,
        *,
        position: int,
        is_steered: bool,
        dictionary: SAE | None,
    ) -> Attribution:
        """What wrote a token's logit at a position, with the recipe or without.

        Raises:
            ValueError: there is no text, or a token or the position does not exist.
        """
        if self.is_nothing:
            raise ValueError("Nothing is read yet, so nothing wrote it: give the lens a text first.")
        if isinstance(self.prompt, GeneratedToken):
            return self.prompt.attribution(lm, token, minus, dictionary)
        recipe = self.recipe if is_steered else None
        settings: dict[str, Any] = {"position": position, "recipe": recipe, "dictionary": dictionary}
        return lm.attribution(self.prompt, token, minus, chat=self.chat, **settings)

    def but(self, **changes: Any) -> Asked:
        """The same with something else; a token of a run is read as its run was steered.

        Raises:
            ValueError: the recipe of such a token is changed.
        """
        asked = replace(self, **changes)
        if asked.token is None:
            return asked
        if "recipe" in changes and asked.recipe != asked.token.recipe:
            raise ValueError(
                "This lens shows a token as its run was steered, so its recipe can't be changed; give it a text first."
            )
        return replace(asked, recipe=asked.token.recipe)

    @property
    def provenance(self) -> dict[str, str]:
        """What of it the numbers depend on."""
        read = {"stream": self.stream, "recipe": repr(self.recipe) if len(self.recipe) else "none"}
        return read if self.token is None else read | {"row": self.token.row, "step": str(self.token.index)}

    def facts(self, lm: LanguageModel, lens: LayerLens | None) -> dict[str, Any]:
        """What the page says of the model and of what was read."""
        is_given = self.token is None and not isinstance(self.prompt, str)
        return {
            "model": lm.name,
            "blocks": lm.architecture.layers,
            "vocabulary": int(lm.architecture.config.vocab_size),
            "has_chat_template": lm.has_chat_template,
            "streams": [list(each) for each in STREAMS.items()],
            "source": _source_of(self.prompt) if is_given else "",
            "generated": "" if self.token is None else self.token.described(),
            "first": 0 if lens is None else lens.positions[0],
        }


def teller(request: Request) -> Callable[[int, int], None]:
    """Tells the page how far a reading is, now and then, and ends it once it is cancelled."""
    last = time.monotonic()

    def tell(done: int, of: int) -> None:
        nonlocal last
        if request.cancelled.is_set():
            raise Cancelled
        if time.monotonic() - last > _TELLING:
            last = time.monotonic()
            request.progress(done=done, of=of)

    return tell


def _source_of(prompt: Any) -> str:
    """What was read, where it was no text: `12 token ids`."""
    items = list(prompt)
    kind = "message" if items and isinstance(items[0], Mapping) else "token id"
    return f"{len(items)} {kind}{'' if len(items) == 1 else 's'}"
