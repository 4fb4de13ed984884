"""What features' directions promote and suppress, and which point the same way: of all features, in chunks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from steerwidgets.corpus.part_files import write_arrays
from steerwidgets.lens.promoting import written_directions
from steerwidgets.transformer.norms import gained
from steerwidgets.transformer.unembed import without_bias

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.transformer.architecture import Architecture
    from steerwidgets.transformer.loaded import LoadedModel

TOKENS: Final = 10
NEAREST: Final = 10
_AT_ONCE: Final = 1 << 25
"""Logits or cosines that are held at once: 134 MB in float32."""


class Stopped(Exception):  # noqa: N818 - not an error
    """Somebody asked to stop."""


def write_directions(
    path: Path,
    lm: LoadedModel,
    dictionary: Dictionary,
    on_done: Callable[[int, int], None],
    stop: threading.Event | None,
) -> None:
    """Write what the directions of a dictionary promote, suppress and are near to, where they can be compared.

    Promoted and suppressed tokens are those of `lm.top_logits`; a dictionary that writes nothing to the residual stream
    has none.

    Args:
        path: the safetensors file.
        lm: the model.
        dictionary: whose features.
        on_done: called with how many features are done, of how many.
        stop: set it to end; nothing is written then.

    Raises:
        Stopped: `stop` was set.
    """
    import torch

    parts: dict[str, list[Tensor]] = {}
    size = dictionary.size
    rows = max(1, min(512, _AT_ONCE // max(len(lm.tokenizer), size)))
    units = []
    for first in range(0, size, rows):
        if stop is not None and stop.is_set():
            raise Stopped
        last = min(first + rows, size)
        units.append(torch.nn.functional.normalize(dictionary.directions(first, last).float().cpu(), dim=-1))
        written = _written(lm.architecture, dictionary, first, last)
        if written is not None:
            for name, values in top_tokens(lm, written, TOKENS):
                parts.setdefault(name, []).append(values)
        on_done(last, 2 * size)
    done = size
    for ids, cosines in nearest(torch.cat(units), rows, NEAREST):
        if stop is not None and stop.is_set():
            raise Stopped
        parts.setdefault("nearest.ids", []).append(ids)
        parts.setdefault("nearest.values", []).append(cosines)
        done += len(ids)
        on_done(done, 2 * size)
    found = {name: torch.cat(of_features).numpy() for name, of_features in parts.items()}
    write_arrays(path, found)


def top_tokens(lm: LoadedModel, written: Tensor, k: int) -> Iterator[tuple[str, Tensor]]:
    """The `k` tokens that directions promote and suppress most, by name: ids int32 and values float32 [feature, k].

    Args:
        lm: the model.
        written: float32 [feature, d_model], what they write to the residual stream.
        k: how many of either kind.
    """
    import torch

    norm, unembed = lm.architecture.final_norm, lm.architecture.unembed
    with lm.lock:
        logits = without_bias(unembed, gained(norm, written))
    for name, largest in (("promoted", True), ("suppressed", False)):
        top = logits.topk(min(k, logits.shape[-1]), largest=largest)
        yield f"{name}.ids", top.indices.to("cpu", torch.int32)
        yield f"{name}.values", top.values.cpu()


def nearest(units: Tensor, rows: int, k: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The `k` others with the largest cosine, some features at a time: ids int32 and cosines float32 [feature, k].

    Args:
        units: float32 [feature, width], of length one.
        rows: how many features are looked at at once.
        k: how many of the others.
    """
    import torch

    for first in range(0, len(units), rows):
        cosines = units[first : first + rows] @ units.T
        own = torch.arange(len(cosines))
        cosines[own, own + first] = -torch.inf
        top = cosines.topk(min(k, len(units) - 1))
        yield top.indices.to(torch.int32), top.values


def _written(architecture: Architecture, dictionary: Dictionary, first: int, last: int) -> Tensor | None:
    try:
        return written_directions(architecture, dictionary, first, last)
    except ValueError:
        return None
