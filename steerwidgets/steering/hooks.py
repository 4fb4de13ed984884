"""Puts a recipe on a model and takes it off again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

from steerwidgets.files.shown import shown
from steerwidgets.steering import ops
from steerwidgets.steering.recipe import Recipe
from steerwidgets.transformer import sinks
from steerwidgets.transformer.architecture import Architecture
from steerwidgets.transformer.hookpoints import Handle, copied, on_stream, remove_all
from steerwidgets.transformer.layout import SPEAKER, Known, Layout, LayoutTracker
from steerwidgets.transformer.mistakes import listed
from steerwidgets.transformer.model_names import is_other_model, is_other_type, warn_once
from steerwidgets.transformer.sites import Site

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from steerwidgets.steering.recipe import Direction, Steer

_EARLY: Final = 64
"""Where the prompt's length is unknown, this many positions are enough to know what an ordinary ‖h‖ is."""

Watch = Callable[["Tensor", Layout], None]
"""Called with a copy of a stream before any change, [batch, position, d_model], and where its tokens stand."""


class SiteChange:
    """The change that a recipe makes at one site; every steer computes it from the same `h`.

    Rows whose recipes differ by their numbers alone are worked out in one go, so that a sweep of twelve strengths costs
    the operations of one.

    Args:
        steers: those of the recipe at the site, for all rows.
        others: where every row has its own, those of the second row and so on, alike in number and `Steer.form`.
    """

    def __init__(self, steers: Sequence[Steer], *others: Sequence[Steer]) -> None:
        each = [_Acting(of_rows) for of_rows in zip(steers, *others, strict=True)]
        self._controls = [_Control(acting.of_rows) for acting in each if acting.steer.control is not None]
        each = [acting for acting in each if acting.steer.control is None]
        self._sums = [acting for acting in each if not acting.steer.spec.fixes_projection]
        # A projection op that changes nothing must not hold its projection still while another one moves.
        fixing = [acting for acting in each if acting.steer.spec.fixes_projection]
        self._fixing = [acting for acting in fixing if not acting.steer.is_identity]
        self._solvers: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self._sink_threshold: Tensor | None = None
        self._early_norms: Tensor | None = None

    def __call__(self, h: Tensor, layout: Layout) -> Tensor:
        """The change, float32 [batch, position, d_model], of a residual of that shape."""
        import torch

        h = h.float()
        change = torch.zeros_like(h)
        for acting in self._sums:
            mask = acting.mask(layout)
            if acting.steer.spec.skips_sinks:
                mask = mask & ~self._sinks(h, layout)
            added = acting.change(h, layout)
            if acting.steer.fading is not None:
                added = added * _share(acting.steer, layout)[..., None]
            # Chosen, not multiplied: a change that overflows is nothing where it does not act.
            change = change + torch.where(mask[..., None], added, 0.0)
        for control in self._controls:
            change = change + control(h, layout)
        return change + self._projection_change(h, layout) if self._fixing else change

    def _projection_change(self, h: Tensor, layout: Layout) -> Tensor:
        import torch

        unit, solver = self._solver_on(h.device)
        projections = h @ unit.T
        targets = [acting.target(projections[..., i]) for i, acting in enumerate(self._fixing)]
        residue = torch.stack(targets, dim=-1) - projections
        if any(acting.steer.fading is not None for acting in self._fixing):
            residue = residue * torch.stack([_share(acting.steer, layout) for acting in self._fixing], dim=-1)
        masks = [acting.mask(layout) for acting in self._fixing]
        if len({(acting.steer.positions, acting.steer.condition) for acting in self._fixing}) == 1:
            return torch.where(masks[0][..., None], residue @ solver @ unit, 0.0)
        return ops.solve_projections(residue, unit, torch.stack(masks, dim=-1))

    def _sinks(self, h: Tensor, layout: Layout) -> Tensor:
        """Attention sinks, the same ones however the text is cut into forward passes."""
        norms = h.norm(dim=-1)
        by_row = self._threshold_of_prompt if layout.prompt_length is not None else self._threshold_so_far
        return sinks.attention_sinks(norms, layout.absolute, by_row(norms, layout))

    def _threshold_of_prompt(self, norms: Tensor, layout: Layout) -> Tensor:
        import torch

        known, begins = self._sink_threshold, (layout.absolute == 0).any(dim=-1, keepdim=True)
        is_prompt = layout.absolute < layout.prompt_length[:, None] if layout.prompt_length is not None else True
        fresh = sinks.sink_threshold(norms, (layout.absolute > 0) & is_prompt)
        # A row that goes on keeps what its own beginning told. Chosen on the device: to ask it would be to wait for it.
        known = fresh if known is None or len(known) != len(fresh) else torch.where(begins, fresh, known)
        self._sink_threshold = known
        return known

    def _threshold_so_far(self, norms: Tensor, layout: Layout) -> Tensor:
        import torch

        if self._early_norms is None or len(self._early_norms) != len(norms):
            self._early_norms = norms.new_full((len(norms), _EARLY), torch.nan)
        self._early_norms[(layout.absolute == 0).any(dim=-1)] = torch.nan
        early = (layout.absolute >= 1) & (layout.absolute <= _EARLY)
        row, column = early.nonzero(as_tuple=True)
        self._early_norms[row, layout.absolute[row, column] - 1] = norms[row, column]
        thresholds = sinks.causal_sink_thresholds(self._early_norms)
        return thresholds.gather(1, (layout.absolute - 1).clamp(0, _EARLY - 1))

    def _solver_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The unit directions that are solved together [k, d_model] and their solver [k, k]."""
        import torch

        if device not in self._solvers:
            vectors = [acting.steer.feature.vector for acting in self._fixing]
            unit = torch.stack([vector / vector.norm() for vector in vectors])
            self._solvers[device] = (unit.to(device), ops.projection_solver(unit).to(device))
        return self._solvers[device]


class _Acting:
    """One steer, or one on each row of a batch: of one form, each with its own numbers."""

    def __init__(self, of_rows: Sequence[Steer]) -> None:
        self.of_rows = of_rows
        self.steer = of_rows[0]
        self._numbers: dict[torch.device, ops.Numbers] = {}

    def mask(self, layout: Layout) -> Tensor:
        """Where it acts: bool [batch, position]."""
        return where_it_acts(self.steer, layout)

    def change(self, h: Tensor, layout: Layout) -> Tensor:
        """What its op adds: float32 that broadcasts to `h`, [batch, position, d_model]."""
        refuse_unread(self.steer, layout)
        feature = self.steer.feature.given(layout.readings)
        return feature.change(self.steer.op, self._numbers_on(h.device), h)

    def target(self, projection: Tensor) -> Tensor:
        """The value that its op gives the projection: float32 [batch, position]."""
        return self.steer.feature.target(self.steer.op, self._numbers_on(projection.device), projection)

    def _numbers_on(self, device: torch.device) -> ops.Numbers:
        if len(self.of_rows) == 1:
            return self.steer.parameters
        if device not in self._numbers:
            self._numbers[device] = {name: self._column(name, device) for name in self.steer.parameters}
        return self._numbers[device]

    def _column(self, name: str, device: torch.device) -> ops.Number | None:
        """Each row's number, float32 [row, 1]; what their form holds is the same for all."""
        import torch

        number = self.steer.parameters[name]
        if number is None or name in self.steer.spec.single:
            return number
        return torch.tensor([[steer.parameters[name]] for steer in self.of_rows], device=device)


