"""Where each token of a forward pass stands: absolute positions, padding, special tokens, the prompt's end."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle


@dataclass(frozen=True)
class Layout:
    """The tokens of one forward pass.

    Attributes:
        absolute: int [batch, position], each token's absolute position in its row; -1 marks padding.
        special: bool [batch, position], special and template tokens.
        prompt_length: int [batch], the tokens of each row's prompt, or None where unknown.
    """

    absolute: Tensor
    special: Tensor
    prompt_length: Tensor | None

    def rows(self, index: slice) -> Layout:
        """The layout of some rows."""
        prompt_length = None if self.prompt_length is None else self.prompt_length[index]
        return Layout(self.absolute[index], self.special[index], prompt_length)

    def to(self, device: torch.device) -> Layout:
        """The layout on another device, for sharded models."""
        if self.absolute.device == device:
            return self
        prompt_length = None if self.prompt_length is None else self.prompt_length.to(device)
        return Layout(self.absolute.to(device), self.special.to(device), prompt_length)


@dataclass(frozen=True)
class Known:
    """What the caller knows of the rows and a forward pass can't tell.

    Attributes:
        special_ids: ids of special tokens.
        prompt_length: the tokens of the prompt, one number for all rows or one for each.
        template: for each row, the absolute positions that come from the chat template.
    """

    special_ids: frozenset[int] = frozenset()
    prompt_length: int | tuple[int, ...] | None = None
    template: tuple[tuple[int, ...], ...] = ()


class LayoutTracker:
    """Works out the layout of each forward pass of a base model that `acts` says is ours, by a pre-hook on it.

    Absolute positions count the 2-D attention mask (`cumsum - 1`), since `position_ids` give padding the position of
    the first token, and a forward without them counts padding.
    """

    def __init__(self, base: nn.Module, known: Known, acts: Callable[[], bool]) -> None:
        self.layout: Layout | None = None
        self._base = base
        self._known = known
        self._placed: dict[torch.device, tuple[Tensor, list[Tensor]]] = {}
        self._signature = inspect.signature(base.forward)
        self._acts = acts

    def attach(self) -> RemovableHandle:
        """Put the pre-hook on."""
        return self._base.register_forward_pre_hook(self._before_forward, with_kwargs=True)

    def at(self, stream: Tensor) -> Layout:
        """The layout of the pass that a stream [batch, position, d_model] belongs to."""
        if self.layout is None or self.layout.absolute.shape != stream.shape[:2]:
            # A block called by itself: its positions count from 0.
            self.layout = self._without_ids(stream.shape[0], stream.shape[1], 0, stream.device)
        return self.layout.to(stream.device)

    def _before_forward(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._acts():
            return
        given = self._signature.bind_partial(*args, **kwargs).arguments
        given |= given.pop("kwargs", {})
        ids, embeds = given.get("input_ids"), given.get("inputs_embeds")
        source = ids if ids is not None else embeds
        if source is None:
            self.layout = None
            return
        past = given.get("past_key_values")
        start = int(past.get_seq_length()) if past is not None else 0
        batch, length = source.shape[:2]
        mask = given.get("attention_mask")
        layout = self._without_ids(batch, length, start, source.device)
        absolute = layout.absolute
        if mask is not None and hasattr(mask, "ndim") and mask.ndim == 2:
            counted = mask.long().cumsum(-1) - 1
            absolute = counted.masked_fill(mask == 0, -1)[:, -length:].to(source.device)
        elif mask is not None and given.get("position_ids") is not None:
            # Static caches get a 4-D mask; padding then shares position 0, which no attention reads.
            absolute = given["position_ids"].expand(batch, length).to(source.device)
        self.layout = Layout(absolute, self._special(ids, absolute), layout.prompt_length)

    def _without_ids(self, batch: int, length: int, start: int, device: torch.device) -> Layout:
        import torch

        absolute = torch.arange(start, start + length, device=device).expand(batch, length)
        prompt: Tensor | None = None
        if self._known.prompt_length is not None:
            prompt = torch.as_tensor(self._known.prompt_length, device=device).expand(batch)
        return Layout(absolute, torch.zeros_like(absolute, dtype=torch.bool), prompt)

    def _special(self, ids: Tensor | None, absolute: Tensor) -> Tensor:
        import torch

        special_ids, template = self._known_on(absolute.device)
        special = torch.zeros_like(absolute, dtype=torch.bool)
        if ids is not None and len(special_ids):
            special = torch.isin(ids, special_ids)
        for row, positions in enumerate(template[: len(special)]):
            if len(positions):
                special[row] |= torch.isin(absolute[row], positions)
        return special

    def _known_on(self, device: torch.device) -> tuple[Tensor, list[Tensor]]:
        """Special ids, and each row's template positions, on a device: made once, and not in every forward pass."""
        import torch

        if device not in self._placed:
            special_ids = torch.tensor(sorted(self._known.special_ids), dtype=torch.long, device=device)
            template = [torch.tensor(row, dtype=torch.long, device=device) for row in self._known.template]
            self._placed[device] = (special_ids, template)
        return self._placed[device]


def in_this_thread(thread: int, edit: Callable[[Tensor], Tensor | None]) -> Callable[[Tensor], Tensor | None]:
    """`edit`, but blind to forwards of other threads: hooks belong to one run, modules to everybody."""
    return lambda stream: edit(stream) if threading.get_ident() == thread else None
