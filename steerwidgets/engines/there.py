"""What runs where the model runs: a recipe as data is carried out inside a forward pass.

These functions travel by their source, with the formulas of `steering/ops` and of attention sinks; that place has
torch and none of our classes (`steering/plain.py` says what follows from that).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steerwidgets.steering.ops import solve_projections
from steerwidgets.steering.random_direction import instead_of
from steerwidgets.transformer.sinks import attention_sinks, causal_sink_thresholds, sink_threshold

if TYPE_CHECKING:
    from torch import Tensor


def module_at(model: Any, path: str) -> Any:
    """The module of a path such as `model.layers.3`; the model itself for an empty one."""
    for name in path.split(".") if path else ():
        model = model[int(name)] if name.isdigit() else getattr(model, name)
    return model


def one_pass(model: Any, program: dict[str, Any], absolute: Tensor, kept: dict[str, list[Tensor]]) -> None:
    """Go along with one forward pass: keep what is wanted of its streams, and change them.

    Args:
        model: the model, in a trace.
        program: what `program.py` made of the recipes.
        absolute: int [row, position], where the tokens stand; -1 for padding.
        kept: takes in streams before any change, [row, position, width].
    """
    special = None
    readings: dict[str, Tensor] = {}
    if program["asks_special"]:
        special = special_of(module_at(model, program["embed"]).input, absolute, program)
    for point in program["points"]:
        module = module_at(model, point["path"])
        given = module.input if point["is_input"] else module.output
        stream = given[0] if isinstance(given, tuple) else given
        whole = stream.reshape(*absolute.shape, stream.shape[-1])
        if point["keep"]:
            kept[point["name"]].append(whole.detach().clone().cpu())
        # As it joins the residual, which is what recipes speak of.
        h = whole if point["factor"] == 1 else whole * point["factor"]
        where = absolute.to(h.device)
        for key, feature in point["reads"]:
            readings[key] = feature.activation(h.float())
        if not point["rows"]:
            continue
        changed = changed_rows(h, where, special, readings, point, program)
        if point["factor"] != 1:
            changed = whole + (changed - h) / point["factor"]
        changed = changed.reshape(stream.shape)
        if point["is_input"]:
            module.input = changed
        else:
            module.output = (changed, *given[1:]) if isinstance(given, tuple) else changed


def special_of(ids: Tensor, absolute: Tensor, program: dict[str, Any]) -> Tensor:
    """Special and template tokens: bool [row, position]."""
    import torch

    table = program["template"].to(ids.device)
    where = absolute.to(ids.device).clamp(0, table.shape[1] - 1)
    special: Tensor = torch.isin(ids, program["special_ids"].to(ids.device)) | table.gather(1, where)
    return special


def changed_rows(
    h: Tensor,
    absolute: Tensor,
    special: Tensor | None,
    readings: dict[str, Tensor],
    point: dict[str, Any],
    program: dict[str, Any],
) -> Tensor:
    """A stream [row, position, width] as the recipes of its rows leave it, in its own dtype."""
    import torch

    rows = []
    for row, steers in enumerate(point["rows"]):
        if not steers:
            rows.append(h[row])
            continue
        own = {
            "absolute": absolute[row],
            "special": None if special is None else special[row].to(h.device),
            "readings": {key: value[row].to(h.device) for key, value in readings.items()},
            "prompt_length": program["prompt_length"][row],
            "thresholds": point["thresholds"],
            "row": row,
        }
        before = h[row].float()
        rows.append((before + change_of_row(steers, before, own)).to(h.dtype))
    return torch.stack(rows)


def change_of_row(steers: list[dict[str, Any]], h: Tensor, own: dict[str, Any]) -> Tensor:
    """The change, float32 [position, width], that a row's steers make of the same `h`."""
    import torch

    change = torch.zeros_like(h)
    fixing = []
    for steer in steers:
        if steer["unit"] is not None:
            meant = change_of_row([{**steer, "unit": None}], h, own)
            change = change + instead_of(meant, steer["feature"].vector_on(h.device), steer["unit"].to(h.device))
        elif steer["target"] is not None:
            fixing.append(steer)
        else:
            change = change + added(steer, h, own)
    return change + fixed(fixing, h, own) if fixing else change


