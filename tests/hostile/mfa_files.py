"""Hostile files of a mixture."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import torch
from hostile import base, mutations
from hostile.oracle import Case
from support.mfa import make_state

import steerwidgets as sw


def mixture(drawn: random.Random) -> Iterator[Case]:
    path = "mfa.pt"
    state, meta = make_state(base.SIZE, base.D, 2)
    extra = {
        "layer": 1,
        "stream": "resid_post",
        "centred": False,
        "labels": [f"label {i}" for i in range(base.SIZE)],
        "provenance": {"model": "tiny"},
    }
    whole = {"state_dict": state, "meta": meta | {"extra": extra}}
    loader = base.Loader(
        "MFA .pt",
        {path: base.pt(whole)},
        base.used(lambda folder: sw.MFA.load(folder / path), widgets=False),
        ("MFA", "state_dict", "meta", *state),
    )
    yield loader.case("as it should be", {})
    with_state = lambda changed: base.pt(whole | {"state_dict": changed})
    yield from base.spoilt_tensors(loader, path, state, with_state, drawn)
    checked = ("rotation_on", "eps_floor", "layer", "stream", "centred", "labels", "provenance", "model", "extra")
    yield from base.spoilt_json(
        loader, path, whole["meta"], drawn, 4, checked, lambda changed: base.pt(whole | {"meta": changed})
    )
    for name in whole:
        for what, junk in mutations.JUNK[::2]:
            yield loader.case(f"{name} is {what}", {path: base.pt(whole | {name: junk})}, fields=(name,), refused=True)
    for what, change in (
        ("eps_floor NaN", {"eps_floor": math.nan}),
        ("eps_floor -1", {"eps_floor": -1.0}),
        ("eps_floor infinite", {"eps_floor": math.inf}),
        ("eps_floor a tensor", {"eps_floor": torch.ones(2)}),
        ("rotation_on without a rotation", {"rotation_on": True}),
        ("rotation_on of several numbers", {"rotation_on": torch.ones(2)}),
        ("statistics that are none", {"extra": extra | {"statistics": {}, "statistics_of": "{}"}}),
        (
            "statistics without a header",
            {"extra": extra | {"statistics": {"statistics.maximum": torch.ones(base.SIZE)}}},
        ),
        ("statistics that are a text", {"extra": extra | {"statistics": "x", "statistics_of": "{}"}}),
        ("a report that is a list", {"extra": extra | {"report": [1]}}),
        ("a report of other fields", {"extra": extra | {"report": {"soul": 1}}}),
        ("labels that are a path", {"extra": extra | {"labels": "/etc/passwd"}}),
    ):
        drop = {"_rot_T", "_rot_inv_Tt"} if what == "rotation_on without a rotation" else set()
        kept = {name: each for name, each in state.items() if name not in drop}
        yield loader.case(
            what,
            {path: base.pt({"state_dict": kept, "meta": whole["meta"] | change})},
            fields=(what.split()[0],),
            refused=True,
        )
    big = state | {"psi_rho": torch.full_like(state["psi_rho"], -1e30)}
    yield loader.case("no noise at all", {path: with_state(big)})
    yield loader.case(
        "huge loadings", {path: with_state(state | {"scale_rho": torch.full_like(state["scale_rho"], 1e38)})}
    )
    yield loader.case(
        "a singular rotation",
        {
            path: base.pt(
                {"state_dict": state | {"_rot_T": 0 * state["_rot_T"]}, "meta": whole["meta"] | {"rotation_on": True}}
            )
        },
    )
    yield from base.damaged(loader, path, drawn, flips=12, reach=900)
    yield from base.pickles(loader, path, lambda odd: whole | {"state_dict": state | {"mu": odd}})
