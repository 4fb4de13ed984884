"""A language model that is loaded already: its parts, its tokens, its residual streams."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from numbers import Integral
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.calls import tells_calls
from steerwidgets.threads import follow_quota
from steerwidgets.transformer import prompts
from steerwidgets.transformer.abilities import Abilities
from steerwidgets.transformer.architecture import Architecture
from steerwidgets.transformer.layout import Known
from steerwidgets.transformer.mistakes import checked_model, wrong
from steerwidgets.transformer.model_lock import model_lock
from steerwidgets.transformer.overflow import warn_of_overflow
from steerwidgets.transformer.prompts import Prompt, PromptLike, Token
from steerwidgets.transformer.residuals import Residuals, read_residuals
from steerwidgets.transformer.sites import Site

if TYPE_CHECKING:
    from torch import nn

_QUANTISED: Final = (
    "load_in_4bit",
    "load_in_8bit",
    "bnb_4bit_quant_type",
    "quant_method",
    "bits",
    "weight_bits",
    "num_bits",
)
"""What quantisation settings of transformers say of themselves."""

_SHORT_TEXT: Final = "The tower stands in Paris, and every year 7,000,000 people see it.\n"

_PACKAGES: Final = ("steerwidgets", "torch", "transformers")


@tells_calls("sw.LanguageModel", "lm")
class LoadedModel:
    """A causal language model, its tokenizer and its parts; `LanguageModel` adds the verbs.

    Two of them around one model share one re-entrant lock.

    Args:
        model: a Hugging Face causal language model, of any dtype, quantised or sharded; or a pipeline with both.
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
        UnknownArchitectureError: a part was not found, or is not what its name says on a short text that is read once.
        TypeError: it is no model and tokenizer; the message names the call that was meant.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        blocks: nn.ModuleList | None = None,
        base: nn.Module | None = None,
        final_norm: nn.Module | None = None,
        unembed: nn.Module | None = None,
    ) -> None:
        model, tokenizer = checked_model(model, tokenizer)
        self.model = model
        self.tokenizer = tokenizer
        self.architecture = Architecture(model, blocks=blocks, base=base, final_norm=final_norm, unembed=unembed)
        self.special_ids = prompts.special_ids(tokenizer)
        self.lock = model_lock(model)
        with self.lock:
            self.architecture.refuse_unreadable()
            warn_of_overflow(self.architecture, lambda: self.encode(_SHORT_TEXT, chat=False).token_ids)
        self.source_code: str | None = None
        if self.architecture.input_device.type == "cpu":
            follow_quota()

    @property
    def engine(self) -> LoadedModel:
        """The model itself; the name that it had until 0.1, kept until 1.0."""
        return self

    @property
    def abilities(self) -> Abilities:
        """What it can do beside running: of a model in this process everything."""
        return Abilities()

    @property
    def name(self) -> str:
        """The model's name."""
        return self.architecture.name

    @property
    def provenance(self) -> dict[str, str]:
        """Model, revision, dtype, device, quantisation and versions: what a result has to say of itself."""
        config = self.model.config
        numbers = [each.dtype for each in self.architecture.blocks[0].parameters()]
        # Packed weights are whole numbers; what they are computed in is what the others are kept in.
        dtype = next((each for each in numbers if each.is_floating_point), numbers[0])
        found = {
            "model": self.name,
            "revision": str(getattr(config, "_commit_hash", None) or "not recorded"),
            "dtype": str(dtype).removeprefix("torch."),
            "device": str(self.architecture.input_device),
            "quantisation": _quantisation(getattr(config, "quantization_config", None)),
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

        Returns:
            `.token_ids`, and which of them are `.special` or of the `.template`.

        Raises:
            ValueError: the prompt is empty, or needs a chat template that the tokenizer lacks.
            TypeError: the prompt is none of the three.

        Example:
            >>> lm.encode("The answer", chat=False).token_ids
            (298, 296)
            >>> lm.encode("The answer").chat  # as one message of the user
            True
        """
        templated = self.has_chat_template if chat is None else chat
        return prompts.encode(self.tokenizer, prompt, chat=templated, template=template)

    def tokens(self, token_ids: Iterable[int]) -> list[Token]:
        """Tokens as a person reads them.

        Args:
            token_ids: the ids.

        Returns:
            For each its `.id` and exact `.text`, and whether it is a `.fragment` of a character.

        Raises:
            ValueError: something is no id.

        Example:
            >>> [token.text for token in lm.tokens(lm.encode("The answer", chat=False).token_ids)]
            ['The', ' answer']
        """
        return prompts.tokens(self.tokenizer, token_ids)

    def residuals(self, prompt: PromptLike | Prompt, sites: Sequence[Site], *, chat: bool = False) -> Residuals:
        """The streams of a text at some sites, unsteered; a string is read raw unless `chat`.

        Args:
            prompt: a string, messages, token ids, or a prompt that is encoded already.
            sites: where to read, sites or blocks; the model runs once.
            chat: whether a string goes through the chat template.

        Returns:
            `.values`, for each site float32 [1, position, width].

        Raises:
            ValueError: the prompt is empty, or the model has no such site.

        Example:
            >>> site = sw.Site(1)
            >>> lm.residuals("The answer", [site]).values[site].shape
            torch.Size([1, 2, 32])
        """
        encoded = prompt if isinstance(prompt, Prompt) else self.encode(prompt, chat=chat)
        wanted = [_site(each) for each in ([sites] if isinstance(sites, Site | int | str) else sites)]
        with self.lock:
            return read_residuals(self.architecture, [encoded.token_ids], wanted)

    @property
    def end_ids(self) -> frozenset[int]:
        """The ids that end a text or a turn, from the model's generation settings, its config and the tokenizer."""
        sources = (getattr(self.model, "generation_config", None), self.model.config, self.tokenizer)
        return frozenset(i for source in sources for i in _as_ids(getattr(source, "eos_token_id", None)))

    def refuse_held_lock(self) -> None:
        """Refuse to wait for a worker thread while this thread holds the model: both would wait for ever.

        Raises:
            RuntimeError: this thread is inside `lm.steer(…)` or holds `lm.lock`.

        Example:
            >>> lm.refuse_held_lock()  # nobody holds the model: nothing happens
        """
        if self.lock.is_mine:
            raise RuntimeError(
                "The model is held by this thread (a `with lm.steer(…)` block, or lm.lock), and streaming runs it in "
                "another one; leave the block first, and give the recipe to lm.stream(…) instead."
            )

    def refuse_steering(self) -> None:
        """Refuse to make a baseline while this thread steers the model: it would be steered as well.

        Raises:
            RuntimeError: this thread is inside `lm.steer(…)`.

        Example:
            >>> lm.refuse_steering()  # nothing steers here
        """
        if self.lock.is_steering:
            raise RuntimeError(
                "This thread is inside a `with lm.steer(…)` block, where the baseline would be steered as well; leave "
                "the block first, and give the whole recipe to the call itself."
            )

    def known(self, rows: Iterable[prompts.Prompt]) -> Known:
        """What is known of a batch that begins with these prompts.

        Args:
            rows: the prompts, one for each row.

        Returns:
            Special ids, prompt lengths, template positions and roles.

        Example:
            >>> lm.known([lm.encode("The answer", chat=False)]).prompt_length
            (2,)
        """
        rows = tuple(rows)
        template = tuple(tuple(i for i, is_template in enumerate(row.template) if is_template) for row in rows)
        return Known(self.special_ids, tuple(len(row) for row in rows), template, tuple(row.roles for row in rows))

    def __repr__(self) -> str:
        parts = self.architecture
        return f"<LanguageModel {self.name}: {parts.layers} blocks of {parts.d_model} on {parts.input_device}>"


def _site(given: Any) -> Site:
    if isinstance(given, Site):
        return given
    if isinstance(given, int):
        return Site(given)
    if isinstance(given, str) and given.startswith("blocks."):
        return Site.from_hook_name(given)
    raise wrong("lm.residuals", "sites", given, 'give sites, as in lm.residuals(text, [sw.Site(15, "mlp_out")])')


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


def _quantisation(config: Any) -> str:
    """How weights are stored, in words: `nf4`, `8-bit`, `gptq, 4-bit`; `none` where they are not quantised."""
    if not config:
        return "none"
    said = config if isinstance(config, Mapping) else {name: getattr(config, name, None) for name in _QUANTISED}
    if said.get("load_in_4bit"):
        return str(said.get("bnb_4bit_quant_type") or "4-bit")
    if said.get("load_in_8bit"):
        return "8-bit"
    method = said.get("quant_method")
    name = str(getattr(method, "value", method) or type(config).__name__).lower()
    bits = said.get("bits") or said.get("weight_bits") or said.get("num_bits")
    return f"{name}, {bits}-bit" if bits else name


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
