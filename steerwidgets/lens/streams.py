"""The streams that a lens reads: many sites of one forward pass, and what a recipe changes in it."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.steering.hooks import Steering, Watch
from steerwidgets.transformer.hookpoints import Hooks, read_stream
from steerwidgets.transformer.layout import Known, Layout, in_this_thread
from steerwidgets.transformer.residuals import warn_not_finite
from steerwidgets.transformer.sites import Site
from steerwidgets.transformer.unembed import Unembed

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.steering.recipe import Recipe
    from steerwidgets.transformer.loaded import LoadedModel

_ON_DEVICE: Final = 2**30
"""Residuals of more bytes wait in the machine's own memory, and go back to the device chunk by chunk."""


@dataclass(frozen=True)
class Injected:
    """What a recipe changed at one site, as the run saw it.

    Attributes:
        site: where.
        before: float32 [position, width], the stream before the change, of the steered row.
        after: the same after it.
    """

    site: Site
    before: Tensor
    after: Tensor


@dataclass(frozen=True)
class Streams:
    """What was read of one forward pass.

    Attributes:
        values: for each site [row, position, width], in the model's dtype, after any change there.
        injected: the changes of the last row's recipe, in the network's order.
        ends: [row, d_model], the residual after the last block at the last position of the pass.
        logits: float32 [row, vocabulary], the model's own there; None where the unembed was checked against such
            already, or where the model can't be asked for those alone.
    """

    values: Mapping[Site, Tensor]
    injected: tuple[Injected, ...]
    ends: Tensor
    logits: Tensor | None


class StreamReader:
    """Hooks that keep some positions of some streams during one forward pass.

    Args:
        lm: the model.
        sites: what to keep.
        columns: which positions of the pass; all where None.
        changed: the sites that the last row's recipe changes.
    """

    def __init__(
        self, lm: LoadedModel, sites: Sequence[Site], columns: Sequence[int] | None, changed: Sequence[Site] = ()
    ) -> None:
        self._lm = lm
        self._sites = list(dict.fromkeys(sites))
        self._columns = None if columns is None else list(columns)
        self._changed = tuple(changed)
        self._length = 0
        self._buffer: Tensor | None = None
        self._before: dict[Site, Tensor] = {}
        self._after: dict[Site, Tensor] = {}
        self._ends: Tensor | None = None
        self._logits: Tensor | None = None

    @property
    def watch(self) -> dict[Site, Watch]:
        """What a `Steering` has to call before it changes a stream."""

        def before(site: Site) -> Watch:
            def keep(stream: Tensor, _layout: Layout) -> None:
                self._before[site] = self._picked(stream[-1:])[0].float()

            return keep

        return {site: before(site) for site in self._changed}

    @contextmanager
    def attached(self) -> Iterator[None]:
        """While it lasts, streams are kept; enter it inside the `Steering`, so that its changes are seen."""
        architecture, thread = self._lm.architecture, threading.get_ident()
        architecture.look_again()
        wanted = [(site, self._keeper(index)) for index, site in enumerate(self._sites)]
        wanted += [(site, self._keep_after(site)) for site in self._changed]
        wanted.append((Site(architecture.layers - 1), self._keep_ends))
        with Hooks() as hooks, hooks:
            for site, keep in wanted:
                hooks.append(read_stream(architecture.hookpoint(site), in_this_thread(thread, keep)))
            yield

    def run(self, inputs: Mapping[str, Any]) -> None:
        """One forward pass; where the unembed was never checked, with the model's own logits at its last position."""
        import torch

        model: Any = self._lm.model
        self._length = int(inputs["input_ids"].shape[1])
        is_checked = Unembed(self._lm.architecture).is_fitted
        with torch.no_grad(), self.attached():
            if not is_checked and "logits_to_keep" in inspect.signature(model.forward).parameters:
                self._logits = model(**inputs, logits_to_keep=1).logits[:, -1].float()
            else:
                self._lm.architecture.run(**inputs)

    def streams(self) -> Streams:
        """What was kept."""
        buffer = self._buffer
        values = {} if buffer is None else {site: buffer[index] for index, site in enumerate(self._sites)}
        injected = tuple(Injected(site, self._before[site], self._after[site]) for site in self._changed)
        if self._ends is None:
            raise RuntimeError("No forward pass of the model went through its last block.")
        warn_not_finite(self._lm.architecture, "its last block", self._ends)
        return Streams(values, injected, self._ends, self._logits)

    def _keeper(self, index: int) -> Callable[[Tensor], None]:
        def keep(stream: Tensor) -> None:
            import torch

            picked = self._picked(stream)
            if self._buffer is None:
                shape = (len(self._sites), *picked.shape)
                size = picked.numel() * len(self._sites) * picked.element_size()
                home = picked.device if size <= _ON_DEVICE else torch.device("cpu")
                self._buffer = torch.empty(shape, dtype=picked.dtype, device=home)
            self._buffer[index].copy_(picked)

        return keep

    def _keep_after(self, site: Site) -> Callable[[Tensor], None]:
        def keep(stream: Tensor) -> None:
            self._after[site] = self._picked(stream[-1:])[0].float()

        return keep

    def _keep_ends(self, stream: Tensor) -> None:
        self._ends = stream[:, -1].clone()

    def _picked(self, stream: Tensor) -> Tensor:
        # Virtual tokens stand before the text's own.
        stream = stream[:, -self._length :]
        return stream if self._columns is None else stream[:, self._columns]


def read_text(
    lm: LoadedModel,
    ids: Sequence[int],
    recipes: Sequence[Recipe | None],
    known: Known,
    sites: Sequence[Site],
    columns: Sequence[int] | None = None,
) -> Streams:
    """Some streams of a text in one forward pass, one row for each recipe; the last one's changes are kept, too.

    Args:
        lm: the model.
        ids: the text.
        recipes: what steers each row; None steers nothing.
        known: prompt lengths, special ids and template positions of the rows.
        sites: what to read.
        columns: which positions; all where None.

    Raises:
        ValueError: a site does not exist in the model, or the last recipe does not fit it.
        CompiledModelError: the model is compiled.
    """
    import torch

    architecture, last = lm.architecture, recipes[-1]
    architecture.refuse_compiled()
    architecture.check_readable([ids])
    if len(recipes) > 1:
        lm.refuse_steering()
    reader = StreamReader(lm, sites, columns, last.sites if last is not None else ())
    rows = torch.tensor([list(ids)] * len(recipes), device=architecture.input_device)
    with lm.lock, Steering(architecture, list(recipes), known, reader.watch):
        reader.run({"input_ids": rows, "attention_mask": torch.ones_like(rows), "use_cache": False})
    return reader.streams()
