"""What an MFA steers with: one of its components, or the whole mixture weighted by responsibility."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import einops

from steerwidgets.dictionaries.mfa.component import ComponentPoints, component_points
from steerwidgets.dictionaries.mfa.plain import component_pulled, plain_mixture
from steerwidgets.dictionaries.mfa.points import Context, Points, contexts
from steerwidgets.files.fields import Fields
from steerwidgets.files.shown import shown
from steerwidgets.steering import ops
from steerwidgets.steering.inline import FORMS, tensor_from_json, tensor_json
from steerwidgets.steering.ops import Number, Op
from steerwidgets.steering.plain import Plain
from steerwidgets.steering.recipe import Feature, Steer

if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes
    from torch import Tensor

    from steerwidgets.dictionaries.mfa.component import BelongSettings
    from steerwidgets.dictionaries.mfa.plot import ScatterSettings
    from steerwidgets.dictionaries.mfa.points import ContextSettings
    from steerwidgets.dictionaries.mfa.reading import MixtureReading

Z = Mapping[int, float] | Sequence[float]
"""A move along the loadings: a number for some of them by index, or one for each."""

ZOfEach = Mapping[int, Z] | Sequence[Sequence[float]]
"""A move for some components by index, or one for each."""


@dataclass(frozen=True, eq=False, repr=False)
class MFAFeature(Feature):
    """A component of an MFA.

    Its direction, which has cosines and read-outs and can be added, is `μ_k` minus the mean of the whole mixture: what
    sets the component apart, and not what all residuals share. Its activation is its responsibility, 0 to 1.

    Attributes:
        mfa: the mixture that it is a component of.

    Example:
        >>> mfa[0].pull(0.6, z={0: 20, 1: -10})
        'MFA 0'.pull(a=0.6, z0=20, z1=-10)
    """

    signed: ClassVar[bool] = False
    reads: ClassVar[str] = "responsibility"
    reads_projection: ClassVar[bool] = False

    mfa: MixtureReading = field(kw_only=True)

    @property
    def _ops(self) -> Mapping[str, Op]:
        return ops.mfa_ops(self.mfa.rank)

    @property
    def full_strength(self) -> None:
        """Not known: a responsibility is no length."""

    @property
    def mixing(self) -> float:
        """`π_k`, 0 to 1."""
        return float(self.mfa.mixing[self.index])

    @property
    def loadings(self) -> Tensor:
        """`W_k`, rotated where a rotation is on, float32 [d_model, rank]."""
        return self.mfa.loadings(self.index)

    def expected_latent(self, h: Tensor) -> Tensor:
        """`E[z|h,k]`, where a residual lies along the loadings (arXiv 2602.02464).

        Args:
            h: [..., d_model].

        Returns:
            float32 [..., rank].

        Example:
            >>> mfa[0].expected_latent(torch.zeros(2, 32)).shape == (2, mfa.rank)
            True
        """
        return self.mfa.expected_latent(h, self.index)

    def activation(self, h: Tensor) -> Tensor:
        """The component's responsibility; see `MFA.responsibilities`.

        Args:
            h: [..., d_model].

        Returns:
            float32 [...], 0 to 1.

        Raises:
            ValueError: the residual has another width than the mixture.

        Example:
            >>> mfa[0].activation(torch.randn(4, 32)).shape
            torch.Size([4])
        """
        return self.mfa.responsibilities(h)[..., self.index]

    def pulled(self, h: Tensor, a: Number, z: Sequence[Number]) -> Tensor:
        """The change of `pull`: `a·(μ_k − h) + W_k·z`.

        Args:
            h: [..., d_model].
            a: the share of the way.
            z: one number for each loading.

        Returns:
            float32 [..., d_model].

        Example:
            >>> h = torch.randn(4, 32)
            >>> torch.allclose(h + mfa[0].pulled(h, 1.0, [0, 0]), mfa.centroids[0].expand(4, -1), atol=1e-5)
            True
        """
        mu, loadings = self._centroid_on(h.device)
        return ops.mfa_pull(self.mfa.seen(h), mu, a, ops.mfa_move(loadings, z))

    def _plain(self, read: bool) -> Plain:
        """The component without its mixture, which only its activation asks for."""
        mu, loadings = self.mfa.centroids[self.index], self.loadings
        reads = partial(plain_mixture(self.mfa).responsibility, self.index) if read else None
        return Plain(self.vector, reads, pulled=partial(component_pulled, mu, loadings, self.mfa.centred))

    not_inline = ""

    def inline(self) -> dict[str, Any]:
        """Its centroid and loadings.

        Returns:
            A JSON value.

        Example:
            >>> mfa[0].inline()["form"]
            'component'
        """
        mfa, k = self.mfa, self.index
        return _component_json(self, mfa.centroids[k], mfa.loadings(k), centred=mfa.centred)

    def pull(self, a: float, z: Z | None = None, **by_name: float) -> Steer:
        """Move towards the centroid, then along the loadings: `h + a·(μ_k − h) + W_k·z`.

        As the two stages of the reference's `intervention/mfa_steering.py` (arXiv 2602.02464).

        Args:
            a: the share of the way, 0 to 1; it does not scale the second move.
            z: a number for some loadings, as `{0: 20, 8: -10}`, or one for each; in units of the loadings, rotated
                where the MFA's rotation is on. These are neither the coordinates of a plot nor `E[z|x,k]`.
            by_name: the same as recipes write it: `z0=20, z8=-10`.

        Returns:
            The steer.

        Raises:
            ValueError: there is no such loading, `z` has a wrong length, or a number is not finite.

        Example:
            >>> mfa[0].pull(0.6, z={0: 20})
            'MFA 0'.pull(a=0.6, z0=20)
        """
        return _pull(self, self.mfa.rank, a, z, by_name)

    def contexts(self, points: Points, **settings: Unpack[ContextSettings]) -> tuple[Context, ...]:
        """The points that it explains best, as `MFA.contexts` finds them.

        Args:
            points: residuals with their texts, as `mfa.points` gives them.
            settings: `by`, `sample`, `pool`, `seed`, `window`, as `ContextSettings` explains them.

        Returns:
            A token and what stands before it, for each.

        Raises:
            ValueError: there is no such score, or the points are of another width.

        Example:
            >>> points = mfa.points(lm, ["The user asks the assistant about the ocean."])
            >>> len(mfa[0].contexts(points, sample=3))
            3
        """
        return contexts(self.mfa, points, [self.index], **settings)[self.index]

    def points(self, points: Points, **settings: Unpack[BelongSettings]) -> ComponentPoints:
        """The points that belong to it, with their coordinates, as `MFA.component_points` finds them.

        Args:
            points: residuals with their texts, as `mfa.points` gives them.
            settings: `min_responsibility` and `most`, as `BelongSettings` explains them.

        Returns:
            Their coordinates along the loadings, float32 [n, rank], with their tokens.

        Raises:
            ValueError: the points are of another width.

        Example:
            >>> points = mfa.points(lm, ["The user asks the assistant about the ocean."])
            >>> len(mfa[0].points(points, min_responsibility=0.0, most=4))
            4
        """
        return component_points(self.mfa, points, self.index, **settings)

    def plot(self, points: Points, dims: Sequence[int] | None = None, **settings: Unpack[ScatterSettings]) -> Axes:
        """A scatter plot of its points, as `mfa[20].plot(points, dims=(0, 8))`; see `plot.scatter`.

        Args:
            points: residuals with their texts, as `mfa.points` gives them.
            dims: two or three loadings, or principal axes where `pca`; the first two by default.
            settings: `pca`, `max_labels`, `ax`, as `ScatterSettings` explains them.

        Returns:
            The axes of matplotlib; their figure is `.figure`.

        Raises:
            ValueError: there is no such dimension, or there are too few points.
            ModuleNotFoundError: matplotlib is missing; the message says how to install it.

        Example:
            >>> points = mfa.points(lm, ["The user asks the assistant about the ocean."])
            >>> mfa[0].plot(points, dims=(0, 1)).get_xlabel()
            'loading 0'
        """
        return self.points(points).plot(dims, **settings)

    def _centroid_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        placed: dict[torch.device, tuple[Tensor, Tensor]] = self.__dict__.setdefault("_centroids", {})
        if device not in placed:
            placed[device] = self.mfa.centroids[self.index].to(device), self.mfa.loadings(self.index).to(device)
        return placed[device]


@dataclass(frozen=True, eq=False, repr=False)
class MFAMixture(Feature):
    """All components of an MFA at once, each weighted by its responsibility: the reference's `k=None`.

    Its index is None, as `mfa[None]`; or those components that have numbers of their own for their loadings, as in
    `mfa[3, 20]`. Its activation is `ln p(h)`, how well the mixture explains a residual.

    Attributes:
        index: None, or the components that have numbers of their own.
        mfa: the mixture.

    Example:
        >>> mfa.mixture.pull(0.6)
        'mixture'.pull(a=0.6)
    """

    reads: ClassVar[str] = "ln p(h)"
    reads_projection: ClassVar[bool] = False

    index: Any = None  # a recipe finds it by this, as it finds features by numbers
    mfa: MixtureReading = field(kw_only=True)

    @classmethod
    def of(cls, mfa: MixtureReading, whose: Mapping[str, Any], components: Iterable[int] = ()) -> MFAMixture:
        """The mixture of an MFA, with numbers of their own for some components or for none.

        Args:
            mfa: the mixture.
            whose: `dictionary`, `dictionary_kind` and `made_for`, as for `Feature`.
            components: those with numbers of their own.

        Returns:
            The feature.

        Raises:
            IndexError: there is no such component.

        Example:
            >>> whose = {"dictionary": mfa.fingerprint, "dictionary_kind": "MFA", "made_for": None}
            >>> type(mfa.mixture).of(mfa, whose, [3, 1]).components
            (1, 3)
        """
        chosen = tuple(sorted({mfa.check_component(k) for k in components}))
        return cls(
            or_loading(mfa.mean, mfa, 0),
            mfa.site,
            "mixture" + (f", z of {', '.join(map(str, chosen))}" if chosen else ""),
            index=chosen or None,
            mfa=mfa,
            **whose,
        )

    @property
    def components(self) -> tuple[int, ...]:
        """The components with numbers of their own; empty where one `z` serves all."""
        return self.index or ()

    @property
    def _ops(self) -> Mapping[str, Op]:
        return ops.mfa_mixture_ops(self.mfa.rank, self.components)

    def activation(self, h: Tensor) -> Tensor:
        """`ln p(h)`; see `MFA.log_likelihood`.

        Args:
            h: [..., d_model].

        Returns:
            float32 [...], in nats.

        Raises:
            ValueError: the residual has another width than the mixture.

        Example:
            >>> mfa.mixture.activation(torch.randn(4, 32)).shape
            torch.Size([4])
        """
        return self.mfa.log_likelihood(h)

    @property
    def not_inline(self) -> str:
        """It is all of its MFA."""
        return "it acts by all components of its mixture at once"

    def _plain(self, read: bool) -> Plain:  # noqa: ARG002 - the mixture is all that it is
        """The mixture as tensors."""
        import torch

        mixture = plain_mixture(self.mfa)
        chosen = self.components or tuple(range(self.mfa.size))
        loadings = torch.stack([self.mfa.loadings(k) for k in chosen])
        return Plain(self.vector, mixture.log_likelihood, pulled=partial(mixture.pulled, loadings, chosen))

    def pulled(self, h: Tensor, a: Number, z: Sequence[float]) -> Tensor:
        """The change of `pull`; responsibilities are read from `h` before any change, as in the reference.

        Args:
            h: [..., d_model].
            a: the share of the way.
            z: one number for each loading; or, for `components`, for each loading of each of them, one after the other.

        Returns:
            float32 [..., d_model].

        Raises:
            ValueError: the residual has another width than the mixture.

        Example:
            >>> mfa.mixture.pulled(torch.randn(4, 32), 0.5, [0, 0]).shape
            torch.Size([4, 32])
        """
        x = self.mfa.beside(h)
        centroids, shares, moves = (
            self.mfa.centroids_on(x.device),
            self.mfa.responsibilities(x),
            self._moves(z, x.device),
        )
        if not self.components or moves is None:
            return ops.mfa_pull_mixture(self.mfa.seen(x), shares, centroids, a, moves).to(h.device)
        change = ops.mfa_pull_mixture(self.mfa.seen(x), shares, centroids, a, None)
        return (change + shares[..., list(self.components)] @ moves).to(h.device)

    def pull(self, a: float, z: Z | ZOfEach | None = None, **by_name: float) -> Steer:
        """`h + a·(Σ r_k μ_k − h) + Σ r_k W_k·z_k`.

        The reference's `k=None` (`intervention/mfa_steering.py`, arXiv 2602.02464).

        Args:
            a: the share of the way, 0 to 1; it does not scale the second move.
            z: one move that all components make, as for a component; or one for each, as `{20: {0: 20, 8: -10}, 3:
                {1: 5}}` or as numbers [component, loading]. (The reference also takes one for each position, which a
                recipe has no place for.)
            by_name: the same as recipes write it: `z0=20`, or `z20_0=20` on the mixture `mfa[20,]`.

        Returns:
            The steer.

        Raises:
            ValueError: there is no such loading, `z` has a wrong length, or a number is not finite.
            IndexError: there is no such component.

        Example:
            >>> mfa.mixture.pull(0.5, z={3: {0: 20}})
            'mixture, z of 3'.pull(a=0.5, z3_0=20)
        """
        of_each = _of_each(z, self.mfa)
        if of_each is None:
            return _pull(self, self.mfa.rank, a, z, by_name)  # type: ignore[arg-type]  # it is not one for each
        named = {
            f"z{k}_{name[1:]}": value
            for k, own in of_each.items()
            for name, value in _by_name(own, self.mfa.rank).items()
        }
        return Steer(self._with(of_each), "pull", {"a": a, **named, **by_name})

    def _with(self, components: Iterable[int]) -> MFAMixture:
        whose = {name: getattr(self, name) for name in ("dictionary", "dictionary_kind", "made_for")}
        return MFAMixture.of(self.mfa, whose, components)

    def _moves(self, z: Sequence[float], device: torch.device) -> Tensor | None:
        """`W_k·z` of every component, or `W_k·z_k` of those that have their own; None where nothing moves.

        The last ones are kept, since every step of a run asks for the same.
        """
        if not any(z):
            return None
        kept: dict[tuple[Any, ...], Tensor] = self.__dict__.setdefault("_kept", {})
        if (tuple(z), device) not in kept:
            kept.clear()
            kept[tuple(z), device] = self._moved(z).to(device)
        return kept[tuple(z), device]

    def _moved(self, z: Sequence[float]) -> Tensor:
        import torch

        if not self.components:
            return self.mfa.moves(z)
        of_each = einops.rearrange(torch.tensor(z), "(component rank) -> component rank", rank=self.mfa.rank)
        return torch.stack([self.mfa.loadings(k) @ own for k, own in zip(self.components, of_each, strict=True)])


def or_loading(vector: Tensor, mfa: MixtureReading, component: int) -> Tensor:
    """A vector; where it is all zeros, a loading, since a direction has to point somewhere."""
    return vector if bool(vector.any()) else mfa.loadings(component)[:, 0]


def _pull(feature: Feature, rank: int, a: float, z: Z | None, by_name: Mapping[str, float]) -> Steer:
    return Steer(feature, "pull", {"a": a, **_by_name(z, rank), **by_name})


def _of_each(z: Any, mfa: MixtureReading) -> dict[int, Z] | None:
    """The moves of single components, those that move nothing left out; None where `z` is one move for all."""
    if isinstance(z, Mapping):
        own = {k: move for k, move in z.items() if isinstance(move, Mapping | Sequence) or hasattr(move, "__len__")}
        if own and len(own) < len(z):
            raise ValueError(
                "z is {loading: number} for all components, or {component: {loading: number}} for some, but some of "
                f"each were given: {dict(z)!r}."
            )
        return own or None
    values = z.tolist() if hasattr(z, "tolist") else z
    if not isinstance(values, Sequence) or not values or not all(isinstance(row, Sequence) for row in values):
        return None
    if len(values) != mfa.size:
        raise ValueError(
            f"z is one row of numbers for each of the {mfa.size} components, but {len(values)} rows were given; rows "
            "for single positions have no place in a recipe."
        )
    return {k: row for k, row in enumerate(values) if any(row)} or {0: values[0]}


def _by_name(z: Z | None, rank: int) -> dict[str, float]:
    if z is None:
        return {}
    pairs: Iterable[tuple[Any, Any]]
    if isinstance(z, Mapping):
        pairs = z.items()
    else:
        values = z.tolist() if hasattr(z, "tolist") else z
        if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != rank:
            size = f"{len(values)} were given" if isinstance(values, Sequence) else f"{values!r} was given"
            raise ValueError(
                f"z is one number for each of the {rank} loadings, or {{loading: number}} for some, but {size}."
            )
        pairs = enumerate(values)
    named = {}
    for dimension, value in pairs:
        if isinstance(dimension, bool) or not isinstance(dimension, int) or not 0 <= dimension < rank:
            raise ValueError(
                f"This MFA has loadings 0 to {rank - 1}, but z gives a number for {dimension!r}; choose among those."
            )
        named[f"z{dimension}"] = value
    return named


@dataclass(frozen=True, eq=False, repr=False)
class InlineComponent(Feature):
    """A component of an MFA as a recipe writes it out: it steers, but without the others it has no responsibility.

    Args:
        centroid: float32 [d_model].
        W: float32 [d_model, rank], its loadings.
        centred: whether a residual's mean over d_model is taken off first.
    """

    signed: ClassVar[bool] = False
    reads: ClassVar[str] = "responsibility"
    reads_projection: ClassVar[bool] = False

    centroid: Tensor = field(kw_only=True)
    W: Tensor = field(kw_only=True)
    centred: bool = field(kw_only=True)

    @property
    def _ops(self) -> Mapping[str, Op]:
        return ops.mfa_ops(int(self.W.shape[1]))

    def activation(self, h: Tensor) -> Tensor:
        """NaN: its responsibility depends on all components, and the recipe was written without them."""
        return h.new_full(h.shape[:-1], float("nan"), dtype=h.float().dtype)

    def pulled(self, h: Tensor, a: Number, z: Sequence[Number]) -> Tensor:
        """The change of `pull`, as that of `MFAFeature`."""
        seen = h.float() - h.float().mean(-1, keepdim=True) if self.centred else h.float()
        centroid, loadings = (self.tensor_on(name, h.device) for name in ("centroid", "W"))
        return ops.mfa_pull(seen, centroid, a, ops.mfa_move(loadings, z))

    def _plain(self, read: bool) -> Plain:  # noqa: ARG002 - without the others nothing reads it
        """The component as it is."""
        pulled = partial(component_pulled, self.centroid, self.W, self.centred)
        return Plain(self.vector, pulled=pulled)

    not_inline = ""

    def inline(self) -> dict[str, Any]:
        """Its centroid and loadings."""
        return _component_json(self, self.centroid, self.W, centred=self.centred)


def _component_json(feature: Feature, centroid: Tensor, loadings: Tensor, *, centred: bool) -> dict[str, Any]:
    tensors = {"vector": feature.vector, "centroid": centroid, "loadings": loadings}
    return {"form": "component", "centred": centred} | {name: tensor_json(each) for name, each in tensors.items()}


def _component(parts: Fields, entry: Mapping[str, Any]) -> InlineComponent:
    vector, centroid = (tensor_from_json(parts, name) for name in ("vector", "centroid"))
    loadings = tensor_from_json(parts, "loadings", axes=2)
    if not vector.shape == centroid.shape == loadings.shape[:1]:
        shapes = ", ".join(str(list(each.shape)) for each in (vector, centroid, loadings))
        raise ValueError(f"This recipe is damaged: the parts of {shown(entry['label'])} have shapes {shapes}.")
    return InlineComponent(vector, **entry, centroid=centroid, W=loadings, centred=parts.flag("centred"))


FORMS["component"] = _component
