"""What a recipe adds that adds the same at every token; and why another does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steerwidgets.steering.hooks import SiteChange
from steerwidgets.transformer.layout import Layout

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.steering.recipe import Recipe, Steer
    from steerwidgets.transformer.sites import Site


def constant_changes(recipe: Recipe, form: str) -> dict[Site, Tensor]:
    """What a recipe of `add` steers adds at each site, at every token.

    Args:
        recipe: the recipe.
        form: what it shall become, to begin a sentence with: `A GGUF control vector`.

    Returns:
        float32 [width] for each site, in the network's order.

    Raises:
        ValueError: the recipe is empty, or a steer does something else.
    """
    if not len(recipe):
        raise ValueError(
            f"The recipe is empty, so there is nothing to write; {form[:1].lower()}{form[1:]} adds something."
        )
    for steer in recipe:
        if reason := why_not_constant(steer):
            raise ValueError(
                f"{form} adds one vector to every token, and {steer!r} does something else: it {reason}. Leave it out, "
                "or take recipe.to_torch(lm) or recipe.to_pyvene(lm)."
            )
    return {site: sum_of_adds([steer for steer in recipe if steer.feature.site == site]) for site in recipe.sites}


def why_not_constant(steer: Steer) -> str:
    """Why a steer does not add the same at every token; empty where it does."""
    if steer.op != "add" or not steer.is_of_direction:
        return f"changes each token by what stands there ({steer.spec.formula})"
    return why_not_everywhere(steer)


def why_not_everywhere(steer: Steer) -> str:
    """Why a steer does not act at every token with the same strength; empty where it does."""
    if steer.condition is not None:
        return f"acts only where its condition holds ({steer.condition!r:.80})"
    if steer.fading is not None:
        return "fades over the generated tokens"
    if not steer.positions.special:
        return "leaves special tokens out"
    return "" if steer.positions.where == "all" else f"acts on {steer.positions.named}"


def sum_of_adds(steers: list[Steer]) -> Tensor:
    """What some adds at one site add together, random directions in their place included: float32 [width]."""
    import torch

    steers = [steer.at("all") for steer in steers]
    layout = Layout(torch.ones(1, 1, dtype=torch.long), torch.zeros(1, 1, dtype=torch.bool), None)
    return SiteChange(steers)(torch.zeros(1, 1, len(steers[0].feature.vector)), layout)[0, 0]
