"""Directions and features as values, the steers that are made from them, and recipes of several.

Features make steers, and steers add up to a recipe, so the four stand in one file.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Number
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, Protocol, cast

from steerwidgets.calls import tell_calls, tells_calls
from steerwidgets.files.fields import NEEDED, Fields, is_whole
from steerwidgets.files.json_text import parse_json
from steerwidgets.files.shown import shown
from steerwidgets.files.tensors import dense
from steerwidgets.steering import ops
from steerwidgets.steering.condition import Condition, compared, condition_from_json
from steerwidgets.steering.fade import Fade
from steerwidgets.steering.inline import FORMS, tensor_from_json, tensor_json
from steerwidgets.steering.ops import Numbers, Op
from steerwidgets.steering.plain import Plain
from steerwidgets.steering.positions import Positions, Where
from steerwidgets.steering.random_direction import RandomDirection
from steerwidgets.transformer.mistakes import listed, what, wrong
from steerwidgets.transformer.sites import Site

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from steerwidgets.transformer.loaded import LoadedModel

FORMAT: Final = "steerwidgets.recipe/1"
FORMAT_2: Final = "steerwidgets.recipe/2"
"""Of recipes with conditions or fades, which a reader of the first format would leave out without a word."""

FORMATS: Final = (FORMAT, FORMAT_2)
"""Those that are read."""

_DAMAGED: Final = "This recipe is damaged:"
_AGAIN: Final = "write it again with Recipe.to_json"
_MOST: Final = 2**31
"""No dictionary has so many features."""

YOUR_LABEL: Final = "your label"
"""The source of labels that the user wrote."""


@tells_calls("sw.Direction", "feature")
@dataclass(frozen=True, eq=False)
class Direction:
    """A vector at a site: it steers, reads out, has a cosine, and adds up with others.

    Args:
        vector: float32 [d_model], the stored direction `v`, kept as it is (not normalised).
        site: where it lives.
        label: what a reader calls it.

    Raises:
        ValueError: the vector is not one row of finite numbers, or is all zero.

    Example:
        >>> king = sw.Direction(torch.randn(32), sw.Site(1), "king")
        >>> man = sw.Direction(torch.randn(32), sw.Site(1), "man")
        >>> (king - man).label
        'king − man'
        >>> (king - man).add(4)
        'king − man'.add(4)
    """

    vector: Tensor
    site: Site
    label: str = "direction"

    signed: ClassVar[bool] = True
    """Whether its activation goes below zero, so that a scale of it has two ends."""

    may_be_zero: ClassVar[bool] = False
    """Whether its vector may be all zeros: one of a dictionary that has others, which then can't steer."""

    reads: ClassVar[str] = "h·v"
    """What its activation is, in a formula or a word."""

    reads_projection: ClassVar[bool] = True
    """Whether its activation moves by `α‖v‖²` when `α·v` is added, where it is above zero."""

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        tell_calls(cls, cls.__name__, "feature")

    def __post_init__(self) -> None:
        import torch

        site: Any = self.site
        if isinstance(site, int):
            object.__setattr__(self, "site", Site(site))
        elif not isinstance(site, Site):
            raise wrong("A direction", "a site", site, "say where it lives: sw.Direction(vector, sw.Site(15))")
        # A copy: a direction must not change when the tensor does that it was made from.
        vector = dense(self.vector, f"The direction {shown(self.label)}").to("cpu", torch.float32, copy=True)
        if vector.ndim != 1:
            raise ValueError(
                f"A direction is one vector [d_model], but {shown(self.label)} has shape {list(vector.shape)}."
            )
        if not bool(torch.isfinite(vector).all()):
            raise ValueError(
                f"The direction {shown(self.label)} holds NaN or infinite values, so it can't steer or read."
            )
        if not self.may_be_zero and not bool(vector.any()):
            raise ValueError(f"The direction {shown(self.label)} is all zeros, so it points nowhere.")
        object.__setattr__(self, "vector", vector)

    @property
    def key(self) -> str:
        """A name that is the same for the same direction in every session."""
        digest = hashlib.sha256(self.vector.numpy().tobytes() + str(self.site).encode()).hexdigest()
        return f"vector:{digest[:16]}"

    @property
    def kind(self) -> str:
        """What sort of dictionary it comes from; `direction` where it stands alone."""
        return "direction"

    @property
    def made_for(self) -> str | None:
        """The name of the model that it was made for, where it says."""
        return None

    @property
    def fingerprint(self) -> str:
        """That of the dictionary that it belongs to; empty where it belongs to none."""
        return ""

    @property
    def read_only(self) -> str:
        """Why it can be read but not steered; empty where it can."""
        return ""

    @property
    def ops(self) -> Mapping[str, Op]:
        """The ops that it takes, by name: none where it is read-only."""
        return {} if self.read_only else self._ops

    @property
    def _ops(self) -> Mapping[str, Op]:
        """Those of its kind."""
        return ops.OPS

    @property
    def norm(self) -> float:
        """‖v‖."""
        return float(self.vector.norm())

    @property
    def full_strength(self) -> float | None:
        """The strength of `add` that moves its activation by the largest one known; None where none is known."""
        return None

    @property
    def width(self) -> int:
        """How many numbers it reads at its site."""
        return len(self.vector)

    @property
    def steered_as(self) -> Direction:
        """What steers of it act on: itself, but for what is read at one place and steered at another."""
        return self

    @property
    def read_as(self) -> Direction:
        """What tells its activation: itself, but for what is steered at one place and read at another."""
        return self

    def given(self, readings: Mapping[str, Tensor]) -> Direction:  # noqa: ARG002 - of those that are read elsewhere
        """Itself, knowing what features read in the forward pass that runs now.

        Args:
            readings: what they read, float32 [batch, position] by their keys.

        Returns:
            Itself, but for what is steered at one place and read at another.

        Example:
            >>> music = cavs["music"]
            >>> music.given({}) is music
            True
        """
        return self

    @property
    def is_read_along_it(self) -> bool:
        """Whether its activation is `h·v`, so that the direction alone is enough to read it."""
        return type(self).activation is Direction.activation

    @property
    def direction(self) -> Direction:
        """The bare vector, free of any dictionary."""
        return Direction(self.vector, self.site, self.label)

    @property
    def output(self) -> Direction:
        """What it writes per unit of its activation, where it writes it: itself, but for a transcoder's feature."""
        return self

    def activation(self, h: Tensor) -> Tensor:
        """How much of it is in a residual: `h·v`.

        Args:
            h: [..., d_model].

        Returns:
            float32 [...].

        Raises:
            ValueError: the residual has another width than the direction.

        Example:
            >>> h = torch.randn(4, 32)  # the residuals of four tokens
            >>> torch.allclose(cavs["music"].activation(h), h @ cavs["music"].vector)
            True
        """
        self._refuse_other_width(h)
        return h.float() @ self.vector_on(h.device)

    def _op(self, name: str) -> Op:
        if name not in self.ops:
            raise ValueError(not_taken(self, name))
        return self.ops[name]

    def change(self, op: str, parameters: Numbers, h: Tensor) -> Tensor:
        """The change of an op that adds something.

        Args:
            op: its name.
            parameters: its numbers, each of them one for all positions, or float32 that broadcasts to `h.shape[:-1]`.
            h: float32 [..., d_model].

        Returns:
            float32, of `h`'s shape or one that broadcasts to it.

        Raises:
            ValueError: it does not take the op, or can be read but not steered.

        Example:
            >>> h = torch.randn(4, 32)
            >>> torch.equal(cavs["music"].change("add", {"alpha": 2.0}, h), 2 * cavs["music"].vector)
            True
        """
        change = self._op(op).change
        assert change is not None
        return change(self, parameters, h)

    def target(self, op: str, parameters: Numbers, projection: Tensor) -> Tensor:
        """The value that `h'·v̂` shall have after an op that fixes the projection.

        Args:
            op: its name.
            parameters: its numbers.
            projection: float32 [...], `h·v̂`.

        Returns:
            float32 [...].

        Example:
            >>> cavs["music"].target("project", {"c": 0.5}, torch.tensor([4.0, -2.0]))
            tensor([ 2., -1.])
        """
        target = self._op(op).target
        assert target is not None
        return target(parameters, projection)

    def asked(self, op: str, parameters: Numbers, h: Tensor) -> Tensor | None:
        """The activation that an op gives the feature, where it gives it one; None for ops that only add.

        Args:
            op: its name.
            parameters: its numbers.
            h: float32 [..., d_model].

        Returns:
            float32 [...], or None.

        Example:
            >>> cavs["music"].asked("add", {"alpha": 2.0}, torch.randn(4, 32)) is None
            True
            >>> reft["music"].asked("clamp", {"alpha": 9.0}, torch.randn(2, 32)).shape
            torch.Size([2])
        """
        asked = self._op(op).asked
        return None if asked is None else asked(self, parameters, h)

    def _refuse_other_width(self, h: Tensor) -> None:
        if h.shape[-1] != len(self.vector):
            raise ValueError(
                f"{shown(self.label)} reads {len(self.vector)} numbers at {self.site}, but the activations have "
                f"{h.shape[-1]}; it was made for another model or site."
            )

    def __getattr__(self, name: str) -> Any:
        # Reached only where there is no such attribute: an op without a method of its own is made of its entry, and one
        # of another kind gets the sentence that names this one's.
        if name in ops.OP_NAMES:
            if name in self.ops:
                return functools.partial(_steer_by, self, name)
            raise AttributeError(not_taken(self, name), name=name, obj=self)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def vector_on(self, device: torch.device) -> Tensor:
        """The vector on a device; it is moved there once.

        Args:
            device: as torch has it.

        Returns:
            float32 [d_model].

        Example:
            >>> cavs["music"].vector_on(torch.device("cpu")).shape
            torch.Size([32])
        """
        return self.tensor_on("vector", device)

    def tensor_on(self, name: str, device: torch.device) -> Tensor:
        """A tensor of its own on a device; it is moved there once, and not in every forward pass.

        Args:
            name: the attribute that holds it, such as `vector`.
            device: as torch has it.

        Returns:
            The tensor, on the device.

        Example:
            >>> cavs["music"].tensor_on("vector", torch.device("cpu")).shape
            torch.Size([32])
        """
        placed: dict[tuple[str, torch.device], Tensor] = self.__dict__.setdefault("_placed", {})
        if (name, device) not in placed:
            placed[name, device] = getattr(self, name).to(device)
        return placed[name, device]

    def plain(self, *, read: bool = False) -> Plain:
        """What its ops need of it, as tensors and plain functions, for a model that runs elsewhere.

        Args:
            read: whether its activation is asked for by itself, as conditions do.

        Returns:
            The feature without its dictionary.

        Raises:
            ValueError: it can't be told apart from its dictionary.

        Example:
            >>> h = torch.randn(4, 32)
            >>> torch.equal(cavs["music"].plain().activation(h), cavs["music"].activation(h))
            True
        """
        return self._plain(read)

    def _plain(self, read: bool) -> Plain:  # noqa: ARG002 - of those that need more to be read
        return Plain(self.vector)

    def cosine(self, other: Direction) -> float:
        """The cosine between the two vectors; 0 where one is all zeros and points nowhere.

        Args:
            other: a direction at the same site.

        Returns:
            −1 to 1.

        Raises:
            ValueError: the two live at different sites, or are of different widths.

        Example:
            >>> round(cavs["music"].cosine(-cavs["music"]), 3)
            -1.0
        """
        _same_site(self, other)
        both = self.norm * other.norm
        return float(self.vector @ other.vector) / both if both else 0.0

    def add(self, alpha: float) -> Steer:
        """Add `alpha` times the stored vector: `h + α·v`.

        Activation addition, as AxBench's `AdditionIntervention` and the steering tutorials of sae_lens have it.

        Args:
            alpha: times the stored vector; where that is of unit norm, in units of the residual.

        Returns:
            The steer.

        Example:
            >>> cavs["music"].add(40)
            'music'.add(40)
        """
        return Steer(self, "add", {"alpha": alpha})

    def add_relative(self, alpha: float) -> Steer:
        """Add `alpha` times each position's own norm along the unit vector: `h + α·‖h‖·v̂`; attention sinks left out.

        The unit that carries over between models and layers (Neuronpedia's lens steer).

        Args:
            alpha: a share of ‖h‖.

        Returns:
            The steer.

        Example:
            >>> cavs["music"].add_relative(0.5)
            'music'.add_relative(0.5)
        """
        return Steer(self, "add_relative", {"alpha": alpha})

    def ablate(self) -> Steer:
        """Remove what lies along the direction: `h − (h·v̂)·v̂`.

        Directional ablation, as EasySteer's `erase`. Several at one site are solved together, so that all projections
        end at 0 where directions are not orthogonal.

        Returns:
            The steer.

        Example:
            >>> cavs["music"].ablate()
            'music'.ablate()
        """
        return Steer(self, "ablate")

    def project(self, c: float) -> Steer:
        """Multiply what lies along the direction by `c`: 1 keeps it, 0 removes it, negative values flip it.

        `h + (c − 1)(h·v̂)·v̂`, Neuronpedia's orthogonal decomposition.

        Args:
            c: the factor.

        Returns:
            The steer.

        Example:
            >>> cavs["music"].project(1).is_identity
            True
        """
        return Steer(self, "project", {"c": c})

    def clip(self, lo: float | None = None, hi: float | None = None) -> Steer:
        """Keep `h·v̂` between `lo` and `hi`, in units of the projection on the unit vector; None leaves a side open.

        `h + (clamp(h·v̂, lo, hi) − h·v̂)·v̂`: the floor `lo` and the cap `hi` of work on persona axes.

        Args:
            lo: the lower bound, in units of the residual.
            hi: the upper bound, likewise.

        Returns:
            The steer.

        Raises:
            ValueError: `lo` is above `hi`.

        Example:
            >>> cavs["music"].clip(hi=10)
            'music'.clip(None, 10)
        """
        return Steer(self, "clip", {"lo": lo, "hi": hi})

    def __gt__(self, threshold: float) -> Condition:
        """A condition: what it reads at a token, before any change at its site, is above a number."""
        return compared(self.read_as, ">", threshold)

    def __lt__(self, threshold: float) -> Condition:
        """A condition: what it reads at a token, before any change at its site, is below a number."""
        return compared(self.read_as, "<", threshold)

    def _refuse_equality(self, _threshold: Any) -> NoReturn:
        raise TypeError(
            f"A condition compares {shown(self.label)} by > or <; a reading that equals a number to the last bit is "
            "chance, so >= and <= are none."
        )

    __ge__ = __le__ = _refuse_equality

    def _refuse_joining(self, other: Any) -> NoReturn:
        raise TypeError(
            f"& and | join conditions and bind tighter than > and <, so put each comparison in parentheses, as in "
            f"(feature > 1) & (other < 3); {shown(self.label)} was joined with {what(other)}."
        )

    __and__ = __rand__ = __or__ = __ror__ = _refuse_joining

    # NumPy's numbers leave comparing and multiplying to the direction.
    __array_ufunc__ = None

    def __add__(self, other: Direction) -> Direction:
        _same_site(self, other)
        return Direction(self.vector + other.vector, self.site, f"{self.label} + {other.label}")

    def __sub__(self, other: Direction) -> Direction:
        _same_site(self, other)
        return Direction(self.vector - other.vector, self.site, f"{self.label} − {other.label}")

    def __mul__(self, factor: float) -> Direction:
        return Direction(self.vector * factor, self.site, f"{factor:g}·{self.label}")

    __rmul__ = __mul__

    def __neg__(self) -> Direction:
        return Direction(-self.vector, self.site, f"−{self.label}")

    def __repr__(self) -> str:
        return f"<{self.kind} {self.label!r} at {self.site}>"


