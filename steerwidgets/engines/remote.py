"""nnsight as an engine: NDIF, a server of one's own, or this machine as if it were one."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from steerwidgets.engines import there
from steerwidgets.engines.engine import Generation, Pass, Passed, Taking
from steerwidgets.engines.ndif import host_of, told
from steerwidgets.engines.program import program_of
from steerwidgets.transformer.abilities import Abilities
from steerwidgets.transformer.waits import waiter

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.engines.places import Places

_HERE: Final = "here as if elsewhere (remote='local')"
_WHOLE: Final = "The model runs elsewhere, and a text comes back whole once its job is done."


class NNsightEngine:
    """A model of nnsight's, asked by traces.

    Args:
        model: nnsight's model.
        name: what it is called.
        remote: `"local"`, True for NDIF, or the address of another such service.
    """

    def __init__(self, model: Any, name: str, remote: bool | str) -> None:
        from nnsight import CONFIG

        self._model = model
        self._name = name
        self._remote = remote
        self._host = host_of(remote)
        self._key: str | None = CONFIG.API.APIKEY
        self.where = _HERE if not self._host else "on NDIF" if remote is True else f"at {self._host}"
        # A service's job can be left while it waits; what runs here comes to its end.
        self.abilities = Abilities(stream=_WHOLE, stop="" if self._host else _WHOLE)

    def forward(self, places: Places, asked: Pass) -> Passed:
        """One trace."""
        import nnsight

        nn, settings, keep_logits = self._model, self._way(), asked.logits
        ids, mask = asked.ids.cpu(), asked.mask.cpu()
        program = program_of(places, asked.steering, asked.keep, *ids.shape)
        absolute = (mask.cumsum(-1) - 1).masked_fill(mask == 0, -1)
        positions = absolute.clamp(min=0)
        go_along, names = there.one_pass, [place.name for place in asked.keep]
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "use_cache": False}
        with self._told(), nn.trace(inputs, **settings):
            kept = nnsight.save({name: [] for name in names})
            logits = nnsight.save([])
            go_along(nn, program, absolute, kept)
            if keep_logits is not None:
                logits.append(nn.output.logits[:, -keep_logits:].detach().cpu())
        streams = {place: kept[place.name][0] for place in asked.keep}
        return Passed(streams, logits[0] if logits else None)

    def generate(self, places: Places, asked: Generation, taking: Taking) -> None:
        """One trace of nnsight's `generate`; its steps come when it is done."""
        import nnsight

        nn, settings, passes = self._model, self._way(), asked.passes
        ids, mask = asked.ids.cpu(), asked.mask.cpu()
        width = ids.shape[1]
        program = program_of(places, asked.steering, asked.watch, len(ids), width + passes)
        absolute = (mask.cumsum(-1) - 1).masked_fill(mask == 0, -1)
        go_along, names = there.one_pass, [place.name for place in asked.watch]
        sampler, ends = _plain_sampler(asked), there.Ends(sorted(asked.end_ids))
        with self._told(), warnings.catch_warnings():
            # Of a loop that is cut short where all rows end before it.
            warnings.simplefilter("ignore")
            with nn.generate(
                {"input_ids": ids, "attention_mask": mask},
                max_new_tokens=passes,
                do_sample=False,
                logits_processor=[sampler],
                stopping_criteria=[ends],
                **settings,
            ) as tracer:
                kept = nnsight.save({name: [] for name in names})
                seen = nnsight.save(ends.seen)
                for step in tracer.iter[:passes]:
                    absolute = absolute if step == 0 else absolute[:, -1:] + 1
                    go_along(nn, program, absolute, kept)
        for step in range(len(seen)):
            streams = {place: kept[place.name][step][:, -1:] for place in asked.watch}
            if not taking.step(seen[step], streams):
                break

    def through(self, path: str, vectors: Tensor) -> Tensor:
        """Vectors through a module, in a trace of one token."""
        import nnsight
        import torch

        nn, settings, put = self._model, self._way(), there.put_through
        ids = torch.zeros(1, 1, dtype=torch.long)
        with self._told(), nn.trace({"input_ids": ids}, **settings):
            out = nnsight.save([])
            out.append(put(nn, path, vectors))
        found: Tensor = out[0]
        return found

    def _way(self) -> dict[str, Any]:
        """How a trace gets to where the model runs."""
        from steerwidgets.engines.job import Here, job

        if not self._host:
            return {"backend": Here(self._model)}
        if (who := waiter()) is None:
            return {"remote": self._remote}
        return {"backend": job(self._model, self._host, "NDIF" if self._remote is True else self._host, who)}

    def _told(self) -> AbstractContextManager[None]:
        return told(self._host, self._name, self._key) if self._host else nullcontext()

    def describe(self) -> Mapping[str, Any]:
        """Which nnsight, and where."""
        import nnsight

        return {"nnsight": nnsight.__version__, "engine": self.where}


def _plain_sampler(asked: Generation) -> Any:
    """The sampler with its settings as plain values."""
    sampler: Any = copy.copy(asked.sampler)
    sampler._sampling = SimpleNamespace(**asked.sampler.sampling.to_json())  # noqa: SLF001 - its copy
    return sampler
