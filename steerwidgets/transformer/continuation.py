"""Many runs of one text that differ from a block and a position on: what stands before is read once."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from torch import nn

from steerwidgets.transformer.hookpoints import Hooks, copied, hidden_states, on_stream
from steerwidgets.transformer.layout import in_this_thread
from steerwidgets.transformer.sites import Site

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from steerwidgets.transformer.architecture import Architecture

_NEAR: Final = 1e-3
"""Residuals of two ways to compute the same run differ by rounding alone, as a share of their norm."""


@dataclass(frozen=True)
class Branches:
    """Runs that leave a text each at a position of its own, packed behind each other in one row.

    A run's tokens are those from its position on; they attend to the text before it, whose keys and values are there,
    and to their own.

    Attributes:
        length: the tokens of the text.
        starts: for each run, the position from which on it may differ.
    """

    length: int
    starts: tuple[int, ...]

    @property
    def positions(self) -> list[int]:
        """The position in the text of every packed token."""
        return [position for start in self.starts for position in range(start, self.length)]

    @property
    def runs(self) -> list[int]:
        """The run of every packed token."""
        return [run for run, start in enumerate(self.starts) for _ in range(start, self.length)]

    @property
    def ends(self) -> list[int]:
        """The packed index of each run's last token."""
        ends, total = [], 0
        for start in self.starts:
            total += self.length - start
            ends.append(total - 1)
        return ends

    def index(self, run: int, position: int) -> int:
        """The packed index of a token."""
        return self.ends[run] - (self.length - 1 - position)

    def mask(self, window: int | None, dtype: torch.dtype, device: torch.device) -> Tensor:
        """What every packed token attends to, of the text's own keys and then of the packed ones.

        Returns:
            [1, 1, packed, length + packed], 0 where it attends and the dtype's least number where it does not.
        """
        import torch

        at, run = (torch.tensor(each, device=device) for each in (self.positions, self.runs))
        start = torch.tensor(self.starts, device=device)[run]
        text = torch.arange(self.length, device=device)
        of_text = text[None] < start[:, None]
        of_run = (run[:, None] == run[None]) & (at[None] <= at[:, None])
        if window is not None:
            of_text &= at[:, None] - text[None] < window
            of_run &= at[:, None] - at[None] < window
        attends = torch.cat([of_text, of_run], dim=1)[None, None]
        return torch.zeros(attends.shape, dtype=dtype, device=device).masked_fill(~attends, torch.finfo(dtype).min)