@dataclass(frozen=True, eq=False, repr=False)
class Feature(Direction):
    """One entry of a dictionary.

    Args:
        dictionary: the dictionary's fingerprint, which a recipe keeps instead of the vector.
        dictionary_kind: `CAV`, `SAE`, `ReFT`, …
        index: the row in the dictionary.
        max_activation: its largest activation over `max_activation_of`, where known.
        max_activation_of: the corpus of what is known of its activations.
        typical_activation: the median of its activations there where it is active, where known.
        p995_activation: their 99.5th percentile, where known: where colour scales end.
        made_for: the name of the model that the dictionary was made for, where it says.
        made_for_type: the type of that model, `qwen2`, where no more is known.
        label_source: where the label comes from: "your label" where the user wrote it, a file's name, a method.
        suggested: an op and its strength that were seen to work, where known.
        zero_activation: the activation that says nothing, where it is known and is not 0: where colour scales begin.
        zero_of: what that is, as "95th percentile of tokens of held-out texts without it".

    Example:
        >>> feature = cavs["music"]  # a dictionary makes them
        >>> feature.index, feature.kind, feature.max_activation
        (1, 'CAV', 8.0)
        >>> feature.key == f"{cavs.fingerprint}/1"
        True
    """

    may_be_zero: ClassVar[bool] = True

    dictionary: str = ""
    dictionary_kind: str = ""
    index: int = 0
    max_activation: float | None = None
    max_activation_of: str | None = None
    suggested: tuple[str, Mapping[str, float]] | None = None
    typical_activation: float | None = None
    made_for: str | None = None
    label_source: str = ""
    p995_activation: float | None = None
    zero_activation: float | None = None
    zero_of: str = ""
    made_for_type: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        # A file may suggest how to steer with what points nowhere.
        if self.suggested is not None and self.suggested[0] not in self.ops:
            object.__setattr__(self, "suggested", None)

    @property
    def key(self) -> str:
        """The dictionary's fingerprint and the index."""
        return f"{self.dictionary}/{self.index}"

    @property
    def kind(self) -> str:
        """The dictionary's kind."""
        return self.dictionary_kind

    @property
    def fingerprint(self) -> str:
        """The dictionary's."""
        return self.dictionary

    @property
    def read_only(self) -> str:
        """Why it can be read but not steered; empty where it can."""
        return "" if self._has_length else f"{self._stored} is all zeros and points nowhere"

    @functools.cached_property
    def _has_length(self) -> bool:
        return bool(self.vector.any())

    @property
    def _stored(self) -> str:
        """What its vector is called in its dictionary."""
        return "its vector"

    @property
    def page(self) -> str | None:
        """The address of a page about it, where its file names one; as it stands there, so nobody has checked it."""
        return None

    @property
    def mixing(self) -> float | None:
        """The share of a mixture that is its own, 0 to 1; None where it is no component of one."""
        return None

    @property
    def loadings(self) -> Tensor | None:
        """The directions that span its region, float32 [d_model, rank]; None where it has none."""
        return None

    def expected_latent(self, h: Tensor) -> Tensor | None:  # noqa: ARG002 - of components alone
        """Where `h` lies along its loadings; None where it has none.

        Args:
            h: [..., d_model].

        Returns:
            float32 [..., rank], or None.

        Example:
            >>> cavs["music"].expected_latent(torch.zeros(32)) is None
            True
        """
        return None

    @property
    def not_inline(self) -> str:
        """Why an op of its kind can't be written out without its dictionary; empty where it can."""
        return f"a recipe has no form for features of the kind {self.kind}"

    def inline(self) -> dict[str, Any]:
        """What the ops of its kind need of it, as a JSON value that the reader of its `form` reads.

        Returns:
            A JSON value.

        Raises:
            NotImplementedError: there is no such form for its kind.

        Example:
            >>> sae["the sea"].inline()["form"]
            'latent'
        """
        raise NotImplementedError(self.not_inline)

    @property
    def full_strength(self) -> float | None:
        """The strength of `add` that moves its activation by the largest one known; None where none is known.

        What is read as `h·v` moves by `α‖v‖²`.
        """
        squared = self.norm**2
        return self.max_activation / squared if squared and self.max_activation and self.max_activation > 0 else None

    def __repr__(self) -> str:
        whose = f" ({YOUR_LABEL})" if self.label_source == YOUR_LABEL else ""
        return f"<{self.kind} {self.label!r}{whose} at {self.site}>"


