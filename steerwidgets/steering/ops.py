"""The formulas of steering, one pure function each, and the ops: entries that carry their functions.

`h` is the activation before any change, float32 [..., d_model]; `v` is a stored direction [d_model] and `v̂ = v/‖v‖`.
Each function returns `h' - h`. Ops that fix a projection return the value that `h'·v̂` shall have, since several of them
at one site are solved together (`solve_projections`).
"""

from __future__ import annotations

import functools
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from steerwidgets.files.fields import LARGEST
from steerwidgets.files.shown import shown

if TYPE_CHECKING:
    from torch import Tensor

Number: TypeAlias = "float | Tensor"
"""One number for all positions; or float32 that broadcasts to `h.shape[:-1]`, as [row, 1] has one for each row."""

Numbers = Mapping[str, "Number | None"]
"""What a steer gives the parameters of its op, by name."""

Change = Callable[[Any, Numbers, "Tensor"], "Tensor"]
"""Of the feature, its numbers and `h` float32 [..., d_model]."""

Target = Callable[[Numbers, "Tensor"], "Tensor"]
"""Of the numbers and the projection `h·v̂`, float32 [...]."""


def _wide(number: Number) -> Number:
    """A number to multiply vectors with."""
    return number if isinstance(number, float | int) else number[..., None]


def add(v: Tensor, alpha: Number) -> Tensor:
    """`α·v`: ReFT-r1 addition, CAV, SAE decoder rows (AxBench `AdditionIntervention`).

    Returns:
        float32 [d_model], the same change at every position; or one that broadcasts to `h`'s shape.
    """
    return _wide(alpha) * v


def add_relative(h: Tensor, v: Tensor, alpha: Number) -> Tensor:
    """`α·‖h‖·v̂` at each position, the unit that carries over between models and layers (Neuronpedia's lens steer).

    Returns:
        float32 [..., d_model]. Attention sinks are left to the caller's mask.
    """
    share: Tensor = (alpha * h.norm(dim=-1))[..., None] * (v / v.norm())
    return share


def reft_clamp(h: Tensor, v: Tensor, alpha: Number) -> Tensor:
    """`(α − relu(h·v))·v` (AxBench `SubspaceIntervention`, which restores the chat prefix: say `.at(…)` for that).

    With a `v` of unit norm, `h'·v` is `α` where the concept fired and `h·v + α` where it did not.

    Returns:
        float32 [..., d_model].
    """
    change: Tensor = (alpha - (h @ v).relu())[..., None] * v
    return change


def overwrite(activation: Tensor, value: Number, step: Tensor) -> Tensor:
    """The change of giving one SAE feature a value: encode, overwrite, decode, add the error term, in closed form.

    The decoder is linear, so all but this feature cancels (Templeton et al. 2024, "Scaling Monosemanticity"; checked
    against sae_lens).

    Args:
        activation: float32 [...], the feature's activation `a(h)`.
        value: the activation that it shall have.
        step: float32 [d_model] or [..., d_model], how far `h` moves for one unit of activation.

    Returns:
        float32 [..., d_model].
    """
    return (value - activation)[..., None] * step


def rescale(activation: Tensor, factor: Number, step: Tensor) -> Tensor:
    """`overwrite` with `factor` times the activation; exactly 0 where the factor is 1.

    Args:
        activation: float32 [...], the feature's activation `a(h)`.
        factor: what it is multiplied by.
        step: float32 [d_model] or [..., d_model], how far `h` moves for one unit of activation.

    Returns:
        float32 [..., d_model].
    """
    return ((factor - 1) * activation)[..., None] * step


def replaced(h: Tensor, part: slice, value: Tensor | float) -> Tensor:
    """The change that gives some numbers of `h` a value, as a head's output in `attn_z`.

    Args:
        h: float32 [..., width].
        part: which numbers.
        value: float32 [..., part], or one number for all.

    Returns:
        float32 [..., width], 0 outside of the part.
    """
    import torch

    change = torch.zeros_like(h)
    change[..., part] = value - h[..., part]
    return change


def ablated(projection: Tensor) -> Tensor:
    """The projection after ablation: 0."""
    return projection.new_zeros(()).expand_as(projection)


def projected(projection: Tensor, c: Number | None) -> Tensor:
    """The projection multiplied by `c` (Neuronpedia's orthogonal decomposition)."""
    return projection if c is None else c * projection


