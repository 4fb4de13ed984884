"""A site: a place in the network where activations are read or changed."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Final, Literal, get_args

from steerwidgets.calls import tells_calls
from steerwidgets.files.fields import is_whole
from steerwidgets.files.shown import shown

Stream = Literal[
    "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_acts", "attn_z", "mlp_in", "mlp_normalized"
]
"""Places in a block.

`resid_pre`, `resid_mid` and `resid_post` are the residual before attention, before the MLP's norm, and after the block;
`attn_out` and `mlp_out` what is added to it; `mlp_acts` the MLP's neurons, `attn_z` the heads' outputs before their
matrix. `mlp_in` is what the MLP takes, after its norm; `mlp_normalized` the same before the norm's gain and bias, as
TransformerLens' `ln2.hook_normalized` (the input of many transcoders).
"""
STREAMS: Final[tuple[Stream, ...]] = get_args(Stream)

_ORDER: Final[tuple[Stream, ...]] = (
    *("resid_pre", "attn_z", "attn_out", "resid_mid"),
    *("mlp_normalized", "mlp_in", "mlp_acts", "mlp_out", "resid_post"),
)
"""As a forward pass comes to them; blocks whose MLP reads beside attention run attention first, too."""

_MOST_BLOCKS: Final = 100_000

_HOOK_NAMES: Final[dict[str, Stream]] = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid_post",
    "hook_attn_out": "attn_out",
    "hook_mlp_out": "mlp_out",
    "mlp.hook_post": "mlp_acts",
    "attn.hook_z": "attn_z",
    "mlp.hook_in": "mlp_in",
    "ln2.hook_normalized": "mlp_normalized",
}


@tells_calls("sw.Site", "site")
@functools.total_ordering
@dataclass(frozen=True)
class Site:
    """A block and one of its streams, as `Site(15)` or `Site(15, "mlp_out")`.

    Blocks count from 0; `Site(15)` is the residual after block 15, which Hugging Face calls `hidden_states[16]`.
    Sites are ordered as a forward pass comes to them.

    Args:
        layer: the block, counted from 0.
        stream: the stream of that block.

    Raises:
        ValueError: the layer is not a whole number from 0 up, or the stream is not one of `STREAMS`.

    Example:
        >>> print(sw.Site(15))
        block 15 resid_post
        >>> sw.Site(15, "mlp_out").hook_name
        'blocks.15.hook_mlp_out'
        >>> sw.Site(15, "attn_out") < sw.Site(15, "mlp_out") < sw.Site(15)
        True
    """

    layer: int
    stream: Stream = "resid_post"

    def __post_init__(self) -> None:
        if not is_whole(self.layer) or not 0 <= self.layer < _MOST_BLOCKS:
            raise ValueError(
                f"A site's layer is a block number counted from 0, but layer={shown(self.layer)} was given."
            )
        if not isinstance(self.stream, str) or self.stream not in STREAMS:
            raise ValueError(f"A site's stream is one of {', '.join(STREAMS)}, but {shown(self.stream)} was given.")

    @classmethod
    def from_hook_name(cls, name: str) -> Site:
        """The site of a TransformerLens or SAELens hook name such as `blocks.15.hook_resid_post`.

        Args:
            name: the hook's name.

        Returns:
            The site.

        Raises:
            ValueError: the name is not a hook name of a block, or its stream is not one that steerwidgets knows.

        Example:
            >>> sw.Site.from_hook_name("blocks.15.hook_resid_post")
            Site(layer=15, stream='resid_post')
        """
        match = re.fullmatch(r"blocks\.([0-9]{1,6})\.(.+)", name)
        if match is None or match[2] not in _HOOK_NAMES:
            known = ", ".join(f"blocks.N.{hook}" for hook in _HOOK_NAMES)
            raise ValueError(f"The hook name {shown(name)} is none of those that steerwidgets knows: {known}.")
        return cls(int(match[1]), _HOOK_NAMES[match[2]])

    @property
    def hook_name(self) -> str:
        """The site's name in TransformerLens and SAELens."""
        hook = next(hook for hook, stream in _HOOK_NAMES.items() if stream == self.stream)
        return f"blocks.{self.layer}.{hook}"

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Site):
            return NotImplemented
        return (self.layer, _ORDER.index(self.stream)) < (other.layer, _ORDER.index(other.stream))

    def __str__(self) -> str:
        return f"block {self.layer} {self.stream}"