@tells_calls("sw.Steer", "steer")
@dataclass(frozen=True)
class Steer:
    """One change: a feature, an op with its numbers, and the positions where it acts.

    With a `control`, the change is put along a random direction instead, as long at every position as it was: a steer
    that is about nothing, to compare with.

    Steers compare and hash by what they do. `+` makes a `Recipe`.

    Args:
        feature: what is changed.
        op: the op's name, one of `feature.ops`.
        parameters: the op's numbers by name.
        positions: where it acts; everywhere by default.
        control: the random direction that takes the place of the feature's own, or None.
        condition: what has to hold at a token for it to act there, or None; `when` sets it.
        fading: how its change fades along the generated text, or None; `fade` sets it.

    Raises:
        ValueError: the feature does not take the op, a number is missing, not finite or not known, or `lo > hi`.

    Example:
        >>> steer = cavs["music"].add(40).at("generated")
        >>> steer.op, dict(steer.parameters), steer.positions.where
        ('add', {'alpha': 40.0}, 'generated')
        >>> steer.when(sae["the sea"] > 2).fade(over=16)
        'music'.add(40).at('generated').when('the sea' > 2).fade(to=0, over=16)
    """

    feature: Direction
    op: str
    parameters: Mapping[str, float | None] = field(default_factory=dict)
    positions: Positions = field(default_factory=Positions)
    control: RandomDirection | None = None
    condition: Condition | None = None
    fading: Fade | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "feature", self.feature.steered_as)
        if self.op not in self.feature.ops:
            raise ValueError(not_taken(self.feature, self.op))
        object.__setattr__(self, "parameters", self.spec.checked(self.parameters, self.feature.label))
        condition: Any = self.condition
        if condition is not None and not isinstance(condition, Condition):
            raise wrong("steer.when", "a condition", condition, "compare a feature with a number: feature > 3.0")
        for feature in self.read_before:
            if feature.site > self.feature.site:
                raise ValueError(
                    f"{shown(self.feature.label)} is steered at {self.feature.site}, before the forward pass comes to "
                    f"{feature.site}, where {shown(feature.label)} is read; choose a feature of that site or an "
                    "earlier one for the condition."
                )

    def at(self, where: Positions | Where | Sequence[int], *, count: int | None = None, special: bool = True) -> Steer:
        """The same steer at other positions, as `steer.at("generated")`, `steer.at([3, 4])` or `steer.at(sw.first(5))`.

        Args:
            where: `all`, `prompt`, `generated`, `last_prompt`, `first`, `after`, indices from 0, or `Positions`, such
                as `sw.role("assistant")`.
            count: how many positions, for `first` and `after`.
            special: whether special tokens and the words of the chat template are steered too.

        Returns:
            Another steer.

        Raises:
            ValueError: a setting is missing, negative or not known.
            TypeError: it is no word, no list and no `Positions`.

        Example:
            >>> cavs["music"].add(40).at("first", count=5).positions.count
            5
        """
        return replace(self, positions=Positions.parse(where, count=count, special=special))

    def when(self, condition: Condition | None) -> Steer:
        """The same steer, acting only at the tokens where a condition holds: `steer.when(feature > 3.0)`.

        The feature may be of any dictionary, at the steer's site or an earlier one. It is read at each token before
        any change at its own site (`Condition` says what that means where several sites are steered), and costs what
        a single-feature read costs: one encoder column for a standard or JumpReLU SAE. Conditional activation steering
        (CAST, Lee et al. 2024, arXiv 2409.05907) decides once for a whole prompt; here each token decides for itself.

        Args:
            condition: comparisons of features with numbers, joined by `&` and `|`; it takes the place of an earlier
                one, and None lifts it.

        Returns:
            Another steer.

        Raises:
            TypeError: it is no condition.
            ValueError: a feature is read at a later site than the steer's.

        Example:
            >>> cavs["music"].add(40).when((sae["the sea"] > 2) | (cavs["food"] < 0))
            'music'.add(40).when(('the sea' > 2) | ('food' < 0))
        """
        return replace(self, condition=condition)

    def fade(self, to: float = 0.0, over: int = 32) -> Steer:
        """The same steer, its change multiplied by a share that goes from 1 to `to` along the generated text.

        At generated token `t` the share is `1 + (to − 1)·min(t/over, 1)`; in the prompt it is 1. For `add` that is a
        strength that goes from `α` to `to·α`. Ops that give a value fade alike: the change fades, not the value, so
        that an ablation which has faded to 0 changes nothing.

        Args:
            to: the share that is left at the end; 0 leaves nothing, 1 lifts an earlier fade.
            over: how many generated tokens that takes.

        Returns:
            Another steer.

        Raises:
            ValueError: `to` is no finite number, or `over` no whole number from 1 on.

        Example:
            >>> cavs["music"].add(40).fade(to=0.25, over=16)
            'music'.add(40).fade(to=0.25, over=16)
        """
        fading = Fade(to, over)
        return replace(self, fading=None if fading.to == 1 else fading)

    def random_direction(self, seed: int = 0) -> Steer:
        """The same change along a random direction: `sign(δ·v)·‖δ‖·û` at each position, with `δ` what the op does.

        The op is worked out with the feature's own direction, so `‖change‖/‖h‖` stays what it is; a value that it asks
        of the feature is no longer reached. The same seed gives the same direction for the same feature.

        A placebo, as the random vectors of equal norm that Turner et al. (2023, "Activation Addition") compare with.

        Args:
            seed: which direction.

        Returns:
            Another steer.

        Raises:
            TypeError: the seed is no whole number.

        Example:
            >>> cavs["music"].add(40).random_direction(seed=1)
            'music'.add(40).random_direction(1)
        """
        return replace(self, control=RandomDirection(seed))

    def own_direction(self) -> Steer:
        """The same steer without a control.

        Returns:
            Another steer.

        Example:
            >>> steer = cavs["music"].add(40)
            >>> steer.random_direction().own_direction() == steer
            True
        """
        return replace(self, control=None)

    @property
    def spec(self) -> Op:
        """What its op is."""
        return self.feature.ops[self.op]

    @property
    def is_of_direction(self) -> bool:
        """Whether its op needs the direction alone, and nothing else of the feature's dictionary."""
        return ops.OPS.get(self.op) is self.spec

    @property
    def features(self) -> tuple[Direction, ...]:
        """What it needs to know: the feature that it changes, and those that its condition reads."""
        return (self.feature, *self.reads)

    @property
    def read_before(self) -> tuple[Direction, ...]:
        """The features whose activations it has to know, read before it acts: its condition's, and a transcoder's."""
        own = self.feature.read_as
        is_read = own is not self.feature and not self.is_of_direction
        return (*self.reads, own) if is_read else self.reads

    @property
    def reads(self) -> tuple[Direction, ...]:
        """The features that its condition reads."""
        return cast("tuple[Direction, ...]", () if self.condition is None else self.condition.features)

    def needs_all_of(self, feature: Direction) -> bool:
        """Whether it needs more of one of its features than the direction.

        Args:
            feature: one of `features`.

        Returns:
            True where its op, or what is read of the feature, needs more.

        Example:
            >>> steer = cavs["music"].add(40).when(sae["the sea"] > 2)
            >>> [steer.needs_all_of(feature) for feature in steer.features]
            [False, True]
        """
        is_read = any(feature.key == each.key for each in self.reads)
        is_steered = feature.key == self.feature.key
        return (is_steered and not self.is_of_direction) or (is_read and not feature.is_read_along_it)

    @property
    def waits_for(self) -> str:
        """Why it needs to know how long the prompt is, in words; empty where it does not."""
        if self.positions.needs_prompt_length:
            return f"acts on {self.positions.named}"
        return "fades over the generated tokens" if self.fading is not None else ""

    @property
    def is_setter(self) -> bool:
        """Whether it gives the feature a value (so that two on one feature would contradict each other)."""
        return self.spec.sets_value and self.control is None

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing whatever `h` is."""
        identity = self.spec.identity
        return identity is not None and dict(self.parameters) == dict(identity)

    @property
    def form(self) -> tuple[Any, ...]:
        """What it has in common with steers that differ by their numbers alone, and so can be worked out with it."""
        apart = {"feature", "parameters", "control"}
        rest = [getattr(self, each.name) for each in fields(self) if each.name not in apart]
        single = [(name, value) for name, value in self.parameters.items() if name in self.spec.single]
        open_ended = [name for name, value in self.parameters.items() if value is None]
        return (type(self.feature), self.feature.key, self.control is None, *rest, *single, *open_ended)

    @property
    def identity_key(self) -> tuple[Any, ...]:
        """What makes two steers the same one."""
        numbers = tuple(sorted(self.parameters.items()))
        return (self.feature.key, self.op, numbers, self.positions, self.control, self.condition, self.fading)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Steer) and self.identity_key == other.identity_key

    def __hash__(self) -> int:
        return hash(self.identity_key)

    def __add__(self, other: Steer | Recipe) -> Recipe:
        return Recipe.of(self) + other

    def __repr__(self) -> str:
        several = len(self.parameters) > 2
        shown = {name: value for name, value in self.parameters.items() if value or not several}
        values = {name: "None" if value is None else f"{value:g}" for name, value in shown.items()}
        numbers = ", ".join(f"{name}={value}" if several else value for name, value in values.items())
        where = "" if self.positions == Positions() else f".at({self.positions.code()})"
        control = "" if self.control is None else f".random_direction({self.control.seed})"
        when = "" if self.condition is None else f".when({self.condition!r})"
        fade = "" if self.fading is None else f".fade(to={self.fading.to:g}, over={self.fading.over})"
        return f"{self.feature.label!r}.{self.op}({numbers}){control}{where}{when}{fade}"


def _steer_by(feature: Direction, op: str, *values: float | None, **numbers: float | None) -> Steer:
    """A steer whose numbers are given in the order of its op's parameters, or by name."""
    names = [parameter.name for parameter in feature._op(op).parameters]  # noqa: SLF001
    if len(values) > len(names):
        raise TypeError(f"The op {op!r} takes {', '.join(names) or 'no numbers'}, but {len(values)} values were given.")
    return Steer(feature, op, dict(zip(names, values, strict=False)) | numbers)


