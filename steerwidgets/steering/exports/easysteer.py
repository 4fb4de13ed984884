"""A recipe as a SteeringSpec of EasySteer, the fork of vLLM (Xu et al. 2025), in JSON."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.steering.exports.constant import sum_of_adds

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.steering.positions import Positions
    from steerwidgets.steering.recipe import Recipe, Steer

_VERSION: Final = 1
_WHERE: Final[dict[str, dict[str, Any]]] = {
    "all": {"prompt": "all", "generation": "all"},
    "prompt": {"prompt": "all"},
    "generated": {"generation": "all"},
    "last_prompt": {"prompt_positions": [-1]},
}
_ALGORITHM: Final = {"add": "direct", "ablate": "erase"}


def to_easysteer(recipe: Recipe) -> str:
    """The spec; see `Recipe.to_easysteer`."""
    if not len(recipe):
        raise ValueError("The recipe is empty, so there is nothing to write; add a steer to it.")
    for steer in recipe:
        if reason := _why_not(steer):
            raise ValueError(
                f"EasySteer adds and erases directions at resid_post of all, prompt or generated tokens, and {steer!r} "
                f"does something else: {reason}. Leave it out, or take recipe.to_torch(lm) or recipe.to_pyvene(lm)."
            )
    groups: dict[tuple[str, Positions], dict[int, list[Steer]]] = {}
    for steer in recipe:
        groups.setdefault((steer.op, steer.positions), {}).setdefault(steer.feature.site.layer, []).append(steer)
    vectors = []
    for (op, where), of_layers in groups.items():
        if op == "ablate" and any(len(steers) > 1 for steers in of_layers.values()):
            raise ValueError(
                "EasySteer erases one direction after the other, and two ablations at one block are solved together "
                "here, which differs unless they are orthogonal; leave one out, or take recipe.to_torch(lm)."
            )
        made = {
            layer: sum_of_adds(steers) if op == "add" else steers[0].feature.vector
            for layer, steers in sorted(of_layers.items())
        }
        vectors.append(
            {
                "data": _payload(made),
                "algorithm": _ALGORITHM[op],
                "scale": 1.0,
                "layers": list(made),
                "normalize": False,
                "apply": _WHERE[where.where],
            }
        )
    return json.dumps({"vectors": vectors, "conflict": "sequential"}, indent=1)


def _why_not(steer: Steer) -> str:
    if steer.op not in _ALGORITHM or not steer.is_of_direction:
        return f"it changes each token by {steer.spec.formula}"
    if steer.op == "ablate" and steer.control is not None:
        return "it acts along a random direction, by what stands along its own"
    if steer.feature.site.stream != "resid_post":
        return f"it acts at {steer.feature.site}"
    if steer.condition is not None or steer.fading is not None:
        return "it has a condition, or fades"
    if not steer.positions.special:
        return "it leaves special tokens out"
    return "" if steer.positions.where in _WHERE else f"it acts on {steer.positions.named}"


def _payload(directions: dict[int, Tensor]) -> dict[str, Any]:
    """A DirectionVector as it travels in JSON (`vllm/steer_vectors/payloads.py`): float32 bytes and their hash."""
    digest = hashlib.sha256(f"direction:{_VERSION}".encode())
    tensors = {}
    for name, vector in sorted((f"layer.{layer}", vector) for layer, vector in directions.items()):
        array = vector.detach().float().cpu().numpy()
        data = array.tobytes()
        digest.update(name.encode() + str(array.shape).encode() + data)
        tensors[name] = {"shape": list(array.shape), "data": base64.b64encode(data).decode()}
    return {"version": _VERSION, "kind": "direction", "tensors": tensors, "extra": {}, "sha256": digest.hexdigest()}
