"""Recipes as data that is carried out where a model runs: tensors by position, plain features, and formulas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from steerwidgets.transformer.layout import Known, roles_at, words_of_roles

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from steerwidgets.engines.places import Place, Places
    from steerwidgets.steering.hooks import Steering
    from steerwidgets.steering.recipe import Steer


def program_of(
    places: Places, steering: Steering | None, keep: Sequence[Place], rows: int, length: int
) -> dict[str, Any]:
    """What is done in a forward pass, as plain values.

    Args:
        places: of the model.
        steering: what steers it, or None.
        keep: whose streams are wanted, before any change there.
        rows: how many texts there are.
        length: positions that are ever reached.

    Raises:
        ValueError: a feature can't be sent to where the model runs.
    """
    recipes = [] if steering is None else steering.recipes_of(rows)
    known = Known() if steering is None else steering.known
    tables = _Tables(known, rows, length)
    written: dict[Place, list[list[dict[str, Any]]]] = {}
    read: dict[Place, dict[str, Any]] = {}
    for row, recipe in enumerate(recipes):
        for steer in recipe:
            for feature in steer.read_before:
                read.setdefault(places.of(feature.site), {}).setdefault(feature.key, feature.plain(read=True))
            # A projection op that changes nothing must not hold its projection still while another one moves.
            if not steer.is_identity:
                at = written.setdefault(places.of(steer.feature.site), [[] for _ in range(rows)])
                at[row].append(_steer(steer, row, tables))
    wanted = {*keep, *written, *read}
    points = [
        {
            "name": place.name,
            "path": place.path,
            "is_input": place.is_input,
            "factor": place.factor,
            "keep": place in keep,
            "reads": list(read.get(place, {}).items()),
            "rows": written.get(place, []),
            "thresholds": {},
        }
        for place in places.order
        if place in wanted
    ]
    return {
        "points": points,
        "embed": places.embed,
        "asks_special": tables.asks_special,
        "special_ids": tables.special_ids,
        "template": tables.template,
        "prompt_length": tables.lengths,
    }


def _steer(steer: Steer, row: int, tables: _Tables) -> dict[str, Any]:
    spec, feature = steer.spec, steer.feature
    acts, on_special = tables.acts(steer, row)
    control = steer.control
    return {
        "feature": feature.plain(),
        "change": spec.change,
        "target": spec.target,
        "numbers": dict(steer.parameters),
        "acts": acts,
        "acts_on_special": on_special,
        "share": None if steer.fading is None else tables.share(steer, row),
        "skips_sinks": spec.skips_sinks,
        "condition": None if steer.condition is None else steer.condition.to_json(lambda read: read.key),
        "unit": None if control is None else control.unit(feature.vector),
    }


class _Tables:
    """What is known of the rows, by absolute position."""

    def __init__(self, known: Known, rows: int, length: int) -> None:
        import torch

        self.special_ids = torch.tensor(sorted(known.special_ids), dtype=torch.long)
        self.asks_special = False
        lengths = known.prompt_length
        self.lengths = _each(lengths, rows)
        self.template = torch.zeros(rows, length, dtype=torch.bool)
        for row, positions in enumerate(_repeated(known.template, rows)):
            self.template[row, list(positions)] = True
        self._absolute = torch.arange(length)[None]
        self._roles = _repeated(known.roles, rows)

    def acts(self, steer: Steer, row: int) -> tuple[Tensor, Tensor]:
        """Where a steer acts, for tokens that are not special and for those that are: bool [position] each."""
        import torch

        self.asks_special |= not steer.positions.special or bool(steer.positions.parts)
        length = self._length(row)
        roles = self._roles_of(row) if steer.positions.roles else {}
        none = torch.zeros_like(self._absolute, dtype=torch.bool)
        plain, special = (steer.positions.mask(self._absolute, length, each, roles)[0] for each in (none, ~none))
        return plain, special

    def share(self, steer: Steer, row: int) -> Tensor | None:
        """What is left of a steer's change, float32 [position]."""
        length = self._length(row)
        return None if steer.fading is None or length is None else steer.fading.share(self._absolute, length)[0]

    def _length(self, row: int) -> Tensor | None:
        import torch

        length = self.lengths[row]
        return None if length is None else torch.tensor([length])

    def _roles_of(self, row: int) -> dict[str, Tensor]:
        return roles_at(self._absolute, words_of_roles([self._roles[row]], _cpu()))


def _each(lengths: int | tuple[int, ...] | None, rows: int) -> list[int | None]:
    if lengths is None or isinstance(lengths, int):
        return [lengths] * rows
    return list(_repeated(lengths, rows))


def _repeated(given: Sequence[Any], rows: int) -> list[Any]:
    """What is known of each prompt, for each row: those of a prompt stand together."""
    each = max(1, rows // max(1, len(given)))
    return [value for value in given for _ in range(each)]


def _cpu() -> torch.device:
    import torch

    return torch.device("cpu")