class _Control:
    """The change of one steer along a random direction; worked out alone, since it sets nothing that others share."""

    def __init__(self, of_rows: Sequence[Steer]) -> None:
        import torch

        self._own = SiteChange(*([steer.own_direction()] for steer in of_rows))
        self._feature = of_rows[0].feature
        controls = [steer.control for steer in of_rows if steer.control is not None]
        self._control = controls[0]
        units = [control.unit(self._feature.vector) for control in controls]
        self._unit = units[0] if len(units) == 1 else torch.stack(units)[:, None]

    def __call__(self, h: Tensor, layout: Layout) -> Tensor:
        change = self._own(h, layout)
        self._unit = self._unit.to(h.device)
        return self._control.instead_of(change, self._feature.vector_on(h.device), self._unit)


def where_it_acts(steer: Steer, layout: Layout) -> Tensor:
    """The tokens at which a steer acts: those of its positions at which its condition holds.

    Returns:
        bool [batch, position].

    Raises:
        ValueError: its condition's features were not read before.
    """
    mask = steer.positions.mask(layout.absolute, layout.prompt_length, layout.special, layout.roles)
    if steer.condition is None:
        return mask
    refuse_unread(steer, layout)
    return mask & steer.condition.holds(layout.readings)


def refuse_unread(steer: Steer, layout: Layout) -> None:
    """Refuse a steer that has to know what was not read at the tokens at hand.

    Raises:
        ValueError: it does.
    """
    for feature in steer.read_before:
        read = layout.readings.get(feature.key)
        if read is None or read.shape != layout.absolute.shape:
            raise ValueError(
                f"{steer!r:.120} depends on {shown(feature.label)}, but this forward pass came to "
                f"{steer.feature.site} without having passed {feature.site} with the same tokens; choose a feature of "
                "the residual stream."
            )


