"""A recipe as an IntervenableModel of pyvene (Wu et al. 2024) that makes the same changes."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from steerwidgets.steering.hooks import Readings, SiteChange, check_fits
from steerwidgets.transformer.architecture import Architecture
from steerwidgets.transformer.hookpoints import Handle, on_stream, remove_all
from steerwidgets.transformer.layout import Known, LayoutTracker
from steerwidgets.transformer.loaded import LoadedModel
from steerwidgets.transformer.model_lock import model_lock

if TYPE_CHECKING:
    from torch import Tensor, nn

    from steerwidgets.steering.recipe import Recipe
    from steerwidgets.transformer.sites import Site


def to_pyvene(recipe: Recipe, model: LoadedModel | nn.Module) -> Any:
    """An IntervenableModel with one intervention for each site of a recipe, which do what our own hooks do.

    Its `forward` and `generate` are called as pyvene's are, and steer at every forward pass where the recipe says;
    `generate` counts the prompt's tokens for positions that need them. It takes no unit locations, sources or
    subspaces. Other IntervenableModels put the model into evaluation mode, turn the gradients of its weights off and
    take every hook off it; this one leaves all that as it is.

    Args:
        recipe: what to change.
        model: a `LanguageModel`, or the Hugging Face model that it is made of.

    Raises:
        ImportError: pyvene is not installed.
        ValueError: the recipe is empty or does not fit the model, or leaves special tokens out where only the bare
            model is given.
        TypeError: something else than a model is given.
        CompiledModelError: the model is compiled.
    """
    classes = _classes()
    run = _run(recipe, model)
    representations = [
        {"component": _component(run.architecture, site), "intervention": classes.intervention(run, site)}
        for site in recipe.sites
    ]
    return classes.model(run, representations)


class _Run:
    """What the interventions of one IntervenableModel share: where the tokens of the pass that runs now stand."""

    def __init__(self, recipe: Recipe, architecture: Architecture, special_ids: frozenset[int]) -> None:
        self.recipe = recipe
        self.architecture = architecture
        self.tracker: LayoutTracker | None = None
        self._special_ids = special_ids
        self._thread: int | None = None
        self._changes: dict[Site, SiteChange] = {}
        self._readings = Readings([recipe])

    def acts(self) -> bool:
        """Whether a forward pass is one of ours: those of other threads are not."""
        return threading.get_ident() == self._thread

    @contextmanager
    def of(self, prompt_length: int | tuple[int, ...] | None) -> Iterator[None]:
        """One call of the IntervenableModel: what `with lm.steer(…)` is for our own hooks."""
        for steer in self.recipe:
            if steer.waits_for and prompt_length is None:
                raise ValueError(
                    f"{steer.feature.label!r} {steer.waits_for}, which needs the length of the prompt, "
                    "and pyvene's forward does not know it: call generate, or give the positions by number, as in "
                    "recipe.at([3, 4])."
                )
        with model_lock(self.architecture.model):
            self._thread = threading.get_ident()
            self._changes = {
                site: SiteChange([steer for steer in self.recipe if steer.feature.site == site])
                for site in self.recipe.sites
            }
            known = Known(self._special_ids, prompt_length)
            self.tracker = LayoutTracker(self.architecture.base, known, self.acts, self.architecture.virtual_tokens)
            try:
                yield
            finally:
                self._thread = self.tracker = None

    def changed(self, h: Tensor, site: Site) -> Tensor:
        """A stream [batch, position, width] after its change; as it is, in passes that are not ours."""
        if self.tracker is None or not self.acts():
            return h
        layout = self._readings.beside(site, h, self.tracker)
        return (h.float() + self._changes[site](h, layout)).to(h.dtype)

    def attach(self, tracker: LayoutTracker) -> list[Handle]:
        """The hooks beside pyvene's own: what tells positions, and what only reads for conditions."""
        only_read = [site for site in self._readings.features if site not in self._changes]
        return [tracker.attach(), *(self._reading(site, tracker) for site in only_read)]

    def _reading(self, site: Site, tracker: LayoutTracker) -> Handle:
        def read(stream: Tensor) -> None:
            if self.acts():
                self._readings.beside(site, stream, tracker)

        return on_stream(self.architecture.hookpoint(site), read)


class _Classes(NamedTuple):
    intervention: Any
    model: Any


