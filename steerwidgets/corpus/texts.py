"""The texts of a corpus as pieces that the model reads, in windows that a resumed run finds again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.transformer import prompts
from steerwidgets.transformer.prompts import Prompt

if TYPE_CHECKING:
    from steerwidgets.corpus.settings import Settings
    from steerwidgets.transformer.loaded import LoadedModel

COLUMNS: Final = ("text", "messages")
_SOURCE: Final = "source"
_WINDOW_BATCHES: Final = 4
"""A window of texts fills about so many batches, which are made of its longest to its shortest pieces."""


@dataclass(frozen=True)
class Piece:
    """A text, or a part of one that is longer than the model reads at once.

    Attributes:
        ids: int32 [position].
        own: bool [position], which tokens are neither special nor of the chat template.
        start: its first token's position in the text.
        key: a hash of its tokens.
        source: what the text is from; None where its record does not say.
    """

    ids: Any
    own: Any
    start: int
    key: int
    source: str | None


@dataclass
class Read:
    """How much of the texts has been read.

    Attributes:
        texts: how many texts, empty ones included.
        empty: how many of them have no token of their own.
        tokens: how many tokens of their own the others have.
        digest: a hash of all of them, in their order.
    """

    texts: int = 0
    empty: int = 0
    tokens: int = 0
    digest: str = ""

    def note(self, content: Any) -> None:
        """Count one more text."""
        self.texts += 1
        said = content if isinstance(content, str) else json.dumps(content, default=list, ensure_ascii=False)
        line = f"{self.digest}\n{said}".encode("utf-8", "surrogatepass")
        self.digest = hashlib.blake2b(line, digest_size=16).hexdigest()


@dataclass
class Window:
    """Some whole texts one after the other: what is counted whole or not at all.

    Attributes:
        pieces: their pieces; texts without a token of their own have none.
        read: how much has been read when these are.
    """

    pieces: list[Piece]
    read: Read = field(default_factory=Read)

    def texts_after(self, before: Read, pieces: int) -> int:
        """About how many texts are read after so many of the window's pieces, for progress."""
        share = pieces / max(len(self.pieces), 1)
        return before.texts + round(share * (self.read.texts - before.texts))

    def batches(self, tokens: int) -> Iterator[list[Piece]]:
        """Pieces of like lengths, the longest first, of at most so many tokens with padding; one piece at least."""
        batch: list[Piece] = []
        for piece in sorted(self.pieces, key=lambda piece: -len(piece.ids)):
            if batch and (len(batch) + 1) * len(batch[0].ids) > tokens:
                yield batch
                batch = []
            batch.append(piece)
        if batch:
            yield batch


def checked(texts: Any) -> Iterable[Any]:
    """Texts that can be gone through.

    Raises:
        TypeError: they can't, or one text was given in place of several.
    """
    if isinstance(texts, str):
        raise TypeError("texts are several texts, but one string was given; put it in a list.")
    if isinstance(texts, Mapping):
        raise TypeError(
            f"texts are several texts, but a mapping of {', '.join(map(repr, list(texts)[:5]))} was given; of a "
            "dataset with splits, give one, such as dataset['train']."
        )
    if not isinstance(texts, Iterable):
        raise TypeError(
            f"texts are a list, an iterable or a dataset of texts, but {type(texts).__name__} {texts!r} was given."
        )
    return texts


def windows(
    lm: LoadedModel, texts: Iterable[Any], settings: Settings, skip: Read, on_skip: Callable[[int], None]
) -> Iterator[Window]:
    """The texts that have not been read yet.

    Args:
        lm: the model.
        texts: strings, messages, token ids, prompts, or records with a column of one of these.
        settings: how they are read.
        skip: how much was read in an earlier run.
        on_skip: called with every text that is skipped, by its number.

    Raises:
        ValueError: the texts that were read earlier are others, or a text can't be read.
        TypeError: a text is none.
    """
    iterator, read = iter(texts), Read()
    while read.texts < skip.texts:
        for item in iterator:
            read.note(_content(item, settings.column, read.texts)[0])
            on_skip(read.texts)
            break
        else:
            break
    if (read.texts, read.digest) != (skip.texts, skip.digest):
        raise ValueError(
            f"The first {skip.texts:,} texts are not those that this index has read already; give the same texts in "
            "the same order to go on, or another path to begin anew."
        )
    read = Read(skip.texts, skip.empty, skip.tokens, skip.digest)
    longest = _longest(lm, settings)
    window, size = Window([]), 0
    for item in iterator:
        content, source = _content(item, settings.column, read.texts)
        pieces = _pieces(lm, content, source, settings, longest, read.texts)
        read.note(content)
        read.empty += not pieces
        read.tokens += sum(int(piece.own.sum()) for piece in pieces)
        window.pieces.extend(pieces)
        size += sum(len(piece.ids) for piece in pieces)
        if size >= _WINDOW_BATCHES * settings.batch_tokens:
            window.read = Read(read.texts, read.empty, read.tokens, read.digest)
            yield window
            window, size = Window([]), 0
    window.read = read
    yield window


def _longest(lm: LoadedModel, settings: Settings) -> int:
    return min(settings.max_length, lm.architecture.longest_text or settings.max_length)


def _content(item: Any, column: str | None, number: int) -> tuple[Any, str | None]:
    """A text, and what it is from."""
    if not isinstance(item, Mapping):
        return (item.token_ids if isinstance(item, Prompt) else item), None
    found = column if column is not None else next((name for name in COLUMNS if name in item), None)
    if found is None or found not in item:
        wanted = repr(column) if column is not None else " nor ".join(map(repr, COLUMNS))
        raise ValueError(
            f"Text {number} is a record without {wanted}; it has {', '.join(map(repr, item)) or 'nothing'}. Name the "
            "column of the text with column=."
        )
    source = item.get(_SOURCE)
    return item[found], None if source is None else str(source)


def _pieces(
    lm: LoadedModel, content: Any, source: str | None, settings: Settings, longest: int, number: int
) -> list[Piece]:
    import numpy as np

    if content is None or (isinstance(content, str | Sequence) and not len(content)):
        return []
    try:
        prompt = prompts.encode(lm.tokenizer, content, chat=settings.chat)
    except (ValueError, TypeError) as error:
        if isinstance(content, str) and _makes_no_token(lm.tokenizer, content):
            return []
        raise type(error)(f"Text {number} can't be read. {error}") from None
    ids = np.array(prompt.token_ids, dtype=np.int32)
    own = ~(np.array(prompt.special, dtype=bool) | np.array(prompt.template, dtype=bool))
    parts = (slice(start, start + longest) for start in range(0, len(ids), longest))
    return [Piece(ids[part], own[part], part.start, _key(ids[part]), source) for part in parts if own[part].any()]


def _makes_no_token(tokenizer: Any, text: str) -> bool:
    try:
        return not tokenizer(text)["input_ids"]
    except (TypeError, UnicodeError):
        # Half of a character: the tokenizer takes no such string.
        return False


def _key(ids: Any) -> int:
    return int.from_bytes(hashlib.blake2b(ids.tobytes(), digest_size=8).digest(), "little")
