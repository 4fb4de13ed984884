"""Hostile recipes."""

from __future__ import annotations

import functools
import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hostile import base, mutations
from hostile.oracle import Case

import steerwidgets as sw


@functools.cache
def _recipes() -> dict[str, Any]:
    saes, cavs, mfa, reft, neurons = (base.dictionary(kind) for kind in ("SAE", "CAV", "MFA", "ReFT", "Neuron"))
    inline = sw.Recipe.of(
        [
            saes[3].clamp(2.0).at("prompt"),
            cavs[0].add(4).at([1, 2]).random_direction(3),
            mfa[1].pull(0.5).at("first", count=5),
            neurons[2].set(1.0),
            reft[1].clamp(3.0).at("generated", special=False),
        ]
    )
    named = sw.Recipe.of([saes[3].scale(2.0), cavs[1].clip(None, 2.0).at("after", count=2)])
    return {"inline": json.loads(inline.to_json(inline=True)), "named": json.loads(named.to_json())}


def recipe(drawn: random.Random) -> Iterator[Case]:
    def loading(*kinds: str) -> Callable[[Path], None]:
        def load(folder: Path) -> None:
            text = (folder / "recipe.json").read_bytes().decode("utf-8", "surrogateescape")
            recipe = sw.Recipe.from_json(text, dictionaries=[base.dictionary(kind) for kind in kinds])
            repr((recipe, recipe.fingerprint, recipe.sites, recipe.to_json()))
            for readout in base.lm().measure(list(base.IDS), recipe) if len(recipe) else ():
                repr(readout)

        return load

    common = (
        "op",
        "parameters",
        "alpha",
        "c",
        "lo",
        "hi",
        "a",
        "z0",
        "z1",
        "positions",
        "where",
        "special",
        "indices",
        "count",
        "control",
        "seed",
        "dictionary",
        "index",
    )
    written = (
        "label",
        "kind",
        "site",
        "layer",
        "stream",
        "inline",
        "form",
        "settings",
        "activation",
        "normalize_activations",
        "apply_b_dec_to_input",
        "rescale_acts_by_decoder_norm",
        "center_input",
        "bias",
        "threshold",
        "encoder",
        "decoder",
        "decoder_bias",
        "data",
        "dtype",
        "shape",
        "vector",
        "centroid",
        "loadings",
        "centred",
        "width",
    )
    for kind, value in _recipes().items():
        load = loading() if kind == "inline" else loading("SAE", "CAV")
        checked = (*common, *(written if kind == "inline" else ()))
        loader = base.Loader("recipe", {"recipe.json": json.dumps(value).encode()}, load, ("recipe",))
        yield loader.case(f"{kind}: as it should be", {})
        for number, steer in enumerate(value["steers"]):
            whole = lambda changed, number=number, value=value: json.dumps(
                mutations.replaced(value, ("steers", number), changed)
            ).encode()
            yield from base.spoilt_json(loader, "recipe.json", steer, drawn, 2, checked, whole)
        yield from base.spoilt_json(
            loader, "recipe.json", {"format": value["format"], "steers": []}, drawn, 8, ("steers", "format")
        )
    value = _recipes()["inline"]
    loader = base.Loader("recipe", {"recipe.json": json.dumps(value).encode()}, loading(), ("recipe",))
    for what, data in mutations.json_texts(json.dumps(value)):
        yield loader.case(what, {"recipe.json": data}, refused=True)
    first = value["steers"][0]
    for what, where, junk in (
        ("an op that is not taken", ("op",), "evil"),
        ("a vector of 2^40 numbers", ("feature", "inline", "encoder", "shape"), [2**40]),
        ("a vector of -1 numbers", ("feature", "inline", "encoder", "shape"), [-1]),
        ("a vector of another length", ("feature", "inline", "encoder", "shape"), [7]),
        ("a vector that is no base64", ("feature", "inline", "encoder", "data"), "%%%"),
        ("a vector of zeros", ("feature", "inline", "decoder", "data"), "AAAA" * (base.D * 4 // 3) + "AAA="),
        ("a layer of 10^30", ("feature", "site", "layer"), 10**30),
        ("a site too many", ("feature", "site", "soul"), 1),
        ("an index of -1", ("feature", "index"), -1),
        ("an index of 10^30", ("feature", "index"), 10**30),
        ("positions of nowhere", ("positions", "where"), "nowhere"),
        ("positions that are negative", ("positions",), {"where": "indices", "indices": [-5]}),
        ("positions of 10^30", ("positions",), {"where": "indices", "indices": [10**30]}),
        ("a count of 10^30", ("positions",), {"where": "first", "count": 10**30}),
        ("no count", ("positions",), {"where": "first"}),
        ("a count of text", ("positions",), {"where": "first", "count": "5"}),
        ("special that is a text", ("positions",), {"where": "all", "special": "false"}),
        ("a strength of 1e400", ("parameters",), {"value": math.inf}),
        ("a strength of text", ("parameters",), {"value": "2"}),
        ("a strength too many", ("parameters",), {"value": 1.0, "soul": 2.0}),
        ("a control of text", ("control",), {"seed": "x"}),
    ):
        spoilt = (
            mutations.replaced(first, where, junk)
            if where[-1] in mutations.at(first, where[:-1])
            else _put(first, where, junk)
        )
        data = json.dumps({"format": value["format"], "steers": [spoilt]}).encode()
        fine = {
            "an index of 10^30",
            "a count of 10^30",
            "positions of 10^30",
            "an index of -1",
            "a vector of zeros",
            "a layer of 10^30",
        }
        yield loader.case(what, {"recipe.json": data}, fields=(str(where[-1]),), refused=what not in fine)
    for key, second in (("format", "x"), ("steers", [])):
        yield loader.case(
            f"{key} twice", {"recipe.json": mutations.duplicated(value, key, second).encode()}, fields=(key,)
        )
    again = {"format": value["format"], "steers": [first, first]}
    yield loader.case(
        "two setters of one feature", {"recipe.json": json.dumps(again).encode()}, fields=("set",), refused=True
    )


def _put(value: Any, where: mutations.Path, new: Any) -> Any:
    parent = mutations.at(value, where[:-1])
    changed = parent | {where[-1]: new}
    return mutations.replaced(value, where[:-1], changed) if where[:-1] else changed
