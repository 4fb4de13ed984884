"""What the package promises: every public name with its signature, as readable lines; and what of it was broken.

    python tests/compat/public_names.py           # says what the code has lost or gained
    python tests/compat/public_names.py --write   # writes public_names.txt anew

A line is one of

    class CAV(vectors, labels=None, *, layer, …)     a name of `sw.__all__`, and how one is made
    method CAV.save(path)                            without `self`; classmethod and staticmethod likewise
    operator CAV.__getitem__                         what `[…]`, `+`, `len(…)` and the like need
    value CAV.site                                   what can be read: property, field, trait, attribute, constant
    function corpus.build(lm, dictionaries, …)       one of the package itself, or of a module that is a name of it

Types are left out, since typing may be improved. A default that is no literal is written `...`. Options that a type
names (`**options: Unpack[…]`) stand among the parameters, each with the default `...`.

Classes that are no names of `sw.__all__` but that its methods and values give (`Row`, `Evidence`, …) are listed too,
under their own names, without a constructor: nobody makes one. Two classes of one name share their lines.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import traitlets

import steerwidgets as sw

FILE = Path(__file__).with_name("public_names.txt")
_PACKAGE = "steerwidgets"
_INNER = frozenset({"Codec", "GeneratedToken"})
"""Classes that are given where nobody is meant to look: how an SAE computes, what a lens remembers of a run."""

_OPERATORS = frozenset(
    {
        *("__getitem__", "__len__", "__iter__", "__contains__", "__call__", "__enter__", "__exit__"),
        *("__add__", "__radd__", "__sub__", "__mul__", "__rmul__", "__neg__", "__int__", "__float__", "__str__"),
        *("__gt__", "__lt__", "__and__", "__rand__", "__or__"),
    }
)


def lines() -> list[str]:
    """The lines of the code as it is, sorted."""
    found: set[str] = set()
    given: list[type] = []
    for name in sw.__all__:
        value = getattr(sw, name)
        if inspect.ismodule(value):
            found |= {f"module {name}"}
            for each in value.__all__:
                found.add(_line("function", f"{name}.{each}", getattr(value, each)))
                given += _given_by(getattr(value, each))
        elif inspect.isclass(value):
            found.add(_constructor(name, value))
            given.append(value)
        elif inspect.isfunction(value):
            found.add(_line("function", name, value))
            given += _given_by(value)
        else:
            found.add(f"value {name}")
    return sorted(found | _of_classes(given), key=_order)


def broken(promised: list[str], now: list[str]) -> list[str]:
    """A sentence for each promise that is not kept. New names, and new parameters with a default, are no breach."""
    there = {_named(line): line for line in now}
    sentences = []
    for line in promised:
        name = _named(line)
        if name not in there:
            sentences.append(f"{name} is gone; it was `{line}`")
        elif what := _changed(line, there[name]):
            sentences.append(f"{name} {what}: it was `{line}` and is `{there[name]}`")
    return sentences


def read() -> list[str]:
    """The lines that are promised."""
    return [line for line in FILE.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


# From the code to lines


def _of_classes(known: list[type]) -> set[str]:
    """The members of classes, and of the classes that these give."""
    found: set[str] = set()
    seen: set[type] = set()
    while known:
        cls = known.pop(0)
        if cls not in seen:
            seen.add(cls)
            for line, gives in _members(cls):
                found.add(line)
                known += gives
    return found


def _members(cls: type) -> Iterator[tuple[str, list[type]]]:
    """The lines of a class, each with the classes that it gives; what other packages' classes bring is left out."""
    ours = [base for base in cls.__mro__ if base.__module__.partition(".")[0] == _PACKAGE]
    names = {name for base in ours for name in (*vars(base), *inspect.get_annotations(base), *_set_in(base))}
    for name in sorted(names):
        home = next(base for base in ours if name in {*vars(base), *inspect.get_annotations(base), *_set_in(base)})
        if name in _OPERATORS:
            member = inspect.getattr_static(cls, name)
            yield f"operator {cls.__name__}.{name}", _given_by(member)
        elif not name.startswith("_"):
            yield _member(cls, name, home)


