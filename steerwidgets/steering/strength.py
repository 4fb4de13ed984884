"""How strong a recipe is, measured on a text: ‖change‖/‖h‖, and the value asked beside the value reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from steerwidgets.steering.hooks import SiteChange, Steering, Watch, where_it_acts
from steerwidgets.steering.positions import Positions
from steerwidgets.transformer.layout import Layout, roles_at, words_of_roles
from steerwidgets.transformer.residuals import Residuals

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.steering.recipe import Recipe, Steer
    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.prompts import Prompt
    from steerwidgets.transformer.sites import Site


@dataclass(frozen=True)
class Readout:
    """The strength of one steer on one text; attention sinks are left out, medians are over the positions it acts on.

    Attributes:
        ratio: median ‖change‖/‖h‖; None where it acts on no position of the text.
        asked: median value that an op asks of the feature, in units of its activation or, for ops that fix a
            projection, of `h·v̂`; None for ops that only add.
        achieved: median value of a fresh read after the whole recipe; None likewise.
        note: what a reader has to know about these numbers, or empty.
    """

    ratio: float | None
    asked: float | None = None
    achieved: float | None = None
    note: str = ""


def residuals_under(lm: LoadedModel, prompt: Prompt, recipe: Recipe) -> Residuals:
    """The streams that a recipe changes or reads, as they enter each site while it acts: before the change there.

    What a steer at an earlier block does is in them; for a recipe of one site they are the unsteered streams.
    """
    import torch

    values: dict[Site, Tensor] = {}

    def keep(site: Site) -> Watch:
        return lambda stream, _layout: values.__setitem__(site, stream[:, -len(prompt) :].float().cpu())

    lm.architecture.check_readable([prompt.token_ids])
    ids = torch.tensor([prompt.token_ids], device=lm.architecture.input_device)
    watch = {site: keep(site) for site in recipe.sites_read}
    with lm.lock, torch.no_grad(), Steering(lm.architecture, recipe, lm.known([prompt]), watch):
        lm.architecture.run(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    return Residuals(values, torch.arange(len(prompt))[None])


def readouts(recipe: Recipe, residuals: Residuals, prompt: Prompt) -> list[Readout]:
    """The strength of every steer of a recipe.

    Args:
        recipe: the recipe.
        residuals: the streams of one text as they enter the recipe's sites (`residuals_under`), those of its conditions
            included.
        prompt: that text.
    """
    return [_readout(steer, recipe, residuals, prompt) for steer in recipe]


def _readout(steer: Steer, recipe: Recipe, residuals: Residuals, prompt: Prompt) -> Readout:
    site = steer.feature.site
    h = residuals.values[site]
    layout = _layout(residuals, prompt, recipe)
    stand_in = steer.positions.waits_for_text and not bool(_at(steer.positions, layout).any())
    # Nothing is generated yet: the prompt's own tokens stand in for what will be.
    measured = steer.at(Positions("all", special=steer.positions.special)) if stand_in else steer
    counts = _at(measured.positions, layout) & residuals.counted(site)
    acts = where_it_acts(measured, layout) & counts
    if not bool(acts.any()):
        acts_on = "its condition holds at" if bool(counts.any()) else "acts on"
        return Readout(None, note=f"{acts_on} no token of this prompt")
    change = SiteChange([measured])(h, layout)
    ratio = float((change.norm(dim=-1) / h.norm(dim=-1))[acts].median())
    notes = ["measured on the prompt's tokens" if stand_in else ""]
    if steer.condition is not None:
        notes.append(f"its condition holds at {int(acts.sum())} of {int(counts.sum())} tokens")
    note = " · ".join(filter(None, notes))
    if steer.control is not None:
        return Readout(ratio, note=" · ".join(filter(None, (f"random direction {steer.control.seed}", note))))
    # What a transcoder's feature writes moves nothing of what it reads, so there is nothing to read again.
    if not steer.spec.sets_value or steer.feature.read_as is not steer.feature:
        return Readout(ratio, note=note)
    together = h + SiteChange(_at_site(recipe, site, measured, steer))(h, layout)
    values = _asked_and_achieved(steer, h, change, together)
    if values is None:
        return Readout(ratio, note=note)
    asked, achieved = (float(value[acts].median()) for value in values)
    return Readout(ratio, asked, achieved, note)


def _asked_and_achieved(steer: Steer, h: Tensor, alone: Tensor, together: Tensor) -> tuple[Tensor, Tensor] | None:
    """What an op asks of the feature's value, and a fresh read after the whole recipe: float32 [..., position]."""
    feature = steer.feature
    if steer.spec.fixes_projection:
        unit = feature.vector / feature.vector.norm()
        return (h + alone) @ unit, together @ unit
    asked = feature.asked(steer.op, steer.parameters, h)
    return None if asked is None else (asked, feature.activation(together))


def _at_site(recipe: Recipe, site: Site, measured: Steer, steer: Steer) -> Sequence[Steer]:
    return [measured if other is steer else other for other in recipe if other.feature.site == site]


def _at(positions: Positions, layout: Layout) -> Tensor:
    return positions.mask(layout.absolute, layout.prompt_length, layout.special, layout.roles)


def _layout(residuals: Residuals, prompt: Prompt, recipe: Recipe) -> Layout:
    import torch

    absolute: Tensor = residuals.absolute
    special = torch.tensor([[a or b for a, b in zip(prompt.special, prompt.template, strict=True)]])
    roles = roles_at(absolute, words_of_roles([prompt.roles], absolute.device))
    read = {feature.key: feature for steer in recipe for feature in steer.read_before}
    readings = {key: feature.activation(residuals.values[feature.site]) for key, feature in read.items()}
    return Layout(absolute, special, torch.tensor([len(prompt)]), roles, readings)
