"""Residuals of texts, read with our own hooks."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steerwidgets.transformer import sinks
from steerwidgets.transformer.architecture import Architecture
from steerwidgets.transformer.hookpoints import Hooks, read_stream
from steerwidgets.transformer.layout import in_this_thread

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.transformer.prompts import Prompt
    from steerwidgets.transformer.sites import Site


class _EnoughRead(BaseException):
    """Ends a forward pass once the last stream that anybody asked for was read."""


@dataclass(repr=False, frozen=True)
class Residuals:
    """What was read of a batch of texts.

    Attributes:
        values: for each site, float32 [batch, position, width].
        absolute: int [batch, position], -1 for padding (on the left).
    """

    values: dict[Site, Tensor]
    absolute: Tensor

    def __repr__(self) -> str:
        rows, positions = self.absolute.shape
        sites = ", ".join(map(str, self.values))
        return f"<Residuals of {rows} text{'s' * (rows > 1)}, {positions} positions, at {sites}>"

    @property
    def real(self) -> Tensor:
        """Bool [batch, position], everything but padding."""
        return self.absolute >= 0

    def median_norms(self) -> dict[Site, float]:
        """The median ‖h‖ of every site over the tokens that count; sites without any are left out."""
        norms = {site: self.values[site].norm(dim=-1)[self.counted(site)] for site in self.values}
        return {site: float(each.median()) for site, each in norms.items() if len(each)}

    def counted(self, site: Site) -> Tensor:
        """Bool [batch, position], the tokens that averages are taken over: no padding and no attention sinks."""
        norms = self.values[site].norm(dim=-1)
        threshold = sinks.sink_threshold(norms, self.absolute > 0)
        return self.real & ~sinks.attention_sinks(norms, self.absolute, threshold)


def counted_tokens(residuals: Residuals, site: Site, prompt: Prompt) -> Tensor:
    """The tokens of a text that count: no attention sinks, no special and no template tokens. Bool [position]."""
    import torch

    return residuals.counted(site)[0] & torch.tensor(prompt.own)


def left_padded(rows: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask of rows of different lengths, padded on the left.

    Returns:
        int [batch, position] and int [batch, position] (1 for tokens, 0 for padding).
    """
    import torch

    longest = max(len(row) for row in rows)
    ids = torch.tensor([[padding] * (longest - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def read_residuals(architecture: Architecture, rows: Sequence[Sequence[int]], sites: Sequence[Site]) -> Residuals:
    """The streams of some texts, in one forward pass that ends at the last block needed.

    Args:
        architecture: the model's parts.
        rows: token ids of each text.
        sites: what to read.

    Raises:
        ValueError: a site does not exist in the model, which is in training mode, or a text holds an unknown id.
        CompiledModelError: the model is compiled.
    """
    import torch

    architecture.refuse_compiled()
    architecture.check_readable(rows)
    architecture.look_again()
    ids, mask = left_padded(rows, padding=0)
    absolute = (mask.cumsum(-1) - 1).masked_fill(mask == 0, -1)
    values: dict[Site, Tensor] = {}
    device = architecture.input_device
    with Hooks() as hooks, hooks:
        for site in sites:
            keep = in_this_thread(threading.get_ident(), _keep(site, values, len(set(sites)), ids.shape[1]))
            hooks.append(read_stream(architecture.hookpoint(site), keep))
        with torch.no_grad():
            _run_until_read(
                architecture,
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                position_ids=absolute.clamp(min=0).to(device),
                use_cache=False,
            )
    for site in dict.fromkeys(sites):
        warn_not_finite(architecture, str(site), values[site][absolute >= 0])
    return Residuals({site: values[site] for site in sites}, absolute)


def warn_not_finite(architecture: Architecture, where: str, values: Tensor) -> None:
    """Warn where what was read is no number: whatever is made of it, such as which features fire, says nothing.

    Args:
        architecture: whose.
        where: the stream.
        values: [token, width], of tokens that are no padding.
    """
    count = int((~values.isfinite().all(-1)).sum())
    if count:
        warnings.warn(
            f"What {architecture.name} gives at {where} is NaN or infinite at {count} of {len(values)} tokens: its "
            "weights hold such numbers, or its dtype overflows; what is read there says nothing.",
            RuntimeWarning,
            stacklevel=2,
        )


def _keep(site: Site, values: dict[Site, Tensor], wanted: int, length: int) -> Callable[[Tensor], None]:
    def keep(stream: Tensor) -> None:
        # Virtual tokens stand before the text's own.
        values[site] = stream[:, -length:].float().cpu()
        if len(values) == wanted:
            raise _EnoughRead

    return keep


def _run_until_read(architecture: Architecture, **inputs: Any) -> None:
    try:
        architecture.run(**inputs)
    except _EnoughRead:
        return
