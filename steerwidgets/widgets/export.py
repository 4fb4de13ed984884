"""Frozen copies and code: one offline HTML file, and the Python that makes a run again."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.steering.positions import Positions
from steerwidgets.steering.recipe import Recipe, recipe_json
from steerwidgets.transformer.plain_text import whole

if TYPE_CHECKING:
    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.steering.recipe import Steer

STATIC: Final = Path(__file__).parents[1] / "static"


def script_json(value: object) -> str:
    """JSON that can stand inside a script element: nothing in it closes the element or opens a comment."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")


def write_page(title: str, bundle: str, state: Mapping[str, Any]) -> str:
    """One HTML page that holds a widget's code, its sheet and its state; it needs neither kernel nor network.

    Args:
        title: the page's title.
        bundle: the name of the built front-end, as `steering_panel`.
        state: the traits, as JSON values.
    """
    modules = {name: (STATIC / f"{name}.js").read_text(encoding="utf-8") for name in (bundle, "static_host")}
    css = (STATIC / f"{bundle}.css").read_text(encoding="utf-8").replace("</", "<\\/")
    return _PAGE.format(
        title=html.escape(title),
        css=css,
        state=script_json(whole(state)),
        widget=script_json(modules[bundle]),
        host=script_json(modules["static_host"]),
    )


_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>:root {{ color-scheme: light dark; }}
body {{ margin: 16px; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #131316; }} }}
{css}</style>
</head>
<body>
<div id="widget"></div>
<script type="application/json" id="state">{state}</script>
<script type="application/json" id="widget-module">{widget}</script>
<script type="application/json" id="host-module">{host}</script>
<script type="module">
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const load = (id) => import(URL.createObjectURL(new Blob([read(id)], {{ type: "text/javascript" }})));
const [host, widget] = await Promise.all([load("host-module"), load("widget-module")]);
await host.mount(widget, read("state"), document.getElementById("widget"));
</script>
</body>
</html>
"""


def python_snippet(
    model_code: str | None,
    dictionaries: Sequence[Dictionary],
    recipe: Recipe,
    prompt: Any,
    settings: Mapping[str, Any],
    beside: Sequence[str] = (),
) -> str:
    """Python that makes a run again.

    Args:
        model_code: the expression that loads the model; None where it was loaded by the user's own code.
        dictionaries: those that the recipe may use.
        recipe: what steers; features of dictionaries that can't be loaded by one expression are written out.
        prompt: the prompt, a text or messages.
        settings: `chat` and the sampling settings.
        beside: Python of the rows beside baseline and steered.
    """
    arguments = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    others = f", beside=[{', '.join(beside)}]" if beside else ""
    run = f"out = lm.compare({prompt!r}, recipe, {arguments}{others})\nprint(out)\n"
    run += 'for row in out.beside:\n    print(row.text, end="\\n\\n")\n' if beside else ""
    return recipe_snippet(model_code, dictionaries, recipe) + run


def recipe_snippet(model_code: str | None, dictionaries: Sequence[Dictionary], recipe: Recipe) -> str:
    """Python that makes a recipe again: the beginning of `python_snippet`."""
    used = _homes(*recipe)
    bound = {feature.fingerprint for steer in recipe for feature in steer.features if steer.needs_all_of(feature)}
    needed = [d for d in dictionaries if d.fingerprint in (used if d.source_code else bound)]
    named = list(zip(_distinct(f"{d.kind.lower()}s" for d in needed), needed, strict=True))
    names = {d.fingerprint: (name, d) for name, d in named}
    lines = [
        "import steerwidgets as sw",
        "",
        f"lm = {model_code or 'sw.LanguageModel(model, tokenizer)'}",
        *(f"{name} = {d.source_code or f'...  # {d!r}, as this panel was given it'}" for name, d in named),
        f"recipe = {_recipe_code(recipe, names)}",
    ]
    return "\n".join(lines) + "\n"


def _recipe_code(recipe: Recipe, names: Mapping[str, tuple[str, Dictionary]]) -> str:
    if not len(recipe):
        return "None"
    parts = [_steer_code(steer, names) for steer in recipe if _homes(steer) <= set(names)]
    rest = [steer for steer in recipe if not _homes(steer) <= set(names)]
    if rest:
        text = recipe_json(Recipe.of(rest), inline=lambda feature: feature.fingerprint not in names)
        found_in = ", ".join(name for home, (name, _) in names.items() if home in _homes(*rest))
        parts.append(f"sw.Recipe.from_json({text!r}{found_in and f', [{found_in}]'})")
    return " + ".join(parts)


def _homes(*steers: Steer) -> set[str]:
    """The fingerprints of the dictionaries that their features belong to; empty for one that stands alone."""
    return {feature.fingerprint for steer in steers for feature in steer.features}


def _steer_code(steer: Steer, names: Mapping[str, tuple[str, Dictionary]]) -> str:
    only = len(steer.parameters) == 1
    numbers = ", ".join(f"{value!r}" if only else f"{name}={value!r}" for name, value in steer.parameters.items())
    code = f"{_feature_code(steer.feature, names)}.{steer.op}({numbers})"
    code += "" if steer.control is None else f".random_direction({steer.control.seed})"
    code += "" if steer.positions == Positions() else f".at({steer.positions.code('sw.')})"
    if steer.condition is not None:
        code += f".when({steer.condition.code(lambda feature: _feature_code(feature, names))})"
    return code if steer.fading is None else f"{code}.fade(to={steer.fading.to!r}, over={steer.fading.over})"


def _feature_code(feature: Any, names: Mapping[str, tuple[str, Dictionary]]) -> str:
    name, dictionary = names[feature.dictionary]
    # The label is for the reader; where two features share one, or only the user knows it, the index finds the feature.
    # A mixture's index is no number, and it has no label in the dictionary.
    is_numbered = isinstance(feature.index, int)
    imported = dictionary.labels[feature.index] if dictionary.labels and is_numbered else ""
    entry = imported if imported and dictionary.find(imported) == [feature.index] else feature.index
    return f"{name}[{entry!r}]"


def _distinct(names: Iterable[str]) -> list[str]:
    taken: list[str] = []
    for name in names:
        same = sum(other.rstrip("0123456789") == name for other in taken)
        taken.append(f"{name}{same + 1}" if same else name)
    return taken
