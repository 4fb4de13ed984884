"""Prompts as token ids: chat templates without a second BOS, special and template positions, exact token text."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, Final

from steerwidgets.files.shown import named, shown
from steerwidgets.transformer.mistakes import refuse_no_prompt

Message = Mapping[str, Any]
PromptLike = str | Sequence[Message] | Sequence[int] | Mapping[str, Any]
"""A text, messages, token ids, or what a tokenizer or its chat template gives (a BatchEncoding of one text)."""

_NOT_SETTINGS: Final = frozenset(
    {"messages", "tools", "documents", "add_generation_prompt", "tokenize", "raise_exception", "strftime_now"}
    | {"bos_token", "eos_token", "pad_token", "unk_token", "namespace", "range", "dict", "tojson"}
)
"""What a chat template looks up that is no setting of its own."""

_MARKS: Final = re.compile(r"{%-?\s*(end)?generation\s*-?%}")

_REPLACEMENT: Final = "\ufffd"
_SENTINEL: Final = "\u2063steerwidgets{}\u2063"


@dataclass(frozen=True)
class Token:
    """One token as a person reads it.

    Attributes:
        id: the token id.
        text: its exact text; where the token is only part of a character, its bytes in hex, as `E2 9C`.
        fragment: whether the token is only part of a character.
    """

    id: int
    text: str
    fragment: bool = False


@dataclass(frozen=True)
class Prompt:
    """A prompt as the model gets it.

    Attributes:
        token_ids: the ids, from first to last.
        special: which of them are special tokens (BOS, turn marks).
        template: which of them come from the chat template and not from a message.
        chat: whether a chat template was used.
        roles: for each of them the role of the message whose words it is of, "" for the template's own; empty where
            nobody can tell.
    """

    token_ids: tuple[int, ...]
    special: tuple[bool, ...]
    template: tuple[bool, ...]
    chat: bool
    roles: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def begins(self) -> int:
        """The first token that may count: what stands before it is read and no more."""
        return 0

    @property
    def own(self) -> tuple[bool, ...]:
        """Which tokens are the text's own words: neither special nor the template's."""
        flags = zip(self.special, self.template, strict=True)
        return tuple(i >= self.begins and not (a or b) for i, (a, b) in enumerate(flags))

    def cut(self, count: int | None) -> Prompt:
        """Its first tokens, counted from where it begins; itself where there are no more, and for None."""
        stop = len(self) if count is None else self.begins + count
        if len(self) <= stop:
            return self
        return replace(
            self,
            token_ids=self.token_ids[:stop],
            special=self.special[:stop],
            template=self.template[:stop],
            roles=self.roles[:stop],
        )


@dataclass(frozen=True)
class Answered(Prompt):
    """A prompt and the answer to it, of which the answer alone counts as its own words.

    Attributes:
        start: where the answer begins.
        question: what was asked.
        answer: the answer's text.
    """

    start: int = 0
    question: str = ""
    answer: str = ""

    @property
    def begins(self) -> int:
        """Where the answer begins."""
        return self.start


def encode(tokenizer: Any, prompt: PromptLike, *, chat: bool, template: Mapping[str, Any] | None = None) -> Prompt:
    """Token ids of a prompt.

    Args:
        tokenizer: a Hugging Face tokenizer.
        prompt: a string, a list of messages (always templated), or token ids (never touched).
        chat: whether a string goes through the chat template, as one user message.
        template: settings of the template's own, such as `enable_thinking`.

    Raises:
        ValueError: the prompt is empty, or needs a chat template that the tokenizer lacks, or the template has no such
            setting.
        TypeError: the prompt is none of the three.
    """
    given = dict(template or {})
    if given:
        refuse_unknown_settings(tokenizer, given)
    if hasattr(prompt, "tolist") and hasattr(prompt, "shape"):
        prompt = {"input_ids": prompt}
    if isinstance(prompt, Mapping):
        prompt = _ids_of(prompt)
    if isinstance(prompt, str):
        if not prompt:
            raise ValueError("The prompt is empty; give at least one character.")
        _refuse_half_characters(prompt)
        return (
            _encode_chat(tokenizer, [{"role": "user", "content": prompt}], given)
            if chat
            else _encode_raw(tokenizer, prompt)
        )
    refuse_no_prompt(prompt)
    if not isinstance(prompt, Iterable):
        raise TypeError(
            "A prompt is a string, a list of messages or a list of token ids, but "
            f"{type(prompt).__name__} {prompt!r} was given."
        )
    items: list[Any] = list(prompt)
    if not items:
        raise ValueError("The prompt is empty; give a string, messages or token ids.")
    if isinstance(items[0], Mapping):
        return _encode_chat(tokenizer, [_checked_message(item) for item in items], given)
    strange = [item for item in items if isinstance(item, bool) or not isinstance(item, Integral)]
    if strange:
        raise TypeError(
            "A prompt is a string, a list of messages or a list of token ids, but a list that holds "
            f"{type(strange[0]).__name__} was given."
        )
    return _from_ids(tokenizer, [int(item) for item in items])


def with_instruction(
    tokenizer: Any, prompt: PromptLike, instruction: str, *, chat: bool, template: Mapping[str, Any] | None = None
) -> PromptLike:
    """A prompt with an instruction in its system prompt, after what stands there already.

    Where the chat template takes no system prompt, or leaves it out, it stands before the first message's words, and
    before a text that goes through no template it is a paragraph of its own.

    Args:
        tokenizer: a Hugging Face tokenizer.
        prompt: a string or a list of messages.
        instruction: what is asked for.
        chat: whether a string goes through the chat template, as one user message.
        template: settings of the template's own.

    Raises:
        ValueError: the prompt is token ids, which hold no place for an instruction, or none that `encode` takes.
        TypeError: it is no prompt.
    """
    encode(tokenizer, prompt, chat=chat, template=template)
    if isinstance(prompt, str):
        if not chat:
            return f"{instruction}\n\n{prompt}"
        prompt = [{"role": "user", "content": prompt}]
    items: list[Any] = [] if isinstance(prompt, Mapping) else list(prompt)
    if not items or not isinstance(items[0], Mapping):
        raise ValueError(
            f"The instruction {shown(instruction)} can't be put into a prompt of token ids; give the prompt as text or "
            "messages, or put the instruction's own tokens into a prompt."
        )
    messages = [_checked_message(item) for item in items]
    has_system = messages[0]["role"] == "system"
    if has_system:
        asked = [_opened_by(messages[0]["content"], messages[0], instruction), *messages[1:]]
    else:
        asked = [{"role": "system", "content": instruction}, *messages]
    if _keeps(tokenizer, asked, instruction, dict(template or {})):
        return asked
    at = 1 if has_system and len(messages) > 1 else 0
    return [*messages[:at], _opened_by(instruction, messages[at], messages[at]["content"]), *messages[at + 1 :]]


def _opened_by(first: str, message: Mapping[str, str], then: str) -> dict[str, str]:
    return {**message, "content": f"{first}\n\n{then}"}


def _keeps(tokenizer: Any, messages: list[dict[str, str]], words: str, settings: Mapping[str, Any]) -> bool:
    """Whether the chat template takes these messages and shows the words in what it makes of them."""
    from jinja2 import TemplateError

    if not has_chat_template(tokenizer):
        return True
    try:
        return words.strip() in _render(tokenizer, messages, settings)
    except TemplateError:
        return False


def several_prompts(given: PromptLike | Sequence[PromptLike]) -> list[PromptLike]:
    """One prompt, or several, as a list: strings, lists of messages, and lists of token ids.

    Raises:
        ValueError: there is none.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        return [given]
    items: list[Any] = list(given)
    if not items:
        raise ValueError('There is no prompt; give at least one, such as ["Tell me about your weekend."].')
    return [items] if isinstance(items[0], Mapping | Integral) else items


