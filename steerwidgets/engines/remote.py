"""nnsight as an engine: NDIF, a server of one's own, or this machine as if it were one."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from steerwidgets.engines import there
from steerwidgets.engines.engine import Abilities, Generation, Pass, Passed, Taking
from steerwidgets.engines.program import program_of

if TYPE_CHECKING:
    from torch import Tensor

    from steerwidgets.engines.places import Places

_WHOLE = "the text comes back whole, once its job is done"


class NNsightEngine:
    """A model of nnsight's, asked by traces.

    Args:
        model: nnsight's model.
        settings: where its traces run, `remote=` or `serve=`.
        where: that, in words.
    """

    def __init__(self, model: Any, settings: Mapping[str, Any], where: str) -> None:
        self._model = model
        self._settings = dict(settings)
        self.where = where
        self.abilities = Abilities(stream=_WHOLE, stop=_WHOLE)

    def forward(self, places: Places, asked: Pass) -> Passed:
        """One trace."""
        import nnsight

        nn, settings, keep_logits = self._model, self._settings, asked.logits
        ids, mask = asked.ids.cpu(), asked.mask.cpu()
        program = program_of(places, asked.steering, asked.keep, *ids.shape)
        absolute = (mask.cumsum(-1) - 1).masked_fill(mask == 0, -1)
        positions = absolute.clamp(min=0)
        go_along, names = there.one_pass, [place.name for place in asked.keep]
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "use_cache": False}
        with nn.trace(inputs, **settings):
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

        nn, settings, passes = self._model, self._settings, asked.passes
        ids, mask = asked.ids.cpu(), asked.mask.cpu()
        width = ids.shape[1]
        program = program_of(places, asked.steering, asked.watch, len(ids), width + passes)
        absolute = (mask.cumsum(-1) - 1).masked_fill(mask == 0, -1)
        go_along, names = there.one_pass, [place.name for place in asked.watch]
        sampler, ends = _plain_sampler(asked), there.Ends(sorted(asked.end_ids))
        with warnings.catch_warnings():
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

        nn, settings, put = self._model, self._settings, there.put_through
        ids = torch.zeros(1, 1, dtype=torch.long)
        with nn.trace({"input_ids": ids}, **settings):
            out = nnsight.save([])
            out.append(put(nn, path, vectors))
        found: Tensor = out[0]
        return found

    def describe(self) -> Mapping[str, Any]:
        """Which nnsight, and where."""
        import nnsight

        return {"nnsight": nnsight.__version__, "engine": self.where}


def _plain_sampler(asked: Generation) -> Any:
    """The sampler with its settings as plain values."""
    sampler: Any = copy.copy(asked.sampler)
    sampler._sampling = SimpleNamespace(**asked.sampler.sampling.to_json())  # noqa: SLF001 - its copy
    return sampler
