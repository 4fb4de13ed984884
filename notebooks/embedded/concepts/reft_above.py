"""ReFT-r1's training with the blocks below the concept read once and not run again.

Nothing below the site depends on the direction, so its residuals are the same at every step. Here they are given, the
blocks up to the site pass on what they get, and the site's stream is put in place of what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steerwidgets.dictionaries.reft.trainer import Row, Settings, Trainer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from steerwidgets.transformer.loaded import LoadedModel
    from steerwidgets.transformer.sites import Site


class TrainerAbove(Trainer):
    """Trains one direction, running only the blocks above it.

    Args:
        lm: the model.
        site: where the direction lives, a `resid_post`.
        rows: the examples, with the concept and without.
        settings: as AxBench's.
        residuals: of each example by its token ids, float32 [token, d_model] at the site.
        state: the file that the training is kept in and resumed from, or None.
        first: the first direction, float32 [d_model]; without it, what the settings say.
        fast: whether matrix products run in bfloat16 (autocast); the direction and the losses stay float32.

    Raises:
        ValueError: the state in the file is damaged, or of another training.
    """

    def __init__(
        self,
        lm: LoadedModel,
        site: Site,
        rows: Sequence[Row],
        settings: Settings,
        residuals: Mapping[tuple[int, ...], Tensor],
        *,
        state: Path | None = None,
        first: Tensor | None = None,
        fast: bool = True,
    ) -> None:
        self._residuals = residuals
        self._given = first
        self._fast = fast
        super().__init__(lm, site, rows, settings, state)

    def _first(self) -> Tensor:
        return self._given if self._given is not None else super()._first()

    def _logits(
        self,
        batch: Sequence[Row],
        ids: Tensor,
        mask: Tensor,
        absolute: Tensor,
        edit: Callable[[Tensor], Tensor | None],
    ) -> Tensor:
        import torch

        rows = [self._residuals[row.prompt.token_ids] for row in batch]
        h = torch.zeros(*ids.shape, rows[0].shape[-1])
        for i, row in enumerate(rows):
            h[i, -len(row) :] = row
        blocks = list(self._lm.architecture.blocks)[: self.site.layer + 1]
        with passed_over(blocks), torch.autocast("cpu", torch.bfloat16, enabled=self._fast):
            return super()._logits(batch, ids, mask, absolute, lambda _stream: edit(h))


@contextmanager
def passed_over(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Blocks that hand on what they get, and compute nothing; then as before."""
    try:
        for block in blocks:
            block.forward = _handed_on
        yield
    finally:
        for block in blocks:
            block.__dict__.pop("forward", None)


def _handed_on(hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
    return hidden_states