def template_settings(tokenizer: Any) -> frozenset[str]:
    """The settings that a tokenizer's chat template knows besides messages, tools and the like."""
    template = getattr(tokenizer, "chat_template", None)
    texts = template.values() if isinstance(template, Mapping) else [template]
    return frozenset(name for text in texts if isinstance(text, str) for name in _variables(text)) - _NOT_SETTINGS


@functools.cache
def _variables(template: str) -> frozenset[str]:
    """What a template looks up and does not set itself."""
    from jinja2 import Environment, TemplateError, meta

    try:
        # transformers' own templates use loop controls and generation marks, which no plain environment reads.
        environment = Environment(autoescape=True, extensions=["jinja2.ext.loopcontrols"])
        return frozenset(meta.find_undeclared_variables(environment.parse(_MARKS.sub("", template))))
    except TemplateError:
        return frozenset(re.findall(r"[A-Za-z_]\w*", template))


def refuse_unknown_settings(tokenizer: Any, given: Mapping[str, Any]) -> None:
    """Refuse settings that the chat template does not know.

    Raises:
        ValueError: there is one.
    """
    known = template_settings(tokenizer)
    if unknown := [name for name in given if name not in known]:
        has = f"it has {', '.join(sorted(known))}" if known else "it has none"
        raise ValueError(f"The chat template of this tokenizer has no setting {unknown[0]!r}; {has}.")


