"""What features' directions promote and suppress, and which point the same way: of all features, in chunks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.corpus.part_files import write_arrays
from steerwidgets.lens import as_written, gained
from steerwidgets.writing import OF_RESIDUAL

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from steerwidgets.architecture import Architecture
    from steerwidgets.dictionaries.base import Dictionary
    from steerwidgets.engine import Engine

TOKENS: Final = 10
NEAREST: Final = 10
_AT_ONCE: Final = 1 << 25
"""Logits or cosines that are held at once: 134 MB in float32."""


class Stopped(Exception):  # noqa: N818 - not an error
    """Somebody asked to stop."""


def write_directions(
    path: Path,
    engine: Engine,
    dictionary: Dictionary,
    on_done: Callable[[int, int], None],
    stop: threading.Event | None,
) -> None:
    """Write what the directions of a dictionary promote, suppress and are near to, where they can be compared.

    Promoted and suppressed tokens are those of `lm.top_logits`; a dictionary that writes nothing to the residual stream
    has none.

    Args:
        path: the safetensors file.
        engine: the model.
        dictionary: whose features.
        on_done: called with how many features are done, of how many.
        stop: set it to end; nothing is written then.

    Raises:
        Stopped: `stop` was set.
    """
    import torch

    found: dict[str, Any] = {}
    parts: dict[str, list[Tensor]] = {}
    units = None
    size = dictionary.size
    vocabulary = len(engine.tokenizer)
    rows = max(1, min(512, _AT_ONCE // max(vocabulary, size)))
    for first in range(0, size, rows):
        if stop is not None and stop.is_set():
            raise Stopped
        indices = range(first, min(first + rows, size))
        vectors = torch.stack([dictionary.vector(index).float().cpu() for index in indices])
        if units is None:
            units = torch.empty(size, vectors.shape[1])
        units[first : indices.stop] = torch.nn.functional.normalize(vectors, dim=-1)
        for name, values in _tokens(engine, dictionary, indices, vectors):
            parts.setdefault(name, []).append(values)
        on_done(indices.stop, 2 * size)
    assert units is not None
    for first, ids, cosines in _nearest(units, rows):
        if stop is not None and stop.is_set():
            raise Stopped
        parts.setdefault("nearest.ids", []).append(ids)
        parts.setdefault("nearest.values", []).append(cosines)
        on_done(size + first + len(ids), 2 * size)
    found = {name: torch.cat(of_features).numpy() for name, of_features in parts.items()}
    fresh = path.with_name(f"{path.name}.new")
    write_arrays(fresh, found)
    fresh.replace(path)


def _tokens(engine: Engine, dictionary: Dictionary, indices: range, vectors: Tensor) -> Iterator[tuple[str, Tensor]]:
    import torch

    written = _written(engine.architecture, dictionary, indices, vectors)
    if written is None:
        return
    norm, unembed = engine.architecture.final_norm, engine.architecture.unembed
    through = torch.stack([gained(norm, vector) for vector in written])
    weight: Any = next(unembed.parameters())
    dtype = weight.dtype if weight.dtype.is_floating_point else torch.get_default_dtype()
    with torch.no_grad(), engine.lock:
        through = torch.cat([through, torch.zeros_like(through[:1])]).to(weight.device, dtype)
        logits = unembed(through).float()
    logits = logits[:-1] - logits[-1]
    k = min(TOKENS, logits.shape[-1])
    for name, largest in (("promoted", True), ("suppressed", False)):
        top = logits.topk(k, largest=largest)
        yield f"{name}.ids", top.indices.to("cpu", torch.int32)
        yield f"{name}.values", top.values.cpu()


def _written(architecture: Architecture, dictionary: Dictionary, indices: range, vectors: Tensor) -> Tensor | None:
    """The directions as the residual stream gets them, float32 [feature, d_model]; None where it gets nothing."""
    import torch

    try:
        first = as_written(architecture, dictionary[indices[0]])
        if dictionary.site.stream in OF_RESIDUAL and torch.equal(first.vector.float().cpu(), vectors[0]):
            # What is written is the stored direction: no need to ask every feature.
            return vectors if vectors.shape[-1] == architecture.d_model else None
        found = [as_written(architecture, dictionary[index]).vector for index in indices]
    except ValueError:
        return None
    same = all(len(vector) == architecture.d_model for vector in found)
    return torch.stack([vector.float().cpu() for vector in found]) if same else None


def _nearest(units: Tensor, rows: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    import torch

    k = min(NEAREST, len(units) - 1)
    for first in range(0, len(units), rows):
        cosines = units[first : first + rows] @ units.T
        own = torch.arange(len(cosines))
        cosines[own, own + first] = -torch.inf
        top = cosines.topk(k)
        yield first, top.indices.to(torch.int32), top.values
