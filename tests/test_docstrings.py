"""Docstrings of everything in `sw.*`: each says what it takes, gives and refuses, and has an example that runs here.

The examples see `sw`, `torch`, a tiny random model `lm`, small dictionaries `sae`, `cavs`, `reft`, `mfa`, and a new
`folder` for files. What is printed holds for a random model: shapes, lengths, names, round trips.
"""

from __future__ import annotations

import doctest
import functools
import importlib
import inspect
import re
import typing
from types import MappingProxyType

import pytest

import steerwidgets as sw
from steerwidgets.dictionaries.base import Dictionary

_GIVEN = ("corpus.index.CorpusIndex", "dictionaries.activations.Activations", "dictionaries.mfa.features.MFAMixture")
"""Classes that verbs give; the features of dictionaries are found by themselves."""

_HEADINGS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Example")


def _named(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"steerwidgets.{module}"), name)


def _is_ours(value):
    return getattr(value, "__module__", "").startswith("steerwidgets")


@functools.cache
def _classes():
    public = [each for each in (getattr(sw, name) for name in sw.__all__) if inspect.isclass(each)]
    kinds = [each for each in public if issubclass(each, Dictionary)]
    features = [typing.get_type_hints(inspect.unwrap(each.feature))["return"] for each in kinds]
    return list(dict.fromkeys([*public, *features, *map(_named, _GIVEN)]))


@functools.cache
def _verbs():
    """Public functions of the classes and modules by name; one that several classes inherit is there once."""
    found = {}
    for cls in _classes():
        for name in dir(cls):
            member = inspect.getattr_static(cls, name)
            function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            if not name.startswith("_") and inspect.isfunction(function) and _is_ours(function):
                home = next(base for base in cls.__mro__ if name in vars(base))
                # What ipywidgets calls, such as `get_state`, is its own business to explain.
                if not any(hasattr(base, name) for base in cls.__mro__ if not _is_ours(base)):
                    found.setdefault(f"{home.__name__}.{name}", function)
    for module in [each for each in map(functools.partial(getattr, sw), sw.__all__) if inspect.ismodule(each)]:
        short = module.__name__.rpartition(".")[2]
        found |= {f"{short}.{name}": getattr(module, name) for name in module.__all__}
    return MappingProxyType(found)


@functools.cache
def _documented():
    """Everything whose examples are run, by name: classes, verbs, and properties that have an example."""
    found = {each.__name__: each for each in _classes()} | dict(_verbs())
    for cls in _classes():
        for _, member in inspect.getmembers_static(cls):
            getter = member.fget if isinstance(member, property) else getattr(member, "func", None)
            if getter is not None and _is_ours(getter) and ">>>" in (getter.__doc__ or ""):
                found[getter.__qualname__] = getter
    return found


def _sections(documented):
    text = inspect.cleandoc(documented.__doc__ or "")
    return {name for name in _HEADINGS if re.search(rf"^{name}:$", text, re.MULTILINE)}


def _section(documented, heading):
    text = inspect.cleandoc(documented.__doc__ or "")
    found = re.search(rf"^{heading}:\n((?:    .*\n|\n)*)", text + "\n", re.MULTILINE)
    return found[1] if found else ""


def _parameters(function):
    given = list(inspect.signature(function).parameters.values())
    return [each for each in given if each.name not in ("self", "cls") and not each.name.startswith("_")]


def _says_each(documented, names):
    said = set(re.findall(r"^    (\w+):", _section(documented, "Args"), re.MULTILINE))
    return [name for name in names if name not in said]


def _gives_something(function):
    return inspect.signature(function).return_annotation not in ("None", "NoReturn", None, inspect.Signature.empty)


def _refuses(name, function):
    """Verbs of a model and loaders always refuse something; others say it where they do."""
    owner, _, verb = name.partition(".")
    loads = verb.startswith(("load", "open", "from_", "fit"))
    says = re.search(r"^\s+raise \w*Error", inspect.getsource(inspect.unwrap(function)), re.MULTILINE)
    return (owner == "LanguageModel" and bool(_parameters(function))) or loads or bool(says)


@pytest.mark.parametrize("name", [each.__name__ for each in _classes()])
def test_a_class_says_what_it_is_made_of_and_shows_how(name):
    cls = next(each for each in _classes() if each.__name__ == name)
    assert _is_ours(cls)
    assert "__doc__" in vars(cls)
    sections = _sections(cls)
    assert "Example" in sections
    assert ">>>" in _section(cls, "Example")
    assert sections & {"Args", "Attributes"} or issubclass(cls, Exception)


