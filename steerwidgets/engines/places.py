"""Where the streams of a model are: paths of modules, in the order in which a forward pass comes to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.transformer.sites import Site, Stream

if TYPE_CHECKING:
    from torch import nn

    from steerwidgets.transformer.architecture import Architecture

_ORDER: Final[tuple[Stream, ...]] = (
    *("resid_pre", "attn_z", "attn_out", "resid_mid", "mlp_normalized", "mlp_in", "mlp_acts", "mlp_out", "resid_post"),
)
"""The streams of a block in the order in which a forward pass comes to them."""


@dataclass(frozen=True)
class Place:
    """Where a stream is.

    Attributes:
        path: of the module.
        is_input: whether the stream goes into it.
        factor: what its output is multiplied with before it joins the residual, as in Granite.
    """

    path: str
    is_input: bool
    factor: float = 1.0

    @property
    def name(self) -> str:
        """One word for it."""
        return f"{self.path}:{'in' if self.is_input else 'out'}"


class Places:
    """The places of a model's streams.

    Args:
        architecture: the parts of a model that stands for one elsewhere.

    Attributes:
        order: all of them, as a forward pass comes to them.
        embed: the path of the module that takes token ids.
    """

    def __init__(self, architecture: Architecture) -> None:
        self._architecture = architecture
        self._paths = {id(module): name for name, module in architecture.model.named_modules()}
        every = [Site(layer, stream) for layer in range(architecture.layers) for stream in _ORDER]
        self._sites: dict[Place, Site] = {}
        for site in every:
            if architecture.has(site):
                self._sites.setdefault(self.of(site), site)
        self.order = list(self._sites)
        model: Any = architecture.model
        self.embed = self.path(model.get_input_embeddings())

    def of(self, site: Site) -> Place:
        """Where a site is."""
        point = self._architecture.hookpoint(site)
        return Place(self._paths[id(point.module)], point.is_input, point.factor)

    def site(self, place: Place) -> Site:
        """What is at a place."""
        return self._sites[place]

    def module(self, place: Place) -> nn.Module:
        """The module of a place, as it stands here."""
        model: nn.Module = self._architecture.model
        return model.get_submodule(place.path)

    def path(self, module: nn.Module) -> str:
        """Where a module is."""
        path: str = self._paths[id(module)]
        return path

    @property
    def norm(self) -> str:
        """The path of the final norm."""
        return self.path(self._architecture.final_norm)

    @property
    def unembed(self) -> str:
        """The path of the unembed."""
        return self.path(self._architecture.unembed)