def _ids_of(encoding: Mapping[str, Any]) -> Any:
    """The token ids of what a tokenizer gives: of one text, with or without an axis for the batch."""
    if "input_ids" not in encoding:
        if "role" in encoding:
            raise TypeError("One message is a prompt in a list: give [message].")
        raise TypeError(f"A prompt is a string, messages or token ids, but a table of {named(encoding)} was given.")
    ids = encoding["input_ids"]
    ids = ids.tolist() if hasattr(ids, "tolist") else list(ids)
    if ids and isinstance(ids[0], list | tuple):
        if len(ids) != 1:
            raise ValueError(f"A prompt is one text, but the tokens of {len(ids)} texts were given; give one of them.")
        ids = list(ids[0])
    return ids


def _with_text_parts(message: Any) -> Any:
    """A message whose content is text, also where it came in parts (Gemma 3's and Llama 4's model cards)."""
    parts = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(parts, list | tuple) or not parts:
        return message
    if not all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in parts):
        other = next(
            (part.get("type") for part in parts if isinstance(part, Mapping) and part.get("type") != "text"), "?"
        )
        raise ValueError(
            f'The parts of a message are texts, {{"type": "text", "text": …}}, but one of type {shown(other)} was '
            "given; "
            "steerwidgets reads text only."
        )
    return {**message, "content": "".join(part["text"] for part in parts)}


def _checked_message(message: Any) -> dict[str, str]:
    message = _with_text_parts(message)
    for name in ("role", "content"):
        if not isinstance(message, Mapping) or not isinstance(message.get(name), str):
            raise ValueError(
                f'A message is {{"role": …, "content": …}}, both strings, but {shown(message)} has no {name} that '
                "is one."
            )
    _refuse_half_characters(message["content"])
    return dict(message)


def _refuse_half_characters(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"The prompt holds half of a character (a lone surrogate at {error.start}), which no token stands for; "
            "write that character again."
        ) from None


def has_chat_template(tokenizer: Any) -> bool:
    """Whether the tokenizer can template a conversation."""
    return getattr(tokenizer, "chat_template", None) is not None


def special_ids(tokenizer: Any) -> frozenset[int]:
    """The ids of all special tokens, end and padding included."""
    return frozenset(int(i) for i in tokenizer.all_special_ids)


def _from_ids(tokenizer: Any, ids: Sequence[int]) -> Prompt:
    size = len(tokenizer)
    outside = [i for i in ids if not 0 <= i < size]
    if outside:
        raise ValueError(f"The token id {outside[0]} is outside the vocabulary, which goes from 0 to {size - 1}.")
    special = special_ids(tokenizer)
    return Prompt(tuple(ids), tuple(i in special for i in ids), (False,) * len(ids), chat=False)


def _encode_raw(tokenizer: Any, text: str) -> Prompt:
    ids = [int(i) for i in tokenizer(text)["input_ids"]]
    bos = tokenizer.bos_token_id
    # A text that already opens with the BOS must not get another one.
    if bos is not None and ids[:2] == [bos, bos] and text.startswith(tokenizer.bos_token):
        ids = ids[1:]
    if not ids:
        raise ValueError(f"The tokenizer makes no token of the prompt {text!r}; give another text.")
    return _from_ids(tokenizer, ids)


def _encode_chat(tokenizer: Any, messages: list[dict[str, str]], settings: Mapping[str, Any]) -> Prompt:
    if not has_chat_template(tokenizer):
        raise ValueError(
            "The tokenizer has no chat template, so messages can't be put to the model; give a plain string with "
            "chat=False, or set tokenizer.chat_template."
        )
    text = _rendered(tokenizer, messages, settings)
    spans = _content_spans(tokenizer, messages, text, settings)
    fast = bool(getattr(tokenizer, "is_fast", False))
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=fast)
    prompt = _from_ids(tokenizer, [int(i) for i in encoded["input_ids"]])
    if spans is None or not fast:
        return Prompt(prompt.token_ids, prompt.special, prompt.template, chat=True)
    roles = tuple(_role_at(a, b, messages, spans) for a, b in encoded["offset_mapping"])
    template = tuple(role is None for role in roles)
    return Prompt(prompt.token_ids, prompt.special, template, True, tuple(role or "" for role in roles))