def _member(cls: type, name: str, home: type) -> tuple[str, list[type]]:
    said = f"{cls.__name__}.{name}"
    member = inspect.getattr_static(cls, name, None)
    if isinstance(member, classmethod | staticmethod):
        return _line(type(member).__name__, said, getattr(cls, name)), _given_by(member.__func__)
    if inspect.isfunction(member):
        return _line("method", said, member), _given_by(member)
    if isinstance(member, property | functools.cached_property):
        return f"value {said}", _given_by(member.fget if isinstance(member, property) else member.func)
    if isinstance(member, traitlets.TraitType):
        return f"value {said}", []
    return f"value {said}", _classes_in(inspect.get_annotations(home).get(name, ""), home)


@functools.cache
def _set_in(cls: type) -> frozenset[str]:
    """Public attributes that the methods of a class set: `self.name = …`."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except OSError:
        return frozenset()
    targets: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            targets += [each for target in node.targets for each in ast.walk(target)]
        elif isinstance(node, ast.AnnAssign):
            targets.append(node.target)
    mine = [each for each in targets if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name)]
    return frozenset(each.attr for each in mine if each.value.id == "self" and not each.attr.startswith("_"))


def _constructor(name: str, cls: type) -> str:
    own = any("__init__" in vars(base) for base in cls.__mro__ if base.__module__.startswith(_PACKAGE))
    return _line("class", name, cls) if own else f"class {name}"


def _line(kind: str, name: str, function: Callable[..., Any]) -> str:
    parameters = list(inspect.signature(function).parameters.values())
    if kind == "method":
        parameters = parameters[1:]
    parameters = [each for each in parameters if not each.name.startswith("_")]
    shown = [_shown(each) for each in parameters if each.kind != each.VAR_KEYWORD]
    options = [each for each in parameters if each.kind == each.VAR_KEYWORD]
    named = [f"{option}=..." for each in options for option in _options(each, function)]
    kinds = [each.kind for each in parameters]
    last = inspect.Parameter.POSITIONAL_ONLY
    if last in kinds:
        shown.insert(kinds.count(last), "/")
    if inspect.Parameter.VAR_POSITIONAL not in kinds and (inspect.Parameter.KEYWORD_ONLY in kinds or named):
        first = next((i for i, each in enumerate(parameters) if each.kind == each.KEYWORD_ONLY), len(shown))
        shown.insert(first + (last in kinds), "*")
    return f"{kind} {name}({', '.join([*shown, *named, *(f'**{each.name}' for each in options)])})"


def _shown(parameter: inspect.Parameter) -> str:
    star = "*" if parameter.kind == parameter.VAR_POSITIONAL else ""
    if parameter.default is parameter.empty:
        return star + parameter.name
    text = repr(parameter.default)
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError):
        text = "..."
    return f"{parameter.name}={text}"


def _options(parameter: inspect.Parameter, function: Callable[..., Any]) -> list[str]:
    """The names of options that a TypedDict tells: `**options: Unpack[FitOptions]`."""
    if "Unpack[" not in str(parameter.annotation):
        return []
    return sorted(name for cls in _named_in(str(parameter.annotation), function) for name in cls.__annotations__)


def _given_by(function: Any) -> list[type]:
    """Our classes that a function returns."""
    function = inspect.unwrap(function) if callable(function) else function
    return _classes_in(getattr(function, "__annotations__", {}).get("return", ""), function)


def _classes_in(annotation: Any, home: Any) -> list[type]:
    """Our public data and result classes in an annotation; TypedDicts and protocols say only what is taken."""
    return [
        cls
        for cls in _named_in(str(annotation), home)
        if not cls.__name__.startswith("_") and not getattr(cls, "_is_protocol", False) and not issubclass(cls, dict)
        if cls.__name__ not in _INNER
    ]


def _named_in(annotation: str, home: Any) -> list[type]:
    """Our classes that an annotation names, looked up where it stands, also among imports for type checkers."""
    module = inspect.getmodule(home)
    names = dict.fromkeys(re.findall(r"[A-Za-z_]\w*", annotation))
    found = [_looked_up(name, module) for name in names] if module else []
    return [each for each in found if isinstance(each, type) and each.__module__.startswith(_PACKAGE)]


def _looked_up(name: str, module: types.ModuleType) -> Any:
    if hasattr(module, name):
        return getattr(module, name)
    origin = _imports_of(module).get(name)
    return getattr(importlib.import_module(origin), name, None) if origin else None


@functools.cache
def _imports_of(module: types.ModuleType) -> dict[str, str]:
    """Which module of ours each name is imported from anywhere in a module's text."""
    nodes = [node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in nodes if (node.module or "").startswith(_PACKAGE)]
    return {each.asname or each.name: str(node.module) for node in ours for each in node.names}


