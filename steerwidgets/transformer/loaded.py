"""A language model that is loaded already: its parts, its tokens, its residual streams."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

from steerwidgets.engine import Engine
from steerwidgets.label_checks.output_score import OutputScores
from steerwidgets.transformer import prompts
from steerwidgets.transformer.architecture import Architecture
from steerwidgets.transformer.prompts import Prompt, PromptLike, Token
from steerwidgets.transformer.residuals import Residuals, read_residuals

if TYPE_CHECKING:
    import threading

    from torch import nn

    from steerwidgets.transformer.sites import Site


class LoadedModel:
    """A causal language model and its tokenizer; `LanguageModel` adds the verbs.

    Args:
        model: a Hugging Face causal language model, of any dtype, quantised or sharded.
        tokenizer: its tokenizer.
        blocks: its transformer blocks, where they are not found by structure.
        base: the module that runs the blocks, likewise.
        final_norm: the norm before the unembed, likewise.
        unembed: the module that makes logits, likewise.

    Raises:
        UnknownArchitectureError: a part was not found; the message says what was looked for.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        blocks: nn.ModuleList | None = None,
        base: nn.Module | None = None,
        final_norm: nn.Module | None = None,
        unembed: nn.Module | None = None,
    ) -> None:
        architecture = Architecture(model, blocks=blocks, base=base, final_norm=final_norm, unembed=unembed)
        self.engine = Engine(model, tokenizer, architecture)
        self.source_code: str | None = None
        self.measured_scores = OutputScores(self.engine)

    @property
    def model(self) -> Any:
        """The Hugging Face model."""
        return self.engine.model

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        return self.engine.tokenizer

    @property
    def architecture(self) -> Architecture:
        """Where the model keeps its parts."""
        return self.engine.architecture

    @property
    def name(self) -> str:
        """The model's name."""
        return self.architecture.name

    @property
    def lock(self) -> threading.RLock:
        """Held by whoever runs or steers the model; every verb takes it by itself."""
        return self.engine.lock

    @property
    def provenance(self) -> dict[str, str]:
        """Model, revision, dtype, device, quantisation and versions: what a result has to say of itself."""
        from steerwidgets.provenance import model_provenance

        return model_provenance(self.engine)

    @property
    def has_chat_template(self) -> bool:
        """Whether the tokenizer can template a conversation."""
        return prompts.has_chat_template(self.tokenizer)

    def encode(self, prompt: PromptLike, *, chat: bool | None = None) -> Prompt:
        """The prompt as token ids with its special and template positions.

        Args:
            prompt: a string, messages, or token ids (never touched).
            chat: whether a string goes through the chat template; by default where the tokenizer has one.
        """
        templated = self.has_chat_template if chat is None else chat
        return prompts.encode(self.tokenizer, prompt, chat=templated)

    def tokens(self, token_ids: Iterable[int]) -> list[Token]:
        """Tokens as a person reads them."""
        return prompts.tokens(self.tokenizer, token_ids)

    def residuals(self, prompt: PromptLike | Prompt, sites: Sequence[Site], *, chat: bool = False) -> Residuals:
        """The streams of a text at some sites; a string is read raw unless `chat`."""
        encoded = prompt if isinstance(prompt, Prompt) else self.encode(prompt, chat=chat)
        with self.lock:
            return read_residuals(self.architecture, [encoded.token_ids], sites)

    def __repr__(self) -> str:
        parts = self.architecture
        return f"<LanguageModel {self.name}: {parts.layers} blocks of {parts.d_model} on {parts.input_device}>"


def checked_length(given: Any) -> int | tuple[int, ...] | None:
    """A prompt's length in tokens, or one for each row.

    Raises:
        ValueError: it is no such number.
    """
    if given is None:
        return None
    several = given if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    if any(isinstance(n, bool) or not isinstance(n, Integral) or n < 1 for n in several):
        raise ValueError(f"prompt_length counts the prompt's tokens, 1 or more, for each row; {given!r} was given.")
    lengths = tuple(int(n) for n in several)
    return lengths if isinstance(given, Iterable) else lengths[0]