def _role_at(start: int, end: int, messages: list[dict[str, str]], spans: list[tuple[int, int]]) -> str | None:
    """The role of the message whose words a token is of; None for the template's own."""
    own = (message["role"] for message, (a, b) in zip(messages, spans, strict=True) if start < b and end > a)
    return next(own, None)


def _rendered(tokenizer: Any, messages: list[dict[str, str]], settings: Mapping[str, Any]) -> str:
    from jinja2 import TemplateError

    try:
        return _render(tokenizer, messages, settings)
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise ValueError(
            f"The chat template of this tokenizer does not take these messages, of {roles}: {error}; give messages "
            "as it takes them."
        ) from error


def _render(tokenizer: Any, messages: list[dict[str, str]], settings: Mapping[str, Any]) -> str:
    own = {"tokenize": False, "add_generation_prompt": messages[-1].get("role") != "assistant"}
    return str(tokenizer.apply_chat_template(messages, **{**settings, **own}))


def _content_spans(
    tokenizer: Any, messages: list[dict[str, str]], rendered: str, settings: Mapping[str, Any]
) -> list[tuple[int, int]] | None:
    """Where each message's own words stand in the rendered text, or None where the template does not let one tell.

    The template is rendered once more around marks that no template contains; what stands between the marks is the
    template's own text. Looking for the words themselves would find "user" in the header of a user turn.
    """
    marks = [_SENTINEL.format(i) for i in range(len(messages))]
    marked = [{**message, "content": mark} for message, mark in zip(messages, marks, strict=True)]
    around = _render(tokenizer, marked, settings)
    contents = [message["content"] for message in messages]
    # Some templates strip what they are given.
    either = (_spans(rendered, around, marks, each) for each in (contents, [text.strip() for text in contents]))
    return next((spans for spans in either if spans is not None), None)


def _spans(rendered: str, around: str, marks: Sequence[str], contents: Sequence[str]) -> list[tuple[int, int]] | None:
    spans, at, rest = {}, 0, around
    # Not all templates keep the order: Mistral's put the system prompt before the last user's words.
    for i in sorted(range(len(marks)), key=lambda i: around.find(marks[i])):
        before, found, rest = rest.partition(marks[i])
        if not found or not rendered.startswith(before + contents[i], at):
            return None
        spans[i] = (at + len(before), at + len(before) + len(contents[i]))
        at = spans[i][1]
    return [spans[i] for i in range(len(marks))] if rendered[at:] == rest else None


def tokens(tokenizer: Any, ids: Iterable[int]) -> list[Token]:
    """The tokens as a person reads them: exact text, bytes in hex where a token is only part of a character."""
    return [_token(tokenizer, int(i)) for i in ids]


def _token(tokenizer: Any, token_id: int) -> Token:
    data = _token_bytes(tokenizer, token_id)
    if data is None:
        text = str(tokenizer.decode([token_id], clean_up_tokenization_spaces=False))
        return Token(token_id, text, fragment=_REPLACEMENT in text)
    try:
        return Token(token_id, data.decode())
    except UnicodeDecodeError:
        return Token(token_id, data.hex(" ").upper(), fragment=True)


def _token_bytes(tokenizer: Any, token_id: int) -> bytes | None:
    """The bytes that a token stands for, from the vocabulary of byte-level BPE or SentencePiece; None for others."""
    piece = tokenizer.convert_ids_to_tokens(token_id)
    if not isinstance(piece, str):
        return None
    if token_id in tokenizer.added_tokens_decoder:
        return piece.encode()
    if _is_byte_level(tokenizer):
        table = _byte_of_character()
        return bytes(table[c] for c in piece) if all(c in table for c in piece) else piece.encode()
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        return bytes([int(piece[3:5], 16)])
    return piece.replace("▁", " ").encode()


def _is_byte_level(tokenizer: Any) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return "ByteLevel" in repr(getattr(backend, "decoder", None)) or hasattr(tokenizer, "byte_decoder")


@functools.cache
def _byte_of_character() -> dict[str, int]:
    """GPT-2's table between bytes and printable characters (openai/gpt-2 `encoder.py`)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + n): b for n, b in enumerate(others)}