def _share(steer: Steer, layout: Layout) -> Tensor:
    """What is left of a steer's change at each token, float32 [batch, position]."""
    if steer.fading is None or layout.prompt_length is None:
        return layout.absolute.new_ones(layout.absolute.shape).float()
    return steer.fading.share(layout.absolute, layout.prompt_length)


class Readings:
    """What the conditions and transcoders of some recipes read in the forward pass that runs now, a column for each.

    Attributes:
        features: those to be read, by their site.
    """

    def __init__(self, recipes: Sequence[Recipe | None]) -> None:
        read = {each.key: each for recipe in recipes for steer in recipe or () for each in steer.read_before}
        self.features: dict[Site, list[Direction]] = {}
        for feature in read.values():
            self.features.setdefault(feature.site, []).append(feature)
        self._pass: Layout | None = None
        self._values: dict[str, Tensor] = {}

    def beside(self, site: Site, stream: Tensor, tracker: LayoutTracker) -> Layout:
        """The layout of a stream with what was read so far in its pass, at this site too.

        Args:
            site: which stream it is.
            stream: [batch, position, width], before any change.
            tracker: knows the pass.
        """
        layout = tracker.at(stream)
        if not self.features:
            return layout
        if self._pass is not tracker.layout:
            self._pass, self._values = tracker.layout, {}
        for feature in self.features.get(site, ()):
            self._values[feature.key] = feature.activation(stream.float())
        return layout.with_readings(self._values)


class Steering:
    """A context in which a model is steered.

    Only our own handles are ever removed, they are removed whatever happens, and forwards of other threads pass
    through untouched.

    Args:
        architecture: the model's parts.
        recipes: one recipe for every row of a batch, or a list with one for each row (None steers nothing).
        known: prompt length, special ids and template positions.
        watch: streams to look at before they are changed.

    Raises:
        ValueError: a recipe does not fit the model (no such block, another width, a read-only stream), or needs the
            prompt's length and does not get it.
        CompiledModelError: the model is compiled.
    """

    def __init__(
        self,
        architecture: Architecture,
        recipes: Recipe | Sequence[Recipe | None],
        known: Known | None = None,
        watch: Mapping[Site, Watch] | None = None,
    ) -> None:
        self._architecture = architecture
        self._known = known or Known()
        self._watch = dict(watch or {})
        self._rows = None if isinstance(recipes, Recipe) else len(recipes)
        self._recipes = recipes
        several = [recipes] if isinstance(recipes, Recipe) else recipes
        self._changes = _changes_of_all(recipes) if isinstance(recipes, Recipe) else _changes_of_rows(recipes)
        self._readings = Readings(several)
        # Whose words a token is of is worked out only where somebody asks.
        if not any(steer.positions.roles for recipe in several for steer in recipe or ()):
            self._known = replace(self._known, roles=())
        self._handles: list[Handle] = []
        self._paused = False
        if self._changes or self._watch:
            architecture.refuse_compiled()
        for row, recipe in enumerate(several):
            check_fits(architecture, recipe or Recipe(), self._known, None if self._rows is None else row)

    @property
    def attached(self) -> bool:
        """Whether its hooks are on the model."""
        return bool(self._handles)

    @property
    def known(self) -> Known:
        """What is known of the rows."""
        return self._known

    @property
    def watched(self) -> Mapping[Site, Watch]:
        """The streams that are looked at, and who looks."""
        return self._watch

    @property
    def changed(self) -> list[Site]:
        """The sites that it changes."""
        return list(self._changes)

    @property
    def is_paused(self) -> bool:
        """Whether forwards pass through."""
        return self._paused

    def recipes_of(self, rows: int) -> list[Recipe]:
        """The recipe of every row of a batch.

        Raises:
            ValueError: there are recipes for another number of rows.
        """
        if isinstance(self._recipes, Recipe):
            return [self._recipes] * rows
        self._refuse_other_rows(rows)
        return [recipe or Recipe() for recipe in self._recipes]

    def __enter__(self) -> Self:
        if self._handles:
            raise RuntimeError("This steering is on the model already; leave it before you enter it again.")
        sites = list(dict.fromkeys([*self._changes, *self._watch, *self._readings.features]))
        if not sites:
            return self
        try:
            self._attach(sites)
            self._architecture.steered_by.append(self)
        except BaseException:
            remove_all(self._handles)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self in self._architecture.steered_by:
            self._architecture.steered_by.remove(self)
        remove_all(self._handles)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While it lasts, forwards pass through unsteered and unwatched: for a user's code in the middle of a run."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    def _attach(self, sites: Sequence[Site]) -> None:
        thread = threading.get_ident()

        def acts() -> bool:
            # Hooks belong to one run, modules to everybody: forwards of other threads are not ours.
            return not self._paused and threading.get_ident() == thread

        parts = self._architecture
        tracker = LayoutTracker(parts.base, self._known, acts, parts.virtual_tokens)
        self._handles.append(tracker.attach())
        for site in sites:
            edit = self._edit(site, tracker, acts)
            self._handles.append(on_stream(self._architecture.hookpoint(site), edit))

    def _edit(self, site: Site, tracker: LayoutTracker, acts: Callable[[], bool]) -> Callable[[Tensor], Tensor | None]:
        watch = self._watch.get(site)
        changes = self._changes.get(site, [])

        def edit(stream: Tensor) -> Tensor | None:
            if not acts():
                return None
            layout = self._readings.beside(site, stream, tracker)
            if watch is not None:
                watch(copied(stream), layout)
            return self._changed(stream, layout, changes) if changes else None

        return edit

    def _refuse_other_rows(self, rows: int) -> None:
        if self._rows is not None and rows != self._rows:
            raise ValueError(f"{self._rows} recipes were given, one for each row, but the batch has {rows} rows.")

    def _changed(self, stream: Tensor, layout: Layout, changes: Sequence[_RowsChange]) -> Tensor:
        self._refuse_other_rows(stream.shape[0])
        steered = stream
        for each in changes:
            steered = each.among(steered, (stream.float() + each.change(stream, layout)).to(stream.dtype))
        return steered


