"""A language model that is loaded already: its parts, its tokens, its residual streams."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Sequence
from importlib import metadata
from numbers import Integral
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.transformer import prompts
from steerwidgets.transformer.architecture import Architecture
from steerwidgets.transformer.layout import Known
from steerwidgets.transformer.prompts import Prompt, PromptLike, Token
from steerwidgets.transformer.residuals import Residuals, read_residuals

if TYPE_CHECKING:
    from torch import nn

    from steerwidgets.transformer.sites import Site

_locks: Final[weakref.WeakKeyDictionary[nn.Module, threading.RLock]] = weakref.WeakKeyDictionary()
_locks_guard: Final = threading.Lock()
_PACKAGES: Final = ("steerwidgets", "torch", "transformers")


class LoadedModel:
    """A causal language model, its tokenizer and its parts; `LanguageModel` adds the verbs.

    Two of them around one model share one re-entrant lock.

    Args:
        model: a Hugging Face causal language model, of any dtype, quantised or sharded.
        tokenizer: its tokenizer.
        blocks: its transformer blocks, where they are not found by structure.
        base: the module that runs the blocks, likewise.
        final_norm: the norm before the unembed, likewise.
        unembed: the module that makes logits, likewise.

    Attributes:
        model: the Hugging Face model.
        tokenizer: its tokenizer.
        architecture: where the model keeps its parts.
        special_ids: the ids of its special tokens.
        lock: held by whoever runs or steers the model; every verb takes it by itself.
        source_code: the Python expression that makes it again, for snippets; None where there is none.

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
        self.model = model
        self.tokenizer = tokenizer
        self.architecture = Architecture(model, blocks=blocks, base=base, final_norm=final_norm, unembed=unembed)
        self.special_ids = prompts.special_ids(tokenizer)
        self.lock = model_lock(model)
        self.source_code: str | None = None

    @property
    def engine(self) -> LoadedModel:
        """The model itself; the name that it had until 0.1, kept until 1.0."""
        return self

    @property
    def name(self) -> str:
        """The model's name."""
        return self.architecture.name

    @property
    def provenance(self) -> dict[str, str]:
        """Model, revision, dtype, device, quantisation and versions: what a result has to say of itself."""
        config = self.model.config
        block = next(iter(self.architecture.blocks[0].parameters()))
        quantisation = getattr(config, "quantization_config", None)
        found = {
            "model": self.name,
            "revision": str(getattr(config, "_commit_hash", None) or "not recorded"),
            "dtype": str(block.dtype).removeprefix("torch."),
            "device": str(self.architecture.input_device),
            "quantisation": str(getattr(quantisation, "quant_method", quantisation) or "none"),
        }
        return found | {package: _version(package) for package in _PACKAGES}

    @property
    def has_chat_template(self) -> bool:
        """Whether the tokenizer can template a conversation."""
        return prompts.has_chat_template(self.tokenizer)

    def encode(self, prompt: PromptLike, *, chat: bool | None = None, **template: Any) -> Prompt:
        """The prompt as token ids with its special and template positions.

        Args:
            prompt: a string, messages, or token ids (never touched).
            chat: whether a string goes through the chat template; by default where the tokenizer has one.
            template: settings of the chat template's own, such as `enable_thinking=False`.
        """
        templated = self.has_chat_template if chat is None else chat
        return prompts.encode(self.tokenizer, prompt, chat=templated, template=template)

    def tokens(self, token_ids: Iterable[int]) -> list[Token]:
        """Tokens as a person reads them."""
        return prompts.tokens(self.tokenizer, token_ids)

    def residuals(self, prompt: PromptLike | Prompt, sites: Sequence[Site], *, chat: bool = False) -> Residuals:
        """The streams of a text at some sites; a string is read raw unless `chat`."""
        encoded = prompt if isinstance(prompt, Prompt) else self.encode(prompt, chat=chat)
        with self.lock:
            return read_residuals(self.architecture, [encoded.token_ids], sites)

    @property
    def end_ids(self) -> frozenset[int]:
        """The ids that end a text or a turn, from the model's generation settings, its config and the tokenizer."""
        sources = (getattr(self.model, "generation_config", None), self.model.config, self.tokenizer)
        return frozenset(i for source in sources for i in _as_ids(getattr(source, "eos_token_id", None)))

    def refuse_held_lock(self) -> None:
        """Refuse to wait for a worker thread while this thread holds the model: both would wait for ever.

        Raises:
            RuntimeError: this thread is inside `lm.steer(…)` or holds `lm.lock`.
        """
        if self.lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001 - as threading.Condition asks it
            raise RuntimeError(
                "The model is held by this thread (a `with lm.steer(…)` block, or lm.lock), and streaming runs it in "
                "another one; leave the block first, and give the recipe to lm.stream(…) instead."
            )

    def known(self, rows: Iterable[prompts.Prompt]) -> Known:
        """What is known of a batch that begins with these prompts."""
        rows = tuple(rows)
        template = tuple(tuple(i for i, is_template in enumerate(row.template) if is_template) for row in rows)
        return Known(self.special_ids, tuple(len(row) for row in rows), template)

    def __repr__(self) -> str:
        parts = self.architecture
        return f"<LanguageModel {self.name}: {parts.layers} blocks of {parts.d_model} on {parts.input_device}>"


def model_lock(model: nn.Module) -> threading.RLock:
    """The lock of a model: whoever runs it or steers it holds it, so that runs queue and never mix."""
    with _locks_guard:
        return _locks.setdefault(model, threading.RLock())


def _as_ids(value: Any) -> list[int]:
    if value is None:
        return []
    return [int(value)] if isinstance(value, int) else [int(i) for i in value]


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


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
