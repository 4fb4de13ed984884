"""Presets: how a panel steers and samples, under a name; and recipes that are pasted or read from a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote, unquote

from steerwidgets.files.atomic import made_folder, write_text
from steerwidgets.files.fields import Fields
from steerwidgets.files.json_text import as_text, json_bytes, parse_json
from steerwidgets.files.shown import shown
from steerwidgets.generation.sampling import Sampling
from steerwidgets.labels.own import data_dir
from steerwidgets.steering.recipe import FORMATS as RECIPES
from steerwidgets.steering.recipe import Recipe
from steerwidgets.widgets.panel.runs_file import FORMAT as RUNS
from steerwidgets.widgets.recipe_editor.inputs import checked_beside

FORMAT: Final = "steerwidgets.preset/1"
_FAMILY: Final = FORMAT.partition("/")[0]
_DAMAGED: Final = "In this preset"
_AGAIN: Final = "save it again from a panel"
_LONGEST: Final = 60
"""Characters of a preset's name."""


class Keeping(Protocol):
    """What a preset keeps of a panel, and how recipes are read there."""

    recipe: Any
    settings: Any
    chat: Any
    system: Any
    beside: Any

    def read_recipe(self, text: str) -> Recipe:
        """A recipe from text."""
        ...


@dataclass(frozen=True)
class Preset:
    """How a panel steers and samples; the prompt is not part of it.

    Attributes:
        recipe: what steers.
        settings: the sampling settings.
        traits: `chat`, `system` and `beside`, as the panel holds them.
    """

    recipe: Recipe
    settings: Sampling
    traits: Mapping[str, Any]


def folder() -> Path:
    """Where presets lie, in the user's own data folder.

    Raises:
        OSError: there is no such folder.
    """
    return data_dir() / "presets"


def names() -> list[str]:
    """The presets that there are, by name; none where there is no folder to keep them in."""
    try:
        files = list(folder().glob("*.json"))
    except OSError:
        return []
    return sorted((unquote(path.stem) for path in files), key=str.lower)


def write(panel: Keeping, name: str) -> None:
    """Keep what a panel does under a name; one that had it is replaced.

    Raises:
        ValueError: the name is empty or too long.
        OSError: it can't be written.
    """
    value = {
        "format": FORMAT,
        "name": checked_name(name),
        "recipe": json.loads(panel.recipe.to_json()),
        "settings": dict(panel.settings),
        "chat": panel.chat,
        "system": panel.system,
        "beside": dict(panel.beside),
    }
    write_text(_path(name, made_folder(folder())), json.dumps(value, indent=2, ensure_ascii=False))


def remove(name: str) -> None:
    """Take a preset away.

    Raises:
        KeyError: there is none of that name.
    """
    _existing(name).unlink()


def text_of(name: str) -> str:
    """A preset as text.

    Raises:
        KeyError: there is none of that name.
        OSError: it can't be read.
    """
    return text_in(_existing(name))


def text_in(path: Path) -> str:
    """The text of a file.

    Raises:
        ValueError: it is not UTF-8.
        OSError: it can't be read.
    """
    return as_text(json_bytes(path), path.name, todo=_AGAIN)


def read(text: str, panel: Keeping) -> Preset | Recipe:
    """A preset or a recipe from text, checked whole before anything is made of it.

    Raises:
        ValueError: it is neither, or damaged, of another version, or of features that the panel does not have.
    """
    value = parse_json(text, "This is no recipe and no preset: the text", todo="copy the whole text")
    found = value.get("format") if isinstance(value, Mapping) else None
    if found in RECIPES:
        return panel.read_recipe(text)
    if found == RUNS:
        raise ValueError(
            "This is a history of runs, not a recipe; import it in the tab History, or by panel.history.load."
        )
    if isinstance(found, str) and found.partition("/")[0] == _FAMILY and found != FORMAT:
        raise ValueError(
            f"This preset is of another version, {shown(found)}, and this one reads {FORMAT!r}; update steerwidgets, "
            f"or {_AGAIN}."
        )
    if found != FORMAT:
        what = shown(found) if isinstance(value, Mapping) else shown(value)
        raise ValueError(
            f"This is no recipe and no preset: its format should be one of {', '.join(map(repr, (*RECIPES, FORMAT)))}, "
            f"but it is {what}; copy the whole text."
        )
    return _preset(Fields(value, _DAMAGED, todo=_AGAIN), panel)


def _preset(said: Fields, panel: Keeping) -> Preset:
    recipe = panel.read_recipe(json.dumps(said.inner("recipe").table))
    beside = dict(said.inner("beside").table)
    checked_beside(beside)
    traits = {"chat": said.flag("chat"), "system": said.text("system", ""), "beside": beside}
    return Preset(recipe, Sampling.of(said.inner("settings").table), traits)


def checked_name(name: Any) -> str:
    """A name that a preset can have.

    Raises:
        ValueError: it is empty, too long, or no text.
    """
    if not isinstance(name, str) or not name.strip() or len(name.strip()) > _LONGEST:
        raise ValueError(f"The name of a preset has 1 to {_LONGEST} characters, but {shown(name)} was given.")
    return name.strip()


def _path(name: str, within: Path) -> Path:
    return within / f"{quote(checked_name(name), safe=' ')}.json"


def _existing(name: str) -> Path:
    path = _path(name, folder())
    if not path.is_file():
        there = names()
        said = f"there are {', '.join(there)}" if there else "none was saved yet"
        raise KeyError(f"There is no preset {shown(name)}; {said}.")
    return path
