"""A recipe as interp-engine's server takes it: for each point, ops that are carried out one after another."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.transformer.mistakes import listed
from steerwidgets.transformer.model_names import warn_once

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.steering.recipe import Recipe, Steer
    from steerwidgets.transformer.architecture import Architecture
    from steerwidgets.transformer.sites import Site

POINTS: Final = {
    "resid_pre": "resid_pre",
    "resid_mid": "resid_mid",
    "resid_post": "resid_post",
    "attn_out": "attn_out",
    "mlp_out": "mlp_out",
    "attn_z": "z",
    "mlp_acts": "mlp_act",
    "mlp_in": "mlp_in",
}
"""What the server calls the streams."""

_STEERED: Final = ("resid_pre", "resid_post", "attn_out", "mlp_out")
_ORTHOGONAL: Final = 1e-6
_ADDS: Final = "additive"
_RELATIVE: Final = "norm_scaled_add"

SERVED_OPS: Final[Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "add": lambda given: {"method": _ADDS, "scale": given["alpha"]},
    "add_relative": lambda given: {
        "method": _RELATIVE,
        "strength": given["alpha"],
        "max_fraction": max(1.0, 2 * abs(given["alpha"])),
        "normalize": True,
    },
    "ablate": lambda _given: {"method": "ablate"},
    "project": lambda given: {"method": "orthogonal", "coeff": given["c"]},
    "clip": lambda given: {"method": "projection_cap", "min": given["lo"], "max": given["hi"]},
}
"""The ops of directions, in the server's words; it has no others of ours."""

_OTHERWISE: Final = "sw.RemoteModel, or a model in this process, carries out every op"


def point_of(architecture: Architecture, site: Site) -> str:
    """What the server calls a site.

    Raises:
        ValueError: it does not know such a stream.
    """
    if site.stream not in POINTS:
        raise ValueError(f"{site} can't be read through interp-engine: it has the streams {', '.join(POINTS)}.")
    after = site.stream in ("attn_out", "mlp_out") and bool(architecture.norms_after(site))
    return f"{POINTS[site.stream]}{'_post' if after else ''}.{site.layer}"


def steering_json(architecture: Architecture, recipe: Recipe) -> tuple[list[dict[str, Any]], bool]:
    """A recipe as the server takes it, and whether generated tokens are steered too.

    Raises:
        ValueError: the server can't carry it out; the message says why, and what can.
    """
    steers = [steer for steer in recipe if not steer.is_identity]
    for steer in steers:
        _check(steer)
    where = {steer.positions.where for steer in steers}
    if len(where) > 1:
        raise ValueError(
            "interp-engine steers all tokens or the prompt's alone, the same for every steer, but this recipe acts on "
            f"{listed(sorted(where))}; {_OTHERWISE}."
        )
    if any(steer.op == "add_relative" for steer in steers):
        warn_once(
            architecture.model,
            "interp-engine",
            "interp-engine adds a share of ‖h‖ at attention sinks too, such as the first token, which are left out "
            "where a model runs in this process: texts under add_relative may differ.",
        )
    written = []
    for site in dict.fromkeys(steer.feature.site for steer in steers):
        at_site = _in_order([steer for steer in steers if steer.feature.site == site])
        name, layer = point_of(architecture, site).rsplit(".", 1)
        written.append({"point": name, "layers": {layer: [_op(steer) for steer in at_site]}})
    return written, where != {"prompt"}


def _check(steer: Steer) -> None:
    site, positions = steer.feature.site, steer.positions
    cant = f"{steer!r:.120} can't be carried out by interp-engine"
    if not steer.is_of_direction or steer.op not in SERVED_OPS:
        raise ValueError(
            f"{cant}: it knows directions, with the ops {', '.join(SERVED_OPS)}, and {steer.op} of this "
            f"{steer.feature.kind} needs more of its dictionary; {_OTHERWISE}."
        )
    if site.stream not in _STEERED:
        raise ValueError(f"{cant}: it steers {listed(_STEERED)}, and not {site.stream}; {_OTHERWISE}.")
    if steer.condition is not None or steer.fading is not None:
        what = "a condition" if steer.condition is not None else "a fade"
        raise ValueError(f"{cant}: its steers act alike at every token, without {what}; {_OTHERWISE}.")
    if positions.where not in ("all", "prompt") or not positions.special or positions.parts:
        raise ValueError(f"{cant}: it steers all tokens, or the prompt's; {_OTHERWISE}.")
    if steer.control is not None and steer.op != "add":
        raise ValueError(f"{cant}: of controls it can carry out that of add alone; {_OTHERWISE}.")


def _in_order(steers: Sequence[Steer]) -> list[Steer]:
    """Steers of one site in an order in which, one after another, they do what they do all at once.

    Raises:
        ValueError: there is none.
    """
    reading = [steer for steer in steers if steer.op != "add"]
    for first, second in combinations(reading, 2):
        lengths = "add_relative" in (first.op, second.op)
        if lengths or abs(first.feature.cosine(second.feature)) > _ORTHOGONAL:
            raise ValueError(
                f"interp-engine carries out steers of one site one after another, so {first!r:.80} and {second!r:.80} "
                f"together would not do what a recipe says; {_OTHERWISE}."
            )
    return [*reading, *(steer for steer in steers if steer.op == "add")]


def _op(steer: Steer) -> dict[str, Any]:
    vector, said = steer.feature.vector, SERVED_OPS[steer.op](steer.parameters)
    if steer.control is not None:
        said["scale"] *= float(vector.norm())
        vector = steer.control.unit(vector)
    return said | {"vector": tensor_json(vector)}


def tensor_json(tensor: Tensor) -> dict[str, Any]:
    """A tensor as the server takes it."""
    data = tensor.detach().float().cpu().contiguous().numpy().astype("<f4").tobytes()
    return {"dtype": "float32", "shape": list(tensor.shape), "data": base64.b64encode(data).decode()}


def tensor_of(said: Mapping[str, Any]) -> Tensor:
    """The inverse of `tensor_json`."""
    import numpy as np
    import torch

    numbers = np.frombuffer(base64.b64decode(said["data"]), dtype="<f4").reshape(said["shape"])
    return torch.from_numpy(numbers.copy())
