"""Documents as token rows of one length, with a mask of the tokens to train on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from steerwidgets.transformer.prompts import encode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embedded.corpus.written import Written

ROW: Final = 128
"""Tokens in a row."""


@dataclass(frozen=True)
class Piece:
    """The tokens of a document, and which of them a dictionary may be trained on."""

    ids: Sequence[int]
    trained: Sequence[bool]

    @classmethod
    def of_text(cls, ids: Sequence[int]) -> Piece:
        """A text without a template: all of it is trained on."""
        return cls(ids, [True] * len(ids))


def chat_piece(tokenizer: Any, row: Written) -> Piece:
    """A chat exactly as the model read and wrote it.

    Left out of training are the template's tokens, the default system prompt among them, and in a follow-up the turns
    before, which another document has.

    Raises:
        ValueError: the tokens that were written do not belong to this tokenizer.
    """
    messages = list(row.messages)
    prompt = encode(tokenizer, messages, chat=True)
    if list(prompt.token_ids) != row.prompt_ids:
        raise ValueError(
            f"The chat that begins {row.prompt_ids[:8]} was written with another tokenizer or chat template than the "
            f"one given, which makes {list(prompt.token_ids[:8])} of it; write the chats again."
        )
    trained = [not (template or special) for template, special in zip(prompt.template, prompt.special, strict=True)]
    if len(messages) > 1 and messages[-2]["role"] == "assistant":
        known = len(encode(tokenizer, messages[:-1], chat=True))
        trained[:known] = [False] * known
    newline = tokenizer("\n", add_special_tokens=False)["input_ids"] if row.ended else []
    words = len(row.answer_ids) - row.ended
    ids = [*row.prompt_ids, *row.answer_ids, *newline]
    return Piece(ids, [*trained, *[True] * words, *[False] * (len(ids) - len(trained) - words)])


def pack(pieces: Iterable[Piece]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The pieces one after another, cut into rows; what is left over at the end is dropped.

    The first token of each row is left out of training: whatever stands there is an attention sink.

    Returns:
        Tokens and mask, each `[rows, 128]`.
    """
    ids: list[int] = []
    trained: list[bool] = []
    for piece in pieces:
        ids += piece.ids
        trained += piece.trained
    rows = len(ids) // ROW
    tokens = np.array(ids[: rows * ROW], dtype=np.int32).reshape(rows, ROW)
    mask = np.array(trained[: rows * ROW], dtype=np.bool_).reshape(rows, ROW)
    mask[:, 0] = False
    return tokens, mask