def not_taken(feature: Direction, op: str) -> str:
    """The sentence for an op that a feature does not take."""
    if feature.read_only:
        return f"{shown(feature.label)} can be read but not steered: {feature.read_only}."
    taken = f"it takes {', '.join(feature.ops)}" if feature.ops else "it can be read but not steered"
    return f"The {shown(feature.kind)[1:-1]} feature {shown(feature.label)} does not take the op {shown(op)}; {taken}."


def _same_site(a: Direction, b: Any) -> None:
    if not isinstance(b, Direction):
        told = "strengths are given by an op: feature.add(40), or feature * 2"
        raise wrong("Adding, subtracting and comparing directions", "another direction", b, told)
    if a.site != b.site or a.vector.shape != b.vector.shape:
        raise ValueError(
            f"{a.label!r} is {len(a.vector)} numbers at {a.site} and {b.label!r} is {len(b.vector)} at {b.site}; "
            "only directions of one site go together."
        )


def _no_steer(given: Any) -> TypeError:
    """The error for what is no steer, with the one that was meant."""
    takes = "steers such as feature.add(40)"
    if isinstance(given, Direction):
        called = [f"feature.{name}({', '.join('…' for _ in op.parameters)})" for name, op in given.ops.items()]
        told = f"say what to do with it: {listed(called)}" if called else "it can be read but not steered"
        return wrong("A recipe", takes, given, told)
    if callable(given) and hasattr(given, "__self__"):
        return wrong("A recipe", takes, given, f"give it a number: feature.{given.__name__}(40)")
    if isinstance(given, Number):
        return wrong("A recipe", takes, given, "say of which feature it is the strength: feature.add(40)")
    if hasattr(given, "fingerprint") and hasattr(given, "site"):
        return wrong("A recipe", takes, given, "choose a feature of it and say what to do: dictionary[123].add(40)")
    if isinstance(given, str):
        return wrong("A recipe", takes, given, f"find the feature first: dictionary[{given!r}].add(40)")
    return wrong("A recipe", takes, given, "give a steer, several, or None for no change")


