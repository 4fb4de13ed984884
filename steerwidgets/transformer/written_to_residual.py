"""What a direction of an inner stream writes to the residual stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from steerwidgets.transformer.norms import device_of, gained
from steerwidgets.transformer.sites import Site, Stream

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from steerwidgets.transformer.architecture import Architecture

OF_RESIDUAL: Final[tuple[Stream, ...]] = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
"""Streams whose directions are directions of the residual stream."""

_WRITES: Final[dict[Stream, Stream]] = {"mlp_acts": "mlp_out", "attn_z": "attn_out"}


def written(architecture: Architecture, vector: Tensor, site: Site) -> tuple[Tensor, Site] | None:
    """What one unit of a direction adds to the residual stream, and where; None where it adds nothing by itself.

    Several directions, [direction, width], are taken at once.

    A direction of the residual stream is that already. One of the MLP's neurons or of the heads' outputs goes through
    the sublayer's last matrix, without its bias; on Gemma 2 and 3 times the gain of the norm that follows (whose
    division by the sublayer output's own scale is left out, since no text is given).

    Args:
        architecture: the model's parts.
        vector: float32 [..., width of the site].
        site: where it lives.

    Returns:
        float32 [..., d_model], and the site where it is added.
    """
    if site.stream in OF_RESIDUAL:
        return vector, site
    if site.stream not in _WRITES:
        return None
    added = Site(site.layer, _WRITES[site.stream])
    # Refuses a model whose sublayers' outputs are not what is added.
    factor = architecture.hookpoint(added).factor
    column = _through(architecture.hookpoint(site).module, vector)
    for norm in architecture.norms_after(site):
        column = gained(norm, column)
    return column * factor, added


def _through(last: nn.Module, vector: Tensor) -> Tensor:
    """What a matrix makes of a vector, without its bias; it is asked rather than indexed, so quantised ones do too."""
    import torch

    with torch.no_grad():
        inputs = torch.stack([vector, torch.zeros_like(vector)]).to(device_of(last), _dtype_of(last))
        of_vector, of_zero = last(inputs).float().cpu()
    found: Tensor = of_vector - of_zero
    return found


def written_change(architecture: Architecture, before: Tensor, after: Tensor, site: Site) -> Tensor:
    """What a change of a stream on some text adds to the residual stream, exactly.

    A change of the residual, or of what a sublayer adds to it, is that already. One inside a sublayer goes through the
    modules that follow, and through the norm after it on Gemma 2 and 3: what they make of the stream after the change,
    less what they make of it before.

    Args:
        architecture: the model's parts.
        before: float32 [position, width of the site].
        after: the same after the change.
        site: where it is.

    Returns:
        float32 [position, d_model].

    Raises:
        ValueError: what the sublayer gives is not what is added.
    """
    if site.stream in OF_RESIDUAL:
        return after - before
    import torch

    factor = architecture.hookpoint(Site(site.layer, _WRITES.get(site.stream, "mlp_out"))).factor
    modules = [architecture.hookpoint(site).module, *architecture.norms_after(site)]
    with torch.no_grad():
        both = torch.stack([before, after])
        for module in modules:
            out: Any = module(both.to(device_of(module), _dtype_of(module)))
            both = out[0] if isinstance(out, tuple) else out
    change: Tensor = both[1].float() - both[0].float()
    return change * factor


def _dtype_of(module: nn.Module) -> torch.dtype:
    """The numbers that a matrix takes, packed ones included."""
    import torch

    parameter: Any = next(module.parameters())
    return parameter.dtype if parameter.dtype.is_floating_point else torch.get_default_dtype()