class _RowsChange:
    """The change of the rows whose recipes are alike at a site.

    It is computed for the whole batch and taken for its rows: what kernels make of a row depends on how many there are
    in the last bit, and must not depend on what recipes the others have.

    Args:
        change: with the numbers of every row of the batch, those of other rows being anybody's.
        rows: which rows of the batch are its own; None for all.
    """

    def __init__(self, change: SiteChange, rows: Sequence[bool] | None = None) -> None:
        self.change = change
        self._rows = rows
        self._chosen: dict[torch.device, Tensor] = {}

    def among(self, others: Tensor, changed: Tensor) -> Tensor:
        """Its own rows as it changed them, and the others': [batch, position, d_model]."""
        import torch

        if self._rows is None:
            return changed
        if changed.device not in self._chosen:
            self._chosen[changed.device] = torch.tensor(self._rows, device=changed.device)[:, None, None]
        return torch.where(self._chosen[changed.device], changed, others)


def _changes_of_all(recipe: Recipe) -> dict[Site, list[_RowsChange]]:
    return {site: [_RowsChange(SiteChange(_at(recipe, site)))] for site in recipe.sites}


def _changes_of_rows(recipes: Sequence[Recipe | None]) -> dict[Site, list[_RowsChange]]:
    alike: dict[Site, dict[Hashable, dict[int, list[Steer]]]] = {}
    for row, recipe in enumerate(recipes):
        for site in recipe.sites if recipe is not None else ():
            steers = _at(recipe, site)
            forms = tuple((steer.form, steer.spec.fixes_projection and steer.is_identity) for steer in steers)
            alike.setdefault(site, {}).setdefault(forms, {})[row] = steers
    return {site: [_of_rows(own, len(recipes)) for own in groups.values()] for site, groups in alike.items()}


def _of_rows(own: Mapping[int, list[Steer]], batch: int) -> _RowsChange:
    anybodys = next(iter(own.values()))
    is_own = None if len(own) == batch else [row in own for row in range(batch)]
    return _RowsChange(SiteChange(*(own.get(row, anybodys) for row in range(batch))), is_own)


