"""What somebody gave, in words, and one sentence for a call that was meant otherwise: given, expected, the call meant.

The checks of public calls stand at their entrances and use these, so that a first mistake ends in a sentence and not in
an error of Python's about something inside.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Number
from pathlib import Path
from typing import Any, Final

_NEIGHBOURS: Final = {
    "transformer_lens": "TransformerLens",
    "nnsight": "nnsight",
    "sae_lens": "sae_lens",
    "pyvene": "pyvene",
    "transformers": "transformers",
    "peft": "peft",
    "torch": "torch",
}
_OF_TOKENIZERS: Final = ("all_special_ids", "convert_ids_to_tokens", "decode")
_LONGEST: Final = 40


def wrong(call: str, takes: str, given: object, meant: str) -> TypeError:
    """The error for something that a call does not take.

    Args:
        call: the call, as `lm.top_logits`.
        takes: what it takes.
        given: what it got.
        meant: the call that was meant, or how to get what is needed.
    """
    return TypeError(f"{call} takes {takes}, but {what(given)} was given; {meant}.")


def what(given: object) -> str:
    """A value in words: its kind, and what tells it from others."""
    if given is None:
        return "None"
    if isinstance(given, str):
        return f"the text {_short(given)}"
    if isinstance(given, bool | Number):
        return f"the number {given}" if not isinstance(given, bool) else f"{given}"
    if isinstance(given, Mapping) and not _is_own(given):
        return f"a dict of {', '.join(map(repr, itertools.islice(given, 3)))}" if given else "an empty dict"
    if isinstance(given, list | tuple | set | range):
        return _what_of_several(list(given))
    if hasattr(given, "shape") and hasattr(given, "dtype"):
        return f"a {type(given).__name__} of shape {list(given.shape)}"
    if isinstance(given, type):
        return f"the class {given.__name__} itself"
    if callable(given) and hasattr(given, "__name__"):
        return f"the method {given.__name__}, not called," if hasattr(given, "__self__") else "a function"
    return _what_of_object(given)


def _what_of_several(items: list[Any]) -> str:
    if not items:
        return "an empty list"
    first = items[0]
    if isinstance(first, str):
        return f"a list of {len(items)} text{'s' * (len(items) > 1)}"
    if isinstance(first, Mapping) and "role" in first:
        return "a list of messages"
    if isinstance(first, Number):
        return f"a list of {len(items)} number{'s' * (len(items) > 1)}"
    return f"a list that holds {what(first)}"


def _what_of_object(given: object) -> str:
    name = type(given).__name__.lstrip("_")
    label = getattr(given, "label", None)
    if _is_own(given):
        said = repr(label) if isinstance(label, str) else _short(given)
        return f"the {said}" if said.startswith(name) else f"the {name} {said}"
    if is_pipeline(given):
        return f"a pipeline of transformers ({name})"
    if is_tokenizer(given):
        return f"a tokenizer ({name})"
    package = type(given).__module__.partition(".")[0]
    whose = f" of {_NEIGHBOURS[package]}" if package in _NEIGHBOURS else ""
    return f"a {name}{whose}"


def _short(given: object) -> str:
    text = repr(given).strip("<>") if not isinstance(given, str) else repr(given)
    return text if len(text) <= _LONGEST + 2 else text[:_LONGEST] + "…" + ("'" if isinstance(given, str) else "")


def _is_own(given: object) -> bool:
    return any(each.__module__.partition(".")[0] == "steerwidgets" for each in type(given).__mro__)


def is_text(given: object) -> bool:
    """Whether it is a text, messages, or several texts: what a prompt might be and a model or dictionary is not."""
    if isinstance(given, str):
        return True
    return isinstance(given, list | tuple) and bool(given) and isinstance(given[0], str | Mapping)


def is_tokenizer(given: object) -> bool:
    """Whether it is made like a tokenizer of transformers."""
    return callable(given) and all(hasattr(given, name) for name in _OF_TOKENIZERS)


def is_pipeline(given: object) -> bool:
    """Whether it is a pipeline of transformers: a model and a tokenizer with a task."""
    return all(hasattr(given, name) for name in ("model", "tokenizer", "task")) and not _is_own(given)


def checked_model(model: Any, tokenizer: Any) -> tuple[Any, Any]:
    """The model and the tokenizer that `sw.LanguageModel` was given, in whatever order; a pipeline's own.

    Raises:
        TypeError: they are something else; the sentence names the call that was meant.
    """
    meant = "sw.LanguageModel(model, tokenizer)"
    takes = "a loaded model and its tokenizer"
    if is_pipeline(model):
        model, tokenizer = model.model, model.tokenizer if tokenizer is None else tokenizer
    if is_tokenizer(model) and not is_tokenizer(tokenizer) and tokenizer is not None:
        model, tokenizer = tokenizer, model
    if isinstance(model, str):
        raise wrong("sw.LanguageModel", takes, model, f"load both by name: sw.LanguageModel.from_pretrained({model!r})")
    if hasattr(model, "tokenizer") and hasattr(model, "architecture") and _is_own(model):
        raise wrong("sw.LanguageModel", takes, model, "it is one already and is used as it is")
    package = type(model).__module__.partition(".")[0]
    if package == "transformer_lens":
        raise wrong("sw.LanguageModel", takes, model, f"load the model itself: {_by_name(model)}")
    if package == "nnsight":
        raise wrong("sw.LanguageModel", takes, model, "give what it wraps: sw.LanguageModel(nn._model, nn.tokenizer)")
    if not hasattr(model, "named_modules") or isinstance(model, type):
        raise wrong("sw.LanguageModel", takes, model, f"give the loaded model first: {meant}")
    if isinstance(tokenizer, str):
        told = f"load it: {meant[:-11]} AutoTokenizer.from_pretrained({tokenizer!r}))"
        raise wrong("sw.LanguageModel", takes, tokenizer, told)
    if not is_tokenizer(tokenizer) and is_tokenizer(getattr(tokenizer, "tokenizer", None)):
        tokenizer = tokenizer.tokenizer
    if tokenizer is None:
        raise TypeError(
            f"sw.LanguageModel takes {takes}, but the model came alone; give the tokenizer too: {meant}, or load both "
            f"by name: {_by_name(model)}."
        )
    if not is_tokenizer(tokenizer):
        raise wrong("sw.LanguageModel", takes, tokenizer, f"give its tokenizer second: {meant}")
    return model, tokenizer


def _by_name(model: Any) -> str:
    config = getattr(model, "config", None) or getattr(model, "cfg", None)
    name = getattr(config, "name_or_path", None) or getattr(config, "tokenizer_name", None) or "name"
    return f"sw.LanguageModel.from_pretrained({name!r})"


def refuse_no_model(given: Any, call: str, rest: str) -> None:
    """Refuse what is no `LanguageModel` where a widget or a fit needs one first.

    Args:
        given: what came first.
        call: the call, as `sw.SteeringPanel`.
        rest: its other arguments, as `dictionaries`.

    Raises:
        TypeError: it is something else.
    """
    if hasattr(given, "architecture") and hasattr(given, "encode") and hasattr(given, "residuals"):
        return
    meant = f"{call}(lm, {rest})"
    if hasattr(given, "named_modules") and not isinstance(given, type) and not _is_own(given):
        meant = f"wrap model and tokenizer first: {call}(sw.LanguageModel(model, tokenizer), {rest})"
    elif is_pipeline(given) or isinstance(given, type):
        meant = f"make one first: {call}(sw.LanguageModel(model, tokenizer), {rest})"
    raise wrong(call, "a LanguageModel first", given, meant)


def refuse_no_prompt(given: Any) -> None:
    """Refuse what is plainly no prompt: several texts, a tokenizer, a feature.

    Raises:
        TypeError: it is one of these.
    """
    takes = "a string, a list of messages or a list of token ids"
    if isinstance(given, list | tuple) and given and isinstance(given[0], str):
        told = "one call reads one text, so go through them: [lm.compare(text, recipe) for text in texts]"
        raise TypeError(f"A prompt is {takes}, but {what(given)} was given; {told}.")
    if _is_own(given):
        told = "the prompt comes first, as in lm.compare(prompt, feature.add(40)) or lm.read(prompt, dictionary)"
        raise TypeError(f"A prompt is {takes}, but {what(given)} was given; {told}.")
    if isinstance(given, Mapping) and "role" in given:
        raise TypeError(f"A prompt is {takes}, but one message was given alone; put it into a list: [message].")
    if isinstance(given, Mapping) and "input_ids" not in given:
        raise TypeError(f"A prompt is {takes}, but {what(given)} was given; a message has a role and a content.")


def checked_path(given: Any, call: str, before: str = "") -> Path:
    """A path.

    Args:
        given: what was given.
        call: the call, as `sw.corpus.build`.
        before: its arguments before the path, as `lm, dictionaries, texts, `.

    Raises:
        TypeError: it is none; the sentence names the call that was meant.
    """
    if not isinstance(given, str | os.PathLike):
        raise wrong(call, "the path of a folder", given, f"name one: {call}({before}'my_folder')")
    return Path(given)


def one_or_several(given: Any, is_one: Callable[[Any], bool]) -> list[Any]:
    """What was given as a list, a single one as a list of one.

    Args:
        given: one, or several.
        is_one: tells one from several.
    """
    return [given] if is_one(given) or not isinstance(given, Iterable) else list(given)


def refuse_unknown(call: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse settings that a call does not have.

    Args:
        call: the call, as `lm.patch`.
        given: the names of the settings that it got.
        known: those that it takes.

    Raises:
        TypeError: there is no such setting.
    """
    taken = list(known)
    if unknown := sorted(set(given) - set(taken)):
        raise TypeError(f"{call} knows no setting {', '.join(unknown)}; it takes {', '.join(taken)}.")