class Continuation:
    """A text that was read once, and goes on from any block with some of its residuals changed.

    The blocks below the one that it goes on from are passed over in a shallow copy of the base, so that the user's
    module stays as it is.

    Args:
        architecture: the model's parts.
        token_ids: the text.

    Raises:
        ValueError: the model is in training mode, or the text holds an unknown id.
        CompiledModelError: the model is compiled.

    Attributes:
        into: for each block, and for what comes after the last one, the residual [position, d_model] that goes into it.
    """

    def __init__(self, architecture: Architecture, token_ids: Sequence[int]) -> None:
        self._parts = architecture
        self._ids = list(token_ids)
        self.into: list[Tensor] = []
        self._cache = self._read()

    def is_exact(self) -> bool:
        """Whether the model goes on from its own residuals as it went: not where its blocks take more than these."""
        middle = self._parts.layers // 2
        starts = (0, len(self._ids) - 1)
        try:
            ends = self.ends(middle, Branches(len(self._ids), starts), lambda packed: packed)
        except Exception:  # noqa: BLE001 - whatever a model of somebody else's raises when it is given packed runs
            return False
        own = self.into[-1][-1].float()
        return bool(((ends.float() - own).norm(dim=-1) <= _NEAR * own.norm()).all())

    def ends(
        self,
        layer: int,
        branches: Branches,
        begin: Callable[[Tensor], Tensor],
        edits: Mapping[Site, Callable[[Tensor], Tensor]] | None = None,
    ) -> Tensor:
        """The residual after the last block at the last token of every run.

        Args:
            layer: the block to go on from; the number of blocks for what comes after the last one.
            branches: the runs.
            begin: gets the text's own residuals into that block [1, packed, d_model], a copy, and gives those to go
                on with.
            edits: for sites from that block on, what to make of their streams [1, packed, width].

        Returns:
            [run, d_model].
        """
        import torch

        own = self.into[layer][branches.positions][None]
        hidden = begin(own)
        if layer == self._parts.layers:
            return hidden[0, branches.ends]
        seen: list[Tensor] = []
        thread = threading.get_ident()
        with torch.no_grad(), self._passed_over(layer, hidden) as base, Hooks() as hooks, hooks:
            for site, edit in (edits or {}).items():
                hooks.append(on_stream(self._parts.hookpoint(site), in_this_thread(thread, edit)))
            keep = in_this_thread(thread, lambda stream: seen.append(copied(stream)))
            last = self._parts.hookpoint(Site(self._parts.layers - 1))
            hooks.append(on_stream(last, keep))
            base(**self._inputs(branches, hidden))
        return seen[-1][0, branches.ends]

    def _read(self) -> Any:
        import torch
        from transformers import DynamicCache

        self._parts.refuse_compiled()
        self._parts.check_readable([self._ids])
        cache = DynamicCache()
        keep = in_this_thread(threading.get_ident(), lambda stream: self.into.append(copied(stream)[0]))
        ids = torch.tensor([self._ids], device=self._parts.input_device)
        with torch.no_grad(), Hooks() as hooks, hooks:
            entries = (self._parts.hookpoint(Site(layer, "resid_pre")) for layer in range(self._parts.layers))
            hooks.extend(on_stream(each, keep, first=True) for each in entries)
            hooks.append(on_stream(self._parts.hookpoint(Site(self._parts.layers - 1)), keep))
            self._parts.base(input_ids=ids, attention_mask=torch.ones_like(ids), past_key_values=cache, use_cache=True)
        return cache

    def _inputs(self, branches: Branches, hidden: Tensor) -> dict[str, Any]:
        import torch
        from transformers import DynamicCache

        past = DynamicCache()
        for index, layer in enumerate(self._cache.layers):
            past.update(layer.keys, layer.values, index)
        device = self._parts.input_device
        positions = torch.tensor([branches.positions], device=device)
        return {
            "input_ids": torch.tensor([self._ids], device=device)[0, positions[0]][None],
            "position_ids": positions,
            "attention_mask": self._mask(branches, hidden),
            "past_key_values": past,
            "use_cache": True,
        }

    def _mask(self, branches: Branches, hidden: Tensor) -> Any:
        """One mask, or one for each kind of block where full attention and windows take turns."""
        window = getattr(self._parts.config, "sliding_window", None)
        kinds = set(getattr(self._parts.config, "layer_types", None) or ())
        dtype, device = hidden.dtype, self._parts.input_device
        if len(kinds) < 2:
            return branches.mask(None if kinds == {"full_attention"} else window, dtype, device)
        return {kind: branches.mask(None if kind == "full_attention" else window, dtype, device) for kind in kinds}

    @contextmanager
    def _passed_over(self, layer: int, hidden: Tensor) -> Iterator[nn.Module]:
        """The base without the blocks below one, which `hidden` goes into."""
        whole = self._parts.base
        name = next(name for name, child in whole.named_children() if child is self._parts.blocks)
        blocks = [_PassedOver(block) if index < layer else block for index, block in enumerate(self._parts.blocks)]
        base = copy.copy(whole)
        vars(base)["_modules"] = {**vars(whole)["_modules"], name: nn.ModuleList(blocks)}
        give = in_this_thread(threading.get_ident(), lambda _stream: hidden)
        with Hooks() as hooks, hooks:
            hooks.append(on_stream(self._parts.hookpoint(Site(layer, "resid_pre")), give))
            yield base


class _PassedOver(nn.Module):
    """Stands in a block's place, says of itself what the block does, and gives on what it gets."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        object.__setattr__(self, "_block", block)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_block"), name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return hidden_states(args, kwargs)
