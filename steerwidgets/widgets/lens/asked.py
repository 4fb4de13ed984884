"""What a lens is asked to read, and how it says how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from steerwidgets.lens.fitted import MEANINGS, FittedLens, Kind
from steerwidgets.steering.recipe import Recipe
from steerwidgets.widgets.protocol import Cancelled, Request

if TYPE_CHECKING:
    from steerwidgets.generation.comparison import Comparison
    from steerwidgets.generation.rows import Row
    from steerwidgets.lens.attribution import AddsUp, Attribution
    from steerwidgets.lens.layer_lens import LayerLens
    from steerwidgets.model import LanguageModel
    from steerwidgets.transformer.prompts import PromptLike, Token
    from steerwidgets.transformer.sites import Stream


FOLLOWED: Final = 6
"""Tokens that are followed at once: as many as there are colours that stay apart."""

_FORMS: Final = 12


def checked_ids(args: Mapping[str, Any]) -> list[int]:
    """The ids of a request to follow tokens.

    Raises:
        ValueError: they are no list of whole numbers, or too many.
    """
    ids = args.get("ids")
    if not isinstance(ids, list) or not all(isinstance(i, int) and not isinstance(i, bool) for i in ids):
        raise ValueError(f"Tokens are followed by their ids, a list of whole numbers, but {ids!r} came.")
    if len(ids) > FOLLOWED:
        raise ValueError(f"At most {FOLLOWED} tokens are followed at once, one for each colour, but {len(ids)} came.")
    return ids


def found_tokens(lm: LanguageModel, query: Any) -> list[Token]:
    """The tokens that a text may stand for.

    With and without a space before it, as written, in lower case and capitalised: of each the token it is, or the one
    it begins with. Tokens of several ids that read alike are all given.

    Raises:
        ValueError: the text is empty.
    """
    if not isinstance(query, str) or not query:
        raise ValueError("Write the text of a token to look for.")
    bare = query.strip()
    words = dict.fromkeys((query, bare, bare.lower(), bare.capitalize())) if bare else {query: None}
    forms = dict.fromkeys(form for word in words for form in (word, f" {word.strip()}" if bare else word))
    ids: dict[int, None] = {}
    beginnings: dict[int, None] = {}
    for form in forms:
        pieces = [int(i) for i in lm.tokenizer(form, add_special_tokens=False)["input_ids"]]
        if len(pieces) == 1:
            ids[pieces[0]] = None
        elif pieces:
            beginnings[pieces[0]] = None
    return lm.tokens([*ids, *(i for i in beginnings if i not in ids)][:_FORMS])


def checked_column(args: Mapping[str, Any], positions: int) -> tuple[int, int, int | None]:
    """Position, token and the token it is compared with, of a request for an attribution.

    Raises:
        ValueError: one of them is no whole number, or the position lies outside the text.
    """
    position, token, minus = args.get("position"), args.get("id"), args.get("minus")
    for value in (position, token, 0 if minus is None else minus):
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(
                f"An attribution is asked for a position and a token id, whole numbers, but {value!r} came."
            )
    if not 0 <= int(position or 0) < positions:
        raise ValueError(f"The text has the positions 0 to {positions - 1}, but {position} was asked for.")
    return int(position or 0), int(token or 0), minus


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
    stream: Stream = "resid_post"
    recipe: Recipe = field(default_factory=Recipe)
    k: int = 10
    tracked: tuple[int | str, ...] = ()
    fitted: FittedLens | None = None
    reading: str = "logit lens"

    @property
    def readings(self) -> list[Kind]:
        """The lenses that it can be read by; a generated token is read by the logit lens alone."""
        return ["logit lens", *([] if self.fitted is None or self.token is not None else [self.fitted.kind])]

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
        if self.reading not in self.readings:
            raise ValueError(
                f"This lens can be read by: {', '.join(self.readings)}; {self.reading!r} was asked for. A fitted lens "
                "is given as lens=, and texts alone are read by it."
            )
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
            lens=None if self.reading == "logit lens" else self.fitted,
        )

    def attribution(
        self,
        lm: LanguageModel,
        token: int | str,
        minus: int | str | None,
        *,
        position: int,
        is_steered: bool,
        dictionary: AddsUp | None,
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
        if self.reading != "logit lens" and self.fitted is not None:
            read |= {"lens": repr(self.fitted)} | {
                f"lens {name}": text for name, text in self.fitted.provenance.items()
            }
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
            "readings": [[name, MEANINGS[name]] for name in self.readings],
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

    def read(self, *, k: int, stream: Stream, track: Sequence[int | str]) -> LayerLens:
        """Its lens: one position, from the run's kept keys and values where there are any.

        Raises:
            ValueError: the run has no such row or step, or a setting is out of range.
        """
        return self.comparison.lens(self.step, self.row, k=k, stream=stream, track=track)

    def attribution(
        self, lm: LanguageModel, token: int | str, minus: int | str | None, dictionary: AddsUp | None
    ) -> Attribution:
        """What wrote the logit of a token after it; the whole text is read, since keys and values hold no parts."""
        from steerwidgets.lens.attribution import attribution

        prompt = self.comparison.prompt
        ids = [*prompt.token_ids, *self.text.token_ids[: self.index + 1]]
        settings: dict[str, Any] = {"recipe": self.recipe, "dictionary": dictionary}
        return attribution(lm, lm.encode(ids), token, minus, lm.known([prompt]), **settings)

    def described(self) -> str:
        """Which token it is, and how its lens was read, in a sentence."""
        which = f"The logit lens of token {self.index + 1} of {len(self.text.token_ids)} of the {self.row} text."
        if self.comparison.keeps_cache:
            return f"{which} Only this token was read again: the run's keys and values were kept."
        return f"{which} The whole text was read again: the run's keys and values were not kept."
