"""Hostile files of dose–responses."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import torch
from hostile import base, mutations
from hostile.oracle import Case

import steerwidgets as sw

_CHECKED = (
    *("format", "label", "unit", "strengths", "origin", "prompts", "held_back", "seeds", "judge", "asked", "stopped"),
    *("settings", "provenance", "iso_kl", "answers", "kind", "strength", "prompt", "seed", "text", "token_ids"),
    *("tokens", "fragments", "ended", "on_topic", "surprise", "distinct_2", "kl", "ratio"),
)


def _use(folder: Path) -> None:
    dose = sw.DoseResult.load(folder / "dose.json")
    repr((dose, dose.useful, dose.breaks, dose.prompted, dose.baseline))
    sw.DoseResult.from_json(dose.to_json())


def doses(drawn: random.Random) -> Iterator[Case]:
    """A small result, spoilt at every place."""
    sea = sw.Direction(torch.ones(base.D), sw.Site(1), "sea")
    settings = {"prompts": ["Name a city.", "A story."], "judge": sw.Words(["e"]), "max_new_tokens": 2}
    made = base.lm().dose(sea.add, [0.5], hold_back=1, random=1, baseline_seeds=1, **settings)
    made.iso_kl(1e-6)
    value = json.loads(made.to_json())
    loader = base.Loader("dose", {"dose.json": made.to_json().encode()}, _use)
    yield loader.case("as it should be", {})
    # What is written for other readers is not read.
    for name in ("rows", "baseline", "prompted", "useful", "breaks", "breaks_below"):
        value.pop(name)
    steered = next(each for each in value["answers"] if each["kind"] == "steered")
    value["answers"].sort(key=lambda each: each is not steered)
    names = (*value, *steered)
    for case in base.spoilt_json(loader, "dose.json", value, drawn, 6, _CHECKED):
        yield Case(case.loader, case.name, case.load, (*case.words, *names), case.refused)
    for what, data in mutations.json_texts(json.dumps(value)):
        yield loader.case(what, {"dose.json": data}, refused=True)
    yield loader.case("it is missing", {"dose.json": None}, refused=True)