def clipped(projection: Tensor, lo: Number | None, hi: Number | None) -> Tensor:
    """The projection kept between `lo` and `hi`; None leaves that side open."""
    raised = projection if lo is None else projection.clamp(min=lo)
    return raised if hi is None else raised.clamp(max=hi)


def value_set(projection: Tensor, c: Number) -> Tensor:
    """The same value everywhere."""
    return (projection.new_zeros(()) + c).expand_as(projection)


def mfa_pull(h: Tensor, mu: Tensor, a: Number, move: Tensor) -> Tensor:
    """`a·(μ − h) + W·z`: both stages of MFA steering in one, since the second does not look at what the first did.

    Args:
        h: float32 [..., d_model].
        mu: the centroid [d_model].
        a: the share of the way to the centroid; it does not scale the move.
        move: `W·z` [d_model], or one that broadcasts to `h`'s shape (`mfa_move`).

    Returns:
        float32 [..., d_model].
    """
    return _wide(a) * (mu - h) + move


def mfa_move(loadings: Tensor, z: Sequence[Number]) -> Tensor:
    """`W·z`, the second stage of MFA steering.

    Args:
        loadings: float32 [d_model, rank].
        z: a number for each loading, all of one shape.

    Returns:
        float32 [d_model], or one that broadcasts to `h`'s shape.
    """
    import torch

    each = [number for number in z if isinstance(number, torch.Tensor)]
    return (torch.stack(each, dim=-1) if each else loadings.new_tensor(z)) @ loadings.T


def mfa_pull_mixture(h: Tensor, responsibilities: Tensor, mu: Tensor, a: Number, moves: Tensor | None) -> Tensor:
    """`a·(Σ r_k μ_k − h) + Σ r_k W_k·z`, each component weighted by its responsibility for `h`.

    Args:
        h: float32 [..., d_model].
        responsibilities: float32 [..., component].
        mu: the centroids [component, d_model].
        a: the share of the way.
        moves: `W_k·z` [component, d_model], or None for no move.

    Returns:
        float32 [..., d_model].
    """
    change = _wide(a) * (responsibilities @ mu - h)
    return change if moves is None else change + responsibilities @ moves


def projection_solver(unit_directions: Tensor) -> Tensor:
    """The matrix S with which `(target − h·v̂)ᵀ S V̂` is the smallest change that reaches every target at once.

    Single ablations overshoot when summed unless the directions are orthogonal; the joint least-squares solution in
    their span does not. Targets that contradict each other (parallel directions) are met in the least-squares sense.

    Args:
        unit_directions: float32 [k, d_model], rows of unit norm.

    Returns:
        float32 [k, k], the pseudo-inverse of the Gram matrix `V̂ V̂ᵀ`.
    """
    import torch

    gram = (unit_directions @ unit_directions.T).double()
    solver: Tensor = torch.linalg.pinv(gram, hermitian=True, rtol=1e-6).to(unit_directions.dtype)
    return solver


def solve_projections(residue: Tensor, unit_directions: Tensor, active: Tensor | None = None) -> Tensor:
    """The smallest change in the span of the directions that moves every projection by its residue.

    Args:
        residue: float32 [..., k], target − h·v̂ for each steer.
        unit_directions: float32 [k, d_model].
        active: bool [..., k], which steers act at which position; None where all of them act everywhere.

    Returns:
        float32 [..., d_model].
    """
    import torch

    if active is None:
        return residue @ projection_solver(unit_directions) @ unit_directions
    gram = unit_directions @ unit_directions.T
    both = active[..., :, None] & active[..., None, :]
    alone = torch.eye(gram.shape[0], dtype=torch.bool, device=gram.device) & ~both
    masked = torch.where(both, gram, 0.0) + alone.to(gram.dtype)
    solver = torch.linalg.pinv(masked.double(), hermitian=True, rtol=1e-6).to(gram.dtype)
    residue = torch.where(active, residue, 0.0)
    change: Tensor = (residue[..., None, :] @ solver)[..., 0, :] @ unit_directions
    return change