def checked_directions(given: Any, call: str, meant: str) -> list[Direction]:
    """One feature or direction, or several, as a list.

    Args:
        given: what was given.
        call: the call, as `lm.output_scores`.
        meant: its argument, as `[feature]`.

    Raises:
        TypeError: something is none; the sentence names the call that was meant.
    """
    if isinstance(given, str) or not isinstance(given, Iterable) or hasattr(given, "fingerprint"):
        return [checked_direction(given, call, meant)]
    return [checked_direction(each, call, meant) for each in given]


def checked_direction(given: Any, call: str, meant: str = "feature") -> Direction:
    """A feature or direction.

    Raises:
        TypeError: it is none; the sentence names the call that was meant.
    """
    if isinstance(given, Direction):
        return given
    takes = "a feature or direction"
    if isinstance(given, Steer):
        raise wrong(call, takes, given, f"give the feature without an op: {call}({meant})")
    if hasattr(given, "fingerprint") and hasattr(given, "site"):
        raise wrong(call, takes, given, f"choose one of its features: {call}(dictionary[123])")
    if hasattr(given, "shape"):
        raise wrong(call, takes, given, f"say where it lives: {call}(sw.Direction(vector, sw.Site(15)))")
    if isinstance(given, str | int):
        raise wrong(call, takes, given, f"find it in a dictionary first: {call}(dictionary[{given!r}])")
    raise wrong(call, takes, given, f"give one, as in {call}(dictionary[123])")


