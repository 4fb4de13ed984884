"""What a page may ask a lens, checked: token ids, token texts, a column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from steerwidgets.model import LanguageModel
    from steerwidgets.transformer.prompts import Token

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