def added(steer: dict[str, Any], h: Tensor, own: dict[str, Any]) -> Tensor:
    """What one steer adds where it acts, float32 [position, width]."""
    import torch

    acts = acting(steer, own)
    if steer["skips_sinks"]:
        acts = acts & ~sinks_of(h, own)
    feature = steer["feature"]
    feature.read = None if feature.reading is None else own["readings"][feature.reading]
    change = steer["change"](feature, steer["numbers"], h)
    if steer["share"] is not None:
        change = change * at_positions(steer["share"], own["absolute"])[:, None]
    # Chosen, not multiplied: a change that overflows is nothing where it does not act.
    return torch.where(acts[:, None], change, 0.0)


def fixed(steers: list[dict[str, Any]], h: Tensor, own: dict[str, Any]) -> Tensor:
    """What the steers that fix a projection do together, float32 [position, width]."""
    import torch

    vectors = [steer["feature"].vector_on(h.device) for steer in steers]
    unit = torch.stack([vector / vector.norm() for vector in vectors])
    projections = h @ unit.T
    targets = [steer["target"](steer["numbers"], projections[..., i]) for i, steer in enumerate(steers)]
    residue = torch.stack(targets, dim=-1) - projections
    for i, steer in enumerate(steers):
        if steer["share"] is not None:
            residue[..., i] = residue[..., i] * at_positions(steer["share"], own["absolute"])
    active = torch.stack([acting(steer, own) for steer in steers], dim=-1)
    return solve_projections(residue, unit, active)


def acting(steer: dict[str, Any], own: dict[str, Any]) -> Tensor:
    """Where a steer acts: bool [position]."""
    import torch

    absolute: Tensor = own["absolute"]
    acts = at_positions(steer["acts"], absolute) & (absolute >= 0)
    if own["special"] is not None:
        acts = torch.where(own["special"], at_positions(steer["acts_on_special"], absolute) & (absolute >= 0), acts)
    if steer["condition"] is not None:
        acts = acts & holds(steer["condition"], own["readings"])
    return acts


def at_positions(table: Tensor, absolute: Tensor) -> Tensor:
    """What a table [absolute position] says of some positions."""
    found: Tensor = table.to(absolute.device)[absolute.clamp(0, len(table) - 1)]
    return found


def holds(condition: dict[str, Any], readings: dict[str, Tensor]) -> Tensor:
    """Where a condition holds, as its JSON says it: bool [position]."""
    if "is" in condition:
        reading = readings[condition["feature"]]
        held: Tensor = reading > condition["than"] if condition["is"] == ">" else reading < condition["than"]
        return held
    how = "all" if "all" in condition else "any"
    first, *rest = [holds(part, readings) for part in condition[how]]
    for each in rest:
        first = first & each if how == "all" else first | each
    return first


def sinks_of(h: Tensor, own: dict[str, Any]) -> Tensor:
    """The attention sinks of a row: bool [position]."""
    import torch

    norms, absolute, length = h.norm(dim=-1)[None], own["absolute"][None], own["prompt_length"]
    if length is None:
        early = torch.where(absolute > 0, norms, torch.nan)[absolute > 0][None]
        thresholds = causal_sink_thresholds(early[:, :64])
        threshold = thresholds.gather(1, (absolute - 1).clamp(0, thresholds.shape[1] - 1))
    else:
        if bool((absolute == 0).any()):
            counted = (absolute > 0) & (absolute < length)
            own["thresholds"][own["row"]] = sink_threshold(norms, counted)
        threshold = own["thresholds"][own["row"]]
    found: Tensor = attention_sinks(norms, absolute, threshold)[0]
    return found


def put_through(model: Any, path: str, vectors: Tensor) -> Tensor:
    """Vectors through the module of a path."""
    module = module_at(model, path)
    out: Tensor = module(vectors.to(module.device)).detach().cpu()
    return out


class Ends:
    """The stopping criterion of a run: done is a row that gave what ends a text.

    Args:
        end_ids: what does.
    """

    def __init__(self, end_ids: list[int]) -> None:
        self._end_ids = end_ids
        self._done: Tensor | None = None
        self.seen: list[Tensor] = []

    def __call__(self, input_ids: Tensor, _scores: Any, **_: Any) -> Tensor:
        """Take in all tokens so far, int [row, position]; bool [row], which rows are done."""
        import torch

        self.seen.append(input_ids.detach().cpu())
        now = torch.isin(input_ids[:, -1], torch.tensor(self._end_ids, device=input_ids.device))
        self._done = now if self._done is None else self._done | now
        return self._done
