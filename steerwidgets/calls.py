"""Calls that lack something or give what is not taken: Python's own error becomes one sentence with the call meant."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, Final, ParamSpec, TypeVar

Made = TypeVar("Made")
Given = ParamSpec("Given")
Result = TypeVar("Result")

_BY_POSITION: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_FOR_EXAMPLE: Final = {"layer": "15", "alpha": "40"}
_REST: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def told(call: str, *, of_object: bool = False) -> Callable[[Callable[Given, Result]], Callable[Given, Result]]:
    """Let a function say in a sentence how it is called, where it was called otherwise.

    Args:
        call: how it is called, as `sw.corpus.build`.
        of_object: whether its first argument is its object or class.
    """

    def wrap(function: Callable[Given, Result]) -> Callable[Given, Result]:
        @functools.wraps(function)
        def run(*args: Given.args, **named: Given.kwargs) -> Result:
            try:
                return function(*args, **named)
            except TypeError:
                # What it raises itself is told as it is.
                sentence = _wrong_call(call, inspect.signature(function), args, named, of_object=of_object)
                if not sentence:
                    raise
            raise TypeError(sentence)

        return run

    return wrap


def tell_calls(owner: type[Any], made: str, one: str) -> None:
    """Let a class and its public methods say how they are called, as `told` does.

    Args:
        owner: the class.
        made: what it is called, as `sw.CAV`.
        one: what one of it is called, as `cavs`.
    """
    for name, value in list(vars(owner).items()):
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(value, classmethod):
            setattr(owner, name, classmethod(told(f"{made}.{name}", of_object=True)(value.__func__)))
        elif isinstance(value, FunctionType):
            call = made if name == "__init__" else f"{one}.{name}"
            setattr(owner, name, told(call, of_object=True)(value))


def tells_calls(made: str, one: str) -> Callable[[type[Made]], type[Made]]:
    """`tell_calls` as a decorator of a class."""

    def decorate(owner: type[Made]) -> type[Made]:
        tell_calls(owner, made, one)
        return owner

    return decorate


def _wrong_call(
    call: str, signature: inspect.Signature, args: tuple[Any, ...], named: Mapping[str, Any], *, of_object: bool
) -> str:
    """The sentence for a call that does not fit a signature; empty where it fits."""
    try:
        signature.bind(*args, **named)
    except TypeError:
        pass
    else:
        return ""
    every = list(signature.parameters.values())[of_object:]
    args = args[of_object:]
    taken = [each for each in every if each.kind not in _REST]
    by_position = [each.name for each in taken if each.kind in _BY_POSITION]
    meant = f"{call}({', '.join(_as_given(each) for each in taken if each.default is each.empty)})"
    unknown = [name for name in named if name not in {each.name for each in taken}]
    if unknown and not any(each.kind is each.VAR_KEYWORD for each in every):
        known = f"it takes {', '.join(each.name for each in taken)}" if taken else "it takes nothing"
        return f"{call} takes no {unknown[0]}=; {known}: {meant}."
    if len(args) > len(by_position):
        first = f"{' and '.join(by_position) or 'nothing'} by position"
        others = [each.name for each in taken if each.kind is each.KEYWORD_ONLY]
        rest = f"; name what else there is ({', '.join(others)})" if others else ""
        return f"{call} takes {first}, but {len(args)} values were given{rest}: {meant}."
    given = {*by_position[: len(args)], *named}
    lacking = [each.name for each in taken if each.default is each.empty and each.name not in given]
    if not lacking:
        return f"{call} was given {by_position[0]} twice: {meant}."
    return f"{call} lacks {' and '.join(lacking)}: {meant}."


def _as_given(parameter: inspect.Parameter) -> str:
    example = _FOR_EXAMPLE.get(parameter.name)
    return example or parameter.name if parameter.kind in _BY_POSITION else f"{parameter.name}={example or '…'}"