def _at(recipe: Recipe | None, site: Site) -> list[Steer]:
    return [steer for steer in recipe or () if steer.feature.site == site]


def check_fits(architecture: Architecture, recipe: Recipe, known: Known, row: int | None = None) -> None:
    """Check that a recipe can act on a model.

    Args:
        architecture: the model's parts.
        recipe: the recipe.
        known: what is known of the rows.
        row: the one that it steers; all of them where None.

    Raises:
        ValueError: there is no such block or stream, the stream is read-only, the width is another, a condition reads a
            feature of another model, or what is needed of the prompt is not known: its length, or whose words it holds.
    """
    for steer in recipe:
        feature = steer.feature
        check_feature(architecture, feature)
        if not architecture.hookpoint(feature.site).writable:
            raise ValueError(
                f"{feature.label!r} lives at {feature.site}, which can be read but not steered: {_why(feature.site)}."
            )
        if steer.waits_for and known.prompt_length is None:
            raise ValueError(
                f"{feature.label!r} {steer.waits_for}, which needs the length of the prompt; pass prompt_length= to "
                "lm.steer(…)."
            )
        rows = known.roles if row is None or len(known.roles) == 1 else known.roles[row : row + 1]
        for role in sorted(steer.positions.roles):
            _check_role(feature, role, rows)
        for read in steer.reads:
            if note := other_model_note(architecture, read):
                raise ValueError(f"The condition {steer.condition!r:.120} reads a feature of another model. {note}")
        for read in steer.read_before:
            check_feature(architecture, read)


def _check_role(feature: Direction, role: str, rows: Sequence[Sequence[str]]) -> None:
    acts = f'{shown(feature.label)} acts on the role "{role}"'
    if not rows or not all(rows):
        raise ValueError(
            f"{acts}, but whose words this text holds is not known: give messages or a templated prompt (chat=True), "
            "to lm.steer as prompt=lm.encode(messages). A chat template that leaves out or rewrites some of its "
            "messages' words does not let one tell; then say where as positions, such as .at([4, 5])."
        )
    for row in rows:
        spoken = sorted({*row, SPEAKER} - {""})
        if role not in spoken:
            raise ValueError(f"{acts}, but the messages are of {listed(spoken)}; choose one of them, or add a message.")


def _why(site: Site) -> str:
    if site.stream == "resid_mid":
        return (
            "its change would not reach the residual; steer attn_out of the same block instead, which is the same "
            "change"
        )
    return "no module of the model carries it; steer mlp_in or mlp_out of the same block instead"


def check_feature(architecture: Architecture, feature: Direction) -> None:
    """Check that a direction is as wide as the stream it lives in; warn where it was made for another model.

    Raises:
        ValueError: it is not, or the model has no such block or stream.
    """
    width = architecture.width(feature.site)
    if feature.width != width:
        raise ValueError(
            f"{feature.label!r} has {feature.width} numbers, but {feature.site} of {architecture.name} has "
            f"{width}; it was made for another model."
        )
    warn_of_other_model(architecture, feature)


class Made(Protocol):
    """A dictionary or a direction, as far as it says for which model it was made."""

    @property
    def made_for(self) -> str | None:
        """The model's name, where it says."""
        ...

    @property
    def kind(self) -> str:
        """What it is called."""
        ...

    @property
    def site(self) -> Site:
        """Where it lives."""
        ...

    @property
    def fingerprint(self) -> str:
        """Which dictionary it is, or is of."""
        ...


def other_model_note(architecture: Architecture, made: Made) -> str:
    """A sentence that names both models, where a dictionary or a feature of one was made for another; else empty."""
    of_type = getattr(made, "made_for_type", None)
    own_type = getattr(architecture.config, "model_type", None)
    if made.made_for is None and is_other_type(of_type, own_type):
        return (
            f"This {made.kind} dictionary at {made.site} was made for a model of the type {of_type}, but "
            f"{architecture.name} is of the type {own_type}: its features may mean nothing here."
        )
    if made.made_for is None or not is_other_model(made.made_for, architecture.name):
        return ""
    whose = f"This {made.kind} dictionary at {made.site} was made for {made.made_for}"
    return f"{whose}, but the model is {architecture.name}: its features may mean nothing here."


def warn_of_other_model(architecture: Architecture, made: Made) -> None:
    """Warn of `other_model_note`, once for each dictionary and model."""
    if note := other_model_note(architecture, made):
        warn_once(architecture.model, made.fingerprint, note)