class FeatureSource(Protocol):
    """What a recipe needs of a dictionary to find a feature again."""

    @property
    def fingerprint(self) -> str:
        """The name that a recipe keeps."""
        ...

    def __getitem__(self, index: int) -> Feature: ...


@tells_calls("sw.Recipe", "recipe")
@dataclass(frozen=True, eq=False)
class Recipe:
    """A multiset of steers; the order never matters.

    Every steer computes its change from the same `h`, and the changes are summed.

    Args:
        steers: what it is made of; `Recipe.of` and `+` make one of whatever a user writes.

    Raises:
        ValueError: two steers set the same feature at positions that may overlap.

    Example:
        >>> recipe = cavs["the sea"].add(36) + cavs["music"].ablate().at("generated")
        >>> len(recipe), recipe.sites
        (2, (Site(layer=1, stream='resid_post'),))
    """

    steers: tuple[Steer, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "steers", tuple(self.steers))
        setters = [steer for steer in self.steers if steer.is_setter]
        for i, first in enumerate(setters):
            for second in setters[i + 1 :]:
                if first.feature.key == second.feature.key and _may_meet(first, second):
                    raise ValueError(
                        f"{first!r:.120} and {second!r:.120} both set {shown(first.feature.label)} at positions "
                        "that overlap; "
                        "keep one of them, or give them positions apart."
                    )

    @classmethod
    def of(cls, steers: Recipe | Steer | Iterable[Steer] | None) -> Recipe:
        """A recipe from what a user writes: a recipe, one steer, several, or None for no change.

        Args:
            steers: what a user writes.

        Returns:
            The recipe; an empty one changes nothing.

        Raises:
            TypeError: something among them is no steer.
            ValueError: two of them set the same feature at positions that may overlap.

        Example:
            >>> len(sw.Recipe.of(None)), len(sw.Recipe.of([cavs[0].add(1), cavs[1].add(2)]))
            (0, 2)
        """
        if steers is None:
            return cls()
        if isinstance(steers, Recipe):
            return steers
        if isinstance(steers, Steer):
            return cls((steers,))
        if isinstance(steers, Direction | str) or not isinstance(steers, Iterable):
            raise _no_steer(steers)
        given: Iterable[Any] = steers
        items = tuple(part for item in given for part in (item.steers if isinstance(item, Recipe) else (item,)))
        for item in items:
            if not isinstance(item, Steer):
                raise _no_steer(steers if hasattr(steers, "fingerprint") else item)
        return cls(items)

    def at(self, where: Positions | Where | Sequence[int], *, count: int | None = None, special: bool = True) -> Recipe:
        """The same steers, all at other positions.

        Args:
            where: as for `Steer.at`.
            count: likewise.
            special: likewise.

        Returns:
            Another recipe.

        Raises:
            ValueError: a setting is missing, negative or not known.
            TypeError: it is no word, no list and no `Positions`.

        Example:
            >>> recipe = cavs[0].add(1) + cavs[1].add(2)
            >>> {steer.positions.where for steer in recipe.at("prompt")}
            {'prompt'}
        """
        return Recipe(tuple(steer.at(where, count=count, special=special) for steer in self.steers))

    def when(self, condition: Condition | None) -> Recipe:
        """The same steers, all acting only at the tokens where a condition holds.

        Args:
            condition: as for `Steer.when`.

        Returns:
            Another recipe.

        Raises:
            TypeError: it is no condition.
            ValueError: a feature is read at a later site than that of a steer.

        Example:
            >>> (cavs[0].add(1) + cavs[1].add(2)).when(sae[3] > 2).steers[1]
            'music'.add(2).when('the sea' > 2)
        """
        return Recipe(tuple(steer.when(condition) for steer in self.steers))

    def fade(self, to: float = 0.0, over: int = 32) -> Recipe:
        """The same steers, all fading along the generated text.

        Args:
            to: as for `Steer.fade`.
            over: likewise.

        Returns:
            Another recipe.

        Raises:
            ValueError: `to` is no finite number, or `over` no whole number from 1 on.

        Example:
            >>> (cavs[0].add(1) + cavs[1].add(2)).fade(over=8).steers[0]
            'the sea'.add(1).fade(to=0, over=8)
        """
        return Recipe(tuple(steer.fade(to, over) for steer in self.steers))

    def random_direction(self, seed: int = 0) -> Recipe:
        """The same recipe, each of its changes as long as it was but along a random direction: a row to compare with.

        Args:
            seed: which directions; as for `Steer.random_direction`.

        Returns:
            Another recipe.

        Raises:
            TypeError: the seed is no whole number.

        Example:
            >>> (cavs[0].add(1) + cavs[1].add(2)).random_direction(3).steers[0].control.seed
            3
        """
        return Recipe(tuple(steer.random_direction(seed) for steer in self.steers))

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites that it changes, in the network's order."""
        return tuple(sorted({steer.feature.site for steer in self.steers}))

    @property
    def sites_read(self) -> tuple[Site, ...]:
        """The sites that it has to see, those of its conditions included, in the network's order."""
        return tuple(sorted({each.site for steer in self.steers for each in (steer.feature, *steer.read_before)}))

    @property
    def fingerprint(self) -> str:
        """A short hash of what the recipe does, the same in every session.

        Example:
            >>> sea, food = cavs["the sea"].add(40), cavs["food"].ablate()
            >>> (sea + food).fingerprint == (food + sea).fingerprint  # the order never matters
            True
        """
        canonical = sorted(json.dumps(_what_it_does(steer)) for steer in self.steers)
        return hashlib.sha256("\n".join(canonical).encode()).hexdigest()[:16]

    def to_json(self, *, inline: bool = False, indent: int | None = None) -> str:
        """The recipe as text.

        Features are kept as dictionary fingerprint and index; directions that belong to no dictionary are written
        out. With `inline=True` all that each op needs is written out, so that the text can be read without any
        dictionary: for each feature one vector, three for an op of an SAE, and one more than loadings for a `pull`.

        Args:
            inline: whether all that each op needs is written out.
            indent: how far JSON is indented; None for one line.

        Returns:
            JSON text.

        Raises:
            ValueError: with `inline=True`, an op needs more of its dictionary than one feature: of a TopK SAE, of one
                that sae_lens computes, or of a whole mixture.

        Example:
            >>> text = sw.Recipe.of(cavs["music"].add(40)).to_json()
            >>> sw.Recipe.from_json(text, [cavs])
            'music'.add(40)
        """
        return recipe_json(self, inline=lambda _feature: inline, indent=indent)

    @classmethod
    def from_json(cls, text: str, dictionaries: Sequence[FeatureSource] = ()) -> Recipe:
        """The inverse of `to_json`.

        Args:
            text: what `to_json` wrote.
            dictionaries: those that its features may belong to.

        Returns:
            The recipe.

        Raises:
            ValueError: the text is not a recipe, or a dictionary that it names is not among `dictionaries`.

        Example:
            >>> text = sw.Recipe.of(cavs["music"].add(40)).to_json(inline=True)
            >>> sw.Recipe.from_json(text)  # written out: it needs no dictionary
            'music'.add(40)
        """
        if not isinstance(text, str | bytes):
            raise wrong("Recipe.from_json", "the text of a recipe", text, "give what recipe.to_json() gave")
        value = parse_json(text, "This is not a recipe: the text", todo=_AGAIN)
        found = value.get("format") if isinstance(value, dict) else value
        if found not in FORMATS:
            raise ValueError(
                f"This is not a recipe: its format should be {' or '.join(map(repr, FORMATS))}, but it is "
                f"{shown(found)}; {_AGAIN}."
            )
        steers = Fields(value, f"{_DAMAGED} in it", todo=_AGAIN).items("steers", of="steers")
        return cls(tuple(_steer_from_json(steer, number, dictionaries) for number, steer in enumerate(steers)))

    def to_pyvene(self, model: LoadedModel | nn.Module) -> Any:
        """An IntervenableModel of pyvene that steers a `LanguageModel` or bare model alike; see `exports/pyvene.py`.

        Args:
            model: a `LanguageModel`, or a bare model of Hugging Face.

        Returns:
            The IntervenableModel.

        Raises:
            ModuleNotFoundError: pyvene is not installed; the message says how to.
            ValueError: the recipe is empty or does not fit the model, or leaves special tokens out where only the bare
                model is given.
            ImportError: pyvene is not installed.
            TypeError: something else than a model is given.
            CompiledModelError: the model is compiled.

        Example:
            >>> recipe = sw.Recipe.of(cavs["music"].add(40))
            >>> intervenable = recipe.to_pyvene(lm)  # `.generate(…)` and the like are pyvene's
        """
        return _exports("pyvene").to_pyvene(self, model)

    def to_torch(
        self, lm: LoadedModel, prompt: Any = "The", max_new_tokens: int = 32, *, chat: bool | None = None
    ) -> str:
        """Plain PyTorch that runs as it stands, with neither steerwidgets nor any other file: hooks on the bare model.

        It holds the numbers that it needs and the prompt's ids, and prints the greedy answer that `lm.compare` gives
        at temperature 0.

        Args:
            lm: the model, whose modules it names.
            prompt: what is answered; a string goes through the chat template where there is one.
            max_new_tokens: how much is generated.
            chat: whether a string goes through the chat template, where not by default.

        Returns:
            Python, as text.

        Raises:
            ValueError: the recipe is empty, does not fit the model, or does what does not fit into some lines: acts on
                some positions, under a condition, fading, or of a kind that needs its dictionary.

        Example:
            >>> code = sw.Recipe.of(cavs["music"].add(40)).to_torch(lm)
            >>> "register_forward_hook" in code
            True
        """
        return str(_exports("snippets").to_torch(self, lm, prompt, max_new_tokens, chat=chat))

    def to_nnsight(
        self, lm: LoadedModel, prompt: Any = "The", max_new_tokens: int = 32, *, chat: bool | None = None
    ) -> str:
        """A trace of nnsight (0.8) that runs as it stands, for `to_torch`'s recipes.

        Args:
            lm: the model, whose modules it names.
            prompt: what is answered; a string goes through the chat template where there is one.
            max_new_tokens: how much is generated.
            chat: whether a string goes through the chat template, where not by default.

        Returns:
            Python, as text; it needs nnsight.

        Raises:
            ValueError: as for `to_torch`.

        Example:
            >>> code = sw.Recipe.of(cavs["music"].add(40)).to_nnsight(lm)
            >>> "nn.generate(prompt" in code
            True
        """
        return str(_exports("snippets").to_nnsight(self, lm, prompt, max_new_tokens, chat=chat))

    def to_gguf(self, path: str | Path, *, model_hint: str = "") -> None:
        """Write what it adds as a GGUF control vector, which repeng, llama.cpp and EasySteer read: at strength 1.

        Args:
            path: the file to write.
            model_hint: the model's type as its config says, `llama` or `gemma2`; readers show it and no more.

        Raises:
            ValueError: the recipe is empty, or does something else than adding at `resid_post` at all positions.

        Example:
            >>> sw.Recipe.of(cavs["music"].add(40)).to_gguf(folder / "music.gguf")
            >>> sw.CAV.load(folder / "music.gguf")
            <CAV of 1 features at block 1 resid_post>
        """
        _exports("gguf").export_control_vector(path, self, model_hint=model_hint)

    def to_easysteer(self) -> str:
        """A SteeringSpec of EasySteer, the fork of vLLM, in JSON: for a request's `steering`, or its server's config.

        The vectors are written out, as its engine takes them (`vllm/steer_vectors/payloads.py`).

        Returns:
            JSON text; `json.loads` of it goes into `extra_body={"steering": …}`.

        Raises:
            ValueError: the recipe is empty, or does something else than adding and ablating directions at `resid_post`
                of all, prompt, generated or last prompt tokens.

        Example:
            >>> import json
            >>> spec = json.loads(sw.Recipe.of(cavs["music"].add(40)).to_easysteer())
            >>> spec["vectors"][0]["algorithm"], spec["vectors"][0]["layers"]
            ('direct', [1])
        """
        return str(_exports("easysteer").to_easysteer(self))

    def bake(self, model: LoadedModel | nn.Module, folder: str | Path) -> None:
        """Write a model that steers by itself: what the recipe adds, put into biases, for `from_pretrained` alone.

        A residual after a block moves by a bias of the last matrix of its MLP, `attn_out` by one of the attention's.
        Where a family has such biases by a switch of its config (Llama's `mlp_bias`, `attention_bias`), it is turned on
        and the others are 0. The model given stays as it is.

        Args:
            model: a `LanguageModel`, whose tokenizer is written too, or the Hugging Face model that it is made of.
            folder: where; it is made where there is none.

        Raises:
            ValueError: the recipe is empty, does something else than adding at all positions, or adds where the model
                has no bias, or has a norm behind it.
            TypeError: something else than a model is given.

        Example:
            >>> sw.Recipe.of(cavs["music"].add(40)).bake(lm, folder / "musical")
            >>> (folder / "musical" / "config.json").is_file()
            True
        """
        _exports("bake").bake(self, model, folder)

    def __add__(self, other: Recipe | Steer) -> Recipe:
        if not isinstance(other, Recipe | Steer):
            raise _no_steer(other)
        return Recipe(self.steers + Recipe.of(other).steers)

    def __iter__(self) -> Iterator[Steer]:
        return iter(self.steers)

    def __len__(self) -> int:
        return len(self.steers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and Counter(self.steers) == Counter(other.steers)

    def __hash__(self) -> int:
        return hash(frozenset(Counter(self.steers).items()))

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.steers)) or "Recipe()"