def checked_whole(name: str, value: Any, least: int, *, or_none: str = "") -> None:
    """Refuse what is no whole number from `least` on.

    Args:
        name: of the setting.
        value: what was given.
        least: the smallest that makes sense.
        or_none: what None means, where it may be given.

    Raises:
        ValueError: it is something else.
    """
    if value is None and or_none:
        return
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
        none = f", or None {or_none}" if or_none else ""
        raise ValueError(f"{name}= is a whole number from {least}{none}, but {what(value)} was given.")


def _is_count(given: Any) -> bool:
    """Whether it is a whole number, be it of Python's, numpy's or torch's."""
    if isinstance(given, bool | str) or not (isinstance(given, Number) or hasattr(given, "__index__")):
        return False
    number: Any = given
    return bool(number == int(number))


def indices(given: Any, count: int, name: str, why: str) -> tuple[int, ...]:
    """Ascending indices from 0 of what a user counts from either end: one, several, or all.

    Args:
        given: a whole number, several, or None or "all" for all of them.
        count: how many there are.
        name: of the setting.
        why: what they count.

    Raises:
        ValueError: one is out of range or no whole number, or none is given.
    """
    if given is None or (isinstance(given, str) and given == "all"):
        return tuple(range(count))
    several = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    found = []
    for each in several:
        if not _is_count(each) or not -count <= int(each) < count:
            raise ValueError(f"{name}= takes whole numbers from {-count} to {count - 1}, since {why}; got {each!r}.")
        found.append(int(each) % count)
    if not found:
        raise ValueError(f"{name}= is empty; name at least one, or leave it out for all of them.")
    return tuple(sorted(set(found)))


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, the first few."""
    return ", ".join(names[:4])