@pytest.mark.parametrize("name", list(_verbs()))
def test_a_verb_says_what_it_takes_gives_and_refuses_and_shows_how(name):
    function = inspect.unwrap(_verbs()[name])
    sections = _sections(function)
    assert _says_each(function, [each.name for each in _parameters(function)]) == []
    assert not _gives_something(function) or sections & {"Returns", "Yields"}
    assert not _refuses(name, function) or "Raises" in sections
    assert ">>>" in _section(function, "Example")


def test_settings_are_typed_and_every_key_is_explained():
    settings = {}
    for name, function in {**_verbs(), **{each.__name__: each.__init__ for each in _classes()}}.items():
        for each in inspect.signature(inspect.unwrap(function)).parameters.values():
            if each.kind == each.VAR_KEYWORD and _is_ours(inspect.unwrap(function)):
                named = re.fullmatch(r"Unpack\[(\w+)\]", str(each.annotation))
                settings[name] = _looked_up(named[1], inspect.unwrap(function)) if named else str(each.annotation)
    # The settings of transformers are its own; the rest take a number by the loading's name, or traits.
    open_ended = {name for name, found in settings.items() if isinstance(found, str)}
    assert open_ended == {
        "LanguageModel.from_pretrained",
        "LoadedModel.encode",
        "MFAFeature.pull",
        "MFAMixture.pull",
        "Widget.publish",
        "Widget.publish_together",
    }
    for found in {each for each in settings.values() if not isinstance(each, str)}:
        assert typing.is_typeddict(found)
        explained = re.findall(r"^    (\w+):", _section(found, "Attributes"), re.MULTILINE)
        assert set(explained) == set(found.__annotations__), found


def _looked_up(name, function):
    module = inspect.getmodule(function)
    if hasattr(module, name):
        return getattr(module, name)
    home = re.search(rf"from (steerwidgets\S+) import [^\n]*\b{name}\b", inspect.getsource(module))
    return getattr(importlib.import_module(home[1]), name)


# Examples


@pytest.fixture(scope="module")
def endless():
    """A tiny model whose texts never end by themselves."""
    import torch
    from support import models, toks

    torch.set_num_threads(1)
    lm = sw.LanguageModel(models.make("llama", max_position_embeddings=4096), toks.byte_level())
    with torch.no_grad():
        lm.model.get_output_embeddings().weight[sorted(lm.special_ids)] = 0
    return lm


@pytest.fixture
def world(endless, tmp_path, monkeypatch):
    """What an example sees: the model, a small dictionary of each kind, a folder."""
    import torch
    from support import kinds, sae

    monkeypatch.setenv("STEERWIDGETS_DATA", str(tmp_path / "data"))
    names = ["the sea", "music", "food", "law", "war"]
    known = {"layer": 1, "max_activation_of": "ten texts"}
    return {
        "sw": sw,
        "torch": torch,
        "lm": endless,
        "sae": sae.make(labels={"the sea": 3, "music": 5}, max_activations=[8.0] * sae.SIZE, **known),
        "cavs": sw.CAV(kinds.ROWS[:3], names[:3], max_activations=[8.0] * 3, **known),
        "reft": sw.ReFT(kinds.ROWS, labels=names, max_activations=[8.0] * 5, **known),
        "mfa": kinds.make("MFA"),
        "folder": tmp_path,
    }


def _run(name, world):
    import torch
    from ipywidgets import Widget

    [test] = doctest.DocTestFinder(recurse=False).find(_documented()[name], name, globs=world)
    output = []
    try:
        torch.manual_seed(0)
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        runner.run(test, out=output.append, clear_globs=False)
    finally:
        for made in test.globs.values():
            if isinstance(made, Widget):
                made.close()
    assert test.examples, f"{name} has no example"
    assert not output, "".join(output)


@pytest.mark.parametrize("name", [name for name in _documented() if name != "LanguageModel.demo"])
def test_examples(name, world):
    if "pyvene" in name:
        importlib.import_module("pyvene")  # which prints a line when it is first imported
    _run(name, world)


@pytest.mark.embedded
def test_the_example_of_the_embedded_model(world):
    _run("LanguageModel.demo", world)