def _exports(name: str) -> Any:
    """A form of others: by name, as the package's own names are loaded, since forms are built of recipes and hooks."""
    return importlib.import_module(f"steerwidgets.steering.exports.{name}")


def _may_meet(first: Steer, second: Steer) -> bool:
    """Whether two steers may act at one token; True unless they provably never do."""
    if first.condition is not None and second.condition is not None and first.condition.excludes(second.condition):
        return False
    return first.positions.overlaps(second.positions)


def recipe_json(recipe: Recipe, *, inline: Callable[[Direction], bool], indent: int | None = None) -> str:
    """`Recipe.to_json`, with a choice for each feature.

    Args:
        recipe: the recipe.
        inline: whether all that is needed of a feature is written out.
        indent: how far JSON is indented; None for one line.

    Raises:
        ValueError: more is needed of a feature than can be written out.
    """
    steers = [_steer_json(steer, inline) for steer in recipe]
    is_newer = any(steer.condition is not None or steer.fading is not None for steer in recipe)
    return json.dumps({"format": FORMAT_2 if is_newer else FORMAT, "steers": steers}, indent=indent, ensure_ascii=False)


def not_written(steer: Steer, feature: Direction) -> str:
    """Why a feature of a steer can't be written out without its dictionary; empty where it can."""
    is_bare = not isinstance(feature, Feature) or not steer.needs_all_of(feature)
    return "" if is_bare else feature.not_inline