@functools.cache
def _classes() -> _Classes:
    """Our classes of pyvene's; made here, since their bases are not to be had before pyvene is imported."""
    try:
        import pyvene as pv
    except ImportError as error:
        raise _import_error(error) from error

    class RecipeIntervention(pv.SourcelessIntervention):  # type: ignore[misc]
        """The change of a recipe at one site."""

        def __init__(self, run: _Run, site: Site) -> None:
            super().__init__(keep_last_dim=True)
            self._run, self._site = run, site

        def forward(self, base: Tensor, source: None = None, subspaces: None = None, **_: Any) -> Tensor:  # noqa: ARG002
            return self._run.changed(base, self._site)

    class RecipeModel(pv.IntervenableModel):  # type: ignore[misc]
        """An IntervenableModel whose interventions come from a recipe, which says itself where they act."""

        def __init__(self, run: _Run, representations: list[dict[str, Any]]) -> None:
            super().__init__(representations, run.architecture.model)
            self._run = run
            self._handlers: list[Any] = []

        def forward(self, base: Mapping[str, Any], sources: Any = None, **settings: Any) -> Any:
            """As pyvene's: (baseline output if asked for, steered output)."""
            _refuse(settings | {"sources": sources})
            with self._run.of(None):
                return super().forward(_kept(base), **settings)

        def generate(self, base: Mapping[str, Any], sources: Any = None, **settings: Any) -> Any:
            """As pyvene's: (baseline ids if asked for, steered ids); every step is steered where the recipe says."""
            _refuse(settings | {"sources": sources})
            with self._run.of(_prompt_length(base, _rows_each(self.model, settings))):
                # Without unit locations this is pyvene's way to say: at every step.
                return super().generate(_kept(base), **(settings | {"intervene_on_prompt": True}))

        def save(self, *_: Any, **__: Any) -> None:
            """Refused: pyvene's files have no place for a recipe."""
            raise NotImplementedError(
                "pyvene's files have no place for a recipe; keep recipe.to_json() and make this model from it again."
            )

        def disable_model_gradients(self) -> None:
            """As pyvene's, but not by itself when the IntervenableModel is made."""
            if hasattr(self, "_run"):
                super().disable_model_gradients()

        def _wait_for_forward_with_parallel_intervention(self, *args: Any, **kwargs: Any) -> Any:
            placed = super()._wait_for_forward_with_parallel_intervention(*args, **kwargs)
            if self._run.tracker is not None:
                placed.handlers.extend(self._run.attach(self._run.tracker))
            self._handlers = placed.handlers
            return placed

        def _remove_forward_hooks(self) -> None:
            # pyvene takes every hook off the model here, the user's too.
            remove_all(self._handlers)

    return _Classes(RecipeIntervention, RecipeModel)


def _import_error(error: ImportError) -> ImportError:
    if error.name == "pyvene":
        return ImportError("to_pyvene needs pyvene, which is not installed: pip install 'steerwidgets[pyvene]'.")
    return ImportError(f"pyvene is installed but does not import ({error}): pip install -U 'steerwidgets[pyvene]'.")


def _run(recipe: Recipe, model: Any) -> _Run:
    from torch import nn

    if not isinstance(model, LoadedModel | nn.Module):
        raise TypeError(
            f"to_pyvene takes a LanguageModel or the Hugging Face model itself, but a {type(model).__name__} was given."
        )
    if not len(recipe):
        raise ValueError("The recipe is empty, so there is nothing that pyvene could do; add a steer to it.")
    if isinstance(model, LoadedModel):
        run = _Run(recipe, model.architecture, model.special_ids)
    else:
        run = _Run(recipe, Architecture(model), frozenset())
        for steer in recipe:
            if not steer.positions.special:
                raise ValueError(
                    f"{steer.feature.label!r} leaves special tokens out, and which they are is the tokenizer's "
                    "knowledge; give the LanguageModel instead of the bare model."
                )
    for steer in recipe:
        if steer.positions.roles:
            raise ValueError(
                f"{steer.feature.label!r} acts on {steer.positions.named}, and pyvene gets token ids, which do not say "
                "whose words they are; give the positions by number, as in recipe.at([3, 4])."
            )
    run.architecture.refuse_compiled()
    # The prompt's length is asked for when there is a prompt.
    check_fits(run.architecture, recipe, Known(prompt_length=1))
    return run


def _component(architecture: Architecture, site: Site) -> str:
    """The name by which pyvene finds a site's module, as `model.layers[20].output`."""
    point = architecture.hookpoint(site)
    if point.factor != 1.0:
        raise ValueError(
            f"{site} of {architecture.name} is what its module gives times {point.factor:g}, and pyvene would change "
            "the module's own output; steer resid_post of the same block instead."
        )
    for name, module in architecture.model.named_modules():
        if module is point.module:
            return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", name) + (".input" if point.is_input else ".output")
    raise ValueError(f"{site} lies in a module that is no part of {architecture.name}, so pyvene can't find it.")


def _refuse(settings: Mapping[str, Any]) -> None:
    """Refuse what would make pyvene act elsewhere than the recipe says."""
    for name in ("sources", "unit_locations", "source_representations", "subspaces"):
        if settings.get(name) is not None:
            raise ValueError(
                f"This IntervenableModel was made from a recipe, which says itself what changes and where, so it takes "
                f"no {name}; choose positions with recipe.at(…) before recipe.to_pyvene(…)."
            )
    if settings.get("intervene_on_prompt", True) is not True:
        raise ValueError(
            "This IntervenableModel was made from a recipe, which says itself where it acts; to leave the prompt "
            'alone, make it from recipe.at("generated") instead of intervene_on_prompt=False.'
        )


def _kept(base: Mapping[str, Any]) -> dict[str, Any]:
    """The model's inputs, embeddings copied: pyvene writes into the tensors that a block gets."""
    inputs = dict(base)
    if inputs.get("inputs_embeds") is not None:
        inputs["inputs_embeds"] = inputs["inputs_embeds"].clone()
    return inputs


def _prompt_length(base: Mapping[str, Any], rows_each: int) -> int | tuple[int, ...] | None:
    """The tokens of each row without padding, for beams and samples too; one number where all rows have as many."""
    mask = base.get("attention_mask")
    source = next((base[name] for name in ("input_ids", "inputs", "inputs_embeds") if base.get(name) is not None), None)
    if source is None:
        return None
    lengths = mask.sum(-1).tolist() if mask is not None else [source.shape[1]] * len(source)
    if len(set(lengths)) == 1:
        return int(lengths[0])
    return tuple(int(length) for length in lengths for _ in range(rows_each))


def _rows_each(model: Any, settings: Mapping[str, Any]) -> int:
    """How many rows `generate` makes of one prompt."""
    default = settings.get("generation_config") or getattr(model, "generation_config", None)
    names = ("num_beams", "num_return_sequences")
    return max(int(settings.get(name) or getattr(default, name, None) or 1) for name in names)
