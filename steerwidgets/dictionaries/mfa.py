"""Mixtures of factor analysers: regions of activation space, each with a centroid and a few loadings."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, overload

from steerwidgets.dictionaries import mfa_density, mfa_file, mfa_points
from steerwidgets.dictionaries.base import Dictionary
from steerwidgets.dictionaries.mfa_features import MFAFeature, MFAMixture
from steerwidgets.dictionaries.mfa_file import Checkpoint
from steerwidgets.dictionaries.mfa_points import ComponentPoints, Context, Points, Score
from steerwidgets.sites import Site, Stream
from steerwidgets.steer import Feature

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from steerwidgets.dictionaries.mfa_density import Terms
    from steerwidgets.model import LanguageModel

_LOADED: Final = 64
"""Components whose loadings are looked at at once."""


class MFA(Dictionary):
    """A mixture of factor analysers (arXiv 2602.02464), read as responsibilities and steered by `pull`.

    Args:
        state_dict: as the reference's `MFA` has it.
        meta: as the reference's file has it: `eps_floor`, `rotation_on`, …
        layer: the block, counted from 0.
        stream: the stream of that block.
        centred: whether it describes residuals without their mean over d_model, as TransformerLens has them for models
            with LayerNorm (GPT-2). The mean of what the model has is then taken off before anything else.
        labels: one for each component, or none.
        provenance: where it comes from.

    Raises:
        ValueError: a tensor is missing or has a wrong shape, or holds NaN or infinite values.
    """

    kind: ClassVar[str] = "MFA"

    def __init__(
        self,
        state_dict: Mapping[str, Tensor],
        meta: Mapping[str, Any] | None = None,
        *,
        layer: int,
        stream: Stream = "resid_post",
        centred: bool = False,
        labels: Sequence[str] = (),
        provenance: Mapping[str, str] | None = None,
    ) -> None:
        self.checkpoint = Checkpoint(state_dict, meta or {})
        if labels and len(labels) != self.size:
            raise ValueError(
                f"An MFA has one label for each of its {self.size} components, but {len(labels)} were given."
            )
        self.site = Site(layer, stream)
        self.centred = bool(centred)
        self.labels = tuple(labels)
        self.provenance = dict(provenance or {})
        self.centroids = self.checkpoint.mu()
        self._placed: dict[torch.device, Terms] = {}

    @property
    def size(self) -> int:
        """How many components there are."""
        return self.checkpoint.components

    @property
    def d_model(self) -> int:
        """The width of the site."""
        return self.checkpoint.d_model

    @property
    def rank(self) -> int:
        """How many loadings each component has."""
        return self.checkpoint.rank

    @property
    def mixing(self) -> Tensor:
        """`π`, float32 [component]."""
        return self.checkpoint.log_mixing().exp().float()

    @functools.cached_property
    def mean(self) -> Tensor:
        """The mean of the whole mixture, `Σ π_k μ_k`, float32 [d_model]."""
        return self.mixing @ self.centroids

    def loadings(self, component: int) -> Tensor:
        """`W_k`, rotated where a rotation is on, float32 [d_model, rank]."""
        k = self.check_component(component)
        return self.checkpoint.loadings(slice(k, k + 1), rotated=True)[0].float()

    def covariance(self, component: int) -> Tensor:
        """`W_k W_kᵀ + Ψ_k`, float32 [d_model, d_model]."""
        k = self.check_component(component)
        loadings = self.checkpoint.loadings(slice(k, k + 1), rotated=False)[0]
        noise = self.checkpoint.noise()
        return (loadings @ loadings.T + noise[k if len(noise) > 1 else 0].diag()).float()

    def seen(self, h: Tensor) -> Tensor:
        """A residual as the mixture sees it: float32, without its mean where `centred`."""
        h = h.float()
        return h - h.mean(-1, keepdim=True) if self.centred else h

    def log_likelihoods(self, h: Tensor) -> Tensor:
        """`ln p(h|k)` of every component: float32 [..., component] of h [..., d_model]."""
        return self._by_rows(h, mfa_density.log_densities)

    def log_likelihood(self, h: Tensor) -> Tensor:
        """`ln p(h)`: float32 [...] of h [..., d_model]."""
        return (self.log_likelihoods(h) + self._log_mixing.to(h.device)).logsumexp(-1)

    def responsibilities(self, h: Tensor, *, tau: float = 1.0) -> Tensor:
        """`softmax((ln p(h|k) + ln π_k) / tau)`: float32 [..., component] of h [..., d_model]."""
        if not tau > 0:
            raise ValueError(f"The temperature tau of responsibilities is above 0, but {tau!r} was given.")
        return ((self.log_likelihoods(h) + self._log_mixing.to(h.device)) / tau).softmax(-1)

    def expected_latent(self, h: Tensor, component: int) -> Tensor:
        """`E[z|h,k]`, in rotated coordinates where a rotation is on: float32 [..., rank] of h [..., d_model]."""
        k = self.check_component(component)
        terms = self._terms_on(h.device).of(k)
        latent = self._by_rows(h, lambda x, _: mfa_density.latents(x, terms)[:, 0])
        rotation = self.checkpoint.score_rotation(k)
        return latent if rotation is None else latent @ rotation.to(h.device, latent.dtype)

    def latent_covariance(self, component: int) -> Tensor:
        """`Cov[z|h,k]`, the same for every h, float32 [rank, rank]."""
        import torch

        k = self.check_component(component)
        covariance = torch.cholesky_inverse(self._terms.cholesky[k].double())
        rotation = self.checkpoint.score_rotation(k)
        return (covariance if rotation is None else rotation.T @ covariance @ rotation).float()

    def reconstruct(self, h: Tensor) -> Tensor:
        """`Σ r_k (μ_k + W_k E[z|h,k])`: float32, of h's shape."""
        return self._by_rows(h, self._reconstructed)

    def coordinates(self, h: Tensor, component: int) -> Tensor:
        """Least squares on the component's unit loadings, uncentred: float32 [..., rank] of h [..., d_model].

        What the reference plots; neither `expected_latent` nor the `z` of `pull`.
        """
        unit = self.unit_loadings(component).to(h.device)
        solver = (unit.T @ unit).pinverse() @ unit.T
        return self._by_rows(h, lambda x, _: (x.double() @ solver.T).float())

    def moves(self, z: Sequence[float]) -> Tensor:
        """`W_k·z` of every component, float32 [component, d_model]."""
        import torch

        chunks = (slice(start, start + _LOADED) for start in range(0, self.size, _LOADED))
        loadings = (self.checkpoint.loadings(chunk, rotated=True) for chunk in chunks)
        return torch.cat([(each @ each.new_tensor(z)).float() for each in loadings])

    def encode(self, h: Tensor) -> Tensor:
        """Every component's responsibility, float32 [..., size]."""
        return self.responsibilities(h)

    def activations(self, h: Tensor, features: Sequence[int]) -> Tensor:
        """Some components' responsibilities, for one look at the density."""
        if None in features:
            return super().activations(h, features)
        return self.responsibilities(h)[..., list(features)]

    def vector(self, index: int) -> Tensor:
        """`μ_k` minus the mean of the mixture; `μ_k` itself where that is nothing, as in a mixture of one."""
        apart = self.centroids[index] - self.mean
        return apart if bool(apart.any()) else _or_loading(self.centroids[index], self, index)

    def feature(self, index: int) -> MFAFeature:
        """The component at an index."""
        return MFAFeature(
            self.vector(index),
            self.site,
            self.label(index),
            dictionary=self.fingerprint,
            dictionary_kind=self.kind,
            index=index,
            mfa=self,
        )

    @functools.cached_property
    def mixture(self) -> MFAMixture:
        """All components at once, weighted by responsibility: `mfa.mixture.pull(0.6)` is the reference's `k=None`."""
        vector = _or_loading(self.mean, self, 0)
        return MFAMixture(
            vector, self.site, "mixture", dictionary=self.fingerprint, dictionary_kind=self.kind, mfa=self
        )

    @overload
    def __getitem__(self, name: int | str) -> MFAFeature: ...
    @overload
    def __getitem__(self, name: None) -> MFAMixture: ...
    def __getitem__(self, name: int | str | None) -> Feature:
        """A component by index or label; None gives the mixture, so that recipes find it again."""
        return self.mixture if name is None else super().__getitem__(name)

    def weights(self) -> Iterable[Tensor]:
        """The tensors, and what else decides what it does."""
        import torch

        names = [
            name for name in sorted(self.checkpoint.state) if self.checkpoint.rotated or not name.startswith("_rot")
        ]
        yield from (self.checkpoint.state[name] for name in names)
        yield torch.tensor([self.checkpoint.eps, self.checkpoint.rotated, self.centred], dtype=torch.float64)

    def at(self, layer: int, stream: Stream | None = None) -> MFA:
        """The same mixture at another site; the reference steers several layers with one."""
        other = copy.copy(self)
        other.site = Site(layer, stream or self.site.stream)
        other.source_code = None
        for name in ("fingerprint", "mixture"):
            other.__dict__.pop(name, None)
        return other

    def points(self, lm: LanguageModel, texts: Iterable[Any], **settings: Any) -> Points:
        """Residuals of texts at its site, read as `training.mfa_corpus.collect` does."""
        from steerwidgets.training.mfa_corpus import collect

        return collect(lm.engine, texts, self.site, **settings)

    def contexts(
        self,
        points: Points,
        components: Sequence[int] | None = None,
        *,
        by: Score = "likelihood",
        sample: int = 10,
        pool: int = 5000,
        seed: int = 0,
        window: int = 16,
    ) -> dict[int, tuple[Context, ...]]:
        """What components are about: points sampled among those that score highest, so that they don't all look alike.

        As in the reference's tutorial, one random generator goes over the components in turn. (Its code keeps 50 for
        each component by default, whatever the tutorial's 5,000 says: `pool=50` gives that.)

        Args:
            points: residuals with their texts.
            components: which, all by default.
            by: `likelihood`, `ln p(x|k)`, or `responsibility`.
            sample: how many of each component.
            pool: how many of the highest they are drawn from.
            seed: of the draw.
            window: how many tokens before the point are shown.
        """
        return mfa_points.contexts(self, points, components, by=by, sample=sample, pool=pool, seed=seed, window=window)

    def component_points(
        self, points: Points, component: int, *, min_responsibility: float | None = None, most: int = 100_000
    ) -> ComponentPoints:
        """The first `most` points of a component, in the coordinates of its loadings.

        Its points are those that no other component explains better, or those with a responsibility given.
        """
        return mfa_points.component_points(self, points, component, min_responsibility, most)

    def save(self, path: str | Path) -> None:
        """Write a file that `MFA.load` and the reference's `load_mfa` read; layer and the like stand in its `extra`."""
        extra = {
            "layer": self.site.layer,
            "stream": self.site.stream,
            "centred": self.centred,
            "labels": list(self.labels),
            "provenance": dict(self.provenance),
        }
        mfa_file.write(Path(path), self.checkpoint, extra)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        layer: int | None = None,
        stream: Stream | None = None,
        centred: bool | None = None,
        labels: Sequence[str] | None = None,
    ) -> MFA:
        """Read a file of the reference: `{"state_dict", "meta"}`, or a bare state_dict. No code in it is run.

        Args:
            path: the file.
            layer: the block; needed for files that `MFA.save` did not write, which do not say.
            stream: the stream, `resid_post` where neither this nor the file says.
            centred: whether its residuals had no mean, as those of TransformerLens for GPT-2; False where nothing says.
            labels: one for each component.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, holds code, is not of an MFA, or does not say the layer.
        """
        path = Path(path)
        checkpoint = mfa_file.read(path)
        said = checkpoint.extra
        layer = said.get("layer") if layer is None else layer
        if layer is None:
            raise ValueError(f"{path.name} does not say which block its MFA belongs to; pass layer=.")
        loaded = cls(
            checkpoint.state,
            checkpoint.meta,
            layer=layer,
            stream=stream or said.get("stream", "resid_post"),
            centred=said.get("centred", False) if centred is None else centred,
            labels=said.get("labels", ()) if labels is None else labels,
            provenance=said.get("provenance"),
        )
        given = {"layer": layer, "stream": stream, "centred": centred, "labels": labels and list(labels)}
        arguments = "".join(f", {name}={value!r}" for name, value in given.items() if value is not None)
        loaded.source_code = f"sw.MFA.load({str(path)!r}{arguments})"
        return loaded

    @classmethod
    def fit(
        cls,
        lm: LanguageModel,
        texts: Iterable[Any] | Points,
        *,
        layer: int,
        components: int,
        rank: int,
        stream: Stream = "resid_post",
        seed: int = 0,
        **settings: Any,
    ) -> MFA:
        """Fit one to the residuals of texts; settings as for `training.mfa.fit`."""
        from steerwidgets.training.mfa import fit

        return fit(lm.engine, texts, Site(layer, stream), components, rank, seed=seed, **settings)

    @functools.cached_property
    def _terms(self) -> Terms:
        loadings: Callable[[slice], Tensor] = lambda which: self.checkpoint.loadings(which, rotated=False)
        noise = self.checkpoint.noise()
        return mfa_density.prepare_once(self.checkpoint.state["mu"], loadings, noise, self.mean)

    def _terms_on(self, device: torch.device) -> Terms:
        if device not in self._placed:
            self._placed[device] = self._terms.to(device)
        return self._placed[device]

    @functools.cached_property
    def _log_mixing(self) -> Tensor:
        return self.checkpoint.log_mixing().float()

    def _by_rows(self, h: Tensor, of: Callable[[Tensor, Terms], Tensor]) -> Tensor:
        """What a function of points [n, d_model] gives, for points of any shape, a few at a time."""
        import torch

        if h.shape[-1:] != (self.d_model,):
            raise ValueError(
                f"This MFA describes {self.d_model} numbers at {self.site}, but got shape {list(h.shape)}."
            )
        terms = self._terms_on(h.device)
        flat = self.seen(h).reshape(-1, self.d_model)
        out = torch.cat([of(chunk, terms) for chunk in mfa_density.row_chunks(flat, terms)])
        return out.reshape(*h.shape[:-1], *out.shape[1:])

    def _reconstructed(self, x: Tensor, terms: Terms) -> Tensor:
        densities = mfa_density.log_densities(x, terms) + self._log_mixing.to(x.device)
        shares = densities.softmax(-1)
        latents = mfa_density.latents(x, terms) * shares[..., None]
        out = shares @ self.centroids.to(x.device)
        for start in range(0, self.size, _LOADED):
            chunk = slice(start, start + _LOADED)
            loadings = self.checkpoint.loadings(chunk, rotated=False).float().to(x.device)
            out = out + latents[:, chunk].flatten(1) @ loadings.transpose(1, 2).flatten(0, 1)
        return out

    def unit_loadings(self, component: int) -> Tensor:
        """The loadings of a component at unit length, float64 [d_model, rank]."""
        loadings = self.loadings(component).double()
        unit: Tensor = loadings / loadings.norm(dim=0).clamp_min(1e-8)
        return unit

    def check_component(self, k: int) -> int:
        """The index itself.

        Raises:
            IndexError: there is no such component.
        """
        if isinstance(k, bool) or not isinstance(k, int) or not 0 <= k < self.size:
            raise IndexError(f"This MFA has components 0 to {self.size - 1}, but {k!r} was asked for.")
        return k


def _or_loading(vector: Tensor, mfa: MFA, component: int) -> Tensor:
    return vector if bool(vector.any()) else mfa.loadings(component)[:, 0]