@dataclass(frozen=True)
class Parameter:
    """A number that an op takes; `low`, `high` and `step` are for a slider, not limits.

    Attributes:
        raw: it is in the feature's own units, so a slider goes as far as the feature asks for; `high` is for features
            of which nothing is known.
    """

    name: str
    symbol: str
    unit: str
    default: float | None
    low: float
    high: float
    step: float
    optional: bool = False
    raw: bool = False


@dataclass(frozen=True)
class Op:
    """What an op is called, what it takes, and what it does, in the words that a panel shows.

    Attributes:
        change: of an op that adds something: `h' - h`, float32 and of `h`'s shape or one that broadcasts to it.
        target: of an op that fixes the projection: the value that `h'·v̂` shall have, so that it is solved together
            with others at its site.
        asked: the activation that it gives the feature, float32 [...]; None for ops that only add.
        sets_value: whether it gives the feature a value, so that two on one feature would contradict each other.
        skips_sinks: whether attention sinks are left out.
        identity: the numbers with which it changes nothing whatever `h` is.
        single: parameters that take one number alone, so that rows in which theirs differ are worked out apart.
    """

    name: str
    formula: str
    summary: str
    parameters: tuple[Parameter, ...] = ()
    change: Change | None = None
    target: Target | None = None
    asked: Change | None = None
    sets_value: bool = False
    skips_sinks: bool = False
    identity: tuple[tuple[str, float | None], ...] | None = None
    single: frozenset[str] = frozenset()

    @property
    def fixes_projection(self) -> bool:
        """Whether what it sets is `h'·v̂`."""
        return self.target is not None

    def checked(self, given: Mapping[str, Any], label: str) -> dict[str, float | None]:
        """The numbers for all of its parameters, by name.

        Args:
            given: what a user gave; what is left out takes its default.
            label: the feature's, for the sentences.

        Raises:
            ValueError: a number is missing, not finite or not known, or `lo > hi`.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in given:
            if name not in known:
                raise ValueError(
                    f"The op {self.name!r} takes {', '.join(known) or 'no numbers'}, but {shown(name)} was given."
                )
        checked = {name: _number(self, parameter, given, label) for name, parameter in known.items()}
        lo, hi = checked.get("lo"), checked.get("hi")
        if lo is not None and hi is not None and lo > hi:
            raise ValueError(f"{shown(label)}.{self.name}: lo={lo:g} lies above hi={hi:g}; exchange them.")
        return checked


def _number(op: Op, parameter: Parameter, given: Mapping[str, Any], label: str) -> float | None:
    value = given.get(parameter.name, None if parameter.optional else parameter.default)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()  # an array or tensor of one element, as `acts.max()` gives it
    if value is None and parameter.optional:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not _holds(value):
        raise ValueError(
            f"{shown(label)}.{op.name}: {parameter.name} has to be a finite number, but "
            f"{'None' if value is None else shown(value)} was given (the largest of float32 is {LARGEST:.1e})."
        )
    return float(value) + 0.0  # -0.0 is 0.0


def _holds(value: Any) -> bool:
    """Whether float32 can hold a number: a larger one would be infinite in every tensor."""
    try:
        return abs(float(value)) <= LARGEST
    except OverflowError:
        return False


def _of(given: Numbers, name: str) -> Number:
    """A number that is always there."""
    value = given[name]
    return 0.0 if value is None else value


_UNIT: Final = "activation units"
_FAR: Final = 1000.0
"""What the tutorials on SAE and CAV steering of Gemma 2 take as the end of their sliders."""

OPS: Final[dict[str, Op]] = {
    op.name: op
    for op in (
        Op(
            "add",
            "h + α·v",
            "add the stored direction",
            (Parameter("alpha", "α", _UNIT, 0.0, -_FAR, _FAR, 0.5, raw=True),),
            change=lambda feature, given, h: add(feature.vector_on(h.device), _of(given, "alpha")),
            identity=(("alpha", 0.0),),
        ),
        Op(
            "add_relative",
            "h + α·‖h‖·v̂",
            "add a share of each position's own norm, attention sinks left out",
            (Parameter("alpha", "α", "share of ‖h‖", 0.0, -1.0, 1.0, 0.01),),
            change=lambda feature, given, h: add_relative(h, feature.vector_on(h.device), _of(given, "alpha")),
            skips_sinks=True,
            identity=(("alpha", 0.0),),
        ),
        Op(
            "ablate",
            "h − (h·v̂)·v̂",
            "remove what lies along the direction",
            target=lambda _given, projection: ablated(projection),
            sets_value=True,
        ),
        Op(
            "project",
            "h + (c − 1)·(h·v̂)·v̂",
            "multiply what lies along the direction",
            (Parameter("c", "c", "× projection (1 keeps it, 0 removes it)", 1.0, -2.0, 4.0, 0.05),),
            target=lambda given, projection: projected(projection, given["c"]),
            sets_value=True,
            identity=(("c", 1.0),),
        ),
        Op(
            "clip",
            "h + (clamp(h·v̂, lo, hi) − h·v̂)·v̂",
            "keep the projection between two bounds",
            (
                Parameter("lo", "lo", "projection, open if empty", None, -_FAR, _FAR, 0.5, optional=True),
                Parameter("hi", "hi", "projection, open if empty", None, -_FAR, _FAR, 0.5, optional=True),
            ),
            target=lambda given, projection: clipped(projection, given["lo"], given["hi"]),
            sets_value=True,
            identity=(("lo", None), ("hi", None)),
        ),
    )
}

REFT_OPS: Final[dict[str, Op]] = OPS | {
    "clamp": Op(
        "clamp",
        "h + (α − relu(h·v))·v",
        "put the activation at a value: what fires is removed, then the value is added",
        (Parameter("alpha", "α", _UNIT, 0.0, -_FAR, _FAR, 0.5, raw=True),),
        change=lambda feature, given, h: reft_clamp(h, feature.vector_on(h.device), _of(given, "alpha")),
        asked=lambda _feature, given, h: value_set(h[..., 0], _of(given, "alpha")),
        sets_value=True,
    )
}
"""The ops of ReFT-r1: all ops of a direction, and the clamp of AxBench."""

_KEPT_FOR_NEURONS: Final = ("add", "add_relative", "ablate", "clip")

NEURON_OPS: Final[dict[str, Op]] = {name: OPS[name] for name in _KEPT_FOR_NEURONS} | {
    op.name: op
    for op in (
        Op(
            "set",
            "hᵢ := c",
            "give the neuron a value",
            (Parameter("c", "c", "neuron's value", 0.0, -10.0, 10.0, 0.1, raw=True),),
            target=lambda given, projection: value_set(projection, _of(given, "c")),
            sets_value=True,
        ),
        Op(
            "scale",
            "hᵢ := m·hᵢ",
            "multiply the neuron's value",
            (Parameter("m", "m", "× value (1 keeps it, 0 removes it)", 1.0, -2.0, 4.0, 0.05),),
            target=lambda given, projection: projected(projection, given["m"]),
            sets_value=True,
            identity=(("m", 1.0),),
        ),
    )
}
"""The ops of a neuron, whose direction is one axis of its site, so that `h·v̂` is its value."""

SAE_OPS: Final[dict[str, Op]] = {
    op.name: op
    for op in (
        Op(
            "clamp",
            "h + (c − a(h))·s·W_dec[i]",
            "give the feature this activation; what the SAE leaves unexplained stays",
            (Parameter("c", "c", _UNIT, 0.0, 0.0, _FAR, 0.5, raw=True),),
            change=lambda feature, given, h: overwrite(feature.activation(h), _of(given, "c"), feature.step(h)),
            asked=lambda feature, given, h: value_set(feature.activation(h), _of(given, "c")),
            sets_value=True,
        ),
        Op(
            "scale",
            "h + (m − 1)·a(h)·s·W_dec[i]",
            "multiply the feature's activation",
            (Parameter("m", "m", "× activation (1 keeps it, 0 removes it)", 1.0, -2.0, 10.0, 0.1),),
            change=lambda feature, given, h: rescale(feature.activation(h), _of(given, "m"), feature.step(h)),
            asked=lambda feature, given, h: feature.activation(h) * _of(given, "m"),
            sets_value=True,
            identity=(("m", 1.0),),
        ),
        Op(
            "ablate",
            "h − a(h)·s·W_dec[i]",
            "give the feature the activation 0",
            change=lambda feature, _given, h: overwrite(feature.activation(h), 0.0, feature.step(h)),
            asked=lambda feature, _given, h: value_set(feature.activation(h), 0.0),
            sets_value=True,
        ),
        OPS["add"],
        OPS["add_relative"],
    )
}
"""What an SAE feature takes. Its setting ops sum: together they overwrite several latents at once."""


HEAD_OPS: Final[dict[str, Op]] = {
    op.name: op
    for op in (
        Op(
            "ablate",
            "z := 0",
            "put the head's output at zero",
            change=lambda feature, _given, h: replaced(h, feature.part, 0.0),
            asked=lambda feature, _given, h: value_set(feature.activation(h), 0.0),
            sets_value=True,
        ),
        Op(
            "scale",
            "z := m·z",
            "multiply the head's output",
            (Parameter("m", "m", "× output (1 keeps it, 0 removes it)", 1.0, -2.0, 4.0, 0.05),),
            change=lambda feature, given, h: replaced(h, feature.part, _wide(_of(given, "m")) * h[..., feature.part]),
            asked=lambda feature, given, h: abs(_of(given, "m")) * feature.activation(h),
            sets_value=True,
            identity=(("m", 1.0),),
        ),
    )
}
"""The ops of an attention head, whose output `z` is some of the numbers at its site."""

HEAD_OPS_WITH_MEAN: Final[dict[str, Op]] = HEAD_OPS | {
    "mean": Op(
        "mean",
        "z := mean z",
        "put the head's output at its mean over some texts",
        change=lambda feature, _given, h: replaced(h, feature.part, feature.tensor_on("mean_output", h.device)),
        asked=lambda feature, _given, h: value_set(feature.activation(h), float(feature.mean_output.norm())),
        sets_value=True,
    )
}

OP_NAMES: Final = frozenset({*OPS, *REFT_OPS, *NEURON_OPS, *SAE_OPS, *HEAD_OPS_WITH_MEAN, "pull"})
"""The ops of all kinds."""


@functools.cache
def mfa_ops(rank: int) -> dict[str, Op]:
    """The ops of a component of a mixture of factor analysers: `pull`, and those that every feature takes.

    `z` is one number for each loading: `z0`, `z1`, …, each of them 0 where it is not given.
    """
    loadings = [_loading(f"z{j}", j, f"× loading {j}") for j in range(rank)]
    pull = _pull("h + a·(μ − h) + W·z", "move towards the component's centroid, then along its loadings", loadings)
    return {"pull": pull} | {name: OPS[name] for name in ("add", "add_relative", "ablate")}


@functools.cache
def mfa_mixture_ops(rank: int, components: tuple[int, ...]) -> dict[str, Op]:
    """The op of a whole mixture, `pull`: one number for each loading, or such numbers for some components.

    Args:
        rank: the loadings of each component.
        components: those that have numbers of their own, `z20_0`, `z20_1`, …; none for one `z` that all share.
    """
    if not components:
        loadings = [_loading(f"z{j}", j, f"× loading {j} of every component") for j in range(rank)]
        formula, what = "h + a·(Σ rₖμₖ − h) + Σ rₖWₖ·z", "along the loadings that all share"
    else:
        each = [(k, j) for k in components for j in range(rank)]
        loadings = [_loading(f"z{k}_{j}", j, f"× loading {j} of component {k}") for k, j in each]
        formula, what = "h + a·(Σ rₖμₖ − h) + Σ rₖWₖ·zₖ", "along the loadings of some components"
    summary = f"move towards the centroids, then {what}, each component as far as it explains the position"
    # Every row's move of every component at once would be too large.
    return {"pull": _pull(formula, summary, loadings, single=frozenset(each.name for each in loadings))}


def _loading(name: str, loading: int, unit: str) -> Parameter:
    subscript = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
    return Parameter(name, "z" + str(loading).translate(subscript), unit, 0.0, -30.0, 30.0, 0.5)


def _pull(formula: str, summary: str, loadings: Sequence[Parameter], single: frozenset[str] = frozenset()) -> Op:
    parameters = (Parameter("a", "a", "share of the way to μ", 0.0, 0.0, 1.0, 0.01), *loadings)
    identity = tuple((each.name, 0.0) for each in parameters)
    return Op("pull", formula, summary, parameters, change=_pulled, identity=identity, single=single)


def _pulled(feature: Any, given: Numbers, h: Tensor) -> Tensor:
    a, *z = (_of(given, name) for name in given)
    change: Tensor = feature.pulled(h, a, z)
    return change