def _what_it_does(steer: Steer) -> list[Any]:
    key, op, given, positions, control, condition, fading = steer.identity_key
    did = [key, op, given, positions.to_json(), *([] if control is None else [control.to_json()])]
    did += [] if condition is None else [{"when": condition.identity_key}]
    return did + ([] if fading is None else [{"fade": fading.to_json()}])


def _steer_json(steer: Steer, inline: Callable[[Direction], bool]) -> dict[str, Any]:
    def written(feature: Direction) -> dict[str, Any]:
        return _feature_json(steer, feature, inline=inline(feature))

    value: dict[str, Any] = {
        "feature": written(steer.feature),
        "op": steer.op,
        "parameters": dict(steer.parameters),
        "positions": steer.positions.to_json(),
    }
    value |= {} if steer.control is None else {"control": steer.control.to_json()}
    value |= {} if steer.condition is None else {"when": steer.condition.to_json(written)}
    return value | ({} if steer.fading is None else {"fade": steer.fading.to_json()})


def _feature_json(steer: Steer, feature: Direction, *, inline: bool) -> dict[str, Any]:
    value: dict[str, Any] = {
        "label": feature.label,
        "site": {"layer": feature.site.layer, "stream": feature.site.stream},
    }
    if isinstance(feature, Feature) and not (inline and not steer.needs_all_of(feature)):
        value |= {"dictionary": feature.dictionary, "kind": feature.kind, "index": feature.index}
        if inline:
            value["inline"] = _written(steer, feature)
    else:
        value["vector"] = tensor_json(feature.vector)
    return value


def _written(steer: Steer, feature: Feature) -> dict[str, Any]:
    if obstacle := not_written(steer, feature):
        raise ValueError(
            f"{steer!r} can't be written out in a recipe: {obstacle}. Leave inline out and pass the dictionary to "
            "Recipe.from_json(…, dictionaries=[…])."
        )
    return feature.inline()


def _steer_from_json(value: Any, number: int, dictionaries: Sequence[FeatureSource]) -> Steer:
    said = Fields(value, f"{_DAMAGED} in steer {number}", todo=_AGAIN)
    # A name that is mistyped must not leave a condition out without a word.
    said.only("feature", "op", "parameters", "positions", "control", "when", "fade")
    op, parameters = said.text("op"), said.inner("parameters")
    if said.table.get("parameters", parameters) is None:
        raise said.wrong("parameters", "a table of numbers")

    def known(written: Fields) -> Direction:
        return _feature_from_json(written.inner("feature", NEEDED), dictionaries)

    try:
        feature = known(said)
        positions = Positions.from_json(said.inner("positions"))
        control, fading = RandomDirection.from_json(said.value("control")), Fade.from_json(said.value("fade"))
        when = condition_from_json(said.inner("when"), known) if "when" in said else None
        return Steer(feature, op, parameters.table, positions, control, when, fading)
    except ValueError as error:
        if str(error).startswith((_DAMAGED, "The recipe")):
            raise
        raise ValueError(f"Steer {number} of this recipe can't be made: {error}") from None


def _feature_from_json(said: Fields, dictionaries: Sequence[FeatureSource]) -> Direction:
    if "vector" in said.table:
        return Direction(tensor_from_json(said, "vector"), _site(said), said.text("label"))
    fingerprint, index = said.text("dictionary"), _index(said)
    for dictionary in dictionaries:
        if dictionary.fingerprint == fingerprint:
            try:
                return dictionary[index]
            except IndexError as error:
                raise ValueError(f"{_DAMAGED} its index is none: {error}") from None
            except TypeError:
                raise said.wrong("index", "the number of a feature of that dictionary") from None
    if "inline" in said.table:
        return _inline_feature(said, index)
    raise ValueError(
        f"The recipe uses feature {shown(index)} ({shown(said.text('label', ''))}) of the {said.text('kind', '')} "
        "dictionary "
        f"{fingerprint[:60]}, which is not among the {len(dictionaries)} dictionaries given; "
        "pass it in dictionaries=[…]."
    )


def _index(said: Fields) -> Any:
    """A feature's number; several name a feature made of several (JSON has no tuples), null names all at once."""
    value = said.value("index")
    several = value if isinstance(value, list) else [value]
    if "index" not in said.table or (value is not None and not (several and all(map(is_whole, several)))):
        raise said.wrong("index", "a whole number, a list of them, or null for all at once")
    return tuple(several) if isinstance(value, list) else value


def _site(said: Fields) -> Site:
    place = said.inner("site", NEEDED)
    place.only("layer", "stream")
    stream: Any = place.text("stream")
    layer: Any = place.value("layer")
    return Site(layer, stream)


def _inline_feature(said: Fields, index: Any) -> Direction:
    parts = said.inner("inline", NEEDED)
    form = parts.text("form", choices=tuple(FORMS))
    if not is_whole(index) or abs(index) >= _MOST:
        raise said.wrong("index", "a whole number")
    entry = {
        "site": _site(said),
        "label": said.text("label"),
        "dictionary": said.text("dictionary"),
        "dictionary_kind": said.text("kind"),
        "index": index,
    }
    found: Direction = FORMS[form](parts, entry)
    return found
