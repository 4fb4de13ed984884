"""A model that runs elsewhere stands here as its own skeleton: the same modules, without weights.

Calls of the skeleton become requests to an engine, and what comes back is shown to the hooks that are on its modules,
in the order of the network. So whatever reads or steers a model here does so there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from steerwidgets.engines.engine import Engine, Generation, Pass
from steerwidgets.engines.places import Place, Places
from steerwidgets.steering.hooks import Steering
from steerwidgets.transformer.architecture import Architecture
from steerwidgets.transformer.hookpoints import first_tensor
from steerwidgets.transformer.self_check import CHECKED, Findings

if TYPE_CHECKING:
    from torch import Tensor, nn


class SkeletonArchitecture(Architecture):
    """The parts of a skeleton: nothing can be read of its weights, so names and config are believed.

    Args:
        model: the skeleton.
        where: the place where the model runs, in words.
    """

    def __init__(self, model: nn.Module, where: str) -> None:
        super().__init__(model)
        self._where = where

    def refuse_without_weights(self, call: str) -> None:
        """Refuse what needs the weights in this process.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"{call} needs the model's weights in this process, but {self.name} runs {self._where}; load it by "
            "sw.LanguageModel.from_pretrained, or take a smaller model of its family."
        )

    @property
    def findings(self) -> Findings:
        """What the config says of streams."""
        factor, layers = self.residual_multiplier, self.layers
        factors: Any = {} if factor == 1.0 else {"attn_out": factor, "mlp_out": factor}
        return Findings("", (frozenset(CHECKED),) * layers, (frozenset(),) * layers, (factors,) * layers)


class StandIn:
    """Makes a skeleton's calls requests.

    Args:
        architecture: the skeleton's parts.
        engine: who runs the model.
        end_ids: what ends a text.
    """

    def __init__(
        self, architecture: SkeletonArchitecture, engine: Engine, end_ids: Callable[[], frozenset[int]]
    ) -> None:
        self.engine = engine
        self.places = Places(architecture)
        self._architecture = architecture
        self._end_ids = end_ids
        model: Any = architecture.model
        base: Any = architecture.base
        base.forward, model.forward, model.generate = self._run, self._model_forward(), self._generate
        # Keys and values stay where the model is.
        model._is_stateful = True  # noqa: SLF001 - transformers' word for states that can't be cut
        for module, path in ((architecture.final_norm, self.places.norm), (architecture.unembed, self.places.unembed)):
            module.forward = functools.partial(engine.through, path)
        for module in (model.get_input_embeddings(), architecture.final_norm, architecture.unembed):
            # As accelerate says where a module computes whose weights are on `meta`.
            module._hf_hook = SimpleNamespace(execution_device="cpu")  # noqa: SLF001 - its name there

    def _model_forward(self) -> Callable[..., Any]:
        base: Any = self._architecture.base

        def forward(
            input_ids: Any = None,
            attention_mask: Any = None,
            position_ids: Any = None,
            use_cache: Any = False,
            logits_to_keep: int = 0,
        ) -> Any:
            return base(input_ids, attention_mask, position_ids, use_cache, logits_to_keep=logits_to_keep)

        return forward

    def _run(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,  # noqa: ARG002 - the mask says it
        use_cache: Any = False,
        logits_to_keep: int | None = None,
    ) -> Any:
        import torch

        if use_cache:
            raise ValueError(
                f"{self._architecture.name} runs {self.engine.where}, where its keys and values stay; read a text as a "
                "whole, with use_cache=False."
            )
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        steering = self._steering()
        keep = [place for place in self.places.order if _hooks(self.places.module(place), place)]
        passed = self.engine.forward(self.places, Pass(input_ids, mask, steering, keep, logits_to_keep))
        steered = set() if steering is None else {self.places.of(site) for site in steering.changed}
        for place in keep:
            self._show(place, passed.streams[place], steered)
        return SimpleNamespace(logits=passed.logits)

    def _steering(self) -> Steering | None:
        active = [each for each in self._architecture.steered_by if not each.is_paused]
        if len(active) > 1:
            raise ValueError(
                f"{self._architecture.name} runs {self.engine.where}, and one `with lm.steer(…)` at a time gets there; "
                "put all steers into one recipe."
            )
        return active[0] if active else None

    def _show(self, place: Place, stream: Tensor, steered: set[Place]) -> None:
        """Call the hooks of a module with what went through it elsewhere."""
        module = self.places.module(place)
        shown = stream
        for hook in _hooks(module, place):
            if place.is_input:
                changed = hook(module, (shown,), {})
                shown = shown if changed is None else changed[0][0]
            else:
                changed = hook(module, (), shown)
                shown = shown if changed is None else first_tensor(changed)
        if shown is not stream and place not in steered:
            raise ValueError(
                f"{self._architecture.name} runs {self.engine.where}, and a hook of this process can read it but not "
                "change it; what is to be changed goes there as a recipe: lm.compare(prompt, recipe), lm.steer(recipe)."
            )

    def _generate(
        self,
        ids: Tensor,
        *,
        attention_mask: Any = None,
        generation_config: Any = None,
        logits_processor: Sequence[Any] = (),
        stopping_criteria: Sequence[Any] = (),
        **_settings: Any,
    ) -> Tensor:
        """What `generate_rows` asks of a model; the run that it gives as its criterion takes the steps in."""
        if not stopping_criteria:
            raise ValueError(
                f"{self._architecture.name} runs {self.engine.where}, and its own generate can't be called from here; "
                "lm.compare, lm.stream and lm.sweep generate there."
            )
        run = stopping_criteria[0]
        steering: Steering = run.steering
        watch = list(dict.fromkeys(self.places.of(site) for site in steering.watched))
        asked = Generation(
            ids,
            attention_mask,
            steering,
            watch,
            logits_processor[-1],
            self._end_ids(),
            generation_config.max_new_tokens - (0 if watch else 1),
        )
        taking = _Taking(run, self.places, ids)
        self.engine.generate(self.places, asked, taking)
        return taking.whole


class _Taking:
    """Gives a run of `generate_rows` what an engine brings.

    Args:
        run: the run.
        places: of the model.
        ids: int [row, position], the prompts, padded on the left.
    """

    def __init__(self, run: Any, places: Places, ids: Tensor) -> None:
        self._run = run
        self._places = places
        self._width = ids.shape[1]
        self._rows: list[list[int]] = [[] for _ in ids]
        self.whole = ids

    def step(self, whole: Tensor, streams: Mapping[Place, Tensor]) -> bool:
        self.whole = whole
        for place, stream in streams.items():
            for site, look in self._run.steering.watched.items():
                if self._places.of(site) == place:
                    look(stream, None)
        return not bool(self._run(whole, None).all())

    def token(self, row: int, token: int) -> bool:
        self._rows[row].append(token)
        return bool(self._run.take_token(row, token))

    def streams(self, row: int, streams: Mapping[Place, Tensor]) -> None:
        count = self._run.generated(row)
        sites = {site: streams[self._places.of(site)][-count:] for site in self._run.watched_sites}
        if count:
            self._run.take_streams(row, sites)

    def generated(self, row: int) -> list[int]:
        return self._rows[row][: self._run.generated(row)]


def _hooks(module: nn.Module, place: Place) -> list[Callable[..., Any]]:
    found = module._forward_pre_hooks if place.is_input else module._forward_hooks  # noqa: SLF001 - torch gives no other way
    return list(found.values())
