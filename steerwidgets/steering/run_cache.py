"""The keys and values that a run leaves behind, so that one of its tokens can be read again without the text before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.steering.hooks import Steering
    from steerwidgets.transformer.loaded import LoadedModel

KEPT_BYTES: Final = 256 * 2**20
"""Keys and values of more bytes are let go when the run ends; its tokens are then read with their whole text."""

_PLAIN_LAYERS: Final = frozenset({"full_attention", "sliding_attention", "chunked_attention"})


class RunCache:
    """The key-value cache of a run, kept after its end, with what steered it.

    Every layer keeps all positions, sliding windows included, so that the cache can be cut at any token; the attention
    masks see to the windows as in a run without it. Models with states other than keys and values keep nothing.
    """

    def __init__(self, lm: LoadedModel) -> None:
        self._lm = lm
        self.past: Any = _new_cache() if _can_be_cut(lm) else None
        self._steering: Steering | None = None
        self._prompts: tuple[Tensor, Tensor] | None = None
        self._rows: list[list[int]] = []

    @property
    def is_kept(self) -> bool:
        """Whether tokens can be read from it."""
        return self.past is not None and self._steering is not None

    @property
    def size(self) -> int:
        """The bytes that it holds."""
        layers = self.past.layers if self.past is not None else ()
        return sum(each.numel() * each.element_size() for layer in layers for each in (layer.keys, layer.values))

    def close(self, steering: Steering, ids: Tensor, mask: Tensor, rows: Sequence[Sequence[int]]) -> None:
        """Take in a run that has ended.

        Args:
            steering: what steered it, with all that it knows of the prompt.
            ids: int [row, position], the prompts, padded on the left.
            mask: int [row, position], 1 for their tokens.
            rows: the generated ids of each row.
        """
        if self.past is None or self.size > KEPT_BYTES:
            self.past = None
            return
        self._steering, self._prompts, self._rows = steering, (ids.cpu(), mask.cpu()), [list(row) for row in rows]

    @property
    def steering(self) -> Steering:
        """What steered the run; entered again, it acts as it did."""
        if self._steering is None:
            raise RuntimeError("The run that this cache was made for has not ended.")
        return self._steering

    def inputs(self, step: int) -> Mapping[str, Any]:
        """What a forward pass of every row's token at one step takes: -1 is the prompt's last token.

        Args:
            step: the step, from 0. A row that had ended by then gets an arbitrary token.
        """
        import torch

        if self._prompts is None:
            raise RuntimeError("The run that this cache was made for has not ended.")
        ids, of_prompt = self._prompts
        length = ids.shape[1] + step
        device = self._lm.architecture.input_device
        past = _new_cache()
        for index, layer in enumerate(self.past.layers if length else ()):
            past.update(layer.keys[..., :length, :], layer.values[..., :length, :], index)
        newest = ids[:, -1:].clone()
        for i, row in enumerate(self._rows):
            if 0 <= step < len(row):
                newest[i] = row[step]
        mask = torch.cat([of_prompt, of_prompt.new_ones((len(newest), step + 1))], dim=1)
        inputs = {"input_ids": newest, "attention_mask": mask}
        if not bool(of_prompt.all()):
            inputs["position_ids"] = mask.cumsum(-1)[:, -1:] - 1
        placed: dict[str, Any] = {name: value.to(device) for name, value in inputs.items()}
        return placed | {"past_key_values": past, "use_cache": True}


def _new_cache() -> Any:
    from transformers import DynamicCache

    return DynamicCache()


def _can_be_cut(lm: LoadedModel) -> bool:
    if lm.architecture.virtual_tokens:
        return False
    kinds = getattr(lm.architecture.config, "layer_types", None) or ()
    return set(kinds) <= _PLAIN_LAYERS and not getattr(lm.model, "_is_stateful", False)