# From lines to what changed


def _named(line: str) -> str:
    return line.partition(" ")[2].partition("(")[0]


def _order(line: str) -> tuple[str, ...]:
    owner, _, member = _named(line).partition(".")
    return owner.casefold(), owner, member


def _changed(was: str, now: str) -> str:
    """What of a line is not as promised; empty where all is."""
    kind, new_kind = was.partition(" ")[0], now.partition(" ")[0]
    if kind != new_kind:
        return f"was a {kind} and is a {new_kind}"
    if "(" not in was:
        return ""
    if "(" not in now:
        return "has no signature any more"
    return _signature_changed(_parameters(was), _parameters(now))


def _signature_changed(old: dict[str, tuple[str, str]], new: dict[str, tuple[str, str]]) -> str:
    for name, (kind, default) in old.items():
        if name not in new:
            return f"lost the parameter {name!r}"
        # What had to be given and need not any more is given by every program that there is.
        if new[name] != (kind, default) and (default or new[name][0] != kind):
            return f"has another parameter {name!r}"
    for name, (_, default) in new.items():
        if name not in old and not default:
            return f"needs a new parameter {name!r}"
    by_place = lambda parameters: [name for name, (kind, _) in parameters.items() if kind == "by place"]
    if by_place(new)[: len(by_place(old))] != by_place(old):
        return "has its parameters in another order"
    return ""


def _parameters(line: str) -> dict[str, tuple[str, str]]:
    """Each parameter's kind and default ("" for none) in order; what `*` and `**` take never has to be given."""
    text = "(" + line.partition("(")[2]
    function = ast.parse(f"def f{text}: pass").body[0]
    assert isinstance(function, ast.FunctionDef)
    takes = function.args
    places = [
        *((each.arg, "by place only") for each in takes.posonlyargs),
        *((each.arg, "by place") for each in takes.args),
    ]
    defaults = [""] * (len(places) - len(takes.defaults)) + [ast.unparse(each) for each in takes.defaults]
    found = {name: (kind, default) for (name, kind), default in zip(places, defaults, strict=True)}
    for each, default in zip(takes.kwonlyargs, takes.kw_defaults, strict=True):
        found[each.arg] = ("by name", "" if default is None else ast.unparse(default))
    many = {"*": takes.vararg, "**": takes.kwarg}
    return found | {f"{star}{each.arg}": ("many", "none") for star, each in many.items() if each is not None}


_HEADER = """\
# What steerwidgets promises: public names with their signatures. See public_names.py, which writes this file.
"""


def main(arguments: list[str]) -> int:
    """Write the file, or say what changed."""
    now = lines()
    if "--write" in arguments:
        FILE.write_text(_HEADER + "".join(f"{line}\n" for line in now), encoding="utf-8")
        return 0
    promised = read()
    print("\n".join([*broken(promised, now), *(f"new: {line}" for line in now if line not in promised)]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
